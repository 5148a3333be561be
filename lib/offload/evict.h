#ifndef OFFLOAD_EVICT_H
#define OFFLOAD_EVICT_H
#include "offload/access.h"

/*
 * Which expert gives way.  A pool holds a bounded number of items in fast memory; when another is
 * loaded into a full one, the item of least rank goes, among equals the one not used for longest
 * (with `learned` any of them, the same each time).
 *
 *	lru      nothing: it is the longest unused that goes
 *	lfu      the number of uses so far, also of those before it was last evicted
 *	decay    that number with each use counted 2^(-age / half-life), age in steps
 *	learned  hits to be expected per turn of a layer that the item waits in its slot, or as lru
 *	         until that has proven better: see offload/learned
 *	min      minus the time of the next use (Belady 1966): it sees the future, and no policy has
 *	         more counted hits.  An item whose next use is later than that of all others is not
 *	         kept at all.  Only its hits are known, not its pool: see offload/limit
 *
 * An access costs the logarithm of the pool with lfu and decay, with lru and min next to nothing,
 * and a turn with learned the number of its layer's experts.
 */
enum evict_policy { EVICT_LRU, EVICT_LFU, EVICT_DECAY, EVICT_LEARNED, EVICT_MIN };

struct evict;

/*
 * slots for each layer, or with `global` slots times the layers that appear for all; half_life in
 * steps, of decay.  Memory: with EVICT_MIN 4 bytes an access.
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

/*
 * Before a turn: an item of its layer is expected there.  If it is in its slot, it does not give
 * way before the turn is over.
 */
void evict_expect(struct evict *e, uint32_t item);
/*
 * If it is not, load it for turn k, where that saves more than it costs, in loads: a load that is
 * used saves `saves` of one that would be needed, one that is not costs `waste`, and the one that
 * would give way is used with a chance of its own, which only EVICT_LEARNED knows, else 0.  Until
 * its turn is over it does not give way.  Not for EVICT_MIN.  Whether it was loaded.
 */
bool evict_load(struct evict *e, long k, uint32_t item, double chance, double saves, double waste);
/* Items that were so loaded and evicted without a use, or that are there without one; bytes. */
long evict_wasted(const struct evict *e, double *bytes);

#endif
