/*
 * The key store as a router: whom a token asks is told by brute force, ties included, over chunks
 * and spans of the search; keys as they begin; what a frozen model has no memory for.
 */
#include "base/rng.h"
#include "base/task.h"
#include "knn/pick.h"
#include "model/keystore.h"
#include "model/net.h"
#include "pool/gravity.h"
#include "small.h"
#include "tap.h"

enum { C = 12, K = 3, V = 19, T = 40, B = 20, N = B * T };

static int32_t in[N], out[N];

static struct param *
make(int experts, int router_hidden, bool frozen, bool train)
{
	struct shape s = {.vocab = V,
			  .dim = C,
			  .layers = 2,
			  .heads = 2,
			  .kv_heads = 2,
			  .top_k = K,
			  .router = ROUTER_KEYSTORE,
			  .router_hidden = router_hidden,
			  .frozen = frozen,
			  .tied = true};
	const int hidden = 2;
	struct param *p;

	if (shape_set(&s, 1, &experts, 1, &hidden) != 0)
		exit(1);
	p = param_new(&s, train);
	shape_free(&s);
	param_init(p, 3);
	return p;
}

/* Keys that occur several times, so that scores tie. */
static void
repeat_keys(struct layer *l)
{
	for (long i = 0; i < l->route.rows; i++)
		memcpy(l->route.w + i * C, l->route.w + i % 7 * C, C * sizeof *l->route.w);
}

/* A token's choices and weights, by looking at every key. */
static bool
as_by_hand(const struct layer *l, const struct plan *p, float temperature, long t)
{
	const long n = l->route.rows;
	double sum = 0;
	bool right = true;

	for (int j = 0; j < K; j++) {
		int best = -1;
		float top = -INFINITY;
		for (int e = 0; e < n; e++) {
			const float s = pick_score(C, p->query + t * C, l->route.w + (long)e * C);
			bool taken = false;
			for (int i = 0; i < j; i++)
				taken |= p->choice[t * K + i] == e;
			if (!taken && s > top) {
				top = s;
				best = e;
			}
		}
		right &= best == p->choice[t * K + j] && top == p->score[t * K + j];
	}
	for (int j = 0; j < K; j++)
		sum += exp((double)p->score[t * K + j] / (double)temperature);
	for (int j = 0; j < K; j++) {
		const double g = exp((double)p->score[t * K + j] / (double)temperature) / sum;
		right &= fabs(g - (double)p->gate[t * K + j]) < 1e-6;
	}
	return right;
}

static void
choices(int experts, int router_hidden, bool ties)
{
	struct param *p = make(experts, router_hidden, true, false);
	struct net *n = net_new(p, B, T, true);
	const struct net_how how = {.temperature = 0.2f, .scale = 1};
	struct net_loss loss;
	long wrong = 0, zero = 0;

	for (int l = 0; l < 2 && ties; l++)
		repeat_keys(&p->layer[l]);
	net_forward(n, &how, B, T, in, out, &loss);
	for (int l = 0; l < 2; l++) {
		const struct plan *plan = net_plan(n, l);
		for (long t = 0; t<N; t += experts> 1000 ? 9 : 1) {
			const float *q = plan->query + t * C;
			wrong += !as_by_hand(&p->layer[l], plan, how.temperature, t);
			zero += fabs((double)kern->dot(C, q, q) - 1) > 1e-5;
		}
	}
	is_long(wrong, 0, "%d experts%s, %s query: choices, scores and weights", experts,
		ties ? " whose keys repeat" : "", router_hidden ? "mlp" : "linear");
	is_long(zero, 0, "queries of length 1");
	net_free(n);
	param_free(p);
}

/* Routing's figures, where p is of the chosen alone. */
static void
figures(void)
{
	struct param *p = make(50, 0, true, false);
	struct net *n = net_new(p, B, T, true);
	const struct net_how how = {.temperature = 0.2f, .scale = 1};
	struct net_loss loss;
	struct route_stat s;
	double balance = 0, entropy = 0, mean[50] = {0}, share[50] = {0};

	net_forward(n, &how, B, T, in, out, &loss);
	const struct plan *plan = net_plan(n, 1);
	for (long i = 0; i < N * K; i++) {
		const double g = (double)plan->gate[i];
		mean[plan->choice[i]] += g / N;
		share[plan->choice[i]] += 1.0 / (N * K);
		entropy -= g * log(g) / N;
	}
	for (int e = 0; e < 50; e++)
		balance += 50 * mean[e] * share[e];
	route_stat(plan, &s);
	is_real(s.balance, balance, 1e-5, "balance");
	is_real(s.entropy, entropy, 1e-5, "entropy");
	net_free(n);
	param_free(p);
}

struct held {
	long weights, learning; /* floats */
};

static void
add(void *arg, struct tensor *t, int layer, int slot)
{
	struct held *h = arg;

	(void)layer, (void)slot;
	h->weights += t->rows * t->cols;
	h->learning += t->g || t->m || t->v ? t->rows * t->cols : 0;
	if (!t->g != !t->m || !t->g != !t->v)
		exit(1);
}

static void
memory(void)
{
	struct param *p = make(30, 9, true, true);
	struct held frozen = {0}, free_ = {0};
	double worst = 0;

	param_each(p, add, &frozen);
	for (long i = 0; i < 30; i++)
		worst = fmax(worst, fabs((double)kern->dot(C, p->layer[1].route.w + i * C,
							   p->layer[1].route.w + i * C) -
					 1));
	is_real(worst, 0, 1e-6, "keys begin with length 1");
	is_long(frozen.weights, shape_params(&p->shape), "all parameters are counted");
	is_long(frozen.weights - frozen.learning, 2 * 30 * (C + 2 * 2 * C),
		"keys and frozen experts have neither gradients nor moments");
	param_free(p);
	p = make(30, 9, false, true);
	param_each(p, add, &free_);
	is_long(free_.weights - free_.learning, 2 * 30 * C, "experts that learn have");
	param_free(p);
}

int
main(void)
{
	struct rng r = rng_at(1, RNG_TEST, 475, 0);

	kern_choose(NULL);
	task_start(2);
	small_tokens(&r, V, N, in, out);
	choices(40, 0, false);
	choices(40, 17, false);
	choices(100, 17, true);
	choices(40000, 0, false);
	figures();
	memory();
	task_stop();
	return done();
}
