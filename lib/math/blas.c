#include "math/blas.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include <cblas.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/*
 * What a constructor of OpenBLAS runs when it is loaded, and its reverse: between the two the
 * environment is read anew.  Builds for one processor, and libraries that hide them, have none.
 */
void gotoblas_dynamic_init(void) __attribute__((weak));
void gotoblas_dynamic_quit(void) __attribute__((weak));
/* End the threads that the constructor started. */
int blas_thread_shutdown_(void) __attribute__((weak));

static const char CHOICE[] = "OPENBLAS_CORETYPE", AGAIN[] = "MOE_BLAS_RESTARTED";

static bool users, restarted;
static const char *missed; /* kernels that this process could not put in force */

/* How good kernels are, by name; those unknown here are newer, or of another architecture. */
static int
rank(const char *core)
{
	static const struct {
		const char *name;
		int rank;
	} known[] = {{"Prescott", 0},	 {"Core2", 0},	      {"Penryn", 0},	{"Dunnington", 0},
		     {"Atom", 0},	 {"Nano", 0},	      {"Athlon", 0},	{"Opteron", 0},
		     {"Bobcat", 0},	 {"Opteron_SSE3", 0}, {"Unknown", 0},	{"Barcelona", 1},
		     {"Nehalem", 1},	 {"Sandybridge", 2},  {"Bulldozer", 2}, {"Piledriver", 3},
		     {"Steamroller", 3}, {"Excavator", 3},    {"Haswell", 4},	{"Zen", 4},
		     {"SkylakeX", 5}};

	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		if (strcasecmp(core, known[i].name) == 0)
			return known[i].rank;
	return 9;
}

/* The kernels to try on this processor, best first, up to NULL. */
static const char *const *
wanted(void)
{
	static const char *const avx512[] = {"SkylakeX", "Haswell", NULL};
	const char *const *names = avx512 + 2;

#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		names = avx512 + 1;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl"))
		names = avx512;
#endif
	return names;
}

/* Have OpenBLAS choose again, under this name (NULL: by itself); the environment stays as it was.
 */
static void
choose(const char *name)
{
	if (name)
		setenv(CHOICE, name, 1);
	gotoblas_dynamic_quit();
	gotoblas_dynamic_init();
	unsetenv(CHOICE);
}

int
blas_start(void)
{
	const char *user = getenv(CHOICE), *again = getenv(AGAIN);

	openblas_set_num_threads(1);
	if (blas_thread_shutdown_)
		blas_thread_shutdown_();
	if (user && again) {
		/* blas_restart chose: children of this process are to choose for themselves */
		restarted = true;
		unsetenv(CHOICE);
		unsetenv(AGAIN);
		return 0;
	}
	users = user && *user;
	if (users || !strstr(openblas_get_config(), "DYNAMIC_ARCH"))
		return 0;
	for (const char *const *name = wanted(); *name; name++) {
		if (rank(blas_kernel()) >= rank(*name))
			return 0;
		missed = *name;
		if (!gotoblas_dynamic_init || !gotoblas_dynamic_quit)
			return err_set("OpenBLAS keeps its %s kernels (expected %s)", blas_kernel(),
				       missed);
		choose(*name);
		if (strcasecmp(blas_kernel(), *name) == 0)
			return 0;
		choose(NULL);
	}
	return 0;
}

int
blas_restart(char *const argv[])
{
	if (!missed || users || restarted)
		return err_set("there are no better kernels to restart with");
	if (setenv(CHOICE, missed, 1) == 0 && setenv(AGAIN, "1", 1) == 0)
		execv("/proc/self/exe", argv);
	err_set("cannot restart: %s", strerror(errno));
	unsetenv(CHOICE);
	unsetenv(AGAIN);
	return -1;
}

const char *
blas_kernel(void)
{
	return openblas_get_corename();
}

bool
blas_user(void)
{
	return users;
}

void
blas_sgemm(char transa, char transb, long m, long n, long k, float alpha, const float *a, long lda,
	   const float *b, long ldb, float beta, float *c, long ldc)
{
	cblas_sgemm(CblasRowMajor, transa == 'T' ? CblasTrans : CblasNoTrans,
		    transb == 'T' ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k,
		    alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

/* ---- peak ---- */

enum { SIDE = 2048, SAMPLES = 64 };

struct square {
	float *a, *b, *c;
	int down, across; /* tiles, one for each worker */
};

static void
square_tile(void *arg, long i, int worker)
{
	const struct square *s = arg;
	long row = i / s->across, col = i % s->across;
	long top = row * SIDE / s->down, left = col * SIDE / s->across;
	long m = (row + 1) * SIDE / s->down - top, n = (col + 1) * SIDE / s->across - left;

	(void)worker;
	blas_sgemm('N', 'N', m, n, SIDE, 1, s->a + top * SIDE, SIDE, s->b + left, SIDE, 0,
		   s->c + top * SIDE + left, SIDE);
}

static int
by_size(const void *p, const void *q)
{
	double a = *(const double *)p, b = *(const double *)q;

	return (a > b) - (a < b);
}

double
blas_peak(double seconds)
{
	const size_t n = (size_t)SIDE * SIDE, bytes = 3 * n * sizeof(float);
	float *all = mem_map(bytes);
	struct square s = {all, all + n, all + 2 * n, 1, 1};
	double took[SAMPLES], start, from, to;
	int samples = 0, workers = task_workers();

	/* tiles as square as can be: sgemm is at its best on large ones */
	while (s.down * s.down < workers || workers % s.down)
		s.down++;
	s.across = workers / s.down;
	for (size_t i = 0; i < n; i++) {
		s.a[i] = (float)(i % 7) - 3;
		s.b[i] = (float)(i % 5) - 2;
		s.c[i] = 0;
	}
	start = to = tick_now();
	do {
		from = to;
		task_run(workers, square_tile, &s);
		to = tick_now();
		took[samples++] = to - from;
	} while (samples < SAMPLES && to - start < seconds);
	mem_unmap(all, bytes);
	qsort(took, (size_t)samples, sizeof *took, by_size);
	return 2e-9 * SIDE * SIDE * SIDE / took[samples / 2];
}
