#ifndef MODEL_START_H
#define MODEL_START_H
#include "model/param.h"

/*
 * How experts begin, other than as param_init has them, for each of their matrices [out, in]:
 *
 *	sparse      in each column half of the rows, drawn, are 0 and the others Normal(0, 0.01)
 *	default     uniform within +-1 / sqrt(in)
 *	orthogonal  rows of length 1 at right angles to each other, or columns if there are fewer
 *	pretrained  those of other models
 *
 * Draws are by (seed, RNG_INIT, 1, layer, slot and matrix).
 */
enum start { START_NORMAL, START_SPARSE, START_DEFAULT, START_ORTHOGONAL, START_PRETRAINED };

/* By name; -1 with a message. */
int start_kind(const char *name);

/* Start the experts anew; not for START_NORMAL and START_PRETRAINED. */
void start_experts(struct param *p, enum start kind, uint64_t seed);

#endif
