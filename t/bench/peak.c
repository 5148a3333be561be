/*
 * peak                  a row of the bench table: the machine's sgemm peak in GF/s, all workers
 * peak FILE COMMAND...  run it; add a line to FILE: the most memory it had resident, in MiB
 */
#include "base/task.h"
#include "math/blas.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int
sgemm(void)
{
	blas_start();
	if (task_start(0) != 0)
		return 1;
	printf("sgemm,2048x2048x2048 %s,%.1f,,GF/s,,\n", blas_kernel(), blas_peak(0.4));
	task_stop();
	return fflush(stdout) || ferror(stdout);
}

static int
memory(const char *file, char **command)
{
	struct rusage use;
	int status;
	FILE *f;
	pid_t child = fork();

	if (child == 0) {
		execvp(command[0], command);
		fprintf(stderr, "peak: %s: %s\n", command[0], strerror(errno));
		_exit(127);
	}
	if (child < 0)
		return 1;
	while (wait4(child, &status, 0, &use) < 0)
		if (errno != EINTR)
			return 1;
	if (status != 0 || !(f = fopen(file, "a")))
		return 1;
	fprintf(f, "%.1f\n", (double)use.ru_maxrss / 1024);
	return fclose(f) ? 1 : 0;
}

int
main(int argc, char **argv)
{
	if (argc == 2) {
		fputs("usage: peak [FILE COMMAND...]\n", stderr);
		return 2;
	}
	return argc > 2 ? memory(argv[1], argv + 2) : sgemm();
}
