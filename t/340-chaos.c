/* Chaotic sequences: known exponents, entropies and invariants; the plain predictor. */
#include "base/err.h"
#include "base/mem.h"
#include "data/chaos.h"
#include "tap.h"
#include <math.h>

static uint32_t *
tokens(const struct chaos *c, size_t n)
{
	uint32_t *v = mem_zero(n, sizeof *v);

	return chaos_run(c, n, v) == 0 ? v : (free(v), NULL);
}

static struct chaos_floor
floor_of(enum chaos_system s, long steps)
{
	const struct chaos c = chaos_usual(s);
	struct chaos_floor f;

	ok(chaos_floor(&c, steps, &f) == 0, "%s: exponents", chaos_name(s));
	return f;
}

/* From the literature: Sprott, Chaos and Time-Series Analysis (2003), tables of appendix A. */
static void
exponents(void)
{
	struct chaos_floor f = floor_of(CHAOS_LOGISTIC, 200000);
	double sum = 0;

	is_real(f.exponent[0], log(2), 1e-3, "logistic map: log 2");
	ok(f.exact && f.bound == log(2), "which is the floor of even bins");
	f = floor_of(CHAOS_HENON, 400000);
	is_real(f.exponent[0], 0.41922, 0.004, "Henon map");
	is_real(f.exponent[0] + f.exponent[1], log(0.3), 1e-5, "whose areas shrink by 0.3");
	is_real(f.positive, f.exponent[0], 0, "one of them is positive");
	f = floor_of(CHAOS_LORENZ, 200000);
	is_real(f.exponent[0], 0.9056, 0.02, "Lorenz system");
	is_real(f.exponent[1], 0, 0.002, "along the orbit nothing grows");
	for (int i = 0; i < 3; i++)
		sum += f.exponent[i];
	is_real(sum, -(10 + 1 + 8.0 / 3), 1e-3, "volumes shrink by the divergence");
	is_real(f.bound, f.exponent[0] * 0.1, 1e-3, "a token every 0.1");
	f = floor_of(CHAOS_MACKEY_GLASS, 300000);
	is_real(f.exponent[0], 0.006, 0.003, "Mackey-Glass equation at 17");
	is_real(f.exponent[1], 0, 0.002, "along the orbit nothing grows");
	ok(f.exponent[2] < -0.02, "the third is negative");
}

/* Shares of the logistic map at 4: its density is 1 / (pi sqrt(x (1 - x))). */
static void
density(void)
{
	const struct chaos c = {CHAOS_LOGISTIC, 4, 10, 1, 7};
	const size_t n = 200000;
	uint32_t *v = tokens(&c, n);
	double share[10] = {0};

	for (size_t i = 0; i < n; i++)
		share[v[i]] += 1 / (double)n;
	for (int i = 0; i < 10; i++)
		is_real(share[i], 2 / M_PI * (asin(sqrt((i + 1) / 10.0)) - asin(sqrt(i / 10.0))),
			0.004, "share of bin %d", i);
	free(v);
}

/* With two bins the logistic map at 4 tosses a fair coin. */
static void
coin(void)
{
	const struct chaos c = {CHAOS_LOGISTIC, 4, 2, 1, 3};
	const size_t n = 100000;
	uint32_t *v = tokens(&c, n);
	int after[16] = {0};

	for (size_t i = 0; i + 4 <= n; i++)
		after[v[i] << 3 | v[i + 1] << 2 | v[i + 2] << 1 | v[i + 3]]++;
	for (int i = 0; i < 16; i++)
		is_real(after[i] / (double)n, 1 / 16.0, 0.004, "four tosses, %d", i);
	is_real(chaos_reached(v, n, 2), log(2), 0.002, "nothing can be learnt of it");
	free(v);
}

static void
predictor(void)
{
	enum { N = 4000 };
	uint32_t v[N];

	for (int i = 0; i < N; i++)
		v[i] = (uint32_t)(i % 5);
	ok(chaos_reached(v, N, 8) < 0.01, "a cycle is learnt");
	is_real(chaos_reached(v, 1, 8), log(8), 1e-12, "of nothing nothing is known");
	/* (times + kinds / 8) / (seen + kinds); no context of one token has been seen */
	v[0] = v[1] = 3;
	is_real(chaos_reached(v, 2, 8), -log((1 + 1 / 8.0) / 2), 1e-12,
		"the second of two equal tokens, by hand");
}

static void
orbits(void)
{
	for (int s = 0; s < CHAOS_COUNT; s++) {
		struct chaos c = chaos_usual((enum chaos_system)s);
		const size_t n = 30000;
		uint32_t *a = tokens(&c, n), *b = tokens(&c, n / 2), *d, top = 0, low = 64;
		double reached;
		size_t same = 0;

		is_bytes(a, b, n / 2 * sizeof *a, "%s: the same again, and a beginning of it",
			 chaos_name(c.system));
		c.seed++;
		d = tokens(&c, n);
		for (size_t i = 0; i < n; i++) {
			top = a[i] > top ? a[i] : top;
			low = a[i] < low ? a[i] : low;
			same += a[i] == d[i];
		}
		ok(same < n / 4, "another seed, another orbit");
		ok(top < 64 && top - low > 30, "bins %u to %u", low, top);
		reached = chaos_reached(a, n, 64);
		ok(reached < log(64) / 2, "it is no noise: %g nats", reached);
		free(a);
		free(b);
		free(d);
	}
}

/* A regime lasts `dwell` steps on average, and the floor counts the changes. */
static void
regimes(void)
{
	struct chaos c = chaos_usual(CHAOS_REGIMES);
	struct chaos_floor f;
	double top = 0, now = 0;
	const size_t n = 400000;
	uint32_t *v;

	c.p = 10;
	chaos_floor(&c, 100000, &f);
	is_real(f.switching, -(0.1 * log(0.05) + 0.9 * log(0.9)), 1e-12, "entropy of changes");
	ok(f.bound <= log(64) && f.bound > f.positive, "the bound counts them");
	/* r = 4 alone reaches beyond 3.9 / 4; a bin of 1/40 begins there */
	c = (struct chaos){CHAOS_REGIMES, 5000, 40, 1, 2};
	v = tokens(&c, n);
	for (size_t i = 0; i < n; i++) {
		now = v[i] == 39 ? 1 : now * 0.98;
		top += now > 0.13;
	}
	is_real(top / (double)n, 1 / 3.0, 0.12, "a third of the time is each one's");
	free(v);
}

static void
refusals(void)
{
	struct chaos c = chaos_usual(CHAOS_LOGISTIC);
	struct chaos_floor f;
	uint32_t v[100];

	c.p = 4.1;
	ok(chaos_run(&c, 100, v) == -1, "a parameter beyond its range");
	is_text(err_text(), "logistic: a parameter of 4.1 (expected 0 to 4)", "told");
	ok(chaos_floor(&c, 1000, &f) == -1, "by both");
	c = chaos_usual(CHAOS_HENON);
	c.p = 1.9;
	ok(chaos_run(&c, 100, v) == -1, "an orbit that escapes");
	is_text(err_text(), "henon with a parameter of 1.9: the orbit leaves every bound", "told");
	ok(chaos_floor(&c, 1000, &f) == -1, "by both");
	c = chaos_usual(CHAOS_LOGISTIC);
	c.p = 2;
	ok(chaos_floor(&c, 1000, &f) == 0 && f.bound == 0, "what settles has a floor of 0");
}

int
main(void)
{
	exponents();
	density();
	coin();
	predictor();
	orbits();
	regimes();
	refusals();
	return done();
}
