#include "base/mem.h"
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void __attribute__((noreturn)) die(size_t n, size_t size)
{
	fprintf(stderr, "%s: out of memory (%zu x %zu bytes wanted)\n",
		program_invocation_short_name, n, size);
	exit(1);
}

void *
mem_zero(size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - 64)
		die(n, size);
	p = aligned_alloc(64, (bytes + 63) / 64 * 64 + (bytes == 0 ? 64 : 0));
	if (!p)
		die(n, size);
	return memset(p, 0, bytes);
}

void *
mem_grow(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) || !(p = realloc(p, bytes ? bytes : 1)))
		die(n, size);
	return p;
}

char *
mem_copy(const char *s)
{
	return mem_text("%s", s);
}

char *
mem_text(const char *fmt, ...)
{
	char *s;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		die(1, strlen(fmt));
	va_end(ap);
	return s;
}

void *
mem_map(size_t bytes)
{
	void *p;

	if (bytes == 0)
		return NULL;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die(1, bytes);
	return p;
}

void
mem_unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

size_t
mem_peak(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	size_t kib = 0;

	if (!f)
		return 0;
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "VmHWM: %zu kB", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

void *
arena_take(struct arena *a, size_t n, size_t size)
{
	size_t bytes, at = a->used;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 4 || at > SIZE_MAX / 4)
		die(n, size);
	a->used = at + (bytes + 63) / 64 * 64;
	return a->base ? a->base + at : NULL;
}
