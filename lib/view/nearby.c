#include "view/nearby.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include "io/ckpt.h"
#include "knn/exact.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
nearby_free(struct nearby *k)
{
	for (int i = 0; i < k->layers; i++) {
		free(k->layer[i].slot);
		free(k->layer[i].id);
		free(k->layer[i].key);
		free(k->layer[i].near);
		free(k->layer[i].like);
	}
	free(k->layer);
	*k = (struct nearby){.step = -1};
}

/* Numbers of the experts in a layer's slots, -1 for an empty one; without a ledger the slots'. */
static void
find_ids(const char *ledger, int layer, long *id, int slots)
{
	for (int i = 0; i < slots; i++)
		id[i] = ledger ? -1 : i;
	while (ledger && (ledger = strchr(ledger, '\n')) && *++ledger) {
		int where, slot;
		long who;
		if (sscanf(ledger, "%d,%d,%ld", &where, &slot, &who) == 3 && where == layer &&
		    slot >= 0 && slot < slots)
			id[slot] = who;
	}
}

/* Scale to length 1; false where there is no direction. */
static bool
scale(float *v, long d)
{
	double square = 0;

	for (long i = 0; i < d; i++)
		square += (double)v[i] * v[i];
	if (!isfinite(square) || square <= 0)
		return false;
	for (long i = 0; i < d; i++)
		v[i] = (float)(v[i] / sqrt(square));
	return true;
}

/* Of the two best one may be the key itself; among equal keys, which have equal scores, neither. */
static void
find_near(struct nearby_layer *l)
{
	enum { K = 2 };
	struct exact *x = exact_new(l->key, l->n, l->d, EXACT_FLOAT, l->n);
	const int k = l->n < K ? l->n : K;
	int *id = mem_zero((size_t)l->n * K, sizeof *id);
	float *score = mem_zero((size_t)l->n * K, sizeof *score);

	exact_search(x, l->key, l->n, k, id, score);
	for (int i = 0; i < l->n; i++) {
		const int other = id[i * k] == i;
		l->near[i] = other < k ? id[i * k + other] : -1;
		l->like[i] = other < k ? score[i * k + other] : 0;
	}
	exact_free(x);
	free(id);
	free(score);
}

static int
take_layer(struct nearby_layer *l, const struct ckpt *c, const struct ckpt_tensor *t, int layer)
{
	const int slots = (int)t->shape[0];
	const long d = (long)t->shape[1];
	const size_t n = (size_t)slots;

	*l = (struct nearby_layer){.d = d,
				   .slot = mem_zero(n + 1, sizeof *l->slot),
				   .id = mem_zero(n + 1, sizeof *l->id),
				   .key = mem_zero(n * (size_t)d + 1, sizeof *l->key),
				   .near = mem_zero(n + 1, sizeof *l->near),
				   .like = mem_zero(n + 1, sizeof *l->like)};
	if (ckpt_floats(c, t, l->key, n * (size_t)d) < 0)
		return -1;
	find_ids(ckpt_meta(c, "ledger"), layer, l->id, slots);
	for (int i = 0; i < slots; i++) {
		float *key = l->key + (size_t)l->n * (size_t)d;
		memmove(key, l->key + (size_t)i * (size_t)d, (size_t)d * sizeof *key);
		if (l->id[i] < 0 || !scale(key, d))
			continue;
		l->id[l->n] = l->id[i];
		l->slot[l->n++] = i;
	}
	if (l->n)
		find_near(l);
	return 0;
}

int
nearby_read(struct nearby *k, const char *file)
{
	struct ckpt *c = ckpt_open(file);
	const char *step = c ? ckpt_meta(c, "step") : NULL;
	int r = c ? 0 : -1;

	nearby_free(k);
	if (step)
		num_long(step, 0, 1L << 53, &k->step);
	for (int i = 0; r == 0; i++) {
		char name[64];
		const struct ckpt_tensor *t;
		snprintf(name, sizeof name, "model.layers.%d.mlp.gate.weight", i);
		t = ckpt_find(c, name);
		if (!t || t->dims != 2 || !t->shape[0] || !t->shape[1] || t->shape[0] > 1 << 20)
			break;
		k->layer = mem_grow(k->layer, (size_t)i + 1, sizeof *k->layer);
		r = take_layer(&k->layer[k->layers++], c, t, i);
	}
	ckpt_close(c);
	if (r < 0)
		nearby_free(k);
	return r;
}
