#ifndef POLICY_PRUNE_H
#define POLICY_PRUNE_H
#include "policy/event.h"
#include "policy/row.h"

/*
 * Dormant experts, those whose demand is below a share of the fair one (1 / n of a layer of n),
 * die or are merged into the nearest expert of their layer: what is done with a mixture of experts
 * to make it smaller, and the control for a market that keeps them.
 *
 *	dormant: n D < below		both rounded to float32, compared as such
 *
 * Those with least demand go first, ties to the lowest slot, and a layer keeps `least` experts.
 * Nothing is remembered and nothing drawn at random.  Which expert is nearest the census does not
 * tell: the pool knows, see pool.h.
 */
enum prune_kind { PRUNE_NONE, PRUNE_DEATH, PRUNE_MERGE };

struct prune {
	int kind;     /* enum prune_kind */
	double below; /* in fair shares */
	int least;    /* experts that a layer keeps, at least 1 */
};

/* Columns of the census (enum row_column) that it needs, and those that it uses if they are there.
 */
enum { PRUNE_NEEDS = ROW_DEMAND | ROW_SLOT, PRUNE_WANTS = ROW_EXPERT | ROW_BORN };

/*
 * The events of a step, by layer and slot, with n D as value and `below` as threshold.  A layer
 * where nobody goes has one keep event, of the expert with least demand; its cause is "fit", or
 * "least" if it stays for want of others.
 */
void prune_decide(const struct prune *p, const struct policy_step *s, struct policy_events *to);

#endif
