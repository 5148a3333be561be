#ifndef BASE_TICK_H
#define BASE_TICK_H
#include <time.h>

/* A worker's stopwatch: time since the last look goes to one of a few sums; aligned as mem_zero. */
enum { TICK_SUMS = 8 };

struct tick {
	double last, sum[TICK_SUMS];
} __attribute__((aligned(64)));

static inline double
tick_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that this thread has computed: however busy others keep the machine. */
static inline double
tick_spent(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void
tick_start(struct tick *t)
{
	t->last = tick_now();
}

static inline void
tick_to(struct tick *t, int sum)
{
	double now = tick_now();

	t->sum[sum] += now - t->last;
	t->last = now;
}

#endif
