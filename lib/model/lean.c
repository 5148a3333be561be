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
	float *biased;	   /* [E] */
	float *part;	   /* [BLOCK] 1 / the sum of a row's powers */
	float *mass;	   /* [E] sum of p over these rows */
};

/* How far the first choice's probability is above the second's, or, of one, the next best's. */
static float
margin(const struct rows *r, const int *choice, const float *u, const float *powers, float sum)
{
	int next = r->p->k > 1 ? choice[1] : -1, best[2];

	if (next < 0 && r->p->experts > 1) {
		kern->largest(r->p->experts, 2, u, best);
		next = best[0] == choice[0] ? best[1] : best[0];
	}
	return (powers[choice[0]] - (next < 0 ? 0 : powers[next])) / sum;
}

/* Whom the token must not choose: a cosine's product is still to be divided by the lengths. */
static void
hide(const struct rows *r, long t, float ix, float *z)
{
	const struct plan *p = r->p;
	const uint64_t h = route_hash(p->in[t], (p->first + t) % p->seq);

	for (int i = 0; i < r->hiding; i++) {
		const int slot = r->hidden[i];
		if (i < r->empty || route_waits(r->l, slot, h))
			z[slot] = ROUTE_EMPTY / (r->cosine ? ix * p->ik[slot] : 1);
	}
}

/*
 * One token's row of products, which become scores over T: who is chosen, with which weights, and
 * the powers of all.
 */
static void
row(const struct rows *r, long t, long c, const float *x, float *z, float *powers, float *part)
{
	struct plan *p = r->p;
	const int e = p->experts, k = p->k;
	const bool noise = p->noise.size > 0;
	int *choice = p->choice + t * k;
	float *gate = p->gate + t * k, ix = 1, top[2], sum[2], sums[3];

	if (r->cosine)
		route_inverse_norms(1, c, x, &ix);
	hide(r, t, ix, z);
	if (r->cosine && noise)
		kern->times(e, ix, p->ik, z);
	if (noise)
		route_disturb(p, t, 1, z);
	kern->sharpen(e, k, ix, r->cosine && !noise ? p->ik : NULL, r->scale, z, top);
	kern->pick(e, k, z, top, powers, choice, sum);
	if (r->bias) {
		memcpy(r->biased, z, (size_t)e * sizeof *z);
		kern->axpy(e, 1, r->bias, r->biased);
		kern->largest(e, k, r->biased, choice);
	}
	for (int j = 0; j < k; j++)
		gate[j] = z[choice[j]];
	p->margin[t] = margin(r, choice, z, powers, sum[0]);
	if (noise)
		route_disturb(p, t, -r->scale, z);
	for (int j = 0; j < k; j++)
		p->score[t * k + j] = z[choice[j]] / r->scale;
	/* as softmax, to the bit, but for the logarithm */
	kern->partition(k, gate, gate, sums);
	kern->scale(k, 1 / sums[1], gate, gate);
	p->lse[t] = top[0] + logf(sum[0]);
	p->entropy[t] = p->lse[t] - sum[1] / sum[0];
	*part = 1 / sum[0];
}

void
lean_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
	  long from, long to, const float *x, int worker)
{
	const long c = s->dim, e = p->experts, ldz = e + PAD;
	int hidden[2 * e];
	float *z = task_scratch(worker, (size_t)(BLOCK * (ldz + e + 1) + e) * sizeof *z);
	float *powers = z + BLOCK * ldz;
	struct rows r = {.l = l,
			 .p = p,
			 .scale = 1 / temperature,
			 .cosine = s->router == ROUTER_COSINE,
			 .hidden = hidden,
			 .biased = powers + BLOCK * e,
			 .part = powers + BLOCK * e + e,
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
		for (long t = 0; t < n; t++)
			row(&r, b + t, c, x + (b + t) * c, z + t * ldz, powers + t * e, r.part + t);
		kern->mix(n, e, r.part, powers, r.mass);
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
