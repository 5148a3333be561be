/*
 * Mitosis and apoptosis carried out: what a division with and without noise does to outputs, load,
 * moments and vitality; gradients after events; memory; a long life.
 */
#include "base/err.h"
#include "base/rng.h"
#include "base/task.h"
#include "model/ref.h"
#include "pool/pool.h"
#include "small.h"
#include "tap.h"

enum { SLOTS = 9, FOUNDERS = 4, WIDE = SMALL_WIDE, DIM = SMALL_DIM, BATCH = 8, SEQ = 40 };
enum { TOKENS = BATCH * SEQ };

static int32_t in[TOKENS], out[TOKENS];

/* Two layers of nine slots, of which the first four hold experts. */
static struct param *
make(enum router router, enum kern_act act)
{
	struct shape s = small_shape(SLOTS, router, act);
	struct rng r = rng_at(5, RNG_TEST, 0, 0);
	struct param *p;

	for (int e = FOUNDERS; e < SLOTS; e++)
		s.hidden[0][e] = s.hidden[1][e] = 0;
	p = param_new(&s, true);
	small_fill(p, &r);
	small_tokens(&r, SMALL_VOCAB, TOKENS, in, out);
	shape_free(&s);
	return p;
}

static int
apply(struct param *p, struct policy_event v)
{
	struct policy_events e = {0};
	int status;

	policy_events_add(&e, &v);
	status = pool_apply(p, &e, 7);
	policy_events_free(&e);
	return status;
}

static int
divide(struct param *p, int layer, int slot, long parent, double sigma)
{
	struct policy_event v = policy_event(30, layer, slot, POLICY_BIRTH, "mitosis");

	v.parent = parent;
	v.sigma = sigma;
	v.origin = POLICY_TWIN;
	return apply(p, v);
}

static int
kill(struct param *p, int layer, int slot)
{
	return apply(p, policy_event(30, layer, slot, POLICY_DEATH, "apoptosis"));
}

/* A pass over the tokens: their losses, and the rows of each slot of layer 0. */
static struct net *
pass(struct param *p, bool back)
{
	const struct net_how how = {.temperature = 0.5f,
				    .aux = {.balance = 0.3f, .z = 0.02f, .entropy = 0.1f},
				    .scale = 1,
				    .back = back};
	struct net *n = net_new(p, BATCH, SEQ, true);
	struct net_loss loss;

	net_forward(n, &how, BATCH, SEQ, in, out, &loss);
	if (back)
		net_backward(n, &how);
	return n;
}

static void
without_noise(enum router router, enum kern_act act)
{
	struct param *p = make(router, act);
	struct net *n = pass(p, false), *m;
	const long all = net_plan(n, 0)->count[1];
	float loss[TOKENS];
	long a, b;

	memcpy(loss, net_token_loss(n), sizeof loss);
	is_long(divide(p, 0, 4, 1, 0), 0, "an expert divides");
	is_long(divide(p, 1, 4, 6, 0), 0, "and one of the other layer");
	is_long(p->layer[0].route2.rows ? p->layer[0].route2.rows : p->layer[0].route.rows, 5,
		"the router has grown");
	m = pass(p, false);
	is_bytes(net_token_loss(m), loss, sizeof loss, "to the bit the same losses");
	a = net_plan(m, 0)->count[1];
	b = net_plan(m, 0)->count[4];
	is_long(a + b, all, "together they have the parent's load");
	ok(3 * a > all && 3 * b > all, "each about half of it: %ld and %ld", a, b);
	net_free(n);
	net_free(m);
	is_long(kill(p, 0, 4), 0, "the child dies");
	is_long(p->layer[0].expert[1]->twin, -1, "and leaves no twin");
	is_long(kill(p, 1, 2), 0, "the other's parent dies");
	is_long(p->layer[1].expert[4]->twin, -1, "and leaves no twin");
	m = pass(p, false);
	is_long(net_plan(m, 0)->count[1], all, "the whole load is the survivor's");
	ok(net_plan(m, 1)->count[4] > 0, "the child has its parent's load");
	net_free(m);
	param_free(p);
}

static void
inheritance(void)
{
	struct param *p = make(ROUTER_COSINE, ACT_SWIGLU);
	struct layer *l = &p->layer[0];
	struct expert *a = l->expert[2], *b;
	const float m = a->gate.m[7], v = a->gate.v[7], rm = l->route.m[2 * DIM + 3];
	double apart = 0, size = 0;

	a->energy = 4; /* vitality 0.8 */
	a->over = 5;
	is_long(divide(p, 0, 6, 2, 0.01), 0, "an expert divides");
	b = l->expert[6];
	is_long(a->twin, 6, "the parent's twin");
	is_long(b->twin, 2, "and the child's");
	is_real(a->energy / (1 + a->energy), 0.4, 1e-6, "half the vitality");
	is_real(b->energy, a->energy, 0, "for both");
	is_long(a->over + b->over + a->starved + b->starved, 0, "counted anew");
	is_real(a->gate.m[7], m / 2, 0, "half the first moment");
	is_real(a->gate.v[7], v / 4, 0, "a quarter of the second");
	is_bytes(b->gate.m, a->gate.m, WIDE * DIM * sizeof(float), "for both: m");
	is_bytes(b->down.v, a->down.v, WIDE * DIM * sizeof(float), "for both: v");
	is_real(l->route.m[2 * DIM + 3], rm / 2, 0, "of the key, too");
	is_bytes(l->route.m + 6 * DIM, l->route.m + 2 * DIM, DIM * sizeof(float), "both keys");
	for (int i = 0; i < DIM * WIDE; i++) {
		apart += pow((double)(a->up.w[i] - b->up.w[i]), 2);
		size += pow((double)a->up.w[i], 2);
	}
	is_real(sqrt(apart / size), 0.01, 0.002, "noise of a hundredth");
	is_long(l->route.rows, 7, "rows up to the last expert");
	for (int i = 0; i < DIM; i++)
		l->route.w[6 * DIM + i] *= 3;
	pool_part(p, 0.98);
	is_long(a->twin, 6, "a longer key points the same way");
	l->route.w[6 * DIM] += 30;
	pool_part(p, 0.98);
	is_long(a->twin, -1, "another way: they part");
	is_long(b->twin, -1, "both");
	param_free(p);
}

static void
parted(void)
{
	struct param *p = make(ROUTER_LINEAR, ACT_GELU);
	struct net *n;

	divide(p, 0, 4, 1, 0);
	pool_part(p, 1.5); /* no cosine is as large */
	n = pass(p, false);
	is_long(p->layer[0].expert[1]->twin, -1, "parted at once");
	long both = 0;
	for (long t = 0; t < TOKENS; t++) {
		const int *c = net_plan(n, 0)->choice + 2 * t;
		both += (c[0] == 1 && c[1] == 4) || (c[0] == 4 && c[1] == 1);
	}
	ok(both > 0, "tokens may now use both");
	is_long(net_plan(n, 0)->count[1] >= net_plan(n, 0)->count[4], 1, "ties to the lower slot");
	net_free(n);
	param_free(p);
}

static void
refusals(void)
{
	struct param *p = make(ROUTER_COSINE, ACT_GELU);
	struct policy_event v = policy_event(30, 0, 5, POLICY_BIRTH, "mitosis");

	divide(p, 0, 4, 1, 0);
	is_long(divide(p, 0, 5, 1, 0), -1, "a twin does not divide");
	is_text(err_text(),
		"step 30, layer 0, slot 5: birth of a twin whose parent has one already", "told");
	is_long(divide(p, 0, 5, 8, 0), -1, "nor the child");
	v.parent = 2;
	v.origin = POLICY_TWIN;
	v.width = 8;
	is_long(apply(p, v), -1, "a twin is as wide as its parent");
	is_text(err_text(),
		"step 30, layer 0, slot 5: birth of a twin, but not as wide as its parent", "told");
	kill(p, 0, 0);
	kill(p, 0, 2);
	is_long(kill(p, 0, 3), -1, "three experts, but only two candidates");
	is_text(err_text(),
		"step 30: layer 0 would be left with 1 experts (expected at least top-k, 2)",
		"told");
	is_long(kill(p, 0, 4), 0, "a twin may die: its place is taken by the other");
	is_long(shape_living(&p->shape, 0), 2, "two are left");
	is_long(apply(p, policy_event(30, 1, -1, POLICY_ESCAPE, "despair")), -1,
		"a layer that has nowhere to go does not escape");
	is_text(err_text(),
		"step 30, layer 1, slot -1: escape of a layer that has no other geometry to go to",
		"told");
	is_long(apply(p, policy_event(30, 2, -1, POLICY_ESCAPE, "despair")), -1,
		"nor one that is not there");
	param_free(p);
}

/* ---- gradients ---- */

static double
loss_at(struct ref *r, double *w, double at)
{
	const struct net_how how = {.temperature = 0.5f,
				    .aux = {.balance = 0.3f, .z = 0.02f, .entropy = 0.1f},
				    .scale = 1};
	const double was = *w;

	*w = at;
	const double loss = ref_loss(r, &how, BATCH, SEQ, in, out, false);
	*w = was;
	return loss;
}

/* Losses and layer 0's gradients beside the reference. */
static void
beside_reference(struct param *p)
{
	const struct net_how how = {.temperature = 0.5f,
				    .aux = {.balance = 0.3f, .z = 0.02f, .entropy = 0.1f},
				    .scale = 1};
	struct rng r = rng_at(9, RNG_TEST, 0, 0);
	struct net *n = pass(p, true);
	struct ref *ref = ref_new(p, TOKENS);
	double worst = 0;
	long checked = 0;

	is_real(ref_loss(ref, &how, BATCH, SEQ, in, out, true) -
			ref_loss(ref, &how, BATCH, SEQ, in, out, false),
		0, 0, "the reference chooses the same again");
	ref_follow(ref, n);
	ref_loss(ref, &how, BATCH, SEQ, in, out, false);
	is_real(ref->regret, 0, 1e-5, "it would have chosen what the net chose");
	for (int i = 0; i < TOKENS; i++)
		worst = fmax(worst, fabs(ref->loss[i] - (double)net_token_loss(n)[i]));
	is_real(worst, 0, 1e-4, "losses");
	worst = 0;
	for (long i = 0; i < ref->tensors; i++) {
		struct ref_tensor *x = &ref->tensor[i];
		if (x->layer != 0 || (x->slot < 0 && strstr(x->t->name, "gate") == NULL))
			continue;
		for (int k = 0; k < (x->slot < 0 ? 12 : 2); k++) {
			const long at = (long)rng_below(&r, (uint64_t)(x->t->rows * x->t->cols));
			const double h = 1e-6, w = x->w[at];
			const double want =
				(loss_at(ref, &x->w[at], w + h) - loss_at(ref, &x->w[at], w - h)) /
				(2 * h);
			const double got = x->slot >= 0 && !p->layer[0].expert[x->slot]->touched
						   ? 0
						   : (double)x->t->g[at];
			worst = fmax(worst, fabs(got - want) / (fabs(want) + 1e-3));
			checked++;
		}
	}
	ok(checked > 15, "%ld coordinates", checked);
	is_real(worst, 0, 3e-3, "gradients");
	net_free(n);
	ref_free(ref);
}

/* After births, deaths and a parting. */
static void
gradients(enum router router)
{
	struct param *p = make(router, ACT_SWIGLU);

	divide(p, 0, 5, 1, 0.5);
	divide(p, 0, 7, 2, 0);
	kill(p, 0, 0);
	divide(p, 1, 4, 4, 0.1);
	pool_part(p, 0.97);
	ok(p->layer[0].expert[2]->twin == 7 && p->layer[0].expert[1]->twin == -1,
	   "one pair has parted");
	beside_reference(p);
	param_free(p);
}

/* ---- memory ---- */

static long
resident(void)
{
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
	return 0; /* a sanitizer has memory of its own */
#endif
	FILE *f = fopen("/proc/self/statm", "r");
	long all, here = 0;

	if (f && fscanf(f, "%ld %ld", &all, &here) != 2)
		here = 0;
	if (f)
		fclose(f);
	return here * 4;
}

/* Experts in all slots from the third on, whose memory is in use. */
static void
fill_slots(struct param *p, int slots)
{
	for (int e = 2; e < slots; e++) {
		struct policy_event v = policy_event(30, 0, e, POLICY_BIRTH, "test");
		v.parent = 0;
		v.origin = POLICY_MUTANT;
		apply(p, v);
		memset(p->layer[0].expert[e]->block, 1, p->layer[0].expert[e]->bytes);
	}
}

static void
memory(void)
{
	struct shape s = {.vocab = SMALL_VOCAB,
			  .dim = 64,
			  .layers = 1,
			  .heads = 4,
			  .kv_heads = 4,
			  .top_k = 2,
			  .router = ROUTER_COSINE,
			  .tied = true};
	const int slots = 200, wide = 512;
	struct param *p;
	long before;

	shape_set(&s, 1, &slots, 1, &wide);
	for (int e = 2; e < slots; e++)
		s.hidden[0][e] = 0;
	p = param_new(&s, true);
	for (int i = 0; i < 2; i++)
		small_fill(p, (struct rng[]){rng_at(1, RNG_TEST, 0, 0)});
	before = resident();
	for (int round = 0; round < 6; round++) {
		long with, after;
		fill_slots(p, slots);
		with = resident();
		for (int e = 2; e < slots; e++)
			kill(p, 0, e);
		after = resident();
		if (!before)
			continue;
		/* 198 experts of 4 * 2 * 64 * 512 floats are 207,618,048 bytes */
		ok(with - before > 195000, "198 experts take 198 MiB: %ld KiB", with - before);
		ok(after - before < 2000, "which the system has back: %ld KiB", after - before);
	}
	is_long(p->layer[0].route.rows, 2, "the router has shrunk");
	param_free(p);
	shape_free(&s);
}

/* ---- a long life ---- */

static void
long_life(void)
{
	struct param *p = make(ROUTER_COSINE, ACT_GELU);
	struct rng r = rng_at(3, RNG_TEST, 0, 0);
	long born = 0, died = 0, refused = 0, before = 0;
	bool finite = true, fits = true, enough = true;

	for (int i = 0; i < 4000; i++) {
		const int l = (int)rng_below(&r, 2), e = (int)rng_below(&r, SLOTS);
		const struct expert *x = p->layer[l].expert[rng_below(&r, SLOTS)];
		if (p->layer[l].expert[e])
			kill(p, l, e) == 0 ? died++ : refused++;
		else if (x)
			divide(p, l, e, (long)x->id, 0.05) == 0 ? born++ : refused++;
		if (i % 10 == 0)
			pool_part(p, 0.9999);
		fits &= p->layer[l].route.rows == shape_extent(&p->shape, l);
		enough &= small_candidates(&p->layer[l]) >= p->shape.top_k;
		if (i == 400)
			before = resident();
		if (i % 400 == 0) {
			struct net *n = pass(p, true);
			for (long t = 0; t < TOKENS; t++)
				finite &= isfinite(net_token_loss(n)[t]);
			net_free(n);
		}
	}
	ok(born > 600 && died > 600 && refused > 100, "%ld births, %ld deaths, %ld refused", born,
	   died, refused);
	is_long(shape_living(&p->shape, 0) + shape_living(&p->shape, 1), 2 * FOUNDERS + born - died,
		"births less deaths are the growth");
	is_long(p->next_id, 2 * FOUNDERS + born, "no number twice");
	ok(fits, "the router always fits");
	ok(enough, "a token always has enough to choose from");
	/* of 12 KiB each: all that were born would take more than 7 MiB */
	ok(!before || resident() - before < 18 * 12 + 1000, "they do not pile up: %ld KiB",
	   before ? resident() - before : 0);
	ok(finite, "and the model computes");
	beside_reference(p);
	param_free(p);
}

int
main(void)
{
	task_start(2);
	without_noise(ROUTER_COSINE, ACT_GELU);
	without_noise(ROUTER_LINEAR, ACT_SWIGLU);
	without_noise(ROUTER_MLP, ACT_RELU);
	inheritance();
	parted();
	refusals();
	gradients(ROUTER_COSINE);
	gradients(ROUTER_LINEAR);
	gradients(ROUTER_MLP);
	memory();
	long_life();
	task_stop();
	return done();
}
