#ifndef TRAIN_EXPLORE_H
#define TRAIN_EXPLORE_H
#include "policy/ecology.h"
#include "train/recipe.h"

/* E over a run, as its recipe has it: T falls or rises all the way, and E with it. */
struct ecology_e explore_e(const struct recipe *r, long step, long classes);

/* The next step that is worth telling after this one: a tenth of the run, or where a phase begins;
 * -1 after the last. */
long explore_next(const struct recipe *r, long step);

#endif
