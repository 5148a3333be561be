#ifndef IO_NPY_H
#define IO_NPY_H
#include "base/file.h"
#include <stdbool.h>
#include <stddef.h>

/*
 * NumPy's .npy format, versions 1 to 3, for matrices of numbers: float32, float64 and float16 in
 * either byte order and either storage order come out as float32, row-major.  A float64 beyond
 * float32's range is refused; NaN and infinities are handed on.
 */
struct npy {
	long rows, cols; /* each at least 1 */
	const float *v;	 /* [rows][cols] */
	void *memory;	 /* private */
};

/* Whether these bytes begin as a .npy does. */
bool npy_is(const void *p, size_t n);

/*
 * Read one from memory made by malloc, which becomes the matrix's own, failure or not.  `name` is
 * for messages.  -1: not a .npy, cut, too long, not two dimensions, not these types.
 */
int npy_take(struct npy *m, const char *name, void *p, size_t n);
void npy_free(struct npy *m);

/* Write [rows][cols] as float32, version 1.0. -1 with a message. */
int npy_write(struct file *f, const float *v, long rows, long cols);

#endif
