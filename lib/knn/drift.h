#ifndef KNN_DRIFT_H
#define KNN_DRIFT_H
#include <stdbool.h>
#include <stdint.h>

/*
 * An index of keys that move.  Keys lie in clusters, in pages that the scan of scan.h reads as they
 * are.  Of each cluster with direction c the index knows the ranges of a and of |r| over its keys
 * k = a c + r, a = k.c.  With b = q.c therefore
 *
 *	q.k <= max(b a_least, b a_most) + reach |q - b c| |r|_most,   reach = 1,
 *
 * and a cluster whose bound lies below a query's k-th best score needs no look.  A key that moves
 * widens the ranges of its cluster by what it needs, or goes to a nearer cluster if it would widen
 * them; drift_upkeep narrows them again, a few clusters at a time.  So every bound holds at all
 * times, whatever moved and however far: with reach 1 a search is exact, as pick.h defines it, to
 * the bit.  With a smaller reach clusters are passed over that could hold a better key, for in many
 * dimensions r is seldom along q: that search is approximate, and cannot tell what it missed.
 *
 * The task pool must have been started.  The same calls give the same results for any number of
 * workers.
 */
struct drift;

/* Index n keys of d components (finite; copied). clusters: 0 for about sqrt(n). */
struct drift *drift_new(const float *keys, long n, long d, int clusters, uint64_t seed);
void drift_free(struct drift *x);
/*
 * Write the division into clusters to a safetensors file, and make the index of the same keys from
 * it without learning it again.  NULL with a message: no such file, or made of other keys.
 */
int drift_write(const struct drift *x, const char *file);
struct drift *drift_read(const char *file, const float *keys, long n, long d);
const float *drift_key(const struct drift *x, int id); /* [d], until the next move or upkeep */
long drift_clusters(const struct drift *x);

/* Put keys id[m], all different, at key[m][d]. */
void drift_move(struct drift *x, const int *id, long m, const float *key);
/*
 * Once per step: send the keys of one cluster in `turn` to the clusters that are nearest to them by
 * now, and compute those clusters' directions and ranges anew.  After `turn` calls all had theirs.
 */
void drift_upkeep(struct drift *x, int turn);

struct drift_work {
	double scored;	   /* products of a query and a key */
	double considered; /* queries times keys */
	long swept;	   /* queries that were put to all keys, that being cheaper */
};

/*
 * The k best of each query[m][d], best first, id -1 and score -inf where an approximate search
 * found fewer; 0 <= reach <= 1.  work may be NULL; it is added to.  With reach 1 the search takes
 * the way that is expected to be faster, by what earlier ones took: the answer is the same.
 */
void drift_search(struct drift *x, const float *queries, long m, int k, double reach, int *id,
		  float *score, struct drift_work *work);
/* The same by scoring all keys. */
void drift_sweep(struct drift *x, const float *queries, long m, int k, int *id, float *score);

/* Share of the keys exact[m][k] that are among id[m][k]. */
double drift_recall(const int *id, const int *exact, long m, int k);

/* The least reach (in steps of 1/64) at which these queries find this share of their k best. */
double drift_tune(struct drift *x, const float *queries, long m, int k, double recall);

#endif
