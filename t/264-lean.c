/*
 * Routing among many experts: its kernels on every instruction set, and the lean way beside the
 * whole one: equal choices, weights and losses, and gradients as near as rounding lets them be.
 */
#include "base/rng.h"
#include "base/task.h"
#include "model/lean.h"
#include "model/net.h"
#include "tap.h"

/* ---- kernels ---- */

/* The k largest by taking one after another. */
static void
plain_largest(int n, int k, const float *x, int *out)
{
	for (int j = 0; j < k; j++) {
		int best = -1;
		for (int i = 0; i < n; i++) {
			bool taken = false;
			for (int m = 0; m < j; m++)
				taken |= out[m] == i;
			if (!taken && (best < 0 || x[i] > x[best]))
				best = i;
		}
		out[j] = best;
	}
}

static void
largest(struct rng *r)
{
	int wrong = 0, tries = 0;
	float x[300];

	for (int i = 0; i < 3000; i++) {
		const int n = 1 + (int)rng_below(r, 300), k = 1 + (int)rng_below(r, n < 9 ? n : 9);
		/* few different values: ties; sometimes one, or slots that are empty */
		const uint64_t kinds = 1 + rng_below(r, i % 3 ? 1000000 : 6);
		int got[9], want[9];
		for (int j = 0; j < n; j++)
			x[j] = rng_below(r, 9) ? (float)rng_below(r, kinds) - 3 : ROUTE_EMPTY;
		kern->largest(n, k, x, got);
		plain_largest(n, k, x, want);
		wrong += memcmp(got, want, (size_t)k * sizeof *got) != 0;
		tries++;
	}
	is_long(wrong, 0, "%s: the largest of %d rows", kern->name, tries);
	wrong = 0;
	for (int i = 0; i < 200; i++) {
		bool seen[300] = {false};
		int got[4];
		for (int j = 0; j < 300; j++)
			x[j] = rng_below(r, 3) ? (float)rng_normal(r) : NAN;
		kern->largest(300, 4, x, got);
		for (int j = 0; j < 4; j++) {
			wrong += got[j] < 0 || got[j] >= 300 || seen[got[j]];
			seen[got[j]] = true;
		}
	}
	is_long(wrong, 0, "%s: among NaN four different ones are found", kern->name);
}

static void
sums(struct rng *r)
{
	float x[77], e[77], y[77], z[77], part[3];
	double sum = 0, dot = 0, worst = 0;
	bool product = true;

	for (int i = 0; i < 77; i++) {
		x[i] = (float)(3 * rng_normal(r));
		y[i] = z[i] = (float)rng_normal(r);
	}
	x[5] = ROUTE_EMPTY;
	x[40] = 11;
	kern->partition(77, x, e, part);
	for (int i = 0; i < 77; i++) {
		const double want = exp((double)x[i] - 11);
		worst = fmax(worst, fabs((double)e[i] - want) / (want + 1e-30));
		sum += want;
		dot += want * (want > 0 ? (double)x[i] : 0);
	}
	is_real(worst, 0, 1e-5, "%s: powers of e", kern->name);
	is_real(part[0], 11, 0, "%s: the maximum", kern->name);
	is_real(part[1] / sum, 1, 1e-5, "%s: their sum", kern->name);
	is_real(part[2] / dot, 1, 1e-5, "%s: times x", kern->name);
	kern->times(77, 0.3f, x, y);
	for (int i = 0; i < 77; i++)
		product &= y[i] == z[i] * (0.3f * x[i]);
	ok(product, "%s: products", kern->name);
}

/* A row of scores in two passes, beside one thing after another. */
static void
two_passes(struct rng *r)
{
	int wrong = 0, tries = 0;

	for (int i = 0; i < 3000; i++) {
		const int n = 1 + (int)rng_below(r, 300), k = 1 + (int)rng_below(r, n < 7 ? n : 7);
		const uint64_t kinds = 1 + rng_below(r, i % 3 ? 1000000 : 6);
		const bool lengths = i % 2;
		float x[300], z[300], want[300], e[300], powers[300], top[2], sum[2], part[3];
		int got[7], best[7];
		for (int j = 0; j < n; j++) {
			x[j] = (float)(1 + rng_uniform(r));
			z[j] = want[j] = rng_below(r, 9) ? (float)rng_below(r, kinds) * 1e-3f - 3
							 : ROUTE_EMPTY;
		}
		if (lengths)
			kern->times(n, 0.3f, x, want);
		kern->scale(n, 5, want, want);
		kern->sharpen(n, k, 0.3f, lengths ? x : NULL, 5, z, top);
		kern->pick(n, k, z, top, e, got, sum);
		plain_largest(n, k, want, best);
		kern->partition(n, want, powers, part);
		wrong += memcmp(z, want, (size_t)n * sizeof *z) != 0 ||
			 memcmp(got, best, (size_t)k * sizeof *got) != 0 || top[0] != part[0] ||
			 memcmp(e, powers, (size_t)n * sizeof *e) != 0 ||
			 memcmp(sum, part + 1, sizeof sum) != 0;
		tries++;
	}
	is_long(wrong, 0, "%s: %d rows in two passes, to the bit", kern->name, tries);
}

/* ---- both ways ---- */

enum { SLOTS = 90, DIM = 20, VOCAB = 31, BATCH = 6, SEQ = 50, TOKENS = BATCH * SEQ };

static int32_t in[TOKENS], out[TOKENS];

static void
fill(void *arg, struct tensor *t, int layer, int slot)
{
	const double size = t->flat ? 0.3 : 1 / sqrt((double)t->cols);

	(void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++)
		t->w[i] = (float)((t->flat ? 1 : 0) + size * rng_normal(arg));
}

/* Ninety slots, some empty, some twins of each other. */
static struct param *
make(enum router router, int k, bool bias)
{
	struct shape s = {.vocab = VOCAB,
			  .dim = DIM,
			  .layers = 2,
			  .heads = 2,
			  .kv_heads = 2,
			  .top_k = k,
			  .router = router,
			  .tied = true};
	const int slots = SLOTS, wide = 8;
	struct rng r = rng_at(4, RNG_TEST, 0, 0);
	struct param *p;

	shape_set(&s, 1, &slots, 1, &wide);
	for (int e = 1; e < SLOTS; e += 7)
		s.hidden[0][e] = s.hidden[1][e] = 0;
	p = param_new(&s, true);
	param_each(p, fill, &r);
	for (int l = 0; l < 2; l++) {
		for (int e = 2; e + 1 < SLOTS; e += 14) {
			p->layer[l].expert[e]->twin = e + 1;
			p->layer[l].expert[e + 1]->twin = e;
		}
		for (int e = 0; bias && e < SLOTS; e++)
			p->layer[l].bias[e] = (float)(0.1 * rng_normal(&r));
	}
	for (int i = 0; i < TOKENS; i++) {
		in[i] = (int32_t)rng_below(&r, VOCAB);
		out[i] = (int32_t)rng_below(&r, VOCAB);
	}
	shape_free(&s);
	return p;
}

/* Weights of a loss that is nothing, but something, make the whole way. */
static struct net *
pass(struct param *p, bool whole, struct route_stat stat[2])
{
	const struct net_how how = {
		.temperature = 0.2f, .aux = {.z = whole ? 1e-30f : 0}, .scale = 1, .back = true};
	struct net *n = net_new(p, BATCH, SEQ, true);
	struct net_loss loss;

	net_forward(n, &how, BATCH, SEQ, in, out, &loss);
	for (int l = 0; l < 2; l++)
		route_stat(net_plan(n, l), &stat[l]); /* the way back takes its place */
	net_backward(n, &how);
	return n;
}

static void
keep(void *arg, struct tensor *t, int layer, int slot)
{
	float **at = arg;
	const size_t n = (size_t)(t->rows * t->cols);

	(void)layer, (void)slot;
	memcpy(*at, t->g, n * sizeof *t->g);
	*at += n;
}

static double
difference(const float *a, const float *b, long n)
{
	double d = 0, size = 0;

	for (long i = 0; i < n; i++) {
		d += pow((double)(a[i] - b[i]), 2);
		size += (double)a[i] * (double)a[i];
	}
	return sqrt(d / size);
}

static void
both(enum router router, int k, bool bias)
{
	static const char *const name[] = {"linear", "mlp", "cosine"};
	struct param *p = make(router, k, bias);
	struct route_stat a[2], b[2];
	struct net *whole = pass(p, true, a);
	const long n = shape_params(&p->shape);
	float *g = calloc((size_t)(2 * n), sizeof *g), *at = g;
	struct net *lean;
	double worst[4] = {0};
	bool same = true;

	param_each(p, keep, &at);
	const long size = at - g;
	lean = pass(p, false, b);
	at = g + n;
	param_each(p, keep, &at);
	ok(net_plan(lean, 0)->lean && !net_plan(whole, 0)->lean, "%s router, %d of %d%s",
	   name[router], k, SLOTS, bias ? ", biased" : "");
	is_bytes(net_token_loss(lean), net_token_loss(whole), TOKENS * sizeof(float), "losses");
	for (int l = 0; l < 2; l++) {
		const struct plan *x = net_plan(whole, l), *y = net_plan(lean, l);
		same &= !memcmp(x->choice, y->choice, (size_t)(TOKENS * k) * sizeof *x->choice);
		same &= !memcmp(x->gate, y->gate, (size_t)(TOKENS * k) * sizeof *x->gate);
		for (long i = 0; i < TOKENS; i++) {
			worst[0] = fmax(worst[0], fabs((double)(x->lse[i] - y->lse[i])));
			worst[1] = fmax(worst[1], fabs((double)(x->entropy[i] - y->entropy[i])));
			worst[2] = fmax(worst[2], fabs((double)(x->margin[i] - y->margin[i])));
		}
		worst[3] = fmax(worst[3], fabs(a[l].balance - b[l].balance));
	}
	ok(same, "choices and weights");
	is_real(worst[0], 0, 2e-6, "log of the normaliser");
	is_real(worst[1], 0, 1e-5, "entropy");
	is_real(worst[2], 0, 1e-6, "margin");
	is_real(worst[3], 0, 1e-5, "balance");
	is_real(difference(g, g + n, size), 0, 2e-6, "all gradients");
	for (int l = 0; l < 2; l++) {
		double sum = 0;
		for (int i = 0; i < DIM; i++)
			sum += fabs((double)p->layer[l].route.g[8 * DIM + i]);
		ok(sum == 0, "none for an empty slot");
	}
	net_free(whole);
	net_free(lean);
	free(g);
	param_free(p);
}

int
main(void)
{
	static const char *const names[] = {"portable", "avx2", "avx512"};

	for (int i = 0; i < 3; i++) {
		struct rng r = rng_at(2, RNG_TEST, 0, 0);
		if (kern_choose(names[i]) != 0)
			continue;
		largest(&r);
		sums(&r);
		two_passes(&r);
	}
	kern_choose(NULL);
	task_start(2);
	for (int k = 1; k <= 5; k += k < 3 ? 1 : 2) {
		both(ROUTER_LINEAR, k, k == 2);
		both(ROUTER_COSINE, k, k == 3);
	}
	task_stop();
	return done();
}
