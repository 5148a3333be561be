/* The CRC-32: the published check value, and zlib's for short lengths at any alignment. */
#include "base/crc.h"
#include "base/rng.h"
#include "tap.h"
#include <zlib.h>

int
main(void)
{
	enum { MOST = 400, LONG = 100003 };
	static unsigned char v[LONG + 16];
	struct rng r = rng_at(118, RNG_TEST, 0, 0);
	long wrong = 0;

	for (int i = 0; i < LONG + 16; i++)
		v[i] = (unsigned char)rng_u32(&r);
	is_long(crc_32(0, "123456789", 9), 0xcbf43926, "the check value of CRC-32");
	for (int at = 0; at < 16; at++)
		for (size_t n = 0; n < MOST; n++) {
			const uint32_t from = n % 3 ? rng_u32(&r) : 0;
			wrong += crc_32(from, v + at, n) != crc32_z(from, v + at, n);
		}
	is_long(wrong, 0, "others than zlib's, of lengths below %d at 16 places", MOST);
	is_long(crc_32(0, v + 5, LONG), (long)crc32_z(0, v + 5, LONG), "of a long piece");
	is_long(crc_32(crc_32(0, v, 1000), v + 1000, LONG - 1000), (long)crc32_z(0, v, LONG),
		"of two pieces");
	return done();
}
