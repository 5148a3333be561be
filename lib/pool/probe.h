#ifndef POOL_PROBE_H
#define POOL_PROBE_H
#include "model/param.h"
#include "policy/phi.h"

/*
 * Phi of a layer's experts.  An expert's signature is what it gives out on PROBE_ROWS inputs of
 * independent normal numbers, whose mean square is that of a normalised input.  They are drawn by
 * (0, RNG_PROBE, 1, row): the same for all experts, steps and runs of a width, so that Phi can be
 * compared.  The work is linear in the experts.
 */
enum { PROBE_ROWS = 16 };

struct phi probe_phi(const struct param *p, int layer);

#endif
