#ifndef POLICY_TRACK_H
#define POLICY_TRACK_H
#include "policy/row.h"

/*
 * Experts over a run, from its census: who dies, who comes back.
 *
 *   dead     usage (share of first choices) below a limit for `window` censuses in a row
 *   revived  dead, and then at the limit or above for as many in a row
 *
 * An expert is followed by its id within its layer.  It is alive when it is first seen, so that the
 * first deaths are counted at the census number `window`.
 */
struct track_rule {
	double limit;
	int window; /* at least 1 */
};

struct track_layer {
	int layer;
	int experts, active, dead; /* living slots; of these */
	long deaths, revivals;	   /* at this census */
	double accuracy;	   /* of all first choices; NAN: not told */
};

struct track; /* who is dead */

struct track *track_new(struct track_rule rule);
void track_free(struct track *t); /* NULL is harmless */
/* Follow the next census: a row of figures for each of its layers, which hold until the next. */
const struct track_layer *track_step(struct track *t, const struct policy_step *s);

/* The usage of a layer's rows [0, n) by tier, whose labels are those of struct ecology_depth. */
void track_tiers(const struct policy_row *r, int n, int tiers, const int *size, double *usage);

#endif
