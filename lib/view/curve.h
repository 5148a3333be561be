#ifndef VIEW_CURVE_H
#define VIEW_CURVE_H
#include "view/figure.h"
#include "view/life.h"

/* Points of one run, x rising, and the means of several. */
struct curve {
	long n, room;
	double *x, *y;
	double *lo, *hi; /* least and greatest of what a point stands for; NULL: one value each */
	double *key;	 /* the bucket's end, equal in runs alike; x itself without buckets */
};

void curve_add(struct curve *c, double x, double y); /* not a number: passed over */
void curve_free(struct curve *c);
/*
 * Put points together where there are more than n: in buckets of equal numbers of steps, begun
 * anew in each phase.  x and y become means, lo and hi are filled.  The size of a bucket in steps,
 * 0 if nothing was put together.
 */
double curve_reduce(struct curve *c, const struct life *l, long n);
/* The size that curve_reduce takes for so many points up to a last step. */
double curve_bucket(long points, double last, long n);
/* The value of a staircase at x: that of the last point at or before it, 0 before the first. */
double curve_at(const struct curve *c, double x);
/*
 * Add to a series: of one curve its points, with least and greatest; of several, with equal keys,
 * mean and mean -+ sd (of the sample, n - 1; none where one curve has the point).
 */
void curve_mean(const struct curve *c, int n, struct figure_series *s);

#endif
