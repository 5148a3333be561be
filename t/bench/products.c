/*
 * bench,config,ours,peer,unit,ratio,share_of_peak on one core: products beside OpenBLAS on one
 * thread, the two in turn, medians; element-wise kernels beside a loop over the mathematical
 * library.  ratio: how many times faster ours is.  share_of_peak: of sgemm 2048^3 just before.
 */
#include "base/tick.h"
#include "math/blas.h"
#include "math/kern.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 15 };
static const double SLICE = 2e-3; /* seconds of one measurement */

static int
by_size(const void *p, const void *q)
{
	double a = *(const double *)p, b = *(const double *)q;

	return (a > b) - (a < b);
}

/* Seconds per call of ours and of the peer, measured in turn. */
static void
race(void (*ours)(void *), void (*peer)(void *), void *arg, double took[2])
{
	void (*const run[2])(void *) = {ours, peer};
	double t[2][ROUNDS];
	long calls[2] = {1, 1};

	for (int round = -2; round < ROUNDS; round++)
		for (int i = 0; i < 2; i++) {
			double from = tick_now(), took_all;
			for (long j = 0; j < calls[i]; j++)
				run[i](arg);
			took_all = tick_now() - from;
			if (round < 0) /* to warm up, and to see how many make a slice */
				calls[i] += (long)((double)calls[i] * SLICE / took_all);
			else
				t[i][round] = took_all / (double)calls[i];
		}
	for (int i = 0; i < 2; i++) {
		qsort(t[i], ROUNDS, sizeof **t, by_size);
		took[i] = t[i][ROUNDS / 2];
	}
}

static float *
numbers(long n)
{
	float *x = aligned_alloc(64, ((size_t)n * sizeof *x + 63) / 64 * 64);

	if (!x)
		abort();
	for (long i = 0; i < n; i++)
		x[i] = (float)(i % 13 - 6) / 3;
	return x;
}

struct product {
	char kind; /* 't': nt, 'n': nn, 'w': tn */
	long m, n, k, pad;
	float *a, *b, *c;
};

static void
ours(void *arg)
{
	const struct product *p = arg;
	long m = p->m, n = p->n, k = p->k, pad = p->pad;

	if (p->kind == 't')
		kern->nt(m, n, k, p->a, k + pad, p->b, k + pad, p->c, n + pad, false);
	else if (p->kind == 'n')
		kern->nn(m, n, k, p->a, k + pad, p->b, n + pad, p->c, n + pad, false);
	else
		kern->tn(m, n, k, p->a, m + pad, p->b, n + pad, p->c, n + pad, false);
}

static void
peer(void *arg)
{
	const struct product *p = arg;
	long m = p->m, n = p->n, k = p->k, pad = p->pad;
	bool across = p->kind == 'w';

	blas_sgemm(across ? 'T' : 'N', p->kind == 't' ? 'T' : 'N', m, n, k, 1, p->a,
		   (across ? m : k) + pad, p->b, (p->kind == 't' ? k : n) + pad, 0, p->c, n + pad);
}

static void
products(void)
{
	static const long shape[][4] = {
		{512, 512, 128, 0},   {512, 128, 512, 0}, {128, 256, 256, 0}, {512, 1024, 256, 0},
		{512, 256, 1024, 16}, {24, 64, 64, 0},	  {8, 512, 128, 0}};

	for (unsigned i = 0; i < sizeof shape / sizeof *shape; i++) {
		const long *s = shape[i];
		struct product p = {0, s[0], s[1], s[2], s[3], NULL, NULL, NULL};
		double peak = blas_peak(0.2);

		p.a = numbers((p.m + s[3]) * (p.k + s[3]));
		p.b = numbers((p.n + s[3]) * (p.k + s[3]));
		p.c = numbers((p.m + s[3]) * (p.n + s[3]));
		for (const char *kind = "tnw"; *kind; kind++) {
			double took[2], work = 2e-9 * (double)(p.m * p.n * p.k);

			p.kind = *kind;
			race(ours, peer, &p, took);
			printf("%s,%ldx%ldx%ld%s,%.1f,%.1f,GF/s,%.2f,%.2f\n",
			       *kind == 't'   ? "nt"
			       : *kind == 'n' ? "nn"
					      : "tn",
			       p.m, p.n, p.k, p.pad ? " padded" : "", work / took[0],
			       work / took[1], took[1] / took[0], work / took[0] / peak);
			fflush(stdout);
		}
		free(p.a);
		free(p.b);
		free(p.c);
	}
}

/* ---- element-wise: rows of 512 numbers in the first-level cache ---- */

enum { N = 512 };
static float x[N], y[N], z[N], w[N], v[N];
static const struct kern_adamw adam = {1e-3f, 0.9f, 0.95f, 1e-8f, 1e-4f, 1.5f, 1.5f, 1};

static void
gelu(void *arg)
{
	(void)arg;
	kern->act(ACT_GELU, N, NULL, x, y);
}

static void
gelu_libm(void *arg)
{
	(void)arg;
	for (int i = 0; i < N; i++)
		y[i] = 0.5f * x[i] * (1 + erff(x[i] * 0.70710678f));
}

static void
gelu_back(void *arg)
{
	(void)arg;
	kern->act_back(ACT_GELU, N, NULL, x, w, 0.5f, y, NULL, z);
}

static void
gelu_back_libm(void *arg)
{
	(void)arg;
	for (int i = 0; i < N; i++) {
		float p = 0.5f * (1 + erff(x[i] * 0.70710678f));
		z[i] = w[i] * 0.5f * (p + x[i] * 0.3989423f * expf(-0.5f * x[i] * x[i]));
		y[i] = 0.5f * x[i] * p;
	}
}

static void
swiglu(void *arg)
{
	(void)arg;
	kern->act(ACT_SWIGLU, N, x, w, y);
}

static void
swiglu_libm(void *arg)
{
	(void)arg;
	for (int i = 0; i < N; i++)
		y[i] = w[i] * x[i] / (1 + expf(-x[i]));
}

static void
softmax(void *arg)
{
	(void)arg;
	memcpy(y, x, sizeof y);
	kern->softmax(N, y);
}

static void
softmax_libm(void *arg)
{
	float top = x[0], sum = 0;

	(void)arg;
	for (int i = 1; i < N; i++)
		top = fmaxf(top, x[i]);
	for (int i = 0; i < N; i++)
		sum += y[i] = expf(x[i] - top);
	for (int i = 0; i < N; i++)
		y[i] /= sum;
}

static void
rms(void *arg)
{
	(void)arg;
	kern->rms(N, x, w, 1e-5f, y);
}

static void
rms_libm(void *arg)
{
	float q = 0;

	(void)arg;
	for (int i = 0; i < N; i++)
		q += x[i] * x[i];
	q = 1 / sqrtf(q / N + 1e-5f);
	for (int i = 0; i < N; i++)
		y[i] = x[i] * w[i] * q;
}

static void
adamw(void *arg)
{
	(void)arg;
	kern->adamw(N, &adam, w, x, z, v);
}

static void
adamw_libm(void *arg)
{
	(void)arg;
	for (int i = 0; i < N; i++) {
		z[i] = adam.beta1 * z[i] + (1 - adam.beta1) * x[i];
		v[i] = adam.beta2 * v[i] + (1 - adam.beta2) * x[i] * x[i];
		w[i] -= adam.decay * w[i] +
			adam.lr * adam.fix1 * z[i] / (sqrtf(v[i] * adam.fix2) + adam.eps);
	}
}

static void
rows(void)
{
	static const struct {
		const char *name;
		void (*ours)(void *), (*peer)(void *);
	} list[] = {{"gelu", gelu, gelu_libm},	     {"gelu back", gelu_back, gelu_back_libm},
		    {"swiglu", swiglu, swiglu_libm}, {"softmax", softmax, softmax_libm},
		    {"rms", rms, rms_libm},	     {"adamw", adamw, adamw_libm}};

	for (unsigned i = 0; i < sizeof list / sizeof *list; i++) {
		double took[2];

		for (int j = 0; j < N; j++) {
			x[j] = (float)(j % 37 - 18) / 6;
			w[j] = 1;
			z[j] = v[j] = 0.25f;
		}
		race(list[i].ours, list[i].peer, NULL, took);
		printf("%s,row of %d,%.2f,%.2f,ns,%.1f,\n", list[i].name, N, took[0] / N * 1e9,
		       took[1] / N * 1e9, took[1] / took[0]);
	}
}

int
main(void)
{
	blas_start();
	kern_choose(NULL);
	fprintf(stderr, "products: %s kernels beside OpenBLAS's %s\n", kern->name, blas_kernel());
	products();
	rows();
	return fflush(stdout) || ferror(stdout);
}
