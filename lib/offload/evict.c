#include "offload/evict.h"
#include "base/mem.h"
#include "offload/hazard.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rank {
	double value; /* the least goes */
	long used;    /* among equals the earliest */
};

/* Items resident of one layer or of all, the first of least rank; children of i: 2i + 1, 2i + 2. */
struct heap {
	uint32_t *item; /* [room] */
	long n, room;
};

static const uint32_t absent = UINT32_MAX; /* a place */
static const uint32_t never = UINT32_MAX;  /* a next use */

struct evict {
	const struct access_trace *t;
	enum evict_policy policy;
	double half_life;
	bool global;   /* one pool: the heaps share `room` */
	bool one_heap; /* for all layers: ranks of different layers compare */
	long n, room;  /* of all heaps */
	int heaps;
	struct heap *heap;  /* [heaps] */
	uint32_t *place;    /* [items] in its heap, or absent */
	struct rank *rank;  /* [items] also of those that are absent: lfu and decay count on */
	uint32_t *next_use; /* [accesses] of the same item; NULL unless MIN */

	/* Of loads ahead. */
	bool *ahead; /* [items] loaded and not used since */
	long wasted; /* evicted so */
	double wasted_bytes;
	uint32_t *pinned; /* [pins] loaded for the turn to come */
	double *value;	  /* [pins] their ranks; learned ranks them anew */
	long pins, pin_room;

	/* Of learned. */
	struct hazard *hazard;
	int *order;	      /* [depth] the place of a layer among those that appear */
	struct evict *shadow; /* lru in as many slots */
	double lead;	      /* hits more than the shadow's, the recent ones */
	double differ;	      /* recent accesses that hit in one and missed in the other */
	int step;	      /* for which the lead has been aged */
	bool follow;	      /* lru's order */
	bool *shadow_hit;     /* [most accesses of a turn] */
	long lesson;	      /* the first turn of the prompts of this part or a later one */
};

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

/* All of them have. */
static void
settle_all(struct evict *e, struct heap *h)
{
	for (long at = h->n / 2; at--;)
		sink(e, h, at, h->item[at]);
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
drop_first(struct evict *e, struct heap *h)
{
	const uint32_t gone = h->item[0];

	if (e->ahead[gone]) {
		e->ahead[gone] = false;
		e->wasted++;
		e->wasted_bytes += (double)e->t->bytes[layer_of(e, gone)];
	}
	h->n--;
	e->n--;
	if (h->n)
		sink(e, h, 0, h->item[h->n]);
	e->place[gone] = absent;
}

/* --- who gives way --- */

/* Turns until that of `layer`, when it is the turn of `now`: 1 to L. */
static int
turns_until(const struct evict *e, int layer, int now)
{
	const int d = e->order[layer] - e->order[now];

	return d > 0 ? d : d + e->t->layers;
}

/* The layer whose first item has the least rank, at the turn of layer `now`. */
static struct heap *
least_of_layers(const struct evict *e, int now)
{
	struct rank least = {.value = HUGE_VAL};
	struct heap *found = NULL;

	for (int l = 0; l < e->heaps; l++) {
		struct heap *h = &e->heap[l];
		struct rank r;
		if (!h->n)
			continue;
		r = e->rank[h->item[0]];
		r.value /= turns_until(e, l, now);
		if (!found || r.value < least.value ||
		    (r.value == least.value && r.used < least.used)) {
			least = r;
			found = h;
		}
	}
	return found;
}

static struct heap *
heap_of(const struct evict *e, int layer)
{
	return &e->heap[e->one_heap ? 0 : layer];
}

/* Whose first item gives way to one of this layer; NULL: there is room. */
static struct heap *
crowded(const struct evict *e, int layer)
{
	struct heap *h = heap_of(e, layer);

	if (e->global ? e->n < e->room : h->n < h->room)
		return NULL;
	return e->global && !e->one_heap ? least_of_layers(e, layer) : h;
}

/* A new item, in a place that is free or that the least gives up. */
static void
admit(struct evict *e, int layer, uint32_t item)
{
	struct heap *h = heap_of(e, layer), *from = crowded(e, layer);

	if (from) {
		if (e->policy == EVICT_MIN && !below(e, h->item[0], item))
			return;
		drop_first(e, from);
	}
	e->n++;
	rise(e, h, h->n++, item);
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
	switch (e->policy) {
	case EVICT_LRU:
	case EVICT_LEARNED: break;
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

/* --- the learned rank --- */

static double
expected(const struct evict *e, uint32_t item)
{
	const double p = (double)hazard_next(e->hazard)[item];
	const double q = (double)hazard_later(e->hazard)[item];

	return e->follow ? 0 : fmax(p, q / (1 + q - p));
}

static void
rank_layer(struct evict *e, int layer)
{
	struct heap *h = &e->heap[layer];

	for (long i = 0; i < h->n; i++)
		e->rank[h->item[i]].value = expected(e, h->item[i]);
}

/*
 * lead = sum over accesses of (hit - the shadow's hit) 2^(-age / 128 steps), differ likewise of its
 * square.  Were both equally good, lead would have the variance differ: the shadow's order is
 * followed while it leads by more than a standard deviation.  Sides change between two steps, so
 * that a turn has one order.
 */
static void
choose_side(struct evict *e, const struct access_turn *turn)
{
	const double fade = exp2((e->step - turn->step) / 128.);
	bool follow;

	if (turn->step == e->step)
		return;
	e->lead *= fade;
	e->differ *= fade;
	e->step = turn->step;
	follow = e->lead < -sqrt(e->differ);
	if (follow == e->follow)
		return;
	e->follow = follow;
	for (int l = 0; l < e->heaps; l++) {
		rank_layer(e, l);
		settle_all(e, &e->heap[l]);
	}
}

/* The rows of a layer are known, token by token, when its batch of the prompt is computed. */
static void
learn_prompt(struct evict *e, const struct access_turn *turn)
{
	const struct access_list *l = &e->t->prompt;

	while (e->lesson < l->turns && l->turn[e->lesson].part < turn->part)
		e->lesson++;
	for (long k = e->lesson; k < l->turns && l->turn[k].part == turn->part; k++)
		if (l->turn[k].layer == turn->layer)
			hazard_turn(e->hazard, turn->layer, l->item + l->turn[k].begin,
				    l->turn[k + 1].begin - l->turn[k].begin);
}

/* Before the accesses: learn from the turn, and keep those of its items that wait for theirs. */
static void
begin_learned(struct evict *e, const struct access_turn *turn)
{
	const uint32_t *item = e->t->play.item + turn->begin;
	const long n = turn[1].begin - turn->begin;

	choose_side(e, turn);
	if (turn->warm)
		learn_prompt(e, turn);
	else
		hazard_turn(e->hazard, turn->layer, item, n);
	rank_layer(e, turn->layer);
	for (long i = 0; i < n; i++)
		e->rank[item[i]].value = HUGE_VAL;
	settle_all(e, &e->heap[turn->layer]);
}

static void
end_learned(struct evict *e, const struct access_turn *turn, long k, const bool *hit)
{
	const long n = turn[1].begin - turn->begin;

	evict_turn(e->shadow, k, e->shadow_hit);
	for (long i = 0; !turn->warm && i < n; i++) {
		e->lead += hit[i] - e->shadow_hit[i];
		e->differ += hit[i] != e->shadow_hit[i];
	}
}

/* --- loading ahead --- */

/* The item does not give way until its turn.  Then `learned` ranks its layer anew. */
static void
pin(struct evict *e, uint32_t item)
{
	const double was = e->rank[item].value;

	e->rank[item].value = HUGE_VAL;
	if (e->policy == EVICT_LEARNED)
		return;
	if (e->pins == e->pin_room) {
		e->pin_room = e->pin_room ? 2 * e->pin_room : 16;
		e->pinned = mem_grow(e->pinned, (size_t)e->pin_room, sizeof *e->pinned);
		e->value = mem_grow(e->value, (size_t)e->pin_room, sizeof *e->value);
	}
	e->pinned[e->pins] = item;
	e->value[e->pins++] = was;
}

static void
unpin(struct evict *e, long i, struct heap *h)
{
	const uint32_t item = e->pinned[i];

	e->rank[item].value = e->value[i];
	e->pins--;
	e->pinned[i] = e->pinned[e->pins];
	e->value[i] = e->value[e->pins];
	if (evict_holds(e, item))
		settle(e, h, item);
}

static void
unpin_item(struct evict *e, uint32_t item, struct heap *h)
{
	for (long i = 0; i < e->pins; i++)
		if (e->pinned[i] == item) {
			unpin(e, i, h);
			return;
		}
}

void
evict_expect(struct evict *e, long k, uint32_t item)
{
	if (!evict_holds(e, item) || e->policy == EVICT_MIN)
		return;
	pin(e, item);
	settle(e, heap_of(e, e->t->play.turn[k].layer), item);
}

bool
evict_load(struct evict *e, long k, uint32_t item, double chance, double saves, double waste)
{
	const struct access_turn *turn = &e->t->play.turn[k];
	const struct heap *from = crowded(e, turn->layer);
	const bool known = e->policy == EVICT_LEARNED && from;
	/* cppcheck-suppress nullPointerRedundantCheck ; known has asked */
	const double lost = known ? expected(e, from->item[0]) : 0;

	if (evict_holds(e, item) || chance * saves <= (1 - chance) * waste + lost ||
	    (from && e->rank[from->item[0]].value == HUGE_VAL))
		return false;
	e->rank[item].used = turn->begin;
	pin(e, item);
	admit(e, turn->layer, item);
	e->ahead[item] = true;
	return true;
}

long
evict_wasted(const struct evict *e, double *bytes)
{
	long n = e->wasted;

	*bytes = e->wasted_bytes;
	for (int k = 0; k < e->heaps; k++)
		for (long i = 0; i < e->heap[k].n; i++)
			if (e->ahead[e->heap[k].item[i]]) {
				*bytes += (double)e->t->bytes[layer_of(e, e->heap[k].item[i])];
				n++;
			}
	return n;
}

/* --- a turn --- */

static bool
access_item(struct evict *e, const struct access_turn *turn, long i)
{
	const uint32_t item = e->t->play.item[i];
	const bool hit = evict_holds(e, item);

	e->ahead[item] = false;
	unpin_item(e, item, heap_of(e, turn->layer));
	rank_access(e, turn, i, item);
	if (e->policy == EVICT_LEARNED)
		e->rank[item].value = expected(e, item);
	if (hit)
		settle(e, heap_of(e, turn->layer), item);
	else
		admit(e, turn->layer, item);
	return hit;
}

long
evict_turn(struct evict *e, long k, bool *hit)
{
	const struct access_turn *turn = &e->t->play.turn[k];
	const long n = turn[1].begin - turn->begin;
	long hits = 0;

	if (e->policy == EVICT_LEARNED)
		begin_learned(e, turn);
	for (long i = 0; i < n; i++) {
		hit[i] = access_item(e, turn, turn->begin + i);
		hits += hit[i];
	}
	while (e->pins)
		unpin(e, e->pins - 1, heap_of(e, turn->layer));
	if (e->policy == EVICT_LEARNED)
		end_learned(e, turn, k, hit);
	return hits;
}

bool
evict_holds(const struct evict *e, uint32_t item)
{
	return e->place[item] != absent;
}

/* --- the pools --- */

static long
least_of(long a, long b)
{
	return a < b ? a : b;
}

static void
new_heaps(struct evict *e, int slots)
{
	const struct access_trace *t = e->t;

	e->room = least_of((long)slots * t->layers, t->items);
	e->one_heap = e->global && e->policy != EVICT_LEARNED;
	e->heaps = e->one_heap ? 1 : t->depth;
	e->heap = mem_zero((size_t)e->heaps, sizeof *e->heap);
	for (int k = 0; k < e->heaps; k++) {
		struct heap *h = &e->heap[k];
		const long all = e->one_heap ? t->items : t->first[k + 1] - t->first[k];
		h->room = least_of(e->global ? e->room : slots, all);
		h->item = mem_zero((size_t)h->room, sizeof *h->item);
	}
}

static void
new_learned(struct evict *e, int slots)
{
	const struct access_trace *t = e->t;
	long most = 0;

	e->hazard = hazard_new(t->depth, t->first);
	e->shadow = evict_new(t, EVICT_LRU, slots, e->global, 1);
	e->order = mem_zero((size_t)t->depth, sizeof *e->order);
	for (int l = 1; l < t->depth; l++)
		e->order[l] = e->order[l - 1] + (t->first[l] > t->first[l - 1]);
	for (long k = 0; k < t->play.turns; k++) {
		const long n = t->play.turn[k + 1].begin - t->play.turn[k].begin;
		most = n > most ? n : most;
	}
	e->shadow_hit = mem_zero((size_t)most, sizeof *e->shadow_hit);
}

struct evict *
evict_new(const struct access_trace *t, enum evict_policy policy, int slots, bool global,
	  double half_life)
{
	struct evict *e = mem_zero(1, sizeof *e);
	const size_t items = (size_t)t->items;

	*e = (struct evict){.t = t, .policy = policy, .half_life = half_life, .global = global};
	new_heaps(e, slots);
	e->place = mem_grow(NULL, items, sizeof *e->place);
	memset(e->place, 0xff, items * sizeof *e->place);
	e->rank = mem_zero(items, sizeof *e->rank);
	e->ahead = mem_zero(items, sizeof *e->ahead);
	for (size_t i = 0; policy == EVICT_DECAY && i < items; i++)
		e->rank[i].value = -HUGE_VAL;
	if (policy == EVICT_MIN)
		foresee(e);
	if (policy == EVICT_LEARNED)
		new_learned(e, slots);
	return e;
}

void
evict_free(struct evict *e)
{
	if (!e)
		return;
	for (int k = 0; k < e->heaps; k++)
		free(e->heap[k].item);
	free(e->heap);
	free(e->place);
	free(e->rank);
	free(e->next_use);
	free(e->ahead);
	free(e->pinned);
	free(e->value);
	hazard_free(e->hazard);
	evict_free(e->shadow);
	free(e->order);
	free(e->shadow_hit);
	free(e);
}
