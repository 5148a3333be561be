#include "offload/replay.h"

void
replay(const struct access_trace *t, const struct replay_plan *plan, struct replay_score *s)
{
	struct evict *e = evict_new(t, plan->policy, plan->slots, plan->global, plan->half_life);

	*s = (struct replay_score){0};
	for (long k = 0; k < t->play.turns; k++) {
		const struct access_turn *turn = &t->play.turn[k];
		long hits = 0, n = turn[1].begin - turn->begin;
		for (long i = turn->begin; i < turn[1].begin; i++)
			hits += evict_access(e, turn, i);
		if (turn->warm)
			continue;
		s->accesses += n;
		s->hits += hits;
		s->loads += n - hits;
		s->bytes += (double)(n - hits) * (double)t->bytes[turn->layer];
	}
	evict_free(e);
}
