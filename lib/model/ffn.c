#include "model/ffn.h"
#include "base/task.h"
#include <stdlib.h>
#include <string.h>

enum {
	TILE = 512, /* rows of a forward task */
	SEGMENT =
		1024, /* rows of a backward task: beyond it an expert's gradient is made in parts */
	CHUNK = 256,  /* rows at a time within a backward task */
	BLOCK = 256,  /* hidden neurons at a time */
	LDA = BLOCK + 16, /* rows of a power of two would share one set of the first-level cache */
	SLICE = 1 << 16	  /* floats of a gathering task */
};

static long
widest(const struct shape *s, int layer)
{
	long h = 0;

	for (int e = 0; e < s->experts[layer]; e++)
		h = s->hidden[layer][e] > h ? s->hidden[layer][e] : h;
	return h;
}

long
ffn_ld(const struct shape *s, int layer)
{
	return (kern_gated(s->act) ? 2 : 1) * widest(s, layer) + 16;
}

long
ffn_parts(const struct shape *s, int layer, long tokens)
{
	return tokens * s->top_k / TILE + s->experts[layer];
}

long
ffn_spare(const struct shape *s, int layer, long tokens)
{
	return s->frozen ? 0
			 : tokens * s->top_k / SEGMENT * (kern_gated(s->act) ? 3 : 2) *
				   widest(s, layer) * s->dim;
}

size_t
ffn_scratch(const struct shape *s)
{
	const size_t c = (size_t)s->dim, back = 2 * SEGMENT * c + 3 * CHUNK * LDA;
	const size_t fore = TILE * (c + LDA);

	return (back > fore ? back : fore) * sizeof(float);
}

static int
by_rows(const void *a, const void *b)
{
	const struct ffn_part *x = a, *y = b;

	if (x->rows != y->rows)
		return x->rows < y->rows ? 1 : -1;
	return x->from < y->from ? -1 : 1;
}

void
ffn_cut(struct ffn *f, bool back)
{
	const struct plan *p = f->plan;
	const long most = back ? SEGMENT : TILE;
	float *spare = f->spare;

	f->parts = 0;
	for (int e = 0; e < p->experts; e++) {
		const struct expert *x = f->layer->expert[e];
		for (long r = 0; r < p->count[e]; r += most) {
			struct ffn_part *t = &f->part[f->parts++];
			long left = p->count[e] - r;
			*t = (struct ffn_part){e, p->start[e] + r, left < most ? left : most,
					       (int)(r / most), NULL};
			if (back && t->segment > 0 && param_learns(x)) {
				t->into = spare;
				spare += (x->gate.rows + x->up.rows + x->down.cols) * x->up.cols;
			}
		}
	}
	qsort(f->part, (size_t)f->parts, sizeof *f->part, by_rows);
}

/* Rows of x by their tokens. */
static void
gather(const struct ffn *f, const float *x, long from, long rows, float *out)
{
	const size_t c = (size_t)f->shape->dim;

	for (long i = 0; i < rows; i++)
		memcpy(out + (size_t)i * c, x + (size_t)f->plan->token[from + i] * c,
		       c * sizeof *out);
}

void
ffn_forward(struct ffn *f, long part, int worker)
{
	const struct ffn_part *t = &f->part[part];
	const struct expert *x = f->layer->expert[t->expert];
	const long c = f->shape->dim, h = x->hidden, n = t->rows, ldh = f->ldh;
	const bool gated = x->gate.rows > 0;
	float *in = task_scratch(worker, (size_t)(n * (c + LDA)) * sizeof *in), *a = in + n * c;
	float *pre = f->pre + t->from * ldh, *y = f->y + t->from * c;

	gather(f, f->x, t->from, n, in);
	for (long b = 0; b < h; b += BLOCK) {
		const long w = h - b < BLOCK ? h - b : BLOCK;
		float *gate = pre + b, *up = pre + b + (gated ? h : 0);
		if (gated)
			kern->nt(n, w, c, in, c, x->gate.w + b * c, c, gate, ldh, false);
		kern->nt(n, w, c, in, c, x->up.w + b * c, c, up, ldh, false);
		for (long i = 0; i < n; i++)
			kern->act(f->shape->act, w, gate + i * ldh, up + i * ldh, a + i * LDA);
		kern->nt(n, c, w, a, LDA, x->down.w + b, h, y, c, b > 0);
	}
}

/* Where a part's weight gradients go, NULL: they are not made; and whether they are added. */
struct sink {
	float *gate, *up, *down;
	bool add;
};

static struct sink
sink_of(const struct expert *x, const struct ffn_part *t)
{
	const long n = x->up.rows * x->up.cols;

	if (!param_learns(x))
		return (struct sink){NULL, NULL, NULL, false};
	if (t->segment == 0)
		return (struct sink){x->gate.g, x->up.g, x->down.g, x->touched};
	return (struct sink){t->into + 2 * n, t->into, t->into + n, false};
}

/* One block of hidden neurons of one chunk of rows. */
static void
back_block(struct ffn *f, const struct expert *x, const struct sink *s, long b, long from, long n,
	   const float *in, const float *dy, bool add, float *da, float *aw, float *dg)
{
	const long c = f->shape->dim, h = x->hidden, ldh = f->ldh;
	const long w = h - b < BLOCK ? h - b : BLOCK;
	const bool gated = x->gate.rows > 0;
	const float *gate = f->pre + from * ldh + b, *up = gate + (gated ? h : 0);
	const struct plan *p = f->plan;
	float *dx = f->y + from * c;

	kern->nn(n, w, c, dy, c, x->down.w + b, h, da, LDA, false);
	for (long i = 0; i < n; i++) {
		float g = kern->act_back(f->shape->act, w, gate + i * ldh, up + i * ldh,
					 da + i * LDA, p->row_gate[from + i], aw + i * LDA,
					 dg + i * LDA, da + i * LDA);
		f->dgate[from + i] = b > 0 ? f->dgate[from + i] + g : g;
	}
	kern->nn(n, c, w, da, LDA, x->up.w + b * c, c, dx, c, b > 0);
	if (gated)
		kern->nn(n, c, w, dg, LDA, x->gate.w + b * c, c, dx, c, true);
	if (!s->up)
		return;
	kern->tn(c, w, n, dy, c, aw, LDA, s->down + b, h, add);
	kern->tn(w, c, n, da, LDA, in, c, s->up + b * c, c, add);
	if (gated)
		kern->tn(w, c, n, dg, LDA, in, c, s->gate + b * c, c, add);
}

/*
 * dy stands for the gradient of y over its weight.  What is added must be at right angles to y, for
 * the gates' gradient is made of dy, too, and has no part of it.
 */
static void
add_extra(const struct ffn *f, long from, long n, float *dy)
{
	const long c = f->shape->dim;

	for (long i = 0; i < n; i++) {
		const float weight = f->plan->row_gate[from + i];
		if (weight > 1e-20f)
			kern->axpy(c, 1 / weight, f->extra + (from + i) * c, dy + i * c);
	}
}

void
ffn_effect(const struct ffn *f, int expert, long from, long every, long n, float *effect,
	   int worker)
{
	const struct expert *x = f->layer->expert[expert];
	const long c = f->shape->dim, h = x->hidden, most = n < CHUNK ? n : CHUNK;
	float *in = task_scratch(worker, (size_t)(most * (2 * c + 3 * LDA)) * sizeof *in);
	float *y = in + most * c, *gate = y + most * c, *up = gate + most * LDA;
	float *a = up + most * LDA;

	for (long r = 0; r < n; r += most) {
		const long m = n - r < most ? n - r : most;
		for (long i = 0; i < m; i++)
			memcpy(in + i * c, f->x + (from + (r + i) * every) * c,
			       (size_t)c * sizeof *in);
		for (long b = 0; b < h; b += BLOCK) {
			const long w = h - b < BLOCK ? h - b : BLOCK;
			if (x->gate.rows > 0)
				kern->nt(m, w, c, in, c, x->gate.w + b * c, c, gate, LDA, false);
			kern->nt(m, w, c, in, c, x->up.w + b * c, c, up, LDA, false);
			for (long i = 0; i < m; i++)
				kern->act(f->shape->act, w, gate + i * LDA, up + i * LDA,
					  a + i * LDA);
			kern->nt(m, c, w, a, LDA, x->down.w + b, h, y, c, b > 0);
		}
		for (long i = 0; i < m; i++)
			effect[(r + i) * f->plan->experts + expert] =
				kern->dot(c, f->dout + (from + (r + i) * every) * c, y + i * c);
	}
}

void
ffn_backward(struct ffn *f, long part, int worker)
{
	const struct ffn_part *t = &f->part[part];
	const struct expert *x = f->layer->expert[t->expert];
	const struct sink s = sink_of(x, t);
	const long c = f->shape->dim, n = t->rows, most = n < CHUNK ? n : CHUNK;
	float *in = task_scratch(worker, (size_t)(2 * n * c + 3 * most * LDA) * sizeof *in);
	float *dy = in + n * c, *da = dy + n * c, *aw = da + most * LDA, *dg = aw + most * LDA;

	gather(f, f->x, t->from, n, in);
	if (f->mix)
		memcpy(dy, f->mix + t->from * c, (size_t)(n * c) * sizeof *dy);
	else
		gather(f, f->dout, t->from, n, dy);
	if (f->extra)
		add_extra(f, t->from, n, dy);
	for (long b = 0; b < x->hidden; b += BLOCK)
		for (long r = 0; r < n; r += CHUNK)
			back_block(f, x, &s, b, t->from + r, n - r < CHUNK ? n - r : CHUNK,
				   in + r * c, dy + r * c, s.add || r > 0, da, aw, dg);
}

/* Experts whose gradient came in several segments take part; their floats are cut into slices. */
static long
slices(const struct ffn *f, int e)
{
	const struct expert *x = f->layer->expert[e];

	if (f->plan->count[e] <= SEGMENT || !param_learns(x))
		return 0;
	return ((x->gate.rows + x->up.rows + x->down.cols) * x->up.cols + SLICE - 1) / SLICE;
}

long
ffn_gather_tasks(const struct ffn *f)
{
	long n = 0;

	for (int e = 0; e < f->plan->experts; e++)
		n += slices(f, e);
	return n;
}

/* g[from, to) of one tensor that begins at `base` of the expert's floats. */
static void
gather_part(struct tensor *t, long base, long from, long to, const float *into)
{
	const long n = t->rows * t->cols;
	long lo = from > base ? from : base, hi = to < base + n ? to : base + n;

	if (lo < hi)
		kern->axpy(hi - lo, 1, into + lo, t->g + lo - base);
}

void
ffn_gather(struct ffn *f, long task)
{
	int e = 0;

	for (; task >= slices(f, e); e++)
		task -= slices(f, e);
	struct expert *x = f->layer->expert[e];
	const long n = x->up.rows * x->up.cols, from = task * SLICE, to = from + SLICE;
	const long segments = (f->plan->count[e] + SEGMENT - 1) / SEGMENT;
	for (int s = 1; s < segments; s++)
		for (long i = 0; i < f->parts; i++)
			if (f->part[i].expert == e && f->part[i].segment == s) {
				gather_part(&x->up, 0, from, to, f->part[i].into);
				gather_part(&x->down, n, from, to, f->part[i].into);
				gather_part(&x->gate, 2 * n, from, to, f->part[i].into);
			}
}
