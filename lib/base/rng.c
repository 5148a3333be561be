#include "base/rng.h"
#include <math.h>

/* One Philox4x32-10 block: ten rounds of two 32x32 multiplications and a Weyl key. */
static void
block(const uint32_t key[2], const uint32_t ctr[4], uint32_t out[4])
{
	uint32_t k0 = key[0], k1 = key[1];
	uint32_t x0 = ctr[0], x1 = ctr[1], x2 = ctr[2], x3 = ctr[3];

	for (int r = 0; r < 10; r++) {
		uint64_t p = (uint64_t)0xD2511F53 * x0, q = (uint64_t)0xCD9E8D57 * x2;
		x0 = (uint32_t)(q >> 32) ^ x1 ^ k0;
		x2 = (uint32_t)(p >> 32) ^ x3 ^ k1;
		x1 = (uint32_t)q;
		x3 = (uint32_t)p;
		k0 += 0x9E3779B9;
		k1 += 0xBB67AE85;
	}
	out[0] = x0;
	out[1] = x1;
	out[2] = x2;
	out[3] = x3;
}

/*
 * The address has more bits than a counter: a first block mixes (step, index) under the key
 * (seed), and its output becomes the stream's key; the stream then counts from the purpose up.
 */
struct rng
rng_at(uint64_t seed, enum rng_purpose purpose, uint64_t step, uint64_t index)
{
	struct rng r = {{(uint32_t)seed, (uint32_t)(seed >> 32)}, {0}, {0}, 0};
	uint32_t at[4] = {(uint32_t)step, (uint32_t)(step >> 32), (uint32_t)index,
			  (uint32_t)(index >> 32)};
	uint32_t mixed[4];

	block(r.key, at, mixed);
	r.key[0] = mixed[0];
	r.key[1] = mixed[1];
	r.ctr[1] = (uint32_t)purpose;
	r.ctr[2] = mixed[2];
	r.ctr[3] = mixed[3];
	return r;
}

uint32_t
rng_u32(struct rng *r)
{
	if (r->left == 0) {
		block(r->key, r->ctr, r->out);
		r->left = 4;
		if (++r->ctr[0] == 0)
			r->ctr[1] += 0x10000;
	}
	return r->out[--r->left];
}

static uint64_t
u64(struct rng *r)
{
	uint64_t hi = rng_u32(r);

	return hi << 32 | rng_u32(r);
}

uint64_t
rng_below(struct rng *r, uint64_t n)
{
	uint64_t x, floor = -n % n; /* 2^64 mod n: values below it would favour small results */

	do
		x = u64(r);
	while (x < floor);
	return x % n;
}

double
rng_uniform(struct rng *r)
{
	return (double)(u64(r) >> 11) * 0x1p-53;
}

double
rng_normal(struct rng *r)
{
	double u = 1 - rng_uniform(r), v = rng_uniform(r); /* u in (0, 1] */

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* Box and Muller's pairs: each word is a uniform number in (0, 1]. */
void
rng_normals(struct rng *r, float *out, long n)
{
	float z[4];

	for (long i = 0; i < n; i++) {
		if (i % 4 == 0)
			for (int j = 0; j < 4; j += 2) {
				float u = ((float)rng_u32(r) + 1) * 0x1p-32f;
				float a = (float)(2 * M_PI) * ((float)rng_u32(r) * 0x1p-32f);
				float radius = sqrtf(-2 * logf(u < 1 ? u : 1));
				z[j] = radius * cosf(a);
				z[j + 1] = radius * sinf(a);
			}
		out[i] = z[i % 4];
	}
}
