#include "train/eval.h"
#include "base/err.h"
#include "base/mem.h"
#include "io/trace.h"
#include <math.h>
#include <stdlib.h>

/* Operations of the experts, and who else watches the routing. */
struct work {
	struct param *param;
	double flops;
	void (*next)(void *arg, int layer, const struct plan *p);
	void *arg;
};

static void
count_work(void *arg, int layer, const struct plan *p)
{
	struct work *w = arg;

	for (int e = 0; e < p->experts; e++) {
		const struct expert *x = w->param->layer[layer].expert[e];
		if (x)
			w->flops += 2.0 * (double)p->count[e] * (double)x->up.cols *
				    (double)(x->gate.rows + x->up.rows + x->down.cols);
	}
	if (w->next)
		w->next(w->arg, layer, p);
}

int
eval_run(struct net *n, const struct net_how *how, const struct tokens *data, size_t from,
	 size_t to, eval_fn *seen, void *arg, struct eval *out)
{
	/* Random routing goes by the step and the place in the batch: one window at a time. */
	const bool random = n->param->shape.router == ROUTER_RANDOM;
	const int most = random ? 1 : n->batch;
	const size_t T = (size_t)n->seq, room = (size_t)most * T;
	int32_t *in = mem_zero(2 * room, sizeof *in), *next = in + room;
	struct work work = {n->param, 0, n->on_route, n->on_route_arg};
	struct net_how h = *how;
	double loss = 0, hits = 0;
	long step = 0;
	int status = 0;

	*out = (struct eval){0};
	n->on_route = count_work;
	n->on_route_arg = &work;
	while (status == 0 && from + T + 1 <= to) {
		struct net_loss l;
		int batch = 0;
		for (; batch < most && from + T + 1 <= to; batch++, from += T) {
			tokens_get(data, from, T, in + (size_t)batch * T);
			tokens_get(data, from + 1, T, next + (size_t)batch * T);
		}
		h.step = step;
		net_forward(n, &h, batch, n->seq, in, next, &l);
		/* Tokens are summed one by one, so that the batch does not matter. */
		for (long t = 0; t < (long)batch * n->seq; t++) {
			loss += (double)net_token_loss(n)[t];
			hits += net_token_hit(n)[t];
		}
		out->tokens += (long)batch * n->seq;
		if (!isfinite(loss))
			status = err_set("%s: the loss is not finite", data->file);
		else if (seen)
			status = seen(arg, n, step, batch, in);
		step++;
	}
	n->on_route = work.next;
	n->on_route_arg = work.arg;
	free(in);
	if (status != 0)
		return -1;
	if (out->tokens == 0)
		return err_set("%s: no window of %zu tokens and the one after them", data->file, T);
	out->loss = loss / (double)out->tokens;
	out->accuracy = hits / (double)out->tokens;
	out->flops = shape_forward(&n->param->shape, n->seq, work.flops / (double)out->tokens);
	return 0;
}

void
eval_census(struct census *c, struct net *n)
{
	struct route_stat stat;

	for (int l = 0; l < c->layers; l++) {
		route_stat(net_plan(n, l), &stat);
		census_add(c, l, net_plan(n, l), &stat, net_token_loss(n), net_token_hit(n));
	}
}

int
eval_trace(struct row *r, struct net *n, long step, int batch, const int32_t *in)
{
	const long T = net_plan(n, 0)->tokens / batch;

	for (long t = 0; t < T * batch; t++)
		for (int l = 0; l < n->param->shape.layers; l++) {
			const struct plan *p = net_plan(n, l);
			for (int k = 0; k < p->k; k++) {
				struct trace_row row = {.step = step,
							.seq = t / T,
							.pos = t % T,
							.token = in[t],
							.layer = l,
							.rank = k,
							.expert = p->choice[t * p->k + k],
							.weight = p->gate[t * p->k + k],
							.correct = net_token_hit(n)[t]};
				if (trace_put(r, &row) != 0)
					return -1;
			}
		}
	return 0;
}
