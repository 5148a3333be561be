#include "offload/hazard.h"
#include "base/mem.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORIES = 3, PAIR_BYTES = 1 << 28, LONGEST = 200 };

/* Features of an item. */
enum { ONE, FREQUENT, FOLLOWS = FREQUENT + MEMORIES, USED, CHOICE, USED_BEFORE, AGE, FEATURES };

/* Where learning begins: near what it comes to on traces of two models, rounded. */
static const float start[FEATURES] = {
	[ONE] = -.2F,	       [FREQUENT] = .05F,   [FREQUENT + 1] = .1F,
	[FREQUENT + 2] = .15F, [FOLLOWS] = .4F,	    [USED] = .3F,
	[CHOICE] = .3F,	       [USED_BEFORE] = .2F, [AGE] = -.1F};
static const float keep[MEMORIES] = {.8F, .93F, .985F};

static const float rate = .008F; /* of learning, on the mean gradient over a layer's experts */
static const float prior = 1;	 /* how many observations a frequency weighs among pairs' */
/* An expert that was expected and stayed away comes back less often than it used to come. */
static const float later_share = .4F;
/* Each frequency is mixed with that much of the layer's mean: none is 0 or 1. */
static const float mixed = .02F;

struct layer {
	long first, n;
	long turns;
	float weight[MEMORIES]; /* of all turns, as each memory keeps them */
	float uses;		/* of all experts in all turns */
	float *pair;		/* [n][n] turns in which b followed a; NULL: not kept */
	float *followed;	/* [n] turns that followed one with a */
	uint32_t *last;		/* [n] the experts of the last turn, the first `used` */
	long used;
};

struct hazard {
	int depth;
	struct layer *layer;
	float w[FEATURES];
	float *x[FEATURES]; /* [items] each, as the last prediction saw them */
	float *memory[MEMORIES];
	float *next, *later;	/* [items] */
	uint32_t *when;		/* [items] the turn of the last use, from 1; 0: none */
	float age[LONGEST + 1]; /* .3 ln(1 + turns) */
	float *y;		/* [most experts of a layer] 1: used in this turn */
};

/* --- mathematics, the same bits everywhere --- */

/* ln x = e ln 2 + 2 (s + s^3/3 + s^5/5 + s^7/7), s = (m - 1) / (m + 1), x = m 2^e > 0 */
static inline float
ln(float x)
{
	union {
		float f;
		int32_t i;
	} u = {x};
	const int32_t e = (u.i - 0x3f3504f3) >> 23; /* m in [sqrt 1/2, sqrt 2) */
	float s, q;

	u.i -= (int32_t)((uint32_t)e << 23);
	s = (u.f - 1) / (u.f + 1);
	q = s * s;
	return (float)e * .69314718F + 2 * s * (1 + q * (1.F / 3 + q * (.2F + q * (1.F / 7))));
}

/* e^x = 2^n e^r, |r| <= ln 2 / 2, for |x| < 80 */
static inline float
exponential(float x)
{
	const int32_t n = (int32_t)(x * 1.44269504F + 128.5F) - 128;
	const float r = x - (float)n * .69314718F;
	union {
		int32_t i;
		float f;
	} u = {(int32_t)((uint32_t)(n + 127) << 23)};

	return u.f * (1 + r * (1 + r * (.5F + r * (1.F / 6 + r * (1.F / 24 + r / 120)))));
}

static inline float
odds(float p)
{
	return ln(p / (1 - p));
}

/* |z| up to 15, compared as whole numbers, which compilers do for many at a time. */
static inline float
logistic(float z)
{
	union {
		float f;
		uint32_t i;
	} u = {z}, most = {15};
	const uint32_t sign = u.i & 0x80000000U;

	u.i &= 0x7fffffffU;
	u.i = (u.i < most.i ? u.i : most.i) | sign;
	return 1 / (1 + exponential(-u.f));
}

/* --- learning --- */

/* w += rate * mean over the layer's experts of (y - p) x */
static void
correct(struct hazard *h, const struct layer *l)
{
	const float *p = h->next + l->first;
	float gradient[FEATURES];

	for (int f = 0; f < FEATURES; f++) {
		const float *x = h->x[f] + l->first;
		float part[8] = {
			0}; /* eight sums in a fixed order, for the compiler to put side by side */
		long e = 0;
		for (; e + 8 <= l->n; e += 8)
			for (int k = 0; k < 8; k++)
				part[k] += (h->y[e + k] - p[e + k]) * x[e + k];
		for (; e < l->n; e++)
			part[0] += (h->y[e] - p[e]) * x[e];
		gradient[f] = ((part[0] + part[1]) + (part[2] + part[3])) +
			      ((part[4] + part[5]) + (part[6] + part[7]));
	}
	for (int f = 0; f < FEATURES; f++)
		h->w[f] += rate / (float)l->n * gradient[f];
}

static void
count_pairs(struct layer *l, const uint32_t *item, long n)
{
	for (long i = 0; l->pair && i < l->used; i++) {
		float *row = l->pair + l->last[i] * l->n;
		for (long k = 0; k < n; k++)
			row[item[k] - l->first]++;
		l->followed[l->last[i]]++;
	}
	l->used = n;
	for (long k = 0; k < n; k++)
		l->last[k] = (uint32_t)(item[k] - l->first);
}

static void
count_uses(struct hazard *h, struct layer *l, const uint32_t *item, long n)
{
	l->turns++;
	l->uses += (float)n;
	for (int m = 0; m < MEMORIES; m++) {
		float *memory = h->memory[m] + l->first;
		for (long e = 0; e < l->n; e++)
			memory[e] = memory[e] * keep[m] + h->y[e];
		l->weight[m] = l->weight[m] * keep[m] + 1;
	}
	for (long k = 0; k < n; k++)
		h->when[item[k]] = (uint32_t)l->turns;
}

/* --- features --- */

/* The mean use of an expert of the layer, kept from 0 and 1. */
static float
base_rate(const struct layer *l)
{
	const float all = (float)l->turns * (float)l->n;

	return (l->uses + .5F) / (all + 1);
}

static void
frequencies(struct hazard *h, const struct layer *l, float base)
{
	const float from = odds(base);

	for (int m = 0; m < MEMORIES; m++) {
		const float *memory = h->memory[m] + l->first;
		float *x = h->x[FREQUENT + m] + l->first;
		const float scale = (1 - mixed) / l->weight[m];
		for (long e = 0; e < l->n; e++)
			x[e] = odds(memory[e] * scale + mixed * base) - from;
	}
}

/*
 * P(b | a) = (pairs(a, b) + prior * frequency(b)) / (followed(a) + prior), and of that the mean
 * over the experts a of the turn.
 */
static void
followers(struct hazard *h, const struct layer *l, float base)
{
	const float *memory = h->memory[MEMORIES - 1] + l->first;
	const float from = odds(base);
	float *x = h->x[FOLLOWS] + l->first, sum = 0;

	if (!l->pair || !l->used)
		return;
	memset(x, 0, (size_t)l->n * sizeof *x);
	for (long i = 0; i < l->used; i++) {
		const float *row = l->pair + l->last[i] * l->n;
		const float scale = 1 / (l->followed[l->last[i]] + prior) / (float)l->used;
		for (long e = 0; e < l->n; e++)
			x[e] += row[e] * scale;
		sum += scale;
	}
	sum *= prior / l->weight[MEMORIES - 1];
	for (long e = 0; e < l->n; e++)
		x[e] = odds((x[e] + memory[e] * sum) * (1 - mixed) + mixed * base) - from;
}

static void
recency(struct hazard *h, const struct layer *l, const uint32_t *item, long n)
{
	float *age = h->x[AGE] + l->first, *before = h->x[USED_BEFORE] + l->first;
	const uint32_t *when = h->when + l->first;

	for (long e = 0; e < l->n; e++) {
		const uint32_t turns = when[e] ? (uint32_t)l->turns - when[e] : LONGEST;
		age[e] = h->age[turns < LONGEST ? turns : LONGEST];
		before[e] = turns == 1 ? 1 : 0;
	}
	memcpy(h->x[USED] + l->first, h->y, (size_t)l->n * sizeof *h->y);
	memset(h->x[CHOICE] + l->first, 0, (size_t)l->n * sizeof **h->x);
	for (long k = 0; k < n; k++)
		h->x[CHOICE][item[k]] = 1 - (float)k / (float)n;
}

static void
predict(struct hazard *h, const struct layer *l, float base)
{
	const float from = odds(base) + h->w[ONE];
	float *p = h->next + l->first, *q = h->later + l->first;
	const float *slow = h->memory[2] + l->first, *fast = h->memory[1] + l->first;
	const float of_slow = .5F * later_share / l->weight[2];
	const float of_fast = .5F * later_share / l->weight[1];

	for (long e = 0; e < l->n; e++)
		p[e] = from;
	for (int f = ONE + 1; f < FEATURES; f++) {
		const float *x = h->x[f] + l->first, w = h->w[f];
		for (long e = 0; e < l->n; e++)
			p[e] += w * x[e];
	}
	for (long e = 0; e < l->n; e++) {
		p[e] = logistic(p[e]);
		q[e] = (slow[e] * of_slow + fast[e] * of_fast) * (1 - mixed) + mixed * base;
	}
}

void
hazard_turn(struct hazard *h, int layer, const uint32_t *item, long n)
{
	struct layer *l = &h->layer[layer];
	float base;

	memset(h->y, 0, (size_t)l->n * sizeof *h->y);
	for (long k = 0; k < n; k++)
		h->y[item[k] - l->first] = 1;
	if (l->turns)
		correct(h, l);
	count_pairs(l, item, n);
	count_uses(h, l, item, n);
	base = base_rate(l);
	frequencies(h, l, base);
	followers(h, l, base);
	recency(h, l, item, n);
	predict(h, l, base);
}

const float *
hazard_next(const struct hazard *h)
{
	return h->next;
}

const float *
hazard_later(const struct hazard *h)
{
	return h->later;
}

/* --- the whole --- */

static float *
floats(long n)
{
	return mem_zero((size_t)n, sizeof(float));
}

struct hazard *
hazard_new(int depth, const long *first)
{
	struct hazard *h = mem_zero(1, sizeof *h);
	const long items = first[depth];
	double pairs = 0;
	long most = 0;

	h->depth = depth;
	h->layer = mem_zero((size_t)depth, sizeof *h->layer);
	for (int l = 0; l < depth; l++) {
		const long n = first[l + 1] - first[l];
		h->layer[l] = (struct layer){.first = first[l], .n = n};
		most = n > most ? n : most;
		pairs += (double)n * (double)n;
	}
	for (int l = 0; l < depth; l++) {
		struct layer *v = &h->layer[l];
		v->last = mem_zero((size_t)v->n, sizeof *v->last);
		if (pairs * sizeof(float) > PAIR_BYTES)
			continue;
		v->pair = floats(v->n * v->n);
		v->followed = floats(v->n);
	}
	memcpy(h->w, start, sizeof start);
	for (int i = 0; i <= LONGEST; i++)
		h->age[i] = .3F * ln((float)(1 + i));
	for (int f = 0; f < FEATURES; f++)
		h->x[f] = floats(items);
	for (long i = 0; i < items; i++)
		h->x[ONE][i] = 1;
	for (int m = 0; m < MEMORIES; m++)
		h->memory[m] = floats(items);
	h->next = floats(items);
	h->later = floats(items);
	h->when = mem_zero((size_t)items, sizeof *h->when);
	h->y = floats(most);
	return h;
}

void
hazard_free(struct hazard *h)
{
	if (!h)
		return;
	for (int l = 0; l < h->depth; l++) {
		free(h->layer[l].pair);
		free(h->layer[l].followed);
		free(h->layer[l].last);
	}
	for (int f = 0; f < FEATURES; f++)
		free(h->x[f]);
	for (int m = 0; m < MEMORIES; m++)
		free(h->memory[m]);
	free(h->layer);
	free(h->next);
	free(h->later);
	free(h->when);
	free(h->y);
	free(h);
}
