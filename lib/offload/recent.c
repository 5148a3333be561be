#include "offload/recent.h"
#include "base/mem.h"
#include <stdlib.h>

static const uint32_t absent = UINT32_MAX; /* in `after` */

struct recent {
	uint32_t items;
	struct {
		uint32_t before, after;
	} * link; /* [items + lists]: a list is a ring, which begins and ends at its own link */
};

bool
recent_has(const struct recent *r, uint32_t item)
{
	return r->link[item].after != absent;
}

static void
detach(struct recent *r, uint32_t item)
{
	const uint32_t before = r->link[item].before, after = r->link[item].after;

	r->link[before].after = after;
	r->link[after].before = before;
}

void
recent_use(struct recent *r, int list, uint32_t item)
{
	const uint32_t end = r->items + (uint32_t)list;

	if (recent_has(r, item))
		detach(r, item);
	r->link[item].before = r->link[end].before;
	r->link[item].after = end;
	r->link[r->link[end].before].after = item;
	r->link[end].before = item;
}

void
recent_drop(struct recent *r, uint32_t item)
{
	detach(r, item);
	r->link[item].after = absent;
}

uint32_t
recent_oldest(const struct recent *r, int list, recent_fn *stays, const void *arg)
{
	const uint32_t first = r->link[r->items + (uint32_t)list].after;
	uint32_t item = first;

	while (stays && item < r->items && stays(arg, item))
		item = r->link[item].after;
	return item < r->items ? item : first;
}

struct recent *
recent_new(long items, int lists)
{
	struct recent *r = mem_zero(1, sizeof *r);

	r->items = (uint32_t)items;
	r->link = mem_zero((size_t)(items + lists), sizeof *r->link);
	for (uint32_t i = 0; i < r->items; i++)
		r->link[i].after = absent;
	for (uint32_t i = r->items; i < r->items + (uint32_t)lists; i++)
		r->link[i].before = r->link[i].after = i;
	return r;
}

void
recent_free(struct recent *r)
{
	if (!r)
		return;
	free(r->link);
	free(r);
}
