#ifndef TRAIN_RECOVERY_H
#define TRAIN_RECOVERY_H
#include "train/score.h"

/* How runs recover from shifts of domain: which shifts, and the figures of moe-shift(1). */

/* A table of losses, and the run's directory that it stands in. */
struct recovery_source {
	struct score_table table;
	char *dir; /* NULL: none */
};

/* A run's directory or a table, "-" standard input. -1 with a message; what that leaves is closed.
 */
int recovery_open(struct recovery_source *s, const char *operand, const char *metric);
void recovery_close(struct recovery_source *s);

/*
 * Cut a run of the source into phases as its own files tell them: at its events, or where the
 * domain of its rows changes.  -1 with a message.
 */
int recovery_phases(const struct recovery_source *s, struct score_run *r);

/* Which shifts are asked for: the last alone, those at steps that rise, or with neither all. */
struct recovery_shifts {
	bool last;
	const long *step; /* [n] */
	int n;
};

/*
 * The run's phases, and which of them, from the second on, follow a shift that is asked for.  Steps
 * that the run knows choose among its shifts; others are taken as given.  [r->phases], freed by
 * free(); NULL with a message.
 */
bool *recovery_choose(const struct recovery_source *s, struct score_run *r,
		      const struct recovery_shifts *which);

enum recovery_level {
	RECOVERY_VALUE,
	RECOVERY_BEFORE, /* the last value before the shift */
	RECOVERY_LEFT	 /* that at the end of the domain's phase before */
};

struct recovery_how {
	enum recovery_level level;
	double value;			 /* of RECOVERY_VALUE */
	int hold;			 /* rows in a row at or below the level */
	const struct score_run *scratch; /* with phases: to compare with; NULL: none */
};

/* In the order of the columns; NAN: there is none. */
enum recovery_figure {
	RECOVERY_SHIFT_STEP,
	RECOVERY_LEVEL,
	RECOVERY_RECOVERED_AT,
	RECOVERY_STEPS,		/* from the shift to there */
	RECOVERY_SCRATCH_STEPS, /* from the start of the domain's phase to the same level */
	RECOVERY_SPEEDUP,	/* scratch steps / steps */
	RECOVERY_BEFORE_SHIFT,	/* the value */
	RECOVERY_FIRST,		/* after it */
	RECOVERY_PEAK,		/* the largest until it is recovered */
	RECOVERY_SPIKE,		/* peak - before */
	RECOVERY_FIGURES
};

struct recovery {
	double figure[RECOVERY_FIGURES];
	long row;      /* of the run, where it has recovered; -1: none */
	bool compared; /* with another run, or with an earlier phase of the same domain */
	int shift;     /* its number in the run, from 1 */
	int hold;      /* the caller's */
};

/*
 * Score the phase.  A run is compared with itself only where the domain was there before.  -1 with
 * a message, x set but for the comparison: `scratch` has several phases and none of this domain.
 */
int recovery_score(const struct score_run *r, int phase, const struct recovery_how *how,
		   struct recovery *x);

/* Figures of one shift and hold over several runs: how many of these, and how many recovered. */
struct recovery_mean {
	long runs, recovered;
	double mean[RECOVERY_FIGURES], sd[RECOVERY_FIGURES];
};
struct recovery_mean recovery_mean(const struct recovery *x, long n, int shift, int hold);

#endif
