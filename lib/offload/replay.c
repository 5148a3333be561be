#include "offload/replay.h"
#include "base/mem.h"
#include <stdlib.h>

/* The accesses of the largest turn. */
static long
most_of_turn(const struct access_list *l)
{
	long most = 0;

	for (long k = 0; k < l->turns; k++)
		if (l->turn[k + 1].begin - l->turn[k].begin > most)
			most = l->turn[k + 1].begin - l->turn[k].begin;
	return most;
}

void
replay(const struct access_trace *t, const struct replay_plan *plan, struct replay_score *s)
{
	struct evict *e = evict_new(t, plan->policy, plan->slots, plan->global, plan->half_life);
	bool *hit = mem_zero((size_t)most_of_turn(&t->play), sizeof *hit);

	*s = (struct replay_score){0};
	for (long k = 0; k < t->play.turns; k++) {
		const struct access_turn *turn = &t->play.turn[k];
		const long n = turn[1].begin - turn->begin, hits = evict_turn(e, k, hit);
		if (turn->warm)
			continue;
		s->accesses += n;
		s->hits += hits;
		s->loads += n - hits;
		s->bytes += (double)(n - hits) * (double)t->bytes[turn->layer];
	}
	evict_free(e);
	free(hit);
}
