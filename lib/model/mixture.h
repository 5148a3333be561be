#ifndef MODEL_MIXTURE_H
#define MODEL_MIXTURE_H
#include "model/param.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * A classifier of routed experts over features x[F]:
 *
 *	f = relu(Wf x + bf)  [D]		h = relu(W1 f + b1)  [R]
 *	z_e = w2_e h + b2_e + s cos(f, p_e)	p = softmax(z / T)
 *	chosen: the K highest z;  g_e = p_e / sum of the chosen p
 *	u_e = V_e f + c_e  [C]			y = sum of g_e u_e over the chosen
 *
 * p_e is the expert's prototype; s is 0 where prototypes do not route.  Without experts (E = 0) it
 * is y = V x + c alone.  With the oracle every expert's u is computed, for it asks how good each
 * would be.  With `bias` the K of highest z / T + b are chosen, while p and g know nothing of b:
 * the balancing without a loss of Wang et al. (arXiv:2408.15664).
 *
 * The loss, with means over the samples n of a batch:
 *
 *	CE(y, label)
 *	- entropy    mean_n H(p)
 *	+ oracle     mean_n KL(o || p), o = softmax(-CE(u_e, label) / tau), held constant
 *	+ balance    KL(P || uniform) + mean_e (c_e - 1/E)^2, P the mean p, c the mean g
 *	+ ortho      mean of cos^2 over pairs of prototypes
 *	+ divergence mean_n of max(0, cos(u_a, u_b)) over pairs of chosen experts
 *	+ load       E sum_e f_e P_e, f_e the share of choices	+ z  mean_n (log sum_e exp z_e)^2
 *
 * Normalised, entropies and both KL are divided by ln E, and the variance is that of E c_e.
 */
struct mixture_shape {
	int features, width, router, experts, top_k, classes; /* F, D, R, E, K, C */
	double prototype;				      /* s */
	bool bias;					      /* b, 0 at first */
};

enum { MIXTURE_TERMS = 7 };
enum mixture_term {
	MIXTURE_ENTROPY,
	MIXTURE_ORACLE,
	MIXTURE_BALANCE,
	MIXTURE_ORTHO,
	MIXTURE_DIVERGENCE,
	MIXTURE_LOAD,
	MIXTURE_Z
};
extern const char *const mixture_term_name[MIXTURE_TERMS];

struct mixture_loss {
	double weight[MIXTURE_TERMS];
	double temperature, tau;
	bool normalised;
	bool random; /* the K are drawn, with equal weights: the router has no gradient */
};

/* Of one batch. */
struct mixture_stat {
	double ce, total;	    /* total: what is minimised */
	double raw[MIXTURE_TERMS];  /* entropy: the mean of H, not its negative */
	double cost[MIXTURE_TERMS]; /* each term's part of the total */
	long right;		    /* samples whose label has the highest y */
};

struct mixture;

/* Batches of at most `batch`; train: with gradients and moments. Freed by mixture_free. */
struct mixture *mixture_new(const struct mixture_shape *s, int batch, bool train);
void mixture_free(struct mixture *m); /* NULL is harmless */

/* Matrices Normal(0, sqrt(2 / in)), prototypes of length 1, from (seed, RNG_INIT, 0, index). */
void mixture_init(struct mixture *m, uint64_t seed, uint64_t index);

int mixture_tensors(const struct mixture *m);
struct tensor *mixture_tensor(struct mixture *m, int i);

/* (seed, step): of a random choice. */
void mixture_forward(struct mixture *m, const struct mixture_loss *loss, const float *x,
		     const uint16_t *label, int n, uint64_t seed, long step,
		     struct mixture_stat *out);
/* Of the last forward: add all gradients, and set dx[n][F]. */
void mixture_back(struct mixture *m, const struct mixture_loss *loss, const float *x,
		  const uint16_t *label, float *dx);

/* b_e += rate sign(1/E - share of the last forward's choices), then zero mean. */
void mixture_move_bias(struct mixture *m, double rate);

/* What the last forward made of sample i: the chosen, best first, their weights, y [C], its CE. */
const int *mixture_choice(const struct mixture *m, int i);
const float *mixture_gate(const struct mixture *m, int i);
const float *mixture_output(const struct mixture *m, int i);
double mixture_ce(const struct mixture *m, int i);
/* Is its first choice clear, p1 - p2 > 0.1? */
bool mixture_clear(const struct mixture *m, int i);
double mixture_entropy(const struct mixture *m, int i); /* of p, over ln E */

#endif
