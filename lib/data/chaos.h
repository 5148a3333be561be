#ifndef DATA_CHAOS_H
#define DATA_CHAOS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Chaotic sequences as tokens: an orbit of a known system, one coordinate seen every so many steps,
 * its range cut into bins of equal width.
 *
 *	logistic	x' = r x (1 - x)				p: r [4]	seen: x
 *	henon		x' = 1 - a x^2 + y, y' = 0.3 x			p: a [1.4]	x
 *	lorenz		x. = 10 (y - x), y. = x (rho - z) - y,
 *			z. = x y - 8/3 z, steps of 0.01			p: rho [28]	x
 *	mackey-glass	x. = 0.2 u / (1 + u^10) - 0.1 x,
 *			u = x(t - tau), steps of 0.1			p: tau [17]	x
 *	regimes		logistic, r one of 3.7, 3.9, 4; at each step,
 *			with probability 1 / dwell, another of them	p: dwell [200]	x
 *
 * Flows are integrated by the fourth-order Runge-Kutta rule; the delayed value between grid points
 * by a cubic through four of them.  Only + - * / are used, so that an orbit is the same on every
 * machine.  Now and then the state is moved by a random 2^-32 of itself: else an orbit of doubles
 * ends in a cycle (that of the logistic map at 4 after some ten million steps).
 */
enum chaos_system { CHAOS_LOGISTIC, CHAOS_HENON, CHAOS_LORENZ, CHAOS_MACKEY_GLASS, CHAOS_REGIMES };
#define CHAOS_SYSTEMS "logistic|henon|lorenz|mackey-glass|regimes"
enum { CHAOS_COUNT = CHAOS_REGIMES + 1, CHAOS_BINS = 1 << 16, CHAOS_EVERY = 1000000 };

struct chaos {
	enum chaos_system system;
	double p;
	int bins;  /* 2 to CHAOS_BINS */
	int every; /* steps from token to token, 1 to CHAOS_EVERY */
	uint64_t seed;
};

const char *chaos_name(enum chaos_system s);
/* p and steps as usual for a system: 1, 1, 10 (0.1), 60 (6) and 1; 64 bins, seed 1. */
struct chaos chaos_usual(enum chaos_system s);

/*
 * n tokens of the orbit from a random start, after a time to settle.  -1 with a message: p is out
 * of its range, or the orbit leaves every bound.
 */
int chaos_run(const struct chaos *c, size_t n, uint32_t *out);

/*
 * What the best of predictors would lose per token, in nats.  The entropy rate of the tokens is at
 * most that of the system, which is at most the sum of its positive Lyapunov exponents (Ruelle
 * 1978) and the entropy of the switches, and never above log(bins); fine bins come close to it.
 * For the logistic map at r = 4, with even bins and every step seen, it is log 2 exactly: the bins
 * refine the halves, which generate.
 */
enum { CHAOS_EXPONENTS = 8 };
struct chaos_floor {
	double exponent[CHAOS_EXPONENTS]; /* per unit of time (maps: a step), falling; measured */
	int exponents;
	double unit;	  /* of time per token */
	double positive;  /* sum of the positive ones, per token */
	double switching; /* entropy of the switches, per token */
	double bound;	  /* the floor is at most this */
	bool exact;	  /* and is exactly this */
};
/*
 * Exponents by Benettin's method (1980) over so many steps: orbits that start 1e-8 apart, and are
 * brought back to that distance, and to right angles, as they part.  -1 as above.
 */
int chaos_floor(const struct chaos *c, long steps, struct chaos_floor *out);

/*
 * The mean loss that a plain predictor comes to on the second half of n tokens, having seen all
 * before each: counts after contexts of 0 to CHAOS_ORDER tokens, longer ones backed by shorter ones
 * in the proportion of Witten and Bell (1991).  A floor cannot be above it.
 */
enum { CHAOS_ORDER = 4 };
double chaos_reached(const uint32_t *v, size_t n, int bins);

#endif
