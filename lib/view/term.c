#include "view/term.h"
#include "base/mem.h"
#include "base/num.h"
#include "view/escape.h"
#include "view/svg.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL = 10, TEXT = 5 }; /* columns left of the plot; bytes of a character and its end */

/* Dots of 2 by 4 in a character (ASCII: 1 by 1), and texts that stand above them. */
struct canvas {
	int width, height; /* characters */
	bool unicode, color;
	unsigned char *dots; /* [height, width] bits of a Braille pattern */
	int *ink;	     /* [height, width] the colour of the last dot, -1 */
	char (*over)[TEXT];  /* [height, width] */
};

static struct canvas *
canvas_new(int width, int height, bool unicode, bool color)
{
	struct canvas *c = mem_zero(1, sizeof *c);
	const size_t n = (size_t)width * height;

	*c = (struct canvas){.width = width, .height = height, .unicode = unicode, .color = color};
	c->dots = mem_zero(n, 1);
	c->ink = mem_zero(n, sizeof *c->ink);
	c->over = mem_zero(n, TEXT);
	for (size_t i = 0; i < n; i++)
		c->ink[i] = -1;
	return c;
}

static void
canvas_free(struct canvas *c)
{
	free(c->dots);
	free(c->ink);
	free(c->over);
	free(c);
}

static int
across(const struct canvas *c)
{
	return c->unicode ? 2 : 1;
}

static int
down(const struct canvas *c)
{
	return c->unicode ? 4 : 1;
}

/* x, y in dots from the upper left. */
static void
dot(struct canvas *c, int x, int y, int ink)
{
	static const unsigned char bit[4][2] = {{1, 8}, {2, 16}, {4, 32}, {64, 128}};
	const int col = x / across(c), line = y / down(c);

	if (x < 0 || y < 0 || col >= c->width || line >= c->height)
		return;
	c->dots[line * c->width + col] |= c->unicode ? bit[y % 4][x % 2] : 1;
	c->ink[line * c->width + col] = ink;
}

static void
stroke(struct canvas *c, double x1, double y1, double x2, double y2, int ink)
{
	const double n = fmax(fmax(fabs(x2 - x1), fabs(y2 - y1)), 1);

	for (double i = 0; i <= n; i++)
		dot(c, (int)rint(x1 + (x2 - x1) * i / n), (int)rint(y1 + (y2 - y1) * i / n), ink);
}

static void
set(struct canvas *c, int col, int line, const char *s, int n, int ink)
{
	if (col < 0 || line < 0 || col >= c->width || line >= c->height)
		return;
	memcpy(c->over[line * c->width + col], s, (size_t)n);
	c->over[line * c->width + col][n] = 0;
	c->ink[line * c->width + col] = ink;
}

static void
print(struct canvas *c, int col, int line, const char *s)
{
	while (*s) {
		const int n = escape_width(s);
		set(c, col++, line, n ? s : "?", n ? n : 1, -1);
		s += n ? n : 1;
	}
}

static void
put_cell(const struct canvas *c, int at, FILE *out)
{
	static const char ascii[] = "*o+x#@%&";
	const int ink = c->ink[at];
	const int shown = ink < 0 ? 0 : ink >= FIGURE_GREY ? ink - FIGURE_GREY + 8 : ink % 8;

	if (!c->dots[at] && !*c->over[at]) {
		putc(' ', out);
		return;
	}
	if (c->color && ink >= 0) {
		static const int sgr[] = {34, 33, 32, 35, 31, 36, 93, 37, 90, 95, 91, 93, 92};
		fprintf(out, "\033[%dm", sgr[shown % 13]);
	}
	if (*c->over[at])
		fputs(c->over[at], out);
	else if (c->unicode)
		fprintf(out, "\xe2%c%c", 0xa0 + (c->dots[at] >> 6), 0x80 + (c->dots[at] & 63));
	else
		putc(ascii[shown % 8], out);
	if (c->color && ink >= 0)
		fputs("\033[m", out);
}

static void
flush(const struct canvas *c, FILE *out)
{
	for (int y = 0; y < c->height; y++) {
		int end = c->width;
		while (end && !c->dots[y * c->width + end - 1] && !*c->over[y * c->width + end - 1])
			end--;
		for (int x = 0; x < end; x++)
			put_cell(c, y * c->width + x, out);
		putc('\n', out);
	}
}

/* --- panels --- */

struct field {
	const struct figure *f;
	struct canvas *c;
	double lo, hi;
	bool down;
	int lines; /* of the plotted part, from line 1 */
};

static double
at_x(const struct field *d, double x)
{
	const double share = (x - d->f->from) / (d->f->to - d->f->from);

	return (LABEL + share * (d->c->width - LABEL - 1)) * across(d->c);
}

static double
at_y(const struct field *d, double y)
{
	double share = (y - d->lo) / (d->hi - d->lo);

	share = d->down ? share : 1 - share;
	return down(d->c) + share * (d->lines * down(d->c) - 1);
}

static void
draw_symbols(const struct field *d, const struct figure_series *s)
{
	static const char *const wide[] = {"", "●", "▲", "▼", "◆", "■", "×", "○"};
	static const char *const ascii[] = {"", "o", "^", "v", "*", "#", "x", "o"};

	for (long i = 0; i < s->n; i++) {
		const char *t = d->c->unicode ? wide[s->symbol] : ascii[s->symbol];
		set(d->c, (int)at_x(d, s->x[i]) / across(d->c),
		    (int)rint(at_y(d, s->y[i])) / down(d->c), t, (int)strlen(t), s->color);
	}
}

static void
draw_line(const struct field *d, const struct figure_series *s)
{
	for (long i = 1; i < s->n; i++) {
		const double x1 = at_x(d, s->x[i - 1]), y1 = at_y(d, s->y[i - 1]);
		const double x2 = at_x(d, s->x[i]), y2 = at_y(d, s->y[i]);
		if (s->look == FIGURE_STEPS) {
			stroke(d->c, x1, y1, x2, y1, s->color);
			stroke(d->c, x2, y1, x2, y2, s->color);
		} else {
			stroke(d->c, x1, y1, x2, y2, s->color);
		}
	}
	if (s->n == 1)
		dot(d->c, (int)at_x(d, s->x[0]), (int)at_y(d, s->y[0]), s->color);
}

static void
draw_bars(const struct field *d, const struct figure_series *s)
{
	for (long i = 0; i < s->n; i++)
		for (double x = at_x(d, s->x[i] - s->width / 2);
		     x < fmax(at_x(d, s->x[i] + s->width / 2), at_x(d, s->x[i] - s->width / 2) + 1);
		     x++)
			stroke(d->c, x, at_y(d, s->lo[i]), x, at_y(d, s->hi[i]), s->color);
}

static void
draw_spans(const struct field *d, const struct figure_series *s)
{
	for (long i = 0; i < s->n; i++) {
		const double x = at_x(d, s->x[i]), y = at_y(d, s->y[i]);
		stroke(d->c, x, y, at_x(d, s->hi[i]), y, s->color);
		if (!isnan(s->lo[i]))
			stroke(d->c, x, at_y(d, s->lo[i]), x, y, s->color);
	}
}

static void
draw_ribbons(const struct field *d, const struct figure_series *s)
{
	for (long i = 0; i < s->n; i++)
		stroke(d->c, at_x(d, 0), at_y(d, s->lo[i] + s->y[i] / 2), at_x(d, 1),
		       at_y(d, s->hi[i] + s->y[i] / 2), s->color);
}

static void
draw_heat(const struct field *d, const struct figure_heat *h)
{
	static const char *const wide[] = {"·", "░", "▒", "▓", "█"};
	static const char *const ascii[] = {".", "-", "+", "*", "#"};

	for (int y = 0; h->columns && y < d->lines; y++)
		for (int x = LABEL, c = 0; x < d->c->width; x++) {
			const double step = d->f->from + (double)(x - LABEL) /
								 (d->c->width - LABEL - 1) *
								 (d->f->to - d->f->from);
			const int r = y * h->rows / d->lines;
			double v;
			while (c + 1 < h->columns && step > h->x[c + 1])
				c++;
			v = h->v[(long)r * h->columns + c];
			if (!isnan(v)) {
				const int level = svg_level(h, v) * 5 / SVG_LEVELS;
				const char *t = d->c->unicode ? wide[level] : ascii[level];
				set(d->c, x, y + 1, t, (int)strlen(t), -1);
			}
		}
}

/* Into how many parts an axis of y is cut, at most. */
static int
parts(int lines)
{
	return lines < 6 ? 2 : lines / 3;
}

static void
draw_scale(const struct field *d, const struct figure_panel *p)
{
	const double tick = figure_tick(d->lo, d->hi, parts(d->lines), p->whole);
	char buf[NUM_TEXT];

	for (double y = ceil(d->lo / tick - 1e-9) * tick; y <= d->hi + tick / 1e6; y += tick) {
		const char *s = figure_number(buf, y, tick);
		print(d->c, LABEL - 2 - (int)strlen(s), (int)rint(at_y(d, y)) / down(d->c), s);
	}
}

/* at: what each name stands for on the y axis is its number plus this. */
static void
draw_names(const struct field *d, char *const *name, int n, double at)
{
	for (int i = 0; n <= d->lines && i < n; i++)
		print(d->c, LABEL - 2 - (int)strlen(name[i]),
		      (int)rint(at_y(d, i + at)) / down(d->c), name[i]);
}

static void
draw_shifts(const struct field *d)
{
	for (int i = 1; i < d->f->bands; i++)
		for (int y = 1; y <= d->lines; y++)
			set(d->c, (int)at_x(d, d->f->band[i].from) / across(d->c), y,
			    d->c->unicode ? "┊" : ":", d->c->unicode ? 3 : 1, FIGURE_GREY);
}

static void
draw_steps(const struct field *d)
{
	const double tick = figure_tick(d->f->from, d->f->to, (d->c->width - LABEL) / 10, true);
	char buf[NUM_TEXT];

	for (double x = ceil(d->f->from / tick) * tick; x <= d->f->to + tick / 1e6; x += tick) {
		const char *s = figure_number(buf, x, tick);
		const int n = (int)strlen(s);
		int col = (int)at_x(d, x) / across(d->c) - n / 2;
		col = col + n > d->c->width ? d->c->width - n : col;
		print(d->c, col, d->c->height - 1, s);
	}
}

static void
draw_panel(const struct figure *f, int k, int width, int lines, bool unicode, bool color, FILE *out)
{
	const struct figure_panel *p = &f->panel[k];
	const bool last = k + 1 == f->panels;
	struct canvas *c = canvas_new(width, lines + 1 + last, unicode, color);
	struct field d = {.f = f, .c = c, .down = p->down, .lines = lines};

	figure_span(p, parts(lines), &d.lo, &d.hi);
	print(c, 0, 0, p->title);
	if (!p->heat)
		draw_shifts(&d);
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < p->n; i++) {
			const struct figure_series *s = &p->series[i];
			const bool dots = s->look == FIGURE_DOTS || s->look == FIGURE_MARKED;
			if (s->look == FIGURE_BARS && !pass)
				draw_bars(&d, s);
			else if (s->look == FIGURE_SPANS && !pass)
				draw_spans(&d, s);
			else if (s->look == FIGURE_RIBBONS && !pass)
				draw_ribbons(&d, s);
			else if (s->look != FIGURE_DOTS && s->look < FIGURE_BARS && !pass)
				draw_line(&d, s);
			if (dots && pass)
				draw_symbols(&d, s);
		}
	if (p->heat)
		draw_heat(&d, p->heat);
	if (p->heat)
		draw_names(&d, p->heat->name, p->heat->rows, 0.5);
	else if (p->ticks)
		draw_names(&d, p->tick, p->ticks, 0);
	else if (*f->axis)
		draw_scale(&d, p);
	if (last && *f->axis)
		draw_steps(&d);
	flush(c, out);
	canvas_free(c);
}

/* --- legend --- */

static void
legend(const struct figure *f, bool unicode, bool color, FILE *out)
{
	double x[2] = {0, 1}, y[2] = {0, 0}, middle[1] = {0.5}, lo[2] = {-1, -1}, hi[2] = {1, 1};
	struct figure axis = {.from = 0, .to = 1};
	int named = 0;

	for (int k = 0; k < f->panels; k++)
		for (int i = 0; i < f->panel[k].n; i++) {
			struct figure_series s = f->panel[k].series[i];
			struct canvas *c;
			struct field d;
			if (!*s.name || figure_repeated(f, k, i) || named++ >= 12)
				continue;
			c = canvas_new(LABEL + 6, 3, unicode, color);
			d = (struct field){.f = &axis, .c = c, .lo = -1, .hi = 1, .lines = 1};
			s.n = 2;
			s.x = x;
			s.y = y;
			if (s.look == FIGURE_BARS) {
				s.lo = lo;
				s.hi = hi;
				s.width = 1;
				s.n = 1;
				s.x = middle;
				draw_bars(&d, &s);
			} else if (s.look != FIGURE_DOTS) {
				draw_line(&d, &s);
			}
			s.n = 1;
			s.x = middle;
			if (s.look == FIGURE_DOTS || s.look == FIGURE_MARKED)
				draw_symbols(&d, &s);
			for (int at = LABEL; at < c->width; at++)
				put_cell(c, c->width + at, out);
			fprintf(out, "  %s\n", s.name);
			canvas_free(c);
		}
}

/* Words on lines of at most so many bytes. */
static void
wrap(const char *s, int width, FILE *out)
{
	int column = 0;

	while (*s) {
		const int n = (int)strcspn(s, " ");
		if (column && column + 1 + n > width) {
			putc('\n', out);
			column = 0;
		}
		column += fprintf(out, "%s%.*s", column ? " " : "", n, s);
		s += n + (s[n] == ' ');
	}
	putc('\n', out);
}

void
term_write(const struct figure *f, int width, int height, bool unicode, bool color, FILE *out)
{
	double all = 0;

	for (int k = 0; k < f->panels; k++)
		all += f->panel[k].height;
	fprintf(out, "%s\n", f->title);
	for (int k = 0; k < f->panels; k++) {
		const int share = (int)(f->panel[k].height / all * (height - 4 - f->panels));
		draw_panel(f, k, width, share > 4 ? share : 4, unicode, color, out);
	}
	legend(f, unicode, color, out);
	for (int i = 0; i < f->bands && f->bands > 1; i++)
		fprintf(out, "%s%.0f %s%s", i ? ", " : "  from step ", f->band[i].from,
			f->band[i].name, i + 1 < f->bands ? "" : "\n");
	if (f->note)
		wrap(f->note, width, out);
}
