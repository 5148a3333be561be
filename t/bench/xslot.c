/*
 * For xslot.sh: what a store's disk can do, and the same model through a mapping of the store.
 *
 * xslot disk STORE READERS           bytes per second, leaves in an order of no use to the disk
 * xslot mapped STORE TOKENS <PROMPT  tokens per second, on stderr; the text goes to stdout
 *
 * Without arguments it says nothing, as one of the programs that measure by themselves.
 */
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "base/tick.h"
#include "offload/store.h"
#include "train/prompt.h"
#include "train/sample.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
die(void)
{
	fprintf(stderr, "xslot: %s\n", err_text());
	return 1;
}

/* ---- the disk ---- */

enum { READS = 2048 }; /* leaves */

static struct {
	const struct store *store;
	int order[READS];
	atomic_int next, bad;
} disk;

static void *
read_leaves(void *arg)
{
	void *buffer = aligned_alloc(STORE_ALIGN, disk.store->largest);
	int i;

	(void)arg;
	while ((i = atomic_fetch_add(&disk.next, 1)) < READS)
		if (store_read(disk.store, disk.order[i], buffer) != 0)
			atomic_store(&disk.bad, 1);
	free(buffer);
	return NULL;
}

static int
measure_disk(const char *file, int readers)
{
	struct rng r = rng_at(1, RNG_TEST, 0, 0);
	pthread_t thread[64];
	double bytes = 0, begun;

	if (!(disk.store = store_open(file, true)))
		return die();
	for (int i = 0; i < READS; i++) {
		disk.order[i] = (int)rng_below(&r, (uint64_t)disk.store->leaves);
		bytes += disk.store->leaf[disk.order[i]].bytes;
	}
	begun = tick_now();
	for (int i = 0; i < readers; i++)
		if (pthread_create(&thread[i], NULL, read_leaves, NULL) != 0)
			return 1;
	for (int i = 0; i < readers; i++)
		pthread_join(thread[i], NULL);
	printf("%.9g\n", bytes / (tick_now() - begun));
	return atomic_load(&disk.bad);
}

/* ---- a mapping ---- */

struct mapped {
	const struct store *store;
	const char *map;
	float *part; /* [leaves of the widest experts of a token, C] */
	const float *x;
	bool *some;
	int *leaf;
};

static void
compute(void *arg, long i, int worker)
{
	struct mapped *m = arg;
	const struct store_leaf *l = &m->store->leaf[m->leaf[i]];
	const struct shape *s = &m->store->param->shape;

	m->some[i] = leaf_compute(
		s, l->neurons, (const float *)(const void *)(m->map + l->at), m->x,
		m->part + i * s->dim,
		task_scratch(worker, (size_t)leaf_scratch(l->neurons) * sizeof(float)));
}

static int
experts(void *arg, int layer, const struct net_how *how, const struct plan *p, const float *x,
	float *y)
{
	struct mapped *m = arg;
	const long c = m->store->param->shape.dim;
	int n = 0;

	(void)how;
	m->x = x;
	for (int k = 0; k < p->k; k++)
		for (int i = 0; i < m->store->expert[layer][p->choice[k]].n; i++)
			m->leaf[n++] = m->store->expert[layer][p->choice[k]].first + i;
	task_run(n, compute, m);
	memset(y, 0, (size_t)(p->k * c) * sizeof *y);
	n = 0;
	for (int k = 0; k < p->k; k++)
		for (int i = 0; i < m->store->expert[layer][p->choice[k]].n; i++, n++)
			if (m->some[n])
				kern->axpy(c, 1, m->part + n * c, y + p->row[k] * c);
	return 0;
}

static int
emit(void *arg, int32_t before, int32_t token, bool prompt)
{
	(void)arg, (void)before, (void)prompt;
	return putchar(token) == EOF;
}

static int
measure_mapped(const char *file, long tokens)
{
	struct mapped m = {.store = store_open(file, false)};
	struct prompt text;
	size_t bytes;

	if (!m.store || !(m.map = file_map(file, &bytes)) ||
	    prompt_open(&text, &(struct prompt_table){0}, "-", m.store->param->shape.vocab) != 0)
		return die();
	const struct shape *s = &m.store->param->shape;
	const size_t need = (size_t)store_need(m.store);
	struct net *n = net_new(m.store->param, 1, (int)(text.n + tokens), false);
	const struct net_how how = {.temperature = 1, .scale = 1};
	const struct sample what = {.tokens = tokens, .end = -1, .emit = emit};
	const double begun = tick_now();

	m.part = mem_zero(need * (size_t)s->dim, sizeof *m.part);
	m.some = mem_zero(need, sizeof *m.some);
	m.leaf = mem_zero(need, sizeof *m.leaf);
	n->experts = experts;
	n->experts_arg = &m;
	sample_run(n, &how, &what, text.token, text.n);
	fprintf(stderr, "%.9g\n", (double)(text.n + tokens - 1) / (tick_now() - begun));
	return 0;
}

int
main(int argc, char **argv)
{
	if (kern_choose(NULL) != 0 || task_start(0) != 0)
		return die();
	if (argc == 4 && strcmp(argv[1], "disk") == 0)
		return measure_disk(argv[2], atoi(argv[3]));
	if (argc == 4 && strcmp(argv[1], "mapped") == 0)
		return measure_mapped(argv[2], atol(argv[3]));
	return 0;
}
