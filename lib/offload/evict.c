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
	long lesson;	      /* the first turn of the prompts of this part or a later one */
	struct line *line;    /* [1, or depth] those that are there by their last use */
	struct evict *shadow; /* lru in as many slots */
	struct evict *ghost;  /* the learned order alone in as many, by the same chances */
	long lead;	      /* hits more than the shadow's */
	long apart;	      /* items that the shadow holds, and this does not */
	double proven;	      /* hits of the ghost more than the shadow's, the recent ones */
	double differ;	      /* recent accesses that hit in one and missed in the other */
	int step;	      /* for which these have been aged */
	bool hinted;	      /* by a predictor */
};

/* A list from the item unused for longest to the one used last. */
struct line {
	uint32_t oldest, newest;
	uint32_t *before, *after; /* [items] all lists' own */
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

static struct heap *
heap_of(const struct evict *e, int layer)
{
	return &e->heap[e->one_heap ? 0 : layer];
}

static struct line *
line_of(const struct evict *e, int layer)
{
	return &e->line[e->global ? 0 : layer];
}

static void
line_leave(struct line *l, uint32_t item)
{
	const uint32_t before = l->before[item], after = l->after[item];

	*(before == absent ? &l->oldest : &l->after[before]) = after;
	*(after == absent ? &l->newest : &l->before[after]) = before;
}

static void
line_join(struct line *l, uint32_t item)
{
	l->before[item] = l->newest;
	l->after[item] = absent;
	*(l->newest == absent ? &l->oldest : &l->after[l->newest]) = item;
	l->newest = item;
}

static void
drop(struct evict *e, uint32_t gone)
{
	const int layer = layer_of(e, gone);
	struct heap *h = heap_of(e, layer);
	const long at = e->place[gone];
	const uint32_t last = h->item[--h->n];

	if (e->ahead[gone]) {
		e->ahead[gone] = false;
		e->wasted++;
		e->wasted_bytes += (double)e->t->bytes[layer];
	}
	if (e->line)
		line_leave(line_of(e, layer), gone);
	if (e->shadow)
		e->apart += evict_holds(e->shadow, gone);
	e->n--;
	e->place[gone] = absent;
	if (last == gone)
		return;
	put(e, h, at, last);
	settle(e, h, last);
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

static bool
crowded(const struct evict *e, int layer)
{
	const struct heap *h = heap_of(e, layer);

	return e->global ? e->n >= e->room : h->n >= h->room;
}

/* Of a crowded pool, by rank. */
static uint32_t
least(const struct evict *e, int layer)
{
	return (e->global && !e->one_heap ? least_of_layers(e, layer) : heap_of(e, layer))->item[0];
}

/* The one unused for longest; none that a predictor has asked for. */
static uint32_t
oldest(const struct evict *e, int layer)
{
	const struct line *l = line_of(e, layer);
	uint32_t item = l->oldest;

	while (e->hinted && e->rank[item].value == HUGE_VAL && l->after[item] != absent)
		item = l->after[item];
	return item;
}

/*
 * May the item of least rank give way, though it may not be the oldest?  The learned order has to
 * have been the better one where nothing was at stake, in the ghost: by eight hits and six standard
 * deviations of what would be seen were both equally good, and by more than the ghost could still
 * lose.  And then no more is staked than what was won there.
 *
 * What a pool could lose is lead - apart: at worst each item that the shadow holds, and it does
 * not, is used next.  Giving up another of the shadow's takes one from that, and nothing else does:
 * where the pool follows the shadow's order, a miss that is the shadow's hit brings one of those
 * apart, and it is one of this pool's own that goes, for each of them is older than all of the
 * shadow's.
 */
static bool
may_differ(const struct evict *e, uint32_t item)
{
	if (e->proven <= 8 + 6 * sqrt(e->differ) || e->proven < (double)e->ghost->apart)
		return false;
	return e->hinted || !evict_holds(e->shadow, item) ||
	       (double)(e->lead - e->apart) + e->proven >= 1;
}

/* The item of a crowded pool that gives way to one of this layer. */
static uint32_t
victim(const struct evict *e, int layer)
{
	const uint32_t item = least(e, layer);

	return !e->line || may_differ(e, item) ? item : oldest(e, layer);
}

/* A new item, in a place that is free or that another gives up. */
static void
admit(struct evict *e, int layer, uint32_t item)
{
	struct heap *h = heap_of(e, layer);

	if (crowded(e, layer)) {
		const uint32_t gone = victim(e, layer);
		if (e->policy == EVICT_MIN && !below(e, gone, item))
			return;
		drop(e, gone);
	}
	if (e->line)
		line_join(line_of(e, layer), item);
	if (e->shadow)
		e->apart -= evict_holds(e->shadow, item);
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

static double
expected(const struct evict *e, uint32_t item)
{
	const double p = (double)hazard_next(e->hazard)[item];
	const double q = (double)hazard_later(e->hazard)[item];

	return fmax(p, q / (1 + q - p));
}

static void
rank_access(struct evict *e, const struct access_turn *turn, long i, uint32_t item)
{
	struct rank *r = &e->rank[item];

	r->used = i;
	switch (e->policy) {
	case EVICT_LRU: break;
	case EVICT_LEARNED: r->value = expected(e, item); break;
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

static void
rank_layer(struct evict *e, int layer)
{
	struct heap *h = &e->heap[layer];

	for (long i = 0; i < h->n; i++)
		e->rank[h->item[i]].value = expected(e, h->item[i]);
}

/* What was proven counts 2^(-age / 128 steps). */
static void
age(struct evict *e, int step)
{
	const double fade = exp2((e->step - step) / 128.);

	if (step == e->step)
		return;
	e->proven *= fade;
	e->differ *= fade;
	e->step = step;
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

	age(e, turn->step);
	if (turn->warm)
		learn_prompt(e, turn);
	else
		hazard_turn(e->hazard, turn->layer, item, n);
	for (struct evict *v = e; v; v = v->ghost) {
		rank_layer(v, turn->layer);
		for (long i = 0; i < n; i++)
			v->rank[item[i]].value = HUGE_VAL;
		settle_all(v, &v->heap[turn->layer]);
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
	e->hinted = true;
	if (!evict_holds(e, item) || e->policy == EVICT_MIN)
		return;
	pin(e, item);
	settle(e, heap_of(e, e->t->play.turn[k].layer), item);
}

bool
evict_load(struct evict *e, long k, uint32_t item, double chance, double saves, double waste)
{
	const struct access_turn *turn = &e->t->play.turn[k];
	const uint32_t gone = crowded(e, turn->layer) ? victim(e, turn->layer) : absent;
	const bool known = e->policy == EVICT_LEARNED && gone != absent;
	const double lost = known ? expected(e, gone) : 0;

	e->hinted = true;
	if (evict_holds(e, item) || chance * saves <= (1 - chance) * waste + lost ||
	    (gone != absent && e->rank[gone].value == HUGE_VAL))
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
	if (hit)
		settle(e, heap_of(e, turn->layer), item);
	else
		admit(e, turn->layer, item);
	return hit;
}

/* The pool, its shadow and its ghost, side by side. */
static bool
access_all(struct evict *e, const struct access_turn *turn, long i)
{
	const uint32_t item = e->t->play.item[i];
	const bool hit = access_item(e, turn, i), known = access_item(e->ghost, turn, i);
	struct line *l = line_of(e, turn->layer);
	struct evict *s = e->shadow;
	uint32_t gone = absent;
	bool old;

	if (hit) {
		line_leave(l, item);
		line_join(l, item);
	}
	if (!evict_holds(s, item) && crowded(s, turn->layer))
		gone = victim(s, turn->layer);
	old = access_item(s, turn, i);
	e->lead += hit - old;
	e->apart -= gone != absent && !evict_holds(e, gone);
	e->ghost->apart -= gone != absent && !evict_holds(e->ghost, gone);
	e->proven += known - old;
	e->differ += known != old;
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
		hit[i] = (e->line ? access_all : access_item)(e, turn, turn->begin + i);
		hits += hit[i];
	}
	while (e->pins)
		unpin(e, e->pins - 1, heap_of(e, turn->layer));
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

static uint32_t *
all_absent(size_t n)
{
	uint32_t *v = mem_grow(NULL, n, sizeof *v);

	memset(v, 0xff, n * sizeof *v);
	return v;
}

static struct evict *
make(const struct access_trace *t, enum evict_policy policy, int slots, bool global,
     double half_life)
{
	struct evict *e = mem_zero(1, sizeof *e);
	const size_t items = (size_t)t->items;

	*e = (struct evict){.t = t, .policy = policy, .half_life = half_life, .global = global};
	new_heaps(e, slots);
	e->place = all_absent(items);
	e->rank = mem_zero(items, sizeof *e->rank);
	e->ahead = mem_zero(items, sizeof *e->ahead);
	for (size_t i = 0; policy == EVICT_DECAY && i < items; i++)
		e->rank[i].value = -HUGE_VAL;
	return e;
}

static void
new_learned(struct evict *e, int slots)
{
	const struct access_trace *t = e->t;
	const int lines = e->global ? 1 : t->depth;
	uint32_t *before = all_absent((size_t)t->items), *after = all_absent((size_t)t->items);

	e->hazard = hazard_new(t->depth, t->first);
	e->shadow = evict_new(t, EVICT_LRU, slots, e->global, 1);
	e->order = mem_zero((size_t)t->depth, sizeof *e->order);
	for (int l = 1; l < t->depth; l++)
		e->order[l] = e->order[l - 1] + (t->first[l] > t->first[l - 1]);
	e->line = mem_zero((size_t)lines, sizeof *e->line);
	for (int l = 0; l < lines; l++)
		e->line[l] = (struct line){absent, absent, before, after};
	e->ghost = make(t, EVICT_LEARNED, slots, e->global, 1);
	e->ghost->hazard = e->hazard;
	e->ghost->order = e->order;
	e->ghost->shadow = e->shadow;
}

struct evict *
evict_new(const struct access_trace *t, enum evict_policy policy, int slots, bool global,
	  double half_life)
{
	struct evict *e = make(t, policy, slots, global, half_life);

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
	if (e->ghost) {
		e->ghost->hazard = NULL; /* lent to it */
		e->ghost->order = NULL;
		e->ghost->shadow = NULL;
	}
	evict_free(e->ghost);
	evict_free(e->shadow);
	hazard_free(e->hazard);
	free(e->order);
	if (e->line) {
		free(e->line->before);
		free(e->line->after);
	}
	free(e->line);
	free(e);
}
