#include "train/recipe.h"
#include "base/err.h"
#include "base/num.h"
#include "model/start.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void
recipe_init(struct recipe *r)
{
	static int experts[] = {8}, hidden[] = {512};

	*r = (struct recipe){
		.dim = 128,
		.layers = 2,
		.heads = 4,
		.top_k = 2,
		.expert_init = "normal",
		.query = 1,
		.key_every = 1,
		.experts = {1, experts},
		.hidden = {1, hidden},
		.steps = 1000,
		.batch = 16,
		.seq = 256,
		.accum = 1,
		.lr = 1e-3,
		.lr_end = 0.1,
		.wd = 0.1,
		.beta1 = 0.9,
		.beta2 = 0.95,
		.eps = 1e-8,
		.clip = 1,
		.load_balance = 0.01,
		.temperature = "1",
		.seed = 1,
		.census_every = 100,
		.trace_every = 100,
		.twin_cosine = 0.98,
		.depth = 16,
		.widen = 2,
		.tau = 1,
	};
	gravity_init(&r->gravity);
	market_init(&r->market);
	living_init(&r->living);
	r->prune.below = 0.5;
}

enum { LEAST_VOCAB = 2 };

#define ROW(name, letter, kind, member, lo, hi, words, kept, help)                             \
	{                                                                                      \
		name, letter, kind, offsetof(struct recipe, member), lo, hi, words, kept, help \
	}
static const struct opt rows[] = {
	ROW("task", 0, OPT_ENUM, task, 0, 0, "lm|classify", true,
	    "what is trained: a language model, or a classifier of images"),
	ROW("config", 0, OPT_ENUM, config, 0, 0, "none|nano|base|wide", false,
	    "a reference shape; other options override it"),
	ROW("vocab", 0, OPT_INT, vocab, LEAST_VOCAB, 1 << 20, "N", true,
	    "tokens known; else the data's"),
	ROW("dim", 0, OPT_INT, dim, 2, 1 << 15, "N", true, "width of the residual stream"),
	ROW("layers", 0, OPT_INT, layers, 1, 1024, "N", true, "blocks"),
	ROW("heads", 0, OPT_INT, heads, 1, 1024, "N", true, "attention heads"),
	ROW("kv-heads", 0, OPT_INT, kv_heads, 1, 1024, "N", true,
	    "of keys and values, shared by groups of heads; else --heads"),
	ROW("experts", 0, OPT_INTS, experts, 1, 1 << 16, "N[,N...]", true,
	    "experts of every layer, or of each"),
	ROW("top-k", 0, OPT_INT, top_k, 1, 256, "K", true, "experts that a token uses"),
	ROW("hidden", 0, OPT_INTS, hidden, 1, 1 << 20, "N[,N...]", true,
	    "hidden neurons of every expert, or of each slot"),
	ROW("tiers", 0, OPT_INTS, tiers, 1, 1 << 16, "N,N[,N...]", true,
	    "labels: slots of tier 0, of tier 1 and so on"),
	ROW("act", 0, OPT_ENUM, act, 0, 0, "gelu|relu|relu2|swiglu|reglu", true,
	    "activation of the experts"),
	ROW("router", 0, OPT_ENUM, router, 0, 0, "linear|mlp|cosine|random|keystore", true,
	    "how tokens choose experts"),
	ROW("router-hidden", 0, OPT_INT, router_hidden, 1, 1 << 15, "N", true,
	    "width of the mlp router, else dim; of the mlp query, else 2 dim"),
	ROW("query", 0, OPT_ENUM, query, 0, 0, "linear|mlp", true,
	    "query network of the keystore router"),
	ROW("key-every", 0, OPT_LONG, key_every, 1, 0x1p40, "STEPS", true,
	    "between moves of the keystore router's keys"),
	ROW("freeze-experts", 0, OPT_FLAG, freeze_experts, 0, 1, NULL, true,
	    "experts stay as they begin"),
	ROW("expert-init", 0, OPT_TEXT, expert_init, 0, 0, "KIND", true,
	    "normal|sparse|default|orthogonal|pretrained:CKPT[,CKPT...]"),
	ROW("experts-from", 0, OPT_MANY, experts_from, 0, 0, "CKPT", false,
	    "whose experts are pretrained; may be repeated"),
	ROW("dense", 0, OPT_FLAG, dense, 0, 1, NULL, true, "one expert per layer and no router"),
	ROW("untied", 0, OPT_FLAG, untied, 0, 1, NULL, true,
	    "an output head of its own instead of the embedding"),
	ROW("steps", 0, OPT_LONG, steps, 0, 0x1p40, "N", true, "optimizer steps"),
	ROW("batch", 0, OPT_INT, batch, 1, 1 << 16, "N", true, "sequences of a batch"),
	ROW("seq", 0, OPT_INT, seq, 1, 1 << 16, "N", true, "tokens of a sequence"),
	ROW("accum", 0, OPT_INT, accum, 1, 1 << 16, "N", true, "batches of a step"),
	ROW("lr", 0, OPT_REAL, lr, 0, 10, "RATE", true, "peak learning rate"),
	ROW("lr-end", 0, OPT_REAL, lr_end, 0, 1, "SHARE", true,
	    "of the peak, to which the learning rate falls"),
	ROW("schedule", 0, OPT_ENUM, schedule, 0, 0, "cosine|linear|constant|wsd", true,
	    "of the learning rate"),
	ROW("warmup", 0, OPT_LONG, warmup, 0, 0x1p40, "STEPS", true, "linear rise to the peak"),
	ROW("wd", 0, OPT_REAL, wd, 0, 10, "X", true, "weight decay of matrices"),
	ROW("beta1", 0, OPT_REAL, beta1, 0, 0.999999, "X", true, "of AdamW's first moment"),
	ROW("beta2", 0, OPT_REAL, beta2, 0, 0.999999, "X", true, "of AdamW's second moment"),
	ROW("eps", 0, OPT_REAL, eps, 1e-12, 1, "X", true, "of AdamW's denominator"),
	ROW("clip", 0, OPT_REAL, clip, 0, 1e6, "NORM", true,
	    "largest norm of the gradient; 0 for none"),
	ROW("load-balance", 0, OPT_REAL, load_balance, 0, 1e3, "WEIGHT", true,
	    "of the load-balance loss, which is 1 when even"),
	ROW("z-loss", 0, OPT_REAL, z_loss, 0, 1e3, "WEIGHT", true,
	    "of the mean squared log-normaliser of the router"),
	ROW("entropy", 0, OPT_REAL, entropy, 0, 1e3, "WEIGHT", true,
	    "of the router's entropy, which is rewarded"),
	ROW("balance", 0, OPT_REAL, balance, 0, 1e3, "WEIGHT", true,
	    "of KL(importance || uniform) plus the variance of loads, the ecology's B"),
	ROW("oracle", 0, OPT_REAL, oracle, 0, 1e3, "WEIGHT", true,
	    "of KL(oracle || p), the oracle how good each expert would have been"),
	ROW("tau", 0, OPT_REAL, tau, 1e-3, 1e6, "NATS", true,
	    "temperature of the oracle: differences of loss that it heeds"),
	ROW("divergence", 0, OPT_REAL, divergence, 0, 1e3, "WEIGHT", true,
	    "of the mean positive cosine between the outputs that a token mixes"),
	ROW("ortho", 0, OPT_REAL, ortho, 0, 1e3, "WEIGHT", true,
	    "of the mean squared cosine between rows of the router"),
	ROW("loss-scale", 0, OPT_ENUM, loss_scale, 0, 0, "raw|normalised", true,
	    "of entropy and balance: normalised does not depend on the number of experts"),
	ROW("bias-rate", 0, OPT_REAL, bias_rate, 0, 10, "RATE", true,
	    "of loss-free balancing, a bias moved against the load"),
	ROW("temperature", 0, OPT_TEXT, temperature, 0, 0, "A[:B[:STEPS]]", true,
	    "of the router: A, or from A to B by a cosine over STEPS"),
	ROW("router-noise", 0, OPT_REAL, router_noise, 0, 1e3, "SD", true,
	    "of normal numbers added to the router's scores in training"),
	ROW("random-warmup", 0, OPT_LONG, random_warmup, 0, 0x1p40, "STEPS", true,
	    "first steps routed at random"),
	ROW("dormancy", 0, OPT_FLAG, dormancy, 0, 1, NULL, true,
	    "freeze an expert in steps that bring it no tokens"),
	ROW("lifecycle", 0, OPT_ENUM, lifecycle, 0, 0, "none|market|living", true,
	    "what decides on births and deaths of experts"),
	ROW("twin-cosine", 0, OPT_REAL, twin_cosine, -1, 1, "X", true,
	    "living: twins part when their keys point further apart"),
	ROW("at-shift", 0, OPT_ENUM, prune.kind, 0, 0, "none|prune|merge", true,
	    "what becomes of dormant experts when the text has changed"),
	ROW("dormant-below", 0, OPT_REAL, prune.below, 0, 1e3, "SHARES", true,
	    "--at-shift: demand of a dormant expert, in fair shares"),
	ROW("seed", 0, OPT_LONG, seed, 0, 0x1p53, "N", true, "of all random numbers"),
	ROW("val-frac", 0, OPT_REAL, val_frac, 0, 0.9, "SHARE", true,
	    "end of each DATA held out for validation"),
	ROW("val-every", 0, OPT_LONG, val_every, 0, 0x1p40, "STEPS", true,
	    "between validations; 0 for the end only"),
	ROW("census-every", 0, OPT_LONG, census_every, 1, 0x1p40, "STEPS", true,
	    "window of the census"),
	ROW("trace", 0, OPT_FLAG, trace, 0, 1, NULL, true, "write the routing of some steps"),
	ROW("trace-every", 0, OPT_LONG, trace_every, 1, 0x1p40, "STEPS", true,
	    "between traced steps"),
	ROW("data", 0, OPT_MANY, data, 0, 0, "[NAME=]DATA[@STEP]", false,
	    "as an operand, for recipe files"),
	ROW("made-of", 0, OPT_MANY, made_of, 0, 0, "TEXT", false,
	    "what RUN/recipe says of its data; other data is refused"),
	ROW("val", 0, OPT_MANY, val, 0, 0, "[NAME=]FILE", false,
	    "validate on this file; may be repeated"),
	ROW("resume-from", 0, OPT_TEXT, resume_from, 0, 0, "CKPT", false,
	    "go on from another run's checkpoint, at its step"),
	ROW("pixels", 0, OPT_TEXT, pixels, 0, 0, "PLANESxHEIGHTxWIDTH", true,
	    "of a record's image; else told by the length"),
	ROW("depth", 0, OPT_INT, depth, 10, 1000, "N", true,
	    "of the wide residual network WRN-depth-widen"),
	ROW("widen", 0, OPT_INT, widen, 1, 64, "K", true, "times the channels 16, 32, 64"),
	ROW("encoder-lr", 0, OPT_REAL, encoder_lr, 0, 10, "RATE", true,
	    "peak learning rate of the encoder; 0: --lr"),
	ROW("prototype", 0, OPT_ENUM, prototype, 0, 0, "route|none", true,
	    "whether the cosine with its prototype adds to an expert's score"),
	ROW("augment", 0, OPT_FLAG, augment, 0, 1, NULL, true,
	    "images are moved by up to 4 pixels and mirrored"),
};

int
recipe_rows(struct opt *row, size_t at)
{
	int n;

	_Static_assert(sizeof rows / sizeof *rows + GRAVITY_ROWS + MARKET_ROWS + LIVING_ROWS <=
			       RECIPE_ROWS,
		       "RECIPE_ROWS is too small");
	n = opt_rows(row, rows, sizeof rows / sizeof *rows, at);
	n += gravity_rows(row + n, at + offsetof(struct recipe, gravity));
	n += market_rows(row + n, at + offsetof(struct recipe, market));
	return n + living_rows(row + n, at + offsetof(struct recipe, living));
}

/* pretrained:A,B is pretrained, from A and from B: files have no place among what is kept. */
static int
take_apart(struct opt_table *t, const struct recipe *r)
{
	static const char word[] = "pretrained:";
	char *list, *at, *file;
	int bad = 0;

	if (strncmp(r->expert_init, word, sizeof word - 1) != 0)
		return 0;
	at = list = mem_copy(r->expert_init + sizeof word - 1);
	while (!bad && (file = strsep(&at, ",")))
		bad = *file ? opt_set(t, "experts-from", file, OPT_COMMAND)
			    : err_set("--expert-init \"%s\" (expected pretrained:CKPT[,CKPT...])",
				      r->expert_init);
	free(list);
	return bad ? -1 : opt_set(t, "expert-init", "pretrained", OPT_COMMAND);
}

int
recipe_preset(struct opt_table *t, struct recipe *r)
{
	static const char *const name[] = {"dim",    "layers", "heads", "experts",
					   "hidden", "top-k",  "seq",	"batch"};
	static const char *const value[][8] = {
		{"128", "2", "4", "8", "512", "2", "256", "16"},
		{"256", "6", "8", "8", "1024", "2", "256", "16"},
		{"256", "4", "8", "64", "256", "2", "256", "16"},
	};

	static const char *const classify[][2] = {
		{"dim", "256"}, {"batch", "128"}, {"experts", "16"}, {"wd", "0.0005"}};
	char interval[NUM_TEXT];

	if (take_apart(t, r) != 0)
		return -1;
	for (int i = 0; r->config > 0 && i < 8; i++)
		if (opt_set(t, name[i], value[r->config - 1][i], OPT_PRESET) != 0)
			return -1;
	for (int i = 0; r->task == TASK_CLASSIFY && i < 4; i++)
		if (opt_set(t, classify[i][0], classify[i][1], OPT_PRESET) != 0)
			return -1;
	/* keys find the experts, which stay as they are, without any loss on scores */
	if (r->router == ROUTER_KEYSTORE && (opt_set(t, "load-balance", "0", OPT_PRESET) != 0 ||
					     opt_set(t, "freeze-experts", "1", OPT_PRESET) != 0 ||
					     opt_set(t, "expert-init", "sparse", OPT_PRESET) != 0))
		return -1;
	if (r->lifecycle == LIFE_NONE)
		return 0;
	/* a living layer has keys, of cosines within [-1, 1], and its load is not to be even */
	if (r->lifecycle == LIFE_LIVING && (opt_set(t, "router", "cosine", OPT_PRESET) != 0 ||
					    opt_set(t, "temperature", "0.1", OPT_PRESET) != 0 ||
					    opt_set(t, "load-balance", "0", OPT_PRESET) != 0))
		return -1;
	/* the policy looks at the window since it last met */
	snprintf(interval, sizeof interval, "%ld", r->market.interval);
	return opt_set(t, "census-every", interval, OPT_PRESET);
}

/* A, B and STEPS (-1: all) of a temperature text. */
static int
temperature(const char *text, double *a, double *b, long *steps)
{
	char part[3][NUM_TEXT * 2] = {"", "", ""};
	int n = sscanf(text, "%63[^:]:%63[^:]:%63[^:]", part[0], part[1], part[2]);
	size_t length = 0;

	for (int i = 0; i < n; i++)
		length += strlen(part[i]) + (i > 0);
	if (n < 1 || length != strlen(text))
		return err_set("--temperature \"%s\" (expected A, A:B or A:B:STEPS)", text);
	*steps = -1;
	if (num_real(part[0], 1e-3, 1e3, a) != 0)
		return err_in("--temperature");
	*b = *a;
	if (n > 1 && num_real(part[1], 1e-3, 1e3, b) != 0)
		return err_in("--temperature");
	if (n > 2 && num_long(part[2], 1, 1L << 40, steps) != 0)
		return err_in("--temperature");
	return 0;
}

static int
check_classifier(const struct recipe *r)
{
	if (r->lifecycle || r->trace || r->accum != 1)
		return err_set("--lifecycle, --trace and --accum are not for --task classify");
	if (r->router == ROUTER_KEYSTORE || r->freeze_experts || strcmp(r->expert_init, "normal"))
		return err_set("--router keystore, --freeze-experts and --expert-init are not for "
			       "--task classify");
	if (!r->dense && (r->experts.n != 1 || r->experts.v[0] < 2))
		return err_set("--experts of a classifier (expected one number, 2 or more)");
	if (!r->dense && (r->top_k > r->experts.v[0] || r->top_k > 64))
		return err_set("--top-k %d of %d experts (expected at most all, and 64)", r->top_k,
			       r->experts.v[0]);
	return 0;
}

/* What a key store has no part in: its scores are few, and its experts neither come nor go. */
static int
check_keys(const struct recipe *r)
{
	const struct {
		const char *name;
		bool given;
	} other[] = {{"load-balance", r->load_balance > 0},
		     {"z-loss", r->z_loss > 0},
		     {"entropy", r->entropy > 0},
		     {"balance", r->balance > 0},
		     {"oracle", r->oracle > 0},
		     {"ortho", r->ortho > 0},
		     {"bias-rate", r->bias_rate > 0},
		     {"random-warmup", r->random_warmup > 0},
		     {"router-noise", r->router_noise > 0},
		     {"lifecycle", r->lifecycle > 0},
		     {"at-shift", r->prune.kind > 0}};

	for (size_t i = 0; i < sizeof other / sizeof *other; i++)
		if (other[i].given)
			return err_set("--%s does not go with --router keystore", other[i].name);
	return 0;
}

int
recipe_check(struct recipe *r)
{
	struct shape s;
	double a, b;
	long steps;
	int labelled = 0;

	if (r->lifecycle != LIFE_NONE && r->dense)
		return err_set("--dense has no population for --lifecycle");
	if (temperature(r->temperature, &a, &b, &steps) != 0 || start_kind(r->expert_init) < 0)
		return -1;
	if (r->experts_from.n > 0 && start_kind(r->expert_init) != START_PRETRAINED)
		return err_set("--experts-from (expected it with --expert-init pretrained)");
	if (r->router == ROUTER_KEYSTORE && check_keys(r) != 0)
		return -1;
	if (r->task == TASK_CLASSIFY && check_classifier(r) != 0)
		return -1;
	r->living.interval = r->market.interval;
	r->living.sigma = r->market.sigma;
	if (living_check(&r->living) != 0)
		return -1;
	if (r->task == TASK_LM) {
		if (recipe_shape(r, LEAST_VOCAB, &s) != 0)
			return -1;
		shape_free(&s);
	}
	if (r->warmup > r->steps && r->steps > 0)
		return err_set("--warmup %ld is longer than --steps %ld", r->warmup, r->steps);
	for (int i = 0; i < r->tiers.n; i++)
		labelled += r->tiers.v[i];
	for (int i = 0; i < r->experts.n && r->tiers.n > 0; i++)
		if (r->experts.v[i] != labelled && !r->dense)
			return err_set("--tiers sum to %d (expected %d, the number of experts)",
				       labelled, r->experts.v[i]);
	if (r->dense && (r->bias_rate > 0 || r->router != ROUTER_LINEAR))
		return err_set("--dense has no router");
	if (r->router == ROUTER_RANDOM && r->bias_rate > 0)
		return err_set("--router random has no choice for --bias-rate to move");
	if (market_check(&r->market) != 0)
		return -1;
	if (r->lifecycle == LIFE_LIVING && r->router == ROUTER_RANDOM)
		return err_set("--router random has no keys for --lifecycle living");
	if (r->lifecycle == LIFE_LIVING && r->living.least < r->top_k)
		return err_set("--min-experts %d (expected at least --top-k, %d)", r->living.least,
			       r->top_k);
	if (r->prune.kind && (r->dense || r->lifecycle != LIFE_NONE))
		return err_set("--at-shift goes with neither --dense nor --lifecycle");
	r->prune.least = r->top_k;
	if (r->lifecycle == LIFE_MARKET && r->market.least > 0 && r->market.least < r->top_k)
		return err_set("--market-min %d (expected 0, or at least --top-k, %d)",
			       r->market.least, r->top_k);
	if (r->lifecycle != LIFE_NONE && r->census_every != r->market.interval)
		return err_set("--census-every %ld (expected the policy's --interval, %ld)",
			       r->census_every, r->market.interval);
	return 0;
}

double
recipe_temperature(const struct recipe *r, long step)
{
	double a = 1, b = 1, at;
	long steps;

	temperature(r->temperature, &a, &b, &steps);
	if (a == b)
		return a;
	if (steps < 0)
		steps = r->steps;
	at = step >= steps ? 1 : (double)step / (double)steps;
	return b + (a - b) * 0.5 * (1 + cos(M_PI * at));
}

/* Slots for more experts than there are at the start: those beyond are empty. */
static int
slots_shape(const struct recipe *r, const struct opt_ints *slots, struct shape *out)
{
	const struct opt_ints *start = &r->experts;

	if (start->n != 1 && start->n != r->layers)
		return err_set("%d numbers of experts for %d layers", start->n, r->layers);
	if (shape_set(out, slots->n, slots->v, r->hidden.n, r->hidden.v) != 0)
		return -1;
	for (int l = 0; l < r->layers; l++) {
		const int n = start->v[start->n == 1 ? 0 : l];
		for (int e = n; e < out->experts[l]; e++)
			out->hidden[l][e] = 0;
		if (n > out->experts[l] || n < r->top_k) {
			err_set("%d experts in the %d slots of layer %d (expected %d to %d)", n,
				out->experts[l], l, r->top_k, out->experts[l]);
			shape_free(out);
			return -1;
		}
	}
	return 0;
}

int
recipe_shape(const struct recipe *r, int vocab, struct shape *out)
{
	*out = (struct shape){.vocab = r->vocab ? r->vocab : vocab,
			      .dim = r->dim,
			      .layers = r->layers,
			      .heads = r->heads,
			      .kv_heads = r->kv_heads ? r->kv_heads : r->heads,
			      .top_k = r->top_k,
			      .act = (enum kern_act)r->act,
			      .router = (enum router)r->router,
			      .router_hidden = r->router_hidden ? r->router_hidden : r->dim,
			      .dense = r->dense,
			      .frozen = r->freeze_experts,
			      .bent = recipe_detour(r) != DETOUR_NONE,
			      .tied = !r->untied};
	if (r->router == ROUTER_KEYSTORE)
		out->router_hidden = !r->query		? 0
				     : r->router_hidden ? r->router_hidden
							: 2 * r->dim;
	if (r->lifecycle == LIFE_MARKET && r->market.slots.n > 0)
		return slots_shape(r, &r->market.slots, out);
	if (r->lifecycle == LIFE_LIVING) {
		int most = r->living.most;
		return slots_shape(r, &(struct opt_ints){1, &most}, out);
	}
	return shape_set(out, r->experts.n, r->experts.v, r->hidden.n, r->hidden.v);
}

enum detour_kind
recipe_detour(const struct recipe *r)
{
	if (r->lifecycle != LIFE_LIVING || r->living.no_escape)
		return DETOUR_NONE;
	return r->living.escape == LIVING_POINCARE ? DETOUR_BALL : DETOUR_WAVES;
}

double
recipe_bias_rate(const struct recipe *r)
{
	return r->lifecycle == LIFE_MARKET && !market_price(&r->market) ? 0 : r->bias_rate;
}

struct optim
recipe_optim(const struct recipe *r)
{
	const bool off = r->lifecycle == LIFE_MARKET && !market_dormancy(&r->market);

	return (struct optim){r->beta1, r->beta2, r->eps, r->wd, r->clip, r->dormancy && !off};
}

int
recipe_open(struct recipe_book *b, const char *file, const char *text)
{
	memset(b, 0, sizeof *b);
	recipe_init(&b->recipe);
	b->table.program = "recipe";
	b->table.row = b->row;
	b->table.n = recipe_rows(b->row, 0);
	b->table.values = &b->recipe;
	if (opt_read_text(&b->table, file, text, OPT_RECIPE) == 0) {
		if (recipe_check(&b->recipe) == 0)
			return 0;
		err_in("%s", file);
	}
	recipe_close(b);
	return -1;
}

void
recipe_close(struct recipe_book *b)
{
	opt_free(&b->table);
}
