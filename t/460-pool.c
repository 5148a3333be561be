/*
 * Events carried out on a small model: what each leaves in weights, moments, names and ids, what a
 * newborn computes, and that a refusal leaves every byte as it was.
 */
#include "base/err.h"
#include "base/rng.h"
#include "base/task.h"
#include "model/optim.h"
#include "model/ref.h"
#include "pool/pool.h"
#include "small.h"
#include "tap.h"

enum { SLOTS = 5, WIDE = SMALL_WIDE, DIM = SMALL_DIM, BATCH = 2, SEQ = 11, TOKENS = BATCH * SEQ };

static int32_t in[TOKENS], out[TOKENS];

/* Two layers of five slots, of which the last is empty. */
static struct shape
holes(enum router router, enum kern_act act)
{
	struct shape s = small_shape(SLOTS, router, act);

	s.hidden[0][SLOTS - 1] = s.hidden[1][SLOTS - 1] = 0;
	return s;
}

static struct param *
make(enum router router, enum kern_act act)
{
	struct shape s = holes(router, act);
	struct param *p = param_new(&s, true);
	struct rng r = rng_at(5, RNG_TEST, 0, 0);

	small_fill(p, &r);
	for (int l = 0; l < 2; l++)
		for (int e = 0; p->layer[l].bias && e < SLOTS - 1; e++)
			p->layer[l].bias[e] = (float)(0.1 * rng_normal(&r));
	small_tokens(&r, SMALL_VOCAB, TOKENS, in, out);
	shape_free(&s);
	return p;
}

static struct policy_event
event(enum policy_kind kind, int layer, int slot)
{
	return policy_event(30, layer, slot, kind, "test");
}

static struct policy_event
birth(int layer, int slot, long parent, double sigma)
{
	struct policy_event v = event(POLICY_BIRTH, layer, slot);

	v.parent = parent;
	v.sigma = sigma;
	v.origin = POLICY_MUTANT;
	return v;
}

static struct policy_event
going(enum policy_kind kind, int layer, int slot, int to_layer, int to_slot)
{
	struct policy_event v = event(kind, layer, slot);

	v.to_layer = to_layer;
	v.to_slot = to_slot;
	return v;
}

/* Carries out n events; the first comes back as the pool filled it in. */
static int
apply(struct param *p, int n, struct policy_event *v)
{
	struct policy_events e = {0};
	int status;

	for (int i = 0; i < n; i++)
		policy_events_add(&e, &v[i]);
	status = pool_apply(p, &e, 7);
	for (int i = 0; i < n; i++)
		v[i] = e.v[i];
	policy_events_free(&e);
	return status;
}

static void
apply_well(struct param *p, int n, struct policy_event *v, const char *what)
{
	const int status = apply(p, n, v);

	ok(status == 0, "%s", what);
	if (status != 0) {
		fprintf(stderr, "# %s\n", err_text());
		exit(1);
	}
}

/* ---- everything as bytes ---- */

static void
print_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	const size_t n = (size_t)(t->rows * t->cols);

	fprintf(arg, "%s %d %d %ld %ld\n", t->name, layer, slot, t->rows, t->cols);
	fwrite(t->w, sizeof(float), n, arg);
	fwrite(t->m, sizeof(float), n, arg);
	fwrite(t->v, sizeof(float), n, arg);
}

static char *
bytes_of(struct param *p, size_t *n)
{
	char *text;
	FILE *f = open_memstream(&text, n);

	param_each(p, print_tensor, f);
	fprintf(f, "next %lld\n", (long long)p->next_id);
	for (int l = 0; l < 2; l++)
		for (int e = 0; e < SLOTS; e++) {
			const struct expert *x = p->layer[l].expert[e];
			if (p->layer[l].bias)
				fwrite(&p->layer[l].bias[e], sizeof(float), 1, f);
			fprintf(f, "%d\n", p->shape.hidden[l][e]);
			if (x)
				fprintf(f, "%lld %lld %lld %d %d %ld\n", (long long)x->id,
					(long long)x->parent, (long long)x->born, x->hidden,
					x->frozen, x->below);
		}
	fclose(f);
	return text;
}

/* These events are refused, with this in the message, and nothing is touched. */
static void
refused(int n, struct policy_event *v, const char *why, const char *what)
{
	struct param *p = make(ROUTER_LINEAR, ACT_GELU);
	size_t before, after;
	char *was = bytes_of(p, &before), *is;

	ok(apply(p, n, v) == -1, "%s is refused", what);
	ok(strstr(err_text(), why) != NULL, "%s: told \"%s\"", what, err_text());
	is = bytes_of(p, &after);
	ok(before == after && memcmp(was, is, before) == 0, "%s: nothing has changed", what);
	free(was);
	free(is);
	param_free(p);
}

static void
refusals(void)
{
	struct policy_event v[4];

	v[0] = event(POLICY_DEATH, 0, 0);
	v[1] = event(POLICY_DEATH, 0, 1);
	v[2] = event(POLICY_DEATH, 0, 2);
	refused(3, v, "left with 1 experts (expected at least top-k, 2)", "a layer below top-k");
	v[1] = event(POLICY_DEATH, 0, 4);
	refused(2, v, "nobody", "the death of nobody, after a good event");
	v[1] = event(POLICY_DEATH, 0, 0);
	refused(2, v, "nobody", "a death twice");
	v[1] = event(POLICY_DEATH, 2, 0);
	refused(2, v, "does not have", "a layer that is none");
	v[1] = event(POLICY_DEATH, 0, SLOTS);
	refused(2, v, "does not have", "a slot that is none");
	v[1] = event(POLICY_DEATH, 0, 1);
	v[1].expert = 2;
	refused(2, v, "not there", "the death of an expert that is elsewhere");
	v[1] = birth(0, 1, 2, 0);
	refused(2, v, "not empty", "a birth where somebody lives");
	v[1] = birth(0, 0, 0, 0);
	refused(2, v, "does not live", "a clone of the dead");
	v[1] = birth(0, 0, 4, 0);
	refused(2, v, "does not live", "a clone from another layer");
	v[1] = birth(0, 0, 1, 0);
	v[1].width = 0;
	refused(2, v, "width", "a birth without neurons");
	v[1] = birth(0, 0, 1, 0);
	v[2] = birth(0, 4, 8, 0);
	refused(3, v, "same step", "a clone of a newborn");
	v[1] = birth(0, 0, -1, 0);
	v[1].origin = POLICY_MEAN;
	v[1].width = 8;
	refused(2, v, "peers", "the mean of nobody");
	v[0] = going(POLICY_MOVE, 0, 0, 1, 1);
	refused(1, v, "empty", "a move onto somebody");
	v[0] = going(POLICY_MOVE, 0, 4, 1, 4);
	refused(1, v, "nobody", "a move of nobody");
	v[0] = going(POLICY_MERGE, 0, 0, 1, 0);
	refused(1, v, "nobody of the layer", "a merge across layers");
	v[0] = going(POLICY_MERGE, 0, 0, 0, 0);
	refused(1, v, "nobody of the layer", "a merge with itself");
	v[0] = birth(0, 4, 1, 0);
	v[0].width = 24;
	v[1] = going(POLICY_MERGE, 0, 4, 0, 1);
	refused(2, v, "another width", "a merge with a wider newborn");
	v[0] = event(POLICY_FREEZE, 0, 4);
	refused(1, v, "nobody", "a frozen hole");
}

/* ---- births ---- */

static bool
equal(const struct tensor *a, const struct tensor *b)
{
	return a->rows == b->rows && a->cols == b->cols &&
	       memcmp(a->w, b->w, (size_t)(a->rows * a->cols) * sizeof *a->w) == 0;
}

static bool
zero(long n, const float *v)
{
	for (long i = 0; i < n; i++)
		if (v[i] != 0)
			return false;
	return true;
}

static bool
no_moments(const struct tensor *t)
{
	return zero(t->rows * t->cols, t->m) && zero(t->rows * t->cols, t->v);
}

/* The model's loss, tokens kept in `each`. */
static double
loss_of(struct param *p, float *each)
{
	struct net *n = net_new(p, BATCH, SEQ, true);
	const struct net_how how = {.temperature = 1, .seed = 7, .step = 3, .scale = 1};
	struct net_loss loss;

	net_forward(n, &how, BATCH, SEQ, in, out, &loss);
	if (each)
		memcpy(each, net_token_loss(n), TOKENS * sizeof *each);
	net_free(n);
	return loss.loss;
}

/*
 * A parent that dies gives its place to its child: parent and child are cloned into a hole, then
 * the slot of the parent is emptied, and the child does what the parent did.
 */
static void
clones(enum router router, enum kern_act act)
{
	struct param *p = make(router, act);
	struct layer *l = &p->layer[1];
	const struct tensor *route = router == ROUTER_MLP ? &l->route2 : &l->route;
	const long c = route->cols;
	float before[TOKENS], after[TOKENS];
	struct policy_event v[2] = {birth(1, 4, 5, 0), event(POLICY_DEATH, 1, 1)};
	double worst = 0;

	loss_of(p, before);
	apply_well(p, 1, v, "a clone is born");
	is_long(v[0].expert, 8, "with the next id");
	is_long(v[0].width, WIDE, "as wide as its parent");
	is_long(l->expert[4]->parent, 5, "its parent");
	is_long(l->expert[4]->born, 30, "born now");
	ok(equal(&l->expert[4]->up, &l->expert[1]->up) &&
		   equal(&l->expert[4]->down, &l->expert[1]->down) &&
		   (!kern_gated(act) || equal(&l->expert[4]->gate, &l->expert[1]->gate)),
	   "without noise it has its parent's weights");
	ok(no_moments(&l->expert[4]->up) && no_moments(&l->expert[4]->down), "and no moments");
	is_bytes(route->w + 4 * c, route->w + c, (size_t)c * sizeof(float), "its parent's route");
	ok(zero(c, route->m + 4 * c) && zero(c, route->v + 4 * c), "whose moments are zero");
	ok(!zero(c, route->m + c), "unlike its parent's");
	is_real(l->bias[4], l->bias[1], 0, "its parent's bias");
	apply_well(p, 1, v + 1, "its parent dies");
	is_long(v[1].expert, 5, "by its id");
	ok(!l->expert[1] && p->shape.hidden[1][1] == 0, "and leaves an empty slot");
	loss_of(p, after);
	for (int i = 0; i < TOKENS; i++)
		worst = fmax(worst, fabs((double)(before[i] - after[i])));
	is_real(worst, 0, 1e-5, "the clone in its parent's stead: the loss of every token");
	param_free(p);
}

static void
widths(void)
{
	struct param *p = make(ROUTER_LINEAR, ACT_SWIGLU);
	struct layer *l = &p->layer[0];
	struct policy_event v[2] = {birth(0, 4, 2, 0), event(POLICY_DEATH, 0, 2)};
	const double was = loss_of(p, NULL);
	const struct expert *x;
	bool same = true;

	v[0].width = 40;
	apply_well(p, 2, v, "a wider clone is born, its parent dies");
	x = l->expert[4];
	is_long(p->shape.hidden[0][4], 40, "its width");
	is_real(loss_of(p, NULL), was, 1e-6, "a wider child computes what its parent did");
	ok(!zero((40 - WIDE) * DIM, x->up.w + WIDE * DIM), "its further neurons are drawn");
	v[0] = birth(0, 2, x->id, 0);
	v[0].width = 8;
	apply_well(p, 1, v, "a narrower child is born");
	is_bytes(l->expert[2]->up.w, x->up.w, 8 * DIM * sizeof(float), "with the first neurons");
	for (int i = 0; i < DIM; i++)
		same &= memcmp(l->expert[2]->down.w + i * 8, x->down.w + i * 40,
			       8 * sizeof(float)) == 0;
	ok(same, "and their columns");
	ok(isfinite(loss_of(p, NULL)), "a layer of three widths computes");
	param_free(p);
}

static double
rms_apart(const struct tensor *a, const struct tensor *b)
{
	double d = 0, size = 0;

	for (long i = 0; i < a->rows * a->cols; i++) {
		d += pow((double)(a->w[i] - b->w[i]), 2);
		size += pow((double)b->w[i], 2);
	}
	return sqrt(d / size);
}

static void
origins(void)
{
	struct param *p = make(ROUTER_LINEAR, ACT_GELU), *q = make(ROUTER_LINEAR, ACT_GELU);
	struct layer *l = &p->layer[0];
	struct policy_event v[2] = {birth(0, 4, 1, 0.5)}, w = v[0];
	double mean = 0, size = 0;

	apply_well(p, 1, v, "a mutant is born");
	apply_well(q, 1, &w, "and again");
	ok(equal(&l->expert[4]->up, &q->layer[0].expert[4]->up), "the same mutant");
	is_real(rms_apart(&l->expert[4]->up, &l->expert[1]->up), 0.5, 0.1, "noise on up");
	is_real(rms_apart(&l->expert[4]->down, &l->expert[1]->down), 0.5, 0.1, "noise on down");
	param_free(p);
	param_free(q);

	p = make(ROUTER_LINEAR, ACT_GELU);
	l = &p->layer[0];
	v[0] = event(POLICY_DEATH, 0, 3);
	v[1] = birth(0, 3, -1, 0);
	v[1].origin = POLICY_MEAN;
	apply_well(p, 2, v, "a mean is born");
	for (int e = 0; e < 3; e++)
		mean += (double)l->expert[e]->down.w[17] / 3;
	is_real(l->expert[3]->down.w[17], mean, 1e-6, "the mean of its peers");
	mean = 0;
	for (int e = 0; e < 3; e++)
		mean += (double)l->route.w[e * DIM + 3] / 3;
	is_real(l->route.w[3 * DIM + 3], mean, 1e-6, "and of their routes");
	is_real(l->bias[3], (double)(l->bias[0] + l->bias[1] + l->bias[2]) / 3, 1e-6,
		"and of their biases");
	v[0] = birth(0, 4, -1, NAN);
	v[0].origin = POLICY_FRESH;
	apply_well(p, 1, v, "a fresh one is born");
	for (int i = 0; i < WIDE * DIM; i++)
		size += pow((double)l->expert[4]->up.w[i], 2) / (WIDE * DIM);
	is_real(sqrt(size), 0.02, 0.003, "drawn as at the start");
	is_long(l->expert[4]->parent, -1, "without a parent");
	param_free(p);
}

/* ---- the others ---- */

static void
moves(void)
{
	struct param *p = make(ROUTER_LINEAR, ACT_SWIGLU);
	struct layer *a = &p->layer[0], *b = &p->layer[1];
	struct expert *x = a->expert[1];
	struct policy_event v = going(POLICY_MOVE, 0, 1, 1, 4);
	float w[WIDE * DIM], m[WIDE * DIM];

	memcpy(w, x->up.w, sizeof w);
	memcpy(m, x->up.m, sizeof m);
	apply_well(p, 1, &v, "a move");
	x = b->expert[4];
	ok(!a->expert[1] && p->shape.hidden[0][1] == 0, "its old slot is empty");
	ok(x && x->id == 1 && p->shape.hidden[1][4] == WIDE, "the expert of that id is there");
	is_bytes(x->up.w, w, sizeof w, "with its weights");
	is_bytes(x->up.m, m, sizeof m, "and moments");
	is_text(x->up.name, "model.layers.1.mlp.experts.4.up_proj.weight", "under another name");
	is_text(x->gate.name, "model.layers.1.mlp.experts.4.gate_proj.weight", "gate");
	is_text(x->down.name, "model.layers.1.mlp.experts.4.down_proj.weight", "down");
	is_bytes(b->route.w + 4 * DIM, a->route.w + DIM, DIM * sizeof(float), "its route");
	is_bytes(b->route.m + 4 * DIM, a->route.m + DIM, DIM * sizeof(float), "with moments");
	is_real(b->bias[4], a->bias[1], 0, "its bias");
	ok(isfinite(loss_of(p, NULL)), "the model computes");
	param_free(p);
}

static void
merges(void)
{
	struct param *p = make(ROUTER_LINEAR, ACT_GELU);
	struct layer *l = &p->layer[0];
	const float a = l->expert[0]->up.w[5], b = l->expert[2]->up.w[5];
	struct policy_event v = going(POLICY_MERGE, 0, 0, 0, 2);

	apply_well(p, 1, &v, "a merge");
	ok(!l->expert[0] && l->expert[2]->id == 2, "one is left");
	is_real(l->expert[2]->up.w[5], ((double)a + (double)b) / 2, 1e-7, "the mean of both");
	param_free(p);
}

/* Router rows on a line: 0 at 0, 1 at 3, 2 at 2, 3 at -1. */
static void
line_up(struct layer *l)
{
	static const float at[] = {0, 3, 2, -1};

	memset(l->route.w, 0, SLOTS * DIM * sizeof(float));
	for (int e = 0; e < 4; e++) {
		l->route.w[e * DIM + 7] = at[e];
		l->route.w[e * DIM + 3] = 9; /* what all have in common tells nobody apart */
	}
}

static struct policy_event
merge_with_nearest(int slot)
{
	return event(POLICY_MERGE, 0, slot);
}

static void
merges_nearest(void)
{
	struct param *p = make(ROUTER_LINEAR, ACT_GELU);
	struct policy_event v[2] = {merge_with_nearest(0)};

	line_up(&p->layer[0]);
	apply_well(p, 1, v, "a merge with whom the router holds alike");
	is_long(v[0].to_slot, 3, "the nearest row");
	is_long(v[0].to_layer, 0, "of the layer");
	param_free(p);

	p = make(ROUTER_LINEAR, ACT_GELU);
	line_up(&p->layer[0]);
	v[0] = merge_with_nearest(0);
	v[1] = merge_with_nearest(3);
	apply_well(p, 2, v, "two merges");
	is_long(v[0].to_slot, 2, "not into one that goes as well");
	is_long(v[1].to_slot, 2, "nor the other into the first");
	param_free(p);

	p = make(ROUTER_COSINE, ACT_GELU);
	line_up(&p->layer[0]);
	for (int i = 0; i < DIM; i++)
		p->layer[0].route.w[3 * DIM + i] *= 100;
	v[0] = merge_with_nearest(3);
	apply_well(p, 1, v, "a cosine router");
	is_long(v[0].to_slot, 0, "knows directions alone");
	param_free(p);

	p = make(ROUTER_RANDOM, ACT_GELU);
	v[0] = merge_with_nearest(0);
	apply_well(p, 1, v, "a router without rows");
	is_long(v[0].to_slot, 1, "the lowest slot");
	param_free(p);
	v[0] = birth(0, 4, 2, 0);
	v[0].width = WIDE + 8;
	v[1] = merge_with_nearest(4);
	refused(2, v, "nobody of the layer", "a merge without anybody of that width");
}

static void
touch(void *arg, struct tensor *t, int layer, int slot)
{
	(void)arg;
	for (long i = 0; i < t->rows * t->cols; i++)
		t->g[i] = 0.01f;
	if (slot >= 0)
		((struct param *)arg)->layer[layer].expert[slot]->touched = true;
}

static void
frost(void)
{
	const struct optim o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1, .clip = 1};
	struct param *p = make(ROUTER_LINEAR, ACT_GELU);
	struct expert *x = p->layer[0].expert[1], *y = p->layer[0].expert[2];
	struct policy_event v = event(POLICY_FREEZE, 0, 1);
	float cold[WIDE * DIM], warm[WIDE * DIM], m[WIDE * DIM];

	memcpy(cold, x->up.w, sizeof cold);
	memcpy(m, x->up.m, sizeof m);
	memcpy(warm, y->up.w, sizeof warm);
	apply_well(p, 1, &v, "a freeze");
	param_each(p, touch, p);
	optim_step(p, &o, 0.01, 3, optim_norm(p, NULL));
	is_bytes(x->up.w, cold, sizeof cold, "the optimizer leaves the frozen as they are");
	is_bytes(x->up.m, m, sizeof m, "and their moments");
	ok(memcmp(y->up.w, warm, sizeof warm) != 0, "and moves the others");
	v = event(POLICY_THAW, 0, 1);
	apply_well(p, 1, &v, "a thaw");
	param_each(p, touch, p);
	optim_step(p, &o, 0.01, 4, optim_norm(p, NULL));
	ok(memcmp(x->up.w, cold, sizeof cold) != 0, "it learns again");
	param_free(p);
}

/* ---- the network ---- */

static void
note(void *arg, const char *name, double error, double tolerance, bool pass)
{
	(void)arg;
	if (!pass)
		fprintf(stderr, "# %s: expected an error below %.2g, found %.3g\n", name, tolerance,
			error);
}

/* Empty slots and unequal widths beside the reference: losses, logits, gradients. */
static void
gradients(void)
{
	static const char *const name[] = {"linear", "mlp", "cosine", "random"};
	const struct net_how how = {.temperature = 0.7f,
				    .aux = {.balance = 0.3f, .z = 0.02f, .entropy = 0.1f},
				    .seed = 7,
				    .step = 3,
				    .scale = 1};

	for (int r = ROUTER_LINEAR; r <= ROUTER_RANDOM; r++) {
		struct shape s = holes((enum router)r, ACT_SWIGLU);
		s.hidden[0][0] = 0;
		s.hidden[0][2] = 40;
		s.hidden[1][1] = 8;
		is_long(ref_check(&s, &how, BATCH, SEQ, 11, note, NULL), 0,
			"%s router with empty slots agrees with the reference", name[r]);
		shape_free(&s);
	}
}

/* The same for a model that events have made what it is. */
static void
after_events(void)
{
	struct param *p = make(ROUTER_LINEAR, ACT_SWIGLU);
	struct policy_event v[] = {event(POLICY_DEATH, 0, 0), birth(0, 0, 1, 0.01),
				   going(POLICY_MOVE, 0, 2, 1, 4), birth(0, 4, 3, 0.01),
				   event(POLICY_DEATH, 1, 0)};
	const struct net_how how = {.temperature = 1, .seed = 7, .step = 3, .scale = 1};
	struct ref *r;

	v[1].width = 24;
	apply_well(p, 5, v, "deaths, births and a move in one step");
	r = ref_new(p, TOKENS);
	is_real(loss_of(p, NULL), ref_loss(r, &how, BATCH, SEQ, in, out, true), 1e-5,
		"after them the loss is the reference's");
	is_long(v[1].expert, 8, "ids in the order of events");
	is_long(v[3].expert, 9, "and the next");
	is_long(p->next_id, 10, "and the next to come");
	ref_free(r);
	param_free(p);
}

/* A net holds as long as nobody is wider than the widest was. */
static void
fits(void)
{
	struct param *p = make(ROUTER_LINEAR, ACT_GELU);
	struct net *n = net_new(p, BATCH, SEQ, true);
	struct policy_event v = birth(0, 4, 1, 0);

	v.width = 8;
	apply_well(p, 1, &v, "a narrow one is born");
	ok(net_fits(n), "the net still fits");
	v = birth(1, 4, 5, 0);
	v.width = 24;
	apply_well(p, 1, &v, "a wide one is born");
	ok(!net_fits(n), "the net does not fit any more");
	net_free(n);
	param_free(p);
}

int
main(void)
{
	task_start(2);
	refusals();
	clones(ROUTER_LINEAR, ACT_GELU);
	clones(ROUTER_MLP, ACT_SWIGLU);
	widths();
	origins();
	moves();
	merges();
	merges_nearest();
	frost();
	gradients();
	after_events();
	fits();
	task_stop();
	return done();
}
