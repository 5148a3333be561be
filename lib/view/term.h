#ifndef VIEW_TERM_H
#define VIEW_TERM_H
#include "view/figure.h"

/*
 * A figure for a terminal: `width` by about `height` characters.  Dots of Braille patterns and
 * blocks, or (unicode false) ASCII, where the first series is *, then o + x # @ %.  With color,
 * escape sequences for the 16 colours.
 */
void term_write(const struct figure *f, int width, int height, bool unicode, bool color, FILE *out);

#endif
