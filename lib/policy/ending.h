#ifndef POLICY_ENDING_H
#define POLICY_ENDING_H
#include "base/opt.h"
#include "policy/ecology.h"

/* How a run ended, in one layer: its last census, and its last losses. */
struct ending {
	const char *run; /* the caller's */
	int layer, experts;
	double loss, val_loss; /* of the run; NAN: not told */
	double accuracy;
	int class[ECOLOGY_CLASSES];
	double gini, depth; /* of usage; NAN without tiers */
	double *usage;	    /* [experts] rising */
	double *tier;	    /* [tiers] */
};

struct endings {
	int n;
	struct ending *v; /* by run, then layer */
};

/* RUN/experts.csv and, if it is there, RUN/loss.csv; or a table like the former. -1: a message. */
int ending_read(struct endings *e, const char *run, struct opt_ints tiers);
void ending_free(struct endings *e);

/* Its figures by number; behind them the usage of its tiers. */
enum { ENDING_FIGURES = 12 };
extern const char *const ending_figure_name[ENDING_FIGURES];
double ending_figure(const struct ending *x, int i);

/* The census of a run; a slot beyond the tiers is refused. */
struct policy_census;
struct policy_step;
struct policy_census *ending_census(const char *run);
int ending_slots(const struct policy_step *s, const char *run, struct opt_ints tiers);

/* Half the sum of absolute differences: the share of samples that went elsewhere. */
double ending_distance(const double *a, const double *b, int n);

#endif
