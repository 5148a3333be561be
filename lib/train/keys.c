#include "train/keys.h"
#include "base/mem.h"
#include "model/keystore.h"
#include <stdlib.h>
#include <string.h>

struct keys {
	long tokens; /* of a batch */
	int batches, layers, k;
	struct seen {
		float *query; /* [batches N, C] */
		int *choice;  /* [batches N, K] */
	} * seen;	      /* [L] */
	void *block;
	size_t bytes;
};

static size_t
lay_out(struct seen *seen, void *block, const struct shape *s, long tokens, int batches)
{
	const size_t all = (size_t)tokens * (size_t)batches;
	struct arena a = {.base = block};

	for (int l = 0; l < s->layers; l++) {
		seen[l].query = arena_take(&a, all * (size_t)s->dim, sizeof *seen->query);
		seen[l].choice = arena_take(&a, all * (size_t)s->top_k, sizeof *seen->choice);
	}
	return a.used;
}

struct keys *
keys_new(const struct shape *s, long tokens, int batches)
{
	struct keys *k = mem_zero(1, sizeof *k);

	*k = (struct keys){
		.tokens = tokens, .batches = batches, .layers = s->layers, .k = s->top_k};
	k->seen = mem_zero((size_t)s->layers, sizeof *k->seen);
	k->bytes = lay_out(k->seen, NULL, s, tokens, batches);
	k->block = mem_map(k->bytes);
	lay_out(k->seen, k->block, s, tokens, batches);
	return k;
}

void
keys_free(struct keys *k)
{
	if (!k)
		return;
	mem_unmap(k->block, k->bytes);
	free(k->seen);
	free(k);
}

void
keys_see(struct keys *k, const struct net *n, int batch)
{
	const size_t queries = (size_t)(k->tokens * n->param->shape.dim);
	const size_t choices = (size_t)(k->tokens * k->k), b = (size_t)batch;

	for (int l = 0; l < k->layers; l++) {
		const struct plan *p = net_plan(n, l);
		const struct seen *s = &k->seen[l];
		memcpy(s->query + b * queries, p->query, queries * sizeof *s->query);
		memcpy(s->choice + b * choices, p->choice, choices * sizeof *s->choice);
	}
}

void
keys_move(struct keys *k, struct param *p, const struct gravity *g, long step, uint64_t seed)
{
	for (int l = 0; l < k->layers; l++) {
		struct layer *x = &p->layer[l];
		struct gravity_keys keys = {.n = x->route.rows,
					    .d = x->route.cols,
					    .key = x->route.w,
					    .usage = x->usage,
					    .born = x->reborn};
		const struct gravity_batch batch = {.tokens = k->tokens * k->batches,
						    .k = k->k,
						    .query = k->seen[l].query,
						    .choice = k->seen[l].choice};
		struct gravity_done done;
		gravity_step(g, &keys, &batch, step, seed, l, &done);
	}
}

size_t
keys_bytes(const struct shape *s, long tokens, int batches)
{
	struct seen *seen = mem_zero((size_t)s->layers, sizeof *seen);
	const size_t kept = lay_out(seen, NULL, s, tokens, batches);
	size_t most = keystore_bytes(s, tokens);

	free(seen);
	for (int l = 0; l < s->layers; l++) {
		const size_t n = gravity_bytes(s->experts[l], s->dim, tokens * batches, s->top_k);
		most = n > most ? n : most;
	}
	return kept + most;
}
