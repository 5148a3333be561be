#ifndef KNN_EXACT_H
#define KNN_EXACT_H
#include "knn/pick.h"

/*
 * Exact search: for each query the k keys of the greatest scores, as pick.h defines them, without a
 * table of all scores.  Neither the kernels nor the filter nor the number of workers change a bit
 * of the answer.  The task pool must have been started.
 */
enum exact_filter {
	EXACT_AUTO, /* bytes where they should be faster */
	EXACT_FLOAT,
	EXACT_BYTES /* where the processor can; otherwise float32 */
};

struct exact;

/*
 * Make n keys of d dimensions ready (n and d >= 1, finite; borrowed: they must stay, and not
 * change) for about so many queries.  For bytes a copy of n * d bytes is made.
 */
struct exact *exact_new(const float *keys, long n, long d, enum exact_filter filter, long queries);
void exact_free(struct exact *x);
bool exact_uses_bytes(const struct exact *x);

/* Search for queries[m][d], finite; 1 <= k <= n.  id and score: [m][k], best first. */
void exact_search(const struct exact *x, const float *queries, long m, int k, int *id,
		  float *score);

/* The most that a search takes beside its arguments, workers' scratch left out. */
size_t exact_bytes(long n, long d, long m, int k);

#endif
