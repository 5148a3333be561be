/*
 * Parameters, operations and bytes counted by formula beside what is there; impossible shapes.
 */
#include "base/err.h"
#include "base/task.h"
#include "model/net.h"
#include "tap.h"
#include <limits.h>
#include <unistd.h>

static struct shape
reference(int dim, int layers, int heads)
{
	return (struct shape){.vocab = 256,
			      .dim = dim,
			      .layers = layers,
			      .heads = heads,
			      .kv_heads = heads,
			      .top_k = 2,
			      .tied = true};
}

/* The counts of a GELU net with a linear router and a tied head, written out. */
static void
counts(const char *name, long d, long L, long heads, long E, long ff)
{
	const long K = 2, T = 256, V = 256;
	struct shape s = reference((int)d, (int)L, (int)heads);
	const int e = (int)E, h = (int)ff;
	const long layer = 4 * d * d + 2 * d + d * E, one = 2 * d * ff;

	if (shape_set(&s, 1, &e, 1, &h) != 0)
		exit(1);
	is_long(shape_params(&s), V * d + L * (layer + E * one) + d, "%s: parameters", name);
	is_real(shape_active(&s), (double)(V * d + L * (layer + K * one) + d), 0,
		"%s: parameters that a token uses", name);
	is_real(shape_flops(&s, (int)T),
		3.0 * (double)(L * (2 * (3 * d * d + d * d) + 4 * T * d + 2 * d * E +
				    K * 4 * d * ff) +
			       2 * d * V),
		0, "%s: operations per token", name);
	shape_free(&s);
}

/* ---- what is there ---- */

static void
add(void *arg, struct tensor *t, int layer, int slot)
{
	(void)layer, (void)slot;
	*(long *)arg += t->rows * t->cols;
}

/* Pages of this process, by /proc: virtual ones, so that untouched memory counts. */
static long
mapped(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long pages = -1;

	if (!f || fscanf(f, "%ld", &pages) != 1)
		pages = -1;
	if (f)
		fclose(f);
	return pages;
}

static void
bytes(const char *name, struct shape s, int e, int h)
{
	const long page = sysconf(_SC_PAGESIZE);
	long sum = 0, before, after;

	if (shape_set(&s, 1, &e, 1, &h) != 0)
		exit(1);
	for (int train = 0; train < 2; train++) {
		struct param *p = param_new(&s, train);
		size_t all = p->bytes;
		sum = 0;
		param_each(p, add, &sum);
		for (int l = 0; l < s.layers; l++)
			for (int i = 0; i < s.experts[l]; i++)
				all += p->layer[l].expert[i]->bytes;
		is_long(sum, shape_params(&s), "%s: the tensors' sizes sum to the count", name);
		is_long((long)all, (long)param_bytes(&s, train), "%s: bytes of parameters", name);
		ok((long)all >= sum * (train ? 16 : 4), "%s: which hold them", name);
		before = mapped();
		struct net *n = net_new(p, 3, 70, train);
		after = mapped();
		is_long((long)n->bytes, (long)net_bytes(&s, 3, 70, train), "%s: bytes of a net",
			name);
		/* the heap may grow by a few pages beside it */
		is_real((double)((after - before) * page), (double)n->bytes, 300e3,
			"%s: as many are mapped", name);
		net_free(n);
		param_free(p);
	}
	shape_free(&s);
}

/* ---- impossible shapes ---- */

static void
refused(struct shape s, int ne, const int *e, int nh, const int *h, const char *why)
{
	int status = shape_set(&s, ne, e, nh, h);

	is_long(status, -1, "refused: %s", why);
	is_text(err_text(), why, "and said so");
	ok(!s.experts && !s.hidden, "nothing is left allocated");
	if (status == 0)
		shape_free(&s);
}

static void
impossible(void)
{
	const int four = 4, zero = 0, minus = -3;
	const int two[] = {4, 4}, ragged[] = {4, 1}, h[] = {8, 8, 0, 8};
	struct shape s = reference(24, 3, 4);

	s.heads = 5;
	refused(s, 1, &four, 1, &four, "width 24 is not a multiple of 5 heads");
	s.heads = 0;
	refused(s, 1, &four, 1, &four, "width 24 is not a multiple of 0 heads");
	s.heads = s.kv_heads = 8;
	refused(s, 1, &four, 1, &four,
		"heads of width 3 (expected an even width, for rotary positions)");
	s = reference(24, 3, 4);
	s.kv_heads = 3;
	refused(s, 1, &four, 1, &four, "4 heads are not a multiple of 3 key-value heads");
	s.kv_heads = 0;
	refused(s, 1, &four, 1, &four, "4 heads are not a multiple of 0 key-value heads");
	s = reference(24, 3, 4);
	refused(s, 2, two, 1, &four, "2 numbers of experts for 3 layers (expected 1 or 3)");
	refused(s, 1, &four, 2, two, "2 widths for the 4 experts of layer 0 (expected 1 or 4)");
	refused(s, 1, &four, 4, h, "expert 2 of layer 0 has width 0 (expected 1 or more)");
	refused(s, 1, &zero, 1, &four, "top-k 2 of 0 experts in layer 0");
	refused(s, 1, &minus, 1, &four, "top-k 2 of -3 experts in layer 0");
	s.layers = 2;
	refused(s, 2, ragged, 1, &four, "top-k 2 of 1 experts in layer 1");
	s.top_k = 0;
	refused(s, 1, &four, 1, &four, "top-k 0 (expected 1 or more)");
	s = reference(24, 0, 4);
	refused(s, 1, &four, 1, &four,
		"vocabulary of 256, width 24, 0 layers (expected 1 or more of each)");
	s = reference(0, 2, 4);
	refused(s, 1, &four, 1, &four,
		"vocabulary of 256, width 0, 2 layers (expected 1 or more of each)");
	s = reference(24, 2, 4);
	s.router = ROUTER_MLP;
	refused(s, 1, &four, 1, &four, "mlp router of width 0 (expected 1 or more)");
}

static void
dense(void)
{
	struct shape s = reference(24, 2, 4);
	const int four = 4, wide = 100;

	s.dense = true;
	s.act = ACT_SWIGLU;
	is_long(shape_set(&s, 1, &four, 1, &wide), 0, "a dense net of a mixture's shape");
	is_long(s.top_k, 1, "uses its one expert");
	is_long(shape_params(&s), 256 * 24 + 24 + 2 * (4 * 24 * 24 + 2 * 24 + 3 * 24 * 100),
		"and has no router");
	is_real(shape_active(&s), (double)shape_params(&s), 0, "and uses all of it");
	shape_free(&s);
}

int
main(void)
{
	struct shape s;

	kern_choose(NULL);
	task_start(1);
	counts("nano", 128, 2, 4, 8, 512);
	counts("base", 256, 6, 8, 8, 1024);
	counts("wide", 256, 4, 8, 64, 256);
	bytes("nano", reference(128, 2, 4), 8, 512);
	s = reference(36, 3, 6);
	s.kv_heads = 2;
	s.router = ROUTER_MLP;
	s.router_hidden = 19;
	s.act = ACT_REGLU;
	s.tied = false;
	bytes("odd", s, 5, 17);
	s = reference(24, 2, 4);
	s.router = ROUTER_RANDOM;
	bytes("random", s, 3, 10);
	impossible();
	dense();
	task_stop();
	return done();
}
