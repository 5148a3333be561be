#include "base/num.h"
#include "base/err.h"
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `"12x" is not WHAT between LO and HI`, without the bounds that bound nothing. */
static int
refuse(const char *s, const char *what, const char *lo, const char *hi)
{
	if (lo && hi)
		return err_set("\"%.60s\" is not %s between %s and %s", s, what, lo, hi);
	if (lo || hi)
		return err_set("\"%.60s\" is not %s of at %s %s", s, what, lo ? "least" : "most",
			       lo ? lo : hi);
	return err_set("\"%.60s\" is not %s", s, what);
}

int
num_long(const char *s, long lo, long hi, long *out)
{
	char least[NUM_TEXT], most[NUM_TEXT], *end;
	const char *digits = s + (*s == '-');
	long v;
	if (*digits < '0' || *digits > '9')
		goto err;
	errno = 0;
	v = strtol(s, &end, 10);
	if (*end || errno || v < lo || v > hi)
		goto err;
	*out = v;
	return 0;
err:
	snprintf(least, sizeof least, "%ld", lo);
	snprintf(most, sizeof most, "%ld", hi);
	return refuse(s, "a whole number", lo == LONG_MIN ? NULL : least,
		      hi == LONG_MAX ? NULL : most);
}

/*
 * Up to 2^53 and 10^22 doubles are exact, so that one product or quotient of them is the nearest
 * double: most numbers in tables need no more.  False where strtod has to look.
 */
static bool
quick(const char *s, double *out)
{
	static const double ten[] = {1e0,  1e1,	 1e2,  1e3,  1e4,  1e5,	 1e6,  1e7,
				     1e8,  1e9,	 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
				     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	const char *p = s + (*s == '-'), *begin = p, *point = NULL;
	uint64_t v = 0;
	long digits;
	int e = 0;
	for (;; p++)
		if (*p >= '0' && *p <= '9')
			v = 10 * v + (uint64_t)(*p - '0');
		else if (*p == '.' && !point)
			point = p;
		else
			break;
	digits = p - begin - (point ? 1 : 0);
	if (digits < 1 || digits > 17 || v > 1ull << 53)
		return false;
	if (point)
		e = (int)(point + 1 - p);
	if (*p == 'e' || *p == 'E') {
		bool minus = p[1] == '-';
		int d = 0;
		p += 1 + (minus || p[1] == '+');
		if (*p < '0' || *p > '9')
			return false;
		for (; *p >= '0' && *p <= '9' && d < 1000; p++)
			d = 10 * d + (*p - '0');
		e += minus ? -d : d;
	}
	if (*p || e < -22 || e > 22)
		return false;
	*out = e < 0 ? (double)v / ten[-e] : (double)v * ten[e];
	if (*s == '-')
		*out = -*out;
	return true;
}

int
num_real(const char *s, double lo, double hi, double *out)
{
	char least[NUM_TEXT], most[NUM_TEXT], *end;
	double v;
	if (!quick(s, &v)) {
		/* These characters cannot spell inf, nan or hexadecimal. */
		if (*s == '+' || s[strspn(s, "0123456789.eE+-")])
			goto err;
		v = strtod(s, &end);
		if (end == s || *end || !isfinite(v))
			goto err;
	}
	if (!(v >= lo && v <= hi))
		goto err;
	*out = v;
	return 0;
err:
	return refuse(s, "a number", lo <= -DBL_MAX ? NULL : num_text(least, lo),
		      hi >= DBL_MAX ? NULL : num_text(most, hi));
}

/* Units by suffix, 1 without; 0 for any other text. */
static uint64_t
unit(const char *s)
{
	static const char units[] = "KMGT";
	const char *u = *s ? strchr(units, *s) : NULL;
	if (!*s)
		return 1;
	return u && !s[1] ? 1ull << (10 * (u - units + 1)) : 0;
}

int
num_bytes(const char *s, size_t lo, size_t hi, size_t *out)
{
	enum { PLACES = 9 };
	char least[NUM_TEXT], most[NUM_TEXT];
	unsigned __int128 v = 0, scale = 1;
	const char *p = s;
	for (; *p >= '0' && *p <= '9'; p++)
		if ((v = 10 * v + (unsigned)(*p - '0')) > SIZE_MAX)
			goto err;
	if (p == s)
		goto err;
	if (*p == '.') {
		const char *point = p++;
		for (; *p >= '0' && *p <= '9' && p - point <= PLACES; p++) {
			v = 10 * v + (unsigned)(*p - '0');
			scale *= 10;
		}
		/* Part of a unit, and a unit above the byte. */
		if (p == point + 1 || !*p)
			goto err;
	}
	/* hi refuses first what would leave the 128 bits: v < 2^64 * 10^9, a unit <= 2^40. */
	if (!unit(p) || v / scale > hi / unit(p))
		goto err;
	v = v * unit(p) / scale;
	if (v < lo || v > hi)
		goto err;
	*out = (size_t)v;
	return 0;
err:
	snprintf(least, sizeof least, "%zu", lo);
	snprintf(most, sizeof most, "%zu", hi);
	return refuse(s, "a size in bytes (4096, 64K, 1.5M, 2G, 1T)", lo ? least : NULL,
		      hi == SIZE_MAX ? NULL : most);
}

const char *
num_text(char *buf, double x)
{
	/* Whole numbers of up to nine digits print alike, and faster, as integers; -0 does not. */
	if (x == rint(x) && fabs(x) < 1e9 && !(x == 0 && signbit(x)))
		snprintf(buf, NUM_TEXT, "%d", (int)x);
	else if (isnan(x))
		snprintf(buf, NUM_TEXT, "nan");
	else
		snprintf(buf, NUM_TEXT, "%.9g", x);
	return buf;
}

double
num_single(double x)
{
	const float f = (float)x;

	return (double)f;
}
