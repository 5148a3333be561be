#ifndef POLICY_TALLY_H
#define POLICY_TALLY_H
#include "base/opt.h"
#include "policy/ecology.h"

/*
 * What a trace, or a model at work, says of each expert, in whole numbers: the census of the
 * ecology.  A sample is a token in a layer, or whatever else chose experts there; its first choice
 * has rank 0.
 */
struct tally_sum {
	int64_t routed;	    /* samples that chose it with any rank */
	int64_t first;	    /* with rank 0 */
	int64_t hits;	    /* of these, those that were right */
	int64_t easy, hard; /* of these, those with a confidence above and below the limits */
};

enum { TALLY_PAIRS = 1024 };

struct tally_layer {
	int experts;	/* by the numbers given, else 1 + the largest seen */
	int room;	/* of the arrays; rows of flow and pair are so long */
	int64_t tokens; /* samples: rows of rank 0 */
	int64_t rated;	/* of these, those with a confidence */
	struct tally_sum *sum;
	/* [E, E], NULL unless wanted, or if E > TALLY_PAIRS */
	int64_t *flow; /* first choice i, second choice j */
	int64_t *pair; /* both i < j chosen, with any ranks */
};

struct tally {
	int layers;
	struct tally_layer *layer;
	bool correct; /* hits were told */
	bool pairs;   /* flow and pair are wanted */
	double easy, hard;
};

/* The tally of nothing; free what it gathers. */
struct tally tally_new(bool pairs, double easy, double hard);
void tally_free(struct tally *t);

/* One sample: k choices, best first; correct 0, 1 or -1; confidence NAN where it is not told. */
void tally_add(struct tally *t, int layer, const int *choice, int k, int correct,
	       double confidence);

/*
 * All of a trace, in memory for the tally alone.  experts: slots of each layer, or one number for
 * all; none (n = 0): the largest number seen in any layer counts for all.  With pairs, rows of one
 * sample must stand together, from rank 0 upwards; else rows may have any order.  -1 with a
 * message, FILE:LINE.
 */
int tally_read(struct tally *t, const char *trace, struct opt_ints experts, bool confidence);

/* Layers have at least so many slots from here on, as a model knows. */
void tally_slots(struct tally *t, int layer, int experts);

/* The largest share of a layer's samples that chose the same two; NAN without pairs. */
double tally_coactivation(const struct tally_layer *l);

#endif
