#include "policy/tally.h"
#include "base/err.h"
#include "base/mem.h"
#include "io/trace.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tally
tally_new(bool pairs, double easy, double hard)
{
	return (struct tally){.pairs = pairs, .easy = easy, .hard = hard};
}

void
tally_free(struct tally *t)
{
	for (int i = 0; i < t->layers; i++) {
		free(t->layer[i].sum);
		free(t->layer[i].flow);
		free(t->layer[i].pair);
	}
	free(t->layer);
	*t = (struct tally){0};
}

/* A matrix with rows of `from` as one with rows of `to`. */
static int64_t *
wider(int64_t *m, int from, int to)
{
	int64_t *w = mem_zero((size_t)to * (size_t)to, sizeof *w);

	for (int i = 0; i < from; i++)
		memcpy(w + (size_t)i * (size_t)to, m + (size_t)i * (size_t)from,
		       (size_t)from * sizeof *w);
	free(m);
	return w;
}

void
tally_slots(struct tally *t, int layer, int experts)
{
	struct tally_layer *l;
	int room;

	if (layer >= t->layers) {
		t->layer = mem_grow(t->layer, (size_t)layer + 1, sizeof *t->layer);
		memset(t->layer + t->layers, 0, (size_t)(layer + 1 - t->layers) * sizeof *t->layer);
		t->layers = layer + 1;
	}
	l = &t->layer[layer];
	l->experts = experts > l->experts ? experts : l->experts;
	if (experts <= l->room)
		return;
	for (room = l->room ? l->room : 8; room < experts;)
		room *= 2;
	l->sum = mem_grow(l->sum, (size_t)room, sizeof *l->sum);
	memset(l->sum + l->room, 0, (size_t)(room - l->room) * sizeof *l->sum);
	if (t->pairs && room > TALLY_PAIRS) {
		free(l->flow);
		free(l->pair);
		l->flow = l->pair = NULL;
	} else if (t->pairs) {
		l->flow = wider(l->flow, l->room, room);
		l->pair = wider(l->pair, l->room, room);
	}
	l->room = room;
}

/* The layer, with room for this expert. */
static inline struct tally_layer *
at(struct tally *t, int layer, int expert)
{
	if (layer >= t->layers || expert >= t->layer[layer].experts)
		tally_slots(t, layer, expert + 1);
	return &t->layer[layer];
}

static void
count_first(const struct tally *t, struct tally_layer *l, int expert, int correct,
	    double confidence)
{
	struct tally_sum *s = &l->sum[expert];

	l->tokens++;
	s->first++;
	s->hits += correct > 0;
	if (isnan(confidence))
		return;
	l->rated++;
	s->easy += confidence > t->easy;
	s->hard += confidence < t->hard;
}

void
tally_add(struct tally *t, int layer, const int *choice, int k, int correct, double confidence)
{
	struct tally_layer *l = at(t, layer, choice[0]);

	for (int i = 0; i < k; i++) {
		l = at(t, layer, choice[i]);
		l->sum[choice[i]].routed++;
		for (int j = 0; l->pair && j < i; j++) {
			const int a = choice[i] < choice[j] ? choice[i] : choice[j];
			const int b = choice[i] < choice[j] ? choice[j] : choice[i];
			l->pair[(size_t)a * (size_t)l->room + (size_t)b]++;
		}
	}
	count_first(t, l, choice[0], correct, confidence);
	if (l->flow && k > 1)
		l->flow[(size_t)choice[0] * (size_t)l->room + (size_t)choice[1]]++;
}

/* ---- traces ---- */

/* The rows of one sample. */
struct group {
	int n, layer, correct;
	double confidence;
	int choice[TRACE_RANKS];
};

static void
end_group(struct tally *t, struct group *g)
{
	if (g->n > 0)
		tally_add(t, g->layer, g->choice, g->n, g->correct, g->confidence);
	g->n = 0;
}

static int
add_to_group(struct tally *t, struct group *g, const struct trace_choice *c)
{
	if (c->rank == 0) {
		end_group(t, g);
		g->layer = c->layer;
		g->correct = c->correct;
		g->confidence = c->confidence;
	} else if (g->n == 0) {
		return err_set("rank %d without the ranks before it", c->rank);
	} else if (c->rank != g->n || c->layer != g->layer) {
		return err_set("rank %d of layer %d after rank %d of layer %d (expected rank 0, or "
			       "the next of the same token)",
			       c->rank, c->layer, g->n - 1, g->layer);
	}
	for (int i = 0; i < g->n; i++)
		if (g->choice[i] == c->expert)
			return err_set("expert %d is chosen twice by a token in layer %d",
				       c->expert, c->layer);
	g->choice[g->n++] = c->expert;
	return 0;
}

/* Whether there is such an expert. */
static int
check(const struct trace_choice *c, const struct opt_ints *e)
{
	const int most = e->n == 1 ? e->v[0] : c->layer < e->n ? e->v[c->layer] : 0;

	if (most == 0)
		return err_set("layer %d (expected it below %d)", c->layer, e->n);
	return c->expert < most ? 0
				: err_set("expert %d in layer %d (expected it below %d)", c->expert,
					  c->layer, most);
}

static int
read_rows(struct tally *t, struct trace *f, struct opt_ints experts)
{
	struct group *g = mem_zero(1, sizeof *g);
	struct trace_choice c;
	int got;

	while ((got = trace_next(f, &c)) > 0) {
		if ((experts.n && check(&c, &experts) != 0) ||
		    (t->pairs && add_to_group(t, g, &c) != 0)) {
			got = trace_at(f);
			break;
		}
		if (!t->pairs) {
			struct tally_layer *l = at(t, c.layer, c.expert);
			l->sum[c.expert].routed++;
			if (c.rank == 0)
				count_first(t, l, c.expert, c.correct, c.confidence);
		}
	}
	end_group(t, g);
	free(g);
	return got;
}

int
tally_read(struct tally *t, const char *trace, struct opt_ints experts, bool confidence)
{
	struct trace *f = trace_open(trace, confidence);
	int bad = f ? read_rows(t, f, experts) : -1, most = 0;

	t->correct = f && trace_tells_correct(f);
	trace_close(f);
	if (!bad && t->layers == 0)
		return err_set("%s: no row (expected one of rank 0 for each sample)", trace);
	for (int i = 0; i < t->layers && !bad; i++) {
		const struct tally_layer *l = &t->layer[i];
		most = l->experts > most ? l->experts : most;
		if (l->experts > 0 && l->tokens == 0)
			return err_set("%s: no row of rank 0 in layer %d", trace, i);
	}
	for (int i = 0; i < t->layers && !bad; i++)
		if (t->layer[i].tokens > 0)
			tally_slots(t, i,
				    experts.n > 1    ? experts.v[i]
				    : experts.n == 1 ? experts.v[0]
						     : most);
	return bad;
}

double
tally_coactivation(const struct tally_layer *l)
{
	int64_t most = 0;

	if (!l->pair)
		return NAN;
	for (int i = 0; i < l->experts; i++)
		for (int j = i + 1; j < l->experts; j++) {
			const int64_t n = l->pair[(size_t)i * (size_t)l->room + (size_t)j];
			most = n > most ? n : most;
		}
	return l->tokens ? (double)most / (double)l->tokens : 0;
}
