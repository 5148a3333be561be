/* moe-train --dry-run: what it says of memory is what the run then takes. */
#include "tap.h"
#include "temp.h"
#include <sys/resource.h>
#include <sys/wait.h>

enum { WORDS = 64 };

/* Run $B/moe-train with options between blanks, stdout to a file; its peak resident set, bytes. */
static double
peak_of(const char *options, const char *out)
{
	const char *bin = getenv("B") ? getenv("B") : "bin";
	char path[512], line[1024], *rest = line, *argv[WORDS];
	struct rusage use;
	int n = 0, status;
	pid_t pid;

	snprintf(path, sizeof path, "%s/moe-train", bin);
	snprintf(line, sizeof line, "moe-train %s", options);
	while (n < WORDS - 1 && (argv[n] = strsep(&rest, " ")))
		n++;
	argv[n] = NULL;
	pid = fork();
	if (pid == 0) {
		if (!freopen(out, "w", stdout))
			_exit(126);
		execv(path, argv);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &use) != pid)
		return NAN;
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "moe-train %.60s", options);
	return 1024.0 * (double)use.ru_maxrss;
}

/* The value of a quantity in --dry-run's CSV. */
static double
quantity(const char *file, const char *name)
{
	char line[256];
	double x = NAN;
	const size_t n = strlen(name);
	FILE *f = fopen(file, "r");

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, name, n) == 0 && line[n] == ',')
			x = strtod(line + n + 1, NULL);
	if (f)
		fclose(f);
	return x;
}

static void
check(const char *shape, const char *data, double params, double flops)
{
	char line[768];
	const char *plan = temp("plan"), *run = temp("run");
	double said, took;

	snprintf(line, sizeof line, "%s --dry-run %s", shape, data);
	peak_of(line, plan);
	said = quantity(plan, "memory");
	is_real(quantity(plan, "parameters"), params, 0, "parameters");
	is_real(quantity(plan, "FLOPs per token"), flops, 0, "FLOPs per token");
	snprintf(line, sizeof line, "%s -o %s %s", shape, run, data);
	took = peak_of(line, temp("out"));
	is_real(said / took, 1, 0.06, "memory said, of the %.1f MB taken", took / 1e6);
	/* gone on from its checkpoint */
	snprintf(line, sizeof line, "%s --steps 4 -o %s %s", shape, run, data);
	took = peak_of(line, temp("out"));
	is_real(said / took, 1, 0.06, "memory said, of the %.1f MB taken by the rest", took / 1e6);
	snprintf(line, sizeof line, "rm -r %s", run);
	ok(system(line) == 0, "%s", line);
}

int
main(void)
{
	static char text[1 << 20];
	const char *data;
	double nano =
		2 * (4.0 * 128 * 128 + 8 * 128 + 8 * 2 * 128 * 512 + 2 * 128) + 128 + 256 * 128;
	double wide =
		2 * (4.0 * 128 * 128 + 64 * 128 + 64 * 2 * 128 * 128 + 2 * 128) + 128 + 256 * 128;

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
	skip_all("a sanitizer has memory of its own");
#endif
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)('a' + i * i % 26);
	data = temp_bytes("data.txt", text, sizeof text);
	/* FLOPs: 6 for each parameter that a token uses, and attention */
	check("-j2 --config nano --schedule constant --steps 2", data, nano,
	      6 * (2 * (4.0 * 128 * 128 + 8 * 128 + 2 * 2 * 128 * 512) + 256 * 128) +
		      3 * 2 * 4.0 * 256 * 128);
	check("-j1 --dim 128 --layers 2 --heads 4 --experts 64 --hidden 128 --batch 8 --seq 128 "
	      "--schedule constant --steps 2",
	      data, wide,
	      6 * (2 * (4.0 * 128 * 128 + 64 * 128 + 2 * 2 * 128 * 128) + 256 * 128) +
		      3 * 2 * 4.0 * 128 * 128);
	/* where no scores are kept, and where slots are empty */
	check("-j1 --dim 64 --layers 1 --heads 2 --experts 256 --hidden 64 --batch 64 --seq 128 "
	      "--load-balance 0 --schedule constant --steps 2",
	      data, 4.0 * 64 * 64 + 256 * 64 * 129.0 + 3 * 64 + 256 * 64,
	      6 * (4.0 * 64 * 64 + 256 * 64 + 2 * 2 * 64 * 64 + 256 * 64) + 3 * 4.0 * 128 * 64);
	check("-j1 --dim 64 --layers 1 --heads 2 --experts 8 --hidden 64 --batch 64 --seq 128 "
	      "--lifecycle living --max-experts 1000 --schedule constant --steps 2",
	      data, 4.0 * 64 * 64 + 8 * 64 * 129.0 + 4 * 64 + 256 * 64,
	      6 * (4.0 * 64 * 64 + 8 * 64 + 2 * 2 * 64 * 64 + 256 * 64) + 3 * 4.0 * 128 * 64);
	/* a key store: keys, two products for queries; frozen experts twice forward, keys once */
	check("-j2 --router keystore --dim 128 --layers 2 --heads 4 --experts 4096 --hidden 32 "
	      "--batch 8 --seq 128 --schedule constant --census-every 100 --steps 2",
	      data,
	      2 * (4.0 * 128 * 128 + 4096 * 128 + 2 * 256 * 128 + 4096.0 * 2 * 128 * 32 + 2 * 128) +
		      128 + 256 * 128,
	      6 * (2 * (4.0 * 128 * 128 + 2 * 256 * 128) + 256 * 128) +
		      2 * (4.0 * 2 * 2 * 128 * 32 + 2.0 * 4096 * 128) + 3 * 2 * 4.0 * 128 * 128);
	return done();
}
