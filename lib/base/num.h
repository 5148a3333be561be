#ifndef BASE_NUM_H
#define BASE_NUM_H
#include <stddef.h>

/*
 * Strict numbers.  The whole text must be one number in range: no spaces, no trailing characters,
 * no "inf", "nan" or hexadecimal.  On failure -1 and a message `"12x" is not a whole number
 * between 1 and 4096`; *out is untouched.
 */
int num_long(const char *s, long lo, long hi, long *out);
int num_real(const char *s, double lo, double hi, double *out);
int num_bytes(const char *s, size_t lo, size_t hi, size_t *out); /* 4096, 64K, 1.5M, 2G, 1T */

enum { NUM_TEXT = 32 };
/* "%.9g" into buf (at least NUM_TEXT), as every CSV has it; NaN "nan", infinities "inf" "-inf". */
const char *num_text(char *buf, double x);

/*
 * x rounded to float32.  Not written (double)(float)x: GCC 12 drops that where it puts two of them
 * into one vector.
 */
double num_single(double x);

#endif
