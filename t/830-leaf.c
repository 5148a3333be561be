/*
 * A leaf's arithmetic beside the same in double precision, and the certificate: whatever is called
 * dead computes to nothing, for every set of kernels.
 */
#include "base/rng.h"
#include "offload/leaf.h"
#include "tap.h"

enum { MOST = 200, NEURONS = 9 };
static const enum kern_act acts[] = {ACT_GELU, ACT_RELU, ACT_RELU2, ACT_SWIGLU, ACT_REGLU};
static const char *const act_name[] = {"gelu", "relu", "relu2", "swiglu", "reglu"};
static struct rng draw;

static float
normal(double scale)
{
	return (float)(scale * rng_normal(&draw));
}

static double
activate(enum kern_act act, double g, double u)
{
	switch (act) {
	case ACT_GELU: return 0.5 * u * (1 + erf(u / sqrt(2)));
	case ACT_RELU: return u > 0 ? u : 0;
	case ACT_RELU2: return u > 0 ? u * u : 0;
	case ACT_SWIGLU: return g / (1 + exp(-g)) * u;
	case ACT_REGLU: return g > 0 ? g * u : 0;
	}
	return NAN;
}

static double
dot(long n, const float *a, const float *b)
{
	double s = 0;

	for (long i = 0; i < n; i++)
		s += (double)a[i] * (double)b[i];
	return s;
}

/* y [C] of a leaf; its largest |a|. */
static double
by_hand(const struct shape *s, int m, const float *leaf, const float *x, double *y)
{
	const long c = s->dim;
	const float *gate = leaf, *up = leaf + (kern_gated(s->act) ? m * c : 0), *down = up + m * c;
	double most = 0;

	memset(y, 0, (size_t)c * sizeof *y);
	for (int j = 0; j < m; j++) {
		const double a = activate(s->act, dot(c, gate + j * c, x), dot(c, up + j * c, x));
		most = fabs(a) > most ? fabs(a) : most;
		for (long i = 0; i < c; i++)
			y[i] += a * (double)down[j * c + i];
	}
	return most;
}

static void
computes(enum kern_act act)
{
	double worst = 0;
	bool told = true;

	for (int c = 2; c <= MOST; c += c < 40 ? 1 : 37)
		for (int m = 1; m <= NEURONS; m++) {
			const struct shape s = {.dim = c, .act = act};
			float leaf[3 * NEURONS * MOST], x[MOST], y[MOST], scratch[3 * NEURONS];
			double want[MOST], most;
			for (long i = 0; i < leaf_floats(&s, m); i++)
				leaf[i] = normal(1 / sqrt(c));
			for (int i = 0; i < c; i++)
				x[i] = normal(1);
			most = by_hand(&s, m, leaf, x, want);
			if (leaf_compute(&s, m, leaf, x, y, scratch) != (most > 0))
				told = false;
			for (int i = 0; i < c && most > 0; i++)
				worst = fmax(worst, fabs((double)y[i] - want[i]) / (1 + most));
		}
	ok(worst < 3e-6, "%s, %s: leaves of 1 to %d neurons, %.2g off at most", kern->name,
	   act_name[act], NEURONS, worst);
	ok(told, "%s, %s: whether any neuron was active", kern->name, act_name[act]);
}

struct tally {
	long dead, quiet, wrong;
};

/* A leaf, its shadow, one input: what is proven, what is so. */
static void
judge(const struct shape *s, int m, const float *leaf, const float *x, struct tally *t)
{
	const long row = leaf_row(s);
	struct leaf_shade shade[NEURONS];
	signed char q[NEURONS * (MOST + LEAF_ROW)] = {0};
	float y[MOST], scratch[3 * NEURONS];
	bool dead, quiet;

	for (int j = 0; j < m; j++)
		leaf_shadow(s, leaf, m, j, &shade[j], q + j * row);
	dead = leaf_dead(s, m, shade, q, x, leaf_norm(s->dim, x));
	quiet = !leaf_compute(s, m, leaf, x, y, scratch);
	t->dead += dead;
	t->quiet += quiet;
	t->wrong += dead && !quiet;
}

/* Rows turned away from x so far that their products with it are about `at` and less. */
static void
turn(const struct shape *s, int m, float *leaf, const float *x, double at)
{
	const long c = s->dim;
	const double xx = dot(c, x, x);

	for (int j = 0; j < m; j++) {
		const double off = (at * rng_uniform(&draw) - dot(c, leaf + j * c, x)) / xx;
		for (long i = 0; i < c; i++)
			leaf[j * c + i] = (float)((double)leaf[j * c + i] + off * (double)x[i]);
	}
}

static void
certain(enum kern_act act)
{
	static const double at[] = {-3, -0.3, -1e-2, -1e-4, -1e-6, 0, 1e-7, 1e-6};
	static const double size[] = {1, 1e-30, 1e-40, 1e12};
	struct tally t = {0};

	for (int round = 0; round < 60; round++)
		for (unsigned k = 0; k < sizeof at / sizeof *at; k++)
			for (unsigned z = 0; z < sizeof size / sizeof *size; z++) {
				const int c = 2 + (int)rng_below(&draw, MOST - 2);
				const int m = 1 + (int)rng_below(&draw, NEURONS);
				const struct shape s = {.dim = c, .act = act};
				float leaf[3 * NEURONS * MOST], x[MOST];
				for (int i = 0; i < c; i++)
					x[i] = normal(1);
				for (long i = 0; i < leaf_floats(&s, m); i++)
					leaf[i] = normal(1 / sqrt(c));
				turn(&s, m, leaf, x, at[k]);
				for (long i = 0; i < leaf_floats(&s, m); i++)
					leaf[i] = (float)((double)leaf[i] * size[z]);
				judge(&s, m, leaf, x, &t);
			}
	is_long(t.wrong, 0, "%s, %s: of %ld leaves called dead, those that add something",
		kern->name, act_name[act], t.dead);
	ok(t.dead > 100 && t.dead < t.quiet, "%s, %s: %ld of %ld quiet leaves are proven so",
	   kern->name, act_name[act], t.dead, t.quiet);
}

/* Where numbers overflow or are none, nothing is certain. */
static void
extremes(void)
{
	const struct shape s = {.dim = 4, .act = ACT_REGLU};
	float leaf[12] = {-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1}, x[4] = {1, 1, 1, 1};
	struct tally t = {0};

	judge(&s, 1, leaf, x, &t);
	is_long(t.dead, 1, "a gate well below zero is");
	leaf[4] = 3e38f; /* 0 * infinity in the other factor */
	judge(&s, 1, leaf, x, &t);
	is_long(t.dead, 1, "not beside a factor that may overflow");
	leaf[4] = 1;
	x[2] = NAN;
	judge(&s, 1, leaf, x, &t);
	is_long(t.dead, 1, "not of what is no number");
	x[2] = INFINITY;
	judge(&s, 1, leaf, x, &t);
	is_long(t.dead, 1, "nor of infinity");
	memset(leaf, 0, sizeof leaf);
	x[2] = 1;
	judge(&s, 1, leaf, x, &t);
	is_long(t.wrong, 0, "a leaf of zeros adds nothing, proven or not");
	ok(!leaf_certain(&(struct shape){.act = ACT_GELU}) &&
		   !leaf_certain(&(struct shape){.act = ACT_SWIGLU}) && leaf_certain(&s),
	   "GELU and SwiGLU are never certain");
}

int
main(void)
{
	static const char *const names[] = {"avx512", "avx2", "portable"};

	for (unsigned i = 0; i < 3; i++) {
		if (kern_choose(names[i]) != 0)
			continue;
		draw = rng_at(830, RNG_TEST, 0, 0);
		for (unsigned a = 0; a < sizeof acts / sizeof *acts; a++) {
			computes(acts[a]);
			if (leaf_certain(&(struct shape){.act = acts[a]}))
				certain(acts[a]);
		}
		extremes();
	}
	return done();
}
