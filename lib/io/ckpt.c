#include "io/ckpt.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are mapped as they stand in the file, which is little-endian"
#endif
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "offsets are 64 bits wide");

#define FORMAT "moe 1"
#define HEAD "{\"__metadata__\":{\"header_crc32\":\""

enum {
	MAX_HEADER = 100000000, /* bytes of JSON, the limit of the reference implementation */
	DIGITS = 8,
	ALIGN = 64,	  /* of the data section in the file */
	PIECE = 8192,	  /* elements converted at a time */
	WINDOW = 16 << 20 /* bytes of a mapped file resident while it is verified */
};

static const struct {
	const char *name;
	size_t bytes;
} types[] = {
	[CKPT_F32] = {"F32", 4}, [CKPT_BF16] = {"BF16", 2}, [CKPT_F16] = {"F16", 2},
	[CKPT_F64] = {"F64", 8}, [CKPT_I64] = {"I64", 8},   [CKPT_I32] = {"I32", 4},
	[CKPT_U8] = {"U8", 1},
};
enum { TYPES = sizeof types / sizeof *types };

const char *
ckpt_type_name(enum ckpt_type type)
{
	return types[type].name;
}

size_t
ckpt_type_bytes(enum ckpt_type type)
{
	return types[type].bytes;
}

/* --- numbers --- */

static float
float_of_bits(uint32_t u)
{
	float f;

	memcpy(&f, &u, sizeof f);
	return f;
}

static float
float_of_f16(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, low = h & 1023;

	if (exponent == 31) /* infinity, or NaN with its payload */
		return float_of_bits(sign | 0x7f800000 | low << 13);
	if (exponent == 0) /* low * 2^-24, exact in float32 */
		return sign ? -(float)low * 0x1p-24F : (float)low * 0x1p-24F;
	return float_of_bits(sign | (exponent + 112) << 23 | low << 13);
}

/* Round to nearest, ties to even; a NaN stays one, made quiet. */
static uint16_t
bf16_of_float(const unsigned char *v)
{
	uint32_t u;

	memcpy(&u, v, sizeof u);
	if ((u & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(u >> 16 | 0x40);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

double
ckpt_value(enum ckpt_type type, const void *p)
{
	union {
		float f;
		double d;
		uint16_t h;
		int32_t i;
		int64_t l;
		unsigned char c;
	} u;

	memcpy(&u, p, types[type].bytes);
	switch (type) {
	case CKPT_F32: return (double)u.f;
	case CKPT_BF16: return (double)float_of_bits((uint32_t)u.h << 16);
	case CKPT_F16: return (double)float_of_f16(u.h);
	case CKPT_F64: return u.d;
	case CKPT_I64: return (double)u.l;
	case CKPT_I32: return u.i;
	case CKPT_U8: break;
	}
	return u.c;
}

/*
 * Pages that end among n mapped bytes at p need not stay resident; what else the first of them
 * holds has mostly been read before, or comes back.
 */
static void
forget(const struct ckpt *c, const unsigned char *p, size_t n)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)p % page;

	if (c->mapped && n + before >= page)
		madvise((void *)(p - before), (n + before) / page * page, MADV_DONTNEED);
}

int
ckpt_floats(const struct ckpt *c, const struct ckpt_tensor *t, float *out, size_t n)
{
	const unsigned char *p = c->data + t->offset;
	size_t size = types[t->type].bytes;

	if (t->type == CKPT_I64 || t->type == CKPT_I32 || t->type == CKPT_U8)
		return err_set("%s: tensor %s is %s (expected floating point)", c->name, t->name,
			       types[t->type].name);
	if (t->bytes / size != n)
		return err_set("%s: tensor %s has %" PRIu64 " values (expected %zu)", c->name,
			       t->name, t->bytes / size, n);
	if (t->type == CKPT_F32) {
		if (n)
			memcpy(out, p, n * size);
	} else {
		for (size_t i = 0; i < n; i++)
			out[i] = (float)ckpt_value(t->type, p + i * size);
	}
	forget(c, p, n * size);
	return 0;
}

/* Elements of a shape and bytes of the tensor; -1 without a message when 64 bits do not hold it. */
static int
tensor_bytes(const struct ckpt_tensor *t, uint64_t *bytes)
{
	uint64_t n = 1;

	for (int i = 0; i < t->dims; i++)
		if (__builtin_mul_overflow(n, t->shape[i], &n))
			return -1;
	/* offsets are JSON integers, which are signed */
	if (__builtin_mul_overflow(n, types[t->type].bytes, bytes) || *bytes > INT64_MAX)
		return -1;
	return 0;
}

/* A name goes into one line of the CRC list, of a CSV and of a message. */
static bool
printable(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if ((unsigned char)*s < 32 || *s == 127)
			return false;
	return true;
}

/* --- reading --- */

static int
hex_of_text(const char *s, uint32_t *out)
{
	uint32_t u = 0;

	for (int i = 0; i < DIGITS; i++) {
		if (s[i] >= '0' && s[i] <= '9')
			u = u << 4 | (uint32_t)(s[i] - '0');
		else if (s[i] >= 'a' && s[i] <= 'f')
			u = u << 4 | (uint32_t)(s[i] - 'a' + 10);
		else
			return -1;
	}
	*out = u;
	return 0;
}

static const char *
skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* Just past the JSON string that begins at p. */
static const char *
skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p + 1 : end;
}

/*
 * The digits of "header_crc32" in a well-formed JSON text.  Searching for the bytes alone would
 * also find them inside another string; a key of __metadata__ stands at depth 2.
 */
static const char *
find_digits(const char *p, const char *end)
{
	static const char key[] = "\"header_crc32\"";
	const char *s;
	int depth = 0;

	while (p < end) {
		s = p;
		if (*p != '"') {
			depth += *p == '{' || *p == '[';
			depth -= *p == '}' || *p == ']';
			p++;
			continue;
		}
		p = skip_string(p, end);
		if (depth != 2 || p - s != sizeof key - 1 || memcmp(s, key, sizeof key - 1))
			continue;
		p = skip_space(p, end);
		if (p == end || *p != ':')
			continue; /* a value, not a key */
		p = skip_space(p + 1, end);
		return end - p > DIGITS + 1 && p[0] == '"' && p[DIGITS + 1] == '"' ? p + 1 : NULL;
	}
	return NULL;
}

static uint32_t
header_crc(const char *text, size_t n, const char *digits)
{
	size_t before = (size_t)(digits - text), after = n - before - DIGITS;
	uLong crc = crc32_z(0, (const Bytef *)text, before);

	crc = crc32_z(crc, (const Bytef *)"00000000", DIGITS);
	return (uint32_t)crc32_z(crc, (const Bytef *)digits + DIGITS, after);
}

/*
 * Ours carries both marks, so no single damaged byte makes it pass for a file from elsewhere,
 * whose header nothing protects.
 */
static bool
is_ours(const struct ckpt *c)
{
	const char *format = ckpt_meta(c, "format");

	return ckpt_meta(c, "header_crc32") || (format && !strncmp(format, "moe ", 4));
}

static int
check_header(const struct ckpt *c, const char *text, size_t n)
{
	const char *recorded = ckpt_meta(c, "header_crc32"), *format = ckpt_meta(c, "format");
	const char *digits = find_digits(text, text + n);
	uint32_t want, got;

	if (!recorded || !digits || hex_of_text(digits, &want) < 0)
		return err_set("%s: header_crc32 is missing or not eight hexadecimal digits: the "
			       "header is damaged",
			       c->name);
	got = header_crc(text, n, digits);
	if (got != want)
		return err_set("%s: the header's CRC-32 is %08" PRIx32 " (expected %08" PRIx32
			       "): the header is damaged or was edited",
			       c->name, got, want);
	if (!format || strcmp(format, FORMAT))
		return err_set("%s: format is \"%s\" (expected \"" FORMAT "\")", c->name,
			       format ? format : "");
	return 0;
}

static int
read_uint(const json_t *j, uint64_t *out)
{
	if (!json_is_integer(j) || json_integer_value(j) < 0)
		return -1;
	*out = (uint64_t)json_integer_value(j);
	return 0;
}

static int
read_type(const json_t *j, enum ckpt_type *type)
{
	const char *s = json_string_value(j);

	for (int i = 0; s && i < TYPES; i++)
		if (!strcmp(s, types[i].name)) {
			*type = (enum ckpt_type)i;
			return 0;
		}
	return -1;
}

static int
read_shape(const json_t *j, struct ckpt_tensor *t)
{
	size_t n = json_array_size(j);

	if (!json_is_array(j) || n > CKPT_MAXDIM)
		return -1;
	t->dims = (int)n;
	for (size_t i = 0; i < n; i++)
		if (read_uint(json_array_get(j, i), &t->shape[i]) < 0)
			return -1;
	return 0;
}

static int
read_tensor(const struct ckpt *c, const char *name, const json_t *j, struct ckpt_tensor *t)
{
	const json_t *type = json_object_get(j, "dtype"), *shape = json_object_get(j, "shape");
	const json_t *span = json_object_get(j, "data_offsets");
	const char *text = json_string_value(type);
	uint64_t end, bytes;

	if (!printable(name))
		return err_set("%s: a tensor's name is empty or has a control character", c->name);
	if (!type || !shape || !span || json_object_size(j) != 3)
		return err_set("%s: tensor %s: the entry is not an object of dtype, shape and "
			       "data_offsets",
			       c->name, name);
	if (read_type(type, &t->type) < 0)
		return err_set("%s: tensor %s: dtype %s (expected F32, BF16, F16, F64, I64, I32 or "
			       "U8)",
			       c->name, name, text && printable(text) ? text : "unreadable");
	if (read_shape(shape, t) < 0)
		return err_set("%s: tensor %s: shape is not a list of at most %d whole numbers",
			       c->name, name, CKPT_MAXDIM);
	if (tensor_bytes(t, &bytes) < 0)
		return err_set("%s: tensor %s: a shape beyond 64-bit sizes", c->name, name);
	if (json_array_size(span) != 2 || read_uint(json_array_get(span, 0), &t->offset) < 0 ||
	    read_uint(json_array_get(span, 1), &end) < 0 || end < t->offset)
		return err_set("%s: tensor %s: data_offsets is not [begin, end]", c->name, name);
	if (end - t->offset != bytes)
		return err_set("%s: tensor %s: %" PRIu64 " bytes (expected %" PRIu64
			       " for its dtype and shape)",
			       c->name, name, end - t->offset, bytes);
	t->bytes = bytes;
	t->name = mem_copy(name);
	return 0;
}

/* By offset; an empty tensor goes before the one that begins where it stands. */
static int
by_offset(const void *x, const void *y)
{
	const struct ckpt_tensor *a = x, *b = y;

	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int
by_name(const void *x, const void *y)
{
	const struct ckpt_tensor *const *a = x, *const *b = y;

	return strcmp((*a)->name, (*b)->name);
}

static void
index_names(struct ckpt *c)
{
	const struct ckpt_tensor **index = mem_zero((size_t)c->n + 1, sizeof *index);

	for (int i = 0; i < c->n; i++)
		index[i] = &c->tensor[i];
	qsort(index, (size_t)c->n, sizeof *index, by_name);
	c->index = index;
}

static int
check_layout(const struct ckpt *c)
{
	const struct ckpt_tensor *t;
	uint64_t end = 0;

	for (int i = 0; i < c->n; i++) {
		t = &c->tensor[i];
		if (t->offset != end)
			return err_set("%s: tensor %s begins at byte %" PRIu64
				       " of the data (expected "
				       "%" PRIu64 "): %s",
				       c->name, t->name, t->offset, end,
				       t->offset < end ? "tensors overlap" : "a gap");
		end = t->offset + t->bytes;
	}
	return 0;
}

static uint64_t
data_bytes(const struct ckpt *c)
{
	return c->n ? c->tensor[c->n - 1].offset + c->tensor[c->n - 1].bytes : 0;
}

/* Lines NAME=xxxxxxxx, one for each tensor. */
static int
read_crcs(struct ckpt *c)
{
	const char *p = ckpt_meta(c, "crc32"), *end;
	struct ckpt_tensor *t;
	char *name;

	for (int line = 1; p && *p; p = end + 1, line++) {
		end = strchr(p, '\n');
		if (!end || end - p < DIGITS + 2 || end[-DIGITS - 1] != '=')
			return err_set("%s: crc32 in the header, line %d: not NAME=xxxxxxxx",
				       c->name, line);
		name = mem_text("%.*s", (int)(end - p - DIGITS - 1), p);
		t = (struct ckpt_tensor *)ckpt_find(c, name);
		free(name);
		if (!t || t->has_crc || hex_of_text(end - DIGITS, &t->crc) < 0)
			return err_set(
				"%s: crc32 in the header, line %d: not the CRC-32 of a tensor "
				"(expected one line for each)",
				c->name, line);
		t->has_crc = true;
	}
	for (int i = 0; i < c->n; i++)
		if (!c->tensor[i].has_crc)
			return err_set("%s: tensor %s: no CRC-32 in the header", c->name,
				       c->tensor[i].name);
	return 0;
}

static int
read_meta(struct ckpt *c, json_t *root)
{
	json_t *meta = json_object_get(root, "__metadata__");
	const char *key;

	if (!meta)
		return 0;
	if (!json_is_object(meta))
		return err_set("%s: __metadata__ is not an object", c->name);
	for (void *i = json_object_iter(meta); i; i = json_object_iter_next(meta, i)) {
		key = json_object_iter_key(i);
		if (!json_is_string(json_object_iter_value(i)))
			return err_set("%s: metadata %s is not a text", c->name,
				       printable(key) ? key : "?");
	}
	c->meta = json_incref(meta);
	return 0;
}

static int
read_tensors(struct ckpt *c, json_t *root)
{
	const char *key;

	c->tensor = mem_zero(json_object_size(root) + 1, sizeof *c->tensor);
	for (void *i = json_object_iter(root); i; i = json_object_iter_next(root, i)) {
		key = json_object_iter_key(i);
		if (!strcmp(key, "__metadata__"))
			continue;
		if (read_tensor(c, key, json_object_iter_value(i), &c->tensor[c->n]) < 0)
			return -1;
		c->n++;
	}
	qsort(c->tensor, (size_t)c->n, sizeof *c->tensor, by_offset);
	index_names(c);
	return check_layout(c);
}

static json_t *
parse_json(const struct ckpt *c, const char *text, size_t n)
{
	json_error_t e;
	json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
	const char *what = e.text;

	if (root && json_is_object(root))
		return root;
	if (root) {
		json_decref(root);
		err_set("%s: the header is JSON but not an object", c->name);
		return NULL;
	}
	switch (json_error_code(&e)) {
	case json_error_null_character:
	case json_error_null_byte_in_key: what = "a NUL character in a text"; break;
	default: break;
	}
	for (char *p = e.text; *p; p++) /* it quotes the file */
		if (*p < 32 || *p > 126)
			*p = '?';
	err_set("%s: the header is not JSON: byte %d: %s", c->name, e.position, what);
	return NULL;
}

static int
read_header(struct ckpt *c, const char *text, size_t n)
{
	json_t *root = parse_json(c, text, n);
	int r = -1;

	if (!root)
		return -1;
	if (read_meta(c, root) < 0)
		goto out;
	if (is_ours(c) && check_header(c, text, n) < 0)
		goto out;
	if (read_tensors(c, root) < 0)
		goto out;
	if (is_ours(c) && read_crcs(c) < 0)
		goto out;
	r = 0;
out:
	json_decref(root);
	return r;
}

static int
check_length(const struct ckpt *c, const unsigned char *head, uint64_t *n)
{
	memcpy(n, head, sizeof *n);
	if (*n < 2 || *n > MAX_HEADER)
		return err_set("%s: a header of %" PRIu64 " bytes (expected 2 to %d): not a "
			       "safetensors file",
			       c->name, *n, MAX_HEADER);
	return 0;
}

static int
read_map(struct ckpt *c)
{
	const unsigned char *p = c->map;
	uint64_t n;

	if (c->map_bytes < sizeof n)
		return err_set("%s: %zu bytes: shorter than a safetensors header", c->name,
			       c->map_bytes);
	if (check_length(c, p, &n) < 0)
		return -1;
	if (n > c->map_bytes - sizeof n)
		return err_set("%s: the file ends inside its header of %" PRIu64 " bytes", c->name,
			       n);
	if (read_header(c, (const char *)p + sizeof n, n) < 0)
		return -1;
	if (c->map_bytes - sizeof n - n != data_bytes(c))
		return err_set("%s: %" PRIu64 " bytes of data (expected %" PRIu64
			       "): the file is %s",
			       c->name, c->map_bytes - sizeof n - n, data_bytes(c),
			       c->map_bytes - sizeof n - n < data_bytes(c) ? "cut" : "too long");
	c->data = p + sizeof n + n;
	return 0;
}

/*
 * Exactly n bytes of a stream.  n is only a claim, so memory grows with what arrives.
 */
static void *
read_claimed(const struct ckpt *c, struct file *f, uint64_t n, const char *what)
{
	size_t have = 0, room = 1 << 20;
	char *p = NULL;
	ssize_t r;

	do {
		room = room < n / 2 ? 2 * room : n;
		p = mem_grow(p, room + 1, 1);
		r = file_read(f, p + have, room - have);
		if (r < 0)
			goto err;
		have += (size_t)r;
	} while (have < n && have == room);
	if (have == n)
		return p;
	err_set("%s: the file ends inside its %s: %zu bytes (expected %" PRIu64 ")", c->name, what,
		have, n);
err:
	free(p);
	return NULL;
}

static int
read_stream(struct ckpt *c, const char *file)
{
	struct file *f = file_open(file);
	unsigned char head[8], extra;
	char *text = NULL;
	uint64_t n;
	ssize_t r;

	if (!f)
		return -1;
	r = file_read(f, head, sizeof head);
	if (r < 0)
		goto err;
	if ((size_t)r < sizeof head) {
		err_set("%s: %zd bytes: shorter than a safetensors header", c->name, r);
		goto err;
	}
	if (check_length(c, head, &n) < 0 || !(text = read_claimed(c, f, n, "header")) ||
	    read_header(c, text, n) < 0 || !(c->map = read_claimed(c, f, data_bytes(c), "data")))
		goto err;
	c->data = c->map;
	r = file_read(f, &extra, 1);
	if (r < 0)
		goto err;
	if (r > 0) {
		err_set("%s: more data after the last tensor (expected %" PRIu64 " bytes)", c->name,
			data_bytes(c));
		goto err;
	}
	free(text);
	return file_close(f);
err:
	free(text);
	file_close(f);
	return -1;
}

/*
 * CRC-32 of data in the file.  What has been read stays in the system's cache but not in this
 * process, whose size would otherwise grow by the file's.
 */
static uint32_t
data_crc(const struct ckpt *c, const unsigned char *p, uint64_t n)
{
	uLong crc = 0;
	size_t m;

	for (; n; p += m, n -= m) {
		m = n < WINDOW ? n : WINDOW;
		crc = crc32_z(crc, p, m);
		forget(c, p, m);
	}
	return (uint32_t)crc;
}

static int
check_data(struct ckpt *c)
{
	struct ckpt_tensor *t;
	uint32_t crc;

	for (int i = 0; i < c->n; i++) {
		t = &c->tensor[i];
		crc = data_crc(c, c->data + t->offset, t->bytes);
		if (t->has_crc && crc != t->crc)
			return err_set("%s: tensor %s: CRC-32 %08" PRIx32 " (expected %08" PRIx32
				       "): the data is damaged",
				       c->name, t->name, crc, t->crc);
		t->crc = crc;
	}
	return 0;
}

static bool
is_regular(const char *file)
{
	struct stat st;

	return strcmp(file, "-") && stat(file, &st) == 0 && S_ISREG(st.st_mode);
}

struct ckpt *
ckpt_open(const char *file)
{
	struct ckpt *c = mem_zero(1, sizeof *c);

	c->name = mem_copy(strcmp(file, "-") ? file : "standard input");
	if (is_regular(file)) /* opening a pipe twice would lose its writer */
		c->map = (void *)file_map(file, &c->map_bytes);
	c->mapped = c->map != NULL;
	if ((c->mapped ? read_map(c) : read_stream(c, file)) < 0 || check_data(c) < 0) {
		ckpt_close(c);
		return NULL;
	}
	return c;
}

void
ckpt_close(struct ckpt *c)
{
	if (!c)
		return;
	for (int i = 0; i < c->n; i++)
		free(c->tensor[i].name);
	free(c->tensor);
	free(c->index);
	json_decref(c->meta);
	if (c->mapped)
		file_unmap(c->map, c->map_bytes);
	else
		free(c->map);
	free(c->name);
	free(c);
}

const struct ckpt_tensor *
ckpt_find(const struct ckpt *c, const char *name)
{
	struct ckpt_tensor **index = c->index;
	int lo = 0, hi = c->n, mid, r;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		r = strcmp(name, index[mid]->name);
		if (r == 0)
			return index[mid];
		if (r < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const char *
ckpt_meta(const struct ckpt *c, const char *key)
{
	return json_string_value(json_object_get(c->meta, key));
}

void
ckpt_each_meta(const struct ckpt *c, void (*fn)(void *, const char *, const char *), void *arg)
{
	json_t *meta = c->meta;

	for (void *i = json_object_iter(meta); i; i = json_object_iter_next(meta, i))
		fn(arg, json_object_iter_key(i), json_string_value(json_object_iter_value(i)));
}

/* --- writing --- */

struct out_tensor {
	struct ckpt_tensor t;
	const unsigned char *v; /* borrowed: t.bytes of it, or float32 when convert */
	bool convert;		/* float32 to bf16 */
};

struct out_meta {
	char *key, *value;
};

struct ckpt_out {
	int n, nmeta;
	size_t room, meta_room;
	struct out_tensor *tensor;
	struct out_meta *meta;
	uint64_t end;	    /* bytes of data so far */
	const char *format; /* one of meta's, when the caller has set it; else ours */
	char *failed;	    /* the first tensor or entry that cannot be written, and why */
};

struct ckpt_out *
ckpt_out_new(void)
{
	return mem_zero(1, sizeof(struct ckpt_out));
}

void
ckpt_out_meta(struct ckpt_out *o, const char *key, const char *value)
{
	struct out_meta *m;
	int i;

	if (!strcmp(key, "crc32") || !strcmp(key, "header_crc32"))
		return;
	if (!strcmp(key, "format") && !strcmp(value, FORMAT))
		return;
	for (i = 0; i < o->nmeta && strcmp(o->meta[i].key, key) != 0; i++)
		;
	if (i == o->nmeta) {
		if ((size_t)i == o->meta_room) {
			o->meta_room = o->meta_room ? 2 * o->meta_room : 16;
			o->meta = mem_grow(o->meta, o->meta_room, sizeof *o->meta);
		}
		o->meta[o->nmeta++] = (struct out_meta){mem_copy(key), NULL};
	}
	m = &o->meta[i];
	free(m->value);
	m->value = mem_copy(value);
	if (!strcmp(key, "format"))
		o->format = m->value;
}

static void
out_fail(struct ckpt_out *o, const char *name, const char *why)
{
	if (!o->failed)
		o->failed = mem_text("tensor %s: %s", printable(name) ? name : "?", why);
}

static void
out_add(struct ckpt_out *o, const char *name, const void *v, enum ckpt_type type, bool convert,
	int dims, const uint64_t *shape)
{
	struct out_tensor x = {.v = v, .convert = convert};

	if (!printable(name) || !strcmp(name, "__metadata__")) {
		out_fail(o, name, "a name that is empty, reserved or has a control character");
		return;
	}
	if (dims < 0 || dims > CKPT_MAXDIM) {
		out_fail(o, name, "more than four dimensions");
		return;
	}
	x.t.type = type;
	x.t.dims = dims;
	if (dims)
		memcpy(x.t.shape, shape, (size_t)dims * sizeof *shape);
	x.t.offset = o->end;
	if (tensor_bytes(&x.t, &x.t.bytes) < 0 || x.t.bytes > INT64_MAX - o->end) {
		out_fail(o, name, "a shape beyond 64-bit sizes");
		return;
	}
	o->end += x.t.bytes;
	if ((size_t)o->n == o->room) {
		o->room = o->room ? 2 * o->room : 256;
		o->tensor = mem_grow(o->tensor, o->room, sizeof *o->tensor);
	}
	x.t.name = mem_copy(name);
	o->tensor[o->n++] = x;
}

void
ckpt_out_floats(struct ckpt_out *o, const char *name, const float *v, enum ckpt_type as, int dims,
		const uint64_t *shape)
{
	if (as != CKPT_F32 && as != CKPT_BF16)
		out_fail(o, name, "float32 is written as F32 or BF16");
	else
		out_add(o, name, v, as, as == CKPT_BF16, dims, shape);
}

void
ckpt_out_raw(struct ckpt_out *o, const char *name, const void *v, enum ckpt_type type, int dims,
	     const uint64_t *shape)
{
	out_add(o, name, v, type, false, dims, shape);
}

/* A tensor's bytes as the file has them, passed to fn piece by piece; nothing large is copied. */
static int
each_piece(const struct out_tensor *x, int (*fn)(void *, const void *, size_t), void *arg)
{
	uint16_t buf[PIECE];
	uint64_t n = x->t.bytes / sizeof *buf;
	size_t m;

	if (!x->t.bytes)
		return 0;
	if (!x->convert)
		return fn(arg, x->v, x->t.bytes);
	for (uint64_t i = 0; i < n; i += m) {
		m = n - i < PIECE ? n - i : PIECE;
		for (size_t j = 0; j < m; j++)
			buf[j] = bf16_of_float(x->v + (i + j) * sizeof(float));
		if (fn(arg, buf, m * sizeof *buf) < 0)
			return -1;
	}
	return 0;
}

static int
crc_piece(void *arg, const void *p, size_t n)
{
	uint32_t *crc = arg;

	*crc = (uint32_t)crc32_z(*crc, p, n);
	return 0;
}

static int
write_piece(void *arg, const void *p, size_t n)
{
	return file_write(arg, p, n);
}

/* JSON text of s; -1 when it is not UTF-8. */
static int
put_text(FILE *f, const char *s)
{
	json_t *j = json_string(s);
	char *q = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
	int r = q && fputs(q, f) >= 0 ? 0 : -1;

	free(q);
	json_decref(j);
	return r;
}

static int
put_tensor(FILE *f, const struct ckpt_tensor *t)
{
	fputc(',', f);
	if (put_text(f, t->name) < 0)
		return err_set("tensor %s: the name is not UTF-8", t->name);
	fprintf(f, ":{\"dtype\":\"%s\",\"shape\":[", types[t->type].name);
	for (int i = 0; i < t->dims; i++)
		fprintf(f, "%s%" PRIu64, i ? "," : "", t->shape[i]);
	fprintf(f, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->offset,
		t->offset + t->bytes);
	return 0;
}

/* The list of CRCs, which takes a pass over all data; in a text of its own, to be quoted. */
static int
put_crcs(FILE *f, struct ckpt_out *o)
{
	size_t n = 0;
	char *s = NULL;
	FILE *list = open_memstream(&s, &n);
	int r;

	if (!list)
		return err_set("no memory for the header");
	for (int i = 0; i < o->n; i++) {
		struct out_tensor *x = &o->tensor[i];

		x->t.crc = 0;
		each_piece(x, crc_piece, &x->t.crc);
		fprintf(list, "%s=%08" PRIx32 "\n", x->t.name, x->t.crc);
	}
	r = fclose(list) == 0 ? put_text(f, s) : -1;
	free(s);
	return r < 0 ? err_set("a tensor's name is not UTF-8, or no memory for the header") : 0;
}

static int
put_meta(FILE *f, struct ckpt_out *o)
{
	const char *comma = "";

	fputs(o->format ? "{\"__metadata__\":{" : HEAD "00000000\",\"format\":\"" FORMAT "\"", f);
	for (int i = 0; i < o->nmeta; i++) {
		fputs(o->format ? comma : ",", f);
		comma = ",";
		if (put_text(f, o->meta[i].key) < 0)
			return err_set("a metadata key is not UTF-8");
		fputc(':', f);
		if (put_text(f, o->meta[i].value) < 0)
			return err_set("metadata \"%s\" is not UTF-8", o->meta[i].key);
	}
	if (!o->format) {
		fputs(",\"crc32\":", f);
		if (put_crcs(f, o) < 0)
			return -1;
	}
	fputc('}', f);
	return 0;
}

/* The header with its length before it, padded so that data begins on ALIGN bytes; free(). */
static char *
make_header(struct ckpt_out *o, size_t *n)
{
	char *s = NULL, digits[DIGITS + 1];
	FILE *f = open_memstream(&s, n);
	uint64_t length = 0;
	int r;

	if (!f) {
		err_set("no memory for the header");
		return NULL;
	}
	fwrite(&length, sizeof length, 1, f);
	r = put_meta(f, o);
	for (int i = 0; i < o->n && r == 0; i++)
		r = put_tensor(f, &o->tensor[i].t);
	fputc('}', f);
	if (r == 0 && (fflush(f) != 0 || fprintf(f, "%*s", (int)(-*n % ALIGN), "") < 0))
		r = err_set("no memory for the header");
	if (fclose(f) != 0 && r == 0)
		r = err_set("no memory for the header");
	if (r == 0 && *n - sizeof length > MAX_HEADER)
		r = err_set("a header of %zu bytes (at most %d)", *n - sizeof length, MAX_HEADER);
	if (r < 0) {
		free(s);
		return NULL;
	}
	length = *n - sizeof length;
	memcpy(s, &length, sizeof length);
	if (!o->format) {
		char *at = s + sizeof length + strlen(HEAD);

		snprintf(digits, sizeof digits, "%08" PRIx32,
			 header_crc(s + sizeof length, length, at));
		memcpy(at, digits, DIGITS);
	}
	return s;
}

static int
by_out_name(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

static int
check_names(const struct ckpt_out *o)
{
	const char **name = mem_zero((size_t)o->n + 1, sizeof *name);
	int r = 0;

	for (int i = 0; i < o->n; i++)
		name[i] = o->tensor[i].t.name;
	qsort(name, (size_t)o->n, sizeof *name, by_out_name);
	for (int i = 1; i < o->n && r == 0; i++)
		if (!strcmp(name[i - 1], name[i]))
			r = err_set("tensor %s: added twice", name[i]);
	free(name);
	return r;
}

static int
write_all(const struct ckpt_out *o, struct file *f, const char *header, size_t n)
{
	if (file_write(f, header, n) < 0)
		return -1;
	for (int i = 0; i < o->n; i++)
		if (each_piece(&o->tensor[i], write_piece, f) < 0)
			return -1;
	return 0;
}

int
ckpt_write(struct ckpt_out *o, const char *file)
{
	char *header = NULL;
	struct file *f;
	size_t n;
	int r;

	if (o->failed)
		return err_set("%s: %s", file, o->failed);
	if (check_names(o) < 0 || !(header = make_header(o, &n)))
		return err_in("%s", file);
	f = file_replace(file);
	r = f ? write_all(o, f, header, n) : -1;
	free(header);
	if (r == 0)
		return file_commit(f);
	file_abandon(f);
	return -1;
}

void
ckpt_out_free(struct ckpt_out *o)
{
	if (!o)
		return;
	for (int i = 0; i < o->n; i++)
		free(o->tensor[i].t.name);
	for (int i = 0; i < o->nmeta; i++) {
		free(o->meta[i].key);
		free(o->meta[i].value);
	}
	free(o->tensor);
	free(o->meta);
	free(o->failed);
	free(o);
}
