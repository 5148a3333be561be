#ifndef POLICY_MUTUAL_H
#define POLICY_MUTUAL_H
#include <stdint.h>

/*
 * How much one label says of another, from n samples of labels in [0, 2^21), in nats:
 *
 *	H(x) = -sum p log p,   I(x; y | z) = H(x, z) + H(y, z) - H(x, y, z) - H(z)
 *
 * with the shares of the samples for p.  Of few samples such an estimate is too large: labels that
 * have nothing to do with each other seem to agree by chance.  How much that is, is told by
 * permutations of y among the samples with the same z: their mean is `chance`, and raw - chance is
 * about 0 where there is nothing.  Where there is much, less of it is due to chance, and the truth
 * lies between raw - chance and raw.
 */
struct mutual {
	double raw, chance;
};

enum { MUTUAL_LABELS = 1 << 21 };

double mutual_entropy(long n, const int *x);

/* z NULL: given nothing.  Permutations are drawn by (seed, RNG_PROBE, step 2, their number). */
struct mutual mutual_measure(long n, const int *x, const int *y, const int *z, int permutations,
			     uint64_t seed);

#endif
