#include "knn/pick.h"
#include "math/kern.h"
#include <math.h>
#include <string.h>

extern const struct scan scan_portable;
#if defined(__x86_64__)
extern const struct scan scan_avx2, scan_avx512;
#endif

const struct scan *
scan_table(void)
{
#if defined(__x86_64__)
	if (!strcmp(kern->name, scan_avx512.name)) {
		static struct scan without;
		if (__builtin_cpu_supports("avx512vnni"))
			return &scan_avx512;
		if (!without.name) {
			without = scan_avx512;
			without.bytes = NULL;
		}
		return &without;
	}
	if (!strcmp(kern->name, scan_avx2.name))
		return &scan_avx2;
#endif
	return &scan_portable;
}

/* ---- scores ---- */

float
pick_score(long d, const float *q, const float *k)
{
	double s = 0;

	for (long j = 0; j < d; j++)
		s += (double)q[j] * (double)k[j];
	return (float)s;
}

double
pick_norm(long d, const float *x)
{
	double s[8] = {0};
	long j = 0;

	for (; j + 8 <= d; j += 8)
		for (int i = 0; i < 8; i++)
			s[i] += (double)x[j + i] * (double)x[j + i];
	for (; j < d; j++)
		s[0] += (double)x[j] * (double)x[j];
	for (int i = 1; i < 8; i++)
		s[0] += s[i];
	return sqrt(s[0]) * (1 + 1e-7);
}

/*
 * With u = 2^-24: d products and sums in float32 are off by d u / (1 - d u) |q| |k|, and by 2^-149
 * each where they are subnormal; the score itself by u and a little; the difference of bar and
 * slack by another u.
 */
float
pick_slack(long d, double norms)
{
	const double u = (double)(d + 5) * 0x1p-24;
	const double m = u / (1 - u) * norms + (double)(d + 5) * 0x1p-148;

	return u < 0.5 && norms < PICK_MOST ? nextafterf((float)(2 * m), INFINITY) : INFINITY;
}

/* ---- picks ---- */

int
pick_insert(struct pick_found *best, int n, int k, struct pick_found f)
{
	int i = n < k ? n : k - 1;

	if (n == k && (f.score < best[i].score || (f.score == best[i].score && f.id > best[i].id)))
		return n;
	for (; i > 0 && (best[i - 1].score < f.score ||
			 (best[i - 1].score == f.score && best[i - 1].id > f.id));
	     i--)
		best[i] = best[i - 1];
	best[i] = f;
	return n < k ? n + 1 : n;
}

/* Bytes of scan.best; beyond PICK_BEST bars rise when a lane is settled. */
static size_t
ladder(int k)
{
	return k <= PICK_BEST ? (size_t)k * SCAN_LANES * sizeof(float) : 0;
}

size_t
pick_bytes(int k, long d)
{
	const size_t lane = ((size_t)k + PICK_WAIT) * sizeof(struct pick_found);

	return ladder(k) + (size_t)d * sizeof(double) + SCAN_LANES * lane;
}

void
pick_start(struct pick *p, const struct pick_keys *keys, int lanes, int k, const float *queries,
	   void *memory, struct scan_hits *hits)
{
	struct pick_found *f;

	p->table = scan_table();
	p->keys = keys;
	p->lanes = lanes;
	p->k = k;
	p->scan.k = k <= PICK_BEST ? k : 0;
	p->scan.best = memory;
	p->scan.hits = hits;
	p->scan.tiles = hits->n = 0;
	p->wide = (double *)(void *)((char *)memory + ladder(k));
	f = (struct pick_found *)(void *)(p->wide + keys->d);
	for (int i = 0; i < p->scan.k * SCAN_LANES; i++)
		p->scan.best[i] = -INFINITY;
	for (int i = 0; i < SCAN_LANES; i++) {
		struct pick_lane *l = &p->lane[i];
		*l = (struct pick_lane){.unit = 1, .best = f, .wait = f + k};
		f += k + PICK_WAIT;
		p->scan.bar[i] = i < lanes ? -INFINITY : INFINITY;
		p->scan.slack[i] = 0;
		if (i >= lanes)
			continue;
		l->query = queries + i * keys->d;
		l->norm = pick_norm(keys->d, l->query);
		p->scan.slack[i] = pick_slack(keys->d, l->norm * keys->norm);
	}
}

/* Forget what is below the bar by now. */
static void
sift(struct pick_lane *l, float bar)
{
	int kept = 0;

	for (int i = 0; i < l->waiting; i++)
		if (!(l->wait[i].score < bar))
			l->wait[kept++] = l->wait[i];
	l->waiting = kept;
}

void
pick_bar(struct pick *p, int lane, float score)
{
	const struct pick_lane *l = &p->lane[lane];
	const double least = (double)score * l->unit + l->offset;
	const float bar = (float)(least - (double)p->scan.slack[lane] / 2);

	if (bar > p->scan.bar[lane])
		p->scan.bar[lane] = bar;
}

/*
 * A score, the query given in float64.  Products of float32 are exact there, and two orders of
 * adding d of them differ by at most 2 (d - 1) u sum |q k| / (1 - d u), u = 2^-53, which seldom
 * leaves the rounding to float32 open.
 */
static float
score(const struct pick *p, const struct pick_lane *l, const float *key)
{
	const double s = p->table->dot(p->keys->d, p->wide, key);
	const double off = (double)p->keys->d * 0x1.01p-52 * l->norm * p->keys->norm;
	const float low = (float)(s - off), high = (float)(s + off);

	return low == high && !signbit(low) == !signbit(high)
		       ? low
		       : pick_score(p->keys->d, l->query, key);
}

/* Score what waits at or above the bar; the k-th best score is a bar, too. */
static void
settle_above(struct pick *p, int lane, float bar)
{
	const struct pick_keys *keys = p->keys;
	struct pick_lane *l = &p->lane[lane];
	int kept = 0;

	for (int i = 0; i < l->waiting; i++) {
		const int row = l->wait[i].id;
		if (l->wait[i].score < bar) {
			l->wait[kept++] = l->wait[i];
			continue;
		}
		const struct pick_found f = {score(p, l, keys->key + (long)row * keys->d),
					     keys->id ? keys->id[row] : row};
		l->found = pick_insert(l->best, l->found, p->k, f);
	}
	l->waiting = kept;
	if (l->found == p->k)
		pick_bar(p, lane, l->best[p->k - 1].score);
}

/* Score all that may matter, first what the filter ranks among the best: that raises the bar. */
static void
settle(struct pick *p, int lane)
{
	struct pick_lane *l = &p->lane[lane];

	if (!l->waiting)
		return;
	p->table->widen(p->keys->d, l->query, p->wide);
	settle_above(p, lane, p->scan.bar[lane] + p->scan.slack[lane] / 2);
	sift(l, p->scan.bar[lane]);
	settle_above(p, lane, -INFINITY);
}

void
pick_take(struct pick *p, long from)
{
	const struct scan_hits *h = p->scan.hits;

	for (int i = 0; i < h->n; i++) {
		const int lane = h->at[i] % SCAN_LANES, row = h->at[i] / SCAN_LANES;
		struct pick_lane *l = &p->lane[lane];
		if (l->waiting == PICK_WAIT) {
			sift(l, p->scan.bar[lane]);
			if (l->waiting > PICK_WAIT / 2)
				settle(p, lane);
		}
		l->wait[l->waiting++] = (struct pick_found){h->score[i], (int)(from + row)};
	}
	p->scan.hits->n = 0;
}

void
pick_settle(struct pick *p)
{
	for (int i = 0; i < p->lanes; i++) {
		sift(&p->lane[i], p->scan.bar[i]);
		settle(p, i);
	}
}
