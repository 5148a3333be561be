#ifndef OFFLOAD_REPLAY_H
#define OFFLOAD_REPLAY_H
#include "offload/evict.h"
#include "offload/predict.h"
#include "offload/tier.h"

/* A trace played against a pool of slots: what would have been there, what had to be loaded. */

struct replay_plan {
	enum evict_policy policy;
	int slots; /* for each layer */
	bool global;
	double half_life; /* of EVICT_DECAY, steps */
	enum predict_kind predictor;
	struct tree *tree; /* of PREDICT_TREE: what it knows already; learns on */
	/*
	 * Load ahead what the predictor expects of the next turn, most likely first, where that
	 * saves more than it costs, counted in loads: a load that is used saves s, with the chance
	 * c; one that is not costs `waste`; and the expert that gives way would have been used with
	 * its own chance v, where the policy knows it: c s > (1 - c) waste + v.  s is 1, or with a
	 * clock the share of a load that computing can hide.
	 */
	bool ahead;
	double waste;
	struct tier_clock *clock; /* NULL: none; kept by the counted turns */
};

/* Of the counted accesses alone. */
struct replay_score {
	long accesses, hits;
	long loads;  /* each miss, and each load ahead */
	long wasted; /* loads ahead that were evicted, or were there in the end, without a use */
	double bytes, wasted_bytes; /* of them; 0 where the trace does not tell */
	/*
	 * Of the predictor, asked for k experts, as many as a turn uses in the mean, and for 2k:
	 * those that were used, of all used; of k, those used of all that were named.
	 */
	double recall, recall_2k, precision;
	long budget; /* k */
};

void replay(const struct access_trace *t, const struct replay_plan *plan, struct replay_score *s);
/* The tree, which the trace fits, learns from all of it. */
void replay_learn(const struct access_trace *t, struct tree *tree);

#endif
