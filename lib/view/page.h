#ifndef VIEW_PAGE_H
#define VIEW_PAGE_H
#include "view/plot.h"

/*
 * One HTML file for runs, which needs no other file and no network: what happened, tables, the life
 * of the first run's experts to be played, every figure that can be drawn with its numbers, recipes
 * and environments with their differences.  There may be no run if there are tables.  live: the
 * life first, and without frames, which the page takes from the server that it comes from (see
 * live.h).
 */
struct page_table {
	const char *name; /* of a CSV that is shown as it is */
};

struct page {
	const struct plot_runs *runs;
	const struct life *baseline; /* NULL: none */
	int tables;
	const struct page_table *table;
	bool live;
};

/* -1 with a message if a table cannot be read. */
int page_write(const struct page *p, FILE *out);
/* What happened and the figures, as they stand in the page: what changes while a run goes on. */
void page_part(const struct plot_runs *r, FILE *out);

#endif
