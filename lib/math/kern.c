/*
 * The kernels, written once on simd.h and compiled per instruction set: -DKERN=avx512 and so on
 * names the table.  See kern.h for what each computes.
 */
#include "math/kern.h"
#include "math/simd.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

/*
 * A block of A, MC x KC, stays in the second-level cache while the panels of B, KC x NR, pass
 * through the first.  For FEW rows a panel that lies as it should is not worth packing.
 */
enum { KC = 256, MC = 40 * MR, FEW = 2 * MR };

/* ---- products ---- */

ALWAYS long
round_up(long n, long to)
{
	return (n + to - 1) / to * to;
}

/*
 * C[mr, n] (+)= A[mr, k] P[k, NR], n <= NR.  mr, col and half are constants after inlining.
 * col: A is stored k by k (A[k * lda + i]), else row by row.  half: n <= VL, and the other half of
 * a row of P is left alone.
 */
ALWAYS void
tile(const int mr, const bool col, const bool half, long k, const float *a, long lda,
     const float *p, long ldp, float *c, long ldc, long n, bool add)
{
	vf s[MR][2];
	const float *row[5] = {a, a + 3 * lda, a + 6 * lda, a + 9 * lda, a + 12 * lda};
	const vm m0 = v_first(n), m1 = v_first(n - VL);

#pragma GCC unroll 16
	for (int i = 0; i < mr; i++) {
		s[i][0] = add ? v_loadm(c + i * ldc, m0) : v_set(0);
		s[i][1] = add && !half ? v_loadm(c + i * ldc + VL, m1) : v_set(0);
	}
	if (add) /* the next tile of C will be waited for */
#pragma GCC unroll 16
		for (int i = 0; i < mr; i++) {
			__builtin_prefetch(c + (mr + i) * ldc, 1);
			if (!half)
				__builtin_prefetch(c + (mr + i) * ldc + VL, 1);
		}
	for (long j = 0; j < k; j++) {
		const vf b0 = v_load(p), b1 = half ? b0 : v_load(p + VL);
#pragma GCC unroll 16
		for (int i = 0; i < mr; i++) {
			const vf x = v_set(col ? a[i] : row[i / 3][(i % 3) * lda]);
			s[i][0] = v_fma(x, b0, s[i][0]);
			if (!half)
				s[i][1] = v_fma(x, b1, s[i][1]);
		}
		p += ldp;
		if (col)
			a += lda;
		else
#pragma GCC unroll 5
			for (int i = 0; i < (mr + 2) / 3; i++)
				row[i]++;
	}
	if (n == NR || (half && n == VL)) {
#pragma GCC unroll 16
		for (int i = 0; i < mr; i++) {
			v_store(c + i * ldc, s[i][0]);
			if (!half)
				v_store(c + i * ldc + VL, s[i][1]);
		}
	} else {
#pragma GCC unroll 16
		for (int i = 0; i < mr; i++) {
			v_storem(c + i * ldc, s[i][0], m0);
			if (!half)
				v_storem(c + i * ldc + VL, s[i][1], m1);
		}
	}
}

/* clang-format off */
#define TILE(mr, kind, col, half)                                                                  \
	static void tile_##kind##mr(long k, const float *a, long lda, const float *p, long ldp,    \
				    float *c, long ldc, long n, bool add)                          \
	{                                                                                          \
		tile(mr, col, half, k, a, lda, p, ldp, c, ldc, n, add);                            \
	}
#define TILES_4(kind, col, half)                                                                   \
	TILE(1, kind, col, half) TILE(2, kind, col, half) TILE(3, kind, col, half)                 \
	TILE(4, kind, col, half)
#define TILES_6(kind, col, half)                                                                   \
	TILES_4(kind, col, half) TILE(5, kind, col, half) TILE(6, kind, col, half)
#define TILES_14(kind, col, half)                                                                  \
	TILES_6(kind, col, half) TILE(7, kind, col, half) TILE(8, kind, col, half)                 \
	TILE(9, kind, col, half) TILE(10, kind, col, half) TILE(11, kind, col, half)               \
	TILE(12, kind, col, half) TILE(13, kind, col, half) TILE(14, kind, col, half)
#define TABLE_4(kind) tile_##kind##1, tile_##kind##2, tile_##kind##3, tile_##kind##4
#define TABLE_6(kind) TABLE_4(kind), tile_##kind##5, tile_##kind##6
#define TABLE_14(kind)                                                                             \
	TABLE_6(kind), tile_##kind##7, tile_##kind##8, tile_##kind##9, tile_##kind##10,            \
	tile_##kind##11, tile_##kind##12, tile_##kind##13, tile_##kind##14
#if defined(__AVX512F__)
#define TILES TILES_14
#define TABLE TABLE_14
#elif defined(__AVX2__)
#define TILES TILES_6
#define TABLE TABLE_6
#else
#define TILES TILES_4
#define TABLE TABLE_4
#endif
TILES(row, false, false)
TILES(col, true, false)
TILES(half_row, false, true)
TILES(half_col, true, true)
/* clang-format on */
typedef void tile_fn(long k, const float *a, long lda, const float *p, long ldp, float *c, long ldc,
		     long n, bool add);
/* By whether A is stored by columns, and by whether half a panel is enough. */
static tile_fn *const tiles[2][2][MR] = {{{TABLE(row)}, {TABLE(half_row)}},
					 {{TABLE(col)}, {TABLE(half_col)}}};

/* All rows against one panel; row i of A, i a multiple of MR, starts at A + i step. */
static void
strip(bool col, long m, long k, const float *a, long lda, long step, const float *p, long ldp,
      float *c, long ldc, long n, bool add)
{
	tile_fn *const *f = tiles[col][n <= VL];
	long i = 0;

	for (; i + MR <= m; i += MR)
		f[MR - 1](k, a + i * step, lda, p, ldp, c + i * ldc, ldc, n, add);
	if (i < m)
		f[(m - 1) % MR](k, a + i * step, lda, p, ldp, c + i * ldc, ldc, n, add);
}

/* P[k, NR] = B[k, n], zeros beside it. */
static void
pack_rows(long k, long n, const float *b, long ldb, float *p)
{
	if (n >= NR) {
		for (long j = 0; j < k; j++, b += ldb, p += NR) {
			v_store(p, v_load(b));
			v_store(p + VL, v_load(b + VL));
		}
		return;
	}
	const vm m0 = v_first(n), m1 = v_first(n - VL);
	for (long j = 0; j < k; j++, b += ldb, p += NR) {
		v_store(p, v_loadm(b, m0));
		v_store(p + VL, v_loadm(b + VL, m1));
	}
}

/* P[k, NR] = B[n, k]^T, zeros beside it. */
static void
pack_cols(long k, long n, const float *b, long ldb, float *p)
{
	long j = 0;

	if (n >= NR)
		for (; j + 4 <= k; j += 4) {
			v_turn(b + j, ldb, p + j * NR, NR);
			v_turn(b + j + VL * ldb, ldb, p + j * NR + VL, NR);
		}
	else
		memset(p, 0, (size_t)(k * NR) * sizeof *p);
	if (n > NR)
		n = NR;
	for (long i = 0; i < n; i++)
		for (long l = j; l < k; l++)
			p[l * NR + i] = b[i * ldb + l];
}

/* Strips of MR columns, one after another: P[m / MR][k][MR] = A[k, m]. */
static void
pack_strips(long m, long k, const float *a, long lda, float *p)
{
	for (long i = 0; i < m; i += MR) {
		const vm in = v_first(m - i < MR ? m - i : MR);
		for (long l = 0; l < k; l++, p += MR)
			v_storem(p, v_loadm(a + l * lda + i, in), in);
	}
}

enum layout { NT, NN, TN };

/* One block of rows, one of depth, all columns. */
static void
block(enum layout kind, long m, long n, long k, const float *a, long lda, long step, const float *b,
      long ldb, float *c, long ldc, bool add)
{
	float panel[KC * NR] __attribute__((aligned(64)));
	const bool col = kind == TN;

	for (long j = 0; j < n; j += NR) {
		const long w = n - j < NR ? n - j : NR;
		const float *p = panel;
		long ldp = NR;

		if (kind == NT)
			pack_cols(k, n - j, b + j * ldb, ldb, panel);
		else if (m > FEW || w < NR)
			pack_rows(k, n - j, b + j, ldb, panel);
		else
			p = b + j, ldp = ldb;
		strip(col, m, k, a, lda, step, p, ldp, c + j, ldc, w, add);
	}
}

/* n in even parts, none above `most`: the size of one, a multiple of `unit`, as `most` is. */
static long
part(long n, long most, long unit)
{
	const long parts = (n + most - 1) / most;

	return parts > 1 ? round_up((n + parts - 1) / parts, unit) : most;
}

static void
product(enum layout kind, long m, long n, long k, const float *a, long lda, const float *b,
	long ldb, float *c, long ldc, bool add)
{
	float strips[MC * KC] __attribute__((aligned(64)));
	const long kc = part(k, KC, 4), mc = part(m, MC, MR);

	for (long l = 0; l < k || (k == 0 && l == 0); l += kc) {
		const long depth = k - l < kc ? k - l : kc;
		const float *bl = kind == NT ? b + l : b + l * ldb;
		for (long i = 0; i < m; i += mc) {
			const long rows = m - i < mc ? m - i : mc;
			const float *ai = kind == TN ? a + l * lda + i : a + i * lda + l;
			long ld = lda, step = kind == TN ? 1 : lda;
			/* a row to a page: seldom read is better than often */
			if (kind == TN && rows > FEW && n > NR && lda >= 1024) {
				pack_strips(rows, depth, ai, lda, strips);
				ai = strips, ld = MR, step = depth;
			}
			block(kind, rows, n, depth, ai, ld, step, bl, ldb, c + i * ldc, ldc,
			      add || l > 0);
		}
	}
}

static void
nt(long m, long n, long k, const float *a, long lda, const float *b, long ldb, float *c, long ldc,
   bool add)
{
	product(NT, m, n, k, a, lda, b, ldb, c, ldc, add);
}

static void
nn(long m, long n, long k, const float *a, long lda, const float *b, long ldb, float *c, long ldc,
   bool add)
{
	product(NN, m, n, k, a, lda, b, ldb, c, ldc, add);
}

static void
tn(long m, long n, long k, const float *a, long lda, const float *b, long ldb, float *c, long ldc,
   bool add)
{
	product(TN, m, n, k, a, lda, b, ldb, c, ldc, add);
}

static void
pack(long n, long k, const float *s, const float *b, long ldb, float *p)
{
	for (long j = 0; j < n; j += NR, p += k * NR) {
		pack_cols(k, n - j, b + j * ldb, ldb, p);
		if (!s)
			continue;
		const vf s0 = v_loadm(s + j, v_first(n - j));
		const vf s1 = v_loadm(s + j + VL, v_first(n - j - VL));
		for (long l = 0; l < k * NR; l += NR) {
			v_store(p + l, v_load(p + l) * s0);
			v_store(p + l + VL, v_load(p + l + VL) * s1);
		}
	}
}

static void
packed(long m, long n, long k, const float *a, long lda, const float *p, float *c, long ldc)
{
	const long kc = part(k, KC, 4);

	for (long l = 0; l < k; l += kc)
		for (long j = 0; j < n; j += NR)
			strip(false, m, k - l < kc ? k - l : kc, a + l, lda, lda,
			      p + j * k + l * NR, NR, c + j, ldc, n - j < NR ? n - j : NR, l > 0);
}

/* ---- rows ---- */

static float
dot(long n, const float *a, const float *b)
{
	vf s = v_set(0);
	long i = 0;

	for (; i + VL <= n; i += VL)
		s = v_fma(v_load(a + i), v_load(b + i), s);
	if (i < n) {
		vm m = v_first(n - i);
		s = v_fma(v_loadm(a + i, m), v_loadm(b + i, m), s);
	}
	return v_sum(s);
}

/* s[r] += B[r, j] x[j] over one vector of j, for four rows that need not wait for each other. */
ALWAYS void
dots_step(const float *b, long k, vf x, vm m, bool whole, vf *s)
{
	for (int r = 0; r < 4; r++)
		s[r] = v_fma(whole ? v_load(b + r * k) : v_loadm(b + r * k, m), x, s[r]);
}

static void
dots(long n, long k, const float *b, const float *x, float *y)
{
	const long whole = k / VL * VL;
	const vm m = v_first(k - whole);

	for (; n >= 4; n -= 4, b += 4 * k, y += 4) {
		vf s[4] = {v_set(0), v_set(0), v_set(0), v_set(0)};
		for (long j = 0; j < whole; j += VL)
			dots_step(b + j, k, v_load(x + j), m, true, s);
		if (whole < k)
			dots_step(b + whole, k, v_loadm(x + whole, m), m, false, s);
		for (int r = 0; r < 4; r++)
			y[r] = v_sum(s[r]);
	}
	for (; n > 0; n--, b += k)
		*y++ = dot(k, b, x);
}

static float
dot8(long n, const signed char *q, const float *x)
{
	vf s = v_set(0);

	for (long i = 0; i < n; i += VL)
		s = v_fma(v_bytes(q + i), v_loadm(x + i, v_first(n - i)), s);
	return v_sum(s);
}

static double
sumsq(long n, const float *x)
{
	double total = 0;

	for (long i = 0; i < n; i += 1024) {
		long k = n - i < 1024 ? n - i : 1024;
		total += (double)dot(k, x + i, x + i);
	}
	return total;
}

static void
axpy(long n, float a, const float *x, float *y)
{
	const vf s = v_set(a);
	long i = 0;

	for (; i + VL <= n; i += VL)
		v_store(y + i, v_fma(s, v_load(x + i), v_load(y + i)));
	if (i < n) {
		vm m = v_first(n - i);
		v_storem(y + i, v_fma(s, v_loadm(x + i, m), v_loadm(y + i, m)), m);
	}
}

static void
axpy64(long n, double a, const float *restrict x, double *restrict y)
{
	for (long i = 0; i < n; i++)
		y[i] += a * (double)x[i];
}

/* Four rows in their order with one pass over y. */
static void
mix_four(long k, const float *a, const float *const *row, float *y)
{
	const vf w[4] = {v_set(a[0]), v_set(a[1]), v_set(a[2]), v_set(a[3])};
	long j = 0;

	for (; j + VL <= k; j += VL) {
		vf s = v_load(y + j);
		for (int r = 0; r < 4; r++)
			s = v_fma(w[r], v_load(row[r] + j), s);
		v_store(y + j, s);
	}
	for (int r = 0; j < k && r < 4; r++)
		axpy(k - j, a[r], row[r] + j, y + j);
}

static void
mix(long n, long k, const float *a, const float *d, long ldd, float *y)
{
	const float *row[4];
	float w[4];
	int have = 0;

	for (long i = 0; i < n; i++) {
		if (a[i] == 0)
			continue;
		w[have] = a[i];
		row[have] = d + i * ldd;
		if (++have == 4) {
			mix_four(k, w, row, y);
			have = 0;
		}
	}
	for (int r = 0; r < have; r++)
		axpy(k, w[r], row[r], y);
}

static void
scale(long n, float a, const float *x, float *y)
{
	const vf s = v_set(a);
	long i = 0;

	for (; i + VL <= n; i += VL)
		v_store(y + i, s * v_load(x + i));
	if (i < n) {
		vm m = v_first(n - i);
		v_storem(y + i, s * v_loadm(x + i, m), m);
	}
}

static void
exponential(long n, const float *x, float *y)
{
	for (long i = 0; i < n; i += VL) {
		vm m = v_first(n - i);
		v_storem(y + i, v_exp(v_loadm(x + i, m)), m);
	}
}

static float
rms(long n, const float *x, const float *w, float eps, float *y)
{
	float r = 1 / sqrtf(dot(n, x, x) / (float)n + eps);
	const vf s = v_set(r);

	for (long i = 0; i < n; i += VL) {
		vm m = v_first(n - i);
		v_storem(y + i, v_loadm(x + i, m) * s * v_loadm(w + i, m), m);
	}
	return r;
}

/* dx = r * (dy w - x * r^2 * mean(dy w x)) */
static void
rms_back(long n, const float *dy, const float *x, const float *w, float r, float *dx, float *dw)
{
	vf s = v_set(0);

	for (long i = 0; i < n; i += VL) {
		vm m = v_first(n - i);
		vf g = v_loadm(dy + i, m), u = v_loadm(x + i, m);
		s = v_fma(g * v_loadm(w + i, m), u, s);
		v_storem(dw + i, v_fma(g * u, v_set(r), v_loadm(dw + i, m)), m);
	}
	const vf c = v_set(-v_sum(s) * r * r / (float)n), q = v_set(r);
	for (long i = 0; i < n; i += VL) {
		vm m = v_first(n - i);
		vf g = v_loadm(dy + i, m) * v_loadm(w + i, m);
		v_storem(dx + i, v_fma(v_fma(v_loadm(x + i, m), c, g), q, v_loadm(dx + i, m)), m);
	}
}

static void
rope(int heads, int dim, float *x, const float *cosine, const float *sine, float sign)
{
	const long half = dim / 2;

	for (int h = 0; h < heads; h++, x += dim)
		for (long i = 0; i < half; i += VL) {
			vm m = v_first(half - i);
			vf c = v_loadm(cosine + i, m), s = v_loadm(sine + i, m) * v_set(sign);
			vf a = v_loadm(x + i, m), b = v_loadm(x + half + i, m);
			v_storem(x + i, v_fma(a, c, v_set(0) - b * s), m);
			v_storem(x + half + i, v_fma(b, c, a * s), m);
		}
}

/*
 * Phi(x), the normal distribution, and e = exp(-x^2/2).  The tail is t Q(t) e with
 * t = 1 / (1 + 0.28 |x|); Q has a relative error of 6e-8 over |x| < 14.
 */
ALWAYS vf
normal_cdf(vf x, vf *e)
{
	vf t = v_recip(v_fma(v_set(0.28f), v_abs(x), v_set(1)));
	vf q = v_set(0.0227910369f);

	*e = v_exp_low(x * x * v_set(-0.5f));
	q = v_fma(q, t, v_set(-0.0833640998f));
	q = v_fma(q, t, v_set(0.0697783296f));
	q = v_fma(q, t, v_set(0.0208421578f));
	q = v_fma(q, t, v_set(0.0532625838f));
	q = v_fma(q, t, v_set(0.0920773092f));
	q = v_fma(q, t, v_set(0.100930638f));
	q = v_fma(q, t, v_set(0.111994804f));
	q = v_fma(q, t, v_set(0.111687267f));
	q = q * t * *e;
	return v_pick(v_lt(x, v_set(0)), q, v_set(1) - q);
}

/* f(x) and f'(x) of an ungated unit, or of the gate of a gated one. */
ALWAYS vf
activate(const enum kern_act act, vf x, vf *slope)
{
	const vf zero = v_set(0), one = v_set(1);

	switch (act) {
	case ACT_GELU: {
		vf e, p = normal_cdf(x, &e);
		*slope = v_fma(x * e, v_set(0.398942280f), p);
		return x * p;
	}
	case ACT_RELU:
	case ACT_REGLU:
		*slope = v_pick(v_lt(zero, x), one, zero);
		return v_max(zero, x); /* in this order a NaN stays one */
	case ACT_RELU2: {
		vf y = v_max(zero, x);
		*slope = y + y;
		return y * y;
	}
	case ACT_SWIGLU: {
		/* 1 / (1 + e^-x), e^-x held below e^80 so that the reciprocal stays normal */
		vf s = v_recip(one + v_exp_low(v_min(v_set(80), zero - x)));
		*slope = s * v_fma(x, one - s, one);
		return x * s;
	}
	}
	__builtin_unreachable();
}

ALWAYS void
act_rows(const enum kern_act act, long n, const float *gate, const float *up, float *a)
{
	const bool gated = kern_gated(act);
	vf slope;

	for (long i = 0; i < n; i += VL) {
		vm m = v_first(n - i);
		vf u = v_loadm(up + i, m);
		vf y = activate(act, gated ? v_loadm(gate + i, m) : u, &slope);
		if (gated)
			y = y * u;
		v_storem(a + i, y, m);
	}
}

static void
act(enum kern_act kind, long n, const float *gate, const float *up, float *a)
{
	switch (kind) {
	case ACT_GELU: act_rows(ACT_GELU, n, gate, up, a); break;
	case ACT_RELU: act_rows(ACT_RELU, n, gate, up, a); break;
	case ACT_RELU2: act_rows(ACT_RELU2, n, gate, up, a); break;
	case ACT_SWIGLU: act_rows(ACT_SWIGLU, n, gate, up, a); break;
	case ACT_REGLU: act_rows(ACT_REGLU, n, gate, up, a); break;
	}
}

ALWAYS float
act_back_rows(const enum kern_act act, long n, const float *gate, const float *up, const float *da,
	      float w, float *aw, float *dgate, float *dup)
{
	const bool gated = kern_gated(act);
	const vf weight = v_set(w);
	vf sum = v_set(0), slope;

	for (long i = 0; i < n; i += VL) {
		vm m = v_first(n - i);
		vf u = v_loadm(up + i, m), d = v_loadm(da + i, m), dw = d * weight;
		vf f = activate(act, gated ? v_loadm(gate + i, m) : u, &slope);
		vf a = f;
		if (gated) {
			a = f * u;
			v_storem(dgate + i, dw * u * slope, m);
			v_storem(dup + i, dw * f, m);
		} else {
			v_storem(dup + i, dw * slope, m);
		}
		sum = v_fma(d, a, sum);
		v_storem(aw + i, a * weight, m);
	}
	return v_sum(sum);
}

static float
act_back(enum kern_act kind, long n, const float *gate, const float *up, const float *da, float w,
	 float *aw, float *dgate, float *dup)
{
	switch (kind) {
	case ACT_GELU: return act_back_rows(ACT_GELU, n, gate, up, da, w, aw, dgate, dup);
	case ACT_RELU: return act_back_rows(ACT_RELU, n, gate, up, da, w, aw, dgate, dup);
	case ACT_RELU2: return act_back_rows(ACT_RELU2, n, gate, up, da, w, aw, dgate, dup);
	case ACT_SWIGLU: return act_back_rows(ACT_SWIGLU, n, gate, up, da, w, aw, dgate, dup);
	case ACT_REGLU: return act_back_rows(ACT_REGLU, n, gate, up, da, w, aw, dgate, dup);
	}
	__builtin_unreachable();
}

/* x[0..n) = e^(scale x - shift), zeros up to limit; the sum in lane order is returned. */
ALWAYS float
exp_row(long n, long limit, float scale, float shift, float *x)
{
	const vf a = v_set(scale), b = v_set(-shift);
	vf sum = v_set(0);

	for (long i = 0; i < limit; i += VL) {
		vm in = v_first(limit - i);
		vf e = v_keep(v_exp_low(v_fma(v_loadm(x + i, in), a, b)), v_first(n - i));
		sum = sum + e;
		v_storem(x + i, e, in);
	}
	return v_sum(sum);
}

ALWAYS float
max_row(long n, const float *x)
{
	const vf low = v_set(-INFINITY);
	vf top = low, other = low;
	long i = 0;

	for (; i + 2 * VL <= n; i += 2 * VL) {
		top = v_max(v_load(x + i), top);
		other = v_max(v_load(x + i + VL), other);
	}
	for (; i < n; i += VL) {
		vm m = v_first(n - i);
		top = v_max(v_pick(m, v_loadm(x + i, m), low), top);
	}
	return v_top(v_max(other, top));
}

static float
softmax(long n, float *x)
{
	float top = max_row(n, x), sum = exp_row(n, n, 1, top, x);

	scale(n, 1 / sum, x, x);
	return top + logf(sum);
}

/* The next vector of partition: its e is returned. */
ALWAYS vf
part_of(vf u, vf shift, vm m, vf *sum, vf *dot)
{
	vf y = v_keep(v_exp_low(u - shift), m);

	*sum = *sum + y;
	*dot = v_fma(y, u, *dot);
	return y;
}

static void
partition(long n, const float *x, float *e, float out[3])
{
	const float top = max_row(n, x);
	const vf shift = v_set(top);
	const vm all = v_first(VL);
	vf sum = v_set(0), dot = v_set(0);
	long i = 0;

	for (; i + VL <= n; i += VL)
		v_store(e + i, part_of(v_load(x + i), shift, all, &sum, &dot));
	if (i < n) {
		vm m = v_first(n - i);
		v_storem(e + i, part_of(v_loadm(x + i, m), shift, m, &sum, &dot), m);
	}
	out[0] = top;
	out[1] = v_sum(sum);
	out[2] = v_sum(dot);
}

/* u, number i, among the k best, of which `have` are there. */
ALWAYS int
insert(float u, int i, int k, int have, float *best, int *out)
{
	int j;

	if (have == k && !(u > best[k - 1]))
		return have;
	j = have < k ? have++ : k - 1;
	for (; j > 0 && u > best[j - 1]; j--) {
		best[j] = best[j - 1];
		out[j] = out[j - 1];
	}
	best[j] = u;
	out[j] = i;
	return have;
}

/* The k-th largest lane. */
ALWAYS float
kth(int k, vf x)
{
	for (;;) {
		const float most = v_top(x);
		const vm less = v_lt(x, v_set(most));

		k -= VL - __builtin_popcount(v_bits(less));
		if (k <= 0)
			return most;
		x = v_pick(less, x, v_set(-INFINITY));
	}
}

/* x of a vector; the lanes beyond n are low. */
ALWAYS vf
or_low(long n, const float *x)
{
	if (n >= VL)
		return v_load(x);
	const vm in = v_first(n);
	return v_pick(in, v_loadm(x, in), v_set(-INFINITY));
}

/* NaN among them: fewer than k may be left. */
static void
fill_up(int k, int have, int *out)
{
	for (int i = 0; have < k; i++) {
		bool there = false;
		for (int j = 0; j < have; j++)
			there |= out[j] == i;
		if (!there)
			out[have++] = i;
	}
}

enum { GROUP = 4 * VL }; /* floats whose bits fit a word, as those of as many groups do */

/* The largest of each lane of a group that begins n before the end of x. */
ALWAYS vf
group_top(long n, const float *x)
{
	vf top = v_set(-INFINITY);

#pragma GCC unroll 4
	for (int i = 0; i < GROUP; i += VL)
		top = v_max(or_low(n - i, x + i), top); /* in this order without NaN */
	return top;
}

/* Bit i: s x[i] is in the group, and not below t. */
ALWAYS uint64_t
group_bits(long n, vf s, const float *x, vf t)
{
	uint64_t bits = 0;

#pragma GCC unroll 4
	for (int i = 0; i < GROUP; i += VL) {
		const uint32_t in = n - i >= VL ? v_bits(v_first(VL)) : v_bits(v_first(n - i));
		bits |= (uint64_t)(in & ~v_bits(v_lt(s * or_low(n - i, x + i), t))) << i;
	}
	return bits;
}

/*
 * The k-th largest of the lanes' maxima is not above the k-th largest of all: whoever is not below
 * it, in order, is inserted.  Mostly these are k, each in a group of its own; there are few
 * branches, because nobody could predict them.
 */
static void
largest(long n, int k, float s, const float *x, int *out)
{
	const vf by = v_set(s);
	const uint32_t all = v_bits(v_first(VL));
	const long groups = (n + GROUP - 1) / GROUP;
	vf top[groups], most = v_set(-INFINITY);
	float best[k];
	int have = 0;

	if (k > VL || n < 4 * VL) {
		for (long i = 0; i < n; i++)
			have = insert(s * x[i], (int)i, k, have, best, out);
		return;
	}
	for (long g = 0; g < groups; g++) {
		const long i = g * GROUP;
		const vf u = n - i >= GROUP ? group_top(GROUP, x + i) : group_top(n - i, x + i);
		most = v_max(u, most);
		top[g] = by * u; /* the largest is the largest when scaled, too */
	}
	const vf t = v_set(kth(k, by * most));
	for (long g = 0; g < groups; g += 64) {
		uint64_t some = 0;
		for (long i = g; i < groups && i < g + 64; i++)
			some |= (uint64_t)(v_bits(v_lt(top[i], t)) != all) << (i - g);
		for (; some; some &= some - 1) {
			const long i = (g + __builtin_ctzll(some)) * GROUP;
			uint64_t in = n - i >= GROUP ? group_bits(GROUP, by, x + i, t)
						     : group_bits(n - i, by, x + i, t);
			for (; in; in &= in - 1) {
				const int at = (int)i + __builtin_ctzll(in);
				have = insert(s * x[at], at, k, have, best, out);
			}
		}
	}
	fill_up(k, have, out);
}

/* By powers of two: y = (s x - s top) log2(e). */
static void
powers(long n, float s, float top, const float *x, float *e, float out[2])
{
	const float scale_by = s * 1.44269504f;
	const vf a = v_set(scale_by), b = v_set(-scale_by * top);
	vf sum = v_set(0), dot_y = v_set(0);
	long i = 0;

	for (; i + VL <= n; i += VL) {
		const vf y = v_fma(v_load(x + i), a, b), p = v_exp2_low(y);
		sum = sum + p;
		dot_y = v_fma(p, y, dot_y);
		v_store(e + i, p);
	}
	if (i < n) {
		const vm in = v_first(n - i);
		const vf y = v_fma(v_loadm(x + i, in), a, b), p = v_keep(v_exp2_low(y), in);
		sum = sum + p;
		dot_y = v_fma(p, y, dot_y);
		v_storem(e + i, p, in);
	}
	out[0] = v_sum(sum);
	out[1] = v_sum(dot_y) * 0.693147181f;
}

static void
adamw(long n, const struct kern_adamw *o, float *w, const float *g, float *m, float *v)
{
	const vf b1 = v_set(o->beta1), c1 = v_set(1 - o->beta1), b2 = v_set(o->beta2);
	const vf c2 = v_set(1 - o->beta2), fix2 = v_set(o->fix2), eps = v_set(o->eps);
	const vf rate = v_set(-o->lr * o->fix1), keep = v_set(1 - o->decay), s = v_set(o->scale);
	const vf faint = v_set(1e-30f), none = v_set(0);

	for (long i = 0; i < n; i += VL) {
		vm in = v_first(n - i);
		vf d = v_loadm(g + i, in) * s;
		vf m1 = v_fma(b1, v_loadm(m + i, in), c1 * d);
		vf v1 = v_fma(b2, v_loadm(v + i, in), c2 * d * d);
		/* fading moments would become subnormal: slow, and they move nothing */
		m1 = v_pick(v_lt(v_abs(m1), faint), none, m1);
		v1 = v_pick(v_lt(v1, faint), none, v1);
		vf step = m1 * v_recip(v_sqrt(v1 * fix2) + eps);
		v_storem(m + i, m1, in);
		v_storem(v + i, v1, in);
		v_storem(w + i, v_fma(rate, step, v_loadm(w + i, in) * keep), in);
	}
}

/* ---- attention ---- */

enum { QB = 4 * MR }; /* queries per block on the way back */

/*
 * S[m, 0..n) = Q K^T for m queries, the panels of K packed one after another; P = softmax over the
 * keys that each query sees: query i (0-based in the block) sees `first + i + 1` of them.
 */
static void
scores(long m, long n, int dim, const float *q, long ld, const float *kp, float *s, long lds)
{
	for (long j = 0; j < n; j += NR)
		strip(false, m, dim, q, ld, ld, kp + j * dim, NR, s + j, lds, NR, false);
}

static void
pack_keys(long n, int dim, const float *k, long ld, float *p)
{
	for (long j = 0; j < n; j += NR)
		pack_cols(dim, n - j, k + j * ld, ld, p + j * dim);
}

/* The panels of V (n rows, dim columns): panel c holds columns [c NR, c NR + NR). */
static void
pack_values(long n, int dim, const float *v, long ld, float *p)
{
	for (long c = 0; c < dim; c += NR)
		pack_rows(n, dim - c, v + c, ld, p + c * n);
}

/* Y[m, dim] (+)= S[m, n] * the packed values, of which there are `rows` rows. */
static void
weigh(bool col, long m, long n, int dim, const float *s, long lds, const float *vp, long rows,
      float *y, long ldy, bool add)
{
	for (long c = 0; c < dim; c += NR)
		strip(col, m, n, s, lds, col ? 1 : lds, vp + c * rows, NR, y + c, ldy,
		      dim - c < NR ? dim - c : NR, add);
}

/* One row of scores into probabilities; the log of the normaliser. */
static float
attend_row(long n, long limit, float factor, float *s)
{
	float top = max_row(n, s) * factor, sum = exp_row(n, limit, factor, top, s);

	scale(n, 1 / sum, s, s);
	return top + logf(sum);
}

static void
attn(const struct kern_attn *a, int kv, const float *q, const float *k, const float *v, long ldy,
     float *y, float *lse, float *scratch)
{
	const long T = a->seq, lds = round_up(T, NR) + VL;
	const int d = a->dim, group = a->heads / a->kv_heads;
	const float factor = 1 / sqrtf((float)d);
	float *kp = scratch, *vp = kp + round_up(T, NR) * d, *s = vp + T * round_up(d, NR);

	pack_keys(T, d, k + kv * d, a->ld, kp);
	pack_values(T, d, v + kv * d, a->ld, vp);
	for (int h = kv * group; h < (kv + 1) * group; h++)
		for (long t = 0; t < T; t += MR) {
			long m = T - t < MR ? T - t : MR, n = t + m;
			scores(m, n, d, q + t * a->ld + h * d, a->ld, kp, s, lds);
			for (long i = 0; i < m; i++)
				lse[h * T + t + i] = attend_row(t + i + 1, n, factor, s + i * lds);
			weigh(false, m, n, d, s, lds, vp, T, y + t * ldy + h * d, ldy, false);
		}
}

static void
attn_one(const struct kern_attn *a, int head, long n, const float *q, const float *k, long ldk,
	 const float *v, float *y, float *scratch)
{
	const int d = a->dim, kv = head / (a->heads / a->kv_heads);
	float *kp = scratch, *vp = kp + round_up(n, NR) * d, *s = vp + n * round_up(d, NR);

	pack_keys(n, d, k + kv * d, ldk, kp);
	pack_values(n, d, v + kv * d, ldk, vp);
	scores(1, n, d, q + head * d, 0, kp, s, 0);
	attend_row(n, n, 1 / sqrtf((float)d), s);
	weigh(false, 1, n, d, s, 0, vp, n, y + head * d, 0, false);
}

/*
 * P = exp(S - lse);  dP = dY V^T;  dS = P * (dP - <dY, Y>) / sqrt(d);
 * dQ = dS K;  dK += dS^T Q;  dV += P^T dY; in blocks of QB queries, keys up to the block's last.
 */
static void
attn_back(const struct kern_attn *a, int kv, const float *q, const float *k, const float *v,
	  const float *lse, long ldy, const float *y, const float *dy, float *dq, float *dk,
	  float *dv, float *scratch)
{
	const long T = a->seq, Tp = round_up(T, NR), lds = Tp + VL, ld = a->ld;
	const int d = a->dim, group = a->heads / a->kv_heads;
	const long dp_ = round_up(d, NR);
	const float factor = 1 / sqrtf((float)d);
	float *kt = scratch, *vt = kt + Tp * d, *kp = vt + Tp * d, *qp = kp + T * dp_;
	float *yp = qp + QB * dp_, *p = yp + QB * dp_, *ds = p + QB * lds;

	pack_keys(T, d, k + kv * d, ld, kt);
	pack_keys(T, d, v + kv * d, ld, vt);
	pack_values(T, d, k + kv * d, ld, kp);
	for (int h = kv * group; h < (kv + 1) * group; h++)
		for (long t = 0; t < T; t += QB) {
			long m = T - t < QB ? T - t : QB, n = t + m;
			for (long r = 0; r < m; r += MR) {
				long mr = m - r < MR ? m - r : MR, nr = t + r + mr;
				float *pr = p + r * lds, *dr = ds + r * lds;
				scores(mr, nr, d, q + (t + r) * ld + h * d, ld, kt, pr, lds);
				scores(mr, nr, d, dy + (t + r) * ldy + h * d, ldy, vt, dr, lds);
				for (long i = 0; i < mr; i++) {
					long at = t + r + i;
					float *pi = pr + i * lds, *di = dr + i * lds;
					float D =
						dot(d, dy + at * ldy + h * d, y + at * ldy + h * d);
					exp_row(at + 1, n, factor, lse[h * T + at], pi);
					for (long j = 0; j < n; j += VL) {
						vm in = v_first(at + 1 - j), all = v_first(n - j);
						vf e = v_loadm(di + j, in) - v_set(D);
						e = e * v_loadm(pi + j, in) * v_set(factor);
						v_storem(di + j, v_keep(e, in), all);
					}
				}
				weigh(false, mr, nr, d, dr, lds, kp, T, dq + (t + r) * ld + h * d,
				      ld, false);
			}
			pack_values(m, d, q + t * ld + h * d, ld, qp);
			pack_values(m, d, dy + t * ldy + h * d, ldy, yp);
			/* keys [0, done) have a gradient already, [done, n) start one */
			long done = h > kv * group ? n : t;
			weigh(true, done, m, d, ds, lds, qp, m, dk + kv * d, ld, true);
			weigh(true, done, m, d, p, lds, yp, m, dv + kv * d, ld, true);
			weigh(true, n - done, m, d, ds + done, lds, qp, m, dk + done * ld + kv * d,
			      ld, false);
			weigh(true, n - done, m, d, p + done, lds, yp, m, dv + done * ld + kv * d,
			      ld, false);
		}
}

/* ---- batch normalisation: a lane is a channel, so that sums have one order ---- */

static void
norm(long n, long c, const float *restrict x, const float *restrict gain,
     const float *restrict shift, float *restrict a)
{
	for (; n > 0; n--, x += c, a += c)
		for (long i = 0; i < c; i++) {
			const float v = gain[i] * x[i] + shift[i];
			a[i] = v < 0 ? 0 : v; /* a NaN stays one */
		}
}

/* Add the lanes in float32 of one call to the double sums of their channels. */
static void
lanes_add(vf x, vm in, long n, double *to)
{
	float v[VL];

	v_storem(v, x, in);
	for (long i = 0; i < n && i < VL; i++)
		to[i] += (double)v[i];
}

static void
norm_sums(long n, long c, const float *x, double *sum, double *square)
{
	for (long i = 0; i < c; i += VL) {
		const vm in = v_first(c - i);
		vf s = v_set(0), q = v_set(0);

		for (long k = 0; k < n; k++) {
			const vf v = v_loadm(x + k * c + i, in);
			s = s + v;
			q = v_fma(v, v, q);
		}
		lanes_add(s, in, c - i, sum + i);
		lanes_add(q, in, c - i, square + i);
	}
}

static void
norm_slope(long n, long c, const float *a, const float *x, const float *mean, const float *rstd,
	   float *d, double *sum, double *moment)
{
	for (long i = 0; i < c; i += VL) {
		const vm in = v_first(c - i);
		const vf m = v_loadm(mean + i, in), r = v_loadm(rstd + i, in), zero = v_set(0);
		vf s = zero, q = zero;

		for (long k = 0; k < n; k++) {
			const long at = k * c + i;
			const vf v =
				v_pick(v_lt(zero, v_loadm(a + at, in)), v_loadm(d + at, in), zero);
			v_storem(d + at, v, in);
			s = s + v;
			q = v_fma(v, v_loadm(x + at, in) - m, q);
		}
		lanes_add(s, in, c - i, sum + i);
		lanes_add(q * r, in, c - i, moment + i);
	}
}

static void
norm_back(long n, long c, const float *restrict x, const float *restrict p, const float *restrict q,
	  const float *restrict r, float *restrict d)
{
	for (; n > 0; n--, x += c, d += c)
		for (long i = 0; i < c; i++)
			d[i] = p[i] * d[i] + q[i] * x[i] + r[i];
}

const struct kern JOIN(kern_, KERN) = {
	.name = TEXT(KERN),
	.nt = nt,
	.nn = nn,
	.tn = tn,
	.pack = pack,
	.packed = packed,
	.rms = rms,
	.rms_back = rms_back,
	.rope = rope,
	.act = act,
	.act_back = act_back,
	.attn = attn,
	.attn_back = attn_back,
	.attn_one = attn_one,
	.largest = largest,
	.powers = powers,
	.partition = partition,
	.softmax = softmax,
	.dot = dot,
	.dots = dots,
	.dot8 = dot8,
	.axpy = axpy,
	.axpy64 = axpy64,
	.mix = mix,
	.scale = scale,
	.sumsq = sumsq,
	.adamw = adamw,
	.exp = exponential,
	.norm = norm,
	.norm_sums = norm_sums,
	.norm_slope = norm_slope,
	.norm_back = norm_back,
};
