#ifndef MODEL_LEAN_H
#define MODEL_LEAN_H
#include "model/route.h"

/*
 * Routing among many experts.  Where no term of the loss looks at all experts of a token, the
 * scores [N, E] are made for a few rows at a time, in the cache, and only those of the K chosen
 * are kept; the way back touches their rows of the router alone.  Then the scores' product is the
 * only work that grows with E.  Choices, weights and outputs are those of route.h to the bit; the
 * rules and formulas stand there.
 */

/* Linear and cosine routers, unless routing is random, or learns from terms on all experts. */
bool lean_can(const struct shape *s, const struct route_loss *loss, bool random, bool back);

/* Before the rows: lay the keys out for their product. Serial. */
void lean_start(const struct shape *s, const struct layer *l, struct plan *p);

/* As route_rows; `from` is a multiple of ROUTE_ROWS, `to` at most as much beyond. */
void lean_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
	       long from, long to, const float *x, int worker);
/* As route_back_rows. */
void lean_back_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
		    const float *dgate, long from, long to, const float *x, float *dx);

/* Then the router's gradient, as tasks 0..n-1, each of some experts; not that of `ortho`. */
long lean_grad_tasks(const struct plan *p);
void lean_grad(const struct shape *s, struct layer *l, const struct plan *p, const float *x,
	       bool add, long task);

#endif
