#include "model/lean.h"
#include "base/task.h"
#include <math.h>
#include <string.h>

enum {
	BLOCK = 56, /* rows whose scores are made at a time, and stay in the second-level cache */
	FOUR = 4,   /* rows whose powers stay in the first until they are added up */
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

/* Few rows: keys are not worth packing. */
static bool
few(const struct plan *p)
{
	return p->tokens < BLOCK / 2;
}

void
lean_start(const struct shape *s, const struct layer *l, struct plan *p)
{
	const long c = s->dim, e = p->experts;
	const float *k = l->route.w, *ik = s->router == ROUTER_COSINE ? p->ik : NULL;

	if (ik)
		route_inverse_norms(e, c, k, p->ik);
	if (!few(p))
		kern->pack(e, c, ik, k, c, p->keys);
	else if (ik)
		route_scale_rows(e, c, p->ik, k, p->keys);
	p->empty = 0;
	for (int i = 0; i < e; i++)
		if (!l->expert[i])
			p->shut[p->empty++] = i;
	p->hiding = p->empty;
	for (int i = 0; i < e; i++)
		if (l->expert[i] && l->expert[i]->twin >= 0)
			p->shut[p->hiding++] = i;
}

/* z [n, e] = x K^T, of a cosine of vectors of length 1: the same bits from packed keys. */
static void
scores(const struct shape *s, const struct layer *l, const struct plan *p, long n, const float *x,
       float *length, float *unit, float *z, long ldz)
{
	const long c = s->dim, e = p->experts;
	const bool cosine = s->router == ROUTER_COSINE;

	if (cosine) {
		route_inverse_norms(n, c, x, length);
		route_scale_rows(n, c, length, x, unit);
		x = unit;
	}
	if (few(p))
		kern->nt(n, e, c, x, c, cosine ? p->keys : l->route.w, c, z, ldz, false);
	else
		kern->packed(n, e, c, x, c, p->keys, z, ldz);
}

/* What the rows of a task share. */
struct rows {
	const struct layer *l;
	struct plan *p;
	float scale;	   /* 1 / temperature */
	const float *bias; /* NULL: none */
	float *biased;	   /* [E] */
	float *clear;	   /* [E] scores without noise */
};

/* Whom the token must not choose. */
static void
hide(const struct rows *r, long t, float *z)
{
	const struct plan *p = r->p;
	const uint64_t h = route_hash(p->in[t], (p->first + t) % p->seq);

	for (int i = 0; i < p->hiding; i++)
		if (i < p->empty || route_waits(r->l, p->shut[i], h))
			z[p->shut[i]] = ROUTE_EMPTY;
}

/*
 * One token's row of scores: who is chosen, with which weights, and, in place of the scores, the
 * powers of all.  Returns 1 / the sum of these.
 */
static float
row(const struct rows *r, long t, float *z)
{
	struct plan *p = r->p;
	const int e = p->experts, k = p->k, two = k > 1 || e == 1 ? k : 2;
	int *choice = p->choice + t * k, best[two], next;
	const float *clear = z;
	float *gate = p->gate + t * k, top, sum[2], sums[3], nats;

	hide(r, t, z);
	if (p->noise.size > 0) {
		clear = memcpy(r->clear, z, (size_t)e * sizeof *z);
		route_disturb(p, t, 1, z);
	}
	kern->largest(e, two, r->scale, z, best);
	memcpy(choice, best, (size_t)k * sizeof *best);
	if (r->bias) {
		kern->scale(e, r->scale, z, r->biased);
		kern->axpy(e, 1, r->bias, r->biased);
		kern->largest(e, k, 1, r->biased, choice);
	}
	for (int j = 0; j < k; j++) {
		gate[j] = z[choice[j]] * r->scale;
		p->score[t * k + j] = clear[choice[j]];
	}
	top = z[best[0]];
	kern->powers(e, r->scale, top, z, z, sum);
	/* how far the first choice is above the second or, of one, above the next best */
	next = k > 1 ? choice[1] : best[two - 1] == choice[0] ? best[0] : best[two - 1];
	p->margin[t] = (z[choice[0]] - (e > 1 ? z[next] : 0)) / sum[0];
	/* as softmax, to the bit, but for the logarithm */
	kern->partition(k, gate, gate, sums);
	kern->scale(k, 1 / sums[1], gate, gate);
	nats = logf(sum[0]);
	p->entropy[t] = nats - sum[1] / sum[0];
	p->lse[t] = top * r->scale + nats;
	return 1 / sum[0];
}

static void
block(const struct rows *r, long from, long n, float *z, long ldz, float *mass)
{
	for (long b = 0; b < n; b += FOUR) {
		const long m = n - b < FOUR ? n - b : FOUR;
		float part[FOUR];
		for (long t = b; t < b + m; t++)
			part[t - b] = row(r, from + t, z + t * ldz);
		kern->mix(m, r->p->experts, part, z + b * ldz, ldz, mass);
	}
}

void
lean_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
	  long from, long to, const float *x, int worker)
{
	const long c = s->dim, e = p->experts, ldz = (e + PAD - 1) / PAD * PAD + PAD;
	float *z = task_scratch(worker, (size_t)(BLOCK * (ldz + c) + 2 * e) * sizeof *z);
	float *unit = z + BLOCK * ldz, *mass = p->mass + from / ROUTE_ROWS * e;
	struct rows r = {.l = l,
			 .p = p,
			 .scale = 1 / temperature,
			 .biased = unit + BLOCK * c,
			 .clear = unit + BLOCK * c + e};

	for (int i = 0; i < e && l->bias && !r.bias; i++)
		r.bias = l->bias[i] != 0 ? l->bias : NULL;
	memset(mass, 0, (size_t)e * sizeof *mass);
	for (long b = from; b < to; b += BLOCK) {
		const long n = to - b < BLOCK ? to - b : BLOCK;
		scores(s, l, p, n, x + b * c, p->length + b, unit, z, ldz);
		block(&r, b, n, z, ldz, mass);
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
		const float ix = cosine ? p->length[t] : 1;
		float dot = 0, along = 0;
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
