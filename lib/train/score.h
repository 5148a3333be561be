#ifndef TRAIN_SCORE_H
#define TRAIN_SCORE_H
#include <stdbool.h>

/*
 * Recovery after a shift of domain, from the table of losses of any trainer.
 *
 * Rows are numbered by `step`, rising.  A table that begins with step 0 numbers a row by the steps
 * done before it, any other (as ours) by the steps done with it: after a shift at step S, that is
 * between step S and the next, the first row is S of the one and S + 1 of the other.
 */
struct score_phase {
	long step;	  /* of the shift; 0 for the first phase */
	long doubt;	  /* the shift may be as far as this step; equal to step: it is certain */
	const char *name; /* the domain; NULL: untold */
	long first, end;  /* rows [first, end) */
};

struct score_run {
	char *name;
	long n, room;
	long *step;
	double *value; /* NAN where the field is empty */
	int *domain;   /* index into the table's names; -1: untold */
	int phases;
	struct score_phase *phase; /* NULL until score_phases */
};

/* The runs of one table, in the order in which they appear. */
struct score_table {
	char *file;
	int runs;
	struct score_run *run;
	int names;
	char **name; /* of domains */
};

/*
 * Read the columns step, METRIC, and where they are there domain and run; without a column run the
 * table is one run, called NAME.  -1 with a message: a step that does not rise, a value that is
 * not finite, a run without any value.
 */
int score_read(struct score_table *t, const char *file, const char *name, const char *metric);
void score_free(struct score_table *t);

/* Steps of the rows `shift` of a table of events, freed by free(). -1 with a message. */
int score_events(const char *file, long **step, int *n);

/*
 * Cut a run into phases at n rising steps, or with n = 0 where its domain changes: there a row
 * without a value marks its own step, and between rows that are further apart the shift is taken
 * to be at the earlier row (at the later one if the table begins with step 0), in doubt.  -1 with a
 * message when no row follows a step.
 */
int score_phases(const struct score_table *t, struct score_run *r, const long *shift, int n);

/* Put in each value's place the mean of the last n values of its phase up to it. */
void score_smooth(struct score_run *r, int n);

double score_last(const struct score_run *r, int phase); /* value of a phase; NAN: it has none */
double score_first(const struct score_run *r, int phase);

/* The phase before this one with the same domain, or the first with this domain; -1 if none. */
int score_earlier(const struct score_run *r, int phase);
int score_phase_of(const struct score_run *r, const char *domain);

/*
 * The row at which a phase has recovered: the first with a value at or below the level that is
 * followed, in the phase, by enough values at or below it to make `hold` in a row.  -1: none.
 */
long score_recover(const struct score_run *r, int phase, double level, int hold);

/* The largest value of a phase up to row `end`, which is -1 for all of it. */
double score_peak(const struct score_run *r, int phase, long end);

/* Mean and, of two or more, standard deviation (n - 1) of the values that are not NAN. */
struct score_mean {
	long n;
	double mean, sd; /* NAN where there are too few */
};
struct score_mean score_mean(const double *v, long n);

#endif
