#ifndef TRAIN_TRAIN_H
#define TRAIN_TRAIN_H
#include "train/recipe.h"
#include "train/run.h"
#include <signal.h>

/*
 * Training: from a recipe to a finished run directory.  The same call begins a run, goes on with
 * one that was interrupted anywhere, and returns at once when it is complete; the bytes of every
 * file are the same whichever way it went, for any number of workers.
 */

struct train_progress {
	long step, steps;
	const char *domain;
	double loss, val_loss; /* val_loss NaN when not validated at this step */
	double rate;	       /* learning rate */
	long tokens;	       /* of a step; samples of a classifier */
	double tokens_per_s;   /* of this step */
	double flops;	       /* per second, of this step; NAN: not counted */
};

/*
 * Decisions are taken by the run itself if decisions is NULL; by others while the run is not
 * running, TRAIN_HELD, if it is "hold" (see apply.h); else at the other end of the pipe of that
 * name (see decisions.h), which has read the census from where csv[RUN_EXPERTS] goes.
 */
struct train {
	struct recipe *recipe;
	struct opt_table *table; /* of which the recipe's rows are part */
	const char *dir;
	char *csv[RUN_CSVS]; /* elsewhere than in dir; NULL: in dir */
	long ckpt_every;
	const char *decisions;		   /* who takes them: see below */
	const char *timing;		   /* CSV of seconds by part; NULL for none */
	const volatile sig_atomic_t *stop; /* not 0: checkpoint and return TRAIN_STOPPED */
	/* before the first step; s is NULL for a classifier */
	void (*ready)(void *arg, const struct shape *s, long step);
	void (*progress)(void *arg, const struct train_progress *p);
	void *arg;
};

enum train_end { TRAIN_FAILED = -1, TRAIN_DONE, TRAIN_STOPPED, TRAIN_HELD };

/* TRAIN_FAILED with a message; what was checkpointed stays good. */
enum train_end train_run(struct train *t);

/*
 * What a run would take: see moe-train(1), --dry-run.  Uses t's recipe and table alone; data may be
 * missing, and without any the vocabulary is that of bytes.
 */
struct train_plan {
	long params;
	double active, flops; /* parameters and training FLOPs per token */
	double tokens;	      /* of the whole run */
	double rows;	      /* tokens that an expert gets per batch, on average */
	size_t bytes;	      /* resident, at the peak */
};
int train_plan(struct train *t, struct train_plan *out);

#endif
