/* Random numbers: the published generator, independent addresses, unbiased bounds. */
#include "base/rng.h"
#include "tap.h"

enum { N = 1 << 20 };

/* Answers published with the generator (Random123, philox4x32 with 10 rounds). */
static void
known(void)
{
	static const struct {
		uint32_t ctr[4], key[2], out[4];
	} answer[] = {
		{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
		 {0xffffffff, 0xffffffff},
		 {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
		 {0xa4093822, 0x299f31d0},
		 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};

	for (unsigned i = 0; i < sizeof answer / sizeof *answer; i++) {
		struct rng r = {.left = 0};
		memcpy(r.key, answer[i].key, sizeof r.key);
		memcpy(r.ctr, answer[i].ctr, sizeof r.ctr);
		rng_u32(&r);
		is_bytes(r.out, answer[i].out, sizeof r.out, "known answer %u", i + 1);
	}
}

/* The stream's first words, by address, stay what they are: recipes rely on it. */
static void
fixed(void)
{
	struct rng a = rng_at(1, RNG_INIT, 2, 3), b = rng_at(1, RNG_INIT, 2, 3);
	uint32_t x[100], y[100];

	for (int i = 0; i < 100; i++)
		x[i] = rng_u32(&a);
	for (int i = 0; i < 100; i++)
		y[i] = rng_u32(&b);
	is_bytes(x, y, sizeof x, "an address gives the same stream again");

	/* all words of a counter's wrap differ from those before it */
	a = rng_at(1, RNG_INIT, 2, 3);
	a.ctr[0] = 0xffffffff;
	for (int i = 0; i < 8; i++)
		y[i] = rng_u32(&a);
	long repeats = 0;
	for (int i = 4; i < 8; i++)
		for (int j = 0; j < 100; j++)
			repeats += y[i] == x[j];
	is_long(repeats, 0, "a stream goes on beyond 2^34 words");
}

static int
by_value(const void *p, const void *q)
{
	uint64_t a = *(const uint64_t *)p, b = *(const uint64_t *)q;

	return (a > b) - (a < b);
}

static void
addresses(void)
{
	static uint64_t first[8 * 8 * 64 * 16];
	long n = 0, equal = 0;

	/* seeds and steps that differ in high bits, in low bits, and by one */
	for (uint64_t seed = 0; seed < 8; seed++)
		for (int purpose = RNG_INIT; purpose <= RNG_TEST; purpose++)
			for (uint64_t step = 0; step < 64; step++)
				for (uint64_t index = 0; index < 16; index++) {
					struct rng r = rng_at(seed < 4 ? seed : seed << 60, purpose,
							      step < 32 ? step : step << 32,
							      index < 8 ? index : index << 50);
					first[n] = (uint64_t)rng_u32(&r) << 32;
					first[n++] |= rng_u32(&r);
				}
	qsort(first, (size_t)n, sizeof *first, by_value);
	for (long i = 1; i < n; i++)
		equal += first[i] == first[i - 1];
	is_long(equal, 0, "%ld addresses give different streams", n);

	/* neighbours in each coordinate are uncorrelated: mean of products of centred uniforms */
	static const char *const what[] = {"seeds", "purposes", "steps", "indices"};
	for (int c = 0; c < 4; c++) {
		double sum = 0;
		for (int i = 0; i < N / 16; i++) {
			struct rng r = rng_at(i, RNG_TEST, 7, i);
			struct rng s = rng_at(i + (c == 0), RNG_TEST - (c == 1), 7 + (c == 2),
					      i + (c == 3));
			sum += (rng_uniform(&r) - 0.5) * (rng_uniform(&s) - 0.5);
		}
		is_real(sum * 12 / sqrt(N / 16), 0, 5, "neighbouring %s are uncorrelated", what[c]);
	}
}

/* chi-square of counts against equal shares, in standard deviations */
static double
chi(const long *count, int bins, double total)
{
	double want = total / bins, sum = 0;

	for (int i = 0; i < bins; i++)
		sum += ((double)count[i] - want) * ((double)count[i] - want) / want;
	return (sum - (bins - 1)) / sqrt(2.0 * (bins - 1));
}

static void
uniformity(void)
{
	struct rng r = rng_at(42, RNG_TEST, 0, 0);
	long byte[4][256] = {{0}}, bit[32] = {0}, cell[1024] = {0}, below = 0;
	double sum = 0, square = 0, serial = 0, before = 0.5, lo = 1, hi = 0;

	for (long i = 0; i < N; i++) {
		uint32_t x = rng_u32(&r);
		for (int b = 0; b < 4; b++)
			byte[b][x >> 8 * b & 255]++;
		for (int b = 0; b < 32; b++)
			bit[b] += x >> b & 1;
	}
	for (int b = 0; b < 4; b++)
		is_real(chi(byte[b], 256, N), 0, 5, "byte %d of a word is uniform", b);
	double worst = 0;
	for (int b = 0; b < 32; b++)
		worst = fmax(worst, fabs((double)bit[b] - N / 2) / sqrt(N / 4));
	is_real(worst, 0, 5, "every bit is set half of the time");

	for (long i = 0; i < N; i++) {
		double u = rng_uniform(&r);
		below += !(u >= 0 && u < 1);
		cell[(int)(u * 1024) & 1023]++;
		sum += u - 0.5;
		square += (u - 0.5) * (u - 0.5);
		serial += (u - 0.5) * (before - 0.5);
		before = u;
		lo = fmin(lo, u);
		hi = fmax(hi, u);
	}
	is_long(below, 0, "uniform numbers are in [0, 1)");
	is_real(chi(cell, 1024, N), 0, 5, "and uniform over 1024 cells");
	is_real(sum / sqrt(N / 12.0), 0, 5, "their mean is 1/2");
	is_real((square / N - 1 / 12.0) / sqrt(1 / 180.0 / N), 0, 5, "their variance 1/12");
	is_real(serial * 12 / sqrt(N), 0, 5, "one does not tell the next");
	ok(lo < 2e-5 && hi > 1 - 2e-5, "and they fill the interval (%g to %g)", lo, hi);
}

static void
bounds(void)
{
	static const uint64_t of[] = {1, 2, 3, 7, 10, 1000, 1024};
	struct rng r = rng_at(42, RNG_TEST, 1, 0);

	for (unsigned i = 0; i < sizeof of / sizeof *of; i++) {
		long count[1024] = {0}, beyond = 0;
		for (int j = 0; j < N / 8; j++) {
			uint64_t x = rng_below(&r, of[i]);
			if (x < of[i])
				count[x]++;
			else
				beyond++;
		}
		is_long(beyond, 0, "below %d: all are", (int)of[i]);
		if (of[i] > 1)
			is_real(chi(count, (int)of[i], N / 8.0), 0, 5, "below %d: equally often",
				(int)of[i]);
	}
	/* remainders of 64 bits alone would fall into the first third half of the time */
	const uint64_t n = (uint64_t)3 << 62;
	long first = 0, beyond = 0;
	for (int j = 0; j < N / 8; j++) {
		uint64_t x = rng_below(&r, n);
		first += x < n / 3;
		beyond += x >= n;
	}
	is_long(beyond, 0, "below 3 * 2^62: all are");
	is_real(((double)first - N / 24.0) / sqrt(N / 8.0 * 2 / 9), 0, 5,
		"a third in the first third");
	for (int j = 0; j < 1000; j++)
		beyond += rng_below(&r, UINT64_MAX) == UINT64_MAX;
	is_long(beyond, 0, "below 2^64 - 1: all are");
}

static void
normality(void)
{
	struct rng r = rng_at(42, RNG_TEST, 2, 0);
	double m[5] = {0};
	long cell[64] = {0}, tail = 0, wild = 0;

	for (long i = 0; i < N; i++) {
		double x = rng_normal(&r), p = x;
		wild += !isfinite(x);
		for (int k = 1; k <= 4; k++, p *= x)
			m[k] += p / N;
		tail += fabs(x) > 4;
		cell[(int)(0.5 * erfc(-x / sqrt(2)) * 64) & 63]++;
	}
	is_long(wild, 0, "normal numbers are finite");
	is_real(m[1] * sqrt(N), 0, 5, "mean 0 (%.5f)", m[1]);
	is_real((m[2] - 1) * sqrt(N / 2.0), 0, 5, "variance 1 (%.5f)", m[2]);
	is_real(m[3] * sqrt(N / 15.0), 0, 5, "no skew (%.5f)", m[3]);
	is_real((m[4] - 3) * sqrt(N / 96.0), 0, 5, "fourth moment 3 (%.5f)", m[4]);
	is_real(chi(cell, 64, N), 0, 5, "64 cells of equal probability are equally full");
	is_real((double)tail, 6.334e-5 * N, 5 * sqrt(6.334e-5 * N), "beyond 4: 63 in a million");
}

int
main(void)
{
	known();
	fixed();
	addresses();
	uniformity();
	bounds();
	normality();
	return done();
}
