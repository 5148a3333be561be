#include "io/table.h"
#include "fuzz.h"
#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct table *t = table_open(fuzz_file(data, size));
	size_t length = 0;
	double real;
	long whole;

	if (!t)
		return 0;
	table_column(t, "step");
	while (table_next(t) == 1)
		for (int i = 0; i < table_columns(t); i++) {
			length += strlen(table_header(t, i)) + strlen(table_text(t, i));
			table_real(t, i, &real);
			table_long(t, i, -1, 1000, &whole);
		}
	table_close(t);
	return length > (size + 1) * (size + 1) * 2000;
}
