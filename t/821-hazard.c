/* The chance that an expert is used next: against processes whose chances are known. */
#include "base/err.h"
#include "base/rng.h"
#include "math/kern.h"
#include "offload/chance.h"
#include "offload/hazard.h"
#include "tap.h"

enum { EXPERTS = 20, TURNS = 2000 };
static const long first[] = {0, EXPERTS, 2 * EXPERTS};

/* Each expert is used with a chance of its own, whatever was before. */
static void
test_frequency(void)
{
	struct hazard *h = hazard_new(2, first);
	double error = 0, far = 0, sum[EXPERTS] = {0};
	uint32_t item[EXPERTS];

	for (int t = 0; t < TURNS; t++) {
		struct rng r = rng_at(1, RNG_TEST, (uint64_t)t, 0);
		long n = 0;
		for (int e = 0; e < EXPERTS; e++)
			if (rng_uniform(&r) < .02 + .04 * e)
				item[n++] = (uint32_t)(EXPERTS + e);
		hazard_turn(h, 1, item, n);
		for (int e = 0; e < EXPERTS && t >= TURNS / 2; e++)
			sum[e] += 2. / TURNS * (double)hazard_next(h)[EXPERTS + e];
	}
	for (int e = 0; e < EXPERTS; e++) {
		const double d = fabs(sum[e] - (.02 + .04 * e));
		error += d / EXPERTS;
		far = d > far ? d : far;
	}
	is_real(error, 0, .03, "independent experts: the mean chance is near theirs");
	is_real(far, 0, .08, "for each of them");
	is_real((double)hazard_next(h)[0], 0, 0, "a layer that has had no turn has no chances");
	hazard_free(h);
}

/* Two of the experts in turn: the first six pairs, one after the other, again and again. */
static void
test_cycle(void)
{
	struct hazard *h = hazard_new(2, first);
	double right = 0, wrong = 0;

	for (int t = 0; t < 300; t++) {
		const uint32_t item[2] = {(uint32_t)(t % 6 * 2), (uint32_t)(t % 6 * 2 + 1)};
		hazard_turn(h, 0, item, 2);
		for (int e = 0; e < 12 && t >= 200; e++)
			*(e / 2 == (t + 1) % 6 ? &right : &wrong) +=
				(double)hazard_next(h)[e] / (e / 2 == (t + 1) % 6 ? 200 : 1000);
	}
	ok(right > .8, "experts that follow in a cycle are expected (%.3f)", right);
	ok(wrong < .05, "the others of the cycle are not (%.3f)", wrong);
	hazard_free(h);
}

/* Counts of pairs go over 16 bits, and mean the same. */
static void
test_long(void)
{
	struct hazard *h = hazard_new(2, first);
	double p[4] = {0};

	for (int t = 0; t < 140000; t++) {
		const uint32_t item = (uint32_t)(t % 4);
		hazard_turn(h, 0, &item, 1);
		p[(t + 1) % 4] = (double)hazard_next(h)[(t + 1) % 4];
	}
	for (int e = 0; e < 4; e++)
		ok(p[e] > .9, "after 35,000 cycles expert %d is expected in its turn (%.3f)", e,
		   p[e]);
	hazard_free(h);
}

/* --- the inner loops --- */

/* A check sum of all chances after some turns of layers of 1 to 40 experts. */
static uint64_t
chances(void)
{
	enum { LAYERS = 40 };
	long begin[LAYERS + 1] = {0};
	uint32_t item[LAYERS];
	uint64_t sum = 0;
	struct hazard *h;

	for (int l = 0; l < LAYERS; l++)
		begin[l + 1] = begin[l] + l + 1;
	h = hazard_new(LAYERS, begin);
	for (int t = 0; t < 20 * LAYERS; t++) {
		struct rng r = rng_at(2, RNG_TEST, (uint64_t)t, 0);
		const int l = t % LAYERS;
		long n = 0;
		for (int e = 0; e <= l; e++)
			if (rng_uniform(&r) < .3)
				item[n++] = (uint32_t)(begin[l] + e);
		hazard_turn(h, l, item, n);
		for (long i = begin[l]; i < begin[l + 1]; i++) {
			const float v[2] = {hazard_next(h)[i], hazard_worth(h)[i]};
			uint32_t bits[2];
			memcpy(bits, v, sizeof bits);
			sum = sum * 31 + bits[0] * 7 + bits[1];
		}
	}
	hazard_free(h);
	return sum;
}

/* Of n values that have equals among them, is the place that of a least one? */
static bool
finds_least(const struct chance *c, long n)
{
	struct rng r = rng_at(3, RNG_TEST, (uint64_t)n, 0);
	float v[200], scale[200], worth[200], least = INFINITY, low = INFINITY;
	long at;

	for (long i = 0; i < n; i++) {
		v[i] = rng_below(&r, 4) ? (float)rng_below(&r, 50) : INFINITY;
		scale[i] = (float)(1 + rng_below(&r, 3));
		worth[i] = (float)(1 + rng_below(&r, 50));
		least = v[i] * scale[i] < least ? v[i] * scale[i] : least;
		low = v[i] < INFINITY && worth[i] < low ? worth[i] : low;
	}
	at = c->least(n, v, scale);
	if (at < 0 || at >= n || v[at] * scale[at] != least)
		return false;
	c->rank(n, v, worth);
	for (long i = 0; i < n; i++)
		if (v[i] < INFINITY && v[i] != worth[i])
			return false;
	for (long i = 0; i < n; i++)
		scale[i] = 1;
	return v[c->least(n, v, scale)] == low;
}

static void
test_kernels(void)
{
	static const char *const name[] = {"portable", "avx2", "avx512"};
	uint64_t plain = 0;

	for (int i = 0; i < 3; i++) {
		long right = 0;
		if (kern_choose(name[i]) != 0) {
			ok(true, "%s kernels # SKIP %s", name[i], err_text());
			continue;
		}
		is_text(chance_table()->name, name[i], "the loops go with the kernels");
		if (!i)
			plain = chances();
		ok(chances() == plain, "%s: the same bits", name[i]);
		for (long n = 1; n <= 200; n++)
			right += finds_least(chance_table(), n);
		is_long(right, 200, "%s: the least of so many", name[i]);
	}
	kern_choose("portable");
}

/* Too many experts for a table of pairs: frequencies alone. */
static void
test_many(void)
{
	static const long wide[] = {0, 20000};
	struct hazard *h = hazard_new(1, wide);
	const uint32_t item[2] = {7, 19999};

	for (int t = 0; t < 50; t++)
		hazard_turn(h, 0, item, 2);
	ok(hazard_next(h)[7] > 20 * hazard_next(h)[8] && hazard_next(h)[8] > 0,
	   "what is always used is expected far more than what never is");
	ok(hazard_worth(h)[7] > hazard_worth(h)[8], "and worth more");
	hazard_free(h);
}

int
main(void)
{
	test_frequency();
	test_cycle();
	test_long();
	test_many();
	test_kernels();
	return done();
}
