#ifndef VIEW_PLOT_H
#define VIEW_PLOT_H
#include "view/figure.h"
#include "view/life.h"

/*
 * Figures of runs.  Runs whose recipes differ in nothing but the seed are one group: its curves are
 * means, with bands of one standard deviation of the sample on each side.
 *
 * A curve of more than PLOT_POINTS steps is drawn in buckets of equal numbers of steps, which do
 * not reach across a shift of the domain: the mean of each and, of a single run, its least and
 * greatest value.
 */
enum { PLOT_POINTS = 150 };

struct plot_group {
	char *name;
	int n;
	int *run; /* [n] index into lives */
};

struct plot_runs {
	int n;
	const struct life *life; /* [n], borrowed */
	int groups;
	struct plot_group *group;
};

/* Group what has been read. */
void plot_runs(struct plot_runs *r, const struct life *life, int n);
void plot_runs_free(struct plot_runs *r);

/* The kinds of figures by name, in the order of a page; NULL beyond the last. */
const char *plot_kind(int i);
/* "loss|terms|...": for a table of options. */
extern const char plot_kinds[];
/* Freed by figure_free; what it lacks is said in it (missing, note). */
struct figure *plot_make(int kind, const struct plot_runs *r);

#endif
