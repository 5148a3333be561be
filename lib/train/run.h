#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H
#include "base/file.h"
#include "io/table.h"

/*
 * A run directory: its CSVs, and the marks that a checkpoint keeps of them, so that a resumed run
 * cuts each to where it stood and goes on with the same bytes.  See moe-run(5).
 */
enum run_csv { RUN_LOSS, RUN_EXPERTS, RUN_EVENTS, RUN_LAYERS, RUN_TRACE, RUN_CSVS };

struct run {
	char *dir;
	struct file *file[RUN_CSVS]; /* NULL: not wanted */
	char *path[RUN_CSVS];
	struct row row[RUN_CSVS]; /* writers on the files */
};

/* DIR/NAME; freed by free(). */
char *run_path(const char *dir, const char *name);
/* What a command line names: a run's directory, not a file or "-"; it without the last slash. */
bool run_is_dir(const char *operand);
char *run_name(const char *operand); /* freed by free() */

/*
 * Open the CSVs, in dir or where `elsewhere` says (NULL: in dir; "-" and pipes too).  With marks
 * (text of run_marks, from a checkpoint) each is checked against its mark and cut to it, else each
 * starts anew.  wanted[i] false leaves one out.  -1 with a message, nothing changed, when a file is
 * shorter than its mark or differs within it.
 */
int run_open(struct run *r, const char *dir, char *const elsewhere[RUN_CSVS],
	     const bool wanted[RUN_CSVS], const char *marks);
/*
 * Those alone that go to pipes, of a run to which nothing is to be added: who waits at one sees its
 * end when they are closed.  A file is left as it is.
 */
int run_open_pipes(struct run *r, const char *dir, char *const elsewhere[RUN_CSVS],
		   const char *marks);
bool run_new(const struct run *r, enum run_csv i);   /* has no header yet */
bool run_piped(const struct run *r, enum run_csv i); /* is no file that a resumed run cuts */
/* Flush one to the system, for readers. */
int run_flush(struct run *r, enum run_csv i);
/* How far each has been flushed: "NAME BYTES CRC32" lines, freed by free(). */
char *run_marks(const struct run *r);
/* Flush and fdatasync all; a pipe that has broken is not told here, but by the next flush. */
int run_sync(struct run *r);
int run_close(struct run *r);

#endif
