#include "model/keystore.h"
#include "base/task.h"
#include "knn/exact.h"
#include <math.h>
#include <string.h>

/* q = q / |q|.  What is not finite asks with zeros, and is not finite again when it is weighed. */
static float
to_length_one(long c, float *q)
{
	const float square = kern->dot(c, q, q), inverse = 1 / sqrtf(square + 1e-30f);

	if (!isfinite(square)) {
		memset(q, 0, (size_t)c * sizeof *q);
		return NAN;
	}
	kern->scale(c, inverse, q, q);
	return inverse;
}

void
keystore_rows(const struct shape *s, const struct layer *l, struct plan *p, long from, long to,
	      const float *x)
{
	const long rows = to - from, c = s->dim, r = s->router_hidden;
	float *q = p->query + from * c, *h = p->hidden + from * r, *a = p->active + from * r;

	x += from * c;
	if (r > 0) {
		kern->nt(rows, r, c, x, c, l->query.w, c, h, r, false);
		kern->act(ACT_GELU, rows * r, NULL, h, a);
		kern->nt(rows, c, r, a, r, l->query2.w, r, q, c, false);
	} else {
		kern->nt(rows, c, c, x, c, l->query.w, c, q, c, false);
	}
	for (long t = from; t < to; t++)
		p->length[t] = to_length_one(c, p->query + t * c);
}

struct weighing {
	struct plan *p;
	float scale; /* 1 / temperature */
};

/* p of the chosen is their weight. */
static void
weigh(void *arg, long task, int worker)
{
	const struct weighing *w = arg;
	struct plan *p = w->p;
	const int k = p->k;
	const long from = task * ROUTE_ROWS;
	const long to = from + ROUTE_ROWS < p->tokens ? from + ROUTE_ROWS : p->tokens;
	float *mass = p->mass + task * p->experts;

	(void)worker;
	memset(mass, 0, (size_t)p->experts * sizeof *mass);
	for (long t = from; t < to; t++) {
		float *gate = p->gate + t * k, u[k];
		kern->scale(k, w->scale, p->score + t * k, u);
		kern->scale(k, w->scale, p->score + t * k, gate);
		p->lse[t] = kern->softmax(k, gate);
		p->entropy[t] = p->lse[t] - kern->dot(k, gate, u);
		for (int j = 0; j < k && isnan(p->length[t]); j++)
			gate[j] = NAN;
		p->margin[t] = gate[0] - (k > 1 ? gate[1] : 0);
		for (int j = 0; j < k; j++)
			mass[p->choice[t * k + j]] += gate[j];
	}
}

void
keystore_search(const struct layer *l, struct plan *p, float temperature)
{
	struct exact *keys =
		exact_new(l->route.w, l->route.rows, l->route.cols, EXACT_AUTO, p->tokens);
	struct weighing w = {p, 1 / temperature};

	exact_search(keys, p->query, p->tokens, p->k, p->choice, p->score);
	exact_free(keys);
	task_run((p->tokens + ROUTE_ROWS - 1) / ROUTE_ROWS, weigh, &w);
}

/*
 * du_j = g_j (dg_j - sum_k g_k dg_k), ds = du / T; of the query dq = sum_j ds_j k_j, of what was
 * scaled to its length (dq - <q, dq> q) / |Q(x)|, where <q, dq> = sum_j ds_j s_j.
 */
static void
query_back(const struct layer *l, struct plan *p, float inv, const float *dgate, long t, float *dq)
{
	const long c = l->route.cols;
	const int k = p->k;
	const float *gate = p->gate + t * k;
	float *q = p->query + t * c, dot = 0, along = 0;

	memset(dq, 0, (size_t)c * sizeof *dq);
	for (int j = 0; j < k; j++)
		dot += gate[j] * dgate[j];
	for (int j = 0; j < k; j++) {
		const float ds = gate[j] * (dgate[j] - dot) * inv;
		kern->axpy(c, ds, l->route.w + (long)p->choice[t * k + j] * c, dq);
		along += ds * p->score[t * k + j];
	}
	kern->axpy(c, -along, q, dq);
	kern->scale(c, p->length[t], dq, q);
}

void
keystore_back_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
		   const float *dgate, long from, long to, float *dx, int worker)
{
	const long rows = to - from, c = s->dim, r = s->router_hidden;
	float *dh = task_scratch(worker, (size_t)(c + 2 * rows * r) * sizeof *dh);
	float *q = p->query + from * c, *h = p->hidden + from * r;

	for (long t = from; t < to; t++)
		query_back(l, p, 1 / temperature, dgate + t * p->k, t, dh);
	dx += from * c;
	if (r == 0) {
		kern->nn(rows, c, c, q, c, l->query.w, c, dx, c, true);
		return;
	}
	kern->nn(rows, r, c, q, c, l->query2.w, r, dh, r, false);
	kern->act_back(ACT_GELU, rows * r, NULL, h, dh, 1, dh + rows * r, NULL, h);
	kern->nn(rows, c, r, h, r, l->query.w, c, dx, c, true);
}

int
keystore_grads(const struct shape *s, struct layer *l, struct plan *p, const float *x, bool add,
	       struct grad *out)
{
	const long n = p->tokens, c = s->dim, r = s->router_hidden;

	if (r == 0) {
		out[0] = (struct grad){c, c, n, p->query, x, c, c, l->query.g, add};
		return 1;
	}
	out[0] = (struct grad){r, c, n, p->hidden, x, r, c, l->query.g, add};
	out[1] = (struct grad){c, r, n, p->query, p->active, c, r, l->query2.g, add};
	return 2;
}

size_t
keystore_bytes(const struct shape *s, long tokens)
{
	size_t most = 0;

	for (int l = 0; l < s->layers; l++) {
		const size_t n = exact_bytes(s->experts[l], s->dim, tokens, s->top_k);
		most = n > most ? n : most;
	}
	return most;
}
