/* moe-ecology: which routing settings leave experts dead, and what each expert is. */
#include "base/mem.h"
#include "base/task.h"
#include "math/blas.h"
#include "policy/tally.h"
#include "program.h"
#include "train/model.h"
#include "train/state.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

static struct args {
	double T, H, O, B;
	long classes;
	struct opt_ints experts, tiers;
	int seq, batch, workers;
	char *output, *stats;
	bool help, version;
} args = {.output = "-"};

static const struct opt rows[] = {
	ROW("temperature", 'T', OPT_REAL, T, 1e-6, 1e6, "X", "e: T of the router's softmax"),
	ROW("entropy", 'H', OPT_REAL, H, 0, 1e6, "WEIGHT", "e: H, of the entropy rewarded"),
	ROW("oracle", 'O', OPT_REAL, O, 0, 1e6, "WEIGHT", "e: O, of the oracle's loss"),
	ROW("balance", 'B', OPT_REAL, B, 0, 1e6, "WEIGHT", "e: B, of the balance loss"),
	ROW("classes", 'C', OPT_LONG, classes, 2, 1L << 40, "N", "e: C of the task, for E_eff"),
	ROW("experts", 'e', OPT_INTS, experts, 1, 1 << 16, "N[,N...]",
	    "of every layer of a trace, or of each; else as many as it shows"),
	ROW("tiers", 't', OPT_INTS, tiers, 1, 1 << 16, "N,N[,N...]",
	    "slots of tier 0, of tier 1 and so on; their sum is the number of experts"),
	ROW("stats", 0, OPT_TEXT, stats, 0, 0, "FILE",
	    "census: a row for each layer: classes, Gini, MaxVio and so on"),
	ROW("seq", 0, OPT_INT, seq, 1, 1 << 16, "N", "tokens of a window; else the checkpoint's"),
	ROW("batch", 0, OPT_INT, batch, 1, 1 << 16, "N",
	    "windows at a time; else the checkpoint's"),
	ROW("jobs", 'j', OPT_INT, workers, 1, 256, "N", "workers; else one per processor"),
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};

static const struct opt_group groups[] = {{"temperature", "The control parameter:"},
					  {"experts", "Experts:"},
					  {"seq", "A checkpoint in use:"},
					  {"output", "This program:"},
					  {NULL, NULL}};
static struct opt_table table = {
	.program = "moe-ecology",
	.synopsis = "moe-ecology e -T X -H WEIGHT -O WEIGHT -B WEIGHT [-C N]\n"
		    "moe-ecology e [-C N] RECIPE\n"
		    "moe-ecology census [options] TRACE\n"
		    "moe-ecology census [options] CKPT DATA\n",
	.group = groups,
	.row = rows,
	.n = sizeof rows / sizeof *rows,
	.values = &args,
};

/* A number, or nothing where there is none. */
static void
real_or_none(struct row *w, double x)
{
	if (isnan(x))
		row_skip(w);
	else
		row_real(w, x);
}

/* --- e --- */

static void
write_e(struct row *w, const struct ecology_e *x)
{
	row_real(w, x->e);
	real_or_none(w, x->e_log);
	real_or_none(w, x->e_sqrt);
	row_text(w, ecology_phase(x->e));
	row_end(w);
}

static void
say_extremes(double H, double O, double B)
{
	if (O + B == 0)
		say(H == 0 ? "H and O + B are 0: E is not defined"
			   : "O + B is 0: E is infinite, nothing holds exploration back");
}

static struct ecology_e
e_at(const struct recipe *r, long step)
{
	return ecology_e(recipe_temperature(r, step), r->entropy, 0, r->balance, args.classes);
}

static void
write_step(struct row *w, const struct recipe *r, long step)
{
	const struct ecology_e x = e_at(r, step);

	row_long(w, step);
	row_real(w, recipe_temperature(r, step));
	write_e(w, &x);
}

/* Whether two steps are in one phase; T falls or rises all the way, and E with it. */
static bool
same_phase(const struct recipe *r, long a, long b)
{
	return ecology_phase(e_at(r, a).e) == ecology_phase(e_at(r, b).e);
}

/* The first step of (from, to] in another phase than that of `from`; there is one. */
static long
next_phase(const struct recipe *r, long from, long to)
{
	for (long a = from;;) {
		const long mid = a + (to - a) / 2;
		if (mid == a)
			return to;
		if (same_phase(r, from, mid))
			a = mid;
		else
			to = mid;
	}
}

/* A row at each tenth of the run, and wherever a phase begins. */
static int
write_run(const struct recipe *r)
{
	struct row w = {.f = file_create(args.output)};

	if (!w.f)
		return -1;
	say_extremes(r->entropy, 0, r->balance);
	row_header(&w, "step,T,E,E_log,E_sqrt,phase");
	write_step(&w, r, 0);
	for (long part = 1, step = 0; part <= 10; part++) {
		const long to = r->steps / 10 * part + r->steps % 10 * part / 10;
		while (step < to) {
			step = same_phase(r, step, to) ? to : next_phase(r, step, to);
			write_step(&w, r, step);
		}
	}
	return file_close(w.f);
}

/* The recipe in a checkpoint, or in a file of its own. */
static char *
recipe_of(const char *file)
{
	struct ckpt *k;
	const char *text;
	char *copy;
	size_t n;

	if (!strstr(file, ".safetensors"))
		return file_slurp(file, &n);
	k = ckpt_open(file);
	text = k ? state_recipe(k) : NULL;
	copy = text ? mem_copy(text) : NULL;
	ckpt_close(k);
	return copy;
}

static int
e_of_recipe(const char *file)
{
	struct recipe_book b;
	char *text = recipe_of(file);
	int bad = -1;

	if (text && recipe_open(&b, file, text) == 0) {
		bad = write_run(&b.recipe);
		recipe_close(&b);
	}
	free(text);
	return bad;
}

static int
e(char **v, int n)
{
	static const char *const need[] = {"temperature", "entropy", "oracle", "balance"};
	struct ecology_e x;
	struct row w = {0};

	for (int i = 0; i < 4; i++)
		if (opt_given(&table, need[i]) != !n)
			return usage("e: %s --%s (expected -T, -H, -O and -B, or a recipe)",
				     n ? "a recipe and" : "no", need[i]);
	if (n)
		return e_of_recipe(v[0]);
	x = ecology_e(args.T, args.H, args.O, args.B, args.classes);
	say_extremes(args.H, args.O, args.B);
	if (!(w.f = file_create(args.output)))
		return -1;
	row_header(&w, "E,E_log,E_sqrt,phase");
	write_e(&w, &x);
	return file_close(w.f);
}

/* --- what a trace or a checkpoint shows --- */

/* The slots of each layer, as the options tell; n = 0: they do not. */
static struct opt_ints
slots_told(int *sum)
{
	*sum = 0;
	for (int i = 0; i < args.tiers.n; i++)
		*sum += args.tiers.v[i];
	return args.experts.n || !args.tiers.n ? args.experts : (struct opt_ints){1, sum};
}

/* Tiers that do not sum to the experts of each layer. */
static int
check_tiers(const struct tally *t, const char *file)
{
	int sum;

	slots_told(&sum);
	for (int i = 0; i < t->layers && args.tiers.n; i++)
		if (t->layer[i].tokens > 0 && t->layer[i].experts != sum)
			return err_set("%s: %d experts in layer %d (expected %d, the sum of "
				       "--tiers)",
				       file, t->layer[i].experts, i, sum);
	return 0;
}

static int
watch(void *arg, struct net *n, long step, int batch, const int32_t *in)
{
	struct tally *t = arg;

	(void)step;
	(void)batch;
	(void)in;
	for (int l = 0; l < n->param->shape.layers; l++) {
		const struct plan *p = net_plan(n, l);
		for (long i = 0; i < p->tokens; i++)
			tally_add(t, l, p->choice + i * p->k, p->k, net_token_hit(n)[i], NAN);
	}
	return 0;
}

static int
tally_model(struct tally *t, struct model *m, const char *data)
{
	struct recipe *r = &m->book.recipe;
	const struct net_how how = model_how(m);
	struct tokens *text = model_text(m, data);
	struct eval e;
	int bad = -1;

	if (!text)
		return -1;
	r->seq = args.seq ? args.seq : r->seq;
	r->batch = args.batch ? args.batch : r->batch;
	for (int l = 0; l < m->param->shape.layers; l++)
		tally_slots(t, l, m->param->shape.experts[l]);
	if (m->param->shape.dense) {
		err_set("%s: a dense model has no experts", data);
	} else {
		struct net *n = net_new(m->param, r->batch, r->seq, true);
		t->correct = true;
		bad = eval_run(n, &how, text, 0, text->n, watch, t, &e);
		net_free(n);
	}
	tokens_close(text);
	return bad;
}

/* From a trace, or a checkpoint and a text. */
static int
gather(struct tally *t, char **v, int n, bool confidence)
{
	struct model m;
	int bad, sum;

	if (n == 1)
		return tally_read(t, v[0], slots_told(&sum), confidence) != 0 ||
				       check_tiers(t, v[0]) != 0
			       ? -1
			       : 0;
	if (kern_choose(NULL) != 0 || task_start(args.workers) != 0)
		return -1;
	blas_start();
	if (model_open(&m, v[0]) != 0)
		return -1;
	bad = tally_model(t, &m, v[1]);
	model_close(&m);
	return bad || check_tiers(t, v[0]) != 0 ? -1 : 0;
}

static double
share(int64_t part, int64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

/* --- census --- */

static enum ecology_class
class_of(const struct tally *t, const struct tally_layer *l, int expert)
{
	const struct tally_sum *s = &l->sum[expert];

	return ecology_class(l->tokens, s->first, t->correct ? s->hits : -1);
}

static int
write_census(const struct tally *t, struct row *w)
{
	row_header(w, args.tiers.n ? "layer,expert,usage,accuracy,class,tokens,first,tier"
				   : "layer,expert,usage,accuracy,class,tokens,first");
	for (int i = 0; i < t->layers; i++)
		for (int e = 0; e < t->layer[i].experts && t->layer[i].tokens; e++) {
			const struct tally_layer *l = &t->layer[i];
			const struct tally_sum *s = &l->sum[e];
			row_long(w, i);
			row_long(w, e);
			row_real(w, share(s->first, l->tokens));
			real_or_none(w, t->correct ? share(s->hits, s->first) : NAN);
			row_text(w, ecology_class_name(class_of(t, l, e)));
			row_long(w, s->routed);
			row_long(w, s->first);
			if (args.tiers.n)
				row_long(w, ecology_tier(args.tiers.n, args.tiers.v, e));
			if (row_end(w) != 0)
				return -1;
		}
	return 0;
}

static void
write_layer(const struct tally *t, int layer, struct row *w)
{
	const struct tally_layer *l = &t->layer[layer];
	double *count = mem_zero((size_t)l->experts, sizeof *count);
	int class[ECOLOGY_CLASSES] = {0};
	struct ecology_load load;
	int64_t hits = 0;

	for (int e = 0; e < l->experts; e++) {
		count[e] = (double)l->sum[e].routed;
		hits += l->sum[e].hits;
		class[class_of(t, l, e)]++;
	}
	load = ecology_load(l->experts, count);
	free(count);
	row_long(w, layer);
	row_long(w, l->tokens);
	row_long(w, l->experts);
	real_or_none(w, t->correct ? share(hits, l->tokens) : NAN);
	for (int i = 0; i < ECOLOGY_CLASSES; i++)
		row_long(w, class[i]);
	row_long(w, l->experts - class[ECOLOGY_DEAD]);
	row_real(w, load.gini);
	row_real(w, load.entropy);
	row_real(w, load.maxvio);
	row_real(w, load.q25);
	row_real(w, load.median);
	row_real(w, load.q75);
	row_real(w, load.dead);
	real_or_none(w, tally_coactivation(l));
	row_end(w);
}

static int
write_stats(const struct tally *t)
{
	struct row w = {.f = file_create(args.stats)};

	if (!w.f)
		return -1;
	row_header(&w, "layer,samples,experts,accuracy,pure_core,broad_core,weak_core,edge,noise,"
		       "dead,core,fringe,active,gini,entropy,maxvio,usage_q25,usage_median,"
		       "usage_q75,unused,coactivation");
	for (int i = 0; i < t->layers; i++)
		if (t->layer[i].tokens)
			write_layer(t, i, &w);
	return file_close(w.f);
}

static int
census(char **v, int n)
{
	struct tally t = tally_new(args.stats, 0.7, 0.4);
	struct row w = {0};
	int r = -1;

	if (gather(&t, v, n, false) == 0 && (w.f = file_create(args.output)))
		r = write_census(&t, &w);
	if (file_close(w.f) < 0)
		r = -1;
	if (r == 0 && args.stats)
		r = write_stats(&t);
	tally_free(&t);
	return r;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"e", 0, 1, "[RECIPE or CKPT]", " output temperature entropy oracle balance classes ", e,
	 0},
	{"census", 1, 2, "TRACE, or CKPT DATA", " output experts tiers stats seq batch jobs ",
	 census, 0},
};

/* Options that say two things about the experts. */
static int
check(const struct verb *v, char **operands, int n)
{
	int sum;

	(void)v, (void)operands;
	slots_told(&sum);
	for (int i = 0; i < args.experts.n && args.tiers.n; i++)
		if (args.experts.v[i] != sum)
			return usage("--tiers sum to %d (expected %d, as --experts says)", sum,
				     args.experts.v[i]);
	if (args.experts.n && n == 2)
		return usage("--experts: a checkpoint says itself how many there are");
	return 0;
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
