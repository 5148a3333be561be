#include "knn/exact.h"
#include "base/mem.h"
#include "base/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	CHUNK = 256,	 /* queries of a task, at most */
	BLOCK = 1 << 17, /* bytes of the keys that pass through the caches together */
	SPAN = 1 << 14,	 /* keys of a task, at least */
	TASKS = 16,	 /* are enough */
	SLICE = 1 << 12, /* keys made ready by a task */
	FEW = 1 << 6,	 /* queries for which bytes are not worth making */
};

/* Bytes this far off, in lengths of a typical key, would let too much through to be scored. */
static const double COARSE = 0.04;

struct exact {
	struct pick_keys keys;
	long n;
	/* The filter by bytes, NULL if there is none. */
	uint8_t *byte; /* [n][width] round(key / step) + 128 */
	long width;    /* d, rounded up to a multiple of 4 */
	float step;
	double off; /* at least |key - step * byte| of each */
};

/* ---- keys made ready ---- */

struct slices {
	struct exact *x;
	double *norm, *inverse, *off; /* the greatest norm, the sum of 1 / norm, the greatest */
	float *most;
};

static void
measure(void *arg, long i, int worker)
{
	const struct slices *s = arg;
	const struct exact *x = s->x;
	const long d = x->keys.d, to = (i + 1) * SLICE < x->n ? (i + 1) * SLICE : x->n;

	(void)worker;
	for (long r = i * SLICE; r < to; r++) {
		const float *k = x->keys.key + r * d;
		const double norm = pick_norm(d, k);
		s->norm[i] = norm > s->norm[i] ? norm : s->norm[i];
		s->inverse[i] += norm > 0 ? 1 / norm : 0;
		const float most = scan_table()->most(d, k);
		s->most[i] = most > s->most[i] ? most : s->most[i];
	}
}

static void
quantize(void *arg, long i, int worker)
{
	const struct slices *s = arg;
	const struct exact *x = s->x;
	const long d = x->keys.d, to = (i + 1) * SLICE < x->n ? (i + 1) * SLICE : x->n;
	const struct scan *scan = scan_table();

	(void)worker;
	for (long r = i * SLICE; r < to; r++) {
		uint8_t *b = x->byte + r * x->width;
		const double off = scan->quantize(d, x->keys.key + r * d, x->step, 128, b);
		memset(b + d, 128, (size_t)(x->width - d));
		if (off > s->off[i])
			s->off[i] = off;
	}
}

/* One step for all keys: 127 steps to the greatest value. False where that is none. */
static bool
make_bytes(struct exact *x, struct slices *s, long slices)
{
	float most = 0;
	double off = 0;

	for (long i = 0; i < slices; i++)
		most = s->most[i] > most ? s->most[i] : most;
	if (!scan_table()->bytes || x->keys.d > SCAN_BYTES || most < 0x1p-100f || most > 0x1p100f)
		return false;
	x->width = (x->keys.d + 3) / 4 * 4;
	x->byte = mem_zero((size_t)x->n, (size_t)x->width);
	x->step = most / 127;
	task_run(slices, quantize, s);
	for (long i = 0; i < slices; i++)
		off = s->off[i] > off ? s->off[i] : off;
	x->off = off;
	return true;
}

struct exact *
exact_new(const float *keys, long n, long d, enum exact_filter filter, long queries)
{
	const long slices = (n + SLICE - 1) / SLICE;
	struct exact *x = mem_zero(1, sizeof *x);
	struct slices s = {.x = x,
			   .norm = mem_zero((size_t)slices, sizeof *s.norm),
			   .inverse = mem_zero((size_t)slices, sizeof *s.inverse),
			   .off = mem_zero((size_t)slices, sizeof *s.off),
			   .most = mem_zero((size_t)slices, sizeof *s.most)};
	double inverse = 0;

	x->keys = (struct pick_keys){.key = keys, .d = d};
	x->n = n;
	task_run(slices, measure, &s);
	for (long i = 0; i < slices; i++) {
		x->keys.norm = s.norm[i] > x->keys.norm ? s.norm[i] : x->keys.norm;
		inverse += s.inverse[i];
	}
	if (filter == EXACT_BYTES || (filter == EXACT_AUTO && queries >= FEW))
		make_bytes(x, &s, slices);
	if (filter == EXACT_AUTO && x->off * inverse > COARSE * (double)n) {
		free(x->byte);
		x->byte = NULL;
	}
	free(s.norm);
	free(s.inverse);
	free(s.off);
	free(s.most);
	return x;
}

void
exact_free(struct exact *x)
{
	if (x)
		free(x->byte);
	free(x);
}

bool
exact_uses_bytes(const struct exact *x)
{
	return x->byte != NULL;
}

/* ---- search ---- */

struct job {
	const struct exact *x;
	const struct scan *scan;
	const float *query;
	long m;
	int k;
	long panels, chunks, spans;
	size_t panel_bytes;
	struct pick_found *part; /* [spans][m][k]: the best k of each span, id -1 where there are
				  * fewer */
	int *id;
	float *score;
};

/* A worker's memory: for each panel of a chunk its pick, the pick's memory, and the queries. */
struct bench {
	struct pick *pick;
	char *memory, *panel;
	struct scan_hits *hits;
};

static long
most_panels(const struct job *j)
{
	return (j->panels + j->chunks - 1) / j->chunks;
}

static size_t
pick_memory(const struct job *j)
{
	return (pick_bytes(j->k, j->x->keys.d) + 63) / 64 * 64;
}

static struct bench
bench(const struct job *j, int worker)
{
	const size_t n = (size_t)most_panels(j), memory = pick_memory(j);
	struct arena a = {0};
	struct bench b;

	for (int pass = 0; pass < 2; pass++) {
		b.hits = arena_take(&a, 1, sizeof *b.hits);
		b.pick = arena_take(&a, n, sizeof *b.pick);
		b.memory = arena_take(&a, n, memory);
		b.panel = arena_take(&a, n, j->panel_bytes);
		if (!pass)
			a = (struct arena){.base = task_scratch(worker, a.used)};
	}
	return b;
}

/*
 * A query in bytes: q = step q8 + e.  The keys are k = x->step k8 + f, so that q.k and the product
 * of the bytes, in units of both steps, differ by |e.k + (q - e).f| <= |e| |k| + (|q| + |e|) |f|,
 * beside the roundings of the score and of sums beyond 2^24 to float32.
 */
static void
query_bytes(const struct exact *x, const struct scan *scan, struct pick *p, int lane, int8_t *byte)
{
	struct pick_lane *l = &p->lane[lane];
	const long d = x->keys.d;
	const float step = fmaxf(scan->most(d, l->query), 0x1p-100f) / 127;
	double e, margin;
	long sum = 0;

	e = scan->quantize(d, l->query, step, 0, (uint8_t *)byte);
	for (long j = 0; j < d; j++)
		sum += byte[j];
	l->unit = 1 / ((double)step * (double)x->step);
	l->offset = 128.0 * (double)sum;
	margin = e * x->keys.norm + (l->norm + e) * x->off + 0x1p-21 * l->norm * x->keys.norm +
		 0x1p-148;
	margin = margin * l->unit * (1 + 1e-6) + (double)x->width * 0x1p-7;
	p->scan.slack[lane] = l->norm * x->keys.norm < PICK_MOST
				      ? nextafterf((float)(2 * margin), INFINITY)
				      : INFINITY;
}

static void
pack_bytes(const struct exact *x, const struct scan *scan, struct pick *p, int8_t *panel)
{
	int8_t *byte = mem_zero((size_t)x->width, 1);

	memset(panel, 0, (size_t)(x->width * scan->lanes));
	for (int i = 0; i < p->lanes; i++) {
		query_bytes(x, scan, p, i, byte);
		for (long j = 0; j < x->width; j += 4)
			memcpy(panel + j * scan->lanes + 4 * i, byte + j, 4);
	}
	free(byte);
}

static void
start(const struct job *j, struct bench *b, long first, long count)
{
	const size_t memory = pick_memory(j);
	const long d = j->x->keys.d;

	for (long i = 0; i < count; i++) {
		const long from = (first + i) * j->scan->lanes, left = j->m - from;
		const int lanes = left < j->scan->lanes ? (int)left : j->scan->lanes;
		const float *q = j->query + from * d;
		char *panel = b->panel + (size_t)i * j->panel_bytes;
		pick_start(&b->pick[i], &j->x->keys, lanes, j->k, q, b->memory + (size_t)i * memory,
			   b->hits);
		if (j->x->byte)
			pack_bytes(j->x, j->scan, &b->pick[i], (int8_t *)panel);
		else
			j->scan->pack(lanes, d, q, (float *)(void *)panel);
	}
}

/* Keys [from, to) against one panel. */
static void
scan_block(const struct job *j, struct pick *p, const char *panel, long from, long to)
{
	const struct exact *x = j->x;
	const long d = x->keys.d;

	while (from < to) {
		const long done = x->byte ? j->scan->bytes(&p->scan, p->lanes, x->width,
							   (const int8_t *)panel, to - from,
							   x->byte + from * x->width)
					  : j->scan->panel(&p->scan, p->lanes, d,
							   (const float *)(const void *)panel,
							   to - from, x->keys.key + from * d);
		pick_take(p, from);
		from += done;
	}
}

static void
collect(const struct job *j, struct pick *p, long span, long query)
{
	pick_settle(p);
	for (int i = 0; i < p->lanes; i++) {
		struct pick_found *to = j->part + ((span * j->m) + query + i) * j->k;
		memcpy(to, p->lane[i].best, (size_t)p->lane[i].found * sizeof *to);
		for (int r = p->lane[i].found; r < j->k; r++)
			to[r].id = -1;
	}
}

/* The queries of one chunk under the keys of one span. */
static void
search(void *arg, long task, int worker)
{
	const struct job *j = arg;
	const long chunk = task % j->chunks, span = task / j->chunks, n = j->x->n;
	const long first = chunk * j->panels / j->chunks;
	const long count = (chunk + 1) * j->panels / j->chunks - first;
	const long tile = j->scan->rows, width = j->x->byte ? j->x->width : 4 * j->x->keys.d;
	const long block = BLOCK / width / tile * tile + (BLOCK / width < tile ? tile : 0);
	const long from = span * n / j->spans, to = (span + 1) * n / j->spans;
	struct bench b = bench(j, worker);

	start(j, &b, first, count);
	for (long r = from; r < to; r += block)
		for (long i = 0; i < count; i++)
			scan_block(j, &b.pick[i], b.panel + (size_t)i * j->panel_bytes, r,
				   r + block < to ? r + block : to);
	for (long i = 0; i < count; i++)
		collect(j, &b.pick[i], span, (first + i) * j->scan->lanes);
}

/* The best of all spans for one query. */
static void
merge_query(const struct job *j, long query)
{
	struct pick_found *best = j->part + query * j->k;
	int n = 0;

	while (n < j->k && best[n].id >= 0)
		n++;
	for (long s = 1; s < j->spans; s++) {
		const struct pick_found *f = j->part + (s * j->m + query) * j->k;
		for (int r = 0; r < j->k && f[r].id >= 0; r++)
			n = pick_insert(best, n, j->k, f[r]);
	}
	for (int r = 0; r < j->k; r++) {
		j->id[query * j->k + r] = best[r].id;
		j->score[query * j->k + r] = best[r].score;
	}
}

static void
merge(void *arg, long chunk, int worker)
{
	const struct job *j = arg;
	const long to = (chunk + 1) * CHUNK < j->m ? (chunk + 1) * CHUNK : j->m;

	(void)worker;
	for (long query = chunk * CHUNK; query < to; query++)
		merge_query(j, query);
}

/* In how many spans keys are searched, so that chunks and spans make tasks enough. */
static long
spans(long n, long chunks)
{
	long spans = (TASKS + chunks - 1) / chunks;

	if (spans > n / SPAN)
		spans = n / SPAN;
	return spans < 1 || chunks >= TASKS / 2 ? 1 : spans;
}

size_t
exact_bytes(long n, long d, long m, int k)
{
	const size_t bytes = (size_t)n * (size_t)((d + 3) / 4 * 4);
	const size_t parts = (size_t)spans(n, (m + CHUNK - 1) / CHUNK) * (size_t)m;

	return bytes + parts * (size_t)k * sizeof(struct pick_found);
}

void
exact_search(const struct exact *x, const float *queries, long m, int k, int *id, float *score)
{
	const struct scan *scan = scan_table();
	struct job j = {
		.x = x, .scan = scan, .query = queries, .m = m, .k = k, .id = id, .score = score};

	if (m < 1)
		return;
	j.panels = (m + scan->lanes - 1) / scan->lanes;
	j.chunks = (m + CHUNK - 1) / CHUNK;
	j.spans = spans(x->n, j.chunks);
	j.panel_bytes = (size_t)scan->lanes *
			(x->byte ? (size_t)x->width : (size_t)x->keys.d * sizeof(float));
	j.panel_bytes = (j.panel_bytes + 63) / 64 * 64;
	j.part = mem_zero((size_t)(j.spans * m), (size_t)k * sizeof *j.part);
	task_run(j.chunks * j.spans, search, &j);
	task_run(j.chunks, merge, &j);
	free(j.part);
}
