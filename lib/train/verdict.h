#ifndef TRAIN_VERDICT_H
#define TRAIN_VERDICT_H
#include "pool/census.h"
#include "train/recipe.h"

/*
 * What the recipe's policies make of a window of the census: the rows with their values in them,
 * the events, and what is to be remembered.  A function of its arguments alone, so that whoever has
 * them, a run or a checkpoint of it, comes to the same.
 */
struct verdict {
	struct policy_step rows;
	struct phi *phi; /* [L] */
	struct market_round market;
	struct policy_events others;  /* of the living layer, or of pruning */
	struct policy_events *events; /* of one of them; NULL: this step has none */
};

/*
 * v is zero or used before; shifted: the window is the first whole one of a text that took over
 * from another.  -1 with a message.
 */
int verdict_pass(struct verdict *v, const struct recipe *r, const struct census *c,
		 const struct param *p, long step, bool shifted);
/* Before the events: what the pool keeps for the policy, such as checks below the threshold. */
void verdict_remember(const struct verdict *v, const struct recipe *r, struct param *p);
/* Carry a step's events out, whoever has decided them: see pool_apply. */
int verdict_carry_out(const struct recipe *r, struct param *p, struct policy_events *e);
void verdict_free(struct verdict *v);

#endif
