/*
 * For xslot.sh: what a store's disk can do, and the same model in other ways.
 *
 * xslot disk STORE READERS                  bytes per second, leaves in no order
 * xslot mapped STORE TOKENS <PROMPT         from a mapping of the store
 * xslot demand STORE TOKENS MEMORY <PROMPT  from a store of whole experts: one that the router has
 *                                           chosen and that is absent is read around the page
 *                                           cache, then the next; the least recently used gives way
 *
 * The last two say tokens per second on stderr; the text goes to stdout.
 * Without arguments it says nothing, as one of the programs that measure by themselves.
 */
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/task.h"
#include "base/tick.h"
#include "offload/decode.h"
#include "train/prompt.h"
#include "train/sample.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* ---- other ways ---- */

struct way {
	const struct store *store;
	const char *map; /* NULL: on demand */

	/* on demand: slots of the largest leaf's bytes */
	int n;
	char *slot;
	int *leaf_of; /* [n] or -1 */
	long *used;   /* [n] when last, in turns */
	long turn;

	float *part; /* [leaves of the widest experts of a token, C] */
	const float *x;
	bool *some;
	int *leaf;
	const char **at; /* where these leaves are */
};

static void
compute(void *arg, long i, int worker)
{
	struct way *w = arg;
	const struct store_leaf *l = &w->store->leaf[w->leaf[i]];
	const struct shape *s = &w->store->param->shape;

	w->some[i] = leaf_compute(
		s, l->neurons, (const float *)(const void *)w->at[i], w->x, w->part + i * s->dim,
		task_scratch(worker, (size_t)leaf_scratch(l->neurons) * sizeof(float)));
}

/* The slot of this leaf, -1: none. */
static int
holds(const struct way *w, int leaf)
{
	for (int i = 0; i < w->n; i++)
		if (w->leaf_of[i] == leaf)
			return i;
	return -1;
}

static int
oldest(const struct way *w)
{
	int old = 0;

	for (int i = 1; i < w->n; i++)
		if (w->used[i] < w->used[old])
			old = i;
	return old;
}

static int
load(struct way *w, int leaf)
{
	const struct store_leaf *l = &w->store->leaf[leaf];
	const int i = oldest(w);
	char *to = w->slot + (size_t)i * w->store->largest;

	w->leaf_of[i] = leaf;
	w->used[i] = w->turn;
	if (pread(w->store->fd, to, l->bytes, (off_t)l->at) != (ssize_t)l->bytes)
		return err_set("%s: a leaf cannot be read", w->store->name);
	return i;
}

/* Where n leaves are, after reading those that are absent. */
static int
find(struct way *w, int n)
{
	int slot[n];

	for (int i = 0; i < n && w->map; i++)
		w->at[i] = w->map + w->store->leaf[w->leaf[i]].at;
	if (w->map)
		return 0;
	w->turn++;
	for (int i = 0; i < n; i++)
		if ((slot[i] = holds(w, w->leaf[i])) >= 0)
			w->used[slot[i]] = w->turn;
	for (int i = 0; i < n; i++) {
		if (slot[i] < 0 && (slot[i] = load(w, w->leaf[i])) < 0)
			return -1;
		w->at[i] = w->slot + (size_t)slot[i] * w->store->largest;
	}
	return 0;
}

static int
experts(void *arg, int layer, const struct net_how *how, const struct plan *p, const float *x,
	float *y)
{
	struct way *w = arg;
	const long c = w->store->param->shape.dim;
	int n = 0;

	(void)how;
	w->x = x;
	for (int k = 0; k < p->k; k++)
		for (int i = 0; i < w->store->expert[layer][p->choice[k]].n; i++)
			w->leaf[n++] = w->store->expert[layer][p->choice[k]].first + i;
	if (find(w, n) != 0)
		return -1;
	task_run(n, compute, w);
	memset(y, 0, (size_t)(p->k * c) * sizeof *y);
	n = 0;
	for (int k = 0; k < p->k; k++)
		for (int i = 0; i < w->store->expert[layer][p->choice[k]].n; i++, n++)
			if (w->some[n])
				kern->axpy(c, 1, w->part + n * c, y + p->row[k] * c);
	return 0;
}

static long made;

static int
emit(void *arg, int32_t before, int32_t token, bool prompt)
{
	(void)arg, (void)before, (void)prompt;
	made++;
	return putchar(token) == EOF;
}

/* As many slots as `moe-prefetch run` has with this memory. */
static int
slots_new_way(struct way *w, int seq, size_t memory)
{
	const struct store *s = w->store;
	const size_t fixed = decode_fixed(s, seq, NULL) - slots_bytes(s, 0);

	if (memory < decode_least(s, seq, NULL))
		return err_set("%s: too little memory", s->name);
	w->n = slots_room(s, memory - fixed);
	w->slot = mem_map((size_t)w->n * s->largest);
	madvise(w->slot, (size_t)w->n * s->largest, MADV_HUGEPAGE);
	w->leaf_of = mem_zero((size_t)w->n, sizeof *w->leaf_of);
	w->used = mem_zero((size_t)w->n, sizeof *w->used);
	for (int i = 0; i < w->n; i++)
		w->leaf_of[i] = -1;
	return 0;
}

/* memory: 0 with a mapping. */
static int
measure_way(const char *file, long tokens, size_t memory)
{
	struct way w = {.store = store_open(file, memory > 0)};
	struct prompt text;
	size_t bytes;

	if (!w.store || (!memory && !(w.map = file_map(file, &bytes))) ||
	    prompt_open(&text, &(struct prompt_table){0}, "-", w.store->param->shape.vocab) != 0)
		return die();
	const struct shape *s = &w.store->param->shape;
	const struct recipe *r = &w.store->book.recipe;
	const size_t need = (size_t)store_need(w.store);
	const int seq = (int)(text.n + tokens);
	struct net *n = net_new(w.store->param, 1, seq, false);
	const struct net_how how = {.temperature = (float)recipe_temperature(r, r->steps),
				    .seed = (uint64_t)r->seed,
				    .scale = 1};
	const struct sample what = {
		.temperature = 1, .seed = how.seed, .tokens = tokens, .end = -1, .emit = emit};

	if (memory && slots_new_way(&w, seq, memory) != 0)
		return die();
	w.part = mem_zero(need * (size_t)s->dim, sizeof *w.part);
	w.some = mem_zero(need, sizeof *w.some);
	w.leaf = mem_zero(need, sizeof *w.leaf);
	w.at = mem_zero(need, sizeof *w.at);
	n->experts = experts;
	n->experts_arg = &w;
	const double begun = tick_now();
	sample_run(n, &how, &what, text.token, text.n);
	if (made < text.n + tokens)
		return die();
	fprintf(stderr, "%.9g\n", (double)(made - 1) / (tick_now() - begun));
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
		return measure_way(argv[2], atol(argv[3]), 0);
	if (argc == 5 && strcmp(argv[1], "demand") == 0)
		return measure_way(argv[2], atol(argv[3]), (size_t)atoll(argv[4]));
	return 0;
}
