/*
 * knn                  rows of the bench table: exact search beside FAISS, in turn; the filter by
 *                      bytes beside float32; the index of moving keys beside exact search
 * knn keys N D FILE    write N clustered keys of D components as .npy
 * Speeds are as if all products had been made.  BENCH_ROUNDS: how often, for the median.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "base/tick.h"
#include "knn/drift.h"
#include "knn/exact.h"
#include "math/blas.h"
#include "math/kern.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUERIES = 2048, K = 8, CENTRES = 256, MOST = 16 };

static void
unit(float *x, long d)
{
	double s = 0;
	for (long j = 0; j < d; j++)
		s += (double)x[j] * (double)x[j];
	for (long j = 0; j < d; j++)
		x[j] = (float)((double)x[j] / sqrt(s));
}

/* n keys of length 1: around 256 centres, or anywhere. */
static float *
make_keys(long n, long d, bool clustered)
{
	struct rng r = rng_at(1, RNG_DATA, 0, 0);
	float *key = mem_grow(NULL, (size_t)(n * d), sizeof *key), *centre;

	centre = mem_zero(CENTRES * (size_t)d, sizeof *centre);
	if (clustered)
		rng_normals(&r, centre, CENTRES * d);
	rng_normals(&r, key, n * d);
	for (long i = 0; i < n; i++) {
		const float *c = centre + (long)rng_below(&r, CENTRES) * d;
		for (long j = 0; j < d; j++)
			key[i * d + j] = c[j] + 0.7f * key[i * d + j];
		unit(key + i * d, d);
	}
	free(centre);
	return key;
}

/* Like a key drawn, but for noise. */
static void
make_query(struct rng *r, const float *key, long d, float noise, float *q)
{
	rng_normals(r, q, d);
	for (long j = 0; j < d; j++)
		q[j] = key[j] + noise * q[j];
	unit(q, d);
}

static int
write_npy(const char *file, const float *v, long n, long d)
{
	char head[128];
	FILE *f = fopen(file, "w");
	int len = snprintf(head, sizeof head,
			   "%cNUMPY%c%c%c%c{'descr': '<f4', 'fortran_order': False, "
			   "'shape': (%ld, %ld), }",
			   0x93, 1, 0, 118, 0, n, d);

	memset(head + len, ' ', sizeof head - (size_t)len);
	head[127] = '\n';
	if (!f || fwrite(head, 1, sizeof head, f) != sizeof head ||
	    fwrite(v, sizeof *v, (size_t)(n * d), f) != (size_t)(n * d) || fclose(f)) {
		perror(file);
		return -1;
	}
	return 0;
}

static int
by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double
median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof *v, by_size);
	return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

static int
rounds(void)
{
	const char *s = getenv("BENCH_ROUNDS");
	const int n = s ? atoi(s) : 5;
	return n < 1 ? 1 : n > MOST ? MOST : n;
}

/* ---- exact search ---- */

struct peer {
	pid_t pid;
	FILE *to, *from;
};

/* FAISS with these vectors; false where it is not installed. */
static bool
peer_start(struct peer *p, const float *key, long n, long d, const float *query)
{
	char dir[] = "/tmp/moe-bench.XXXXXX", names[2][64], line[64];
	int in[2], out[2];
	bool ready;

	if (!mkdtemp(dir) || pipe(in) || pipe(out))
		return false;
	snprintf(names[0], sizeof names[0], "%s/keys.npy", dir);
	snprintf(names[1], sizeof names[1], "%s/queries.npy", dir);
	ready = !write_npy(names[0], key, n, d) && !write_npy(names[1], query, QUERIES, d);
	if (ready && (p->pid = fork()) == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		execl("/usr/bin/python3", "/usr/bin/python3", "t/bench/knn_faiss.py", names[0],
		      names[1], "8", NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	p->to = fdopen(in[1], "w");
	p->from = fdopen(out[0], "r");
	ready = ready && fgets(line, sizeof line, p->from) != NULL;
	unlink(names[0]);
	unlink(names[1]);
	rmdir(dir);
	return ready;
}

static double
peer_search(struct peer *p, int threads)
{
	double t = 0;
	fprintf(p->to, "%d\n", threads);
	fflush(p->to);
	return fscanf(p->from, "%lf", &t) == 1 ? t : NAN;
}

static void
peer_stop(struct peer *p)
{
	fclose(p->to);
	fclose(p->from);
	waitpid(p->pid, NULL, 0);
}

static double
our_search(const struct exact *x, const float *query)
{
	static int id[QUERIES * K];
	static float score[QUERIES * K];
	const double begun = tick_now();

	exact_search(x, query, QUERIES, K, id, score);
	return tick_now() - begun;
}

/* One size with so many workers: ours as it comes, ours by float32 alone, FAISS; in turn. */
static void
exact_rows(const struct exact *any, const struct exact *floats, struct peer *peer, long n, long d,
	   const float *query, int workers)
{
	double t[3][MOST];
	const double work = 2e-9 * QUERIES * (double)n * (double)d;
	char theirs[32] = "", ratio[2][32] = {"", ""};
	const int times = rounds();

	task_start(workers);
	const double peak = blas_peak(0.2);
	for (int i = 0; i < times; i++) {
		t[0][i] = our_search(any, query);
		t[1][i] = our_search(floats, query);
		t[2][i] = peer ? peer_search(peer, workers) : NAN;
	}
	const double ours = median(t[0], times), plain = median(t[1], times);
	if (peer) {
		const double its = median(t[2], times);
		snprintf(theirs, sizeof theirs, "%.1f", work / its);
		snprintf(ratio[0], sizeof ratio[0], "%.2f", its / ours);
		snprintf(ratio[1], sizeof ratio[1], "%.2f", its / plain);
	}
	printf("knn search,N=%ld d=%ld j=%d,%.1f,%s,GF/s,%s,%.3f\n", n, d, workers, work / ours,
	       theirs, ratio[0], work / ours / peak);
	printf("knn search float,N=%ld d=%ld j=%d,%.1f,%s,GF/s,%s,%.3f\n", n, d, workers,
	       work / plain, theirs, ratio[1], work / plain / peak);
	printf("knn bytes beside float,N=%ld d=%ld j=%d,%.1f,%.1f,GF/s,%.2f,\n", n, d, workers,
	       work / ours, work / plain, plain / ours);
	fflush(stdout);
}

static void
exact_bench(long n, long d)
{
	float *key = make_keys(n, d, true), *query = mem_zero(QUERIES * (size_t)d, sizeof *query);
	struct rng r = rng_at(1, RNG_DATA, 1, 0);
	struct peer peer;

	for (int i = 0; i < QUERIES; i++)
		make_query(&r, key + (long)rng_below(&r, (uint64_t)n) * d, d, 0.05f, query + i * d);
	task_start(0);
	struct exact *any = exact_new(key, n, d, EXACT_AUTO, QUERIES);
	struct exact *floats = exact_new(key, n, d, EXACT_FLOAT, QUERIES);
	const int most = task_workers();
	const bool there = peer_start(&peer, key, n, d, query);
	if (!there)
		fputs("knn: no peer (as root: apt-get install python3-faiss)\n", stderr);
	for (int w = 1; w <= most; w *= 2)
		exact_rows(any, floats, there ? &peer : NULL, n, d, query, w);
	peer_stop(&peer);
	exact_free(any);
	exact_free(floats);
	free(key);
	free(query);
}

/* ---- moving keys ---- */

enum { ASKED = 4096, MOVED = 32768, CHECKED = 256 };

struct stream {
	struct drift *x;
	long n, d;
	float query[ASKED * 64], to[MOVED * 64], score[ASKED * K];
	int moved[MOVED], id[ASKED * K], exact[CHECKED * K];
};

static void
draw(struct stream *s, int step)
{
	struct rng r = rng_at(1, RNG_DATA, 2, (uint64_t)step);
	const long stride = s->n / MOVED;

	for (int i = 0; i < ASKED; i++)
		make_query(&r, drift_key(s->x, (int)rng_below(&r, (uint64_t)s->n)), s->d, 0.05f,
			   s->query + i * s->d);
	for (int i = 0; i < MOVED; i++) {
		s->moved[i] = (int)(i * stride + (long)rng_below(&r, (uint64_t)stride));
		make_query(&r, drift_key(s->x, s->moved[i]), s->d, 0.05f / sqrtf((float)s->d),
			   s->to + i * s->d);
	}
}

/* 4,096 queries, then 32,768 keys move, again and again; beside scoring all keys. */
static void
drift_bench(long n, int steps, bool clustered)
{
	struct stream *s = mem_zero(1, sizeof *s);
	float *key = make_keys(n, 64, clustered);
	const char *kind = clustered ? "clustered" : "isotropic";
	double took = 0, sweep = 0, exact = 0, begun, recall, least = 1, mean = 0;

	task_start(0);
	s->n = n;
	s->d = 64;
	s->x = drift_new(key, n, s->d, 0, 1);
	draw(s, -1);
	double reach = drift_tune(s->x, s->query, 1024, K, 0.994);
	for (int step = 0; step < steps; step++) {
		draw(s, step);
		begun = tick_now();
		drift_search(s->x, s->query, ASKED, K, reach, s->id, s->score, NULL);
		took += tick_now() - begun;
		begun = tick_now();
		drift_sweep(s->x, s->query, CHECKED, K, s->exact, s->score);
		sweep += (tick_now() - begun) * ASKED / CHECKED;
		recall = drift_recall(s->id, s->exact, CHECKED, K);
		least = recall < least ? recall : least;
		mean += recall / steps;
		begun = tick_now();
		drift_move(s->x, s->moved, MOVED, s->to);
		drift_upkeep(s->x, 256);
		took += tick_now() - begun;
	}
	for (long i = 0; i < n; i++)
		memcpy(key + i * s->d, drift_key(s->x, (int)i), (size_t)s->d * sizeof *key);
	struct exact *x = exact_new(key, n, s->d, EXACT_AUTO, ASKED);
	begun = tick_now();
	exact_search(x, s->query, ASKED, K, s->id, s->score);
	exact = tick_now() - begun;
	printf("knn drift beside float,N=%ld d=64 %s,%.4f,%.4f,s/step,%.2f,\n", n, kind,
	       took / steps, sweep / steps, sweep / took);
	printf("knn drift beside bytes,N=%ld d=64 %s,%.4f,%.4f,s/step,%.2f,\n", n, kind,
	       took / steps, exact, exact * steps / took);
	printf("knn drift recall mean,N=%ld d=64 %s %d steps,%.4f,,share,,\n", n, kind, steps,
	       mean);
	printf("knn drift recall least,N=%ld d=64 %s %d steps,%.4f,,share,,\n", n, kind, steps,
	       least);
	fflush(stdout);
	exact_free(x);
	drift_free(s->x);
	free(key);
	free(s);
}

int
main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "keys")) {
		const long n = atol(argv[2]), d = atol(argv[3]);
		return write_npy(argv[4], make_keys(n, d, true), n, d) ? 1 : 0;
	}
	if (argc > 2) {
		fputs("usage: knn [exact|drift]\n       knn keys N D FILE\n", stderr);
		return 2;
	}
	blas_start();
	kern_choose(NULL);
	if (argc < 2 || !strcmp(argv[1], "exact")) {
		exact_bench(1024, 256);
		exact_bench(16384, 256);
		exact_bench(100000, 256);
		exact_bench(1000000, 64);
	}
	if (argc < 2 || !strcmp(argv[1], "drift")) {
		drift_bench(1000000, 100, true);
		drift_bench(1000000, 10, false);
	}
	task_stop();
	return fflush(stdout) || ferror(stdout);
}
