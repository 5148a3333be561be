#ifndef OFFLOAD_SLOTS_H
#define OFFLOAD_SLOTS_H
#include "offload/fetch.h"
#include "offload/store.h"

/*
 * The slot pool: so many places in memory for the leaves of a store, several reads in flight.  The
 * caller takes a layer's leaves, which pins them and begins to read those that are absent, computes
 * with each as it comes, and gives them back.  What it names ahead is read when all that is needed
 * has come, as far as that is expected to save more than it costs; what of that has not begun when
 * the next leaves are taken, and is not among them, is forgotten, so that nobody waits for a wrong
 * guess.  All calls come from one thread; others may read the bytes of pinned leaves.
 *
 * When there is no room, leaves that are not pinned give way: those not used for longest or, once
 * slots_worth has been called, those of least worth.  Contents never depend on any of this: a slot
 * holds what was read of its leaf, or the wait for it fails; slots_sound tells whether these are
 * its bytes.
 */
struct slots;

struct slots_count {
	long taken;  /* leaves that were needed */
	long hits;   /* of them there already, used before or read ahead in time */
	long late;   /* of them on their way, read ahead too late */
	long loads;  /* reads done, of either kind */
	long ahead;  /* reads begun ahead of need */
	long wasted; /* of those never used: evicted before, or left at the end */
	long evicted;
	uint64_t bytes, wasted_bytes; /* read; read for nothing */
};

/* need: leaves that a caller takes at once, at most; n is not below.  NULL with a message. */
struct slots *slots_new(const struct store *s, int n, int need, int readers, enum fetch_way way);
void slots_free(struct slots *p);		     /* NULL is harmless */
size_t slots_bytes(const struct store *s, int n);    /* memory for so many */
int slots_room(const struct store *s, size_t bytes); /* how many fit, at most all leaves */

bool slots_there(const struct slots *p, int leaf); /* or on its way */
bool slots_used(const struct slots *p, int leaf);  /* since it came */
/* Pin these; absent[0, n') are the places in leaf[] of those that are not there yet; n'. */
int slots_take(struct slots *p, int n, const int *leaf, int *absent);
/*
 * Which of leaf[absent[i]] have come?  With `wait`, wait until one has at least.  Puts the places
 * of all that have to the end of absent[0, n) and returns how many are still absent, or -1 with a
 * message when one cannot be read.
 */
int slots_await(struct slots *p, int n, const int *leaf, int *absent, bool wait);
/* The bytes of a pinned leaf that is there. */
const void *slots_at(const struct slots *p, int leaf);
/*
 * Are they those of the store?  To be asked before each use, by whatever thread uses them, where
 * reading them once more costs little: it verifies them the first time.  False with a message.
 */
bool slots_sound(struct slots *p, int leaf);
/* Unpin, once none is absent or slots_await has failed: then it waits for the others. */
void slots_give(struct slots *p, int n, const int *leaf);
/*
 * Instead of what was named before: read these when nothing better is to do, first ones first, with
 * their chances to be needed next.  One with the chance c is read if, counted in reads of a leaf,
 *
 *   c > (1 - c) v + w
 *
 * v is 1/4 (0 in slots_idle); w the chance that what gives way is needed at its layer's next turn,
 * 1/2 before slots_worth, 0 for nothing.  c and w become what has proven true of leaves read ahead
 * before, whose chances were near: one that is absent may be less likely than another.  No more are
 * read than slots_time.
 */
void slots_ahead(struct slots *p, int n, const int *leaf, const float *chance);
/* As many as fit into the time that the disk used to have between what is needed and the next; 1
 * at least. */
int slots_time(const struct slots *p);
/* May any leaf with this chance be read? */
bool slots_hopeful(const struct slots *p, float chance);
/* Nothing is needed until then: read what was named; returns when it is there, or it is time. */
void slots_idle(struct slots *p, double until);

/*
 * A layer's turn has come, and its experts' chances to be needed when it comes again are these
 * [E].  The worth of a leaf is what it is expected to save per turn that it waits in its slot,
 *
 *   chance of its expert * share of the expert's uses in which the leaf was active / turns to come
 *
 * where a layer that has just had its turn waits for as many turns as there are layers.
 */
void slots_worth(struct slots *p, int layer, const float *chance);
/* Their experts were used: which of these leaves have been active, and which added nothing? */
void slots_active(struct slots *p, int n, const int *leaf, const bool *active);
/* Wait until all reads have ended. */
void slots_settle(struct slots *p);

/* Up to now; reads ahead that were not used count as wasted. */
struct slots_count slots_counts(const struct slots *p);

#endif
