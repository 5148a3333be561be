#ifndef MODEL_DETOUR_H
#define MODEL_DETOUR_H
#include "model/route.h"

/*
 * A layer on a detour works in another geometry (geometry.h) beside its own, and a gate mixes both
 * for each token n, the normalised input, with w [C] learned on detours alone:
 *
 *	y = (1 - a) E(n) + a G(n),	a = 1 / (1 + e^-<w, n>),	E(n) = sum_k g_k expert_k(n)
 *
 * w begins at zero, and so the first detour half-way.
 *
 * In the ball a product with a matrix is M (x) p = exp_0(M log_0 p), an activation and the weight
 * of an expert likewise, and (+) adds, in the order of ranks:
 *
 *	G(n) = log_0(g_1 (x) p_1 (+) ... (+) g_K (x) p_K),  p_k = Wdown (x) act(Wup (x) exp_0 n)
 *
 * What stands between an exp_0 and the next log_0 is undone by them, so that p_k is
 * exp_0(expert_k(n)): the products are those of E, made once, and what the ball bends are the sums.
 * Points beyond GEOMETRY_REACH are drawn back at the experts' outputs and after each sum.
 *
 * Among waves the experts read and write frequencies, G(n) = F^T sum_k g_k expert_k(F n), by
 * products of their own.
 */
enum detour_kind { DETOUR_NONE, DETOUR_BALL, DETOUR_WAVES };

struct detour;

/* Room for so many tokens, whose rows of hidden neurons take ldh floats. */
struct detour *detour_new(const struct shape *s, enum detour_kind kind, float curvature,
			  long tokens, long ldh);
void detour_free(struct detour *d); /* NULL is harmless */

/*
 * The waves' own products have these inputs, activations, outputs (on the way back gradients of
 * inputs), gradients of the weighted outputs, and of the gates of the plan: see struct ffn.  NULL
 * in the ball, which has none.
 */
struct detour_ffn {
	const float *x;
	float *pre, *y;
	const float *mix;
	float *dgate;
};
const struct detour_ffn *detour_ffn(const struct detour *d);

/* Rows [from, to) of all of the following; x [N, C] normalised inputs, rows [N K, C] outputs. */
void detour_enter(struct detour *d, const float *x, long from, long to);
/* After the experts: what the detour adds to E. */
void detour_mix(struct detour *d, const struct layer *l, const struct plan *p, const float *x,
		const float *rows, long from, long to, int worker);
/* y += a (G - E) of a token. */
void detour_add(const struct detour *d, long token, float *y);

/* From the gradient of y [N, C] to those of the weighted outputs, by sorted row, of E's products
 * (detour_shares) and of the waves' own, and of <w, n> (detour_slope, [N]). */
void detour_back(struct detour *d, const struct plan *p, const float *dy, long from, long to,
		 int worker);
const float *detour_shares(const struct detour *d);
const float *detour_slope(const struct detour *d);
/* After the experts: the detour's part of the gradients of x [N, C] and gates [N, K], added. */
void detour_leave(struct detour *d, const struct layer *l, const struct plan *p, long from, long to,
		  float *dx, float *dgate, int worker);

#endif
