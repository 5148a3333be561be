/* Phi: by hand, by brute force, what it sees of experts that become alike, and its cost. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "pool/probe.h"
#include "tap.h"

/*
 * Three signatures, two of them equal, a = 1: d = sqrt 2, 0, sqrt 2; D = 2 sqrt 2 / 3; the median
 * is sqrt 2: diversity = 2 (1 - e^-1/2) / 3; cosines 0, 1, 0: I = tanh(0.65) / 3.
 */
static void
by_hand(void)
{
	const float f[] = {1, 0, 0, 1, 1, 0}, same[] = {3, 4, 3, 4}, none[4] = {0};
	const double D = 2 * sqrt(2) / 3, I = tanh(0.65) / 3;
	struct phi p = phi_measure(3, 2, f, 0);

	is_long(p.pairs, 3, "all pairs of three");
	is_real(p.distance, D, 1e-6, "distance");
	is_real(p.integration, I, 1e-6, "integration");
	is_real(p.diversity, 2 * (1 - exp(-0.5)) / 3, 1e-6, "diversity");
	is_real(p.product, D * I * log(D + I + 1), 1e-6, "product");
	p = phi_measure(2, 2, same, 0);
	is_real(p.distance, 0, 0, "two that are the same: no distance");
	is_real(p.integration, tanh(0.65), 1e-6, "all integration");
	is_real(p.diversity, 0, 0, "no diversity");
	is_real(p.product, 0, 0, "no product");
	p = phi_measure(2, 2, none, 0);
	is_real(p.distance + p.integration + p.diversity + p.product, 0, 0, "nothing is nothing");
	p = phi_measure(1, 2, f, 0);
	is_long(p.pairs, 0, "one has no pair");
}

static float *
numbers(int n, long width, double alike)
{
	float *f = mem_zero((size_t)(n * width), sizeof *f), *common = f;
	struct rng r = rng_at(8, RNG_TEST, 0, 0);

	for (long i = 0; i < n * width; i++)
		f[i] = (float)((i < width ? 1 : 1 - alike) * rng_normal(&r));
	for (long i = width; i < n * width; i++)
		f[i] += (float)alike * common[i % width];
	return f;
}

/* Drawn pairs beside all of them. */
static void
sampled(void)
{
	enum { N = 300, W = 64 };
	float *f = numbers(N, W, 0.3);
	const struct phi p = phi_measure(N, W, f, 0), q = phi_measure(N, W, f, 0);
	double D = 0, I = 0, size = 0;
	long pairs = 0;

	for (long i = 0; i < N * W; i++)
		size += (double)f[i] * (double)f[i] / N;
	for (int i = 0; i < N; i++)
		for (int j = 0; j < i; j++) {
			double d = 0, dot = 0, a = 0, b = 0;
			for (int k = 0; k < W; k++) {
				const double x = (double)f[i * W + k], y = (double)f[j * W + k];
				d += (x - y) * (x - y);
				dot += x * y;
				a += x * x;
				b += y * y;
			}
			D += sqrt(d / size);
			I += fabs(tanh(0.65 * dot / sqrt(a * b)));
			pairs++;
		}
	is_long(p.pairs, (long)N * PHI_PAIRS, "pairs are linear in the experts");
	is_real(p.distance, D / (double)pairs, 0.01, "distance of the sample");
	is_real(p.integration, I / (double)pairs, 0.01, "integration of the sample");
	is_real(p.diversity, q.diversity, 0, "the same sample again");
	free(f);
}

/* Experts that become alike: D falls, I rises; some that do: diversity falls. */
static void
collapse(void)
{
	struct phi before, after;
	float *f = numbers(12, 32, 0), *g = numbers(12, 32, 0.9);

	before = phi_measure(12, 32, f, 0);
	after = phi_measure(12, 32, g, 0);
	is_real(before.distance, sqrt(2), 0.1, "independent signatures");
	ok(after.distance < before.distance / 2, "all alike: distance falls");
	ok(after.integration > 2 * before.integration, "integration rises");
	for (int i = 1; i < 6; i++)
		memcpy(f + 32 * i, f, 32 * sizeof *f);
	after = phi_measure(12, 32, f, 0);
	ok(after.diversity < before.diversity * 0.9, "half of them alike: diversity falls");
	free(f);
	free(g);
}

static void
fill(void *arg, struct tensor *t, int layer, int slot)
{
	(void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++)
		t->w[i] = (float)(0.3 * rng_normal(arg));
}

/* An expert's answers in plain C: y = Wdown relu(Wup x). */
static void
plain(const struct expert *e, long c, const float *x, float *y)
{
	for (long r = 0; r < PROBE_ROWS; r++)
		for (long i = 0; i < c; i++) {
			double sum = 0;
			for (long h = 0; h < e->hidden; h++) {
				double u = 0;
				for (long k = 0; k < c; k++)
					u += (double)e->up.w[h * c + k] * (double)x[r * c + k];
				sum += (double)e->down.w[i * e->hidden + h] * fmax(u, 0);
			}
			y[r * c + i] = (float)sum;
		}
}

static void
of_experts(void)
{
	struct shape s = {.vocab = 9,
			  .dim = 12,
			  .layers = 1,
			  .heads = 2,
			  .kv_heads = 2,
			  .top_k = 1,
			  .act = ACT_RELU,
			  .router = ROUTER_LINEAR,
			  .tied = true};
	const int slots = 5, wide = 7;
	struct rng r = rng_at(6, RNG_TEST, 0, 0);
	float x[PROBE_ROWS * 12], y[4 * PROBE_ROWS * 12];
	struct param *p;
	struct phi got, want;

	shape_set(&s, 1, &slots, 1, &wide);
	s.hidden[0][1] = 0;
	s.hidden[0][3] = 11;
	p = param_new(&s, true);
	param_each(p, fill, &r);
	for (int i = 0; i < PROBE_ROWS; i++) {
		struct rng q = rng_at(0, RNG_PROBE, 1, (uint64_t)i);
		rng_normals(&q, x + i * 12, 12);
	}
	for (int e = 0, n = 0; e < slots; e++)
		if (p->layer[0].expert[e])
			plain(p->layer[0].expert[e], 12, x, y + n++ * PROBE_ROWS * 12);
	got = probe_phi(p, 0);
	want = phi_measure(4, PROBE_ROWS * 12, y, 0);
	is_long(got.pairs, 6, "pairs of the four that live");
	is_real(got.distance, want.distance, 1e-5, "distance of their answers");
	is_real(got.integration, want.integration, 1e-5, "integration");
	is_real(got.diversity, want.diversity, 1e-5, "diversity");
	is_real(got.product, want.product, 1e-5, "product");
	param_free(p);
	shape_free(&s);
}

int
main(void)
{
	task_start(2);
	by_hand();
	sampled();
	collapse();
	of_experts();
	task_stop();
	return done();
}
