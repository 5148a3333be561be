#ifndef CMD_PROGRAM_H
#define CMD_PROGRAM_H
#include "base/err.h"
#include "base/opt.h"
#include "base/version.h"
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What every program does alike: messages, usage, an end that tells if stdout was written. */

static const char *program_name;

static inline void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	putc('\n', stderr);
}

/* Say what is wrong with the command line: the exit status of that, 2. */
static inline int __attribute__((format(printf, 1, 2))) usage(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (-h for usage)\n", stderr);
	return 2;
}

/* The status, or 1 if standard output could not be written. */
static inline int
finish(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		say("standard output: write error");
		return 1;
	}
	return status;
}

/*
 * No file of ours gets the number of a standard stream that was closed: what is written to one
 * fails.  A limit on the size of files is an error like a full disk.
 */
static inline void
standard_streams(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDONLY)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd > STDERR_FILENO)
		close(fd);
	signal(SIGXFSZ, SIG_IGN);
}

/*
 * Parse the command line, answer -h and -V, else call run, which returns the exit status or -1
 * with a message set.
 */
static inline int
program(struct opt_table *t, const bool *help, const bool *version, int argc, char **argv,
	int (*run)(const struct opt_many *words))
{
	struct opt_many words = {0};
	int status;

	program_name = t->program;
	standard_streams();
	if (opt_parse(t, argc, argv, &words) < 0) {
		status = usage("%s", err_text());
	} else if (*help) {
		opt_usage(t, stdout);
		status = finish(0);
	} else if (*version) {
		printf("%s %s\n", t->program, MOE_VERSION);
		status = finish(0);
	} else {
		status = run(&words);
		if (status < 0) {
			say("%s", err_text());
			status = 1;
		}
		status = finish(status);
	}
	for (int i = 0; i < words.n; i++)
		free(words.v[i]);
	free(words.v);
	opt_free(t);
	return status;
}

#endif
