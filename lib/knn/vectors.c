#include "knn/vectors.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include "io/ckpt.h"
#include "io/table.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- CSV ---- */

static bool
is_number(const char *s)
{
	double x;

	return num_real(s, -INFINITY, INFINITY, &x) == 0;
}

static int
read_row(struct vectors *s, struct table *t, long *room)
{
	double x;

	if (s->n == *room) {
		*room += *room / 2 + 64;
		s->own = mem_grow(s->own, (size_t)*room * (size_t)s->d, sizeof *s->own);
	}
	for (int j = 0; j < s->d; j++) {
		if (table_real(t, j, &x) < 0)
			return -1;
		if (!isfinite((float)x))
			return err_set("%s:%ld: column %s: \"%s\" is not a finite float32", s->name,
				       table_line(t), table_header(t, j), table_text(t, j));
		s->own[s->n * s->d + j] = (float)x;
	}
	s->n++;
	return 0;
}

static int
read_csv(struct vectors *s, const char *name)
{
	struct table *t = table_open(name);
	long room = 0;
	int got = -1;

	if (!t)
		return -1;
	s->d = table_columns(t);
	if (is_number(table_header(t, 0)))
		err_set("%s:1: \"%s\" is a number (expected the names of the columns)", name,
			table_header(t, 0));
	else
		while ((got = table_next(t)) > 0 && (got = read_row(s, t, &room)) == 0)
			;
	table_close(t);
	if (got == 0 && !s->n)
		return err_set("%s: no vectors", name);
	s->v = s->own;
	return got;
}

/* ---- checkpoints ---- */

static int
read_tensor(struct vectors *s, const struct ckpt *c, const char *which)
{
	char *name = strspn(which, "0123456789") == strlen(which)
			     ? mem_text("model.layers.%s.mlp.gate.weight", which)
			     : mem_copy(which);
	const struct ckpt_tensor *t = ckpt_find(c, name);
	int r;

	if (!t)
		r = err_set("%s: no tensor %s (moe-ckpt ls lists them)", c->name, name);
	else if (t->dims != 2 || !t->bytes)
		r = err_set("%s: %s has %d dimensions (expected 2)", c->name, name, t->dims);
	else {
		s->n = (long)t->shape[0];
		s->d = (long)t->shape[1];
		s->own = mem_grow(NULL, (size_t)s->n * (size_t)s->d, sizeof *s->own);
		r = ckpt_floats(c, t, s->own, (size_t)s->n * (size_t)s->d);
		s->v = s->own;
	}
	free(name);
	return r;
}

static int
read_ckpt(struct vectors *s, const char *name)
{
	const char *colon = strrchr(name, ':');
	char *file = mem_text("%.*s", (int)(colon - name), name);
	struct ckpt *c = ckpt_open(file);
	int r = c ? read_tensor(s, c, colon + 1) : -1;

	ckpt_close(c);
	free(file);
	return r;
}

/* ---- any ---- */

static int
read_file(struct vectors *s, const char *name)
{
	size_t n;
	char *p = file_slurp(name, &n);

	if (!p)
		return -1;
	if (npy_is(p, n) || !strcmp(name, "-")) {
		if (npy_take(&s->matrix, !strcmp(name, "-") ? "standard input" : name, p, n) < 0)
			return -1;
		s->n = s->matrix.rows;
		s->d = s->matrix.cols;
		s->v = s->matrix.v;
		return 0;
	}
	/* Ten bytes into safetensors stands its JSON. */
	const bool ckpt = n > 9 && p[8] == '{' && !memcmp(p + 4, "\0\0\0", 4);
	free(p);
	if (ckpt)
		return err_set("%s: a checkpoint (expected %s:LAYER)", name, name);
	return read_csv(s, name);
}

static int
check(const struct vectors *s)
{
	if (s->n > INT_MAX || s->d > INT_MAX / 64)
		return err_set("%s: %ld vectors of %ld components (expected at most %d of %d)",
			       s->name, s->n, s->d, INT_MAX, INT_MAX / 64);
	for (long i = 0; i < s->n * s->d; i++)
		if (!isfinite(s->v[i]))
			return err_set("%s: vector %ld, component %ld: %g (expected a finite "
				       "number)",
				       s->name, i / s->d, i % s->d, (double)s->v[i]);
	return 0;
}

int
vectors_read(struct vectors *s, const char *name)
{
	int r;

	*s = (struct vectors){.name = mem_copy(!strcmp(name, "-") ? "standard input" : name)};
	r = strchr(name, ':') && !file_exists(name) ? read_ckpt(s, name) : read_file(s, name);
	if (r == 0)
		r = check(s);
	if (r < 0)
		vectors_free(s);
	return r;
}

int
vectors_normalize(struct vectors *s)
{
	float *to = s->own ? s->own : mem_grow(NULL, (size_t)s->n * (size_t)s->d, sizeof *to);

	s->own = to;
	for (long i = 0; i < s->n; i++) {
		const float *x = s->v + i * s->d;
		double sum = 0;
		for (long j = 0; j < s->d; j++)
			sum += (double)x[j] * (double)x[j];
		if (sum == 0)
			return err_set("%s: vector %ld is zero (it has no direction)", s->name, i);
		for (long j = 0; j < s->d; j++)
			to[i * s->d + j] = (float)((double)x[j] / sqrt(sum));
	}
	s->v = to;
	return 0;
}

void
vectors_free(struct vectors *s)
{
	npy_free(&s->matrix);
	free(s->own);
	free(s->name);
	*s = (struct vectors){0};
}
