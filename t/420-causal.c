/*
 * To the bit: a token's output depends on the tokens before it in its sequence and on nothing
 * else, whatever shares the batch, however long the sequence is, whether it comes at once or token
 * by token, and however many workers there are.
 */
#include "base/err.h"
#include "base/rng.h"
#include "base/task.h"
#include "model/net.h"
#include "model/optim.h"
#include "small.h"
#include "tap.h"

enum { V = 37, T = 33, B = 32 }; /* B T exceeds the rows of every task */
enum { FEW = 2, N = FEW * T };

static const struct model {
	const char *name;
	struct shape shape;
	int experts, hidden;
} model[] = {
	{"linear top 2 of 4", {.router = ROUTER_LINEAR, .top_k = 2}, 4, 50},
	{"mlp, gated", {.router = ROUTER_MLP, .top_k = 3, .act = ACT_SWIGLU}, 5, 270},
	{"cosine, 200 experts", {.router = ROUTER_COSINE, .top_k = 2, .act = ACT_RELU2}, 200, 7},
	{"linear, segments", {.router = ROUTER_LINEAR, .top_k = 2}, 2, 20},
	{"dense", {.dense = true}, 1, 70},
	{"random", {.router = ROUTER_RANDOM, .top_k = 2}, 9, 20},
	{"key store", {.router = ROUTER_KEYSTORE, .top_k = 3, .frozen = true}, 150, 9},
};
enum { MODELS = sizeof model / sizeof *model };

static int32_t in[B * T], out[B * T];

static struct param *
make(const struct model *m)
{
	struct rng r = rng_at(1, RNG_TEST, 0, 0);
	struct shape s = m->shape;
	struct param *p;

	s.vocab = V;
	s.dim = 36;
	s.layers = 2;
	s.heads = 6;
	s.kv_heads = 3;
	s.router_hidden = 13;
	if (shape_set(&s, 1, &m->experts, 1, &m->hidden) != 0)
		exit(1);
	p = param_new(&s, true);
	shape_free(&s);
	small_fill(p, &r);
	small_tokens(&r, V, B * T, in, out);
	return p;
}

static struct net_how
how_of(bool back)
{
	return (struct net_how){.temperature = 0.8f,
				.aux = {.balance = 0.3f, .z = 0.02f, .entropy = 0.1f},
				.seed = 5,
				.scale = 1,
				.back = back};
}

/* The losses by token of batch x seq tokens that begin at `from`. */
static const float *
losses(struct net *n, int batch, int seq, const int32_t *from)
{
	struct net_how how = how_of(false);
	struct net_loss loss;

	net_forward(n, &how, batch, seq, from, out + (from - in), &loss);
	return net_token_loss(n);
}

/* How many of the first n floats agree to the bit. */
static long
agree(const float *a, const float *b, long n)
{
	long i = 0;

	while (i < n && memcmp(a + i, b + i, sizeof *a) == 0)
		i++;
	return i;
}

static void
causality(const char *name, struct param *p)
{
	struct net *n = net_new(p, FEW, T, false);
	float before[N];
	long first = T, blind = 0;

	memcpy(before, losses(n, FEW, T, in), sizeof before);
	for (int at = 0; at < T; at++) {
		const long t = (at % FEW) * T + at;
		const int32_t was = in[t];
		in[t] = (was + 1 + at % (V - 1)) % V;
		const float *after = losses(n, FEW, T, in);
		long same = agree(before, after, N) - (at % FEW) * T;
		if (same < at && same - at < first)
			first = same - at;
		blind += same != at;
		long rest = (at % FEW + 1) * T;
		if (agree(before + rest, after + rest, N - rest) != N - rest)
			first = -T;
		in[t] = was;
	}
	is_long(first, T, "%s %s: no token changes an earlier loss or another sequence's",
		kern->name, name);
	is_long(blind, 0, "%s %s: each token changes its own loss", kern->name, name);
	net_free(n);
}

static void
batches(const char *name, struct param *p)
{
	struct net *n = net_new(p, B, T, true), *one = net_new(p, 1, T, false);
	float whole[B * T];
	long same = 0, kept = 0;

	memcpy(whole, losses(n, B, T, in), sizeof whole);
	for (int b = 0; b < B; b++) {
		same += agree(whole + b * T, losses(one, 1, T, in + b * T), T);
		kept += agree(whole + b * T, losses(n, 1, T, in + b * T), T);
	}
	is_long(same, B * T, "%s %s: a sequence alone, in a net of its own size", kern->name, name);
	is_long(kept, B * T, "%s %s: a sequence alone, in a larger net", kern->name, name);
	net_free(n);
	net_free(one);
}

static void
lengths(const char *name, struct param *p)
{
	struct net *n = net_new(p, B, T, false);
	float whole[T];
	int wrong = 0;

	memcpy(whole, losses(n, 1, T, in), sizeof whole);
	for (int t = T; t > 0; t--)
		if (agree(whole, losses(n, 1, t, in), t) != t)
			wrong = t;
	is_long(wrong, 0, "%s %s: the beginning of a sequence of any length", kern->name, name);
	net_free(n);
}

/* Every logit, as the loss it would give if it were the target's. */
static void
continuation(const char *name, struct param *p)
{
	struct net *n = net_new(p, 1, T, true);
	struct net_how how = how_of(false);
	struct cache *c = cache_new(p, T);
	float next[V][T];
	int32_t keep[T];
	long same = 0;

	for (int t = 0; t < T; t++) {
		const float *z = net_next(n, c, &how, in[t]);
		float p_of[V], lse;
		memcpy(p_of, z, sizeof p_of);
		lse = kern->softmax(V, p_of);
		for (int v = 0; v < V; v++)
			next[v][t] = lse - z[v];
	}
	ok(!net_next(n, c, &how, 0), "%s %s: a full cache is refused", kern->name, name);
	memcpy(keep, out, sizeof keep);
	for (int v = 0; v < V; v++) {
		for (int t = 0; t < T; t++)
			out[t] = v;
		same += agree(next[v], losses(n, 1, T, in), T);
	}
	memcpy(out, keep, sizeof keep);
	is_long(same, V * T, "%s %s: logits token by token", kern->name, name);
	cache_free(c);
	net_free(n);
}

/* ---- workers ---- */

static void
weights(void *arg, struct tensor *t, int layer, int slot)
{
	float **at = arg;
	const size_t n = (size_t)(t->rows * t->cols);

	(void)layer, (void)slot;
	if (t->g)
		memcpy(*at, t->g, n * sizeof **at);
	memcpy(*at + n, t->w, n * sizeof **at);
	*at += 2 * n;
}

/* Losses, then gradients and weights after a step of two batches. */
static float *
train(const struct model *m, int workers, long *floats)
{
	const struct optim o = {0.9, 0.95, 1e-8, 0.1, 1.0, false};
	struct net_how how = how_of(true);
	struct net_loss loss;

	if (task_start(workers) != 0)
		exit(1);
	struct param *p = make(m);
	struct net *n = net_new(p, B, T, true);
	*floats = B * T + 2 * shape_params(&p->shape);
	float *all = mem_zero((size_t)*floats, sizeof *all), *at = all + B * T;
	for (int i = 0; i < 2; i++) {
		how.add = i > 0;
		net_forward(n, &how, B, T, in, out, &loss);
		net_backward(n, &how);
	}
	optim_step(p, &o, 0.01, 0, optim_norm(p, NULL));
	memcpy(all, net_token_loss(n), B * T * sizeof *all);
	param_each(p, weights, &at);
	net_free(n);
	param_free(p);
	return all;
}

static void
workers(const struct model *m)
{
	long n;
	float *one = train(m, 1, &n);

	for (int w = 2; w < 4; w++) {
		float *more = train(m, w, &n);
		is_long(agree(one, more, n), n, "%s %s: %d workers", kern->name, m->name, w);
		free(more);
	}
	free(one);
}

int
main(void)
{
	static const char *const name[] = {"portable", "avx2", "avx512"};

	task_start(1);
	for (int i = 0; i < 3; i++) {
		if (kern_choose(name[i]) != 0) {
			ok(true, "%s kernels # SKIP %s", name[i], err_text());
			continue;
		}
		for (int m = 0; m < MODELS; m++) {
			struct param *p = make(&model[m]);
			causality(model[m].name, p);
			if (model[m].shape.router != ROUTER_RANDOM)
				batches(model[m].name, p);
			lengths(model[m].name, p);
			continuation(model[m].name, p);
			param_free(p);
		}
	}
	kern_choose(NULL); /* what tasks are cut does not depend on the kernels */
	for (int m = 0; m < MODELS; m++)
		workers(&model[m]);
	task_stop();
	return done();
}
