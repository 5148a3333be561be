#include "io/ckpt.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ckpt *c = ckpt_open(fuzz_file(data, size));

	if (!c)
		return 0;
	for (int i = 0; i < c->n; i++) {
		const struct ckpt_tensor *t = &c->tensor[i];
		uint64_t n = 1;
		float *v;

		for (int j = 0; j < t->dims; j++)
			n *= t->shape[j];
		if (ckpt_find(c, t->name) != t || n > t->bytes)
			abort();
		v = calloc(n + 1, sizeof(*v));
		if (v)
			ckpt_floats(c, t, v, n);
		free(v);
	}
	ckpt_meta(c, "recipe");
	ckpt_close(c);
	return 0;
}
