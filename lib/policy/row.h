#ifndef POLICY_ROW_H
#define POLICY_ROW_H
#include "io/table.h"
#include <stdbool.h>

/*
 * The census as policies read it: one row per expert and window, the columns of experts.csv (see
 * moe-run(5)).  A value is a whole number, or a float32 that was rounded once, held in a double: a
 * policy that reads the table gets the very numbers of one that was handed the rows.
 */
struct policy_row {
	long step;
	int layer, slot;
	long expert, parent, born; /* parent -1, born 0: a founder */
	int tier;
	long tokens;
	double demand, quality, exclusivity, flops;
	double fitness, effective;	  /* what a policy makes of the row; NAN: nothing yet */
	double vitality, usage, accuracy; /* NAN: not measured */
	long below;	   /* checks in a row before this one with effective < threshold */
	int width;	   /* hidden neurons; 0: not told */
	bool essential[3]; /* enum policy_essential */
	double maturity;   /* share of its grace that it has lived, 0 to 1; in no table */

	/* Of the living layer (policy/living.h); NAN and 0 elsewhere. */
	double gradient;    /* mean norm of the expert's gradient */
	double energy;	    /* x after the check before this one */
	long over, starved; /* counts after the check before this one */
	long twin;	    /* id of the twin from whom it has not parted; -1: none */
	double load_factor, gradient_factor; /* what the policy makes of the row */
	/* Of its layer, in the first row of each alone; 0 and -1 elsewhere, phi NAN. */
	double phi;			      /* Phi of the experts */
	double phi_high, loss_low, norm_mean; /* after the check before; 0: nothing yet */
	long plateau;			      /* checks since loss_low; after the check before */
	long escape;			      /* steps of a detour that are left */
	double loss;			      /* what the policy makes of it; in no table */
	struct {
		double energy;
		long over, starved;
		double phi_high, loss_low, norm_mean;
		long plateau;
	} next; /* after this check; in no table */
};

/* The three ways in which an expert can matter; the columns demand_essential and so on. */
enum policy_essential { POLICY_DEMAND, POLICY_QUALITY, POLICY_EXCLUSIVE };

/* Columns by name, to say which are wanted. */
enum row_column {
	ROW_EXPERT = 1 << 0,
	ROW_PARENT = 1 << 1,
	ROW_BORN = 1 << 2,
	ROW_TIER = 1 << 3,
	ROW_TOKENS = 1 << 4,
	ROW_DEMAND = 1 << 5,
	ROW_QUALITY = 1 << 6,
	ROW_EXCLUSIVITY = 1 << 7,
	ROW_FLOPS = 1 << 8,
	ROW_VITALITY = 1 << 9,
	ROW_USAGE = 1 << 10,
	ROW_ACCURACY = 1 << 11,
	ROW_BELOW = 1 << 12,
	ROW_WIDTH = 1 << 13,
	ROW_GRADIENT = 1 << 14,
	ROW_ENERGY = 1 << 15,
	ROW_OVER = 1 << 16,
	ROW_STARVED = 1 << 17,
	ROW_TWIN = 1 << 18,
	ROW_PHI = 1 << 19,
	ROW_PHI_HIGH = 1 << 20,
	ROW_LOSS_LOW = 1 << 21,
	ROW_NORM_MEAN = 1 << 22,
	ROW_PLATEAU = 1 << 23,
	ROW_ESCAPE = 1 << 24,
	ROW_SLOT = 1 << 25 /* needed: it or expert */
};

/* One step: its rows by layer, then slot; layer k is row[begin[k]] to row[begin[k + 1] - 1]. */
struct policy_step {
	long step;
	int n, room;
	struct policy_row *row;
	int layers, layer_room;
	int *begin; /* [layers + 1] */
};

void policy_step_add(struct policy_step *s, const struct policy_row *r); /* in order */
void policy_step_clear(struct policy_step *s);
void policy_step_free(struct policy_step *s);

/*
 * Reading a census, one step at a time, in memory for two.  A step ends where `left`, the rows of
 * the step still to come, is 0: nothing is read beyond, so that the other end of a pipe may wait
 * for the answer.  Without that column it ends where the next begins, or the table.
 *
 * Columns step and layer must be there, and those of `need`; of `want` those that are.  Of slot and
 * expert the one stands for the other where it is missing, the order of the rows for both; without
 * born all are founders.  What no one wants is not looked at.
 *
 * Refused, with FILE:LINE: steps that do not rise, layers or slots that do not rise within a step,
 * layers that come or go, `left` that does not count down, an expert twice in a layer or one that
 * the step before did not have and that was not born since, shares outside [0, 1], what is negative
 * or not finite.
 */
struct policy_census;

struct policy_census *policy_census_open(const char *name, unsigned need, unsigned want);
/* 1 and a step, which holds until the next call; 0 at the end; -1 with a message. */
int policy_census_next(struct policy_census *c, struct policy_step **s);
/* Whether the next call may have to wait: who answers by pipe flushes before. */
bool policy_census_waits(const struct policy_census *c);
void policy_census_close(struct policy_census *c); /* NULL is harmless */

/* The table's own columns, to hand on what no policy knows; keep before the first step. */
void policy_census_keep(struct policy_census *c);
int policy_census_columns(const struct policy_census *c);
const char *policy_census_header(const struct policy_census *c, int column);
const char *policy_census_text(const struct policy_census *c, int row, int column);

/* Writing: the columns of experts.csv, and a row; left is the number still to come. */
extern const char policy_row_columns[];
int policy_row_write(struct row *w, const struct policy_row *r, long left);

#endif
