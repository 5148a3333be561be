#include "model/start.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const word[] = {"normal", "sparse", "default", "orthogonal", "pretrained"};

int
start_kind(const char *name)
{
	for (int i = START_NORMAL; i <= START_PRETRAINED; i++)
		if (strcmp(name, word[i]) == 0)
			return i;
	return err_set("--expert-init \"%s\" (expected normal, sparse, default, orthogonal or "
		       "pretrained:CKPT[,CKPT...])",
		       name);
}

static void
sparse(struct rng *r, const struct tensor *t)
{
	rng_normals(r, t->w, t->rows * t->cols);
	kern->scale(t->rows * t->cols, 0.01f, t->w, t->w);
	for (long j = 0; j < t->cols; j++) {
		long zeros = (t->rows + 1) / 2;
		for (long i = 0; i < t->rows; i++)
			if ((long)rng_below(r, (uint64_t)(t->rows - i)) < zeros) {
				t->w[i * t->cols + j] = 0;
				zeros--;
			}
	}
}

static void
uniform(struct rng *r, const struct tensor *t)
{
	const double most = 1 / sqrt((double)t->cols);

	for (long i = 0; i < t->rows * t->cols; i++)
		t->w[i] = (float)((2 * rng_uniform(r) - 1) * most);
}

/* x -= <x, y> y */
static void
off(long n, double *x, const double *y)
{
	double dot = 0;

	for (long i = 0; i < n; i++)
		dot += x[i] * y[i];
	for (long i = 0; i < n; i++)
		x[i] -= dot * y[i];
}

/* Gram and Schmidt's method on normal vectors, twice over each, in float64. */
static void
orthogonal(struct rng *r, const struct tensor *t)
{
	const bool rows = t->rows <= t->cols;
	const long m = rows ? t->rows : t->cols, n = rows ? t->cols : t->rows;
	double *v = mem_zero((size_t)(m * n), sizeof *v);

	for (long i = 0; i < m; i++) {
		double *x = v + i * n, square = 0;
		for (long k = 0; k < n; k++)
			x[k] = rng_normal(r);
		for (long k = 0; k < 2 * i; k++)
			off(n, x, v + k % i * n);
		for (long k = 0; k < n; k++)
			square += x[k] * x[k];
		for (long k = 0; k < n; k++) {
			x[k] /= sqrt(square);
			t->w[rows ? i * t->cols + k : k * t->cols + i] = (float)x[k];
		}
	}
	free(v);
}

struct work {
	struct param *p;
	enum start kind;
	uint64_t seed;
	int layer;
};

static void
start_one(void *arg, long slot, int worker)
{
	const struct work *w = arg;
	struct expert *x = w->p->layer[w->layer].expert[slot];
	struct tensor *t[] = {x ? &x->gate : NULL, x ? &x->up : NULL, x ? &x->down : NULL};

	(void)worker;
	for (int i = 0; x && i < 3; i++) {
		struct rng r = rng_at(w->seed, RNG_INIT, 1,
				      (uint64_t)w->layer << 40 | (uint64_t)slot << 8 | (uint64_t)i);
		if (t[i]->rows == 0)
			continue;
		if (w->kind == START_SPARSE)
			sparse(&r, t[i]);
		else if (w->kind == START_DEFAULT)
			uniform(&r, t[i]);
		else
			orthogonal(&r, t[i]);
	}
}

void
start_experts(struct param *p, enum start kind, uint64_t seed)
{
	for (int l = 0; l < p->shape.layers; l++) {
		struct work w = {p, kind, seed, l};
		task_run(p->layer[l].experts, start_one, &w);
	}
}
