#ifndef OFFLOAD_FETCH_H
#define OFFLOAD_FETCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Pieces of a file being read, several at a time: by io_uring where the system has it and lets us,
 * else by threads that each pread.  All calls come from one thread.
 */
struct fetch;

enum fetch_way { FETCH_ANY, FETCH_THREADS };

/* most: reads in flight.  NULL with a message. */
struct fetch *fetch_new(int fd, int most, enum fetch_way way);
void fetch_free(struct fetch *f); /* waits for what is in flight; NULL is harmless */

bool fetch_full(const struct fetch *f); /* are as many in flight as may be? */
/* Read n bytes at `at`, unless it is full; they are known by their tag. */
void fetch_begin(struct fetch *f, int tag, void *into, size_t n, uint64_t at);
/* What was begun may wait for this, or for fetch_next. */
void fetch_go(struct fetch *f);

/*
 * One that has ended, perhaps after waiting for it; false when there is none, or none in flight.
 * error: 0, an errno, or FETCH_END when the file has no more; at: how far it came.
 */
enum { FETCH_END = -1 };
struct fetch_end {
	int tag, error;
	uint64_t at;
};
bool fetch_next(struct fetch *f, bool wait, struct fetch_end *end);

#endif
