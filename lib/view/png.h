#ifndef VIEW_PNG_H
#define VIEW_PNG_H
#include <stdio.h>

/*
 * An image of at most 255 colours as a data URI ("data:image/png;base64,...").  pixel is
 * [height, width]; 0 is transparent, i the colour rgb[i - 1].
 */
void png_uri(FILE *out, const unsigned char *pixel, int width, int height, const unsigned *rgb,
	     int colors);

#endif
