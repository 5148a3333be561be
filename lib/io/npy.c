#include "io/npy.h"
#include "base/err.h"
#include "base/mem.h"
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char magic[6] = "\x93NUMPY";
enum { MAXHEADER = 1 << 16 };

bool
npy_is(const void *p, size_t n)
{
	return n >= sizeof magic && !memcmp(p, magic, sizeof magic);
}

/* ---- the header: a Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } */

struct header {
	char order, kind; /* '<' or '>', 'f' */
	int bytes;	  /* of a number */
	bool fortran;
	int dims;
	unsigned long shape[2];
	int seen[3];
};

static const char *
blanks(const char *s)
{
	return s + strspn(s, " \n");
}

/* Past a character that must stand next; NULL if it does not, or s is NULL. */
static const char *
expect(const char *s, char c)
{
	return s && *(s = blanks(s)) == c ? s + 1 : NULL;
}

/* A text between single quotes. */
static const char *
quoted(const char *s, char *out, size_t size)
{
	size_t n;

	if (!(s = expect(s, '\'')) || (n = strcspn(s, "'")) >= size || s[n] != '\'')
		return NULL;
	memcpy(out, s, n);
	out[n] = 0;
	return s + n + 1;
}

static const char *
shape(const char *s, struct header *h)
{
	char *end;

	if (!(s = expect(s, '(')))
		return NULL;
	for (h->dims = 0; *(s = blanks(s)) != ')'; h->dims++) {
		if (*s < '0' || *s > '9')
			return NULL;
		const unsigned long n = strtoul(s, &end, 10);
		if (h->dims < 2)
			h->shape[h->dims] = n;
		s = blanks(end);
		if (*s == ',')
			s++;
		else if (*s != ')')
			return NULL;
	}
	return s + 1;
}

static const char *
entry(const char *s, struct header *h)
{
	char key[16], descr[8];

	if (!(s = expect(quoted(s, key, sizeof key), ':')))
		return NULL;
	if (!strcmp(key, "descr") && !h->seen[0]++) {
		if (!(s = quoted(s, descr, sizeof descr)) || strlen(descr) != 3)
			return NULL;
		h->order = descr[0];
		h->kind = descr[1];
		h->bytes = descr[2] - '0';
		return s;
	}
	if (!strcmp(key, "fortran_order") && !h->seen[1]++) {
		s = blanks(s);
		h->fortran = !strncmp(s, "True", 4);
		return h->fortran ? s + 4 : !strncmp(s, "False", 5) ? s + 5 : NULL;
	}
	return !strcmp(key, "shape") && !h->seen[2]++ ? shape(s, h) : NULL;
}

static int
parse(const char *s, struct header *h)
{
	s = expect(s, '{');
	while (s && *(s = blanks(s)) != '}') {
		if (!(s = entry(s, h)))
			return -1;
		s = blanks(s);
		if (*s == ',')
			s++;
		else if (*s != '}')
			return -1;
	}
	return s && !*blanks(s + 1) && h->seen[0] && h->seen[1] && h->seen[2] ? 0 : -1;
}

/* ---- the numbers ---- */

static float
half(uint16_t bits)
{
	const int exponent = bits >> 10 & 31, fraction = bits & 1023;
	const float sign = bits >> 15 ? -1 : 1;

	if (exponent == 31)
		return fraction ? NAN : sign * INFINITY;
	return sign * (exponent ? ldexpf((float)(1024 + fraction), exponent - 25)
				: ldexpf((float)fraction, -24));
}

static double
number(const unsigned char *p, int bytes, bool big)
{
	uint64_t bits = 0;
	uint32_t word;
	double x;
	float y;

	for (int i = 0; i < bytes; i++)
		bits |= (uint64_t)p[i] << 8 * (big ? bytes - 1 - i : i);
	if (bytes == 2)
		return (double)half((uint16_t)bits);
	if (bytes == 8) {
		memcpy(&x, &bits, sizeof x);
		return x;
	}
	word = (uint32_t)bits;
	memcpy(&y, &word, sizeof y);
	return (double)y;
}

static int
convert(struct npy *m, const char *name, const struct header *h, const unsigned char *p)
{
	float *v = mem_grow(NULL, (size_t)m->rows * (size_t)m->cols, sizeof *v);

	for (long r = 0; r < m->rows; r++)
		for (long c = 0; c < m->cols; c++) {
			const long at = h->fortran ? c * m->rows + r : r * m->cols + c;
			const double x = number(p + at * h->bytes, h->bytes, h->order == '>');
			if (fabs(x) > FLT_MAX && !isinf(x)) {
				free(v);
				return err_set("%s: row %ld, column %ld: %g is out of range "
					       "(expected at most %g)",
					       name, r, c, x, (double)FLT_MAX);
			}
			v[r * m->cols + c] = (float)x;
		}
	free(m->memory);
	m->memory = v;
	m->v = v;
	return 0;
}

static int
check(const struct header *h, const char *name, size_t left)
{
	size_t n;

	if (h->kind != 'f' || !strchr("<>=|", h->order) ||
	    (h->bytes != 2 && h->bytes != 4 && h->bytes != 8))
		return err_set("%s: numbers of type %c%d (expected float32, float64 or float16)",
			       name, h->kind, h->bytes);
	if (h->dims != 2)
		return err_set("%s: %d dimensions (expected 2: vectors, and their components)",
			       name, h->dims);
	if (!h->shape[0] || !h->shape[1])
		return err_set("%s: shape %lux%lu: no numbers", name, h->shape[0], h->shape[1]);
	if (__builtin_mul_overflow(h->shape[0], h->shape[1], &n) ||
	    __builtin_mul_overflow(n, (size_t)h->bytes, &n) || n > LONG_MAX || left != n)
		return err_set("%s: %zu bytes of numbers (expected %lu x %lu x %d)", name, left,
			       h->shape[0], h->shape[1], h->bytes);
	return 0;
}

int
npy_take(struct npy *m, const char *name, void *p, size_t n)
{
	const unsigned char *b = p;
	struct header h = {0};
	size_t start = 0, length = 0;
	char *text = NULL;

	*m = (struct npy){.memory = p};
	if (!npy_is(p, n)) {
		err_set("%s: not a .npy file", name);
		goto err;
	}
	if (n >= 8 && (b[6] < 1 || b[6] > 3)) {
		err_set("%s: .npy version %d (expected 1 to 3)", name, b[6]);
		goto err;
	}
	if (n >= 12) {
		start = b[6] == 1 ? 10 : 12;
		length = b[8] | (size_t)b[9] << 8;
		if (b[6] > 1)
			length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
	}
	if (n < 12 || length > n - start) {
		err_set("%s: cut in the header", name);
		goto err;
	}
	if (length > MAXHEADER) {
		err_set("%s: a header of %zu bytes (expected at most %d)", name, length, MAXHEADER);
		goto err;
	}
	text = mem_zero(length + 1, 1);
	memcpy(text, b + start, length);
	if (strlen(text) != length || parse(text, &h) < 0) {
		err_set("%s: bad .npy header (expected {'descr': '<f4', 'fortran_order': False, "
			"'shape': (N, D)})",
			name);
		goto err;
	}
	start += length;
	if (check(&h, name, n - start) < 0)
		goto err;
	free(text);
	text = NULL;
	m->rows = (long)h.shape[0];
	m->cols = (long)h.shape[1];
	m->v = (const float *)(const void *)(b + start);
	if ((h.fortran || h.order == '>' || h.bytes != 4 || start % sizeof(float) ||
	     __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__) &&
	    convert(m, name, &h, b + start) < 0)
		goto err;
	return 0;
err:
	free(text);
	npy_free(m);
	return -1;
}

void
npy_free(struct npy *m)
{
	free(m->memory);
	*m = (struct npy){0};
}

int
npy_write(struct file *f, const float *v, long rows, long cols)
{
	char head[128];
	const int n = snprintf(head, sizeof head,
			       "%.6s%c%c%c%c{'descr': '%cf4', 'fortran_order': False, "
			       "'shape': (%ld, %ld), }",
			       magic, 1, 0, (int)sizeof head - 10, 0,
			       __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>', rows, cols);

	memset(head + n, ' ', sizeof head - (size_t)n - 1);
	head[sizeof head - 1] = '\n';
	if (file_write(f, head, sizeof head) < 0)
		return -1;
	return file_write(f, v, (size_t)rows * (size_t)cols * sizeof *v);
}
