#include "model/classifier.h"
#include "base/err.h"
#include "base/task.h"
#include "math/kern.h"
#include "model/conv.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 1 << 16, PARTS = 3 };

static void
list(struct classifier *c)
{
	const int n = c->encoder ? wrn_tensors(c->encoder) : 0, m = mixture_tensors(c->mixture);

	c->encoders = 2 + n;
	c->tensors = 2 + n + m;
	c->tensor = mem_zero((size_t)c->tensors, sizeof(struct tensor *));
	c->tensor[0] = &c->mean;
	c->tensor[1] = &c->sd;
	for (int i = 0; i < n; i++)
		c->tensor[2 + i] = wrn_tensor(c->encoder, i);
	for (int i = 0; i < m; i++)
		c->tensor[2 + n + i] = mixture_tensor(c->mixture, i);
}

/* Figures of the input: per plane of images, per feature of vectors. */
static void
make_input(struct classifier *c)
{
	const int n = c->encoder ? c->s.planes : c->s.width;

	c->mean = (struct tensor){.name = "input.mean", .rows = 1, .cols = n, .flat = true};
	c->sd = (struct tensor){.name = "input.sd", .rows = 1, .cols = n, .flat = true};
	c->mean.w = mem_zero((size_t)n, sizeof(float));
	c->sd.w = mem_zero((size_t)n, sizeof(float));
	for (int i = 0; i < n; i++)
		c->sd.w[i] = 1;
}

struct classifier *
classifier_new(const struct classifier_shape *s, int batch, bool train)
{
	struct classifier *c = mem_zero(1, sizeof *c);
	size_t features = (size_t)s->planes * (size_t)s->height * (size_t)s->width;

	*c = (struct classifier){.s = *s, .batch = batch};
	if (s->depth) {
		c->encoder =
			wrn_new(s->depth, s->widen, s->planes, s->height, s->width, batch, train);
		if (!c->encoder) {
			free(c);
			return NULL;
		}
		features = (size_t)wrn_features(c->encoder);
	}
	c->s.mixture.features = (int)features;
	c->mixture = mixture_new(&c->s.mixture, batch, train);
	c->feature = mem_zero((size_t)batch * features, sizeof(float));
	c->dfeature = train ? mem_zero((size_t)batch * features, sizeof(float)) : NULL;
	make_input(c);
	list(c);
	return c;
}

void
classifier_free(struct classifier *c)
{
	if (!c)
		return;
	wrn_free(c->encoder);
	mixture_free(c->mixture);
	free(c->feature);
	free(c->dfeature);
	free(c->mean.w);
	free(c->sd.w);
	free(c->tensor);
	free(c);
}

void
classifier_init(struct classifier *c, uint64_t seed)
{
	if (c->encoder)
		wrn_init(c->encoder, seed, 0);
	mixture_init(c->mixture, seed, 1 << 20);
}

void
classifier_forward(struct classifier *c, const struct mixture_loss *loss, const float *x,
		   const uint16_t *label, int n, bool train, uint64_t seed, long step,
		   struct mixture_stat *out)
{
	if (c->encoder)
		wrn_forward(c->encoder, x, n, train, c->feature);
	mixture_forward(c->mixture, loss, c->encoder ? c->feature : x, label, n, seed, step, out);
}

void
classifier_back(struct classifier *c, const struct mixture_loss *loss, const float *x,
		const uint16_t *label)
{
	mixture_back(c->mixture, loss, c->encoder ? c->feature : x, label, c->dfeature);
	if (c->encoder)
		wrn_back(c->encoder, c->dfeature);
}

/* --- optimizer --- */

struct update {
	struct classifier *c;
	struct slice {
		struct tensor *t;
		long from, n;
		bool encoder;
	} * v;
	long n;
	double *sum;
	struct kern_adamw o;
	double decay, rate[2]; /* of the encoder, of the rest */
};

static void
cut(struct update *u)
{
	for (int i = 0; i < u->c->tensors; i++) {
		struct tensor *t = u->c->tensor[i];
		const long all = t->g ? t->rows * t->cols : 0;

		for (long k = 0; k < all; k += SLICE) {
			u->v = mem_grow(u->v, (size_t)u->n + 1, sizeof *u->v);
			u->v[u->n++] = (struct slice){t, k, all - k < SLICE ? all - k : SLICE,
						      i < u->c->encoders};
		}
	}
}

static void
sum_task(void *arg, long i, int worker)
{
	struct update *u = arg;

	(void)worker;
	u->sum[i] = kern->sumsq(u->v[i].n, u->v[i].t->g + u->v[i].from);
}

double
classifier_norm(struct classifier *c)
{
	struct update u = {.c = c};
	double sum = 0;

	cut(&u);
	u.sum = mem_zero((size_t)u.n, sizeof *u.sum);
	task_run(u.n, sum_task, &u);
	for (long i = 0; i < u.n; i++)
		sum += u.sum[i];
	free(u.sum);
	free(u.v);
	return sqrt(sum);
}

static void
step_task(void *arg, long i, int worker)
{
	struct update *u = arg;
	const struct slice *v = &u->v[i];
	const struct tensor *t = v->t;
	const double rate = u->rate[!v->encoder];
	struct kern_adamw o = u->o;

	(void)worker;
	o.lr = (float)rate;
	o.decay = t->decay ? (float)(rate * u->decay) : 0;
	kern->adamw(v->n, &o, t->w + v->from, t->g + v->from, t->m + v->from, t->v + v->from);
	memset(t->g + v->from, 0, (size_t)v->n * sizeof *t->g);
}

void
classifier_step(struct classifier *c, const struct optim *o, double encoder_rate, double rate,
		long step, double norm)
{
	struct update u = {.c = c, .decay = o->decay, .rate = {encoder_rate, rate}};

	u.o = optim_adamw(o, 0, step, norm);
	cut(&u);
	task_run(u.n, step_task, &u);
	free(u.v);
}

/* --- files --- */

static const struct conv *
filter_of(const struct classifier *c, int i)
{
	return i >= 2 && i < c->encoders ? wrn_oihw(c->encoder, i - 2) : NULL;
}

static float *const *
part_of(const struct tensor *t, int part)
{
	return part == 0 ? &t->w : part == 1 ? &t->m : &t->v;
}

static int
file_shape(const struct classifier *c, int i, uint64_t shape[4])
{
	const struct tensor *t = c->tensor[i];
	const struct conv *f = filter_of(c, i);

	shape[0] = (uint64_t)(t->flat ? t->cols : t->rows);
	shape[1] = (uint64_t)(f ? f->in : t->cols);
	shape[2] = shape[3] = (uint64_t)(f ? f->size : 0);
	return f ? 4 : t->flat ? 1 : 2;
}

static const char *const prefix[PARTS] = {"", "optim.m.", "optim.v."};

int
classifier_put(const struct classifier *c, struct ckpt_out *o, float **copy)
{
	size_t filters = 0;
	float *to;

	for (int i = 0; i < c->tensors; i++)
		filters += filter_of(c, i) ? (size_t)conv_filter(filter_of(c, i)) : 0;
	*copy = to = mem_zero(PARTS * filters + 1, sizeof *to);
	for (int part = 0; part < PARTS; part++)
		for (int i = 0; i < c->tensors; i++) {
			const struct tensor *t = c->tensor[i];
			const struct conv *f = filter_of(c, i);
			const float *v = *part_of(t, part);
			uint64_t shape[4];
			char name[120];
			int dims = file_shape(c, i, shape);

			if (!v)
				continue;
			for (long k = 0; k < t->rows * t->cols; k++)
				if (!isfinite(v[k]))
					return err_set("%s%s: not finite", prefix[part], t->name);
			snprintf(name, sizeof name, "%s%s", prefix[part], t->name);
			if (f) {
				conv_export(f, v, to);
				v = to;
				to += conv_filter(f);
			}
			ckpt_out_floats(o, name, v, CKPT_F32, dims, shape);
		}
	return 0;
}

static int
get_part(struct classifier *c, const struct ckpt *k, int i, int part)
{
	const struct tensor *t = c->tensor[i];
	const struct conv *f = filter_of(c, i);
	const size_t n = (size_t)(t->rows * t->cols);
	float *to = *part_of(t, part), *v;
	const struct ckpt_tensor *from;
	uint64_t shape[4];
	char name[120];
	int dims = file_shape(c, i, shape), status = 0;

	snprintf(name, sizeof name, "%s%s", prefix[part], t->name);
	if (!(from = ckpt_find(k, name)))
		return err_set("%s: no tensor %s", k->name, name);
	if (from->dims != dims || memcmp(from->shape, shape, (size_t)dims * sizeof *shape) != 0)
		return err_set("%s: %s has another shape than the recipe says", k->name, name);
	v = mem_zero(n, sizeof *v);
	status = ckpt_floats(k, from, v, n);
	for (size_t x = 0; status == 0 && x < n; x++)
		if (!isfinite(v[x]))
			status = err_set("%s: %s is not finite", k->name, name);
	if (status == 0 && f)
		conv_import(f, v, to);
	else if (status == 0)
		memcpy(to, v, n * sizeof *v);
	free(v);
	return status;
}

int
classifier_get(struct classifier *c, const struct ckpt *k)
{
	for (int i = 0; i < c->tensors; i++)
		for (int part = 0; part < PARTS; part++)
			if (*part_of(c->tensor[i], part) && get_part(c, k, i, part) < 0)
				return -1;
	return 0;
}
