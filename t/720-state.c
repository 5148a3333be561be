/*
 * A run's checkpoint is loaded whole or not at all: cut at every length, flipped at every byte,
 * each tensor in turn missing, renamed, misshapen, or with a value that is not finite.
 */
#include "base/err.h"
#include "base/file.h"
#include "tap.h"
#include "temp.h"
#include "train/state.h"

/* Everything that a resumed run reads. -1 when any of it is refused. */
static int
load(const char *file, enum state_use use)
{
	struct ckpt *k = ckpt_open(file);
	struct recipe_book b;
	struct param *p = NULL;
	struct census *c = NULL;
	const char *text = k ? state_recipe(k) : NULL;
	int bad = -1;

	if (text && state_step(k) >= 0 && recipe_open(&b, file, text) == 0) {
		if ((bad = state_params(k, &b.recipe, use, &p)) == 0 && use == STATE_RESUME) {
			c = census_new(&p->shape);
			bad = census_get(c, k);
		}
		if (bad && !c && p)
			abort(); /* half loaded */
		recipe_close(&b);
	}
	ckpt_close(k);
	census_free(c);
	param_free(p);
	return bad;
}

static void
tiny(struct recipe_book *b, const char *more)
{
	char text[512];

	snprintf(text, sizeof text,
		 "vocab 3\ndim 2\nlayers 1\nheads 1\nexperts 2\ntop-k 1\nhidden 1\n%s", more);
	if (recipe_open(b, "tiny", text) != 0)
		abort();
}

static void
fill(void *arg, struct tensor *t, int layer, int slot)
{
	float *x = arg;

	(void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++) {
		t->w[i] = *x += 0.25f;
		if (!t->m)
			continue;
		t->m[i] = -*x;
		t->v[i] = *x * *x;
	}
}

/* Write a checkpoint with something in every place. */
static void
save(const char *file, const char *more)
{
	struct recipe_book b;
	struct shape s;
	char *text;
	float x = 0;

	tiny(&b, more);
	text = opt_recipe(&b.table);
	if (recipe_shape(&b.recipe, 0, &s) != 0)
		abort();
	struct param *p = param_new(&s, true);
	struct census *c = census_new(&s);
	struct expert *last;
	param_each(p, fill, &x);
	last = p->layer[0].expert[s.experts[0] - 1];
	last->id = 7;
	last->parent = 0;
	last->born = 3;
	last->energy = 1.7f;
	last->over = 2;
	last->starved = 1;
	p->next_id = 8;
	if (s.bent) {
		struct layer *l = &p->layer[0];
		l->phi_high = 0.3f;
		l->loss_low = 2.1f;
		l->norm_mean = 0.7f;
		l->plateau = 4;
		l->until = 62;
	}
	for (int i = 0; p->layer[0].bias && i < 2; i++)
		p->layer[0].bias[i] = (float)i - 0.5f;
	for (int i = 0; p->layer[0].usage && i < 2; i++) {
		p->layer[0].usage[i] = (float)i + 0.5f;
		p->layer[0].reborn[i] = 4 * i;
	}
	c->layer[0].sum[0] = (struct census_sum){5, 4, 3, 2, 1.5, 0.5};
	c->layer[0].tokens = 9;
	c->layer[0].z = 0.1;
	is_long(state_save(&(struct state){.param = p,
					   .census = c,
					   .step = 12,
					   .recipe = text,
					   .files = "loss.csv 1 00000000\n"},
			   file),
		0, "a checkpoint is written");
	free(text);
	census_free(c);
	param_free(p);
	shape_free(&s);
	recipe_close(&b);
}

/* What is read is written again, to the byte. */
static void
round_trip(const char *file, const char *name)
{
	struct ckpt *k = ckpt_open(file);
	struct recipe_book b;
	struct param *p;
	struct census *c;
	size_t n = 0, m = 0;
	char *was, *is;

	if (!k || recipe_open(&b, file, state_recipe(k)) != 0 ||
	    state_params(k, &b.recipe, STATE_RESUME, &p) != 0) {
		ok(false, "%s: %s", name, err_text());
		return;
	}
	c = census_new(&p->shape);
	is_long(census_get(c, k), 0, "%s: the census", name);
	is_long(state_step(k), 12, "%s: the step", name);
	is_long(p->next_id, 8, "%s: the next expert's id", name);
	is_long(state_save(&(struct state){.param = p,
					   .census = c,
					   .step = 12,
					   .recipe = state_recipe(k),
					   .files = ckpt_meta(k, "files")},
			   temp("again")),
		0, "%s: written again", name);
	was = file_slurp(file, &n);
	is = file_slurp(temp("again"), &m);
	is_long((long)m, (long)n, "%s: as long", name);
	is_bytes(is, was, n < m ? n : m, "%s: the same bytes", name);
	free(was);
	free(is);
	census_free(c);
	param_free(p);
	recipe_close(&b);
	ckpt_close(k);
}

static void
damage(const char *file)
{
	size_t n = 0;
	char *p = file_slurp(file, &n);
	long cut = 0, flipped = 0, silent = 0;

	for (size_t i = 0; i < n; i++) {
		err_set("%s", "");
		cut += load(temp_bytes("bad", p, i), STATE_RESUME) != 0;
		silent += !*err_text();
	}
	is_long(cut, (long)n, "cut at each of %zu lengths: refused", n);
	for (size_t i = 0; i < n; i++) {
		p[i] ^= (char)(1 << i % 8);
		err_set("%s", "");
		flipped += load(temp_bytes("bad", p, n), STATE_RESUME) != 0;
		silent += !*err_text();
		p[i] ^= (char)(1 << i % 8);
	}
	is_long(flipped, (long)n, "a bit of each of %zu bytes flipped: refused", n);
	is_long(silent, 0, "with a message");
	free(p);
}

/* The metadata of a file from elsewhere, with this table of layers. */
static void
put_meta(struct ckpt_out *o, const struct ckpt *k, const char *layers)
{
	static const char *const key[] = {"recipe", "step", "ledger", "next_expert", "files"};

	ckpt_out_meta(o, "format", "pt");
	for (int i = 0; i < 5; i++)
		ckpt_out_meta(o, key[i], ckpt_meta(k, key[i]));
	if (layers)
		ckpt_out_meta(o, "layers", layers);
}

enum change { NOTHING, MISSING, RENAMED, TURNED, SPLIT, NOT_FINITE, HALF, CHANGES };
static const char *const changes[] = {"as it is", "missing",	"renamed",   "turned",
				      "split",	  "not finite", "not floats"};

/* The file as one from elsewhere, with tensor `at` changed; false where that is no change. */
static bool
change(const struct ckpt *k, int at, enum change how, const char *to)
{
	static const float bad[16] = {0, INFINITY};
	struct ckpt_out *o = ckpt_out_new();
	bool changed = how == NOTHING;

	put_meta(o, k, ckpt_meta(k, "layers"));
	for (int i = 0; i < k->n; i++) {
		const struct ckpt_tensor *t = &k->tensor[i];
		const uint64_t shape[3] = {t->shape[t->dims - 1], t->shape[0], 1};
		const void *v = k->data + t->offset;
		char name[128];
		snprintf(name, sizeof name, "%s%s", t->name, i == at && how == RENAMED ? "x" : "");
		changed |= i == at && (how == MISSING || how == RENAMED || how == SPLIT ||
				       (how == TURNED && t->dims == 2 && shape[0] != shape[1]) ||
				       (how == NOT_FINITE && t->bytes <= sizeof bad &&
					t->bytes > 4 && t->type == CKPT_F32) ||
				       (how == HALF && t->type == CKPT_F32));
		if (i != at || how == RENAMED || how == NOTHING)
			ckpt_out_raw(o, name, v, t->type, t->dims, t->shape);
		else if (how == TURNED)
			ckpt_out_raw(o, name, v, t->type, t->dims, shape);
		else if (how == SPLIT)
			ckpt_out_raw(o, name, v, t->type, t->dims + 1,
				     (uint64_t[]){1, t->shape[0], t->shape[t->dims - 1]});
		else if (how == NOT_FINITE)
			ckpt_out_raw(o, name, t->bytes <= sizeof bad ? bad : v, t->type, t->dims,
				     t->shape);
		else if (how == HALF)
			ckpt_out_raw(o, name, v, CKPT_I32, t->dims, t->shape);
	}
	if (ckpt_write(o, to) != 0)
		abort();
	ckpt_out_free(o);
	return changed;
}

static void
misshape(const char *file)
{
	struct ckpt *k = ckpt_open(file);
	const char *bad = temp("changed");

	change(k, 0, NOTHING, bad);
	is_long(load(bad, STATE_RESUME), 0, "a file from elsewhere is read");
	for (enum change how = MISSING; how < CHANGES; how++) {
		int tried = 0, refused = 0, used = 0;
		for (int i = 0; i < k->n; i++) {
			const char *name = k->tensor[i].name;
			/* without biases there is a model, without some moments one to use */
			if (how == MISSING && strstr(name, "bias"))
				continue;
			if (!change(k, i, how, bad))
				continue;
			tried++;
			refused += load(bad, STATE_RESUME) != 0 && load(bad, STATE_START) != 0;
			if (strncmp(name, "census.", 7) == 0 && how != RENAMED)
				refused +=
					load(bad, STATE_RESUME) != 0 && load(bad, STATE_START) == 0;
			if (strncmp(name, "model.", 6) == 0)
				used += load(bad, STATE_USE) == 0;
		}
		ok(tried > 0, "tensors that can be %s: %d", changes[how], tried);
		is_long(refused, tried, "each tensor %s: refused", changes[how]);
		is_long(used, 0, "each of the model's %s: not used", changes[how]);
	}
	ckpt_close(k);
}

/* Without any gate of a detour it is a model to use and to start from. */
static void
straighten(const char *file)
{
	const char *from = file, *to = temp("straight");

	for (int left = 1; left > 0; from = to) {
		struct ckpt *k = ckpt_open(from);
		int found = -1;
		left = 0;
		for (int i = 0; i < k->n; i++)
			if (strstr(k->tensor[i].name, "detour")) {
				found = i;
				left++;
			}
		change(k, found < 0 ? 0 : found, found < 0 ? NOTHING : MISSING, to);
		ckpt_close(k);
	}
	is_long(load(to, STATE_USE), 0, "without gates of detours: used");
	is_long(load(to, STATE_START), 0, "without gates of detours: a start");
	is_long(load(to, STATE_RESUME), -1, "without gates of detours: not resumed");
}

/* Tables of a living model's layers. */
static void
layer_tables(const char *file)
{
#define HEAD "layer,phi_high,loss_low,norm_mean,plateau,until\n"
	static const struct {
		const char *text, *about;
		int want;
	} table[] = {{NULL, "none", 0},
		     {HEAD, "without a line", 0},
		     {HEAD "0,0.3,2.1,0.7,4,62\n", "whole", 0},
		     {"layer,until\n0,62\n", "other columns", -1},
		     {HEAD "1,0.3,2.1,0.7,4,62\n", "a layer that is none", -1},
		     {HEAD "0,0.3,2.1,0.7,4,62\n0,0.3,2.1,0.7,4,62\n", "a layer twice", -1},
		     {HEAD "0,-0.3,2.1,0.7,4,62\n", "a negative Phi", -1},
		     {HEAD "0,0.3,inf,0.7,4,62\n", "an infinite loss", -1},
		     {HEAD "0,0.3,nan,0.7,4,62\n", "a loss that is no number", -1},
		     {HEAD "0,0.3,2.1,0.7,-4,62\n", "a negative count", -1},
		     {HEAD "0,0.3,2.1,0.7,4,-1\n", "a negative step", -1},
		     {HEAD "0,0.3,2.1,0.7,4\n", "a field too few", -1},
		     {HEAD "0,0.3,2.1,0.7,4,62,1\n", "a field too many", -1},
		     {HEAD "0,0.3,2.1,0.7,4,62", "no end of line", -1}};
	struct ckpt *k = ckpt_open(file);

	for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
		struct ckpt_out *o = ckpt_out_new();
		put_meta(o, k, table[i].text);
		for (int j = 0; j < k->n; j++)
			ckpt_out_raw(o, k->tensor[j].name, k->data + k->tensor[j].offset,
				     k->tensor[j].type, k->tensor[j].dims, k->tensor[j].shape);
		if (ckpt_write(o, temp("changed")) != 0)
			abort();
		ckpt_out_free(o);
		is_long(load(temp("changed"), STATE_RESUME), table[i].want, "table of layers: %s",
			table[i].about);
	}
	ckpt_close(k);
}

/* What is not finite is not written. */
static void
poison(void)
{
	struct recipe_book b;
	struct shape s;

	tiny(&b, "");
	if (recipe_shape(&b.recipe, 0, &s) != 0)
		abort();
	struct param *p = param_new(&s, true);
	p->layer[0].expert[1]->up.v[1] = NAN;
	is_long(state_save(
			&(struct state){
				.param = p, .census = NULL, .step = 5, .recipe = "", .files = ""},
			temp("none")),
		-1, "a tensor that is not finite is not written");
	is_text(err_text(),
		"step 5: optim.v.model.layers.0.mlp.experts.1.up_proj.weight is not finite, layer "
		"0, "
		"expert 1; the checkpoint before it is kept",
		"and named");
	ok(!file_exists(temp("none")), "nothing is written");
	p->layer[0].expert[1]->up.v[1] = 0;
	for (int i = 0; i < 2; i++)
		p->layer[0].expert[1]->up.w[i] = 3e38f;
	is_long(state_save(
			&(struct state){
				.param = p, .census = NULL, .step = 5, .recipe = "", .files = ""},
			temp("large")),
		0, "large values are finite, whatever their squares are");
	param_free(p);
	shape_free(&s);
	recipe_close(&b);
}

int
main(void)
{
	static const char *const more[] = {
		"", "dense 1\n", "router mlp\nact swiglu\nuntied 1\n",
		"router keystore\nload-balance 0\nfreeze-experts 1\nexpert-init sparse\n",
		"lifecycle living\nrouter cosine\nmax-experts 2\ncensus-every 10\n"};
	static const char *const name[] = {"linear", "dense", "mlp", "key store", "living"};

	if (kern_choose(NULL) != 0)
		return 1;
	for (int i = 0; i < 5; i++) {
		const char *file = temp("good");
		save(file, more[i]);
		round_trip(file, name[i]);
		misshape(file);
		if (i == 4) {
			layer_tables(file);
			straighten(file);
		}
	}
	save(temp("small"), "");
	damage(temp("small"));
	poison();
	return done();
}
