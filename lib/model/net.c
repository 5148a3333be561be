#include "model/net.h"
#include "base/rng.h"
#include "base/task.h"
#include "base/tick.h"
#include "model/ffn.h"
#include "model/keystore.h"
#include "model/lean.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROWS = ROUTE_ROWS, /* tokens of a row task */
	LOGITS = 16 << 20, /* floats of logits at a time */
	VOCAB_SLICES = 16, /* tasks that share out the embedding's rows */
	PAD = 16	   /* floats beside rows whose length would share cache sets */
};

struct net_act {
	float *x;	/* [N, C] the block's input */
	float *n1, *r1; /* [N, C] normalised, [N] 1/rms */
	float *qkv;	/* [N, ldq] after rotation */
	float *y, *lse; /* [N, C] attention's output, [B, heads, T] its normalisers */
	float *mid;	/* [N, C] after attention */
	float *n2, *r2; /* as n1, r1, of mid */
	float *pre;	/* [N K, ldh] experts before activation */
	float *extra;	/* [N K, C] gradient of the term divergence; NULL until it is wanted */
	struct detour *detour; /* NULL until it is wanted */
	bool away;	       /* this pass goes there */
	struct plan plan;
};

struct net_work {
	float *rows; /* [N K, C] experts' outputs, on the way back gradients of their inputs */
	float *drow, *dgate; /* [N K] by sorted row, [N, K] by token */
	float *dx, *dmid;    /* [N, C] gradients of a block's output (then input), of its middle */
	float *dn;	     /* [N, C] of a normalised input */
	float *dqkv;	     /* [N, ldq] */
	float *dy;	     /* [N, C] of attention's output */
	float *x, *nf, *rf;  /* [N, C] after the last block, normalised, [N] 1/rms */
	float *logits;	     /* [rows at a time, V] */
	float *dgain;	     /* [row tasks, C] parts of a norm's gradient */
	float *spare;	     /* see struct ffn */
	struct ffn_part *part;
	float *loss, *best;   /* [N] */
	unsigned char *hit;   /* [N] */
	float *cosine, *sine; /* [seq, head / 2] */
	int32_t *in, *out;    /* [N] */
	int batch, seq;	      /* of the last forward */
	struct tick *tick;    /* [workers] */
	double seconds[NET_PARTS];
};

/* A pass through the net, as its tasks see it. */
struct pass {
	struct net *net;
	const struct net_how *how;
	struct net_work *w;
	const struct shape *s;
	int batch, seq, layer;
	long n;			    /* tokens */
	struct layer *l;	    /* of this layer */
	struct net_act *a, *before; /* its activations, the previous layer's */
	struct cache *cache;	    /* one token at a time: its keys and values */
	struct ffn ffn;
	struct grad grad[8];
	int grads;
	long from, rows; /* the part of the tokens whose logits are made */
};

struct cache {
	int seq, n;
	float *k, *v;  /* [L][seq, kv width] */
	float *logits; /* [V] */
	const struct param *param;
};

static long
ld(long n)
{
	return n * 4 % 2048 == 0 ? n + PAD : n;
}

static long
chunk_rows(const struct shape *s, long n)
{
	long r = LOGITS / s->vocab / ROWS * ROWS;

	return r < ROWS ? ROWS : r > n ? n : r;
}

static void
act_take(struct net_act *t, struct arena *a, const struct shape *s, int experts, long ldh,
	 int batch, int seq)
{
	const size_t c = (size_t)s->dim, n = (size_t)batch * (size_t)seq, k = (size_t)s->top_k;

	t->x = arena_take(a, n * c, sizeof(float));
	t->n1 = arena_take(a, n * c, sizeof(float));
	t->r1 = arena_take(a, n, sizeof(float));
	t->qkv = arena_take(a, n * (size_t)ld(shape_qkv(s)), sizeof(float));
	t->y = arena_take(a, n * c, sizeof(float));
	t->lse = arena_take(a, n * (size_t)s->heads, sizeof(float));
	t->mid = arena_take(a, n * c, sizeof(float));
	t->n2 = arena_take(a, n * c, sizeof(float));
	t->r2 = arena_take(a, n, sizeof(float));
	t->pre = arena_take(a, n * k * (size_t)ldh, sizeof(float));
	plan_take(&t->plan, a, s, experts, (long)n);
}

static void
work_take(struct net_work *w, struct arena *a, const struct shape *s, long n, int seq, bool train)
{
	const size_t c = (size_t)s->dim, N = (size_t)n, k = (size_t)s->top_k, v = (size_t)s->vocab;
	const size_t head = (size_t)shape_head(s), tasks = (N + ROWS - 1) / ROWS;
	const size_t back = train ? N : 0;
	long parts = 0, spare = 0;

	for (int l = 0; l < s->layers; l++) {
		parts = parts < ffn_parts(s, l, n) ? ffn_parts(s, l, n) : parts;
		spare = spare < ffn_spare(s, l, n) ? ffn_spare(s, l, n) : spare;
	}
	w->rows = arena_take(a, N * k * c, sizeof(float));
	w->x = arena_take(a, N * c, sizeof(float));
	w->nf = arena_take(a, N * c, sizeof(float));
	w->rf = arena_take(a, N, sizeof(float));
	w->logits = arena_take(a, (size_t)chunk_rows(s, n) * v, sizeof(float));
	w->loss = arena_take(a, N, sizeof(float));
	w->best = arena_take(a, N, sizeof(float));
	w->hit = arena_take(a, N, 1);
	w->in = arena_take(a, N, sizeof(int32_t));
	w->out = arena_take(a, N, sizeof(int32_t));
	w->cosine = arena_take(a, (size_t)seq * head / 2, sizeof(float));
	w->sine = arena_take(a, (size_t)seq * head / 2, sizeof(float));
	w->part = arena_take(a, (size_t)parts, sizeof *w->part);
	w->drow = arena_take(a, back * k, sizeof(float));
	w->dgate = arena_take(a, back * k, sizeof(float));
	w->dx = arena_take(a, back * c, sizeof(float));
	w->dmid = arena_take(a, back * c, sizeof(float));
	w->dn = arena_take(a, back * c, sizeof(float));
	w->dy = arena_take(a, back * c, sizeof(float));
	w->dqkv = arena_take(a, back * (size_t)ld(shape_qkv(s)), sizeof(float));
	w->dgain = arena_take(a, train ? tasks * c : 0, sizeof(float));
	w->spare = arena_take(a, train ? (size_t)spare : 0, sizeof(float));
}

static void
net_take(struct net_act *act, struct net_work *w, struct arena *a, const struct shape *s, int batch,
	 int seq, bool train)
{
	int experts = 0;
	long ldh = 0;

	for (int l = 0; l < s->layers; l++) {
		experts = s->experts[l] > experts ? s->experts[l] : experts;
		ldh = ffn_ld(s, l) > ldh ? ffn_ld(s, l) : ldh;
		if (train)
			act_take(&act[l], a, s, s->experts[l], ffn_ld(s, l), batch, seq);
	}
	if (!train)
		act_take(&act[0], a, s, experts, ldh, batch, seq);
	work_take(w, a, s, (long)batch * seq, seq, train);
}

size_t
net_bytes(const struct shape *s, int batch, int seq, bool train)
{
	struct net_act *act = mem_zero((size_t)s->layers, sizeof *act);
	struct net_work w;
	struct arena a = {0};

	net_take(act, &w, &a, s, batch, seq, train);
	free(act);
	return a.used;
}

size_t
net_idle_bytes(const struct shape *s, const struct net_how *how, int batch, int seq)
{
	const size_t n = (size_t)batch * (size_t)seq;
	const bool lean = lean_can(s, &how->aux, how->random, true);
	size_t idle = 0;

	for (int l = 0; l < s->layers && !shape_keyed(s); l++) {
		const size_t slots = (size_t)s->experts[l];
		const size_t used = lean ? 0 : (size_t)shape_extent(s, l);
		idle += 2 * n * (slots - used) * sizeof(float);
		if (how->aux.oracle == 0)
			idle += (n / ROUTE_PROBE + 1) * slots * sizeof(float);
	}
	return idle;
}

static void
angles(struct net_work *w, const struct shape *s, int seq)
{
	const int half = shape_head(s) / 2;

	for (int t = 0; t < seq; t++)
		for (int i = 0; i < half; i++) {
			double a = t * pow(SHAPE_ROPE, -(double)i / half);
			w->cosine[t * half + i] = (float)cos(a);
			w->sine[t * half + i] = (float)sin(a);
		}
}

struct net *
net_new(struct param *p, int batch, int seq, bool train)
{
	struct net *n = mem_zero(1, sizeof *n);
	struct arena a = {0};

	n->param = p;
	n->batch = batch;
	n->seq = seq;
	n->train = train;
	n->act = mem_zero((size_t)p->shape.layers, sizeof *n->act);
	n->ldh = mem_zero((size_t)p->shape.layers, sizeof *n->ldh);
	for (int l = 0; l < p->shape.layers; l++)
		n->ldh[l] = ffn_ld(&p->shape, l);
	n->work = mem_zero(1, sizeof *n->work);
	n->bytes = net_bytes(&p->shape, batch, seq, train);
	a.base = n->block = mem_map(n->bytes);
	net_take(n->act, n->work, &a, &p->shape, batch, seq, train);
	n->work->tick = mem_zero((size_t)task_workers(), sizeof *n->work->tick);
	angles(n->work, &p->shape, seq);
	return n;
}

/* Bytes of one layer's extra. */
static size_t
extra_bytes(const struct shape *s, int batch, int seq)
{
	return (size_t)batch * (size_t)seq * (size_t)s->top_k * (size_t)s->dim * sizeof(float);
}

size_t
net_extra_bytes(const struct shape *s, int batch, int seq)
{
	return (size_t)s->layers * extra_bytes(s, batch, seq);
}

void
net_free(struct net *n)
{
	if (!n)
		return;
	for (int l = 0; l < (n->train ? n->param->shape.layers : 1); l++) {
		mem_unmap(n->act[l].extra, extra_bytes(&n->param->shape, n->batch, n->seq));
		detour_free(n->act[l].detour);
	}
	mem_unmap(n->block, n->bytes);
	free(n->work->tick);
	free(n->work);
	free(n->act);
	free(n->ldh);
	free(n);
}

bool
net_fits(const struct net *n)
{
	for (int l = 0; l < n->param->shape.layers; l++)
		if (ffn_ld(&n->param->shape, l) > n->ldh[l])
			return false;
	return true;
}

/* ---- tasks by rows ---- */

static void
rows_of(const struct pass *p, long task, long *from, long *to)
{
	*from = task * ROWS;
	*to = *from + ROWS < p->n ? *from + ROWS : p->n;
}

static long
row_tasks(const struct pass *p)
{
	return (p->n + ROWS - 1) / ROWS;
}

/* x = mid + sum_k gate_k row_k of the layer before, in the order of ranks, and its detour. */
static void
combine(const struct pass *p, const struct net_act *b, long t, float *x)
{
	const long c = p->s->dim;
	const int k = b->plan.k;

	memmove(x, b->mid + t * c, (size_t)c * sizeof *x);
	for (int j = 0; j < k; j++)
		kern->axpy(c, b->plan.gate[t * k + j], p->w->rows + b->plan.row[t * k + j] * c, x);
	if (b->away)
		detour_add(b->detour, t, x);
}

static void
rotate(const struct pass *p, float *qkv, long t, float sign)
{
	const int d = shape_head(p->s), half = d / 2;
	const long at = p->cache ? p->cache->n : t % p->seq;

	kern->rope(p->s->heads + p->s->kv_heads, d, qkv, p->w->cosine + at * half,
		   p->w->sine + at * half, sign);
}

static void
enter_rows(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const long c = p->s->dim, q = shape_qkv(p->s), ldq = ld(q);
	struct tick *tick = &p->w->tick[worker];
	long from, to;

	tick_start(tick);
	rows_of(p, task, &from, &to);
	for (long t = from; t < to; t++) {
		float *x = p->a->x + t * c;
		if (p->before)
			combine(p, p->before, t, x);
		else
			memcpy(x, p->net->param->embed.w + p->w->in[t] * c, (size_t)c * sizeof *x);
		p->a->r1[t] = kern->rms(c, x, p->l->norm1.w, SHAPE_EPS, p->a->n1 + t * c);
	}
	tick_to(tick, PART_ELEMENT);
	kern->nt(to - from, q, c, p->a->n1 + from * c, c, p->l->q.w, c, p->a->qkv + from * ldq, ldq,
		 false);
	tick_to(tick, PART_PRODUCT);
	for (long t = from; t < to; t++)
		rotate(p, p->a->qkv + t * ldq, t, 1);
	tick_to(tick, PART_ELEMENT);
}

static struct kern_attn
attn_shape(const struct pass *p)
{
	return (struct kern_attn){p->seq, p->s->heads, p->s->kv_heads, shape_head(p->s),
				  ld(shape_qkv(p->s))};
}

static void
attend(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const struct kern_attn a = attn_shape(p);
	const long b = task / a.kv_heads, c = p->s->dim, kv = (long)a.kv_heads * a.dim;
	float *q = p->a->qkv + b * p->seq * a.ld;
	float *scratch =
		task_scratch(worker, (size_t)kern_attn_scratch(&a, false) * sizeof *scratch);

	tick_start(&p->w->tick[worker]);
	kern->attn(&a, (int)(task % a.kv_heads), q, q + c, q + c + kv, c, p->a->y + b * p->seq * c,
		   p->a->lse + b * a.heads * p->seq, scratch);
	tick_to(&p->w->tick[worker], PART_ATTENTION);
}

/* One token against the cache; a task is a head. */
static void
attend_cache(void *arg, long head, int worker)
{
	const struct pass *p = arg;
	struct kern_attn a = attn_shape(p);
	const struct cache *k = p->cache;
	const long kv = (long)a.kv_heads * a.dim, at = (long)p->layer * k->seq * kv;

	a.seq = k->n + 1;
	a.ld = kv;
	kern->attn_one(&a, (int)head, k->n + 1, p->a->qkv, k->k + at, kv, k->v + at, p->a->y,
		       task_scratch(worker, (size_t)kern_attn_scratch(&a, false) * sizeof(float)));
}

static void
cache_put(struct pass *p)
{
	const long c = p->s->dim, kv = (long)p->s->kv_heads * shape_head(p->s);
	const long at = ((long)p->layer * p->cache->seq + p->cache->n) * kv;

	memcpy(p->cache->k + at, p->a->qkv + c, (size_t)kv * sizeof(float));
	memcpy(p->cache->v + at, p->a->qkv + c + kv, (size_t)kv * sizeof(float));
}

static void
middle_rows(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const long c = p->s->dim;
	struct net_act *a = p->a;
	struct tick *tick = &p->w->tick[worker];
	long from, to;

	tick_start(tick);
	rows_of(p, task, &from, &to);
	memcpy(a->mid + from * c, a->x + from * c, (size_t)((to - from) * c) * sizeof(float));
	kern->nt(to - from, c, c, a->y + from * c, c, p->l->o.w, c, a->mid + from * c, c, true);
	tick_to(tick, PART_PRODUCT);
	for (long t = from; t < to; t++)
		a->r2[t] = kern->rms(c, a->mid + t * c, p->l->norm2.w, SHAPE_EPS, a->n2 + t * c);
	tick_to(tick, PART_ELEMENT);
	if (shape_keyed(p->s))
		keystore_rows(p->s, p->l, &a->plan, from, to, a->n2);
	else if (a->plan.lean)
		lean_rows(p->s, p->l, &a->plan, p->how->temperature, from, to, a->n2, worker);
	else
		route_rows(p->s, p->l, &a->plan, p->how->temperature, p->how->seed, p->how->step,
			   p->layer, p->how->random, from, to, a->n2, worker);
	tick_to(tick, PART_ROUTE);
}

static void
expert_rows(void *arg, long part, int worker)
{
	struct pass *p = arg;

	tick_start(&p->w->tick[worker]);
	ffn_forward(&p->ffn, part, worker);
	tick_to(&p->w->tick[worker], PART_PRODUCT);
}

static void
layer_ffn(struct pass *p)
{
	p->ffn = (struct ffn){.shape = p->s,
			      .layer = p->l,
			      .plan = &p->a->plan,
			      .x = p->a->n2,
			      .pre = p->a->pre,
			      .ldh = p->net->ldh[p->layer],
			      .y = p->w->rows,
			      .dout = p->w->dx,
			      .extra = p->how->aux.divergence != 0 ? p->a->extra : NULL,
			      .dgate = p->w->drow,
			      .spare = p->w->spare,
			      .part = p->w->part};
}

/* Whether the layer is on a detour in this pass; what it needs there is mapped only meanwhile. */
static bool
leaves_for(const struct pass *p, struct net_act *a)
{
	const struct net *n = p->net;
	const bool away = p->l->away && p->how->detour != DETOUR_NONE;

	if (away && p->how->back && !a->detour)
		a->detour = detour_new(p->s, p->how->detour, p->how->curvature,
				       (long)n->batch * n->seq, n->ldh[p->layer]);
	if (!away) {
		detour_free(a->detour);
		a->detour = NULL;
	}
	return away && p->how->back && !p->cache;
}

static void
set_layer(struct pass *p, int layer)
{
	struct net *n = p->net;

	p->layer = layer;
	p->l = &n->param->layer[layer];
	p->a = &n->act[n->train ? layer : 0];
	p->before = layer == 0 ? NULL : &n->act[n->train ? layer - 1 : 0];
	p->a->plan.experts = shape_extent(p->s, layer);
	p->a->plan.in = p->w->in;
	p->a->plan.lean =
		shape_keyed(p->s) || lean_can(p->s, &p->how->aux, p->how->random, p->how->back);
	p->a->plan.seq = p->cache ? p->net->seq : p->seq;
	p->a->plan.living = shape_living(p->s, layer);
	p->a->plan.tokens = p->n;
	p->a->plan.first = p->cache ? p->cache->n : 0;
	p->a->plan.noise = (struct route_noise){
		p->how->back && !p->how->random && !p->cache ? p->how->noise : 0, p->how->seed,
		p->how->step, layer};
	p->a->away = leaves_for(p, p->a);
	layer_ffn(p);
}

/*
 * The positive cosines between the outputs that a token mixes, and their gradients:
 * d cos(a, b) / da = (b / |b| - cos a / |a|) / |a|, at right angles to a.
 */
static void
diverge_rows(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const struct plan *plan = &p->a->plan;
	const long c = p->s->dim;
	const int k = plan->k;
	const float pairs = 0.5f * (float)k * (float)(k - 1);
	const float weight = (float)p->how->aux.divergence * p->how->scale / (pairs * (float)p->n);
	long from, to;

	tick_start(&p->w->tick[worker]);
	rows_of(p, task, &from, &to);
	for (long i = from * k; i < to * k; i++)
		memset(p->a->extra + plan->row[i] * c, 0, (size_t)c * sizeof(float));
	for (long t = from; t < to; t++) {
		float norm[k], sum = 0;
		for (int i = 0; i < k; i++) {
			const float *a = p->w->rows + plan->row[t * k + i] * c;
			norm[i] = 1 / sqrtf(kern->dot(c, a, a) + 1e-30f);
		}
		for (int i = 0; i < k; i++)
			for (int j = 0; j < k; j++) {
				const float *a = p->w->rows + plan->row[t * k + i] * c;
				const float *b = p->w->rows + plan->row[t * k + j] * c;
				float *da = p->a->extra + plan->row[t * k + i] * c, cosine;
				if (i == j ||
				    (cosine = kern->dot(c, a, b) * norm[i] * norm[j]) <= 0)
					continue;
				sum += 0.5f * cosine / pairs;
				kern->axpy(c, weight * norm[i] * norm[j], b, da);
				kern->axpy(c, -weight * cosine * norm[i] * norm[i], a, da);
			}
		p->w->dgate[t] = sum; /* of no use yet to anybody else */
	}
	tick_to(&p->w->tick[worker], PART_ELEMENT);
}

static void
diverge(struct pass *p)
{
	struct plan *plan = &p->a->plan;

	if (plan->k < 2)
		return;
	if (!p->a->extra)
		p->a->extra = mem_map(extra_bytes(p->s, p->net->batch, p->net->seq));
	task_run(row_tasks(p), diverge_rows, p);
	for (long t = 0; t < p->n; t++)
		plan->divergence += (double)p->w->dgate[t] / (double)p->n;
}

/* The search has tasks of its own: what it takes, it takes of all workers. */
static void
find_keys(struct pass *p)
{
	const double start = tick_now();

	keystore_search(p->l, &p->a->plan, p->how->temperature);
	for (int i = 0; i < task_workers(); i++)
		p->w->tick[i].sum[PART_ROUTE] += tick_now() - start;
}

/* ---- detours ---- */

static void
detour_enter_task(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	long from, to;

	tick_start(&p->w->tick[worker]);
	rows_of(p, task, &from, &to);
	detour_enter(p->a->detour, p->a->n2, from, to);
	tick_to(&p->w->tick[worker], PART_ELEMENT);
}

static void
detour_mix_task(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	long from, to;

	tick_start(&p->w->tick[worker]);
	rows_of(p, task, &from, &to);
	detour_mix(p->a->detour, p->l, &p->a->plan, p->a->n2, p->w->rows, from, to, worker);
	tick_to(&p->w->tick[worker], PART_ELEMENT);
}

static void
detour_back_task(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	long from, to;

	tick_start(&p->w->tick[worker]);
	rows_of(p, task, &from, &to);
	detour_back(p->a->detour, &p->a->plan, p->w->dx, from, to, worker);
	tick_to(&p->w->tick[worker], PART_ELEMENT);
}

/* From now on the layer's experts are those of the detour: false, where it has no products. */
static bool
turn_off(struct pass *p)
{
	const struct detour_ffn *d = detour_ffn(p->a->detour);

	if (!d)
		return false;
	p->ffn.x = d->x;
	p->ffn.pre = d->pre;
	p->ffn.y = d->y;
	p->ffn.mix = d->mix;
	p->ffn.dgate = d->dgate;
	p->ffn.extra = NULL;
	return true;
}

static void
go_round(struct pass *p)
{
	if (turn_off(p)) {
		task_run(row_tasks(p), detour_enter_task, p);
		task_run(p->ffn.parts, expert_rows, p);
	}
	task_run(row_tasks(p), detour_mix_task, p);
}

static int
forward_layer(struct pass *p)
{
	task_run(row_tasks(p), enter_rows, p);
	if (p->cache) {
		cache_put(p);
		task_run(p->s->heads, attend_cache, p);
	} else {
		task_run((long)p->batch * p->s->kv_heads, attend, p);
	}
	tick_start(&p->w->tick[0]);
	if (p->a->plan.lean && !shape_keyed(p->s))
		lean_start(p->s, p->l, &p->a->plan);
	tick_to(&p->w->tick[0], PART_ROUTE);
	task_run(row_tasks(p), middle_rows, p);
	if (shape_keyed(p->s))
		find_keys(p);
	tick_start(&p->w->tick[0]);
	route_sort(&p->a->plan);
	if (p->how->back && p->how->aux.even != 0)
		route_even(&p->a->plan);
	ffn_cut(&p->ffn, false);
	tick_to(&p->w->tick[0], PART_ROUTE);
	if (p->net->on_route)
		p->net->on_route(p->net->on_route_arg, p->layer, &p->a->plan);
	if (p->cache && p->net->experts)
		return p->net->experts(p->net->experts_arg, p->layer, p->how, &p->a->plan, p->a->n2,
				       p->w->rows);
	task_run(p->ffn.parts, expert_rows, p);
	if (p->how->back && p->how->aux.divergence != 0)
		diverge(p);
	if (p->a->away)
		go_round(p);
	return 0;
}

/* ---- the head ---- */

static const struct tensor *
head(const struct param *p)
{
	return p->head.rows ? &p->head : &p->embed;
}

static void
leave_rows(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const long c = p->s->dim;
	long from, to;

	tick_start(&p->w->tick[worker]);
	rows_of(p, task, &from, &to);
	for (long t = from; t < to; t++) {
		float *x = p->w->x + t * c;
		combine(p, p->a, t, x);
		p->w->rf[t] = kern->rms(c, x, p->net->param->norm.w, SHAPE_EPS, p->w->nf + t * c);
	}
	tick_to(&p->w->tick[worker], PART_ELEMENT);
}

/* Loss of one row of logits; with back they become their gradient. */
static void
row_loss(const struct pass *p, long t, float *z)
{
	const int v = p->s->vocab, target = p->w->out[t];
	const float at = z[target], scale = p->how->scale / (float)p->n;
	float top, lse;
	int first;

	kern->largest(v, 1, 1, z, &first);
	top = z[first];
	p->w->hit[t] = at == top;
	lse = kern->softmax(v, z);
	p->w->loss[t] = lse - at;
	p->w->best[t] = top - lse;
	if (p->how->back) {
		kern->scale(v, scale, z, z);
		z[target] -= scale;
	}
}

static void
logit_rows(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const struct tensor *h = head(p->net->param);
	const long c = p->s->dim, v = p->s->vocab, r = task * ROWS;
	const long n = p->rows - r < ROWS ? p->rows - r : ROWS, from = p->from + r;
	float *z = p->w->logits + r * v;
	struct tick *tick = &p->w->tick[worker];

	tick_start(tick);
	kern->nt(n, v, c, p->w->nf + from * c, c, h->w, c, z, v, false);
	tick_to(tick, PART_PRODUCT);
	for (long t = 0; t < n; t++)
		row_loss(p, from + t, z + t * v);
	tick_to(tick, PART_ELEMENT);
	if (p->how->back)
		kern->nn(n, c, v, z, v, h->w, c, p->w->dn + from * c, c, false);
	tick_to(tick, PART_PRODUCT);
}

static void
grad_task(void *arg, long i, int worker)
{
	const struct pass *p = arg;

	tick_start(&p->w->tick[worker]);
	grad_block(p->grad, i);
	tick_to(&p->w->tick[worker], PART_PRODUCT);
}

static void
run_grads(struct pass *p)
{
	task_run(grad_blocks(p->grad, p->grads), grad_task, p);
}

/* Logits, losses and, with back, the head's gradient, for as many tokens as fit at a time. */
static void
forward_head(struct pass *p)
{
	const struct tensor *h = head(p->net->param);
	const long most = chunk_rows(p->s, (long)p->net->batch * p->net->seq), c = p->s->dim;

	task_run(row_tasks(p), leave_rows, p);
	for (p->from = 0; p->from < p->n; p->from += most) {
		p->rows = p->n - p->from < most ? p->n - p->from : most;
		task_run((p->rows + ROWS - 1) / ROWS, logit_rows, p);
		if (!p->how->back)
			continue;
		p->grads = 1;
		p->grad[0] = (struct grad){p->s->vocab,
					   c,
					   p->rows,
					   p->w->logits,
					   p->w->nf + p->from * c,
					   p->s->vocab,
					   c,
					   h->g,
					   p->how->add || p->from > 0};
		run_grads(p);
	}
}

void
net_forward(struct net *n, const struct net_how *how, int batch, int seq, const int32_t *in,
	    const int32_t *out, struct net_loss *loss)
{
	struct pass p = {.net = n,
			 .how = how,
			 .w = n->work,
			 .s = &n->param->shape,
			 .batch = batch,
			 .seq = seq,
			 .n = (long)batch * seq};
	double sum = 0, hits = 0;

	n->work->batch = batch;
	n->work->seq = seq;
	memcpy(n->work->in, in, (size_t)p.n * sizeof *in);
	memcpy(n->work->out, out, (size_t)p.n * sizeof *out);
	for (int l = 0; l < p.s->layers; l++) {
		set_layer(&p, l);
		forward_layer(&p);
	}
	forward_head(&p);
	for (long t = 0; t < p.n; t++) {
		sum += (double)n->work->loss[t];
		hits += n->work->hit[t];
	}
	*loss = (struct net_loss){sum / (double)p.n, hits / (double)p.n};
}

/* ---- the way back ---- */

/* Sum the row tasks' parts of a norm's gradient, in order. */
static void
gain_sum(struct pass *p, struct tensor *t)
{
	const long c = p->s->dim;

	for (long i = 0; i < row_tasks(p); i++)
		if (i == 0 && !p->how->add)
			memcpy(t->g, p->w->dgain, (size_t)c * sizeof(float));
		else
			kern->axpy(c, 1, p->w->dgain + i * c, t->g);
}

static void
leave_back(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const long c = p->s->dim;
	float *gain = p->w->dgain + task * c;
	long from, to;

	tick_start(&p->w->tick[worker]);
	rows_of(p, task, &from, &to);
	memset(gain, 0, (size_t)c * sizeof *gain);
	memset(p->w->dx + from * c, 0, (size_t)((to - from) * c) * sizeof(float));
	for (long t = from; t < to; t++)
		kern->rms_back(c, p->w->dn + t * c, p->w->x + t * c, p->net->param->norm.w,
			       p->w->rf[t], p->w->dx + t * c, gain);
	tick_to(&p->w->tick[worker], PART_ELEMENT);
}

static void
expert_back(void *arg, long part, int worker)
{
	struct pass *p = arg;

	tick_start(&p->w->tick[worker]);
	ffn_backward(&p->ffn, part, worker);
	tick_to(&p->w->tick[worker], PART_PRODUCT);
}

static void
gather_task(void *arg, long i, int worker)
{
	struct pass *p = arg;

	tick_start(&p->w->tick[worker]);
	ffn_gather(&p->ffn, i);
	tick_to(&p->w->tick[worker], PART_ELEMENT);
}

/* From the experts' rows and the gates to the middle of the block, then to attention's output. */
static void
middle_back(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const long c = p->s->dim;
	struct net_work *w = p->w;
	struct plan *plan = &p->a->plan;
	const int k = plan->k;
	float *gain = w->dgain + task * c;
	struct tick *tick = &w->tick[worker];
	long from, to;

	tick_start(tick);
	rows_of(p, task, &from, &to);
	for (long t = from; t < to; t++) {
		float *dn = w->dn + t * c;
		memcpy(dn, w->rows + plan->row[t * k] * c, (size_t)c * sizeof *dn);
		for (int j = 1; j < k; j++)
			kern->axpy(c, 1, w->rows + plan->row[t * k + j] * c, dn);
		for (int j = 0; j < k; j++)
			w->dgate[t * k + j] = w->drow[plan->row[t * k + j]];
	}
	if (p->a->away)
		detour_leave(p->a->detour, p->l, plan, from, to, w->dn, w->dgate, worker);
	tick_to(tick, PART_ELEMENT);
	if (shape_keyed(p->s))
		keystore_back_rows(p->s, p->l, plan, p->how->temperature, w->dgate, from, to, w->dn,
				   worker);
	else if (plan->lean)
		lean_back_rows(p->s, p->l, plan, p->how->temperature, w->dgate, from, to, p->a->n2,
			       w->dn);
	else
		route_back_rows(p->s, p->l, plan, p->how->temperature, &p->how->aux, p->how->scale,
				p->how->random, w->dgate, from, to, p->a->n2, w->dn, worker);
	tick_to(tick, PART_ROUTE);
	memset(gain, 0, (size_t)c * sizeof *gain);
	memcpy(w->dmid + from * c, w->dx + from * c, (size_t)((to - from) * c) * sizeof(float));
	for (long t = from; t < to; t++)
		kern->rms_back(c, w->dn + t * c, p->a->mid + t * c, p->l->norm2.w, p->a->r2[t],
			       w->dmid + t * c, gain);
	tick_to(tick, PART_ELEMENT);
	kern->nn(to - from, c, c, w->dmid + from * c, c, p->l->o.w, c, w->dy + from * c, c, false);
	tick_to(tick, PART_PRODUCT);
}

/* Attention's way back and, beside it, the weight gradients that are ready. */
static void
attend_back(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const struct kern_attn a = attn_shape(p);
	const long heads = (long)p->batch * a.kv_heads, b = task / a.kv_heads, c = p->s->dim;
	const long kv = (long)a.kv_heads * a.dim, at = b * p->seq;
	float *scratch;

	if (task >= heads) {
		grad_task(arg, task - heads, worker);
		return;
	}
	tick_start(&p->w->tick[worker]);
	scratch = task_scratch(worker, (size_t)kern_attn_scratch(&a, true) * sizeof *scratch);
	const float *q = p->a->qkv + at * a.ld;
	float *dq = p->w->dqkv + at * a.ld;
	kern->attn_back(&a, (int)(task % a.kv_heads), q, q + c, q + c + kv,
			p->a->lse + b * a.heads * p->seq, c, p->a->y + at * c, p->w->dy + at * c,
			dq, dq + c, dq + c + kv, scratch);
	tick_to(&p->w->tick[worker], PART_ATTENTION);
}

static void
enter_back(void *arg, long task, int worker)
{
	const struct pass *p = arg;
	const long c = p->s->dim, q = shape_qkv(p->s), ldq = ld(q);
	struct net_work *w = p->w;
	float *gain = w->dgain + task * c;
	struct tick *tick = &w->tick[worker];
	long from, to;

	tick_start(tick);
	rows_of(p, task, &from, &to);
	for (long t = from; t < to; t++)
		rotate(p, w->dqkv + t * ldq, t, -1);
	tick_to(tick, PART_ELEMENT);
	kern->nn(to - from, c, q, w->dqkv + from * ldq, ldq, p->l->q.w, c, w->dn + from * c, c,
		 false);
	tick_to(tick, PART_PRODUCT);
	memset(gain, 0, (size_t)c * sizeof *gain);
	memcpy(w->dx + from * c, w->dmid + from * c, (size_t)((to - from) * c) * sizeof(float));
	for (long t = from; t < to; t++)
		kern->rms_back(c, w->dn + t * c, p->a->x + t * c, p->l->norm1.w, p->a->r1[t],
			       w->dx + t * c, gain);
	tick_to(tick, PART_ELEMENT);
}

static void
lean_task(void *arg, long i, int worker)
{
	const struct pass *p = arg;

	tick_start(&p->w->tick[worker]);
	lean_grad(p->s, p->l, &p->a->plan, p->a->n2, p->how->add, i);
	tick_to(&p->w->tick[worker], PART_ROUTE);
}

static void
effect_of(void *arg, long expert, int worker)
{
	const struct pass *p = arg;
	const struct plan *plan = &p->a->plan;

	tick_start(&p->w->tick[worker]);
	if (p->l->expert[expert])
		ffn_effect(&p->ffn, (int)expert, plan->probe, ROUTE_PROBE, plan->probes,
			   plan->target, worker);
	tick_to(&p->w->tick[worker], PART_PRODUCT);
}

/* What the oracle holds of some of the tokens; dx is the gradient of the layer's output. */
static void
ask_oracle(struct pass *p)
{
	struct plan *plan = &p->a->plan;
	struct rng r = rng_at(p->how->seed, RNG_PROBE, (uint64_t)p->how->step, (uint64_t)p->layer);

	if (p->s->dense || p->s->router == ROUTER_RANDOM || shape_keyed(p->s))
		return;
	plan->probe = (int)rng_below(&r, p->n < ROUTE_PROBE ? (uint64_t)p->n : ROUTE_PROBE);
	plan->probes = (p->n - 1 - plan->probe) / ROUTE_PROBE + 1;
	task_run(plan->experts, effect_of, p);
	/* dx is of the mean over tokens, tau of one token's loss */
	route_oracle(plan, p->how->temperature,
		     p->how->aux.tau * (double)p->how->scale / (double)p->n);
}

static void
experts_back(struct pass *p)
{
	task_run(p->ffn.parts, expert_back, p);
	task_run(ffn_gather_tasks(&p->ffn), gather_task, p);
	for (int e = 0; e < p->a->plan.experts; e++)
		if (p->a->plan.count[e] > 0)
			p->l->expert[e]->touched = true;
}

static void
backward_layer(struct pass *p)
{
	const long n = p->n, c = p->s->dim, q = shape_qkv(p->s);
	const bool add = p->how->add;
	struct net_work *w = p->w;

	for (int e = 0; e < p->l->experts && !add; e++)
		if (p->l->expert[e])
			p->l->expert[e]->touched = false;
	if (p->how->aux.oracle != 0)
		ask_oracle(p);
	if (p->a->away) {
		task_run(row_tasks(p), detour_back_task, p);
		p->ffn.mix = detour_shares(p->a->detour);
	}
	ffn_cut(&p->ffn, true);
	experts_back(p);
	if (p->a->away && turn_off(p))
		experts_back(p);
	task_run(row_tasks(p), middle_back, p);
	gain_sum(p, &p->l->norm2);
	p->grads = 1;
	if (shape_keyed(p->s))
		p->grads += keystore_grads(p->s, p->l, &p->a->plan, p->a->n2, add, p->grad + 1);
	else if (p->a->plan.lean)
		task_run(lean_grad_tasks(&p->a->plan), lean_task, p);
	else
		p->grads += route_grads(p->s, p->l, &p->a->plan, p->a->n2, add, p->grad + 1);
	if (p->a->away)
		p->grad[p->grads++] = (struct grad){
			1, c, n, detour_slope(p->a->detour), p->a->n2, 1, c, p->l->detour.g, add};
	p->grad[0] = (struct grad){c, c, n, w->dmid, p->a->y, c, c, p->l->o.g, add};
	task_run((long)p->batch * p->s->kv_heads + grad_blocks(p->grad, p->grads), attend_back, p);
	route_grads_end(p->s, p->l, &p->a->plan, &p->how->aux, p->how->scale);
	task_run(row_tasks(p), enter_back, p);
	gain_sum(p, &p->l->norm1);
	p->grads = 1;
	p->grad[0] = (struct grad){q, c, n, w->dqkv, p->a->n1, ld(q), c, p->l->q.g, add};
	run_grads(p);
}

/* The embedding's gradient: tokens in order, each task the rows of a slice of the vocabulary. */
static void
embed_back(void *arg, long slice, int worker)
{
	const struct pass *p = arg;
	const long c = p->s->dim, v = p->s->vocab;
	const long lo = v * slice / VOCAB_SLICES, hi = v * (slice + 1) / VOCAB_SLICES;
	float *g = p->net->param->embed.g;

	tick_start(&p->w->tick[worker]);
	if (p->net->param->head.rows && !p->how->add)
		memset(g + lo * c, 0, (size_t)((hi - lo) * c) * sizeof *g);
	for (long t = 0; t < p->n; t++)
		if (p->w->in[t] >= lo && p->w->in[t] < hi)
			kern->axpy(c, 1, p->w->dx + t * c, g + p->w->in[t] * c);
	tick_to(&p->w->tick[worker], PART_ELEMENT);
}

void
net_backward(struct net *n, const struct net_how *how)
{
	struct pass p = {.net = n, .how = how, .w = n->work, .s = &n->param->shape};
	const struct plan *last = &n->act[p.s->layers - 1].plan;

	p.n = last->tokens;
	p.batch = n->work->batch;
	p.seq = n->work->seq;
	task_run(row_tasks(&p), leave_back, &p);
	gain_sum(&p, &n->param->norm);
	for (int l = p.s->layers - 1; l >= 0; l--) {
		set_layer(&p, l);
		backward_layer(&p);
	}
	task_run(VOCAB_SLICES, embed_back, &p);
}

/* ---- what went wrong ---- */

static bool
finite_row(long n, const float *x)
{
	for (long i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return false;
	return true;
}

/* The expert of the first row whose activations are not finite, -1 if none. */
static int
expert_fault(const struct net_act *a, const struct layer *l, bool gated, long ldh)
{
	const struct plan *p = &a->plan;

	for (int e = 0; e < p->experts; e++)
		for (long r = p->start[e]; r < p->start[e + 1]; r++)
			if (!finite_row((gated ? 2 : 1) * (long)l->expert[e]->hidden,
					a->pre + r * ldh))
				return e;
	return -1;
}

/* Whether down act(pre) is finite. */
static bool
finite_output(enum kern_act act, const struct expert *x, const float *pre)
{
	const bool gated = kern_gated(act);
	float *a = mem_zero((size_t)x->hidden, sizeof *a);
	bool finite = true;

	kern->act(act, x->hidden, gated ? pre : NULL, gated ? pre + x->hidden : pre, a);
	for (long i = 0; i < x->down.rows && finite; i++)
		finite = isfinite(kern->dot(x->hidden, x->down.w + i * x->down.cols, a));
	free(a);
	return finite;
}

/*
 * Of the experts that a token used, the one whose own output is not finite; -1 if each is, and only
 * their sum, with what came before, is not.
 */
static int
output_fault(const struct net *n, int layer, long token)
{
	const struct net_act *a = &n->act[layer];
	const struct plan *p = &a->plan;
	const struct layer *l = &n->param->layer[layer];

	for (int i = 0; i < p->k; i++) {
		const int e = p->choice[token * p->k + i];
		const long row = p->row[token * p->k + i];
		if (!finite_output(n->param->shape.act, l->expert[e], a->pre + row * n->ldh[layer]))
			return e;
	}
	return -1;
}

bool
net_fault(const struct net *n, int *layer, int *slot)
{
	const struct shape *s = &n->param->shape;
	const long c = s->dim, N = n->act[0].plan.tokens;

	*slot = -1;
	for (*layer = -1; *layer < s->layers; ++*layer) {
		const struct net_act *a = *layer < 0 ? NULL : &n->act[*layer];
		const float *next = *layer + 1 < s->layers ? n->act[*layer + 1].x : n->work->x;
		if (a && !finite_row(N * c, a->mid))
			return true;
		if (a && (*slot = expert_fault(a, &n->param->layer[*layer], kern_gated(s->act),
					       n->ldh[*layer])) >= 0)
			return true;
		for (long t = 0; t < N; t++)
			if (!finite_row(c, next + t * c)) {
				*slot = a ? output_fault(n, *layer, t) : -1;
				return true;
			}
	}
	return false;
}

/* ---- one token at a time ---- */

struct cache *
cache_new(const struct param *p, int seq)
{
	struct cache *c = mem_zero(1, sizeof *c);
	const size_t kv = (size_t)(p->shape.kv_heads * shape_head(&p->shape));

	c->param = p;
	c->seq = seq;
	c->k = mem_zero((size_t)p->shape.layers * (size_t)seq * kv, sizeof *c->k);
	c->v = mem_zero((size_t)p->shape.layers * (size_t)seq * kv, sizeof *c->v);
	c->logits = mem_zero((size_t)p->shape.vocab, sizeof *c->logits);
	return c;
}

void
cache_free(struct cache *c)
{
	if (!c)
		return;
	free(c->k);
	free(c->v);
	free(c->logits);
	free(c);
}

const float *
net_next(struct net *n, struct cache *c, const struct net_how *how, int32_t token)
{
	struct pass p = {.net = n,
			 .how = how,
			 .w = n->work,
			 .s = &n->param->shape,
			 .batch = 1,
			 .seq = 1,
			 .n = 1,
			 .cache = c};
	const struct tensor *h = head(n->param);
	const long dim = p.s->dim;

	if (c->n == c->seq || c->n == n->seq)
		return NULL;
	n->work->in[0] = token;
	for (int l = 0; l < p.s->layers; l++) {
		set_layer(&p, l);
		if (forward_layer(&p) != 0)
			return NULL;
	}
	leave_rows(&p, 0, 0);
	kern->nt(1, p.s->vocab, dim, n->work->nf, dim, h->w, dim, c->logits, p.s->vocab, false);
	c->n++;
	return c->logits;
}

const float *
net_input(const struct net *n, int layer)
{
	return n->act[n->train ? layer : 0].n2;
}

const struct plan *
net_plan(const struct net *n, int layer)
{
	return &n->act[n->train ? layer : 0].plan;
}

const float *
net_token_loss(const struct net *n)
{
	return n->work->loss;
}

const float *
net_token_best(const struct net *n)
{
	return n->work->best;
}

const unsigned char *
net_token_hit(const struct net *n)
{
	return n->work->hit;
}

const double *
net_seconds(const struct net *n)
{
	struct net_work *w = n->work;

	memset(w->seconds, 0, sizeof w->seconds);
	for (int i = 0; i < task_workers(); i++)
		for (int j = 0; j < NET_PARTS; j++)
			w->seconds[j] += w->tick[i].sum[j];
	return w->seconds;
}
