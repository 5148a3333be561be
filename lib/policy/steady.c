#include "policy/steady.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

struct steady {
	int n, tiers;
	const int *size;
	int layers;
	long censuses;
	int *layer; /* [layers] */
	double *v;  /* [layers, n, figures], the oldest census overwritten */
};

struct steady *
steady_new(int n, int tiers, const int *size)
{
	struct steady *s = mem_zero(1, sizeof *s);

	*s = (struct steady){.n = n, .tiers = tiers, .size = size};
	return s;
}

void
steady_free(struct steady *s)
{
	if (!s)
		return;
	free(s->layer);
	free(s->v);
	free(s);
}

static double *
at(const struct steady *s, int k, long census)
{
	return s->v + ((long)k * s->n + census % s->n) * (STEADY_TIERS + s->tiers);
}

void
steady_add(struct steady *s, const struct policy_step *step, const struct track_layer *l)
{
	if (!s->v) {
		s->layers = step->layers;
		s->layer = mem_zero((size_t)s->layers, sizeof *s->layer);
		s->v = mem_zero((size_t)(s->layers * s->n * (STEADY_TIERS + s->tiers)),
				sizeof *s->v);
	}
	for (int k = 0; k < s->layers && k < step->layers; k++) {
		double *to = at(s, k, s->censuses);
		s->layer[k] = l[k].layer;
		to[0] = l[k].accuracy;
		to[1] = l[k].dead;
		to[2] = l[k].active;
		track_tiers(step->row + step->begin[k], step->begin[k + 1] - step->begin[k],
			    s->tiers, s->size, to + STEADY_TIERS);
	}
	s->censuses++;
}

int
steady_layers(const struct steady *s)
{
	return s->layers;
}

int
steady_layer(const struct steady *s, int k)
{
	return s->layer[k];
}

struct steady_figure
steady_figure(const struct steady *s, int k, int figure)
{
	const long n = s->censuses < s->n ? s->censuses : s->n;
	struct steady_figure f = {.censuses = (int)n, .least = INFINITY, .most = -INFINITY};
	double square = 0;

	for (long i = 0; i < n; i++) {
		const double x = at(s, k, i)[figure];
		f.mean += x;
		f.least = fmin(f.least, x);
		f.most = fmax(f.most, x);
	}
	f.mean /= (double)n;
	for (long i = 0; i < n; i++)
		square += pow(at(s, k, i)[figure] - f.mean, 2);
	f.sd = n > 1 ? sqrt(square / (double)(n - 1)) : NAN;
	if (isnan(f.mean))
		f.least = f.most = NAN;
	return f;
}
