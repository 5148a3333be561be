#include "offload/predict.h"
#include "base/err.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 48 };

struct predict {
	const struct access_trace *t;
	enum predict_kind kind;
	struct tree *tree;
	uint32_t *uses; /* [items] */
	uint32_t *last; /* [items] the number of the last turn of the play that used it, from 1 */
	uint32_t *turn; /* [depth] the number of the layer's last turn */
	long lesson;	/* the first turn of the prompts that has not been learned */
	float *score;	/* [experts] of the layer that was asked for */
	int *expert;	/* [experts] of a turn, for the tree */
	double seen[BINS], used[BINS];
};

static int
experts_of(const struct predict *p, int layer)
{
	return (int)(p->t->first[layer + 1] - p->t->first[layer]);
}

/* --- scores --- */

/* A score below 1, so that it only orders what is otherwise equal. */
static float
by_frequency(const struct predict *p, uint32_t item)
{
	const float n = (float)p->uses[item];

	return n / (n + 64);
}

static void
score_layer(struct predict *p, long k)
{
	const int layer = p->t->play.turn[k].layer;
	const struct access_list *gate = &p->t->gate;
	const uint32_t first = (uint32_t)p->t->first[layer];

	if (p->kind == PREDICT_TREE) {
		tree_predict(p->tree, layer, p->score);
		return;
	}
	for (int e = 0; e < experts_of(p, layer); e++) {
		const uint32_t item = first + (uint32_t)e;
		p->score[e] = by_frequency(p, item);
		if (p->kind == PREDICT_PREVIOUS && p->last[item] && p->last[item] == p->turn[layer])
			p->score[e]++;
	}
	if (p->kind == PREDICT_GATE)
		for (long i = gate->turn[k].begin; i < gate->turn[k + 1].begin; i++)
			if (p->score[gate->item[i] - first] < 1)
				p->score[gate->item[i] - first]++;
}

/* Bins are narrower for small scores: the square root of the score, 0 to sqrt 2, is cut evenly. */
static int
bin_of(float score)
{
	const int b = (int)(sqrtf(score / 2) * BINS);

	return b < 0 ? 0 : b >= BINS ? BINS - 1 : b;
}

/* With the weight of two experts that were not used. */
static float
chance_of(const struct predict *p, int bin)
{
	return (float)(p->used[bin] / (p->seen[bin] + 2));
}

/* The best, by insertion; equals in the order of experts.  `chance` is the score yet. */
static long
pick(const struct predict *p, int layer, long most, struct predict_guess *guess)
{
	const int experts = experts_of(p, layer);
	long n = 0;

	for (int e = 0; e < experts; e++) {
		long at = n < most ? n++ : most;
		if (at == most && (!most || guess[most - 1].chance >= p->score[e]))
			continue;
		for (at = at == most ? most - 1 : at; at && guess[at - 1].chance < p->score[e];
		     at--)
			guess[at] = guess[at - 1];
		guess[at] = (struct predict_guess){.item = (uint32_t)(p->t->first[layer] + e),
						   .chance = p->score[e]};
	}
	return n;
}

long
predict_turn(struct predict *p, long k, long most, struct predict_guess *guess)
{
	const int layer = p->t->play.turn[k].layer;
	long n;

	score_layer(p, k);
	n = pick(p, layer, most, guess);
	for (long i = 0; i < n; i++)
		guess[i].chance = chance_of(p, bin_of(guess[i].chance));
	return n;
}

/* --- learning --- */

static void
learn_bins(struct predict *p, const struct access_turn *turn)
{
	const uint32_t *item = p->t->play.item;
	const long first = p->t->first[turn->layer];

	for (int e = 0; e < experts_of(p, turn->layer); e++)
		p->seen[bin_of(p->score[e])]++;
	for (long i = turn->begin; i < turn[1].begin; i++)
		p->used[bin_of(p->score[item[i] - first])]++;
}

static void
learn_turn(struct predict *p, const struct access_turn *turn, const uint32_t *item)
{
	const long first = p->t->first[turn->layer];
	long n = 0;

	p->turn[turn->layer]++;
	for (long i = turn->begin; i < turn[1].begin; i++) {
		p->uses[item[i]]++;
		p->last[item[i]] = p->turn[turn->layer];
		p->expert[n++] = (int)(item[i] - first);
	}
	if (p->kind == PREDICT_TREE)
		tree_learn(p->tree, turn->layer, p->expert, n);
}

/* Before the first decoded turn of a part: its prompt, token by token. */
static void
learn_prompt(struct predict *p, int part)
{
	const struct access_list *l = &p->t->prompt;

	if (p->lesson == l->turns || l->turn[p->lesson].part > part)
		return;
	if (p->kind == PREDICT_TREE)
		tree_pause(p->tree);
	for (; p->lesson < l->turns && l->turn[p->lesson].part <= part; p->lesson++)
		learn_turn(p, &l->turn[p->lesson], l->item);
}

void
predict_learn(struct predict *p, long k)
{
	const struct access_turn *turn = &p->t->play.turn[k];

	if (!turn->warm) {
		learn_bins(p, turn);
		learn_turn(p, turn, p->t->play.item);
	} else if (!turn[1].warm || turn[1].part != turn->part) {
		learn_prompt(p, turn->part);
	}
}

/* --- the whole --- */

int
predict_fits(const struct access_trace *t, const struct tree_shape *s)
{
	if (t->depth == s->layers && t->experts <= s->experts)
		return 0;
	return err_set("a trace of %d layers of %d experts does not fit a tree of %d layers of %d: "
		       "is it another model's?",
		       t->depth, t->experts, s->layers, s->experts);
}

struct predict *
predict_new(const struct access_trace *t, enum predict_kind kind, struct tree *tree)
{
	struct predict *p = mem_zero(1, sizeof *p);
	const size_t experts = (size_t)(tree ? tree_shape(tree)->experts : t->experts);

	*p = (struct predict){.t = t, .kind = kind, .tree = tree};
	p->uses = mem_zero((size_t)t->items, sizeof *p->uses);
	p->last = mem_zero((size_t)t->items, sizeof *p->last);
	p->turn = mem_zero((size_t)t->depth, sizeof *p->turn);
	p->score = mem_zero(experts, sizeof *p->score);
	p->expert = mem_zero(experts, sizeof *p->expert);
	if (tree)
		tree_pause(tree);
	return p;
}

void
predict_free(struct predict *p)
{
	if (!p)
		return;
	free(p->uses);
	free(p->last);
	free(p->turn);
	free(p->score);
	free(p->expert);
	free(p);
}
