#include "policy/ecology.h"
#include <math.h>
#include <stdlib.h>

/* ---- E ---- */

struct ecology_e
ecology_e(double T, double H, double O, double B, long C)
{
	const double e = T * H / (O + B);

	if (C == 0)
		return (struct ecology_e){e, NAN, NAN};
	return (struct ecology_e){e, e / log((double)C), e / sqrt((double)C)};
}

const char *
ecology_phase(double e)
{
	const double up = 1 + 1e-12;

	if (isnan(e))
		return "";
	return e * up >= 0.5 ? "healthy" : e * up >= 0.2 ? "sub-health" : "collapse";
}

/* ---- classes ---- */

const char *
ecology_class_name(enum ecology_class c)
{
	static const char *const name[ECOLOGY_CLASSES] = {
		"PURE_CORE", "BROAD_CORE", "WEAK_CORE", "EDGE", "NOISE", "DEAD", "CORE", "FRINGE"};

	return name[c];
}

/* Is part at least percent of whole?  Exact for all counts of samples that there can be. */
static bool
at_least(int64_t part, int percent, int64_t whole)
{
	return (__int128)part * 100 >= (__int128)whole * percent;
}

enum ecology_class
ecology_class(int64_t N, int64_t first, int64_t hits)
{
	if (first == 0 || !at_least(first, 1, N))
		return ECOLOGY_DEAD;
	if (!at_least(first, 3, N))
		return hits < 0			   ? ECOLOGY_FRINGE
		       : at_least(hits, 25, first) ? ECOLOGY_EDGE
						   : ECOLOGY_NOISE;
	return hits < 0			   ? ECOLOGY_CORE
	       : at_least(hits, 50, first) ? ECOLOGY_PURE_CORE
	       : at_least(hits, 30, first) ? ECOLOGY_BROAD_CORE
					   : ECOLOGY_WEAK_CORE;
}

/* The nearest float32 of a share at a limit is the limit's own. */
enum ecology_class
ecology_class_of(double usage, double accuracy)
{
	const float u = (float)usage, a = (float)accuracy;

	if (u < 0.01f)
		return ECOLOGY_DEAD;
	if (u < 0.03f)
		return isnan(a) ? ECOLOGY_FRINGE : a >= 0.25f ? ECOLOGY_EDGE : ECOLOGY_NOISE;
	return isnan(a)	   ? ECOLOGY_CORE
	       : a >= 0.5f ? ECOLOGY_PURE_CORE
	       : a >= 0.3f ? ECOLOGY_BROAD_CORE
			   : ECOLOGY_WEAK_CORE;
}

/* ---- the load's spread ---- */

static int
rising(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The q-quantile of n sorted values, between neighbours by a line. */
static double
quantile(const double *v, int n, double q)
{
	const double at = q * (n - 1);
	const int i = (int)at;

	return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[n - 1];
}

struct ecology_load
ecology_load(int n, double *count)
{
	struct ecology_load l = {0};
	double total = 0;
	int dead = 0;

	for (int i = 0; i < n; i++)
		total += count[i];
	for (int i = 0; i < n; i++) {
		const double s = total > 0 ? count[i] / total : 0;
		dead += count[i] == 0;
		l.entropy -= s > 0 ? s * log(s) : 0;
		count[i] = s * n;
	}
	l.dead = (double)dead / n;
	l.entropy = n > 1 ? l.entropy / log(n) : 0;
	qsort(count, (size_t)n, sizeof *count, rising);
	for (int i = 0; i < n; i++)
		l.gini += (2 * i + 1 - n) * count[i] / ((double)n * n);
	l.maxvio = count[n - 1] - 1;
	l.q25 = quantile(count, n, 0.25);
	l.median = quantile(count, n, 0.5);
	l.q75 = quantile(count, n, 0.75);
	return l;
}

/* ---- tiers ---- */

int
ecology_tier(int tiers, const int *size, int slot)
{
	int t = 0;

	while (t < tiers && slot >= size[t])
		slot -= size[t++];
	return t;
}

struct ecology_depth
ecology_depth(int tiers, const double *usage)
{
	struct ecology_depth d = {0};
	double entropy = 0;

	for (int i = 0; i < tiers; i++) {
		d.used += usage[i] >= 0.1 * (1 - 1e-12);
		entropy -= usage[i] > 0 ? usage[i] * log(usage[i]) : 0;
	}
	d.effective = exp(entropy);
	return d;
}
