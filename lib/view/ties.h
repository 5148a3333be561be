#ifndef VIEW_TIES_H
#define VIEW_TIES_H
#include "view/figure.h"
#include "view/life.h"

/*
 * Who works with whom, and who stands near whom: panels for figures that plot.h begins.  The first
 * two are of a trace (moe-trace(5)), whose experts are slots.
 */
enum {
	TIES_NODES = 24,    /* of a flow's side */
	TIES_PANELS = 12,   /* layers; the first ones */
	TIES_EXPERTS = 128, /* of a matrix; the busiest */
	TIES_NAMES = 12,    /* communities of a map that are named */
	TIES_CELLS = 150000 /* of all matrices of a figure */
};

/*
 * Of the samples of each layer, the share whose first choice was i and whose second was j, by tier
 * where the census tells of several, else by slot.
 */
void ties_flow(struct figure *f, const struct life *l);
/*
 * How often experts i and j were chosen together, in shares of what each pair would have if all
 * pairs were as frequent: n_ij / sum n * E (E - 1) / 2.
 */
void ties_pairs(struct figure *f, const struct life *l);
/*
 * Keys in a plane: as moe-knn(1) galaxy placed them, or those of the checkpoint by their two
 * principal components, in the colours of families.
 */
void ties_map(struct figure *f, const struct life *l);

#endif
