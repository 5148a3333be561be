#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char text[1024];

int
err_set(const char *fmt, ...)
{
	char next[sizeof text]; /* the arguments may point into text */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(next, sizeof next, fmt, ap);
	va_end(ap);
	memcpy(text, next, sizeof text);
	return -1;
}

int
err_in(const char *fmt, ...)
{
	char where[sizeof text];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(where, sizeof where, fmt, ap);
	va_end(ap);
	return err_set("%s: %s", where, text);
}

const char *
err_text(void)
{
	return text;
}
