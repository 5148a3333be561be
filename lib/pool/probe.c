#include "pool/probe.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include <stdlib.h>

struct probe {
	const struct shape *shape;
	const struct expert **expert;
	const float *x; /* [PROBE_ROWS, C] */
	float *y;	/* [experts, PROBE_ROWS, C] */
};

static void
answer(void *arg, long i, int worker)
{
	const struct probe *p = arg;
	const struct expert *e = p->expert[i];
	const long c = p->shape->dim, h = e->hidden, n = PROBE_ROWS;
	float *up = task_scratch(worker, (size_t)(3 * n * h) * sizeof *up), *gate = up + n * h;
	float *a = gate + n * h;

	kern->nt(n, h, c, p->x, c, e->up.w, c, up, h, false);
	if (e->gate.rows)
		kern->nt(n, h, c, p->x, c, e->gate.w, c, gate, h, false);
	kern->act(p->shape->act, n * h, gate, up, a);
	kern->nt(n, c, h, a, h, e->down.w, h, p->y + i * n * c, c, false);
}

struct phi
probe_phi(const struct param *p, int layer)
{
	const struct layer *l = &p->layer[layer];
	const long c = p->shape.dim, width = PROBE_ROWS * c;
	const size_t slots = (size_t)l->experts;
	float *x = mem_zero((size_t)width, sizeof *x);
	const struct expert **expert = mem_zero(slots, sizeof(struct expert *));
	struct probe probe = {.shape = &p->shape, .expert = expert, .x = x};
	struct phi phi;
	int n = 0;

	for (int e = 0; e < l->experts; e++)
		if (l->expert[e])
			expert[n++] = l->expert[e];
	for (int i = 0; i < PROBE_ROWS; i++) {
		struct rng r = rng_at(0, RNG_PROBE, 1, (uint64_t)i);
		rng_normals(&r, x + i * c, c);
	}
	probe.y = mem_zero((size_t)n * (size_t)width, sizeof *probe.y);
	task_run(n, answer, &probe);
	phi = phi_measure(n, width, probe.y, 0);
	free(probe.y);
	free(expert);
	free(x);
	return phi;
}
