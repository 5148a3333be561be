#ifndef DATA_TEXT_H
#define DATA_TEXT_H
#include "base/file.h"
#include <stdint.h>

/*
 * Real text that the packages of this Debian machine hold: the files of a package that look like
 * text, by dpkg's own lists, sorted by name in the C locale and put one after the other; or what a
 * package's program prints.  The same packages give the same bytes.
 */
struct text {
	const char *name;
	const char *package; /* to install when it is missing; names between blanks */
	const char *what;    /* one line */
	/* private */
	const char *lists;   /* patterns of the packages whose files are meant, or NULL */
	const char *match;   /* patterns of the files; '*' also matches '/' */
	const char *skip;    /* patterns of those left out, or NULL */
	const char *command; /* prints the text; the files, if any, are its arguments */
};

int text_count(void);
const struct text *text_at(int i);
const struct text *text_find(const char *name); /* NULL with a message that lists the names */

/*
 * Write the first `limit` bytes to f, or only count them when f is NULL.  How many; 0 when the text
 * is not on this machine; -1 with a message when reading or writing fails.
 */
int64_t text_write(const struct text *t, int64_t limit, struct file *f);

#endif
