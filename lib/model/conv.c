#include "model/conv.h"
#include "math/kern.h"
#include <string.h>

long
conv_plane(int height, int width, int channels)
{
	return ((long)(height + 2) * (width + 2) + 2) * channels;
}

long
conv_filter(const struct conv *c)
{
	return (long)c->size * c->size * c->in * c->out;
}

long
conv_scratch(const struct conv *c)
{
	return 3L * c->in * c->width;
}

void
conv_border(int height, int width, int channels, float *plane)
{
	const long line = (long)(width + 2) * channels;
	float *p = plane + line;

	memset(plane, 0, (size_t)line * sizeof *plane);
	for (int y = 0; y < height; y++, p += line) {
		memset(p, 0, (size_t)channels * sizeof *p);
		memset(p + line - channels, 0, (size_t)channels * sizeof *p);
	}
	memset(p, 0, (size_t)(line + 2 * channels) * sizeof *p);
}

/* Pixel (y, x) of a plane's interior. */
static const float *
pixel(const float *plane, int width, int channels, long y, long x)
{
	return plane + ((y + 1) * (width + 2) + x + 1) * channels;
}

/* Pixels of an image's lines with the border between them, from the first to the last. */
static long
run(const struct conv *c)
{
	return (long)c->height * (c->width + 2) - 2;
}

/* Where line l of the filter finds its left neighbours for output line y. */
static const float *
line(const struct conv *c, const float *x, long y, int l)
{
	return c->size == 1 ? pixel(x, c->width, c->in, y * c->stride, 0)
			    : pixel(x, c->width, c->in, y * c->stride + l - 1, -1);
}

void
conv_forward(const struct conv *c, const float *filter, const float *x, float *y, bool add)
{
	const long k = (long)c->size * c->in, step = (long)c->stride * c->in;
	const int h = c->height / c->stride, w = c->width / c->stride;
	float *to = (float *)pixel(y, w, c->out, 0, 0);

	if (c->stride == 1)
		for (int l = 0; l < c->size; l++)
			kern->nn(run(c), c->out, k, line(c, x, 0, l), c->in,
				 filter + l * k * c->out, c->out, to, c->out, add || l);
	else
		for (long i = 0; i < h; i++)
			for (int l = 0; l < c->size; l++)
				kern->nn(w, c->out, k, line(c, x, i, l), step,
					 filter + l * k * c->out, c->out, to + i * (w + 2) * c->out,
					 c->out, add || l);
	conv_border(h, w, c->out, y);
}

/* Stride 2: what each output pixel sends back to its nine inputs is computed, then added up. */
static void
back_apart(const struct conv *c, const float *filter, const float *dy, float *dx, float *scratch)
{
	const int h = c->height / c->stride, w = c->width / c->stride;
	const long k = (long)c->size * c->in, step = (long)c->stride * c->in;

	for (long i = 0; i < h; i++)
		for (int l = 0; l < c->size; l++) {
			float *to = (float *)line(c, dx, i, l);

			kern->nt(w, k, c->out, pixel(dy, w, c->out, i, 0), c->out,
				 filter + l * k * c->out, c->out, scratch, k, false);
			for (long j = 0; j < w; j++)
				for (long n = 0; n < k; n++)
					to[j * step + n] += scratch[j * k + n];
		}
}

void
conv_back(const struct conv *c, const float *turned, const float *dy, float *dx, bool add,
	  float *scratch)
{
	const struct conv mirror = {c->size, 1, c->height, c->width, c->out, c->in};

	if (c->stride == 1) {
		conv_forward(&mirror, turned, dy, dx, add);
		return;
	}
	if (!add)
		memset(dx, 0, (size_t)conv_plane(c->height, c->width, c->in) * sizeof *dx);
	back_apart(c, turned, dy, dx, scratch);
	conv_border(c->height, c->width, c->in, dx);
}

void
conv_turn(const struct conv *c, const float *filter, float *turned)
{
	const int n = c->size * c->size;

	if (c->stride != 1) {
		memcpy(turned, filter, (size_t)conv_filter(c) * sizeof *turned);
		return;
	}
	for (int p = 0; p < n; p++)
		for (long i = 0; i < c->in; i++)
			for (long o = 0; o < c->out; o++)
				turned[((n - 1 - p) * (long)c->out + o) * c->in + i] =
					filter[(p * (long)c->in + i) * c->out + o];
}

void
conv_grad(const struct conv *c, const float *x, const float *dy, float *df)
{
	const int h = c->height / c->stride, w = c->width / c->stride;
	const long k = (long)c->size * c->in, step = (long)c->stride * c->in;

	for (int l = 0; l < c->size; l++)
		if (c->stride == 1)
			kern->tn(k, c->out, run(c), line(c, x, 0, l), c->in,
				 pixel(dy, w, c->out, 0, 0), c->out, df + l * k * c->out, c->out,
				 true);
		else
			for (long i = 0; i < h; i++)
				kern->tn(k, c->out, w, line(c, x, i, l), step,
					 pixel(dy, w, c->out, i, 0), c->out, df + l * k * c->out,
					 c->out, true);
}

void
conv_import(const struct conv *c, const float *oihw, float *filter)
{
	const long n = (long)c->size * c->size;

	for (long o = 0; o < c->out; o++)
		for (long i = 0; i < c->in; i++)
			for (long p = 0; p < n; p++)
				filter[(p * c->in + i) * c->out + o] =
					oihw[(o * c->in + i) * n + p];
}

void
conv_export(const struct conv *c, const float *filter, float *oihw)
{
	const long n = (long)c->size * c->size;

	for (long o = 0; o < c->out; o++)
		for (long i = 0; i < c->in; i++)
			for (long p = 0; p < n; p++)
				oihw[(o * c->in + i) * n + p] =
					filter[(p * c->in + i) * c->out + o];
}
