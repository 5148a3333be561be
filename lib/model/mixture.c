#include "model/mixture.h"
#include "base/rng.h"
#include "math/kern.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const mixture_term_name[MIXTURE_TERMS] = {"entropy",    "oracle", "balance", "ortho",
						      "divergence", "load",   "z"};

/* y = W x + b of n rows. */
struct dense {
	struct tensor w, b;
};

struct mixture {
	struct mixture_shape s;
	int batch, n;
	bool train;
	struct dense feature, hidden, score;
	struct tensor *prototype; /* [E] rows of one [E, D] */
	struct tensor bias;	  /* [E] of the choice; w NULL: none */
	struct dense *expert;	  /* [E] of one [E C, D] and [E C]; the plain head if E = 0 */
	float *prototypes, *dprototypes;
	float *heads, *biases, *dheads, *dbiases;
	/* of the last forward, [n] rows each */
	float *f, *h, *z, *p, *g, *u, *y; /* D, R, E, E, E (0: not chosen), E C, C */
	float *oracle;			  /* E */
	float *near;			  /* E: cos(f, p_e) */
	float *norm;			  /* 1: |f| */
	float *length;			  /* [E] |p_e| */
	int *choice;			  /* K */
	float *gate;			  /* K */
	double *ce, *lse;
	double *P, *carried, *share, *dp; /* [E] */
	float *df, *dh, *dz, *du;	  /* gradients: D, R, E, K C */
	int *row;			  /* 1: the samples of one expert, and their rows */
	float *some_f, *some_u, *some_df; /* D, C, D */
	struct tensor **tensor;
	int tensors;
	void *memory;
	size_t bytes;
};

/* --- layout --- */

static float *
take(struct arena *a, long n)
{
	return arena_take(a, (size_t)n, sizeof(float));
}

static void
keep(struct mixture *m, struct tensor *t)
{
	if (m->tensor)
		m->tensor[m->tensors] = t;
	m->tensors++;
}

static void
name_tensor(struct mixture *m, struct tensor *t, long rows, long cols, const char *name)
{
	t->rows = rows;
	t->cols = cols;
	t->flat = rows == 1;
	t->decay = rows > 1;
	snprintf(t->name, sizeof t->name, "%s", name);
	keep(m, t);
}

static void
take_tensor(struct mixture *m, struct arena *a, struct tensor *t, long rows, long cols,
	    const char *name)
{
	float **const part[] = {&t->w, &t->g, &t->m, &t->v};

	for (int i = 0; i < (m->train ? 4 : 1); i++)
		*part[i] = take(a, rows * cols);
	name_tensor(m, t, rows, cols, name);
}

static void
take_dense(struct mixture *m, struct arena *a, struct dense *d, int out, int in, const char *name)
{
	char text[80];

	snprintf(text, sizeof text, "%s.weight", name);
	take_tensor(m, a, &d->w, out, in, text);
	snprintf(text, sizeof text, "%s.bias", name);
	take_tensor(m, a, &d->b, 1, out, text);
}

/* Tensors that are parts of one array, so that one product serves all. */
static void
take_parts(struct mixture *m, struct arena *a, struct tensor *first, size_t step, int parts,
	   long rows, long cols, float **w, float **g)
{
	const long n = rows * cols, all = n * parts;
	float *base[4] = {NULL};

	for (int i = 0; i < (m->train ? 4 : 1); i++)
		base[i] = take(a, all);
	*w = base[0];
	*g = base[1];
	for (int e = 0; e < parts && base[0]; e++) {
		struct tensor *t = (struct tensor *)((char *)first + step * (size_t)e);

		t->w = base[0] + e * n;
		t->g = base[1] ? base[1] + e * n : NULL;
		t->m = base[2] ? base[2] + e * n : NULL;
		t->v = base[3] ? base[3] + e * n : NULL;
	}
}

static void
take_experts(struct mixture *m, struct arena *a)
{
	const struct mixture_shape *s = &m->s;
	const int heads = s->experts ? s->experts : 1, in = s->experts ? s->width : s->features;

	take_parts(m, a, &m->expert[0].w, sizeof *m->expert, heads, s->classes, in, &m->heads,
		   &m->dheads);
	take_parts(m, a, &m->expert[0].b, sizeof *m->expert, heads, 1, s->classes, &m->biases,
		   &m->dbiases);
	take_parts(m, a, m->prototype, sizeof *m->prototype, s->experts, 1, s->width,
		   &m->prototypes, &m->dprototypes);
	for (int e = 0; e < heads; e++) {
		char name[80];

		snprintf(name, sizeof name, s->experts ? "experts.%d.head.weight" : "fc.weight", e);
		name_tensor(m, &m->expert[e].w, s->classes, in, name);
		snprintf(name, sizeof name, s->experts ? "experts.%d.head.bias" : "fc.bias", e);
		name_tensor(m, &m->expert[e].b, 1, s->classes, name);
		if (!s->experts)
			continue;
		snprintf(name, sizeof name, "experts.%d.prototype", e);
		name_tensor(m, &m->prototype[e], 1, s->width, name);
	}
}

static void
layout(struct mixture *m, struct arena *a)
{
	const struct mixture_shape *s = &m->s;
	const long n = m->batch, E = s->experts, D = s->width, R = s->router, C = s->classes,
		   heads = E ? E : 1;

	m->tensors = 0;
	if (E) {
		take_dense(m, a, &m->feature, s->width, s->features, "feature");
		take_dense(m, a, &m->hidden, s->router, s->width, "router.0");
		take_dense(m, a, &m->score, s->experts, s->router, "router.2");
	}
	take_experts(m, a);
	if (s->bias) {
		m->bias.w = take(a, E);
		name_tensor(m, &m->bias, 1, E, "router.bias");
	}
	float **const row[] = {&m->f,	 &m->h,	 &m->z,	     &m->p,	 &m->g,	     &m->u,
			       &m->y,	 &m->dh, &m->oracle, &m->near,	 &m->norm,   &m->dz,
			       &m->gate, &m->df, &m->du,     &m->some_f, &m->some_u, &m->some_df};
	const long size[] = {D, R, E, E,	E, heads * C,	 C, R, E,
			     E, 1, E, s->top_k, D, s->top_k * C, D, C, D};
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		*row[i] = take(a, n * size[i]);
	m->length = take(a, E);
	m->choice = arena_take(a, (size_t)(n * s->top_k), sizeof(int));
	m->row = arena_take(a, (size_t)n, sizeof(int));
	double **const sum[] = {&m->ce, &m->lse, &m->P, &m->carried, &m->share, &m->dp};
	for (size_t i = 0; i < sizeof sum / sizeof *sum; i++)
		*sum[i] = arena_take(a, (size_t)(i < 2 ? n : E), sizeof(double));
}

struct mixture *
mixture_new(const struct mixture_shape *s, int batch, bool train)
{
	struct mixture *m = mem_zero(1, sizeof *m);
	const size_t heads = s->experts ? (size_t)s->experts : 1;
	struct arena a = {0};

	*m = (struct mixture){.s = *s, .batch = batch, .train = train};
	m->expert = mem_zero(heads, sizeof *m->expert);
	m->prototype = mem_zero(heads, sizeof *m->prototype);
	layout(m, &a);
	m->tensor = mem_zero((size_t)m->tensors, sizeof(struct tensor *));
	m->bytes = a.used;
	m->memory = mem_map(a.used);
	a = (struct arena){.base = m->memory};
	layout(m, &a);
	return m;
}

void
mixture_free(struct mixture *m)
{
	if (!m)
		return;
	mem_unmap(m->memory, m->bytes);
	free(m->expert);
	free(m->prototype);
	free(m->tensor);
	free(m);
}

void
mixture_init(struct mixture *m, uint64_t seed, uint64_t index)
{
	for (int i = 0; i < m->tensors; i++) {
		struct tensor *t = m->tensor[i];
		const long n = t->rows * t->cols;
		struct rng r = rng_at(seed, RNG_INIT, 0, index + (uint64_t)i);
		bool prototype = strstr(t->name, "prototype");

		if (!prototype && t->flat)
			continue;
		rng_normals(&r, t->w, n);
		kern->scale(n, (float)sqrt((prototype ? 1.0 : 2.0) / (double)t->cols), t->w, t->w);
	}
}

int
mixture_tensors(const struct mixture *m)
{
	return m->tensors;
}

struct tensor *
mixture_tensor(struct mixture *m, int i)
{
	return m->tensor[i];
}

const int *
mixture_choice(const struct mixture *m, int i)
{
	return m->choice + (long)i * m->s.top_k;
}

const float *
mixture_gate(const struct mixture *m, int i)
{
	return m->gate + (long)i * m->s.top_k;
}

const float *
mixture_output(const struct mixture *m, int i)
{
	return m->y + (long)i * m->s.classes;
}

double
mixture_ce(const struct mixture *m, int i)
{
	return m->ce[i];
}

bool
mixture_clear(const struct mixture *m, int i)
{
	const float *p = m->p + (long)i * m->s.experts;
	const int first = mixture_choice(m, i)[0];
	float second = 0;

	for (int e = 0; e < m->s.experts; e++)
		second = e != first && p[e] > second ? p[e] : second;
	return p[first] - second > 0.1F;
}

double
mixture_entropy(const struct mixture *m, int i)
{
	const int E = m->s.experts;
	const float *p = m->p + (long)i * E;
	double sum = 0;

	for (int e = 0; e < E; e++)
		sum -= p[e] > 0 ? (double)p[e] * log((double)p[e]) : 0;
	return E > 1 ? sum / log(E) : 0;
}

/* --- forward --- */

static void
apply(const float *w, const float *b, long out, long in, const float *x, long n, bool relu,
      float *y)
{
	kern->nt(n, out, in, x, in, w, in, y, out, false);
	for (long i = 0; i < n; i++, y += out)
		for (long k = 0; k < out; k++) {
			y[k] += b[k];
			y[k] = relu && y[k] < 0 ? 0 : y[k];
		}
}

/* -log softmax(u)[label] in double. */
static double
cross_entropy(const float *u, int classes, int label)
{
	double top = -INFINITY, sum = 0;

	for (int c = 0; c < classes; c++)
		top = fmax(top, (double)u[c]);
	for (int c = 0; c < classes; c++)
		sum += exp((double)u[c] - top);
	/* cppcheck-suppress invalidFunctionArg ; the largest term of the sum is 1 */
	return log(sum) + top - (double)u[label];
}

/* Choose the K highest scores of z, the lowest expert among equals. */
static void
choose(const float *z, int experts, int k, int *choice)
{
	for (int r = 0; r < k; r++) {
		int best = -1;

		for (int e = 0; e < experts; e++) {
			bool taken = false;

			for (int i = 0; i < r; i++)
				taken |= choice[i] == e;
			if (!taken && (best < 0 || z[e] > z[best]))
				best = e;
		}
		choice[r] = best;
	}
}

static void
score_sample(struct mixture *m, const struct mixture_loss *loss, int i, uint64_t seed, long step)
{
	const int E = m->s.experts, D = m->s.width, K = m->s.top_k;
	const float *f = m->f + (long)i * D, t = (float)(1 / loss->temperature);
	float *z = m->z + (long)i * E, *p = m->p + (long)i * E, *g = m->g + (long)i * E, *draw;
	int *choice = m->choice + (long)i * K;
	double sum = 0;

	m->norm[i] = (float)sqrt(kern->sumsq(D, f)) + 1e-12f;
	for (int e = 0; e < E; e++) {
		float *near = m->near + (long)i * E + e;

		*near = kern->dot(D, f, m->prototypes + (long)e * D) / (m->norm[i] * m->length[e]);
		z[e] += (float)m->s.prototype * *near;
		p[e] = z[e] * t;
		sum = fmax(e ? sum : -INFINITY, (double)z[e]);
	}
	m->lse[i] = 0;
	for (int e = 0; e < E; e++)
		m->lse[i] += exp((double)z[e] - sum);
	/* cppcheck-suppress invalidFunctionArg ; the largest term of the sum is 1 */
	m->lse[i] = log(m->lse[i]) + sum;
	kern->softmax(E, p);
	draw = g;
	for (int e = 0; e < E; e++)
		draw[e] = m->bias.w ? z[e] * t + m->bias.w[e] : z[e];
	if (loss->random) {
		struct rng r = rng_at(seed, RNG_ROUTE, (uint64_t)step, (uint64_t)i);

		for (int e = 0; e < E; e++)
			draw[e] = (float)rng_uniform(&r);
	}
	choose(draw, E, K, choice);
	memset(g, 0, (size_t)E * sizeof *g);
	sum = 0;
	for (int r = 0; r < K; r++)
		sum += (double)p[choice[r]];
	for (int r = 0; r < K; r++) {
		const int e = choice[r];

		g[e] = loss->random ? 1 / (float)K : (float)((double)p[e] / sum);
		m->gate[(long)i * K + r] = g[e];
	}
}

static void
route(struct mixture *m, const struct mixture_loss *loss, uint64_t seed, long step)
{
	const long D = m->s.width;

	for (int e = 0; e < m->s.experts; e++)
		m->length[e] = (float)sqrt(kern->sumsq(D, m->prototypes + e * D)) + 1e-12f;
	for (int i = 0; i < m->n; i++)
		score_sample(m, loss, i, seed, step);
}

static void
mix_sample(struct mixture *m, const struct mixture_loss *loss, const uint16_t *label, int i)
{
	const int E = m->s.experts, C = m->s.classes;
	const float *g = m->g + (long)i * E, *u = m->u + (long)i * E * C;
	float *o = m->oracle + (long)i * E, *y = m->y + (long)i * C;

	memset(y, 0, (size_t)C * sizeof *y);
	for (int r = 0; r < m->s.top_k; r++) {
		const int e = mixture_choice(m, i)[r];

		kern->axpy(C, g[e], u + (long)e * C, y);
	}
	m->ce[i] = cross_entropy(y, C, label[i]);
	if (loss->weight[MIXTURE_ORACLE] == 0)
		return;
	for (int e = 0; e < E; e++) {
		const float *ue = u + (long)e * C;
		float part[3];

		kern->partition(C, ue, m->some_u, part);
		o[e] = (float)(((double)ue[label[i]] - (double)part[0] - log((double)part[1])) /
			       loss->tau);
	}
	kern->softmax(E, o);
}

/* The samples of the last forward that chose expert e: m->row[n]; n. */
static long
rows_of(struct mixture *m, int e)
{
	long n = 0;

	for (int i = 0; i < m->n; i++)
		for (int r = 0; r < m->s.top_k; r++)
			if (mixture_choice(m, i)[r] == e)
				m->row[n++] = i;
	return n;
}

/* some_f = the features of these samples. */
static void
gather_features(struct mixture *m, long n)
{
	const long D = m->s.width;

	for (long i = 0; i < n; i++)
		memcpy(m->some_f + i * D, m->f + m->row[i] * D, (size_t)D * sizeof(float));
}

/* u_e of the samples that chose e, for all e. */
static void
chosen_heads(struct mixture *m)
{
	const long E = m->s.experts, C = m->s.classes, D = m->s.width;

	for (int e = 0; e < E; e++) {
		const long n = rows_of(m, e);

		gather_features(m, n);
		apply(m->heads + e * C * D, m->biases + e * C, C, D, m->some_f, n, false,
		      m->some_u);
		for (long i = 0; i < n; i++)
			memcpy(m->u + (m->row[i] * E + e) * C, m->some_u + i * C,
			       (size_t)C * sizeof(float));
	}
}

/* Importance, carried weight and share of choices of each expert. */
static void
shares(struct mixture *m)
{
	const int E = m->s.experts, K = m->s.top_k;

	for (int e = 0; e < E; e++)
		m->P[e] = m->carried[e] = m->share[e] = 0;
	for (int i = 0; i < m->n; i++) {
		for (int e = 0; e < E; e++) {
			m->P[e] += (double)m->p[(long)i * E + e] / m->n;
			m->carried[e] += (double)m->g[(long)i * E + e] / m->n;
		}
		for (int r = 0; r < K; r++)
			m->share[mixture_choice(m, i)[r]] += 1.0 / ((double)m->n * K);
	}
}

static double
cosine(const float *a, const float *b, int n)
{
	const double aa = kern->sumsq(n, a), bb = kern->sumsq(n, b);

	return aa > 0 && bb > 0 ? (double)kern->dot(n, a, b) / sqrt(aa * bb) : 0;
}

/* The mean over pairs of chosen experts of the positive part of their outputs' cosine. */
static double
likeness(const struct mixture *m, int i)
{
	const int C = m->s.classes, K = m->s.top_k, *choice = mixture_choice(m, i);
	const float *u = m->u + (long)i * m->s.experts * C;
	double sum = 0;

	for (int a = 0; a < K; a++)
		for (int b = 0; b < a; b++)
			sum += fmax(0, cosine(u + (long)choice[a] * C, u + (long)choice[b] * C, C));
	return K > 1 ? 2 * sum / (K * (K - 1.0)) : 0;
}

static void
stat_terms(struct mixture *m, const struct mixture_loss *loss, struct mixture_stat *out)
{
	const int E = m->s.experts, D = m->s.width;
	const double nats = loss->normalised && E > 1 ? 1 / log(E) : 1,
		     squares = loss->normalised ? (double)E * E : 1;
	double *raw = out->raw, kl = 0, variance = 0;

	shares(m);
	for (int i = 0; i < m->n; i++) {
		const float *p = m->p + (long)i * E, *o = m->oracle + (long)i * E;

		for (int e = 0; e < E; e++) {
			const double pe = fmax((double)p[e], 1e-30), oe = fmax((double)o[e], 1e-30);

			raw[MIXTURE_ENTROPY] -= pe * log(pe) / m->n;
			if (loss->weight[MIXTURE_ORACLE] != 0)
				raw[MIXTURE_ORACLE] += oe * log(oe / pe) / m->n;
		}
		raw[MIXTURE_DIVERGENCE] += likeness(m, i) / m->n;
		raw[MIXTURE_Z] += m->lse[i] * m->lse[i] / m->n;
	}
	for (int e = 0; e < E; e++) {
		kl += m->P[e] * log(fmax(m->P[e] * E, 1e-30));
		variance += (m->carried[e] - 1.0 / E) * (m->carried[e] - 1.0 / E) / E;
		raw[MIXTURE_LOAD] += E * m->share[e] * m->P[e];
		for (int k = 0; k < e; k++)
			raw[MIXTURE_ORTHO] += pow(cosine(m->prototypes + (long)e * D,
							 m->prototypes + (long)k * D, D),
						  2) *
					      2 / ((double)E * (E - 1));
	}
	raw[MIXTURE_BALANCE] = kl + variance;
	for (int t = 0; t < MIXTURE_TERMS; t++)
		out->cost[t] = loss->weight[t] * raw[t];
	out->cost[MIXTURE_ENTROPY] *= out->cost[MIXTURE_ENTROPY] != 0 ? -nats : 0;
	out->cost[MIXTURE_ORACLE] *= nats;
	out->cost[MIXTURE_BALANCE] =
		loss->weight[MIXTURE_BALANCE] * (nats * kl + squares * variance);
}

void
mixture_forward(struct mixture *m, const struct mixture_loss *loss, const float *x,
		const uint16_t *label, int n, uint64_t seed, long step, struct mixture_stat *out)
{
	const struct mixture_shape *s = &m->s;
	const int E = s->experts, C = s->classes;

	*out = (struct mixture_stat){0};
	m->n = n;
	if (E) {
		apply(m->feature.w.w, m->feature.b.w, s->width, s->features, x, n, true, m->f);
		apply(m->hidden.w.w, m->hidden.b.w, s->router, s->width, m->f, n, true, m->h);
		apply(m->score.w.w, m->score.b.w, E, s->router, m->h, n, false, m->z);
		route(m, loss, seed, step);
		if (loss->weight[MIXTURE_ORACLE] != 0)
			apply(m->heads, m->biases, (long)E * C, s->width, m->f, n, false, m->u);
		else
			chosen_heads(m);
	} else {
		apply(m->heads, m->biases, C, s->features, x, n, false, m->y);
	}
	for (int i = 0; i < n; i++) {
		const float *y = m->y + (long)i * C;
		int best = 0;

		if (E)
			mix_sample(m, loss, label, i);
		else
			m->ce[i] = cross_entropy(y, C, label[i]);
		for (int c = 1; c < C; c++)
			best = y[c] > y[best] ? c : best;
		out->right += best == label[i];
		out->ce += m->ce[i] / n;
	}
	if (E)
		stat_terms(m, loss, out);
	out->total = out->ce;
	for (int t = 0; t < MIXTURE_TERMS; t++)
		out->total += out->cost[t];
}

/* --- back --- */

/* dW += dy^T x, db += sum dy; dx = dy W, or += with add. */
static void
back(const float *w, float *dw, float *db, long out, long in, const float *x, const float *dy,
     long n, float *dx, bool add)
{
	kern->tn(out, in, n, dy, out, x, in, dw, in, true);
	for (long i = 0; i < n; i++)
		kern->axpy(out, 1, dy + i * out, db);
	kern->nn(n, in, out, dy, out, w, in, dx, in, add);
}

static void
through_relu(const float *y, float *dy, long n)
{
	for (long i = 0; i < n; i++)
		dy[i] = y[i] > 0 ? dy[i] : 0;
}

/* d cos(a, b) / d a = (b / |b| - cos a / |a|) / |a|, times weight, onto da. */
static void
cosine_back(const float *a, const float *b, int n, double weight, float *da)
{
	const double aa = kern->sumsq(n, a), bb = kern->sumsq(n, b);

	if (aa == 0 || bb == 0)
		return;
	kern->axpy(n, (float)(weight / sqrt(aa * bb)), b, da);
	kern->axpy(n, (float)(-weight * cosine(a, b, n) / aa), a, da);
}

/* The gradient of the outputs of sample i, and through its weights that of p: dp [E]. */
static void
mix_back(struct mixture *m, const struct mixture_loss *loss, int label, int i, double *dp)
{
	const int E = m->s.experts, C = m->s.classes, K = m->s.top_k,
		  *choice = mixture_choice(m, i);
	const double squares = loss->normalised ? (double)E * E : 1,
		     even = loss->weight[MIXTURE_BALANCE] * squares * 2 / ((double)E * m->n),
		     apart = K > 1 ? loss->weight[MIXTURE_DIVERGENCE] * 2 /
					     ((double)K * (K - 1) * m->n)
				   : 0;
	const float *u = m->u + (long)i * E * C, *g = m->g + (long)i * E;
	float *du = m->du + (long)i * K * C, *dy = m->y + (long)i * C;
	double dg[64], mean = 0, chosen = 0;

	kern->softmax(C, dy); /* y is no longer needed */
	dy[label] -= 1;
	kern->scale(C, 1 / (float)m->n, dy, dy);
	for (int r = 0; r < K; r++) {
		const int e = choice[r];

		kern->scale(C, g[e], dy, du + (long)r * C);
		dg[r] = (double)kern->dot(C, dy, u + (long)e * C) +
			even * (m->carried[e] - 1.0 / E);
		mean += (double)g[e] * dg[r];
		chosen += (double)m->p[(long)i * E + e];
	}
	for (int a = 0; apart != 0 && a < K; a++)
		for (int b = 0; b < K; b++) {
			const float *ua = u + (long)choice[a] * C, *ub = u + (long)choice[b] * C;

			if (a != b && cosine(ua, ub, C) > 0)
				cosine_back(ua, ub, C, apart, du + (long)a * C);
		}
	for (int r = 0; !loss->random && r < K; r++)
		dp[choice[r]] += (dg[r] - mean) / chosen;
}

/* The gradient of the scores of sample i. */
static void
score_back(struct mixture *m, const struct mixture_loss *loss, int label, int i)
{
	const int E = m->s.experts;
	const double nats = loss->normalised && E > 1 ? 1 / log(E) : 1, *w = loss->weight;
	const float *p = m->p + (long)i * E, *o = m->oracle + (long)i * E, *z = m->z + (long)i * E;
	float *dz = m->dz + (long)i * E;
	double *dp = m->dp, mean = 0;

	memset(dp, 0, (size_t)E * sizeof *dp);
	mix_back(m, loss, label, i, dp);
	for (int e = 0; !loss->random && e < E; e++) {
		const double pe = fmax((double)p[e], 1e-30);

		dp[e] += w[MIXTURE_ENTROPY] * nats * (log(pe) + 1) / m->n;
		dp[e] += w[MIXTURE_BALANCE] * nats * (log(fmax(m->P[e] * E, 1e-30)) + 1) / m->n;
		dp[e] += w[MIXTURE_LOAD] * E * m->share[e] / m->n;
		if (w[MIXTURE_ORACLE] != 0)
			dp[e] -= w[MIXTURE_ORACLE] * nats * (double)o[e] / pe / m->n;
		mean += (double)p[e] * dp[e];
	}
	for (int e = 0; e < E; e++) {
		dz[e] = loss->random ? 0
				     : (float)((double)p[e] * (dp[e] - mean) / loss->temperature);
		if (!loss->random)
			dz[e] += (float)(w[MIXTURE_Z] * 2 * m->lse[i] *
					 exp((double)z[e] - m->lse[i]) / m->n);
	}
}

/*
 * Through s cos(f, p_e) of all: with a = s dz / (|f| |p|) and c the cosine,
 *	df += a p - s dz c / |f|^2 f		dp += a f - s dz c / |p|^2 p
 */
static void
prototype_back(struct mixture *m)
{
	const long E = m->s.experts, D = m->s.width;
	float *a = m->near;

	if (m->s.prototype == 0)
		return;
	for (long e = 0; e < E; e++) {
		double own = 0;

		for (int i = 0; i < m->n; i++)
			own += m->s.prototype * (double)m->dz[i * E + e] * (double)a[i * E + e];
		own /= (double)m->length[e] * (double)m->length[e];
		kern->axpy(D, (float)-own, m->prototypes + e * D, m->dprototypes + e * D);
	}
	for (int i = 0; i < m->n; i++) {
		double own = 0;

		for (long e = 0; e < E; e++) {
			const double d = m->s.prototype * (double)m->dz[i * E + e];

			own += d * (double)a[i * E + e];
			a[i * E + e] = (float)(d / ((double)m->norm[i] * (double)m->length[e]));
		}
		own /= (double)m->norm[i] * (double)m->norm[i];
		kern->axpy(D, (float)-own, m->f + i * D, m->df + i * D);
	}
	kern->tn(E, D, m->n, a, E, m->f, D, m->dprototypes, D, true);
	kern->nn(m->n, D, E, a, E, m->prototypes, D, m->df, D, true);
}

static void
ortho_back(struct mixture *m, double weight)
{
	const int E = m->s.experts, D = m->s.width;

	for (int a = 0; weight != 0 && a < E; a++)
		for (int b = 0; b < E; b++) {
			const float *pa = m->prototypes + (long)a * D,
				    *pb = m->prototypes + (long)b * D;

			if (a != b)
				cosine_back(pa, pb, D,
					    weight * 4 * cosine(pa, pb, D) / ((double)E * (E - 1)),
					    m->dprototypes + (long)a * D);
		}
}

static void
plain_back(struct mixture *m, const float *x, const uint16_t *label, float *dx)
{
	const int C = m->s.classes;

	for (int i = 0; i < m->n; i++) {
		float *dy = m->y + (long)i * C;

		kern->softmax(C, dy);
		dy[label[i]] -= 1;
		kern->scale(C, 1 / (float)m->n, dy, dy);
	}
	back(m->heads, m->dheads, m->dbiases, C, m->s.features, x, m->y, m->n, dx, false);
}

/* Through the heads, each with the samples that chose it: df is set. */
static void
heads_back(struct mixture *m)
{
	const long C = m->s.classes, D = m->s.width, K = m->s.top_k;

	memset(m->df, 0, (size_t)(m->n * D) * sizeof *m->df);
	for (int e = 0; e < m->s.experts; e++) {
		const long n = rows_of(m, e);

		gather_features(m, n);
		for (long i = 0; i < n; i++) {
			const int *choice = mixture_choice(m, m->row[i]);
			long r = 0;

			while (choice[r] != e)
				r++;
			memcpy(m->some_u + i * C, m->du + (m->row[i] * K + r) * C,
			       (size_t)C * sizeof(float));
		}
		back(m->heads + e * C * D, m->dheads + e * C * D, m->dbiases + e * C, C, D,
		     m->some_f, m->some_u, n, m->some_df, false);
		for (long i = 0; i < n; i++)
			kern->axpy(D, 1, m->some_df + i * D, m->df + m->row[i] * D);
	}
}

void
mixture_back(struct mixture *m, const struct mixture_loss *loss, const float *x,
	     const uint16_t *label, float *dx)
{
	const struct mixture_shape *s = &m->s;
	const long E = s->experts, n = m->n, D = s->width;

	if (!E) {
		plain_back(m, x, label, dx);
		return;
	}
	for (int i = 0; i < n; i++)
		score_back(m, loss, label[i], i);
	heads_back(m);
	back(m->score.w.w, m->score.w.g, m->score.b.g, E, s->router, m->h, m->dz, n, m->dh, false);
	through_relu(m->h, m->dh, n * s->router);
	back(m->hidden.w.w, m->hidden.w.g, m->hidden.b.g, s->router, D, m->f, m->dh, n, m->df,
	     true);
	prototype_back(m);
	ortho_back(m, loss->weight[MIXTURE_ORTHO]);
	through_relu(m->f, m->df, n * D);
	back(m->feature.w.w, m->feature.w.g, m->feature.b.g, D, s->features, x, m->df, n, dx,
	     false);
}

void
mixture_move_bias(struct mixture *m, double rate)
{
	const int E = m->s.experts;
	double sum = 0;

	for (int e = 0; e < E; e++) {
		const double d = 1.0 / E - m->share[e];

		m->bias.w[e] += (float)(rate * ((d > 0) - (d < 0)));
		sum += (double)m->bias.w[e];
	}
	for (int e = 0; e < E; e++)
		m->bias.w[e] -= (float)(sum / E);
}
