#include "view/png.h"
#include "base/mem.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct bytes {
	unsigned char *v;
	size_t n;
};

static void
add(struct bytes *b, const void *v, size_t n)
{
	b->v = mem_grow(b->v, b->n + n + 1, 1);
	if (n)
		memcpy(b->v + b->n, v, n);
	b->n += n;
}

static void
add_number(struct bytes *b, uint32_t v)
{
	const unsigned char big[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
				      (unsigned char)(v >> 8), (unsigned char)v};
	add(b, big, 4);
}

/* Length, type, data, CRC-32 of type and data. */
static void
chunk(struct bytes *b, const char *type, const unsigned char *v, size_t n)
{
	size_t from;

	add_number(b, (uint32_t)n);
	from = b->n;
	add(b, type, 4);
	add(b, v, n);
	add_number(b, (uint32_t)crc32(0, b->v + from, (uInt)(b->n - from)));
}

static void
header(struct bytes *b, int width, int height)
{
	static const unsigned char kind[] = {8, 3, 0, 0, 0}; /* 8 bits of a palette */
	struct bytes h = {0};

	add_number(&h, (uint32_t)width);
	add_number(&h, (uint32_t)height);
	add(&h, kind, sizeof kind);
	chunk(b, "IHDR", h.v, h.n);
	free(h.v);
}

static void
palette(struct bytes *b, const unsigned *rgb, int colors)
{
	unsigned char v[256 * 3] = {0};

	for (int i = 0; i < colors; i++)
		for (int k = 0; k < 3; k++)
			v[3 * (i + 1) + k] = (unsigned char)(rgb[i] >> (16 - 8 * k));
	chunk(b, "PLTE", v, 3 * ((size_t)colors + 1));
	chunk(b, "tRNS", v, 1); /* colour 0, of which the others are opaque */
}

/* Each line begins with its filter, 0: none. */
static void
image(struct bytes *b, const unsigned char *pixel, int width, int height)
{
	const size_t line = (size_t)width + 1, n = line * (size_t)height;
	unsigned char *raw = mem_zero(n, 1), *packed;
	uLongf size = compressBound(n);

	for (int i = 0; i < height; i++)
		memcpy(raw + line * i + 1, pixel + (size_t)width * i, (size_t)width);
	packed = mem_zero(size, 1);
	compress2(packed, &size, raw, n, 6);
	chunk(b, "IDAT", packed, size);
	free(raw);
	free(packed);
}

static void
base64(FILE *out, const unsigned char *v, size_t n)
{
	static const char digit[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		const unsigned w = (unsigned)v[i] << 16 |
				   (i + 1 < n ? (unsigned)v[i + 1] << 8 : 0) |
				   (i + 2 < n ? v[i + 2] : 0);
		putc(digit[w >> 18], out);
		putc(digit[w >> 12 & 63], out);
		putc(i + 1 < n ? digit[w >> 6 & 63] : '=', out);
		putc(i + 2 < n ? digit[w & 63] : '=', out);
	}
}

void
png_uri(FILE *out, const unsigned char *pixel, int width, int height, const unsigned *rgb,
	int colors)
{
	struct bytes b = {0};

	add(&b, "\x89PNG\r\n\x1a\n", 8);
	header(&b, width, height);
	palette(&b, rgb, colors);
	image(&b, pixel, width, height);
	chunk(&b, "IEND", NULL, 0);
	fputs("data:image/png;base64,", out);
	base64(out, b.v, b.n);
	free(b.v);
}
