#ifndef MODEL_ROUTE_H
#define MODEL_ROUTE_H
#include "base/mem.h"
#include "math/grad.h"
#include "model/param.h"

/*
 * Routers.  z = scores of all experts (N x E); p = softmax(z / temperature); the K largest of
 * z / temperature + bias are chosen, ties to the lowest slot; gate weights are p renormalised over
 * the chosen.  No token is ever dropped and no expert has a capacity.
 *
 *   linear  z = x W^T                        mlp     z = gelu(x U^T) W^T
 *   cosine  z = <x, k> / (|x| |k|)           random  K distinct experts by (seed, step, token)
 *   keystore  see keystore.h: z = <q(x), k>, and p is of the chosen alone
 *
 * Twins, as long as they have not parted, are one candidate: of the two a token sees the one that
 * route_waits leaves, by a bit of a hash of the token and its place in the sequence, half of the
 * time each.  With equal weights and equal keys it does not matter which.  Random routing sees
 * both.
 */

/* Added to the scores: normal numbers by (seed, RNG_ROUTE, step, layer and token). */
struct route_noise {
	float size; /* standard deviation; 0: none */
	uint64_t seed;
	long step;
	int layer;
};

/* The plan of a layer for N tokens: who computes what. Rows are sorted by expert, then token. */
struct plan {
	int experts, k; /* slots up to the last that is not empty; how many a token uses */
	int living;	/* slots that hold an expert; the others are never chosen */
	long tokens;
	long first; /* number of the first token: random choices go by token number */
	struct route_noise noise;
	const int32_t *in;  /* [N] the tokens */
	int seq;	    /* token t stands at (first + t) % seq of its sequence */
	float *z;	    /* [N, E] scores before temperature; on the way back their gradients */
	float *p;	    /* [N, E] probabilities */
	float *lse;	    /* [N] log of the softmax's normaliser */
	float *entropy;	    /* [N] of p, nats */
	int *choice;	    /* [N, K] slots, best first */
	float *gate;	    /* [N, K] weights */
	long *row;	    /* [N, K] where the pair (token, rank) stands among the sorted rows */
	int *token;	    /* [N K] token of a sorted row */
	float *row_gate;    /* [N K] its weight */
	long *count;	    /* [E] rows of each expert */
	long *start;	    /* [E + 1] first row of each expert */
	double *importance; /* [E] mean p; made by route_even, as is the next */
	double *carried;    /* [E] mean weight, 0 where it is not chosen: 1 in all */
	float *target;	   /* [N / ROUTE_PROBE + 1, E] of the probed tokens; made by route_oracle */
	long probes;	   /* their number, 0 for none */
	int probe;	   /* the first; then every ROUTE_PROBE-th */
	double oracle;	   /* mean KL(target || p) */
	double divergence; /* mean positive cosine of the outputs that a token mixes */
	bool even;	   /* both are of these tokens */
	float *margin;	   /* [N] first choice's p less the second's; of K = 1, the next best's */
	/* Of lean.h and keystore.h: then z and p are not made. */
	bool lean;
	float *ik, *keys;  /* [E] 1 / length, and the keys laid out for products */
	int *shut;	   /* [2 E] slots that are empty, then twins */
	int empty, hiding; /* ends of both */
	float *score;	   /* [N, K] z of the chosen */
	float *dz, *along; /* [N K] by sorted row: of its score, times the lengths; times z */
	float *mass;	   /* [N / ROUTE_ROWS, E] sums of p */
	float *hidden;	   /* [N, R] of an mlp before GELU; on the way back its gradient */
	float *active;	   /* [N, R] and after */
	float *query;	   /* [N, C] of a key store; on the way back the gradient of Q(x) */
	float *length;	   /* [N] 1 / |Q(x)|, of a cosine router 1 / |x| */
};

enum { ROUTE_ROWS = 256 }; /* tokens of a task */

/* The score of an empty slot: its probability is 0, and no number near it overflows. */
#define ROUTE_EMPTY (-1e30f)

/* out[i] = 1 / |row i|; rows of zeros give a large number, not infinity. */
void route_inverse_norms(long rows, long cols, const float *x, float *out);
/* out = x, row i times by[i] */
void route_scale_rows(long rows, long cols, const float *by, const float *x, float *out);

/* One token in so many is asked how good each expert would have been for it. */
enum { ROUTE_PROBE = 16 };

/* Lay a plan out (see arena_take) for at most this many experts and tokens. */
void plan_take(struct plan *p, struct arena *a, const struct shape *s, int experts, long tokens);

/*
 * Weights of the loss terms, 0 for none.  E counts the living.
 *
 *   balance  E sum_e f_e P_e       f_e share of the choices, P_e mean p
 *   z        mean_t lse_t^2
 *   entropy  -mean_t H(p_t)
 *   even     KL(P || uniform) + mean_e (c_e - 1/E)^2,  c_e the mean weight that e carries: counts
 *            of choices have no gradient, the weights behind them do
 *   oracle   KL(q || p), mean over the probed tokens, q = softmax_e(-<dL/dy, y_e> / tau) constant:
 *            y_e what expert e would have put out, y what was, so that <dL/dy, y_e> is, to first
 *            order and but for a constant, the token's loss with e; L all that is minimised
 *   divergence  mean over tokens and pairs of their experts of max(0, cos(y_a, y_b))
 *   ortho    mean of cos^2 over pairs of different rows of the router's last matrix
 *
 * Normalised, entropy and KL are divided by ln E, and the variance of the loads is that of E c_e:
 * independent of E.
 */
struct route_loss {
	double balance, z, entropy, even, ortho, oracle, divergence;
	double tau; /* of the oracle, in nats */
	bool normalised;
};

/* What a layer's routing was like on one batch; sums are over its tokens. */
struct route_stat {
	double balance;	     /* E sum_e f_e P_e: 1 = even */
	double z;	     /* mean lse^2 */
	double entropy;	     /* mean entropy of p in nats */
	double kl, variance; /* the parts of `even`, raw; 0 without route_even */
	double ortho;	     /* 0 where there is no router */
	double oracle, divergence;
};

/* Importance and load of each expert, for the term `even`. Serial, in token order, after sorting.
 */
void route_even(struct plan *p);
/*
 * Targets of the probed tokens from what target holds before, the effects <dL/dy, y_e> in nats.
 * After route_rows, before the way back.
 */
void route_oracle(struct plan *p, float temperature, double tau);
/* The mean squared cosine between rows of a layer's router. */
double route_ortho(const struct shape *s, const struct layer *l);

/* What each term adds to what is minimised. */
struct route_cost {
	double balance, z, entropy, even, ortho, oracle, divergence;
};
struct route_cost route_cost(const struct route_loss *w, const struct route_stat *s, int living);

/* Rows [from, to): scores, probabilities, choices and weights of normalised inputs x [N, C].
 * random: this batch is routed at random, whatever the router. */
void route_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
		uint64_t seed, long step, int layer, bool random, long from, long to,
		const float *x, int worker);

/* z[E] += by times the noise of a token. */
void route_disturb(const struct plan *p, long t, float by, float *z);

/* A token's hash, and whether the expert of a slot leaves the token to its twin. */
uint64_t route_hash(int32_t token, long place);
bool route_waits(const struct layer *l, int slot, uint64_t hash);

/* After all rows: counts, starts, sorted rows (stable by token). Serial, in token order. */
void route_sort(struct plan *p);
/* Serial, in token order, before the way back. */
void route_stat(const struct plan *p, struct route_stat *out);

/*
 * Backward for rows [from, to): given dgate [N, K], adds the router's part to dx [N, C] and leaves
 * in the plan what route_grads needs.  scale is 1 / number of batches accumulated.
 */
void route_back_rows(const struct shape *s, const struct layer *l, struct plan *p,
		     float temperature, const struct route_loss *loss, float scale, bool random,
		     const float *dgate, long from, long to, const float *x, float *dx, int worker);

/* The products that make the router's weight gradients, at most two; their number. */
int route_grads(const struct shape *s, struct layer *l, struct plan *p, const float *x, bool add,
		struct grad *out);
/*
 * What the products leave out (ortho; cosine, unless it is lean: the gradient through the keys'
 * lengths). Serial.
 */
void route_grads_end(const struct shape *s, struct layer *l, struct plan *p,
		     const struct route_loss *loss, float scale);

#endif
