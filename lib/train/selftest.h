#ifndef TRAIN_SELFTEST_H
#define TRAIN_SELFTEST_H
#include "model/ref.h"

/*
 * Is the arithmetic right on this machine?  For the kernels in force: products and activations row
 * by row (the same bits among 1 to 200 rows), gradients of every router and activation against the
 * double-precision reference, and causality: a later token changes no earlier output, to the bit.
 * Returns the number of checks failed.
 */
int selftest_run(ref_report *report, void *arg);

#endif
