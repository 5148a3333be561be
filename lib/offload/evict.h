#ifndef OFFLOAD_EVICT_H
#define OFFLOAD_EVICT_H
#include "offload/access.h"

/*
 * Which expert gives way.  A pool holds a bounded number of items in fast memory; when another is
 * loaded into a full one, the item of least rank goes, among equals the one not used for longest.
 *
 *	lru    the time of the last use
 *	lfu    the number of uses so far, also of those before it was last evicted
 *	decay  that number with each use counted 2^(-age / half-life), age in steps
 *	min    minus the time of the next use (Belady 1966): it sees the future, and no policy has
 *	       more counted hits.  An item whose next use is later than that of all others is not
 *	       kept at all.
 *
 * Ranks do not change while an item waits, so that a heap holds them: an access costs the
 * logarithm of the pool.
 */
enum evict_policy { EVICT_LRU, EVICT_LFU, EVICT_DECAY, EVICT_MIN };

struct evict;

/*
 * slots for each layer, or with `global` slots times the layers that appear for all; half_life in
 * steps, of decay.  EVICT_MIN reads the trace's future at once: 4 bytes per access.
 */
struct evict *evict_new(const struct access_trace *t, enum evict_policy policy, int slots,
			bool global, double half_life);
void evict_free(struct evict *e); /* NULL is harmless */

/*
 * Access number i of t->play, which belongs to this turn: whether the item was there.  Afterwards
 * it is, unless the policy is MIN.
 */
bool evict_access(struct evict *e, const struct access_turn *turn, long i);
bool evict_holds(const struct evict *e, uint32_t item);

#endif
