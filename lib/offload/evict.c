#include "offload/evict.h"
#include "base/mem.h"
#include "offload/learned.h"
#include "offload/limit.h"
#include "offload/recent.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of lfu and decay, also of items that are absent: they count on. */
struct rank {
	double value; /* the least goes */
	long used;    /* among equals the earliest */
};

/* The items of a pool, the first of least rank; children of i: 2i + 1, 2i + 2. */
struct heap {
	uint32_t *item; /* [room] */
	long n;
};

/* What was loaded for the turn to come; `learned` knows it itself. */
struct pin {
	uint32_t item;
	double value; /* its rank before */
};

static const uint32_t absent = UINT32_MAX;

struct evict {
	const struct access_trace *t;
	enum evict_policy policy;
	double half_life;
	int pools;  /* one, or one for each layer */
	long *room; /* [pools] */
	long *n;    /* [pools] items there */
	bool *in;   /* [items] there */

	struct limit **limit;	 /* [pools] of min */
	struct recent *recent;	 /* of lru */
	struct learned *learned; /* of learned */
	struct heap *heap;	 /* [pools] of lfu and decay */
	uint32_t *place;	 /* [items] in its heap */
	struct rank *rank;	 /* [items] of all but learned: that of a pinned one is infinite */

	/* Of loads ahead. */
	bool *ahead; /* [items] loaded and not used since */
	long wasted; /* evicted so */
	double wasted_bytes;
	struct pin *pin;
	long pins, pin_room;
};

static int
pool_of(const struct evict *e, int layer)
{
	return e->pools == 1 ? 0 : layer;
}

/* --- the heap --- */

static bool
below(const struct evict *e, uint32_t a, uint32_t b)
{
	const struct rank *x = &e->rank[a], *y = &e->rank[b];

	return x->value != y->value ? x->value < y->value : x->used < y->used;
}

static void
put(struct evict *e, struct heap *h, long at, uint32_t item)
{
	h->item[at] = item;
	e->place[item] = (uint32_t)at;
}

static void
rise(struct evict *e, struct heap *h, long at, uint32_t item)
{
	for (; at && below(e, item, h->item[(at - 1) / 2]); at = (at - 1) / 2)
		put(e, h, at, h->item[(at - 1) / 2]);
	put(e, h, at, item);
}

static void
sink(struct evict *e, struct heap *h, long at, uint32_t item)
{
	for (long child; (child = 2 * at + 1) < h->n; at = child) {
		if (child + 1 < h->n && below(e, h->item[child + 1], h->item[child]))
			child++;
		if (!below(e, h->item[child], item))
			break;
		put(e, h, at, h->item[child]);
	}
	put(e, h, at, item);
}

/* The rank of an item that is there has changed. */
static void
settle(struct evict *e, struct heap *h, uint32_t item)
{
	const long at = e->place[item];

	if (at && below(e, item, h->item[(at - 1) / 2]))
		rise(e, h, at, item);
	else
		sink(e, h, at, item);
}

static void
heap_drop(struct evict *e, struct heap *h, uint32_t item)
{
	const uint32_t last = h->item[--h->n];

	if (last == item)
		return;
	put(e, h, e->place[item], last);
	settle(e, h, last);
}

/* --- the pool --- */

static bool
pinned(const void *arg, uint32_t item)
{
	const struct evict *e = arg;

	return e->learned ? learned_waits(e->learned, item) : e->rank[item].value == HUGE_VAL;
}

/* The item that gives way to one of this layer; absent where there is room. */
static uint32_t
victim(const struct evict *e, int layer)
{
	const int pool = pool_of(e, layer);

	if (e->n[pool] < e->room[pool])
		return absent;
	switch (e->policy) {
	case EVICT_LRU: return recent_oldest(e->recent, pool, e->pins ? pinned : NULL, e);
	case EVICT_LEARNED: return learned_victim(e->learned, layer);
	default: return e->heap[pool].item[0];
	}
}

static int
layer_of(const struct evict *e, uint32_t item)
{
	int lo = 0, hi = e->t->depth;

	while (hi - lo > 1) {
		const int mid = (lo + hi) / 2;
		if (e->t->first[mid] <= (long)item)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static void
write_off(struct evict *e, uint32_t item)
{
	e->ahead[item] = false;
	e->wasted++;
	e->wasted_bytes += (double)e->t->bytes[layer_of(e, item)];
}

static void
drop(struct evict *e, int pool, uint32_t gone)
{
	if (e->ahead[gone])
		write_off(e, gone);
	e->n[pool]--;
	e->in[gone] = false;
	switch (e->policy) {
	case EVICT_LRU: recent_drop(e->recent, gone); break;
	case EVICT_LEARNED: learned_drop(e->learned, gone); break;
	default: heap_drop(e, &e->heap[pool], gone);
	}
}

/* The item, whose rank may have changed, is in the pool; what was not there yet takes a place. */
static void
use(struct evict *e, int layer, uint32_t item)
{
	const int pool = pool_of(e, layer);
	const bool new = !e->in[item];
	const uint32_t gone = new ? victim(e, layer) : absent;

	if (gone != absent)
		drop(e, pool, gone);
	e->n[pool] += new;
	e->in[item] = true;
	if (e->recent)
		recent_use(e->recent, pool, item);
	else if (e->learned)
		learned_use(e->learned, item);
	else if (new)
		rise(e, &e->heap[pool], e->heap[pool].n++, item);
	else
		settle(e, &e->heap[pool], item);
}

/* --- ranks that stand still --- */

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
	if (e->policy == EVICT_LFU)
		r->value++;
	else
		r->value = decayed(r->value, turn->step / e->half_life);
}

/* --- loading ahead --- */

/* The item does not give way until its turn. */
static void
pin(struct evict *e, uint32_t item)
{
	if (e->learned) {
		learned_expect(e->learned, item);
		return;
	}
	if (e->pins == e->pin_room) {
		e->pin_room = e->pin_room ? 2 * e->pin_room : 16;
		e->pin = mem_grow(e->pin, (size_t)e->pin_room, sizeof *e->pin);
	}
	e->pin[e->pins++] = (struct pin){item, e->rank[item].value};
	e->rank[item].value = HUGE_VAL;
	if (e->heap)
		settle(e, &e->heap[pool_of(e, layer_of(e, item))], item);
}

static void
unpin(struct evict *e, long i)
{
	const struct pin p = e->pin[i];

	e->pin[i] = e->pin[--e->pins];
	e->rank[p.item].value = p.value;
	if (e->heap && e->in[p.item])
		settle(e, &e->heap[pool_of(e, layer_of(e, p.item))], p.item);
}

static void
unpin_item(struct evict *e, uint32_t item)
{
	for (long i = 0; i < e->pins; i++)
		if (e->pin[i].item == item) {
			unpin(e, i);
			return;
		}
}

void
evict_expect(struct evict *e, uint32_t item)
{
	if (e->policy != EVICT_MIN && e->in[item])
		pin(e, item);
}

bool
evict_load(struct evict *e, long k, uint32_t item, double chance, double saves, double waste)
{
	const struct access_turn *turn = &e->t->play.turn[k];
	const uint32_t gone = victim(e, turn->layer);
	const double lost = e->learned && gone != absent ? learned_worth(e->learned, gone) : 0;

	if (e->in[item] || chance * saves <= (1 - chance) * waste + lost ||
	    (gone != absent && pinned(e, gone)))
		return false;
	if (e->heap)
		e->rank[item].used = turn->begin;
	use(e, turn->layer, item);
	pin(e, item);
	e->ahead[item] = true;
	return true;
}

long
evict_wasted(const struct evict *e, double *bytes)
{
	long n = e->wasted;

	*bytes = e->wasted_bytes;
	for (long i = 0; i < e->t->items; i++)
		if (e->ahead[i]) {
			*bytes += (double)e->t->bytes[layer_of(e, (uint32_t)i)];
			n++;
		}
	return n;
}

/* --- a turn --- */

static bool
access_item(struct evict *e, const struct access_turn *turn, long i)
{
	const uint32_t item = e->t->play.item[i];
	const bool hit = e->in[item];

	e->ahead[item] = false;
	unpin_item(e, item);
	if (e->heap)
		rank_access(e, turn, i, item);
	use(e, turn->layer, item);
	if (e->learned)
		learned_compare(e->learned, item, hit);
	return hit;
}

static bool
access_limit(struct evict *e, const struct access_turn *turn, long i)
{
	const long first = e->pools == 1 ? 0 : e->t->first[turn->layer];

	return limit_access(e->limit[pool_of(e, turn->layer)],
			    (uint32_t)(e->t->play.item[i] - first), !turn->warm);
}

long
evict_turn(struct evict *e, long k, bool *hit)
{
	const struct access_turn *turn = &e->t->play.turn[k];
	const long n = turn[1].begin - turn->begin;
	long hits = 0;

	if (e->learned)
		learned_begin(e->learned, k);
	for (long i = 0; i < n; i++) {
		hit[i] = (e->limit ? access_limit : access_item)(e, turn, turn->begin + i);
		hits += hit[i];
	}
	while (e->pins)
		unpin(e, e->pins - 1);
	return hits;
}

/* --- the pools --- */

static long
least_of(long a, long b)
{
	return a < b ? a : b;
}

static void
new_pools(struct evict *e, int slots, bool global)
{
	const struct access_trace *t = e->t;

	e->pools = global ? 1 : t->depth;
	e->room = mem_zero((size_t)e->pools, sizeof *e->room);
	e->n = mem_zero((size_t)e->pools, sizeof *e->n);
	for (int k = 0; k < e->pools; k++)
		e->room[k] = global ? least_of((long)slots * t->layers, t->items)
				    : least_of(slots, t->first[k + 1] - t->first[k]);
}

static void
new_limits(struct evict *e)
{
	const struct access_trace *t = e->t;
	long *accesses = mem_zero((size_t)e->pools, sizeof *accesses);

	for (long k = 0; k < t->play.turns; k++)
		accesses[pool_of(e, t->play.turn[k].layer)] +=
			t->play.turn[k + 1].begin - t->play.turn[k].begin;
	e->limit = mem_zero((size_t)e->pools, sizeof(struct limit *));
	for (int k = 0; k < e->pools; k++)
		e->limit[k] = limit_new(e->room[k],
					e->pools == 1 ? t->items : t->first[k + 1] - t->first[k],
					accesses[k]);
	free(accesses);
}

static void
new_heaps(struct evict *e)
{
	e->heap = mem_zero((size_t)e->pools, sizeof *e->heap);
	for (int k = 0; k < e->pools; k++)
		e->heap[k].item = mem_zero((size_t)e->room[k], sizeof *e->heap->item);
	e->place = mem_zero((size_t)e->t->items, sizeof *e->place);
	for (long i = 0; e->policy == EVICT_DECAY && i < e->t->items; i++)
		e->rank[i].value = -HUGE_VAL;
}

struct evict *
evict_new(const struct access_trace *t, enum evict_policy policy, int slots, bool global,
	  double half_life)
{
	struct evict *e = mem_zero(1, sizeof *e);
	const size_t items = (size_t)t->items;

	e->t = t;
	e->policy = policy;
	e->half_life = half_life;
	new_pools(e, slots, global);
	e->in = mem_zero(items, sizeof *e->in);
	e->ahead = mem_zero(items, sizeof *e->ahead);
	e->rank = mem_zero(items, sizeof *e->rank);
	switch (policy) {
	case EVICT_MIN: new_limits(e); break;
	case EVICT_LRU: e->recent = recent_new(t->items, e->pools); break;
	case EVICT_LEARNED: e->learned = learned_new(t, e->room, global); break;
	default: new_heaps(e);
	}
	return e;
}

void
evict_free(struct evict *e)
{
	if (!e)
		return;
	for (int k = 0; e->limit && k < e->pools; k++)
		limit_free(e->limit[k]);
	for (int k = 0; e->heap && k < e->pools; k++)
		free(e->heap[k].item);
	free(e->limit);
	free(e->heap);
	recent_free(e->recent);
	learned_free(e->learned);
	free(e->room);
	free(e->n);
	free(e->in);
	free(e->place);
	free(e->rank);
	free(e->ahead);
	free(e->pin);
	free(e);
}
