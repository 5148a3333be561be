/*
 * The ball and the waves: round trips over the whole range, borders included; values and gradients
 * beside the formulas in double precision.
 */
#include "base/rng.h"
#include "model/geometry.h"
#include "tap.h"
#include <string.h>

enum { MOST = 257 };

static double
norm(long n, const float *x)
{
	double s = 0;

	for (long i = 0; i < n; i++)
		s += (double)x[i] * (double)x[i];
	return sqrt(s);
}

/* |a - b| / |b| */
static double
apart(long n, const float *a, const float *b)
{
	double s = 0;

	for (long i = 0; i < n; i++)
		s += pow((double)a[i] - (double)b[i], 2);
	return sqrt(s) / norm(n, b);
}

/* A random direction, sometimes a single channel, of the given length. */
static void
draw(struct rng *r, long n, double length, float *x)
{
	const bool single = rng_below(r, 4) == 0;

	memset(x, 0, (size_t)n * sizeof *x);
	for (long i = 0; i < n; i++)
		if (!single || i == n / 2)
			x[i] = (float)rng_normal(r);
	const double by = length / norm(n, x);
	for (long i = 0; i < n; i++)
		x[i] = (float)(by * (double)x[i]);
}

static void
round_trips(void)
{
	static const double curvature[] = {0.01, 1, 30};
	struct rng r = rng_at(1, RNG_TEST, 0, 0);
	float v[MOST], y[MOST], w[MOST];
	double there = 0, back = 0, out = 0;

	for (int i = 0; i < 20000; i++) {
		const double c = curvature[i % 3], k = sqrt(c);
		const long n = 1 + (long)rng_below(&r, MOST);
		/* up to the border and on it, and down to nothing */
		const double part = i % 5 == 0	 ? 1
				    : i % 5 == 1 ? pow(10, -8 * rng_uniform(&r))
						 : rng_uniform(&r);
		draw(&r, n, part * GEOMETRY_REACH / k, v);
		geometry_exp(n, c, v, y);
		geometry_log(n, c, y, w);
		there = fmax(there, apart(n, w, v));
		out = fmax(out, k * norm(n, y));
		draw(&r, n, part * tanh(GEOMETRY_REACH) / k, y);
		geometry_log(n, c, y, v);
		geometry_exp(n, c, v, w);
		back = fmax(back, apart(n, w, y));
	}
	ok(there < 1e-5, "log(exp(v)) is v, to %.2g", there);
	ok(back < 1e-5, "exp(log(y)) is y, to %.2g", back);
	ok(out < 1, "inside the ball, by %.2g", 1 - out);
	/* beyond the range both draw back to it */
	draw(&r, 9, 50, v);
	geometry_exp(9, 1, v, y);
	geometry_log(9, 1, y, w);
	is_real(norm(9, w), GEOMETRY_REACH, 1e-4, "what is too long is drawn back");
	is_real((double)w[4] / norm(9, w), (double)v[4] / norm(9, v), 1e-6, "along its direction");
	draw(&r, 9, 1.5, y);
	geometry_log(9, 1, y, w);
	is_real(norm(9, w), GEOMETRY_REACH, 1e-4, "from outside the ball, too");
	memset(v, 0, sizeof v);
	geometry_exp(9, 1, v, y);
	geometry_log(9, 1, y, w);
	is_real(norm(9, y) + norm(9, w), 0, 0, "nothing stays nothing");
}

/* ---- in double precision ---- */

static double
square(long n, const double *x)
{
	double s = 0;

	for (long i = 0; i < n; i++)
		s += x[i] * x[i];
	return s;
}

static void
plain_exp(long n, double c, const double *v, double *y)
{
	const double z = sqrt(c * square(n, v));
	const double s = z == 0 ? 1 : tanh(fmin(z, GEOMETRY_REACH)) / z;

	for (long i = 0; i < n; i++)
		y[i] = s * v[i];
}

static void
plain_log(long n, double c, const double *y, double *v)
{
	const double z = sqrt(c * square(n, y));
	const double s = z == 0 ? 1 : atanh(fmin(z, tanh(GEOMETRY_REACH))) / z;

	for (long i = 0; i < n; i++)
		v[i] = s * y[i];
}

/* x is followed by y */
static void
plain_add(long n, double c, const double *x, double *z)
{
	const double *y = x + n, xx = square(n, x), yy = square(n, y);
	double xy = 0;

	for (long i = 0; i < n; i++)
		xy += x[i] * y[i];
	for (long i = 0; i < n; i++)
		z[i] = ((1 + 2 * c * xy + c * yy) * x[i] + (1 - c * xx) * y[i]) /
		       (1 + 2 * c * xy + c * c * xx * yy);
}

static void
add_rows(long n, double c, const float *x, float *z)
{
	geometry_add(n, c, x, x + n, z);
}

static void
add_rows_back(long n, double c, const float *x, const float *dz, float *dx)
{
	geometry_add_back(n, c, x, x + n, dz, dx, dx + n);
}

typedef void plain_fn(long n, double c, const double *x, double *y);
typedef void map_fn(long n, double c, const float *x, float *y);
typedef void back_fn(long n, double c, const float *x, const float *dy, float *dx);

/* Values, and <dy, dy/dx> beside differences, of a map of m channels to n. */
static void
beside(const char *name, plain_fn *plain, map_fn *map, back_fn *back, long m, double most)
{
	enum { N = 6 };
	static const double curvature[] = {0.3, 1, 2};
	struct rng r = rng_at(2, RNG_TEST, 0, 0);
	double values = 0, gradients = 0;

	for (int i = 0; i < 600; i++) {
		const double c = curvature[i % 3], h = 1e-6;
		double x[2 * N], y[N], up[N], down[N], scale = 0;
		float f[2 * N], g[N], dy[N], dx[2 * N] = {0};
		draw(&r, N, most * (i % 4 ? rng_uniform(&r) : 1e-4) / sqrt(c), f);
		draw(&r, N, most * rng_uniform(&r) / sqrt(c), f + N);
		draw(&r, N, 1, dy);
		for (int j = 0; j < 2 * N; j++)
			x[j] = (double)f[j];
		plain(N, c, x, y);
		map(N, c, f, g);
		for (int j = 0; j < N; j++)
			values = fmax(values, fabs((double)g[j] - y[j]) / sqrt(square(N, y)));
		back(N, c, f, dy, dx);
		scale = fmax(norm(m, dx), 0.05); /* drawn back along itself: none */
		for (int j = 0; j < m; j++) {
			double want = 0;
			x[j] += h;
			plain(N, c, x, up);
			x[j] -= 2 * h;
			plain(N, c, x, down);
			x[j] += h;
			for (int k = 0; k < N; k++)
				want += (double)dy[k] * (up[k] - down[k]) / (2 * h);
			gradients = fmax(gradients, fabs((double)dx[j] - want) / scale);
		}
	}
	ok(values < 1e-6, "%s: values, to %.2g", name, values);
	ok(gradients < 1e-5, "%s: gradients, to %.2g", name, gradients);
}

/* 0 + y = y, x + 0 = x, -x + (x + y) = y; and the ball is not left. */
static void
additions(void)
{
	struct rng r = rng_at(3, RNG_TEST, 0, 0);
	float x[MOST], y[MOST], z[MOST], w[MOST];
	double left = 0, out = 0;

	for (int i = 0; i < 3000; i++) {
		const long n = 1 + (long)rng_below(&r, MOST);
		draw(&r, n, 0.9 * rng_uniform(&r) + 1e-3, x);
		draw(&r, n, 0.9 * rng_uniform(&r) + 1e-3, y);
		geometry_add(n, 1, x, y, z);
		out = fmax(out, norm(n, z));
		for (long j = 0; j < n; j++)
			w[j] = -x[j];
		geometry_add(n, 1, w, z, z);
		left = fmax(left, apart(n, z, y) * norm(n, y));
	}
	ok(left < 1e-4, "-x + (x + y) is y, to %.2g", left);
	ok(out < 1, "sums stay in the ball");
	memset(w, 0, sizeof w);
	draw(&r, 9, 0.5, x);
	geometry_add(9, 1, x, w, z);
	is_bytes(z, x, 9 * sizeof *x, "x + 0");
	geometry_add(9, 1, w, x, z);
	is_bytes(z, x, 9 * sizeof *x, "0 + x");
}

static void
waves(void)
{
	static const long size[] = {1, 2, 3, 8, 15, 64, 257};
	struct rng r = rng_at(4, RNG_TEST, 0, 0);
	static float f[MOST * MOST], x[4 * MOST], y[4 * MOST], z[4 * MOST];
	double worst = 0, length = 0;

	for (int i = 0; i < 7; i++) {
		const long n = size[i];
		geometry_waves(n, f);
		rng_normals(&r, x, 4 * n);
		geometry_to_waves(4, n, f, x, y);
		geometry_from_waves(4, n, f, y, z);
		worst = fmax(worst, apart(4 * n, z, x));
		length = fmax(length, fabs(norm(4 * n, y) / norm(4 * n, x) - 1));
	}
	ok(worst < 1e-6, "there and back, to %.2g", worst);
	ok(length < 1e-6, "lengths stay, to %.2g", length);
	geometry_waves(8, f);
	for (int t = 0; t < 8; t++)
		x[t] = (float)(3 + cos(2 * M_PI * 2 * t / 8) + 5 * sin(2 * M_PI * 3 * t / 8));
	geometry_to_waves(1, 8, f, x, y);
	const double want[] = {3 * sqrt(8), 0, 0, 2, 0, 0, 10, 0};
	for (int i = 0; i < 8; i++)
		is_real((double)y[i], want[i], 1e-5, "wave %d of a sum of three", i);
}

int
main(void)
{
	round_trips();
	beside("exp", plain_exp, geometry_exp, geometry_exp_back, 6, 6);
	beside("log", plain_log, geometry_log, geometry_log_back, 6, 0.999);
	beside("sum", plain_add, add_rows, add_rows_back, 12, 0.9);
	additions();
	waves();
	return done();
}
