/*
 * Exact search beside brute force, to the bit: every kernel, both filters, one worker and two, on
 * vectors that are easy, equal, cancelling, huge and tiny.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "knn/exact.h"
#include "math/kern.h"
#include "tap.h"

static struct rng draw;

struct set {
	long n, m, d;
	float *key, *query;
};

static float
normal(void)
{
	return (float)rng_normal(&draw);
}

static float
sign(void)
{
	return rng_u32(&draw) & 1 ? 1 : -1;
}

/* One component of a vector of a kind; i: the vector's number. */
typedef float component(long i, long j, long d);

static float
plain(long i, long j, long d)
{
	(void)i, (void)j, (void)d;
	return normal();
}

static float
clustered(long i, long j, long d)
{
	(void)d;
	return (float)((i % 5 * 31 + j * 17) % 11 - 5) + 0.05f * normal();
}

static float
repeated(long i, long j, long d)
{
	(void)d;
	return (float)((i % 3 + j * 7) % 5 - 2);
}

static float
same(long i, long j, long d)
{
	(void)i, (void)j, (void)d;
	return 0.7f;
}

/* Sums in which all but the last digits cancel. */
static float
cancelling(long i, long j, long d)
{
	const float big = 4096 + (float)((i + j / 2) % 3);
	return j + 1 == d ? 1e-3f * normal() : (j % 2 ? -big : big) + 1e-3f * normal();
}

static float
magnitudes(long i, long j, long d)
{
	(void)i, (void)j, (void)d;
	return sign() * ldexpf(1 + (float)rng_uniform(&draw), (int)rng_below(&draw, 120) - 60);
}

/* A few long keys among short ones. */
static float
unequal(long i, long j, long d)
{
	(void)j, (void)d;
	return normal() * (i % 50 == 7 ? 1000 : 0.01f);
}

static float
subnormal(long i, long j, long d)
{
	(void)i, (void)j, (void)d;
	return sign() * ldexpf((float)rng_below(&draw, 7), -149);
}

/* Products of 2^-150: each rounds to a subnormal or to 0. */
static float
tiny(long i, long j, long d)
{
	(void)i, (void)j, (void)d;
	return normal() * 0x1p-75f;
}

/* Sums beyond float32, though some scores are within. */
static float
huge(long i, long j, long d)
{
	(void)i, (void)j, (void)d;
	return normal() * 1e19f;
}

static float
greatest(long i, long j, long d)
{
	(void)j, (void)d;
	return sign() * (i % 4 ? 3e38f : 1e-38f);
}

static float
sparse(long i, long j, long d)
{
	(void)d;
	return (i + j) % 7 ? 0 : sign() * 0.5f;
}

static float
zero(long i, long j, long d)
{
	(void)j, (void)d;
	return i % 2 ? 0 : -0.0f;
}

static const struct {
	const char *name;
	component *f;
} kinds[] = {{"random", plain},	    {"clustered", clustered},	{"repeated", repeated},
	     {"equal", same},	    {"cancelling", cancelling}, {"of all magnitudes", magnitudes},
	     {"unequal", unequal},  {"subnormal", subnormal},	{"tiny", tiny},
	     {"overflowing", huge}, {"greatest", greatest},	{"sparse", sparse},
	     {"zero", zero}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* The vectors end where memory checked by a sanitizer ends. */
static struct set
make(component *f, long n, long m, long d)
{
	struct set s = {.n = n, .m = m, .d = d};
	s.key = mem_grow(NULL, (size_t)(n * d), sizeof(float));
	s.query = mem_grow(NULL, (size_t)(m * d), sizeof(float));
	for (long i = 0; i < n * d; i++)
		s.key[i] = f(i / d, i % d, d);
	for (long i = 0; i < m * d; i++)
		s.query[i] = f(i / d + 1, i % d, d);
	return s;
}

static void
drop(struct set *s)
{
	free(s->key);
	free(s->query);
}

/* ---- brute force ---- */

struct ranked {
	float score;
	int id;
};

static int
by_score(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->score != y->score)
		return x->score < y->score ? 1 : -1;
	return x->id - y->id;
}

static void
brute(const struct set *s, int k, int *id, float *score)
{
	struct ranked *r = mem_zero((size_t)s->n, sizeof *r);
	for (long q = 0; q < s->m; q++) {
		for (long i = 0; i < s->n; i++) {
			double sum = 0;
			for (long j = 0; j < s->d; j++)
				sum += (double)s->query[q * s->d + j] *
				       (double)s->key[i * s->d + j];
			r[i] = (struct ranked){(float)sum, (int)i};
		}
		qsort(r, (size_t)s->n, sizeof *r, by_score);
		for (int i = 0; i < k; i++) {
			id[q * k + i] = r[i].id;
			score[q * k + i] = r[i].score;
		}
	}
	free(r);
}

static char wrong[200];

/* Compare one search with what brute force found; the first difference is kept. */
static void
compare(const struct set *s, int k, enum exact_filter filter, const int *id, const float *score,
	const char *how)
{
	const size_t n = (size_t)(s->m * k);
	int *got = mem_zero(n, sizeof *got);
	float *its = mem_zero(n, sizeof *its);
	struct exact *x = exact_new(s->key, s->n, s->d, filter, s->m);

	exact_search(x, s->query, s->m, k, got, its);
	for (size_t i = 0; i < n && !*wrong; i++)
		if (got[i] != id[i] || memcmp(&its[i], &score[i], sizeof *its))
			snprintf(wrong, sizeof wrong,
				 "%s: %ldx%ld, query %zu, rank %zu: %d %a, expected %d %a", how,
				 s->n, s->d, i / (size_t)k, i % (size_t)k, got[i], (double)its[i],
				 id[i], (double)score[i]);
	exact_free(x);
	free(got);
	free(its);
}

static const char *const names[] = {"avx512", "avx2", "portable"};

/* Every kernel and filter; one worker and two. */
static void
all_ways(const struct set *s, int k)
{
	const size_t n = (size_t)(s->m * k);
	int *id = mem_zero(n, sizeof *id);
	float *score = mem_zero(n, sizeof *score);
	char how[64];

	brute(s, k, id, score);
	for (int w = 1; w <= 2; w++) {
		task_start(w);
		for (int i = 0; i < 3; i++)
			for (int f = EXACT_AUTO; f <= EXACT_BYTES; f++) {
				if (kern_choose(names[i]) != 0)
					continue;
				snprintf(how, sizeof how, "%s, filter %d, -j%d", names[i], f, w);
				compare(s, k, (enum exact_filter)f, id, score, how);
			}
		task_stop();
	}
	kern_choose(NULL);
	free(id);
	free(score);
}

static void
kinds_and_shapes(void)
{
	static const struct {
		long n, m, d;
		int k;
	} shape[] = {{1, 1, 1, 1},     {5, 3, 2, 5},	 {13, 33, 3, 4},
		     {15, 17, 7, 8},   {29, 40, 31, 1},	 {200, 70, 33, 9},
		     {643, 65, 16, 8}, {300, 5, 64, 70}, {97, 300, 5, 97}};

	for (int i = 0; i < KINDS; i++) {
		*wrong = 0;
		for (size_t h = 0; h < sizeof shape / sizeof *shape; h++) {
			struct set s = make(kinds[i].f, shape[h].n, shape[h].m, shape[h].d);
			all_ways(&s, shape[h].k);
			drop(&s);
		}
		is_text(wrong, "", "%s vectors of %zu shapes", kinds[i].name,
			sizeof shape / sizeof *shape);
	}
}

/* Enough keys for several tasks along them, several queries' tasks, many blocks. */
static void
many(void)
{
	struct set s = make(clustered, 70001, 9, 20);

	*wrong = 0;
	all_ways(&s, 8);
	is_text(wrong, "", "70,001 keys, few queries");
	drop(&s);
	s = make(plain, 3001, 700, 21);
	all_ways(&s, 8);
	is_text(wrong, "", "3,001 keys, 700 queries");
	drop(&s);
	s = make(same, 40000, 2, 9);
	all_ways(&s, 100);
	is_text(wrong, "", "40,000 keys that are all equal");
	drop(&s);
}

/* Ever better keys: each scan proposes all of them. */
static void
rising(void)
{
	struct set s = make(plain, 5000, 40, 6);

	for (long i = 0; i < s.n * s.d; i++)
		s.key[i] = (float)(i / s.d);
	for (long i = 0; i < s.m * s.d; i++)
		s.query[i] = i % 3 ? 1 : -0.9f;
	*wrong = 0;
	all_ways(&s, 8);
	is_text(wrong, "", "keys in rising order");
	drop(&s);
}

static void
scores(void)
{
	const float q[] = {1, 1, 1}, k[] = {0x1p60f, 1, -0x1p60f};

	is_real((double)pick_score(3, q, k), 0, 0, "a score adds in order of the index");
	is_real((double)pick_score(1, q, (const float[]){3e38f}), (double)3e38f, 0, "one product");
	is_real((double)pick_score(2, (const float[]){2, 2}, (const float[]){3e38f, 3e38f}),
		(double)INFINITY, 0, "beyond float32 it is infinite");
}

/* Bytes are used where they promise to pay, and only there. */
static void
choice(void)
{
	struct set s = make(plain, 500, 100, 40);
	struct exact *x;
	const bool can = scan_table()->bytes != NULL;

	task_start(1);
	x = exact_new(s.key, s.n, s.d, EXACT_FLOAT, s.m);
	is_long(exact_uses_bytes(x), false, "no bytes when float32 is asked for");
	exact_free(x);
	x = exact_new(s.key, s.n, s.d, EXACT_BYTES, s.m);
	is_long(exact_uses_bytes(x), can, "bytes when they are asked for and possible");
	exact_free(x);
	x = exact_new(s.key, s.n, s.d, EXACT_AUTO, 1);
	is_long(exact_uses_bytes(x), false, "no bytes for one query");
	exact_free(x);
	x = exact_new(s.key, s.n, s.d, EXACT_AUTO, s.m);
	is_long(exact_uses_bytes(x), can, "bytes for many");
	exact_free(x);
	s.key[77] = 1e9f;
	x = exact_new(s.key, s.n, s.d, EXACT_AUTO, s.m);
	is_long(exact_uses_bytes(x), false, "no bytes where one value dwarfs all others");
	exact_free(x);
	task_stop();
	drop(&s);
}

int
main(void)
{
	draw = rng_at(1, RNG_TEST, 801, 0);
	kern_choose(NULL);
	scores();
	kinds_and_shapes();
	many();
	rising();
	choice();
	return done();
}
