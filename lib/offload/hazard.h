#ifndef OFFLOAD_HAZARD_H
#define OFFLOAD_HAZARD_H
#include <stdint.h>

/*
 * How likely an expert is used when its layer's turn comes again, learned while a model decodes,
 * from nothing but which experts each turn used.
 *
 * A logistic model with one set of weights for all layers; the odds of an expert begin with those
 * of any expert of its layer, and its features are, each against those odds where it is a chance:
 * the frequency of its use with three memories (5, 14 and 67 turns); how often it followed the
 * experts of the turn just over, the mean over these of counts kept for every pair of a layer's
 * experts; whether it was used in this turn, and as which choice, or in the one before; the
 * logarithm of the turns since.  Each turn first corrects the weights by the gradient of the
 * likelihood of what was predicted before, then predicts anew.
 *
 * Equal turns give equal bits on any machine.  Memory: 66 bytes an expert, 2 for each pair of
 * experts of a layer (none for all where that came to more than 256 MB).
 */
struct hazard;

/* Layers 0 to depth - 1, whose experts are the items first[l] to first[l + 1] - 1. */
struct hazard *hazard_new(int depth, const long *first);
void hazard_free(struct hazard *h); /* NULL is harmless */

/* A turn of the layer has used these n items, first choice first, each once. */
void hazard_turn(struct hazard *h, int layer, const uint32_t *item, long n);

/* p, by item: the chance of use in the next turn of its layer, in (0, 1); 0 before the first. */
const float *hazard_next(const struct hazard *h);
/*
 * What an item is worth at the end of its layer's turn, in uses per turn of the layer that it
 * waits: max(p, q / (1 + q - p)), where q, the chance of use in any later turn if not before, is a
 * share of its frequency.  See offload/learned.
 */
const float *hazard_worth(const struct hazard *h);

#endif
