#ifndef MATH_SIMD_H
#define MATH_SIMD_H

/*
 * One vocabulary of float vectors for the three builds of a file of kernels: AVX-512 (16 lanes),
 * AVX2 with FMA (8), and whatever the compiler makes of 4 lanes.  vf is a vector, vm a mask of its
 * lanes.  Only math/kern.c and knn/scan.c include this.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

/* An operation a line. */
/* clang-format off */
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <immintrin.h>
enum { VL = 16, MR = 14 };
typedef __m512 vf;
typedef __mmask16 vm;
ALWAYS vf v_set(float x) { return _mm512_set1_ps(x); }
ALWAYS vf v_load(const float *p) { return _mm512_loadu_ps(p); }
ALWAYS void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
ALWAYS vm v_first(long n) { return (vm)(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1); }
ALWAYS vf v_loadm(const float *p, vm m) { return _mm512_maskz_loadu_ps(m, p); }
ALWAYS void v_storem(float *p, vf x, vm m) { _mm512_mask_storeu_ps(p, m, x); }
ALWAYS vf v_keep(vf x, vm m) { return _mm512_maskz_mov_ps(m, x); } /* 0 elsewhere */
ALWAYS vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
ALWAYS vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
ALWAYS vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
ALWAYS vf v_abs(vf a) { return _mm512_abs_ps(a); }
ALWAYS vf v_round(vf a) { return _mm512_roundscale_ps(a, 8); }
ALWAYS vf v_scale2(vf a, vf n) { return _mm512_scalef_ps(a, n); } /* a * 2^n, n integral */
ALWAYS vm v_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
ALWAYS vf v_pick(vm m, vf yes, vf no) { return _mm512_mask_mov_ps(no, m, yes); }
ALWAYS unsigned v_bits(vm m) { return m; } /* lane i is bit i */
/* four floats from each of four rows, `ld` apart */
ALWAYS vf
v_quads(const float *p, long ld)
{
	__m512 x = _mm512_castps128_ps512(_mm_loadu_ps(p));
	x = _mm512_insertf32x4(x, _mm_loadu_ps(p + ld), 1);
	x = _mm512_insertf32x4(x, _mm_loadu_ps(p + 2 * ld), 2);
	return _mm512_insertf32x4(x, _mm_loadu_ps(p + 3 * ld), 3);
}
ALWAYS vf
v_bytes(const signed char *p)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
ALWAYS vf v_lows(vf a, vf b) { return _mm512_unpacklo_ps(a, b); }
ALWAYS vf v_highs(vf a, vf b) { return _mm512_unpackhi_ps(a, b); }
ALWAYS vf v_low2(vf a, vf b) { return _mm512_shuffle_ps(a, b, 0x44); }
ALWAYS vf v_high2(vf a, vf b) { return _mm512_shuffle_ps(a, b, 0xee); }
/* 1/a, a Newton step from an estimate of 14 bits: 1 ulp, for a in [1e-30, 1e30] */
ALWAYS vf
v_recip(vf a)
{
	vf r = _mm512_rcp14_ps(a);
	return _mm512_fmadd_ps(r, _mm512_fnmadd_ps(a, r, v_set(1)), r);
}
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
enum { VL = 8, MR = 6 };
typedef __m256 vf;
typedef __m256 vm;
ALWAYS vf v_set(float x) { return _mm256_set1_ps(x); }
ALWAYS vf v_load(const float *p) { return _mm256_loadu_ps(p); }
ALWAYS void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
ALWAYS vm
v_first(long n)
{
	const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	int k = n > 8 ? 8 : n < 0 ? 0 : (int)n;
	return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(k), lane));
}
ALWAYS vf v_loadm(const float *p, vm m) { return _mm256_maskload_ps(p, _mm256_castps_si256(m)); }
ALWAYS void v_storem(float *p, vf x, vm m) { _mm256_maskstore_ps(p, _mm256_castps_si256(m), x); }
ALWAYS vf v_keep(vf x, vm m) { return _mm256_and_ps(x, m); }
ALWAYS vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
ALWAYS vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
ALWAYS vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
ALWAYS vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
ALWAYS vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
ALWAYS vf v_round(vf a) { return _mm256_round_ps(a, 8); }
ALWAYS vf
v_scale2(vf a, vf n)
{
	__m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
	return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), e));
}
ALWAYS vm v_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
ALWAYS vf v_pick(vm m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, m); }
ALWAYS unsigned v_bits(vm m) { return (unsigned)_mm256_movemask_ps(m); }
ALWAYS vf v_recip(vf a) { return _mm256_div_ps(v_set(1), a); }
ALWAYS vf
v_quads(const float *p, long ld)
{
	__m256 x = _mm256_castps128_ps256(_mm_loadu_ps(p));
	return _mm256_insertf128_ps(x, _mm_loadu_ps(p + ld), 1);
}
ALWAYS vf
v_bytes(const signed char *p)
{
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
ALWAYS vf v_lows(vf a, vf b) { return _mm256_unpacklo_ps(a, b); }
ALWAYS vf v_highs(vf a, vf b) { return _mm256_unpackhi_ps(a, b); }
ALWAYS vf v_low2(vf a, vf b) { return _mm256_shuffle_ps(a, b, 0x44); }
ALWAYS vf v_high2(vf a, vf b) { return _mm256_shuffle_ps(a, b, 0xee); }
#else
enum { VL = 4, MR = 4 };
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vm __attribute__((vector_size(16))); /* lanes all ones or zero */
ALWAYS vf v_set(float x) { return (vf){x, x, x, x}; }
ALWAYS vf
v_load(const float *p)
{
	vf x;
	memcpy(&x, p, sizeof x);
	return x;
}
ALWAYS void v_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
ALWAYS vm v_first(long n) { return (vm){-(n > 0), -(n > 1), -(n > 2), -(n > 3)}; }
ALWAYS vf
v_loadm(const float *p, vm m)
{
	vf x = {0};
	for (int i = 0; i < VL; i++)
		if (m[i])
			x[i] = p[i];
	return x;
}
ALWAYS void
v_storem(float *p, vf x, vm m)
{
	for (int i = 0; i < VL; i++)
		if (m[i])
			p[i] = x[i];
}
ALWAYS vf v_keep(vf x, vm m) { return (vf)((vm)x & m); }
ALWAYS vf v_pick(vm m, vf yes, vf no) { return (vf)(((vm)yes & m) | ((vm)no & ~m)); }
ALWAYS unsigned
v_bits(vm m)
{
	return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8);
}
ALWAYS vf v_fma(vf a, vf b, vf c) { return a * b + c; }
ALWAYS vm v_lt(vf a, vf b) { return a < b; }
ALWAYS vf v_max(vf a, vf b) { return v_pick(a > b, a, b); }
ALWAYS vf v_min(vf a, vf b) { return v_pick(a < b, a, b); }
ALWAYS vf v_sqrt(vf a) { return (vf){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])}; }
ALWAYS vf v_abs(vf a) { return (vf)((vm)a & 0x7fffffff); }
ALWAYS vf
v_round(vf a)
{
	const vf big = v_set(0x1.8p23f); /* for |a| < 2^22: adding and taking it away rounds */
	return (a + big) - big;
}
ALWAYS vf
v_scale2(vf a, vf n)
{
	typedef uint32_t bits __attribute__((vector_size(16)));
	return (vf)((bits)a + ((bits)__builtin_convertvector(n, vm) << 23));
}
ALWAYS vf v_recip(vf a) { return v_set(1) / a; }
ALWAYS vf
v_quads(const float *p, long ld)
{
	(void)ld;
	return v_load(p);
}
ALWAYS vf v_bytes(const signed char *p) { return (vf){p[0], p[1], p[2], p[3]}; }
ALWAYS vf v_lows(vf a, vf b) { return (vf){a[0], b[0], a[1], b[1]}; }
ALWAYS vf v_highs(vf a, vf b) { return (vf){a[2], b[2], a[3], b[3]}; }
ALWAYS vf v_low2(vf a, vf b) { return (vf){a[0], a[1], b[0], b[1]}; }
ALWAYS vf v_high2(vf a, vf b) { return (vf){a[2], a[3], b[2], b[3]}; }
#endif
/* clang-format on */

enum { NR = 2 * VL }; /* width of a packed panel */

/* P[4][VL] = B[VL][4]^T: the rows of P are `ldp` apart, those of B `ld`. */
ALWAYS void
v_turn(const float *b, long ld, float *p, long ldp)
{
	/* quad g of r_i is row i + 4 g */
	vf r0 = v_quads(b, 4 * ld), r1 = v_quads(b + ld, 4 * ld);
	vf r2 = v_quads(b + 2 * ld, 4 * ld), r3 = v_quads(b + 3 * ld, 4 * ld);
	vf a = v_lows(r0, r1), c = v_highs(r0, r1), d = v_lows(r2, r3), e = v_highs(r2, r3);

	v_store(p, v_low2(a, d));
	v_store(p + ldp, v_high2(a, d));
	v_store(p + 2 * ldp, v_low2(c, e));
	v_store(p + 3 * ldp, v_high2(c, e));
}

/* Sum and maximum over the lanes, halves onto halves: one fixed order. */
/* clang-format off */
#if defined(__AVX2__)
#if defined(__AVX512F__)
#define V_HALF(op, x)                                                                              \
	_mm256_##op##_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1))
#else
#define V_HALF(op, x) x
#endif
#define V_FOLD(op, x)                                                                              \
	__m256 half = V_HALF(op, x);                                                               \
	__m128 four = _mm_##op##_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)); \
	__m128 two = _mm_##op##_ps(four, _mm_movehl_ps(four, four));                               \
	return _mm_cvtss_f32(_mm_##op##_ss(two, _mm_movehdup_ps(two)))
ALWAYS float v_sum(vf x) { V_FOLD(add, x); }
ALWAYS float v_top(vf x) { V_FOLD(max, x); }
#else
ALWAYS float v_sum(vf x) { return (x[0] + x[2]) + (x[1] + x[3]); }
ALWAYS float
v_top(vf x)
{
	float a = x[0] > x[2] ? x[0] : x[2], b = x[1] > x[3] ? x[1] : x[3];
	return a > b ? a : b;
}
#endif
/* clang-format on */

/*
 * e^x within 1.1 ulp (without FMA 1.3) for x <= 88: x = n ln 2 + r, the best 1 + r + r^2 q(r) of
 * degree 6, 2.5e-8 off at most.  Below -87 the result is 0; NaN stays NaN.
 */
ALWAYS vf
v_exp_low(vf x)
{
	const vf lo = v_set(-87.0f);
	vf y = v_max(lo, x); /* in this order a NaN stays one */
	vf n = v_round(y * v_set(1.44269504f));
	vf r = v_fma(n, v_set(-0.693359375f), y);
	r = v_fma(n, v_set(2.12194440e-4f), r);
	vf p = v_set(1.33663183e-3f);
	p = v_fma(p, r, v_set(8.35304335e-3f));
	p = v_fma(p, r, v_set(4.16734554e-2f));
	p = v_fma(p, r, v_set(1.66667119e-1f));
	p = v_fma(p, r, v_set(0.5f));
	p = v_fma(p, r, v_set(1.0f));
	p = v_fma(p, r, v_set(1.0f));
	p = v_scale2(p, n);
	return v_pick(v_lt(x, lo), v_set(0), p);
}

/* The same for any x; above 88 it is e^88. */
ALWAYS vf
v_exp(vf x)
{
	return v_exp_low(v_min(v_set(88.0f), x));
}

/*
 * 2^x within 2 ulp for x <= 127, 0 below -126; NaN stays NaN.  AVX-512: x = n / 32 + r, the
 * fraction of n / 32 from a table, and 2^r by the parabola through 1 that is best for |r| <= 1/64.
 */
#if defined(__AVX512F__)
ALWAYS vf
v_exp2_low(vf x)
{
	static const float root[32] __attribute__((aligned(64))) = {
		1.00000000f, 1.02189715f, 1.04427378f, 1.06714040f, 1.09050773f, 1.11438674f,
		1.13878863f, 1.16372486f, 1.18920712f, 1.21524736f, 1.24185781f, 1.26905096f,
		1.29683955f, 1.32523664f, 1.35425555f, 1.38390988f, 1.41421356f, 1.44518081f,
		1.47682615f, 1.50916443f, 1.54221083f, 1.57598085f, 1.61049033f, 1.64575548f,
		1.68179283f, 1.71861930f, 1.75625216f, 1.79470908f, 1.83400809f, 1.87416763f,
		1.91520656f, 1.95714412f};
	const vf big = v_set(0x1.8p18f); /* its last place is 1/32 */
	const vf t = x + big, n = t - big, r = x - n;
	const vf f =
		_mm512_permutex2var_ps(v_load(root), _mm512_castps_si512(t), v_load(root + VL));
	const vf p = v_fma(v_fma(v_set(0.240228855f), r, v_set(0.693157344f)), r, v_set(1));

	/* 2^floor(n) */
	return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, v_set(-126), _CMP_NLT_UQ), f * p, n);
}
#else
ALWAYS vf
v_exp2_low(vf x)
{
	const vf n = v_round(x), r = x - n;
	vf p = v_set(1.5353362e-4f);
	p = v_fma(p, r, v_set(1.3398875e-3f));
	p = v_fma(p, r, v_set(9.61843692e-3f));
	p = v_fma(p, r, v_set(5.55033237e-2f));
	p = v_fma(p, r, v_set(2.40226477e-1f));
	p = v_fma(p, r, v_set(6.93147182e-1f));
	p = v_fma(p, r, v_set(1.0f));
	return v_pick(v_lt(x, v_set(-126.0f)), v_set(0), v_scale2(p, n));
}
#endif

#endif
