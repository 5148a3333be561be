#ifndef OFFLOAD_CHANCE_H
#define OFFLOAD_CHANCE_H
#include <stdint.h>

/*
 * The inner loops of offload/hazard and offload/learned, over all experts of a layer.  Built once
 * per instruction set like math/kern.c; chance_table gives those that belong to the chosen kernels.
 * Each adds, multiplies and divides the same numbers in the same order: equal bits everywhere.
 */
enum { CHANCE_MEMORIES = 3 };

/* Features of an expert. */
enum {
	CHANCE_ONE,
	CHANCE_FREQUENT,
	CHANCE_FOLLOWS = CHANCE_FREQUENT + CHANCE_MEMORIES,
	CHANCE_USED,
	CHANCE_CHOICE,
	CHANCE_USED_BEFORE,
	CHANCE_AGE,
	CHANCE_FEATURES
};

/* What is remembered of a layer; all numbers at first 0 except as said. */
struct chance_layer {
	long first, n;			/* its items */
	double turns;			/* so far */
	double uses;			/* of all experts in them */
	float weight[CHANCE_MEMORIES];	/* of all turns, as each memory keeps them */
	float *memory[CHANCE_MEMORIES]; /* [n] each: of the turns with the expert */
	float *since;	    /* [n] turns since the last use, at most and at first CHANCE_LONGEST */
	uint16_t *pair;	    /* [n][n] turns in which b followed a; NULL: not kept */
	uint16_t *followed; /* [n] turns that followed one with a */
	uint32_t *last;	    /* [n] the experts of the last turn, the first `used` */
	long used;
	float *x[CHANCE_FEATURES]; /* [n] each, as the last prediction saw them; those of ONE 1 */
	float *next;		   /* [n] the chance of use in the next turn */
	float *worth;		   /* [n] */
};
enum { CHANCE_LONGEST = 200 };

struct chance {
	const char *name; /* of the kernels it goes with */

	/*
	 * A turn of the layer has used these k items: correct the weights w of the features by what
	 * was predicted, and predict anew.  error: room for n.
	 */
	void (*turn)(struct chance_layer *l, float *w, const uint32_t *item, long k, float *error);
	/* The place of the least v[i] * scale[i], of n >= 1, all >= 0; of equals the last. */
	long (*least)(long n, const float *v, const float *scale);
	/* v[i] = worth[i] where v[i] is finite. */
	void (*rank)(long n, float *v, const float *worth);
};

const struct chance *chance_table(void);

#endif
