#include "offload/evict.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rank {
	double value; /* the least goes */
	long used;    /* among equals the earliest */
};

/* Items resident in one pool, the first of least rank; children of i stand at 2i + 1, 2i + 2. */
struct pool {
	uint32_t *item; /* [room] */
	long n, room;
};

static const uint32_t absent = UINT32_MAX; /* a place */
static const uint32_t never = UINT32_MAX;  /* a next use */

struct evict {
	const struct access_trace *t;
	enum evict_policy policy;
	double half_life;
	bool global;
	int pools;
	struct pool *pool;  /* [pools] */
	uint32_t *place;    /* [items] in its pool, or absent */
	struct rank *rank;  /* [items] also of those that are absent: lfu and decay count on */
	uint32_t *next_use; /* [accesses] of the same item; NULL unless MIN */
};

/* --- the heap --- */

static bool
below(const struct evict *e, uint32_t a, uint32_t b)
{
	const struct rank *x = &e->rank[a], *y = &e->rank[b];

	return x->value != y->value ? x->value < y->value : x->used < y->used;
}

static void
put(struct evict *e, struct pool *p, long at, uint32_t item)
{
	p->item[at] = item;
	e->place[item] = (uint32_t)at;
}

static void
rise(struct evict *e, struct pool *p, long at, uint32_t item)
{
	for (; at && below(e, item, p->item[(at - 1) / 2]); at = (at - 1) / 2)
		put(e, p, at, p->item[(at - 1) / 2]);
	put(e, p, at, item);
}

static void
sink(struct evict *e, struct pool *p, long at, uint32_t item)
{
	for (long child; (child = 2 * at + 1) < p->n; at = child) {
		if (child + 1 < p->n && below(e, p->item[child + 1], p->item[child]))
			child++;
		if (!below(e, p->item[child], item))
			break;
		put(e, p, at, p->item[child]);
	}
	put(e, p, at, item);
}

/* The rank of an item that is there has changed. */
static void
settle(struct evict *e, struct pool *p, uint32_t item)
{
	const long at = e->place[item];

	if (at && below(e, item, p->item[(at - 1) / 2]))
		rise(e, p, at, item);
	else
		sink(e, p, at, item);
}

/* A new item, in a place that is free or that the least gives up. */
static void
admit(struct evict *e, struct pool *p, uint32_t item)
{
	if (p->n < p->room) {
		rise(e, p, p->n++, item);
		return;
	}
	if (e->policy == EVICT_MIN && !below(e, p->item[0], item))
		return;
	e->place[p->item[0]] = absent;
	sink(e, p, 0, item);
}

/* --- ranks --- */

/*
 * log2 of the decayed count, as it would stand at step 0: every item's falls by the same amount
 * per step, so that the order is that of any other moment, and nothing overflows.
 * log2(2^a + 2^b) = max + log2(1 + 2^-|a - b|).
 */
static double
decayed(double count, double now)
{
	const double most = fmax(count, now);

	return most + log2(1 + exp2(-fabs(count - now)));
}

static void
rank_access(struct evict *e, const struct access_turn *turn, long i, uint32_t item)
{
	struct rank *r = &e->rank[item];

	r->used = i;
	switch (e->policy) {
	case EVICT_LRU: break;
	case EVICT_LFU: r->value++; break;
	case EVICT_DECAY: r->value = decayed(r->value, turn->step / e->half_life); break;
	case EVICT_MIN: r->value = -(double)e->next_use[i]; break;
	}
}

/*
 * next_use[i] = min{k > i : item[k] = item[i]} if access k is counted.  If it is a prompt's, there
 * is nothing to be won by keeping the item until then, and it counts as never used again.
 */
static void
foresee(struct evict *e)
{
	const struct access_list *l = &e->t->play;
	uint32_t *next = mem_grow(NULL, (size_t)e->t->items, sizeof *next);

	memset(next, 0xff, (size_t)e->t->items * sizeof *next);
	e->next_use = mem_grow(NULL, (size_t)l->n, sizeof *e->next_use);
	for (long k = l->turns; k--;)
		for (long i = l->turn[k + 1].begin; i-- > l->turn[k].begin;) {
			e->next_use[i] = next[l->item[i]];
			next[l->item[i]] = l->turn[k].warm ? never : (uint32_t)i;
		}
	free(next);
}

/* --- the pools --- */

struct evict *
evict_new(const struct access_trace *t, enum evict_policy policy, int slots, bool global,
	  double half_life)
{
	struct evict *e = mem_zero(1, sizeof *e);
	const size_t items = (size_t)t->items;

	*e = (struct evict){.t = t, .policy = policy, .half_life = half_life, .global = global};
	e->pools = global ? 1 : t->depth;
	e->pool = mem_zero((size_t)e->pools, sizeof *e->pool);
	for (int k = 0; k < e->pools; k++) {
		struct pool *p = &e->pool[k];
		const long all = global ? t->items : t->first[k + 1] - t->first[k];
		const long room = global ? (long)slots * t->layers : slots;
		p->room = room < all ? room : all;
		p->item = mem_zero((size_t)p->room, sizeof *p->item);
	}
	e->place = mem_grow(NULL, items, sizeof *e->place);
	memset(e->place, 0xff, items * sizeof *e->place);
	e->rank = mem_zero(items, sizeof *e->rank);
	for (size_t i = 0; policy == EVICT_DECAY && i < items; i++)
		e->rank[i].value = -HUGE_VAL;
	if (policy == EVICT_MIN)
		foresee(e);
	return e;
}

void
evict_free(struct evict *e)
{
	if (!e)
		return;
	for (int k = 0; k < e->pools; k++)
		free(e->pool[k].item);
	free(e->pool);
	free(e->place);
	free(e->rank);
	free(e->next_use);
	free(e);
}

bool
evict_holds(const struct evict *e, uint32_t item)
{
	return e->place[item] != absent;
}

bool
evict_access(struct evict *e, const struct access_turn *turn, long i)
{
	const uint32_t item = e->t->play.item[i];
	struct pool *p = &e->pool[e->global ? 0 : turn->layer];
	const bool hit = evict_holds(e, item);

	rank_access(e, turn, i, item);
	if (hit)
		settle(e, p, item);
	else
		admit(e, p, item);
	return hit;
}
