#include "train/state.h"
#include "base/err.h"
#include "base/num.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char ledger_columns[] = "layer,slot,expert,parent,born,hidden\n";

struct put {
	struct ckpt_out *out;
	const char *moment; /* NULL: the weights */
};

static void
put_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	const struct put *p = arg;
	const uint64_t shape[2] = {(uint64_t)t->rows, (uint64_t)t->cols};
	char name[128];

	(void)layer;
	(void)slot;
	snprintf(name, sizeof name, "%s%s", p->moment ? p->moment : "", t->name);
	ckpt_out_floats(p->out, name,
			!p->moment		 ? t->w
			: p->moment[6] == 'm' ? t->m
						 : t->v,
			CKPT_F32, t->flat ? 1 : 2, t->flat ? shape + 1 : shape);
}

static void
bias_name(char name[64], int layer)
{
	snprintf(name, 64, "model.layers.%d.mlp.gate.e_score_correction_bias", layer);
}

static char *
ledger_text(const struct param *p)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		return mem_copy("");
	fputs(ledger_columns, f);
	for (int l = 0; l < p->shape.layers; l++)
		for (int e = 0; e < p->layer[l].experts; e++) {
			const struct expert *x = p->layer[l].expert[e];
			fprintf(f, "%d,%d,%lld,%lld,%lld,%d\n", l, e, (long long)x->id,
				(long long)x->parent, (long long)x->born, x->hidden);
		}
	fclose(f);
	return text;
}

int
state_save(const struct state *s, const char *file)
{
	struct ckpt_out *o = ckpt_out_new();
	char *ledger = ledger_text(s->param), *step = mem_text("%ld", s->step), name[64];
	struct put w = {o, NULL}, m = {o, "optim.m."}, v = {o, "optim.v."};
	int status;

	ckpt_out_meta(o, "recipe", s->recipe);
	ckpt_out_meta(o, "step", step);
	ckpt_out_meta(o, "ledger", ledger);
	ckpt_out_meta(o, "files", s->files);
	param_each(s->param, put_tensor, &w);
	for (int l = 0; l < s->param->shape.layers; l++)
		if (s->param->layer[l].bias) {
			bias_name(name, l);
			ckpt_out_floats(o, name, s->param->layer[l].bias, CKPT_F32, 1,
					(uint64_t[]){(uint64_t)s->param->layer[l].experts});
		}
	if (s->param->train) {
		param_each(s->param, put_tensor, &m);
		param_each(s->param, put_tensor, &v);
	}
	if (s->census)
		census_put(s->census, o);
	status = ckpt_write(o, file);
	ckpt_out_free(o);
	free(ledger);
	free(step);
	return status;
}

struct get {
	const struct ckpt *k;
	const char *moment;
	bool *known; /* [k->n] */
	bool failed;
};

/* One named tensor of n values in the given shape; optional ones may be missing. */
static int
get_floats(struct get *g, const char *name, int dims, const uint64_t *shape, float *out, bool optional)
{
	const struct ckpt_tensor *t = ckpt_find(g->k, name);
	size_t n = 1;

	if (!t && optional)
		return 0;
	if (!t)
		return err_set("%s: tensor %s is missing", g->k->name, name);
	for (int i = 0; i < dims; i++)
		n *= shape[i];
	if (t->dims != dims || memcmp(t->shape, shape, (size_t)dims * sizeof *shape) != 0)
		return err_set("%s: tensor %s has another shape than the recipe gives (%llu values)",
			       g->k->name, name, (unsigned long long)n);
	if (ckpt_floats(g->k, t, out, n) != 0)
		return -1;
	if (!isfinite(kern->sumsq((long)n, out)))
		for (size_t i = 0; i < n; i++)
			if (!isfinite(out[i]))
				return err_set("%s: tensor %s holds a value that is not finite",
					       g->k->name, name);
	g->known[t - g->k->tensor] = true;
	return 0;
}

static void
get_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	struct get *g = arg;
	const uint64_t shape[2] = {(uint64_t)t->rows, (uint64_t)t->cols};
	char name[128];

	(void)layer;
	(void)slot;
	if (g->failed)
		return;
	snprintf(name, sizeof name, "%s%s", g->moment ? g->moment : "", t->name);
	g->failed = get_floats(g, name, t->flat ? 1 : 2, t->flat ? shape + 1 : shape,
			       !g->moment	    ? t->w
			       : g->moment[6] == 'm' ? t->m
						     : t->v,
			       false) != 0;
}

/* Tensors that a model does not have are refused, but for what a trainer adds. */
static int
check_known(const struct get *g)
{
	static const char *const ours[] = {"optim.", "census."};

	for (int i = 0; i < g->k->n; i++) {
		bool known = g->known[i];
		for (int j = 0; j < 2; j++)
			known |= strncmp(g->k->tensor[i].name, ours[j], strlen(ours[j])) == 0;
		if (!known)
			return err_set("%s: tensor %s is not part of the model that the recipe gives",
				       g->k->name, g->k->tensor[i].name);
	}
	return 0;
}

static int
get_ledger(const struct ckpt *k, struct param *p)
{
	const char *at = ckpt_meta(k, "ledger");
	long long id, parent, born;
	int layer, slot, hidden;

	if (!at)
		return 0;
	if (strncmp(at, ledger_columns, sizeof ledger_columns - 1) != 0)
		return err_set("%s: the ledger has other columns (expected %s)", k->name, ledger_columns);
	for (at = strchr(at, '\n') + 1; *at; at = strchr(at, '\n') + 1) {
		if (!strchr(at, '\n') || sscanf(at, "%d,%d,%lld,%lld,%lld,%d", &layer, &slot, &id, &parent,
						&born, &hidden) != 6 ||
		    layer < 0 || layer >= p->shape.layers || slot < 0 ||
		    slot >= p->layer[layer].experts || id < 0)
			return err_set("%s: a line of the ledger makes no sense: %.60s", k->name, at);
		struct expert *x = p->layer[layer].expert[slot];
		x->id = id;
		x->parent = parent;
		x->born = born;
		if (id >= p->next_id)
			p->next_id = id + 1;
	}
	return 0;
}

int
state_params(const struct ckpt *k, const struct recipe *r, bool train, struct param **out)
{
	struct get g = {.k = k, .known = mem_zero((size_t)k->n, sizeof(bool))};
	struct shape s;
	char name[64];

	*out = NULL;
	if (recipe_shape(r, 0, &s) != 0) {
		free(g.known);
		return err_in("%s", k->name);
	}
	/* Before memory is taken: a small file cannot hold a large model. */
	if (k->n == 0 ||
	    (double)shape_params(&s) > (double)(k->tensor[k->n - 1].offset + k->tensor[k->n - 1].bytes)) {
		free(g.known);
		err_set("%s: too small for the model that its recipe gives (%ld parameters)", k->name,
			shape_params(&s));
		shape_free(&s);
		return -1;
	}
	struct param *p = param_new(&s, train);
	shape_free(&s);
	param_each(p, get_tensor, &g);
	for (int i = 0; train && i < 2; i++) {
		g.moment = i ? "optim.v." : "optim.m.";
		param_each(p, get_tensor, &g);
	}
	for (int l = 0; l < p->shape.layers && !g.failed; l++)
		if (p->layer[l].bias) {
			bias_name(name, l);
			g.failed = get_floats(&g, name, 1, (uint64_t[]){(uint64_t)p->layer[l].experts},
					      p->layer[l].bias, true) != 0;
		}
	g.failed = g.failed || check_known(&g) != 0 || get_ledger(k, p) != 0;
	free(g.known);
	if (g.failed) {
		param_free(p);
		return -1;
	}
	*out = p;
	return 0;
}

long
state_step(const struct ckpt *k)
{
	const char *text = ckpt_meta(k, "step");
	long step;

	if (!text || num_long(text, 0, 1L << 40, &step) != 0)
		return err_set("%s: no step in its metadata", k->name);
	return step;
}

const char *
state_recipe(const struct ckpt *k)
{
	const char *text = ckpt_meta(k, "recipe");

	if (!text)
		err_set("%s: no recipe in its metadata (expected a checkpoint of moe-train, or one "
			"converted by moe-ckpt)",
			k->name);
	return text;
}
