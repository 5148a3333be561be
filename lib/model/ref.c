#include "model/ref.h"
#include "base/rng.h"
#include "base/task.h"
#include "model/geometry.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A run, as its parts see it. */
struct run {
	struct ref *r;
	const struct shape *s;
	const struct net_how *how;
	int batch, seq;
	const int32_t *in;
	long n; /* tokens */
	bool choose;
};

static double *
reals(long n)
{
	return mem_zero((size_t)n, sizeof(double));
}

static void
count(void *arg, struct tensor *t, int layer, int slot)
{
	(void)t, (void)layer, (void)slot;
	++*(long *)arg;
}

static void
copy(void *arg, struct tensor *t, int layer, int slot)
{
	struct ref *r = arg;
	const long n = t->rows * t->cols;
	struct ref_tensor *x = &r->tensor[r->tensors++];

	*x = (struct ref_tensor){t, layer, slot, reals(n)};
	for (long i = 0; i < n; i++)
		x->w[i] = (double)t->w[i];
}

struct ref *
ref_new(struct param *p, long tokens)
{
	const int layers = p->shape.layers;
	struct ref *r = mem_zero(1, sizeof *r);
	long n = 0;

	r->param = p;
	param_each(p, count, &n);
	r->tensor = mem_zero((size_t)n, sizeof *r->tensor);
	param_each(p, copy, r);
	r->choice = mem_zero((size_t)layers, sizeof *r->choice);
	for (int l = 0; l < layers; l++)
		r->choice[l] = mem_zero((size_t)(tokens * p->shape.top_k), sizeof **r->choice);
	r->route = mem_zero((size_t)layers, sizeof *r->route);
	r->probe = mem_zero((size_t)layers, sizeof *r->probe);
	r->logits = reals(tokens * p->shape.vocab);
	r->loss = reals(tokens);
	return r;
}

void
ref_free(struct ref *r)
{
	if (!r)
		return;
	for (long i = 0; i < r->tensors; i++)
		free(r->tensor[i].w);
	for (int l = 0; l < r->param->shape.layers; l++) {
		free(r->choice[l]);
		free(r->probe[l].q);
	}
	free(r->probe);
	free(r->tensor);
	free(r->choice);
	free(r->route);
	free(r->logits);
	free(r->loss);
	free(r);
}

void
ref_follow(struct ref *r, const struct net *n)
{
	for (int l = 0; l < r->param->shape.layers; l++) {
		const struct plan *p = net_plan(n, l);
		memcpy(r->choice[l], p->choice, (size_t)(p->tokens * p->k) * sizeof *p->choice);
	}
}

void
ref_targets(struct ref *r, const struct net *n)
{
	for (int l = 0; l < r->param->shape.layers; l++) {
		const struct plan *p = net_plan(n, l);
		struct ref_probe *o = &r->probe[l];
		o->n = p->probes;
		o->first = p->probe;
		free(o->q);
		o->q = reals(o->n * p->experts);
		for (long i = 0; i < o->n * p->experts; i++)
			o->q[i] = (double)p->target[i];
	}
}

static const double *
weights(const struct ref *r, const struct tensor *t)
{
	long i = 0;

	while (r->tensor[i].t != t)
		i++;
	return r->tensor[i].w;
}

static double
dot(long n, const double *a, const double *b)
{
	double s = 0;

	for (long i = 0; i < n; i++)
		s += a[i] * b[i];
	return s;
}

/* y[n, m] = x[n, k] W[m, k]^T */
static double *
product(long n, const double *x, const double *w, long m, long k)
{
	double *y = reals(n * m);

	for (long t = 0; t < n; t++)
		for (long i = 0; i < m; i++)
			y[t * m + i] = dot(k, x + t * k, w + i * k);
	return y;
}

/* y = x W^T of a tensor */
static double *
through(const struct run *u, const double *x, const struct tensor *t)
{
	return product(u->n, x, weights(u->r, t), t->rows, t->cols);
}

/* y_i = w_i x_i / sqrt(mean x^2 + eps) */
static double *
normalised(const struct run *u, const double *x, const struct tensor *t)
{
	const long c = t->cols;
	const double *w = weights(u->r, t);
	double *y = reals(u->n * c);

	for (long n = 0; n < u->n; n++) {
		double r = 1 / sqrt(dot(c, x + n * c, x + n * c) / (double)c + (double)SHAPE_EPS);
		for (long i = 0; i < c; i++)
			y[n * c + i] = w[i] * x[n * c + i] * r;
	}
	return y;
}

/* x = softmax(x); returns log sum e^x */
static double
softmax(long n, double *x)
{
	/* cppcheck-suppress uninitvar ; the caller has set all n */
	double top = x[0], sum = 0;

	for (long i = 1; i < n; i++)
		top = fmax(top, x[i]);
	for (long i = 0; i < n; i++)
		sum += x[i] = exp(x[i] - top);
	for (long i = 0; i < n; i++)
		x[i] /= sum;
	/* cppcheck-suppress invalidFunctionArg ; the largest term of the sum is 1 */
	return top + log(sum);
}

static double
gelu(double x)
{
	return x * 0.5 * erfc(-x * M_SQRT1_2);
}

/* ---- attention ---- */

/* Turn the pair (i, i + d/2) of each head by the angle  position * base^(-2i/d). */
static void
rotate(const struct run *u, int heads, double *x)
{
	const int d = shape_head(u->s), half = d / 2;

	for (long t = 0; t < u->n; t++)
		for (int h = 0; h < heads; h++, x += d)
			for (int i = 0; i < half; i++) {
				double a = (double)(t % u->seq) * pow(SHAPE_ROPE, -2.0 * i / d);
				double p = x[i], q = x[i + half];
				x[i] = p * cos(a) - q * sin(a);
				x[i + half] = q * cos(a) + p * sin(a);
			}
}

/* y_t = sum_{s <= t} softmax_s(<q_t, k_s> / sqrt d) v_s, of one head of one sequence */
static void
attend(int seq, int d, const double *q, long ldq, const double *k, const double *v, long ldk,
       double *y)
{
	double *p = reals(seq);

	for (long t = 0; t < seq; t++) {
		for (long s = 0; s <= t; s++)
			p[s] = dot(d, q + t * ldq, k + s * ldk) / sqrt(d);
		softmax(t + 1, p);
		for (long s = 0; s <= t; s++)
			for (int i = 0; i < d; i++)
				y[t * ldq + i] += p[s] * v[s * ldk + i];
	}
	free(p);
}

/* x += Wo attention(rope(Wq n), rope(Wk n), Wv n) */
static void
attention(const struct run *u, const struct layer *l, double *x)
{
	const int heads = u->s->heads, kv = u->s->kv_heads, d = shape_head(u->s);
	const long c = u->s->dim, ldk = (long)kv * d;
	double *n = normalised(u, x, &l->norm1), *y = reals(u->n * c);
	double *q = through(u, n, &l->q), *k = through(u, n, &l->k), *v = through(u, n, &l->v);

	rotate(u, heads, q);
	rotate(u, kv, k);
	for (long b = 0; b < u->batch; b++)
		for (int h = 0; h < heads; h++) {
			long at = b * u->seq * c + h * d;
			long from = b * u->seq * ldk + h / (heads / kv) * d;
			attend(u->seq, d, q + at, c, k + from, v + from, ldk, y + at);
		}
	double *o = through(u, y, &l->o);
	for (long i = 0; i < u->n * c; i++)
		x[i] += o[i];
	free(n), free(q), free(k), free(v), free(y), free(o);
}

/* ---- routing ---- */

/* Slots up to the last that is not empty: what the router has rows for. */
static int
slots(const struct run *u, const struct layer *l)
{
	return shape_extent(u->s, (int)(l - u->r->param->layer));
}

/* Q(x) / |Q(x)| */
static double *
queries(const struct run *u, const struct layer *l, const double *x)
{
	const long c = u->s->dim;
	double *q = through(u, x, &l->query), *h = q;

	if (l->query2.rows) {
		for (long i = 0; i < u->n * l->query.rows; i++)
			h[i] = gelu(h[i]);
		q = through(u, h, &l->query2);
		free(h);
	}
	for (long t = 0; t < u->n; t++) {
		const double length = sqrt(dot(c, q + t * c, q + t * c));
		for (long i = 0; i < c; i++)
			q[t * c + i] /= length;
	}
	return q;
}

/* The router's noise: see route_disturb. */
static void
disturb(const struct run *u, const struct layer *l, long e, long t, double *z)
{
	struct rng r = rng_at(u->how->seed, RNG_ROUTE, (uint64_t)u->how->step,
			      1ULL << 63 | (uint64_t)(l - u->r->param->layer) << 40 | (uint64_t)t);
	float noise[e];

	rng_normals(&r, noise, e);
	for (long i = 0; i < e; i++)
		z[i] += (double)u->how->noise * (double)noise[i];
}

/* z [N, E], empty slots included */
static double *
scores(const struct run *u, const struct layer *l, const double *x)
{
	const long e = slots(u, l), c = u->s->dim;
	double *z, *h;

	if (l->route.rows == 0)
		return reals(u->n * e);
	if (shape_keyed(u->s)) {
		h = queries(u, l, x);
		z = through(u, h, &l->route);
		free(h);
	} else if (u->s->router == ROUTER_MLP) {
		h = through(u, x, &l->route);
		for (long i = 0; i < u->n * l->route.rows; i++)
			h[i] = gelu(h[i]);
		z = through(u, h, &l->route2);
		free(h);
	} else {
		z = through(u, x, &l->route);
	}
	for (long i = 0; u->s->router == ROUTER_COSINE && i < u->n * e; i++) {
		const double *k = weights(u->r, &l->route) + i % e * c, *a = x + i / e * c;
		z[i] /= sqrt(dot(c, a, a) * dot(c, k, k));
	}
	for (long t = 0; t < u->n && u->how->noise > 0; t++)
		disturb(u, l, e, t, z + t * e);
	return z;
}

/* The k largest of v + bias, ties to the lowest index. */
static void
largest(int n, int k, const double *v, const float *bias, int *out)
{
	for (int j = 0; j < k; j++) {
		double best = -INFINITY;
		for (int i = 0; i < n; i++) {
			double x = v[i] + (bias ? (double)bias[i] : 0);
			bool taken = false;
			for (int m = 0; m < j; m++)
				taken |= out[m] == i;
			if (!taken && x > best) {
				best = x;
				out[j] = i;
			}
		}
	}
}

/* One token's experts among those of highest v: made here, or how far the given ones fall short. */
static void
choose(const struct run *u, const struct layer *l, const double *v, int *c)
{
	const int k = u->s->top_k;
	int own[k];

	largest(slots(u, l), k, v, l->bias, own);
	for (int j = 0; j < k; j++) {
		double short_of = v[own[j]] - v[c[j]];
		if (u->choose)
			c[j] = own[j];
		else if (l->bias)
			short_of += (double)l->bias[own[j]] - (double)l->bias[c[j]];
		if (!u->choose)
			u->r->regret = fmax(u->r->regret, short_of);
	}
}

static bool
among(int k, const int *c, int slot)
{
	int j = 0;

	while (j < k && c[j] != slot)
		j++;
	return j < k;
}

/* Is the slot's expert a candidate for this token? */
static bool
seen(const struct run *u, const struct layer *l, int slot, long t)
{
	return l->expert[slot] && !route_waits(l, slot, route_hash(u->in[t], t % u->seq));
}

/* The mean squared cosine between different rows of the router. */
static double
ortho(const struct run *u, const struct layer *l, int living)
{
	const struct tensor *t = u->s->router == ROUTER_MLP ? &l->route2 : &l->route;
	const double *w = t->rows ? weights(u->r, t) : NULL;
	const long c = t->cols;
	double sum = 0;

	for (long i = 0; i < t->rows; i++)
		for (long j = 0; j < t->rows; j++)
			if (i != j && l->expert[i] && l->expert[j])
				sum += pow(dot(c, w + i * c, w + j * c), 2) /
				       (dot(c, w + i * c, w + i * c) *
					dot(c, w + j * c, w + j * c));
	return living > 1 ? sum / ((double)living * (living - 1)) : 0;
}

/* KL(q || p) of a token, 0 if it was not probed. */
static double
oracle(const struct ref_probe *o, long t, int e, const double *p)
{
	double kl = 0;

	if (o->n == 0 || t % ROUTE_PROBE != o->first)
		return 0;
	for (int i = 0; i < e; i++) {
		const double q = o->q[t / ROUTE_PROBE * e + i];
		kl += q > 0 ? q * log(q / p[i]) : 0;
	}
	return kl / (double)o->n;
}

/* Gates [N, K] from scores, which become probabilities; what routing adds to the objective. */
static double
route(const struct run *u, int layer, double *z, double *gate)
{
	const struct layer *l = &u->r->param->layer[layer];
	const int e = slots(u, l), k = u->s->top_k;
	const bool random = u->how->random || (!u->s->dense && u->s->router == ROUTER_RANDOM);
	struct route_stat *stat = &u->r->route[layer];
	const int living = shape_living(u->s, layer);
	const struct route_loss *aux = &u->how->aux;
	const double per = !aux->normalised ? 1 : living > 1 ? 1 / log(living) : 0;
	const double fair = aux->normalised ? (double)living * living : 1;
	double f[e], mean[e], carried[e]; /* shares of choices, of probability, of weights */

	memset(f, 0, sizeof f);
	memset(carried, 0, sizeof carried);
	memset(mean, 0, sizeof mean);
	*stat = (struct route_stat){0};
	for (long t = 0; t < u->n; t++) {
		double *p = z + t * e, sum = 0, lse;
		int *c = u->r->choice[layer] + t * k;
		for (int i = 0; i < e; i++)
			p[i] = seen(u, l, i, t) ? p[i] / (double)u->how->temperature : -INFINITY;
		if (!random)
			choose(u, l, p, c);
		for (int i = 0; i < e && shape_keyed(u->s); i++)
			p[i] = among(k, c, i) ? p[i] : -INFINITY;
		lse = softmax(e, p);
		for (int j = 0; j < k; j++)
			sum += p[c[j]];
		for (int j = 0; j < k; j++) {
			gate[t * k + j] = random ? 1.0 / k : p[c[j]] / sum;
			f[c[j]] += 1.0 / (double)(u->n * k);
			carried[c[j]] += gate[t * k + j] / (double)u->n;
		}
		for (int i = 0; i < e; i++) {
			mean[i] += p[i] / (double)u->n;
			stat->entropy -= p[i] > 0 ? p[i] * log(p[i]) / (double)u->n : 0;
		}
		stat->z += lse * lse / (double)u->n;
		stat->oracle += oracle(&u->r->probe[layer], t, e, p);
	}
	stat->balance = living * dot(e, f, mean);
	for (int i = 0; i < e; i++)
		if (l->expert[i]) {
			stat->kl += mean[i] > 0 ? mean[i] * log(mean[i] * living) : 0;
			stat->variance += pow(carried[i] - 1.0 / living, 2) / living;
		}
	stat->ortho = ortho(u, l, living);
	return aux->balance * stat->balance + aux->z * stat->z -
	       aux->entropy * per * stat->entropy +
	       aux->even * (per * stat->kl + fair * stat->variance) + aux->ortho * stat->ortho +
	       aux->oracle * per * stat->oracle;
}

/* ---- experts ---- */

/* a = act(g, u) */
static double
unit(enum kern_act act, double g, double u)
{
	switch (act) {
	case ACT_GELU: return gelu(u);
	case ACT_RELU: return fmax(u, 0);
	case ACT_RELU2: return fmax(u, 0) * fmax(u, 0);
	case ACT_SWIGLU: return g / (1 + exp(-g)) * u;
	case ACT_REGLU: return fmax(g, 0) * u;
	}
	__builtin_unreachable();
}

/* y += gate * Wdown act(Wgate x, Wup x) */
static void
expert(const struct run *u, const struct expert *e, double gate, const double *x, double *y)
{
	const long c = u->s->dim, h = e->hidden;
	const double *wg = e->gate.rows ? weights(u->r, &e->gate) : NULL;
	const double *wu = weights(u->r, &e->up), *wd = weights(u->r, &e->down);
	double *a = reals(h);

	for (long i = 0; i < h; i++)
		a[i] = unit(u->s->act, wg ? dot(c, wg + i * c, x) : 0, dot(c, wu + i * c, x));
	for (long i = 0; i < c; i++)
		y[i] += gate * dot(h, wd + i * h, a);
	free(a);
}

/* ---- detours ---- */

/* exp_0 or log_0 of a row in place, a longer one first drawn back. */
static void
radial(const struct run *u, bool log_0, double *y)
{
	const long c = u->s->dim;
	const double z = sqrt((double)u->how->curvature * dot(c, y, y));
	const double at = fmin(z, log_0 ? tanh(GEOMETRY_REACH) : GEOMETRY_REACH);

	for (long i = 0; i < c && z > 0; i++)
		y[i] *= (log_0 ? atanh(at) : tanh(at)) / z;
}

/* x = x (+) y */
static void
add_in_ball(const struct run *u, const double *y, double *x)
{
	const long n = u->s->dim;
	const double c = (double)u->how->curvature;
	const double xy = dot(n, x, y), xx = dot(n, x, x), yy = dot(n, y, y);

	for (long i = 0; i < n; i++)
		x[i] = ((1 + 2 * c * xy + c * yy) * x[i] + (1 - c * xx) * y[i]) /
		       (1 + 2 * c * xy + c * c * xx * yy);
}

/* g += log_0 of the sum in the ball of gate_k expert_k(n) */
static void
in_ball(const struct run *u, int layer, long t, const double *gate, const double *n, double *g)
{
	const long c = u->s->dim;
	double *sum = reals(c), *y = reals(c);

	for (int j = 0; j < u->s->top_k; j++) {
		memset(y, 0, (size_t)c * sizeof *y);
		expert(u,
		       u->r->param->layer[layer].expert[u->r->choice[layer][t * u->s->top_k + j]],
		       gate[j], n, y);
		radial(u, false, y);
		radial(u, false, sum);
		add_in_ball(u, y, sum);
		radial(u, true, sum);
	}
	for (long i = 0; i < c; i++)
		g[i] += sum[i];
	free(sum), free(y);
}

/* Row i of the waves at t: see geometry.h. */
static double
wave(long n, long i, long t)
{
	const double angle = 2 * M_PI * (double)((i + 1) / 2) * (double)t / (double)n;

	if (i == 0)
		return sqrt(1 / (double)n);
	if (i == n - 1 && n % 2 == 0)
		return (t % 2 ? -1 : 1) * sqrt(1 / (double)n);
	return sqrt(2 / (double)n) * (i % 2 ? cos(angle) : sin(angle));
}

/* g += F^T sum_k gate_k expert_k(F n) */
static void
among_waves(const struct run *u, int layer, long t, const double *gate, const double *n, double *g)
{
	const long c = u->s->dim;
	double *in = reals(c), *y = reals(c);

	for (long i = 0; i < c; i++)
		for (long k = 0; k < c; k++)
			in[i] += wave(c, i, k) * n[k];
	for (int j = 0; j < u->s->top_k; j++)
		expert(u,
		       u->r->param->layer[layer].expert[u->r->choice[layer][t * u->s->top_k + j]],
		       gate[j], in, y);
	for (long i = 0; i < c; i++)
		for (long k = 0; k < c; k++)
			g[k] += wave(c, i, k) * y[i];
	free(in), free(y);
}

/* x += sum_k gate_k expert_k(n) of a token, or what its layer on a detour makes of it */
static void
mixture(const struct run *u, int layer, long t, const double *gate, const double *n, double *x)
{
	const struct layer *l = &u->r->param->layer[layer];
	const bool away = l->away && u->how->detour != DETOUR_NONE;
	const long c = u->s->dim;
	const int k = u->s->top_k;
	const double a = away ? 1 / (1 + exp(-dot(c, weights(u->r, &l->detour), n))) : 0;
	double *g = reals(c);

	for (int j = 0; j < k; j++)
		expert(u, l->expert[u->r->choice[layer][t * k + j]], (1 - a) * gate[j], n, x);
	if (away && u->how->detour == DETOUR_BALL)
		in_ball(u, layer, t, gate, n, g);
	else if (away)
		among_waves(u, layer, t, gate, n, g);
	for (long i = 0; i < c; i++)
		x[i] += a * g[i];
	free(g);
}

/* Mean over tokens and pairs of their experts of the outputs' positive cosine. */
static double
divergence(const struct run *u, int layer, const double *n)
{
	const int k = u->s->top_k;
	const long c = u->s->dim;
	const double pairs = 0.5 * k * (k - 1);
	double mean = 0;

	for (long t = 0; t < u->n; t++) {
		double *y = reals(k * c);
		for (int i = 0; i < k; i++) {
			const double *a = y + i * c;
			expert(u, u->r->param->layer[layer].expert[u->r->choice[layer][t * k + i]],
			       1, n + t * c, y + i * c);
			for (int j = 0; j < i; j++) {
				const double *b = y + j * c;
				const double size = sqrt(dot(c, a, a) * dot(c, b, b));
				if (size > 0)
					mean += fmax(dot(c, a, b) / size, 0) / pairs;
			}
		}
		free(y);
	}
	return u->r->route[layer].divergence = mean / (double)u->n;
}

/* x += sum_k gate_k expert_k(n); returns what routing adds to the objective */
static double
experts(const struct run *u, int layer, double *x)
{
	const struct layer *l = &u->r->param->layer[layer];
	const int k = u->s->top_k;
	const long c = u->s->dim;
	double *n = normalised(u, x, &l->norm2), *z = scores(u, l, n), *gate = reals(u->n * k);
	const struct ref_nudge *to = &u->r->nudge;
	double aux = route(u, layer, z, gate);

	for (long t = 0; t < u->n; t++)
		mixture(u, layer, t, gate + t * k, n + t * c, x + t * c);
	if (u->how->aux.divergence != 0 && k > 1)
		aux += u->how->aux.divergence * divergence(u, layer, n);
	if (to->by != 0 && to->layer == layer)
		expert(u, l->expert[to->expert], to->by, n + to->token * c, x + to->token * c);
	free(n), free(z), free(gate);
	return aux;
}

/* Mean cross-entropy; the logits are kept. */
static double
head(const struct run *u, const double *x, const int32_t *out)
{
	const struct param *p = u->r->param;
	const long v = u->s->vocab;
	double *n = normalised(u, x, &p->norm);
	double *z = through(u, n, p->head.rows ? &p->head : &p->embed);
	double mean = 0;

	memcpy(u->r->logits, z, (size_t)(u->n * v) * sizeof *z);
	for (long t = 0; t < u->n; t++) {
		double at = z[t * v + out[t]];
		u->r->loss[t] = softmax(v, z + t * v) - at;
		mean += u->r->loss[t] / (double)u->n;
	}
	free(n), free(z);
	return mean;
}

double
ref_loss(struct ref *r, const struct net_how *how, int batch, int seq, const int32_t *in,
	 const int32_t *out, bool choose_here)
{
	const struct run u = {r,  &r->param->shape,  how,	 batch, seq,
			      in, (long)batch * seq, choose_here};
	const long c = u.s->dim;
	const double *embed = weights(r, &r->param->embed);
	double *x = reals(u.n * c), total = 0;

	r->regret = 0;
	for (long t = 0; t < u.n; t++)
		memcpy(x + t * c, embed + in[t] * c, (size_t)c * sizeof *x);
	for (int l = 0; l < u.s->layers; l++) {
		attention(&u, &r->param->layer[l], x);
		total += experts(&u, l, x);
	}
	total += head(&u, x, out);
	free(x);
	return total;
}

/* ---- the check ---- */

enum { TINY = 8, SAMPLES = 3, GROUPS = 20 };

/* Relative errors that the float net stays below where it is right; a wrong term is far above. */
static const double LOSS_TOLERANCE = 1e-5, GRADIENT_TOLERANCE = 1e-4;

struct check {
	const struct shape *s;
	struct net_how how;
	int batch, seq;
	struct param *p;
	struct net *net;
	struct ref *r;
	int32_t *in, *out;
	struct rng rng;
	ref_report *report;
	void *arg;
	int failed;
	struct group {
		const char *name;
		double worst;
	} group[GROUPS]; /* those with a name */
};

/* The larger, a NaN above all. */
static double
worse(double a, double b)
{
	return isnan(a) || a >= b ? a : b;
}

static void
tell(struct check *c, const char *name, double error, double tolerance)
{
	const bool pass = error <= tolerance;

	c->failed += !pass;
	c->report(c->arg, name, error, tolerance, pass);
}

/* Weights large enough that no part of the net works in its linear range. */
static void
fill(void *arg, struct tensor *t, int layer, int slot)
{
	const double mean = t->flat ? 1 : 0;
	const double size = t->flat ? 0.3 : layer < 0 ? 0.5 : 1.5 / sqrt((double)t->cols);

	(void)slot;
	for (long i = 0; i < t->rows * t->cols; i++)
		t->w[i] = (float)(mean + size * rng_normal(arg));
}

void
ref_fill(struct param *p, struct rng *r)
{
	param_each(p, fill, r);
	for (int l = 0; l < p->shape.layers; l++)
		for (int e = 0; p->layer[l].bias && e < p->layer[l].experts; e++)
			p->layer[l].bias[e] = (float)(0.1 * rng_normal(r));
}

static void
start(struct check *c)
{
	const long n = (long)c->batch * c->seq;

	c->net = net_new(c->p, c->batch, c->seq, true);
	c->r = ref_new(c->p, n);
	c->in = mem_zero((size_t)n, sizeof *c->in);
	c->out = mem_zero((size_t)n, sizeof *c->out);
	for (long t = 0; t < n; t++) {
		c->in[t] = (int32_t)rng_below(&c->rng, (uint64_t)c->s->vocab);
		c->out[t] = (int32_t)rng_below(&c->rng, (uint64_t)c->s->vocab);
	}
}

static double
objective(struct check *c)
{
	return (double)c->how.scale *
	       ref_loss(c->r, &c->how, c->batch, c->seq, c->in, c->out, false);
}

static void
check_forward(struct check *c)
{
	const long n = (long)c->batch * c->seq;
	struct net_loss loss;
	double mean = 0, worst = 0, stats = 0;

	net_forward(c->net, &c->how, c->batch, c->seq, c->in, c->out, &loss);
	ref_follow(c->r, c->net);
	objective(c);
	for (long t = 0; t < n; t++) {
		mean += c->r->loss[t] / (double)n;
		worst = worse(worst, fabs((double)net_token_loss(c->net)[t] - c->r->loss[t]));
	}
	for (int l = 0; l < c->s->layers; l++) {
		const struct route_stat *want = &c->r->route[l];
		struct route_stat got;
		route_stat(net_plan(c->net, l), &got);
		stats = worse(stats, fabs(got.balance - want->balance));
		stats = worse(stats, fabs(got.z - want->z) / (1 + want->z));
		stats = worse(stats, fabs(got.entropy - want->entropy));
		stats = worse(stats, fabs(route_ortho(c->s, &c->p->layer[l]) - want->ortho));
		if (c->how.aux.divergence != 0)
			stats = worse(stats, fabs(got.divergence - want->divergence));
		if (c->how.aux.even == 0)
			continue;
		stats = worse(stats, fabs(got.kl - want->kl));
		stats = worse(stats, fabs(got.variance - want->variance));
	}
	tell(c, "choices", c->r->regret, LOSS_TOLERANCE);
	tell(c, "loss", fabs(loss.loss - mean) / mean, LOSS_TOLERANCE);
	tell(c, "loss by token", worst / mean, 2 * LOSS_TOLERANCE);
	tell(c, "routing losses", stats, LOSS_TOLERANCE);
}

/* The first sequence once more, token by token. */
static void
check_next(struct check *c)
{
	struct cache *k = cache_new(c->p, c->seq);
	/* it goes neither astray nor round: then other experts may be chosen */
	const bool other = c->how.noise > 0 || c->how.detour != DETOUR_NONE;
	double worst = 0, top = 1;

	c->how.detour = DETOUR_NONE;
	c->how.noise = 0;
	ref_loss(c->r, &c->how, c->batch, c->seq, c->in, c->out, other);
	for (long t = 0; t < c->seq; t++) {
		const float *z = net_next(c->net, k, &c->how, c->in[t]);
		for (long i = 0; i < c->s->vocab; i++) {
			double want = c->r->logits[t * c->s->vocab + i];
			worst = worse(worst, fabs((double)z[i] - want));
			top = fmax(top, fabs(want));
		}
	}
	cache_free(k);
	tell(c, "logits", worst / top, LOSS_TOLERANCE);
}

/* What a tensor is: its name without layer and slot. */
static const char *
role(const struct ref_tensor *x)
{
	const char *s = x->t->name;

	for (int dots = x->slot >= 0 ? 6 : x->layer >= 0 ? 3 : 0; dots > 0; dots--)
		s = strchr(s, '.') + 1;
	return s;
}

/* d objective along v from w, the step short enough that a kink between is rare. */
static double
difference(struct check *c, struct ref_tensor *x, const double *v, double step)
{
	const long n = x->t->rows * x->t->cols;
	double f[2];

	for (int side = 0; side < 2; side++) {
		for (long i = 0; i < n; i++)
			x->w[i] = (double)x->t->w[i] + (side ? step : -step) * v[i];
		f[side] = objective(c);
	}
	for (long i = 0; i < n; i++)
		x->w[i] = (double)x->t->w[i];
	return (f[1] - f[0]) / (2 * step);
}

/* The gradient along v beside the difference. A step that straddles a kink is tried shorter. */
static double
error_along(struct check *c, struct ref_tensor *x, const float *g, const double *v, double usual)
{
	double got = 0, error = INFINITY;

	for (long i = 0; i < x->t->rows * x->t->cols; i++)
		got += (double)g[i] * v[i];
	for (double step = 1e-6; step > 1e-8 && !(error <= GRADIENT_TOLERANCE); step /= 10) {
		double want = difference(c, x, v, step);
		error = fmin(error, fabs(got - want) / (fmax(fabs(want), usual) + 1e-6));
	}
	return error;
}

/* The way back did not come here, and what it left before is no gradient. */
static bool
idle(const struct param *p, const struct ref_tensor *x)
{
	const struct layer *l = x->layer < 0 ? NULL : &p->layer[x->layer];

	return x->slot >= 0 ? !l->expert[x->slot]->touched : l && x->t == &l->detour && !l->away;
}

static double
check_tensor(struct check *c, struct ref_tensor *x)
{
	const long n = x->t->rows * x->t->cols, samples = n <= TINY ? n : SAMPLES;
	float *zero = mem_zero((size_t)n, sizeof *zero);
	const float *g = idle(c->p, x) ? zero : x->t->g;
	double *v = reals(n), norm = 0, worst = 0;

	for (long i = 0; i < n; i++)
		norm += (double)g[i] * (double)g[i];
	norm = sqrt(norm);
	for (long j = 0; j < samples; j++) {
		long i = n <= TINY ? j : (long)rng_below(&c->rng, (uint64_t)n);
		v[i] = 1;
		worst = worse(worst, error_along(c, x, g, v, norm / sqrt((double)n)));
		v[i] = 0;
	}
	for (long i = 0; i < n; i++)
		v[i] = rng_u32(&c->rng) & 1 ? 1 : -1;
	worst = worse(worst, error_along(c, x, g, v, norm));
	free(zero), free(v);
	return worst;
}

/*
 * The oracle's targets beside those made of how much the objective changes, for each probed token,
 * with a little more of an expert's output; and the mean KL that the net makes of them.
 */
static void
check_oracle(struct check *c)
{
	double worst = 0, kl = 0;

	ref_targets(c->r, c->net);
	for (int l = 0; l < c->s->layers; l++) {
		const struct plan *p = net_plan(c->net, l);
		for (long i = 0; i < p->probes; i++) {
			const long t = p->probe + i * ROUTE_PROBE;
			double q[p->experts];
			for (int e = 0; e < p->experts; e++) {
				double f[2];
				q[e] = -INFINITY;
				if (p->target[i * p->experts + e] == 0 || !c->p->layer[l].expert[e])
					continue;
				for (int side = 0; side < 2; side++) {
					c->r->nudge =
						(struct ref_nudge){l, e, t, side ? 1e-5 : -1e-5};
					f[side] = objective(c);
				}
				q[e] = -(f[1] - f[0]) / 2e-5 / (double)c->how.scale *
				       (double)(c->batch * c->seq) / c->how.aux.tau;
			}
			softmax(p->experts, q);
			for (int e = 0; e < p->experts; e++)
				worst = worse(worst,
					      fabs(q[e] - (double)p->target[i * p->experts + e]));
		}
	}
	c->r->nudge.by = 0;
	objective(c);
	for (int l = 0; l < c->s->layers; l++)
		kl = worse(kl, fabs(net_plan(c->net, l)->oracle - c->r->route[l].oracle));
	tell(c, "the oracle's targets", worst, GRADIENT_TOLERANCE);
	tell(c, "the oracle's loss", kl, GRADIENT_TOLERANCE);
}

static bool
learns(const struct param *p, const struct ref_tensor *x)
{
	return x->slot < 0 ? x->t->g != NULL : param_learns(p->layer[x->layer].expert[x->slot]);
}

static void
check_gradients(struct check *c)
{
	char name[128];

	net_backward(c->net, &c->how);
	if (c->how.aux.oracle != 0)
		check_oracle(c);
	for (long i = 0; i < c->r->tensors; i++) {
		struct group *g = c->group;
		if (!learns(c->p, &c->r->tensor[i]))
			continue;
		while (g->name && strcmp(g->name, role(&c->r->tensor[i])) != 0)
			g++;
		g->name = role(&c->r->tensor[i]);
		g->worst = worse(g->worst, check_tensor(c, &c->r->tensor[i]));
	}
	for (struct group *g = c->group; g->name; g++) {
		snprintf(name, sizeof name, "gradient of %s", g->name);
		tell(c, name, g->worst, GRADIENT_TOLERANCE);
	}
}

static int
run_check(struct check *c)
{
	c->s = &c->p->shape;
	c->how.back = true;
	c->how.add = false;
	start(c);
	check_forward(c);
	check_gradients(c);
	check_next(c);
	net_free(c->net);
	ref_free(c->r);
	free(c->in), free(c->out);
	return c->failed;
}

int
ref_check_param(struct param *p, const struct net_how *how, int batch, int seq, uint64_t seed,
		ref_report *report, void *arg)
{
	return run_check(&(struct check){.p = p,
					 .how = *how,
					 .batch = batch,
					 .seq = seq,
					 .rng = rng_at(seed, RNG_TEST, 0, 0),
					 .report = report,
					 .arg = arg});
}

int
ref_check(const struct shape *s, const struct net_how *how, int batch, int seq, uint64_t seed,
	  ref_report *report, void *arg)
{
	struct check c = {.p = param_new(s, true),
			  .how = *how,
			  .batch = batch,
			  .seq = seq,
			  .rng = rng_at(seed, RNG_TEST, 0, 0),
			  .report = report,
			  .arg = arg};

	ref_fill(c.p, &c.rng);
	for (int l = 0; l < s->layers; l++)
		c.p->layer[l].away = s->bent && l % 2 == 0;
	run_check(&c);
	param_free(c.p);
	return c.failed;
}
