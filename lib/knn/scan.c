/*
 * The kernels of a search, written once on simd.h and compiled per instruction set: -DKERN=avx512
 * and so on names the table.  See scan.h for what each computes.
 */
#include "knn/scan.h"
#include "math/simd.h"
#include <stdbool.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

enum { ALL = (1 << VL) - 1, SLOW = 6 /* tiles */ };

/* ---- what a tile leaves behind ---- */

/* Put the scores of one key where they belong among the k best of each lane. */
ALWAYS void
insert(const struct scan_state *s, int nv, const float *score)
{
	const float *last = s->best + (long)(s->k - 1) * SCAN_LANES;

	for (int h = 0; h < nv; h++) {
		vf x = v_load(score + h * VL);
		if (!v_bits(v_lt(v_load(last + h * VL), x)))
			continue;
		for (int j = 0; j < s->k; j++) {
			/* A NaN passes by all of them: max and min return their second. */
			float *at = s->best + (long)j * SCAN_LANES + h * VL;
			const vf b = v_load(at);
			v_store(at, v_max(x, b));
			x = v_min(b, x);
		}
	}
}

static void
raise_bars(struct scan_state *s, int nv)
{
	const float *last = s->best + (long)(s->k - 1) * SCAN_LANES;

	for (int h = 0; h < nv; h++) {
		const vf x = v_load(last + h * VL) - v_load(s->slack + h * VL);
		v_store(s->bar + h * VL, v_max(x, v_load(s->bar + h * VL)));
	}
}

/*
 * At first all keys of a tile go among the best, later only the greatest scores of its lanes: that
 * costs a little height of the bars, which seldom matters, and many times less.
 */
static void
climb(struct scan_state *s, int nv, int rows, const float (*score)[NR])
{
	float top[NR] __attribute__((aligned(64)));

	if (s->tiles < SLOW) {
		s->tiles++;
		for (int i = 0; i < rows; i++)
			insert(s, nv, score[i]);
	} else {
		for (int h = 0; h < nv; h++) {
			vf t = v_load(score[0] + h * VL);
			for (int i = 1; i < rows; i++)
				t = v_max(t, v_load(score[i] + h * VL));
			v_store(top + h * VL, t);
		}
		insert(s, nv, top);
	}
	raise_bars(s, nv);
}

/* Add those lanes of x that are not below their bars; there is room for all. */
ALWAYS void
propose(struct scan_hits *to, vf x, vf bar, int at)
{
	unsigned hit = ~v_bits(v_lt(x, bar)) & ALL;

#if defined(__AVX512F__)
	const __m512i lane =
		_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	const __m512i where = _mm512_add_epi32(_mm512_set1_epi32(at), lane);
	_mm512_storeu_si512(to->at + to->n, _mm512_maskz_compress_epi32((vm)hit, where));
	v_store(to->score + to->n, _mm512_maskz_compress_ps((vm)hit, x));
	to->n += __builtin_popcount(hit);
#else
	float score[VL];
	v_store(score, x);
	for (; hit; hit &= hit - 1) {
		const int i = __builtin_ctz(hit);
		to->at[to->n] = at + i;
		to->score[to->n++] = score[i];
	}
#endif
}

/* The scores of `rows` keys, of which some are not below their bars. */
static __attribute__((noinline)) void
take(struct scan_state *s, int nv, long row, int rows, const float (*score)[NR])
{
	if (s->k)
		climb(s, nv, rows, score);
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < nv; h++)
			propose(s->hits, v_load(score[i] + h * VL), v_load(s->bar + h * VL),
				((int)row + i) * SCAN_LANES + h * VL);
}

/* ---- float32 ---- */

/* Scores of mr keys, mr and nv constants after inlining; false if all are below their bars. */
ALWAYS bool
tile(const int mr, const int nv, long d, const float *key, const float *p, const float *bar,
     float (*out)[NR])
{
	vf s[MR][2], top[2];
	const float *row[5] = {key, key + 3 * d, key + 6 * d, key + 9 * d, key + 12 * d};
	unsigned below = ALL;

#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
		s[i][0] = s[i][1] = v_set(0);
	for (long j = 0; j < d; j++, p += NR) {
		const vf b0 = v_load(p), b1 = nv > 1 ? v_load(p + VL) : v_set(0);
#pragma GCC unroll 16
		for (int i = 0; i < mr; i++) {
			const vf x = v_set(row[i / 3][(i % 3) * d]);
			s[i][0] = v_fma(x, b0, s[i][0]);
			if (nv > 1)
				s[i][1] = v_fma(x, b1, s[i][1]);
		}
#pragma GCC unroll 5
		for (int i = 0; i < (mr + 2) / 3; i++)
			row[i]++;
	}
	for (int h = 0; h < nv; h++) {
		top[h] = s[0][h];
#pragma GCC unroll 16
		for (int i = 1; i < mr; i++)
			top[h] = v_max(top[h], s[i][h]);
		below &= v_bits(v_lt(top[h], v_load(bar + h * VL)));
	}
	if (below == ALL)
		return false;
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
		for (int h = 0; h < nv; h++)
			v_store(out[i] + h * VL, s[i][h]);
	return true;
}

/* All n keys by tiles of MR, then of fewer; i says how far it came before the hits were full. */
#define SCAN(tile)                                      \
	float out[MR][NR] __attribute__((aligned(64))); \
	long i = 0;                                     \
	SCAN_TILES(tile, MR)                            \
	SCAN_TILES(tile, 4)                             \
	SCAN_TILES(tile, 1)                             \
	return n;
#define SCAN_TILES(tile, mr)                                           \
	for (; i + (mr) <= n; i += (mr)) {                             \
		if (s->hits->n > SCAN_HITS - (mr)*NR)                  \
			return i;                                      \
		if (tile(mr, nv, d, keys + i * d, panel, s->bar, out)) \
			take(s, nv, i, mr, (const float(*)[NR])out);   \
	}

ALWAYS long
scan_floats(struct scan_state *s, const int nv, long d, const float *panel, long n,
	    const float *keys)
{
	SCAN(tile)
}

static long
floats(struct scan_state *s, int lanes, long d, const float *panel, long n, const float *keys)
{
	return lanes > VL ? scan_floats(s, 2, d, panel, n, keys)
			  : scan_floats(s, 1, d, panel, n, keys);
}

static void
pack(long n, long d, const float *q, float *panel)
{
	long j = 0;

	if (n == NR)
		for (; j + 4 <= d; j += 4) {
			v_turn(q + j, d, panel + j * NR, NR);
			v_turn(q + j + VL * d, d, panel + j * NR + VL, NR);
		}
	for (; j < d; j++)
		for (long i = 0; i < NR; i++)
			panel[j * NR + i] = i < n ? q[i * d + j] : 0;
}

/* ---- bytes ---- */

static float
most(long d, const float *x)
{
	vf top = v_set(0);
	float part[VL];

	for (long j = 0; j < d; j += VL)
		top = v_max(v_abs(v_loadm(x + j, v_first(d - j))), top);
	v_store(part, top);
	for (int i = 1; i < VL; i++)
		part[0] = part[i] > part[0] ? part[i] : part[0];
	return part[0];
}

/*
 * In steps, so that no square is too small.  1 / step is off by 2^-24 of up to 127, which adds at
 * most 2^-16 to each difference; the sum of d squares is off by d 2^-24, the root by half of that.
 */
static double
quantize(long d, const float *x, float step, int bias, uint8_t *byte)
{
	const float inverse = 1 / step;
	vf sum = v_set(0);
	float part[VL];
	double total = 0;

	for (long j = 0; j < d; j += VL) {
		const vf v = v_loadm(x + j, v_first(d - j)) * v_set(inverse);
		const vf y = v_min(v_max(v_round(v), v_set(-127)), v_set(127));
		const long n = d - j < VL ? d - j : VL;
		sum = v_fma(v - y, v - y, sum);
		v_store(part, y + v_set((float)bias));
		for (long i = 0; i < n; i++)
			byte[j + i] = (uint8_t)(int)part[i];
	}
	v_store(part, sum);
	for (int i = 0; i < VL; i++)
		total += (double)part[i];
	return (double)step * (sqrt(total) * (1 + (double)d * 0x1p-23) + sqrt((double)d) * 0x1p-16);
}

#if defined(__AVX512F__)
/* s += the products of four unsigned and four signed bytes; the compiler's own copies s about. */
ALWAYS __m512i
four_products(__m512i s, __m512i a, __m512i b)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(a), "v"(b));
	return s;
}

ALWAYS bool
tile_bytes(const int mr, const int nv, long d, const uint8_t *key, const int8_t *p,
	   const float *bar, float (*out)[NR])
{
	__m512i s[MR][2], top;
	const uint8_t *row[5] = {key, key + 3 * d, key + 6 * d, key + 9 * d, key + 12 * d};
	const __m512 least = _mm512_set1_ps(-0x1p31f), most = _mm512_set1_ps(0x1.fffffep30f);
	unsigned below = ALL;

#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
		s[i][0] = s[i][1] = _mm512_setzero_si512();
	for (long j = 0; j < d; j += 4, p += 4 * NR) {
		const __m512i b0 = _mm512_loadu_si512(p);
		const __m512i b1 = nv > 1 ? _mm512_loadu_si512(p + 4 * VL) : _mm512_setzero_si512();
#pragma GCC unroll 16
		for (int i = 0; i < mr; i++) {
			int four;
			memcpy(&four, row[i / 3] + (i % 3) * d, sizeof four);
			const __m512i x = _mm512_set1_epi32(four);
			s[i][0] = four_products(s[i][0], x, b0);
			if (nv > 1)
				s[i][1] = four_products(s[i][1], x, b1);
		}
#pragma GCC unroll 5
		for (int i = 0; i < (mr + 2) / 3; i++)
			row[i] += 4;
	}
	for (int h = 0; h < nv; h++) {
		__m512 b = _mm512_max_ps(_mm512_min_ps(v_load(bar + h * VL), most), least);
		top = s[0][h];
#pragma GCC unroll 16
		for (int i = 1; i < mr; i++)
			top = _mm512_max_epi32(top, s[i][h]);
		/* For whole numbers top < b if top < ceil b. */
		below &= _mm512_cmplt_epi32_mask(
			top,
			_mm512_cvt_roundps_epi32(b, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC));
	}
	if (below == ALL)
		return false;
#pragma GCC unroll 16
	for (int i = 0; i < mr; i++)
		for (int h = 0; h < nv; h++)
			v_store(out[i] + h * VL, _mm512_cvtepi32_ps(s[i][h]));
	return true;
}

ALWAYS long
scan_bytes(struct scan_state *s, const int nv, long d, const int8_t *panel, long n,
	   const uint8_t *keys)
{
	SCAN(tile_bytes)
}

static long
bytes(struct scan_state *s, int lanes, long d, const int8_t *panel, long n, const uint8_t *keys)
{
	return lanes > VL ? scan_bytes(s, 2, d, panel, n, keys)
			  : scan_bytes(s, 1, d, panel, n, keys);
}
#endif

/* ---- bounds ---- */

static void
bounds(long n, float *bound, const float *least, const float *most, const float *side, float square,
       float reach, float slack)
{
	const vf zero = v_set(0);

	for (long i = 0; i < n; i += VL) {
		const vm in = v_first(n - i);
		const vf b = v_loadm(bound + i, in);
		const vf low = b * v_loadm(least + i, in), high = b * v_loadm(most + i, in);
		const vf along = v_pick(v_lt(b, zero), low, high);
		const vf across = v_sqrt(v_max(v_set(square) - b * b, zero));
		const vf u = along + v_set(reach) * v_loadm(side + i, in) * across + v_set(slack);
		v_storem(bound + i, u, in);
	}
}

static long
above(long n, const float *x, float bar, int *out)
{
	long found = 0;

	for (long i = 0; i < n; i += VL) {
		const vm in = v_first(n - i), low = v_lt(v_loadm(x + i, in), v_set(bar));
		unsigned high = v_bits(in) & ~v_bits(low);
		for (; high; high &= high - 1) {
			const long k = i + __builtin_ctz(high);
			out[found] = (int)k;
			found += x[k] >= bar; /* NaN is not */
		}
	}
	return found;
}

/* ---- float64 ---- */

/* Half as many lanes; sum + a b, the product of float32 being exact. */
#if defined(__AVX512F__)
typedef __m512d vd;
#define WIDE(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#define WIDE_FMA(a, b, sum) _mm512_fmadd_pd(_mm512_loadu_pd(a), b, sum)
#elif defined(__AVX2__) && defined(__FMA__)
typedef __m256d vd;
#define WIDE(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
#define WIDE_FMA(a, b, sum) _mm256_fmadd_pd(_mm256_loadu_pd(a), b, sum)
#else
typedef double vd __attribute__((vector_size(VL / 2 * sizeof(double))));
#define WIDE(p) ((vd){(p)[0], (p)[1]})
#define WIDE_FMA(a, b, sum) ((sum) + (vd){(a)[0], (a)[1]} * (b))
#endif

static void
widen(long d, const float *a, double *wide)
{
	for (long j = 0; j < d; j++)
		wide[j] = (double)a[j];
}

static double
dot(long d, const double *a, const float *b)
{
	enum { W = VL / 2, CHAINS = 4 };
	vd sum[CHAINS] = {{0}};
	double total = 0, part[W];
	long j = 0;

	for (; j + W * CHAINS <= d; j += W * CHAINS)
#pragma GCC unroll 4
		for (int i = 0; i < CHAINS; i++)
			sum[i] = WIDE_FMA(a + j + i * W, WIDE(b + j + i * W), sum[i]);
	for (; j < d; j++)
		total += a[j] * (double)b[j];
	sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
	memcpy(part, sum, sizeof part);
#pragma GCC unroll 8
	for (int w = W / 2; w; w /= 2)
		for (int i = 0; i < w; i++)
			part[i] += part[i + w];
	return total + part[0];
}

extern const struct scan JOIN(scan_, KERN);
const struct scan JOIN(scan_, KERN) = {
	.name = TEXT(KERN),
	.lanes = NR,
	.rows = MR,
	.pack = pack,
	.panel = floats,
#if defined(__AVX512F__)
	.bytes = bytes,
#endif
	.most = most,
	.quantize = quantize,
	.bounds = bounds,
	.above = above,
	.widen = widen,
	.dot = dot,
};
