/* Mutual information: by hand, by closed forms, and what is left of it where there is none. */
#include "base/rng.h"
#include "policy/mutual.h"
#include "tap.h"

enum { N = 20000 };

static int x[N], y[N], z[N];

static void
by_hand(void)
{
	const int a[] = {0, 0, 1, 1}, b[] = {0, 1, 0, 1}, c[] = {5, 5, 7, 7};
	const int one[] = {0, 0, 0, 1}, exor[] = {0, 1, 1, 0};
	struct mutual m;

	is_real(mutual_entropy(4, a), log(2), 1e-12, "entropy of a coin");
	is_real(mutual_entropy(4, one), log(4) - 0.75 * log(3), 1e-12, "of one in four");
	m = mutual_measure(4, a, b, NULL, 0, 1);
	is_real(m.raw, 0, 1e-12, "two coins");
	m = mutual_measure(4, a, c, NULL, 0, 1);
	is_real(m.raw, log(2), 1e-12, "the same by other labels");
	m = mutual_measure(4, a, exor, NULL, 0, 1);
	is_real(m.raw, 0, 1e-12, "a coin says nothing of its sum with another");
	m = mutual_measure(4, a, exor, b, 0, 1);
	is_real(m.raw, log(2), 1e-12, "and everything given the other");
	m = mutual_measure(4, a, c, a, 0, 1);
	is_real(m.raw, 0, 1e-12, "what is known says nothing more");
	m = mutual_measure(1, a, b, NULL, 3, 1);
	is_real(m.raw + m.chance, 0, 1e-12, "nor does one sample");
}

/* A channel: y is x with probability 0.7, else drawn anew. */
static void
channels(void)
{
	struct rng r = rng_at(1, RNG_TEST, 267, 0);
	const double same = 0.7 + 0.3 / 8, other = 0.3 / 8;
	const double want = log(8) + same * log(same) + 7 * other * log(other);
	struct mutual m;

	for (int i = 0; i < N; i++) {
		x[i] = (int)rng_below(&r, 8);
		y[i] = rng_uniform(&r) < 0.7 ? x[i] : (int)rng_below(&r, 8);
		z[i] = (int)rng_below(&r, 300);
	}
	m = mutual_measure(N, x, y, NULL, 4, 1);
	is_real(m.raw - m.chance, want, 0.02, "a noisy channel");
	ok(m.chance > 0 && m.chance < 0.003, "that is known well (%g)", m.chance);
	m = mutual_measure(N, x, z, NULL, 8, 1);
	ok(m.raw > 0.04, "labels of many kinds seem to tell (%g)", m.raw);
	is_real(m.raw - m.chance, 0, 0.004, "but tell nothing");
	m = mutual_measure(N, x, y, z, 4, 1);
	ok(m.raw > want && m.raw - m.chance < want && m.raw - m.chance > 0.8 * want,
	   "a channel, given what has no part in it: between %g and %g", m.raw - m.chance, m.raw);
}

/* Given z, x and y have nothing in common, although without it they do. */
static void
common_cause(void)
{
	struct rng r = rng_at(2, RNG_TEST, 267, 0);
	struct mutual m, again;

	for (int i = 0; i < N; i++) {
		z[i] = (int)rng_below(&r, 20);
		x[i] = 3 * z[i] + (int)rng_below(&r, 40);
		y[i] = 5 * z[i] + (int)rng_below(&r, 40);
	}
	m = mutual_measure(N, x, y, NULL, 4, 1);
	ok(m.raw - m.chance > 0.2, "a common cause (%g)", m.raw - m.chance);
	m = mutual_measure(N, x, y, z, 4, 1);
	is_real(m.raw - m.chance, 0, 0.02, "given it nothing is left");
	ok(m.chance > 0.4, "of what seemed much (%g)", m.chance);
	again = mutual_measure(N, x, y, z, 4, 1);
	is_real(again.chance, m.chance, 0, "the same seed, the same chance");
}

int
main(void)
{
	by_hand();
	channels();
	common_cause();
	return done();
}
