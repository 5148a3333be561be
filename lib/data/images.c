#include "data/images.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include "data/spec.h"
#include "io/table.h"
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CIFAR_PIXELS = 3 * 32 * 32, MOST_CLASSES = 65535, SIDE = 4096 };

/* A set as it is read: its bytes, and where the samples stand in them. */
struct source {
	struct images *s;
	const unsigned char *p;
	size_t n; /* bytes */
};

static long
pixels(const struct images *s)
{
	return (long)s->planes * s->height * s->width;
}

static void
set_shape(struct images *s, int planes, int height, int width)
{
	s->planes = planes;
	s->height = height;
	s->width = width;
}

/* --- records and CIFAR --- */

/* n samples of `head` bytes of label, of which `at` and, if wide, the one behind count. */
static int
read_records(const struct source *o, int head, int at, bool wide)
{
	struct images *s = o->s;
	const size_t size = (size_t)pixels(s), record = size + (size_t)head;

	if (o->n % record)
		return err_set("%s: %zu bytes, of which the last %zu are no record of %zu "
			       "(expected %d of label and %dx%dx%d of pixels)",
			       s->file, o->n, o->n % record, record, head, s->planes, s->height,
			       s->width);
	s->n = (long)(o->n / record);
	s->label = mem_zero((size_t)s->n + 1, sizeof *s->label);
	s->pixel = mem_zero((size_t)s->n * size + 1, 1);
	for (long i = 0; i < s->n; i++) {
		const unsigned char *r = o->p + (size_t)i * record;

		s->label[i] = (uint16_t)(r[at] | (wide ? r[at + 1] << 8 : 0));
		memcpy(s->pixel + (size_t)i * size, r + head, size);
	}
	return 0;
}

/* The one shape of common sets whose records fill n bytes. */
static int
known_shape(struct images *s, size_t n)
{
	static const int shape[][3] = {{3, 32, 32}, {1, 28, 28}, {3, 64, 64}, {1, 32, 32},
				       {3, 96, 96}, {3, 28, 28}, {1, 64, 64}};
	int fit = 0;

	for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
		if (n % (size_t)(2 + shape[i][0] * shape[i][1] * shape[i][2]) == 0 && !fit++)
			set_shape(s, shape[i][0], shape[i][1], shape[i][2]);
	if (fit != 1)
		return err_set("%s: %zu bytes are records of %s known shape (expected to be told "
			       "PLANESxHEIGHTxWIDTH)",
			       s->file, n, fit ? "more than one" : "no");
	return 0;
}

/* --- IDX --- */

static uint32_t
big32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* An IDX file of bytes with `dims` dimensions, the first of which is returned; -1 on failure. */
static long
idx_head(const char *file, const unsigned char *p, size_t n, int dims, uint32_t *dim)
{
	size_t want = 4 + 4 * (size_t)dims, bytes = 1;

	if (n < 4 || p[0] || p[1] || p[2] != 8 || p[3] != dims)
		return err_set("%s: not IDX of bytes with %d dimension%s (expected 00 00 08 %02x "
			       "at its start)",
			       file, dims, dims == 1 ? "" : "s", (unsigned)dims);
	if (n < want)
		return err_set("%s: cut in its header (%zu bytes, expected %zu)", file, n, want);
	for (int i = 0; i < dims; i++) {
		dim[i] = big32(p + 4 + 4 * i);
		if (dim[i] == 0 || (i && dim[i] > SIDE))
			return err_set("%s: dimension %d is %" PRIu32 " (expected 1 to %d)", file,
				       i, dim[i], SIDE);
		bytes *= dim[i];
	}
	if (n - want != bytes)
		return err_set("%s: %zu bytes of data (expected %zu)", file, n - want, bytes);
	return (long)dim[0];
}

/* The file of labels beside one of images. */
static char *
labels_beside(const char *file)
{
	const char *base = strrchr(file, '/'), *word, *idx;

	base = base ? base + 1 : file;
	word = strstr(base, "images");
	idx = word ? strstr(word, "idx3") : NULL;
	if (!idx)
		return NULL;
	return mem_text("%.*slabels%.*sidx1%s", (int)(word - file), file,
			(int)(idx - word) - (int)strlen("images"), word + strlen("images"),
			idx + 4);
}

static int
read_idx(const struct source *o, const char *labels)
{
	struct images *s = o->s;
	char *beside = labels ? mem_copy(labels) : labels_beside(s->file);
	unsigned char *p = NULL;
	uint32_t dim[3] = {0};
	size_t n = 0;
	int r = -1;

	if (!beside) {
		err_set("%s: where are its labels? (expected images in the name and idx3 behind)",
			s->file);
		goto out;
	}
	if ((s->n = idx_head(s->file, o->p, o->n, 3, dim)) < 0)
		goto out;
	set_shape(s, 1, (int)dim[1], (int)dim[2]);
	if (!(p = (unsigned char *)file_slurp(beside, &n)) || idx_head(beside, p, n, 1, dim) < 0)
		goto out;
	if ((long)dim[0] != s->n) {
		err_set("%s: %" PRIu32 " labels for %ld images of %s", beside, dim[0], s->n,
			s->file);
		goto out;
	}
	s->label = mem_zero((size_t)s->n, sizeof *s->label);
	for (long i = 0; i < s->n; i++)
		s->label[i] = p[8 + i];
	s->pixel = mem_zero((size_t)(s->n * pixels(s)), 1);
	memcpy(s->pixel, o->p + 16, (size_t)(s->n * pixels(s)));
	r = 0;
out:
	free(p);
	free(beside);
	return r;
}

/* --- CSV --- */

struct csv {
	struct table *t;
	int class_at;
	bool bare;   /* without a header: what table_open took for one is the first sample */
	char **word; /* [n] the classes */
	long *line;  /* [n] */
	long n;
};

static bool
is_number(const char *text)
{
	double x;

	return num_real(text, -3e38, 3e38, &x) == 0;
}

/* Find the class, and whether there is a header: a first line with one word at most has none. */
static void
csv_columns(struct csv *c)
{
	int words = 0, last = table_columns(c->t) - 1;

	c->class_at = last;
	for (int i = 0; i <= last; i++)
		if (!is_number(table_header(c->t, i))) {
			words++;
			c->class_at = i;
		}
	c->bare = words <= 1 && last > 0;
	if (!c->bare) {
		int at = table_column(c->t, "class");

		c->class_at = at >= 0 ? at : table_column(c->t, "label");
	}
}

static int
csv_value(const struct csv *c, const struct images *s, int column, bool head, float *out)
{
	double x;
	const char *text = head ? table_header(c->t, column) : table_text(c->t, column);

	if (num_real(text, -3e38, 3e38, &x) < 0)
		return err_in("%s:%ld: feature %d", s->file, head ? 1 : table_line(c->t),
			      column + 1);
	*out = (float)x;
	return 0;
}

static int
csv_sample(struct csv *c, struct images *s, bool head)
{
	const int features = table_columns(c->t) - 1;
	const size_t n = (size_t)c->n;
	float *to;

	if ((n & (n - 1)) == 0) { /* room for twice as many */
		size_t room = n ? 2 * n : 1;

		c->word = mem_grow(c->word, room, sizeof *c->word);
		c->line = mem_grow(c->line, room, sizeof *c->line);
		s->value = mem_grow(s->value, room * (size_t)features, sizeof *s->value);
	}
	to = s->value + n * (size_t)features;
	for (int i = 0; i <= features; i++)
		if (i != c->class_at && csv_value(c, s, i, head, to++) < 0)
			return -1;
	c->line[c->n] = head ? 1 : table_line(c->t);
	c->word[c->n++] =
		mem_copy(head ? table_header(c->t, c->class_at) : table_text(c->t, c->class_at));
	return 0;
}

static int
by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of all classes, in order. */
static int
csv_names(const struct csv *c, struct images *s)
{
	char **all = mem_zero((size_t)c->n, sizeof *all);
	long k = 0;

	memcpy(all, c->word, (size_t)c->n * sizeof *all);
	qsort(all, (size_t)c->n, sizeof *all, by_bytes);
	for (long i = 0; i < c->n; i++)
		if (!k || strcmp(all[i], all[k - 1]) != 0)
			all[k++] = all[i];
	if (k > MOST_CLASSES) {
		free(all);
		return err_set("%s: %ld classes (expected at most %d)", s->file, k, MOST_CLASSES);
	}
	s->class_name = mem_zero((size_t)k, sizeof *s->class_name);
	for (long i = 0; i < k; i++)
		s->class_name[i] = mem_copy(all[i]);
	s->classes = (int)k;
	free(all);
	return 0;
}

/* Number the classes: as they are, by the names of another set, or by their own names' order. */
static int
csv_labels(const struct csv *c, struct images *s, const struct images *like)
{
	bool numbers = !(like && like->class_name);
	long x;

	for (long i = 0; numbers && i < c->n; i++)
		numbers = num_long(c->word[i], 0, MOST_CLASSES - 1, &x) == 0;
	s->label = mem_zero((size_t)c->n, sizeof *s->label);
	if (!numbers && !like && csv_names(c, s) < 0)
		return -1;
	if (!numbers && !like)
		like = s;
	for (long i = 0; i < c->n; i++) {
		char **at = numbers ? NULL
			    : !like->class_name
				    ? NULL
				    : bsearch(&c->word[i], like->class_name, (size_t)like->classes,
					      sizeof(char *), by_bytes);

		if (numbers)
			num_long(c->word[i], 0, MOST_CLASSES - 1, &x);
		else if (at)
			x = at - like->class_name;
		else
			return err_set("%s:%ld: class %.40s is none of %s's", s->file, c->line[i],
				       c->word[i], like->file);
		s->label[i] = (uint16_t)x;
	}
	return 0;
}

static int
read_csv(struct images *s, const struct images *like)
{
	struct csv c = {.t = table_open(s->file)};
	int r = -1, more = 0;

	if (!c.t)
		return -1;
	csv_columns(&c);
	if (c.class_at < 0 || table_columns(c.t) < 2) {
		err_set("%s:1: no class (expected a column class or label, and features)", s->file);
		goto out;
	}
	if (c.bare && csv_sample(&c, s, true) < 0)
		goto out;
	while ((more = table_next(c.t)) > 0)
		if (csv_sample(&c, s, false) < 0)
			goto out;
	if (more < 0)
		goto out;
	s->n = c.n;
	set_shape(s, 1, 1, table_columns(c.t) - 1);
	r = c.n ? csv_labels(&c, s, like) : 0;
out:
	for (long i = 0; i < c.n; i++)
		free(c.word[i]);
	free(c.word);
	free(c.line);
	table_close(c.t);
	return r;
}

/* --- opening --- */

static bool
is_text(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n && i < 512; i++)
		if (p[i] != '\n' && p[i] != '\r' && p[i] != '\t' && (p[i] < ' ' || p[i] > '~'))
			return false;
	return n > 0;
}

static enum images_format
guess(const struct source *o, const struct images_form *f)
{
	if (f->format != IMAGES_AUTO)
		return f->format;
	if (o->n >= 4 && !o->p[0] && !o->p[1] && o->p[2] == 8 && o->p[3] == 3)
		return IMAGES_IDX;
	if (is_text(o->p, o->n))
		return IMAGES_CSV;
	if (!f->planes && o->n % (CIFAR_PIXELS + 1) == 0 && o->n % (CIFAR_PIXELS + 2))
		return IMAGES_CIFAR10;
	return IMAGES_RECORDS;
}

static int
read_set(const struct source *o, const struct images_form *f, const struct images *like)
{
	struct images *s = o->s;

	set_shape(s, 3, 32, 32);
	switch (guess(o, f)) {
	case IMAGES_CIFAR10: return read_records(o, 1, 0, false);
	case IMAGES_CIFAR100: return read_records(o, 2, 1, false);
	case IMAGES_IDX: return read_idx(o, f->labels);
	case IMAGES_CSV: return read_csv(s, like);
	default:
		if (f->planes)
			set_shape(s, f->planes, f->height, f->width);
		else if (like && like->pixel)
			set_shape(s, like->planes, like->height, like->width);
		else if (known_shape(s, o->n) < 0)
			return -1;
		return read_records(o, 2, 0, true);
	}
}

/* What must hold of any set: samples, classes that another one knows, its shape. */
static int
check(struct images *s, const struct images *like)
{
	int most = 0;

	if (s->n == 0)
		return err_set("%s: no samples", s->file);
	for (long i = 0; i < s->n; i++) {
		if (s->label[i] == UINT16_MAX || (like && s->label[i] >= like->classes))
			return err_set("%s: sample %ld has label %d (expected below %d)", s->file,
				       i, s->label[i], like ? like->classes : MOST_CLASSES);
		most = s->label[i] > most ? s->label[i] : most;
	}
	if (like && (s->planes != like->planes || s->height != like->height ||
		     s->width != like->width || !s->pixel != !like->pixel))
		return err_set("%s: samples of %dx%dx%d (expected %dx%dx%d, as in %s)", s->file,
			       s->planes, s->height, s->width, like->planes, like->height,
			       like->width, like->file);
	s->classes = like ? like->classes : s->class_name ? s->classes : most + 1;
	return 0;
}

struct images *
images_open(const char *spec, const struct images_form *form, const struct images *like)
{
	const int k = spec_length(spec);
	struct images *s;
	struct source o;
	char *bytes = NULL;

	if (k < 0)
		return NULL;
	s = mem_zero(1, sizeof *s);
	s->file = mem_copy(k ? spec + k + 1 : spec);
	s->name = k ? mem_text("%.*s", k, spec) : spec_name(s->file);
	if (file_size(s->file, &s->bytes) < 0 || file_crc(s->file, s->bytes, &s->crc) < 0 ||
	    !(bytes = file_slurp(s->file, &o.n)))
		goto err;
	o.s = s;
	o.p = (unsigned char *)bytes;
	if (read_set(&o, form, like) < 0 || check(s, like) < 0)
		goto err;
	free(bytes);
	return s;
err:
	free(bytes);
	images_close(s);
	return NULL;
}

void
images_close(struct images *s)
{
	if (!s)
		return;
	for (int i = 0; s->class_name && i < s->classes; i++)
		free(s->class_name[i]);
	free(s->class_name);
	free(s->label);
	free(s->pixel);
	free(s->value);
	free(s->name);
	free(s->file);
	free(s);
}

int
images_shape(const char *text, struct images_form *form)
{
	int p, h, w, end = 0;

	if (sscanf(text, "%4dx%4dx%4d%n", &p, &h, &w, &end) != 3 || text[end] || p < 1 || p > 64 ||
	    h < 1 || h > SIDE || w < 1 || w > SIDE)
		return err_set("\"%.40s\" is no shape (expected PLANESxHEIGHTxWIDTH, as 3x32x32)",
			       text);
	form->planes = p;
	form->height = h;
	form->width = w;
	return 0;
}

/* --- writing --- */

static int
write_csv(const struct images *s, struct file *f)
{
	struct row w = {.f = f};
	const long size = pixels(s);

	row_text(&w, "class");
	for (long k = 0; k < size; k++) {
		char name[24];

		snprintf(name, sizeof name, "x%ld", k);
		row_text(&w, name);
	}
	if (row_end(&w) < 0)
		return -1;
	for (long i = 0; i < s->n; i++) {
		if (s->class_name)
			row_text(&w, s->class_name[s->label[i]]);
		else
			row_long(&w, s->label[i]);
		for (long k = 0; k < size; k++)
			if (s->pixel)
				row_long(&w, s->pixel[i * size + k]);
			else
				row_real(&w, (double)s->value[i * size + k]);
		if (row_end(&w) < 0)
			return -1;
	}
	return 0;
}

static int
write_records(const struct images *s, enum images_format format, struct file *f)
{
	const long size = pixels(s);

	for (long i = 0; i < s->n; i++) {
		const unsigned char low = (unsigned char)s->label[i],
				    high = (unsigned char)(s->label[i] >> 8);
		const unsigned char head[3][2] = {{low, high}, {low, 0}, {0, low}};
		const int form = format == IMAGES_CIFAR10 ? 1 : format == IMAGES_CIFAR100 ? 2 : 0;

		if (file_write(f, head[form], form == 1 ? 1 : 2) < 0 ||
		    file_write(f, s->pixel + i * size, (size_t)size) < 0)
			return -1;
	}
	return 0;
}

int
images_write(const struct images *s, enum images_format format, const char *file)
{
	const bool cifar = format == IMAGES_CIFAR10 || format == IMAGES_CIFAR100;
	struct file *f;
	int r;

	if (format != IMAGES_CSV && !s->pixel)
		return err_set("%s: features are no pixels (expected csv as the format)", s->name);
	if (cifar && (s->planes != 3 || s->height != 32 || s->width != 32 || s->classes > 256))
		return err_set("%s: %d classes of %dx%dx%d (CIFAR has at most 256 of 3x32x32)",
			       s->name, s->classes, s->planes, s->height, s->width);
	if (!(f = file_replace(file)))
		return -1;
	r = format == IMAGES_CSV ? write_csv(s, f) : write_records(s, format, f);
	if (r == 0)
		return file_commit(f);
	file_abandon(f);
	return -1;
}
