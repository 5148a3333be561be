#ifndef IO_TABLE_H
#define IO_TABLE_H
#include "base/file.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * CSV tables (RFC 4180, '\n' line ends, '#' lines are comments).  Reading streams row by row in
 * constant memory; columns are found by name, in any order, foreign columns kept aside.  CRLF and
 * quoted fields are read; blanks belong to the field; blank lines are passed over.  Every line must
 * have its end, for a number that was cut looks like another.  Errors say FILE:LINE: what (what was
 * expected).
 */

struct table; /* a CSV being read */

struct table *table_open(const char *name); /* reads the header; NULL with a message on failure */
struct table *
table_from(struct file *f); /* the same of a file, now the table's; NULL may be given */
int table_column(const struct table *t, const char *name);  /* index, -1 if absent (no message) */
int table_require(const struct table *t, const char *name); /* index, -1 with a message if absent */
int table_columns(const struct table *t);
const char *table_header(const struct table *t, int column);

/* Next row: 1, 0 at the end, -1 with a message (ragged row, stray quote, stream cut mid-row). */
int table_next(struct table *t);
/*
 * Whether the last table_next failed because the stream ended within a line.  If the file grows,
 * table_next may be called again and goes on where it was.
 */
bool table_cut(const struct table *t);
/* Whether a further line is in memory; if not, table_next reads and may have to wait for it. */
bool table_ready(const struct table *t);
const char *table_name(const struct table *t);		   /* of the file, as messages have it */
long table_line(const struct table *t);			   /* of the current row, from 1 */
const char *table_text(const struct table *t, int column); /* NUL-terminated, until the next row */
int table_long(const struct table *t, int column, long lo, long hi, long *out);
int table_real(const struct table *t, int column, double *out); /* nan and inf accepted */

/*
 * table_next and table_long of n columns in one, several times faster where the row is plain (no
 * quotes, no sign, no '\r').  The fields are in the order of their columns; afterwards table_text
 * has nothing.
 */
struct table_whole {
	int column;
	long lo, hi, value;
};
int table_next_longs(struct table *t, struct table_whole *w, int n);
void table_close(struct table *t); /* NULL is harmless */

/*
 * Writing: one row is `row_text`, `row_long`, `row_real` or another of these per column, then
 * row_end.  The writer belongs to the caller, who also closes the file.
 */
struct row {
	struct file *f;
	bool begun;
	bool blank;  /* so far one empty field */
	bool failed; /* a write failed: row_end says so */
};

int row_header(struct row *r, const char *comma_separated);
void row_text(struct row *r, const char *s); /* quoted when it must be */
void row_long(struct row *r, long long v);
void row_real(struct row *r, double v);	   /* %.9g */
void row_skip(struct row *r);		   /* an empty field */
void row_told(struct row *r, long long v); /* row_long, or an empty field for what is below 0 */
void row_known(struct row *r, double v);   /* row_real, or an empty field for NAN */
int row_end(struct row *r);		   /* '\n'; -1 if any write of the row failed */

#endif
