#include "model/detour.h"
#include "base/task.h"
#include "model/geometry.h"
#include <stdlib.h>
#include <string.h>

struct detour {
	enum detour_kind kind;
	double c; /* curvature */
	long dim, k;
	float *rows;	/* [N K, C] E's outputs: the ball needs them on the way back */
	float *f;	/* [C, C] waves */
	float *in;	/* [N, C] among waves */
	float *bend;	/* [N, C] G - E */
	float *gate;	/* [N] a */
	float *slope;	/* [N] of <w, n> */
	float *shares;	/* [N K, C] of E's weighted outputs */
	float *further; /* the same among waves */
	struct detour_ffn ffn;
	void *block;
	size_t bytes;
};

static void
take(struct detour *d, struct arena *a, long tokens, long ldh)
{
	const size_t n = (size_t)tokens, c = (size_t)d->dim, rows = n * (size_t)d->k;
	const size_t waves = d->kind == DETOUR_WAVES;

	d->rows = arena_take(a, waves ? 0 : rows * c, sizeof(float));
	d->f = arena_take(a, waves * c * c, sizeof(float));
	d->in = arena_take(a, waves * n * c, sizeof(float));
	d->ffn.x = d->in;
	d->ffn.pre = arena_take(a, waves * rows * (size_t)ldh, sizeof(float));
	d->ffn.y = arena_take(a, waves * rows * c, sizeof(float));
	d->further = arena_take(a, waves * rows * c, sizeof(float));
	d->ffn.mix = d->further;
	d->ffn.dgate = arena_take(a, waves * rows, sizeof(float));
	d->bend = arena_take(a, n * c, sizeof(float));
	d->gate = arena_take(a, n, sizeof(float));
	d->slope = arena_take(a, n, sizeof(float));
	d->shares = arena_take(a, rows * c, sizeof(float));
}

struct detour *
detour_new(const struct shape *s, enum detour_kind kind, float curvature, long tokens, long ldh)
{
	struct detour *d = mem_zero(1, sizeof *d);
	struct arena a = {0};

	d->kind = kind;
	d->c = (double)curvature;
	d->dim = s->dim;
	d->k = s->top_k;
	take(d, &a, tokens, ldh);
	d->bytes = a.used;
	a = (struct arena){d->block = mem_map(d->bytes), 0};
	take(d, &a, tokens, ldh);
	if (kind == DETOUR_WAVES)
		geometry_waves(d->dim, d->f);
	return d;
}

void
detour_free(struct detour *d)
{
	if (!d)
		return;
	mem_unmap(d->block, d->bytes);
	free(d);
}

const struct detour_ffn *
detour_ffn(const struct detour *d)
{
	return d->kind == DETOUR_WAVES ? &d->ffn : NULL;
}

const float *
detour_shares(const struct detour *d)
{
	return d->shares;
}

const float *
detour_slope(const struct detour *d)
{
	return d->slope;
}

void
detour_enter(struct detour *d, const float *x, long from, long to)
{
	geometry_to_waves(to - from, d->dim, d->f, x + from * d->dim, d->in + from * d->dim);
}

/* out = sum_k g_k rows_k of a token, in the order of ranks. */
static void
weighted(const struct detour *d, const struct plan *p, const float *rows, long t, float *out)
{
	kern->scale(d->dim, p->gate[t * d->k], rows + p->row[t * d->k] * d->dim, out);
	for (long j = 1; j < d->k; j++)
		kern->axpy(d->dim, p->gate[t * d->k + j], rows + p->row[t * d->k + j] * d->dim,
			   out);
}

/*
 * A token's way through the ball: u_j = g_j y_j, t_1 = log_0(exp_0(u_1)),
 * t_j = log_0(exp_0(t_j-1) (+) exp_0(u_j)); all [K, C].
 */
struct way {
	float *u, *point, *sum, *t; /* exp_0(u), exp_0(u_1) or exp_0(t_j-1) (+) exp_0(u), t */
	float *last, *a, *b, *g;    /* [C] exp_0(t_j-1); gradients */
};

static struct way
way_of(const struct detour *d, int worker)
{
	const long c = d->dim, kc = d->k * c;
	float *s = task_scratch(worker, (size_t)(4 * kc + 4 * c) * sizeof *s);

	return (struct way){s,		s + kc,		s + 2 * kc,	    s + 3 * kc,
			    s + 4 * kc, s + 4 * kc + c, s + 4 * kc + 2 * c, s + 4 * kc + 3 * c};
}

static void
go(const struct detour *d, const struct plan *p, const float *rows, long t, const struct way *w)
{
	const long c = d->dim;

	for (long j = 0; j < d->k; j++) {
		float *sum = w->sum + j * c;
		kern->scale(c, p->gate[t * d->k + j], rows + p->row[t * d->k + j] * c,
			    w->u + j * c);
		geometry_exp(c, d->c, w->u + j * c, w->point + j * c);
		if (j > 0) {
			geometry_exp(c, d->c, w->t + (j - 1) * c, w->last);
			geometry_add(c, d->c, w->last, w->point + j * c, sum);
		} else {
			memcpy(sum, w->point, (size_t)c * sizeof *sum);
		}
		geometry_log(c, d->c, sum, w->t + j * c);
	}
}

/* From w->g, the gradient of t_K, to those of u, added to the token's shares. */
static void
come_back(struct detour *d, const struct plan *p, long t, const struct way *w)
{
	const long c = d->dim;
	const size_t bytes = (size_t)c * sizeof(float);

	for (long j = d->k - 1; j >= 0; j--) {
		float *share = d->shares + p->row[t * d->k + j] * c;
		memset(w->a, 0, bytes);
		geometry_log_back(c, d->c, w->sum + j * c, w->g, w->a);
		if (j == 0) {
			geometry_exp_back(c, d->c, w->u, w->a, share);
			return;
		}
		float *dlast = w->b, *dpoint = w->g; /* w->g has been used */
		memset(dlast, 0, bytes);
		memset(dpoint, 0, bytes);
		geometry_exp(c, d->c, w->t + (j - 1) * c, w->last);
		geometry_add_back(c, d->c, w->last, w->point + j * c, w->a, dlast, dpoint);
		geometry_exp_back(c, d->c, w->u + j * c, dpoint, share);
		memset(w->g, 0, bytes);
		geometry_exp_back(c, d->c, w->t + (j - 1) * c, dlast, w->g);
	}
}

void
detour_mix(struct detour *d, const struct layer *l, const struct plan *p, const float *x,
	   const float *rows, long from, long to, int worker)
{
	const long c = d->dim;

	for (long t = from; t < to; t++) {
		const float s = -kern->dot(c, l->detour.w, x + t * c);
		float *bend = d->bend + t * c, e;
		kern->exp(1, &s, &e);
		d->gate[t] = 1 / (1 + e);
		if (d->kind == DETOUR_BALL) {
			const struct way w = way_of(d, worker);
			for (long j = 0; j < d->k; j++)
				memcpy(d->rows + p->row[t * d->k + j] * c,
				       rows + p->row[t * d->k + j] * c, (size_t)c * sizeof *rows);
			go(d, p, rows, t, &w);
			memcpy(bend, w.t + (d->k - 1) * c, (size_t)c * sizeof *bend);
		} else {
			float *sum = task_scratch(worker, (size_t)c * sizeof *sum);
			weighted(d, p, d->ffn.y, t, sum);
			geometry_from_waves(1, c, d->f, sum, bend);
		}
		for (long j = 0; j < d->k; j++)
			kern->axpy(c, -p->gate[t * d->k + j], rows + p->row[t * d->k + j] * c,
				   bend);
	}
}

void
detour_add(const struct detour *d, long token, float *y)
{
	kern->axpy(d->dim, d->gate[token], d->bend + token * d->dim, y);
}

void
detour_back(struct detour *d, const struct plan *p, const float *dy, long from, long to, int worker)
{
	const long c = d->dim;

	for (long t = from; t < to; t++) {
		const float a = d->gate[t], *g = dy + t * c;
		d->slope[t] = a * (1 - a) * kern->dot(c, g, d->bend + t * c);
		for (long j = 0; j < d->k; j++)
			kern->scale(c, 1 - a, g, d->shares + p->row[t * d->k + j] * c);
		if (d->kind == DETOUR_BALL) {
			const struct way w = way_of(d, worker);
			go(d, p, d->rows, t, &w);
			kern->scale(c, a, g, w.g);
			come_back(d, p, t, &w);
			continue;
		}
		float *first = d->further + p->row[t * d->k] * c;
		geometry_to_waves(1, c, d->f, g, first);
		kern->scale(c, a, first, first);
		for (long j = 1; j < d->k; j++)
			memcpy(d->further + p->row[t * d->k + j] * c, first,
			       (size_t)c * sizeof *first);
	}
}

void
detour_leave(struct detour *d, const struct layer *l, const struct plan *p, long from, long to,
	     float *dx, float *dgate, int worker)
{
	const long c = d->dim;
	float *sum = task_scratch(worker, (size_t)(2 * c) * sizeof *sum), *back = sum + c;

	for (long t = from; t < to; t++) {
		kern->axpy(c, d->slope[t], l->detour.w, dx + t * c);
		if (d->kind != DETOUR_WAVES)
			continue;
		memset(sum, 0, (size_t)c * sizeof *sum);
		for (long i = t * d->k; i < (t + 1) * d->k; i++) {
			kern->axpy(c, 1, d->ffn.y + p->row[i] * c, sum);
			dgate[i] += d->ffn.dgate[p->row[i]];
		}
		geometry_from_waves(1, c, d->f, sum, back);
		kern->axpy(c, 1, back, dx + t * c);
	}
}
