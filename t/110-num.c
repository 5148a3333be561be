#include "base/err.h"
#include "base/num.h"
#include "tap.h"
#include <float.h>
#include <limits.h>
#include <stdint.h>

static void
whole(void)
{
	static const char *const wrong[] = {"",
					    "-",
					    "+1",
					    " 1",
					    "1 ",
					    "1x",
					    "0x10",
					    "1.0",
					    "1e3",
					    "--1",
					    "9223372036854775808",
					    "inf",
					    "1\n",
					    "\xd9\xa1"};
	long v = 0;
	is_long(num_long("42", 0, 100, &v), 0, "42 is a whole number");
	is_long(v, 42, "and is 42");
	is_long(num_long("-7", -7, 100, &v), 0, "a lower limit is in range");
	is_long(v, -7, "-7");
	is_long(num_long("-9223372036854775808", LONG_MIN, LONG_MAX, &v), 0, "the least long");
	ok(v == LONG_MIN, "reads as LONG_MIN");
	is_long(num_long("007", 0, 9, &v), 0, "leading zeros are decimal");
	is_long(v, 7, "007 is 7");
	v = 5;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		is_long(num_long(wrong[i], LONG_MIN, LONG_MAX, &v), -1, "\"%s\" is refused",
			strcmp(wrong[i], "1\n") ? wrong[i] : "1\\n");
	is_long(num_long("0", 1, 9, &v), -1, "below the range");
	is_long(num_long("10", 1, 9, &v), -1, "above the range");
	is_long(v, 5, "a refused text leaves the value alone");
	num_long("12x", 1, 4096, &v);
	is_text(err_text(), "\"12x\" is not a whole number between 1 and 4096", "message");
	num_long("-1", 0, LONG_MAX, &v);
	is_text(err_text(), "\"-1\" is not a whole number of at least 0", "message without a top");
	num_long("x", LONG_MIN, LONG_MAX, &v);
	is_text(err_text(), "\"x\" is not a whole number", "message without limits");
}

static void
real(void)
{
	static const char *const wrong[] = {"",	    "-",     ".",   "+1",    " 1",    "1 ",
					    "1e",   "1e+",   "e5",  "inf",   "nan",   "infinity",
					    "-inf", "0x1p3", "1,5", "1.2.3", "1e999", "-1e999",
					    "1d3",  "1-2",   "--1"};
	double v = 0;
	is_long(num_real("0.001", 0, 1, &v), 0, "0.001 is a number");
	is_real(v, 1e-3, 0, "and is 1e-3");
	is_long(num_real("-1.5e-3", -1, 0, &v), 0, "-1.5e-3");
	is_real(v, -1.5e-3, 0, "-1.5e-3 is itself");
	is_long(num_real("5.", 0, 9, &v) | num_real(".5", 0, 9, &v), 0, "5. and .5");
	is_long(num_real("1e-400", 0, 1, &v), 0, "a number too small is zero");
	is_real(v, 0, 0, "1e-400");
	is_long(num_real("-0", -1, 1, &v), 0, "-0");
	ok(v == 0 && signbit(v), "keeps its sign");
	v = 5;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		is_long(num_real(wrong[i], -INFINITY, INFINITY, &v), -1, "\"%s\" is refused",
			wrong[i]);
	is_long(num_real("1.0000001", 0, 1, &v), -1, "above the range");
	is_real(v, 5, 0, "a refused text leaves the value alone");
	num_real("2", 0, 0.5, &v);
	is_text(err_text(), "\"2\" is not a number between 0 and 0.5", "message");
	num_real("nan", -DBL_MAX, DBL_MAX, &v);
	is_text(err_text(), "\"nan\" is not a number", "message without limits");
}

/* The short way must give what strtod gives, to the bit. */
static void
real_bits(void)
{
	static const char *const form[] = {"%.9g", "%.17g", "%.3f", "%.12e", "%.0f", "%.15g"};
	uint64_t x = 88172645463325252u;
	long wrong = 0;
	char s[400];
	for (int i = 0; i < 200000; i++) {
		double a, b = 0;
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		a = (double)(int64_t)x * pow(10, (int)(x % 61) - 45);
		snprintf(s, sizeof s, form[i % 6], a);
		wrong += num_real(s, -DBL_MAX, DBL_MAX, &b) || b != strtod(s, NULL);
	}
	is_long(wrong, 0, "200000 numbers read as strtod reads them");
	for (int digits = 1; digits < 25; digits++) {
		double b = 0;
		snprintf(s, sizeof s, "%.*s.%.*s", digits, "9007199254740993900719925474099",
			 digits / 2, "719925474099371992547");
		wrong += num_real(s, -DBL_MAX, DBL_MAX, &b) || b != strtod(s, NULL);
		snprintf(s, sizeof s, "%.*se-%d", digits, "9007199254740993900719925474099",
			 digits);
		wrong += num_real(s, -DBL_MAX, DBL_MAX, &b) || b != strtod(s, NULL);
	}
	is_long(wrong, 0, "so do numbers about 2^53");
}

static void
bytes(void)
{
	static const struct {
		const char *text;
		size_t want;
	} right[] = {{"4096", 4096},	     {"64K", 65536},
		     {"1.5M", 1572864},	     {"2G", 2147483648u},
		     {"1T", 1099511627776u}, {"0", 0},
		     {"0.5K", 512},	     {"18446744073709551615", SIZE_MAX},
		     {"1.3K", 1331}};
	static const char *const wrong[] = {"",
					    "K",
					    ".5M",
					    "1.5",
					    "1.M",
					    "1k",
					    "1KB",
					    "-1",
					    "+1",
					    "1 K",
					    "1e3",
					    "1P",
					    "18446744073709551616",
					    "16777216T",
					    "99999999999999999999999999T",
					    "1.5.5M"};
	size_t v = 0;
	for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
		is_long(num_bytes(right[i].text, 0, SIZE_MAX, &v), 0, "%s is a size",
			right[i].text);
		ok(v == right[i].want, "%s is %zu bytes (found %zu)", right[i].text, right[i].want,
		   v);
	}
	v = 5;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		is_long(num_bytes(wrong[i], 0, SIZE_MAX, &v), -1, "\"%s\" is refused", wrong[i]);
	is_long(num_bytes("2K", 0, 2047, &v), -1, "above the range");
	is_long(num_bytes("0.5T", 0, 1 << 20, &v), -1, "above the range, in parts of a unit");
	is_long((long)v, 5, "a refused text leaves the value alone");
	num_bytes("7", 64, 4096, &v);
	is_text(err_text(),
		"\"7\" is not a size in bytes (4096, 64K, 1.5M, 2G, 1T) between 64 and 4096",
		"message");
}

static void
texts(void)
{
	static const float odd[] = {
		0.1f, 1e-7f, 16777217.f, 3.4028235e38f, 1.17549435e-38f, 999999999.f, 123456.789f};
	char s[NUM_TEXT], want[64];
	is_text(num_text(s, 0.1), "0.1", "0.1");
	is_text(num_text(s, 3), "3", "3");
	is_text(num_text(s, -0.0), "-0", "-0");
	is_text(num_text(s, NAN), "nan", "NaN");
	is_text(num_text(s, -NAN), "nan", "NaN with a sign bit");
	is_text(num_text(s, INFINITY), "inf", "infinity");
	is_text(num_text(s, -INFINITY), "-inf", "minus infinity");
	for (int e = -12; e <= 12; e++)
		for (int k = -11; k <= 11; k += 11) {
			double x = k * pow(10, e);
			snprintf(want, sizeof want, "%.9g", x);
			is_text(num_text(s, x), want, "%s is as printf has it", want);
		}
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		is_real(strtof(num_text(s, odd[i]), NULL), odd[i], 0, "%s is exact for a float", s);
}

/* Two at once are rounded like one. */
static void
singles(void)
{
	static const double x[2] = {0.1, -0.3};
	double v[2];

	v[0] = num_single(x[0]);
	v[1] = num_single(x[1]);
	is_real(v[0], 13421773 * 0x1p-27, 0, "0.1 rounded to float32");
	is_real(v[1], -10066330 * 0x1p-25, 0, "-0.3");
	is_real(num_single(1e300), INFINITY, 0, "beyond its range");
	ok(isnan(num_single(NAN)), "NaN");
}

int
main(void)
{
	singles();
	whole();
	real();
	real_bits();
	bytes();
	texts();
	return done();
}
