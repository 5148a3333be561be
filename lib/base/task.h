#ifndef BASE_TASK_H
#define BASE_TASK_H
#include <stddef.h>

/*
 * A small pool of pthread workers.  A phase is n independent tasks; which worker takes which is
 * not determined, so a task writes only what is its own, and sums over tasks are made afterwards
 * by task number.  Nothing a task computes may depend on the number of workers.
 */

typedef void task_fn(void *arg, long i, int worker);

/* Start `workers` workers, the caller being one; 0 = one per processor allowed. -1 on failure. */
int task_start(int workers);
void task_stop(void); /* harmless when not started */
int task_workers(void);

/* Run fn(arg, 0..n-1, worker) and return when all are done. Not to be called from a task. */
void task_run(long n, task_fn *fn, void *arg);

/* At least `bytes` of scratch for this worker, 64-byte aligned, contents undefined, kept. */
void *task_scratch(int worker, size_t bytes);

#endif
