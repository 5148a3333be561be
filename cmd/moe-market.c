/* moe-market: value experts, decide who is replaced, carry it out; count events; their worth. */
#include "base/mem.h"
#include "base/num.h"
#include "math/kern.h"
#include "policy/living.h"
#include "policy/market.h"
#include "policy/prune.h"
#include "policy/value.h"
#include "program.h"
#include "train/apply.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

static struct args {
	struct market market;
	struct living living;
	struct prune prune;
	char *output, *book, *stats, *kernels;
	int policy;
	bool sensitivity, verbose, help, version;
} args = {.prune.below = 0.5, .output = "-"};

static const struct opt own[] = {
	ROW("policy", 0, OPT_ENUM, policy, 0, 0, "market|living|prune|merge",
	    "decide: who decides"),
	ROW("dormant-below", 0, OPT_REAL, prune.below, 0, 1e3, "SHARES",
	    "prune and merge: demand of a dormant expert, in fair shares"),
	ROW("stats", 0, OPT_TEXT, stats, 0, 0, "FILE",
	    "decide: CSV of checks and crossings by layer"),
	ROW("kernels", 0, OPT_TEXT, kernels, 0, 0, "avx512|avx2|portable",
	    "apply: instruction set; else the best there is"),
	ROW("sensitivity", 0, OPT_FLAG, sensitivity, 0, 1, NULL,
	    "value: vary one assumption at a time"),
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("recipe", 'c', OPT_TEXT, book, 0, 0, "FILE", "read options, one \"name value\" a line"),
	ROW("verbose", 'v', OPT_FLAG, verbose, 0, 1, NULL, "decide: say how often who crossed"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
enum { OWN = sizeof own / sizeof *own };

static const struct opt_group groups[] = {
	{"fitness", "The market (decide and fitness):"},
	{"max-experts", "The living layer (decide; and --interval, --sigma):"},
	{"policy", "This program:"},
	{NULL, NULL}};
enum { MARKET, LIVING, PRUNING, MERGING };
enum { POLICY_ROWS = MARKET_ROWS + LIVING_ROWS };
static struct opt rows[POLICY_ROWS + OWN];
static struct opt_table table = {
	.program = "moe-market",
	.synopsis = "moe-market decide [options] [CENSUS]\n"
		    "moe-market fitness [options] [CENSUS]\n"
		    "moe-market apply [-o FILE] CKPT [EVENTS]\n"
		    "moe-market runs [-o FILE] RUN...\n"
		    "moe-market value [-o FILE] [SCENARIO]\n"
		    "moe-market value --sensitivity [-o FILE] [SCENARIO [LOW HIGH]]\n",
	.group = groups,
	.row = rows,
	.values = &args,
};

/* --- decide --- */

/* What became of the checks of one layer, or of all. */
struct tally {
	int layer;
	long checks, crossed, replacements, births, deaths, moves;
	double spread; /* sum of sd / mean */
	long kept[5];  /* by reason */
};
static const char *const reasons[] = {"young", "spread", "persistence", "alone", "off"};

struct tallies {
	int n;
	struct tally *layer, all;
};

static void
count_event(struct tally *t, const struct policy_event *e)
{
	t->births += e->kind == POLICY_BIRTH;
	t->replacements += e->kind == POLICY_BIRTH && !strcmp(e->cause, "replace");
	t->deaths += e->kind == POLICY_DEATH;
	t->moves += e->kind == POLICY_MOVE;
	for (int i = 0; i < 5 && e->kind == POLICY_KEEP; i++)
		t->kept[i] += !strcmp(e->cause, reasons[i]);
}

static void
count_check(struct tally *t, const struct market_layer *l)
{
	t->checks++;
	t->crossed += l->crossed;
	t->spread += l->mean > 0 ? l->sd / l->mean : 0;
}

/* Layers are the same in all steps. */
static void
count_round(struct tallies *t, const struct market_round *r)
{
	if (!t->layer) {
		t->n = r->layers;
		t->layer = mem_zero((size_t)t->n, sizeof *t->layer);
	}
	for (int k = 0; k < t->n; k++) {
		t->layer[k].layer = r->layer[k].layer;
		count_check(&t->layer[k], &r->layer[k]);
		count_check(&t->all, &r->layer[k]);
	}
	for (int i = 0, k = 0; i < r->events.n; i++) {
		const struct policy_event *e = &r->events.v[i];
		for (k = 0; t->layer[k].layer != e->layer;)
			k++;
		count_event(&t->layer[k], e);
		count_event(&t->all, e);
	}
}

static double
rate(double part, long whole)
{
	return whole ? part / (double)whole : 0;
}

static void
write_tally(struct row *w, const struct tally *t, bool all)
{
	if (all)
		row_text(w, "all");
	else
		row_long(w, t->layer);
	row_long(w, t->checks);
	row_long(w, t->crossed);
	row_real(w, rate((double)t->crossed, t->checks));
	row_real(w, rate(t->spread, t->checks));
	row_long(w, t->replacements);
	row_long(w, t->births);
	row_long(w, t->deaths);
	row_long(w, t->moves);
	for (int i = 0; i < 5; i++)
		row_long(w, t->kept[i]);
	row_end(w);
}

static int
write_stats(const struct tallies *t)
{
	struct row w = {0};

	if (args.verbose)
		say("%ld checks of a layer, %ld crossed the threshold (%.3g), %ld replacements",
		    t->all.checks, t->all.crossed, rate((double)t->all.crossed, t->all.checks),
		    t->all.replacements);
	if (!args.stats)
		return 0;
	if (!(w.f = file_replace(args.stats)))
		return -1;
	row_header(&w, "layer,checks,crossed,crossing_rate,mean_spread,replacements,births,deaths,"
		       "moves,kept_young,kept_spread,kept_persistence,kept_alone,kept_off");
	for (int k = 0; k < t->n; k++)
		write_tally(&w, &t->layer[k], false);
	write_tally(&w, &t->all, true);
	return file_end(w.f, false);
}

/* Who waits for an answer has it before the next question is waited for. */
static int
flush(const struct policy_census *c, struct row *w)
{
	return policy_census_waits(c) ? file_flush(w->f) : 0;
}

/* What the policy makes of a step; what happens stands in round->events. */
static int
decide_step(struct policy_step *s, struct market_round *round, struct tallies *t)
{
	const struct prune p = {args.policy == MERGING ? PRUNE_MERGE : PRUNE_DEATH,
				args.prune.below, args.market.least ? args.market.least : 1};

	if (args.policy == LIVING)
		return living_decide(&args.living, s, &round->events);
	if (args.policy != MARKET) {
		prune_decide(&p, s, &round->events);
		return 0;
	}
	if (market_decide(&args.market, s, round) < 0)
		return -1;
	if (market_due(&args.market, s->step))
		count_round(t, round);
	return 0;
}

static int
decide_steps(struct policy_census *c, struct row *w, struct tallies *t)
{
	struct market_round round = {0};
	struct policy_step *s;
	int got;

	while ((got = policy_census_next(c, &s)) > 0) {
		if (decide_step(s, &round, t) < 0 || policy_events_write(&round.events, w) < 0 ||
		    flush(c, w) < 0) {
			got = -1;
			break;
		}
	}
	market_round_free(&round);
	return got;
}

/* What the policy must be told, and what it would like to be told, by columns of the census. */
static struct policy_census *
census_of(const char *name)
{
	switch (args.policy) {
	case LIVING: return policy_census_open(name, living_needs(), living_wants());
	case PRUNING:
	case MERGING: return policy_census_open(name, PRUNE_NEEDS, PRUNE_WANTS);
	default: return policy_census_open(name, market_needs(&args.market, true), market_wants());
	}
}

static int
decide(char **v, int n)
{
	struct policy_census *c;
	struct tallies t = {0};
	struct row w = {0};
	int r = -1;

	c = census_of(n ? v[0] : "-");
	if (c && (w.f = file_create(args.output)) && row_header(&w, policy_event_columns) == 0)
		r = decide_steps(c, &w, &t);
	if (file_close(w.f) < 0)
		r = -1;
	if (r == 0 && args.policy == MARKET)
		r = write_stats(&t);
	policy_census_close(c);
	free(t.layer);
	return r;
}

/* --- fitness --- */

enum { ADDED = 6 };
static const char *const added[ADDED] = {"fitness",	      "effective",
					 "threshold",	      "demand_essential",
					 "quality_essential", "exclusive_essential"};

/* Where the census already has a column of that name; -1: it is put behind the others. */
static int
added_at(const struct policy_census *c, const char *name)
{
	for (int i = 0; i < policy_census_columns(c); i++)
		if (!strcmp(policy_census_header(c, i), name))
			return i;
	return -1;
}

static int
fitness_header(const struct policy_census *c, struct row *w, const int *at)
{
	for (int i = 0; i < policy_census_columns(c); i++)
		row_text(w, policy_census_header(c, i));
	for (int i = 0; i < ADDED; i++)
		if (at[i] < 0)
			row_text(w, added[i]);
	return row_end(w);
}

/* The added fields as texts: numbers are slow to print, and most stand in more than one place. */
struct texts {
	char field[ADDED][NUM_TEXT];
};

static void
layer_texts(struct texts *t, const struct market_layer *l)
{
	num_text(t->field[2], l->threshold);
}

/* What is not known stays empty: exclusivity that the census does not have. */
static void
row_texts(struct texts *t, const struct policy_row *r, bool exclusivity)
{
	num_text(t->field[0], r->fitness);
	if (r->effective == r->fitness)
		memcpy(t->field[1], t->field[0], NUM_TEXT);
	else
		num_text(t->field[1], r->effective);
	for (int i = 0; i < 3; i++) {
		t->field[3 + i][0] = r->essential[i] ? '1' : '0';
		t->field[3 + i][1] = 0;
	}
	if (!exclusivity)
		t->field[5][0] = 0;
}

static int
fitness_row(const struct policy_census *c, struct row *w, const int *at, int i,
	    const struct texts *t)
{
	for (int k = 0; k < policy_census_columns(c); k++) {
		int which = 0;
		while (which < ADDED && at[which] != k)
			which++;
		row_text(w, which < ADDED ? t->field[which] : policy_census_text(c, i, k));
	}
	for (int which = 0; which < ADDED; which++)
		if (at[which] < 0)
			row_text(w, t->field[which]);
	return row_end(w);
}

static int
fitness_steps(struct policy_census *c, struct row *w, const int *at)
{
	const bool exclusivity = added_at(c, "exclusivity") >= 0;
	struct policy_step *s;
	struct texts t;
	int got;

	while ((got = policy_census_next(c, &s)) > 0) {
		for (int k = 0; k < s->layers; k++) {
			const int from = s->begin[k], to = s->begin[k + 1];
			struct market_layer l;
			market_value(&args.market, s->row + from, to - from, &l);
			layer_texts(&t, &l);
			for (int i = from; i < to; i++) {
				row_texts(&t, &s->row[i], exclusivity);
				if (fitness_row(c, w, at, i, &t) < 0)
					return -1;
			}
		}
		if (flush(c, w) < 0)
			return -1;
	}
	return got;
}

static int
fitness(char **v, int n)
{
	struct policy_census *c = policy_census_open(
		n ? v[0] : "-", market_needs(&args.market, false), market_wants());
	struct row w = {0};
	int at[ADDED], r = -1;

	if (!c)
		return -1;
	policy_census_keep(c);
	for (int i = 0; i < ADDED; i++)
		at[i] = added_at(c, added[i]);
	if ((w.f = file_replace(args.output)) && fitness_header(c, &w, at) == 0)
		r = fitness_steps(c, &w, at);
	r = file_end(w.f, r);
	policy_census_close(c);
	return r;
}

/* --- apply --- */

static int
apply(char **v, int n)
{
	const char *events = n > 1 ? v[1] : "-";

	if (!strcmp(v[0], "-") && !strcmp(events, "-"))
		return usage("apply: checkpoint and events both on the standard input");
	if (kern_choose(args.kernels) != 0)
		return usage("%s", err_text());
	return apply_run(v[0], events, opt_given(&table, "output") ? args.output : v[0]);
}

/* --- runs --- */

enum { FIGURES = 4 };

struct phase {
	char *domain; /* NULL: not told */
	long from, to;
	long count[FIGURES]; /* replacements, births, deaths, moves */
};

struct run {
	const char *name;
	int n;
	struct phase *phase;
};

static void
run_free(struct run *u)
{
	for (int i = 0; i < u->n; i++)
		free(u->phase[i].domain);
	free(u->phase);
}

static struct phase *
begin_phase(struct run *u, long from, const char *domain)
{
	u->phase = mem_grow(u->phase, (size_t)u->n + 1, sizeof *u->phase);
	u->phase[u->n] = (struct phase){
		.domain = domain ? mem_copy(domain) : NULL, .from = from, .to = from};
	return &u->phase[u->n++];
}

static void
add_event(struct run *u, const struct policy_event *e)
{
	struct phase *p = &u->phase[u->n - 1];
	struct tally t = {0};

	/* What a market does at the step of a shift it does with what it saw before. */
	if (u->n > 1 && e->step == p->from)
		p--;
	count_event(&t, e);
	p->count[0] += t.replacements;
	p->count[1] += t.births;
	p->count[2] += t.deaths;
	p->count[3] += t.moves;
	p->to = e->step;
}

/* The first text of a run stands in no event, but in its losses, if they are there. */
static void
first_domain(struct run *u, const char *dir)
{
	char *file = mem_text("%s/loss.csv", dir);
	struct table *t = file_exists(file) ? table_open(file) : NULL;
	const int domain = t ? table_column(t, "domain") : -1;

	begin_phase(u, 0, domain >= 0 && table_next(t) == 1 ? table_text(t, domain) : NULL);
	table_close(t);
	free(file);
}

static int
read_run(struct run *u, const char *name)
{
	char *file = mem_text("%s/events.csv", name);
	struct policy_history *h = policy_history_open(file_exists(file) ? file : name);
	struct policy_events *e;
	int got = -1;

	*u = (struct run){.name = name};
	first_domain(u, name);
	while (h && (got = policy_history_next(h, &e)) > 0)
		for (int i = 0; i < e->n; i++) {
			const struct policy_event *v = &e->v[i];
			if (v->kind != POLICY_SHIFT) {
				add_event(u, v);
				continue;
			}
			u->phase[u->n - 1].to = v->step;
			begin_phase(u, v->step, v->cause);
		}
	policy_history_close(h);
	free(file);
	return got;
}

static int
write_phase(struct row *w, const char *run, int number, const struct phase *p)
{
	row_text(w, run);
	if (number < 0)
		row_text(w, "all");
	else
		row_long(w, number);
	row_long(w, p->from);
	row_long(w, p->to);
	row_text(w, p->domain ? p->domain : "");
	for (int i = 0; i < FIGURES; i++)
		row_long(w, p->count[i]);
	return row_end(w);
}

static struct phase
whole(const struct run *u)
{
	struct phase all = {.to = u->phase[u->n - 1].to};

	for (int i = 0; i < u->n; i++)
		for (int k = 0; k < FIGURES; k++)
			all.count[k] += u->phase[i].count[k];
	return all;
}

/* A phase's figures over the runs that have it (number -1: over whole runs), with sample sd. */
static int
write_summary(struct row *w, const struct run *u, int n, int number)
{
	double sum[FIGURES] = {0}, square[FIGURES] = {0};
	int count = 0;

	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < n; i++) {
			const struct phase p = number < 0	 ? whole(&u[i])
					       : number < u[i].n ? u[i].phase[number]
								 : (struct phase){.from = -1};
			count += !pass && p.from >= 0;
			for (int k = 0; k < FIGURES && p.from >= 0; k++) {
				const double d = (double)p.count[k] - sum[k] / count;
				sum[k] += pass ? 0 : (double)p.count[k];
				square[k] += pass ? d * d : 0;
			}
		}
	for (int sd = 0; sd < 2; sd++) {
		row_text(w, sd ? "sd" : "mean");
		if (number < 0)
			row_text(w, "all");
		else
			row_long(w, number);
		for (int k = 0; k < 3; k++)
			row_skip(w);
		for (int k = 0; k < FIGURES; k++)
			if (sd && count < 2)
				row_skip(w);
			else
				row_real(w, sd ? sqrt(square[k] / (count - 1)) : sum[k] / count);
		if (row_end(w) < 0)
			return -1;
	}
	return 0;
}

static int
write_runs(struct row *w, const struct run *u, int n)
{
	int phases = 0;

	row_header(w, "run,phase,from,to,domain,replacements,births,deaths,moves");
	for (int i = 0; i < n; i++) {
		const struct phase all = whole(&u[i]);
		phases = u[i].n > phases ? u[i].n : phases;
		for (int k = 0; k < u[i].n; k++)
			write_phase(w, u[i].name, k, &u[i].phase[k]);
		write_phase(w, u[i].name, -1, &all);
	}
	for (int k = 0; k < phases; k++)
		write_summary(w, u, n, k);
	return write_summary(w, u, n, -1);
}

static int
runs(char **v, int n)
{
	struct run *u = mem_zero((size_t)n, sizeof *u);
	struct row w = {0};
	int r = 0;

	for (int i = 0; !r && i < n; i++)
		r = read_run(&u[i], v[i]);
	if (!r && (r = -1, w.f = file_replace(args.output)))
		r = write_runs(&w, u, n);
	r = file_end(w.f, r);
	for (int i = 0; i < n; i++)
		run_free(&u[i]);
	free(u);
	return r;
}

/* --- value --- */

static void
put_value(struct row *w, const char *quantity, const char *unit, double x)
{
	row_text(w, quantity);
	row_text(w, unit);
	row_real(w, x);
	row_end(w);
}

static void
write_value(struct row *w, const struct value *v)
{
	const struct value_year y = value_year(v);

	row_header(w, "quantity,unit,value");
	put_value(w, "saving", "USD/year", y.saving);
	put_value(w, "energy", "GWh/year", y.energy);
	put_value(w, "co2", "t/year", y.co2);
	for (int i = 0; i < VALUE_MECHANISMS; i++)
		put_value(w, value_mechanism(i), "USD/year", y.part[i]);
	for (int i = 0; i < VALUE_ASSUMPTIONS; i++)
		put_value(w, value_name(i), value_unit(i), v->v[i]);
}

/* One assumption at its two ends. */
struct swing {
	enum value_assumption which;
	double low, high;
	struct value_year at_low, at_high;
	double saving, energy, co2; /* |high - low| as shares of the scenario's */
};

static double
swing_of(double low, double high, double of)
{
	return of > 0 ? fabs(high - low) / of : 0;
}

static struct swing
swing(const struct value *v, const struct value *ends, int i)
{
	const struct value_year y = value_year(v);
	struct swing s = {.which = (enum value_assumption)i};
	struct value low = *v, high = *v;

	if (ends) {
		low.v[i] = ends[0].v[i];
		high.v[i] = ends[1].v[i];
	} else {
		low = value_scaled(v, s.which, 0.5);
		high = value_scaled(v, s.which, 1.5);
	}
	s.low = low.v[i];
	s.high = high.v[i];
	s.at_low = value_year(&low);
	s.at_high = value_year(&high);
	s.saving = swing_of(s.at_low.saving, s.at_high.saving, y.saving);
	s.energy = swing_of(s.at_low.energy, s.at_high.energy, y.energy);
	s.co2 = swing_of(s.at_low.co2, s.at_high.co2, y.co2);
	return s;
}

/* Who moves the saving most comes first, then the energy, then the CO2, then in their order. */
static int
by_swing(const void *a, const void *b)
{
	const struct swing *x = a, *y = b;

	if (x->saving != y->saving)
		return x->saving < y->saving ? 1 : -1;
	if (x->energy != y->energy)
		return x->energy < y->energy ? 1 : -1;
	if (x->co2 != y->co2)
		return x->co2 < y->co2 ? 1 : -1;
	return (int)x->which - (int)y->which;
}

static void
write_sensitivity(struct row *w, const struct value *v, const struct value *ends)
{
	struct swing s[VALUE_ASSUMPTIONS];

	for (int i = 0; i < VALUE_ASSUMPTIONS; i++)
		s[i] = swing(v, ends, i);
	qsort(s, VALUE_ASSUMPTIONS, sizeof *s, by_swing);
	row_header(w, "assumption,unit,low,value,high,saving_low,saving_high,saving_swing,"
		      "energy_swing,co2_swing");
	for (int i = 0; i < VALUE_ASSUMPTIONS; i++) {
		row_text(w, value_name(s[i].which));
		row_text(w, value_unit(s[i].which));
		row_real(w, s[i].low);
		row_real(w, v->v[s[i].which]);
		row_real(w, s[i].high);
		row_real(w, s[i].at_low.saving);
		row_real(w, s[i].at_high.saving);
		row_real(w, s[i].saving);
		row_real(w, s[i].energy);
		row_real(w, s[i].co2);
		row_end(w);
	}
}

static int
value(char **v, int n)
{
	struct value scenario, ends[2];
	struct row w = {0};

	if (n == 2 || (n == 3 && !args.sensitivity))
		return usage("value: %d operands (expected [SCENARIO], or SCENARIO LOW HIGH with "
			     "--sensitivity)",
			     n);
	value_moderate(&scenario);
	if (n && value_read(v[0], &scenario) < 0)
		return -1;
	for (int i = 0; n == 3 && i < 2; i++)
		if (value_read(v[i + 1], &ends[i]) < 0)
			return -1;
	if (!(w.f = file_replace(args.output)))
		return -1;
	if (args.sensitivity)
		write_sensitivity(&w, &scenario, n == 3 ? ends : NULL);
	else
		write_value(&w, &scenario);
	say("an extrapolation from 8 experts in 2 layers: each figure follows from the scenario's "
	    "assumptions, none was measured");
	return file_end(w.f, false);
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"decide", 0, 1, "[CENSUS]", " output recipe policy dormant-below stats verbose ", decide,
	 POLICY_ROWS},
	{"fitness", 0, 1, "[CENSUS]", " output recipe ", fitness, MARKET_ROWS},
	{"apply", 1, 2, "CKPT [EVENTS]", " output kernels ", apply, 0},
	{"runs", 1, INT_MAX, "RUN...", " output ", runs, 0},
	{"value", 0, 3, "[SCENARIO [LOW HIGH]]", " output sensitivity ", value, 0},
};

/* The options of a recipe are read before the market is looked at. */
static int
check(const struct verb *v, char **operands, int n)
{
	(void)v, (void)operands, (void)n;
	if (args.book && opt_read(&table, args.book) != 0)
		return usage("%s", err_text());
	args.living.interval = args.market.interval;
	args.living.sigma = args.market.sigma;
	if (market_check(&args.market) != 0 || living_check(&args.living) != 0)
		return usage("%s", err_text());
	if (args.policy != MARKET && (args.stats || args.verbose))
		return usage("decide: --stats and --verbose tell of the market");
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
	int n = market_rows(rows, offsetof(struct args, market));

	n += living_rows(rows + n, offsetof(struct args, living));
	market_init(&args.market);
	living_init(&args.living);
	memcpy(rows + n, own, sizeof own);
	table.n = n + OWN;
	return program(&table, &args.help, &args.version, argc, argv, run);
}
