#ifndef POLICY_STEADY_H
#define POLICY_STEADY_H
#include "policy/track.h"

/* How steady the last censuses of each layer were. */
struct steady;

/* Over the last n censuses; tiers as of track_tiers. */
struct steady *steady_new(int n, int tiers, const int *size);
void steady_free(struct steady *s); /* NULL is harmless */

/* A census, and what track_step made of it. */
void steady_add(struct steady *s, const struct policy_step *step, const struct track_layer *l);

/* Figures of a layer: accuracy, dead, active, then the usage of each tier. */
enum { STEADY_TIERS = 3 };
int steady_layers(const struct steady *s);
int steady_layer(const struct steady *s, int k); /* its number */

/* Of what there was: mean, sd (n - 1; NAN of one), extremes. NAN where a census did not tell. */
struct steady_figure {
	int censuses;
	double mean, sd, least, most;
};
struct steady_figure steady_figure(const struct steady *s, int k, int figure);

#endif
