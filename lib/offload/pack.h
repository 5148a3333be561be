#ifndef OFFLOAD_PACK_H
#define OFFLOAD_PACK_H
#include "data/tokens.h"
#include "offload/store.h"

/*
 * Which neurons make a leaf together.  Those that are active for the same tokens should, so that
 * a token leaves as many leaves as it can without one active neuron.  Activity is taken from a
 * sample: neuron j of an expert is active for a token when a_j is not zero or, where the
 * activation hardly ever is, |a_j| above the mean of the expert's.
 */
enum { PACK_ROWS = 1024 }; /* tokens of each expert that are looked at */

/*
 * The order of `hidden` neurons in which every `leaf` of them form one: the quietest neuron that
 * is left (ties to the lowest), then always the one that adds the fewest tokens to those for which
 * the leaf is active (ties to the most active, then the highest).  bits [hidden][words]: bit t is
 * set where the neuron is active for token t.
 */
void pack_group(int hidden, int leaf, int words, const uint64_t *bits, int *order);

/*
 * Orders [L][E][hidden] for store_plan from a run of the model over the first `most` tokens of a
 * sample, in windows of `seq`.  An expert that the sample does not reach stays as it is.  NULL with
 * a message when the sample has no whole window.
 */
int ***pack_orders(struct param *p, const struct net_how *how, const struct tokens *sample, int seq,
		   long most, int leaf);
void pack_orders_free(int ***orders, const struct shape *s); /* NULL is harmless */

#endif
