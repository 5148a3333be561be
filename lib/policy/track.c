#include "policy/track.h"
#include "base/mem.h"
#include "policy/ecology.h"
#include <math.h>
#include <stdlib.h>

/* An expert between two censuses. */
struct life {
	int layer;
	long expert;
	bool dead;
	int against; /* censuses in a row that speak against its state */
};

struct track {
	struct track_rule rule;
	int n, room;
	struct life *life; /* by layer, then expert */
	int layers;
	struct track_layer *layer;
};

struct track *
track_new(struct track_rule rule)
{
	struct track *t = mem_zero(1, sizeof *t);

	t->rule = rule;
	return t;
}

void
track_free(struct track *t)
{
	if (!t)
		return;
	free(t->life);
	free(t->layer);
	free(t);
}

static int
by_place(const void *a, const void *b)
{
	const struct life *x = a, *y = b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return (x->expert > y->expert) - (x->expert < y->expert);
}

/* One more census of an expert: whether its state changes with it. */
static bool
turns(const struct track_rule *rule, struct life *x, double usage)
{
	const bool low = (float)usage < (float)rule->limit;

	x->against = low != x->dead ? x->against + 1 : 0;
	if (x->against < rule->window)
		return false;
	x->against = 0;
	x->dead = low;
	return true;
}

/* What is remembered of each expert of this census, in its order; newcomers begin. */
static struct life *
lives(const struct track *t, const struct policy_step *s)
{
	struct life *now = mem_zero((size_t)s->n, sizeof *now);

	for (int i = 0; i < s->n; i++) {
		const struct life key = {.layer = s->row[i].layer, .expert = s->row[i].expert};
		const struct life *was =
			t->n ? bsearch(&key, t->life, (size_t)t->n, sizeof key, by_place) : NULL;
		now[i] = was ? *was : key;
	}
	return now;
}

static struct track_layer
follow(const struct track *t, const struct policy_row *r, struct life *x, int n)
{
	struct track_layer l = {.layer = r->layer, .experts = n};

	for (int i = 0; i < n; i++) {
		if (turns(&t->rule, &x[i], r[i].usage))
			*(x[i].dead ? &l.deaths : &l.revivals) += 1;
		l.dead += x[i].dead;
		if (r[i].usage > 0) /* who had no sample has no accuracy */
			l.accuracy += r[i].usage * r[i].accuracy;
	}
	l.active = n - l.dead;
	return l;
}

const struct track_layer *
track_step(struct track *t, const struct policy_step *s)
{
	struct life *now = lives(t, s);

	t->layer = mem_grow(t->layer, (size_t)s->layers, sizeof *t->layer);
	for (int k = 0; k < s->layers; k++)
		t->layer[k] = follow(t, s->row + s->begin[k], now + s->begin[k],
				     s->begin[k + 1] - s->begin[k]);
	qsort(now, (size_t)s->n, sizeof *now, by_place);
	free(t->life);
	t->life = now;
	t->n = s->n;
	return t->layer;
}

void
track_tiers(const struct policy_row *r, int n, int tiers, const int *size, double *usage)
{
	for (int i = 0; i < tiers; i++)
		usage[i] = 0;
	for (int i = 0; i < n; i++) {
		const int tier = ecology_tier(tiers, size, r[i].slot);
		if (tier < tiers)
			usage[tier] += r[i].usage;
	}
}
