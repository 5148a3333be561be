/* Convolutions beside their definition in double precision, forward and back. */
#include "base/mem.h"
#include "base/rng.h"
#include "math/kern.h"
#include "model/conv.h"
#include "tap.h"
#include <math.h>
#include <stdlib.h>

/* The plane's value at interior pixel (y, x), one beyond it included. */
static double
at(const float *plane, int width, int channels, int y, int x, int c)
{
	return (double)plane[((long)(y + 1) * (width + 2) + x + 1) * channels + c];
}

static double
weight(const struct conv *c, const float *f, int l, int r, int i, int o)
{
	return (double)f[(((long)l * c->size + r) * c->in + i) * c->out + o];
}

/* Output pixel (y, x, o) by definition. */
static double
value(const struct conv *c, const float *f, const float *x, int yy, int xx, int o)
{
	const int off = c->size / 2;
	double sum = 0;

	for (int l = 0; l < c->size; l++)
		for (int r = 0; r < c->size; r++)
			for (int i = 0; i < c->in; i++)
				sum += weight(c, f, l, r, i, o) * at(x, c->width, c->in,
								     yy * c->stride + l - off,
								     xx * c->stride + r - off, i);
	return sum;
}

static float *
plane(int height, int width, int channels, uint64_t n)
{
	float *p = mem_zero((size_t)conv_plane(height, width, channels), sizeof *p);
	struct rng r = rng_at(1, RNG_TEST, n, 0);

	rng_normals(&r, p, conv_plane(height, width, channels));
	conv_border(height, width, channels, p);
	return p;
}

/* sum of dy * conv(x) over all outputs, in double: its derivatives are what conv_back gives. */
static double
dot(const struct conv *c, const float *f, const float *x, const float *dy)
{
	const int h = c->height / c->stride, w = c->width / c->stride;
	double sum = 0;

	for (int y = 0; y < h; y++)
		for (int k = 0; k < w; k++)
			for (int o = 0; o < c->out; o++)
				sum += at(dy, w, c->out, y, k, o) * value(c, f, x, y, k, o);
	return sum;
}

/* d dot / d *v: dot is linear in it, so that a whole step is exact. */
static double
slope(const struct conv *c, const float *f, const float *x, const float *dy, float *v)
{
	const float was = *v;
	double lo, hi;

	*v = was - 1;
	lo = dot(c, f, x, dy);
	*v = was + 1;
	hi = dot(c, f, x, dy);
	*v = was;
	return (hi - lo) / ((double)(was + 1) - (double)(was - 1));
}

static double
worse(double worst, double got, double want)
{
	const double d = fabs(got - want) / (1 + fabs(want));

	return d > worst ? d : worst;
}

static void
check(int size, int stride, int height, int width, int in, int out)
{
	const struct conv c = {size, stride, height, width, in, out};
	const int h = height / stride, w = width / stride;
	const long nf = conv_filter(&c), nx = conv_plane(height, width, in),
		   ny = conv_plane(h, w, out);
	float *x = plane(height, width, in, 1), *dy = plane(h, w, out, 2),
	      *y = mem_zero((size_t)ny, sizeof *y), *dx = mem_zero((size_t)nx, sizeof *dx),
	      *f = mem_zero((size_t)nf, sizeof *f), *df = mem_zero((size_t)nf, sizeof *f),
	      *turned = mem_zero((size_t)nf, sizeof *f), *other = mem_zero((size_t)nf, sizeof *f),
	      *scratch = mem_zero((size_t)conv_scratch(&c), sizeof *f);
	struct rng r = rng_at(1, RNG_TEST, 3, 0);
	double forward = 0, back = 0, grad = 0, border = 0;

	rng_normals(&r, f, nf);
	conv_forward(&c, f, x, y, false);
	conv_turn(&c, f, turned);
	conv_back(&c, turned, dy, dx, false, scratch);
	conv_grad(&c, x, dy, df);
	for (int i = -1; i <= h; i++)
		for (int k = -1; k <= w; k++)
			for (int o = 0; o < out; o++)
				if (i < 0 || i == h || k < 0 || k == w)
					border += fabs(at(y, w, out, i, k, o));
				else
					forward = worse(forward, at(y, w, out, i, k, o),
							value(&c, f, x, i, k, o));
	for (int n = 0; n < 40; n++) {
		const long i = (long)rng_below(&r, (uint64_t)nf);
		const long p = (((long)rng_below(&r, (uint64_t)height) + 1) * (width + 2) +
				(long)rng_below(&r, (uint64_t)width) + 1) *
				       in +
			       (long)rng_below(&r, (uint64_t)in);

		grad = worse(grad, (double)df[i], slope(&c, f, x, dy, f + i));
		back = worse(back, (double)dx[p], slope(&c, f, x, dy, x + p));
	}
	ok(forward < 1e-5, "%dx%d stride %d, %dx%dx%d to %d: forward, off by %g", size, size,
	   stride, in, height, width, out, forward);
	ok(border == 0, "its border is zero, found %g", border);
	ok(back < 1e-5, "gradient of the input, off by %g", back);
	ok(grad < 1e-5, "gradient of the filter, off by %g", grad);
	conv_export(&c, f, other);
	conv_import(&c, other, turned);
	is_real((double)other[nf - 1], weight(&c, f, size - 1, size - 1, in - 1, out - 1), 0,
		"exported by output, input, line, column");
	for (long i = 0; i < nf; i++)
		border += fabs((double)turned[i] - (double)f[i]);
	ok(border == 0, "and imported as it was, off by %g", border);
	free(x), free(dy), free(y), free(dx), free(f), free(df), free(turned), free(other);
	free(scratch);
}

int
main(void)
{
	static const char *const kernels[] = {"avx512", "avx2", "portable"};

	for (int k = 0; k < 3; k++) {
		if (kern_choose(kernels[k]) < 0)
			continue;
		check(3, 1, 6, 8, 3, 5);
		check(3, 1, 8, 8, 16, 32);
		check(3, 2, 8, 12, 5, 7);
		check(3, 2, 8, 8, 32, 64);
		check(1, 1, 6, 4, 3, 9);
		check(1, 2, 8, 6, 16, 33);
		check(3, 1, 1, 1, 2, 2);
	}
	return done();
}
