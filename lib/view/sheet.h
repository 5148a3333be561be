#ifndef VIEW_SHEET_H
#define VIEW_SHEET_H
#include <stdbool.h>
#include <stdint.h>

/*
 * A CSV table in memory, by columns, as far as it is whole, read on as its file grows.  Nothing in
 * a table is fatal: what cannot be read is left out, and `note` says so.
 */
struct sheet_column {
	char *name;
	double *v;  /* [rows]; NAN: empty, or not a number; of words, the number of the word */
	bool words; /* domain, event, cause, origin, class */
	bool idle;  /* not wanted, not read */
};

struct sheet {
	char *path; /* NULL: there is no such table */
	const char *wanted;
	long rows;
	int columns;
	struct sheet_column *column;
	char *note; /* NULL: all of it was read */
	bool cut;   /* the file ends within a line, which is left out */

	/* private */
	struct table *table;
	long room;
	int word_count;
	char **word;
	int step; /* column, -1 if absent */
	uint64_t bytes, inode;
	bool stopped;
};

enum sheet_news { SHEET_SAME, SHEET_MORE, SHEET_ANEW };

/*
 * path is copied; nothing is read before sheet_read.  wanted: the columns to read, " step layer ",
 * borrowed; NULL: all.
 */
void sheet_init(struct sheet *s, const char *path, const char *wanted);
/*
 * Read what there is, at first or since the last time.  SHEET_ANEW: the file has been cut back or
 * replaced, and the rows are read again from its beginning.  A file that is not there, or has no
 * header yet, is empty.  Rows without a step, or whose step is less than the row's before, are left
 * out if the table has steps.
 */
enum sheet_news sheet_read(struct sheet *s);
/* A column's values; NULL if the table lacks it. */
const double *sheet_numbers(const struct sheet *s, const char *name);
/* The word in a row of a column of words; "" if empty or absent. */
const char *sheet_word(const struct sheet *s, const char *name, long row);
void sheet_free(struct sheet *s);

#endif
