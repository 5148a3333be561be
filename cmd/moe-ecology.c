/* moe-ecology: which routing settings leave experts dead, and what each expert is. */
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "base/task.h"
#include "math/blas.h"
#include "policy/tally.h"
#include "policy/track.h"
#include "program.h"
#include "train/model.h"
#include "train/score.h"
#include "train/state.h"
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

static struct args {
	double T, H, O, B;
	long classes, seed;
	struct opt_ints experts, tiers;
	double easy, hard, limit;
	int shuffle, window, last;
	int seq, batch, workers;
	char *output, *stats, *temperatures;
	bool help, version;
} args = {.output = "-",
	  .seed = 1,
	  .easy = 0.7,
	  .hard = 0.4,
	  .limit = 0.01,
	  .window = 1,
	  .last = 9,
	  .temperatures = "0.1,0.3,0.5,0.7,1,2,5"};

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
	    "a second table: census by layer, flow by tier, track's stability, compare's pairs"),
	ROW("easy", 0, OPT_REAL, easy, 0, 1, "X",
	    "flow, scan: a sample is easy above this confidence"),
	ROW("hard", 0, OPT_REAL, hard, 0, 1, "X", "flow, scan: a sample is hard below it"),
	ROW("shuffle", 0, OPT_INT, shuffle, 2, 100000, "N",
	    "flow: beside it the mean of N random labellings"),
	ROW("seed", 0, OPT_LONG, seed, 0, 0x1p53, "N", "flow: of these"),
	ROW("dead", 0, OPT_REAL, limit, 0, 1, "U", "track: an expert is dead below this usage"),
	ROW("window", 0, OPT_INT, window, 1, 1 << 20, "N", "track: for N censuses in a row"),
	ROW("last", 0, OPT_INT, last, 1, 1 << 20, "N", "track: censuses whose stability is told"),
	ROW("temperatures", 0, OPT_TEXT, temperatures, 0, 0, "X,...", "scan: to go through"),
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
		    "moe-ecology census [options] CKPT DATA\n"
		    "moe-ecology flow [options] TRACE\n"
		    "moe-ecology flow [options] CKPT DATA\n"
		    "moe-ecology scan [options] CKPT DATA\n"
		    "moe-ecology track [options] RUN\n"
		    "moe-ecology compare [options] RUN...\n",
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
	return ecology_e(recipe_temperature(r, step), r->entropy, r->oracle, r->balance,
			 args.classes);
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
	say_extremes(r->entropy, r->oracle, r->balance);
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
			tally_add(t, l, p->choice + i * p->k, p->k, net_token_hit(n)[i],
				  exp((double)net_token_best(n)[i]));
	}
	return 0;
}

/* Open a checkpoint and a text for it, and use them. */
static int
with_model(const char *ckpt, const char *data,
	   int (*use)(void *arg, struct model *m, const struct tokens *text), void *arg)
{
	struct tokens *text = NULL;
	struct model m;
	int bad = -1;

	if (kern_choose(NULL) != 0 || task_start(args.workers) != 0)
		return -1;
	blas_start();
	if (model_open(&m, ckpt) != 0)
		return -1;
	m.book.recipe.seq = args.seq ? args.seq : m.book.recipe.seq;
	m.book.recipe.batch = args.batch ? args.batch : m.book.recipe.batch;
	if (m.param->shape.dense)
		err_set("%s: a dense model has no experts", ckpt);
	else if ((text = model_text(&m, data)))
		bad = use(arg, &m, text);
	tokens_close(text);
	model_close(&m);
	return bad;
}

static void
tally_shape(struct tally *t, const struct shape *s)
{
	t->correct = true;
	for (int l = 0; l < s->layers; l++)
		tally_slots(t, l, s->experts[l]);
}

static int
tally_model(void *arg, struct model *m, const struct tokens *text)
{
	struct net *n = net_new(m->param, m->book.recipe.batch, m->book.recipe.seq, true);
	const struct net_how how = model_how(m);
	struct eval e;
	int bad;

	tally_shape(arg, &m->param->shape);
	bad = eval_run(n, &how, text, 0, text->n, watch, arg, &e);
	net_free(n);
	return bad;
}

/* From a trace, or a checkpoint and a text. */
static int
gather(struct tally *t, char **v, int n, bool confidence)
{
	int sum, bad = n == 1 ? tally_read(t, v[0], slots_told(&sum), confidence)
			      : with_model(v[0], v[1], tally_model, t);

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

/* --- flow --- */

/* The tier of each slot; without --tiers each slot is one of its own. Returns their number. */
static int
label(int experts, int *tier)
{
	for (int e = 0; e < experts; e++)
		tier[e] = args.tiers.n ? ecology_tier(args.tiers.n, args.tiers.v, e) : e;
	return args.tiers.n ? args.tiers.n : experts;
}

/* cell[n, n]: samples whose first choice is of tier i and whose second is of tier j. */
static void
flow_by_tier(const struct tally_layer *l, const int *tier, int n, double *cell)
{
	memset(cell, 0, (size_t)n * (size_t)n * sizeof *cell);
	for (int i = 0; i < l->experts; i++)
		for (int j = 0; j < l->experts; j++)
			cell[tier[i] * n + tier[j]] +=
				(double)l->flow[(size_t)i * (size_t)l->room + (size_t)j];
}

/* Sums of each cell and of its square over random exchanges of the labels. */
static void
shuffle(const struct tally_layer *l, int layer, int *tier, int n, double *sum, double *square)
{
	double *cell = mem_zero((size_t)n * (size_t)n, sizeof *cell);

	for (int draw = 0; draw < args.shuffle; draw++) {
		struct rng r =
			rng_at((uint64_t)args.seed, RNG_PROBE, (uint64_t)layer, (uint64_t)draw);
		for (int i = l->experts - 1; i > 0; i--) {
			const int j = (int)rng_below(&r, (uint64_t)i + 1), t = tier[i];
			tier[i] = tier[j];
			tier[j] = t;
		}
		flow_by_tier(l, tier, n, cell);
		for (int i = 0; i < n * n; i++) {
			sum[i] += cell[i];
			square[i] += cell[i] * cell[i];
		}
	}
	free(cell);
}

/* Standard deviation of n values with this sum and sum of squares. */
static double
deviation(double sum, double square, int n)
{
	return sqrt(fmax(square - sum * sum / n, 0) / (n - 1));
}

static int
write_flow(const struct tally_layer *l, int layer, struct row *w)
{
	int *tier = mem_zero((size_t)l->experts, sizeof *tier), n = label(l->experts, tier);
	const size_t cells = (size_t)n * (size_t)n;
	double *cell = mem_zero(3 * cells, sizeof *cell), *sum = cell + cells;
	double *square = sum + cells, all = 0;

	flow_by_tier(l, tier, n, cell);
	shuffle(l, layer, tier, n, sum, square);
	for (size_t i = 0; i < cells; i++)
		all += cell[i];
	for (int i = 0; i < n; i++) {
		double from = 0;
		for (int j = 0; j < n; j++)
			from += cell[i * n + j];
		for (int j = 0; j < n; j++) {
			const int at = i * n + j, draws = args.shuffle;
			row_long(w, layer);
			row_long(w, i);
			row_long(w, j);
			row_long(w, (long)cell[at]);
			row_real(w, cell[at] / all);
			real_or_none(w, from > 0 ? cell[at] / from : NAN);
			if (draws) {
				row_real(w, sum[at] / draws / all);
				row_real(w, deviation(sum[at], square[at], draws) / all);
			}
			row_end(w);
		}
	}
	free(tier);
	free(cell);
	return w->failed ? -1 : 0;
}

/* What one tier, or all of them, have in a layer. */
struct tier_sum {
	int experts, active;
	struct tally_sum sum;
};

static void
write_tier(const struct tally *t, const struct tally_layer *l, const struct tier_sum *s,
	   struct row *w)
{
	const bool rated = l->rated > 0;

	row_long(w, s->experts);
	row_long(w, s->active);
	row_real(w, share(s->sum.first, l->tokens));
	real_or_none(w, t->correct ? share(s->sum.hits, s->sum.first) : NAN);
	real_or_none(w, rated ? share(s->sum.easy, s->sum.first) : NAN);
	real_or_none(w, rated ? share(s->sum.hard, s->sum.first) : NAN);
}

static void
add_slot(const struct tally *t, const struct tally_layer *l, int e, struct tier_sum *s)
{
	s->experts++;
	s->active += class_of(t, l, e) != ECOLOGY_DEAD;
	s->sum.first += l->sum[e].first;
	s->sum.hits += l->sum[e].hits;
	s->sum.easy += l->sum[e].easy;
	s->sum.hard += l->sum[e].hard;
}

static void
write_tiers(const struct tally *t, int layer, struct row *w)
{
	const struct tally_layer *l = &t->layer[layer];
	int *tier = mem_zero((size_t)l->experts, sizeof *tier), n = label(l->experts, tier);
	struct tier_sum *s = mem_zero((size_t)n, sizeof *s), all = {0};
	double *usage = mem_zero((size_t)n, sizeof *usage);
	struct ecology_depth depth;

	for (int e = 0; e < l->experts; e++) {
		add_slot(t, l, e, &s[tier[e]]);
		add_slot(t, l, e, &all);
	}
	for (int i = 0; i < n; i++) {
		usage[i] = share(s[i].sum.first, l->tokens);
		row_long(w, layer);
		row_long(w, i);
		write_tier(t, l, &s[i], w);
		row_skip(w);
		row_skip(w);
		row_end(w);
	}
	depth = ecology_depth(n, usage);
	row_long(w, layer);
	row_text(w, "all");
	write_tier(t, l, &all, w);
	row_long(w, depth.used);
	row_real(w, depth.effective);
	row_end(w);
	free(tier);
	free(s);
	free(usage);
}

static int
write_all_tiers(const struct tally *t)
{
	struct row w = {.f = file_create(args.stats)};

	if (!w.f)
		return -1;
	row_header(&w, "layer,tier,experts,active,usage,accuracy,easy,hard,used,depth");
	for (int i = 0; i < t->layers; i++)
		if (t->layer[i].tokens)
			write_tiers(t, i, &w);
	return file_close(w.f);
}

static int
write_flows(const struct tally *t, const char *file)
{
	struct row w = {0};
	int r = 0;

	for (int i = 0; i < t->layers; i++) {
		const struct tally_layer *l = &t->layer[i];
		int64_t seconds = 0;
		for (int e = 0; l->flow && e < l->room * l->room; e++)
			seconds += l->flow[e];
		if (l->tokens && !l->flow)
			return err_set("%s: %d experts in layer %d (expected at most %d)", file,
				       l->experts, i, TALLY_PAIRS);
		if (l->tokens && !seconds)
			return err_set("%s: no second choice (rank 1) in layer %d", file, i);
	}
	if (!(w.f = file_create(args.output)))
		return -1;
	row_header(&w, args.shuffle ? "layer,from,to,samples,joint,conditional,shuffled,shuffled_sd"
				    : "layer,from,to,samples,joint,conditional");
	for (int i = 0; i < t->layers && !r; i++)
		if (t->layer[i].tokens)
			r = write_flow(&t->layer[i], i, &w);
	return file_close(w.f) < 0 ? -1 : r;
}

static int
flow(char **v, int n)
{
	struct tally t = tally_new(true, args.easy, args.hard);
	int r = gather(&t, v, n, true);

	if (r == 0)
		r = write_flows(&t, v[0]);
	if (r == 0 && args.stats)
		r = write_all_tiers(&t);
	tally_free(&t);
	return r;
}

/* --- scan --- */

/* One pass over a text at one temperature, beside the first one. */
struct scan {
	long tokens;	/* seen so far in this pass */
	long room;	/* of choice, in tokens */
	bool reference; /* the pass whose choices are kept */
	int layers, k;
	int *choice; /* [tokens, layers, k] of the reference */
	struct scan_sum {
		double entropy, weight;
		int64_t first, set; /* tokens whose first choice, whose set of choices moved */
	} * layer;
	struct tally tally;
};

/* Whether two lists of k choices are the same set. */
static bool
same_set(const int *a, const int *b, int k)
{
	for (int i = 0; i < k; i++) {
		int j = 0;
		while (j < k && b[j] != a[i])
			j++;
		if (j == k)
			return false;
	}
	return true;
}

static void
scan_token(struct scan *c, int layer, long token, const int *now)
{
	int *was = c->choice + (token * c->layers + layer) * c->k;

	if (c->reference)
		memcpy(was, now, (size_t)c->k * sizeof *was);
	c->layer[layer].first += now[0] != was[0];
	c->layer[layer].set += !same_set(now, was, c->k);
}

static int
scan_batch(void *arg, struct net *n, long step, int batch, const int32_t *in)
{
	struct scan *c = arg;
	const long tokens = net_plan(n, 0)->tokens;

	if (c->reference && c->tokens + tokens > c->room) {
		c->room = 2 * (c->tokens + tokens);
		c->choice = mem_grow(c->choice, (size_t)c->room,
				     (size_t)(c->layers * c->k) * sizeof *c->choice);
	}
	for (int l = 0; l < c->layers; l++) {
		const struct plan *p = net_plan(n, l);
		const double most = p->living > 1 ? log(p->living) : 1;
		for (long t = 0; t < tokens; t++) {
			scan_token(c, l, c->tokens + t, p->choice + t * p->k);
			c->layer[l].entropy += (double)p->entropy[t] / most;
			c->layer[l].weight += (double)p->gate[t * p->k];
		}
	}
	c->tokens += tokens;
	return watch(&c->tally, n, step, batch, in);
}

static void
write_scan(struct row *w, const struct scan *c, double temperature, const struct eval *e)
{
	const double n = (double)c->tokens;

	for (int i = 0; i < c->layers; i++) {
		const struct tally_layer *l = &c->tally.layer[i];
		struct tier_sum all = {0};
		for (int k = 0; k < l->experts; k++)
			add_slot(&c->tally, l, k, &all);
		row_real(w, temperature);
		row_long(w, i);
		row_real(w, e->loss);
		row_real(w, e->accuracy);
		row_real(w, share(all.sum.easy, l->tokens));
		row_real(w, share(all.sum.hard, l->tokens));
		row_real(w, c->layer[i].entropy / n);
		row_real(w, c->layer[i].weight / n);
		row_real(w, (double)c->layer[i].first / n);
		row_real(w, (double)c->layer[i].set / n);
		row_long(w, all.active);
		row_end(w);
	}
}

struct heats {
	int n;
	double v[64];
};

/* "0.1,0.3,..." */
static int
temperatures(struct heats *h, const char *text)
{
	char *copy = mem_copy(text), *at = copy, *word;
	const int most = sizeof h->v / sizeof *h->v;
	int bad = 0;

	while (!bad && (word = strsep(&at, ",")))
		bad = h->n == most ? err_set("more than %d numbers", most)
				   : num_real(word, 1e-3, 1e3, &h->v[h->n++]);
	free(copy);
	return bad ? err_in("--temperatures") : 0;
}

static int
scan_model(void *arg, struct model *m, const struct tokens *text)
{
	struct net *net = net_new(m->param, m->book.recipe.batch, m->book.recipe.seq, true);
	const struct shape *s = &m->param->shape;
	struct scan c = {.reference = true, .layers = s->layers, .k = s->top_k};
	struct net_how how = model_how(m);
	const float own = how.temperature;
	struct row w = {.f = file_create(args.output)};
	const struct heats *heats = arg;
	int bad = w.f ? 0 : -1;

	c.layer = mem_zero((size_t)s->layers, sizeof *c.layer);
	if (!bad)
		row_header(&w, "temperature,layer,loss,accuracy,easy,hard,entropy,weight,"
			       "first_moved,set_moved,active");
	for (int i = -1; i < heats->n && !bad; i++) {
		const double T = i < 0 ? (double)own : heats->v[i];
		struct eval e;
		c.tally = tally_new(false, args.easy, args.hard);
		tally_shape(&c.tally, s);
		memset(c.layer, 0, (size_t)s->layers * sizeof *c.layer);
		c.tokens = 0;
		how.temperature = (float)T;
		bad = eval_run(net, &how, text, 0, text->n, scan_batch, &c, &e);
		c.reference = false;
		if (!bad)
			write_scan(&w, &c, T, &e);
		tally_free(&c.tally);
	}
	free(c.layer);
	free(c.choice);
	net_free(net);
	return file_close(w.f) < 0 ? -1 : bad;
}

static int
scan(char **v, int n)
{
	struct heats h = {0};

	(void)n;
	if (temperatures(&h, args.temperatures) != 0)
		return usage("%s", err_text());
	return with_model(v[0], v[1], scan_model, &h);
}

/* --- track --- */

/* RUN/experts.csv of a run, or the table itself. */
static struct policy_census *
census_of(const char *run)
{
	char *file = mem_text("%s/experts.csv", run);
	struct policy_census *c =
		policy_census_open(file_exists(file) ? file : run, ROW_USAGE | ROW_SLOT,
				   ROW_EXPERT | ROW_BORN | ROW_ACCURACY);

	free(file);
	return c;
}

/* A slot beyond the tiers. */
static int
check_slots(const struct policy_step *s, const char *run)
{
	int sum;

	slots_told(&sum);
	for (int i = 0; i < s->n && args.tiers.n; i++)
		if (s->row[i].slot >= sum)
			return err_set("%s: step %ld: slot %d in layer %d (expected it below %d, "
				       "the sum of --tiers)",
				       run, s->step, s->row[i].slot, s->row[i].layer, sum);
	return 0;
}

/* Figures of a layer at one census: accuracy, dead, active, then the usage of each tier. */
enum { FIGURES = 3 };

static int
figures(void)
{
	return FIGURES + args.tiers.n;
}

/* The last censuses of each layer, [layers, args.last, figures], the oldest overwritten. */
struct recent {
	int layers;
	long censuses;
	int *layer; /* its number */
	double *v;
};

static double *
recent_at(const struct recent *m, int k, long census)
{
	return m->v + ((long)k * args.last + census % args.last) * figures();
}

static void
remember(struct recent *m, const struct track_layer *l, const struct policy_step *s)
{
	if (!m->v) {
		m->layers = s->layers;
		m->layer = mem_zero((size_t)s->layers, sizeof *m->layer);
		m->v = mem_zero((size_t)(s->layers * args.last * figures()), sizeof *m->v);
	}
	for (int k = 0; k < s->layers; k++) {
		double *at = recent_at(m, k, m->censuses);
		m->layer[k] = l[k].layer;
		at[0] = l[k].accuracy;
		at[1] = l[k].dead;
		at[2] = l[k].active;
		track_tiers(s->row + s->begin[k], s->begin[k + 1] - s->begin[k], args.tiers.n,
			    args.tiers.v, at + FIGURES);
	}
	m->censuses++;
}

/* Of the last censuses: mean, sd (n - 1), extremes. */
static void
write_stability(struct row *w, const struct recent *m, int k, int figure)
{
	static const char *const name[FIGURES] = {"accuracy", "dead", "active"};
	const long n = m->censuses < args.last ? m->censuses : args.last;
	double sum = 0, square = 0, lo = INFINITY, hi = -INFINITY;
	char *tier = mem_text("t%d", figure - FIGURES);

	for (long i = 0; i < n; i++) {
		const double x = recent_at(m, k, i)[figure];
		sum += x;
		lo = fmin(lo, x);
		hi = fmax(hi, x);
	}
	for (long i = 0; i < n; i++)
		square += pow(recent_at(m, k, i)[figure] - sum / (double)n, 2);
	row_long(w, m->layer[k]);
	row_text(w, figure < FIGURES ? name[figure] : tier);
	row_long(w, n);
	real_or_none(w, sum / (double)n);
	real_or_none(w, n > 1 ? sqrt(square / (double)(n - 1)) : NAN);
	real_or_none(w, isnan(sum) ? NAN : lo);
	real_or_none(w, isnan(sum) ? NAN : hi);
	real_or_none(w, hi - lo);
	row_end(w);
	free(tier);
}

static int
write_stabilities(const struct recent *m)
{
	struct row w = {.f = file_create(args.stats)};

	if (!w.f)
		return -1;
	row_header(&w, "layer,figure,censuses,mean,sd,least,most,range");
	for (int k = 0; k < m->layers; k++)
		for (int i = 0; i < figures(); i++)
			write_stability(&w, m, k, i);
	return file_close(w.f);
}

static void
write_track(struct row *w, const struct policy_step *s, const struct track_layer *l, int k)
{
	const int from = s->begin[k], n = s->begin[k + 1] - from;
	double *usage = mem_zero((size_t)args.tiers.n + 1, sizeof *usage);
	const struct ecology_depth d =
		(track_tiers(s->row + from, n, args.tiers.n, args.tiers.v, usage),
		 ecology_depth(args.tiers.n, usage));

	row_long(w, s->step);
	row_long(w, l->layer);
	row_long(w, l->experts);
	row_long(w, l->active);
	row_long(w, l->dead);
	row_long(w, l->deaths);
	row_long(w, l->revivals);
	real_or_none(w, l->accuracy);
	for (int i = 0; i < args.tiers.n; i++)
		row_real(w, usage[i]);
	if (args.tiers.n) {
		row_long(w, d.used);
		row_real(w, d.effective);
	}
	row_end(w);
	free(usage);
}

static int
track_steps(struct policy_census *c, const char *run, struct row *w, struct recent *m)
{
	struct track *t = track_new((struct track_rule){args.limit, args.window});
	struct policy_step *s;
	int got;

	while ((got = policy_census_next(c, &s)) > 0) {
		const struct track_layer *l;
		if ((got = check_slots(s, run)) != 0)
			break;
		l = track_step(t, s);
		for (int k = 0; k < s->layers; k++)
			write_track(w, s, &l[k], k);
		remember(m, l, s);
	}
	track_free(t);
	return got;
}

static void
track_header(struct row *w)
{
	static const char *const columns[] = {"step", "layer",	"experts",  "active",
					      "dead", "deaths", "revivals", "accuracy"};

	for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
		row_text(w, columns[i]);
	for (int i = 0; i < args.tiers.n; i++) {
		char *name = mem_text("t%d", i);
		row_text(w, name);
		free(name);
	}
	if (args.tiers.n) {
		row_text(w, "used");
		row_text(w, "depth");
	}
	row_end(w);
}

static int
track(char **v, int n)
{
	struct policy_census *c = census_of(v[0]);
	struct recent m = {0};
	struct row w = {0};
	int r = -1;

	(void)n;
	if (c && (w.f = file_create(args.output))) {
		track_header(&w);
		r = track_steps(c, v[0], &w, &m);
	}
	if (file_close(w.f) < 0)
		r = -1;
	if (r == 0 && args.stats)
		r = write_stabilities(&m);
	policy_census_close(c);
	free(m.layer);
	free(m.v);
	return r;
}

/* --- compare --- */

/* How a run ended, in one layer. */
struct ending {
	const char *run;
	int layer, experts;
	double loss, val_loss; /* of the run; NAN: not told */
	double accuracy;
	int class[ECOLOGY_CLASSES];
	double gini;
	double *usage; /* [experts] rising */
	double *tier;  /* [tiers] */
};

struct endings {
	int n;
	struct ending *v; /* by run, then layer */
};

static int
rising(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct ending
ending_of(const struct policy_row *r, int n, const char *run)
{
	struct ending x = {.run = run, .layer = r->layer, .experts = n};
	double *load = mem_zero((size_t)n, sizeof *load);

	x.usage = mem_zero((size_t)n, sizeof *x.usage);
	x.tier = mem_zero((size_t)args.tiers.n + 1, sizeof *x.tier);
	for (int i = 0; i < n; i++) {
		x.usage[i] = load[i] = r[i].usage;
		x.accuracy += r[i].usage * r[i].accuracy;
		x.class[ecology_class_of(r[i].usage, r[i].accuracy)]++;
	}
	x.gini = ecology_load(n, load).gini;
	track_tiers(r, n, args.tiers.n, args.tiers.v, x.tier);
	qsort(x.usage, (size_t)n, sizeof *x.usage, rising);
	free(load);
	return x;
}

/* The last values that a run's table of losses has, NAN where it has none. */
static int
last_losses(const char *run, double *loss, double *val)
{
	char *file = mem_text("%s/loss.csv", run);
	struct table *t = file_exists(file) ? table_open(file) : NULL;
	const int column[2] = {t ? table_column(t, "loss") : -1,
			       t ? table_column(t, "val_loss") : -1};
	double *const at[2] = {loss, val};
	int got = t || !file_exists(file) ? 0 : -1;

	*loss = *val = NAN;
	free(file);
	while (t && (got = table_next(t)) > 0)
		for (int i = 0; i < 2; i++)
			if (column[i] >= 0 && *table_text(t, column[i]) &&
			    table_real(t, column[i], at[i]) != 0) {
				table_close(t);
				return -1;
			}
	table_close(t);
	return got;
}

static void
add_ending(struct endings *e, const struct ending *x)
{
	e->v = mem_grow(e->v, (size_t)e->n + 1, sizeof *e->v);
	e->v[e->n++] = *x;
}

/* The last census of a run. */
static int
read_ending(struct endings *e, const char *run)
{
	struct policy_census *c = census_of(run);
	struct policy_step *s, last = {0};
	double loss = NAN, val = NAN;
	int got = -1;

	while (c && (got = policy_census_next(c, &s)) > 0) {
		policy_step_clear(&last);
		for (int i = 0; i < s->n; i++)
			policy_step_add(&last, &s->row[i]);
	}
	if (got == 0 && last.n == 0)
		got = err_set("%s: no census", run);
	if (got == 0)
		got = check_slots(&last, run);
	if (got == 0 && (got = last_losses(run, &loss, &val)) == 0)
		for (int k = 0; k < last.layers; k++) {
			const int from = last.begin[k];
			struct ending x = ending_of(last.row + from, last.begin[k + 1] - from, run);
			x.loss = loss;
			x.val_loss = val;
			add_ending(e, &x);
		}
	policy_step_free(&last);
	policy_census_close(c);
	return got;
}

/* The figures of an ending, those of its tiers last. */
enum { ENDING = 12 };

static double
ending_figure(const struct ending *x, int i)
{
	const double v[ENDING] = {x->loss,
				  x->val_loss,
				  x->accuracy,
				  x->class[ECOLOGY_PURE_CORE],
				  x -> class[ECOLOGY_BROAD_CORE],
				  x -> class[ECOLOGY_WEAK_CORE],
				  x -> class[ECOLOGY_EDGE],
				  x -> class[ECOLOGY_NOISE],
				  x -> class[ECOLOGY_DEAD],
				  x -> experts - x -> class[ECOLOGY_DEAD],
				  x -> gini,
				  args.tiers.n ? ecology_depth(args.tiers.n, x->tier).effective
					       : NAN};

	return i < ENDING ? v[i] : x->tier[i - ENDING];
}

static void
compare_header(struct row *w)
{
	static const char *const names[ENDING] = {
		"loss", "val_loss", "accuracy", "pure_core", "broad_core", "weak_core",
		"edge", "noise",    "dead",	"active",    "gini",	   "depth"};

	row_text(w, "run");
	row_text(w, "layer");
	for (int i = 0; i < ENDING; i++)
		row_text(w, names[i]);
	for (int i = 0; i < args.tiers.n; i++) {
		char *name = mem_text("t%d", i);
		row_text(w, name);
		free(name);
	}
	row_end(w);
}

/* Mean or sd (n - 1) of the runs' figures of one layer. */
static void
write_over_runs(struct row *w, const struct endings *e, int layer, bool sd)
{
	row_text(w, sd ? "sd" : "mean");
	row_long(w, layer);
	for (int i = 0; i < ENDING + args.tiers.n; i++) {
		double *v = mem_zero((size_t)e->n, sizeof *v);
		struct score_mean m;
		int n = 0;
		for (int k = 0; k < e->n; k++)
			if (e->v[k].layer == layer)
				v[n++] = ending_figure(&e->v[k], i);
		m = score_mean(v, n);
		real_or_none(w, sd ? m.sd : m.mean);
		free(v);
	}
	row_end(w);
}

static int
write_endings(const struct endings *e)
{
	struct row w = {.f = file_create(args.output)};

	if (!w.f)
		return -1;
	compare_header(&w);
	for (int k = 0; k < e->n; k++) {
		row_text(&w, e->v[k].run);
		row_long(&w, e->v[k].layer);
		for (int i = 0; i < ENDING + args.tiers.n; i++)
			real_or_none(&w, ending_figure(&e->v[k], i));
		row_end(&w);
	}
	for (int k = 0; k < e->n && e->v[k].run == e->v[0].run; k++)
		for (int sd = 0; sd < 2; sd++)
			write_over_runs(&w, e, e->v[k].layer, sd);
	return file_close(w.f);
}

/* Half the sum of absolute differences: the share of samples that went elsewhere. */
static double
distance(const double *a, const double *b, int n)
{
	double d = 0;

	for (int i = 0; i < n; i++)
		d += 0.5 * fabs(a[i] - b[i]);
	return d;
}

/* Each two runs in each layer. */
static int
write_pairs(const struct endings *e)
{
	struct row w = {.f = file_create(args.stats)};

	if (!w.f)
		return -1;
	row_header(&w, "run,other,layer,accuracy_difference,tier_distance,sorted_distance");
	for (int i = 0; i < e->n; i++)
		for (int j = i + 1; j < e->n; j++) {
			const struct ending *a = &e->v[i], *b = &e->v[j];
			if (a->layer != b->layer)
				continue;
			row_text(&w, a->run);
			row_text(&w, b->run);
			row_long(&w, a->layer);
			real_or_none(&w, b->accuracy - a->accuracy);
			real_or_none(&w,
				     args.tiers.n ? distance(a->tier, b->tier, args.tiers.n) : NAN);
			real_or_none(&w, a->experts == b->experts
						 ? distance(a->usage, b->usage, a->experts)
						 : NAN);
			row_end(&w);
		}
	return file_close(w.f);
}

static int
compare(char **v, int n)
{
	struct endings e = {0};
	int r = 0;

	for (int i = 0; i < n && !r; i++)
		r = read_ending(&e, v[i]);
	if (!r)
		r = write_endings(&e);
	if (!r && args.stats)
		r = write_pairs(&e);
	for (int i = 0; i < e.n; i++) {
		free(e.v[i].usage);
		free(e.v[i].tier);
	}
	free(e.v);
	return r;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"e", 0, 1, "[RECIPE or CKPT]", " output temperature entropy oracle balance classes ", e,
	 0},
	{"flow", 1, 2, "TRACE, or CKPT DATA",
	 " output experts tiers stats easy hard shuffle seed seq batch jobs ", flow, 0},
	{"scan", 2, 2, "CKPT DATA", " output easy hard temperatures seq batch jobs ", scan, 0},
	{"track", 1, 1, "RUN", " output tiers stats dead window last ", track, 0},
	{"compare", 1, INT_MAX, "RUN...", " output tiers stats ", compare, 0},
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
