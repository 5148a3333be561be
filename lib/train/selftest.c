#include "train/selftest.h"
#include "base/mem.h"
#include "base/rng.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 200, WIDE = 75, DEEP = 300 }; /* neither a multiple of a vector */

/* A report that counts. */
struct count {
	ref_report *report;
	void *arg;
	int failed;
};

static void
same_bits(struct count *c, const char *name, bool same)
{
	c->failed += !same;
	c->report(c->arg, name, same ? 0 : 1, 0, same);
}

/* Every row of a product among m rows, m from 1 to ROWS, has the bits that it has alone. */
static bool
rows_alone(bool transposed, const float *a, const float *b, float *many, float *one)
{
	for (long r = 0; r < ROWS; r++)
		if (transposed)
			kern->nt(1, WIDE, DEEP, a + r * DEEP, DEEP, b, DEEP, one + r * WIDE, WIDE,
				 false);
		else
			kern->nn(1, WIDE, DEEP, a + r * DEEP, DEEP, b, WIDE, one + r * WIDE, WIDE,
				 false);
	for (long m = 1; m <= ROWS; m++) {
		if (transposed)
			kern->nt(m, WIDE, DEEP, a, DEEP, b, DEEP, many, WIDE, false);
		else
			kern->nn(m, WIDE, DEEP, a, DEEP, b, WIDE, many, WIDE, false);
		if (memcmp(many, one, (size_t)(m * WIDE) * sizeof *one) != 0)
			return false;
	}
	return true;
}

static void
check_rows(struct count *c)
{
	struct rng r = rng_at(1, RNG_TEST, 0, 0);
	float *a = mem_zero(ROWS * DEEP, sizeof *a), *b = mem_zero(WIDE * DEEP, sizeof *b);
	float *many = mem_zero(ROWS * WIDE, sizeof *many),
	      *one = mem_zero(ROWS * WIDE, sizeof *one);

	rng_normals(&r, a, ROWS * DEEP);
	rng_normals(&r, b, WIDE * DEEP);
	same_bits(c, "rows of A B^T among 1 to 200", rows_alone(true, a, b, many, one));
	same_bits(c, "rows of A B among 1 to 200", rows_alone(false, a, b, many, one));
	free(a);
	free(b);
	free(many);
	free(one);
}

static struct shape
small(enum router router, enum kern_act act)
{
	struct shape s = {.vocab = 37,
			  .dim = 36,
			  .layers = 2,
			  .heads = 6,
			  .kv_heads = 3,
			  .top_k = 2,
			  .act = act,
			  .router = router,
			  .router_hidden = 13,
			  .tied = true};
	const int experts = 5, hidden = 50;

	shape_set(&s, 1, &experts, 1, &hidden); /* cannot fail */
	return s;
}

/* Prefix each of ref_check's reports with the model it is about. */
struct about {
	struct count *c;
	const char *model;
};

static void
about(void *arg, const char *name, double error, double tolerance, bool pass)
{
	const struct about *a = arg;
	char text[160];

	snprintf(text, sizeof text, "%s: %s", a->model, name);
	a->c->report(a->c->arg, text, error, tolerance, pass);
}

static void
check_gradients(struct count *c)
{
	static const struct {
		const char *name;
		enum router router;
		enum kern_act act;
	} model[] = {{"linear router, gelu", ROUTER_LINEAR, ACT_GELU},
		     {"mlp router, swiglu", ROUTER_MLP, ACT_SWIGLU},
		     {"cosine router, relu2", ROUTER_COSINE, ACT_RELU2},
		     {"random router, reglu", ROUTER_RANDOM, ACT_REGLU},
		     {"key store, gelu", ROUTER_KEYSTORE, ACT_GELU}};
	const struct net_how any = {.temperature = 0.8f,
				    .aux = {.balance = 0.3,
					    .z = 0.02,
					    .entropy = 0.1,
					    .even = 0.7,
					    .ortho = 0.4,
					    .oracle = 0.3,
					    .divergence = 0.2,
					    .tau = 0.5},
				    .seed = 1,
				    .scale = 1,
				    .back = true};

	for (unsigned i = 0; i < sizeof model / sizeof *model; i++) {
		struct shape s = small(model[i].router, model[i].act);
		struct about a = {c, model[i].name};
		struct net_how how = any;
		if (shape_keyed(&s))
			how.aux = (struct route_loss){.divergence = any.aux.divergence};
		c->failed += ref_check(&s, &how, 2, 19, 1, about, &a);
		shape_free(&s);
	}
}

/* Losses of two sequences that differ in one token: equal up to it, and not after. */
static void
check_causality(struct count *c, enum router router)
{
	enum { T = 70, AT = 41 };
	const struct net_how how = {.temperature = 1, .scale = 1};
	struct shape s = small(router, ACT_GELU);
	struct param *p = param_new(&s, false);
	struct net *n;
	struct net_loss loss;
	int32_t in[T], out[T];
	float before[T];

	param_init(p, 1);
	n = net_new(p, 1, T, false);
	for (int t = 0; t < T; t++) {
		in[t] = t * 7 % s.vocab;
		out[t] = t * 11 % s.vocab;
	}
	net_forward(n, &how, 1, T, in, out, &loss);
	memcpy(before, net_token_loss(n), sizeof before);
	in[AT] = (in[AT] + 1) % s.vocab;
	net_forward(n, &how, 1, T, in, out, &loss);
	same_bits(c, "a later token changes no earlier loss",
		  memcmp(before, net_token_loss(n), AT * sizeof *before) == 0);
	same_bits(c, "a token changes its own loss", before[AT] != net_token_loss(n)[AT]);
	net_free(n);
	param_free(p);
	shape_free(&s);
}

int
selftest_run(ref_report *report, void *arg)
{
	struct count c = {report, arg, 0};

	check_rows(&c);
	check_gradients(&c);
	check_causality(&c, ROUTER_LINEAR);
	check_causality(&c, ROUTER_KEYSTORE);
	return c.failed;
}
