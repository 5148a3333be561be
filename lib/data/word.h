#ifndef DATA_WORD_H
#define DATA_WORD_H
#include <stddef.h>

/*
 * The words that byte-pair encoding never crosses, cut as GPT-2 does, by the first alternative that
 * matches:
 *
 *	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * Letters and numbers are the general categories L and N of Unicode 14.  A byte that begins no
 * well-formed UTF-8 character is a character of its own, neither letter, number nor space.
 */

/* Where the word that begins at text[from] ends; from < n. */
size_t word_end(const unsigned char *text, size_t n, size_t from);

#endif
