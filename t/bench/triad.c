/* A row of the bench table: what memory moves for a = b + s c over all workers, in GB/s. */
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include "math/kern.h"
#include <stdio.h>
#include <stdlib.h>

enum { SLICES = 16, N = 1 << 21, ROUNDS = 9 }; /* 3 * 16 * 8 MiB */

static float *v[3];

static void
triad(void *arg, long slice, int worker)
{
	float *a = v[0] + slice * N;
	const float *b = v[1] + slice * N, *c = v[2] + slice * N;

	(void)arg, (void)worker;
	for (long i = 0; i < N; i++)
		a[i] = b[i] + 3 * c[i];
}

static int
rising(const void *p, const void *q)
{
	const double a = *(const double *)p, b = *(const double *)q;

	return (a > b) - (a < b);
}

int
main(void)
{
	double speed[ROUNDS];

	if (task_start(0) != 0)
		return 1;
	for (int i = 0; i < 3; i++)
		v[i] = mem_map((size_t)SLICES * N * sizeof *v[i]);
	for (int i = -1; i < ROUNDS; i++) {
		const double from = tick_now();
		task_run(SLICES, triad, NULL);
		if (i >= 0)
			speed[i] = 3.0 * SLICES * N * sizeof(float) / (tick_now() - from) / 1e9;
	}
	qsort(speed, ROUNDS, sizeof *speed, rising);
	printf("memory,triad,%.1f,,GB/s,,\n", speed[ROUNDS / 2]);
	task_stop();
	return fflush(stdout) || ferror(stdout);
}
