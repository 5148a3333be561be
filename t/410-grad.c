/*
 * Losses, choices, logits and the gradient of every group of parameters beside the reference in
 * double precision (model/ref.h), for every router, activation and loss term and for sizes that
 * fit no vector, no tile and no task.
 */
#include "base/err.h"
#include "base/rng.h"
#include "base/task.h"
#include "model/optim.h"
#include "model/ref.h"
#include "tap.h"

static const struct route_loss all = {.balance = 0.3,
				      .z = 0.02,
				      .entropy = 0.1,
				      .even = 0.7,
				      .ortho = 0.4,
				      .oracle = 0.3,
				      .divergence = 0.2,
				      .tau = 0.5};
static const char *const router_name[] = {"linear", "mlp",	 "cosine",
					  "random", "key store", "dense"};
static const char *const act_name[] = {"gelu", "relu", "relu2", "swiglu", "reglu"};

enum { DENSE = ROUTER_KEYSTORE + 1 };
/* What a key store learns from. */
static const struct route_loss apart = {.divergence = 0.2};

/* Odd everywhere; dense stands for one router more. */
static struct shape
small(int router, enum kern_act act)
{
	const bool dense = router == DENSE;

	return (struct shape){.vocab = 37,
			      .dim = 24,
			      .layers = 2,
			      .heads = 4,
			      .kv_heads = 4,
			      .top_k = 2,
			      .act = act,
			      .router = dense ? ROUTER_LINEAR : (enum router)router,
			      .router_hidden = 13,
			      .dense = dense,
			      .tied = true};
}

static struct net_how
plain(struct route_loss aux)
{
	return (struct net_how){.temperature = 1, .aux = aux, .seed = 7, .step = 3, .scale = 1};
}

static void
lay(struct shape *s, int experts, int hidden)
{
	if (shape_set(s, 1, &experts, 1, &hidden) != 0) {
		fprintf(stderr, "# %s\n", err_text());
		exit(1);
	}
}

static void
note(void *arg, const char *name, double error, double tolerance, bool pass)
{
	(void)arg;
	if (!pass)
		fprintf(stderr, "# %s: expected an error below %.2g, found %.3g\n", name, tolerance,
			error);
	else if (getenv("VERBOSE"))
		fprintf(stderr, "# %-40s %.3g of %.2g\n", name, error, tolerance);
}

static void __attribute__((format(printf, 5, 6)))
check(struct shape *s, struct net_how how, int batch, int seq, const char *fmt, ...)
{
	static uint64_t seed;
	char name[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof name, fmt, ap);
	va_end(ap);
	is_long(ref_check(s, &how, batch, seq, ++seed, note, NULL), 0, "%s", name);
	shape_free(s);
}

static void
routers_and_activations(void)
{
	for (int r = 0; r <= DENSE; r++)
		for (int a = 0; a < 5; a++) {
			struct shape s = small(r, (enum kern_act)a);
			lay(&s, 5, 19);
			check(&s, plain(r == ROUTER_KEYSTORE ? apart : all), 1, 19, "%s router, %s",
			      router_name[r], act_name[a]);
		}
}

static void
loss_terms(void)
{
	static const struct {
		const char *name;
		struct route_loss aux;
	} term[] = {{"no routing loss", {.balance = 0}},
		    {"load balance alone", {.balance = 0.3}},
		    {"z alone", {.z = 0.02}},
		    {"entropy alone", {.entropy = 0.1}},
		    {"balance alone", {.even = 3}},
		    {"ortho alone", {.ortho = 0.5}},
		    {"oracle alone", {.oracle = 2, .tau = 0.3}},
		    {"divergence alone", {.divergence = 0.5}},
		    {"all, normalised",
		     {.balance = 0.3,
		      .z = 0.02,
		      .entropy = 0.1,
		      .even = 0.7,
		      .ortho = 0.4,
		      .oracle = 0.3,
		      .divergence = 0.2,
		      .tau = 0.5,
		      .normalised = true}}};

	for (int r = 0; r < 3; r++)
		for (int i = 0; i < 9; i++) {
			struct shape s = small(r, ACT_GELU);
			struct net_how how = plain(term[i].aux);
			lay(&s, 5, 19);
			how.temperature = i % 2 ? 0.6f : 1.7f;
			check(&s, how, 1, 13, "%s router, %s, temperature %g", router_name[r],
			      term[i].name, (double)how.temperature);
		}
}

/* A query network of one matrix and of two; experts that learn, and that do not. */
static void
key_stores(void)
{
	for (int hidden = 0; hidden < 2; hidden++)
		for (int frozen = 0; frozen < 2; frozen++) {
			struct shape s = small(ROUTER_KEYSTORE, ACT_SWIGLU);
			struct net_how how = plain((struct route_loss){.divergence = 0.3});
			s.router_hidden = hidden * 29;
			s.frozen = frozen;
			s.top_k = 3;
			how.temperature = 0.3f;
			lay(&s, 70, 9);
			check(&s, how, 2, 11, "key store, %s, %s", hidden ? "mlp" : "linear",
			      frozen ? "frozen" : "learning");
		}
	struct shape s = small(ROUTER_LINEAR, ACT_GELU);
	s.frozen = true;
	s.layers = 1;
	s.heads = s.kv_heads = 2;
	lay(&s, 2, 9);
	check(&s, plain(all), 157, 7, "frozen experts of more than one segment of rows");
}

static void
choices(void)
{
	for (int k = 1; k <= 4; k++) {
		struct shape s = small(ROUTER_LINEAR, ACT_GELU);
		s.top_k = k;
		lay(&s, 4, 10);
		check(&s, plain(all), 2, 7, "top %d of 4", k);
	}
	for (int r = 0; r < 3; r++) {
		struct shape s = small(r, ACT_GELU);
		struct net_how how = plain(all);
		how.random = true;
		lay(&s, 5, 10);
		check(&s, how, 2, 7, "%s router, routed at random", router_name[r]);
	}
	struct shape s = small(ROUTER_LINEAR, ACT_GELU);
	s.top_k = 3;
	lay(&s, 40, 5);
	check(&s, plain(all), 1, 7, "40 experts of which most get no token");
}

/* Layers on detours (the first of two, and of three the third), and noise on the scores. */
static void
detours(void)
{
	static const char *const name[] = {"", "the ball", "waves"};

	for (int kind = DETOUR_BALL; kind <= DETOUR_WAVES; kind++)
		for (int k = 1; k <= 3; k++) {
			struct shape s = small(k == 2 ? ROUTER_COSINE : ROUTER_LINEAR,
					       k == 1 ? ACT_SWIGLU : ACT_GELU);
			struct net_how how = plain((struct route_loss){
				.balance = 0.3, .ortho = 0.4, .divergence = k == 3 ? 0.2 : 0});
			how.detour = (enum detour_kind)kind;
			how.curvature = k == 2 ? 0.02f : 0.3f; /* within reach, mostly beyond it */
			s.top_k = k;
			s.bent = true;
			s.layers = k;
			lay(&s, 5, 19);
			check(&s, how, 2, 9, "a detour through %s, %d of 5 experts", name[kind], k);
		}
	for (int r = 0; r < 3; r++) {
		struct shape s = small(r, ACT_GELU);
		struct net_how how = plain(all);
		how.noise = 0.3f;
		lay(&s, 5, 19);
		check(&s, how, 2, 9, "%s router with noise", router_name[r]);
	}
	struct shape s = small(ROUTER_COSINE, ACT_GELU);
	struct net_how how = plain((struct route_loss){.ortho = 0.1});
	how.noise = 0.3f;
	lay(&s, 5, 19);
	check(&s, how, 2, 9, "lean routing with noise");
}

static void
shapes(void)
{
	static const int kv[] = {1, 2, 3, 6};

	for (int i = 0; i < 4; i++) {
		struct shape s = small(ROUTER_LINEAR, ACT_SWIGLU);
		s.dim = 36;
		s.heads = 6;
		s.kv_heads = kv[i];
		lay(&s, 3, 11);
		check(&s, plain(all), 1, 19, "6 heads, %d key-value heads", kv[i]);
	}
	struct shape s = small(ROUTER_LINEAR, ACT_REGLU);
	const int e[] = {2, 7, 3}, h[] = {5, 17};
	s.layers = 3;
	s.tied = false;
	s.heads = s.kv_heads = 3;
	shape_set(&s, 3, e, 1, h);
	for (int l = 0; l < 3; l++)
		for (int i = 0; i < e[l]; i++)
			s.hidden[l][i] = 3 + 7 * ((i + l) % 4);
	check(&s, plain(all), 2, 9, "ragged layers and widths, a head of its own");

	s = small(ROUTER_LINEAR, ACT_GELU);
	s.dim = 10;
	s.heads = s.kv_heads = 1;
	lay(&s, 2, 520);
	check(&s, plain(all), 1, 11, "experts of several blocks of neurons");
	s = small(ROUTER_LINEAR, ACT_SWIGLU);
	s.dim = 10;
	s.heads = s.kv_heads = 1;
	lay(&s, 2, 300);
	check(&s, plain(all), 1, 11, "gated experts of several blocks of neurons");
	s = small(ROUTER_LINEAR, ACT_GELU);
	s.layers = 1;
	s.vocab = 2;
	s.dim = 2;
	s.heads = s.kv_heads = 1;
	s.top_k = 1;
	lay(&s, 1, 1);
	check(&s, plain(all), 1, 1, "everything as small as it can be");
}

static void
sizes(void)
{
	struct shape s = small(ROUTER_LINEAR, ACT_GELU);
	struct net_how how = plain(all);

	s.layers = 1;
	s.heads = s.kv_heads = 2;
	lay(&s, 4, 9);
	check(&s, how, 1, 150, "a sequence of several blocks of queries");

	s = small(ROUTER_COSINE, ACT_GELU);
	s.layers = 1;
	s.dim = 8;
	s.heads = s.kv_heads = 2;
	s.vocab = 11;
	lay(&s, 2, 9);
	check(&s, how, 157, 7, "experts of more than one segment of rows");

	s = small(DENSE, ACT_SWIGLU);
	s.layers = 1;
	s.dim = 6;
	s.heads = s.kv_heads = 1;
	s.vocab = 5;
	lay(&s, 1, 9);
	check(&s, how, 150, 14, "one expert of three segments of rows");

	s = small(ROUTER_LINEAR, ACT_GELU);
	lay(&s, 4, 9);
	how.scale = 0.25f;
	check(&s, how, 2, 9, "a quarter of the gradient");
}

static void
kernels(void)
{
	static const char *const name[] = {"portable", "avx2", "avx512"};

	for (int i = 0; i < 3; i++) {
		if (kern_choose(name[i]) != 0) {
			ok(true, "%s kernels # SKIP %s", name[i], err_text());
			continue;
		}
		for (int r = 0; r < 3; r++) {
			struct shape s = small(r, i == 1 ? ACT_GELU : ACT_SWIGLU);
			s.kv_heads = 2;
			s.tied = false;
			lay(&s, 5, 19);
			check(&s, plain(all), 2, 11, "%s kernels, %s router", name[i],
			      router_name[r]);
		}
	}
	kern_choose(NULL);
}

/* ---- gradients of several batches ---- */

struct sums {
	double square, difference, worst;
	struct param *other;
	char where[96];
};

static struct tensor *found;

static void
find(void *arg, struct tensor *t, int layer, int slot)
{
	(void)layer, (void)slot;
	if (!strcmp(arg, t->name))
		found = t;
}

static void
compare(void *arg, struct tensor *t, int layer, int slot)
{
	struct sums *s = arg;
	double square = 0, difference = 0;

	(void)layer, (void)slot;
	if (!t->g)
		return;
	param_each(s->other, find, t->name);
	for (long i = 0; i < t->rows * t->cols; i++) {
		double d = (double)t->g[i] - (double)found->g[i];
		square += (double)t->g[i] * (double)t->g[i];
		difference += d * d;
	}
	if (sqrt(difference / (square + 1e-20)) > s->worst) {
		s->worst = sqrt(difference / (square + 1e-20));
		snprintf(s->where, sizeof s->where, "%s", t->name);
	}
}

/* The largest relative distance between two models' gradients of a tensor. */
static double
distance(struct param *a, struct param *b)
{
	struct sums s = {.other = b};

	param_each(a, compare, &s);
	if (s.worst > 1e-5)
		fprintf(stderr, "# %s differs by %g\n", s.where, s.worst);
	return s.worst;
}

/* The gradient of a batch in `parts` equal parts. */
static struct param *
gradient(const struct shape *s, int batch, int seq, int parts, int twice)
{
	struct param *p = param_new(s, true);
	struct net *n = net_new(p, batch, seq, true);
	struct net_how how = {.temperature = 1, .scale = 1.0f / (float)parts, .back = true};
	struct rng r = rng_at(5, RNG_TEST, 0, 0);
	const long tokens = (long)batch * seq;
	int32_t *in = mem_zero((size_t)tokens, sizeof *in);
	int32_t *out = mem_zero((size_t)tokens, sizeof *out);
	struct net_loss loss;

	param_init(p, 3);
	for (long t = 0; t < tokens; t++) {
		in[t] = (int32_t)rng_below(&r, (uint64_t)s->vocab);
		out[t] = (int32_t)rng_below(&r, (uint64_t)s->vocab);
	}
	for (int i = 0; i < parts * twice; i++) {
		const long at = tokens / parts * (i % parts);
		how.add = i % parts > 0;
		net_forward(n, &how, batch / parts, seq, in + at, out + at, &loss);
		net_backward(n, &how);
	}
	free(in), free(out);
	net_free(n);
	return p;
}

static void
accumulation(void)
{
	for (int r = 0; r <= DENSE; r++) {
		struct shape s = small(r, ACT_GELU);
		if (r == ROUTER_RANDOM) /* experts depend on the place in the batch */
			continue;
		lay(&s, 3, 19);
		struct param *whole = gradient(&s, 4, 19, 1, 1);
		struct param *parts = gradient(&s, 4, 19, 2, 1);
		struct param *again = gradient(&s, 4, 19, 2, 2);
		is_real(distance(whole, parts), 0, 1e-5,
			"%s router: the gradient of two halves is the whole's", router_name[r]);
		is_real(distance(parts, again), 0, 0,
			"%s router: without add the gradient starts anew", router_name[r]);
		param_free(whole);
		param_free(parts);
		param_free(again);
		shape_free(&s);
	}
}

/* Sizes whose parts fit a task and whose whole does not. */
static void
parts(void)
{
	struct shape s = small(ROUTER_LINEAR, ACT_SWIGLU);

	s.layers = 1;
	s.dim = 64;
	lay(&s, 2, 700);
	struct param *whole = gradient(&s, 44, 50, 1, 1), *part = gradient(&s, 44, 50, 4, 1);
	is_real(distance(whole, part), 0, 1e-5, "segments of wide experts are gathered whole");
	param_free(whole);
	param_free(part);
	shape_free(&s);

	for (int tied = 0; tied < 2; tied++) {
		s = small(ROUTER_LINEAR, ACT_GELU);
		s.tied = tied;
		s.layers = 1;
		s.vocab = 60000;
		lay(&s, 2, 3);
		whole = gradient(&s, 30, 10, 1, 1);
		part = gradient(&s, 30, 10, 2, 1);
		is_real(distance(whole, part), 0, 1e-5, "logits that do not fit at once%s",
			tied ? "" : ", a head of its own");
		param_free(whole);
		param_free(part);
		shape_free(&s);
	}
}

int
main(void)
{
	if (kern_choose(NULL) != 0 || task_start(1) != 0)
		return 1;
	routers_and_activations();
	loss_terms();
	key_stores();
	choices();
	shapes();
	sizes();
	kernels();
	detours();
	accumulation();
	parts();
	task_stop();
	return done();
}
