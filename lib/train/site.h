#ifndef TRAIN_SITE_H
#define TRAIN_SITE_H
#include "base/opt.h"
#include "data/tokens.h"
#include <stdint.h>

/*
 * The directory of a run: one trainer at a time, and one recipe for good.  The recipe's text, as
 * RUN/recipe and checkpoints hold it, is the options in force and a line for each piece of data:
 * "made-of KIND NAME@STEP BYTES CRC32".
 */
struct site {
	const char *dir;
	int lock;   /* -1: none */
	char *text; /* of the recipe */
};

/* A piece of data; kind is "train", "val", "from" or "experts". */
struct site_source {
	const char *kind, *name;
	long step;
	uint64_t bytes;
	uint32_t crc;
};

/* Make the directory and lock it. -1 with a message, also if another is at work there. */
int site_lock(struct site *s);

/* Set the text. */
int site_recipe(struct site *s, const struct opt_table *t, const struct site_source *v, int n);

/*
 * A recipe that tells by made-of lines what its data was refuses other data, unless the command
 * line names it (as `data`, `val`, `resume-from` or `experts-from`).
 */
int site_check(const struct site *s, const struct opt_table *t, const struct opt_many *made_of);

/* The same of a schedule of data: each line of the kind "train" has a file in it. */
int site_check_data(const struct schedule *s, const struct opt_many *made_of);

/* The recipe stored there is the same, or, if it may be longer, one of fewer steps. */
int site_compare(const struct site *s, const char *there, bool longer, long steps);

/* Write RUN/environment, and RUN/recipe: the text, and lines that say where the data is found. */
int site_write(const struct site *s, const char *sources);

void site_close(struct site *s);

#endif
