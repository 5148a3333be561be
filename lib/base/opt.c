#include "base/opt.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *
place(const struct opt_table *t, int i)
{
	return (char *)t->values + t->row[i].at;
}

static int
find(const struct opt_table *t, const char *name, size_t len)
{
	assert(t->n <= (int)sizeof t->source);
	for (int i = 0; i < t->n; i++)
		if (!strncmp(t->row[i].name, name, len) && !t->row[i].name[len])
			return i;
	return -1;
}

static int
find_letter(const struct opt_table *t, char letter)
{
	for (int i = 0; i < t->n; i++)
		if (t->row[i].letter && t->row[i].letter == letter)
			return i;
	return -1;
}

/* --- the nearest name --- */

static int
least(int a, int b)
{
	return a < b ? a : b;
}

/* Insertions, deletions, substitutions and swaps of neighbours that lead from a to b. */
static int
distance(const char *a, const char *b)
{
	enum { MAX = 32 };
	int d[MAX + 1][MAX + 1], n = (int)strlen(a), m = (int)strlen(b);
	if (n > MAX || m > MAX)
		return INT_MAX;
	for (int i = 0; i <= n; i++)
		for (int j = 0; j <= m; j++) {
			if (!i || !j) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = least(d[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
					1 + least(d[i - 1][j], d[i][j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
		}
	return d[n][m];
}

/* The name meant, if one is near: up to two slips, or fewer in a short name, or its beginning. */
static const char *
nearest(const struct opt_table *t, const char *name)
{
	const char *best = NULL;
	int n = (int)strlen(name), near = n > 4 ? 3 : n > 1 ? 2 : 0;
	for (int i = 0; i < t->n; i++) {
		int d = distance(name, t->row[i].name);
		if (n > 1 && !strncmp(name, t->row[i].name, (size_t)n))
			d = least(d, 1);
		if (d < near) {
			near = d;
			best = t->row[i].name;
		}
	}
	return best;
}

static int
unknown(const struct opt_table *t, const char *dashes, const char *name)
{
	const char *best = nearest(t, name);
	if (best)
		return err_set("unknown option %s%.60s (did you mean %s%s?)", dashes, name, dashes,
			       best);
	return err_set("unknown option %s%.60s", dashes, name);
}

/* --- values --- */

static long
to_long(double x)
{
	return x >= 0x1p63 ? LONG_MAX : x < -0x1p63 ? LONG_MIN : (long)x;
}

static size_t
to_size(double x)
{
	return x >= 0x1p64 ? SIZE_MAX : x > 0 ? (size_t)x : 0;
}

/* The word of `words` at index i; its length in *len, -1 past the last. */
static const char *
word(const char *words, int i, int *len)
{
	while (i-- > 0) {
		words += strcspn(words, "|");
		if (!*words++) {
			*len = -1;
			return "";
		}
	}
	*len = (int)strcspn(words, "|");
	return words;
}

static int
read_enum(const struct opt *o, const char *s, int *v)
{
	for (int i = 0, len;; i++) {
		const char *w = word(o->words, i, &len);
		if (len < 0)
			return err_set("\"%.60s\" is not one of %s", s, o->words);
		if (strlen(s) == (size_t)len && !memcmp(s, w, (size_t)len)) {
			*v = i;
			return 0;
		}
	}
}

static int
read_ints(const char *s, long lo, long hi, struct opt_ints *list)
{
	char *text = mem_copy(s), *rest = text, *part;
	long v;
	*list = (struct opt_ints){0, NULL};
	while ((part = strsep(&rest, ","))) {
		if (num_long(part, lo, hi, &v)) {
			err_in("\"%.60s\"", s);
			free(list->v);
			free(text);
			return -1;
		}
		list->v = mem_grow(list->v, (size_t)list->n + 1, sizeof *list->v);
		list->v[list->n++] = (int)v;
	}
	free(text);
	return 0;
}

static void
drop(struct opt_table *t, int i)
{
	void *at = place(t, i);
	struct opt_many *many = at;
	if (t->row[i].kind == OPT_TEXT) {
		if (t->owned[i])
			free(*(char **)at);
		*(char **)at = NULL;
	} else if (t->row[i].kind == OPT_INTS) {
		if (t->owned[i])
			free(((struct opt_ints *)at)->v);
		*(struct opt_ints *)at = (struct opt_ints){0, NULL};
	} else if (t->row[i].kind == OPT_MANY) {
		for (int k = 0; t->owned[i] && k < many->n; k++)
			free(many->v[k]);
		if (t->owned[i])
			free(many->v);
		*many = (struct opt_many){0, NULL};
	}
	t->owned[i] = false;
}

static void
add(struct opt_many *list, const char *s)
{
	list->v = mem_grow(list->v, (size_t)list->n + 1, sizeof *list->v);
	list->v[list->n++] = mem_copy(s);
}

union value {
	long whole;
	double real;
	size_t bytes;
	int word;
	struct opt_ints ints;
};

/* Check the value as the row wants it. */
static int
check(const struct opt *o, const char *s, union value *v)
{
	long lo = to_long(o->lo), hi = to_long(o->hi);
	switch (o->kind) {
	case OPT_FLAG: return num_long(s, 0, 1, &v->whole);
	case OPT_INT:
		return num_long(s, lo < INT_MIN ? INT_MIN : lo, hi > INT_MAX ? INT_MAX : hi,
				&v->whole);
	case OPT_LONG: return num_long(s, lo, hi, &v->whole);
	case OPT_REAL: return num_real(s, o->lo, o->hi, &v->real);
	case OPT_BYTES: return num_bytes(s, to_size(o->lo), to_size(o->hi), &v->bytes);
	case OPT_ENUM: return read_enum(o, s, &v->word);
	case OPT_INTS:
		return read_ints(s, lo < INT_MIN ? INT_MIN : lo, hi > INT_MAX ? INT_MAX : hi,
				 &v->ints);
	case OPT_TEXT:
	case OPT_MANY: return 0;
	}
	return 0;
}

static void
store(struct opt_table *t, int i, const char *s, const union value *v)
{
	void *at = place(t, i);
	switch (t->row[i].kind) {
	case OPT_FLAG: *(bool *)at = v->whole; break;
	case OPT_INT: *(int *)at = (int)v->whole; break;
	case OPT_LONG: *(long *)at = v->whole; break;
	case OPT_REAL: *(double *)at = v->real; break;
	case OPT_BYTES: *(size_t *)at = v->bytes; break;
	case OPT_ENUM: *(int *)at = v->word; break;
	case OPT_INTS:
		drop(t, i);
		*(struct opt_ints *)at = v->ints;
		break;
	case OPT_TEXT:
		drop(t, i);
		*(char **)at = mem_copy(s);
		break;
	case OPT_MANY:
		if (!t->owned[i])
			drop(t, i);
		add(at, s);
		break;
	}
	t->owned[i] = true;
}

/* A wrong value is refused even where a stronger source has spoken. */
static int
set(struct opt_table *t, int i, const char *s, enum opt_source from)
{
	union value v = {0};
	if (check(&t->row[i], s, &v))
		return -1;
	if (from < t->source[i]) {
		if (t->row[i].kind == OPT_INTS)
			free(v.ints.v);
		return 0;
	}
	/* A list starts anew with a stronger source and grows within one. */
	if (from > t->source[i])
		drop(t, i);
	store(t, i, s, &v);
	t->source[i] = (unsigned char)from;
	return 0;
}

int
opt_set(struct opt_table *t, const char *name, const char *value, enum opt_source from)
{
	int i = find(t, name, strlen(name));
	if (i < 0)
		return unknown(t, "", name);
	return set(t, i, value, from) ? err_in("%s", name) : 0;
}

bool
opt_given(const struct opt_table *t, const char *name)
{
	int i = find(t, name, strlen(name));
	return i >= 0 && t->source[i] > OPT_PRESET;
}

int
opt_rows(struct opt *to, const struct opt *from, int n, size_t at)
{
	for (int i = 0; i < n; i++) {
		to[i] = from[i];
		to[i].at += at;
	}
	return n;
}

void
opt_free(struct opt_table *t)
{
	for (int i = 0; i < t->n; i++)
		if (t->owned[i])
			drop(t, i);
}

/* --- the command line --- */

struct line {
	int argc, next;
	char **argv;
};

static int
long_option(struct opt_table *t, struct line *l, const char *arg)
{
	size_t len = strcspn(arg, "=");
	const char *value = arg[len] ? arg + len + 1 : NULL;
	int i = find(t, arg, len);
	if (i < 0) {
		char *name = mem_text("%.*s", (int)(len < 64 ? len : 64), arg);
		unknown(t, "--", name);
		free(name);
		return -1;
	}
	if (!value && t->row[i].kind == OPT_FLAG)
		value = "1";
	if (!value && l->next < l->argc)
		value = l->argv[l->next++];
	if (!value)
		return err_set("option --%s needs a value", t->row[i].name);
	return set(t, i, value, OPT_COMMAND) ? err_in("option --%s", t->row[i].name) : 0;
}

static int
short_options(struct opt_table *t, struct line *l, const char *arg)
{
	for (; *arg; arg++) {
		int i = find_letter(t, *arg);
		const char *value = arg + 1;
		if (i < 0)
			return err_set("unknown option -%c", *arg);
		if (t->row[i].kind == OPT_FLAG) {
			if (set(t, i, "1", OPT_COMMAND))
				return err_in("option -%c", *arg);
			continue;
		}
		if (!*value && l->next == l->argc)
			return err_set("option -%c needs a value", *arg);
		if (!*value)
			value = l->argv[l->next++];
		return set(t, i, value, OPT_COMMAND) ? err_in("option -%c", *arg) : 0;
	}
	return 0;
}

int
opt_parse(struct opt_table *t, int argc, char **argv, struct opt_many *operands)
{
	struct line l = {argc, 1, argv};
	bool options = true;
	while (l.next < argc) {
		const char *arg = argv[l.next++];
		int r = 0;
		if (!options || arg[0] != '-' || !arg[1])
			add(operands, arg);
		else if (!strcmp(arg, "--"))
			options = false;
		else if (arg[1] == '-')
			r = long_option(t, &l, arg + 2);
		else
			r = short_options(t, &l, arg + 1);
		if (r)
			return -1;
	}
	return 0;
}

/* --- recipes --- */

/*
 * A value stands as it is unless it is empty, begins with a quote, begins or ends with a blank, or
 * holds a control character: then it stands in quotes, with \\ \" \n \r \t and \xHH.
 */
static bool
plain(const char *s)
{
	size_t n = strlen(s);
	if (!n || *s == '"' || *s == ' ' || s[n - 1] == ' ')
		return false;
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return false;
	return true;
}

static void
put_value(FILE *f, const char *s)
{
	static const char from[] = "\\\"\n\r\t", to[] = "\\\"nrt";
	if (plain(s)) {
		fputs(s, f);
		return;
	}
	putc('"', f);
	for (; *s; s++) {
		const char *e = strchr(from, *s);
		if (e)
			fprintf(f, "\\%c", to[e - from]);
		else if ((unsigned char)*s < ' ' || *s == 0x7f)
			fprintf(f, "\\x%02x", (unsigned)*s);
		else
			putc(*s, f);
	}
	putc('"', f);
}

static int
hex(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *d = c ? strchr(digits, c) : NULL;
	return d ? (int)(d - digits) : -1;
}

/* The byte that two digits say; 0, which no text holds, for anything else. */
static int
hex_byte(const char *s)
{
	return hex(s[0]) < 0 || hex(s[1]) < 0 ? 0 : 16 * hex(s[0]) + hex(s[1]);
}

/* Undo put_value's quotes in place. */
static int
unquote(char *s)
{
	char *to = s, *p = s + 1;
	while (*p && *p != '"') {
		static const char from[] = "\\\"nrt", into[] = "\\\"\n\r\t";
		const char *e;
		if (*p != '\\') {
			*to++ = *p++;
		} else if (p[1] == 'x' && hex_byte(p + 2)) {
			*to++ = (char)hex_byte(p + 2);
			p += 4;
		} else if (p[1] && (e = strchr(from, p[1]))) {
			*to++ = into[e - from];
			p += 2;
		} else {
			return err_set("unknown escape in a quoted value "
				       "(expected \\\\ \\\" \\n \\r \\t or \\xHH)");
		}
	}
	if (*p != '"' || p[1])
		return err_set("%s", *p ? "text after a quoted value" : "quote left open");
	*to = 0;
	return 0;
}

static bool
blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* One line `name value`, without its end; modified. */
static int
read_line(struct opt_table *t, char *s, enum opt_source from)
{
	char *end = s + strlen(s), *value;
	while (blank(*s))
		s++;
	while (end > s && blank(end[-1]))
		*--end = 0;
	if (!*s || *s == '#')
		return 0;
	value = s + strcspn(s, " \t");
	if (!*value)
		return find(t, s, strlen(s)) < 0 ? unknown(t, "", s)
						 : err_set("%s: a value is missing", s);
	*value++ = 0;
	while (blank(*value))
		value++;
	if (*value == '"' && unquote(value))
		return err_in("%s", s);
	return opt_set(t, s, value, from);
}

int
opt_read_text(struct opt_table *t, const char *file, const char *text, enum opt_source from)
{
	char *copy = mem_copy(text), *rest = copy, *s;
	int n = 0, r = 0;
	while (!r && (s = strsep(&rest, "\n"))) {
		n++;
		if (read_line(t, s, from))
			r = err_in("%s:%d", file, n);
	}
	free(copy);
	return r;
}

int
opt_read(struct opt_table *t, const char *file)
{
	const char *name = strcmp(file, "-") ? file : "standard input";
	size_t n;
	char *text = file_slurp(file, &n);
	int r;
	if (!text)
		return -1;
	if (strlen(text) != n)
		r = err_set("%s: not a text (NUL at byte %zu)", name, strlen(text) + 1);
	else
		r = opt_read_text(t, name, text, OPT_RECIPE);
	free(text);
	return r;
}

/* The fewest digits, nine at least, that read back as x. */
static void
put_real(FILE *f, double x)
{
	char s[NUM_TEXT];
	for (int digits = 9; digits <= 17; digits++) {
		snprintf(s, sizeof s, "%.*g", digits, x);
		if (strtod(s, NULL) == x)
			break;
	}
	fputs(s, f);
}

/* With a unit where that is exact and short: not 10^12 as 976562500K. */
static void
put_bytes(FILE *f, size_t n)
{
	size_t units = n;
	int u = 0;
	while (u < 4 && units && !(units % 1024)) {
		units /= 1024;
		u++;
	}
	if (u && units < 10000)
		fprintf(f, "%zu%c", units, " KMGT"[u]);
	else
		fprintf(f, "%zu", n);
}

/* Whether the row has a value: a text that is set, a list that is not empty, a number in range. */
static bool
has_value(const struct opt_table *t, int i)
{
	const struct opt *o = &t->row[i];
	const void *at = place(t, i);
	double x = 0;
	switch (o->kind) {
	case OPT_FLAG: return true;
	case OPT_TEXT: return *(char *const *)at;
	case OPT_INTS: return ((const struct opt_ints *)at)->n > 0;
	case OPT_MANY: return ((const struct opt_many *)at)->n > 0;
	case OPT_ENUM: return *(const int *)at >= 0;
	case OPT_INT: x = *(const int *)at; break;
	case OPT_LONG: x = (double)*(const long *)at; break;
	case OPT_REAL: x = *(const double *)at; break;
	case OPT_BYTES: x = (double)*(const size_t *)at; break;
	}
	return isfinite(x) && x >= o->lo && x <= o->hi;
}

/* The value of any row but OPT_MANY. */
static void
put_row(FILE *f, const struct opt_table *t, int i)
{
	const void *at = place(t, i);
	const struct opt_ints *ints = at;
	const char *w;
	int len;
	switch (t->row[i].kind) {
	case OPT_FLAG: fprintf(f, "%d", *(const bool *)at); break;
	case OPT_INT: fprintf(f, "%d", *(const int *)at); break;
	case OPT_LONG: fprintf(f, "%ld", *(const long *)at); break;
	case OPT_REAL: put_real(f, *(const double *)at); break;
	case OPT_BYTES: put_bytes(f, *(const size_t *)at); break;
	case OPT_TEXT: put_value(f, *(char *const *)at); break;
	case OPT_ENUM:
		w = word(t->row[i].words, *(const int *)at, &len);
		fprintf(f, "%.*s", len < 0 ? 0 : len, w);
		break;
	case OPT_INTS:
		for (int k = 0; k < ints->n; k++)
			fprintf(f, "%s%d", k ? "," : "", ints->v[k]);
		break;
	case OPT_MANY: break;
	}
}

static FILE *
text_open(char **text, size_t *n)
{
	FILE *f = open_memstream(text, n);
	if (!f)
		abort();
	return f;
}

char *
opt_recipe(const struct opt_table *t)
{
	char *text;
	size_t size;
	FILE *f = text_open(&text, &size);
	for (int i = 0; i < t->n; i++) {
		const struct opt *o = &t->row[i];
		const struct opt_many *many = place(t, i);
		if (!o->recipe || !has_value(t, i))
			continue;
		for (int k = 0; k < (o->kind == OPT_MANY ? many->n : 1); k++) {
			fprintf(f, "%s ", o->name);
			if (o->kind == OPT_MANY)
				put_value(f, many->v[k]);
			else
				put_row(f, t, i);
			putc('\n', f);
		}
	}
	if (fclose(f))
		abort();
	return text;
}

/* --- usage --- */

/* `-o, --out DIR`; its length. */
static int
put_left(FILE *f, const struct opt *o)
{
	static const char *const noun[] = {
		[OPT_FLAG] = "",     [OPT_INT] = "N",	    [OPT_LONG] = "N",
		[OPT_REAL] = "X",    [OPT_BYTES] = "BYTES", [OPT_TEXT] = "TEXT",
		[OPT_ENUM] = "WORD", [OPT_INTS] = "N,...",  [OPT_MANY] = "TEXT",
	};
	const char *value = o->words && o->kind != OPT_FLAG ? o->words : noun[o->kind];
	char dash[8] = "    ";
	if (o->letter)
		snprintf(dash, sizeof dash, "-%c, ", o->letter);
	return fprintf(f, "%s--%s%s%s", dash, o->name, *value ? " " : "", value);
}

/* What has been set is no default: the -h itself that asked for the usage, above all. */
static void
put_default(FILE *f, const struct opt_table *t, int i)
{
	enum opt_kind kind = t->row[i].kind;
	if (t->source[i] != OPT_DEFAULT)
		return;
	if (kind == OPT_FLAG ? !*(bool *)place(t, i) : kind == OPT_MANY || !has_value(t, i))
		return;
	fputs(" [", f);
	put_row(f, t, i);
	putc(']', f);
}

/* Words from column `at` on, going on below them where a line of WIDTH columns ends. */
static void
put_words(FILE *f, const char *s, int at)
{
	enum { WIDTH = 100 };
	int column = at;
	while (*s) {
		int len = (int)strcspn(s, " ");
		if (column > at && column + 1 + len > WIDTH)
			column = fprintf(f, "\n%*s%.*s", at, "", len, s) - 1;
		else
			column += fprintf(f, "%s%.*s", column > at ? " " : "", len, s);
		s += len + (s[len] == ' ');
	}
	putc('\n', f);
}

/* What the row is for, and its default. */
static char *
help_text(const struct opt_table *t, int i)
{
	char *text;
	size_t n;
	FILE *f = text_open(&text, &n);
	fputs(t->row[i].help, f);
	put_default(f, t, i);
	if (fclose(f))
		abort();
	return text;
}

static void
put_title(FILE *f, const struct opt_table *t, int i)
{
	for (const struct opt_group *g = t->group; g && g->first; g++)
		if (!strcmp(g->first, t->row[i].name))
			fprintf(f, "%s%s\n", i ? "\n" : "", g->title);
}

void
opt_usage(const struct opt_table *t, FILE *f)
{
	enum { MAX = 30 }; /* a longer left side has its line to itself */
	const char *line = t->synopsis;
	int width = 0;
	for (int i = 0; *line; i++) {
		int len = (int)strcspn(line, "\n");
		fprintf(f, "%s %.*s\n", i ? "      " : "usage:", len, line);
		line += len + (line[len] == '\n');
	}
	for (int i = 0; i < t->n; i++) {
		char *left;
		size_t size;
		FILE *m = text_open(&left, &size);
		int len = put_left(m, &t->row[i]);
		fclose(m);
		free(left);
		if (len <= MAX && len > width)
			width = len;
	}
	if (t->n)
		putc('\n', f);
	for (int i = 0; i < t->n; i++) {
		char *text;
		int len;
		put_title(f, t, i);
		fputs("  ", f);
		len = put_left(f, &t->row[i]);
		if (len > width)
			fprintf(f, "\n  %*s", width, "");
		else
			fprintf(f, "%*s", width - len, "");
		fputs("   ", f);
		text = help_text(t, i);
		put_words(f, text, width + 5);
		free(text);
	}
}
