#ifndef TRAIN_ADOPT_H
#define TRAIN_ADOPT_H
#include "model/param.h"

/*
 * Experts taken from other models: the slots of a layer are filled by the experts of the same layer
 * of each checkpoint, in the files' order and by slot, and there are as many as slots.
 */

/* -1 with a message; some experts may then have been filled. */
int adopt_experts(struct param *p, char *const *file, int files);

#endif
