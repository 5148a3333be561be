#ifndef TRAIN_RECIPE_H
#define TRAIN_RECIPE_H
#include "base/opt.h"
#include "model/net.h"
#include "model/optim.h"
#include "policy/living.h"
#include "policy/market.h"
#include "policy/prune.h"
#include "pool/gravity.h"

/*
 * Everything that decides a training run's results, and the options that set it.  The same table
 * serves the command line, recipe files and the recipe in a checkpoint (see moe-train(1)).
 */
struct recipe {
	int task;
	int config; /* a preset of the shape: enum, 0 none */

	/* shape */
	int vocab; /* 0: the data's */
	int dim, layers, heads, kv_heads, top_k, act, router, router_hidden;
	struct opt_ints experts, hidden, tiers;
	bool dense, untied;
	bool freeze_experts;
	char *expert_init;	      /* see model/start.h */
	struct opt_many experts_from; /* checkpoints, if those are pretrained */
	int query;		      /* of the key store: 0 linear, 1 mlp */
	long key_every;		      /* steps between its keys' moves */
	struct gravity gravity;

	/* training */
	long steps;
	int batch, seq, accum, schedule;
	double lr, lr_end, wd, beta1, beta2, eps, clip;
	long warmup, random_warmup;
	double load_balance, z_loss, entropy, balance, ortho, oracle, tau, divergence;
	double bias_rate;
	int loss_scale;	   /* of entropy and balance: 0 raw, 1 normalised */
	char *temperature; /* A[:B[:STEPS]] */
	bool dormancy;
	int lifecycle; /* enum lifecycle */
	struct market market;
	struct living living;
	double twin_cosine;  /* of router rows, below which twins part */
	double router_noise; /* sd of what is added to scores in training */
	struct prune prune;  /* at shifts of the domain */
	long seed;

	/* data and observation */
	struct opt_many data, val; /* operands of train_run, see data/tokens.h */
	struct opt_many made_of;   /* names, sizes and CRCs that they must have */
	double val_frac;
	long val_every, census_every, trace_every;
	bool trace;
	char *resume_from;

	/* --task classify */
	char *pixels; /* shape of records; NULL: told by their length */
	int depth, widen, prototype;
	double encoder_lr;
	bool augment;
};

enum task { TASK_LM, TASK_CLASSIFY };

enum lifecycle { LIFE_NONE, LIFE_MARKET, LIFE_LIVING };

/* Defaults; not to be freed itself, but what options set is the table's (opt_free). */
void recipe_init(struct recipe *r);

/* The rows for a program's table: offsets are into struct recipe, which stands at `at` in the
 * program's own struct. Returns how many were written to row. */
enum { RECIPE_ROWS = MARKET_ROWS + LIVING_ROWS + GRAVITY_ROWS + 68 };
int recipe_rows(struct opt *row, size_t at);

/* Apply the presets that options name to what was not given; pretrained:CKPT is taken apart. */
int recipe_preset(struct opt_table *t, struct recipe *r);

/* The shape, once the vocabulary is known. -1 with a message. */
int recipe_shape(const struct recipe *r, int vocab, struct shape *out);

/* The temperature at a step; recipe_check has parsed it. */
double recipe_temperature(const struct recipe *r, long step);
/* What options cannot say alone: -1 with a message. */
int recipe_check(struct recipe *r);

/* Where a layer in despair goes; nowhere without a living layer's escape. */
enum detour_kind recipe_detour(const struct recipe *r);
/* Of loss-free balancing; 0 where a market is without its price. */
double recipe_bias_rate(const struct recipe *r);

struct optim recipe_optim(const struct recipe *r);

/* A recipe with a table of its own, read from a checkpoint's metadata. */
struct recipe_book {
	struct recipe recipe;
	struct opt row[RECIPE_ROWS];
	struct opt_table table;
};
int recipe_open(struct recipe_book *b, const char *file, const char *text);
void recipe_close(struct recipe_book *b);

#endif
