#include "view/curve.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

static void
room(struct curve *c)
{
	if (c->n < c->room)
		return;
	c->room = c->room ? 2 * c->room : 128;
	c->x = mem_grow(c->x, (size_t)c->room, sizeof *c->x);
	c->y = mem_grow(c->y, (size_t)c->room, sizeof *c->y);
	c->key = mem_grow(c->key, (size_t)c->room, sizeof *c->key);
}

void
curve_add(struct curve *c, double x, double y)
{
	if (!isfinite(x) || !isfinite(y))
		return;
	room(c);
	c->x[c->n] = c->key[c->n] = x;
	c->y[c->n++] = y;
}

void
curve_free(struct curve *c)
{
	free(c->x);
	free(c->y);
	free(c->lo);
	free(c->hi);
	free(c->key);
	*c = (struct curve){0};
}

double
curve_bucket(long points, double last, long n)
{
	return points > n ? ceil(last / (double)n) : 0;
}

/* The end of the bucket that x is in: phases are (from, to]. */
static double
end_of(double x, const struct life *l, double size, int *phase)
{
	double end;

	while (*phase + 1 < l->phases && x > l->phase[*phase].to)
		++*phase;
	end = l->phase[*phase].from +
	      fmax(ceil((x - l->phase[*phase].from) / size - 1e-9), 1) * size;
	return *phase + 1 < l->phases ? fmin(end, l->phase[*phase].to) : end;
}

double
curve_reduce(struct curve *c, const struct life *l, long n)
{
	const double size = curve_bucket(c->n, l->last, n);
	double count = 0;
	long at = -1;
	int phase = 0;

	if (size <= 0)
		return 0;
	c->lo = mem_zero((size_t)c->n, sizeof *c->lo);
	c->hi = mem_zero((size_t)c->n, sizeof *c->hi);
	for (long i = 0; i < c->n; i++) {
		const double x = c->x[i], y = c->y[i], key = end_of(x, l, size, &phase);
		if (at < 0 || key != c->key[at]) {
			c->key[++at] = key;
			c->x[at] = c->y[at] = count = 0;
			c->lo[at] = c->hi[at] = y;
		}
		count++;
		c->x[at] += (x - c->x[at]) / count;
		c->y[at] += (y - c->y[at]) / count;
		c->lo[at] = fmin(c->lo[at], y);
		c->hi[at] = fmax(c->hi[at], y);
	}
	c->n = at + 1;
	return size;
}

double
curve_at(const struct curve *c, double x)
{
	long lo = 0, hi = c->n;

	while (lo < hi) {
		const long mid = (lo + hi) / 2;
		if (c->x[mid] <= x)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? c->y[lo - 1] : 0;
}

static void
one(const struct curve *c, struct figure_series *s)
{
	for (long i = 0; i < c->n; i++) {
		figure_point(s, c->x[i], c->y[i]);
		if (c->lo)
			figure_range(s, c->lo[i], c->hi[i]);
	}
}

void
curve_mean(const struct curve *c, int n, struct figure_series *s)
{
	long *at = mem_zero((size_t)n, sizeof *at);

	if (n == 1)
		one(c, s);
	while (n > 1) {
		double key = INFINITY, x = 0, mean = 0, square = 0, count = 0;
		for (int i = 0; i < n; i++)
			if (at[i] < c[i].n)
				key = fmin(key, c[i].key[at[i]]);
		if (key == INFINITY)
			break;
		for (int i = 0; i < n; i++) {
			double d;
			if (at[i] >= c[i].n || c[i].key[at[i]] != key)
				continue;
			count++;
			x += (c[i].x[at[i]] - x) / count;
			d = c[i].y[at[i]++] - mean;
			mean += d / count;
			square += d * d * (count - 1) / count;
		}
		figure_point(s, x, mean);
		if (count > 1) {
			const double sd = sqrt(square / (count - 1));
			figure_range(s, mean - sd, mean + sd);
		}
	}
	free(at);
}
