#ifndef TRAIN_SURVEY_H
#define TRAIN_SURVEY_H
#include "train/memory.h"
#include "train/recovery.h"

/* A census by phase: who is used while which domain trains, and who sleeps.  See moe-shift(1). */
struct survey {
	char *name;
	struct memory m;
	struct recovery_source loss; /* whose domains the phases are named by */
	struct memory_phase *phase;
	int phases;
	long split; /* windows that hold a shift: they are in no phase */
};

/*
 * A run's directory or a census.  Its phases begin at n rising steps, or with n = 0 where the
 * census' own domains change, or those of the run's losses; with none of these there is one.  -1
 * with a message.
 */
int survey_open(struct survey *c, const char *operand, const long *step, int n);
void survey_close(struct survey *c);

enum survey_by { SURVEY_PHASE, SURVEY_DOMAIN, SURVEY_WINDOW };

/* An expert in the windows of a phase, of a domain, or in one. */
struct survey_use {
	struct memory_use sum;
	int phase;	    /* -1: none, or several */
	const char *domain; /* NULL: untold */
	long from, to;	    /* steps (from, to]; -1: several stretches */
	bool dormant;	    /* its share is at or below the limit */
	/* By phase: steps until the use of one that was dormant in the phase before, and its share
	 * in the last phase of the same domain; NAN where there is none. */
	double used_after, share_before;
};

/* *n of them, by layer, expert and group, freed by free(). */
struct survey_use *survey_uses(const struct survey *c, enum survey_by by, double limit, long *n);

#endif
