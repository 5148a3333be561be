#ifndef MODEL_SHAPE_H
#define MODEL_SHAPE_H
#include "math/kern.h"
#include <stdbool.h>
#include <stddef.h>

/*
 * The shape of a transformer with mixture-of-experts feed-forward layers: what has to be known to
 * size every array.  Layers may hold different numbers of experts, and experts of different widths.
 *
 * Letters used throughout: C width, V vocabulary, L layers, T sequence, B batch, N = B T tokens,
 * E experts of a layer, K experts a token uses, H hidden width of an expert.
 */
enum router { ROUTER_LINEAR, ROUTER_MLP, ROUTER_COSINE, ROUTER_RANDOM, ROUTER_KEYSTORE };

struct shape {
	int vocab, dim, layers, heads, kv_heads, top_k;
	enum kern_act act;
	enum router router;
	int router_hidden; /* width of the mlp router, or of a key store's query; 0: one matrix */
	bool dense;	   /* one expert per layer and no router */
	bool tied;	   /* the head is the embedding */
	bool frozen;	   /* the experts do not learn */
	bool bent;	   /* layers can go on a detour: see model/detour.h */
	int widest;	   /* of all experts at the start: a newborn's width unless told */
	int *experts;	   /* [L] slots of each layer */
	int **hidden;	   /* [L][E] width of each expert; 0: an empty slot */
};

#define SHAPE_EPS 1e-5f	   /* of RMSNorm */
#define SHAPE_ROPE 10000.0 /* base of the rotary angles */

/*
 * Fill experts and hidden from lists: one number of experts for all layers or one per layer; one
 * width for all experts or one per slot.  -1 with a message when the shape is impossible (heads
 * that do not divide, K > E, odd head width, lists of the wrong length).
 */
int shape_set(struct shape *s, int nexperts, const int *experts, int nhidden, const int *hidden);
void shape_copy(struct shape *to, const struct shape *from);
void shape_free(struct shape *s);

int shape_extent(const struct shape *s, int layer); /* slots up to the last that is not empty */
int shape_living(const struct shape *s, int layer); /* slots that are not empty */
bool shape_keyed(const struct shape *s);	    /* tokens are routed by a key store */
int shape_head(const struct shape *s);		    /* C / heads */
int shape_qkv(const struct shape *s);	    /* columns of queries, keys and values together */
long shape_params(const struct shape *s);   /* all parameters */
double shape_active(const struct shape *s); /* parameters that one token uses, on average */

/*
 * Floating-point operations to train on one token: three times the forward products, attention
 * counted in full although the causal half is not computed, embedding lookup free; twice those of
 * experts that do not learn, once the scores of a key store.
 */
double shape_flops(const struct shape *s, int seq);
/* The same forward alone, where the experts of a token take so many. */
double shape_forward(const struct shape *s, int seq, double experts);

#endif
