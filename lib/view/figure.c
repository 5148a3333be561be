#include "view/figure.h"
#include "base/mem.h"
#include "base/num.h"
#include "view/escape.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static char *
text(const char *fmt, va_list ap)
{
	char *s = NULL;

	if (vasprintf(&s, fmt, ap) < 0)
		return mem_copy("");
	return s;
}

struct figure *
figure_new(const char *kind, const char *title, const char *about)
{
	struct figure *f = mem_zero(1, sizeof *f);

	f->kind = kind;
	f->title = mem_copy(title);
	f->about = mem_copy(about);
	f->axis = "step";
	return f;
}

static void
free_texts(char **v, long n)
{
	for (long i = 0; v && i < n; i++)
		free(v[i]);
	free(v);
}

static void
free_series(struct figure_series *s)
{
	free(s->name);
	free(s->x);
	free(s->y);
	free(s->lo);
	free(s->hi);
	free_texts(s->label, s->n);
	free(s->mark);
}

static void
free_panel(struct figure_panel *p)
{
	for (int i = 0; i < p->n; i++)
		free_series(&p->series[i]);
	free(p->series);
	free_texts(p->tick, p->ticks);
	free(p->title);
	if (!p->heat)
		return;
	free(p->heat->x);
	free(p->heat->v);
	free(p->heat->order);
	free_texts(p->heat->name, p->heat->rows);
	free(p->heat);
}

void
figure_drop(struct figure *f)
{
	free_panel(&f->panel[--f->panels]);
}

void
figure_free(struct figure *f)
{
	if (!f)
		return;
	for (int i = 0; i < f->bands; i++)
		free(f->band[i].name);
	for (int i = 0; i < f->marks; i++)
		free(f->mark[i].name);
	for (int i = 0; i < f->panels; i++)
		free_panel(&f->panel[i]);
	free(f->band);
	free(f->mark);
	free(f->panel);
	free(f->title);
	free(f->about);
	free(f->missing);
	free(f->note);
	free(f);
}

void
figure_missing(struct figure *f, const char *fmt, ...)
{
	va_list ap;

	if (f->missing)
		return;
	va_start(ap, fmt);
	f->missing = text(fmt, ap);
	va_end(ap);
}

void
figure_band(struct figure *f, const char *name, double from, double to, int color)
{
	f->band = mem_grow(f->band, (size_t)f->bands + 1, sizeof *f->band);
	f->band[f->bands++] = (struct figure_band){mem_copy(name), from, to, color};
}

void
figure_mark(struct figure *f, const char *name, double x)
{
	f->mark = mem_grow(f->mark, (size_t)f->marks + 1, sizeof *f->mark);
	f->mark[f->marks++] = (struct figure_mark){mem_copy(name), x};
}

void
figure_note(struct figure *f, const char *fmt, ...)
{
	char *s, *all;
	va_list ap;

	va_start(ap, fmt);
	s = text(fmt, ap);
	va_end(ap);
	if (f->note && strstr(f->note, s)) {
		free(s);
		return;
	}
	all = mem_text("%s%s%s", f->note ? f->note : "", f->note ? " " : "", s);
	free(f->note);
	free(s);
	f->note = all;
}

struct figure_panel *
figure_panel(struct figure *f, const char *title, double height)
{
	f->panel = mem_grow(f->panel, (size_t)f->panels + 1, sizeof *f->panel);
	f->panel[f->panels] = (struct figure_panel){.title = mem_copy(title), .height = height};
	return &f->panel[f->panels++];
}

struct figure_series *
figure_series(struct figure_panel *p, const char *name, enum figure_look look, int color)
{
	p->series = mem_grow(p->series, (size_t)p->n + 1, sizeof *p->series);
	p->series[p->n] =
		(struct figure_series){.name = mem_copy(name), .look = look, .color = color};
	return &p->series[p->n++];
}

static double *
more(double *v, long room)
{
	return v ? mem_grow(v, (size_t)room, sizeof *v) : NULL;
}

void
figure_point(struct figure_series *s, double x, double y)
{
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->x = mem_grow(s->x, (size_t)s->room, sizeof *s->x);
		s->y = mem_grow(s->y, (size_t)s->room, sizeof *s->y);
		s->lo = more(s->lo, s->room);
		s->hi = more(s->hi, s->room);
		if (s->label)
			s->label = mem_grow(s->label, (size_t)s->room, sizeof *s->label);
		if (s->mark)
			s->mark = mem_grow(s->mark, (size_t)s->room, 1);
	}
	s->x[s->n] = x;
	s->y[s->n] = y;
	if (s->lo)
		s->lo[s->n] = s->hi[s->n] = NAN;
	if (s->label)
		s->label[s->n] = NULL;
	if (s->mark)
		s->mark[s->n] = FIGURE_NONE;
	s->n++;
}

void
figure_range(struct figure_series *s, double lo, double hi)
{
	if (!s->lo) {
		s->lo = mem_grow(NULL, (size_t)s->room, sizeof *s->lo);
		s->hi = mem_grow(NULL, (size_t)s->room, sizeof *s->hi);
		for (long i = 0; i < s->n; i++)
			s->lo[i] = s->hi[i] = NAN;
	}
	s->lo[s->n - 1] = lo;
	s->hi[s->n - 1] = hi;
}

void
figure_label(struct figure_series *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->label)
		s->label = mem_zero((size_t)s->room, sizeof *s->label);
	va_start(ap, fmt);
	s->label[s->n - 1] = text(fmt, ap);
	va_end(ap);
}

/* What stands at a heat map's column. */
static double
column_at(const struct figure_heat *h, int column)
{
	return h->middle ? (h->x[column] + h->x[column + 1]) / 2 : h->x[column + 1];
}

/* --- scales --- */

static void
reach(double v, double *lo, double *hi)
{
	if (v < *lo)
		*lo = v;
	if (v > *hi)
		*hi = v;
}

static void
span_of_series(const struct figure_series *s, double *lo, double *hi)
{
	for (long i = 0; i < s->n; i++) {
		reach(s->y[i], lo, hi);
		if (s->lo && s->look != FIGURE_SPANS && s->look != FIGURE_RIBBONS) {
			reach(s->lo[i], lo, hi);
			reach(s->hi[i], lo, hi);
		}
	}
}

void
figure_span(const struct figure_panel *p, int n, double *lo, double *hi)
{
	double tick = 0, before;

	*lo = p->lo;
	*hi = p->hi;
	if (*lo < *hi)
		return;
	*lo = INFINITY;
	*hi = -INFINITY;
	for (int i = 0; i < p->n; i++)
		span_of_series(&p->series[i], lo, hi);
	if (!(*lo <= *hi))
		*lo = 0, *hi = 1;
	if (p->whole)
		*lo = fmin(*lo, 0), *hi = fmax(*hi, 1);
	if (*lo == *hi) {
		const double room = fabs(*lo) / 10;
		*lo -= room;
		*hi += room > 0 ? room : 1;
	}
	/* A scale that is near zero anyway begins there. */
	if (*lo > 0 && *lo < 0.35 * *hi)
		*lo = 0;
	/* Rounding outwards to ticks may widen the scale so far that its ticks are coarser. */
	do {
		before = tick;
		tick = figure_tick(*lo, *hi, n, p->whole);
		*lo = floor(*lo / tick + 1e-9) * tick;
		*hi = ceil(*hi / tick - 1e-9) * tick;
	} while (tick > before);
}

double
figure_tick(double lo, double hi, int n, bool whole)
{
	const double least = (hi - lo) / n, ten = pow(10, floor(log10(least)));
	double tick = 10 * ten;

	if (least <= ten)
		tick = ten;
	else if (least <= 2 * ten)
		tick = 2 * ten;
	else if (least <= 5 * ten)
		tick = 5 * ten;
	return whole && tick < 1 ? 1 : tick;
}

const char *
figure_number(char *buf, double v, double tick)
{
	const char *unit = "";
	int digits;

	if (fabs(v) < tick / 1e6)
		v = 0;
	if (tick >= 1e6 || (tick >= 1e5 && fabs(v) >= 1e6))
		unit = "M", v /= 1e6, tick /= 1e6;
	else if (tick >= 1e3 && fabs(v) >= 1e4)
		unit = "k", v /= 1e3, tick /= 1e3;
	digits = (int)ceil(-log10(tick) - 1e-9);
	if (digits > 6)
		snprintf(buf, NUM_TEXT, "%.3g%s", v, unit);
	else
		snprintf(buf, NUM_TEXT, "%.*f%s", digits > 0 ? digits : 0, v, unit);
	return buf;
}

/* --- numbers --- */

static void
put_number(FILE *out, double v, const char *none)
{
	char buf[NUM_TEXT];

	fputs(isfinite(v) ? num_text(buf, v) : none, out);
}

static void
put_field(FILE *out, const char *s)
{
	if (!strpbrk(s, ",\"\r\n") && *s != '#') {
		fputs(s, out);
		return;
	}
	putc('"', out);
	for (; *s; s++) {
		if (*s == '"')
			putc('"', out);
		putc(*s, out);
	}
	putc('"', out);
}

static void
csv_row(FILE *out, const char *panel, const char *series, double step, double value, double low,
	double high, const char *label)
{
	put_field(out, panel);
	putc(',', out);
	put_field(out, series);
	putc(',', out);
	put_number(out, step, "");
	putc(',', out);
	put_number(out, value, "");
	putc(',', out);
	put_number(out, low, "");
	putc(',', out);
	put_number(out, high, "");
	putc(',', out);
	put_field(out, label);
	putc('\n', out);
}

static void
csv_heat(FILE *out, const char *panel, const struct figure_heat *h)
{
	for (int r = 0; r < h->rows; r++)
		for (int c = 0; c < h->columns; c++)
			if (!isnan(h->v[(long)r * h->columns + c]))
				csv_row(out, panel, h->name[r], column_at(h, c),
					h->v[(long)r * h->columns + c], NAN, NAN, "");
}

void
figure_csv(const struct figure *f, FILE *out)
{
	fputs("panel,series,step,value,low,high,label\n", out);
	for (int k = 0; k < f->panels; k++) {
		const struct figure_panel *p = &f->panel[k];
		for (int i = 0; i < p->n; i++) {
			const struct figure_series *s = &p->series[i];
			for (long j = 0; j < s->n; j++)
				csv_row(out, p->title, s->name, s->x[j], s->y[j],
					s->lo ? s->lo[j] : NAN, s->lo ? s->hi[j] : NAN,
					s->label && s->label[j] ? s->label[j] : "");
		}
		if (p->heat)
			csv_heat(out, p->title, p->heat);
	}
}

static void
json_numbers(FILE *out, const char *name, const double *v, long n)
{
	fprintf(out, "\"%s\":[", name);
	for (long i = 0; i < n; i++) {
		if (i)
			putc(',', out);
		put_number(out, v[i], "null");
	}
	putc(']', out);
}

static void
json_texts(FILE *out, const char *name, char *const *v, long n)
{
	fprintf(out, "\"%s\":[", name);
	for (long i = 0; i < n; i++) {
		if (i)
			putc(',', out);
		escape_json(out, v[i] ? v[i] : "");
	}
	putc(']', out);
}

static void
json_series(FILE *out, const struct figure_series *s)
{
	static const char *const look[] = {"line", "steps", "dots",   "marked",
					   "bars", "spans", "ribbons"};

	fputs("{\"name\":", out);
	escape_json(out, s->name);
	fprintf(out, ",\"look\":\"%s\",\"color\":%d,", look[s->look], s->color);
	json_numbers(out, "x", s->x, s->n);
	putc(',', out);
	json_numbers(out, "y", s->y, s->n);
	if (s->lo) {
		putc(',', out);
		json_numbers(out, "lo", s->lo, s->n);
		putc(',', out);
		json_numbers(out, "hi", s->hi, s->n);
	}
	if (s->label) {
		putc(',', out);
		json_texts(out, "label", s->label, s->n);
	}
	putc('}', out);
}

static void
json_heat(FILE *out, const struct figure_heat *h)
{
	fprintf(out, ",\"heat\":{\"middle\":%s,\"unit\":\"%s\",", h->middle ? "true" : "false",
		h->unit);
	json_numbers(out, "x", h->x, h->columns + 1);
	putc(',', out);
	json_texts(out, "name", h->name, h->rows);
	fputs(",\"order\":[", out);
	for (int r = 0; h->order && r < h->rows; r++) {
		fputs(r ? ",[" : "[", out);
		for (int k = 0; k < 4; k++) {
			if (k)
				putc(',', out);
			put_number(out, h->order[r][k], "null");
		}
		putc(']', out);
	}
	fputs("],", out);
	json_numbers(out, "v", h->v, (long)h->rows * h->columns);
	putc('}', out);
}

void
figure_json(const struct figure *f, FILE *out)
{
	fprintf(out, "{\"kind\":\"%s\",\"title\":", f->kind);
	escape_json(out, f->title);
	fprintf(out, ",\"axis\":\"%s\",\"square\":%s,\"panels\":[", f->axis,
		f->square ? "true" : "false");
	for (int k = 0; k < f->panels; k++) {
		const struct figure_panel *p = &f->panel[k];
		fputs(k ? ",{\"title\":" : "{\"title\":", out);
		escape_json(out, p->title);
		fputs(",\"series\":[", out);
		for (int i = 0; i < p->n; i++) {
			if (i)
				putc(',', out);
			json_series(out, &p->series[i]);
		}
		putc(']', out);
		if (p->heat)
			json_heat(out, p->heat);
		putc('}', out);
	}
	fputs("]}", out);
}

bool
figure_repeated(const struct figure *f, int panel, int series)
{
	for (int k = 0; k <= panel; k++)
		for (int i = 0; i < (k == panel ? series : f->panel[k].n); i++)
			if (!strcmp(f->panel[k].series[i].name,
				    f->panel[panel].series[series].name))
				return true;
	return false;
}
