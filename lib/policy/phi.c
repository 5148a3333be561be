#include "policy/phi.h"
#include "base/mem.h"
#include "base/rng.h"
#include "math/kern.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct pair {
	int i, j;
};

/* All pairs, or some of each expert with others. */
static struct pair *
pairs_of(int n, uint64_t seed, long *count)
{
	const bool all = n <= PHI_PAIRS + 1;
	struct pair *v = mem_zero(all ? (size_t)n * (size_t)n : (size_t)n * PHI_PAIRS, sizeof *v);

	*count = 0;
	for (int i = 0; i < n; i++) {
		struct rng r = rng_at(seed, RNG_PROBE, 0, (uint64_t)i);
		for (int k = 0; k < (all ? i : PHI_PAIRS); k++) {
			int j = all ? k : (int)rng_below(&r, (uint64_t)n - 1);
			v[(*count)++] = (struct pair){i, all ? j : j + (j >= i)};
		}
	}
	return v;
}

static int
rising(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v, long n)
{
	qsort(v, (size_t)n, sizeof *v, rising);
	return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

/* |a - b|^2, by the difference itself: twins are near each other. */
static double
apart(long width, const float *a, const float *b, float *scratch)
{
	memcpy(scratch, a, (size_t)width * sizeof *a);
	kern->axpy(width, -1, b, scratch);
	return kern->sumsq(width, scratch);
}

static void
sums(struct phi *out, const struct pair *pair, long width, const float *f, const double *square,
     double size, double *d)
{
	float *scratch = mem_zero((size_t)width, sizeof *scratch);

	for (long k = 0; k < out->pairs; k++) {
		const float *a = f + pair[k].i * width, *b = f + pair[k].j * width;
		const double lengths = sqrt(square[pair[k].i] * square[pair[k].j]);
		const double dot = (double)kern->dot(width, a, b);
		d[k] = size > 0 ? sqrt(apart(width, a, b, scratch) / size) : 0;
		out->distance += d[k] / (double)out->pairs;
		if (lengths > 0)
			out->integration += fabs(tanh(0.65 * dot / lengths)) / (double)out->pairs;
	}
	free(scratch);
}

struct phi
phi_measure(int n, long width, const float *signature, uint64_t seed)
{
	struct phi out = {0};
	double *square = mem_zero((size_t)n, sizeof *square), size = 0, s;
	struct pair *pair = pairs_of(n, seed, &out.pairs);
	double *d = mem_zero((size_t)out.pairs, sizeof *d);

	for (int i = 0; i < n; i++) {
		square[i] = kern->sumsq(width, signature + i * width);
		size += square[i] / n;
	}
	if (out.pairs > 0) {
		sums(&out, pair, width, signature, square, size, d);
		s = median(d, out.pairs);
		for (long k = 0; k < out.pairs && s > 0; k++)
			out.diversity += (1 - exp(-d[k] * d[k] / (2 * s * s))) / (double)out.pairs;
		out.product =
			out.distance * out.integration * log(out.distance + out.integration + 1);
	}
	free(square);
	free(pair);
	free(d);
	return out;
}
