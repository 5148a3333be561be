#ifndef VIEW_STORY_H
#define VIEW_STORY_H
#include "view/plot.h"

/*
 * What happened in runs, for a reader who knows nothing of them: HTML.  The table has rows of run,
 * seed, steps, first and last loss, living, births, deaths, replacements, with mean and sd of each
 * group of several runs.  The last loss is the mean of the last STORY_LAST steps.
 */
enum { STORY_LAST = 20 };

void story_lede(const struct plot_runs *r, FILE *out); /* a paragraph: what it was that ran */
void story_tell(const struct life *l, FILE *out);
void story_table(const struct plot_runs *r, FILE *out); /* the lists, too: whose loss is least */

#endif
