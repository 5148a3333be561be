#include "view/svg.h"
#include "base/mem.h"
#include "base/num.h"
#include "view/escape.h"
#include "view/png.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FONT = 12, ROW = 18, PAD = 12, BOTTOM = 38, COLORS = 8, DASHES = 6, LEGEND = 12 };
/* Curves are named at their ends, in lines so high, in pictures at least so wide. */
enum { LINE = 14, ROOMY = 560 };
enum { MARKS = 80 };  /* points of a curve that have symbols; of longer ones none has */
enum { NAMES = 300 }; /* points of a panel that have names; of more none has */

/* Dark enough for letters, and of different darkness, too, where all are grey. */
static const char *const color_of[COLORS] = {"#1f5fa8", "#b8480f", "#1d7044", "#7a3fb0",
					     "#a82a3c", "#0b6e7a", "#76581d", "#545d69"};
static const char *const deed_of[] = {"#646d79", "#6a45b8", "#e2705a", "#e8a92f", "#3d9a74"};
static const char *const dash_of[DASHES] = {"", "7 3", "2.5 2.5", "9 3 2 3", "4.5 2", "1 3"};
static const char *const shade_of[] = {"none", "#f3ecdc", "#e4edf6", "#e9f3e4", "#f2e6f0"};
enum { SHADES = sizeof shade_of / sizeof *shade_of };

struct draw {
	const struct figure *f;
	FILE *out;
	double width, left, right; /* pixels: the whole, and the ends of x */
	bool labels;		   /* curves are named at their ends, not in a legend */
};

/* The place of a panel: pixels of its plotted part, and the ends of y. */
struct box {
	double top, height, lo, hi;
	bool down;
};

static void
px(FILE *out, double v)
{
	const double t = rint(v * 10);

	if (fmod(t, 10) == 0)
		fprintf(out, "%.0f", t / 10 + 0.0);
	else
		fprintf(out, "%.1f", t / 10);
}

static void
attribute(FILE *out, const char *name, double v)
{
	fprintf(out, " %s=\"", name);
	px(out, v);
	putc('"', out);
}

static double
at_x(const struct draw *d, double x)
{
	return d->left + (x - d->f->from) / (d->f->to - d->f->from) * (d->right - d->left);
}

static double
at_y(const struct box *b, double y)
{
	const double share = (y - b->lo) / (b->hi - b->lo);

	return b->down ? b->top + share * b->height : b->top + (1 - share) * b->height;
}

/* Of Helvetica, by its mean widths; too wide rather than too narrow. */
static double
text_width(const char *s)
{
	double n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) == 0x80 ? 0 : strchr("iljtf.,:; '()|I", *s) ? 3.7 : 6.9;
	return n;
}

/* What stands on a line of letters: its left end, base and width. */
struct place {
	double x, y, w;
};

static bool
fits(const struct place *v, int n, const struct place *one)
{
	for (int i = 0; i < n; i++)
		if (fabs(v[i].y - one->y) < LINE - 3 && one->x < v[i].x + v[i].w &&
		    v[i].x < one->x + one->w)
			return false;
	return true;
}

static void
put_text(const struct draw *d, double x, double y, const char *anchor, const char *class,
	 const char *s)
{
	fprintf(d->out, "<text class=\"%s\" fill=\"%s\"", class, *class == 't' ? "#222" : "#555");
	attribute(d->out, "x", x);
	attribute(d->out, "y", y);
	if (*anchor)
		fprintf(d->out, " text-anchor=\"%s\"", anchor);
	if (!strcmp(class, "th"))
		fputs(" font-weight=\"600\"", d->out);
	putc('>', d->out);
	escape_xml(d->out, s);
	fputs("</text>\n", d->out);
}

static void
put_line(const struct draw *d, double x1, double y1, double x2, double y2, const char *class,
	 const char *stroke, const char *more)
{
	fprintf(d->out, "<path class=\"%s\" stroke=\"%s\"%s d=\"M", class, stroke, more);
	px(d->out, x1);
	putc(' ', d->out);
	px(d->out, y1);
	putc('L', d->out);
	px(d->out, x2);
	putc(' ', d->out);
	px(d->out, y2);
	fputs("\"/>\n", d->out);
}

static void
put_rect(const struct draw *d, double x, double y, double w, double h)
{
	attribute(d->out, "x", x);
	attribute(d->out, "y", y);
	attribute(d->out, "width", fmax(w, 0.1));
	attribute(d->out, "height", fmax(h, 0.1));
}

/* --- colours --- */

static const char *
paint(const struct figure_series *s, char class[16])
{
	if (s->color >= FIGURE_GREY) {
		snprintf(class, 16, "d%d", s->color - FIGURE_GREY);
		return deed_of[s->color - FIGURE_GREY];
	}
	snprintf(class, 16, "s%d", s->color % COLORS);
	return color_of[s->color % COLORS];
}

/* Colours of the levels from low to high, as 0xRRGGBB. */
static void
scale_colours(unsigned rgb[SVG_LEVELS])
{
	static const unsigned stop[] = {0xf7f3e3, 0xd8ecc3, 0x9fd6b8, 0x57b9c1,
					0x2d8fbd, 0x2a5ba5, 0x1c2a6e};
	enum { PARTS = sizeof stop / sizeof *stop - 1 };

	for (int i = 0; i < SVG_LEVELS; i++) {
		const double at = (double)i / (SVG_LEVELS - 1) * PARTS;
		const int k = at < PARTS ? (int)at : PARTS - 1;
		rgb[i] = 0;
		for (int shift = 16; shift >= 0; shift -= 8) {
			/* cppcheck-suppress arrayIndexOutOfBounds ; k < PARTS */
			const double a = stop[k] >> shift & 255, b = stop[k + 1] >> shift & 255;
			rgb[i] |= (unsigned)rint(a + (at - k) * (b - a)) << shift;
		}
	}
}

int
svg_level(const struct figure_heat *h, double v)
{
	const double share = v > 0 ? (log2(v) - h->lo) / (h->hi - h->lo) : 0;

	return (int)rint(fmin(fmax(share, 0), 1) * (SVG_LEVELS - 1));
}

/* --- symbols and series --- */

static void
shape(FILE *out, int symbol, double x, double y, double r)
{
	static const char *const path[] = {[FIGURE_NONE] = "",
					   [FIGURE_CIRCLE] = "m-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z",
					   [FIGURE_UP] = "m0-1.15l1.1 1.95h-2.2z",
					   [FIGURE_DOWN] = "m0 1.15l1.1-1.95h-2.2z",
					   [FIGURE_DIAMOND] =
						   "m0-1.25l1.1 1.25l-1.1 1.25l-1.1-1.25z",
					   [FIGURE_SQUARE] = "m-.9-.9h1.8v1.8h-1.8z",
					   [FIGURE_CROSS] = "m-.9-.9l1.8 1.8m0-1.8l-1.8 1.8",
					   [FIGURE_RING] = "m-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z"};

	fputs("<path transform=\"translate(", out);
	px(out, x);
	putc(' ', out);
	px(out, y);
	fprintf(out, ")scale(%.3g)\" d=\"M0 0%s\"", r, path[symbol]);
	if (symbol == FIGURE_CROSS || symbol == FIGURE_RING)
		fprintf(out, " fill=\"none\" stroke-width=\"%.3g\"", 1.5 / r);
	fputs("/>", out);
}

/* A group of symbols in the colour of the series. */
static void
begin_symbols(FILE *out, const struct figure_series *s)
{
	char class[16];
	const char *color = paint(s, class);

	fprintf(out, "<g class=\"%s f\" fill=\"%s\" stroke=\"%s\" stroke-width=\"0\">", class,
		color, color);
}

static void
draw_symbols(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	const double r = s->n > 400 ? 2 : s->look == FIGURE_DOTS ? 4 : 2.8;

	begin_symbols(d->out, s);
	for (long i = 0; i < s->n; i++)
		shape(d->out, s->symbol, at_x(d, s->x[i]), at_y(b, s->y[i]), r);
	fputs("</g>\n", d->out);
}

static void
draw_whiskers(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	char class[16];
	const char *color = paint(s, class);

	if (!s->lo)
		return;
	fprintf(d->out, "<path class=\"%s\" stroke=\"%s\" fill=\"none\" d=\"", class, color);
	for (long i = 0; i < s->n; i++)
		if (!isnan(s->lo[i])) {
			fputs("M", d->out);
			px(d->out, at_x(d, s->x[i]));
			putc(' ', d->out);
			px(d->out, at_y(b, fmax(s->lo[i], b->lo)));
			fputs("V", d->out);
			px(d->out, at_y(b, s->hi[i]));
			fputs("m-3 0h6", d->out);
		}
	fputs("\"/>\n", d->out);
}

/* The band from lo to hi: up along one edge, back along the other. */
static void
draw_band(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	char class[16];
	const char *color = paint(s, class);

	fprintf(d->out,
		"<path class=\"%s f band\" fill=\"%s\" fill-opacity=\".18\" stroke=\"none\" d=\"",
		class, color);
	for (long i = 0, from; s->lo && i < s->n; i++) {
		if (isnan(s->lo[i]))
			continue;
		for (from = i; i < s->n && !isnan(s->lo[i]); i++) {
			putc(i == from ? 'M' : 'L', d->out);
			px(d->out, at_x(d, s->x[i]));
			putc(' ', d->out);
			px(d->out, at_y(b, s->hi[i]));
			if (s->look == FIGURE_STEPS && i + 1 < s->n) {
				putc('H', d->out);
				px(d->out, at_x(d, s->x[i + 1]));
			}
		}
		for (long k = i; k-- > from;) {
			putc('L', d->out);
			px(d->out, at_x(d, s->x[k]));
			putc(' ', d->out);
			px(d->out, at_y(b, s->lo[k]));
			if (s->look == FIGURE_STEPS && k > from) {
				putc('V', d->out);
				px(d->out, at_y(b, s->lo[k - 1]));
			}
		}
		putc('z', d->out);
	}
	fputs("\"/>\n", d->out);
}

static void
draw_line(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	char class[16];
	const char *color = paint(s, class);

	fprintf(d->out, "<path class=\"%s line\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"",
		class, color, s->faint ? "1.1" : "1.7");
	if (s->dash % DASHES)
		fprintf(d->out, " stroke-dasharray=\"%s\"", dash_of[s->dash % DASHES]);
	fputs(" stroke-linejoin=\"round\" d=\"", d->out);
	for (long i = 0; i < s->n; i++) {
		if (i && s->look == FIGURE_STEPS) {
			putc('H', d->out);
			px(d->out, at_x(d, s->x[i]));
			putc('V', d->out);
			px(d->out, at_y(b, s->y[i]));
			continue;
		}
		putc(i ? 'L' : 'M', d->out);
		px(d->out, at_x(d, s->x[i]));
		putc(' ', d->out);
		px(d->out, at_y(b, s->y[i]));
	}
	fputs("\"/>\n", d->out);
}

static void
draw_bars(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	char class[16];
	const char *color = paint(s, class);
	const double w = at_x(d, s->width) - at_x(d, 0), gap = w > 4 ? 1 : 0;

	fprintf(d->out,
		"<g class=\"%s f\" fill=\"%s\" stroke=\"#000\" stroke-opacity=\".35\" "
		"stroke-width=\".5\">",
		class, color);
	for (long i = 0; i < s->n; i++) {
		const double y1 = at_y(b, s->lo[i]), y2 = at_y(b, s->hi[i]);
		fputs("<rect", d->out);
		put_rect(d, at_x(d, s->x[i]) - w / 2 + gap / 2, fmin(y1, y2), w - gap,
			 fabs(y1 - y2));
		fputs("/>", d->out);
	}
	fputs("</g>\n", d->out);
}

/* Names of bars beside them, on the side of the picture that they are nearer to. */
static void
name_bars(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	for (long i = 0; s->label && i < s->n; i++) {
		const double top = at_y(b, s->lo[i]), bottom = at_y(b, s->hi[i]);
		const bool right = s->x[i] > (d->f->from + d->f->to) / 2;
		const double half = at_x(d, s->width / 2) - at_x(d, 0) + 5;
		if (fabs(bottom - top) >= 5)
			put_text(d, at_x(d, s->x[i]) + (right ? half : -half),
				 (top + bottom) / 2 + 4, right ? "" : "end", "u", s->label[i]);
	}
}

/* From x = 0 to 1, level at both ends. */
static void
draw_ribbons(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	char class[16];
	const char *color = paint(s, class);
	const double x0 = at_x(d, 0), x1 = at_x(d, 1), middle = (x0 + x1) / 2;

	fprintf(d->out, "<g class=\"%s f band\" fill=\"%s\" fill-opacity=\".38\" stroke=\"none\">",
		class, color);
	for (long i = 0; i < s->n; i++) {
		const double y[] = {at_y(b, s->lo[i]), at_y(b, s->hi[i]),
				    at_y(b, s->hi[i] + s->y[i]), at_y(b, s->lo[i] + s->y[i])};
		fprintf(d->out, "<path d=\"M%.1f %.2fC%.1f %.2f %.1f %.2f %.1f %.2f", x0, y[0],
			middle, y[0], middle, y[1], x1, y[1]);
		fprintf(d->out, "V%.2fC%.1f %.2f %.1f %.2f %.1f %.2fz\"/>", y[2], middle, y[2],
			middle, y[3], x0, y[3]);
	}
	fputs("</g>\n", d->out);
}

static void
draw_spans(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	char class[16];
	const char *color = paint(s, class);
	const double space = fabs(at_y(b, 1) - at_y(b, 0));

	fprintf(d->out,
		"<path class=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1\" "
		"stroke-opacity=\".7\" d=\"",
		class, color);
	for (long i = 0; i < s->n; i++)
		if (!isnan(s->lo[i])) {
			putc('M', d->out);
			px(d->out, at_x(d, s->x[i]));
			putc(' ', d->out);
			px(d->out, at_y(b, s->lo[i]));
			putc('V', d->out);
			px(d->out, at_y(b, s->y[i]));
		}
	fprintf(d->out, "\"/><path class=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"", class,
		color);
	px(d->out, fmin(fmax(space / 3, 0.8), 3.5));
	fputs("\" d=\"", d->out);
	for (long i = 0; i < s->n; i++) {
		putc('M', d->out);
		px(d->out, at_x(d, s->x[i]));
		putc(' ', d->out);
		px(d->out, at_y(b, s->y[i]));
		putc('H', d->out);
		px(d->out, fmax(at_x(d, s->hi[i]), at_x(d, s->x[i]) + 0.5));
	}
	fputs("\"/>\n", d->out);
	begin_symbols(d->out, s);
	for (long i = 0; s->mark && i < s->n; i++)
		if (s->mark[i])
			shape(d->out, s->mark[i], at_x(d, s->hi[i]), at_y(b, s->y[i]),
			      fmin(fmax(space / 3, 1.5), 3.6));
	fputs("</g>\n", d->out);
}

static void
draw_series(const struct draw *d, const struct box *b, const struct figure_series *s)
{
	switch (s->look) {
	case FIGURE_STEPS:
	case FIGURE_LINE:
		if (s->lo)
			draw_band(d, b, s);
		draw_line(d, b, s);
		break;
	case FIGURE_DOTS:
		draw_whiskers(d, b, s);
		draw_symbols(d, b, s);
		break;
	case FIGURE_MARKED:
		draw_whiskers(d, b, s);
		draw_line(d, b, s);
		if (s->n <= MARKS)
			draw_symbols(d, b, s);
		break;
	case FIGURE_BARS:
		draw_bars(d, b, s);
		name_bars(d, b, s);
		break;
	case FIGURE_SPANS: draw_spans(d, b, s); break;
	case FIGURE_RIBBONS: draw_ribbons(d, b, s); break;
	}
}

/* --- heat maps --- */

/* Whether all columns are as wide as the second: the first may have begun earlier. */
static bool
even(const struct figure_heat *h)
{
	for (int c = 1; c < h->columns; c++)
		if (fabs((h->x[c + 1] - h->x[c]) - (h->x[1] - h->x[0])) > 1e-6)
			return false;
	return true;
}

/* Columns of equal width, as an image has: those of the map, or as many as are seen. */
static void
draw_heat(const struct draw *d, const struct box *b, const struct figure_heat *h)
{
	enum { SEEN = 640 };
	const int width = even(h) ? h->columns : SEEN;
	const double from = h->x[0], to = h->x[h->columns];
	unsigned char *pixel = mem_zero((size_t)width * h->rows + 1, 1);
	unsigned rgb[SVG_LEVELS];

	if (!h->rows || !h->columns)
		return;
	scale_colours(rgb);
	for (int i = 0, c = 0; i < width; i++) {
		const double x = from + (i + 0.5) / width * (to - from);
		while (c + 1 < h->columns && x > h->x[c + 1])
			c++;
		for (int r = 0; r < h->rows; r++) {
			const double v = h->v[(long)r * h->columns + c];
			pixel[(long)r * width + i] =
				isnan(v) ? 0 : (unsigned char)(1 + svg_level(h, v));
		}
	}
	fputs("<image class=\"heat\" preserveAspectRatio=\"none\" "
	      "style=\"image-rendering:pixelated\"",
	      d->out);
	put_rect(d, at_x(d, from), b->top, at_x(d, to) - at_x(d, from), b->height);
	fputs(" href=\"", d->out);
	png_uri(d->out, pixel, width, h->rows, rgb, SVG_LEVELS);
	fputs("\"/>\n", d->out);
	free(pixel);
}

static void
draw_rows(const struct draw *d, const struct box *b, const struct figure_heat *h)
{
	const double space = b->height / (h->rows ? h->rows : 1);

	for (int r = 0; space >= 9 && r < h->rows; r++)
		put_text(d, d->left - 6, b->top + (r + 0.5) * space + 4, "end", "u row",
			 h->name[r]);
}

/* --- axes --- */

static void
draw_bands(const struct draw *d, double top, double bottom, bool heat)
{
	for (int i = 0; i < d->f->bands; i++) {
		const struct figure_band *v = &d->f->band[i];
		const double x = at_x(d, v->from), w = at_x(d, fmin(v->to, d->f->to)) - x;
		const int shade = v->color ? 1 + (v->color - 1) % (SHADES - 1) : 0;
		if (shade && w > 0 && !heat) {
			fprintf(d->out, "<rect class=\"b%d\" fill=\"%s\"", shade, shade_of[shade]);
			put_rect(d, x, top, w, bottom - top);
			fputs("/>\n", d->out);
		}
	}
}

static void
draw_shifts(const struct draw *d, double top, double bottom)
{
	for (int i = 1; i < d->f->bands; i++) {
		const double x = at_x(d, d->f->band[i].from);
		put_line(d, x, top, x, bottom, "v", "#444",
			 " stroke-width=\"1\" stroke-dasharray=\"5 3\"");
	}
	for (int i = 0; i < d->f->marks; i++) {
		const double x = at_x(d, d->f->mark[i].x);
		put_line(d, x, top, x, bottom, "v", "#444",
			 " stroke-width=\"1\" stroke-dasharray=\"1 2\"");
	}
}

static void
name_bands(const struct draw *d, double y)
{
	struct place *taken = mem_zero((size_t)(d->f->bands + d->f->marks) + 1, sizeof *taken);
	int named = 0;

	for (int i = 0; i < d->f->bands; i++) {
		const struct figure_band *v = &d->f->band[i];
		const double x = at_x(d, v->from), w = at_x(d, fmin(v->to, d->f->to)) - x;
		char *s;
		size_t n = strlen(v->name);
		if (!*v->name || w < 28)
			continue;
		s = mem_copy(v->name);
		while (n > 1 && text_width(s) > w - 4) {
			while (n > 1 && (s[n - 1] & 0xc0) == 0x80)
				n--;
			s[--n] = 0;
		}
		put_text(d, x + w / 2, y, "middle", "u", s);
		taken[named++] = (struct place){x + w / 2 - text_width(s) / 2, y, text_width(s)};
		free(s);
	}
	for (int i = 0; i < d->f->marks; i++) {
		const char *name = d->f->mark[i].name;
		const double w = text_width(name), x = at_x(d, d->f->mark[i].x);
		const struct place here = {x - w / 2, y, w};
		if (!fits(taken, named, &here))
			continue;
		taken[named++] = here;
		put_text(d, x, y, "middle", "u", name);
	}
	free(taken);
}

static void
draw_names(const struct draw *d, const struct box *b, const struct figure_panel *p)
{
	const double space = fabs(at_y(b, 1) - at_y(b, 0));

	for (int i = 0; space >= 9 && i < p->ticks; i++)
		put_text(d, d->left - 6, at_y(b, i) + 4, "end", "u", p->tick[i]);
}

/* Into how many parts an axis of y is cut, at most. */
static int
parts(double height)
{
	return (int)fmax(height / 28, 3);
}

static void
draw_ticks(const struct draw *d, const struct box *b, const struct figure_panel *p)
{
	const double tick = figure_tick(b->lo, b->hi, parts(b->height), p->whole);
	char buf[NUM_TEXT];

	for (double y = ceil(b->lo / tick - 1e-9) * tick; y <= b->hi + tick / 1e6; y += tick) {
		put_line(d, d->left, at_y(b, y), d->right, at_y(b, y), "g", "#dcdcdc",
			 " stroke-width=\".7\"");
		put_text(d, d->left - 6, at_y(b, y) + 4, "end", "u", figure_number(buf, y, tick));
	}
}

static void
draw_steps(const struct draw *d, double y)
{
	const double tick =
		figure_tick(d->f->from, d->f->to, (int)((d->right - d->left) / 64), true);
	char buf[NUM_TEXT];

	for (double x = ceil(d->f->from / tick) * tick; x <= d->f->to + tick / 1e6; x += tick) {
		put_line(d, at_x(d, x), y, at_x(d, x), y + 4, "a", "#444", "");
		put_text(d, at_x(d, x), y + 16, "middle", "u", figure_number(buf, x, tick));
	}
	put_text(d, (d->left + d->right) / 2, y + 33, "middle", "t", d->f->axis);
}

/* --- legend --- */

static bool
in_legend(const struct figure *f, const struct figure_series *s)
{
	int faint = 0;

	for (int k = 0; s->faint && k < f->panels; k++)
		for (int i = 0; i < f->panel[k].n; i++)
			faint += f->panel[k].series[i].faint;
	return *s->name && faint <= LEGEND;
}

static bool
is_curve(const struct figure_series *s)
{
	return s->n &&
	       (s->look == FIGURE_LINE || s->look == FIGURE_STEPS || s->look == FIGURE_MARKED);
}

/* Whether a curve reaches the end of its panel's curves: there its name can stand. */
static bool
lasts(const struct figure_panel *p, const struct figure_series *s)
{
	double last = 0;

	for (int i = 0; i < p->n; i++)
		if (p->series[i].n)
			last = fmax(last, p->series[i].x[p->series[i].n - 1]);
	return s->x[s->n - 1] >= 0.95 * last;
}

/* Width of the names at the ends of curves; 0 if not all can be named there. */
static double
label_width(const struct figure *f, double width)
{
	double most = 0;

	for (int k = 0; k < f->panels; k++) {
		const struct figure_panel *p = &f->panel[k];
		int n = 0;
		for (int i = 0; i < p->n; i++) {
			const struct figure_series *s = &p->series[i];
			if (!in_legend(f, s) || (s->faint && !lasts(p, s)))
				continue;
			if (!is_curve(s) || !lasts(p, s))
				return 0;
			most = fmax(most, text_width(s->name));
			n++;
		}
		if (n * LINE > p->height + LINE || p->heat)
			return 0;
	}
	return width >= ROOMY && most <= 190 ? most : 0;
}

/* Names at the ends of curves, moved apart where they would overlap. */
static void
label_curves(const struct draw *d, const struct box *b, const struct figure_panel *p)
{
	int *order = mem_zero((size_t)p->n + 1, sizeof *order), n = 0;
	double *y = mem_zero((size_t)p->n + 1, sizeof *y), most = b->top + b->height + 2;

	for (int i = 0; i < p->n; i++) {
		const struct figure_series *s = &p->series[i];
		int k = n;
		if (!in_legend(d->f, s) || !lasts(p, s))
			continue;
		const double at = at_y(b, s->y[s->n - 1]);
		for (n++; k && y[k - 1] > at; k--) {
			y[k] = y[k - 1];
			order[k] = order[k - 1];
		}
		y[k] = at;
		order[k] = i;
	}
	for (int k = 1; k < n; k++)
		y[k] = fmax(y[k], y[k - 1] + LINE);
	for (int k = n; k-- > 0; most -= LINE)
		y[k] = fmin(y[k], most);
	for (int k = 0; k < n; k++) {
		const struct figure_series *s = &p->series[order[k]];
		char class[16];
		const char *color = paint(s, class);
		fprintf(d->out, "<text class=\"%s f l\" fill=\"%s\" stroke=\"none\"", class, color);
		attribute(d->out, "x", d->right + 6);
		attribute(d->out, "y", y[k] + 4);
		putc('>', d->out);
		escape_xml(d->out, s->name);
		fputs("</text>\n", d->out);
	}
	free(order);
	free(y);
}

static void
draw_sample(const struct draw *d, double x, double y, const struct figure_series *s)
{
	struct draw at = *d;
	struct figure one = {.from = 0, .to = 1};
	double ends[2] = {0, 1}, py[2] = {0, 0}, lo[2] = {-1, -1}, hi[2] = {1, 1};
	struct figure_series sample = *s;
	const struct box b = {y - 4, 8, -1, 1, false};

	at.f = &one;
	at.left = x;
	at.right = x + 24;
	sample.n = 2;
	sample.x = ends;
	sample.y = py;
	sample.lo = s->lo ? lo : NULL;
	sample.hi = s->lo ? hi : NULL;
	sample.mark = NULL;
	if (s->look == FIGURE_DOTS || s->look == FIGURE_MARKED) {
		sample.lo = NULL;
		ends[0] = 0.5;
		sample.n = 1;
	} else if (s->look == FIGURE_BARS) {
		ends[0] = 0.5;
		sample.width = 0.55;
		sample.n = 1;
	}
	if (s->look == FIGURE_MARKED) {
		struct figure_series line = sample;
		double both[2] = {0, 1};
		line.x = both;
		line.n = 2;
		draw_line(&at, &b, &line);
		draw_symbols(&at, &b, &sample);
	} else if (s->look != FIGURE_SPANS) {
		draw_series(&at, &b, &sample);
	}
}

/* The boxes of a heat map's scale with the values at its ends and middle. */
static double
draw_scale(const struct draw *d, const struct figure_heat *h, double y, bool dry)
{
	static const char *const name[] = {"0", "\u00bc", "\u00bd", "1", "2", "4", "8"};
	unsigned rgb[SVG_LEVELS];
	const double w = 26, left = d->left + text_width(h->scale) + 24;

	if (dry)
		return 2 * ROW;
	scale_colours(rgb);
	put_text(d, d->left, y + 11, "", "t", h->scale);
	for (int i = 0; i < 7; i++) {
		fprintf(d->out,
			"<rect class=\"heat\" fill=\"#%06x\" stroke=\"#999\" stroke-width=\".5\"",
			rgb[i * (SVG_LEVELS - 1) / 6]);
		put_rect(d, left + w * i, y + 2, w, 10);
		fputs("/>", d->out);
		put_text(d, left + w * (i + 0.5), y + 25, "middle", "u", name[i]);
	}
	return 2 * ROW;
}

/* Height of the legend; dry: only that. */
static double
draw_legend(const struct draw *d, double y, bool dry)
{
	double x = d->left, top = y;
	bool any = false;

	for (int k = 0; k < d->f->panels; k++) {
		const struct figure_panel *p = &d->f->panel[k];
		if (p->heat && p->heat->rows)
			return draw_scale(d, p->heat, y, dry);
		for (int i = 0; i < p->n; i++) {
			const struct figure_series *s = &p->series[i];
			const double w = 24 + 6 + text_width(s->name) + 14;
			if (d->labels || !in_legend(d->f, s) || figure_repeated(d->f, k, i))
				continue;
			if (any && x + w > (d->f->square ? d->width : d->right)) {
				x = d->left;
				y += ROW;
			}
			any = true;
			if (!dry) {
				draw_sample(d, x, y + 7, s);
				put_text(d, x + 30, y + 11, "", "t", s->name);
			}
			x += w;
		}
	}
	return any ? y + ROW - top : 0;
}

/* --- the whole --- */

enum { NODE = 54 }; /* width of a node's name */

static double
left_margin(const struct figure *f)
{
	double most = !f->square ? 36 : f->panels && f->panel[0].heat ? 20 : 0;

	for (int k = 0; k < f->panels; k++) {
		const struct figure_panel *p = &f->panel[k];
		for (int i = 0; i < p->ticks; i++)
			most = fmax(most, text_width(p->tick[i]));
		for (int i = 0; i < p->n; i++)
			if (p->series[i].look == FIGURE_RIBBONS)
				most = fmax(most, NODE);
	}
	return fmin(most, 90) + 12;
}

/* The other end of x, for names at the ends of curves and of ribbons. */
static double
right_end(const struct draw *d)
{
	const struct figure *f = d->f;

	if (f->square && f->panels)
		return d->left + f->panel[0].height;
	if (!*f->axis)
		return d->width - PAD - NODE;
	return d->width - PAD - 4 - (d->labels ? label_width(f, d->width) + 6 : 0);
}

/* What is above the plotted part of a panel: its title and, at the first, names of domains. */
enum { HEAD = 32, DOMAIN_ROW = 15, GAP = 36 };

static bool
named(const struct figure *f)
{
	for (int i = 0; i < f->bands; i++)
		if (*f->band[i].name)
			return true;
	return f->marks > 0;
}

/* Squares stand side by side, as many as there is room for; other panels under each other. */
static int
abreast(const struct draw *d)
{
	const double wide = d->right - d->left + GAP;

	return d->f->square ? (int)fmax((d->width - PAD - d->left + GAP) / wide, 1) : 1;
}

/* Numbers of experts beside their points, where they hide nothing. */
static void
name_points(const struct draw *d, const struct box *b, const struct figure_panel *p)
{
	struct place *taken;
	long points = 0;
	int n = 0;

	for (int i = 0; i < p->n; i++)
		points += p->series[i].label ? p->series[i].n : 0;
	if (points > NAMES)
		return;
	taken = mem_zero(2 * (size_t)points + 1, sizeof *taken);
	for (int i = 0; i < p->n; i++)
		for (long k = 0; p->series[i].label && k < p->series[i].n; k++)
			taken[n++] = (struct place){at_x(d, p->series[i].x[k]) - 4,
						    at_y(b, p->series[i].y[k]) + 4, 8};
	for (int i = 0, at = 0; i < p->n; i++)
		for (long k = 0; p->series[i].label && k < p->series[i].n; k++, at++) {
			const char *label = p->series[i].label[k];
			char name[24];
			struct place here;
			label += strncmp(label, "expert ", 7) ? 0 : 7;
			snprintf(name, sizeof name, "%.*s", (int)strcspn(label, ","), label);
			here = (struct place){taken[at].x + 10, taken[at].y, text_width(name)};
			if (here.x + here.w > d->right)
				here.x = taken[at].x - 2 - here.w;
			if (!fits(taken, n, &here))
				continue;
			taken[n++] = here;
			put_text(d, here.x, here.y, "", "u", name);
		}
	free(taken);
}

/* A frame, and its middle. */
static void
draw_square(const struct draw *d, const struct box *b)
{
	const double x = (d->left + d->right) / 2, y = b->top + b->height / 2;

	put_line(d, x, b->top, x, b->top + b->height, "g", "#dcdcdc", "");
	put_line(d, d->left, y, d->right, y, "g", "#dcdcdc", "");
	fputs("<rect class=\"g\" fill=\"none\" stroke=\"#dcdcdc\"", d->out);
	put_rect(d, d->left, b->top, d->right - d->left, b->height);
	fputs("/>\n", d->out);
}

static void
draw_panel(const struct draw *d, int k, double top)
{
	const struct figure_panel *p = &d->f->panel[k];
	struct box b = {.top = top, .height = p->height, .down = p->down};
	const double bottom = top + p->height;

	figure_span(p, parts(p->height), &b.lo, &b.hi);
	put_text(d, d->f->square ? d->left : 6, top - 10 - (k || !named(d->f) ? 0 : DOMAIN_ROW), "",
		 "th", p->title);
	if (!k)
		name_bands(d, top - 5);
	fputs("<g class=\"panel\" data-box=\"", d->out);
	px(d->out, d->left);
	putc(' ', d->out);
	px(d->out, top);
	putc(' ', d->out);
	px(d->out, d->right - d->left);
	putc(' ', d->out);
	px(d->out, p->height);
	fprintf(d->out, "\" data-y=\"%.9g %.9g\">\n", p->down ? b.hi : b.lo, p->down ? b.lo : b.hi);
	draw_bands(d, top, bottom, p->heat);
	if (p->heat) {
		draw_heat(d, &b, p->heat);
		draw_rows(d, &b, p->heat);
	} else if (p->ticks) {
		draw_names(d, &b, p);
	} else if (*d->f->axis) {
		draw_ticks(d, &b, p);
	} else if (d->f->square) {
		draw_square(d, &b);
	}
	draw_shifts(d, top, bottom);
	for (int i = 0; i < p->n; i++)
		draw_series(d, &b, &p->series[i]);
	if (d->labels)
		label_curves(d, &b, p);
	if (d->f->square)
		name_points(d, &b, p);
	if (*d->f->axis)
		put_line(d, d->left, bottom, d->right, bottom, "a", "#444", "");
	fputs("</g>\n", d->out);
}

static double
height_of(const struct draw *d, double legend)
{
	double h = PAD + legend + (legend > 0 ? 6 : 0) + (named(d->f) ? DOMAIN_ROW : 0) +
		   (*d->f->axis ? BOTTOM : PAD);

	for (int k = 0; k < d->f->panels; k += abreast(d))
		h += HEAD + d->f->panel[k].height + (k ? 4 : 0);
	return h;
}

void
svg_write(const struct figure *f, int width, bool alone, FILE *out)
{
	struct draw d = {.f = f, .out = out, .width = width, .left = left_margin(f)};
	double y = PAD, legend, height;

	d.labels = label_width(f, width) > 0;
	d.right = right_end(&d);
	legend = draw_legend(&d, 0, true);
	height = height_of(&d, legend);

	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\"", width,
		height);
	if (alone)
		fprintf(out, " width=\"%d\" height=\"%.0f\"", width, height);
	fprintf(out, " font-family=\"Helvetica,Arial,sans-serif\" font-size=\"%d\" role=\"img\" ",
		FONT);
	fprintf(out, "data-x=\"%.9g %.9g\">\n<title>", f->from, f->to);
	escape_xml(out, f->title);
	fputs("</title>\n<desc>", out);
	escape_xml(out, f->about);
	if (f->note) {
		putc(' ', out);
		escape_xml(out, f->note);
	}
	fputs("</desc>\n", out);
	if (alone)
		fprintf(out, "<rect fill=\"#fff\" width=\"%d\" height=\"%.0f\"/>\n", width, height);
	draw_legend(&d, y, false);
	y += legend + (legend > 0 ? 6 : 0) + (named(f) ? DOMAIN_ROW : 0);
	for (int k = 0, row = abreast(&d); k < f->panels; k += row) {
		struct draw at = d;
		y += HEAD + (k ? 4 : 0);
		for (int i = k; i < k + row && i < f->panels; i++) {
			draw_panel(&at, i, y);
			at.left += d.right - d.left + GAP;
			at.right += d.right - d.left + GAP;
		}
		y += f->panel[k].height;
	}
	if (*f->axis)
		draw_steps(&d, y);
	fputs("</svg>\n", out);
}
