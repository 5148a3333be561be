/*
 * Gravity beside its rules written out one after the other, each alone and all together; what each
 * is for; the same keys for any number of workers.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "pool/gravity.h"
#include "tap.h"

enum { N = 40, D = 5, T = 60, K = 3, STEPS = 12 };

static struct rng draw;

struct store {
	float key[N * D], usage[N];
	int64_t born[N];
};

static struct gravity_keys
keys_of(struct store *s)
{
	return (struct gravity_keys){N, D, s->key, s->usage, s->born};
}

static float query[T * D];
static int choice[T * K];
static unsigned char real[T];

static double
norm(const float *x)
{
	double s = 0;
	for (int j = 0; j < D; j++)
		s += (double)x[j] * (double)x[j];
	return sqrt(s);
}

static void
make_store(struct store *s)
{
	memset(s, 0, sizeof *s);
	for (int i = 0; i < N * D; i++)
		s->key[i] = 0.4f * (float)rng_normal(&draw);
	for (int i = 0; i < N; i++)
		s->usage[i] = i % 4 ? (float)rng_below(&draw, 5) : 0;
}

/* Tokens with choices of few experts more often than of others, some with one missing. */
static void
make_batch(void)
{
	for (int t = 0; t < T; t++) {
		double n;
		for (int j = 0; j < D; j++)
			query[t * D + j] = (float)rng_normal(&draw);
		n = norm(query + t * D);
		for (int j = 0; j < D; j++)
			query[t * D + j] = (float)((double)query[t * D + j] / n);
		for (int r = 0; r < K; r++)
			choice[t * K + r] =
				(int)(rng_below(&draw, 5) * rng_below(&draw, 3)) + 10 * r;
		if (t % 9 == 0)
			choice[t * K + 2] = -1;
		real[t] = t % 7 != 3;
	}
}

/* ---- the rules, token by token, on float64 ---- */

static bool
chose(int t, int i)
{
	for (int r = 0; r < K; r++)
		if (choice[t * K + r] == i)
			return true;
	return false;
}

static int
upwards(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void
reference(const struct gravity *g, struct store *s, long step, bool *reborn)
{
	double k[N][D], u[N], used[N], faint = 0;
	long pairs = 0, n = 0;

	for (int t = 0; t < T; t++)
		for (int i = 0; i < N; i++)
			pairs += real[t] && chose(t, i);
	for (int i = 0; i < N; i++) {
		double count = 0;
		for (int t = 0; t < T; t++)
			count += real[t] && chose(t, i);
		if (g->attraction == GRAVITY_MEAN)
			count *= (double)N / (double)pairs;
		s->usage[i] = (float)(g->rho * (double)s->usage[i] + (1 - g->rho) * count);
		u[i] = g->no_inertia ? 0 : (double)s->usage[i];
		if (s->usage[i] > 0)
			used[n++] = (double)s->usage[i];
		for (int j = 0; j < D; j++)
			k[i][j] = (double)s->key[i * D + j];
	}
	qsort(used, (size_t)n, sizeof *used, upwards);
	if (n) {
		const int low = (int)floor(g->theta * (double)(n - 1));
		const double part = g->theta * (double)(n - 1) - low;
		faint = used[low] * (1 - part) + used[low + 1 < n ? low + 1 : low] * part;
	}
	for (int t = 0; t < T; t++)
		for (int i = 0; i < N && real[t]; i++) {
			double tokens = 0;
			if (!chose(t, i))
				continue;
			for (int o = 0; o < T; o++)
				tokens += real[o] && chose(o, i);
			for (int c = 0; c < D; c++) {
				const double start = (double)s->key[i * D + c];
				k[i][c] += g->alpha / (1 + u[i]) /
					   (g->attraction == GRAVITY_MEAN ? tokens : 1) *
					   ((double)query[t * D + c] - start);
				for (int j = 0; j < N; j++)
					if (j != i && chose(t, j))
						k[i][c] += g->beta / (1 + fmax(u[i], u[j])) *
							   ((double)s->key[j * D + c] - start);
			}
		}
	for (int i = 0; i < N; i++) {
		double length = 0;
		for (int c = 0; c < D; c++)
			length += k[i][c] * k[i][c];
		length = sqrt(length);
		const double scale = length > 1 || g->length == GRAVITY_SPHERE ? 1 / length : 1;
		const double keep = step > g->warmup && g->length == GRAVITY_CLAMP &&
						    (double)s->usage[i] < faint
					    ? 1 - g->delta
					    : 1;
		for (int c = 0; c < D; c++)
			s->key[i * D + c] = (float)(k[i][c] * scale * keep);
		reborn[i] = length * scale * keep < g->least;
	}
}

static double
compare(const struct store *a, const struct store *b, const bool *but)
{
	double worst = 0;
	for (int i = 0; i < N; i++) {
		for (int j = 0; j < D && !but[i]; j++)
			worst = fmax(worst,
				     fabs((double)a->key[i * D + j] - (double)b->key[i * D + j]));
		if (!but[i])
			worst = fmax(worst, fabs((double)a->usage[i] - (double)b->usage[i]));
	}
	return worst;
}

/* Step by step, each from the keys that the library left. */
static void
agrees(const struct gravity *g, const char *what)
{
	struct store ours, its;
	struct gravity_keys k = keys_of(&ours);
	struct gravity_done done;
	double worst = 0, farthest = 0;
	long born = 0, expected = 0;

	make_store(&ours);
	for (long step = 1; step <= STEPS; step++) {
		bool reborn[N];
		make_batch();
		const struct gravity_batch b = {T, K, query, choice, real};
		const struct store was = its = ours;
		reference(g, &its, step, reborn);
		gravity_step(g, &k, &b, step, 1, 2, &done);
		worst = fmax(worst, compare(&ours, &its, reborn));
		born += done.reborn;
		for (int i = 0; i < N; i++) {
			float move[D];
			for (int j = 0; j < D; j++)
				move[j] = ours.key[i * D + j] - was.key[i * D + j];
			farthest = fmax(farthest, norm(move) - done.farthest);
			expected += reborn[i];
			if (reborn[i] && (ours.born[i] != step || ours.usage[i] != 0))
				worst = 1;
		}
	}
	is_real(worst, 0, 2e-6, "%s: agrees with the rule written out", what);
	ok(farthest <= 1e-6, "%s: no key moved farther than is told (%g)", what, farthest);
	is_long(born, expected, "%s: as many are reborn", what);
}

static void
rules(void)
{
	struct gravity g;
	const struct gravity none = {.rho = 0.9, .theta = 0.05, .warmup = 3};

	g = none;
	agrees(&g, "usage");
	g.alpha = 0.015;
	agrees(&g, "attraction");
	g.no_inertia = true;
	agrees(&g, "attraction without inertia");
	g = none;
	g.alpha = 0.1;
	g.attraction = GRAVITY_MEAN;
	agrees(&g, "attraction to the mean");
	g = none;
	g.beta = 0.01;
	agrees(&g, "peer-pull");
	g = none;
	g.delta = 0.1;
	g.theta = 0.5;
	agrees(&g, "forgetting");
	g = none;
	g.length = GRAVITY_SPHERE;
	g.delta = 0.1;
	g.alpha = 0.01;
	agrees(&g, "on the sphere");
	g = none;
	g.least = 0.5;
	g.noise = 0.01;
	agrees(&g, "rebirth");
	gravity_init(&g);
	g.warmup = 2;
	g.least = 0.3;
	agrees(&g, "all rules");
}

static void
reborn_keys(void)
{
	struct gravity g = {.rho = 0.5, .least = 0.1, .noise = 0.01};
	struct store s, other;
	struct gravity_keys k = keys_of(&s), k2 = keys_of(&other);
	struct gravity_done done;
	double near = 0;

	make_store(&s);
	make_batch();
	for (int j = 0; j < D; j++)
		s.key[7 * D + j] = 0.001f;
	other = s;
	const struct gravity_batch b = {T, K, query, choice, real};
	gravity_step(&g, &k, &b, 9, 1, 0, &done);
	for (int t = 0; t < T; t++) {
		double dot = 0;
		for (int j = 0; j < D; j++)
			dot += (double)query[t * D + j] * (double)s.key[7 * D + j];
		near = real[t] && dot > near ? dot : near;
	}
	is_real(norm(s.key + 7 * D), 1, 1e-6, "a reborn key has length 1");
	ok(near > 0.99 && near < 1, "close to a query of the batch (%.6f), not at it", near);
	is_long(s.born[7], 9, "and knows when");
	gravity_step(&g, &k2, &b, 9, 2, 0, &done);
	ok(memcmp(other.key + 7 * D, s.key + 7 * D, D * sizeof(float)) != 0,
	   "another seed, another rebirth");
}

/* Padding alone moves nothing but usage, and nobody is reborn of it. */
static void
padding(void)
{
	struct gravity g;
	struct store s, was;
	struct gravity_keys k = keys_of(&s);
	struct gravity_done done;
	unsigned char none[T] = {0};

	gravity_init(&g);
	make_store(&s);
	make_batch();
	for (int i = 0; i < N * D; i++)
		s.key[i] *= 0.01f;
	was = s;
	const struct gravity_batch b = {T, K, query, choice, none};
	gravity_step(&g, &k, &b, 1, 1, 0, &done);
	is_bytes(s.key, was.key, sizeof s.key, "padding moves no key");
	is_long(done.reborn, 0, "and none is born of it");
	is_real((double)s.usage[1], g.rho * (double)was.usage[1], 1e-6, "usage only fades");
}

static void
workers(void)
{
	struct gravity g;
	struct store s[2], start;
	struct gravity_done done;

	gravity_init(&g);
	g.least = 0.4;
	make_store(&start);
	for (int w = 0; w < 2; w++) {
		struct gravity_keys k = keys_of(&s[w]);
		s[w] = start;
		task_start(1 + w);
		draw = rng_at(1, RNG_TEST, 807, 1);
		for (int step = 1; step < 6; step++) {
			make_batch();
			const struct gravity_batch b = {T, K, query, choice, NULL};
			gravity_step(&g, &k, &b, step, 1, 0, &done);
		}
		task_stop();
	}
	is_bytes(&s[1], &s[0], sizeof *s, "two workers leave the same keys as one");
}

int
main(void)
{
	draw = rng_at(1, RNG_TEST, 807, 0);
	task_start(2);
	rules();
	reborn_keys();
	padding();
	task_stop();
	workers();
	return done();
}
