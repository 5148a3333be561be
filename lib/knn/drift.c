#include "knn/drift.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "base/tick.h"
#include "io/ckpt.h"
#include "knn/exact.h"
#include "math/kern.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
	PAGE = 84,    /* rows: a multiple of every kernel's tile */
	SAMPLE = 64,  /* keys of a cluster from which directions are learnt */
	ROUNDS = 8,   /* of learning */
	BATCH = 4096, /* queries at a time */
	CHUNK = 128,  /* queries of a task */
	PANELS = 8    /* of a task that sweeps, at most */
};

struct cluster {
	long n;
	int pages, room;
	int *page; /* [pages] the rows in order; the last page need not be full */
};

struct drift {
	long n, d;
	int clusters;
	float *direction; /* [clusters][d] of length 1, or as near as float32 has it */
	struct cluster *cluster;
	float *least, *most, *side; /* [clusters] ranges of a and |r|; none: inf, -inf, 0 */
	float *key;		    /* [pages][PAGE][d] */
	int *id;		    /* [pages][PAGE] */
	int *owner;		    /* [pages] the cluster */
	int pages, free_pages;
	int *free_page; /* [pages] */
	int *place;	/* [n] row of each key */
	double norm;	/* at least that of each key */
	long turn;
	double cost[2]; /* seconds per product in looks and in sweeps, 0 while unknown */
};

/* ---- pages ---- */

static float *
row_key(const struct drift *x, int row)
{
	return x->key + (long)row * x->d;
}

const float *
drift_key(const struct drift *x, int id)
{
	return row_key(x, x->place[id]);
}

long
drift_clusters(const struct drift *x)
{
	return x->clusters;
}

static int
row_at(const struct cluster *c, long i)
{
	return c->page[i / PAGE] * PAGE + (int)(i % PAGE);
}

/* An empty row at the end of a cluster; there are pages enough for any division of the keys. */
static int
append(struct drift *x, int which, int id)
{
	struct cluster *c = &x->cluster[which];

	if (c->n == (long)c->pages * PAGE) {
		if (c->pages == c->room) {
			c->room += c->room / 2 + 4;
			c->page = mem_grow(c->page, (size_t)c->room, sizeof *c->page);
		}
		c->page[c->pages] = x->free_page[--x->free_pages];
		x->owner[c->page[c->pages++]] = which;
	}
	const int row = row_at(c, c->n++);
	x->id[row] = id;
	x->place[id] = row;
	return row;
}

/* The last row of the cluster takes the place of this one. */
static void
take_out(struct drift *x, int row)
{
	struct cluster *c = &x->cluster[x->owner[row / PAGE]];
	const int last = row_at(c, --c->n);

	if (last != row) {
		memcpy(row_key(x, row), row_key(x, last), (size_t)x->d * sizeof *x->key);
		x->id[row] = x->id[last];
		x->place[x->id[row]] = row;
	}
	if (c->n == (long)(c->pages - 1) * PAGE)
		x->free_page[x->free_pages++] = c->page[--c->pages];
}

/* ---- ranges ---- */

/* k = a c + r; both rounded so that ranges made of them are none too narrow. */
struct part {
	float least, most, side;
};

static struct part
part(const struct drift *x, int cluster, const float *k)
{
	const float *c = x->direction + cluster * x->d;
	double a = 0, r = 0;

	for (long j = 0; j < x->d; j++)
		a += (double)k[j] * (double)c[j];
	for (long j = 0; j < x->d; j++) {
		const double e = (double)k[j] - a * (double)c[j];
		r += e * e;
	}
	return (struct part){nextafterf((float)a, -INFINITY), nextafterf((float)a, INFINITY),
			     nextafterf((float)(sqrt(r) * (1 + 1e-7)), INFINITY)};
}

static bool
within(const struct drift *x, int c, struct part p)
{
	return p.least >= x->least[c] && p.most <= x->most[c] && p.side <= x->side[c];
}

static void
widen(struct drift *x, int c, struct part p)
{
	x->least[c] = p.least < x->least[c] ? p.least : x->least[c];
	x->most[c] = p.most > x->most[c] ? p.most : x->most[c];
	x->side[c] = p.side > x->side[c] ? p.side : x->side[c];
}

/* The ranges that its keys need. */
static void
narrow(void *arg, long i, int worker)
{
	struct drift *x = arg;
	const struct cluster *c = &x->cluster[i];

	(void)worker;
	x->least[i] = INFINITY;
	x->most[i] = -INFINITY;
	x->side[i] = 0;
	for (long r = 0; r < c->n; r++)
		widen(x, (int)i, part(x, (int)i, row_key(x, row_at(c, r))));
}

/* ---- clusters ---- */

/* c = sum / |sum|; it stays as it was where there is no direction. */
static void
direct(const struct drift *x, int cluster, const double *sum)
{
	float *c = x->direction + cluster * x->d;
	double square = 0;

	for (long j = 0; j < x->d; j++)
		square += sum[j] * sum[j];
	if (square > 0x1p-1000 && square < INFINITY)
		for (long j = 0; j < x->d; j++)
			c[j] = (float)(sum[j] / sqrt(square));
}

/* Of each key the cluster whose direction is nearest. */
static void
nearest(const struct drift *x, const float *keys, long n, int *cluster)
{
	struct exact *e = exact_new(x->direction, x->clusters, x->d, EXACT_FLOAT, n);
	float *score = mem_grow(NULL, (size_t)n, sizeof *score);

	exact_search(e, keys, n, 1, cluster, score);
	free(score);
	exact_free(e);
}

/* Directions of clusters from a sample of the keys: k-means on the sphere. */
static void
learn(struct drift *x, const float *keys, uint64_t seed)
{
	const long d = x->d, want = (long)SAMPLE * x->clusters, n = want < x->n ? want : x->n;
	struct rng r = rng_at(seed, RNG_PROBE, 0, 0);
	float *sample = mem_grow(NULL, (size_t)(n * d), sizeof *sample);
	double *sum = mem_zero((size_t)(x->clusters * d), sizeof *sum), *wide;
	int *of = mem_zero((size_t)n, sizeof *of);

	/* A draw without repetition: each next one of those left, in order. */
	for (long i = 0, s = 0; s < n; i++)
		if ((long)rng_below(&r, (uint64_t)(x->n - i)) < n - s)
			memcpy(sample + s++ * d, keys + i * d, (size_t)d * sizeof *sample);
	wide = mem_zero((size_t)d, sizeof *wide);
	for (int c = 0; c < x->clusters; c++) {
		const float *k = sample + (long)rng_below(&r, (uint64_t)n) * d;
		for (long j = 0; j < d; j++)
			wide[j] = (double)k[j];
		x->direction[c * d] = 1;
		direct(x, c, wide);
	}
	for (int round = 0; round < ROUNDS; round++) {
		memset(sum, 0, (size_t)(x->clusters * d) * sizeof *sum);
		nearest(x, sample, n, of);
		for (long i = 0; i < n; i++)
			for (long j = 0; j < d; j++)
				sum[of[i] * d + j] += (double)sample[i * d + j];
		for (int c = 0; c < x->clusters; c++)
			direct(x, c, sum + c * d);
	}
	free(sample);
	free(wide);
	free(sum);
	free(of);
}

static struct drift *
make(long n, long d, int clusters)
{
	struct drift *x = mem_zero(1, sizeof *x);

	x->n = n;
	x->d = d;
	x->clusters = clusters > n ? (int)n : clusters;
	x->pages = (int)(n / PAGE) + x->clusters + 1;
	x->direction = mem_zero((size_t)(x->clusters * d), sizeof *x->direction);
	x->cluster = mem_zero((size_t)x->clusters, sizeof *x->cluster);
	x->least = mem_zero((size_t)x->clusters, sizeof *x->least);
	x->most = mem_zero((size_t)x->clusters, sizeof *x->most);
	x->side = mem_zero((size_t)x->clusters, sizeof *x->side);
	x->key = mem_grow(NULL, (size_t)x->pages * PAGE, (size_t)d * sizeof *x->key);
	x->id = mem_zero((size_t)x->pages * PAGE, sizeof *x->id);
	x->owner = mem_zero((size_t)x->pages, sizeof *x->owner);
	x->free_page = mem_zero((size_t)x->pages, sizeof *x->free_page);
	x->place = mem_zero((size_t)n, sizeof *x->place);
	for (; x->free_pages < x->pages; x->free_pages++)
		x->free_page[x->free_pages] = x->pages - 1 - x->free_pages;
	return x;
}

static void
fill(struct drift *x, const float *keys, const int *of)
{
	for (long i = 0; i < x->n; i++) {
		const double norm = pick_norm(x->d, keys + i * x->d);
		x->norm = norm > x->norm ? norm : x->norm;
		memcpy(row_key(x, append(x, of[i], (int)i)), keys + i * x->d,
		       (size_t)x->d * sizeof *keys);
	}
	task_run(x->clusters, narrow, x);
}

struct drift *
drift_new(const float *keys, long n, long d, int clusters, uint64_t seed)
{
	struct drift *x = make(n, d, clusters ? clusters : (int)lround(sqrt((double)n)));
	int *of = mem_zero((size_t)n, sizeof *of);

	learn(x, keys, seed);
	nearest(x, keys, n, of);
	fill(x, keys, of);
	free(of);
	return x;
}

/* ---- files ---- */

static const char format[] = "drift 1";

static void
checksum(char text[9], const float *keys, long n, long d)
{
	uLong crc = crc32(0, NULL, 0);

	for (long i = 0; i < n; i++)
		crc = crc32_z(crc, (const Bytef *)(keys + i * d), (size_t)d * sizeof *keys);
	snprintf(text, 9, "%08lx", crc & 0xffffffff);
}

int
drift_write(const struct drift *x, const char *file)
{
	struct ckpt_out *o = ckpt_out_new();
	const uint64_t shape[2] = {(uint64_t)x->clusters, (uint64_t)x->d}, n = (uint64_t)x->n;
	int *of = mem_zero((size_t)x->n, sizeof *of), r;
	float *key = mem_grow(NULL, (size_t)(x->n * x->d), sizeof *key);
	char crc[9];

	for (int i = 0; i < x->n; i++) {
		of[i] = x->owner[x->place[i] / PAGE];
		memcpy(key + i * x->d, drift_key(x, i), (size_t)x->d * sizeof *key);
	}
	checksum(crc, key, x->n, x->d);
	ckpt_out_meta(o, "index", format);
	ckpt_out_meta(o, "keys_crc32", crc);
	ckpt_out_floats(o, "direction", x->direction, CKPT_F32, 2, shape);
	ckpt_out_raw(o, "cluster", of, CKPT_I32, 1, &n);
	r = ckpt_write(o, file);
	ckpt_out_free(o);
	free(of);
	free(key);
	return r;
}

/* The clusters of n keys from a file that was made for them: their number, or -1. */
static int
read_clusters(const struct ckpt *c, const char *crc, long n, long d, int *of)
{
	const struct ckpt_tensor *t = ckpt_find(c, "direction"), *k = ckpt_find(c, "cluster");
	const char *is = ckpt_meta(c, "index"), *of_keys = ckpt_meta(c, "keys_crc32");

	if (!is || strcmp(is, format) != 0 || !t || !k || t->type != CKPT_F32 || t->dims != 2 ||
	    k->type != CKPT_I32 || k->dims != 1)
		return err_set("%s: not an index (moe-knn build writes one)", c->name);
	if (k->shape[0] != (uint64_t)n || t->shape[1] != (uint64_t)d || !of_keys ||
	    strcmp(of_keys, crc) != 0)
		return err_set("%s: an index of other keys (%" PRIu64 " x %" PRIu64
			       ", CRC-32 %s; expected %ld x %ld, %s)",
			       c->name, k->shape[0], t->shape[1], of_keys ? of_keys : "unknown", n,
			       d, crc);
	for (long i = 0; i < n; i++) {
		const double v = ckpt_value(CKPT_I32, c->data + k->offset + 4 * (size_t)i);
		if (v < 0 || v >= (double)t->shape[0])
			return err_set("%s: key %ld in cluster %g of %" PRIu64, c->name, i, v,
				       t->shape[0]);
		of[i] = (int)v;
	}
	return t->shape[0] <= (uint64_t)n ? (int)t->shape[0]
					  : err_set("%s: more clusters than keys", c->name);
}

/* Directions need not be of length 1 in a file that something else has written. */
static int
read_directions(struct drift *x, const struct ckpt *c)
{
	double *wide = mem_zero((size_t)x->d, sizeof *wide);
	int r = ckpt_floats(c, ckpt_find(c, "direction"), x->direction,
			    (size_t)(x->clusters * x->d));

	for (int i = 0; i < x->clusters && r == 0; i++) {
		float *v = x->direction + i * x->d;
		double square = 0;
		for (long j = 0; j < x->d; j++) {
			wide[j] = (double)v[j];
			square += wide[j] * wide[j];
		}
		if (!(fabs(square - 1) < 1e-3))
			r = err_set("%s: direction %d has length %g (expected 1)", c->name, i,
				    sqrt(square));
		else
			direct(x, i, wide);
	}
	free(wide);
	return r;
}

struct drift *
drift_read(const char *file, const float *keys, long n, long d)
{
	struct ckpt *c = ckpt_open(file);
	int *of = mem_zero((size_t)n, sizeof *of), clusters;
	struct drift *x = NULL;
	char crc[9];

	checksum(crc, keys, n, d);
	if (c && (clusters = read_clusters(c, crc, n, d, of)) > 0) {
		x = make(n, d, clusters);
		if (read_directions(x, c) < 0) {
			drift_free(x);
			x = NULL;
		} else
			fill(x, keys, of);
	}
	ckpt_close(c);
	free(of);
	return x;
}

void
drift_free(struct drift *x)
{
	if (!x)
		return;
	for (int c = 0; c < x->clusters; c++)
		free(x->cluster[c].page);
	free(x->direction);
	free(x->cluster);
	free(x->least);
	free(x->most);
	free(x->side);
	free(x->key);
	free(x->id);
	free(x->owner);
	free(x->free_page);
	free(x->place);
	free(x);
}

/* ---- moves ---- */

struct moves {
	struct drift *x;
	const int *id;
	const float *key;
	long m;
	struct part *part; /* [m] */
	double *norm;	   /* [m] */
};

static void
move_some(void *arg, long i, int worker)
{
	const struct moves *v = arg;
	const struct drift *x = v->x;
	const long to = (i + 1) * CHUNK < v->m ? (i + 1) * CHUNK : v->m;

	(void)worker;
	for (long k = i * CHUNK; k < to; k++) {
		const int row = x->place[v->id[k]];
		const float *key = v->key + k * x->d;
		memcpy(row_key(x, row), key, (size_t)x->d * sizeof *key);
		v->part[k] = part(x, x->owner[row / PAGE], key);
		v->norm[k] = pick_norm(x->d, key);
	}
}

/* Send keys to the clusters that are nearest, whose ranges take them in. */
static void
send_home(struct drift *x, const int *id, long n)
{
	const size_t bytes = (size_t)x->d * sizeof(float);
	float *key = mem_grow(NULL, (size_t)n, bytes);
	int *to = mem_zero((size_t)n, sizeof *to);

	for (long i = 0; i < n; i++)
		memcpy(key + i * x->d, drift_key(x, id[i]), bytes);
	if (n)
		nearest(x, key, n, to);
	for (long i = 0; i < n; i++) {
		const int row = x->place[id[i]];
		if (x->owner[row / PAGE] != to[i]) {
			take_out(x, row);
			memcpy(row_key(x, append(x, to[i], id[i])), key + i * x->d, bytes);
		}
		widen(x, to[i], part(x, to[i], key + i * x->d));
	}
	free(key);
	free(to);
}

void
drift_move(struct drift *x, const int *id, long m, const float *key)
{
	struct moves v = {.x = x,
			  .id = id,
			  .key = key,
			  .m = m,
			  .part = mem_zero((size_t)m, sizeof *v.part),
			  .norm = mem_zero((size_t)m, sizeof *v.norm)};
	int *out = mem_zero((size_t)m, sizeof *out);
	long n = 0;

	task_run((m + CHUNK - 1) / CHUNK, move_some, &v);
	for (long i = 0; i < m; i++) {
		const int c = x->owner[x->place[id[i]] / PAGE];
		x->norm = v.norm[i] > x->norm ? v.norm[i] : x->norm;
		if (!within(x, c, v.part[i]))
			out[n++] = id[i];
	}
	send_home(x, out, n);
	free(out);
	free(v.part);
	free(v.norm);
}

void
drift_upkeep(struct drift *x, int turn)
{
	const long from = x->turn * x->clusters / turn, to = (x->turn + 1) * x->clusters / turn;
	double *sum = mem_zero((size_t)x->d, sizeof *sum);

	for (long i = from; i < to; i++) {
		struct cluster *c = &x->cluster[i];
		int *id = mem_zero((size_t)c->n, sizeof *id);
		const long n = c->n;
		memset(sum, 0, (size_t)x->d * sizeof *sum);
		for (long r = 0; r < n; r++) {
			const float *k = row_key(x, row_at(c, r));
			id[r] = x->id[row_at(c, r)];
			for (long j = 0; j < x->d; j++)
				sum[j] += (double)k[j];
		}
		direct(x, (int)i, sum);
		send_home(x, id, n);
		narrow(x, i, 0);
		free(id);
	}
	x->turn = (x->turn + 1) % turn;
	free(sum);
}

/* ---- search ---- */

/* What a panel has to do: pairs order[from ...] of a cluster. */
struct unit {
	int cluster, n;
	long from;
};

/* Queries [m], their best so far, and the clusters that each looks into next. */
struct hunt {
	struct drift *x;
	const struct scan *scan;
	const float *query;
	long m;
	int k;
	double reach;
	float *bound;		 /* [m][clusters]; NaN where there is no need to look (again) */
	int *found;		 /* [m] */
	struct pick_found *best; /* [m][k] */

	/* A round: pairs of a query and a cluster, by query. */
	int width;		 /* clusters of a query, at most */
	long *begin;		 /* [m + 1] */
	int *cluster;		 /* [pairs] */
	int *got;		 /* [pairs] */
	struct pick_found *part; /* [pairs][k] */
	long *order;		 /* [pairs] by cluster */
	int *asker;		 /* [pairs] the query */
	struct unit *unit;
};

/* Rounding of products of float32, of roots and of their sums, in parts of |q| |k|. */
static double
rounding(const struct drift *x)
{
	return (double)(x->d + 16) * 0x1.1p-24;
}

/* What the keys of each cluster can score at most, for some queries. */
static void
bound(void *arg, long i, int worker)
{
	struct hunt *h = arg;
	const struct drift *x = h->x;
	const long from = i * CHUNK, n = h->m - from < CHUNK ? h->m - from : CHUNK;
	const double off = rounding(x);

	(void)worker;
	kern->nt(n, x->clusters, x->d, h->query + from * x->d, x->d, x->direction, x->d,
		 h->bound + from * x->clusters, x->clusters, false);
	for (long q = from; q < from + n; q++) {
		float *u = h->bound + q * x->clusters;
		const double norm = pick_norm(x->d, h->query + q * x->d);
		const float square = (float)(norm * norm * (1 + 4 * off));
		const float slack = (float)(4 * off * norm * x->norm + 0x1p-120);
		/* Elsewhere float32 may overflow, or lose too much below its least: look. */
		if (norm > 0x1p-60 && norm < 0x1p60 && x->norm < 0x1p60)
			h->scan->bounds(x->clusters, u, x->least, x->most, x->side, square,
					(float)h->reach, slack);
		else
			for (int c = 0; c < x->clusters; c++)
				u[c] = INFINITY;
	}
}

static float
least(const struct hunt *h, long q)
{
	return h->found[q] == h->k ? h->best[q * h->k + h->k - 1].score : -INFINITY;
}

/* The clusters, of the greatest bounds, that query q looks into next: out[clusters + 16]. */
static int
choose(const struct hunt *h, long q, int *out)
{
	const float *u = h->bound + q * h->x->clusters;
	const int all = (int)h->scan->above(h->x->clusters, u, least(h, q), out);
	int n = 0;

	if (all <= h->width)
		return all;
	for (int k = 0; k < all; k++) {
		const int c = out[k];
		if (n == h->width && !(u[c] > u[out[n - 1]]))
			continue;
		int i = n < h->width ? n++ : n - 1;
		for (; i > 0 && u[out[i - 1]] < u[c]; i--)
			out[i] = out[i - 1];
		out[i] = c;
	}
	return n;
}

static void
count(void *arg, long i, int worker)
{
	struct hunt *h = arg;
	const long to = (i + 1) * CHUNK < h->m ? (i + 1) * CHUNK : h->m;
	int *out = task_scratch(worker, (size_t)(h->x->clusters + 16) * sizeof *out);

	for (long q = i * CHUNK; q < to; q++)
		h->begin[q + 1] = choose(h, q, out);
}

/* The pairs of each query; what is looked into now is not looked into again. */
static void
pair(void *arg, long i, int worker)
{
	struct hunt *h = arg;
	const long to = (i + 1) * CHUNK < h->m ? (i + 1) * CHUNK : h->m;

	int *out = task_scratch(worker, (size_t)(h->x->clusters + 16) * sizeof *out);

	for (long q = i * CHUNK; q < to; q++) {
		const int n = h->begin[q + 1] > h->begin[q] ? choose(h, q, out) : 0;
		for (int k = 0; k < n; k++) {
			h->bound[q * h->x->clusters + out[k]] = NAN;
			h->cluster[h->begin[q] + k] = out[k];
			h->asker[h->begin[q] + k] = (int)q;
		}
	}
}

/* A page of a cluster under a panel of queries. */
static void
scan_page(const struct hunt *h, struct pick *p, const float *panel, const struct cluster *c,
	  int page)
{
	const struct drift *x = h->x;
	const long rows = page + 1 < c->pages ? PAGE : c->n - (long)page * PAGE;
	const long first = (long)c->page[page] * PAGE;

	for (long r = 0, done; r < rows; r += done) {
		done = h->scan->panel(&p->scan, p->lanes, x->d, panel, rows - r,
				      row_key(x, (int)(first + r)));
		pick_take(p, first + r);
	}
}

/* The keys of one cluster under up to a panel of the queries that look into it. */
static void
look(void *arg, long i, int worker)
{
	const struct hunt *h = arg;
	const struct drift *x = h->x;
	const struct unit *u = &h->unit[i];
	const struct cluster *c = &x->cluster[u->cluster];
	const struct pick_keys keys = {.key = x->key, .id = x->id, .d = x->d, .norm = x->norm};
	struct arena a = {0};
	struct scan_hits *hits;
	struct pick *p;
	float *query, *panel;
	void *memory;

	for (int pass = 0; pass < 2; pass++) {
		hits = arena_take(&a, 1, sizeof *hits);
		p = arena_take(&a, 1, sizeof *p);
		memory = arena_take(&a, 1, pick_bytes(h->k, x->d));
		query = arena_take(&a, (size_t)(SCAN_LANES * x->d), sizeof *query);
		panel = arena_take(&a, (size_t)(SCAN_LANES * x->d), sizeof *panel);
		if (!pass)
			a = (struct arena){.base = task_scratch(worker, a.used)};
	}
	for (int l = 0; l < u->n; l++)
		memcpy(query + l * x->d, h->query + h->asker[h->order[u->from + l]] * x->d,
		       (size_t)x->d * sizeof *query);
	pick_start(p, &keys, u->n, h->k, query, memory, hits);
	for (int l = 0; l < u->n; l++)
		pick_bar(p, l, least(h, h->asker[h->order[u->from + l]]));
	h->scan->pack(u->n, x->d, query, panel);
	for (int page = 0; page < c->pages; page++)
		scan_page(h, p, panel, c, page);
	pick_settle(p);
	for (int l = 0; l < u->n; l++) {
		const long to = h->order[u->from + l];
		h->got[to] = p->lane[l].found;
		memcpy(h->part + to * h->k, p->lane[l].best,
		       (size_t)p->lane[l].found * sizeof *h->part);
	}
}

static void
join(void *arg, long q, int worker)
{
	struct hunt *h = arg;

	(void)worker;
	for (long p = h->begin[q]; p < h->begin[q + 1]; p++)
		for (int i = 0; i < h->got[p]; i++)
			h->found[q] = pick_insert(h->best + q * h->k, h->found[q], h->k,
						  h->part[p * h->k + i]);
}

/* Pairs in the order of their clusters, cut into units; how many, and the products they need. */
static long
cut_units(struct hunt *h, long pairs, double *products)
{
	const int clusters = h->x->clusters;
	long *at = mem_zero((size_t)clusters + 1, sizeof *at), units = 0;

	for (long p = 0; p < pairs; p++) {
		at[h->cluster[p] + 1]++;
		*products += (double)h->x->cluster[h->cluster[p]].n;
	}
	for (int c = 0; c < clusters; c++) {
		for (long n = 0; n < at[c + 1]; n += h->scan->lanes) {
			const long rest = at[c + 1] - n;
			h->unit[units++] = (struct unit){
				c, rest < h->scan->lanes ? (int)rest : h->scan->lanes, at[c] + n};
		}
		at[c + 1] += at[c];
	}
	for (long p = 0; p < pairs; p++)
		h->order[at[h->cluster[p]]++] = p;
	free(at);
	return units;
}

/* Let each query look into its next clusters: at how many, and the products that took. */
static long
look_round(struct hunt *h, double *products)
{
	const long chunks = (h->m + CHUNK - 1) / CHUNK;
	long pairs, units;

	h->begin[0] = 0;
	task_run(chunks, count, h);
	for (long q = 0; q < h->m; q++)
		h->begin[q + 1] += h->begin[q];
	pairs = h->begin[h->m];
	if (!pairs)
		return 0;
	h->cluster = mem_grow(NULL, (size_t)pairs, sizeof *h->cluster);
	h->asker = mem_grow(NULL, (size_t)pairs, sizeof *h->asker);
	h->got = mem_grow(NULL, (size_t)pairs, sizeof *h->got);
	h->order = mem_grow(NULL, (size_t)pairs, sizeof *h->order);
	h->part = mem_grow(NULL, (size_t)pairs, (size_t)h->k * sizeof *h->part);
	h->unit =
		mem_grow(NULL, (size_t)(pairs / h->scan->lanes + h->x->clusters), sizeof *h->unit);
	task_run(chunks, pair, h);
	units = cut_units(h, pairs, products);
	task_run(units, look, h);
	task_run(h->m, join, h);
	free(h->cluster);
	free(h->asker);
	free(h->got);
	free(h->order);
	free(h->part);
	free(h->unit);
	return pairs;
}

/* Panels of queries under all keys. */
static void
sweep(void *arg, long i, int worker)
{
	struct hunt *h = arg;
	const struct drift *x = h->x;
	const struct pick_keys keys = {.key = x->key, .id = x->id, .d = x->d, .norm = x->norm};
	const long lanes = h->scan->lanes, from = i * h->width * lanes;
	const size_t width = (size_t)h->width, memory = (pick_bytes(h->k, x->d) + 63) / 64 * 64;
	struct arena a = {0};
	struct scan_hits *hits;
	struct pick *p;
	char *of_pick;
	float *panel;
	int n = 0;

	for (int pass = 0; pass < 2; pass++) {
		hits = arena_take(&a, 1, sizeof *hits);
		p = arena_take(&a, width, sizeof *p);
		of_pick = arena_take(&a, width, memory);
		panel = arena_take(&a, width * (size_t)(lanes * x->d), sizeof *panel);
		if (!pass)
			a = (struct arena){.base = task_scratch(worker, a.used)};
	}
	for (long q = from; n < h->width && q < h->m; q += lanes, n++) {
		const int m = h->m - q < lanes ? (int)(h->m - q) : (int)lanes;
		pick_start(&p[n], &keys, m, h->k, h->query + q * x->d, of_pick + (size_t)n * memory,
			   hits);
		h->scan->pack(m, x->d, h->query + q * x->d, panel + n * lanes * x->d);
	}
	for (int c = 0; c < x->clusters; c++)
		for (int page = 0; page < x->cluster[c].pages; page++)
			for (int l = 0; l < n; l++)
				scan_page(h, &p[l], panel + l * lanes * x->d, &x->cluster[c], page);
	for (int l = 0; l < n; l++) {
		pick_settle(&p[l]);
		for (int k = 0; k < p[l].lanes; k++) {
			const long q = from + l * lanes + k;
			h->found[q] = p[l].lane[k].found;
			memcpy(h->best + q * h->k, p[l].lane[k].best,
			       (size_t)h->found[q] * sizeof *h->best);
		}
	}
}

static void
sweep_all(struct hunt *h)
{
	const long panels = (h->m + h->scan->lanes - 1) / h->scan->lanes;

	h->width = panels < 2 * PANELS ? (int)(panels + 1) / 2 : PANELS;
	task_run((panels + h->width - 1) / h->width, sweep, h);
}

/* Keys in the clusters that may matter still, over all queries. */
static double
ahead(const struct hunt *h)
{
	double keys = 0;

	for (long q = 0; q < h->m; q++) {
		const float *u = h->bound + q * h->x->clusters, bar = least(h, q);
		for (int c = 0; c < h->x->clusters; c++)
			keys += u[c] >= bar ? (double)h->x->cluster[c].n : 0;
	}
	return keys;
}

/* What a product takes, as far as it is known; the latest counts a quarter. */
static void
learn_cost(double *cost, double seconds, double products)
{
	if (products > 0)
		*cost = *cost > 0 ? 0.75 * *cost + 0.25 * seconds / products : seconds / products;
}

/* Whether all that is ahead would take longer than a sweep, by what earlier ones took. */
static bool
sweep_pays(const struct hunt *h)
{
	const double *cost = h->x->cost, all = (double)h->m * (double)h->x->n;

	return cost[0] > 0 && ahead(h) * cost[0] > all * (cost[1] > 0 ? cost[1] : cost[0] / 2);
}

/*
 * Look into one cluster, then four, sixteen, all that may matter.  Before the last look, when it
 * is to be exact, a sweep may be the cheaper.
 */
static void
hunt(struct hunt *h, struct drift_work *work)
{
	struct drift *x = h->x;
	const double all = (double)h->m * (double)x->n;
	double begun = tick_now(), products = 0;
	bool ask = h->reach == 1, swept = false;

	task_run((h->m + CHUNK - 1) / CHUNK, bound, h);
	for (int width = 1; !swept; width = width < 16 ? 4 * width : x->clusters) {
		h->width = width < x->clusters ? width : x->clusters;
		swept = ask && width > 16 && sweep_pays(h);
		ask = ask && width <= 16;
		if (!swept && look_round(h, &products) == 0)
			break;
	}
	learn_cost(&x->cost[0], tick_now() - begun, products);
	if (swept) {
		begun = tick_now();
		sweep_all(h);
		learn_cost(&x->cost[1], tick_now() - begun, all);
		products += all;
		work->swept += h->m;
	}
	work->scored += products;
	work->considered += all;
}

static struct hunt
hunt_new(struct drift *x, long m, int k, double reach)
{
	const long n = m < BATCH ? m : BATCH;

	return (struct hunt){.x = x,
			     .scan = scan_table(),
			     .k = k,
			     .reach = reach,
			     .bound = mem_grow(NULL, (size_t)(n * x->clusters), sizeof(float)),
			     .found = mem_zero((size_t)n, sizeof(int)),
			     .best = mem_zero((size_t)n, (size_t)k * sizeof(struct pick_found)),
			     .begin = mem_zero((size_t)n + 1, sizeof(long))};
}

static void
hunt_free(struct hunt *h)
{
	free(h->bound);
	free(h->found);
	free(h->best);
	free(h->begin);
}

static void
answer(const struct hunt *h, int *id, float *score)
{
	for (long i = 0; i < h->m * h->k; i++) {
		const bool there = i % h->k < h->found[i / h->k];
		id[i] = there ? h->best[i].id : -1;
		score[i] = there ? h->best[i].score : -INFINITY;
	}
}

void
drift_search(struct drift *x, const float *queries, long m, int k, double reach, int *id,
	     float *score, struct drift_work *work)
{
	struct hunt h = hunt_new(x, m, k, reach);
	struct drift_work unseen = {0};

	for (long i = 0; i < m; i += h.m) {
		h.query = queries + i * x->d;
		h.m = m - i < BATCH ? m - i : BATCH;
		memset(h.found, 0, (size_t)h.m * sizeof *h.found);
		hunt(&h, work ? work : &unseen);
		answer(&h, id + i * k, score + i * k);
	}
	hunt_free(&h);
}

void
drift_sweep(struct drift *x, const float *queries, long m, int k, int *id, float *score)
{
	struct hunt h = hunt_new(x, m, k, 1);

	for (long i = 0; i < m; i += h.m) {
		h.query = queries + i * x->d;
		h.m = m - i < BATCH ? m - i : BATCH;
		sweep_all(&h);
		answer(&h, id + i * k, score + i * k);
	}
	hunt_free(&h);
}

double
drift_recall(const int *id, const int *exact, long m, int k)
{
	long hit = 0;

	for (long q = 0; q < m; q++)
		for (int i = 0; i < k; i++)
			for (int j = 0; j < k; j++)
				hit += id[q * k + i] == exact[q * k + j];
	return (double)hit / ((double)m * k);
}

double
drift_tune(struct drift *x, const float *queries, long m, int k, double recall)
{
	const size_t n = (size_t)m * (size_t)k;
	int *exact = mem_zero(n, sizeof *exact), *id = mem_zero(n, sizeof *id);
	float *score = mem_zero(n, sizeof *score);
	int low = 0, high = 64;

	drift_sweep(x, queries, m, k, exact, score);
	while (low < high) {
		const int reach = (low + high) / 2;
		drift_search(x, queries, m, k, reach / 64.0, id, score, NULL);
		if (drift_recall(id, exact, m, k) >= recall)
			high = reach;
		else
			low = reach + 1;
	}
	free(exact);
	free(id);
	free(score);
	return high / 64.0;
}
