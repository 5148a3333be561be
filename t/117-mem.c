/* Memory: what an arena predicts is what it takes; sizes that overflow end the program. */
#include "base/mem.h"
#include "tap.h"
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	size_t n, size;
} want[] = {{1, 1},    {0, 8},	{64, 1}, {65, 1},   {3, 4},
	    {1000, 4}, {7, 24}, {0, 0},	 {1, 4096}, {5, 13}};
enum { ARRAYS = sizeof want / sizeof *want };

static void
lay_out(struct arena *a, char *at[])
{
	for (int i = 0; i < ARRAYS; i++)
		at[i] = arena_take(a, want[i].n, want[i].size);
}

static void
arenas(void)
{
	struct arena plan = {NULL, 0}, real = {NULL, 0};
	char *at[ARRAYS];
	long given = 0, misplaced = 0, dirty = 0;

	lay_out(&plan, at);
	for (int i = 0; i < ARRAYS; i++)
		given += at[i] != NULL;
	is_long(given, 0, "an arena without memory gives none");
	real.base = mem_map(plan.used);
	lay_out(&real, at);
	is_long((long)real.used, (long)plan.used, "with memory it takes what it predicted");
	for (int i = 0; i < ARRAYS; i++) {
		char *end = i + 1 < ARRAYS ? at[i + 1] : real.base + real.used;
		misplaced += (uintptr_t)at[i] % 64 != 0 || at[i] + want[i].n * want[i].size > end;
		for (size_t j = 0; j < want[i].n * want[i].size; j++)
			dirty += at[i][j] != 0;
	}
	is_long(misplaced, 0, "every array starts on 64 bytes and ends before the next");
	is_long(dirty, 0, "fresh pages are zero");
	mem_unmap(real.base, real.used);
	mem_unmap(NULL, 100);
	ok(mem_map(0) == NULL, "no pages are no mapping");
}

static void
blocks(void)
{
	long misplaced = 0, dirty = 0;

	for (size_t n = 0; n < 300; n++) {
		unsigned char *p = mem_zero(n, 3);
		misplaced += !p || (uintptr_t)p % 64 != 0;
		for (size_t i = 0; i < 3 * n; i++)
			dirty += p[i] != 0;
		memset(p, 0xff, 3 * n);
		free(p);
	}
	is_long(misplaced, 0, "blocks of 0 to 900 bytes start on 64 bytes");
	is_long(dirty, 0, "and are zero");

	int *grown = NULL;
	long lost = 0;
	for (int n = 1; n < 1000; n++) {
		grown = mem_grow(grown, (size_t)n, sizeof *grown);
		grown[n - 1] = n;
	}
	for (int n = 1; n < 1000; n++)
		lost += grown[n - 1] != n;
	is_long(lost, 0, "a block that grows keeps what it holds");
	grown = mem_grow(grown, 0, sizeof *grown);
	ok(grown != NULL, "none of nothing is still a block");
	free(grown);

	char *copy = mem_copy("100 %s"), *text = mem_text("%s, %d", copy, 7);
	is_text(copy, "100 %s", "a copy is the same text");
	is_text(text, "100 %s, 7", "a formatted text");
	free(copy);
	free(text);
}

static void
peak(void)
{
	size_t before = mem_peak(), bytes = (size_t)48 << 20;

	if (before == 0) {
		ok(true, "the peak # SKIP this system does not tell it");
		return;
	}
	char *p = mem_map(bytes);
	memset(p, 1, bytes);
	mem_unmap(p, bytes);
	ok(mem_peak() >= bytes, "48 MiB written are in the peak (%zu before, %zu after)", before,
	   mem_peak());
}

static void
zero_overflow(void)
{
	mem_zero(SIZE_MAX / 2, 3);
}
static void
grow_overflow(void)
{
	mem_grow(NULL, SIZE_MAX / 2, 3);
}
static void
take_overflow(void)
{
	arena_take(&(struct arena){NULL, 0}, SIZE_MAX / 2, 3);
}
static void
take_too_much(void)
{
	struct arena a = {NULL, 0};
	arena_take(&a, SIZE_MAX / 4, 1);
	arena_take(&a, SIZE_MAX / 4, 2);
}

/* The status with which a process ends that does this, and its first line on stderr. */
static void
dies(void (*does)(void), const char *what)
{
	int fd[2], status = -1;
	char said[200] = "";

	fflush(stdout);
	if (pipe(fd) != 0)
		abort();
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		close(fd[0]);
		close(fd[1]);
		does();
		_exit(0);
	}
	close(fd[1]);
	ssize_t n = read(fd[0], said, sizeof said - 1);
	close(fd[0]);
	waitpid(pid, &status, 0);
	said[n > 0 ? n : 0] = 0;
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 1 &&
		   strstr(said, "117-mem.t: out of memory"),
	   "%s ends the program with status 1 and a message", what);
}

int
main(void)
{
	arenas();
	blocks();
	peak();
	dies(zero_overflow, "a block whose size overflows");
	dies(grow_overflow, "growth whose size overflows");
	dies(take_overflow, "an array whose size overflows");
	dies(take_too_much, "an arena whose size overflows");
	return done();
}
