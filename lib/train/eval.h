#ifndef TRAIN_EVAL_H
#define TRAIN_EVAL_H
#include "data/tokens.h"
#include "model/net.h"
#include "pool/census.h"

/*
 * Loss over tokens [from, to) in consecutive windows of seq predicted tokens: each window sees only
 * itself; a last partial window is dropped.  The result does not depend on the batch.
 */
struct eval {
	long tokens;
	double loss;	 /* nats per token */
	double accuracy; /* share of tokens whose largest logit is right */
	double flops; /* operations of a token, forward: shape_forward with what its experts took */
};

/* Who wants to see each batch: step counts batches from 0. -1 stops with its message. */
typedef int eval_fn(void *arg, struct net *n, long step, int batch, const int32_t *in);

/* -1 with a message when there is not one whole window, or the loss is not finite. */
int eval_run(struct net *n, const struct net_how *how, const struct tokens *data, size_t from,
	     size_t to, eval_fn *seen, void *arg, struct eval *out);

/* Add the net's last batch to a census, all layers; needs a net laid out for training. */
void eval_census(struct census *c, struct net *n);

/* Write the net's last batch as a trace; the same need. */
struct row;
int eval_trace(struct row *r, struct net *n, long step, int batch, const int32_t *in);

#endif
