#ifndef OFFLOAD_LEAF_H
#define OFFLOAD_LEAF_H
#include "model/shape.h"

/*
 * The arithmetic of one leaf: m hidden neurons of an expert, whose weights stand one after another
 * as gate rows [m, C] of a gated unit, up rows [m, C], down columns as rows [m, C].
 *
 *   y = sum over j of a_j d_j,   a_j = act(u_j)  or  act(g_j) * u_j,   u_j = <up_j, x>
 *
 * added up in the order of j; a neuron whose a_j is zero, of either sign, is left out, so that a
 * leaf with none but such neurons contributes nothing at all, and need not be there.
 */
/* Floats of a leaf without padding; of the scratch that leaf_compute wants. */
long leaf_floats(const struct shape *s, int neurons);
long leaf_scratch(int neurons);

/* y [C] = the leaf's sum; false, and y undefined, when every a_j is zero. */
bool leaf_compute(const struct shape *s, int neurons, const float *leaf, const float *x, float *y,
		  float *scratch);

/*
 * The shadow: a small stand-in for the row w_j that decides whether neuron j is active (the gate
 * row of ReGLU, the up row of ReLU and ReLU^2), so that a leaf which certainly contributes nothing
 * need not be read.  With w~ = scale q, q of int8, and n roundings in a product,
 *
 *   u_j <= scale <q, x> + margin |x|,
 *   margin = |w - w~| + gamma_n (|w~| + |w|),   gamma_n = n 2^-24 / (1 - n 2^-24)
 *
 * holds for the kernel's own float32 u_j whatever its order of summation (Cauchy-Schwarz, and
 * Higham 2002, section 3.1); where it is not above 0 the neuron is inactive.  reach bounds |w| and
 * the other factor's row: where reach |x| could overflow, nothing is certain.
 */
struct leaf_shade {
	float scale, margin, reach;
};

bool leaf_certain(const struct shape *s); /* can a leaf be proven inactive with this activation? */

enum { LEAF_ROW = 16 };
long leaf_row(const struct shape *s); /* bytes of a row of q: C rounded up to LEAF_ROW */

/* Of neuron j of a leaf; q [row] is zero behind its C values. */
void leaf_shadow(const struct shape *s, const float *leaf, int neurons, int j,
		 struct leaf_shade *shade, signed char *q);

/* An upper bound of |x|. */
double leaf_norm(long n, const float *x);
/* Is every one of these neurons certainly inactive? norm is leaf_norm of x. */
bool leaf_dead(const struct shape *s, int neurons, const struct leaf_shade *shade,
	       const signed char *q, const float *x, double norm);

#endif
