#ifndef KNN_STIR_H
#define KNN_STIR_H
#include "knn/drift.h"
#include "knn/vectors.h"

/*
 * Keys that move, and queries near them, for an index to keep up with.  Draws are those of (seed,
 * RNG_PROBE, step): what a step draws depends on no other, only on where the keys stand.
 */
struct stir {
	const struct drift *x; /* holds the keys */
	long n, d;
	uint64_t seed;
};

/* query[m][d]: each a key drawn at random with normal noise on it, as long as the key. */
void stir_queries(const struct stir *s, long step, double noise, long m, float *query);

/*
 * Of `want` keys, drawn without repetition: which, and where they go, each about so far and as far
 * from 0 as it was.  moved[n], to[n][d]; how many they are.
 */
long stir_moves(const struct stir *s, long step, long want, double distance, int *moved, float *to);

/* The keys that stand elsewhere in v; -1 with a message: it has another shape. */
long stir_changes(const struct stir *s, const struct vectors *v, int *moved, float *to);

#endif
