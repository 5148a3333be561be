#include "model/lean.h"
#include "base/task.h"
#include <math.h>
#include <string.h>

enum {
	BLOCK = 28, /* rows whose scores are made at a time, and stay in the second-level cache */
	PAD = 16,   /* floats beside rows whose length would share cache sets */
	SLICE = 32  /* experts of a gradient's task */
};

bool
lean_can(const struct shape *s, const struct route_loss *loss, bool random, bool back)
{
	if (s->dense || random || (s->router != ROUTER_LINEAR && s->router != ROUTER_COSINE))
		return false;
	return !back || (loss->balance == 0 && loss->z == 0 && loss->entropy == 0 &&
			 loss->even == 0 && loss->oracle == 0);
}

static long
key_ld(const struct plan *p)
{
	return (p->experts + PAD - 1) / PAD * PAD + PAD;
}

void
lean_start(const struct shape *s, const struct layer *l, struct plan *p)
{
	const long c = s->dim, e = p->experts, ld = key_ld(p);

	if (s->router == ROUTER_COSINE)
		route_inverse_norms(e, c, l->route.w, p->ik);
	if (p->tokens < BLOCK)
		return;
	for (long i = 0; i < e; i += PAD)
		for (long j = 0; j < c; j++)
			for (long k = i; k < e && k < i + PAD; k++)
				p->keys[j * ld + k] = l->route.w[k * c + j];
}

/* z [n, e] = x K^T: the same bits from keys as they are and turned. */
static void
scores(const struct shape *s, const struct layer *l, const struct plan *p, long n, const float *x,
       float *z, long ldz)
{
	const long c = s->dim, e = p->experts;

	if (p->tokens < BLOCK)
		kern->nt(n, e, c, x, c, l->route.w, c, z, ldz, false);
	else
		kern->nn(n, e, c, x, c, p->keys, key_ld(p), z, ldz, false);
}

/* What the rows of a task share. */
struct rows {
	const struct layer *l;
	struct plan *p;
	float scale; /* 1 / temperature */
	bool cosine;
	const float *bias; /* NULL: none */
	int *hidden;	   /* slots that are empty, then twins */
	int empty, hiding; /* ends of both */
	float *u, *w;	   /* [E] */
	float *mass;	   /* [E] sum of p over these rows */
};

/* How far the first choice's probability is above the second's, or, of one, the next best's. */
static float
margin(const struct rows *r, const int *choice, float sum)
{
	int next = r->p->k > 1 ? choice[1] : -1, best[2];

	if (next < 0 && r->p->experts > 1) {
		kern->largest(r->p->experts, 2, r->u, best);
		next = best[0] == choice[0] ? best[1] : best[0];
	}
	return (r->w[choice[0]] - (next < 0 ? 0 : r->w[next])) / sum;
}

/* One token's row of products: who is chosen, with which weights, and what the others come to. */
static void
row(const struct rows *r, long t, long c, const float *x, float *z)
{
	struct plan *p = r->p;
	const int e = p->experts, k = p->k;
	int *choice = p->choice + t * k;
	float *gate = p->gate + t * k, ix, part[3];

	if (r->cosine) {
		route_inverse_norms(1, c, x, &ix);
		kern->times(e, ix, p->ik, z);
	}
	for (int i = 0; i < r->empty; i++)
		z[r->hidden[i]] = ROUTE_EMPTY;
	const uint64_t h = route_hash(p->in[t], (p->first + t) % p->seq);
	for (int i = r->empty; i < r->hiding; i++)
		if (route_waits(r->l, r->hidden[i], h))
			z[r->hidden[i]] = ROUTE_EMPTY;
	if (p->noise.size > 0)
		route_disturb(p, t, 1, z);
	kern->scale(e, r->scale, z, r->u);
	if (r->bias) {
		memcpy(r->w, r->u, (size_t)e * sizeof *r->w);
		kern->axpy(e, 1, r->bias, r->w);
	}
	kern->largest(e, k, r->bias ? r->w : r->u, choice);
	for (int j = 0; j < k; j++)
		gate[j] = r->u[choice[j]];
	if (p->noise.size > 0)
		route_disturb(p, t, -1, z);
	for (int j = 0; j < k; j++)
		p->score[t * k + j] = z[choice[j]];
	/* as softmax, to the bit, but for the logarithm */
	kern->partition(k, gate, gate, part);
	kern->scale(k, 1 / part[1], gate, gate);
	kern->partition(e, r->u, r->w, part);
	p->lse[t] = part[0] + logf(part[1]);
	p->entropy[t] = p->lse[t] - part[2] / part[1];
	p->margin[t] = margin(r, choice, part[1]);
	kern->axpy(e, 1 / part[1], r->w, r->mass);
}

void
lean_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
	  long from, long to, const float *x, int worker)
{
	const long c = s->dim, e = p->experts, ldz = e + PAD;
	int hidden[2 * e];
	float *z = task_scratch(worker, (size_t)(BLOCK * ldz + 2 * e) * sizeof *z);
	struct rows r = {.l = l,
			 .p = p,
			 .scale = 1 / temperature,
			 .cosine = s->router == ROUTER_COSINE,
			 .hidden = hidden,
			 .u = z + BLOCK * ldz,
			 .w = z + BLOCK * ldz + e,
			 .mass = p->mass + from / ROUTE_ROWS * e};

	for (int i = 0; i < e; i++) {
		if (!l->expert[i])
			hidden[r.empty++] = i;
		if (l->bias && l->bias[i] != 0)
			r.bias = l->bias;
	}
	r.hiding = r.empty;
	for (int i = 0; i < e; i++)
		if (l->expert[i] && l->expert[i]->twin >= 0)
			hidden[r.hiding++] = i;
	memset(r.mass, 0, (size_t)e * sizeof *r.mass);
	for (long b = from; b < to; b += BLOCK) {
		const long n = to - b < BLOCK ? to - b : BLOCK;
		scores(s, l, p, n, x + b * c, z, ldz);
		for (long t = b; t < b + n; t++)
			row(&r, t, c, x + t * c, z + (t - b) * ldz);
	}
}

/*
 * du_j = g_j (dg_j - sum_k g_k dg_k), dz = du / T; linear: dx += dz k, dk += dz x.  Cosine:
 * dx += dz (k / (|x| |k|) - z x / |x|^2), and k alike.
 */
void
lean_back_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
	       const float *dgate, long from, long to, const float *x, float *dx)
{
	const long c = s->dim;
	const int k = p->k;
	const float inv = 1 / temperature;
	const bool cosine = s->router == ROUTER_COSINE;

	for (long t = from; t < to; t++) {
		const float *gate = p->gate + t * k, *dg = dgate + t * k;
		float dot = 0, along = 0, ix = 1;
		if (cosine)
			route_inverse_norms(1, c, x + t * c, &ix);
		for (int j = 0; j < k; j++)
			dot += gate[j] * dg[j];
		for (int j = 0; j < k; j++) {
			const int e = p->choice[t * k + j];
			const long r = p->row[t * k + j];
			const float dz = gate[j] * (dg[j] - dot) * inv;
			p->dz[r] = cosine ? dz * (ix * p->ik[e]) : dz;
			p->along[r] = dz * p->score[t * k + j];
			along += p->along[r];
			kern->axpy(c, p->dz[r], l->route.w + e * c, dx + t * c);
		}
		if (cosine)
			kern->axpy(c, -along * ix * ix, x + t * c, dx + t * c);
	}
}

long
lean_grad_tasks(const struct plan *p)
{
	return (p->experts + SLICE - 1) / SLICE;
}

void
lean_grad(const struct shape *s, struct layer *l, const struct plan *p, const float *x, bool add,
	  long task)
{
	const long c = s->dim;
	const int to = task * SLICE + SLICE < p->experts ? (int)task * SLICE + SLICE : p->experts;

	for (int e = (int)task * SLICE; e < to; e++) {
		float *g = l->route.g + e * c, along = 0;
		if (!add)
			memset(g, 0, (size_t)c * sizeof *g);
		for (long r = p->start[e]; r < p->start[e + 1]; r++) {
			kern->axpy(c, p->dz[r], x + p->token[r] * c, g);
			along += p->along[r];
		}
		if (s->router == ROUTER_COSINE)
			kern->axpy(c, -along * p->ik[e] * p->ik[e], l->route.w + e * c, g);
	}
}
