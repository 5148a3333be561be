#include "model/geometry.h"
#include "math/kern.h"
#include <math.h>

/* In double: the border of the ball leaves no bit to lose. */
static double
dot(long n, const float *a, const float *b)
{
	double sum = 0;

	for (long i = 0; i < n; i++)
		sum += (double)a[i] * (double)b[i];
	return sum;
}

/* A radial map y = s x of a row of length r, and g = (ds/dr) / r: dx = s dy + g <dy, x> x. */
struct radial {
	double s, g;
};

enum map { EXP, LOG };

/* u = z^2 below this: the first terms of the series, whose next are below 1e-13. */
static const double SMALL = 1e-4;

static struct radial
radial(enum map map, double c, double square)
{
	const double k = sqrt(c), z = k * sqrt(square), u = c * square;
	const double far = map == EXP ? GEOMETRY_REACH : tanh(GEOMETRY_REACH);
	const double end = map == EXP ? tanh(GEOMETRY_REACH) : GEOMETRY_REACH;
	double f, df; /* of z, and its derivative */

	if (z >= far)
		return (struct radial){end / z, -end / z / square};
	if (u < SMALL)
		return map == EXP ? (struct radial){1 - u / 3 + 2 * u * u / 15,
						    c * (-2.0 / 3 + 8 * u / 15 - 34 * u * u / 105)}
				  : (struct radial){1 + u / 3 + u * u / 5,
						    c * (2.0 / 3 + 4 * u / 5 + 6 * u * u / 7)};
	f = map == EXP ? tanh(z) : atanh(z);
	df = map == EXP ? 1 - f * f : 1 / (1 - z * z);
	return (struct radial){f / z, (df * z - f) / (z * square)};
}

static void
forward(enum map map, long n, double c, const float *x, float *y)
{
	const struct radial r = radial(map, c, dot(n, x, x));

	for (long i = 0; i < n; i++)
		y[i] = (float)(r.s * (double)x[i]);
}

static void
backward(enum map map, long n, double c, const float *x, const float *dy, float *dx)
{
	const struct radial r = radial(map, c, dot(n, x, x));
	const double along = r.g * dot(n, dy, x);

	for (long i = 0; i < n; i++)
		dx[i] += (float)(r.s * (double)dy[i] + along * (double)x[i]);
}

void
geometry_exp(long n, double c, const float *v, float *y)
{
	forward(EXP, n, c, v, y);
}

void
geometry_exp_back(long n, double c, const float *v, const float *dy, float *dv)
{
	backward(EXP, n, c, v, dy, dv);
}

void
geometry_log(long n, double c, const float *y, float *v)
{
	forward(LOG, n, c, y, v);
}

void
geometry_log_back(long n, double c, const float *y, const float *dv, float *dy)
{
	backward(LOG, n, c, y, dv, dy);
}

/* z = (a x + b y) / d */
struct sum {
	double xy, xx, yy, a, b, d;
};

static struct sum
sum_of(long n, double c, const float *x, const float *y)
{
	struct sum s = {.xy = dot(n, x, y), .xx = dot(n, x, x), .yy = dot(n, y, y)};

	s.a = 1 + 2 * c * s.xy + c * s.yy;
	s.b = 1 - c * s.xx;
	s.d = 1 + 2 * c * s.xy + c * c * s.xx * s.yy;
	return s;
}

void
geometry_add(long n, double c, const float *x, const float *y, float *z)
{
	const struct sum s = sum_of(n, c, x, y);

	for (long i = 0; i < n; i++)
		z[i] = (float)((s.a * (double)x[i] + s.b * (double)y[i]) / s.d);
}

void
geometry_add_back(long n, double c, const float *x, const float *y, const float *dz, float *dx,
		  float *dy)
{
	const struct sum s = sum_of(n, c, x, y);
	const double da = dot(n, dz, x) / s.d, db = dot(n, dz, y) / s.d;
	const double dd = -(s.a * da + s.b * db) / s.d;
	const double dxy = 2 * c * (da + dd), dxx = -c * db + c * c * s.yy * dd;
	const double dyy = c * da + c * c * s.xx * dd;

	for (long i = 0; i < n; i++) {
		const double g = (double)dz[i] / s.d, a = (double)x[i], b = (double)y[i];
		dx[i] += (float)(s.a * g + dxy * b + 2 * dxx * a);
		dy[i] += (float)(s.b * g + dxy * a + 2 * dyy * b);
	}
}

void
geometry_waves(long n, float *f)
{
	for (long row = 0; row < n; row++)
		for (long t = 0; t < n; t++) {
			const long j = (row + 1) / 2;
			/* j t mod n keeps the angle small, and exact multiples exact */
			const double angle = 2 * M_PI * (double)(j * t % n) / (double)n;
			const bool single = row == 0 || 2 * j == n;
			f[row * n + t] = (float)(sqrt((single ? 1.0 : 2.0) / (double)n) *
						 (row % 2 || row == 0 ? cos(angle) : sin(angle)));
		}
}

void
geometry_to_waves(long rows, long n, const float *f, const float *x, float *y)
{
	kern->nt(rows, n, n, x, n, f, n, y, n, false);
}

void
geometry_from_waves(long rows, long n, const float *f, const float *y, float *x)
{
	kern->nn(rows, n, n, y, n, f, n, x, n, false);
}
