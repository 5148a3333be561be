#ifndef TINY_H
#define TINY_H
#include "base/rng.h"
#include "offload/store.h"
#include "temp.h"

/* A model of 2 layers with 3 slots: experts of widths 5, 8 and 3, and in layer 1 an empty slot. */
static const char tiny_recipe[] = "vocab 7\ndim 6\nlayers 2\nheads 1\nexperts 3\ntop-k 2\n"
				  "hidden 5,8,3\nact %s\nrouter %s\n";
enum { TINY_LEAF = 3, TINY_LEAVES = 2 + 3 + 1 + 2 + 1 };

struct tiny {
	char recipe[200];
	struct recipe_book book;
	struct param *param;
};

static void
tiny_fill(void *arg, struct tensor *t, int layer, int slot)
{
	struct rng *r = arg;

	(void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++)
		t->w[i] = (float)rng_normal(r);
}

static void
tiny_make(struct tiny *m, const char *act, const char *router)
{
	struct rng r = rng_at(7, RNG_TEST, 0, 0);
	struct shape s;

	snprintf(m->recipe, sizeof m->recipe, tiny_recipe, act, router);
	if (recipe_open(&m->book, "tiny", m->recipe) != 0 ||
	    recipe_shape(&m->book.recipe, 0, &s) != 0)
		abort();
	m->param = param_new(&s, false);
	shape_free(&s);
	param_death(m->param, 1, 1);
	param_each(m->param, tiny_fill, &r);
	for (int l = 0; l < 2; l++)
		for (int e = 0; m->param->layer[l].bias && e < 3; e++)
			m->param->layer[l].bias[e] = (float)(l + e);
}

static __attribute__((unused)) struct store_plan
tiny_plan(struct tiny *m, bool shadow)
{
	return (struct store_plan){
		.param = m->param, .recipe = m->recipe, .leaf = TINY_LEAF, .shadow = shadow};
}

static void
tiny_free(struct tiny *m)
{
	param_free(m->param);
	recipe_close(&m->book);
}

#endif
