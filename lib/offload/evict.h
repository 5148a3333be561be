#ifndef OFFLOAD_EVICT_H
#define OFFLOAD_EVICT_H
#include "offload/access.h"

/*
 * Which expert gives way.  A pool holds a bounded number of items in fast memory; when another is
 * loaded into a full one, the item of least rank goes, among equals the one not used for longest.
 *
 *	lru      nothing: it is the longest unused that goes
 *	lfu      the number of uses so far, also of those before it was last evicted
 *	decay    that number with each use counted 2^(-age / half-life), age in steps
 *	learned  hits to be expected per turn of a layer that the item waits in its slot, below
 *	min      minus the time of the next use (Belady 1966): it sees the future, and no policy has
 *	         more counted hits.  An item whose next use is later than that of all others is not
 *	         kept at all.
 *
 * learned: with p the chance of use in the next turn of its layer and q in each later one, from
 * offload/hazard, and d the turns of other layers until then (d = L, the number of layers, for the
 * layer whose turn it is),
 *
 *	rank = max(p, q / (1 + q - p)) / d
 *
 * The first is the expectation of one who waits for the next turn only, p / d; the second of one
 * who waits until the use, 1 / (d + (1 - p) L / q) at d = L: an item is worth the better of the
 * two (an index after Gittins for when to stop waiting).  What the policy knows: the experts of
 * all turns so far, of the prompt's layers so far, and those that the router has named for the
 * turn at hand; those of them that still wait for their access do not give way.
 *
 * Beside it run, in as many slots each, lru and a ghost, which is this order alone.  The order is
 * followed only while the ghost has had clearly more of the recent hits than lru, and more than it
 * could still lose; and it stakes no more hits than these.  At any moment of any trace
 *
 *	hits >= hits of lru - the most that the ghost was ahead,
 *
 * and where it never is, as on traces for which lru is the best, the hits are those of lru.
 *
 * Ranks do not change while an item waits, or those of a layer change together, so that heaps hold
 * them: an access costs the logarithm of the pool, with `learned` also the number of layers, and
 * a turn the number of experts of its layer.
 */
enum evict_policy { EVICT_LRU, EVICT_LFU, EVICT_DECAY, EVICT_LEARNED, EVICT_MIN };

struct evict;

/*
 * slots for each layer, or with `global` slots times the layers that appear for all; half_life in
 * steps, of decay.  EVICT_MIN reads the trace's future at once: 4 bytes per access.
 */
struct evict *evict_new(const struct access_trace *t, enum evict_policy policy, int slots,
			bool global, double half_life);
void evict_free(struct evict *e); /* NULL is harmless */

/*
 * Make the accesses of turn k of t->play, turns in order, each once.  hit[i], of as many as the
 * turn has, tells whether access i found its item; afterwards the item is there, unless the policy
 * is MIN or the pool too small for all of the turn.  The number of hits is returned.
 */
long evict_turn(struct evict *e, long k, bool *hit);
bool evict_holds(const struct evict *e, uint32_t item);

/*
 * Before turn k: an item of its layer is expected there.  If it is in its slot, it does not give
 * way before the turn is over.
 */
void evict_expect(struct evict *e, long k, uint32_t item);
/*
 * If it is not, load it, where that saves more than it costs, in loads: a load that is used saves
 * `saves` of one that would be needed, one that is not costs `waste`, and the one that would give
 * way is used with a chance of its own, which only EVICT_LEARNED knows, else 0.  Until its turn is
 * over it does not give way.  Not for EVICT_MIN.  Whether it was loaded.
 */
bool evict_load(struct evict *e, long k, uint32_t item, double chance, double saves, double waste);
/* Items that were so loaded and evicted without a use, or that are there without one; bytes. */
long evict_wasted(const struct evict *e, double *bytes);

#endif
