#include "offload/predict.h"
#include "base/err.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

enum { BINS = 48 };

struct predict {
	int depth;
	const long *first; /* [depth + 1] */
	enum predict_kind kind;
	struct tree *tree;
	uint32_t *uses; /* [items] */
	uint32_t *last; /* [items] the number of the layer's last turn that used it, from 1 */
	uint32_t *turn; /* [depth] the number of the layer's last turn */
	int asked;	/* the layer whose scores these are; -1: none */
	float *score;	/* [experts] */
	int *expert;	/* [experts] of a turn, for the tree */
	double seen[BINS], used[BINS];
};

static int
experts_of(const struct predict *p, int layer)
{
	return (int)(p->first[layer + 1] - p->first[layer]);
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
score_layer(struct predict *p, int layer, const uint32_t *named, long n)
{
	const uint32_t first = (uint32_t)p->first[layer];

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
	for (long i = 0; p->kind == PREDICT_GATE && i < n; i++)
		if (p->score[named[i] - first] < 1)
			p->score[named[i] - first]++;
}

/* Bins are narrower for small scores: the square root of the score, 0 to sqrt 2, is cut evenly. */
static int
bin_of(float score)
{
	const int b = (int)(sqrtf(score / 2) * BINS);

	return b < 0 ? 0 : b >= BINS ? BINS - 1 : b;
}

static float
chance_of(const struct predict *p, float score)
{
	const double before = p->kind != PREDICT_TREE ? 0 : score < 1 ? (double)score : 1;
	const int bin = bin_of(score);

	return (float)((p->used[bin] + 2 * before) / (p->seen[bin] + 2));
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
		guess[at] = (struct predict_guess){.item = (uint32_t)(p->first[layer] + e),
						   .chance = p->score[e]};
	}
	return n;
}

long
predict_turn(struct predict *p, int layer, const uint32_t *named, long n, long most,
	     struct predict_guess *guess)
{
	long found;

	score_layer(p, layer, named, n);
	p->asked = layer;
	found = pick(p, layer, most, guess);
	for (long i = 0; i < found; i++)
		guess[i].chance = chance_of(p, guess[i].chance);
	return found;
}

/* --- learning --- */

static void
learn_bins(struct predict *p, int layer, const uint32_t *item, long n)
{
	for (int e = 0; e < experts_of(p, layer); e++)
		p->seen[bin_of(p->score[e])]++;
	for (long i = 0; i < n; i++)
		p->used[bin_of(p->score[item[i] - p->first[layer]])]++;
}

void
predict_learn(struct predict *p, int layer, const uint32_t *item, long n)
{
	if (p->asked == layer)
		learn_bins(p, layer, item, n);
	p->asked = -1;
	p->turn[layer]++;
	for (long i = 0; i < n; i++) {
		p->uses[item[i]]++;
		p->last[item[i]] = p->turn[layer];
		p->expert[i] = (int)(item[i] - p->first[layer]);
	}
	if (p->kind == PREDICT_TREE)
		tree_learn(p->tree, layer, p->expert, n);
}

void
predict_pause(struct predict *p)
{
	if (p->kind == PREDICT_TREE)
		tree_pause(p->tree);
}

/* --- the whole --- */

int
predict_fits(int depth, int experts, const struct tree_shape *s)
{
	if (depth == s->layers && experts <= s->experts)
		return 0;
	return err_set("%d layers of %d experts do not fit a tree of %d layers of %d: "
		       "is it another model's?",
		       depth, experts, s->layers, s->experts);
}

struct predict *
predict_new(int depth, const long *first, enum predict_kind kind, struct tree *tree)
{
	struct predict *p = mem_zero(1, sizeof *p);
	const size_t items = (size_t)first[depth];
	size_t most = tree ? (size_t)tree_shape(tree)->experts : 1;

	for (int l = 0; l < depth; l++)
		if ((size_t)(first[l + 1] - first[l]) > most)
			most = (size_t)(first[l + 1] - first[l]);
	*p = (struct predict){
		.depth = depth, .first = first, .kind = kind, .tree = tree, .asked = -1};
	p->uses = mem_zero(items, sizeof *p->uses);
	p->last = mem_zero(items, sizeof *p->last);
	p->turn = mem_zero((size_t)depth, sizeof *p->turn);
	p->score = mem_zero(most, sizeof *p->score);
	p->expert = mem_zero(most, sizeof *p->expert);
	predict_pause(p);
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
