#ifndef MATH_GRAD_H
#define MATH_GRAD_H
#include <stdbool.h>

/*
 * Weight gradients C[m, n] = A[k, m]^T B[k, n], as tasks.  Each is cut into blocks of GRAD_ROWS
 * rows of C; a block sums over all k in order, so that bits do not depend on who computes it.
 */
enum { GRAD_ROWS = 112 };

struct grad {
	long m, n, k;
	const float *a, *b;
	long lda, ldb;
	float *c; /* [m, n], dense */
	bool add; /* onto what is there */
};

long grad_blocks(const struct grad *g, int n);
/* Compute block i of the list's blocks. */
void grad_block(const struct grad *g, long i);

#endif
