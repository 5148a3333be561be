/*
 * Lives in which after every single event the gradients of all tensors are set beside the reference
 * in double precision, to 1e-4: a living layer's own, which ends up on detours through the ball or
 * among waves, and is put away and taken up again; and a script of every event that a pool carries
 * out, between which the net learns.
 */
#include "base/err.h"
#include "base/rng.h"
#include "base/task.h"
#include "model/ref.h"
#include "pool/pool.h"
#include "small.h"
#include "tap.h"
#include "temp.h"
#include "train/state.h"
#include "train/verdict.h"

enum { BATCH = 8, SEQ = 16, TOKENS = BATCH * SEQ };

struct life {
	struct recipe_book book;
	char *recipe;
	struct param *param;
	struct net *net;
	struct census *census;
	long step;
	int32_t in[TOKENS], out[TOKENS];
};

static __attribute__((noreturn)) void
quit(void)
{
	fprintf(stderr, "# %s\n", err_text());
	exit(1);
}

static void
begin(struct life *f, const char *recipe)
{
	struct rng r = rng_at(5, RNG_TEST, 0, 0);
	struct shape s;

	*f = (struct life){.step = 0};
	if (recipe_open(&f->book, "life", recipe) != 0 || recipe_shape(&f->book.recipe, 0, &s) != 0)
		quit();
	f->recipe = opt_recipe(&f->book.table);
	f->param = param_new(&s, true);
	ref_fill(f->param, &r);
	f->net = net_new(f->param, BATCH, SEQ, true);
	f->census = census_new(&s);
	shape_free(&s);
}

static void
end(struct life *f)
{
	census_free(f->census);
	net_free(f->net);
	param_free(f->param);
	free(f->recipe);
	recipe_close(&f->book);
}

/* As in a run; who is on a detour is of the step. */
static struct net_how
how(struct life *f)
{
	const struct recipe *r = &f->book.recipe;

	for (int l = 0; l < f->param->shape.layers; l++)
		f->param->layer[l].away = f->step < f->param->layer[l].until;
	return (struct net_how){.temperature = (float)recipe_temperature(r, f->step),
				.aux = {.balance = r->load_balance, .divergence = r->divergence},
				.seed = 7,
				.step = f->step,
				.noise = (float)r->router_noise,
				.detour = recipe_detour(r),
				.curvature = (float)r->living.curvature,
				.scale = 1,
				.back = true};
}

/* Few tokens are many, so that experts are loaded unequally; what follows is a function of two. */
static void
draw(struct life *f)
{
	struct rng r = rng_at(6, RNG_TEST, (uint64_t)f->step, 0);
	const uint64_t v = (uint64_t)f->param->shape.vocab;

	for (int t = 0; t < TOKENS; t++) {
		const int before = t % SEQ ? f->in[t - 1] : 0;
		f->in[t] = (int32_t)rng_below(&r, 1 + rng_below(&r, v));
		f->out[t] = (int32_t)((uint64_t)(3 * f->in[t] + before) % v);
	}
}

static void
learn(struct life *f)
{
	const struct optim o = recipe_optim(&f->book.recipe);
	const struct net_how h = how(f);
	struct net_loss loss;
	struct route_stat s;

	draw(f);
	if (!net_fits(f->net)) {
		net_free(f->net);
		f->net = net_new(f->param, BATCH, SEQ, true);
	}
	net_forward(f->net, &h, BATCH, SEQ, f->in, f->out, &loss);
	for (int l = 0; l < f->param->shape.layers; l++) {
		route_stat(net_plan(f->net, l), &s);
		census_add(f->census, l, net_plan(f->net, l), &s, net_token_loss(f->net),
			   net_token_hit(f->net));
	}
	net_backward(f->net, &h);
	const double norm = optim_norm(f->param, NULL);
	census_gradients(f->census, f->param);
	optim_step(f->param, &o, f->book.recipe.lr, f->step, norm);
	f->step++;
}

/* ---- what holds after every event ---- */

static void
note(void *arg, const char *name, double error, double tolerance, bool pass)
{
	long *gradients = arg;

	*gradients += strstr(name, "gradient") != NULL;
	if (!pass)
		fprintf(stderr, "# %s: expected an error below %.2g, found %.3g\n", name, tolerance,
			error);
}

static void
sound(struct life *f, const char *fmt, ...)
{
	const struct net_how h = how(f);
	long gradients = 0;
	char what[128];
	va_list ap;
	int bad;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	bad = ref_check_param(f->param, &h, 4, 5, (uint64_t)f->step, note, &gradients);
	is_long(bad, 0, "step %ld: %s: %ld kinds of gradients", f->step, what, gradients);
	for (int l = 0; l < f->param->shape.layers; l++)
		ok(small_candidates(&f->param->layer[l]) >= f->param->shape.top_k,
		   "step %ld: %s: layer %d has enough", f->step, what, l);
}

/* ---- put away and taken up ---- */

static struct param *
again(const struct life *f, struct census **census)
{
	const char *file = temp("ckpt.safetensors");
	const struct state s = {
		.param = f->param, .census = f->census, .step = f->step, .recipe = f->recipe};
	struct param *p = NULL;
	struct ckpt *k;

	if (state_save(&s, file) != 0 || !(k = ckpt_open(file)))
		quit();
	if (state_params(k, &f->book.recipe, STATE_RESUME, &p) != 0)
		quit();
	if (census) {
		*census = census_new(&p->shape);
		if (census_get(*census, k) != 0)
			quit();
	}
	ckpt_close(k);
	return p;
}

/* The losses of tokens, and the experts of each: a pass over the batch in hand, without noise. */
static struct net *
pass(const struct life *f, struct param *p, struct net_how h)
{
	struct net *n = net_new(p, BATCH, SEQ, true);
	struct net_loss loss;

	for (int l = 0; l < p->shape.layers; l++)
		p->layer[l].away = f->step < p->layer[l].until;
	h.noise = 0;
	net_forward(n, &h, BATCH, SEQ, f->in, f->out, &loss);
	return n;
}

struct gradient {
	struct param *param;
	float *at;
};

/* Zero where the way back did not come. */
static void
copy_gradient(void *arg, struct tensor *t, int layer, int slot)
{
	struct gradient *to = arg;
	const struct layer *l = layer < 0 ? NULL : &to->param->layer[layer];
	const size_t n = (size_t)(t->rows * t->cols);

	if (slot >= 0 ? l->expert[slot]->touched : !l || t != &l->detour || l->away)
		memcpy(to->at, t->g, n * sizeof *t->g);
	to->at += n;
}

/* What the way back makes of the batch in hand; [shape_params], freed by free(). */
static float *
gradient(const struct life *f, struct param *p, const struct net_how *h)
{
	float *g = mem_zero((size_t)shape_params(&p->shape), sizeof *g);
	struct net *n = pass(f, p, *h);

	net_backward(n, &(struct net_how){.temperature = h->temperature,
					  .aux = h->aux,
					  .seed = h->seed,
					  .step = h->step,
					  .detour = h->detour,
					  .curvature = h->curvature,
					  .scale = 1,
					  .back = true});
	param_each(p, copy_gradient, &(struct gradient){p, g});
	net_free(n);
	return g;
}

static void
resume(struct life *f)
{
	const struct net_how h = how(f);
	struct census *c;
	struct param *p = again(f, &c);
	float *before = gradient(f, f->param, &h), *after = gradient(f, p, &h);

	is_bytes(after, before, (size_t)shape_params(&p->shape) * sizeof *after,
		 "step %ld: taken up again: the same gradient to the bit", f->step);
	free(before), free(after);
	census_free(f->census);
	net_free(f->net);
	param_free(f->param);
	f->census = c;
	f->param = p;
	f->net = net_new(p, BATCH, SEQ, true);
	sound(f, "taken up again");
}

/* ---- a living layer ---- */

struct tale {
	long births, deaths, escapes, partings, abroad; /* abroad: events during a detour */
	double whole, child;				/* tokens of parents, and what of them
							   their children got */
	int widest;					/* rows of a router */
};

/* What a division without noise would change. */
static void
divide_quietly(const struct life *f, struct tale *t, struct policy_event v)
{
	const struct net_how h = how((struct life *)f);
	struct param *p = again(f, NULL);
	struct net *n = pass(f, p, h), *m;
	struct policy_events e = {0};
	int parent = 0;
	float loss[TOKENS];

	while (!p->layer[v.layer].expert[parent] ||
	       p->layer[v.layer].expert[parent]->id != v.parent)
		parent++;
	memcpy(loss, net_token_loss(n), sizeof loss);
	const long all = net_plan(n, v.layer)->count[parent];
	net_free(n);
	v.sigma = 0;
	policy_events_add(&e, &v);
	if (pool_apply(p, &e, 7) != 0)
		quit();
	m = pass(f, p, h);
	is_bytes(net_token_loss(m), loss, sizeof loss,
		 "step %ld: a division without noise leaves every loss as it is", f->step);
	const long kept = net_plan(m, v.layer)->count[parent];
	const long got = net_plan(m, v.layer)->count[v.slot];
	is_long(kept + got, all, "step %ld: twins share the parent's tokens", f->step);
	t->whole += (double)all;
	t->child += (double)got;
	net_free(m);
	param_free(p);
	policy_events_free(&e);
}

static int
pairs(const struct param *p)
{
	int n = 0;

	for (int l = 0; l < p->shape.layers; l++)
		for (int e = 0; e < p->layer[l].experts; e++)
			n += p->layer[l].expert[e] && p->layer[l].expert[e]->twin > e;
	return n;
}

/* One event as the run carries it out, but for the parting of twins, which is one of its own. */
static void
happen(struct life *f, struct tale *t, struct policy_event v)
{
	struct policy_events e = {0};

	if (v.kind == POLICY_BIRTH)
		divide_quietly(f, t, v);
	policy_events_add(&e, &v);
	if (pool_apply(f->param, &e, 7) != 0)
		quit();
	policy_events_free(&e);
	if (v.kind == POLICY_ESCAPE)
		f->param->layer[v.layer].until = f->step + f->book.recipe.living.escape_steps;
	t->births += v.kind == POLICY_BIRTH;
	t->deaths += v.kind == POLICY_DEATH;
	t->escapes += v.kind == POLICY_ESCAPE;
	for (int l = 0; l < f->param->shape.layers; l++) {
		t->abroad += f->step < f->param->layer[l].until;
		t->widest = shape_extent(&f->param->shape, l) > t->widest
				    ? shape_extent(&f->param->shape, l)
				    : t->widest;
	}
	sound(f, "layer %d, a %s by %s", v.layer, policy_kind_name(v.kind), v.cause);
}

static void
check_up(struct life *f, struct tale *t)
{
	struct verdict v = {0};
	const int before = pairs(f->param);

	pool_part(f->param, f->book.recipe.twin_cosine);
	if (pairs(f->param) < before) {
		t->partings += before - pairs(f->param);
		sound(f, "twins part");
	}
	if (verdict_pass(&v, &f->book.recipe, f->census, f->param, f->step, false) != 0)
		quit();
	verdict_remember(&v, &f->book.recipe, f->param);
	for (int i = 0; i < v.events->n; i++)
		if (v.events->v[i].kind != POLICY_KEEP)
			happen(f, t, v.events->v[i]);
	census_clear(f->census);
	verdict_free(&v);
}

static void
living(const char *router, const char *act, const char *escape)
{
	struct tale t = {0};
	struct life f;
	char recipe[1024];

	snprintf(recipe, sizeof recipe,
		 "vocab 13\ndim 12\nlayers 2\nheads 2\nexperts 4\ntop-k 2\nhidden 10\nlr 0.02\n"
		 "lifecycle living\nmax-experts 9\nmin-experts 2\noverload 0.55\nstarvation 0.3\n"
		 "patience 2\ninterval 3\ncensus-every 3\nsigma 0.05\nplateau 2\nplateau-margin "
		 "0.02\n"
		 "phi-margin 0.002\nescape-steps 8\nrouter-noise 0.02\ntemperature 0.5\n"
		 "curvature 0.3\nrouter %s\nact %s\nescape %s\n",
		 router, act, escape);
	begin(&f, recipe);
	sound(&f, "the founders");
	for (int check = 0; check < 24; check++) {
		for (int i = 0; i < f.book.recipe.living.interval; i++)
			learn(&f);
		check_up(&f, &t);
		if (check % 8 == 7)
			resume(&f);
	}
	ok(t.births > 5 && t.deaths > 3 && t.escapes > 1 && t.partings > 0 && t.abroad > 3,
	   "%s router, %s: %ld births, %ld deaths, %ld escapes, %ld partings; %ld on a detour",
	   router, escape, t.births, t.deaths, t.escapes, t.partings, t.abroad);
	ok(t.widest > 4, "a router of 4 rows grew to %d", t.widest);
	ok(fabs(t.child / t.whole - 0.5) < 0.1, "children got %.3g of %g tokens", t.child / t.whole,
	   t.whole);
	end(&f);
}

/* ---- every event of a pool ---- */

static const struct {
	const char *what;
	struct policy_event v;
} acts[] = {
	{"nothing", {.kind = POLICY_KEEP, .slot = 0}},
	{"a mutant",
	 {.kind = POLICY_BIRTH,
	  .slot = 4,
	  .parent = 1,
	  .sigma = 0.1,
	  .origin = POLICY_MUTANT,
	  .width = -1}},
	{"a wider mutant",
	 {.kind = POLICY_BIRTH,
	  .slot = 5,
	  .parent = 2,
	  .sigma = 0,
	  .origin = POLICY_MUTANT,
	  .width = 17}},
	{"one drawn anew",
	 {.kind = POLICY_BIRTH,
	  .slot = 6,
	  .parent = -1,
	  .sigma = NAN,
	  .origin = POLICY_FRESH,
	  .width = 5}},
	{"the mean of its peers",
	 {.kind = POLICY_BIRTH,
	  .slot = 7,
	  .parent = -1,
	  .sigma = 0.1,
	  .origin = POLICY_MEAN,
	  .width = 10}},
	{"a twin",
	 {.kind = POLICY_BIRTH,
	  .slot = 8,
	  .parent = 3,
	  .sigma = 0.1,
	  .origin = POLICY_TWIN,
	  .width = -1}},
	{"a death", {.kind = POLICY_DEATH, .slot = 0}},
	{"a move", {.kind = POLICY_MOVE, .slot = 5, .to_layer = 1, .to_slot = 6}},
	{"a merge", {.kind = POLICY_MERGE, .slot = 4, .to_layer = 0, .to_slot = 7}},
	{"a merge with the nearest", {.kind = POLICY_MERGE, .slot = 1, .to_slot = -1}},
	{"frost", {.kind = POLICY_FREEZE, .slot = 2}},
	{"a twin's death", {.kind = POLICY_DEATH, .slot = 3}},
	{"a thaw", {.kind = POLICY_THAW, .slot = 2}},
	{"another domain", {.kind = POLICY_SHIFT, .slot = -1}},
};

/* The act at this step, in layer 0: of it what its kind tells. */
static struct policy_event
event(long step, const struct policy_event *a)
{
	struct policy_event v = policy_event(step, 0, a->slot, a->kind, "test");

	if (a->kind == POLICY_BIRTH) {
		v.parent = a->parent;
		v.sigma = a->sigma;
		v.origin = a->origin;
		v.width = a->width;
	}
	if (a->kind == POLICY_MOVE || (a->kind == POLICY_MERGE && a->to_slot >= 0)) {
		v.to_layer = a->to_layer;
		v.to_slot = a->to_slot;
	}
	return v;
}

static void
script(const char *router)
{
	struct life f;
	char recipe[512];

	snprintf(recipe, sizeof recipe,
		 "vocab 13\ndim 12\nlayers 2\nheads 2\nexperts 4\nslots 9\ntop-k 2\nhidden 10\n"
		 "lr 0.02\nlifecycle market\ndivergence 0.2\ncensus-every 10\nact swiglu\nrouter "
		 "%s\n",
		 router);
	begin(&f, recipe);
	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
		struct policy_events e = {0};
		const struct policy_event v = event(f.step, &acts[i].v);
		learn(&f);
		policy_events_add(&e, &v);
		if (!is_long(pool_apply(f.param, &e, 7), 0, "%s router: %s", router, acts[i].what))
			quit();
		policy_events_free(&e);
		sound(&f, "%s router, %s", router, acts[i].what);
	}
	resume(&f);
	end(&f);
}

int
main(void)
{
	if (kern_choose(NULL) != 0 || task_start(1) != 0)
		return 1;
	living("cosine", "gelu", "poincare");
	living("linear", "swiglu", "fourier");
	script("linear");
	script("mlp");
	script("cosine");
	script("random");
	task_stop();
	return done();
}
