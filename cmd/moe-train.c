/* moe-train: train a mixture-of-experts model, evaluate it, continue a text with it. */
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include "io/trace.h"
#include "math/blas.h"
#include "program.h"
#include "train/appraise.h"
#include "train/classify.h"
#include "train/labeller.h"
#include "train/model.h"
#include "train/prompt.h"
#include "train/sample.h"
#include "train/selftest.h"
#include "train/state.h"
#include "train/train.h"
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static struct args {
	struct recipe recipe;
	char *dir, *book, *timing, *decisions, *csv[RUN_CSVS], *eval, *sample;
	char *features, *bpe, *gpt2, *llama2, *kernels;
	int workers;
	long ckpt_every, tokens;
	double temp;
	bool verbose, greedy, dry_run, selftest, help, version;
} args = {.ckpt_every = 250, .tokens = 256, .temp = 1};

static const struct opt ambient[] = {
	ROW("output", 'o', OPT_TEXT, dir, 0, 0, "RUN", "the run's directory"),
	ROW("recipe", 'c', OPT_TEXT, book, 0, 0, "FILE", "read options, one \"name value\" a line"),
	ROW("jobs", 'j', OPT_INT, workers, 1, 256, "N", "workers; else one per processor"),
	ROW("verbose", 'v', OPT_FLAG, verbose, 0, 1, NULL, "progress, also when not on a terminal"),
	ROW("ckpt-every", 0, OPT_LONG, ckpt_every, 1, 0x1p40, "STEPS", "between checkpoints"),
	ROW("decisions", 0, OPT_TEXT, decisions, 0, 0, "FIFO|hold",
	    "take events from a pipe; or stop before each step's, for moe-market apply"),
	ROW("timing", 0, OPT_TEXT, timing, 0, 0, "FILE", "CSV of each step's seconds by part"),
	ROW("loss-csv", 0, OPT_TEXT, csv[RUN_LOSS], 0, 0, "FILE", "instead of RUN/loss.csv"),
	ROW("experts-csv", 0, OPT_TEXT, csv[RUN_EXPERTS], 0, 0, "FILE",
	    "instead of RUN/experts.csv; with --eval the census of the file"),
	ROW("events-csv", 0, OPT_TEXT, csv[RUN_EVENTS], 0, 0, "FILE", "instead of RUN/events.csv"),
	ROW("layers-csv", 0, OPT_TEXT, csv[RUN_LAYERS], 0, 0, "FILE", "instead of RUN/layers.csv"),
	ROW("trace-csv", 0, OPT_TEXT, csv[RUN_TRACE], 0, 0, "FILE",
	    "instead of RUN/trace.csv.gz; with --eval the routing of the file"),
	ROW("features-csv", 0, OPT_TEXT, features, 0, 0, "FILE",
	    "with --eval what a classifier's encoder makes of each sample"),
	ROW("kernels", 0, OPT_TEXT, kernels, 0, 0, "avx512|avx2|portable",
	    "instruction set; else the best there is"),
	ROW("selftest", 0, OPT_FLAG, selftest, 0, 1, NULL,
	    "check gradients, kernels and causality on this machine"),
	ROW("dry-run", 0, OPT_FLAG, dry_run, 0, 1, NULL, "say what the run would take, and stop"),
	ROW("eval", 0, OPT_TEXT, eval, 0, 0, "CKPT", "print a checkpoint's loss on DATA"),
	ROW("sample", 0, OPT_TEXT, sample, 0, 0, "CKPT", "continue the text on standard input"),
	ROW("tokens", 0, OPT_LONG, tokens, 0, 1 << 24, "N", "--sample: tokens to add"),
	ROW("temp", 0, OPT_REAL, temp, 0, 100, "X", "--sample: temperature"),
	ROW("greedy", 0, OPT_FLAG, greedy, 0, 1, NULL, "--sample: always the likeliest token"),
	ROW("bpe", 0, OPT_TEXT, bpe, 0, 0, "FILE", "--sample: a table of moe-data bpe"),
	ROW("gpt2", 0, OPT_TEXT, gpt2, 0, 0, "VOCAB", "--sample: GPT-2's; MERGES is the operand"),
	ROW("llama2", 0, OPT_TEXT, llama2, 0, 0, "FILE", "--sample: a tokenizer of llama2.c"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
enum { AMBIENT = sizeof ambient / sizeof *ambient };

static const struct opt_group groups[] = {
	{"task", "The model:"},
	{"steps", "Training:"},
	{"load-balance", "Routing:"},
	{"seed", "Data, and what is recorded:"},
	{"pixels", "The classifier (--task classify):"},
	{"alpha", "The key store (--router keystore; and --query, --key-every):"},
	{"fitness", "The market:"},
	{"max-experts", "The living layer (and --interval, --sigma, --twin-cosine):"},
	{"output", "The run and its files:"},
	{"eval", "A checkpoint in use:"},
	{"help", "This program:"},
	{NULL, NULL},
};
static struct opt rows[RECIPE_ROWS + AMBIENT];
static struct opt_table table = {
	.program = "moe-train",
	.synopsis = "moe-train [options] -o RUN [NAME=]DATA[@STEP]...\n"
		    "moe-train [options] --dry-run [DATA...]\n"
		    "moe-train --eval CKPT [--seq N] DATA\n"
		    "moe-train --sample CKPT [--tokens N] [--temp X | --greedy] <PROMPT\n"
		    "moe-train --selftest\n",
	.group = groups,
	.row = rows,
	.values = &args,
};

enum { HELD = 3 }; /* exit status */

static volatile sig_atomic_t stop, training;
static double peak; /* GF/s of all workers, 0 when not measured */

/* Before the first step nothing is lost by leaving at once, even while a pipe is being opened. */
static void
on_signal(int signal)
{
	static const char said[] = "moe-train: interrupted before the first step\n";

	(void)signal;
	stop = 1;
	if (!training) {
		(void)!write(STDERR_FILENO, said, sizeof said - 1);
		_exit(1);
	}
}

static bool
talks(void)
{
	return args.verbose || isatty(STDERR_FILENO);
}

/* ---- training ---- */

static void
ready(void *arg, const struct shape *s, long step)
{
	(void)arg;
	training = 1;
	if (!talks())
		return;
	if (!s) {
		fprintf(stderr, "moe-train: %s kernels, %d workers; from step %ld\n", kern->name,
			task_workers(), step);
		return;
	}
	peak = blas_peak(0.25);
	fprintf(stderr,
		"moe-train: %s kernels, OpenBLAS %s%s, %d workers, sgemm peak %.0f GF/s\n"
		"moe-train: %ld parameters, %.0f active; %.3g FLOPs per token; from step %ld\n",
		kern->name, blas_kernel(), blas_user() ? " (OPENBLAS_CORETYPE)" : "",
		task_workers(), peak, shape_params(s), shape_active(s),
		shape_flops(s, args.recipe.seq), step);
}

/* One line, rewritten on a terminal, else now and then. */
static void
progress(void *arg, const struct train_progress *p)
{
	static double last, rate;
	const double now = tick_now();
	const bool terminal = isatty(STDERR_FILENO), val = !isnan(p->val_loss);

	(void)arg;
	rate = rate > 0 ? 0.9 * rate + 0.1 * p->tokens_per_s : p->tokens_per_s;
	if (!talks() || (!val && p->step < p->steps && now - last < (terminal ? 0.2 : 5)))
		return;
	last = now;
	fprintf(stderr, "%sstep %ld/%ld %s loss %.4f", terminal ? "\r\033[K" : "", p->step,
		p->steps, p->domain, p->loss);
	if (val)
		fprintf(stderr, " val %.4f", p->val_loss);
	fprintf(stderr, " %.0f %s/s", rate, isnan(p->flops) ? "samples" : "tok");
	if (peak > 0)
		fprintf(stderr, " %.0f%% of peak",
			100 * rate * p->flops / p->tokens_per_s / 1e9 / peak);
	fprintf(stderr, " ETA %.0f s", (double)((p->steps - p->step) * p->tokens) / rate);
	if (!terminal || val || p->step == p->steps)
		putc('\n', stderr);
	fflush(stderr);
}

static struct train
training_of_args(void)
{
	struct train t = {.recipe = &args.recipe,
			  .table = &table,
			  .dir = args.dir,
			  .ckpt_every = args.ckpt_every,
			  .decisions = args.decisions,
			  .timing = args.timing,
			  .stop = &stop,
			  .ready = ready,
			  .progress = progress};

	memcpy(t.csv, args.csv, sizeof t.csv);
	return t;
}

static int
train(void)
{
	struct train t = training_of_args();
	const struct sigaction a = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGPIPE, &ignore, NULL); /* a reader that leaves is an error like any other */
	switch (args.recipe.task == TASK_CLASSIFY ? classify_run(&t) : train_run(&t)) {
	case TRAIN_DONE: return 0;
	case TRAIN_STOPPED:
		say("interrupted; the same command goes on from the checkpoint in %s", args.dir);
		return 1;
	case TRAIN_HELD:
		say("held; moe-market apply %s/ckpt.safetensors EVENTS completes the step, then "
		    "the same command goes on",
		    args.dir);
		return HELD;
	default: return -1;
	}
}

/* Seconds of a run, from a step's share of the products' speed as measured on this machine. */
static double
expected(const struct train_plan *p)
{
	return p->tokens * p->flops / (0.65e9 * blas_peak(0.25));
}

static int
dry_run(void)
{
	struct train t = training_of_args();
	struct train_plan p;

	if (args.recipe.task == TASK_CLASSIFY)
		return usage("--dry-run is not for --task classify");
	if (train_plan(&t, &p) != 0)
		return -1;
	printf("quantity,value,unit\nparameters,%ld,\nactive parameters,%.0f,\n"
	       "FLOPs per token,%.0f,\ntokens,%.0f,\ntokens per expert,%.1f,per batch\n"
	       "memory,%zu,bytes\nexpected time,%.3g,s\n",
	       p.params, p.active, p.flops, p.tokens, p.rows, p.bytes, expected(&p));
	return 0;
}

/* ---- --eval and --sample ---- */

/* A token of a model in use may be content with fewer experts, or ask more. */
static int
set_top_k(struct model *m, int k)
{
	struct shape *s = &m->param->shape;

	for (int l = 0; l < s->layers; l++)
		if (shape_living(s, l) < k)
			return err_set("--top-k %d (expected at most %d, the experts of layer %d)",
				       k, shape_living(s, l), l);
	s->top_k = m->book.recipe.top_k = k;
	return 0;
}

/* With what was given here put over its recipe. */
static int
open_model(struct model *m, const struct ckpt *k)
{
	struct recipe *r = &m->book.recipe;

	if (model_take(m, k) != 0)
		return -1;
	if (opt_given(&table, "seq"))
		r->seq = args.recipe.seq;
	if (opt_given(&table, "batch"))
		r->batch = args.recipe.batch;
	if (opt_given(&table, "seed"))
		r->seed = args.recipe.seed;
	if (!opt_given(&table, "top-k") || set_top_k(m, args.recipe.top_k) == 0)
		return 0;
	model_close(m);
	return -1;
}

/* Who watches an evaluation, and where that is written. */
struct watch {
	struct census *census;
	struct file *experts, *trace;
	struct row row; /* on trace */
};

static int
watch_open(struct watch *w, const struct shape *s)
{
	const char *experts = args.csv[RUN_EXPERTS], *trace = args.csv[RUN_TRACE];

	*w = (struct watch){0};
	if (experts) {
		w->census = census_new(s);
		if (!(w->experts = file_replace(experts)) ||
		    row_header(&(struct row){.f = w->experts}, policy_row_columns) != 0)
			return -1;
	}
	if (trace) {
		if (!(w->trace = file_replace(trace)))
			return -1;
		w->row.f = w->trace;
		return trace_header(&w->row);
	}
	return 0;
}

static int
watch_close(struct watch *w, bool bad)
{
	census_free(w->census);
	return file_end(w->experts, bad) | file_end(w->trace, bad);
}

static int
watch(void *arg, struct net *n, long step, int batch, const int32_t *in)
{
	struct watch *w = arg;

	if (w->census)
		eval_census(w->census, n);
	return w->trace ? eval_trace(&w->row, n, step, batch, in) : 0;
}

/* Is a table written where the loss would be? */
static bool
stdout_taken(void)
{
	for (int i = 0; i < RUN_CSVS; i++)
		if (args.csv[i] && strcmp(args.csv[i], "-") == 0)
			return true;
	return args.features && strcmp(args.features, "-") == 0;
}

static int
write_census(const struct watch *w, const struct model *m)
{
	struct policy_step s = {0};
	int bad;

	census_rows(w->census, m->param, m->step, &s);
	bad = census_write_experts(&s, &(struct row){.f = w->experts});
	policy_step_free(&s);
	return bad;
}

static int
eval_model(struct model *m, const struct tokens *data, struct watch *w)
{
	const struct net_how how = model_how(m);
	const bool watched = w->census || w->trace;
	struct net *n = net_new(m->param, m->book.recipe.batch, m->book.recipe.seq, watched);
	struct eval e;
	int bad = eval_run(n, &how, data, 0, data->n, watched ? watch : NULL, w, &e);

	net_free(n);
	if (!bad && w->census)
		bad = write_census(w, m);
	if (!bad && !stdout_taken())
		printf("tokens,loss,bits_per_token,perplexity,accuracy,flops,parameters\n"
		       "%ld,%.9g,%.9g,%.9g,%.9g,%.9g,%ld\n",
		       e.tokens, e.loss, e.loss / M_LN2, exp(e.loss), e.accuracy, e.flops,
		       shape_params(&m->param->shape));
	return bad;
}

/* Tables of a classifier's samples. */
struct tables {
	struct row trace, features;
};

static int
write_sample(void *arg, const struct classifier *c, const struct appraised *s)
{
	struct tables *t = arg;

	if (t->trace.f && appraise_trace(&t->trace, c, s) != 0)
		return -1;
	return t->features.f ? appraise_features(&t->features, c, s) : 0;
}

static int
tables_open(struct tables *t, const struct classifier *c)
{
	const char *trace = args.csv[RUN_TRACE];

	if (trace && (!(t->trace.f = file_replace(trace)) || appraise_trace_header(&t->trace) != 0))
		return -1;
	if (!args.features)
		return 0;
	return (t->features.f = file_replace(args.features))
		       ? appraise_features_header(&t->features, c)
		       : -1;
}

/* A classifier's samples stand where a model's tokens do. */
static int
eval_samples(struct labeller *l, const struct images *data)
{
	struct tables t = {0};
	struct appraise a;
	double loss;
	int bad = tables_open(&t, l->c);

	if (!bad)
		bad = appraise_run(l->c, data, 0, data->n, &l->how, write_sample, &t, &a);
	bad = file_end(t.trace.f, bad) | file_end(t.features.f, bad);
	if (bad)
		return -1;
	loss = a.ce / (double)a.n;
	if (!stdout_taken())
		printf("tokens,loss,bits_per_token,perplexity,accuracy\n%ld,%.9g,%.9g,%.9g,%.9g\n",
		       a.n, loss, loss / M_LN2, exp(loss), (double)a.right / (double)a.n);
	return 0;
}

static int
eval_classifier(const struct ckpt *k, const char *file)
{
	struct labeller l;
	struct images *data;
	int bad;

	if (args.csv[RUN_EXPERTS])
		return usage("--experts-csv is not for the --eval of a classifier (moe-ecology "
			     "census reads its checkpoint)");
	if (labeller_take(&l, k) != 0)
		return -1;
	bad = (data = labeller_data(&l, file)) ? eval_samples(&l, data) : -1;
	images_close(data);
	labeller_close(&l);
	return bad;
}

static int
eval_text(const struct ckpt *k, const char *file)
{
	struct model m;
	struct watch w = {0};
	struct tokens *data;
	int bad = -1;

	if (args.features)
		return err_set("%s: not a classifier's (expected that with --features-csv)",
			       k->name);
	if (open_model(&m, k) != 0)
		return -1;
	data = model_text(&m, file);
	if (data && watch_open(&w, &m.param->shape) == 0)
		bad = eval_model(&m, data, &w);
	bad = watch_close(&w, bad);
	tokens_close(data);
	model_close(&m);
	return bad ? -1 : 0;
}

static int
eval(const char *file)
{
	struct ckpt *k = ckpt_open(args.eval);
	const char *recipe = k ? ckpt_meta(k, "recipe") : NULL;
	int status = !k				     ? -1
		     : recipe && labeller_is(recipe) ? eval_classifier(k, file)
						     : eval_text(k, file);

	ckpt_close(k);
	return status;
}

/* A token's text, at once. */
static int
emit(void *arg, int32_t before, int32_t token, bool prompt)
{
	size_t n;
	const unsigned char *p = prompt_bytes(arg, before, token, &n);

	(void)prompt;
	return fwrite(p, 1, n, stdout) == n && fflush(stdout) == 0 ? 0 : -1; /* finish() says why */
}

enum { SAMPLE_MOST = 1 << 24 }; /* tokens of a prompt and its continuation */

static int
sample(const char *merges)
{
	const struct prompt_table words = {args.bpe, args.gpt2, merges, args.llama2};
	struct ckpt *k = ckpt_open(args.sample);
	struct model m;
	struct prompt text = {0};
	long room;
	int status = k ? open_model(&m, k) : -1;

	ckpt_close(k);
	if (status != 0)
		return -1;
	status = -1;
	if (prompt_open(&text, &words, "-", m.param->shape.vocab) == 0 &&
	    (room = prompt_room(&text, args.tokens,
				opt_given(&table, "seq") ? args.recipe.seq : SAMPLE_MOST)) > 0) {
		const struct net_how how = model_how(&m);
		const struct sample s = {.temperature = args.greedy ? 0 : args.temp,
					 .seed = (uint64_t)m.book.recipe.seed,
					 .tokens = args.tokens,
					 .end = text.end,
					 .emit = emit,
					 .arg = &text};
		struct net *n = net_new(m.param, 1, (int)room, false);
		status = sample_run(n, &how, &s, text.token, text.n) != 0; /* of writing alone */
		net_free(n);
	}
	prompt_close(&text);
	model_close(&m);
	return status;
}

/* ---- the command line ---- */

/* Two tables in one file would be none. */
static int
check_csvs(void)
{
	if (args.csv[RUN_TRACE] && !args.recipe.trace && !args.eval)
		return usage("--trace-csv: nothing is traced (expected --trace)");
	if (args.features && !args.eval)
		return usage("--features-csv is of a checkpoint in use (expected --eval)");
	for (int i = 0; i < RUN_CSVS; i++)
		for (int j = 0; j < i; j++)
			if (args.csv[i] && args.csv[j] && strcmp(args.csv[i], args.csv[j]) == 0)
				return usage("two CSV files go to %s", args.csv[i]);
	return 0;
}

static int
use_model(const struct opt_many *words)
{
	const int tables = !!args.bpe + !!args.gpt2 + !!args.llama2;

	if (args.eval && args.sample)
		return usage("--eval and --sample do not go together");
	if (tables > 1)
		return usage("%d tokenizers (expected one of --bpe, --gpt2, --llama2)", tables);
	if (args.eval)
		return words->n == 1 ? eval(words->v[0])
				     : usage("--eval: %d operands (expected DATA)", words->n);
	if (words->n != !!args.gpt2)
		return usage("--sample: %d operands (expected %s)", words->n,
			     args.gpt2 ? "MERGES" : "none; the prompt is standard input");
	return sample(words->v ? words->v[0] : NULL);
}

static int
use_data(const struct opt_many *words)
{
	/* operands take the place of the recipe's data, whatever that was */
	for (int i = 0; i < words->n; i++)
		if (opt_set(&table, "data", words->v[i], OPT_COMMAND) != 0)
			return -1;
	if (recipe_check(&args.recipe) != 0)
		return usage("%s", err_text());
	if (args.dry_run)
		return dry_run();
	if (!args.dir)
		return usage("no run directory (expected -o RUN)");
	if (args.recipe.data.n == 0)
		return usage("no data (expected [NAME=]DATA[@STEP])");
	if (args.decisions && args.recipe.dense)
		return usage("--dense has no population for --decisions");
	return train();
}

static void
report(void *arg, const char *name, double error, double tolerance, bool pass)
{
	(void)arg;
	printf("\"%s\",%.3g,%.3g,%s\n", name, error, tolerance, pass ? "pass" : "FAIL");
}

static int
selftest(void)
{
	int failed;

	printf("check,error,tolerance,result\n");
	failed = selftest_run(report, NULL);
	return failed ? err_set("%d checks failed with the %s kernels", failed, kern->name) : 0;
}

static int
run(const struct opt_many *words)
{
	int status;

	if (args.book && strcmp(args.book, "-") != 0 && access(args.book, R_OK) != 0) {
		err_set("%s: %s", args.book, strerror(errno));
		return -1;
	}
	if (args.book && opt_read(&table, args.book) != 0)
		return usage("%s", err_text());
	if (recipe_preset(&table, &args.recipe) != 0)
		return usage("%s", err_text());
	if (kern_choose(args.kernels) != 0)
		return usage("%s", err_text());
	blas_start();
	if (task_start(args.workers) != 0)
		return -1;
	if ((status = check_csvs()) != 0)
		return status;
	if (args.selftest)
		return words->n ? usage("--selftest takes no operand") : selftest();
	return args.eval || args.sample ? use_model(words) : use_data(words);
}

int
main(int argc, char **argv)
{
	int n = recipe_rows(rows, offsetof(struct args, recipe));

	recipe_init(&args.recipe);
	memcpy(rows + n, ambient, sizeof ambient);
	table.n = n + AMBIENT;
	n = program(&table, &args.help, &args.version, argc, argv, run);
	task_stop();
	return n;
}
