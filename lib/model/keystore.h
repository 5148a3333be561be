#ifndef MODEL_KEYSTORE_H
#define MODEL_KEYSTORE_H
#include "model/route.h"

/*
 * The key store as a router (SoME, sections 3.1 and 3.2): a token asks with the query q, and the K
 * experts answer whose keys have the largest inner products with it,
 *
 *	q = Q(x) / |Q(x)|,   Q(x) = W x  or  W2 gelu(W1 x),   s_e = <q, k_e>,   p = softmax(s / T)
 *
 * over the chosen alone, so that the others, of which there may be very many, need no score.  The
 * search is that of knn/exact.h, and so are scores and ties; no table of scores is made.  Gradients
 * go through p to W, W1 and W2; keys are moved by pool/gravity.h.
 *
 * Of the routing losses only `divergence` has a gradient here.
 */

/* Rows [from, to): the queries of normalised inputs x [N, C]. */
void keystore_rows(const struct shape *s, const struct layer *l, struct plan *p, long from, long to,
		   const float *x);
/* After all rows: choices and weights. Runs tasks. */
void keystore_search(const struct layer *l, struct plan *p, float temperature);

/* As route_back_rows, with no need of x. */
void keystore_back_rows(const struct shape *s, const struct layer *l, struct plan *p,
			float temperature, const float *dgate, long from, long to, float *dx,
			int worker);
/* The products that make the query network's gradients, at most two; their number. */
int keystore_grads(const struct shape *s, struct layer *l, struct plan *p, const float *x, bool add,
		   struct grad *out);

/* Bytes that a search takes beside the plan. */
size_t keystore_bytes(const struct shape *s, long tokens);

#endif
