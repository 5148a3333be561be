#ifndef MODEL_CONV_H
#define MODEL_CONV_H
#include <stdbool.h>

/*
 * 3x3 and 1x1 convolutions of one image, without bias, with zeros around it, as matrix products.
 *
 * A plane is [H + 2][W + 2][C] floats, channels innermost, with a border of zeros one pixel wide.
 * In it the three neighbours of a pixel in a line are 3C floats in a row.  So a 3x3 convolution is
 * three products, one for each line of the filter, whose left rows overlap: that of pixel (y, x)
 * and line l begins at plane pixel (y + l, x) and is 3C long, the next begins C floats later.  The
 * products run over whole lines, border included, and the border is set back to zero.
 *
 * With stride 2 only even pixels have an output: H and W are even, and it has half of each.
 * Filters are [3][3][C][D], or [C][D].
 */
struct conv {
	int size; /* 3 or 1 */
	int stride;
	int height, width; /* of the input */
	int in, out;	   /* C, D */
};

/* Floats of a plane, with what the last products read behind it (which must be finite). */
long conv_plane(int height, int width, int channels);
/* Floats of scratch for any of the below. */
long conv_scratch(const struct conv *c);
long conv_filter(const struct conv *c); /* floats of the filter */

/* y = conv(x), its border zero; += with add, which is for 1x1 alone. */
void conv_forward(const struct conv *c, const float *filter, const float *x, float *y, bool add);
/* dx = gradient through y, its border zero; += with add, for 1x1 alone.  turned: by conv_turn. */
void conv_back(const struct conv *c, const float *turned, const float *dy, float *dx, bool add,
	       float *scratch);
/* df += gradient of the filter. */
void conv_grad(const struct conv *c, const float *x, const float *dy, float *df);
/* The filter as conv_back wants it; as long as it is. */
void conv_turn(const struct conv *c, const float *filter, float *turned);

/* The filter from and to [D][C][size][size], as other programs keep it. */
void conv_import(const struct conv *c, const float *oihw, float *filter);
void conv_export(const struct conv *c, const float *filter, float *oihw);

/* Set the border of a plane to zero. */
void conv_border(int height, int width, int channels, float *plane);

#endif
