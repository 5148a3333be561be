/* OpenBLAS: its kernels are the processor's unless the user chose, and sgemm computes products. */
#include "base/err.h"
#include "base/mem.h"
#include "base/task.h"
#include "math/blas.h"
#include "tap.h"
#include <float.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

/* OpenBLAS's own, to make it choose what it would on a processor that it does not know. */
void gotoblas_dynamic_init(void) __attribute__((weak));
void gotoblas_dynamic_quit(void) __attribute__((weak));

/* What this program prints when it runs itself in `mode` with the kernels that a user chose. */
static char *
child(const char *mode, const char *choice)
{
	char *said = NULL, line[256];
	FILE *pipe;

	if (choice)
		setenv("OPENBLAS_CORETYPE", choice, 1);
	else
		unsetenv("OPENBLAS_CORETYPE");
	/* the shell that popen starts is not this program, but its child is */
	snprintf(line, sizeof line, "exec /proc/%ld/exe %s", (long)getpid(), mode);
	pipe = popen(line, "r");
	if (pipe && fgets(line, sizeof line, pipe)) {
		line[strcspn(line, "\n")] = 0;
		said = mem_copy(line);
	}
	if (pipe && pclose(pipe) != 0) {
		free(said);
		said = mem_copy("the child failed");
	}
	unsetenv("OPENBLAS_CORETYPE");
	return said;
}

/* "start": kernel, whose choice, and whether the environment is as it was. */
static int
start(void)
{
	const char *before = getenv("OPENBLAS_CORETYPE"), *after;
	char *was = mem_copy(before ? before : "none");

	if (blas_start() != 0)
		fprintf(stderr, "# %s\n", err_text());
	after = getenv("OPENBLAS_CORETYPE");
	printf("%s %s %s\n", blas_kernel(), blas_user() ? "user" : "own",
	       strcmp(was, after ? after : "none") == 0 ? "kept" : "changed");
	free(was);
	return 0;
}

/* "old": OpenBLAS believes this to be an old processor. */
static int
old(void)
{
	setenv("OPENBLAS_CORETYPE", "Prescott", 1);
	gotoblas_dynamic_quit();
	gotoblas_dynamic_init();
	unsetenv("OPENBLAS_CORETYPE");
	if (strcasecmp(blas_kernel(), "Prescott") != 0)
		return 1;
	return start();
}

/* "again": as blas_restart leaves it. */
static int
again(char *argv[])
{
	blas_start();
	if (blas_restart(argv) != -1 || getenv("MOE_BLAS_RESTARTED"))
		return 1;
	printf("%s %s %s\n", blas_kernel(), blas_user() ? "user" : "own", err_text());
	return 0;
}

static const char *
expected(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl"))
		return "SkylakeX";
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return "Haswell";
#endif
	return NULL;
}

static void
kernels(void)
{
	char want[64], *said;

	if (!expected() || !gotoblas_dynamic_init || !gotoblas_dynamic_quit) {
		ok(true, "kernels # SKIP this OpenBLAS has one kind for this processor");
		return;
	}
	snprintf(want, sizeof want, "%s own kept", expected());
	said = child("old", NULL);
	is_text(said, want, "taken for an old processor, this one gets its kernels");
	free(said);
	said = child("start", "Prescott");
	is_text(said, "Prescott user kept", "a user's own choice stands, even the slowest");
	free(said);
	if (strcmp(expected(), "SkylakeX") == 0) {
		said = child("start", "Haswell");
		is_text(said, "Haswell user kept",
			"a user's Haswell stands on an AVX-512 processor");
		free(said);
	}
	setenv("MOE_BLAS_RESTARTED", "1", 1);
	said = child("again", "Haswell");
	unsetenv("MOE_BLAS_RESTARTED");
	is_text(said, "Haswell own there are no better kernels to restart with",
		"a program restarted does not restart again");
	free(said);
}

static float *
numbers(long rows, long ld, unsigned seed)
{
	float *x = mem_zero((size_t)(rows * ld), sizeof *x);

	for (long i = 0; i < rows * ld; i++) {
		seed = seed * 1664525 + 1013904223;
		x[i] = (float)(seed >> 8) / 0x1p23f - 1;
	}
	return x;
}

/* The largest error of a product in units of what rounding may cost. */
static double
error_of(char ta, char tb, long m, long n, long k, float alpha, float beta)
{
	long lda = (ta == 'T' ? m : k) + 3, ldb = (tb == 'T' ? k : n) + 5, ldc = n + 2;
	float *a = numbers(ta == 'T' ? k : m, lda, 1), *b = numbers(tb == 'T' ? n : k, ldb, 2);
	float *c = numbers(m, ldc, 3), *c0 = numbers(m, ldc, 3);
	double worst = 0;

	if (beta == 0)
		for (long i = 0; i < m * ldc; i++)
			c[i] = NAN;
	blas_sgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
	for (long i = 0; i < m; i++)
		for (long j = 0; j < n; j++) {
			double sum = (double)beta * (double)c0[i * ldc + j], size = fabs(sum);
			for (long l = 0; l < k; l++) {
				double x = (double)alpha *
					   (double)(ta == 'T' ? a[l * lda + i] : a[i * lda + l]) *
					   (double)(tb == 'T' ? b[j * ldb + l] : b[l * ldb + j]);
				sum += x;
				size += fabs(x);
			}
			double off = fabs((double)c[i * ldc + j] - sum) /
				     (FLT_EPSILON * (double)(k + 2) * size);
			if (!(off <= worst))
				worst = isnan(off) ? INFINITY : off;
		}
	free(a);
	free(b);
	free(c);
	free(c0);
	return worst;
}

static void
products(void)
{
	static const long shape[][3] = {
		{1, 1, 1}, {3, 5, 7}, {64, 64, 64}, {130, 33, 257}, {17, 200, 40}};

	for (const char *t = "NNNTTNTT"; *t; t += 2) {
		double worst = 0;
		for (unsigned i = 0; i < sizeof shape / sizeof *shape; i++) {
			const long *s = shape[i];
			worst = fmax(worst, error_of(t[0], t[1], s[0], s[1], s[2], 1, 0));
			worst = fmax(worst, error_of(t[0], t[1], s[0], s[1], s[2], -0.5f, 1));
		}
		is_real(worst, 0, 1, "sgemm %c%c is right to rounding", t[0], t[1]);
	}
}

/* Workers at the same time, each with a product of its own: what each gets alone. */
struct tiles {
	const float *a, *b;
	float *c;
};
enum { SIDE = 96, TILES = 64 };

static void
one_tile(void *arg, long i, int worker)
{
	const struct tiles *t = arg;

	(void)worker;
	blas_sgemm('N', 'T', SIDE, SIDE, SIDE, 1, t->a + i, SIDE, t->b, SIDE, 0,
		   t->c + i * SIDE * SIDE, SIDE);
}

static void
together(void)
{
	const size_t n = (size_t)TILES * SIDE * SIDE;
	float *a = numbers(SIDE + 1, SIDE, 4), *b = numbers(SIDE, SIDE, 5);
	float *alone = numbers(TILES, SIDE * SIDE, 0), *c = numbers(TILES, SIDE * SIDE, 0);
	struct tiles t = {a, b, alone};

	task_run(TILES, one_tile, &t);
	t.c = c;
	is_long(task_start(4), 0, "four workers start");
	task_run(TILES, one_tile, &t);
	is_bytes(c, alone, n * sizeof *c, "products by four workers have the bits of one");
	double peak = blas_peak(0);
	ok(peak > 0 && isfinite(peak), "the peak of four workers is a rate (%.1f GF/s)", peak);
	task_stop();
	free(a);
	free(b);
	free(c);
	free(alone);
}

int
main(int argc, char *argv[])
{
	if (argc == 2 && strcmp(argv[1], "start") == 0)
		return start();
	if (argc == 2 && strcmp(argv[1], "old") == 0)
		return old();
	if (argc == 2 && strcmp(argv[1], "again") == 0)
		return again(argv);
	kernels();
	is_long(blas_start(), 0, "OpenBLAS starts");
	products();
	together();
	return done();
}
