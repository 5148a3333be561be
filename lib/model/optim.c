#include "model/optim.h"
#include "base/task.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 1 << 16 }; /* floats of a task */

/* The parameters cut into slices, in file order. */
struct slices {
	struct param *p;
	struct slice {
		struct tensor *t;
		long from, n;
		int layer, slot;
		bool idle; /* of an expert without tokens */
	} * v;
	long n, room;
	double *sum;
	struct kern_adamw o;
	float decay;
	bool dormancy;
};

/* The gate of a detour that the layer is not on has no gradient. */
static bool
off_duty(const struct layer *l, const struct tensor *t)
{
	return t == &l->detour && !l->away;
}

static void
slice_add(void *arg, struct tensor *t, int layer, int slot)
{
	struct slices *s = arg;
	const struct expert *x = slot < 0 ? NULL : s->p->layer[layer].expert[slot];
	const bool idle = x && !x->touched;

	if (!t->g || (x && x->frozen) || (layer >= 0 && off_duty(&s->p->layer[layer], t)))
		return;

	for (long i = 0, n = t->rows * t->cols; i < n; i += SLICE) {
		if (s->n == s->room) {
			s->room = s->room ? 2 * s->room : 256;
			s->v = mem_grow(s->v, (size_t)s->room, sizeof *s->v);
		}
		s->v[s->n++] =
			(struct slice){t, i, n - i < SLICE ? n - i : SLICE, layer, slot, idle};
	}
}

static void
sumsq_task(void *arg, long i, int worker)
{
	struct slices *s = arg;
	const struct slice *v = &s->v[i];

	(void)worker;
	s->sum[i] = v->idle ? 0 : kern->sumsq(v->n, v->t->g + v->from);
}

double
optim_norm(struct param *p, struct optim_fault *where)
{
	struct slices s = {.p = p};
	double total = 0;

	param_each(p, slice_add, &s);
	s.sum = mem_zero((size_t)s.n, sizeof *s.sum);
	task_run(s.n, sumsq_task, &s);
	for (int l = 0; l < p->shape.layers; l++)
		for (int e = 0; e < p->layer[l].experts; e++)
			if (p->layer[l].expert[e])
				p->layer[l].expert[e]->norm2 = 0;
	for (long i = 0; i < s.n; i++) {
		if (s.v[i].slot >= 0)
			p->layer[s.v[i].layer].expert[s.v[i].slot]->norm2 += s.sum[i];
		if (!isfinite(s.sum[i]) && isfinite(total) && where)
			*where = (struct optim_fault){s.v[i].t->name, s.v[i].layer, s.v[i].slot};
		total += s.sum[i];
	}
	free(s.sum);
	free(s.v);
	return sqrt(total);
}

static void
update_task(void *arg, long i, int worker)
{
	struct slices *s = arg;
	const struct slice *v = &s->v[i];
	const struct tensor *t = v->t;
	struct kern_adamw o = s->o;

	(void)worker;
	if (v->idle && s->dormancy)
		return;
	if (v->idle)
		memset(t->g + v->from, 0, (size_t)v->n * sizeof *t->g);
	o.decay = t->decay ? s->decay : 0;
	kern->adamw(v->n, &o, t->w + v->from, t->g + v->from, t->m + v->from, t->v + v->from);
}

struct kern_adamw
optim_adamw(const struct optim *o, double rate, long step, double norm)
{
	const double t = (double)step + 1;

	return (struct kern_adamw){.lr = (float)rate,
				   .beta1 = (float)o->beta1,
				   .beta2 = (float)o->beta2,
				   .eps = (float)o->eps,
				   .fix1 = (float)(1 / (1 - pow(o->beta1, t))),
				   .fix2 = (float)(1 / (1 - pow(o->beta2, t))),
				   .scale = o->clip > 0 && norm > o->clip ? (float)(o->clip / norm)
									  : 1};
}

void
optim_step(struct param *p, const struct optim *o, double rate, long step, double norm)
{
	struct slices s = {.p = p,
			   .o = optim_adamw(o, rate, step, norm),
			   .dormancy = o->dormancy,
			   .decay = (float)(rate * o->decay)};

	param_each(p, slice_add, &s);
	task_run(s.n, update_task, &s);
	for (int l = 0; l < p->shape.layers; l++)
		for (int e = 0; e < p->layer[l].experts; e++)
			if (p->layer[l].expert[e])
				p->layer[l].expert[e]->touched = false;
	free(s.v);
}

double
optim_rate(enum schedule_kind kind, double peak, double end, long warmup, long steps, long step)
{
	const double at = steps > 0 ? (double)step / (double)steps : 0;
	double rate = 1;

	if (kind == LR_COSINE)
		rate = end + (1 - end) / 2 * (1 + cos(M_PI * (at < 1 ? at : 1)));
	else if (kind == LR_LINEAR)
		rate = 1 - (1 - end) * (at < 1 ? at : 1);
	else if (kind == LR_WSD && at > 0.8)
		rate = 1 - 5 * (1 - end) * ((at < 1 ? at : 1) - 0.8);
	if (step < warmup)
		rate *= (double)(step + 1) / (double)warmup;
	return peak * rate;
}
