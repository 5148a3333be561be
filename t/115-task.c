/* The pool: every task of every phase runs exactly once, by a worker that does nothing else. */
#include "base/err.h"
#include "base/task.h"
#include "tap.h"
#include <stdint.h>

enum { TASKS = 97, PHASES = 200, MOST = 8 };

struct phase {
	int ran[TASKS];	    /* by task */
	int at_work[MOST];  /* by worker: is it inside a task? */
	long by[MOST];	    /* tasks that each worker ran */
	int overlaps[MOST]; /* a worker was inside two tasks at once */
	int number;	    /* of the phase, as the caller published it */
	int stale[TASKS];   /* the task saw another phase's number */
	int want;
};

static void
count(void *arg, long i, int worker)
{
	struct phase *p = arg;

	p->overlaps[worker] += p->at_work[worker]++;
	p->ran[i]++;
	p->by[worker]++;
	p->stale[i] += p->number != p->want;
	for (volatile int spin = 0; spin < (int)(i % 5) * 20; spin++)
		;
	p->at_work[worker]--;
}

static void
phases(int workers)
{
	static struct phase p;
	long total = 0, ran = 0, wrong = 0, overlaps = 0;

	memset(&p, 0, sizeof p);
	if (!is_long(task_start(workers), 0, "%d workers start", workers))
		return;
	is_long(task_workers(), workers, "there are %d", workers);
	for (int phase = 0; phase < PHASES; phase++) {
		long n = phase % 4 ? (phase * 31) % TASKS + 1 : phase % 3;
		p.number = p.want = phase;
		memset(p.ran, 0, sizeof p.ran);
		task_run(n, count, &p);
		total += n;
		for (long i = 0; i < TASKS; i++)
			wrong += p.ran[i] != (i < n) || p.stale[i];
	}
	for (int i = 0; i < MOST; i++) {
		ran += p.by[i];
		overlaps += p.overlaps[i];
		if (i >= workers && p.by[i])
			wrong++;
	}
	is_long(wrong, 0, "each task of %d phases ran once, by one of %d workers", PHASES, workers);
	is_long(overlaps, 0, "no worker was in two tasks at once");
	is_long(ran, total, "and nothing else ran");
}

/* A sum whose terms are added by task number: the same bits for any number of workers. */
static void
term(void *arg, long i, int worker)
{
	double *out = arg, x = 1;

	(void)worker;
	for (int j = 0; j < 50; j++)
		x = sin(x + (double)i);
	out[i] = x;
}

static double
sum(void)
{
	double out[TASKS], s = 0;

	task_run(TASKS, term, out);
	for (int i = 0; i < TASKS; i++)
		s += out[i];
	return s;
}

struct keep {
	unsigned char *p[MOST];
	size_t bytes;
	int wrong[MOST];
	int round;
};

/* Fill the worker's scratch with a mark, and find the mark of the round before. */
static void
mark(void *arg, long i, int worker)
{
	struct keep *k = arg;
	unsigned char *p = task_scratch(worker, k->bytes);

	(void)i;
	k->wrong[worker] += (uintptr_t)p % 64 != 0;
	if (k->p[worker] && p == k->p[worker])
		k->wrong[worker] += p[0] != 1 + worker || p[k->bytes - 1] != 1 + worker;
	k->p[worker] = p;
	memset(p, 1 + worker, k->bytes);
}

static void
scratch(int workers)
{
	struct keep k = {.bytes = 1000};
	long wrong = 0;

	task_start(workers);
	for (k.round = 0; k.round < 200; k.round++)
		task_run(16, mark, &k);
	for (int i = 0; i < MOST; i++)
		wrong += k.wrong[i];
	is_long(wrong, 0, "scratch of %d workers is aligned, kept and each one's own", workers);
	unsigned char *small = task_scratch(0, 10), *same = task_scratch(0, 1000);
	ok(small == same, "less scratch than before is the same scratch");
	memset(task_scratch(0, 5 << 20), 7, 5 << 20);
	task_stop();
}

static void
in_order(void *arg, long i, int worker)
{
	long *next = arg;

	if (worker == 0 && *next == i)
		++*next;
}

int
main(void)
{
	long next = 0;

	is_long(task_workers(), 1, "before the start the caller is the only worker");
	task_run(10, in_order, &next);
	is_long(next, 10, "and runs its tasks in order");
	task_stop();
	const double alone = sum();

	for (int workers = 1; workers <= MOST; workers++) {
		phases(workers);
		double s = sum();
		is_bytes(&s, &alone, sizeof s, "a sum by task number has the bits of one worker's");
	}
	for (int workers = 1; workers <= MOST; workers *= 2)
		scratch(workers);

	is_long(task_start(0), 0, "as many workers as processors start");
	ok(task_workers() >= 1, "there is one at least (%d)", task_workers());
	task_start(3);
	is_long(task_workers(), 3, "another start replaces the workers");
	is_long(task_start(-1), -1, "fewer than no workers are refused");
	ok(strstr(err_text(), "-1 workers") != NULL, "with a reason: %s", err_text());
	is_long(task_start(257), -1, "257 workers are refused");
	for (int i = 0; i < 100; i++) {
		task_start(1 + i % 4);
		if (i % 3)
			task_run(5, in_order, &next);
	}
	task_stop();
	task_stop();
	is_long(task_workers(), 1, "a hundred starts, stopped twice");
	return done();
}
