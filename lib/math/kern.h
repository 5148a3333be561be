#ifndef MATH_KERN_H
#define MATH_KERN_H
#include <stdbool.h>
#include <stdint.h>

/*
 * Kernels for one thread, built once per instruction set and chosen at run time (kern_choose).
 * Matrices are row-major with a leading dimension in floats; lengths of tails are arbitrary.
 *
 * Row invariance: a row of every output depends, to the bit, only on its own inputs and the other
 * operand, not on how many rows there are or where it stands.  In a product each output has one
 * accumulator over k = 0, 1, 2, ... in order.
 */

enum kern_act { ACT_GELU, ACT_RELU, ACT_RELU2, ACT_SWIGLU, ACT_REGLU };

/* Is it a gated unit, a = f(gate) * up? */
static inline bool
kern_gated(enum kern_act act)
{
	return act == ACT_SWIGLU || act == ACT_REGLU;
}

struct kern_adamw {
	float lr, beta1, beta2, eps, decay; /* decay is lr * weight decay, 0 for none */
	float fix1, fix2;		    /* 1 / (1 - beta^t) of each moment */
	float scale;			    /* of the gradient: clipping */
};

struct kern_attn {
	int seq, heads, kv_heads, dim; /* dim of a head, even */
	long ld;		       /* of q, k, v and their gradients: heads side by side */
};

struct kern {
	const char *name; /* "avx512", "avx2", "portable" */

	/* C[m,n] = A[m,k] B[n,k]^T;  C = A[m,k] B[k,n];  C[m,n] = A[k,m]^T B[k,n]; += if add. */
	void (*nt)(long m, long n, long k, const float *a, long lda, const float *b, long ldb,
		   float *c, long ldc, bool add);
	void (*nn)(long m, long n, long k, const float *a, long lda, const float *b, long ldb,
		   float *c, long ldc, bool add);
	void (*tn)(long m, long n, long k, const float *a, long lda, const float *b, long ldb,
		   float *c, long ldc, bool add);

	/*
	 * For a B that many products share.  pack: P = diag(s) B, n by k, in kern_packed(n, k)
	 * floats; s NULL is ones.  packed: C[m,n] = A[m,k] P^T, with the bits of nt.
	 */
	void (*pack)(long n, long k, const float *s, const float *b, long ldb, float *p);
	void (*packed)(long m, long n, long k, const float *a, long lda, const float *p, float *c,
		       long ldc);

	/* y = w * x * r, r = 1/sqrt(mean x^2 + eps), which is returned. */
	float (*rms)(long n, const float *x, const float *w, float eps, float *y);
	/* dx += gradient through y; dw += dy * x * r. */
	void (*rms_back)(long n, const float *dy, const float *x, const float *w, float r,
			 float *dx, float *dw);

	/* Turn the pairs (i, i + dim/2) of each head by the angle whose cosines and sines are given
	 * (dim/2 each); sign -1 turns back. */
	void (*rope)(int heads, int dim, float *x, const float *cosine, const float *sine,
		     float sign);

	/* a = act(up), or act(gate) * up. */
	void (*act)(enum kern_act act, long n, const float *gate, const float *up, float *a);
	/*
	 * Given da = dL/da before the gate weight w: aw = w * a, dgate and dup = w * da * da/d.,
	 * and the sum of da * a (the gradient of w) is returned.
	 */
	float (*act_back)(enum kern_act act, long n, const float *gate, const float *up,
			  const float *da, float w, float *aw, float *dgate, float *dup);

	/*
	 * Causal attention of one sequence, heads [kv * group, ...) of one key-value head; y like
	 * q.  lse[head][seq] is kept for the way back.  scratch: kern_attn_scratch floats.
	 */
	void (*attn)(const struct kern_attn *s, int kv, const float *q, const float *k,
		     const float *v, long ldy, float *y, float *lse, float *scratch);
	void (*attn_back)(const struct kern_attn *s, int kv, const float *q, const float *k,
			  const float *v, const float *lse, long ldy, const float *y,
			  const float *dy, float *dq, float *dk, float *dv, float *scratch);
	/* One query at position n - 1 of n against n cached keys and values: the same bits. */
	void (*attn_one)(const struct kern_attn *s, int head, long n, const float *q,
			 const float *k, long ldk, const float *v, float *y, float *scratch);

	/* The k <= n largest of s x, the largest first, ties (and NaN) to the lower index. */
	void (*largest)(long n, int k, float s, const float *x, int *out);
	/* e = e^(s (x - top)), top the largest x, s > 0; out: sum e, sum e s (x - top). */
	void (*powers)(long n, float s, float top, const float *x, float *e, float out[2]);
	/* e = e^(x - max x) and, of these n, the maximum of x, sum e, and sum e x. */
	void (*partition)(long n, const float *x, float *e, float out[3]);
	/* x = softmax(x); the log of the normaliser (of e^x) is returned. */
	float (*softmax)(long n, float *x);
	float (*dot)(long n, const float *a, const float *b);
	/* y[n] = B[n,k] x, each with the bits of dot. */
	void (*dots)(long n, long k, const float *b, const float *x, float *y);
	/* <q, x>; q is readable up to the next multiple of 16 and zero there. */
	float (*dot8)(long n, const signed char *q, const float *x);
	void (*axpy)(long n, float a, const float *x, float *y); /* y += a x */
	/* In float64, product and sum rounded each: the same bits on every instruction set. */
	void (*axpy64)(long n, double a, const float *x, double *y);
	/* y[k] += a[i] D[i,k]: axpy for i = 0, 1, ..., but rows of zero a are not read. */
	void (*mix)(long n, long k, const float *a, const float *d, long ldd, float *y);
	void (*scale)(long n, float a, const float *x, float *y); /* y = a x */
	double (*sumsq)(long n, const float *x);
	void (*adamw)(long n, const struct kern_adamw *o, float *w, const float *g, float *m,
		      float *v);
	void (*exp)(long n, const float *x, float *y);

	/*
	 * Batch normalisation of n pixels with c channels each.  norm: a = max(0, scale x + shift).
	 * norm_sums: sum += x, square += x^2.  norm_slope: d = 0 where a = 0, and sum += d,
	 * moment += d (x - mean) rstd.  norm_back: d = p d + q x + r.
	 */
	void (*norm)(long n, long c, const float *x, const float *scale, const float *shift,
		     float *a);
	void (*norm_sums)(long n, long c, const float *x, double *sum, double *square);
	void (*norm_slope)(long n, long c, const float *a, const float *x, const float *mean,
			   const float *rstd, float *d, double *sum, double *moment);
	void (*norm_back)(long n, long c, const float *x, const float *p, const float *q,
			  const float *r, float *d);
};

enum { KERN_PANEL = 32 }; /* rows of a packed operand are made up to a multiple of it */

static inline long
kern_packed(long n, long k)
{
	return (n + KERN_PANEL - 1) / KERN_PANEL * KERN_PANEL * k;
}

/* Floats of scratch that attn and attn_back (and attn_one for up to seq keys) need. */
long kern_attn_scratch(const struct kern_attn *s, bool back);

extern const struct kern *kern; /* the chosen one */

/* Choose by processor, or by name; -1 when this machine cannot run it. NULL: the best. */
int kern_choose(const char *name);

#endif
