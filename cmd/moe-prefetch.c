/* moe-prefetch: experts that do not fit into memory, and what it costs to bring them. */
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include "io/table.h"
#include "offload/decode.h"
#include "offload/energy.h"
#include "offload/pack.h"
#include "offload/replay.h"
#include "program.h"
#include "train/model.h"
#include "train/prompt.h"
#include "train/sample.h"
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static struct args {
	char *output, *tree, *save_tree;
	struct opt_ints slots;
	int policy, predictor, scope, layers, experts, depth, branching; /* replay, learn */
	double half_life, waste;
	bool prefetch, verbose;
	int tier, model_layers, model_used; /* replay on two tiers */
	size_t bandwidth, fast, expert_bytes, dense_bytes;
	double latency;
	int queue;

	char *sample; /* pack */
	int leaf;
	long sample_tokens;
	bool shadow;

	size_t memory; /* run */
	bool resident, buffered, no_skip;
	int check, readers;
	char *stats, *timing, *bpe, *gpt2, *llama2;
	long tokens;
	double temp, typing, power;
	int typing_mode;
	bool greedy;

	long seed;
	int workers;
	char *kernels;
	bool help, version;
} args = {.output = "-",
	  .half_life = 16,
	  .predictor = -1,
	  .tier = -1,
	  .latency = -1,
	  .fast = (size_t)1000e9,
	  .waste = 1,
	  .depth = 2,
	  .branching = 64,
	  .sample_tokens = 16384,
	  .readers = 32,
	  .tokens = 256,
	  .temp = 1,
	  .seed = -1};

enum { LAYER, GLOBAL };
#define POLICIES "lru|lfu|decay|learned|min"
#define PREDICTORS "none|previous|frequency|gate|tree"
enum { CHECK_OPEN, CHECK_LOAD };
enum { TYPING_FETCH, TYPING_ENCODE };
#define TIERS "pcie3|pcie4|pcie5|nvme"
#define SCOPES "layer|global"

static const struct opt rows[] = {
	ROW("slots", 0, OPT_INTS, slots, 1, INT_MAX, "N[,N...]", "slots for each layer"),
	ROW("policy", 0, OPT_ENUM, policy, 0, 0, POLICIES, "who gives way to another expert"),
	ROW("scope", 0, OPT_ENUM, scope, 0, 0, SCOPES,
	    "slots kept for each layer, or as many in one pool for all layers"),
	ROW("half-life", 0, OPT_REAL, half_life, 1e-3, 1e9, "STEPS",
	    "of a use, as --policy decay counts it"),
	ROW("predictor", 0, OPT_ENUM, predictor, 0, 0, PREDICTORS,
	    "who is expected next; run reads ahead what is"),
	ROW("prefetch", 0, OPT_FLAG, prefetch, 0, 1, NULL, "load ahead what is expected"),
	ROW("waste", 0, OPT_REAL, waste, 0, 1e9, "LOADS",
	    "the price of a load ahead that is not used, in loads that are needed"),
	ROW("tier", 0, OPT_ENUM, tier, 0, 0, TIERS, "where experts wait: figures of time"),
	ROW("bandwidth", 0, OPT_BYTES, bandwidth, 1, 0x1p50, "BYTES",
	    "a second, instead of its own"),
	ROW("latency", 0, OPT_REAL, latency, 0, 10, "S", "of a load, instead of its own"),
	ROW("queue", 0, OPT_INT, queue, 1, 1 << 20, "N", "loads in flight, instead of its own"),
	ROW("fast", 0, OPT_BYTES, fast, 1, 0x1p60, "BYTES",
	    "a second that the fast memory reads to compute"),
	ROW("expert-bytes", 0, OPT_BYTES, expert_bytes, 1, 0x1p50, "BYTES",
	    "of an expert; else the trace's mean"),
	ROW("dense-bytes", 0, OPT_BYTES, dense_bytes, 0, 0x1p50, "BYTES",
	    "of what else a layer computes with"),
	ROW("model-layers", 0, OPT_INT, model_layers, 1, 1 << 20, "N",
	    "as if it had so many layers; else the trace's"),
	ROW("model-used", 0, OPT_INT, model_used, 1, 1 << 20, "N",
	    "as if a token used so many experts of a layer; else the trace's"),
	ROW("tree", 0, OPT_TEXT, tree, 0, 0, "FILE",
	    "begin with this tree instead of an empty one"),
	ROW("save-tree", 0, OPT_TEXT, save_tree, 0, 0, "FILE",
	    "run: write what the tree has become"),
	ROW("depth", 0, OPT_INT, depth, 1, TREE_DEPTH, "N",
	    "of a new tree: turns that it looks back"),
	ROW("branching", 0, OPT_INT, branching, 1, ACCESS_EXPERTS, "N",
	    "of a new tree: children of a node at most"),
	ROW("layers", 0, OPT_INT, layers, 1, ACCESS_LAYERS, "N",
	    "how many the model has: a trace with another is refused"),
	ROW("experts", 0, OPT_INT, experts, 1, ACCESS_EXPERTS, "N", "of a layer, likewise"),
	ROW("leaf", 0, OPT_INT, leaf, 1, 1 << 20, "N", "neurons of a leaf; else 128 KiB of them"),
	ROW("sample", 0, OPT_TEXT, sample, 0, 0, "DATA", "group neurons by what they do on it"),
	ROW("sample-tokens", 0, OPT_LONG, sample_tokens, 1, 1L << 40, "N", "of it, at most"),
	ROW("shadow", 0, OPT_FLAG, shadow, 0, 1, NULL,
	    "keep int8 stand-ins that prove leaves inactive (relu, relu2, reglu)"),
	ROW("memory", 'm', OPT_BYTES, memory, 1, 0x1p62, "BYTES", "for all but the program itself"),
	ROW("resident", 0, OPT_FLAG, resident, 0, 1, NULL, "all leaves in memory: the reference"),
	ROW("check", 0, OPT_ENUM, check, 0, 0, "open|load",
	    "verify all leaves before the first token, or each when it is read"),
	ROW("readers", 0, OPT_INT, readers, 1, 64, "N", "reads in flight"),
	ROW("buffered", 0, OPT_FLAG, buffered, 0, 1, NULL, "read through the page cache"),
	ROW("no-skip", 0, OPT_FLAG, no_skip, 0, 1, NULL, "read also what is certainly inactive"),
	ROW("stats", 0, OPT_TEXT, stats, 0, 0, "FILE",
	    "write the run's figures: quantity,value,unit"),
	ROW("timing", 0, OPT_TEXT, timing, 0, 0, "FILE", "write a row for each token"),
	ROW("typing", 0, OPT_REAL, typing, 1e-3, 1e9, "CPS",
	    "the prompt comes at so many characters (bytes) a second"),
	ROW("typing-mode", 0, OPT_ENUM, typing_mode, 0, 0, "fetch|encode",
	    "meanwhile: leaves are fetched, or what is there is computed, too"),
	ROW("power", 0, OPT_REAL, power, 0, 1e6, "WATTS",
	    "estimate joules at so many per busy processor"),
	ROW("tokens", 0, OPT_LONG, tokens, 0, 1 << 24, "N", "tokens to add"),
	ROW("temp", 0, OPT_REAL, temp, 0, 100, "X", "temperature"),
	ROW("greedy", 0, OPT_FLAG, greedy, 0, 1, NULL, "always the likeliest token"),
	ROW("bpe", 0, OPT_TEXT, bpe, 0, 0, "FILE", "a table of moe-data bpe"),
	ROW("gpt2", 0, OPT_TEXT, gpt2, 0, 0, "VOCAB", "GPT-2's; MERGES is the operand"),
	ROW("llama2", 0, OPT_TEXT, llama2, 0, 0, "FILE", "a tokenizer of llama2.c"),
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("seed", 0, OPT_LONG, seed, 0, 0x1p53, "N", "of what is drawn; else the model's"),
	ROW("jobs", 'j', OPT_INT, workers, 1, 256, "N", "workers; else one per processor"),
	ROW("kernels", 0, OPT_TEXT, kernels, 0, 0, "avx512|avx2|portable",
	    "instruction set; else the best there is"),
	ROW("verbose", 'v', OPT_FLAG, verbose, 0, 1, NULL, "say how large the tree is"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
static const struct opt_group groups[] = {{"slots", "Replay:"},
					  {"tier", "Two tiers of memory (replay):"},
					  {"tree", "Trees (replay, learn and run):"},
					  {"layers", "The model of a trace:"},
					  {"leaf", "Pack:"},
					  {"memory", "Run:"},
					  {"output", "This program:"},
					  {NULL, NULL}};
static struct opt_table table = {
	.program = "moe-prefetch",
	.synopsis = "moe-prefetch replay --slots N[,N...] [options] TRACE...\n"
		    "moe-prefetch learn [options] TRACE... -o TREE\n"
		    "moe-prefetch pack CKPT -o STORE [options]\n"
		    "moe-prefetch run STORE --memory BYTES | --resident [options] <PROMPT\n",
	.group = groups,
	.row = rows,
	.n = sizeof rows / sizeof *rows,
	.values = &args,
};

/* --- replay --- */

static const char replay_columns[] =
	"policy,predictor,scope,slots,accesses,hits,hit_rate,min_hit_rate,loads,wasted,bytes,"
	"wasted_bytes,budget,recall,recall_2k,precision,tier,"
	"seconds_per_token,tokens_per_s,stall,known_tokens_per_s,resident_tokens_per_s,trace";

static double
share(long part, long whole)
{
	return whole ? (double)part / (double)whole : 0;
}

/* Word number i of a|b|c. */
static void
word(char *out, size_t room, const char *words, int i)
{
	for (; i; i--)
		words = strchr(words, '|') + 1;
	snprintf(out, room, "%.*s", (int)strcspn(words, "|"), words);
}

static void
put_word(struct row *w, const char *words, int i)
{
	char text[32];

	word(text, sizeof text, words, i);
	row_text(w, text);
}

/* What is not known stays empty. */
static void
put_if(struct row *w, bool known, double v)
{
	if (known)
		row_real(w, v);
	else
		row_skip(w);
}

static double
inverse(double x)
{
	return x > 0 ? 1 / x : 0;
}

static void
write_clock(struct row *w, const struct tier_clock *c)
{
	for (int i = 0; !c && i < 6; i++)
		row_skip(w);
	if (!c)
		return;
	row_text(w, c->tier.name);
	row_real(w, tier_token(c));
	row_real(w, inverse(tier_token(c)));
	row_real(w, tier_stall(c));
	row_real(w, inverse(tier_token_known(c)));
	row_real(w, inverse(tier_token_resident(c)));
}

static int
write_score(struct row *w, const char *trace, const struct replay_plan *p,
	    const struct replay_score *s, const struct replay_score *limit)
{
	const bool guessed = p->predictor != PREDICT_NONE;

	put_word(w, POLICIES, p->policy);
	put_word(w, PREDICTORS, p->predictor);
	put_word(w, SCOPES, p->global);
	row_long(w, p->slots);
	row_long(w, s->accesses);
	row_long(w, s->hits);
	row_real(w, share(s->hits, s->accesses));
	row_real(w, share(limit->hits, limit->accesses));
	row_long(w, s->loads);
	row_long(w, s->wasted);
	put_if(w, s->bytes > 0 || !s->loads, s->bytes);
	put_if(w, s->bytes > 0 || !s->loads, s->wasted_bytes);
	row_long(w, s->budget);
	put_if(w, guessed, s->recall);
	put_if(w, guessed, s->recall_2k);
	put_if(w, guessed, s->precision);
	write_clock(w, p->clock);
	row_text(w, trace);
	return row_end(w);
}

/* The tree to begin with, which fits so many layers and experts; NULL with a message. */
static struct tree *
begin_tree(int layers, int experts, const char *file)
{
	struct tree_shape s = {.layers = layers, .experts = experts, .depth = args.depth};
	struct tree *tree;

	s.branching = args.branching < s.experts ? args.branching : s.experts;
	tree = args.tree ? tree_load(args.tree) : tree_new(&s);
	if (tree && predict_fits(layers, experts, tree_shape(tree)) < 0) {
		err_in("%s", file);
		tree_free(tree);
		return NULL;
	}
	return tree;
}

static struct tree *
trace_tree(const struct access_trace *t, const char *file)
{
	return begin_tree(args.layers > 0 ? args.layers : t->depth,
			  args.experts > 0 ? args.experts : t->experts, file);
}

/* The mean over the counted accesses of an expert's bytes, 0 if the trace does not tell. */
static double
mean_bytes(const struct access_trace *t)
{
	double sum = 0;

	for (long k = 0; k < t->play.turns; k++) {
		const struct access_turn *turn = &t->play.turn[k];
		if (!turn->warm)
			sum += (double)(turn[1].begin - turn->begin) *
			       (double)t->bytes[turn->layer];
	}
	return sum / (double)t->counted;
}

static int
begin_clock(struct tier_clock *c, const struct access_trace *t, const char *file)
{
	char name[16];
	struct tier tier;
	const struct tier_model m = {
		.layers = args.model_layers ? args.model_layers
					    : (double)t->counted_turns / (double)t->steps,
		.used = args.model_used ? args.model_used
					: (double)t->counted / (double)t->counted_turns,
		.expert_bytes = args.expert_bytes ? (double)args.expert_bytes : mean_bytes(t),
		.dense_bytes = (double)args.dense_bytes,
		.fast = (double)args.fast};

	if (m.expert_bytes <= 0)
		return err_set("%s: no column expert_bytes that tells (expected --expert-bytes)",
			       file);
	word(name, sizeof name, TIERS, args.tier);
	tier = *tier_find(name);
	tier.bandwidth = args.bandwidth ? (double)args.bandwidth : tier.bandwidth;
	tier.latency = args.latency >= 0 ? args.latency : tier.latency;
	tier.queue = args.queue ? args.queue : tier.queue;
	*c = tier_clock(&tier, &m);
	return 0;
}

static int
replay_slots(struct row *w, const struct access_trace *t, const char *file, int slots)
{
	struct replay_plan plan = {.policy = (enum evict_policy)args.policy,
				   .slots = slots,
				   .global = args.scope == GLOBAL,
				   .half_life = args.half_life,
				   .predictor = (enum predict_kind)args.predictor,
				   .ahead = args.prefetch,
				   .waste = args.waste};
	const struct replay_plan min = {.policy = EVICT_MIN, .slots = slots, .global = plan.global};
	struct replay_score score, limit;
	struct tier_clock clock;

	if (args.tier >= 0) {
		if (begin_clock(&clock, t, file) < 0)
			return -1;
		plan.clock = &clock;
	}
	if (plan.predictor == PREDICT_GATE && !t->gate.turns)
		return err_set("%s: no column \"gate\" in the header", file);
	if (plan.predictor == PREDICT_TREE && !(plan.tree = trace_tree(t, file)))
		return -1;
	replay(t, &min, &limit);
	replay(t, &plan, &score);
	if (args.verbose && plan.tree)
		say("%s: a tree of %ld nodes", file, tree_nodes(plan.tree));
	tree_free(plan.tree);
	return write_score(w, file, &plan, &score, &limit);
}

static int
replay_trace(struct row *w, const char *file)
{
	struct access_trace *t = access_read(file, args.layers, args.experts);
	int r = t ? 0 : -1;

	for (int i = 0; !r && i < args.slots.n; i++)
		r = replay_slots(w, t, file, args.slots.v[i]);
	access_free(t);
	return r;
}

static int
replay_traces(char **v, int n)
{
	static const char *const timing[] = {"bandwidth",    "latency",	     "queue",
					     "fast",	     "expert-bytes", "dense-bytes",
					     "model-layers", "model-used"};
	struct row w = {0};
	int r = 0;

	if (!args.slots.n)
		return usage("replay: no --slots (expected how many experts of a layer are kept)");
	if (args.predictor < 0)
		args.predictor = PREDICT_NONE;
	if (args.prefetch && args.predictor == PREDICT_NONE)
		return usage("replay: --prefetch without a --predictor");
	if (args.prefetch && args.policy == EVICT_MIN)
		return usage("replay: --prefetch with min (which knows what comes)");
	for (int i = 0; args.tier < 0 && i < (int)(sizeof timing / sizeof *timing); i++)
		if (opt_given(&table, timing[i]))
			return usage("replay: --%s without --tier", timing[i]);
	if (args.tree && args.predictor != PREDICT_TREE)
		return usage("replay: --tree without --predictor tree");
	if (!(w.f = file_replace(args.output)) || row_header(&w, replay_columns) < 0)
		r = -1;
	for (int i = 0; !r && i < n; i++)
		r = replay_trace(&w, v[i]);
	return file_end(w.f, r);
}

/* --- learn --- */

static int
learn_trace(struct tree **tree, const char *file)
{
	struct access_trace *t = access_read(file, args.layers, args.experts);
	int r = -1;

	if (!t)
		return -1;
	if (!*tree)
		*tree = trace_tree(t, file);
	if (*tree && (r = predict_fits(t->depth, t->experts, tree_shape(*tree))) < 0)
		err_in("%s", file);
	if (!r)
		replay_learn(t, *tree);
	access_free(t);
	return r;
}

static int
learn(char **v, int n)
{
	struct tree *tree = NULL;
	int r = 0;

	if (!strcmp(args.output, "-"))
		return usage("learn: no --output (expected the file of the tree)");
	for (int i = 0; !r && i < n; i++)
		r = learn_trace(&tree, v[i]);
	if (!r)
		r = tree_save(tree, args.output);
	if (!r && args.verbose)
		say("%s: a tree of %ld nodes", args.output, tree_nodes(tree));
	tree_free(tree);
	return r;
}

/* --- pack --- */

enum { LEAF_BYTES = 128 << 10 };

/* As many neurons as make a leaf of LEAF_BYTES. */
static int
leaf_of(const struct shape *s)
{
	const long each = leaf_floats(s, 1) * (long)sizeof(float);

	return args.leaf ? args.leaf : each < LEAF_BYTES ? (int)(LEAF_BYTES / each) : 1;
}

static int
pack_model(const struct model *m, const char *recipe)
{
	struct store_plan plan = {.param = m->param,
				  .recipe = recipe,
				  .leaf = leaf_of(&m->param->shape),
				  .shadow = args.shadow};
	const struct net_how how = model_how(m);
	struct tokens *sample = NULL;
	int bad = 0;

	if (args.sample && !(sample = model_text(m, args.sample)))
		return -1;
	if (sample && !(plan.order = pack_orders(m->param, &how, sample, m->book.recipe.seq,
						 args.sample_tokens, plan.leaf)))
		bad = -1;
	if (!bad)
		bad = store_write(&plan, args.output);
	pack_orders_free(plan.order, &m->param->shape);
	tokens_close(sample);
	return bad;
}

static int
pack(char **v, int n)
{
	struct model m;
	char *recipe;
	int bad;

	(void)n;
	if (!opt_given(&table, "output"))
		return usage("pack: no store to write (expected -o STORE)");
	if (model_open(&m, v[0]) != 0)
		return -1;
	recipe = opt_recipe(&m.book.table);
	if (args.shadow && !leaf_certain(&m.param->shape))
		bad = err_set("%s: --shadow: no leaf of this activation is ever certainly inactive "
			      "(expected relu, relu2 or reglu)",
			      v[0]);
	else
		bad = pack_model(&m, recipe);
	free(recipe);
	model_close(&m);
	return bad;
}

/* --- run --- */

static struct net_how
store_how(const struct recipe *r)
{
	return (struct net_how){.temperature = (float)recipe_temperature(r, r->steps),
				.seed = (uint64_t)(args.seed < 0 ? r->seed : args.seed),
				.scale = 1};
}

/* A run's clock and what it has written. */
struct talk {
	const struct prompt *prompt;
	long given;	     /* new tokens */
	size_t typed;	     /* bytes of the prompt so far, with --typing */
	double start, begun; /* seconds: of all; when the prompt was there */
	double first, ended; /* the first new token, the last */
	double cpu, joules;  /* of all threads; NAN: unmeasured */
	struct energy energy;
	struct decode *decode;
	struct row timing;	    /* of --timing, else f is NULL */
	double since;		    /* the token that is being computed */
	struct decode_count counts; /* before it */
	struct slots_count reads;
};

static double
cpu_now(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
	       1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Wait until the prompt's next token has been typed, if it is. */
static void
await_typing(struct talk *t, size_t bytes)
{
	double left;

	if (args.typing <= 0)
		return;
	t->typed += bytes;
	t->begun = t->start + (double)t->typed / args.typing;
	decode_idle(t->decode, t->begun);
	left = t->begun - tick_now();
	if (left > 0)
		nanosleep(&(struct timespec){(time_t)left, (long)(1e9 * (left - floor(left)))},
			  NULL);
}

/* The whole prompt is typed while leaves are fetched. */
static void
fetch_typing(struct talk *t, const struct net_how *how)
{
	for (long i = 0; i < t->prompt->n; i++) {
		size_t n;
		prompt_bytes(t->prompt, i ? t->prompt->token[i - 1] : -1, t->prompt->token[i], &n);
		await_typing(t, n);
		decode_expect(t->decode, how, t->prompt->token[i]);
	}
}

static const char timing_columns[] = "token,prompt,seconds,stall,needed,skipped,loads,late,ahead,"
				     "wasted,bytes,chosen,predicted,right";

/* The token before has gone through the model, or there was none. */
static void
time_token(struct talk *t, bool prompt)
{
	const struct decode_count was = t->counts;
	const struct slots_count read = t->reads;
	const double now = tick_now();
	struct row *w = &t->timing;

	if (!w->f)
		return;
	decode_counts(t->decode, &t->counts, &t->reads);
	if (t->counts.tokens > was.tokens) {
		row_long(w, was.tokens);
		row_long(w, prompt);
		row_real(w, now - t->since);
		row_real(w, t->counts.stall - was.stall);
		row_long(w, t->counts.needed - was.needed);
		row_long(w, t->counts.skipped - was.skipped);
		row_long(w, t->reads.loads - read.loads);
		row_long(w, t->reads.late - read.late);
		row_long(w, t->reads.ahead - read.ahead);
		row_long(w, t->reads.wasted - read.wasted);
		row_real(w, (double)(t->reads.bytes - read.bytes));
		row_long(w, t->counts.chosen - was.chosen);
		row_long(w, t->counts.predicted - was.predicted);
		row_long(w, t->counts.right - was.right);
		row_end(w);
	}
	t->since = tick_now();
}

static int
emit(void *arg, int32_t before, int32_t token, bool prompt)
{
	struct talk *t = arg;
	size_t n;
	const unsigned char *p = prompt_bytes(t->prompt, before, token, &n);

	time_token(t, before >= 0 && t->given == 0);
	if (prompt && args.typing_mode == TYPING_ENCODE)
		await_typing(t, n);
	t->since = tick_now();
	if (!prompt && t->given++ == 0)
		t->first = tick_now();
	return fwrite(p, 1, n, stdout) == n && fflush(stdout) == 0 ? 0 : -1; /* finish() says why */
}

static void
real(struct row *w, const char *name, double value, const char *unit)
{
	row_text(w, name);
	row_real(w, value);
	row_text(w, unit);
	row_end(w);
}

static void
write_reads(struct row *w, const struct decode_count *c, const struct slots_count *s)
{
	real(w, "needed", (double)c->needed, "leaves");
	real(w, "skipped", (double)c->skipped, "leaves");
	real(w, "idle", (double)c->idle, "leaves");
	real(w, "hits", (double)s->hits, "leaves");
	real(w, "late", (double)s->late, "leaves");
	real(w, "hit_rate", share(s->hits, s->taken), "");
	real(w, "loads", (double)s->loads, "leaves");
	real(w, "ahead", (double)s->ahead, "leaves");
	real(w, "wasted", (double)s->wasted, "leaves");
	real(w, "evicted", (double)s->evicted, "leaves");
	real(w, "bytes", (double)s->bytes, "bytes");
	real(w, "wasted_bytes", (double)s->wasted_bytes, "bytes");
	real(w, "bytes_per_token", (double)s->bytes / (double)(c->tokens ? c->tokens : 1), "bytes");
	real(w, "recall", share(c->right, c->chosen), "");
	real(w, "recall_2k", share(c->right_2k, c->chosen), "");
	real(w, "precision", share(c->right, c->predicted), "");
}

static void
write_energy(struct row *w, const struct talk *t)
{
	if (isnan(t->joules)) {
		row_text(w, "energy");
		row_text(w, "unmeasured");
		row_text(w, "J");
		row_end(w);
	} else {
		real(w, "energy", t->joules, "J");
	}
	if (opt_given(&table, "power"))
		real(w, "energy_estimated", args.power * t->cpu, "J");
}

static int
write_stats(const struct store *s, struct decode *d, const struct talk *t, int seq,
	    const struct tree *tree)
{
	struct row w = {.f = file_replace(args.stats)};
	struct decode_count c;
	struct slots_count reads;
	const double seconds = t->ended - t->start;

	if (!w.f)
		return -1;
	decode_settle(d);
	decode_counts(d, &c, &reads);
	row_header(&w, "quantity,value,unit");
	real(&w, "memory", (double)args.memory, "bytes");
	real(&w, "memory_fixed", (double)decode_fixed(s, seq, tree), "bytes");
	real(&w, "memory_least", (double)decode_least(s, seq, tree), "bytes");
	real(&w, "memory_peak", (double)mem_peak(), "bytes");
	real(&w, "leaves", s->leaves, "leaves");
	real(&w, "leaf_bytes", s->largest, "bytes");
	real(&w, "slots", decode_slots(d), "leaves");
	real(&w, "prompt_tokens", (double)t->prompt->n, "tokens");
	real(&w, "new_tokens", (double)t->given, "tokens");
	real(&w, "tokens", (double)c.tokens, "tokens");
	real(&w, "seconds", seconds, "s");
	real(&w, "tokens_per_s", seconds > 0 ? (double)c.tokens / seconds : 0, "1/s");
	real(&w, "first_token", t->given ? t->first - t->begun : 0, "s");
	real(&w, "stall", c.stall, "s");
	real(&w, "cpu", t->cpu, "s");
	write_energy(&w, t);
	write_reads(&w, &c, &reads);
	return file_end(w.f, false);
}

/* The text, with its clock. */
static int
speak(struct decode *d, struct net *n, struct talk *t)
{
	const struct net_how how = store_how(&decode_store(d)->book.recipe);
	const struct sample what = {.temperature = args.greedy ? 0 : args.temp,
				    .seed = how.seed,
				    .tokens = args.tokens,
				    .end = t->prompt->end,
				    .emit = emit,
				    .arg = t};
	int bad;

	t->decode = d;
	t->start = t->begun = tick_now();
	t->cpu = -cpu_now();
	energy_begin(&t->energy, "");
	if (args.typing > 0 && args.typing_mode == TYPING_FETCH)
		fetch_typing(t, &how);
	bad = sample_run(n, &how, &what, t->prompt->token, t->prompt->n); /* of writing alone */
	t->ended = tick_now();
	t->cpu += cpu_now();
	t->joules = energy_since(&t->energy);
	time_token(t, t->given == 0);
	return bad || decode_failed(d) ? -1 : 0;
}

static int
generate(const struct store *s, const struct prompt *text, int room, struct tree *tree)
{
	const bool lru = args.policy == EVICT_LRU && opt_given(&table, "policy");
	const struct decode_how ways = {.memory = args.resident ? 0 : args.memory,
					.readers = args.readers,
					.predictor = (enum predict_kind)args.predictor,
					.tree = tree,
					.policy = lru ? DECODE_LRU : DECODE_LEARNED,
					.skip = !args.no_skip};
	struct talk talk = {.prompt = text};
	struct net *n = net_new(s->param, 1, room, false);
	struct decode *d = decode_open(s, n, &ways);
	int bad = -1;

	if (d && args.timing &&
	    (!(talk.timing.f = file_create(args.timing)) ||
	     row_header(&talk.timing, timing_columns) < 0))
		goto done;
	if (d)
		bad = speak(d, n, &talk);
	if (!bad && args.stats)
		bad = write_stats(s, d, &talk, room, tree);
	if (!bad && args.save_tree)
		bad = tree_save(tree, args.save_tree);
done:
	if (talk.timing.f && file_close(talk.timing.f) < 0)
		bad = -1;
	decode_close(d);
	net_free(n);
	return bad;
}

/* With --predictor tree: the one that is given, or a new one. -1 with a message. */
static int
store_tree(const struct store *s, struct tree **tree)
{
	const struct shape *shape = &s->param->shape;
	int experts = 0;

	*tree = NULL;
	if (args.predictor != PREDICT_TREE)
		return 0;
	for (int l = 0; l < shape->layers; l++)
		experts = shape->experts[l] > experts ? shape->experts[l] : experts;
	*tree = begin_tree(shape->layers, experts, s->name);
	if (*tree && tree_claim(*tree, store_model(s)) == 0)
		return 0;
	if (*tree)
		err_in("%s", args.tree);
	tree_free(*tree);
	*tree = NULL;
	return -1;
}

enum { MOST_TOKENS = 1 << 24 }; /* of a prompt and its continuation */

static int
run_store(char **v, int n)
{
	const struct prompt_table words = {args.bpe, args.gpt2, n > 1 ? v[1] : NULL, args.llama2};
	const int tables = !!args.bpe + !!args.gpt2 + !!args.llama2;
	struct prompt text = {0};
	struct store *s;
	struct tree *tree = NULL;
	long room;
	int bad = -1;

	if (!args.memory == !args.resident)
		return usage("run: %s (expected --memory BYTES or --resident)",
			     args.memory ? "two budgets" : "no budget");
	if (args.predictor < 0)
		args.predictor = PREDICT_NONE;
	if ((args.tree || args.save_tree) && args.predictor != PREDICT_TREE)
		return usage("run: a tree without --predictor tree");
	if (args.policy != EVICT_LRU && args.policy != EVICT_LEARNED)
		return usage("run: a --policy that it does not have (expected lru or learned)");
	if (tables > 1)
		return usage("%d tokenizers (expected one of --bpe, --gpt2, --llama2)", tables);
	if (n != 1 + !!args.gpt2)
		return usage("run: %d operands (expected %s)", n,
			     args.gpt2 ? "STORE MERGES" : "STORE; the prompt is standard input");
	if (!(s = store_open(v[0], !args.buffered)))
		return -1;
	if ((args.check == CHECK_LOAD || store_check(s) == 0) && store_tree(s, &tree) == 0 &&
	    prompt_open(&text, &words, "-", s->param->shape.vocab) == 0 &&
	    (room = prompt_room(&text, args.tokens, MOST_TOKENS)) > 0)
		bad = generate(s, &text, (int)room, tree);
	prompt_close(&text);
	tree_free(tree);
	store_close(s);
	return bad;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"replay", 1, INT_MAX, "TRACE...",
	 " output verbose slots policy scope half-life predictor prefetch waste tree depth "
	 "branching "
	 "layers experts tier bandwidth latency queue fast expert-bytes dense-bytes model-layers "
	 "model-used ",
	 replay_traces, 0},
	{"learn", 1, INT_MAX, "TRACE...", " output verbose tree depth branching layers experts ",
	 learn, 0},
	{"pack", 1, 1, "CKPT", " output leaf sample sample-tokens shadow jobs kernels ", pack, 0},
	{"run", 1, 2, "STORE, with --gpt2 also MERGES",
	 " policy memory resident check readers buffered predictor tree save-tree depth branching "
	 "no-skip stats timing typing typing-mode power "
	 "tokens temp "
	 "greedy bpe gpt2 llama2 seed jobs kernels ",
	 run_store, 0},
};

static int
start(const struct verb *v, char **operands, int n)
{
	(void)v, (void)operands, (void)n;
	if (kern_choose(args.kernels) != 0)
		return usage("%s", err_text());
	return task_start(args.workers);
}

static int
run(const struct opt_many *words)
{
	return verb_run(verbs, sizeof verbs / sizeof *verbs, &table, words, start);
}

int
main(int argc, char **argv)
{
	const int status = program(&table, &args.help, &args.version, argc, argv, run);

	task_stop();
	return status;
}
