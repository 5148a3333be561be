#include "model/wrn.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/task.h"
#include "math/kern.h"
#include "model/conv.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS = 8 /* of images, for the gradients of filters */, SLICE = 1 << 16 };

static const double eps = 1e-5, momentum = 0.1;

/* Normalisation of c channels and the ReLU behind it. */
struct norm {
	int channels;
	struct tensor scale, shift, mean, var; /* the last two: running figures */
	float *at, *rstd;		       /* mean and 1 / sd in use */
	float *gain, *offset;		       /* gain x + offset */
	float *p, *q, *r;		       /* see kern->norm_back */
};

struct filter {
	struct conv c;
	struct tensor t;
	float *turned;
};

/* Planes of the whole batch, one image after the other. */
struct planes {
	int height, width, channels;
	float *v;
};

struct block {
	struct norm n1, n2;
	struct filter f1, f2, fs; /* fs.c.size 0: no shortcut */
	struct planes a1, y1, a2, y;
};

struct wrn {
	int depth, k, blocks, batch, n; /* n: images of the last forward */
	bool train;
	struct planes x0, y0;
	struct filter f0;
	struct block *block;
	struct norm last;
	struct planes a;	/* behind the last norm */
	float *d[3];		/* gradients: planes of all shapes as the way back goes */
	long most;		/* floats of the largest plane */
	float *part;		/* [GROUPS][largest filter] */
	double *sums;		/* [batch][2][64k] */
	struct tensor **tensor; /* [tensors] */
	const struct conv **of; /* [tensors] */
	int tensors;
	void *memory;
	size_t bytes;
};

/* --- layout --- */

static void
take_tensor(struct wrn *w, struct arena *a, struct tensor *t, long rows, long cols, bool learns)
{
	const size_t n = (size_t)(rows * cols);

	t->rows = rows;
	t->cols = cols;
	t->w = arena_take(a, n, sizeof(float));
	if (learns && w->train) {
		t->g = arena_take(a, n, sizeof(float));
		t->m = arena_take(a, n, sizeof(float));
		t->v = arena_take(a, n, sizeof(float));
	}
}

static void
keep(struct wrn *w, struct tensor *t, const struct conv *of)
{
	if (w->tensor) {
		w->tensor[w->tensors] = t;
		w->of[w->tensors] = of;
	}
	w->tensors++;
}

static void
take_vector(struct wrn *w, struct arena *a, struct tensor *t, int n, bool learns, const char *name,
	    const char *part)
{
	take_tensor(w, a, t, 1, n, learns);
	t->flat = true;
	snprintf(t->name, sizeof t->name, "encoder.%s.%s", name, part);
	keep(w, t, NULL);
}

static void
take_norm(struct wrn *w, struct arena *a, struct norm *m, int channels, const char *name)
{
	float **const work[] = {&m->at, &m->rstd, &m->gain, &m->offset, &m->p, &m->q, &m->r};

	m->channels = channels;
	take_vector(w, a, &m->scale, channels, true, name, "weight");
	take_vector(w, a, &m->shift, channels, true, name, "bias");
	take_vector(w, a, &m->mean, channels, false, name, "running_mean");
	take_vector(w, a, &m->var, channels, false, name, "running_var");
	for (size_t i = 0; i < sizeof work / sizeof *work; i++)
		*work[i] = arena_take(a, (size_t)channels, sizeof(float));
}

static void
take_filter(struct wrn *w, struct arena *a, struct filter *f, struct conv c, const char *name)
{
	f->c = c;
	take_tensor(w, a, &f->t, c.out, (long)c.in * c.size * c.size, true);
	f->t.decay = true;
	snprintf(f->t.name, sizeof f->t.name, "encoder.%s.weight", name);
	if (w->train)
		f->turned = arena_take(a, (size_t)conv_filter(&c), sizeof(float));
	keep(w, &f->t, &f->c);
}

static void
take_planes(struct wrn *w, struct arena *a, struct planes *p, int height, int width, int channels)
{
	const long n = conv_plane(height, width, channels);

	*p = (struct planes){height, width, channels, NULL};
	p->v = arena_take(a, (size_t)w->batch * (size_t)n, sizeof(float));
	w->most = n > w->most ? n : w->most;
}

/* Block number i, whose input is x; its output is returned. */
static struct planes
take_block(struct wrn *w, struct arena *a, int i, struct planes x)
{
	struct block *b = &w->block[i];
	const int n = w->blocks / 3, group = i / n, in = x.channels, out = (16 << group) * w->k,
		  stride = group && i % n == 0 ? 2 : 1, h = x.height / stride, v = x.width / stride;
	char name[5][40];

	static const char *const part[] = {"norm1", "conv1", "norm2", "conv2", "shortcut"};
	for (int k = 0; k < 5; k++)
		snprintf(name[k], sizeof name[k], "%d.%d.%s", group, i % n, part[k]);
	take_norm(w, a, &b->n1, in, name[0]);
	take_filter(w, a, &b->f1, (struct conv){3, stride, x.height, x.width, in, out}, name[1]);
	take_norm(w, a, &b->n2, out, name[2]);
	take_filter(w, a, &b->f2, (struct conv){3, 1, h, v, out, out}, name[3]);
	if (in != out || stride > 1)
		take_filter(w, a, &b->fs, (struct conv){1, stride, x.height, x.width, in, out},
			    name[4]);
	take_planes(w, a, &b->a1, x.height, x.width, in);
	take_planes(w, a, &b->y1, h, v, out);
	take_planes(w, a, &b->a2, h, v, out);
	take_planes(w, a, &b->y, h, v, out);
	return b->y;
}

static void
layout(struct wrn *w, struct arena *a, int planes, int height, int width)
{
	const int features = wrn_features(w);
	const struct conv c0 = {3, 1, height, width, planes, 16};
	const long most = (long)features * features * 9;
	struct planes x;

	w->tensors = 0;
	take_planes(w, a, &w->x0, height, width, planes);
	take_planes(w, a, &w->y0, height, width, 16);
	take_filter(w, a, &w->f0, c0, "conv1");
	x = w->y0;
	for (int i = 0; i < w->blocks; i++)
		x = take_block(w, a, i, x);
	take_norm(w, a, &w->last, features, "norm");
	take_planes(w, a, &w->a, x.height, x.width, features);
	w->sums = arena_take(a, (size_t)w->batch * 2 * (size_t)features, sizeof(double));
	if (!w->train)
		return;
	for (int i = 0; i < 3; i++)
		w->d[i] = arena_take(a, (size_t)w->batch * (size_t)w->most, sizeof(float));
	w->part = arena_take(a, GROUPS * (size_t)most, sizeof(float));
}

static int
check(int depth, int k, int planes, int height, int width, int batch)
{
	if (depth < 10 || depth > 1000 || (depth - 4) % 6 || k < 1 || k > 64)
		return err_set("WRN-%d-%d (expected a depth of 10, 16, 22, 28, ..., a width from 1 "
			       "to 64)",
			       depth, k);
	if (height < 4 || width < 4 || height % 4 || width % 4)
		return err_set("images of %dx%dx%d (expected sides that are multiples of 4)",
			       planes, height, width);
	if (batch < 2)
		return err_set("batches of %d (expected 2 or more, for the normalisation)", batch);
	return 0;
}

struct wrn *
wrn_new(int depth, int k, int planes, int height, int width, int batch, bool train)
{
	struct arena a = {0};
	struct wrn *w;

	if (check(depth, k, planes, height, width, batch) < 0)
		return NULL;
	w = mem_zero(1, sizeof *w);
	*w = (struct wrn){
		.depth = depth, .k = k, .blocks = (depth - 4) / 2, .batch = batch, .train = train};
	w->block = mem_zero((size_t)w->blocks, sizeof *w->block);
	layout(w, &a, planes, height, width);
	w->tensor = mem_zero((size_t)w->tensors, sizeof(struct tensor *));
	w->of = mem_zero((size_t)w->tensors, sizeof(struct conv *));
	w->bytes = a.used;
	w->memory = mem_map(a.used);
	a = (struct arena){.base = w->memory};
	layout(w, &a, planes, height, width);
	return w;
}

void
wrn_free(struct wrn *w)
{
	if (!w)
		return;
	mem_unmap(w->memory, w->bytes);
	free(w->block);
	free(w->tensor);
	free(w->of);
	free(w);
}

int
wrn_features(const struct wrn *w)
{
	return 64 * w->k;
}

int
wrn_tensors(const struct wrn *w)
{
	return w->tensors;
}

struct tensor *
wrn_tensor(struct wrn *w, int i)
{
	return w->tensor[i];
}

const struct conv *
wrn_oihw(const struct wrn *w, int i)
{
	return w->of[i];
}

void
wrn_init(struct wrn *w, uint64_t seed, uint64_t index)
{
	for (int i = 0; i < w->tensors; i++) {
		struct tensor *t = w->tensor[i];
		const long n = t->rows * t->cols;
		const struct conv *c = w->of[i];
		struct rng r = rng_at(seed, RNG_INIT, 0, index + (uint64_t)i);

		if (c) {
			rng_normals(&r, t->w, n);
			kern->scale(n, (float)sqrt(2.0 / (c->size * c->size * (double)c->out)),
				    t->w, t->w);
			continue;
		}
		const bool one = strstr(t->name, "running_var") || strstr(t->name, ".weight");
		for (long k = 0; k < n; k++)
			t->w[k] = one ? 1 : 0;
	}
}

/* --- what the phases share --- */

static float *
image(const struct planes *p, long i)
{
	return p->v + i * conv_plane(p->height, p->width, p->channels);
}

/* The first pixel of line y of an image's interior; its lines are `line_step` floats apart. */
static float *
inner(const struct planes *p, long i, int y)
{
	return image(p, i) + ((long)(y + 1) * (p->width + 2) + 1) * p->channels;
}

static double *
sums(const struct wrn *w, long i)
{
	return w->sums + 2 * i * wrn_features(w);
}

/* a = relu(norm(x)) of one image. */
static void
apply(const struct norm *m, const struct planes *x, const struct planes *a, long i)
{
	for (int y = 0; y < x->height; y++)
		kern->norm(x->width, m->channels, inner(x, i, y), m->gain, m->offset,
			   inner(a, i, y));
}

/* What the norm behind x has to know of image i. */
static void
measure(const struct wrn *w, const struct planes *x, long i)
{
	double *s = sums(w, i);

	memset(s, 0, 2 * (size_t)x->channels * sizeof *s);
	for (int y = 0; y < x->height; y++)
		kern->norm_sums(x->width, x->channels, inner(x, i, y), s, s + x->channels);
}

/* Mean and deviation of a batch, or the running ones; then gain and offset. */
static void
settle(struct wrn *w, struct norm *m, const struct planes *x, bool train)
{
	const double n = (double)w->n * x->height * x->width;

	for (int c = 0; c < m->channels; c++) {
		double sum = 0, square = 0, mean = (double)m->mean.w[c], var = (double)m->var.w[c];

		if (train) {
			for (int i = 0; i < w->n; i++) {
				sum += sums(w, i)[c];
				square += sums(w, i)[c + m->channels];
			}
			mean = sum / n;
			var = square / n - mean * mean;
			var = var < 0 ? 0 : var;
			m->mean.w[c] += (float)(momentum * (mean - (double)m->mean.w[c]));
			m->var.w[c] +=
				(float)(momentum * (var * n / (n - 1) - (double)m->var.w[c]));
		}
		m->at[c] = (float)mean;
		m->rstd[c] = (float)(1 / sqrt(var + eps));
		m->gain[c] = m->scale.w[c] * m->rstd[c];
		m->offset[c] = m->shift.w[c] - m->at[c] * m->gain[c];
	}
}

/* --- forward --- */

struct forward {
	struct wrn *w;
	struct block *b;
	const struct planes *x; /* the block's input */
	const float *images;
	float *feature;
	bool train;
};

static void
enter_task(void *arg, long i, int worker)
{
	struct forward *f = arg;
	const struct planes *x = &f->w->x0;
	const long size = (long)x->height * x->width;
	const float *from = f->images + i * x->channels * size;

	(void)worker;
	for (int y = 0; y < x->height; y++) {
		float *to = inner(x, i, y);

		for (int k = 0; k < x->width; k++)
			for (int c = 0; c < x->channels; c++)
				*to++ = from[c * size + (long)y * x->width + k];
	}
	conv_forward(&f->w->f0.c, f->w->f0.t.w, image(x, i), image(&f->w->y0, i), false);
	if (f->train)
		measure(f->w, &f->w->y0, i);
}

static void
first_task(void *arg, long i, int worker)
{
	struct forward *f = arg;
	struct block *b = f->b;

	(void)worker;
	apply(&b->n1, f->x, &b->a1, i);
	conv_forward(&b->f1.c, b->f1.t.w, image(&b->a1, i), image(&b->y1, i), false);
	if (f->train)
		measure(f->w, &b->y1, i);
}

static void
second_task(void *arg, long i, int worker)
{
	struct forward *f = arg;
	struct block *b = f->b;
	float *y = image(&b->y, i);

	(void)worker;
	apply(&b->n2, &b->y1, &b->a2, i);
	conv_forward(&b->f2.c, b->f2.t.w, image(&b->a2, i), y, false);
	if (b->fs.c.size)
		conv_forward(&b->fs.c, b->fs.t.w, image(&b->a1, i), y, true);
	else
		kern->axpy(conv_plane(b->y.height, b->y.width, b->y.channels), 1, image(f->x, i),
			   y);
	if (f->train)
		measure(f->w, &b->y, i);
}

static void
leave_task(void *arg, long i, int worker)
{
	struct forward *f = arg;
	const struct planes *a = &f->w->a;
	const int c = a->channels;
	float *feature = f->feature + i * c;

	(void)worker;
	apply(&f->w->last, f->x, a, i);
	memset(feature, 0, (size_t)c * sizeof *feature);
	for (int y = 0; y < a->height; y++)
		for (int k = 0; k < a->width; k++)
			kern->axpy(c, 1, inner(a, i, y) + (long)k * c, feature);
	kern->scale(c, 1 / (float)(a->height * a->width), feature, feature);
}

void
wrn_forward(struct wrn *w, const float *x, int n, bool train, float *feature)
{
	struct forward f = {w, NULL, &w->y0, x, feature, train};

	w->n = n;
	task_run(n, enter_task, &f);
	for (int i = 0; i < w->blocks; i++) {
		struct block *b = f.b = &w->block[i];

		settle(w, &b->n1, f.x, train);
		task_run(n, first_task, &f);
		settle(w, &b->n2, &b->y1, train);
		task_run(n, second_task, &f);
		f.x = &b->y;
	}
	settle(w, &w->last, f.x, train);
	task_run(n, leave_task, &f);
}

/* --- back --- */

struct back {
	struct wrn *w;
	struct block *b;
	const struct planes *x; /* the block's input, or that of the last norm */
	const float *dfeature;
	struct planes dy, dy1, dx; /* gradients of y, of y1 and a2, of x and a1 */
	/* of a filter's gradient */
	struct filter *filter;
	const struct planes *in, *out;
};

/* A buffer of gradients in the shape of p. */
static struct planes
shaped(const struct planes *p, float *v)
{
	return (struct planes){p->height, p->width, p->channels, v};
}

/* d, the gradient of a = relu(norm(x)), becomes that of norm(x); its sums over image i. */
static void
slope(const struct wrn *w, const struct norm *m, const struct planes *a, const struct planes *x,
      const struct planes *d, long i)
{
	double *s = sums(w, i);

	memset(s, 0, 2 * (size_t)m->channels * sizeof *s);
	for (int y = 0; y < x->height; y++)
		kern->norm_slope(x->width, m->channels, inner(a, i, y), inner(x, i, y), m->at,
				 m->rstd, inner(d, i, y), s, s + m->channels);
}

/*
 * With z = (x - mean) rstd and g the gradient of the output: dscale = sum g z, dshift = sum g,
 * dx = scale rstd (g - mean g - z mean g z) = p g + q x + r.
 */
static void
settle_back(struct wrn *w, struct norm *m, const struct planes *x)
{
	const double n = (double)w->n * x->height * x->width;

	for (int c = 0; c < m->channels; c++) {
		double sum = 0, moment = 0, gain = (double)m->gain[c], q;

		for (int i = 0; i < w->n; i++) {
			sum += sums(w, i)[c];
			moment += sums(w, i)[c + m->channels];
		}
		m->scale.g[c] += (float)moment;
		m->shift.g[c] += (float)sum;
		q = -gain * moment / n * (double)m->rstd[c];
		m->p[c] = m->gain[c];
		m->q[c] = (float)q;
		m->r[c] = (float)(-gain * sum / n - q * (double)m->at[c]);
	}
}

static void
through(const struct norm *m, const struct planes *x, const struct planes *d, long i)
{
	for (int y = 0; y < x->height; y++)
		kern->norm_back(x->width, m->channels, inner(x, i, y), m->p, m->q, m->r,
				inner(d, i, y));
}

static void
pool_task(void *arg, long i, int worker)
{
	struct back *k = arg;
	const struct planes *d = &k->dy;
	const int c = d->channels;
	const float share = 1 / (float)(d->height * d->width);

	(void)worker;
	for (int y = 0; y < d->height; y++)
		for (int x = 0; x < d->width; x++)
			kern->scale(c, share, k->dfeature + i * c, inner(d, i, y) + (long)x * c);
	conv_border(d->height, d->width, c, image(d, i));
	slope(k->w, &k->w->last, &k->w->a, k->x, d, i);
}

static void
last_task(void *arg, long i, int worker)
{
	struct back *k = arg;

	(void)worker;
	through(&k->w->last, k->x, &k->dy, i);
}

static void
turn_task(void *arg, long i, int worker)
{
	struct block *b = ((struct back *)arg)->b;
	struct filter *const f[] = {&b->f1, &b->f2, &b->fs};

	(void)worker;
	if (f[i]->c.size)
		conv_turn(&f[i]->c, f[i]->t.w, f[i]->turned);
}

static void
second_back_task(void *arg, long i, int worker)
{
	struct back *k = arg;
	struct block *b = k->b;

	(void)worker;
	conv_back(&b->f2.c, b->f2.turned, image(&k->dy, i), image(&k->dy1, i), false, NULL);
	slope(k->w, &b->n2, &b->a2, &b->y1, &k->dy1, i);
}

static void
first_back_task(void *arg, long i, int worker)
{
	struct back *k = arg;
	struct block *b = k->b;
	float *scratch = task_scratch(worker, (size_t)conv_scratch(&b->f1.c) * sizeof(float)),
	      *dx = image(&k->dx, i);

	through(&b->n2, &b->y1, &k->dy1, i);
	conv_back(&b->f1.c, b->f1.turned, image(&k->dy1, i), dx, false, scratch);
	if (b->fs.c.size)
		conv_back(&b->fs.c, b->fs.turned, image(&k->dy, i), dx, true, scratch);
	slope(k->w, &b->n1, &b->a1, k->x, &k->dx, i);
}

static void
input_back_task(void *arg, long i, int worker)
{
	struct back *k = arg;

	(void)worker;
	through(&k->b->n1, k->x, &k->dx, i);
	if (!k->b->fs.c.size)
		kern->axpy(conv_plane(k->dx.height, k->dx.width, k->dx.channels), 1,
			   image(&k->dy, i), image(&k->dx, i));
}

static void
part_task(void *arg, long g, int worker)
{
	struct back *k = arg;
	const struct conv *c = &k->filter->c;
	float *part = k->w->part + g * conv_filter(c);
	const long n = k->w->n;

	(void)worker;
	memset(part, 0, (size_t)conv_filter(c) * sizeof *part);
	for (long i = n * g / GROUPS; i < n * (g + 1) / GROUPS; i++)
		conv_grad(c, image(k->in, i), image(k->out, i), part);
}

static void
join_task(void *arg, long i, int worker)
{
	struct back *k = arg;
	const long size = conv_filter(&k->filter->c), from = i * SLICE,
		   n = size - from < SLICE ? size - from : SLICE;

	(void)worker;
	for (long g = 0; g < GROUPS; g++)
		kern->axpy(n, 1, k->w->part + g * size + from, k->filter->t.g + from);
}

static void
grad(struct back *k, struct filter *f, const struct planes *in, const struct planes *out)
{
	k->filter = f;
	k->in = in;
	k->out = out;
	task_run(GROUPS, part_task, k);
	task_run((conv_filter(&f->c) + SLICE - 1) / SLICE, join_task, k);
}

/* From k->dy, the gradient of a block's output, to k->dx, that of its input. */
static void
block_back(struct back *k)
{
	struct wrn *w = k->w;
	struct block *b = k->b;

	task_run(3, turn_task, k);
	task_run(w->n, second_back_task, k);
	settle_back(w, &b->n2, &b->y1);
	task_run(w->n, first_back_task, k);
	settle_back(w, &b->n1, k->x);
	grad(k, &b->f2, &b->a2, &k->dy);
	grad(k, &b->f1, &b->a1, &k->dy1);
	if (b->fs.c.size)
		grad(k, &b->fs, &b->a1, &k->dy);
	task_run(w->n, input_back_task, k);
}

void
wrn_back(struct wrn *w, const float *dfeature)
{
	float *v[3] = {w->d[0], w->d[1], w->d[2]};
	struct back k = {.w = w, .dfeature = dfeature, .x = &w->block[w->blocks - 1].y};

	k.dy = shaped(k.x, v[0]);
	task_run(w->n, pool_task, &k);
	settle_back(w, &w->last, k.x);
	task_run(w->n, last_task, &k);
	for (int i = w->blocks; i-- > 0;) {
		float *was = v[0];

		k.b = &w->block[i];
		k.x = i ? &w->block[i - 1].y : &w->y0;
		k.dy1 = shaped(&k.b->y1, v[1]);
		k.dx = shaped(k.x, v[2]);
		block_back(&k);
		k.dy = k.dx;
		v[0] = v[2];
		v[2] = was;
	}
	grad(&k, &w->f0, &w->x0, &k.dy);
}
