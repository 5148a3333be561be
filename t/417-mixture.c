/* The routed classifier: gradients of every term by central differences, and what it computes. */
#include "base/rng.h"
#include "math/kern.h"
#include "model/mixture.h"
#include "tap.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 9, F = 12 };

static float x[N * F], dx[N * F];
static uint16_t label[N];

static struct mixture *
make(int experts, double prototype)
{
	const struct mixture_shape s = {F, 10, 6, experts, experts ? 2 : 1, 7, prototype, false};
	struct mixture *m = mixture_new(&s, N, true);
	struct rng r = rng_at(1, RNG_TEST, 0, 0);

	mixture_init(m, 3, 0);
	rng_normals(&r, x, N * F);
	for (int i = 0; i < N; i++)
		label[i] = (uint16_t)rng_below(&r, 7);
	/* away from the kinks of the ReLU, where a slope has no meaning */
	for (int i = 0; i < mixture_tensors(m); i++) {
		struct tensor *t = mixture_tensor(m, i);
		for (long k = 0; t->flat && !strncmp(t->name, "feature", 7) && k < t->cols; k++)
			t->w[k] = k % 3 ? 4 : -4;
		/* and no ties where the router's hidden layer is silent */
		for (long k = 0; !strcmp(t->name, "router.2.bias") && k < t->cols; k++)
			t->w[k] = 0.3F * (float)k;
	}
	return m;
}

static double
total(struct mixture *m, const struct mixture_loss *l)
{
	struct mixture_stat s;

	mixture_forward(m, l, x, label, N, 1, 0, &s);
	return s.total;
}

/* A number for who was chosen by all samples. */
static long
chosen(const struct mixture *m)
{
	long h = 0;

	for (int i = 0; i < N; i++)
		h = h * 31 % 1000003 + mixture_choice(m, i)[0] * 5L + mixture_choice(m, i)[1];
	return h;
}

/* The slope of the total along d, by a step that changes no choice of experts. */
static double
slope_along(struct mixture *m, const struct mixture_loss *l, float *w, const float *d, long n,
	    bool routed)
{
	float was[700];
	double hi = 0, lo = 0, step = 2e-3;
	bool same = false;

	memcpy(was, w, (size_t)n * sizeof *w);
	total(m, l);
	const long before = routed ? chosen(m) : 0;
	for (; !same && step > 1e-5; step /= 2) {
		for (long k = 0; k < n; k++)
			w[k] = was[k] + (float)step * d[k];
		hi = total(m, l);
		same = !routed || chosen(m) == before;
		for (long k = 0; k < n; k++)
			w[k] = was[k] - (float)step * d[k];
		lo = total(m, l);
		same = same && (!routed || chosen(m) == before);
	}
	memcpy(w, was, (size_t)n * sizeof *w);
	return (hi - lo) / (4 * step);
}

/* Along one direction for each tensor, and for the input. */
static double
worst_slope(struct mixture *m, const struct mixture_loss *l, bool routed)
{
	double worst = 0;

	total(m, l);
	for (int i = 0; i < mixture_tensors(m); i++) {
		struct tensor *t = mixture_tensor(m, i);
		memset(t->g, 0, (size_t)(t->rows * t->cols) * sizeof *t->g);
	}
	mixture_back(m, l, x, label, dx);
	for (int i = 0; i <= mixture_tensors(m); i++) {
		const bool input = i == mixture_tensors(m);
		struct tensor *t = input ? NULL : mixture_tensor(m, i);
		const long n = input ? N * F : t->rows * t->cols;
		float *g = input ? dx : t->g, d[700];
		struct rng r = rng_at(2, RNG_TEST, 0, (uint64_t)i);
		double slope = 0, size = 0;

		rng_normals(&r, d, n);
		for (long k = 0; k < n; k++) {
			slope += (double)g[k] * (double)d[k];
			size += pow((double)g[k], 2);
		}
		slope -= slope_along(m, l, input ? x : t->w, d, n, routed);
		worst = fmax(worst, fabs(slope) / (0.1 + sqrt(size)));
	}
	return worst;
}

static void
check_terms(void)
{
	for (int t = -1; t < MIXTURE_TERMS; t++)
		for (int normalised = 0; normalised < 2; normalised++)
			for (int s = 0; s < 2; s++) {
				/* an oracle at a high temperature does not move with the weights */
				struct mixture_loss l = {
					.temperature = 1.3, .tau = 1e6, .normalised = normalised};
				struct mixture *m = make(5, s ? 2 : 0);

				if (t >= 0)
					l.weight[t] = 3;
				double worst = worst_slope(m, &l, true);
				ok(worst < 1e-3, "%s%s, prototypes %s: slopes agree, off by %.2g",
				   t < 0 ? "cross entropy" : mixture_term_name[t],
				   normalised ? ", normalised" : "", s ? "route" : "do not", worst);
				mixture_free(m);
			}
}

static void
check_plain(void)
{
	const struct mixture_loss l = {.temperature = 1, .tau = 1};
	struct mixture *m = make(0, 0);
	double worst = worst_slope(m, &l, false);

	ok(worst < 1e-3, "without experts: slopes agree, off by %.2g", worst);
	is_text(mixture_tensor(m, 0)->name, "fc.weight", "and the head is called so");
	mixture_free(m);
}

static void
check_values(void)
{
	struct mixture_loss l = {.temperature = 1, .tau = 1};
	struct mixture *m = make(4, 0);
	struct mixture_stat s;
	double sum = 0;

	for (int i = 0; i < mixture_tensors(m); i++) {
		struct tensor *t = mixture_tensor(m, i);
		if (strncmp(t->name, "router.2", 8) == 0)
			memset(t->w, 0, (size_t)(t->rows * t->cols) * sizeof *t->w);
	}
	for (int t = 0; t < MIXTURE_TERMS; t++)
		l.weight[t] = 1;
	mixture_forward(m, &l, x, label, N, 1, 0, &s);
	is_real(s.raw[MIXTURE_ENTROPY], log(4), 1e-6, "equal scores: the entropy is ln E");
	is_real(s.raw[MIXTURE_LOAD], 1, 1e-6, "the load-balance loss is 1");
	is_real(s.raw[MIXTURE_Z], pow(log(4), 2), 1e-5, "the z-loss is (ln E)^2");
	is_long(mixture_choice(m, 0)[0], 0, "ties go to the lowest expert");
	is_long(mixture_choice(m, 0)[1], 1, "and the next");
	is_real((double)mixture_gate(m, 0)[0], 0.5, 1e-6, "with equal weights");
	/* KL is 0; experts 0 and 1 carry 1/2 each, 2 and 3 nothing */
	is_real(s.raw[MIXTURE_BALANCE], 4 * pow(0.25, 2) / 4, 1e-6, "balance is the variance");
	is_real(s.cost[MIXTURE_ENTROPY], -log(4), 1e-6, "entropy is rewarded");
	for (int t = 0; t < MIXTURE_TERMS; t++)
		sum += s.cost[t];
	is_real(s.total, s.ce + sum, 1e-9, "the total is the sum of its parts");
	l.random = true;
	mixture_forward(m, &l, x, label, N, 1, 5, &s);
	mixture_back(m, &l, x, label, dx);
	for (int i = 0; i < mixture_tensors(m); i++) {
		struct tensor *t = mixture_tensor(m, i);
		if (strncmp(t->name, "router.2", 8) == 0)
			for (long k = 0; k < t->rows * t->cols; k++)
				ok(t->g[k] == 0, "at random: no gradient of %s, found %g", t->name,
				   (double)t->g[k]);
	}
	mixture_free(m);
}

int
main(void)
{
	kern_choose(NULL);
	check_terms();
	check_plain();
	check_values();
	return done();
}
