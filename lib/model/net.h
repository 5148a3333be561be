#ifndef MODEL_NET_H
#define MODEL_NET_H
#include "model/detour.h"
#include "model/param.h"

/*
 * The network: token embedding, L blocks of RMSNorm, causal attention with rotary positions,
 * RMSNorm and routed experts, residuals around both, a last RMSNorm and the head.
 *
 *   x = x + Wo attention(rope(Wq n), rope(Wk n), Wv n),     n = rmsnorm(x)
 *   x = x + sum_k gate_k expert_k(n),                        n = rmsnorm(x)
 *   expert(n) = Wdown act(Wup n)   or   Wdown (act(Wgate n) * Wup n)
 *
 * A step is net_forward then net_backward; what is between them lives in the net's workspace.
 */

struct net_act;	 /* what a layer keeps for the way back */
struct net_work; /* what layers share */
struct cache;	 /* keys and values of a text being continued */

struct net_how;
struct net {
	struct param *param;
	int batch, seq; /* the largest it is laid out for */
	bool train;
	struct net_act *act; /* [L]; without training all layers share one */
	struct net_work *work;
	long *ldh; /* [L] floats of a row of hidden neurons */
	void *block;
	size_t bytes;

	/* Called after each layer's routing, in layer order; NULL for nobody. */
	void (*on_route)(void *arg, int layer, const struct plan *p);
	void *on_route_arg;

	/*
	 * Who computes a layer's experts in net_next instead of the net, whose parameters may then
	 * be hollow; NULL: nobody.  x [1, C] is the normalised input, y [K, C] takes the experts'
	 * outputs by sorted row.  -1 gives the token up: net_next returns NULL.
	 */
	int (*experts)(void *arg, int layer, const struct net_how *how, const struct plan *p,
		       const float *x, float *y);
	void *experts_arg;
};

struct net_how {
	float temperature;
	struct route_loss aux;
	uint64_t seed; /* of random routing */
	long step;
	float noise; /* of the router's scores, on the way to net_backward alone */
	/* Where layers go that are away, on the way to net_backward alone; the ball's curvature. */
	enum detour_kind detour;
	float curvature;
	float scale; /* 1 / batches accumulated in one optimizer step */
	bool back;   /* net_backward follows: keep what it needs, make the head's gradient */
	bool add;    /* gradients are added to what is there */
	bool random; /* route at random whatever the router */
};

/* Means over the tokens of a batch. */
struct net_loss {
	double loss;	/* cross-entropy in nats */
	double correct; /* share of tokens whose largest logit is the target */
};

struct net *net_new(struct param *p, int batch, int seq, bool train);
void net_free(struct net *n); /* not the parameters */
/* Is there room for the experts as wide as they are now? Else it must be made anew. */
bool net_fits(const struct net *n);
size_t net_bytes(const struct shape *s, int batch, int seq, bool train); /* what net_new maps */
/*
 * Of these, what training so never touches while the population is as it is: scores of empty slots
 * beyond the last expert, all scores where routing is lean, and the oracle's targets without it.
 */
size_t net_idle_bytes(const struct shape *s, const struct net_how *how, int batch, int seq);
/* What the first forward with the term divergence maps besides. */
size_t net_extra_bytes(const struct shape *s, int batch, int seq);

/* in, out: [batch][seq] tokens below the vocabulary, which the caller has checked. */
void net_forward(struct net *n, const struct net_how *how, int batch, int seq, const int32_t *in,
		 const int32_t *out, struct net_loss *loss);
/* Gradients of scale * (loss + sum over layers of the weighted routing losses). */
void net_backward(struct net *n, const struct net_how *how);

/* During on_route: the layer's normalised inputs [N, C], which its experts see. */
const float *net_input(const struct net *n, int layer);

/* Of the last forward: each layer's plan (without training only the last layer's) and, by token,
 * the loss in nats and whether the largest logit was right. */
const struct plan *net_plan(const struct net *n, int layer);
const float *net_token_loss(const struct net *n);
const unsigned char *net_token_hit(const struct net *n);
const float *net_token_best(const struct net *n); /* log-probability of the likeliest token */

/*
 * Where the last forward first left the finite numbers: the layer (-1: the embedding) and the slot
 * (-1: outside the experts).  False when everything is finite.  Needs a net laid out for training.
 */
bool net_fault(const struct net *n, int *layer, int *slot);

/* One token after another, with cached keys and values: the same bits as net_forward's rows. */
struct cache *cache_new(const struct param *p, int seq);
void cache_free(struct cache *c);
/* Logits [V] after `token`, valid until the next call; NULL when the cache's seq is used up, or
 * the net's experts failed. */
const float *net_next(struct net *n, struct cache *c, const struct net_how *how, int32_t token);

/* Worker seconds by part since net_new, summed over workers. */
enum net_part { PART_PRODUCT, PART_ATTENTION, PART_ROUTE, PART_ELEMENT, NET_PARTS };
const double *net_seconds(const struct net *n);

#endif
