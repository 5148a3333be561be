#include "io/table.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include <assert.h>
#include <csv.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BUF = 1 << 16, ROW_MAX = 1 << 26 };

struct table {
	struct file *f;
	char *buf; /* buf[at, end) is not yet read; buf[at, seen) holds no line end */
	size_t room, at, seen, end;
	long lines; /* read so far */
	long line;  /* where the row begins, from 1 */
	char **name;
	int columns;
	char **field;	/* of the row, in buf or in text */
	size_t *offset; /* of a quoted row's fields in text */
	int fields, field_room;
	struct csv_parser csv;
	char *text; /* a quoted row's fields */
	size_t text_end, text_room;
	int rows; /* that the line just parsed has ended */
	bool cut; /* the stream ended within the line that was looked for */
};

/* --- lines --- */

static int
bad(const struct table *t, long line, const char *what)
{
	return err_set("%s:%ld: %s", file_name(t->f), line, what);
}

/* Read on behind buf[at, end), which moves to the front; bytes read, 0 at the end, -1. */
static ssize_t
more(struct table *t)
{
	ssize_t n;
	memmove(t->buf, t->buf + t->at, t->end - t->at);
	t->seen -= t->at;
	t->end -= t->at;
	t->at = 0;
	if (t->end == t->room) {
		if (t->room >= ROW_MAX)
			return bad(t, t->lines + 1, "a line of more than 64 MB");
		t->room *= 2;
		t->buf = mem_grow(t->buf, t->room, 1);
	}
	n = file_some(t->f, t->buf + t->end, t->room - t->end);
	if (n > 0)
		t->end += (size_t)n;
	return n;
}

/* The next line, whose '\n' is s[*len]; NULL at the end with *len = 0, on failure with 1. */
static char *
next_line(struct table *t, size_t *len)
{
	char *s, *end;
	while (!(end = memchr(t->buf + t->seen, '\n', t->end - t->seen))) {
		ssize_t n;
		t->seen = t->end;
		n = more(t);
		if (n > 0)
			continue;
		*len = n < 0 || t->at < t->end;
		t->cut = !n && t->at < t->end;
		if (t->cut)
			bad(t, t->lines + 1, "no line end (expected one: has the file been cut?)");
		return NULL;
	}
	s = t->buf + t->at;
	t->at = t->seen = (size_t)(end + 1 - t->buf);
	if (!t->lines++ && end - s >= 3 && !memcmp(s, "\xef\xbb\xbf", 3))
		s += 3; /* a byte order mark */
	*len = (size_t)(end - s);
	if (memchr(s, 0, *len)) {
		bad(t, t->lines, "a NUL byte (expected text)");
		*len = 1;
		return NULL;
	}
	return s;
}

/* --- rows --- */

static void
room_for_field(struct table *t)
{
	if (t->fields < t->field_room)
		return;
	t->field_room = t->field_room ? 2 * t->field_room : 32;
	t->field = mem_grow(t->field, (size_t)t->field_room, sizeof *t->field);
	t->offset = mem_grow(t->offset, (size_t)t->field_room, sizeof *t->offset);
}

/* A line without quotes is cut at its commas where it stands. */
static int
split(struct table *t, char *s, size_t len)
{
	char *end = s + len, *comma;
	if (end > s && end[-1] == '\r')
		end--;
	if (memchr(s, '\r', (size_t)(end - s)))
		return bad(t, t->line, "a carriage return inside a row (expected a quoted field)");
	*end = 0;
	for (;; s = comma + 1) {
		room_for_field(t);
		t->field[t->fields++] = s;
		comma = memchr(s, ',', (size_t)(end - s));
		if (!comma)
			return 1;
		*comma = 0;
	}
}

static void
take_field(void *s, size_t len, void *table)
{
	struct table *t = table;
	room_for_field(t);
	if (t->text_end + len + 1 > t->text_room) {
		t->text_room = 2 * (t->text_end + len + 1);
		t->text = mem_grow(t->text, t->text_room, 1);
	}
	t->offset[t->fields++] = t->text_end;
	if (len)
		memcpy(t->text + t->text_end, s, len);
	t->text[t->text_end + len] = 0;
	t->text_end += len + 1;
}

static void
take_row(int end, void *table)
{
	(void)end;
	((struct table *)table)->rows++;
}

static int
no_space(unsigned char c)
{
	(void)c;
	return 0;
}

/* A row with quotes, which may go over several lines, is libcsv's. */
static int
parse(struct table *t, char *s, size_t len)
{
	size_t total = 0;
	t->rows = 0;
	t->text_end = 0;
	for (;;) {
		if ((total += len + 1) > ROW_MAX)
			return bad(t, t->line, "a row of more than 64 MB (is a quote left open?)");
		if (csv_parse(&t->csv, s, len + 1, take_field, take_row, t) != len + 1)
			return bad(t, t->line,
				   csv_error(&t->csv) == CSV_EPARSE
					   ? "a stray quote (expected a quoted field, \"\" for \")"
					   : "no memory to read the row");
		if (t->rows)
			break;
		s = next_line(t, &len);
		t->cut = false; /* the row's first lines are gone */
		if (!s)
			return len ? -1 : bad(t, t->line, "a quote that is never closed");
	}
	if (t->rows > 1)
		return bad(t, t->line, "a carriage return inside a row (expected a quoted field)");
	for (int i = 0; i < t->fields; i++)
		t->field[i] = t->text + t->offset[i];
	return 1;
}

static int
next_row(struct table *t)
{
	size_t len;
	char *s;
	do {
		s = next_line(t, &len);
		if (!s)
			return len ? -1 : 0;
	} while (!len || *s == '#' || (len == 1 && *s == '\r'));
	t->line = t->lines;
	t->fields = 0;
	return memchr(s, '"', len) ? parse(t, s, len) : split(t, s, len);
}

struct table *
table_open(const char *name)
{
	return table_from(file_open(name));
}

struct table *
table_from(struct file *f)
{
	struct table *t;
	int r;
	if (!f)
		return NULL;
	t = mem_zero(1, sizeof *t);
	t->f = f;
	t->room = BUF;
	t->buf = mem_grow(NULL, t->room, 1);
	csv_init(&t->csv, CSV_STRICT);
	csv_set_space_func(&t->csv, no_space);
	csv_set_blk_size(&t->csv, 4096);
	r = next_row(t);
	if (r <= 0) {
		if (!r)
			err_set("%s: empty (expected a header line)", file_name(f));
		table_close(t);
		return NULL;
	}
	t->columns = t->fields;
	t->name = mem_zero((size_t)t->columns, sizeof *t->name);
	for (int i = 0; i < t->columns; i++)
		t->name[i] = mem_copy(t->field[i]);
	return t;
}

void
table_close(struct table *t)
{
	if (!t)
		return;
	for (int i = 0; i < t->columns; i++)
		free(t->name[i]);
	csv_free(&t->csv);
	file_close(t->f);
	free(t->name);
	free(t->field);
	free(t->offset);
	free(t->text);
	free(t->buf);
	free(t);
}

int
table_next(struct table *t)
{
	int r;
	t->cut = false;
	r = next_row(t);
	if (r == 1 && t->fields != t->columns)
		return err_set("%s:%ld: %d field%s (expected %d, as in the header)",
			       file_name(t->f), t->line, t->fields, t->fields == 1 ? "" : "s",
			       t->columns);
	return r;
}

bool
table_cut(const struct table *t)
{
	return t->cut;
}

bool
table_ready(const struct table *t)
{
	return memchr(t->buf + t->seen, '\n', t->end - t->seen);
}

/* --- columns and values --- */

int
table_column(const struct table *t, const char *name)
{
	for (int i = 0; i < t->columns; i++)
		if (!strcmp(t->name[i], name))
			return i;
	return -1;
}

int
table_require(const struct table *t, const char *name)
{
	int c = table_column(t, name);
	if (c < 0)
		return err_set("%s: no column \"%s\" in the header", file_name(t->f), name);
	for (int i = c + 1; i < t->columns; i++)
		if (!strcmp(t->name[i], name))
			return err_set("%s: two columns \"%s\" in the header (expected one)",
				       file_name(t->f), name);
	return c;
}

int
table_columns(const struct table *t)
{
	return t->columns;
}

const char *
table_header(const struct table *t, int column)
{
	assert(column >= 0 && column < t->columns);
	return t->name[column];
}

const char *
table_name(const struct table *t)
{
	return file_name(t->f);
}

long
table_line(const struct table *t)
{
	return t->line;
}

const char *
table_text(const struct table *t, int column)
{
	assert(column >= 0 && column < t->fields);
	return t->field[column];
}

static int
in_column(const struct table *t, int column)
{
	return err_in("%s:%ld: column %s", file_name(t->f), t->line, t->name[column]);
}

int
table_long(const struct table *t, int column, long lo, long hi, long *out)
{
	return num_long(table_text(t, column), lo, hi, out) ? in_column(t, column) : 0;
}

int
table_real(const struct table *t, int column, double *out)
{
	const char *s = table_text(t, column), *word = s + (*s == '-');
	const bool letters = *word > '9';
	if (letters && !strcasecmp(word, "nan"))
		*out = NAN;
	else if (letters && !strcasecmp(word, "inf"))
		*out = *s == '-' ? -INFINITY : INFINITY;
	else if (num_real(s, -DBL_MAX, DBL_MAX, out))
		return in_column(t, column);
	return 0;
}

/*
 * The columns of a plain row whose '\n' is in memory: where the next line begins.  NULL, and
 * nothing is read, for every row that table_next has to judge.
 */
static char *
plain_longs(const struct table *t, struct table_whole *w, int n)
{
	char *p = t->buf + t->at;
	int i = 0, column = 0;

	for (;; column++) {
		char *begin = p;
		if (i < n && w[i].column == column) {
			long v = 0;
			for (; *p >= '0' && *p <= '9' && p - begin < 18; p++)
				v = v * 10 + (*p - '0');
			if (p == begin || v < w[i].lo || v > w[i].hi)
				return NULL;
			w[i++].value = v;
		} else {
			while (*p >= ' ' && *p != ',' && *p != '"')
				p++;
		}
		if (*p != ',')
			break;
		p++;
	}
	return *p == '\n' && column + 1 == t->columns ? p + 1 : NULL;
}

int
table_next_longs(struct table *t, struct table_whole *w, int n)
{
	char *end = NULL;
	int r;

	if (memchr(t->buf + t->seen, '\n', t->end - t->seen) && t->buf[t->at] != '#')
		end = plain_longs(t, w, n);
	if (end) {
		t->at = t->seen = (size_t)(end - t->buf);
		t->line = ++t->lines;
		t->fields = 0;
		return 1;
	}
	r = table_next(t);
	for (int i = 0; i < n && r == 1; i++)
		if (table_long(t, w[i].column, w[i].lo, w[i].hi, &w[i].value))
			r = -1;
	return r;
}

/* --- writing --- */

static void
put(struct row *r, const char *s, size_t n)
{
	if (file_write(r->f, s, n))
		r->failed = true;
}

static void
begin(struct row *r)
{
	if (r->begun)
		put(r, ",", 1);
	r->begun = true;
	r->blank = false;
}

int
row_header(struct row *r, const char *comma_separated)
{
	begin(r);
	put(r, comma_separated, strlen(comma_separated));
	return row_end(r);
}

void
row_text(struct row *r, const char *s)
{
	bool first = !r->begun;
	begin(r);
	if (!strpbrk(s, ",\"\r\n") && !(first && *s == '#')) {
		put(r, s, strlen(s));
		r->blank = first && !*s;
		return;
	}
	put(r, "\"", 1);
	for (size_t n; n = strcspn(s, "\""), s[n]; s += n + 1) {
		put(r, s, n);
		put(r, "\"\"", 2);
	}
	put(r, s, strlen(s));
	put(r, "\"", 1);
}

void
row_long(struct row *r, long long v)
{
	begin(r);
	if (file_print(r->f, "%lld", v))
		r->failed = true;
}

void
row_real(struct row *r, double v)
{
	char text[NUM_TEXT];
	begin(r);
	num_text(text, v);
	put(r, text, strlen(text));
}

void
row_skip(struct row *r)
{
	row_text(r, "");
}

void
row_told(struct row *r, long long v)
{
	if (v < 0)
		row_skip(r);
	else
		row_long(r, v);
}

void
row_known(struct row *r, double v)
{
	if (isnan(v))
		row_skip(r);
	else
		row_real(r, v);
}

int
row_end(struct row *r)
{
	/* An empty field alone would make a blank line, which is no row. */
	if (r->blank)
		put(r, "\"\"", 2);
	r->begun = r->blank = false;
	put(r, "\n", 1);
	return r->failed ? -1 : 0;
}
