#ifndef POOL_GRAVITY_H
#define POOL_GRAVITY_H
#include "base/opt.h"
#include <stdint.h>

/*
 * Knowledge gravity: the rules by which the keys of a key store move, after each batch, by what was
 * routed and without gradients (SoME, section 3.3).  Token t had the query q_t and chose k experts;
 * n_i tokens chose expert i.  In this order:
 *
 *	usage       u_i = rho u_i + (1 - rho) n_i
 *	attraction  K_i += alpha / (1 + u_i) * sum_{t chose i} (q_t - K_i)
 *	peer-pull   K_i += beta / max(1 + u_i, 1 + u_j) * (K_j - K_i), and so K_j, for each token
 *	            that chose i and j
 *	clamp       K_i = K_i / |K_i| if |K_i| > 1
 *	forgetting  K_i *= 1 - delta if u_i is below the theta-quantile of the usage of those that
 *	            have any, after the warm-up
 *	rebirth     K_i = a query of the batch with normal noise, of length 1, and u_i = 0, if
 *	            |K_i| < `least`
 *
 * Attraction and peer-pull read the keys as they stood before the batch.  Sums are made in float64
 * in token order and rounded to float32 once, before the clamp: the same for any number of workers.
 */
struct gravity {
	double alpha, beta, delta, theta, rho; /* theta in [0, 1], linear between two usages */
	double least, noise;		       /* rebirth: below this length; sd of a component */
	long warmup;			       /* batches before forgetting begins */
	int attraction;	 /* GRAVITY_SUM, or towards the mean query; usage then in fair shares */
	int length;	 /* GRAVITY_CLAMP, or length 1 in any case: forgetting does nothing */
	bool no_inertia; /* 1 + u is 1 */
};
enum { GRAVITY_SUM, GRAVITY_MEAN };
enum { GRAVITY_CLAMP, GRAVITY_SPHERE };

/* alpha .015, beta .001, delta .005, theta .05, rho .995, least .1, noise .01, warm-up 200, sum. */
void gravity_init(struct gravity *g);

/* The rows for a program's table; struct gravity stands at `at` in the program's own struct. */
enum { GRAVITY_ROWS = 10 };
int gravity_rows(struct opt *row, size_t at);

/* The caller's; all of it belongs into a checkpoint. */
struct gravity_keys {
	long n, d;
	float *key;    /* [n][d] */
	float *usage;  /* [n] */
	int64_t *born; /* [n] the step of its rebirth; 0: from the start */
};

struct gravity_batch {
	long tokens;
	int k;
	const float *query; /* [tokens][d] of length 1 */
	const int *choice;  /* [tokens][k] different experts; -1: none */
	const unsigned char
		*real; /* [tokens] 0: padding, which counts for nothing; NULL: all real */
};

struct gravity_done {
	long clamped, forgotten, reborn;
	double farthest; /* that a key moved: |q.k' - q.k| is at most that for |q| = 1 */
};

/*
 * Move the keys after batch number `step` (from 1).  The noise of a rebirth comes from (seed,
 * RNG_MUTATE, step, layer and expert).  The task pool must have been started.
 */
void gravity_step(const struct gravity *g, struct gravity_keys *k, const struct gravity_batch *b,
		  long step, uint64_t seed, int layer, struct gravity_done *done);

/* Bytes that a step takes beside its arguments. */
size_t gravity_bytes(long n, long d, long tokens, int k);

#endif
