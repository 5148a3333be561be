#include "offload/leaf.h"
#include <math.h>
#include <string.h>

long
leaf_floats(const struct shape *s, int neurons)
{
	return (kern_gated(s->act) ? 3L : 2L) * neurons * s->dim;
}

long
leaf_scratch(int neurons)
{
	return 3L * neurons;
}

bool
leaf_compute(const struct shape *s, int neurons, const float *leaf, const float *x, float *y,
	     float *scratch)
{
	const long m = neurons, c = s->dim;
	float *gate = scratch, *up = scratch + m, *a = up + m;
	int j = 0;

	if (kern_gated(s->act)) {
		kern->dots(m, c, leaf, x, gate);
		leaf += m * c;
	}
	kern->dots(m, c, leaf, x, up);
	kern->act(s->act, m, gate, up, a);
	while (j < neurons && a[j] == 0)
		j++;
	if (j == neurons)
		return false;
	memset(y, 0, (size_t)c * sizeof *y);
	kern->mix(m, c, a, leaf + m * c, c, y);
	return true;
}

bool
leaf_certain(const struct shape *s)
{
	return s->act == ACT_RELU || s->act == ACT_RELU2 || s->act == ACT_REGLU;
}

long
leaf_row(const struct shape *s)
{
	return (s->dim + LEAF_ROW - 1) / LEAF_ROW * LEAF_ROW;
}

static double
length(long n, const float *x)
{
	double sum = 0;

	for (long i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

/* Upwards: sums of doubles are off by less than 1e-10, a float by less than 1e-6. */
static float
above(double x)
{
	return (float)(x * 1.000001 + 1e-40);
}

void
leaf_shadow(const struct shape *s, const float *leaf, int neurons, int j, struct leaf_shade *shade,
	    signed char *q)
{
	const long c = s->dim;
	const double n = 2.0 * (double)(c + LEAF_ROW), gamma = n * 0x1p-24 / (1 - n * 0x1p-24);
	const float *w = leaf + j * c, *up = kern_gated(s->act) ? w + neurons * c : w;
	double off = 0, near = 0;
	float top = 0;

	for (long i = 0; i < c; i++)
		top = fabsf(w[i]) > top ? fabsf(w[i]) : top;
	shade->scale = top / 127;
	for (long i = 0; i < c; i++) {
		const float units = shade->scale > 0 ? w[i] / shade->scale : 0;
		q[i] = (signed char)lrintf(fmaxf(-127, fminf(127, units)));
		const double v = (double)shade->scale * q[i], d = (double)w[i] - v;
		off += d * d;
		near += v * v;
	}
	shade->margin = above(sqrt(off) + gamma * (sqrt(near) + length(c, w)));
	shade->reach = above(fmax(length(c, w), length(c, up)));
}

double
leaf_norm(long n, const float *x)
{
	return length(n, x) * (1 + 1e-10);
}

bool
leaf_dead(const struct shape *s, int neurons, const struct leaf_shade *shade, const signed char *q,
	  const float *x, double norm)
{
	const long row = leaf_row(s);
	const double tiny = 0x1p-147 * (double)(s->dim + LEAF_ROW); /* what underflow may hide */

	for (int j = 0; j < neurons; j++) {
		const double scale = (double)shade[j].scale;
		const double u = scale * (double)kern->dot8(s->dim, q + j * row, x);
		if (!(u + (double)shade[j].margin * norm + (1 + scale) * tiny <= 0) ||
		    !((double)shade[j].reach * norm < 1e37))
			return false;
	}
	return true;
}
