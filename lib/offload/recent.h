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

/* The one unused for longest of a list that is not empty, but for those that stay (NULL: none), if
 * others are there. */
typedef bool recent_fn(const void *arg, uint32_t item);
uint32_t recent_oldest(const struct recent *r, int list, recent_fn *stays, const void *arg);

#endif
