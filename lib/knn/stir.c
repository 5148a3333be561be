#include "knn/stir.h"
#include "base/err.h"
#include "base/rng.h"
#include <math.h>
#include <string.h>

/* x + sd noise, as long as it was. */
static void
shake(struct rng *r, long d, const float *x, double sd, float *y)
{
	double was = 0, is = 0;

	for (long j = 0; j < d; j++) {
		y[j] = x[j] + (float)(sd * rng_normal(r));
		was += (double)x[j] * (double)x[j];
		is += (double)y[j] * (double)y[j];
	}
	for (long j = 0; j < d && is > 0; j++)
		y[j] = (float)((double)y[j] * sqrt(was / is));
}

void
stir_queries(const struct stir *s, long step, double noise, long m, float *query)
{
	struct rng r = rng_at(s->seed, RNG_PROBE, (uint64_t)step, 1);

	for (long i = 0; i < m; i++)
		shake(&r, s->d, drift_key(s->x, (int)rng_below(&r, (uint64_t)s->n)), noise,
		      query + i * s->d);
}

long
stir_moves(const struct stir *s, long step, long want, double distance, int *moved, float *to)
{
	struct rng r = rng_at(s->seed, RNG_PROBE, (uint64_t)step, 2);
	long m = 0;

	for (long i = 0; i < s->n && m < want; i++)
		if ((long)rng_below(&r, (uint64_t)(s->n - i)) < want - m) {
			shake(&r, s->d, drift_key(s->x, (int)i), distance / sqrt((double)s->d),
			      to + m * s->d);
			moved[m++] = (int)i;
		}
	return m;
}

long
stir_changes(const struct stir *s, const struct vectors *v, int *moved, float *to)
{
	const size_t bytes = (size_t)s->d * sizeof(float);
	long m = 0;

	if (v->n != s->n || v->d != s->d)
		return err_set("%s: %ld x %ld (expected %ld x %ld, as before)", v->name, v->n, v->d,
			       s->n, s->d);
	for (long i = 0; i < s->n; i++)
		if (memcmp(v->v + i * s->d, drift_key(s->x, (int)i), bytes) != 0) {
			memcpy(to + m * s->d, v->v + i * s->d, bytes);
			moved[m++] = (int)i;
		}
	return m;
}
