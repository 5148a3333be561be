#ifndef KNN_SCAN_H
#define KNN_SCAN_H
#include <stdint.h>

/*
 * The inner loop of every search: a product of keys and a panel of queries, and the scores that
 * may matter, without the scores that do not ever reaching memory.  Built once per instruction set
 * like math/kern.c; scan_table gives the one that belongs to the chosen kernels.
 *
 * A panel is up to `lanes` queries side by side, transposed.  What is scored here is only a filter:
 * float32 accumulated in order of the index, or a product of bytes.  The caller gives each lane
 * its slack, twice a bound of |filter's score - score|: then every one of the best k stands among
 * the keys whose filter's score is at or above (the k-th best filter's score) - slack.
 */
enum { SCAN_LANES = 32 /* at most */, SCAN_HITS = 2048 };

/* Proposals: row * SCAN_LANES + lane, and the filter's score. */
struct scan_hits {
	int n; /* the caller empties it */
	int at[SCAN_HITS + SCAN_LANES];
	float score[SCAN_HITS + SCAN_LANES];
};

struct scan_state {
	int k;			 /* rows of best; 0: bars are the caller's to raise */
	float *best;		 /* [k][SCAN_LANES]: the k best filter's scores, at first -inf */
	float bar[SCAN_LANES];	 /* below it nothing matters; inf for a lane not in use */
	float slack[SCAN_LANES]; /* inf where the filter knows nothing */
	int tiles;		 /* taken so far, up to a few; at first 0 */
	struct scan_hits *hits;
};

struct scan {
	const char *name; /* of the kernels it goes with */
	int lanes;	  /* queries in a panel */
	int rows;	  /* keys in a tile: blocks of a multiple waste nothing */

	/* P[d][lanes] = Q[n][d]^T, n <= lanes, zeros beside it. */
	void (*pack)(long n, long d, const float *q, float *panel);
	/*
	 * Score keys[n][d] against the first `lanes` queries of a panel.  Bars rise on the way.
	 * Returns how many keys are done: fewer than n when there is no room for further hits.
	 */
	long (*panel)(struct scan_state *s, int lanes, long d, const float *panel, long n,
		      const float *keys);

	/*
	 * The same with bytes, d a multiple of 4, at most SCAN_BYTES: sum over j of key[j] * q[j],
	 * keys unsigned (128 more than they mean), queries signed and packed [d / 4][lanes][4].  A
	 * lane's scores are all off by 128 sum q[j]; neither best nor bars mind.  NULL where the
	 * processor has no such instruction.
	 */
	long (*bytes)(struct scan_state *s, int lanes, long d, const int8_t *panel, long n,
		      const uint8_t *keys);

	float (*most)(long d, const float *x); /* the greatest |x[j]| */
	/* byte[j] = round(x[j] / step) + bias within [-127, 127] + bias, |x[j]| at most 127 steps.
	 * Returned is a bound of the norm of x - step (byte - bias), too great by less than a
	 * hundredth part of half a step in each component. */
	double (*quantize)(long d, const float *x, float step, int bias, uint8_t *byte);

	/*
	 * bound[i] = max(b least[i], b most[i]) + reach * side[i] * sqrt(max(square - b^2, 0)) +
	 * slack, b = bound[i]; where least is inf and most -inf, it is -inf or, for b = 0, NaN.
	 */
	void (*bounds)(long n, float *bound, const float *least, const float *most,
		       const float *side, float square, float reach, float slack);
	/* The i with x[i] >= bar, in order; out: [n + 16]. How many. */
	long (*above)(long n, const float *x, float bar, int *out);

	/* a as float64; a product in float64, in an order of its own. */
	void (*widen)(long d, const float *a, double *wide);
	double (*dot)(long d, const double *a, const float *b);
};
enum { SCAN_BYTES = 32768 };

const struct scan *scan_table(void);

#endif
