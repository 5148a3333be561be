#include "base/err.h"
#include "math/kern.h"
#include <string.h>

extern const struct kern kern_portable;
#if defined(__x86_64__)
extern const struct kern kern_avx2, kern_avx512;
#endif

const struct kern *kern = &kern_portable;

static bool
runs(const struct kern *k)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (k == &kern_avx512)
		return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		       __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
		       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2");
	if (k == &kern_avx2)
		return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
		       __builtin_cpu_supports("bmi2");
#endif
	return k == &kern_portable;
}

int
kern_choose(const char *name)
{
	const struct kern *known[] = {
#if defined(__x86_64__)
		&kern_avx512,
		&kern_avx2,
#endif
		&kern_portable
	};

	for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
		if (name && strcmp(name, known[i]->name) != 0)
			continue;
		if (runs(known[i])) {
			kern = known[i];
			return 0;
		}
		if (name)
			return err_set("this processor cannot run the %s kernels", name);
	}
	return err_set("unknown kernels \"%s\" (expected avx512, avx2 or portable)", name);
}

/* Of attn, attn_one and attn_back, whose lanes are 32 at most. */
long
kern_attn_scratch(const struct kern_attn *s, bool back)
{
	const long T = s->seq, d = s->dim, group = s->heads / s->kv_heads, lanes = 32;
	const long wide = (d + lanes - 1) / lanes * lanes, rows = 32;
	const long fore = 2 * T * d + lanes * (T + 2 * d), one = lanes * (d + 1) + T * (wide + 1);

	if (back)
		return T * group * (3 * d + 2) + lanes * (4 * d + wide + 2 * rows + 2);
	return fore > one ? fore : one;
}
