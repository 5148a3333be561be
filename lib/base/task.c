#include "base/task.h"
#include "base/err.h"
#include "base/mem.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAXWORKERS = 256, SPINS = 20000 };
static const uint32_t CLOSED = UINT32_MAX;

static struct {
	int workers; /* the caller included; 0 = not started */
	pthread_t thread[MAXWORKERS];
	struct {
		void *p;
		size_t bytes;
	} scratch[MAXWORKERS];

	/*
	 * A phase's tasks are taken by counting `ticket` up: the phase in its upper half, the first
	 * task nobody has taken in its lower.  Who has taken one may read fn and arg, which stay as
	 * they are until it is done.  Nobody waits for a worker that has taken none: the system may
	 * not have let it run.
	 */
	_Atomic uint64_t ticket;
	atomic_uint n;	  /* tasks */
	atomic_uint done; /* of them */
	task_fn *fn;
	void *arg;

	atomic_uint phase; /* raised when there is work, or the end */
	atomic_bool stop;

	/* Waiting longer than a phase change takes, workers sleep here. */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int asleep; /* under lock */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void
relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Take a task of the phase that is open; -1 if there is none left. */
static long
take(void)
{
	uint64_t t = atomic_load(&pool.ticket);

	for (;;) {
		const uint32_t next = (uint32_t)t;
		if (next >= atomic_load(&pool.n) || next == CLOSED)
			return -1;
		if (atomic_compare_exchange_weak(&pool.ticket, &t, t + 1))
			return next;
	}
}

static void
work(int worker)
{
	long i;

	while ((i = take()) >= 0) {
		pool.fn(pool.arg, i, worker);
		atomic_fetch_add(&pool.done, 1);
	}
}

/* Return once phase differs from seen: spin a little, then sleep. */
static unsigned
await_phase(unsigned seen)
{
	unsigned now;

	for (int i = 0; i < SPINS; i++) {
		if ((now = atomic_load(&pool.phase)) != seen)
			return now;
		relax();
	}
	pthread_mutex_lock(&pool.lock);
	pool.asleep++;
	while ((now = atomic_load(&pool.phase)) == seen)
		pthread_cond_wait(&pool.wake, &pool.lock);
	pool.asleep--;
	pthread_mutex_unlock(&pool.lock);
	return now;
}

static void *
worker_main(void *arg)
{
	int me = (int)(long)arg;
	unsigned seen = 0;

	for (;;) {
		seen = await_phase(seen);
		if (atomic_load(&pool.stop))
			return NULL;
		work(me);
	}
}

static void
publish(void)
{
	pthread_mutex_lock(&pool.lock);
	atomic_fetch_add(&pool.phase, 1);
	if (pool.asleep)
		pthread_cond_broadcast(&pool.wake);
	pthread_mutex_unlock(&pool.lock);
}

static int
processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) != 0)
		return 1;
	return CPU_COUNT(&set) < MAXWORKERS ? CPU_COUNT(&set) : MAXWORKERS;
}

int
task_start(int workers)
{
	sigset_t all, old;
	int err = 0;

	task_stop();
	if (workers == 0)
		workers = processors();
	if (workers < 1 || workers > MAXWORKERS)
		return err_set("%d workers (expected 1 to %d)", workers, MAXWORKERS);
	atomic_store(&pool.phase, 0);
	atomic_store(&pool.stop, false);
	/* Signals are for the caller's thread, which knows what to do with them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (pool.workers = 1; pool.workers < workers && !err; pool.workers += !err)
		err = pthread_create(&pool.thread[pool.workers], NULL, worker_main,
				     (void *)(long)pool.workers);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		return 0;
	task_stop();
	return err_set("cannot start %d workers: %s", workers, strerror(err));
}

void
task_stop(void)
{
	if (pool.workers > 1) {
		atomic_store(&pool.stop, true);
		publish();
		for (int i = 1; i < pool.workers; i++)
			pthread_join(pool.thread[i], NULL);
	}
	for (int i = 0; i < MAXWORKERS; i++) {
		free(pool.scratch[i].p);
		pool.scratch[i].p = NULL;
		pool.scratch[i].bytes = 0;
	}
	pool.workers = 0;
}

int
task_workers(void)
{
	return pool.workers ? pool.workers : 1;
}

/* While it is closed nobody takes a task, whichever n he has read. */
static void
open_phase(long n, task_fn *fn, void *arg)
{
	const uint64_t phase = (atomic_load(&pool.ticket) >> 32) + 1;

	atomic_store(&pool.ticket, phase << 32 | CLOSED);
	pool.fn = fn;
	pool.arg = arg;
	atomic_store(&pool.n, (unsigned)n);
	atomic_store(&pool.done, 0);
	atomic_store(&pool.ticket, phase << 32);
}

void
task_run(long n, task_fn *fn, void *arg)
{
	if (pool.workers <= 1 || n <= 1 || n >= CLOSED) {
		for (long i = 0; i < n; i++)
			fn(arg, i, 0);
		return;
	}
	open_phase(n, fn, arg);
	publish();
	work(0);
	for (int i = 0; atomic_load(&pool.done) < (unsigned)n; i++)
		if (i < SPINS)
			relax();
		else
			sched_yield();
}

void *
task_scratch(int worker, size_t bytes)
{
	if (pool.scratch[worker].bytes < bytes) {
		free(pool.scratch[worker].p);
		pool.scratch[worker].p = mem_zero(bytes, 1);
		pool.scratch[worker].bytes = bytes;
	}
	return pool.scratch[worker].p;
}
