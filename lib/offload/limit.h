#ifndef OFFLOAD_LIMIT_H
#define OFFLOAD_LIMIT_H
#include <stdbool.h>
#include <stdint.h>

/*
 * The most hits that any way to evict can have (Belady 1966), counted without a pool and without
 * looking ahead (after Jain and Lin, "Back to the Future", ISCA 2016).
 *
 * An access can be a hit if its item has been kept since the access before it of that item.  So
 * hits are intervals of time, which `room` slots can hold if no moment is in more than `room` of
 * them; and as many as can be are held if each in turn, in the order of their ends, is taken
 * whenever it fits.  An item need not be kept at all.
 *
 * All intervals that end now have the present as their end: what counts of a past moment s is
 *
 *	M(s) = max{intervals taken that hold u : s <= u <= now}
 *
 * which falls with s, from `room` to 0.  A hit since s takes one more: M grows by one from the
 * first moment with the same M as s on; so moments of equal M stay together, and are one set of a
 * union-find.  A step costs next to nothing.  Memory: 4 bytes for each access and item.
 */
struct limit;

/* Room for so many items, of 0 to items - 1, in so many accesses (less than 2^31). */
struct limit *limit_new(long room, long items, long accesses);
void limit_free(struct limit *l); /* NULL is harmless */

/* The next access: whether it is a hit.  One not counted is none, and nothing is kept for it. */
bool limit_access(struct limit *l, uint32_t item, bool counted);

#endif
