#ifndef DATA_SPEC_H
#define DATA_SPEC_H

/*
 * Operands that name a source of data: "[NAME=]FILE".  What exists as a file wins, and a '=' behind
 * a '/' belongs to the file's name.  A name stands in CSV rows and in lines of a recipe: it has no
 * blanks, commas, quotes, '=', '@' or '/', and at most 255 bytes.  Without one it is the file's
 * base name less ".gz" and its last suffix, "stdin" for "-".
 */

/* The length of NAME, 0 without one; -1 with a message: it is not a name. */
int spec_length(const char *spec);
/* The name of a file that was given none; freed by free(). */
char *spec_name(const char *file);

#endif
