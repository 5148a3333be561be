#ifndef TAP_H
#define TAP_H
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Test Anything Protocol for C tests: TAP lines on stdout, on a failure what was expected and
 * found on stderr.  Each is_* compares what was computed with what it should be, prints a name
 * made as by printf, and returns whether the test passed.  main ends with `return done();`,
 * which prints the plan unless plan() gave it before.
 *
 *	is_long(lround(2.5), 3, "lround(%.1f) rounds away from zero", 2.5);
 *	return done();
 */
#define ok(cond, ...) tap_line((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_long(got, want, ...) tap_long((got), (want), __FILE__, __LINE__, __VA_ARGS__)
#define is_text(got, want, ...) tap_text((got), (want), __FILE__, __LINE__, __VA_ARGS__)
/* |got - want| <= tol; NaN equals NaN alone, an infinity itself. */
#define is_real(got, want, tol, ...) tap_real((got), (want), (tol), __FILE__, __LINE__, __VA_ARGS__)
#define is_bytes(got, want, n, ...) tap_bytes((got), (want), (n), __FILE__, __LINE__, __VA_ARGS__)

#define TAP_USE __attribute__((unused))
#define TAP_NAME(n) __attribute__((unused, format(printf, n, n + 1)))

static int tap_planned = -1, tap_run, tap_failed;

static bool
tap_print(bool pass, const char *file, int line, const char *name, va_list ap)
{
	printf("%s %d - ", pass ? "ok" : "not ok", ++tap_run);
	vprintf(name, ap);
	putchar('\n');
	fflush(stdout);
	if (!pass) {
		tap_failed++;
		fprintf(stderr, "# %s:%d: ", file, line);
	}
	return pass;
}

static TAP_NAME(4) bool tap_line(bool pass, const char *file, int line, const char *name, ...)
{
	va_list ap;

	va_start(ap, name);
	tap_print(pass, file, line, name, ap);
	va_end(ap);
	if (!pass)
		fprintf(stderr, "expected true, found false\n");
	return pass;
}

static TAP_NAME(5) bool tap_long(long long got, long long want, const char *file, int line,
				 const char *name, ...)
{
	va_list ap;

	va_start(ap, name);
	tap_print(got == want, file, line, name, ap);
	va_end(ap);
	if (got != want)
		fprintf(stderr, "expected %lld, found %lld\n", want, got);
	return got == want;
}

static TAP_NAME(6) bool tap_real(double got, double want, double tol, const char *file, int line,
				 const char *name, ...)
{
	bool same = got == want || (isnan(got) && isnan(want));
	bool pass = same || fabs(got - want) <= tol;
	va_list ap;

	va_start(ap, name);
	tap_print(pass, file, line, name, ap);
	va_end(ap);
	if (!pass)
		fprintf(stderr, "expected %.17g within %g, found %.17g\n", want, tol, got);
	return pass;
}

static TAP_NAME(5) bool tap_text(const char *got, const char *want, const char *file, int line,
				 const char *name, ...)
{
	bool pass = got && want ? !strcmp(got, want) : got == want;
	va_list ap;

	va_start(ap, name);
	tap_print(pass, file, line, name, ap);
	va_end(ap);
	if (!pass)
		fprintf(stderr, "expected \"%s\", found \"%s\"\n", want ? want : "(null)",
			got ? got : "(null)");
	return pass;
}

static TAP_NAME(6) bool tap_bytes(const void *got, const void *want, size_t n, const char *file,
				  int line, const char *name, ...)
{
	const unsigned char *g = got, *w = want;
	size_t i = 0;
	va_list ap;

	while (i < n && g[i] == w[i])
		i++;
	va_start(ap, name);
	tap_print(i == n, file, line, name, ap);
	va_end(ap);
	if (i < n)
		fprintf(stderr, "expected %02x, found %02x at byte %zu of %zu\n", w[i], g[i], i, n);
	return i == n;
}

static TAP_USE void
plan(int n)
{
	tap_planned = n;
	printf("1..%d\n", n);
	fflush(stdout);
}

/* Before any test: the whole file cannot run here. */
static TAP_USE void
skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	exit(fflush(stdout) ? 1 : 0);
}

static TAP_USE int
done(void)
{
	if (tap_planned < 0)
		printf("1..%d\n", tap_run);
	else if (tap_run != tap_planned)
		fprintf(stderr, "# expected %d tests, found %d\n", tap_planned, tap_run);
	fflush(stdout);
	return tap_failed || (tap_planned >= 0 && tap_run != tap_planned) || ferror(stdout);
}

#endif
