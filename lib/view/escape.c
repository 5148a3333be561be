#include "view/escape.h"
#include <stdint.h>

int
escape_width(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	const int n = *p < 0x80	  ? 1
		      : *p < 0xc2 ? 0
		      : *p < 0xe0 ? 2
		      : *p < 0xf0 ? 3
		      : *p < 0xf5 ? 4
				  : 0;
	uint32_t c = n == 1 ? *p : *p & (0x7fu >> n);

	if (n == 1)
		return *p >= 0x20 && *p != 0x7f;
	for (int i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	/* Longer than need be, surrogates, beyond Unicode, C1 controls, what is no character. */
	if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) || c < 0xa0 ||
	    (c >= 0xd800 && c < 0xe000) || (c & 0xfffe) == 0xfffe)
		return 0;
	return n;
}

/* Copies a character that needs no escape; the bytes taken. */
static int
put(FILE *out, const char *s)
{
	const int n = escape_width(s);

	if (!n) {
		fputs("\xef\xbf\xbd", out);
		return 1;
	}
	fwrite(s, 1, (size_t)n, out);
	return n;
}

void
escape_xml(FILE *out, const char *s)
{
	while (*s)
		switch (*s) {
		case '&': fputs("&amp;", out), s++; break;
		case '<': fputs("&lt;", out), s++; break;
		case '>': fputs("&gt;", out), s++; break;
		case '"': fputs("&quot;", out), s++; break;
		default: s += put(out, s); break;
		}
}

void
escape_into(FILE *out, const char *before, const char *s, const char *after)
{
	fputs(before, out);
	escape_xml(out, s);
	fputs(after, out);
}

void
escape_json(FILE *out, const char *s)
{
	putc('"', out);
	while (*s)
		switch (*s) {
		case '"':
		case '\\': fprintf(out, "\\%c", *s++); break;
		case '&':
		case '<':
		case '>': fprintf(out, "\\u%04x", (unsigned)*s++); break;
		default: s += put(out, s); break;
		}
	putc('"', out);
}
