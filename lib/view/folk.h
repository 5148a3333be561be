#ifndef VIEW_FOLK_H
#define VIEW_FOLK_H
#include "view/figure.h"
#include "view/life.h"

/*
 * What a run's experts do one by one: panels for figures that plot.h begins.  Where there are too
 * many to be seen, what is put together or left out stands in the figure's note.
 */
enum {
	FOLK_LINES = 64,    /* of a layer; more are drawn as quartiles */
	FOLK_POINTS = 240,  /* of a line; more are put together */
	FOLK_ROWS = 1024,   /* of a layer's heat map */
	FOLK_COLUMNS = 300, /* of it */
	FOLK_SPANS = 1500   /* lives in a layer's family tree */
};

void folk_use(struct figure *f, const struct life *l);
void folk_fitness(struct figure *f, const struct life *l);
void folk_vitality(struct figure *f, const struct life *l);
void folk_tiers(struct figure *f, const struct life *l);
void folk_family(struct figure *f, const struct life *l);

#endif
