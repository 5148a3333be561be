#include "offload/chance.h"
#include <math.h>
#include <string.h>

enum { LANES = 16 };

static const float keep[CHANCE_MEMORIES] = {.8F, .93F, .985F};
static const float rate = .008F; /* of learning, on the mean gradient over a layer's experts */
static const float prior = 1;	 /* how many observations a frequency weighs among pairs' */
/* An expert that was expected and stayed away comes back less often than it used to come. */
static const float later_share = .4F;
/* Each frequency is mixed with that much of the layer's mean: none is 0 or 1. */
static const float mixed = .02F;

/* --- mathematics --- */

union bits {
	float f;
	int32_t i;
};

/* ln x = e ln 2 + ln(1 + z), x = (1 + z) 2^e > 0, z in [sqrt 1/2, sqrt 2) - 1: 3e-6 off at most */
static inline float
ln(float x)
{
	union bits u = {x};
	const int32_t e = (u.i - 0x3f3504f3) >> 23;
	float z;

	u.i -= (int32_t)((uint32_t)e << 23);
	z = u.f - 1;
	return (float)e * .69314718F +
	       z * (1.0000037F +
		    z * (-.4998948F + z * (.33265906F + z * (-.25433361F +
							     z * (.21965708F + z * -.14021623F)))));
}

/*
 * Of a frequency, which rounding can bring to 1 and above.  Here and below floats are compared as
 * whole numbers, which compilers do for many at a time.
 */
static inline float
odds(float p)
{
	static const union bits most = {1 - 0x1p-20F};
	union bits q = {p};

	q.i = q.i < most.i ? q.i : most.i;
	return ln(q.f) - ln(1 - q.f);
}

/* e^x = 2^n e^r, |r| <= ln 2 / 2, for |x| < 80 */
static inline float
exponential(float x)
{
	const int32_t n = (int32_t)(x * 1.44269504F + 128.5F) - 128;
	const float r = x - (float)n * .69314718F;
	const union bits u = {.i = (int32_t)((uint32_t)(n + 127) << 23)};

	return u.f * (1 + r * (1 + r * (.5F + r * (1.F / 6 + r * (1.F / 24 + r * (1.F / 120))))));
}

/* |z| up to 15. */
static inline float
logistic(float z)
{
	static const union bits most = {15};
	union bits u = {z};
	const int32_t sign = u.i & INT32_MIN, size = u.i & INT32_MAX;

	u.i = (size < most.i ? size : most.i) | sign;
	return 1 / (1 + exponential(-u.f));
}

/* --- learning --- */

/* sum of a[i] b[i], as LANES sums side by side */
static float
product(long n, const float *restrict a, const float *restrict b)
{
	float part[LANES] = {0};
	long i = 0;

	for (; i + LANES <= n; i += LANES)
		for (int k = 0; k < LANES; k++)
			part[k] += a[i + k] * b[i + k];
	for (int k = 0; i + k < n; k++)
		part[k] += a[i + k] * b[i + k];
	for (int half = LANES / 2; half; half /= 2)
		for (int k = 0; k < half; k++)
			part[k] += part[k + half];
	return part[0];
}

/* w += rate * mean over the layer's experts of (y - p) x */
static void
correct(const struct chance_layer *l, float *w, const uint32_t *item, long k, float *error)
{
	for (long e = 0; e < l->n; e++)
		error[e] = -l->next[e];
	for (long i = 0; i < k; i++)
		error[item[i] - l->first] += 1;
	for (int f = 0; f < CHANCE_FEATURES; f++)
		w[f] += rate / (float)l->n * product(l->n, error, l->x[f]);
}

/* The rows of pairs are far apart, and needed soon. */
static void
fetch_pairs(const struct chance_layer *l, const uint32_t *item, long k)
{
	enum { LINE = 64 / sizeof *l->pair };

	for (long i = 0; l->pair && i < k; i++)
		for (long e = 0; e < l->n; e += LINE)
			__builtin_prefetch(l->pair + (item[i] - l->first) * l->n + e);
}

/* Of what was counted long ago half is forgotten before a count goes over. */
static void
halve(long n, uint16_t *row)
{
	for (long e = 0; e < n; e++)
		row[e] /= 2;
}

static void
count_pairs(struct chance_layer *l, const uint32_t *item, long k)
{
	for (long i = 0; l->pair && i < l->used; i++) {
		uint16_t *row = l->pair + l->last[i] * l->n, *turns = &l->followed[l->last[i]];
		if (*turns == UINT16_MAX) {
			halve(l->n, row);
			*turns /= 2;
		}
		++*turns;
		for (long j = 0; j < k; j++)
			row[item[j] - l->first]++;
	}
	l->used = k;
	for (long i = 0; i < k; i++)
		l->last[i] = (uint32_t)(item[i] - l->first);
}

static void
age(long n, float *restrict since)
{
	for (long e = 0; e < n; e++)
		since[e] = since[e] + 1 < CHANCE_LONGEST ? since[e] + 1 : CHANCE_LONGEST;
}

static void
fade(long n, float *restrict memory, float share)
{
	for (long e = 0; e < n; e++)
		memory[e] *= share;
}

static void
count_uses(struct chance_layer *l, const uint32_t *item, long k)
{
	l->turns++;
	l->uses += (double)k;
	for (int m = 0; m < CHANCE_MEMORIES; m++) {
		fade(l->n, l->memory[m], keep[m]);
		for (long i = 0; i < k; i++)
			l->memory[m][item[i] - l->first] += 1;
		l->weight[m] = l->weight[m] * keep[m] + 1;
	}
	age(l->n, l->since);
	for (long i = 0; i < k; i++)
		l->since[item[i] - l->first] = 0;
}

/* --- features --- */

/* x = odds(scale m + offset) - from */
static void
frequency(long n, float *restrict x, const float *restrict m, float scale, float offset, float from)
{
	for (long e = 0; e < n; e++)
		x[e] = odds(m[e] * scale + offset) - from;
}

static void
add(long n, float *restrict x, const float *restrict row, float scale)
{
	for (long e = 0; e < n; e++)
		x[e] += row[e] * scale;
}

static void
add_counts(long n, float *restrict x, const uint16_t *restrict row, float scale)
{
	for (long e = 0; e < n; e++)
		x[e] += (float)row[e] * scale;
}

/*
 * P(b | a) = (pairs(a, b) + prior * frequency(b)) / (followed(a) + prior), and of that the mean
 * over the experts a of the turn.
 */
static void
followers(const struct chance_layer *l, float base, float from)
{
	const float *slow = l->memory[CHANCE_MEMORIES - 1];
	float *x = l->x[CHANCE_FOLLOWS], sum = 0;

	if (!l->pair || !l->used)
		return;
	memset(x, 0, (size_t)l->n * sizeof *x);
	for (long i = 0; i < l->used; i++) {
		const float scale = 1 / ((float)l->followed[l->last[i]] + prior) / (float)l->used;
		add_counts(l->n, x, l->pair + l->last[i] * l->n, scale);
		sum += scale;
	}
	add(l->n, x, slow, sum * prior / l->weight[CHANCE_MEMORIES - 1]);
	for (long e = 0; e < l->n; e++)
		x[e] = odds(x[e] * (1 - mixed) + mixed * base) - from;
}

static void
recency(long n, const float *restrict since, float *restrict before, float *restrict ages)
{
	for (long e = 0; e < n; e++) {
		before[e] = since[e] == 1 ? 1.F : 0.F;
		ages[e] = .3F * ln(1 + since[e]);
	}
}

static void
mark(const struct chance_layer *l, const uint32_t *item, long k)
{
	float *used = l->x[CHANCE_USED], *choice = l->x[CHANCE_CHOICE];

	memset(used, 0, (size_t)l->n * sizeof *used);
	memset(choice, 0, (size_t)l->n * sizeof *choice);
	for (long i = 0; i < k; i++) {
		used[item[i] - l->first] = 1;
		choice[item[i] - l->first] = 1 - (float)i / (float)k;
	}
}

/* --- the prediction --- */

/* worth = max(p, q / (1 + q - p)), p = logistic(z), q a share of the frequency */
static void
conclude(long n, float *restrict p, float *restrict worth, const float *restrict slow,
	 const float *restrict fast, float of_slow, float of_fast, float offset)
{
	for (long e = 0; e < n; e++) {
		const float next = logistic(p[e]);
		const float q = slow[e] * of_slow + fast[e] * of_fast + offset;
		const float wait = q / (1 + q - next);
		p[e] = next;
		worth[e] = next > wait ? next : wait;
	}
}

static void
predict(const struct chance_layer *l, const float *w, float base, float from)
{
	const float share = .5F * later_share * (1 - mixed);

	for (long e = 0; e < l->n; e++)
		l->next[e] = from + w[CHANCE_ONE];
	for (int f = CHANCE_ONE + 1; f < CHANCE_FEATURES; f++)
		add(l->n, l->next, l->x[f], w[f]);
	conclude(l->n, l->next, l->worth, l->memory[2], l->memory[1], share / l->weight[2],
		 share / l->weight[1], mixed * base);
}

static void
turn(struct chance_layer *l, float *w, const uint32_t *item, long k, float *error)
{
	float base, from;

	fetch_pairs(l, item, k);
	if (l->turns > 0)
		correct(l, w, item, k, error);
	count_pairs(l, item, k);
	count_uses(l, item, k);
	/* The mean use of an expert of the layer, kept from 0 and 1. */
	base = (float)((l->uses + .5) / (l->turns * (double)l->n + 1));
	from = odds(base);
	for (int m = 0; m < CHANCE_MEMORIES; m++)
		frequency(l->n, l->x[CHANCE_FREQUENT + m], l->memory[m], (1 - mixed) / l->weight[m],
			  mixed * base, from);
	followers(l, base, from);
	recency(l->n, l->since, l->x[CHANCE_USED_BEFORE], l->x[CHANCE_AGE]);
	mark(l, item, k);
	predict(l, w, base, from);
}

/* --- the least --- */

/* Floats that are not negative stand in the order of their bits. */
static inline int32_t
order(float v)
{
	const union bits u = {v};

	return u.i;
}

static long
least(long n, const float *restrict v, const float *restrict scale)
{
	int32_t low = INT32_MAX, at = 0;

	for (long i = 0; i < n; i++) {
		const int32_t x = order(v[i] * scale[i]);
		low = x < low ? x : low;
	}
	for (int32_t i = 0; i < (int32_t)n; i++)
		at = order(v[i] * scale[i]) == low ? i : at;
	return at;
}

static void
rank(long n, float *restrict v, const float *restrict worth)
{
	for (long i = 0; i < n; i++)
		v[i] = v[i] < INFINITY ? worth[i] : INFINITY;
}

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

extern const struct chance JOIN(chance_, KERN);
const struct chance JOIN(chance_, KERN) = {TEXT(KERN), turn, least, rank};
