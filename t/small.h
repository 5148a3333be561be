#ifndef SMALL_H
#define SMALL_H
#include "base/rng.h"
#include "model/param.h"
#include <math.h>
#include <stdlib.h>

/* Small nets with something in them, and tokens for them to read. */

enum { SMALL_VOCAB = 37, SMALL_DIM = 24, SMALL_WIDE = 16 };

/* Two layers of slots. */
static __attribute__((unused)) struct shape
small_shape(int slots, enum router router, enum kern_act act)
{
	struct shape s = {.vocab = SMALL_VOCAB,
			  .dim = SMALL_DIM,
			  .layers = 2,
			  .heads = 4,
			  .kv_heads = 4,
			  .top_k = 2,
			  .act = act,
			  .router = router,
			  .router_hidden = 13,
			  .tied = true};
	const int wide = SMALL_WIDE;

	if (shape_set(&s, 1, &slots, 1, &wide) != 0)
		exit(1);
	return s;
}

static void
small_fill_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	struct rng *r = arg;
	const double size = t->flat ? 0.3 : 1 / sqrt((double)t->cols);

	(void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++) {
		t->w[i] = (float)((t->flat ? 1 : 0) + size * rng_normal(r));
		if (!t->m)
			continue;
		t->m[i] = (float)rng_normal(r);
		t->v[i] = (float)fabs(rng_normal(r));
	}
}

/* Weights that keep what goes through them at its size, as in the midst of training. */
static __attribute__((unused)) void
small_fill(struct param *p, struct rng *r)
{
	param_each(p, small_fill_tensor, r);
}

/* Whom a token can choose from: twins are one. */
static __attribute__((unused)) int
small_candidates(const struct layer *l)
{
	int n = 0;

	for (int e = 0; e < l->experts; e++)
		n += l->expert[e] && l->expert[e]->twin < e;
	return n;
}

/* n tokens, and those that should follow each. */
static __attribute__((unused)) void
small_tokens(struct rng *r, int vocab, long n, int32_t *in, int32_t *out)
{
	for (long i = 0; i < n; i++) {
		in[i] = (int32_t)rng_below(r, (uint32_t)vocab);
		out[i] = (int32_t)rng_below(r, (uint32_t)vocab);
	}
}

#endif
