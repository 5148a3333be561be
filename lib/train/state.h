#ifndef TRAIN_STATE_H
#define TRAIN_STATE_H
#include "io/ckpt.h"
#include "pool/census.h"
#include "train/recipe.h"

/*
 * A run's state as a checkpoint: parameters, moments, ledger, census window, step, recipe, and
 * where each CSV stood.  See moe-ckpt(5).
 */
struct state {
	struct param *param;
	struct census *census; /* NULL: none */
	long step;	       /* steps done */
	const char *recipe;    /* text */
	const char *files;     /* "NAME BYTES CRC32" lines; NULL: there are none */
	/*
	 * Between a step's census and its events, else NULL: `files` with the rows of that census,
	 * while `files` itself is without them and the window is whole; "" when no one else can
	 * have seen them.
	 */
	const char *held;
	/* Rows of events.csv that were carried out on this file and are in no table; or NULL. */
	const char *events;
	const struct ckpt *from; /* NULL, or a file whose further metadata is handed on */
};

/* Write atomically.  -1 with a message, nothing written, when a tensor is not finite. */
int state_save(const struct state *s, const char *file);

enum state_use {
	STATE_USE,    /* weights alone: evaluation, sampling */
	STATE_RESUME, /* with the moments */
	STATE_START   /* with the moments, zero where the file has none at all */
};
/*
 * The gates of detours, which a living layer has and another not, begin at zero where a file that
 * is not resumed has none at all; the start of a model without them leaves a file's aside.
 */

/*
 * Parameters of an open checkpoint.  -1 with a message that names the tensor when one is missing,
 * unknown, misshapen or not finite.  On success *out is the caller's.
 */
int state_params(const struct ckpt *k, const struct recipe *r, enum state_use use,
		 struct param **out);

/* Steps done, as the checkpoint says; -1 with a message. */
long state_step(const struct ckpt *k);
/* Whether it has an optimizer's moments. */
bool state_has_moments(const struct ckpt *k);
/* The recipe's text; NULL with a message if there is none. */
const char *state_recipe(const struct ckpt *k);

#endif
