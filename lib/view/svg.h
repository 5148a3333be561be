#ifndef VIEW_SVG_H
#define VIEW_SVG_H
#include "view/figure.h"

/*
 * A figure as SVG: for light paper by its attributes, for a page that has other colours by its
 * classes (s0 to s7 the series, t text, ...).  The same figure gives the same bytes.
 *
 * Panels are <g class="panel" data-box="X Y WIDTH HEIGHT" data-y="LO HI">, in pixels of the
 * viewBox, and the picture has data-x="FROM TO": enough for a script to find what is pointed at.
 */
enum { SVG_WIDE = 760, SVG_NARROW = 400 };

/* A document of its own, or (alone false) an element for a page. */
void svg_write(const struct figure *f, int width, bool alone, FILE *out);

enum { SVG_LEVELS = 48 }; /* of a heat map's scale */
/* The level of a value, 0 to SVG_LEVELS - 1. */
int svg_level(const struct figure_heat *h, double v);

#endif
