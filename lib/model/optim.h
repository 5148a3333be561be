#ifndef MODEL_OPTIM_H
#define MODEL_OPTIM_H
#include "math/kern.h"
#include "model/param.h"

/*
 * AdamW (Loshchilov and Hutter 2019) with decoupled decay on matrices and none on norms:
 *
 *   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
 *   w = w - lr wd w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 *
 * An expert without tokens has a gradient of zero; with `dormancy` it is left as it is: no
 * momentum, no decay.  So is the gate of a detour (model/detour.h) that a layer is not on.
 */
struct optim {
	double beta1, beta2, eps, decay;
	double clip; /* largest norm of the whole gradient, 0 for none */
	bool dormancy;
};

enum schedule_kind { LR_COSINE, LR_LINEAR, LR_CONSTANT, LR_WSD };

/*
 * The learning rate of a step (from 0): from the peak down to the share `end` of it at `steps` by a
 * cosine or a line; or constant; or (wsd) constant until the last fifth of the steps, then a line.
 * During the first `warmup` steps this is multiplied by a line from 1 / warmup to 1.
 */
double optim_rate(enum schedule_kind kind, double peak, double end, long warmup, long steps,
		  long step);

/*
 * The norm of the whole gradient.  When it is not finite, *where (if any) names the first tensor
 * in file order whose gradient is not, with its layer and slot (-1 where they do not apply).
 */
struct optim_fault {
	const char *name;
	int layer, slot;
};
double optim_norm(struct param *p, struct optim_fault *where); /* sets norm2 of each expert */

/* What the kernel has to know of a step, but for the decay. */
struct kern_adamw optim_adamw(const struct optim *o, double rate, long step, double norm);

/* One update with t = step + 1; the experts' touched marks are cleared. */
void optim_step(struct param *p, const struct optim *o, double rate, long step, double norm);

#endif
