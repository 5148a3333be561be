/* moe-knn: the keys nearest to a query, exactly. */
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include "io/table.h"
#include "knn/exact.h"
#include "knn/vectors.h"
#include "math/kern.h"
#include "program.h"
#include <stddef.h>
#include <string.h>

static struct args {
	char *output, *kernels;
	int k, filter, workers;
	bool cosine, verbose, help, version;
} args = {.output = "-", .k = 8};

static const struct opt rows[] = {
	ROW("neighbours", 'k', OPT_INT, k, 1, 1 << 24, "K", "search: how many keys of each query"),
	ROW("cosine", 0, OPT_FLAG, cosine, 0, 1, NULL, "scale keys and queries to length 1 first"),
	ROW("filter", 0, OPT_ENUM, filter, 0, 0, "auto|float|bytes",
	    "search: what tells which scores to compute; changes no result"),
	ROW("jobs", 'j', OPT_INT, workers, 1, 256, "N", "workers; else one per processor"),
	ROW("kernels", 0, OPT_TEXT, kernels, 0, 0, "avx512|avx2|portable",
	    "instructions to use; else the best"),
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("verbose", 'v', OPT_FLAG, verbose, 0, 1, NULL, "say how long it took"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
static struct opt_table table = {
	.program = "moe-knn",
	.synopsis = "moe-knn search [-k K] [--cosine] [options] KEYS QUERIES\n",
	.row = rows,
	.n = sizeof rows / sizeof *rows,
	.values = &args,
};

/* --- search --- */

static int
write_found(const int *id, const float *score, long queries, int k)
{
	struct row w = {.f = file_create(args.output)};

	if (!w.f)
		return -1;
	row_header(&w, "query,rank,id,score");
	for (long i = 0; i < queries * k && !w.failed; i++) {
		row_long(&w, i / k);
		row_long(&w, i % k);
		row_long(&w, id[i]);
		row_real(&w, (double)score[i]);
		row_end(&w);
	}
	return file_close(w.f) < 0 || w.failed ? -1 : 0;
}

static int
find(const struct vectors *keys, const struct vectors *queries)
{
	const double begun = tick_now();
	struct exact *x =
		exact_new(keys->v, keys->n, keys->d, (enum exact_filter)args.filter, queries->n);
	const size_t n = (size_t)queries->n * (size_t)args.k;
	int *id = mem_zero(n, sizeof *id), r;
	float *score = mem_zero(n, sizeof *score);
	const double ready = tick_now();

	exact_search(x, queries->v, queries->n, args.k, id, score);
	if (args.verbose) {
		const double t = tick_now() - ready;
		say("%s kernels, filter by %s: keys made ready in %.3f s, searched in %.3f s, "
		    "%.0f queries/s, %.1f GF/s",
		    kern->name, exact_uses_bytes(x) ? "bytes" : "float32", ready - begun, t,
		    (double)queries->n / t,
		    2e-9 * (double)queries->n * (double)keys->n * (double)keys->d / t);
	}
	r = write_found(id, score, queries->n, args.k);
	exact_free(x);
	free(id);
	free(score);
	return r;
}

static int
fits(const struct vectors *keys, const struct vectors *queries)
{
	if (keys->d != queries->d)
		return err_set("%s: %ld components (expected %ld, as in %s)", queries->name,
			       queries->d, keys->d, keys->name);
	if (args.k > keys->n)
		return err_set("%s: %ld keys (expected at least -k %d)", keys->name, keys->n,
			       args.k);
	return 0;
}

static int
search(char **v, int n)
{
	struct vectors keys = {0}, queries = {0};
	int r = -1;

	(void)n;
	if (vectors_read(&keys, v[0]) == 0 && vectors_read(&queries, v[1]) == 0 &&
	    fits(&keys, &queries) == 0 &&
	    (!args.cosine || (vectors_normalize(&keys) == 0 && vectors_normalize(&queries) == 0)))
		r = find(&keys, &queries);
	vectors_free(&keys);
	vectors_free(&queries);
	return r;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"search", 2, 2, "KEYS QUERIES", " neighbours cosine filter jobs kernels output verbose ",
	 search, 0},
};

static int
check(const struct verb *verb, char **v, int n)
{
	(void)verb, (void)v, (void)n;
	if (kern_choose(args.kernels) != 0)
		return usage("%s", err_text());
	return task_start(args.workers);
}

static int
run(const struct opt_many *words)
{
	return verb_run(verbs, sizeof verbs / sizeof *verbs, &table, words, check);
}

int
main(int argc, char **argv)
{
	const int status = program(&table, &args.help, &args.version, argc, argv, run);

	task_stop();
	return status;
}
