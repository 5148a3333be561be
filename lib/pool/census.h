#ifndef POOL_CENSUS_H
#define POOL_CENSUS_H
#include "base/file.h"
#include "io/ckpt.h"
#include "model/net.h"
#include "policy/phi.h"
#include "policy/row.h"

/*
 * The census: what is measured of each expert over a window of steps, and of each layer's routing.
 * Sums are kept in exact integers and, where they are of floats, added in token order, so that a
 * window that was interrupted and resumed gives the same bytes.  See moe-run(5).
 */
struct census_sum {
	int64_t tokens;	 /* routed here by any of the K choices */
	int64_t first;	 /* by the first choice */
	int64_t clear;	 /* first choice, and p1 - p2 > 0.1 */
	int64_t hits;	 /* first choice, and the prediction was right */
	double loss;	 /* of the tokens routed here, nats */
	double gradient; /* norms of the expert's gradient, a term for each optimizer step */
};

enum { CENSUS_PAIRS = 256 };

struct census_layer {
	int experts;
	struct census_sum *sum; /* [E] */
	int64_t *pair;		/* [E, E] tokens that use both i < j; NULL if E > CENSUS_PAIRS */
	/* Of the window; these six are saved as they lie. */
	int64_t tokens, batches, steps;
	double balance, z, entropy; /* sums over batches of struct route_stat */
};

struct census {
	int layers;
	struct census_layer *layer;
};

struct census *census_new(const struct shape *s);
void census_free(struct census *c);
/* Add a batch's tokens in one layer; loss and hit by token. */
void census_add(struct census *c, int layer, const struct plan *p, const struct route_stat *stat,
		const float *loss, const unsigned char *hit);
/* Add the norms of the experts' gradients, which optim_norm left, for a step of the optimizer. */
void census_gradients(struct census *c, const struct param *p);
void census_clear(struct census *c);

/* The window as policies see it: a row for each living expert. */
void census_rows(const struct census *c, const struct param *p, long step, struct policy_step *out);
/* The rows of experts.csv, whose columns are policy_row_columns. -1 with a message. */
int census_write_experts(const struct policy_step *s, struct row *w);
/* The window's rows of layers.csv, with Phi of each layer, and its columns. -1 with a message. */
extern const char census_layer_columns[];
int census_write_layers(const struct census *c, const struct param *p, const struct phi *phi,
			long step, struct file *f);

/* Into a checkpoint (data borrowed until it is written), and back; -1 with a message. */
void census_put(const struct census *c, struct ckpt_out *o);
int census_get(struct census *c, const struct ckpt *k);
/* Whether a tensor of this name is one that census_put makes for a model of so many layers. */
bool census_owns(const char *name, int layers);

#endif
