#include "base/crc.h"
#include <zlib.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define CARRYLESS __attribute__((target("pclmul,sse4.1")))

/*
 * A remainder modulo P is kept while 128 bits are moved past n more: their halves times x^(n+32)
 * and x^(n-32) mod P, bits reflected (Gopal et al., Fast CRC computation for generic polynomials
 * using PCLMULQDQ, Intel 2009).  Four such sums go side by side over 64 bytes, then become one.
 */
static const uint64_t past_512[2] = {0x154442bd4, 0x1c6e41596};
static const uint64_t past_128[2] = {0x1751997d0, 0x0ccaa009e};

CARRYLESS static inline __m128i
past(__m128i x, __m128i by, __m128i next)
{
	const __m128i lo = _mm_clmulepi64_si128(x, by, 0x00);
	const __m128i hi = _mm_clmulepi64_si128(x, by, 0x11);

	return _mm_xor_si128(_mm_xor_si128(lo, hi), next);
}

/* Of 64 bytes or more; the 16 that are left have the remainder of all. */
CARRYLESS static uint32_t
fold(uint32_t crc, const unsigned char *p, size_t n)
{
	const __m128i *v = (const __m128i *)(const void *)p;
	const __m128i by_512 = _mm_loadu_si128((const __m128i *)(const void *)past_512);
	const __m128i by_128 = _mm_loadu_si128((const __m128i *)(const void *)past_128);
	__m128i x[4], last;
	unsigned char rest[16];

	for (int i = 0; i < 4; i++)
		x[i] = _mm_loadu_si128(v + i);
	x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)~crc));
	for (v += 4, n -= 64; n >= 64; v += 4, n -= 64)
		for (int i = 0; i < 4; i++)
			x[i] = past(x[i], by_512, _mm_loadu_si128(v + i));
	last = past(x[0], by_128, x[1]);
	last = past(last, by_128, x[2]);
	last = past(last, by_128, x[3]);
	for (; n >= 16; v++, n -= 16)
		last = past(last, by_128, _mm_loadu_si128(v));
	_mm_storeu_si128((__m128i *)(void *)rest, last);
	crc = (uint32_t)crc32_z(UINT32_MAX, rest, sizeof rest); /* from a register of zeros */
	return (uint32_t)crc32_z(crc, (const Bytef *)v, n);
}

uint32_t
crc_32(uint32_t crc, const void *p, size_t n)
{
	if (n >= 64 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"))
		return fold(crc, p, n);
	return (uint32_t)crc32_z(crc, p, n);
}
#else
uint32_t
crc_32(uint32_t crc, const void *p, size_t n)
{
	return (uint32_t)crc32_z(crc, p, n);
}
#endif
