/* moe-ecology: which routing settings leave experts dead, and what each expert is. */
#include "base/mem.h"
#include "base/num.h"
#include "base/task.h"
#include "math/blas.h"
#include "policy/ending.h"
#include "policy/flow.h"
#include "policy/steady.h"
#include "program.h"
#include "train/explore.h"
#include "train/scan.h"
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
	    "a second table: census by layer, flow and scan by tier, track's stability, "
	    "compare's pairs"),
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

/* Columns of the usage of each tier. */
static void
tier_names(struct row *w)
{
	for (int i = 0; i < args.tiers.n; i++) {
		char *name = mem_text("t%d", i);
		row_text(w, name);
		free(name);
	}
}

/* --- e --- */

static void
write_e(struct row *w, const struct ecology_e *x)
{
	row_real(w, x->e);
	row_known(w, x->e_log);
	row_known(w, x->e_sqrt);
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

static void
write_step(struct row *w, const struct recipe *r, long step)
{
	const struct ecology_e x = explore_e(r, step, args.classes);

	row_long(w, step);
	row_real(w, recipe_temperature(r, step));
	write_e(w, &x);
}

/* A row at each tenth of the run, and wherever a phase begins. */
static int
write_run(const struct recipe *r)
{
	struct row w = {.f = file_replace(args.output)};

	if (!w.f)
		return -1;
	say_extremes(r->entropy, r->oracle, r->balance);
	row_header(&w, "step,T,E,E_log,E_sqrt,phase");
	for (long step = 0; step >= 0; step = explore_next(r, step))
		write_step(&w, r, step);
	return file_end(w.f, false);
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
	if (!(w.f = file_replace(args.output)))
		return -1;
	row_header(&w, "E,E_log,E_sqrt,phase");
	write_e(&w, &x);
	return file_end(w.f, false);
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

/* Of a checkpoint in use: before subject_open. */
static int
start(void)
{
	if (kern_choose(NULL) != 0 || task_start(args.workers) != 0)
		return -1;
	blas_start();
	return 0;
}

static int
tally_checkpoint(struct tally *t, char **v)
{
	struct subject s;
	int bad;

	if (start() != 0 || subject_open(&s, v[0], v[1], args.seq, args.batch) != 0)
		return -1;
	bad = subject_tally(&s, t);
	subject_close(&s);
	return bad;
}

/* From a trace, or a checkpoint and data. */
static int
gather(struct tally *t, char **v, int n, bool confidence)
{
	int sum, bad = n == 1 ? tally_read(t, v[0], slots_told(&sum), confidence)
			      : tally_checkpoint(t, v);

	return bad || check_tiers(t, v[0]) != 0 ? -1 : 0;
}

static double
share(int64_t part, int64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

/* --- census --- */

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
			row_known(w, t->correct ? share(s->hits, s->first) : NAN);
			row_text(w, ecology_class_name(flow_class(t, l, e)));
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
	const struct ecology_load load = flow_load(l);
	int class[ECOLOGY_CLASSES] = {0};
	int64_t hits = 0;

	for (int e = 0; e < l->experts; e++) {
		hits += l->sum[e].hits;
		class[flow_class(t, l, e)]++;
	}
	row_long(w, layer);
	row_long(w, l->tokens);
	row_long(w, l->experts);
	row_known(w, t->correct ? share(hits, l->tokens) : NAN);
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
	row_known(w, tally_coactivation(l));
	row_end(w);
}

static int
write_stats(const struct tally *t)
{
	struct row w = {.f = file_replace(args.stats)};

	if (!w.f)
		return -1;
	row_header(&w, "layer,samples,experts,accuracy,pure_core,broad_core,weak_core,edge,noise,"
		       "dead,core,fringe,active,gini,entropy,maxvio,usage_q25,usage_median,"
		       "usage_q75,unused,coactivation");
	for (int i = 0; i < t->layers; i++)
		if (t->layer[i].tokens)
			write_layer(t, i, &w);
	return file_end(w.f, false);
}

static int
census(char **v, int n)
{
	struct tally t = tally_new(args.stats, 0.7, 0.4);
	struct row w = {0};
	int r = -1;

	if (gather(&t, v, n, false) == 0 && (w.f = file_replace(args.output)))
		r = write_census(&t, &w);
	r = file_end(w.f, r < 0);
	if (r == 0 && args.stats)
		r = write_stats(&t);
	tally_free(&t);
	return r;
}

/* --- flow --- */

static int
write_flow(const struct tally_layer *l, int layer, struct row *w)
{
	struct flow_tiers t = flow_label(l, args.tiers);
	const int n = t.n;
	const size_t cells = (size_t)n * (size_t)n;
	double *cell = mem_zero(3 * cells, sizeof *cell), *mean = cell + cells, *sd = mean + cells;
	double all = 0;

	flow_cells(l, &t, cell);
	if (args.shuffle)
		flow_shuffled(l, layer, &t, args.shuffle, (uint64_t)args.seed, mean, sd);
	for (size_t i = 0; i < cells; i++)
		all += cell[i];
	for (int i = 0; i < n; i++) {
		double from = 0;
		for (int j = 0; j < n; j++)
			from += cell[i * n + j];
		for (int j = 0; j < n; j++) {
			const int at = i * n + j;
			row_long(w, layer);
			row_long(w, i);
			row_long(w, j);
			row_long(w, (long)cell[at]);
			row_real(w, cell[at] / all);
			row_known(w, from > 0 ? cell[at] / from : NAN);
			if (args.shuffle) {
				row_real(w, mean[at] / all);
				row_real(w, sd[at] / all);
			}
			row_end(w);
		}
	}
	flow_free(&t);
	free(cell);
	return w->failed ? -1 : 0;
}

/* Columns of what a tier, or all of them, have in a layer. */
static const char tier_columns[] = "layer,tier,experts,active,usage,accuracy,easy,hard,used,depth";

static void
write_tier(const struct tally *t, const struct tally_layer *l, const struct flow_sum *s,
	   struct row *w)
{
	const bool rated = l->rated > 0;

	row_long(w, s->experts);
	row_long(w, s->active);
	row_real(w, share(s->sum.first, l->tokens));
	row_known(w, t->correct ? share(s->sum.hits, s->sum.first) : NAN);
	row_known(w, rated ? share(s->sum.easy, s->sum.first) : NAN);
	row_known(w, rated ? share(s->sum.hard, s->sum.first) : NAN);
}

/* A temperature, NAN for none, goes before each row. */
static void
write_tiers(const struct tally *t, int layer, double temperature, struct row *w)
{
	const struct tally_layer *l = &t->layer[layer];
	struct flow_tiers tiers = flow_label(l, args.tiers);
	struct flow_sum *s = mem_zero((size_t)tiers.n, sizeof *s), all;
	double *usage = mem_zero((size_t)tiers.n, sizeof *usage);
	struct ecology_depth depth;

	flow_sums(t, l, &tiers, s, &all);
	for (int i = 0; i < tiers.n; i++) {
		usage[i] = share(s[i].sum.first, l->tokens);
		if (!isnan(temperature))
			row_real(w, temperature);
		row_long(w, layer);
		row_long(w, i);
		write_tier(t, l, &s[i], w);
		row_skip(w);
		row_skip(w);
		row_end(w);
	}
	depth = ecology_depth(tiers.n, usage);
	if (!isnan(temperature))
		row_real(w, temperature);
	row_long(w, layer);
	row_text(w, "all");
	write_tier(t, l, &all, w);
	row_long(w, depth.used);
	row_real(w, depth.effective);
	row_end(w);
	flow_free(&tiers);
	free(s);
	free(usage);
}

static int
write_all_tiers(const struct tally *t)
{
	struct row w = {.f = file_replace(args.stats)};

	if (!w.f)
		return -1;
	row_header(&w, tier_columns);
	for (int i = 0; i < t->layers; i++)
		if (t->layer[i].tokens)
			write_tiers(t, i, NAN, &w);
	return file_end(w.f, false);
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
	if (!(w.f = file_replace(args.output)))
		return -1;
	row_header(&w, args.shuffle ? "layer,from,to,samples,joint,conditional,shuffled,shuffled_sd"
				    : "layer,from,to,samples,joint,conditional");
	for (int i = 0; i < t->layers && !r; i++)
		if (t->layer[i].tokens)
			r = write_flow(&t->layer[i], i, &w);
	return file_end(w.f, r);
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

/* Its two tables. */
struct scan_out {
	struct row scan, tiers;
};

static int
write_scan(void *arg, const struct scan *s)
{
	struct scan_out *out = arg;
	struct row *w = &out->scan;

	for (int i = 0; i < s->layers; i++) {
		const struct tally_layer *l = &s->tally.layer[i];
		const struct scan_layer *x = &s->layer[i];
		struct flow_sum all;
		flow_sums(&s->tally, l, NULL, NULL, &all);
		row_real(w, s->temperature);
		row_long(w, i);
		row_real(w, s->result.loss);
		row_real(w, s->result.accuracy);
		row_real(w, share(all.sum.easy, l->tokens));
		row_real(w, share(all.sum.hard, l->tokens));
		row_real(w, x->entropy);
		row_real(w, x->weight);
		row_real(w, x->first_moved);
		row_real(w, x->set_moved);
		row_long(w, all.active);
		row_end(w);
		if (out->tiers.f)
			write_tiers(&s->tally, i, s->temperature, &out->tiers);
	}
	return w->failed || out->tiers.failed ? -1 : 0;
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
scan_open(struct scan_out *out)
{
	char *columns = mem_text("temperature,%s", tier_columns);
	int bad = -1;

	if ((out->scan.f = file_replace(args.output)))
		bad = row_header(&out->scan,
				 "temperature,layer,loss,accuracy,easy,hard,entropy,weight,"
				 "first_moved,set_moved,active");
	if (!bad && args.stats)
		bad = (out->tiers.f = file_replace(args.stats)) ? row_header(&out->tiers, columns)
								: -1;
	free(columns);
	return bad;
}

/* Tiers that do not sum to the experts of each layer of a model. */
static int
check_subject(const struct subject *s, const char *file)
{
	struct tally t = tally_new(false, args.easy, args.hard);
	int bad;

	subject_slots(s, &t);
	for (int i = 0; i < t.layers; i++)
		t.layer[i].tokens = 1;
	bad = check_tiers(&t, file);
	tally_free(&t);
	return bad;
}

static int
scan(char **v, int n)
{
	struct scan_out out = {0};
	struct heats h = {0};
	struct subject s;
	int bad;

	(void)n;
	if (temperatures(&h, args.temperatures) != 0)
		return usage("%s", err_text());
	if (start() != 0 || subject_open(&s, v[0], v[1], args.seq, args.batch) != 0)
		return -1;
	bad = check_subject(&s, v[0]);
	if (!bad)
		bad = scan_open(&out);
	if (!bad)
		bad = scan_run(&s, h.n, h.v, args.easy, args.hard, write_scan, &out);
	subject_close(&s);
	return file_end(out.scan.f, bad) | file_end(out.tiers.f, bad);
}

/* --- track --- */

/* Of the last censuses: mean, sd, extremes. */
static void
write_stability(struct row *w, const struct steady *s, int k, int figure)
{
	static const char *const name[STEADY_TIERS] = {"accuracy", "dead", "active"};
	const struct steady_figure f = steady_figure(s, k, figure);
	char *tier = mem_text("t%d", figure - STEADY_TIERS);

	row_long(w, steady_layer(s, k));
	row_text(w, figure < STEADY_TIERS ? name[figure] : tier);
	row_long(w, f.censuses);
	row_known(w, f.mean);
	row_known(w, f.sd);
	row_known(w, f.least);
	row_known(w, f.most);
	row_known(w, f.most - f.least);
	row_end(w);
	free(tier);
}

static int
write_stabilities(const struct steady *s)
{
	struct row w = {.f = file_replace(args.stats)};

	if (!w.f)
		return -1;
	row_header(&w, "layer,figure,censuses,mean,sd,least,most,range");
	for (int k = 0; k < steady_layers(s); k++)
		for (int i = 0; i < STEADY_TIERS + args.tiers.n; i++)
			write_stability(&w, s, k, i);
	return file_end(w.f, false);
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
	row_known(w, l->accuracy);
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
track_steps(struct policy_census *c, const char *run, struct row *w, struct steady *last)
{
	struct track *t = track_new((struct track_rule){args.limit, args.window});
	struct policy_step *s;
	int got;

	while ((got = policy_census_next(c, &s)) > 0) {
		const struct track_layer *l;
		if ((got = ending_slots(s, run, args.tiers)) != 0)
			break;
		l = track_step(t, s);
		for (int k = 0; k < s->layers; k++)
			write_track(w, s, &l[k], k);
		steady_add(last, s, l);
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
	tier_names(w);
	if (args.tiers.n) {
		row_text(w, "used");
		row_text(w, "depth");
	}
	row_end(w);
}

static int
track(char **v, int n)
{
	struct policy_census *c = ending_census(v[0]);
	struct steady *last = steady_new(args.last, args.tiers.n, args.tiers.v);
	struct row w = {0};
	int r = -1;

	(void)n;
	if (c && (w.f = file_replace(args.output))) {
		track_header(&w);
		r = track_steps(c, v[0], &w, last);
	}
	r = file_end(w.f, r < 0);
	if (r == 0 && args.stats)
		r = write_stabilities(last);
	policy_census_close(c);
	steady_free(last);
	return r;
}

/* --- compare --- */

static void
compare_header(struct row *w)
{
	row_text(w, "run");
	row_text(w, "layer");
	for (int i = 0; i < ENDING_FIGURES; i++)
		row_text(w, ending_figure_name[i]);
	tier_names(w);
	row_end(w);
}

/* Mean or sd (n - 1) of the runs' figures of one layer. */
static void
write_over_runs(struct row *w, const struct endings *e, int layer, bool sd)
{
	row_text(w, sd ? "sd" : "mean");
	row_long(w, layer);
	for (int i = 0; i < ENDING_FIGURES + args.tiers.n; i++) {
		double *v = mem_zero((size_t)e->n, sizeof *v);
		struct score_mean m;
		int n = 0;
		for (int k = 0; k < e->n; k++)
			if (e->v[k].layer == layer)
				v[n++] = ending_figure(&e->v[k], i);
		m = score_mean(v, n);
		row_known(w, sd ? m.sd : m.mean);
		free(v);
	}
	row_end(w);
}

static int
write_endings(const struct endings *e)
{
	struct row w = {.f = file_replace(args.output)};

	if (!w.f)
		return -1;
	compare_header(&w);
	for (int k = 0; k < e->n; k++) {
		row_text(&w, e->v[k].run);
		row_long(&w, e->v[k].layer);
		for (int i = 0; i < ENDING_FIGURES + args.tiers.n; i++)
			row_known(&w, ending_figure(&e->v[k], i));
		row_end(&w);
	}
	for (int k = 0; k < e->n && e->v[k].run == e->v[0].run; k++)
		for (int sd = 0; sd < 2; sd++)
			write_over_runs(&w, e, e->v[k].layer, sd);
	return file_end(w.f, false);
}

/* Each two runs in each layer. */
static int
write_pairs(const struct endings *e)
{
	struct row w = {.f = file_replace(args.stats)};

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
			row_known(&w, b->accuracy - a->accuracy);
			row_known(&w, args.tiers.n ? ending_distance(a->tier, b->tier, args.tiers.n)
						   : NAN);
			row_known(&w, a->experts == b->experts
					      ? ending_distance(a->usage, b->usage, a->experts)
					      : NAN);
			row_end(&w);
		}
	return file_end(w.f, false);
}

static int
compare(char **v, int n)
{
	struct endings e = {0};
	int r = 0;

	for (int i = 0; i < n && !r; i++)
		r = ending_read(&e, v[i], args.tiers);
	if (!r)
		r = write_endings(&e);
	if (!r && args.stats)
		r = write_pairs(&e);
	ending_free(&e);
	return r;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"e", 0, 1, "[RECIPE or CKPT]", " output temperature entropy oracle balance classes ", e,
	 0},
	{"flow", 1, 2, "TRACE, or CKPT DATA",
	 " output experts tiers stats easy hard shuffle seed seq batch jobs ", flow, 0},
	{"scan", 2, 2, "CKPT DATA", " output tiers stats easy hard temperatures seq batch jobs ",
	 scan, 0},
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
