#include "data/tokens.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tokens *t = tokens_open(fuzz_file(data, size));
	int32_t token;

	if (!t)
		return 0;
	for (size_t i = 0; i < t->n; i++) {
		tokens_get(t, i, 1, &token);
		if (token < 0 || token >= t->vocab)
			abort();
	}
	tokens_close(t);
	return 0;
}
