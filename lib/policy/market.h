#ifndef POLICY_MARKET_H
#define POLICY_MARKET_H
#include "base/opt.h"
#include "policy/event.h"
#include "policy/row.h"

/*
 * The market: experts are valued by what they serve, how well and at what cost, and at each market
 * step the least fit of a layer may be replaced (moe-market(1) has every rule).  For expert i of n
 * in a layer, over the window that the census counted:
 *
 *	c_i = 1 + FLOPs_i / mean FLOPs		(1 if the layer had no token)
 *	A: F = Q D	B: F = Q D / c		C: F = Q D E / c
 *	m_i = min(1, age_i / grace_i), age = (step - born) / interval; 1 for founders
 *	ramp: F_eff = F m			tariff: F_eff = mean F + (F - mean F) m
 *	threshold = mean - kappa sd, ceiling = mean + kappa sd of F_eff, population sd
 *
 * F, F_eff, threshold and ceiling are rounded to float32 and compared as such, so that equal inputs
 * are equal, an expert exactly at the threshold is not below it, and whoever has the tables can
 * repeat each comparison.  Nothing is remembered, nothing is drawn at random; ties go to the lowest
 * slot.
 */
enum market_fitness { MARKET_A, MARKET_B, MARKET_C };
enum market_rule { MARKET_RAMP, MARKET_TARIFF };
enum market_adults { MARKET_ALL, MARKET_ADULTS };

struct market {
	int fitness, grace_rule, grace_pool; /* the enums above */
	long grace;			     /* market steps */
	bool adaptive; /* grace_i = grace exp((barrier + slope (L_i - L)) / heat) */
	double barrier, slope, heat;
	long interval, warmup; /* steps */
	double kappa;
	double spread;	 /* no replacement while sd < spread * mean */
	int persistence; /* checks in a row below the threshold */
	int birth;	 /* 0 mutant, 1 fresh, 2 mean */
	double sigma;	 /* of mutation */
	double width_step;
	struct opt_ints slots; /* of every layer, or of each; none: those in use */
	int least;	       /* experts below which a layer does not shrink; 0: it never does */
	bool migration;
	char *without; /* mechanisms that are off, a,b,c */
	unsigned off;  /* the same, by market_check */
};

void market_init(struct market *m); /* the defaults */

/* The rows for a program's table; struct market stands at `at` in the program's own struct. */
enum { MARKET_ROWS = 20 };
int market_rows(struct opt *row, size_t at);

/* After the options are read: what they cannot say alone. -1 with a message. */
int market_check(struct market *m);

/* Mechanisms that are the trainer's: whether `without` leaves them. After market_check. */
bool market_dormancy(const struct market *m);
bool market_price(const struct market *m);

/* Columns of the census (enum row_column) without which the market cannot value, or decide. */
unsigned market_needs(const struct market *m, bool decide);
/* Those that it uses where they are. */
unsigned market_wants(void);

/* Whether a census at this step is a market step: every interval, after the warm-up. */
bool market_due(const struct market *m, long step);

/* A layer's market. */
struct market_layer {
	int layer;
	double mean, sd;	   /* of F_eff, over the grace pool */
	double threshold, ceiling; /* inf and -inf when selection has no threshold */
	int lowest;		   /* row of the least F_eff, from the layer's first */
	int worst; /* of the least that may be replaced; -1: all are in their grace */
	int best;
	bool crossed;	   /* the least F_eff is below mean - kappa sd, whoever it is */
	const char *cause; /* of what was decided */
};

/*
 * Value the rows of one layer, in slot order: fitness, effective, maturity and essential are set.
 *
 * Demand-essential: 1.5 fair shares of demand or more, D >= 1.5 / n.  Quality-essential: a mean
 * loss 1/Q of at most 0.95 of the layer's mean over experts with tokens.  Exclusive-essential:
 * clearly the first choice of a fair share of the tokens, E >= 1 / n.
 */
void market_value(const struct market *m, struct policy_row *r, int n, struct market_layer *l);

/* What a market step came to. */
struct market_round {
	struct policy_events events; /* in slot order by layer, moves between layers last */
	struct market_layer *layer;  /* [layers] */
	int layers, room;
};

/*
 * Value all layers and decide.  A layer where nothing happens has one keep event: the worst expert,
 * its F_eff, the threshold, and why it was kept.  -1 with a message: slots that do not fit.
 */
int market_decide(const struct market *m, struct policy_step *s, struct market_round *r);
void market_round_free(struct market_round *r);

#endif
