#ifndef MODEL_FFN_H
#define MODEL_FFN_H
#include "model/param.h"
#include "model/route.h"

/*
 * The experts' products, grouped: rows of a plan are sorted by expert, and each task takes some
 * rows of one expert, so that work follows tokens and not experts.  Hidden neurons are taken in
 * blocks that stay in the second-level cache with their weights and gradients.
 *
 *   y = Wdown a,   a = act(u)  or  act(g) * u,   u = Wup x,  g = Wgate x
 */
struct ffn {
	const struct shape *shape;
	struct layer *layer;
	struct plan *plan;
	const float *x; /* [N, C] normalised inputs */
	float *pre;	/* [N K, ldh] u, or g then u, of each sorted row */
	long ldh;
	float *y;	   /* [N K, C] outputs; on the way back the gradient of x by row */
	const float *dout; /* [N, C] gradient of the layer's output */
	const float *mix; /* [N K, C] instead: of the weighted outputs, by sorted row; NULL: dout */
	const float *extra; /* [N K, C] more gradient of the outputs, by sorted row; NULL: none */
	float *dgate;	    /* [N K] gradient of the gate weights, by sorted row */
	float *spare;	    /* gradients of experts' further segments */
	struct ffn_part *part; /* [ffn_parts] */
	long parts;
};

long ffn_ld(const struct shape *s, int layer);		       /* ldh */
long ffn_parts(const struct shape *s, int layer, long tokens); /* the most parts there can be */
long ffn_spare(const struct shape *s, int layer, long tokens); /* floats */
size_t ffn_scratch(const struct shape *s);		       /* bytes that a worker needs */

/* Cut the plan's rows into tasks, the largest first; sets parts. */
void ffn_cut(struct ffn *f, bool back);
void ffn_forward(struct ffn *f, long part, int worker);
/* Gradients of weights, of the inputs by row (y) and of the gates. */
void ffn_backward(struct ffn *f, long part, int worker);
/* Add the further segments' gradients in order; tasks 0..n-1. */
long ffn_gather_tasks(const struct ffn *f);
void ffn_gather(struct ffn *f, long task);

/* effect[i, E] of one expert: <dout_t, y_e(x_t)>, t = from + i * every, of n tokens. */
void ffn_effect(const struct ffn *f, int expert, long from, long every, long n, float *effect,
		int worker);

struct ffn_part {
	int expert;
	long from, rows; /* sorted rows */
	int segment;	 /* 0: into the gradient; else into spare */
	float *into;	 /* spare of this segment */
};

#endif
