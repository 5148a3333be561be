#ifndef KNN_PICK_H
#define KNN_PICK_H
#include "knn/scan.h"
#include <stdbool.h>
#include <stddef.h>

/*
 * What a search looks for, and the one place where it is decided.
 *
 * The score of a key under a query is the sum over j = 0, 1, ... of q[j] k[j] in float64, rounded
 * to float32.  The best k are those of the greatest scores, of equal ones those of the lowest id.
 * Filters (scan.h) only propose: a pick computes the scores of what they propose.
 */

/* That score. */
float pick_score(long d, const float *q, const float *k);

struct pick_found {
	float score;
	int id;
};

/* At least the Euclidean norm, and by no more than 1 part in 10^6. */
double pick_norm(long d, const float *x);

/* Where |q| |k| may be greater, scores may be infinite, and no filter is a proof. */
#define PICK_MOST 0x1p125

/* Twice a bound of |float32 filter's score - score|, with norms >= |q| |k|; inf from PICK_MOST. */
float pick_slack(long d, double norms);

/* The keys of a search: row r is the key number id[r], or r if id is NULL. */
struct pick_keys {
	const float *key;
	const int *id;
	long d;
	double norm; /* at least that of each */
};

/*
 * Up to SCAN_LANES queries under way.  The filter's score is unit * score + offset, within half
 * the slack; pick_start supposes float32: 1 and 0, and pick_slack.
 */
struct pick {
	struct scan_state scan;
	const struct scan *table;
	const struct pick_keys *keys;
	int lanes, k;
	double *wide; /* [d] the query being settled */
	struct pick_lane {
		const float *query;
		double norm, unit, offset;
		int found, waiting;
		struct pick_found *best; /* [k] the best of those that have been scored */
		struct pick_found *wait; /* [PICK_WAIT] rows proposed and their filter's scores */
	} lane[SCAN_LANES];
};
enum { PICK_WAIT = 128, PICK_BEST = 64 };

/* Bytes of memory that a pick needs beside the struct; the hits may be shared. */
size_t pick_bytes(int k, long d);
/* Begin a search for queries[lanes][d], k >= 1, with pick_bytes of memory. */
void pick_start(struct pick *p, const struct pick_keys *keys, int lanes, int k,
		const float *queries, void *memory, struct scan_hits *hits);
/* Only scores of at least this matter to a lane. */
void pick_bar(struct pick *p, int lane, float score);
/* Take the hits that there are; a hit's row counts from `from`. */
void pick_take(struct pick *p, long from);
/* Score all that waits: best then holds the best of all that were offered, best first. */
void pick_settle(struct pick *p);

/* Put one into a list of the best k, n of them there; the number there now. */
int pick_insert(struct pick_found *best, int n, int k, struct pick_found f);

#endif
