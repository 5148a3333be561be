/*
 * Routing among many experts: its kernels on every instruction set, and the lean way beside the
 * whole one: equal choices, weights and losses, and gradients as near as rounding lets them be.
 */
#include "base/rng.h"
#include "base/task.h"
#include "model/lean.h"
#include "model/net.h"
#include "small.h"
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

/* Beside tails: the groups in which candidates are sought are of 128, 64 and 32. */
static void
largest(struct rng *r)
{
	int wrong = 0, tries = 0;
	float x[600], scaled[600];

	for (int i = 0; i < 4000; i++) {
		const int n = i < 600 ? i + 1 : 1 + (int)rng_below(r, 600);
		const int k = 1 + (int)rng_below(r, n < 19 ? n : 19);
		/* few different values: ties; sometimes one, or slots that are empty */
		const uint64_t kinds = 1 + rng_below(r, i % 3 ? 1000000 : 6);
		/* of different numbers some are equal when scaled */
		const float s = i % 4 == 0 ? 1 : (float)(0.1 + rng_uniform(r));
		int got[19], want[19];
		for (int j = 0; j < n; j++) {
			x[j] = rng_below(r, 9) ? (float)rng_below(r, kinds) - 3 : ROUTE_EMPTY;
			if (i % 5 == 0)
				x[j] = nextafterf(1, (float)rng_below(r, 3));
			scaled[j] = s * x[j];
		}
		kern->largest(n, k, s, x, got);
		plain_largest(n, k, scaled, want);
		wrong += memcmp(got, want, (size_t)k * sizeof *got) != 0;
		tries++;
	}
	is_long(wrong, 0, "%s: the largest of %d rows", kern->name, tries);
	wrong = 0;
	for (int n = 4; n < 300; n++) {
		bool seen[300] = {false};
		const uint64_t few = rng_below(r, 4); /* none, or some, are numbers */
		int got[4];
		for (int j = 0; j < n; j++)
			x[j] = rng_below(r, 3) < few ? (float)rng_normal(r) : NAN;
		kern->largest(n, 4, 2, x, got);
		for (int j = 0; j < 4; j++) {
			wrong += got[j] < 0 || got[j] >= n || seen[got[j]];
			seen[got[j]] = true;
		}
	}
	is_long(wrong, 0, "%s: among NaN four different ones are found", kern->name);
}

static void
sums(struct rng *r)
{
	float x[77], e[77], part[3];
	double sum = 0, dot = 0, worst = 0;

	for (int i = 0; i < 77; i++)
		x[i] = (float)(3 * rng_normal(r));
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
}

/* e^(s (x - top)) of rows of any length, in place, far below the top, and of an empty slot. */
static void
powers(struct rng *r)
{
	double worst = 0, off[2] = {0};
	bool none = true, edges = true;

	for (int n = 1; n <= 300; n++) {
		const float s = (float)(0.05 + 3 * rng_uniform(r));
		const double y = (double)s;
		float x[302], out[2], top;
		double want, sum = 0, dot = 0, e[300];
		x[n] = x[n + 1] = 77;
		for (int i = 0; i < n; i++)
			x[i] = n % 7 == 0 && i % 5 == 1 ? ROUTE_EMPTY : (float)(9 * rng_normal(r));
		top = x[0];
		for (int i = 1; i < n; i++)
			top = x[i] > top ? x[i] : top;
		for (int i = 0; i < n; i++) {
			e[i] = want = exp(y * ((double)x[i] - (double)top));
			sum += want;
			dot += want > 0 ? want * y * ((double)x[i] - (double)top) : 0;
		}
		for (int i = 0; i < n; i++)
			none &= x[i] > ROUTE_EMPTY || e[i] == 0;
		kern->powers(n, s, top, x, x, out);
		for (int i = 0; i < n; i++)
			if (e[i] > 1e-37) /* less is as good as nothing */
				worst = fmax(worst, fabs((double)x[i] / e[i] - 1));
			else
				none &= x[i] < 2e-37f;
		off[0] = fmax(off[0], fabs((double)out[0] / sum - 1));
		off[1] = fmax(off[1], fabs((double)out[1] - dot) / (1 - dot));
		edges &= x[n] == 77 && x[n + 1] == 77;
	}
	/* the scaled numbers, up to 100, are no better than half of their last place */
	is_real(worst, 0, 2e-5, "%s: powers of rows", kern->name);
	ok(none && edges, "%s: of empty slots none, and nothing behind a row", kern->name);
	is_real(off[0], 0, 5e-6, "%s: their sum", kern->name);
	is_real(off[1], 0, 5e-6, "%s: their sum times the exponents", kern->name);
	for (int at = 0; at < 33; at++) {
		float x[33] = {0}, out[2];
		x[at] = NAN;
		kern->powers(33, 1, 0, x, x, out);
		none &= isnan(x[at]) && isnan(out[0]) && isnan(out[1]) && x[(at + 1) % 33] == 1;
	}
	ok(none, "%s: a NaN is seen in its power and the sums", kern->name);
}

/* ---- both ways ---- */

enum { SLOTS = 90, DIM = 20, VOCAB = 31, BATCH = 6, SEQ = 50, TOKENS = BATCH * SEQ };

static int32_t in[TOKENS], out[TOKENS];

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
	small_fill(p, &r);
	for (int l = 0; l < 2; l++) {
		for (int e = 2; e + 1 < SLOTS; e += 14) {
			p->layer[l].expert[e]->twin = e + 1;
			p->layer[l].expert[e + 1]->twin = e;
		}
		for (int e = 0; bias && e < SLOTS; e++)
			p->layer[l].bias[e] = (float)(0.1 * rng_normal(&r));
	}
	small_tokens(&r, VOCAB, TOKENS, in, out);
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
		powers(&r);
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
