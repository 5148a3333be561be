#include "train/state.h"
#include "base/err.h"
#include "base/num.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char ledger_columns[] =
	"layer,slot,expert,parent,born,hidden,below,frozen,energy,over,starved,twin\n";

enum part { WEIGHTS, FIRST, SECOND, PARTS };
static const char *const prefix[PARTS] = {"", "optim.m.", "optim.v."};

static float *
values(const struct tensor *t, enum part part)
{
	return part == WEIGHTS ? t->w : part == FIRST ? t->m : t->v;
}

/* A tensor's shape in files; its dimensions. */
static int
file_shape(const struct tensor *t, uint64_t shape[2])
{
	shape[0] = (uint64_t)(t->flat ? t->cols : t->rows);
	shape[1] = (uint64_t)t->cols;
	return t->flat ? 1 : 2;
}

static bool
all_finite(size_t n, const float *v)
{
	if (isfinite(kern->sumsq((long)n, v)))
		return true;
	for (size_t i = 0; i < n; i++) /* finite values may have squares that are not */
		if (!isfinite(v[i]))
			return false;
	return true;
}

struct put {
	struct ckpt_out *out;
	const struct state *state;
	enum part part;
	bool failed;
};

static void
put_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	struct put *p = arg;
	const float *v = values(t, p->part);
	uint64_t shape[2];
	int dims = file_shape(t, shape);
	char name[128];

	if (!v)
		return;
	snprintf(name, sizeof name, "%s%s", prefix[p->part], t->name);
	ckpt_out_floats(p->out, name, v, CKPT_F32, dims, shape);
	if (p->failed || all_finite((size_t)(t->rows * t->cols), v))
		return;
	p->failed = true;
	err_set("step %ld: %s is not finite", p->state->step, name);
	if (slot >= 0)
		err_set("%s, layer %d, expert %lld", err_text(), layer,
			(long long)p->state->param->layer[layer].expert[slot]->id);
	err_set("%s; the checkpoint before it is kept", err_text());
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
			if (x)
				fprintf(f, "%d,%d,%lld,%lld,%lld,%d,%ld,%d,%.9g,%ld,%ld,%d\n", l, e,
					(long long)x->id, (long long)x->parent, (long long)x->born,
					x->hidden, x->below, x->frozen, (double)x->energy, x->over,
					x->starved, x->twin);
		}
	fclose(f);
	return text;
}

static const char layer_columns[] = "layer,phi_high,loss_low,norm_mean,plateau,until\n";

/* What living layers remember of themselves; NULL: nothing. */
static char *
layers_text(const struct param *p)
{
	char *text = NULL;
	size_t n = 0;
	bool any = false;
	FILE *f;

	for (int i = 0; i < p->shape.layers; i++)
		any |= p->layer[i].loss_low > 0 || p->layer[i].until > 0;
	if (!any || !(f = open_memstream(&text, &n)))
		return NULL;
	fputs(layer_columns, f);
	for (int i = 0; i < p->shape.layers; i++) {
		const struct layer *l = &p->layer[i];
		fprintf(f, "%d,%.9g,%.9g,%.9g,%ld,%ld\n", i, (double)l->phi_high,
			(double)l->loss_low, (double)l->norm_mean, l->plateau, l->until);
	}
	fclose(f);
	return text;
}

/* The biases of loss-free balancing, where there are any. */
static void
put_bias(struct ckpt_out *o, const struct layer *l, int layer)
{
	char name[64];
	int i = 0;

	while (l->bias && i < l->experts && l->bias[i] == 0)
		i++;
	if (!l->bias || i == l->experts)
		return;
	bias_name(name, layer);
	ckpt_out_floats(o, name, l->bias, CKPT_F32, 1, (uint64_t[]){(uint64_t)l->experts});
}

static void
key_name(char name[64], int layer, const char *what)
{
	snprintf(name, 64, "model.layers.%d.mlp.gate.%s", layer, what);
}

/* What a key store remembers of its keys. */
static void
put_keys(struct ckpt_out *o, const struct layer *l, int layer)
{
	const uint64_t n[1] = {(uint64_t)l->experts};
	char name[64];

	if (!l->usage)
		return;
	key_name(name, layer, "usage");
	ckpt_out_floats(o, name, l->usage, CKPT_F32, 1, n);
	key_name(name, layer, "reborn");
	ckpt_out_raw(o, name, l->reborn, CKPT_I64, 1, n);
}

/* What others have put there; what is said here takes its place. */
static void
keep_meta(void *out, const char *key, const char *value)
{
	if (strcmp(key, "held") != 0 && strcmp(key, "events") != 0 && strcmp(key, "layers") != 0)
		ckpt_out_meta(out, key, value);
}

static void
put_meta(const struct state *s, struct ckpt_out *o)
{
	char *ledger = ledger_text(s->param), *step = mem_text("%ld", s->step);
	char *next = mem_text("%lld", (long long)s->param->next_id);
	char *layers = layers_text(s->param);

	if (s->from)
		ckpt_each_meta(s->from, keep_meta, o);
	ckpt_out_meta(o, "recipe", s->recipe);
	ckpt_out_meta(o, "step", step);
	ckpt_out_meta(o, "ledger", ledger);
	if (layers)
		ckpt_out_meta(o, "layers", layers);
	ckpt_out_meta(o, "next_expert", next);
	if (s->files)
		ckpt_out_meta(o, "files", s->files);
	if (s->held)
		ckpt_out_meta(o, "held", s->held);
	if (s->events)
		ckpt_out_meta(o, "events", s->events);
	free(ledger);
	free(layers);
	free(next);
	free(step);
}

int
state_save(const struct state *s, const char *file)
{
	struct put p = {.out = ckpt_out_new(), .state = s};
	int status = -1;

	put_meta(s, p.out);
	for (; p.part < (s->param->train ? PARTS : FIRST); p.part++) {
		param_each(s->param, put_tensor, &p);
		for (int l = 0; l < s->param->shape.layers && p.part == WEIGHTS; l++) {
			put_bias(p.out, &s->param->layer[l], l);
			put_keys(p.out, &s->param->layer[l], l);
		}
	}
	if (s->census)
		census_put(s->census, p.out);
	if (!p.failed)
		status = ckpt_write(p.out, file);
	ckpt_out_free(p.out);
	return status;
}

struct get {
	const struct ckpt *k;
	enum state_use use;
	enum part part;
	bool *known; /* [k->n] */
	bool bent;   /* it has gates of detours */
	bool failed;
};

static bool
of_detour(const char *name)
{
	return strstr(name, ".mlp.detour.weight") != NULL;
}

static int
check_shape(const struct ckpt *k, const struct ckpt_tensor *t, int dims, const uint64_t *shape)
{
	if (t->dims == dims && memcmp(t->shape, shape, (size_t)dims * sizeof *shape) == 0)
		return 0;
	return err_set(dims == 1 ? "%s: tensor %s is misshapen (expected %llu values)"
				 : "%s: tensor %s is misshapen (expected %llu by %llu)",
		       k->name, t->name, (unsigned long long)shape[0],
		       (unsigned long long)(dims == 1 ? 0 : shape[1]));
}

/* One named tensor in the given shape. */
static int
get_floats(struct get *g, const char *name, int dims, const uint64_t *shape, float *out)
{
	const struct ckpt_tensor *t = ckpt_find(g->k, name);
	const size_t n = shape[0] * (dims == 1 ? 1 : shape[1]);

	if (!t)
		return err_set("%s: tensor %s is missing", g->k->name, name);
	if (check_shape(g->k, t, dims, shape) != 0 || ckpt_floats(g->k, t, out, n) != 0)
		return -1;
	g->known[t - g->k->tensor] = true;
	if (!all_finite(n, out))
		return err_set("%s: tensor %s holds a value that is not finite", g->k->name, name);
	return 0;
}

static void
get_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	struct get *g = arg;
	uint64_t shape[2];
	int dims = file_shape(t, shape);
	char name[128];

	(void)layer;
	(void)slot;
	if (g->failed || !values(t, g->part) ||
	    (of_detour(t->name) && !g->bent && g->use != STATE_RESUME))
		return;
	snprintf(name, sizeof name, "%s%s", prefix[g->part], t->name);
	g->failed = get_floats(g, name, dims, shape, values(t, g->part)) != 0;
}

static int
get_bias(struct get *g, struct layer *l, int layer)
{
	char name[64];

	bias_name(name, layer);
	if (!l->bias || !ckpt_find(g->k, name))
		return 0;
	return get_floats(g, name, 1, (uint64_t[]){(uint64_t)l->experts}, l->bias);
}

static int
get_keys(struct get *g, struct layer *l, int layer)
{
	const uint64_t n = (uint64_t)l->experts;
	const struct ckpt_tensor *t;
	char name[64];

	if (!l->usage)
		return 0;
	key_name(name, layer, "usage");
	if (get_floats(g, name, 1, &n, l->usage) != 0)
		return -1;
	key_name(name, layer, "reborn");
	t = ckpt_find(g->k, name);
	if (!t || t->type != CKPT_I64)
		return err_set("%s: tensor %s is missing (expected %llu words)", g->k->name, name,
			       (unsigned long long)n);
	if (check_shape(g->k, t, 1, &n) != 0)
		return -1;
	memcpy(l->reborn, g->k->data + t->offset, t->bytes);
	g->known[t - g->k->tensor] = true;
	for (int i = 0; i < l->experts; i++)
		if (l->usage[i] < 0 || l->reborn[i] < 0)
			return err_set("%s: key %d of layer %d was used %g times and reborn at "
				       "step %lld (expected 0 or more)",
				       g->k->name, i, layer, (double)l->usage[i],
				       (long long)l->reborn[i]);
	return 0;
}

/* The part of an optimizer's moment, WEIGHTS for anything else. */
static enum part
part_of(const char *name)
{
	for (enum part i = FIRST; i < PARTS; i++)
		if (strncmp(name, prefix[i], strlen(prefix[i])) == 0)
			return i;
	return WEIGHTS;
}

/* A moment that is not asked for still belongs to a tensor of the model. */
static bool
fits(const struct get *g, const struct ckpt_tensor *t)
{
	const enum part part = part_of(t->name);
	const struct ckpt_tensor *of = ckpt_find(g->k, t->name + strlen(prefix[part]));

	return part != WEIGHTS && of && g->known[of - g->k->tensor] && of->dims == t->dims &&
	       memcmp(of->shape, t->shape, (size_t)t->dims * sizeof *t->shape) == 0;
}

/* What the model does not have is refused, but for the census, which has its own reader. */
static int
check_known(const struct get *g, int layers)
{
	for (int i = 0; i < g->k->n; i++) {
		const struct ckpt_tensor *t = &g->k->tensor[i];
		if (g->use == STATE_START && of_detour(t->name))
			continue;
		if (!g->known[i] && !fits(g, t) && !census_owns(t->name, layers))
			return err_set(
				"%s: tensor %s is not part of the model that the recipe gives",
				g->k->name, t->name);
	}
	return 0;
}

bool
state_has_moments(const struct ckpt *k)
{
	for (int i = 0; i < k->n; i++)
		if (part_of(k->tensor[i].name) != WEIGHTS)
			return true;
	return false;
}

/* Before memory is taken: is the expert's tensor in the file as wide as the ledger says? */
static bool
wide_as_told(const struct ckpt *k, int layer, int slot, int hidden)
{
	const struct ckpt_tensor *t;
	char name[96];

	snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.up_proj.weight", layer, slot);
	t = ckpt_find(k, name);
	return t && t->dims == 2 && t->shape[0] == (uint64_t)hidden;
}

/* One line of the ledger, at *text, which moves on: who lives in a slot, and how wide. */
static int
get_expert(const struct ckpt *k, const char **text, struct param *p, int64_t next, bool *told)
{
	long long id, parent, born;
	long below;
	int layer, slot, hidden, frozen, twin, n = 0;
	long over, starved;
	float energy;
	struct expert *x;

	if (sscanf(*text, "%d,%d,%lld,%lld,%lld,%d,%ld,%d,%f,%ld,%ld,%d%n", &layer, &slot, &id,
		   &parent, &born, &hidden, &below, &frozen, &energy, &over, &starved, &twin,
		   &n) != 12 ||
	    (*text)[n] != '\n' || layer < 0 || layer >= p->shape.layers || slot < 0 ||
	    slot >= p->layer[layer].experts || id < 0 || id >= next || hidden < 1 ||
	    hidden > 1 << 20 || below < 0 || frozen < 0 || frozen > 1 ||
	    !(energy >= 0 && isfinite(energy)) || over < 0 || starved < 0 || twin < -1 ||
	    twin >= p->layer[layer].experts || twin == slot)
		return -1;
	for (int l = 0; l < layer; l++)
		told += p->layer[l].experts;
	if (told[slot])
		return -1;
	told[slot] = true;
	x = p->layer[layer].expert[slot];
	if (!x || x->hidden != hidden) {
		if (!wide_as_told(k, layer, slot, hidden))
			return -1;
		param_death(p, layer, slot);
		x = param_birth(p, layer, slot, hidden);
	}
	x->id = id;
	x->parent = parent;
	x->born = born;
	x->below = below;
	x->frozen = frozen;
	x->energy = energy;
	x->over = over;
	x->starved = starved;
	x->twin = twin;
	*text += n + 1;
	return 0;
}

/* Twins are each other's, and leave a token as many candidates as it uses. */
static int
check_twins(const struct ckpt *k, const struct param *p, int layer)
{
	const struct layer *l = &p->layer[layer];
	int candidates = 0;

	for (int e = 0; e < l->experts; e++) {
		const int twin = l->expert[e] ? l->expert[e]->twin : -1;
		if (twin >= 0 && (!l->expert[twin] || l->expert[twin]->twin != e))
			return err_set("%s: the ledger names slot %d of layer %d a twin of slot "
				       "%d, but not the other way round",
				       k->name, twin, layer, e);
		candidates += l->expert[e] && twin < e;
	}
	if (candidates < p->shape.top_k)
		return err_set("%s: layer %d has fewer experts than a token uses", k->name, layer);
	return 0;
}

/*
 * The population, before its weights are read: slots that the ledger does not name are empty.  A
 * model that was converted has none, and its experts are founders.
 */
static int
get_ledger(const struct ckpt *k, struct param *p)
{
	const char *at = ckpt_meta(k, "ledger"), *next = ckpt_meta(k, "next_expert");
	long last = 0;
	size_t slots = 0;
	bool *told, *t;

	if (!at)
		return 0;
	if (strncmp(at, ledger_columns, sizeof ledger_columns - 1) != 0)
		return err_set("%s: the ledger has other columns (expected %.*s)", k->name,
			       (int)sizeof ledger_columns - 2, ledger_columns);
	if (!next || num_long(next, 0, 1L << 53, &last) != 0)
		return err_set("%s: the ledger does not say which id is next", k->name);
	for (int l = 0; l < p->shape.layers; l++)
		slots += (size_t)p->layer[l].experts;
	t = told = mem_zero(slots, sizeof *told);
	for (at += sizeof ledger_columns - 1; *at;)
		if (get_expert(k, &at, p, last, told) != 0) {
			free(told);
			return err_set("%s: a line of the ledger makes no sense: %.*s", k->name,
				       (int)strcspn(at, "\n"), at);
		}
	for (int l = 0; l < p->shape.layers; l++)
		for (int e = 0; e < p->layer[l].experts; e++)
			if (!*t++) {
				if (p->layer[l].expert[e])
					p->layer[l].expert[e]->twin = -1;
				param_death(p, l, e);
			}
	p->next_id = last;
	free(told);
	for (int l = 0; l < p->shape.layers; l++)
		if (check_twins(k, p, l) != 0)
			return -1;
	return 0;
}

/*
 * A small file cannot hold a large model: known before memory is taken.  Experts may have died
 * since the start: where there is a ledger they do not count.
 */
static int
check_size(const struct ckpt *k, const struct shape *s)
{
	const struct ckpt_tensor *last = k->n ? &k->tensor[k->n - 1] : NULL;
	struct shape least;
	long params;

	shape_copy(&least, s);
	for (int l = 0; l < s->layers && ckpt_meta(k, "ledger"); l++)
		memset(least.hidden[l], 0, (size_t)s->experts[l] * sizeof **least.hidden);
	params = shape_params(&least);
	shape_free(&least);
	if (last && (double)params <= (double)(last->offset + last->bytes))
		return 0;
	return err_set("%s: too small for the model that its recipe gives (%ld parameters)",
		       k->name, params);
}

/* A line for each layer, in order; none where nothing is remembered. */
static int
get_layers(const struct ckpt *k, struct param *p)
{
	const char *at = ckpt_meta(k, "layers");
	int n = 0, last = -1;

	if (!at)
		return 0;
	if (strncmp(at, layer_columns, sizeof layer_columns - 1) != 0)
		return err_set("%s: the table of layers has other columns (expected %.*s)", k->name,
			       (int)sizeof layer_columns - 2, layer_columns);
	for (at += sizeof layer_columns - 1; *at; at += n + 1) {
		struct layer l;
		int i;
		if (sscanf(at, "%d,%f,%f,%f,%ld,%ld%n", &i, &l.phi_high, &l.loss_low, &l.norm_mean,
			   &l.plateau, &l.until, &n) != 6 ||
		    at[n] != '\n' || i != last + 1 || i >= p->shape.layers ||
		    !(l.phi_high >= 0 && l.loss_low >= 0 && l.norm_mean >= 0) ||
		    !isfinite(l.phi_high + l.loss_low + l.norm_mean) || l.plateau < 0 ||
		    l.until < 0)
			return err_set("%s: a line of the table of layers makes no sense: %.*s",
				       k->name, (int)strcspn(at, "\n"), at);
		struct layer *to = &p->layer[last = i];
		to->phi_high = l.phi_high;
		to->loss_low = l.loss_low;
		to->norm_mean = l.norm_mean;
		to->plateau = l.plateau;
		to->until = l.until;
	}
	return 0;
}

static int
get_all(struct get *g, struct param *p)
{
	for (int i = 0; i < g->k->n; i++)
		g->bent |= of_detour(g->k->tensor[i].name);
	if (get_ledger(g->k, p) != 0 || get_layers(g->k, p) != 0)
		return -1;
	param_each(p, get_tensor, g);
	for (int l = 0; l < p->shape.layers && !g->failed; l++)
		g->failed = get_bias(g, &p->layer[l], l) != 0 || get_keys(g, &p->layer[l], l) != 0;
	if (g->use == STATE_RESUME || (g->use == STATE_START && state_has_moments(g->k)))
		for (g->part = FIRST; g->part < PARTS; g->part++)
			param_each(p, get_tensor, g);
	return g->failed || check_known(g, p->shape.layers) != 0 ? -1 : 0;
}

int
state_params(const struct ckpt *k, const struct recipe *r, enum state_use use, struct param **out)
{
	struct get g = {.k = k, .use = use};
	struct shape s;

	*out = NULL;
	if (recipe_shape(r, 0, &s) != 0)
		return err_in("%s", k->name);
	if (check_size(k, &s) == 0) {
		g.known = mem_zero((size_t)k->n, sizeof *g.known);
		*out = param_new(&s, use != STATE_USE);
		if (get_all(&g, *out) != 0) {
			param_free(*out);
			*out = NULL;
		}
		free(g.known);
	}
	shape_free(&s);
	return *out ? 0 : -1;
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
