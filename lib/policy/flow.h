#ifndef POLICY_FLOW_H
#define POLICY_FLOW_H
#include "policy/tally.h"

/*
 * Tiers of a layer: who is chosen second after whom, and what each has.  A labelling gives each of
 * the layer's experts one of n tiers; without sizes (tiers.n = 0) each is a tier of its own.
 */
struct flow_tiers {
	int n;
	int *of; /* [experts] */
};
struct flow_tiers flow_label(const struct tally_layer *l, struct opt_ints tiers);
void flow_free(struct flow_tiers *t);

/* cell[n, n]: samples whose first choice is of tier i and whose second is of tier j. */
void flow_cells(const struct tally_layer *l, const struct flow_tiers *t, double *cell);

/*
 * Mean and standard deviation (n - 1) of the cells over `draws` >= 2 random exchanges of the
 * labels, drawn at (seed, RNG_PROBE, layer, draw).
 */
void flow_shuffled(const struct tally_layer *l, int layer, const struct flow_tiers *t, int draws,
		   uint64_t seed, double *mean, double *sd);

/* What a tier, or all of them, have in a layer. */
struct flow_sum {
	int experts, active; /* not DEAD */
	struct tally_sum sum;
};
/* sum[n], and all of them; sum NULL: these alone. */
void flow_sums(const struct tally *t, const struct tally_layer *l, const struct flow_tiers *tiers,
	       struct flow_sum *sum, struct flow_sum *all);
/* The class of an expert; without `correct` what can be said without. */
enum ecology_class flow_class(const struct tally *t, const struct tally_layer *l, int expert);
/* How the choices of any rank are spread over the experts. */
struct ecology_load flow_load(const struct tally_layer *l);

#endif
