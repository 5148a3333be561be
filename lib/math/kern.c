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
static tile_fn *const of_rows[2][2][MR] = {{{TABLE(row)}, {TABLE(half_row)}},
					   {{TABLE(col)}, {TABLE(half_col)}}};

/* Rows of a tile where m are cut as evenly as can be: few in the last would wait for each other. */
ALWAYS long
height(long m)
{
	const long tiles = (m + MR - 1) / MR;

	return tiles > 1 ? (m + tiles - 1) / tiles : m;
}

/* All rows against one panel; row i of A, i a multiple of height(m), starts at A + i step. */
static void
strip(bool col, long m, long k, const float *a, long lda, long step, const float *p, long ldp,
      float *c, long ldc, long n, bool add)
{
	tile_fn *const *f = of_rows[col][n <= VL];
	const long h = height(m);

	for (long i = 0; i < m; i += h) {
		const long rows = m - i < h ? m - i : h;
		f[rows - 1](k, a + i * step, lda, p, ldp, c + i * ldc, ldc, n, add);
	}
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

/* B[n, m] = A[m, n]^T */
static void
turn(long m, long n, const float *a, long lda, float *b, long ldb)
{
	long i = 0, j = 0;

	for (; i + VL <= m; i += VL)
		for (j = 0; j + 4 <= n; j += 4)
			v_turn(a + i * lda + j, lda, b + j * ldb + i, ldb);
	for (long r = 0; r < m; r++)
		for (long c = r < i ? j : 0; c < n; c++)
			b[c * ldb + r] = a[r * lda + c];
}

/* P[k, NR] = B[n, k]^T, zeros beside it. */
static void
pack_cols(long k, long n, const float *b, long ldb, float *p)
{
	if (n < NR)
		memset(p, 0, (size_t)(k * NR) * sizeof *p);
	turn(n < NR ? n : NR, k, b, ldb, p, NR);
}

/* Strips of h = height(m) columns, one after another: P[m / h][k][h] = A[k, m]. */
static void
pack_strips(long m, long k, const float *a, long lda, float *p)
{
	const long h = height(m);

	for (long i = 0; i < m; i += h) {
		const vm in = v_first(m - i < h ? m - i : h);
		for (long l = 0; l < k; l++, p += h)
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
				ai = strips, ld = height(rows), step = depth;
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

/* x = e^(scale x - shift); the sum in lane order is returned. */
ALWAYS float
exp_row(long n, float scale, float shift, float *x)
{
	const vf a = v_set(scale), b = v_set(-shift);
	vf sum = v_set(0);

	for (long i = 0; i < n; i += VL) {
		vm in = v_first(n - i);
		vf e = v_keep(v_exp_low(v_fma(v_loadm(x + i, in), a, b)), in);
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
	float top = max_row(n, x), sum = exp_row(n, 1, top, x);

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

/*
 * ---- attention ----
 *
 * Forward a lane is a query, on the way back a key: sums over the others are made in their order
 * and never across lanes.  What is read many times is copied first, rows without gaps.
 */

enum { ROWS = 32 }; /* queries at a time on the way back */

static const float LOG2E = 1.44269504f;

/* Y[n, m] = X[n, m] */
static void
copy(long n, long m, const float *x, long ldx, float *y, long ldy)
{
	const long whole = m / VL * VL;
	const vm rest = v_first(m - whole);

	for (; n > 0; n--, x += ldx, y += ldy) {
		for (long i = 0; i < whole; i += VL)
			v_store(y + i, v_load(x + i));
		if (whole < m)
			v_storem(y + whole, v_loadm(x + whole, rest), rest);
	}
}

/* x where the lane has seen key i: it is the query `first` + lane. */
ALWAYS vf
seen(long i, long first, vf x, vf otherwise)
{
	return i > first ? v_pick(v_first(i - first), otherwise, x) : x;
}

/* The largest of S[n, NR] by query; the first is t. */
ALWAYS void
tops(long n, long t, const float *s, vf *top)
{
	const vf low = v_set(-INFINITY);
	vf even[2] = {low, low}, odd[2] = {low, low};
	long j = 0;

	for (; j < t; j += 2, s += 2 * NR) /* a multiple of NR */
		for (int i = 0; i < 2; i++) {
			even[i] = v_max(v_load(s + i * VL), even[i]);
			odd[i] = v_max(v_load(s + NR + i * VL), odd[i]);
		}
	for (; j < n; j++, s += NR)
		for (int i = 0; i < 2; i++)
			even[i] = v_max(seen(j, t + i * VL, v_load(s + i * VL), low), even[i]);
	for (int i = 0; i < 2; i++)
		top[i] = v_max(even[i], odd[i]);
}

/* S[n, NR] = e^(f (S - top)); the queries' lse and 1 / sum. */
static void
weights(long n, long t, float f, float *s, float *lse, float *part)
{
	const vf by = v_set(f * LOG2E), zero = v_set(0);
	vf top[2], shift[2], sum[2] = {zero, zero};

	tops(n, t, s, top);
	for (int i = 0; i < 2; i++)
		shift[i] = zero - top[i] * by;
	for (long j = 0; j < n; j++, s += NR)
		for (int i = 0; i < 2; i++) {
			const vf e = v_exp2_low(v_fma(v_load(s + i * VL), by, shift[i]));
			const vf p = seen(j, t + i * VL, e, zero);
			sum[i] = sum[i] + p;
			v_store(s + i * VL, p);
		}
	for (int i = 0; i < 2; i++) {
		v_store(lse + i * VL, top[i] * v_set(f));
		v_store(part + i * VL, sum[i]);
	}
	for (int i = 0; i < NR; i++) {
		lse[i] += logf(part[i]);
		part[i] = 1 / part[i];
	}
}

static void
attn(const struct kern_attn *a, int kv, const float *q, const float *k, const float *v, long ldy,
     float *y, float *lse, float *scratch)
{
	const long T = a->seq;
	const int d = a->dim, group = a->heads / a->kv_heads;
	float *kc = scratch, *vc = kc + T * d, *s = vc + T * d, *qt = s + T * NR, *yt = qt + d * NR;
	float logs[NR], part[NR];

	copy(T, d, k + kv * d, a->ld, kc, d);
	copy(T, d, v + kv * d, a->ld, vc, d);
	for (int h = kv * group; h < (kv + 1) * group; h++)
		for (long t = 0; t < T; t += NR) {
			const long m = T - t < NR ? T - t : NR, n = t + m;
			pack_cols(d, m, q + t * a->ld + h * d, a->ld, qt);
			strip(false, n, d, kc, d, d, qt, NR, s, NR, NR, false);
			weights(n, t, 1 / sqrtf((float)d), s, logs, part);
			memcpy(lse + h * T + t, logs, (size_t)m * sizeof *lse);
			strip(true, d, n, vc, d, 1, s, NR, yt, NR, NR, false);
			for (long i = 0; i < d * NR; i += VL)
				v_store(yt + i, v_load(yt + i) * v_load(part + i % NR));
			turn(d, m, yt, NR, y + t * ldy + h * d, ldy);
		}
}

/* The panels of B (n rows, dim columns): panel c holds columns [c NR, c NR + NR). */
static void
pack_panels(long n, int dim, const float *b, long ld, float *p)
{
	for (long c = 0; c < dim; c += NR)
		pack_rows(n, dim - c, b + c, ld, p + c * n);
}

/* Y[m, dim] (+)= S[m, n] * the panels of n rows; the rows of S are NR apart. */
static void
weigh(long m, long n, int dim, const float *s, const float *panels, float *y, long ldy, bool add)
{
	for (long c = 0; c < dim; c += NR)
		strip(false, m, n, s, NR, NR, panels + c * n, NR, y + c, ldy,
		      dim - c < NR ? dim - c : NR, add);
}

static void
attn_one(const struct kern_attn *a, int head, long n, const float *q, const float *k, long ldk,
	 const float *v, float *y, float *scratch)
{
	const int d = a->dim, kv = head / (a->heads / a->kv_heads);
	const float by = 1 / sqrtf((float)d) * LOG2E;
	float *panel = scratch, *vp = panel + d * NR, *s = vp + n * round_up(d, NR), sum = 0;

	for (long j = 0; j < n; j += NR) {
		pack_cols(d, n - j, k + j * ldk + kv * d, ldk, panel);
		strip(false, 1, d, q + head * d, 0, 0, panel, NR, s + j, 0, NR, false);
	}
	const vf shift = v_set(0 - max_row(n, s) * by);
	for (long j = 0; j < n; j += VL)
		v_store(s + j, v_exp2_low(v_fma(v_load(s + j), v_set(by), shift)));
	for (long j = 0; j < n; j++)
		sum += s[j];
	pack_panels(n, d, v + kv * d, ldk, vp);
	weigh(1, n, d, s, vp, y + head * d, 0, false);
	scale(d, 1 / sum, y + head * d, y + head * d);
}

/* What the way back reads of the heads that share keys and values: [T, heads of the group * d]. */
struct queries {
	long ld;
	float *q, *dy, *dq;
	float *log2, *along; /* [group, T] lse to the base 2, <dY, Y> */
};

/* A block of NR keys from `first` on: its columns, and what becomes of its gradients. */
struct keys {
	long first, n;
	float *k, *v, *dk, *dv; /* [d, NR] */
	float *panels;		/* of the keys' rows */
	float *p, *ds;		/* [ROWS, NR] */
};

/* P = e^(f P - lse) and D = f P (D - <dY, Y>) of m queries; the first has seen `before` keys. */
static void
slopes(long m, long before, float f, const float *log2, const float *along, float *p, float *ds)
{
	const vf by = v_set(f * LOG2E), factor = v_set(f);

	for (long r = 0; r < m; r++, p += NR, ds += NR)
		for (int i = 0; i < 2; i++) {
			vf e = v_exp2_low(v_fma(v_load(p + i * VL), by, v_set(-log2[r])));
			if (before + r + 1 < NR)
				e = v_keep(e, v_first(before + r + 1 - i * VL));
			v_store(p + i * VL, e);
			v_store(ds + i * VL, e * factor * (v_load(ds + i * VL) - v_set(along[r])));
		}
}

/* Queries [t, t + m) of head g of the group against a block of keys. */
static void
back_block(const struct kern_attn *a, const struct queries *b, const struct keys *s, int g, long t,
	   long m)
{
	const int d = a->dim;
	const long ld = b->ld, at = t * ld + g * d;
	const float *q = b->q + at, *dy = b->dy + at;

	strip(false, m, d, q, ld, ld, s->k, NR, s->p, NR, NR, false);
	strip(false, m, d, dy, ld, ld, s->v, NR, s->ds, NR, NR, false);
	slopes(m, t - s->first, 1 / sqrtf((float)d), b->log2 + g * a->seq + t,
	       b->along + g * a->seq + t, s->p, s->ds);
	strip(true, d, m, q, ld, 1, s->ds, NR, s->dk, NR, NR, true);
	strip(true, d, m, dy, ld, 1, s->p, NR, s->dv, NR, NR, true);
	weigh(m, s->n, d, s->ds, s->panels, b->dq + at, ld, s->first > 0);
}

static void
take_queries(const struct kern_attn *a, int kv, const float *q, const float *lse, long ldy,
	     const float *y, const float *dy, struct queries *b)
{
	const int d = a->dim, group = a->heads / a->kv_heads;
	const long T = a->seq, from = kv * b->ld;

	copy(T, b->ld, q + from, a->ld, b->q, b->ld);
	copy(T, b->ld, dy + from, ldy, b->dy, b->ld);
	for (int g = 0; g < group; g++)
		for (long t = 0; t < T; t++) {
			const long at = t * ldy + from + g * d;
			b->log2[g * T + t] = lse[(kv * group + g) * T + t] * LOG2E;
			b->along[g * T + t] = dot(d, dy + at, y + at);
		}
}

/*
 * P = exp(S - lse);  dP = dY V^T;  dS = P * (dP - <dY, Y>) / sqrt(d);
 * dQ = dS K;  dK = dS^T Q;  dV = P^T dY; in blocks of ROWS queries and NR keys.
 */
static void
attn_back(const struct kern_attn *a, int kv, const float *q, const float *k, const float *v,
	  const float *lse, long ldy, const float *y, const float *dy, float *dq, float *dk,
	  float *dv, float *scratch)
{
	const int d = a->dim, group = a->heads / a->kv_heads;
	const long T = a->seq, ld = a->ld, wide = group * d;
	struct queries b = {.ld = wide, .q = scratch, .dy = b.q + T * wide};
	struct keys s;

	b.dq = b.dy + T * wide;
	b.log2 = b.dq + T * wide;
	b.along = b.log2 + T * group;
	s.k = b.along + T * group;
	s.v = s.k + d * NR;
	s.dk = s.v + d * NR;
	s.dv = s.dk + d * NR;
	s.panels = s.dv + d * NR;
	s.p = s.panels + NR * round_up(d, NR);
	s.ds = s.p + ROWS * NR + 4 * VL; /* not at the same place of a page: see loads and stores */
	take_queries(a, kv, q, lse, ldy, y, dy, &b);
	for (long j = 0; j < T; j += NR) {
		const long at = j * ld + kv * d;
		s.first = j, s.n = T - j < NR ? T - j : NR;
		pack_cols(d, s.n, k + at, ld, s.k);
		pack_cols(d, s.n, v + at, ld, s.v);
		pack_panels(s.n, d, k + at, ld, s.panels);
		memset(s.dk, 0, (size_t)(2 * d * NR) * sizeof *s.dk);
		for (int g = 0; g < group; g++)
			for (long t = j; t < T; t += ROWS)
				back_block(a, &b, &s, g, t, T - t < ROWS ? T - t : ROWS);
		turn(d, s.n, s.dk, NR, dk + at, ld);
		turn(d, s.n, s.dv, NR, dv + at, ld);
	}
	copy(T, wide, b.dq, wide, dq + kv * wide, ld);
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
