#ifndef MODEL_GEOMETRY_H
#define MODEL_GEOMETRY_H

/*
 * Other geometries for a row of n channels: the Poincare ball, and the Fourier domain.
 *
 * The ball of curvature -c, |y| < 1 / sqrt c (Ganea, Becigneul and Hofmann 2018), k = sqrt c:
 *
 *	exp_0(v) = tanh(k |v|) v / (k |v|)	log_0(y) = artanh(k |y|) y / (k |y|)
 *	x + y = ((1 + 2c<x,y> + c|y|^2) x + (1 - c|x|^2) y) / (1 + 2c<x,y> + c^2 |x|^2 |y|^2)
 *
 * log_0 is the inverse of exp_0.  In 32-bit floats the border resolves k |v| to 1e-5 up to
 * GEOMETRY_REACH; what is longer is first drawn back to it, along its direction, by both maps, so
 * that each is the inverse of the other over the whole range of either, border included.  A product
 * with a matrix in the ball is exp_0(M log_0(x)).
 *
 * The gradients are those of what is computed, drawing back included; they are added to dv, dx, dy.
 */
#define GEOMETRY_REACH 3.5

void geometry_exp(long n, double c, const float *v, float *y);
void geometry_exp_back(long n, double c, const float *v, const float *dy, float *dv);
void geometry_log(long n, double c, const float *y, float *v);
void geometry_log_back(long n, double c, const float *y, const float *dv, float *dy);
/* z = x + y of two points in the ball; x, y and z may be the same. */
void geometry_add(long n, double c, const float *x, const float *y, float *z);
void geometry_add_back(long n, double c, const float *x, const float *y, const float *dz, float *dx,
		       float *dy);

/*
 * The real discrete Fourier transform, scaled to be orthogonal: F [n, n], row 0 the mean times
 * sqrt n, rows 2j - 1 and 2j the cosine and sine of frequency j, for even n the last row the
 * alternating sum.  Rows of x [rows, n] go there by x F^T and back by x F; the gradient of the one
 * is the other.
 */
void geometry_waves(long n, float *f);
void geometry_to_waves(long rows, long n, const float *f, const float *x, float *y);
void geometry_from_waves(long rows, long n, const float *f, const float *y, float *x);

#endif
