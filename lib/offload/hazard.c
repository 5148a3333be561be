#include "offload/hazard.h"
#include "base/mem.h"
#include "math/kern.h"
#include "offload/chance.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PAIR_BYTES = 1 << 28 };

/* Where learning begins: near what it comes to on traces of two models, rounded. */
static const float start[CHANCE_FEATURES] = {
	[CHANCE_ONE] = -.2F,	      [CHANCE_FREQUENT] = .05F,	  [CHANCE_FREQUENT + 1] = .1F,
	[CHANCE_FREQUENT + 2] = .15F, [CHANCE_FOLLOWS] = .4F,	  [CHANCE_USED] = .3F,
	[CHANCE_CHOICE] = .3F,	      [CHANCE_USED_BEFORE] = .2F, [CHANCE_AGE] = -.1F};

struct hazard {
	const struct chance *chance;
	int depth;
	struct chance_layer *layer; /* their rows stand in those below */
	float w[CHANCE_FEATURES];
	float *x[CHANCE_FEATURES], *memory[CHANCE_MEMORIES]; /* [items] each */
	float *since, *next, *worth;			     /* [items] */
	float *error;					     /* [most experts of a layer] */
};

extern const struct chance chance_portable;
#if defined(__x86_64__)
extern const struct chance chance_avx2, chance_avx512;
#endif

const struct chance *
chance_table(void)
{
#if defined(__x86_64__)
	if (!strcmp(kern->name, chance_avx512.name))
		return &chance_avx512;
	if (!strcmp(kern->name, chance_avx2.name))
		return &chance_avx2;
#endif
	return &chance_portable;
}

void
hazard_turn(struct hazard *h, int layer, const uint32_t *item, long n)
{
	h->chance->turn(&h->layer[layer], h->w, item, n, h->error);
}

const float *
hazard_next(const struct hazard *h)
{
	return h->next;
}

const float *
hazard_worth(const struct hazard *h)
{
	return h->worth;
}

/* --- the whole --- */

static float *
floats(long n, float v)
{
	float *x = mem_zero((size_t)n, sizeof *x);

	for (long i = 0; v != 0 && i < n; i++)
		x[i] = v;
	return x;
}

static struct chance_layer
layer_of(const struct hazard *h, long first, long n, bool pairs)
{
	struct chance_layer l = {.first = first,
				 .n = n,
				 .since = h->since + first,
				 .next = h->next + first,
				 .worth = h->worth + first};

	for (int f = 0; f < CHANCE_FEATURES; f++)
		l.x[f] = h->x[f] + first;
	for (int m = 0; m < CHANCE_MEMORIES; m++)
		l.memory[m] = h->memory[m] + first;
	l.last = mem_zero((size_t)n, sizeof *l.last);
	if (pairs) {
		l.pair = mem_zero((size_t)(n * n), sizeof *l.pair);
		l.followed = mem_zero((size_t)n, sizeof *l.followed);
	}
	return l;
}

struct hazard *
hazard_new(int depth, const long *first)
{
	struct hazard *h = mem_zero(1, sizeof *h);
	const long items = first[depth];
	double pairs = 0;
	long most = 0;

	h->chance = chance_table();
	h->depth = depth;
	memcpy(h->w, start, sizeof start);
	for (int f = 0; f < CHANCE_FEATURES; f++)
		h->x[f] = floats(items, f == CHANCE_ONE);
	for (int m = 0; m < CHANCE_MEMORIES; m++)
		h->memory[m] = floats(items, 0);
	h->since = floats(items, CHANCE_LONGEST);
	h->next = floats(items, 0);
	h->worth = floats(items, 0);
	for (int l = 0; l < depth; l++) {
		const long n = first[l + 1] - first[l];
		most = n > most ? n : most;
		pairs += (double)n * (double)n;
	}
	h->error = floats(most, 0);
	h->layer = mem_zero((size_t)depth, sizeof *h->layer);
	for (int l = 0; l < depth; l++)
		h->layer[l] = layer_of(h, first[l], first[l + 1] - first[l],
				       pairs * sizeof(uint16_t) <= PAIR_BYTES);
	return h;
}

void
hazard_free(struct hazard *h)
{
	if (!h)
		return;
	for (int l = 0; l < h->depth; l++) {
		free(h->layer[l].pair);
		free(h->layer[l].followed);
		free(h->layer[l].last);
	}
	for (int f = 0; f < CHANCE_FEATURES; f++)
		free(h->x[f]);
	for (int m = 0; m < CHANCE_MEMORIES; m++)
		free(h->memory[m]);
	free(h->layer);
	free(h->since);
	free(h->next);
	free(h->worth);
	free(h->error);
	free(h);
}
