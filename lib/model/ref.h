#ifndef MODEL_REF_H
#define MODEL_REF_H
#include "base/rng.h"
#include "model/net.h"

/*
 * The reference: the network of net.h in double precision, one formula after another and with no
 * care for speed.  It shares no arithmetic with the kernels, so that what both agree on is right,
 * and its weights can be moved by less than a float can hold, so that differences are gradients.
 */
struct ref {
	const struct param *param;
	struct ref_tensor {
		const struct tensor *t;
		int layer, slot;
		double *w; /* [rows, cols], at first the tensor's */
	} * tensor;	   /* in the order of param_each */
	long tensors;

	/* What the oracle held, see ref_targets; n = 0: nothing. */
	struct ref_probe {
		long n;
		int first;
		double *q; /* [n, E] */
	} * probe;	   /* [L] */
	/* This much of an expert's output is added to a layer's, for one token. */
	struct ref_nudge {
		int layer, expert;
		long token;
		double by; /* 0: nothing is */
	} nudge;

	/* Of the last run. */
	int **choice;		  /* [L][N, K] experts, best first */
	struct route_stat *route; /* [L] */
	double *logits;		  /* [N, V] */
	double *loss;		  /* [N] cross-entropy in nats */
	double regret; /* the most by which a given choice falls short of the reference's own */
};

struct ref *ref_new(struct param *p, long tokens); /* for at most this many tokens */
void ref_free(struct ref *r);

/*
 * The objective whose gradient net_backward makes, how->scale left out:
 *
 *   mean_t CE_t + sum over layers of the terms of struct route_loss
 *
 * Experts are chosen here if `choose`, else taken from r->choice (as at random they must be): then
 * the objective is smooth, and f_e constant, however far the weights are moved.
 */
double ref_loss(struct ref *r, const struct net_how *how, int batch, int seq, const int32_t *in,
		const int32_t *out, bool choose);

/* Take over the choices of a net's last forward; it must be one for training. */
void ref_follow(struct ref *r, const struct net *n);
/* Take over the oracle's targets of a net's last way back: constants of the objective. */
void ref_targets(struct ref *r, const struct net *n);

/*
 * Run a random model of this shape on random tokens, forward, backward and token by token, and
 * report how far it is from the reference: losses, choices, logits, and the gradient of each group
 * of tensors beside central differences, at sampled coordinates (all of a small tensor) and along
 * a random direction.  Errors are relative to the larger of the value and the group's usual size.
 * Returns the number of checks failed.
 */
typedef void ref_report(void *arg, const char *name, double error, double tolerance, bool pass);
int ref_check(const struct shape *s, const struct net_how *how, int batch, int seq, uint64_t seed,
	      ref_report *report, void *arg);
/* The same of a model as it is; its gradients are lost, what is frozen has none. */
int ref_check_param(struct param *p, const struct net_how *how, int batch, int seq, uint64_t seed,
		    ref_report *report, void *arg);
/* The weights of those random models: so large that no part works in its linear range. */
void ref_fill(struct param *p, struct rng *r);

#endif
