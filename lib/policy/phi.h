#ifndef POLICY_PHI_H
#define POLICY_PHI_H
#include <stdint.h>

/*
 * Phi: how different the experts of a layer are, and how much they have to do with each other, from
 * their signatures: what each gives out on the same probes.  Over pairs i < j, with a the root mean
 * square of the signatures' lengths, which makes distances free of scale:
 *
 *	d_ij       = |f_i - f_j| / a
 *	distance   D = mean d_ij			(independent signatures: near sqrt 2)
 *	integration I = mean |tanh(0.65 cos(f_i, f_j))|
 *	diversity  = 1 - mean exp(-d_ij^2 / (2 s^2)), s the median of d_ij; 0 if that is 0
 *	product    = D I ln(D + I + 1)
 *
 * Diversity measures distances by their own median: it sees that some experts have become alike,
 * and not that all have.  D does.  The product is that of the published code.
 *
 * Of many experts, pairs are drawn: with as many experts or fewer as PHI_PAIRS + 1 all pairs are
 * taken, else each expert is paired with PHI_PAIRS others, by (seed, RNG_PROBE, 0, expert), so that
 * the work is linear in the experts.
 */
enum { PHI_PAIRS = 16 };

struct phi {
	long pairs; /* 0: fewer than two experts, and all of these are 0 */
	double distance, integration, diversity, product;
};

/* n signatures [n, width]. The same bits for any number of workers. */
struct phi phi_measure(int n, long width, const float *signature, uint64_t seed);

#endif
