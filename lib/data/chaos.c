#include "data/chaos.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- systems --- */

static const struct system {
	const char *name;
	double p, least, most; /* the parameter's usual value and range */
	int every;
	double lo, hi; /* of what is seen */
	double unit;   /* of time per step */
	int exponents; /* how many are measured */
} systems[CHAOS_COUNT] = {
	{"logistic", 4, 0, 4, 1, 0, 1, 1, 1},
	{"henon", 1.4, 0, 2, 1, -1.5, 1.5, 1, 2},
	{"lorenz", 28, 0, 1000, 10, -20, 20, 0.01, 3},
	{"mackey-glass", 17, 1, 1000, 60, 0, 1.6, 0.1, CHAOS_EXPONENTS},
	{"regimes", 200, 2, 1e9, 1, 0, 1, 1, 1},
};
static const double regime[] = {3.7, 3.9, 4};
enum { REGIMES = sizeof regime / sizeof *regime };

enum { SETTLE = 20000, NUDGE = 4096 }; /* steps: before the first token, between nudges */

const char *
chaos_name(enum chaos_system s)
{
	return systems[s].name;
}

struct chaos
chaos_usual(enum chaos_system s)
{
	return (struct chaos){s, systems[s].p, 64, systems[s].every, 1};
}

/* An orbit; of a delay the state is the ring of its past, v[at] the oldest. */
struct orbit {
	const struct chaos *c;
	int n;	/* numbers of its state */
	int at; /* in a ring: of the oldest, which the next step replaces */
	double *v;
	int regime;
};

static double
draw(struct rng *r, double lo, double hi)
{
	return lo + (hi - lo) * rng_uniform(r);
}

static int
numbers(const struct chaos *c)
{
	switch (c->system) {
	case CHAOS_HENON: return 2;
	case CHAOS_LORENZ: return 3;
	/* the cubic asks for one point beyond the delay */
	case CHAOS_MACKEY_GLASS: return (int)(c->p / systems[c->system].unit + 0.5) + 2;
	default: return 1;
	}
}

static struct orbit
begin(const struct chaos *c, struct rng *r)
{
	struct orbit o = {.c = c, .n = numbers(c)};

	o.v = mem_zero((size_t)o.n, sizeof *o.v);
	for (int i = 0; i < o.n; i++)
		switch (c->system) {
		case CHAOS_HENON: o.v[i] = draw(r, -0.1, 0.1); break;
		case CHAOS_LORENZ: o.v[i] = draw(r, 1, 10); break;
		case CHAOS_MACKEY_GLASS: o.v[i] = i ? o.v[0] : draw(r, 0.5, 1.2); break;
		default: o.v[i] = draw(r, 0.1, 0.9);
		}
	return o;
}

static void
lorenz_rate(double rho, const double *v, double *d)
{
	d[0] = 10 * (v[1] - v[0]);
	d[1] = v[0] * (rho - v[2]) - v[1];
	d[2] = v[0] * v[1] - v[2] * 8 / 3;
}

static void
lorenz(double rho, double h, double *v)
{
	static const double part[] = {0.5, 0.5, 1};
	double k[4][3], w[3];

	lorenz_rate(rho, v, k[0]);
	for (int s = 0; s < 3; s++) {
		for (int i = 0; i < 3; i++)
			w[i] = v[i] + part[s] * h * k[s][i];
		lorenz_rate(rho, w, k[s + 1]);
	}
	for (int i = 0; i < 3; i++)
		v[i] += h / 6 * (k[0][i] + 2 * k[1][i] + 2 * k[2][i] + k[3][i]);
}

static double
delay_rate(double x, double u)
{
	const double u2 = u * u, u5 = u2 * u2 * u;

	return 0.2 * u / (1 + u5 * u5) - 0.1 * x;
}

/* The ring holds x at t - tau - h, t - tau, ..., t; the first makes room for x at t + h. */
static void
delay(double h, struct orbit *o)
{
	double u[4];

	for (int i = 0; i < 4; i++)
		u[i] = o->v[(o->at + i) % o->n];
	const double half = (9 * (u[1] + u[2]) - u[0] - u[3]) / 16;
	const double x = o->v[(o->at + o->n - 1) % o->n];
	const double a = delay_rate(x, u[1]), b = delay_rate(x + h / 2 * a, half);
	const double c = delay_rate(x + h / 2 * b, half), d = delay_rate(x + h * c, u[2]);
	o->v[o->at] = x + h / 6 * (a + 2 * b + 2 * c + d);
	o->at = (o->at + 1) % o->n;
}

static void
step(struct orbit *o)
{
	const double p = o->c->p, h = systems[o->c->system].unit, x = o->v[0];

	switch (o->c->system) {
	case CHAOS_LOGISTIC: o->v[0] = p * x * (1 - x); break;
	case CHAOS_REGIMES: o->v[0] = regime[o->regime] * x * (1 - x); break;
	case CHAOS_HENON:
		o->v[0] = 1 - p * x * x + o->v[1];
		o->v[1] = 0.3 * x;
		break;
	case CHAOS_LORENZ: lorenz(p, h, o->v); break;
	case CHAOS_MACKEY_GLASS: delay(h, o); break;
	}
}

static double
seen(const struct orbit *o)
{
	return o->v[(o->at + o->n - 1) % o->n * (o->c->system == CHAOS_MACKEY_GLASS)];
}

/* What chance does to the orbit before step i. */
static void
disturb(struct orbit *o, struct rng *r, uint64_t i)
{
	if (o->c->system == CHAOS_REGIMES && rng_uniform(r) * o->c->p < 1) {
		int k = (int)rng_below(r, REGIMES - 1);
		o->regime = k + (k >= o->regime);
	}
	if (i % NUDGE == 0)
		o->v[0] *= 1 - 0x1p-32 * rng_uniform(r);
}

static int
check(const struct chaos *c)
{
	const struct system *s = &systems[c->system];

	if (c->p >= s->least && c->p <= s->most)
		return 0;
	return err_set("%s: a parameter of %g (expected %g to %g)", s->name, c->p, s->least,
		       s->most);
}

static int
lost(const struct orbit *o)
{
	if (isfinite(seen(o)))
		return 0;
	return err_set("%s with a parameter of %g: the orbit leaves every bound",
		       systems[o->c->system].name, o->c->p);
}

int
chaos_run(const struct chaos *c, size_t n, uint32_t *out)
{
	const struct system *s = &systems[c->system];
	const double scale = c->bins / (s->hi - s->lo);
	struct rng r = rng_at(c->seed, RNG_DATA, c->system, 0);
	struct orbit o;
	uint64_t at = 0;
	int status;

	if (check(c) != 0)
		return -1;
	o = begin(c, &r);
	while (at < SETTLE) {
		disturb(&o, &r, at++);
		step(&o);
	}
	for (size_t i = 0; i < n; i++) {
		double x = (seen(&o) - s->lo) * scale;
		out[i] = x > 0 ? x < c->bins ? (uint32_t)x : (uint32_t)c->bins - 1 : 0;
		for (int k = 0; k < c->every; k++) {
			disturb(&o, &r, at++);
			step(&o);
		}
	}
	status = lost(&o);
	free(o.v);
	return status;
}

/* --- exponents --- */

static const double apart = 1e-8;

/* Orbits near the first: distances to right angles, log of their growth into sum, and back. */
static void
bring_back(struct orbit *o, int n, double *sum)
{
	for (int k = 1; k <= n; k++) {
		double *d = o[k].v, square = 0;
		for (int i = 0; i < o->n; i++)
			d[i] -= o->v[i];
		for (int j = 1; j < k; j++) { /* those before are of length `apart`, and kept so */
			double dot = 0;
			for (int i = 0; i < o->n; i++)
				dot += d[i] * (o[j].v[i] - o->v[i]);
			dot /= apart * apart;
			for (int i = 0; i < o->n; i++)
				d[i] -= dot * (o[j].v[i] - o->v[i]);
		}
		for (int i = 0; i < o->n; i++)
			square += d[i] * d[i];
		const double norm = fmax(sqrt(square), 1e-300); /* it may contract to a point */
		if (sum)
			sum[k - 1] += log(norm / apart);
		for (int i = 0; i < o->n; i++)
			d[i] = o->v[i] + d[i] * (apart / norm);
	}
}

/* All orbits a step on, under the same chance. */
static void
together(struct orbit *o, int n, struct rng *r, uint64_t at)
{
	const double before = o->v[0];

	disturb(o, r, at);
	for (int k = 1; k <= n; k++) {
		o[k].v[0] += o->v[0] - before;
		o[k].regime = o->regime;
	}
	for (int k = 0; k <= n; k++)
		step(&o[k]);
}

/* Exponents per step, falling; the first tenth of the steps turns the distances into place. */
static int
measure(const struct chaos *c, int n, long steps, double *out)
{
	struct rng r = rng_at(c->seed, RNG_DATA, c->system, 1);
	struct orbit o[1 + CHAOS_EXPONENTS];
	uint64_t at = 0, end = SETTLE + (uint64_t)steps, from = SETTLE + (uint64_t)steps / 10;
	const uint64_t often =
		c->system == CHAOS_LORENZ || c->system == CHAOS_MACKEY_GLASS ? 10 : 1;
	int status;

	o[0] = begin(c, &r);
	while (at < SETTLE)
		together(o, 0, &r, at++);
	for (int k = 1; k <= n; k++) {
		o[k] = o[0];
		o[k].v = mem_zero((size_t)o->n, sizeof *o->v);
		for (int i = 0; i < o->n; i++)
			o[k].v[i] = o->v[i] + draw(&r, -apart, apart);
	}
	bring_back(o, n, NULL);
	for (from -= from % often; at < end;) {
		together(o, n, &r, at++);
		if (at % often == 0)
			bring_back(o, n, at > from ? out : NULL);
	}
	for (int k = 0; k < n; k++)
		out[k] /= (double)(end - from);
	status = lost(o);
	for (int k = 0; k <= n; k++)
		free(o[k].v);
	return status;
}

int
chaos_floor(const struct chaos *c, long steps, struct chaos_floor *out)
{
	const struct system *s = &systems[c->system];
	double bound;

	*out = (struct chaos_floor){.exponents = s->exponents, .unit = s->unit * c->every};
	if (check(c) != 0 || measure(c, s->exponents, steps, out->exponent) != 0)
		return -1;
	for (int k = 0; k < s->exponents; k++) {
		out->exponent[k] /= s->unit;
		if (out->exponent[k] > 0)
			out->positive += out->exponent[k] * out->unit;
	}
	if (c->system == CHAOS_REGIMES) {
		const double q = 1 / c->p;
		out->switching = c->every *
				 (-q * log(q / (REGIMES - 1)) - (q < 1 ? (1 - q) * log(1 - q) : 0));
	}
	out->exact = c->system == CHAOS_LOGISTIC && c->p == 4 && c->bins % 2 == 0 && c->every == 1;
	bound = out->exact ? log(2) : out->positive + out->switching;
	out->bound = fmin(bound, log(c->bins));
	return 0;
}

/* --- a plain predictor --- */

/* Counts by 64-bit hashes of what is counted; 0 marks an empty place. */
struct counts {
	struct count {
		uint64_t key;
		uint32_t n;
	} * v;
	size_t room, used; /* room: a power of two */
};

static struct count *
find(struct counts *c, uint64_t key)
{
	size_t i = key & (c->room - 1);

	while (c->v[i].key && c->v[i].key != key)
		i = (i + 1) & (c->room - 1);
	return &c->v[i];
}

static void
add(struct counts *c, uint64_t key)
{
	struct count *x = find(c, key);

	c->used += x->key == 0;
	x->key = key;
	x->n++;
	if (2 * c->used < c->room)
		return;
	struct counts more = {mem_zero(2 * c->room, sizeof *c->v), 2 * c->room, c->used};
	for (size_t i = 0; i < c->room; i++)
		if (c->v[i].key)
			*find(&more, c->v[i].key) = c->v[i];
	free(c->v);
	*c = more;
}

/* A step of a hash that mixes well (the finaliser of MurmurHash3). */
static uint64_t
mix(uint64_t h, uint64_t x)
{
	h ^= x + 0x9e3779b97f4a7c15;
	h = (h ^ h >> 33) * 0xff51afd7ed558ccd;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53;
	return (h ^ h >> 33) | 1;
}

enum { SEEN, KINDS, TOKEN }; /* what is counted of a context: uses, distinct tokens, each token */

/* P(v[0]) after its past of at most `order` tokens, shortest first; then v[0] is counted. */
static double
predict(struct counts *c, const uint32_t *v, size_t past, int bins)
{
	double p = 1.0 / bins;
	uint64_t h = 1;

	for (size_t k = 0; k <= CHAOS_ORDER && k <= past; k++) {
		h = k ? mix(h, *(v - k)) : h;
		const uint64_t token = mix(mix(h, TOKEN), v[0]);
		const double n = find(c, mix(h, SEEN))->n, kinds = find(c, mix(h, KINDS))->n;
		const uint32_t times = find(c, token)->n;
		if (n > 0)
			p = ((double)times + kinds * p) / (n + kinds);
		if (times == 0)
			add(c, mix(h, KINDS));
		add(c, mix(h, SEEN));
		add(c, token);
	}
	return p;
}

double
chaos_reached(const uint32_t *v, size_t n, int bins)
{
	struct counts c = {mem_zero(1024, sizeof *c.v), 1024, 0};
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		const double p = predict(&c, v + i, i, bins);
		if (i >= n / 2)
			sum -= log(p);
	}
	free(c.v);
	return n ? sum / (double)(n - n / 2) : 0;
}
