#include "pool/gravity.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "math/kern.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXPERTS = 16 /* of a task */ };

void
gravity_init(struct gravity *g)
{
	*g = (struct gravity){.alpha = 0.015,
			      .beta = 0.001,
			      .delta = 0.005,
			      .theta = 0.05,
			      .rho = 0.995,
			      .least = 0.1,
			      .noise = 0.01,
			      .warmup = 200};
}

#define ROW(...) OPT_ROW(struct gravity, __VA_ARGS__)
static const struct opt rows[] = {
	ROW("alpha", OPT_REAL, alpha, 0, 1e6, "RATE", "attraction of keys to queries"),
	ROW("beta", OPT_REAL, beta, 0, 1e6, "RATE", "peer-pull between keys chosen together"),
	ROW("delta", OPT_REAL, delta, 0, 1, "RATE", "forgetting: what a key loses of its length"),
	ROW("theta", OPT_REAL, theta, 0, 1, "SHARE", "quantile of usage below which keys forget"),
	ROW("rho", OPT_REAL, rho, 0, 1, "RATE", "memory of usage"),
	ROW("key-warmup", OPT_LONG, warmup, 0, 1L << 40, "STEPS", "before forgetting begins"),
	ROW("rebirth", OPT_REAL, least, 0, 1, "LENGTH", "shorter keys are reborn"),
	ROW("attraction", OPT_ENUM, attraction, 0, 0, "sum|mean",
	    "to each query, or to their mean with usage in fair shares"),
	ROW("key-norm", OPT_ENUM, length, 0, 0, "clamp|sphere",
	    "keys have length 1 at most, or always"),
	ROW("no-inertia", OPT_FLAG, no_inertia, 0, 1, NULL, "usage slows nothing"),
};

int
gravity_rows(struct opt *row, size_t at)
{
	_Static_assert(sizeof rows / sizeof *rows == GRAVITY_ROWS,
		       "GRAVITY_ROWS is not their number");
	return opt_rows(row, rows, GRAVITY_ROWS, at);
}

struct step {
	const struct gravity *g;
	struct gravity_keys *keys;
	const struct gravity_batch *batch;
	long number;
	uint64_t seed;
	int layer;
	long *begin;				     /* [n + 1] of token, by expert */
	long *token;				     /* [pairs] the tokens of an expert, in order */
	float *next;				     /* [n][d] */
	double *moved;				     /* [n] distance */
	unsigned char *clamped, *forgotten, *reborn; /* [n] */
	double faint;				     /* below this usage an expert forgets */
	long *real;				     /* [reals] the tokens that are no padding */
	long reals;
};

static double
length(const float *x, long d)
{
	double s = 0;

	for (long j = 0; j < d; j++)
		s += (double)x[j] * (double)x[j];
	return sqrt(s);
}

/* ---- usage ---- */

/* The tokens of each expert, in order. */
static void
gather(struct step *s)
{
	const struct gravity_batch *b = s->batch;
	const long n = s->keys->n;

	for (long t = 0; t < b->tokens; t++) {
		if (b->real && !b->real[t])
			continue;
		s->real[s->reals++] = t;
		for (int r = 0; r < b->k; r++)
			if (b->choice[t * b->k + r] >= 0)
				s->begin[b->choice[t * b->k + r] + 1]++;
	}
	for (long i = 0; i < n; i++)
		s->begin[i + 1] += s->begin[i];
	for (long i = 0; i < s->reals; i++)
		for (int r = 0; r < b->k; r++) {
			const int e = b->choice[s->real[i] * b->k + r];
			if (e >= 0)
				s->token[s->begin[e]++] = s->real[i];
		}
	memmove(s->begin + 1, s->begin, (size_t)n * sizeof *s->begin);
	s->begin[0] = 0;
}

static void
use(const struct step *s)
{
	const long n = s->keys->n, pairs = s->begin[n];
	const double share =
		s->g->attraction == GRAVITY_MEAN && pairs ? (double)n / (double)pairs : 1;

	for (long i = 0; i < n; i++) {
		const double now = (double)(s->begin[i + 1] - s->begin[i]) * share;
		s->keys->usage[i] =
			(float)(s->g->rho * (double)s->keys->usage[i] + (1 - s->g->rho) * now);
	}
}

static int
by_size(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* The theta-quantile of the usages above 0, 0 if there are none. */
static double
quantile(const struct step *s)
{
	float *u = mem_zero((size_t)s->keys->n, sizeof *u);
	double q = 0;
	long n = 0;

	for (long i = 0; i < s->keys->n; i++)
		if (s->keys->usage[i] > 0)
			u[n++] = s->keys->usage[i];
	qsort(u, (size_t)n, sizeof *u, by_size);
	if (n) {
		const double at = s->g->theta * (double)(n - 1);
		const long low = (long)at, high = low + 1 < n ? low + 1 : low;
		q = (double)u[low] + (at - (double)low) * ((double)u[high] - (double)u[low]);
	}
	free(u);
	return q;
}

/* ---- forces ---- */

static double
inertia(const struct step *s, long expert)
{
	return s->g->no_inertia ? 1 : 1 + (double)s->keys->usage[expert];
}

/* sum_x w_x (x - k) = sum_x w_x x - (sum_x w_x) k */
static void
forces(const struct step *s, long i, double *sum)
{
	const struct gravity_batch *b = s->batch;
	const long d = s->keys->d, tokens = s->begin[i + 1] - s->begin[i];
	const float *key = s->keys->key;
	const double attract = s->g->alpha / inertia(s, i) /
			       (s->g->attraction == GRAVITY_MEAN ? (double)tokens : 1);
	double weight = 0;

	for (long p = s->begin[i]; p < s->begin[i + 1]; p++) {
		const long t = s->token[p];
		kern->axpy64(d, attract, b->query + t * d, sum);
		weight += attract;
		for (int r = 0; r < b->k && s->g->beta > 0; r++) {
			const int j = b->choice[t * b->k + r];
			if (j < 0 || j == i)
				continue;
			const double peer = s->g->beta / fmax(inertia(s, i), inertia(s, j));
			kern->axpy64(d, peer, key + j * d, sum);
			weight += peer;
		}
	}
	kern->axpy64(d, -weight, key + i * d, sum);
}

/* ---- lengths ---- */

static void
to_length_one(float *x, long d, double norm)
{
	for (long j = 0; j < d; j++)
		x[j] = (float)((double)x[j] / norm);
}

static void
rebirth(const struct step *s, long i, float *x)
{
	const long d = s->keys->d;
	struct rng r = rng_at(s->seed, RNG_MUTATE, (uint64_t)s->number,
			      (uint64_t)s->layer << 32 | (uint64_t)i);
	const float *q = s->batch->query + s->real[rng_below(&r, (uint64_t)s->reals)] * d;

	for (long j = 0; j < d; j++)
		x[j] = (float)((double)q[j] + s->g->noise * rng_normal(&r));
	const double norm = length(x, d);
	if (norm > 0)
		to_length_one(x, d, norm);
	s->reborn[i] = 1;
}

static void
move(void *arg, long task, int worker)
{
	const struct step *s = arg;
	const long d = s->keys->d, n = s->keys->n;
	const long to = (task + 1) * EXPERTS < n ? (task + 1) * EXPERTS : n;
	double *sum = task_scratch(worker, (size_t)d * sizeof *sum);

	for (long i = task * EXPERTS; i < to; i++) {
		const float *k = s->keys->key + i * d;
		float *x = s->next + i * d;
		memset(sum, 0, (size_t)d * sizeof *sum);
		forces(s, i, sum);
		for (long j = 0; j < d; j++)
			x[j] = (float)((double)k[j] + sum[j]);
		const double norm = length(x, d);
		if (norm > 1 || (s->g->length == GRAVITY_SPHERE && norm > 0)) {
			s->clamped[i] = norm > 1;
			to_length_one(x, d, norm);
		}
		if (s->number > s->g->warmup && (double)s->keys->usage[i] < s->faint &&
		    s->g->delta > 0) {
			s->forgotten[i] = 1;
			for (long j = 0; j < d && s->g->length == GRAVITY_CLAMP; j++)
				x[j] = (float)((double)x[j] * (1 - s->g->delta));
		}
		if (s->reals && length(x, d) < s->g->least)
			rebirth(s, i, x);
		for (long j = 0; j < d; j++)
			s->moved[i] +=
				((double)x[j] - (double)k[j]) * ((double)x[j] - (double)k[j]);
	}
}

void
gravity_step(const struct gravity *g, struct gravity_keys *k, const struct gravity_batch *b,
	     long step, uint64_t seed, int layer, struct gravity_done *done)
{
	const size_t n = (size_t)k->n, pairs = (size_t)b->tokens * (size_t)b->k;
	struct step s = {.g = g,
			 .keys = k,
			 .batch = b,
			 .number = step,
			 .seed = seed,
			 .layer = layer,
			 .begin = mem_zero(n + 1, sizeof *s.begin),
			 .token = mem_zero(pairs, sizeof *s.token),
			 .next = mem_zero(n, (size_t)k->d * sizeof *s.next),
			 .moved = mem_zero(n, sizeof *s.moved),
			 .clamped = mem_zero(n, 1),
			 .forgotten = mem_zero(n, 1),
			 .reborn = mem_zero(n, 1),
			 .real = mem_zero((size_t)b->tokens, sizeof *s.real)};

	gather(&s);
	use(&s);
	s.faint = quantile(&s);
	task_run((k->n + EXPERTS - 1) / EXPERTS, move, &s);
	memcpy(k->key, s.next, n * (size_t)k->d * sizeof *k->key);
	*done = (struct gravity_done){0};
	for (long i = 0; i < k->n; i++) {
		done->clamped += s.clamped[i];
		done->forgotten += s.forgotten[i];
		done->reborn += s.reborn[i];
		done->farthest = fmax(done->farthest, sqrt(s.moved[i]) * (1 + 1e-7));
		if (s.reborn[i]) {
			k->usage[i] = 0;
			k->born[i] = step;
		}
	}
	free(s.begin);
	free(s.token);
	free(s.next);
	free(s.moved);
	free(s.clamped);
	free(s.forgotten);
	free(s.reborn);
	free(s.real);
}

size_t
gravity_bytes(long n, long d, long tokens, int k)
{
	const size_t keys = (size_t)n * ((size_t)d * sizeof(float) + sizeof(double) + 3);
	const size_t pairs = (size_t)tokens * (size_t)(k + 1) + (size_t)n + 1;

	return keys + pairs * sizeof(long);
}
