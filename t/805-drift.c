/*
 * The index of moving keys: whatever moves, and for however long, a search with reach 1 finds to
 * the bit what brute force finds; a smaller reach finds what it was tuned to.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "knn/drift.h"
#include "knn/pick.h"
#include "math/kern.h"
#include "tap.h"

enum { N = 700, M = 37, K = 6, STEPS = 60 };

static struct rng draw;
static char wrong[200];

static float
normal(void)
{
	return (float)rng_normal(&draw);
}

/* Brute force over the keys as the test itself has moved them. */
static void
brute(const float *key, long n, long d, const float *q, int k, struct pick_found *best)
{
	int have = 0;
	for (int i = 0; i < n; i++) {
		struct pick_found f = {pick_score(d, q, key + i * d), i};
		have = pick_insert(best, have, k, f);
	}
}

static void
check(const float *key, long d, const float *query, const int *id, const float *score,
      const char *what, int step)
{
	struct pick_found best[K];
	for (int q = 0; q < M && !*wrong; q++) {
		brute(key, N, d, query + q * d, K, best);
		for (int i = 0; i < K && !*wrong; i++)
			if (id[q * K + i] != best[i].id || score[q * K + i] != best[i].score)
				snprintf(wrong, sizeof wrong,
					 "%s, step %d, query %d, rank %d: %d %.9g, not %d %.9g",
					 what, step, q, i, id[q * K + i], (double)score[q * K + i],
					 best[i].id, (double)best[i].score);
	}
}

/* A new place for a key: mostly a little further; at times anywhere. */
static void
wander(float *k, long d, int step)
{
	const int how = (int)rng_below(&draw, 40);
	for (long j = 0; j < d; j++)
		k[j] = how == 0	  ? 0
		       : how == 1 ? normal() * 30
		       : how == 2 ? (float)(j % 3)
		       : how == 3 ? -k[j]
		       : how == 4 ? k[j] * 1e-6f
				  : k[j] + 0.05f * normal() + (step > STEPS / 2 ? 0.02f : 0);
}

/* Drift for many steps; all keys move in every tenth. */
static void
long_drift(long d, int clusters, bool bunched)
{
	float *key = mem_zero(N * (size_t)d, sizeof *key),
	      *to = mem_zero(N * (size_t)d, sizeof *to);
	float *query = mem_zero(M * (size_t)d, sizeof *query), score[M * K], swept[M * K];
	int id[M * K], its[M * K], moved[N];
	struct drift_work work = {0};

	for (long i = 0; i < N * d; i++)
		key[i] = (bunched ? (float)((i / d % 9 * 7 + i % d * 5) % 11 - 5) : 0) +
			 0.4f * normal();
	struct drift *x = drift_new(key, N, d, clusters, 1);
	for (int step = 0; step < STEPS; step++) {
		for (long i = 0; i < M * d; i++)
			query[i] = i / d % 4 == 3 ? normal() : key[i] + 0.1f * normal();
		if (step % 7 == 0)
			memset(query, 0, (size_t)d * sizeof *query);
		drift_search(x, query, M, K, 1, id, score, &work);
		check(key, d, query, id, score, "search", step);
		drift_sweep(x, query, M, K, its, swept);
		check(key, d, query, its, swept, "sweep", step);
		int n = 0;
		for (int i = 0; i < N; i++)
			if (step % 10 == 9 || rng_below(&draw, 8) == 0) {
				wander(key + i * d, d, step);
				memcpy(to + n * d, key + i * d, (size_t)d * sizeof *to);
				moved[n++] = i;
			}
		drift_move(x, moved, n, to);
		if (step % 2)
			drift_upkeep(x, 5);
	}
	for (int i = 0; i < N && !*wrong; i++)
		if (memcmp(drift_key(x, i), key + i * d, (size_t)d * sizeof *key))
			snprintf(wrong, sizeof wrong, "key %d is not where it went", i);
	if (work.considered != (double)STEPS * M * N)
		snprintf(wrong, sizeof wrong, "%g products considered", work.considered);
	drift_free(x);
	free(key);
	free(to);
	free(query);
}

static void
certified(void)
{
	static const char *const names[] = {"avx512", "avx2", "portable"};

	for (int i = 0; i < 3; i++) {
		if (kern_choose(names[i]) != 0)
			continue;
		*wrong = 0;
		task_start(1 + i % 2);
		for (int c = 0; c < 4; c++)
			long_drift(3 + 7 * c, c == 1 ? 1 : c == 2 ? N : 0, c % 2);
		task_stop();
		is_text(wrong, "", "%s: reach 1 is exact over %d steps of drift", names[i], STEPS);
	}
	kern_choose(NULL);
}

/* Vectors whose lengths lie outside float32's comfortable range. */
static void
extremes(void)
{
	static const float scales[] = {1e-30f, 1e-20f, 1e15f, 1e19f, 3e37f};
	const long d = 6;
	float key[N * 6], query[M * 6], score[M * K];
	int id[M * K];

	*wrong = 0;
	task_start(1);
	for (int s = 0; s < 5; s++)
		for (int t = 0; t < 5; t++) {
			for (long i = 0; i < N * d; i++)
				key[i] = normal() * (i / d % 5 ? scales[s] : 1);
			for (long i = 0; i < M * d; i++)
				query[i] = normal() * (i / d % 3 ? scales[t] : 1);
			struct drift *x = drift_new(key, N, d, 0, 1);
			drift_search(x, query, M, K, 1, id, score, NULL);
			check(key, d, query, id, score, "extremes", s * 10 + t);
			drift_free(x);
		}
	task_stop();
	is_text(wrong, "", "so it is for keys and queries of all lengths");
}

static void
equal_keys(void)
{
	float key[N * 3], query[M * 3], score[M * K];
	int id[M * K];

	*wrong = 0;
	task_start(1);
	for (long i = 0; i < N * 3; i++)
		key[i] = 0.3f;
	for (long i = 0; i < M * 3; i++)
		query[i] = normal();
	struct drift *x = drift_new(key, N, 3, 0, 1);
	drift_search(x, query, M, K, 1, id, score, NULL);
	check(key, 3, query, id, score, "equal keys", 0);
	drift_upkeep(x, 1);
	drift_search(x, query, M, K, 1, id, score, NULL);
	check(key, 3, query, id, score, "equal keys after upkeep", 0);
	drift_free(x);
	task_stop();
	is_text(wrong, "", "and for keys that are all equal");
}

/* Clusters far apart: most need no look even for a proof. */
static void
pruned(void)
{
	enum { n = 4000, d = 16, m = 300 };
	float *key = mem_zero(n * d, sizeof *key), *query = mem_zero(m * d, sizeof *query);
	float score[m * K];
	int id[m * K], exact[m * K], two[m * K];
	struct drift_work work = {0}, less = {0};
	double reach;

	for (int i = 0; i < n; i++)
		for (int j = 0; j < d; j++)
			key[i * d + j] = (j == i % d ? 1 : 0) + 0.05f * normal();
	for (int i = 0; i < m * d; i++)
		query[i] = key[i] + 0.05f * normal();
	task_start(1);
	struct drift *x = drift_new(key, n, d, d, 1);
	is_long(drift_clusters(x), d, "as many clusters as were asked for");
	drift_search(x, query, m, K, 1, exact, score, &work);
	ok(work.scored < 0.5 * work.considered, "an exact search scores %.3f of the keys",
	   work.scored / work.considered);
	reach = drift_tune(x, query, m, K, 0.9);
	drift_search(x, query, m, K, reach, id, score, &less);
	ok(reach < 1 && less.scored <= work.scored, "reach %.3f looks at no more", reach);
	ok(drift_recall(id, exact, m, K) >= 0.9, "and finds %.4f of the best",
	   drift_recall(id, exact, m, K));
	is_real(drift_recall(exact, exact, m, K), 1, 0, "of itself an answer recalls all");
	task_stop();
	task_start(2);
	drift_search(x, query, m, K, reach, two, score, NULL);
	is_bytes(two, id, sizeof id, "two workers find the same");
	drift_free(x);
	task_stop();
	free(key);
	free(query);
}

/* A small reach may find fewer than k: what is missing is marked. */
static void
fewer(void)
{
	const float key[] = {1, 0, 0, 1, -1, 0}, query[] = {1, 0};
	float score[3];
	int id[3];

	task_start(1);
	struct drift *x = drift_new(key, 3, 2, 3, 1);
	drift_search(x, query, 1, 3, 0, id, score, NULL);
	is_long(id[0], 0, "the best is found first");
	drift_search(x, query, 1, 3, 1, id, score, NULL);
	ok(id[0] == 0 && id[1] == 1 && id[2] == 2, "k = n gives all");
	drift_free(x);
	task_stop();
}

int
main(void)
{
	draw = rng_at(1, RNG_TEST, 805, 0);
	certified();
	extremes();
	equal_keys();
	pruned();
	fewer();
	return done();
}
