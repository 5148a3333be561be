#include "offload/pack.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = PACK_ROWS / 64 };

static int
bits_of(int words, const uint64_t *b)
{
	int n = 0;

	for (int i = 0; i < words; i++)
		n += __builtin_popcountll(b[i]);
	return n;
}

static int
added(int words, const uint64_t *to, const uint64_t *b)
{
	int n = 0;

	for (int i = 0; i < words; i++)
		n += __builtin_popcountll(b[i] & ~to[i]);
	return n;
}

/* The neuron among left[0, n) that adds the least to a leaf, the last of several; its place. */
static int
nearest(const int *left, int n, int words, const uint64_t *bits, const uint64_t *leaf)
{
	int best = 0, least = added(words, leaf, bits + (long)left[0] * words);

	for (int i = 1; i < n; i++) {
		const int a = added(words, leaf, bits + (long)left[i] * words);
		if (a <= least) {
			least = a;
			best = i;
		}
	}
	return best;
}

static int
up(const void *a, const void *b)
{
	const int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

struct quiet {
	int neuron, active;
};

static int
quietest(const void *a, const void *b)
{
	const struct quiet *x = a, *y = b;

	if (x->active != y->active)
		return x->active < y->active ? -1 : 1;
	return (x->neuron > y->neuron) - (x->neuron < y->neuron);
}

void
pack_group(int hidden, int leaf, int words, const uint64_t *bits, int *order)
{
	struct quiet *q = mem_zero((size_t)hidden, sizeof *q);
	int *left = mem_zero((size_t)hidden, sizeof *left), n = hidden;
	uint64_t *any = mem_zero((size_t)words, sizeof *any);

	for (int i = 0; i < hidden; i++)
		q[i] = (struct quiet){i, bits_of(words, bits + (long)i * words)};
	qsort(q, (size_t)hidden, sizeof *q, quietest);
	for (int i = 0; i < hidden; i++)
		left[i] = q[i].neuron;
	for (int at = 0; n > 0; at++) {
		/* left is sorted by activity: its first is the quietest */
		const int i = at % leaf ? nearest(left, n, words, bits, any) : 0;
		if (at % leaf == 0)
			memset(any, 0, (size_t)words * sizeof *any);
		for (int w = 0; w < words; w++)
			any[w] |= bits[(long)left[i] * words + w];
		order[at] = left[i];
		memmove(left + i, left + i + 1, (size_t)(--n - i) * sizeof *left);
	}
	for (int at = 0; at < hidden; at += leaf)
		qsort(order + at, (size_t)(hidden - at < leaf ? hidden - at : leaf), sizeof *order,
		      up);
	free(any);
	free(left);
	free(q);
}

/* What the experts of all layers have been seen to do. */
struct seen {
	struct net *net;
	const struct shape *shape;
	int leaf, layer;
	const struct plan *plan;
	const float *x;
	int **rows;	  /* [L][E] tokens so far, at most PACK_ROWS */
	uint64_t ***bits; /* [L][E][hidden][WORDS], NULL before the first */
	int ***order;	  /* [L][E] */
};

/* Activity of one row of one expert. */
static void
see_row(const struct shape *s, const struct expert *x, const float *row, int t, uint64_t *bits,
	float *scratch)
{
	const long h = x->hidden, c = s->dim;
	float *gate = scratch, *u = gate + h, *a = u + h;
	double sum = 0;

	if (x->gate.rows)
		kern->dots(h, c, x->gate.w, row, gate);
	kern->dots(h, c, x->up.w, row, u);
	kern->act(s->act, h, gate, u, a);
	for (long j = 0; j < h && !leaf_certain(s); j++)
		sum += (double)fabsf(a[j]);
	for (long j = 0; j < h; j++)
		if ((double)fabsf(a[j]) > sum / (double)h)
			bits[j * WORDS + t / 64] |= (uint64_t)1 << t % 64;
}

static void
see_expert(void *arg, long e, int worker)
{
	struct seen *s = arg;
	const struct plan *p = s->plan;
	const struct expert *x = s->net->param->layer[s->layer].expert[e];
	int *rows = &s->rows[s->layer][e];
	uint64_t **bits = &s->bits[s->layer][e];

	if (p->count[e] == 0)
		return;
	if (!*bits)
		*bits = mem_zero((size_t)x->hidden * WORDS, sizeof **bits);
	for (long r = p->start[e]; r < p->start[e + 1] && *rows < PACK_ROWS; r++)
		see_row(s->shape, x, s->x + (long)p->token[r] * s->shape->dim, (*rows)++, *bits,
			task_scratch(worker, 3 * (size_t)x->hidden * sizeof(float)));
}

static void
see(void *arg, int layer, const struct plan *p)
{
	struct seen *s = arg;

	s->layer = layer;
	s->plan = p;
	s->x = net_input(s->net, layer);
	task_run(p->experts, see_expert, s);
}

static void
group_expert(void *arg, long e, int worker)
{
	struct seen *s = arg;
	const int hidden = s->shape->hidden[s->layer][e];

	(void)worker;
	if (!s->bits[s->layer][e])
		return;
	s->order[s->layer][e] = mem_zero((size_t)hidden, sizeof(int));
	pack_group(hidden, s->leaf, WORDS, s->bits[s->layer][e], s->order[s->layer][e]);
	free(s->bits[s->layer][e]);
}

int ***
pack_orders(struct param *p, const struct net_how *how, const struct tokens *sample, int seq,
	    long most, int leaf)
{
	const struct shape *shape = &p->shape;
	const size_t layers = (size_t)shape->layers, T = (size_t)seq;
	struct seen s = {.net = net_new(p, 1, seq, false), .shape = shape, .leaf = leaf};
	int32_t *in = mem_zero(2 * T, sizeof *in);
	struct net_loss loss;
	size_t at = 0;

	s.rows = mem_zero(layers, sizeof *s.rows);
	s.bits = mem_zero(layers, sizeof *s.bits);
	s.order = mem_zero(layers, sizeof *s.order);
	for (int l = 0; l < shape->layers; l++) {
		const size_t e = (size_t)shape->experts[l];
		s.rows[l] = mem_zero(e, sizeof **s.rows);
		s.bits[l] = mem_zero(e, sizeof **s.bits);
		s.order[l] = mem_zero(e, sizeof **s.order);
	}
	s.net->on_route = see;
	s.net->on_route_arg = &s;
	for (; at + T + 1 <= sample->n && at + T <= (size_t)most; at += T) {
		tokens_get(sample, at, T, in);
		tokens_get(sample, at + 1, T, in + T);
		net_forward(s.net, how, 1, seq, in, in + T, &loss);
	}
	for (int l = 0; l < shape->layers; l++) {
		s.layer = l;
		task_run(shape->experts[l], group_expert, &s);
		free(s.rows[l]);
		free(s.bits[l]);
	}
	free(s.rows);
	free(s.bits);
	free(in);
	net_free(s.net);
	if (at > 0)
		return s.order;
	pack_orders_free(s.order, shape);
	err_set("%s: %zu tokens (expected %d and the one after them)", sample->file, sample->n,
		seq);
	return NULL;
}

void
pack_orders_free(int ***orders, const struct shape *s)
{
	for (int l = 0; orders && l < s->layers; l++) {
		for (int e = 0; e < s->experts[l]; e++)
			free(orders[l][e]);
		free(orders[l]);
	}
	free(orders);
}
