#include "offload/learned.h"
#include "base/mem.h"
#include "offload/chance.h"
#include "offload/hazard.h"
#include "offload/recent.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A set of items in the learned order. */
struct side {
	float *value;  /* [items] the worth; `waits`; `absent` */
	uint32_t *low; /* [layers] of those that appear: the item of least value */
	float *least;  /* [layers] its value */
	long apart;    /* items that the shadow holds, and this does not */
};
static const float waits = FLT_MAX, absent = INFINITY;

struct learned {
	const struct access_trace *t;
	const struct chance *chance;
	struct hazard *hazard;
	bool global;
	const long *room; /* [1, or depth] */
	uint16_t *layer;  /* [items] */
	int *order;	  /* [depth] the place of a layer among those that appear */
	float *share;	  /* [2 layers - 1] 1 / d of those whose place is i + 1 - layers ahead */
	float *one;	  /* [most experts of a layer] 1 */
	long lesson;	  /* the first turn of the prompts of this part or a later one */
	struct side pool;
	struct recent *used; /* the pool by last use */
	struct side ghost;
	long *ghosts;	       /* [1, or depth] items it holds */
	struct recent *shadow; /* lru in as many slots */
	long *shadows;
	long lead;     /* hits of the pool more than the shadow's */
	double proven; /* hits of the ghost more than the shadow's, the recent ones */
	double differ; /* recent accesses that hit in one and missed in the other */
	int step;      /* for which these have been aged */
	bool hinted;   /* by a predictor */
};

/* --- a side --- */

static bool
holds(const struct side *s, uint32_t item)
{
	return s->value[item] < absent;
}

static void
find_low(const struct learned *v, struct side *s, int layer)
{
	const long first = v->t->first[layer];
	const float *value = s->value + first;
	const long at = v->chance->least(v->t->first[layer + 1] - first, value, v->one);

	s->low[v->order[layer]] = (uint32_t)(first + at);
	s->least[v->order[layer]] = value[at];
}

static void
set(const struct learned *v, struct side *s, uint32_t item, float value)
{
	const int place = v->order[v->layer[item]];

	s->value[item] = value;
	if (value < s->least[place]) {
		s->low[place] = item;
		s->least[place] = value;
	} else if (s->low[place] == item)
		find_low(v, s, v->layer[item]);
}

static void
use(const struct learned *v, struct side *s, uint32_t item)
{
	if (!holds(s, item))
		s->apart -= recent_has(v->shadow, item);
	set(v, s, item, hazard_worth(v->hazard)[item]);
}

static void
drop(const struct learned *v, struct side *s, uint32_t item)
{
	s->apart += recent_has(v->shadow, item);
	set(v, s, item, absent);
}

/* The item of least rank, at the turn of a layer. */
static uint32_t
lowest(const struct learned *v, const struct side *s, int layer)
{
	const int now = v->order[layer];

	return s->low[v->global ? v->chance->least(v->t->layers, s->least,
						   v->share + v->t->layers - 1 - now)
				: now];
}

/* --- the pool --- */

static bool
stays(const void *v, uint32_t item)
{
	return learned_waits(v, item);
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
may_differ(const struct learned *v, uint32_t item)
{
	const double clear = v->proven - 8;

	if (clear <= 0 || clear * clear <= 36 * v->differ || v->proven < (double)v->ghost.apart)
		return false;
	return v->hinted || !recent_has(v->shadow, item) ||
	       (double)(v->lead - v->pool.apart) + v->proven >= 1;
}

uint32_t
learned_victim(const struct learned *v, int layer)
{
	const uint32_t item = lowest(v, &v->pool, layer);

	if (may_differ(v, item))
		return item;
	return recent_oldest(v->used, v->global ? 0 : layer, v->hinted ? stays : NULL, v);
}

void
learned_use(struct learned *v, uint32_t item)
{
	use(v, &v->pool, item);
	recent_use(v->used, v->global ? 0 : v->layer[item], item);
}

void
learned_drop(struct learned *v, uint32_t item)
{
	drop(v, &v->pool, item);
	recent_drop(v->used, item);
}

void
learned_expect(struct learned *v, uint32_t item)
{
	v->hinted = true;
	set(v, &v->pool, item, waits);
}

bool
learned_waits(const struct learned *v, uint32_t item)
{
	return v->pool.value[item] == waits;
}

double
learned_worth(const struct learned *v, uint32_t item)
{
	return (double)hazard_worth(v->hazard)[item];
}

/* --- beside it --- */

/* Each returns whether it was a hit. */
static bool
play_ghost(struct learned *v, int list, uint32_t item)
{
	const bool hit = holds(&v->ghost, item);

	if (!hit && v->ghosts[list] == v->room[list])
		drop(v, &v->ghost, lowest(v, &v->ghost, v->layer[item]));
	else
		v->ghosts[list] += !hit;
	use(v, &v->ghost, item);
	return hit;
}

static bool
play_shadow(struct learned *v, int list, uint32_t item)
{
	const bool hit = recent_has(v->shadow, item);

	if (!hit && v->shadows[list] == v->room[list]) {
		const uint32_t gone = recent_oldest(v->shadow, list, NULL, NULL);
		recent_drop(v->shadow, gone);
		v->pool.apart -= !holds(&v->pool, gone);
		v->ghost.apart -= !holds(&v->ghost, gone);
	} else
		v->shadows[list] += !hit;
	recent_use(v->shadow, list, item);
	return hit;
}

void
learned_compare(struct learned *v, uint32_t item, bool hit)
{
	const int list = v->global ? 0 : v->layer[item];
	const bool known = play_ghost(v, list, item), old = play_shadow(v, list, item);

	v->lead += hit - old;
	v->proven += known - old;
	v->differ += known != old;
}

/* --- a turn --- */

/* What was proven counts 2^(-age / 128 steps). */
static void
age(struct learned *v, int step)
{
	const double fade = exp2((v->step - step) / 128.);

	if (step == v->step)
		return;
	v->proven *= fade;
	v->differ *= fade;
	v->step = step;
}

/* The rows of a layer are known, token by token, when its batch of the prompt is computed. */
static void
learn_prompt(struct learned *v, const struct access_turn *turn)
{
	const struct access_list *l = &v->t->prompt;

	while (v->lesson < l->turns && l->turn[v->lesson].part < turn->part)
		v->lesson++;
	for (long k = v->lesson; k < l->turns && l->turn[k].part == turn->part; k++)
		if (l->turn[k].layer == turn->layer)
			hazard_turn(v->hazard, turn->layer, l->item + l->turn[k].begin,
				    l->turn[k + 1].begin - l->turn[k].begin);
}

static void
rank_turn(const struct learned *v, struct side *s, const struct access_turn *turn)
{
	const long first = v->t->first[turn->layer];

	v->chance->rank(v->t->first[turn->layer + 1] - first, s->value + first,
			hazard_worth(v->hazard) + first);
	for (long i = turn->begin; i < turn[1].begin; i++)
		if (holds(s, v->t->play.item[i]))
			s->value[v->t->play.item[i]] = waits;
	find_low(v, s, turn->layer);
}

void
learned_begin(struct learned *v, long k)
{
	const struct access_turn *turn = &v->t->play.turn[k];

	age(v, turn->step);
	if (turn->warm)
		learn_prompt(v, turn);
	else
		hazard_turn(v->hazard, turn->layer, v->t->play.item + turn->begin,
			    turn[1].begin - turn->begin);
	rank_turn(v, &v->pool, turn);
	rank_turn(v, &v->ghost, turn);
}

/* --- the whole --- */

static float *
filled(long n, float value)
{
	float *x = mem_zero((size_t)n, sizeof *x);

	for (long i = 0; i < n; i++)
		x[i] = value;
	return x;
}

static struct side
new_side(const struct access_trace *t)
{
	struct side s = {.value = filled(t->items, absent), .least = filled(t->layers, absent)};

	s.low = mem_zero((size_t)t->layers, sizeof *s.low);
	return s;
}

static void
free_side(struct side *s)
{
	free(s->value);
	free(s->low);
	free(s->least);
}

static void
place_layers(struct learned *v)
{
	const struct access_trace *t = v->t;
	long most = 0;

	v->layer = mem_zero((size_t)t->items, sizeof *v->layer);
	v->order = mem_zero((size_t)t->depth, sizeof *v->order);
	for (int l = 0; l < t->depth; l++) {
		const long n = t->first[l + 1] - t->first[l];
		most = n > most ? n : most;
		if (l + 1 < t->depth)
			v->order[l + 1] = v->order[l] + (n > 0);
		for (long i = t->first[l]; i < t->first[l + 1]; i++)
			v->layer[i] = (uint16_t)l;
	}
	v->one = filled(most, 1);
	v->share = filled(2 * t->layers - 1, 1);
	for (int d = 1 - t->layers; d < t->layers; d++)
		v->share[d + t->layers - 1] = 1 / (float)(d > 0 ? d : d + t->layers);
}

struct learned *
learned_new(const struct access_trace *t, const long *room, bool global)
{
	struct learned *v = mem_zero(1, sizeof *v);
	const int lists = global ? 1 : t->depth;

	v->t = t;
	v->room = room;
	v->global = global;
	v->chance = chance_table();
	v->hazard = hazard_new(t->depth, t->first);
	place_layers(v);
	v->pool = new_side(t);
	v->ghost = new_side(t);
	v->used = recent_new(t->items, lists);
	v->shadow = recent_new(t->items, lists);
	v->ghosts = mem_zero((size_t)lists, sizeof *v->ghosts);
	v->shadows = mem_zero((size_t)lists, sizeof *v->shadows);
	return v;
}

void
learned_free(struct learned *v)
{
	if (!v)
		return;
	hazard_free(v->hazard);
	free_side(&v->pool);
	free_side(&v->ghost);
	recent_free(v->used);
	recent_free(v->shadow);
	free(v->layer);
	free(v->order);
	free(v->share);
	free(v->one);
	free(v->ghosts);
	free(v->shadows);
	free(v);
}
