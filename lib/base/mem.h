#ifndef BASE_MEM_H
#define BASE_MEM_H
#include <stddef.h>

/*
 * Memory.  These die with a message on stderr and status 1 when the system has none left: they are
 * the one place of the library that may.
 */

/* n * size zeroed bytes, 64-byte aligned; freed by free(). */
void *mem_zero(size_t n, size_t size);

/* realloc of n * size bytes, overflow checked. */
void *mem_grow(void *p, size_t n, size_t size);

/* A copy of a string; a formatted string. Freed by free(). */
char *mem_copy(const char *s);
char *mem_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed pages that go back to the system when unmapped, whatever malloc would keep. */
void *mem_map(size_t bytes);
void mem_unmap(void *p, size_t bytes); /* NULL is harmless */

/* Peak resident set of this process in bytes, 0 where the system does not tell. */
size_t mem_peak(void);

/*
 * An arena lays out many arrays in one mapping.  The same code runs twice: once with base NULL,
 * where arena_take only counts, and once with the memory, so that what is predicted and what is
 * taken cannot differ.
 */
struct arena {
	char *base;
	size_t used; /* bytes; every array starts on 64 bytes */
};

void *arena_take(struct arena *a, size_t n, size_t size);

#endif
