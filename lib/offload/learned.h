#ifndef OFFLOAD_LEARNED_H
#define OFFLOAD_LEARNED_H
#include "offload/access.h"

/*
 * Which item of a pool gives way by what was learned of it, and never to less effect than by lru.
 * The pool itself is the caller's, who tells what happens to it.
 *
 * With p the chance of use in the next turn of its layer and q in each later one, from
 * offload/hazard, and d the turns of other layers until then (d = L, the number of layers, for the
 * layer whose turn it is), the item of least
 *
 *	max(p, q / (1 + q - p)) / d
 *
 * goes.  The first is the expectation of one who waits for the next turn only, p / d; the second of
 * one who waits until the use, 1 / (d + (1 - p) L / q) at d = L: an item is worth the better of the
 * two (an index after Gittins for when to stop waiting).  What is known: the experts of all turns
 * so far, of the prompt's layers so far, and those that the router has named for the turn at hand;
 * those of them that still wait for their access do not give way.
 *
 * Beside the pool run, in as many slots each, lru and a ghost, which is this order alone.  The
 * order is followed only while the ghost has had clearly more of the recent hits than lru, and more
 * than it could still lose; and it stakes no more hits than these.  At any moment of any trace
 *
 *	hits >= hits of lru - the most that the ghost was ahead,
 *
 * and where it never is, as on traces for which lru is the best, the hits are those of lru.
 *
 * The worth of a layer's items changes at its turn alone, and only d between the layers: of each
 * layer the item of least worth is kept at hand.  A turn costs a pass over the layer's experts, an
 * item that gives way another and one over the layers.
 */
struct learned;

/* room: of the pool for all layers, or with `global` false of each layer's; the caller keeps it. */
struct learned *learned_new(const struct access_trace *t, const long *room, bool global);
void learned_free(struct learned *v); /* NULL is harmless */

/* Before the accesses of turn k of t->play; from then on its items wait for theirs. */
void learned_begin(struct learned *v, long k);
/* The pool's item that gives way to one of this layer. */
uint32_t learned_victim(const struct learned *v, int layer);
/* The item has been accessed, or was brought, and is in the pool; it has left. */
void learned_use(struct learned *v, uint32_t item);
void learned_drop(struct learned *v, uint32_t item);
/* The access is over, and was a hit of the pool: the others play it, too. */
void learned_compare(struct learned *v, uint32_t item, bool hit);

/* An item of the pool does not give way before the next turn of its layer, by another's advice. */
void learned_expect(struct learned *v, uint32_t item);
bool learned_waits(const struct learned *v, uint32_t item);
double learned_worth(const struct learned *v, uint32_t item);

#endif
