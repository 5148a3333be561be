#ifndef VIEW_FIGURE_H
#define VIEW_FIGURE_H
#include <stdbool.h>
#include <stdio.h>

/*
 * A figure as data: what it shows, to be drawn by svg.h and term.h and told in numbers here.  All
 * panels share the x axis, which counts steps or whatever else the figure says.
 */
enum figure_look {
	FIGURE_LINE,   /* through (x, y); a band from lo to hi where they are given */
	FIGURE_STEPS,  /* the same as a staircase: y holds from x to the next */
	FIGURE_DOTS,   /* symbols at (x, y), joined by nothing */
	FIGURE_MARKED, /* symbols joined by a line; lo and hi are whiskers */
	FIGURE_BARS,   /* from lo to hi, over width around x; y is the value itself */
	FIGURE_SPANS,  /* from (x, y) to (hi, y), hanging from height lo at x if that is given */
	FIGURE_RIBBONS /* as high as y all the way from x = 0, where it begins at lo, to 1, at hi */
};

struct figure_series {
	char *name; /* "": not in the legend */
	enum figure_look look;
	int color;  /* from 0, see svg.h; FIGURE_BIRTH and so on; FIGURE_GREY */
	int dash;   /* a pattern of the line or the fill, from 0 (solid) */
	int symbol; /* enum figure_symbol */
	bool faint;
	long n;
	double *x, *y, *lo, *hi; /* lo, hi NULL: none */
	char **label;		 /* of each point, NULL: none */
	unsigned char *mark;	 /* SPANS: enum figure_symbol at the end, NULL: none */
	double width;		 /* BARS, in steps */
	long room;		 /* private */
};

enum { FIGURE_GREY = 1 << 28, FIGURE_BIRTH, FIGURE_DEATH, FIGURE_REPLACED, FIGURE_MOVE };
enum figure_symbol {
	FIGURE_NONE,
	FIGURE_CIRCLE,
	FIGURE_UP,
	FIGURE_DOWN,
	FIGURE_DIAMOND,
	FIGURE_SQUARE,
	FIGURE_CROSS,
	FIGURE_RING
};

/* Values by row and column: rows of experts, columns of census steps or of experts, too. */
struct figure_heat {
	int rows, columns;
	double *x;	    /* [columns + 1] edges */
	bool middle;	    /* a column's place is its middle, not its end */
	const char *unit;   /* of v: "fair shares" */
	const char *scale;  /* what the colours mean */
	double *v;	    /* [rows, columns], NAN: nothing there */
	double lo, hi;	    /* of the scale, which is of log2 v; what is beyond takes its ends */
	char **name;	    /* [rows] */
	double (*order)[4]; /* [rows] keys to sort by: slot, age, usage, family; NULL: none */
};

struct figure_panel {
	char *title;   /* what y is, with its unit */
	double lo, hi; /* of y; equal: fitted to the series */
	bool whole;    /* y are counts */
	bool down;     /* y grows downwards */
	double height; /* in pixels of the plotted part */
	int ticks;     /* names instead of numbers at y = 0, 1, ... ; 0: numbers */
	char **tick;
	int n;
	struct figure_series *series;
	struct figure_heat *heat; /* NULL: none */
};

struct figure_band {
	char *name;
	double from, to;
	int color; /* of the shade; 0 is none */
};

struct figure_mark {
	char *name;
	double x;
};

struct figure {
	const char *kind;
	char *title, *about; /* one line; a sentence or two on how to read it */
	char *missing;	     /* why there is nothing to draw; NULL if there is */
	char *note;	     /* what was left out or put together, NULL: nothing */
	const char *axis;    /* what x counts; "": nothing, and it has no ticks */
	bool square;	     /* x is as long as the panels are high */
	double from, to;     /* of x */
	int bands, marks, panels;
	struct figure_band *band;
	struct figure_mark *mark;
	struct figure_panel *panel;
};

struct figure *figure_new(const char *kind, const char *title, const char *about);
void figure_free(struct figure *f);
/* The first reason counts. */
void figure_missing(struct figure *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void figure_band(struct figure *f, const char *name, double from, double to, int color);
void figure_mark(struct figure *f, const char *name, double x);
void figure_drop(struct figure *f); /* the last panel */
/* Pointers hold until the next panel, or series of the panel, is added. */
struct figure_panel *figure_panel(struct figure *f, const char *title, double height);
struct figure_series *figure_series(struct figure_panel *p, const char *name, enum figure_look look,
				    int color);
/* Add (x, y), then what hangs on it: the point just added. */
void figure_point(struct figure_series *s, double x, double y);
void figure_range(struct figure_series *s, double lo, double hi);
void figure_label(struct figure_series *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Another sentence of the note, unless it is there. */
void figure_note(struct figure *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Ends of y for a panel: as given, or the ticks of an axis of n parts around what the series span.
 */
void figure_span(const struct figure_panel *p, int n, double *lo, double *hi);
/*
 * A step of 1, 2 or 5 times a power of ten that cuts [lo, hi] into at most n parts; at least 1 for
 * counts.
 */
double figure_tick(double lo, double hi, int n, bool whole);
/* A tick's number: 1500, 20k, 1.5M, 0.02; in buf of NUM_TEXT. */
const char *figure_number(char *buf, double v, double tick);

/* The numbers: CSV with the columns panel, series, step (x), value (y), low, high, label. */
void figure_csv(const struct figure *f, FILE *out);
/* The same as JSON, for a page's script; safe within <script>. */
void figure_json(const struct figure *f, FILE *out);

/* Has the series the name of one in an earlier panel or place?  A legend has each name once. */
bool figure_repeated(const struct figure *f, int panel, int series);

#endif
