#ifndef VIEW_ESCAPE_H
#define VIEW_ESCAPE_H
#include <stdio.h>

/*
 * Texts of any bytes into documents, none of which can end or begin an element there.  Bytes that
 * are no UTF-8, and control characters, become U+FFFD.
 */
void escape_xml(FILE *out, const char *s); /* text and attributes in double quotes */
/* The same between two pieces of a document. */
void escape_into(FILE *out, const char *before, const char *s, const char *after);
void escape_json(FILE *out, const char *s); /* with its quotes; safe within <script> */

/* Bytes of the character at s, 0 if there is none that a document may hold. */
int escape_width(const char *s);

#endif
