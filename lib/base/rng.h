#ifndef BASE_RNG_H
#define BASE_RNG_H
#include <stdint.h>

/*
 * Random numbers by address (Philox4x32-10; Salmon et al., SC 2011): the stream depends only on
 * (seed, purpose, step, index), never on who drew before.  Two workers, a resumed run and a reader
 * of the recipe all draw the same.
 */
enum rng_purpose {
	RNG_INIT = 1, /* parameter start; step 0, index = parameter */
	RNG_BATCH,    /* which windows a step reads */
	RNG_ROUTE,    /* random router, router noise; index = layer */
	RNG_SAMPLE,   /* text generation; step = position */
	RNG_MUTATE,   /* inheritance noise; index = layer << 32 | slot */
	RNG_PROBE,    /* probe batches and sampled checks */
	RNG_DATA,     /* generators of synthetic data */
	RNG_TEST
};

struct rng {
	uint32_t key[2], ctr[4], out[4];
	int left; /* words of out not yet given */
};

struct rng rng_at(uint64_t seed, enum rng_purpose purpose, uint64_t step, uint64_t index);
uint32_t rng_u32(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* [0, n), unbiased; n > 0 */
double rng_uniform(struct rng *r);	       /* [0, 1), 53 bits */
double rng_normal(struct rng *r);	       /* mean 0, variance 1 */
/* n float32 normals, many times faster; the stream is used up to a multiple of four words. */
void rng_normals(struct rng *r, float *out, long n);

#endif
