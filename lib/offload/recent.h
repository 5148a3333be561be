#ifndef OFFLOAD_RECENT_H
#define OFFLOAD_RECENT_H
#include <stdbool.h>
#include <stdint.h>

/* The items of a pool, or of one for each layer, from the one unused for longest to the latest. */
struct recent;

struct recent *recent_new(long items, int lists);
void recent_free(struct recent *r); /* NULL is harmless */

bool recent_has(const struct recent *r, uint32_t item);
/* Behind all others of the list, wherever it was. */
void recent_use(struct recent *r, int list, uint32_t item);
void recent_drop(struct recent *r, uint32_t item);

/* The next after an item, or the first of a list; at least the number of items: no further one. */
uint32_t recent_next(const struct recent *r, uint32_t item);
uint32_t recent_first(const struct recent *r, int list);

#endif
