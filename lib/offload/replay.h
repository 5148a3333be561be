#ifndef OFFLOAD_REPLAY_H
#define OFFLOAD_REPLAY_H
#include "offload/evict.h"

/* A trace played against a pool of slots: what would have been there, what had to be loaded. */

struct replay_plan {
	enum evict_policy policy;
	int slots; /* for each layer */
	bool global;
	double half_life; /* of EVICT_DECAY, steps */
};

/* Of the counted accesses alone. */
struct replay_score {
	long accesses, hits;
	long loads;   /* each miss */
	double bytes; /* of them; 0 where the trace does not tell */
};

void replay(const struct access_trace *t, const struct replay_plan *plan, struct replay_score *s);

#endif
