#ifndef MATH_BLAS_H
#define MATH_BLAS_H
#include <stdbool.h>

/*
 * OpenBLAS, on one thread per call and with the kernels that suit the processor; the only module
 * that knows it.  Several workers may call blas_sgemm at once, each for a tile of its own.  For
 * products whose number of rows varies there is math/kern.h: sgemm gives a row other bits when it
 * stands among other rows.
 */

/*
 * Before the first product and before other threads start.  OpenBLAS takes processors younger than
 * itself for the oldest of their kind; here it is given the AVX-512 or AVX2 kernels that the
 * processor can run, never lesser ones than it chose itself, and never against a choice in the
 * environment (OPENBLAS_CORETYPE).  -1: the better kernels could not be put in force; products
 * work all the same, and blas_restart may help.
 */
int blas_start(void);

/*
 * After blas_start failed: run this program again from its beginning, with the kernels chosen in
 * its environment.  Returns -1 if that cannot be done, or was done before.
 */
int blas_restart(char *const argv[]);

const char *blas_kernel(void); /* OpenBLAS's name of the kernels in force, such as "SkylakeX" */
bool blas_user(void);	       /* the user chose them */

/*
 * C[m,n] = alpha op(A)[m,k] op(B)[k,n] + beta C, row-major, op by 'N' (as it is) or 'T'
 * (transposed).  With beta 0, C need not be initialised.  Sizes and leading dimensions < 2^31.
 */
void blas_sgemm(char transa, char transb, long m, long n, long k, float alpha, const float *a,
		long lda, const float *b, long ldb, float beta, float *c, long ldc);

/*
 * The machine's peak for the workers at hand (base/task.h), in GF/s: the median of products
 * 2048 x 2048 x 2048, a tile for each worker, over about this time; at least one product.
 * A product takes 0.07 s at 250 GF/s, the preparation as long again; 48 MiB meanwhile.
 */
double blas_peak(double seconds);

#endif
