#include "offload/limit.h"
#include "base/mem.h"
#include <stdlib.h>

/* The first moment of a set; in it stands how far the M of the set before is above its own. */
static const uint32_t first = 1U << 31;

struct limit {
	uint32_t
		*moment; /* [accesses + 1] a first one, or an earlier one of its set; 0: M = room */
	uint32_t *last;	 /* [items] the moment of the last access, 0: none */
	uint32_t now;
	uint32_t set; /* the last set */
	uint32_t m;   /* M of it */
};

static uint32_t
set_of(uint32_t *moment, uint32_t s)
{
	while (!(moment[s] & first)) {
		const uint32_t before = moment[s];
		if (!(moment[before] & first))
			moment[s] = moment[before];
		s = before;
	}
	return s;
}

/* M grows by one in this set and those after it. */
static void
grow(struct limit *l, uint32_t set)
{
	l->m++;
	if (--l->moment[set] != first)
		return;
	l->moment[set] = set_of(l->moment, set - 1);
	if (l->set == set)
		l->set = l->moment[set];
}

/* Nothing holds the present yet. */
static void
begin_moment(struct limit *l)
{
	l->now++;
	if (l->m) {
		l->set = l->now;
		l->moment[l->now] = first | l->m;
		l->m = 0;
	} else
		l->moment[l->now] = l->set;
}

bool
limit_access(struct limit *l, uint32_t item, bool counted)
{
	const uint32_t set = counted ? set_of(l->moment, l->last[item]) : 0;

	if (set)
		grow(l, set);
	begin_moment(l);
	l->last[item] = l->now;
	return set;
}

struct limit *
limit_new(long room, long items, long accesses)
{
	struct limit *l = mem_zero(1, sizeof *l);

	l->moment = mem_grow(NULL, (size_t)accesses + 1, sizeof *l->moment);
	l->last = mem_zero((size_t)items, sizeof *l->last);
	l->moment[0] = first;
	l->m = (uint32_t)room;
	return l;
}

void
limit_free(struct limit *l)
{
	if (!l)
		return;
	free(l->moment);
	free(l->last);
	free(l);
}
