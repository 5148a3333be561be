#include "base/opt.h"
#include "fuzz.h"
#include <string.h>

struct values {
	bool flag;
	int whole, word;
	long big;
	double real;
	size_t bytes;
	char *text;
	struct opt_ints list;
	struct opt_many many;
};

static const struct opt row[] = {
	{"a", 'a', OPT_FLAG, offsetof(struct values, flag), 0, 0, NULL, true, "flag"},
	{"b", 'b', OPT_INT, offsetof(struct values, whole), -5, 99, "N", true, "int"},
	{"c", 'c', OPT_LONG, offsetof(struct values, big), 0, 1e15, "N", true, "long"},
	{"d", 'd', OPT_REAL, offsetof(struct values, real), -1, 1e30, "X", true, "real"},
	{"e", 'e', OPT_BYTES, offsetof(struct values, bytes), 0, 1e15, "SIZE", true, "bytes"},
	{"f", 'f', OPT_TEXT, offsetof(struct values, text), 0, 0, "TEXT", true, "text"},
	{"g", 'g', OPT_ENUM, offsetof(struct values, word), 0, 0, "one|two", true, "enum"},
	{"h", 0, OPT_INTS, offsetof(struct values, list), 0, 999, "N,...", true, "ints"},
	{"i", 0, OPT_MANY, offsetof(struct values, many), 0, 0, "TEXT", true, "many"},
};

/* A recipe that was read, written and read again is written the same. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct values v[2] = {{0}};
	struct opt_table t[2];
	char *text = calloc(size + 1, 1), *again[2] = {0};

	if (!text)
		abort();
	memcpy(text, data, size);
	for (int i = 0; i < 2; i++)
		t[i] = (struct opt_table){.program = "fuzz",
					  .synopsis = "fuzz",
					  .row = row,
					  .n = sizeof(row) / sizeof(*row),
					  .values = &v[i]};
	if (!opt_read_text(&t[0], "recipe", text, OPT_RECIPE)) {
		again[0] = opt_recipe(&t[0]);
		if (opt_read_text(&t[1], "recipe", again[0], OPT_RECIPE))
			abort();
		again[1] = opt_recipe(&t[1]);
		if (strcmp(again[0], again[1]))
			abort();
	}
	for (int i = 0; i < 2; i++) {
		opt_free(&t[i]);
		free(again[i]);
	}
	free(text);
	return 0;
}
