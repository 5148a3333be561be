#include "knn/galaxy.h"
#include "base/mem.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void *
table(int n, int m)
{
	return mem_zero((size_t)n * (size_t)m, sizeof(double));
}

/* ---- communities ---- */

/* A level of Louvain's hierarchy: w[n][n], whose diagonal holds what is within a node, twice. */
struct level {
	int n;
	double *w, *degree; /* [n][n], [n] */
	double all;	    /* 2m */
	int *of;	    /* [n] community */
	double *total;	    /* [n] degrees of a community's nodes */
};

/* The gain of node i in community c, i itself not counted, as far as it depends on c. */
static double
gain(const struct level *l, int i, double links, int c)
{
	return links - l->total[c] * l->degree[i] / l->all;
}

/* Node i to the best community; whether it moved. */
static bool
settle(struct level *l, int i, double *links)
{
	const int was = l->of[i];
	int best = was;

	memset(links, 0, (size_t)l->n * sizeof *links);
	for (int j = 0; j < l->n; j++)
		if (j != i)
			links[l->of[j]] += l->w[i * l->n + j];
	l->total[was] -= l->degree[i];
	double most = gain(l, i, links[was], was);
	for (int c = 0; c < l->n; c++) {
		const double g = gain(l, i, links[c], c);
		/* What rounding alone makes better would go round in circles. */
		if (links[c] > 0 && g > most + 1e-12 * l->all) {
			most = g;
			best = c;
		}
	}
	l->total[best] += l->degree[i];
	l->of[i] = best;
	return best != was;
}

/* Move nodes until none gains; whether any did. */
static bool
improve(struct level *l)
{
	double *links = table(l->n, 1);
	bool moved = true, any = false;

	for (int i = 0; i < l->n; i++) {
		l->of[i] = i;
		l->total[i] = l->degree[i];
	}
	while (moved) {
		moved = false;
		for (int i = 0; i < l->n; i++)
			moved |= settle(l, i, links);
		any |= moved;
	}
	free(links);
	return any;
}

/* Numbers from 0 by lowest member; how many. */
static int
renumber(int n, int *of)
{
	int *name = mem_zero((size_t)n, sizeof *name), count = 0;

	for (int i = 0; i < n; i++)
		name[i] = -1;
	for (int i = 0; i < n; i++) {
		if (name[of[i]] < 0)
			name[of[i]] = count++;
		of[i] = name[of[i]];
	}
	free(name);
	return count;
}

static void
degrees(struct level *l)
{
	l->all = 0;
	for (int i = 0; i < l->n; i++) {
		l->degree[i] = 0;
		for (int j = 0; j < l->n; j++)
			l->degree[i] += l->w[i * l->n + j];
		l->all += l->degree[i];
	}
}

/* Communities become the nodes. */
static void
fold(struct level *l, int m)
{
	double *w = table(m, m);

	for (int i = 0; i < l->n; i++)
		for (int j = 0; j < l->n; j++)
			w[l->of[i] * m + l->of[j]] += l->w[i * l->n + j];
	free(l->w);
	l->w = w;
	l->n = m;
	degrees(l);
}

int
galaxy_communities(int n, const double *weight, int *community)
{
	struct level l = {.n = n,
			  .w = table(n, n),
			  .degree = table(n, 1),
			  .of = mem_zero((size_t)n, sizeof(int)),
			  .total = table(n, 1)};

	for (int i = 0; i < n; i++) {
		community[i] = i;
		for (int j = 0; j < n; j++)
			l.w[i * n + j] = i == j ? 0 : weight[i * n + j];
	}
	degrees(&l);
	while (l.all > 0 && improve(&l)) {
		const int m = renumber(l.n, l.of);
		for (int i = 0; i < n; i++)
			community[i] = l.of[community[i]];
		fold(&l, m);
	}
	free(l.w);
	free(l.degree);
	free(l.of);
	free(l.total);
	return renumber(n, community);
}

double
galaxy_modularity(int n, const double *weight, const int *community)
{
	double *total = table(n, 1), in = 0, all = 0, q = 0;

	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++) {
			if (i == j)
				continue;
			all += weight[i * n + j];
			total[community[i]] += weight[i * n + j];
			in += community[i] == community[j] ? weight[i * n + j] : 0;
		}
	for (int c = 0; c < n && all > 0; c++)
		q -= total[c] / all * (total[c] / all);
	free(total);
	return all > 0 ? q + in / all : 0;
}

/* ---- key space ---- */

static double
squared_distance(long d, const float *a, const float *b)
{
	double s = 0;

	for (long j = 0; j < d; j++)
		s += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
	return s;
}

double
galaxy_silhouette(int n, long d, const float *key, const int *community, double *of)
{
	double *sum = table(n, 1), mean = 0;
	int *size = mem_zero((size_t)n, sizeof *size);

	for (int i = 0; i < n; i++)
		size[community[i]]++;
	for (int i = 0; i < n; i++) {
		const int own = community[i];
		double b = INFINITY;
		memset(sum, 0, (size_t)n * sizeof *sum);
		for (int j = 0; j < n; j++)
			sum[community[j]] += sqrt(squared_distance(d, key + i * d, key + j * d));
		for (int c = 0; c < n; c++)
			if (c != own && size[c] && sum[c] / size[c] < b)
				b = sum[c] / size[c];
		const double a = size[own] > 1 ? sum[own] / (size[own] - 1) : 0;
		const bool told = size[own] > 1 && b < INFINITY && fmax(a, b) > 0;
		of[i] = told ? (b - a) / fmax(a, b) : 0;
		mean += of[i] / n;
	}
	free(sum);
	free(size);
	return mean;
}

/* ---- principal components ---- */

enum { POWER_STEPS = 1000 };

/* y = X^T X v for centred rows, less what lies along `known`; |y|. */
static double
multiply(int n, long d, const double *x, const double *v, const double *known, double *y)
{
	double along = 0, square = 0;

	memset(y, 0, (size_t)d * sizeof *y);
	for (int i = 0; i < n; i++) {
		double p = 0;
		for (long j = 0; j < d; j++)
			p += x[i * d + j] * v[j];
		for (long j = 0; j < d; j++)
			y[j] += p * x[i * d + j];
	}
	for (long j = 0; known && j < d; j++)
		along += y[j] * known[j];
	for (long j = 0; j < d; j++) {
		y[j] -= known ? along * known[j] : 0;
		square += y[j] * y[j];
	}
	return sqrt(square);
}

/* The direction v of greatest variance but for `known`, by powers; the variance, times n. */
static double
principal(int n, long d, const double *x, const double *known, double *v)
{
	double *y = table((int)d, 1), size = 0, was = -1;
	long top = 0;

	for (long j = 0; j < d; j++) /* no symmetry of the data is likely to be orthogonal to it */
		v[j] = 1 / (1 + (double)j * 0.37);
	for (int s = 0; s < POWER_STEPS && fabs(size - was) > 1e-14 * size; s++) {
		was = size;
		size = multiply(n, d, x, v, known, y);
		for (long j = 0; j < d; j++)
			v[j] = size > 0 ? y[j] / size : 0;
	}
	for (long j = 0; j < d; j++)
		top = fabs(v[j]) > fabs(v[top]) ? j : top;
	for (long j = 0; j < d && v[top] < 0; j++)
		y[j] = -v[j];
	if (v[top] < 0)
		memcpy(v, y, (size_t)d * sizeof *v);
	free(y);
	return size;
}

void
galaxy_pca(int n, long d, const float *key, double *map, double *share)
{
	double *x = mem_zero((size_t)n * (size_t)d, sizeof *x), *v = table(2, (int)d);
	double all = 0, held = 0;

	for (long j = 0; j < d; j++) {
		double mean = 0;
		for (int i = 0; i < n; i++)
			mean += (double)key[i * d + j] / n;
		for (int i = 0; i < n; i++) {
			x[i * d + j] = (double)key[i * d + j] - mean;
			all += x[i * d + j] * x[i * d + j];
		}
	}
	held = principal(n, d, x, NULL, v);
	held += principal(n, d, x, v, v + d);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < 2; k++) {
			map[2 * i + k] = 0;
			for (long j = 0; j < d; j++)
				map[2 * i + k] += x[i * d + j] * v[k * d + j];
		}
	if (share)
		*share = all > 0 ? held / all : 0;
	free(x);
	free(v);
}

/* ---- t-SNE ---- */

enum { EXAGGERATED = 100, SEARCH = 60 };

/* p[j] = exp(-beta s[j]) / sum, 0 for j = i, with beta such that its entropy is ln perplexity. */
static void
neighbours(int n, int i, const double *s, double perplexity, double *p)
{
	double low = 0, high = INFINITY, beta = 1, least = INFINITY;

	for (int j = 0; j < n; j++)
		least = j != i && s[j] < least ? s[j] : least;
	for (int step = 0; step < SEARCH; step++) {
		double sum = 0, mean = 0;
		for (int j = 0; j < n; j++) {
			p[j] = j == i ? 0 : exp(-beta * (s[j] - least));
			sum += p[j];
			mean += p[j] * (s[j] - least);
		}
		/* cppcheck-suppress invalidFunctionArg ; the largest term of the sum is 1 */
		const double entropy = log(sum) + beta * mean / sum;
		for (int j = 0; j < n; j++)
			p[j] /= sum;
		if (entropy > log(perplexity))
			low = beta;
		else
			high = beta;
		beta = high < INFINITY ? (low + high) / 2 : beta * 2;
	}
}

/* P[n][n], symmetric, of sum 1. */
static double *
affinities(int n, long d, const float *key, double perplexity)
{
	double *p = table(n, n), *s = table(n, 1);

	for (int i = 0; i < n; i++) {
		for (int j = 0; j < n; j++)
			s[j] = squared_distance(d, key + i * d, key + j * d);
		neighbours(n, i, s, perplexity, p + (long)i * n);
	}
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++) {
			const double both = (p[(long)i * n + j] + p[(long)j * n + i]) / (2.0 * n);
			p[(long)i * n + j] = p[(long)j * n + i] = both;
		}
	free(s);
	return p;
}

/* dC/dy_i = 4 sum_j (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2) */
static void
slope(int n, const double *p, double exaggeration, const double *y, double *w, double *to)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++) {
			const double dx = y[2 * i] - y[2 * j], dy = y[2 * i + 1] - y[2 * j + 1];
			w[(long)i * n + j] = w[(long)j * n + i] = 1 / (1 + dx * dx + dy * dy);
			sum += 2 * w[(long)i * n + j];
		}
	for (int i = 0; i < n; i++) {
		double gx = 0, gy = 0;
		for (int j = 0; j < n; j++) {
			const double near = w[(long)i * n + j];
			const double f = (exaggeration * p[(long)i * n + j] - near / sum) * near;
			gx += f * (y[2 * i] - y[2 * j]);
			gy += f * (y[2 * i + 1] - y[2 * j + 1]);
		}
		to[2 * i] = 4 * gx;
		to[2 * i + 1] = 4 * gy;
	}
}

void
galaxy_tsne(int n, long d, const float *key, double perplexity, int steps, double *map)
{
	double *y = map, *g = table(n, 2), *v = table(n, 2), *gain_of = table(n, 2);
	double *w = table(n, n), *p, spread = 0;
	const double rate = fmax(n / 12.0, 50);

	if (perplexity > (n - 1) / 3.0)
		perplexity = fmax((n - 1) / 3.0, 1);
	galaxy_pca(n, d, key, y, NULL);
	if (n == 1)
		steps = 0;
	for (int i = 0; i < n; i++)
		spread += y[2 * i] * y[2 * i] / n;
	for (int i = 0; i < 2 * n; i++) {
		y[i] = spread > 0 ? y[i] / sqrt(spread) * 1e-2 : 0;
		gain_of[i] = 1;
	}
	p = affinities(n, d, key, perplexity);
	for (int s = 0; s < steps; s++) {
		const double momentum = s < 2 * EXAGGERATED ? 0.5 : 0.8;
		slope(n, p, s < EXAGGERATED ? 12 : 1, y, w, g);
		for (int i = 0; i < 2 * n; i++) {
			gain_of[i] =
				fmax(g[i] * v[i] < 0 ? gain_of[i] + 0.2 : gain_of[i] * 0.8, 0.01);
			v[i] = momentum * v[i] - rate * gain_of[i] * g[i];
			y[i] += v[i];
		}
	}
	free(g);
	free(v);
	free(gain_of);
	free(w);
	free(p);
}
