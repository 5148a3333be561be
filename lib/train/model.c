#include "train/model.h"
#include "base/err.h"
#include "train/state.h"

int
model_take(struct model *m, const struct ckpt *k)
{
	const char *text;
	int bad;

	*m = (struct model){0};
	m->step = ckpt_meta(k, "step") ? state_step(k) : 0;
	bad = m->step < 0 || !(text = state_recipe(k)) || recipe_open(&m->book, k->name, text) != 0;
	if (!bad && (bad = state_params(k, &m->book.recipe, STATE_USE, &m->param)) != 0)
		recipe_close(&m->book);
	return bad ? -1 : 0;
}

int
model_open(struct model *m, const char *file)
{
	struct ckpt *k = ckpt_open(file);
	int status = k ? model_take(m, k) : -1;

	ckpt_close(k);
	return status;
}

void
model_close(struct model *m)
{
	param_free(m->param);
	recipe_close(&m->book);
}

struct net_how
model_how(const struct model *m)
{
	const struct recipe *r = &m->book.recipe;

	return (struct net_how){.temperature = (float)recipe_temperature(r, r->steps),
				.seed = (uint64_t)r->seed,
				.scale = 1};
}

struct tokens *
model_text(const struct model *m, const char *file)
{
	struct tokens *t = tokens_open(file);

	if (!t || t->vocab <= m->param->shape.vocab)
		return t;
	err_set("%s: %d tokens known (expected at most the model's %d)", file, t->vocab,
		m->param->shape.vocab);
	tokens_close(t);
	return NULL;
}
