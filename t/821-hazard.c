/* The chance that an expert is used next: against processes whose chances are known. */
#include "base/rng.h"
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
	ok(hazard_later(h)[7] > hazard_later(h)[8], "nor later");
	hazard_free(h);
}

int
main(void)
{
	test_frequency();
	test_cycle();
	test_many();
	return done();
}
