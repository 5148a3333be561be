/* moe-shift: plan shifts of domain, stream their tokens, score recovery, tell what experts keep. */
#include "base/mem.h"
#include "base/num.h"
#include "data/shift.h"
#include "io/table.h"
#include "program.h"
#include "train/memory.h"
#include "train/recipe.h"
#include "train/run.h"
#include "train/score.h"
#include "train/state.h"
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

enum form { OPERANDS, RECIPE, TABLE };
enum by { PHASE, DOMAIN, WINDOW };

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

/* End the output file: all of it or, after a failure, none. */
static int
close_output(struct file *f, int status)
{
	if (f && status == 0)
		return file_commit(f);
	file_abandon(f);
	return status ? status : -1;
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
	return close_output(f, r);
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

/* The data is what the recipe was made with. */
static int
check_made_of(const struct recipe *r, const struct schedule *s)
{
	for (int i = 0; i < r->made_of.n; i++) {
		const char *was = r->made_of.v[i];
		bool there = strncmp(was, "train ", 6) != 0;

		for (int k = 0; !there && k < s->n; k++) {
			char *is = mem_text("train %s@%ld %" PRIu64 " %08" PRIx32, s->data[k]->name,
					    s->from[k], s->data[k]->bytes, s->data[k]->crc);

			there = strcmp(is, was) == 0;
			free(is);
		}
		if (!there)
			return err_set("the data is not what the recipe was made with: no file is "
				       "\"%s\"",
				       was);
	}
	return 0;
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
	return close_output(w.f, status);
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
	if ((n > 0 || check_made_of(r, &s) == 0) && (!args.shifts || write_shifts(&s, r) == 0) &&
	    (f = file_replace(args.output)))
		status = shift_stream(&s, &draw, args.from, r->steps, f);
	schedule_close(&s);
	return f ? close_output(f, status) : -1;
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

static bool only_last; /* --shift last */
static long *shift_step;
static int shift_steps;

static int
parse_shifts(void)
{
	if (args.shift.n == 1 && strcmp(args.shift.v[0], "last") == 0) {
		only_last = true;
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
	shift_steps = args.shift.n;
	return 0;
}

static bool
is_dir(const char *name)
{
	struct stat st;

	return strcmp(name, "-") != 0 && stat(name, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The operand's name in tables: without a slash at its end. */
static char *
name_of(const char *operand)
{
	size_t n = strlen(operand);

	while (n > 1 && operand[n - 1] == '/')
		n--;
	return mem_text("%.*s", n < 4096 ? (int)n : 4096, operand);
}

/* Phases as a run's own files tell them: its events, or the domains of its rows. */
static int
own_phases(const struct score_table *t, struct score_run *r, const char *dir)
{
	char *path = dir ? run_path(dir, "events.csv") : NULL;
	long *step = NULL;
	int n = 0, bad = 0;

	if (path && file_exists(path))
		bad = score_events(path, &step, &n);
	/* A run under way may stand at a shift. */
	while (n > 0 && step[n - 1] >= r->step[r->n - 1])
		n--;
	if (!bad)
		bad = score_phases(t, r, step, n);
	free(step);
	free(path);
	return bad;
}

/* The phase that begins at a step, or may. */
static int
phase_at(const struct score_run *r, long step)
{
	for (int i = 1; i < r->phases; i++) {
		const struct score_phase *p = &r->phase[i];

		if ((step >= p->step && step <= p->doubt) || (step >= p->doubt && step <= p->step))
			return i;
	}
	return -1;
}

/*
 * The run's phases, and which of them follow a shift that was asked for, freed by free().  Steps
 * that the run knows choose among its shifts; others are taken as given.
 */
static bool *
choose_phases(const struct score_table *t, struct score_run *r, const char *dir)
{
	bool all_known = true, *chosen;

	if (own_phases(t, r, dir) < 0)
		return NULL;
	for (int i = 0; i < shift_steps; i++)
		all_known &= phase_at(r, shift_step[i]) >= 0;
	if (!all_known && score_phases(t, r, shift_step, shift_steps) < 0)
		return NULL;
	chosen = mem_zero((size_t)r->phases, sizeof(*chosen));
	for (int i = 0; i < shift_steps; i++) {
		const int p = phase_at(r, shift_step[i]);

		if (p < 0)
			continue;
		chosen[p] = true;
		r->phase[p].step = r->phase[p].doubt = shift_step[i];
	}
	for (int i = 1; shift_steps == 0 && i < r->phases; i++)
		chosen[i] = !only_last || i == r->phases - 1;
	return chosen;
}

/* --- score --- */

enum level { NUMBER, BEFORE, LEFT };
enum figure {
	SHIFT_STEP,
	LEVEL,
	RECOVERED_AT,
	STEPS,
	SCRATCH_STEPS,
	SPEEDUP,
	BEFORE_SHIFT,
	FIRST,
	PEAK,
	SPIKE,
	FIGURES
};
static const char score_columns[] = "run,metric,shift_step,level,recovered_at,steps,scratch_steps,"
				    "speedup,before,first,peak,spike,shift,domain,hold,smooth,runs,"
				    "recovered";

/* A table of losses and the directory it stands in, if any. */
struct source {
	struct score_table table;
	char *dir;
};

/* One run, one shift, one hold. */
struct result {
	double figure[FIGURES]; /* NAN: empty */
	int shift;		/* its number in the run, from 1 */
	int hold;
};

static struct scoring {
	enum level kind;
	double level;
	struct source *run, *scratch;
	int runs, scratches;   /* files */
	struct score_run **of; /* from scratch, [ofs] */
	int ofs;
	struct result *result;
	long results;
	struct row out;
} score;

static int
open_source(struct source *s, const char *operand)
{
	char *path, *name = name_of(operand);
	int r;

	s->dir = is_dir(operand) ? mem_copy(name) : NULL;
	path = s->dir ? run_path(s->dir, "loss.csv") : mem_copy(operand);
	r = score_read(&s->table, path, name, args.metric);
	free(path);
	free(name);
	return r;
}

static struct source *
open_sources(char **v, int n, int *opened)
{
	struct source *s = mem_zero((size_t)n + 1, sizeof(*s));

	for (*opened = 0; *opened < n; ++*opened)
		if (open_source(&s[*opened], v[*opened]) < 0) {
			free(s[*opened].dir);
			break;
		}
	return s;
}

static void
close_sources(struct source *s, int n)
{
	for (int i = 0; i < n; i++) {
		score_free(&s[i].table);
		free(s[i].dir);
	}
	free(s);
}

static int
parse_level(void)
{
	score.kind = strcmp(args.level, "before") == 0 ? BEFORE
		     : strcmp(args.level, "left") == 0 ? LEFT
						       : NUMBER;
	if (score.kind == NUMBER && num_real(args.level, -DBL_MAX, DBL_MAX, &score.level) < 0)
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
		struct source *s = &score.scratch[i];

		for (int k = 0; k < s->table.runs; k++) {
			struct score_run *r = &s->table.run[k];

			if (own_phases(&s->table, r, s->dir) < 0)
				return -1;
			score_smooth(r, args.smooth);
			score.of = mem_grow(score.of, (size_t)score.ofs + 1,
					    sizeof(struct score_run *));
			score.of[score.ofs++] = r;
		}
	}
	return 0;
}

/* Steps from the start of the domain's first phase until the level; NAN if never. */
static int
scratch_steps(const struct score_run *r, const char *domain, double level, int hold, double *steps)
{
	int p = r->phases == 1 ? 0 : domain ? score_phase_of(r, domain) : -1;
	long row;

	*steps = NAN;
	if (p < 0)
		return err_set("run %s, from scratch, has %d phases and none of domain %s", r->name,
			       r->phases, domain ? domain : "(untold)");
	if ((row = score_recover(r, p, level, hold)) >= 0)
		*steps = (double)(r->step[row] - r->phase[p].step);
	else
		say("run %s, from scratch: the %s %.9g is not reached", r->name, args.metric,
		    level);
	return 0;
}

static double
level_of(const struct score_run *r, int phase)
{
	int earlier;

	switch (score.kind) {
	case BEFORE: return score_last(r, phase - 1);
	case LEFT:
		earlier = score_earlier(r, phase);
		return earlier < 0 ? NAN : score_last(r, earlier);
	default: return score.level;
	}
}

static void
tell(const struct score_run *r, const struct score_phase *p, double level, int hold, long row)
{
	if (isnan(level))
		say("run %s, shift at step %ld: no level (%s)", r->name, p->step,
		    score.kind == LEFT ? "the domain was not there before"
				       : "no value before the shift");
	else if (row < 0)
		say("run %s, shift at step %ld: the %s %.9g is not reached for %d row%s", r->name,
		    p->step, args.metric, level, hold, hold == 1 ? "" : "s");
	else if (row == p->first)
		say("run %s, shift at step %ld: the first %s is already at or below the level %.9g",
		    r->name, p->step, args.metric, level);
}

/* Score one phase of run number k with the h-th hold. */
static int
score_phase(const struct score_run *r, int k, int phase, int h)
{
	const int hold = args.hold.v[h];
	const struct score_phase *p = &r->phase[phase];
	const double level = level_of(r, phase);
	const long row = isnan(level) ? -1 : score_recover(r, phase, level, hold);
	struct result x = {.shift = phase, .hold = h};
	double *f = x.figure;
	const struct score_run *scratch = args.scratch_self ? r
					  : score.ofs == 1  ? score.of[0]
					  : score.ofs > 1   ? score.of[k]
							    : NULL;

	f[SHIFT_STEP] = (double)p->step;
	f[LEVEL] = level;
	f[RECOVERED_AT] = row < 0 ? NAN : (double)r->step[row];
	f[STEPS] = f[RECOVERED_AT] - f[SHIFT_STEP];
	f[SCRATCH_STEPS] = NAN;
	f[BEFORE_SHIFT] = score_last(r, phase - 1);
	f[FIRST] = score_first(r, phase);
	f[PEAK] = score_peak(r, phase, row);
	f[SPIKE] = f[PEAK] - f[BEFORE_SHIFT];
	tell(r, p, level, hold, row);
	/* A domain that is new has no earlier start to compare with. */
	if (scratch && !isnan(level) && !(args.scratch_self && score_earlier(r, phase) < 0) &&
	    scratch_steps(scratch, p->name, level, hold, &f[SCRATCH_STEPS]) < 0)
		return -1;
	f[SPEEDUP] = f[STEPS] > 0 ? f[SCRATCH_STEPS] / f[STEPS] : NAN;
	score.result = mem_grow(score.result, (size_t)score.results + 1, sizeof(*score.result));
	score.result[score.results++] = x;
	return 0;
}

static void
put_figures(const double *f)
{
	struct row *w = &score.out;

	for (int i = 0; i < FIGURES; i++)
		put_number(w, f[i]);
}

static int
put_score(const struct score_run *r, const struct result *x)
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
	row_long(w, !isnan(x->figure[RECOVERED_AT]));
	return row_end(w);
}

static int
score_run(const struct source *s, struct score_run *r, int k)
{
	bool *chosen = choose_phases(&s->table, r, s->dir);
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

/* Mean or deviation over all runs of a shift's results with the h-th hold; v is room for them. */
static int
put_mean(int shift, int h, bool deviation, double *v)
{
	struct row *w = &score.out;
	double f[FIGURES];
	long runs = 0, recovered = 0;

	for (int i = 0; i < FIGURES; i++) {
		struct score_mean m;

		runs = 0;
		for (long k = 0; k < score.results; k++)
			if (score.result[k].shift == shift && score.result[k].hold == h)
				v[runs++] = score.result[k].figure[i];
		m = score_mean(v, runs);
		f[i] = deviation ? m.sd : m.mean;
		recovered = i == RECOVERED_AT ? m.n : recovered;
	}
	if (runs == 0)
		return 0;
	row_text(w, deviation ? "sd" : "mean");
	row_text(w, args.metric);
	put_figures(f);
	row_long(w, shift);
	row_skip(w);
	row_long(w, args.hold.v[h]);
	row_long(w, args.smooth);
	row_long(w, runs);
	row_long(w, recovered);
	return row_end(w);
}

static int
put_means(void)
{
	double *v = mem_zero((size_t)score.results + 1, sizeof(*v));
	int r = 0, shifts = 0;

	for (long i = 0; i < score.results; i++)
		if (score.result[i].shift > shifts)
			shifts = score.result[i].shift;
	for (int s = 1; s <= shifts; s++)
		for (int h = 0; r == 0 && h < args.hold.n; h++)
			r = put_mean(s, h, false, v) || put_mean(s, h, true, v) ? -1 : 0;
	free(v);
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
	return close_output(score.out.f, r);
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

/* The census of a run, and its phases. */
struct survey {
	char *name;
	struct memory m;
	struct score_table loss; /* whose domains the phases are named by */
	struct memory_phase *phase;
	int phases;
};

static void
survey_close(struct survey *c)
{
	free(c->name);
	memory_free(&c->m);
	score_free(&c->loss);
	free(c->phase);
}

/* Phases that the rows of RUN/loss.csv tell. */
static int
loss_phases(struct survey *c, const char *dir)
{
	char *path = run_path(dir, "loss.csv");
	struct score_run *r;
	int bad = score_read(&c->loss, path, c->name, "loss");

	free(path);
	if (bad)
		return -1;
	r = &c->loss.run[0];
	if (own_phases(&c->loss, r, dir) < 0)
		return -1;
	c->phase = mem_zero((size_t)r->phases, sizeof(*c->phase));
	c->phases = r->phases;
	for (int i = 0; i < r->phases; i++)
		c->phase[i] = (struct memory_phase){
			r->phase[i].step, i + 1 < r->phases ? r->phase[i + 1].step : LONG_MAX,
			r->phase[i].name};
	return 0;
}

static int
find_phases(struct survey *c, const char *dir)
{
	if (shift_steps == 0 && (c->phase = memory_phases(&c->m, &c->phases)))
		return 0;
	if (shift_steps == 0 && dir)
		return loss_phases(c, dir);
	c->phases = shift_steps + 1;
	c->phase = mem_zero((size_t)c->phases, sizeof(*c->phase));
	for (int i = 0; i < c->phases; i++)
		c->phase[i] =
			(struct memory_phase){i ? shift_step[i - 1] : 0,
					      i < shift_steps ? shift_step[i] : LONG_MAX, NULL};
	return 0;
}

static int
survey_open(struct survey *c, const char *operand)
{
	const bool dir = is_dir(operand);
	char *path;
	long split = 0;
	int r;

	*c = (struct survey){.name = name_of(operand)};
	path = dir ? run_path(c->name, "experts.csv") : mem_copy(operand);
	r = memory_read(&c->m, path);
	free(path);
	if (r == 0)
		r = find_phases(c, dir ? c->name : NULL);
	if (r < 0) {
		survey_close(c);
		return -1;
	}
	memory_place(&c->m, c->phase, c->phases);
	for (long i = 0; i < c->m.windows; i++)
		split += c->m.window[i].phase < 0;
	if (split > 0)
		say("%s: %ld of %ld windows hold a shift and are left out", c->name, split,
		    c->m.windows);
	return 0;
}

static const char *
window_domain(const struct survey *c, const struct memory_window *w)
{
	return w->phase < 0 ? w->domain : c->phase[w->phase].domain;
}

/* The first phase of the same domain stands for the domain. */
static int
domain_of(const struct survey *c, int phase)
{
	const char *name = phase < 0 ? NULL : c->phase[phase].domain;

	for (int i = 0; name && i < phase; i++)
		if (c->phase[i].domain && strcmp(c->phase[i].domain, name) == 0)
			return i;
	return phase;
}

static int *
make_groups(const struct survey *c)
{
	int *group = mem_zero((size_t)c->m.windows, sizeof(*group));

	for (long i = 0; i < c->m.windows; i++) {
		const int phase = c->m.window[i].phase;

		group[i] = args.by == PHASE    ? phase
			   : args.by == DOMAIN ? domain_of(c, phase)
					       : (int)i;
	}
	return group;
}

static bool
dormant(const struct memory_use *u)
{
	return memory_share(u) <= args.dormant;
}

/* The same expert's cell of an earlier phase: the one before, or the last of the same domain. */
static const struct memory_use *
earlier(const struct survey *c, const struct memory_use *u, const struct memory_use *first,
	bool same_domain)
{
	for (const struct memory_use *x = u; x-- > first;) {
		if (x->layer != u->layer || x->expert != u->expert)
			return NULL;
		if (!same_domain)
			return x->group == u->group - 1 ? x : NULL;
		if (c->phase[u->group].domain && domain_of(c, x->group) == domain_of(c, u->group))
			return x;
	}
	return NULL;
}

static const char use_columns[] = "run,layer,slot,expert,phase,domain,from,to,windows,idle,tokens,"
				  "share,dormant,used_after,share_before";

/* Phase, domain and steps of a group. */
static void
put_group(struct row *w, const struct survey *c, int group)
{
	const struct memory_window *x = &c->m.window[args.by == WINDOW ? group : c->m.windows - 1];
	const struct memory_phase *p = args.by == WINDOW ? NULL : &c->phase[group];

	if (args.by == WINDOW) {
		put_number(w, x->phase < 0 ? NAN : (double)x->phase);
		put_text(w, window_domain(c, x));
		row_long(w, x->from);
		row_long(w, x->to);
		return;
	}
	put_number(w, args.by == PHASE ? (double)group : NAN);
	put_text(w, p->domain);
	put_number(w, args.by == PHASE ? (double)p->from : NAN);
	put_number(w, args.by == PHASE ? (double)(p->to == LONG_MAX ? x->to : p->to) : NAN);
}

static int
put_use(struct row *w, const struct survey *c, const struct memory_use *u,
	const struct memory_use *first)
{
	const struct memory_use *before = NULL, *then = NULL;

	if (args.by == PHASE) {
		before = earlier(c, u, first, false);
		then = earlier(c, u, first, true);
	}
	row_text(w, c->name);
	row_long(w, u->layer);
	put_number(w, u->slot < 0 ? NAN : (double)u->slot);
	row_long(w, u->expert);
	put_group(w, c, u->group);
	row_long(w, u->windows);
	row_long(w, u->idle);
	put_number(w, u->tokens);
	put_number(w, memory_share(u));
	row_long(w, dormant(u));
	put_number(w, before && dormant(before) && u->first >= 0
			      ? (double)(u->first - c->phase[u->group].from)
			      : NAN);
	put_number(w, then ? memory_share(then) : NAN);
	return row_end(w);
}

static int
put_uses(struct row *w, const struct survey *c)
{
	int *group = make_groups(c), r = 0;
	long n;
	struct memory_use *u = memory_sum(&c->m, group, args.dormant, &n);

	for (long i = 0; r == 0 && i < n; i++)
		r = put_use(w, c, &u[i], u);
	free(u);
	free(group);
	return r;
}

static int
usage_of(char **v, int n)
{
	struct row w = {.f = file_replace(args.output)};
	int r = w.f ? row_header(&w, use_columns) : -1;

	for (int i = 0; r == 0 && i < n; i++) {
		struct survey c;

		if ((r = survey_open(&c, v[i])) == 0) {
			r = put_uses(&w, &c);
			survey_close(&c);
		}
	}
	return close_output(w.f, r);
}

static const char drift_columns[] = "from_step,to_step,layer,slot,expert,state,drift,router_drift,"
				    "tokens,share,dormant";

static int
put_drift(struct row *w, const struct memory_drift *d, long from, long to, const struct survey *c)
{
	static const char *const state[] = {"kept", "born", "gone", "reshaped"};
	struct memory_use u = {0};

	put_number(w, from < 0 ? NAN : (double)from);
	put_number(w, to < 0 ? NAN : (double)to);
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
		row_long(w, dormant(&u));
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

	if (operand && survey_open(&c, operand) < 0)
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
	return w.f ? close_output(w.f, r) : -1;
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
	return strcmp(s, "-") == 0 || ends(s, ".csv") || ends(s, ".csv.gz") || is_dir(s);
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
	if (r == 0 && only_last)
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
