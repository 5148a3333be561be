/* moe-shift: plan shifts of domain, stream their tokens, score recovery, tell what experts keep. */
#include "base/mem.h"
#include "base/num.h"
#include "data/shift.h"
#include "io/table.h"
#include "program.h"
#include "train/recipe.h"
#include "train/recovery.h"
#include "train/run.h"
#include "train/site.h"
#include "train/state.h"
#include "train/survey.h"
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

enum form { OPERANDS, RECIPE, TABLE };

static int hold_once[] = {1}, period_seed[] = {1500};
static struct args {
	char *output, *book, *shifts, *level, *metric;
	struct opt_ints period, hold;
	struct opt_many shift, scratch;
	int cycles, order, form, batch, seq, accum, smooth, by;
	long warmup, steps, from, seed;
	double val_frac, dormant;
	bool no_return, scratch_self, help, version;
} args = {.output = "-",
	  .level = "before",
	  .metric = "loss",
	  .period = {1, period_seed},
	  .hold = {1, hold_once},
	  .cycles = 1,
	  .smooth = 1,
	  .seed = 1,
	  .batch = 16,
	  .seq = 256,
	  .accum = 1,
	  .steps = 1000};

static const struct opt rows[] = {
	ROW("cycles", 0, OPT_INT, cycles, 1, 1 << 20, "N", "times that each domain has its turn"),
	ROW("period", 0, OPT_INTS, period, 1, INT_MAX, "STEPS[,STEPS...]",
	    "of every phase, or of each domain's"),
	ROW("order", 0, OPT_ENUM, order, 0, 0, "given|zigzag|random", "of a cycle's domains"),
	ROW("warmup", 0, OPT_LONG, warmup, 0, 0x1p40, "STEPS", "added to the first phase"),
	ROW("no-return", 0, OPT_FLAG, no_return, 0, 1, NULL,
	    "end with the last cycle, not with the first domain again"),
	ROW("format", 0, OPT_ENUM, form, 0, 0, "operands|recipe|csv", "what is printed"),
	ROW("recipe", 'c', OPT_TEXT, book, 0, 0, "FILE",
	    "the data, windows and seed of a recipe of moe-train"),
	ROW("batch", 0, OPT_INT, batch, 1, 1 << 16, "N", "sequences of a batch"),
	ROW("seq", 0, OPT_INT, seq, 1, 1 << 16, "N", "tokens of a sequence, less the last"),
	ROW("accum", 0, OPT_INT, accum, 1, 1 << 16, "N", "batches of a step"),
	ROW("val-frac", 0, OPT_REAL, val_frac, 0, 0.9, "SHARE", "end of each DATA left out"),
	ROW("steps", 0, OPT_LONG, steps, 0, 0x1p40, "N", "the step to end before"),
	ROW("from", 0, OPT_LONG, from, 0, 0x1p40, "STEP", "the step to begin with"),
	ROW("shifts", 0, OPT_TEXT, shifts, 0, 0, "FILE", "CSV of where each phase begins"),
	ROW("metric", 0, OPT_TEXT, metric, 0, 0, "COLUMN", "that recovers"),
	ROW("level", 0, OPT_TEXT, level, 0, 0, "X|before|left",
	    "a value, the last before the shift, or as left earlier"),
	ROW("hold", 0, OPT_INTS, hold, 1, 1 << 30, "N[,N...]",
	    "rows in a row at or below the level; a row of output for each"),
	ROW("smooth", 0, OPT_INT, smooth, 1, 1 << 24, "N", "score the mean of the last N values"),
	ROW("shift", 0, OPT_MANY, shift, 0, 0, "STEP|last", "only this shift; may be repeated"),
	ROW("scratch", 0, OPT_MANY, scratch, 0, 0, "FILE",
	    "losses of a run from scratch, for all or one for each"),
	ROW("scratch-self", 0, OPT_FLAG, scratch_self, 0, 1, NULL,
	    "compare with the run's own first phase of the domain"),
	ROW("by", 0, OPT_ENUM, by, 0, 0, "phase|domain|window", "what is summed"),
	ROW("dormant", 0, OPT_REAL, dormant, 0, 1, "SHARE",
	    "of its layer's tokens, with which an expert is still dormant"),
	ROW("seed", 0, OPT_LONG, seed, 0, 0x1p53, "N", "of the random order or the windows"),
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
static const struct opt_group groups[] = {
	{"cycles", "plan:"},
	{"recipe", "stream:"},
	{"metric", "score:"},
	{"by", "memory (and --shift):"},
	{"seed", "plan, stream:"},
	{"output", "All:"},
	{NULL, NULL},
};
static struct opt_table options = {
	.program = "moe-shift",
	.synopsis = "moe-shift plan [options] [NAME=]DATA [NAME=]DATA...\n"
		    "moe-shift stream [options] [-c RECIPE] [[NAME=]DATA[@STEP]...]\n"
		    "moe-shift score [options] RUN|LOSS.CSV...\n"
		    "moe-shift memory [options] RUN|EXPERTS.CSV...\n"
		    "moe-shift memory [options] [RUN|EXPERTS.CSV] CKPT CKPT...\n",
	.group = groups,
	.row = rows,
	.n = sizeof(rows) / sizeof(rows[0]),
	.values = &args,
};

static bool
given(const char *name)
{
	return opt_given(&options, name);
}

static void
put_text(struct row *r, const char *s)
{
	row_text(r, s ? s : "");
}

/* Nothing for NAN; whole numbers, as steps are, with all their digits. */
static void
put_number(struct row *r, double v)
{
	if (isnan(v))
		row_skip(r);
	else if (v == floor(v) && fabs(v) < 0x1p53)
		row_long(r, (long long)v);
	else
		row_real(r, v);
}

/* --- plan --- */

/* "FILE@12" would be read as a step of its own. */
static bool
has_step(const char *s)
{
	const char *at = strrchr(s, '@'), *name = strchr(s, '=');

	return at && at[1] && !at[1 + strspn(at + 1, "0123456789")] && !file_exists(s) &&
	       !(name && file_exists(name + 1));
}

static int
check_domains(char **v, int n)
{
	for (int i = 0; i < n; i++) {
		if (has_step(v[i]))
			return usage("%s: plan sets the steps (expected [NAME=]DATA)", v[i]);
		for (int k = 0; k < i; k++)
			if (strcmp(v[i], v[k]) == 0)
				return usage("%s stands twice (expected each domain once)", v[i]);
	}
	return 0;
}

/* Lines of a recipe, written by what reads them. */
static int
put_recipe(struct file *f, const struct shift_phase *p, int n, char **v)
{
	struct values {
		long steps;
		struct opt_many data;
	} values = {0};
	const struct opt row[] = {
		{"steps", 0, OPT_LONG, offsetof(struct values, steps), 0, 0x1p62, NULL, true, ""},
		{"data", 0, OPT_MANY, offsetof(struct values, data), 0, 0, NULL, true, ""}};
	struct opt_table t = {.row = row, .n = 2, .values = &values};
	char *text = mem_text("%ld", p[n - 1].to);
	int r = opt_set(&t, "steps", text, OPT_COMMAND);

	for (int i = 0; r == 0 && i < n; i++) {
		free(text);
		text = mem_text("%s@%ld", v[p[i].domain], p[i].from);
		r = opt_set(&t, "data", text, OPT_COMMAND);
	}
	free(text);
	text = opt_recipe(&t);
	if (r == 0)
		r = file_write(f, text, strlen(text));
	free(text);
	opt_free(&t);
	return r;
}

static int
put_table(struct file *f, const struct shift_phase *p, int n, char **v)
{
	struct row r = {.f = f};
	int status = row_header(&r, "phase,data,from,to");

	for (int i = 0; status == 0 && i < n; i++) {
		row_long(&r, i);
		row_text(&r, v[p[i].domain]);
		row_long(&r, p[i].from);
		row_long(&r, p[i].to);
		status = row_end(&r);
	}
	return status;
}

static int
put_operands(struct file *f, const struct shift_phase *p, int n, char **v)
{
	for (int i = 0; i < n; i++)
		if (file_print(f, "%s@%ld\n", v[p[i].domain], p[i].from) < 0)
			return -1;
	return 0;
}

static int
plan(char **v, int n)
{
	const struct shift_plan how = {.domains = n,
				       .cycles = args.cycles,
				       .order = (enum shift_order)args.order,
				       .back = !args.no_return,
				       .warmup = args.warmup,
				       .period = args.period.v,
				       .periods = args.period.n,
				       .seed = (uint64_t)args.seed};
	struct shift_phase *p;
	struct file *f;
	int phases, r = check_domains(v, n);

	if (r)
		return r;
	if (!(p = shift_phases(&how, &phases)))
		return usage("%s", err_text());
	r = -1;
	if ((f = file_replace(args.output)))
		r = (args.form == RECIPE  ? put_recipe
		     : args.form == TABLE ? put_table
					  : put_operands)(f, p, phases, v);
	free(p);
	return file_end(f, r);
}

/* --- stream --- */

/* A recipe, with what was given here put over it. */
static int
open_book(struct recipe_book *b)
{
	char *text;
	size_t size;
	int r = -1;

	if (!args.book) {
		r = recipe_open(b, "", "");
	} else if ((text = file_slurp(args.book, &size))) {
		if (strlen(text) < size)
			err_set("%s: a zero byte (expected a recipe)", args.book);
		else
			r = recipe_open(b, args.book, text);
		free(text);
	}
	if (r == 0 && (r = recipe_preset(&b->table, &b->recipe)) < 0)
		recipe_close(b);
	return r;
}

static void
put_over(struct recipe *r)
{
	if (given("batch"))
		r->batch = args.batch;
	if (given("seq"))
		r->seq = args.seq;
	if (given("accum"))
		r->accum = args.accum;
	if (given("seed"))
		r->seed = args.seed;
	if (given("steps"))
		r->steps = args.steps;
	if (given("val-frac"))
		r->val_frac = args.val_frac;
}

static int
write_shifts(const struct schedule *s, const struct recipe *r)
{
	struct row w = {.f = file_replace(args.shifts)};
	int status = w.f ? row_header(&w, "phase,domain,step,window,token,byte") : -1;

	for (int i = schedule_phase(s, args.from); status == 0 && i < s->n; i++) {
		const long step = s->from[i] > args.from ? s->from[i] : args.from;
		const double window = (double)(step - args.from) * r->accum * r->batch;

		if (step >= r->steps)
			break;
		row_long(&w, i);
		row_text(&w, s->data[i]->name);
		row_long(&w, step);
		put_number(&w, window);
		put_number(&w, window * (r->seq + 1));
		put_number(&w, window * (r->seq + 1) * shift_width(s));
		status = row_end(&w);
	}
	return file_end(w.f, status);
}

static int
stream_data(const struct recipe *r, char **v, int n)
{
	const struct shift_draw draw = {(uint64_t)r->seed, r->accum, r->batch, r->seq};
	struct schedule s;
	struct file *f = NULL;
	int status = -1;

	if (schedule_open(&s, n ? v : r->data.v, n ? n : r->data.n, r->val_frac, r->seq) < 0)
		return -1;
	if ((n > 0 || site_check_data(&s, &r->made_of) == 0) &&
	    (!args.shifts || write_shifts(&s, r) == 0) && (f = file_replace(args.output)))
		status = shift_stream(&s, &draw, args.from, r->steps, f);
	schedule_close(&s);
	return file_end(f, status);
}

static int
stream(char **v, int n)
{
	struct recipe_book b;
	int r;

	if (args.shifts && strcmp(args.shifts, args.output) == 0)
		return usage("--shifts and --output are both %s", args.output);
	if (open_book(&b) < 0)
		return -1;
	put_over(&b.recipe);
	if (n == 0 && b.recipe.data.n == 0)
		r = usage("stream: no data (expected [NAME=]DATA[@STEP], or -c RECIPE)");
	else if (args.from > b.recipe.steps)
		r = usage("--from %ld is after --steps %ld", args.from, b.recipe.steps);
	else
		r = stream_data(&b.recipe, v, n);
	recipe_close(&b);
	return r;
}

/* --- shifts that were asked for --- */

static struct recovery_shifts asked;
static long *shift_step; /* of them */

static int
parse_shifts(void)
{
	if (args.shift.n == 1 && strcmp(args.shift.v[0], "last") == 0) {
		asked.last = true;
		return 0;
	}
	shift_step = mem_zero((size_t)args.shift.n + 1, sizeof(*shift_step));
	for (int i = 0; i < args.shift.n; i++) {
		if (num_long(args.shift.v[i], 0, LONG_MAX, &shift_step[i]) < 0)
			return usage("--shift: %s", err_text());
		if (i > 0 && shift_step[i] <= shift_step[i - 1])
			return usage("--shift %ld after --shift %ld (expected steps that rise)",
				     shift_step[i], shift_step[i - 1]);
	}
	asked.step = shift_step;
	asked.n = args.shift.n;
	return 0;
}

/* --- score --- */

static const char score_columns[] = "run,metric,shift_step,level,recovered_at,steps,scratch_steps,"
				    "speedup,before,first,peak,spike,shift,domain,hold,smooth,runs,"
				    "recovered";

static struct scoring {
	struct recovery_how how;
	struct recovery_source *run, *scratch;
	int runs, scratches;   /* files */
	struct score_run **of; /* from scratch, [ofs] */
	int ofs;
	struct recovery *result;
	long results;
	struct row out;
} score;

static struct recovery_source *
open_sources(char **v, int n, int *opened)
{
	struct recovery_source *s = mem_zero((size_t)n + 1, sizeof(*s));

	for (*opened = 0; *opened < n; ++*opened)
		if (recovery_open(&s[*opened], v[*opened], args.metric) < 0)
			break;
	return s;
}

static void
close_sources(struct recovery_source *s, int n)
{
	for (int i = 0; i < n; i++)
		recovery_close(&s[i]);
	free(s);
}

static int
parse_level(void)
{
	score.how.level = strcmp(args.level, "before") == 0 ? RECOVERY_BEFORE
			  : strcmp(args.level, "left") == 0 ? RECOVERY_LEFT
							    : RECOVERY_VALUE;
	if (score.how.level == RECOVERY_VALUE &&
	    num_real(args.level, -DBL_MAX, DBL_MAX, &score.how.value) < 0)
		return usage("--level: %s, \"before\" or \"left\"", err_text());
	return 0;
}

static int
open_scratch(void)
{
	score.scratch = open_sources(args.scratch.v, args.scratch.n, &score.scratches);
	if (score.scratches < args.scratch.n)
		return -1;
	for (int i = 0; i < score.scratches; i++) {
		struct recovery_source *s = &score.scratch[i];

		for (int k = 0; k < s->table.runs; k++) {
			struct score_run *r = &s->table.run[k];

			if (recovery_phases(s, r) < 0)
				return -1;
			score_smooth(r, args.smooth);
			score.of = mem_grow(score.of, (size_t)score.ofs + 1,
					    sizeof(struct score_run *));
			score.of[score.ofs++] = r;
		}
	}
	return 0;
}

/* What the figures leave empty, and why. */
static void
tell(const struct score_run *r, const struct recovery *x)
{
	const struct score_phase *p = &r->phase[x->shift];
	const double level = x->figure[RECOVERY_LEVEL];
	const int hold = args.hold.v[x->hold];

	if (isnan(level))
		say("run %s, shift at step %ld: no level (%s)", r->name, p->step,
		    score.how.level == RECOVERY_LEFT ? "the domain was not there before"
						     : "no value before the shift");
	else if (x->row < 0)
		say("run %s, shift at step %ld: the %s %.9g is not reached for %d row%s", r->name,
		    p->step, args.metric, level, hold, hold == 1 ? "" : "s");
	else if (x->row == p->first)
		say("run %s, shift at step %ld: the first %s is already at or below the level %.9g",
		    r->name, p->step, args.metric, level);
}

/* Score one phase of run number k with the h-th hold. */
static int
score_phase(const struct score_run *r, int k, int phase, int h)
{
	struct recovery x;
	int bad;

	score.how.hold = args.hold.v[h];
	score.how.scratch = args.scratch_self ? r
			    : score.ofs == 1  ? score.of[0]
			    : score.ofs > 1   ? score.of[k]
					      : NULL;
	bad = recovery_score(r, phase, &score.how, &x);
	x.hold = h;
	tell(r, &x);
	if (bad)
		return -1;
	if (x.compared && isnan(x.figure[RECOVERY_SCRATCH_STEPS]))
		say("run %s, from scratch: the %s %.9g is not reached", score.how.scratch->name,
		    args.metric, x.figure[RECOVERY_LEVEL]);
	score.result = mem_grow(score.result, (size_t)score.results + 1, sizeof(*score.result));
	score.result[score.results++] = x;
	return 0;
}

static void
put_figures(const double *f)
{
	struct row *w = &score.out;

	for (int i = 0; i < RECOVERY_FIGURES; i++)
		put_number(w, f[i]);
}

static int
put_score(const struct score_run *r, const struct recovery *x)
{
	struct row *w = &score.out;

	row_text(w, r->name);
	row_text(w, args.metric);
	put_figures(x->figure);
	row_long(w, x->shift);
	put_text(w, r->phase[x->shift].name);
	row_long(w, args.hold.v[x->hold]);
	row_long(w, args.smooth);
	row_long(w, 1);
	row_long(w, x->row >= 0);
	return row_end(w);
}

static int
score_run(const struct recovery_source *s, struct score_run *r, int k)
{
	bool *chosen = recovery_choose(s, r, &asked);
	int shifts = 0, bad = chosen ? 0 : -1;

	if (!bad)
		score_smooth(r, args.smooth);
	for (int i = 1; !bad && i < r->phases; i++) {
		const struct score_phase *p = &r->phase[i];

		if (!chosen[i])
			continue;
		shifts++;
		if (p->doubt != p->step)
			say("run %s: the shift may be at any step between %ld and %ld (--shift "
			    "says at which)",
			    r->name, p->step < p->doubt ? p->step : p->doubt,
			    p->step < p->doubt ? p->doubt : p->step);
		for (int h = 0; !bad && h < args.hold.n; h++)
			bad = score_phase(r, k, i, h) ||
			      put_score(r, &score.result[score.results - 1]);
	}
	free(chosen);
	if (!bad && shifts == 0)
		return err_set("%s: run %s has no shift of domain (expected a column domain that "
			       "changes, rows \"shift\" in the run's events.csv, or --shift STEP)",
			       s->table.file, r->name);
	return bad ? -1 : 0;
}

static int
put_mean(const struct recovery_mean *m, bool deviation, int shift, int hold)
{
	struct row *w = &score.out;

	row_text(w, deviation ? "sd" : "mean");
	row_text(w, args.metric);
	put_figures(deviation ? m->sd : m->mean);
	row_long(w, shift);
	row_skip(w);
	row_long(w, hold);
	row_long(w, args.smooth);
	row_long(w, m->runs);
	row_long(w, m->recovered);
	return row_end(w);
}

static int
put_means(void)
{
	int r = 0, shifts = 0;

	for (long i = 0; i < score.results; i++)
		if (score.result[i].shift > shifts)
			shifts = score.result[i].shift;
	for (int s = 1; s <= shifts; s++)
		for (int h = 0; r == 0 && h < args.hold.n; h++) {
			const struct recovery_mean m =
				recovery_mean(score.result, score.results, s, h);
			for (int deviation = 0; r == 0 && m.runs && deviation < 2; deviation++)
				r = put_mean(&m, deviation, s, args.hold.v[h]);
		}
	return r;
}

static int
score_all(void)
{
	int runs = 0, k = 0, r;

	for (int i = 0; i < score.runs; i++)
		runs += score.run[i].table.runs;
	if (score.ofs > 1 && score.ofs != runs)
		return usage("%d runs from scratch for %d runs (expected one, or one for each)",
			     score.ofs, runs);
	if (!(score.out.f = file_replace(args.output)))
		return -1;
	r = row_header(&score.out, score_columns);
	for (int i = 0; r == 0 && i < score.runs; i++)
		for (int j = 0; r == 0 && j < score.run[i].table.runs; j++)
			r = score_run(&score.run[i], &score.run[i].table.run[j], k++);
	if (r == 0 && runs > 1)
		r = put_means();
	return file_end(score.out.f, r);
}

static int
score_runs(char **v, int n)
{
	int r = parse_shifts();

	if (r == 0)
		r = parse_level();
	if (r == 0) {
		score.run = open_sources(v, n, &score.runs);
		r = score.runs < n || open_scratch() < 0 ? -1 : score_all();
	}
	close_sources(score.run, score.runs);
	close_sources(score.scratch, score.scratches);
	free(score.of);
	free(score.result);
	free(shift_step);
	return r;
}

/* --- memory --- */

static int
open_survey(struct survey *c, const char *operand)
{
	if (survey_open(c, operand, asked.step, asked.n) < 0)
		return -1;
	if (c->split > 0)
		say("%s: %ld of %ld windows hold a shift and are left out", c->name, c->split,
		    c->m.windows);
	return 0;
}

static const char use_columns[] = "run,layer,slot,expert,phase,domain,from,to,windows,idle,tokens,"
				  "share,dormant,used_after,share_before";

static int
put_use(struct row *w, const char *run, const struct survey_use *u)
{
	row_text(w, run);
	row_long(w, u->sum.layer);
	row_told(w, u->sum.slot);
	row_long(w, u->sum.expert);
	row_told(w, u->phase);
	put_text(w, u->domain);
	row_told(w, u->from);
	row_told(w, u->to);
	row_long(w, u->sum.windows);
	row_long(w, u->sum.idle);
	put_number(w, u->sum.tokens);
	put_number(w, memory_share(&u->sum));
	row_long(w, u->dormant);
	put_number(w, u->used_after);
	put_number(w, u->share_before);
	return row_end(w);
}

static int
put_uses(struct row *w, const struct survey *c)
{
	long n;
	struct survey_use *u = survey_uses(c, (enum survey_by)args.by, args.dormant, &n);
	int r = 0;

	for (long i = 0; r == 0 && i < n; i++)
		r = put_use(w, c->name, &u[i]);
	free(u);
	return r;
}

static int
usage_of(char **v, int n)
{
	struct row w = {.f = file_replace(args.output)};
	int r = w.f ? row_header(&w, use_columns) : -1;

	for (int i = 0; r == 0 && i < n; i++) {
		struct survey c;

		if ((r = open_survey(&c, v[i])) == 0) {
			r = put_uses(&w, &c);
			survey_close(&c);
		}
	}
	return file_end(w.f, r);
}

static const char drift_columns[] = "from_step,to_step,layer,slot,expert,state,drift,router_drift,"
				    "tokens,share,dormant";

static int
put_drift(struct row *w, const struct memory_drift *d, long from, long to, const struct survey *c)
{
	static const char *const state[] = {"kept", "born", "gone", "reshaped"};
	struct memory_use u = {0};

	row_told(w, from);
	row_told(w, to);
	row_long(w, d->layer);
	row_long(w, d->slot);
	row_long(w, d->expert);
	row_text(w, state[d->state]);
	put_number(w, d->drift);
	put_number(w, d->router);
	if (c && from >= 0 && to >= 0 &&
	    memory_tokens(&c->m, d->layer, d->expert, from, to, &u.tokens, &u.all)) {
		put_number(w, u.tokens);
		put_number(w, memory_share(&u));
		row_long(w, memory_share(&u) <= args.dormant);
	} else {
		for (int i = 0; i < 3; i++)
			row_skip(w);
	}
	return row_end(w);
}

/* Steps done; -1 if a checkpoint from elsewhere does not say. */
static long
step_of(const struct ckpt *k)
{
	return ckpt_meta(k, "step") ? state_step(k) : -1;
}

static int
put_pair(struct row *w, const struct ckpt *a, const struct ckpt *b, const struct survey *c)
{
	const long from = step_of(a), to = step_of(b);
	struct memory_drift *d;
	long n;
	int r = 0;

	if (from >= 0 && to >= 0 && to <= from)
		return err_set("%s: step %ld (expected after step %ld of %s)", b->name, to, from,
			       a->name);
	if (!(d = memory_drift(a, b, &n)))
		return -1;
	for (long i = 0; r == 0 && i < n; i++)
		r = put_drift(w, &d[i], from, to, c);
	free(d);
	return r;
}

static int
drift_of(char **v, int n, const char *operand)
{
	struct row w = {0};
	struct survey c;
	struct ckpt *a, *b = NULL;
	int r = -1;

	if (operand && open_survey(&c, operand) < 0)
		return -1;
	if ((a = ckpt_open(v[0])) && (w.f = file_replace(args.output)))
		r = row_header(&w, drift_columns);
	for (int i = 1; r == 0 && i < n; i++) {
		if (!(b = ckpt_open(v[i]))) {
			r = -1;
			break;
		}
		r = put_pair(&w, a, b, operand ? &c : NULL);
		ckpt_close(a);
		a = b;
	}
	ckpt_close(a);
	if (operand)
		survey_close(&c);
	return file_end(w.f, r);
}

static bool
ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n >= m && strcmp(s + n - m, with) == 0;
}

static bool
is_census(const char *s)
{
	return strcmp(s, "-") == 0 || ends(s, ".csv") || ends(s, ".csv.gz") || run_is_dir(s);
}

static int
memory(char **v, int n)
{
	char **census = mem_zero((size_t)n, sizeof(char *)),
	     **ckpt = mem_zero((size_t)n, sizeof(char *));
	int censuses = 0, ckpts = 0, r = parse_shifts();

	for (int i = 0; i < n; i++)
		if (is_census(v[i]))
			census[censuses++] = v[i];
		else
			ckpt[ckpts++] = v[i];
	if (r == 0 && asked.last)
		r = usage("memory: --shift last (expected steps)");
	else if (r == 0 && ckpts == 0)
		r = usage_of(census, censuses);
	else if (r == 0 && (ckpts == 1 || censuses > 1))
		r = usage(
			"memory: %d checkpoint%s and %d census files (expected runs alone, or two "
			"checkpoints or more and at most one run)",
			ckpts, ckpts == 1 ? "" : "s", censuses);
	else if (r == 0)
		r = drift_of(ckpt, ckpts, censuses ? census[0] : NULL);
	free(census);
	free(ckpt);
	free(shift_step);
	return r;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"plan", 1, INT_MAX, "[NAME=]DATA...",
	 " output cycles period order warmup no-return format seed ", plan, 0},
	{"stream", 0, INT_MAX, "[[NAME=]DATA[@STEP]...]",
	 " output recipe batch seq accum val-frac steps from shifts seed ", stream, 0},
	{"score", 1, INT_MAX, "RUN or LOSS.CSV, ...",
	 " output metric level hold smooth shift scratch scratch-self ", score_runs, 0},
	{"memory", 1, INT_MAX, "RUN, EXPERTS.CSV or CKPT, ...", " output by dormant shift ", memory,
	 0},
};

static int
check(const struct verb *v, char **operands, int n)
{
	(void)v, (void)operands, (void)n;
	return args.scratch_self && args.scratch.n > 0
		       ? usage("--scratch and --scratch-self do not go together")
		       : 0;
}

static int
run(const struct opt_many *words)
{
	return verb_run(verbs, sizeof verbs / sizeof *verbs, &options, words, check);
}

int
main(int argc, char **argv)
{
	return program(&options, &args.help, &args.version, argc, argv, run);
}
