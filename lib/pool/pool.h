#ifndef POOL_POOL_H
#define POOL_POOL_H
#include "model/param.h"
#include "policy/event.h"

/*
 * The expert population: carries a policy's events out on the parameters.
 *
 *   death   the slot is freed and its memory goes back to the system
 *   birth   in an empty slot, with the next id and the event's width:
 *           mutant  the parent's weights, each plus normal noise of sigma times its tensor's RMS;
 *                   neurons that a wider child has more are drawn at random, down from the parent's
 *                   first where it is narrower
 *           mean    the mean of the layer's experts of that width, then noise likewise
 *           fresh   drawn as at the start of training
 *           its router row is the parent's plus noise (mean: that of those peers; fresh: drawn),
 *           its bias the parent's (theirs; 0), its moments zero, its age zero; a width that is not
 *           told is the parent's (that of the layer's widest; the model's widest at the start)
 *           twin    as mutant, as wide as its parent, with whom it shares the load until pool_part:
 *                   each sees half of the tokens, so that of gradients half as large both have
 *                   moments m / 2 and v / 4 of the parent's; both begin with half the parent's
 *                   vitality, x / (2 + x), and count their checks anew
 *   move    to an empty slot of another layer, with weights, moments, id and router row
 *   merge   its weights are averaged into another expert of its width, then it dies; if the event
 *           does not tell which, into the one whose router row is nearest (Euclidean; of a cosine
 *           router, the nearest direction), among those that stay, as all stand before the step:
 *           the one that the router can tell from it least.  Ties, and a router without rows, take
 *           the lowest slot
 *   freeze, thaw   the optimizer leaves it alone, or not
 *
 * Noise is drawn from (seed, RNG_MUTATE, step, layer and slot).
 */

/*
 * Carry out the events of one step, in order; what the policy leaves open (a newborn's id, with
 * whom to merge) is filled in.  All are checked first: on -1, with a message, nothing has changed,
 * and e->line is the line of the event at fault.
 */
int pool_apply(struct param *p, struct policy_events *e, uint64_t seed);
/* The same without carrying them out. */
int pool_check(struct param *p, struct policy_events *e);

/* Twins whose router rows point in ways with a cosine below this are twins no more. */
void pool_part(struct param *p, double cosine);

#endif
