#ifndef CMD_PROGRAM_H
#define CMD_PROGRAM_H
#include "base/err.h"
#include "base/opt.h"
#include "base/version.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* A row of a program's table of options: the value is a member of its struct args. */
#define ROW(name, letter, kind, member, lo, hi, words, help)                                  \
	{                                                                                     \
		name, letter, kind, offsetof(struct args, member), lo, hi, words, false, help \
	}

/* Programs of several commands: the first word names one, the others are its operands. */
struct verb {
	const char *name;
	int least, most;      /* operands */
	const char *operands; /* in words, for messages: "RUN..." */
	const char *options;  /* that go with it, besides -h and -V: " output seed " */
	int (*run)(char **operands, int n);
	int rows; /* the first rows of the table go with it, too */
};

static inline bool
verb_takes(const struct verb *v, const struct opt_table *t, int row)
{
	char word[80];

	snprintf(word, sizeof word, " %s ", t->row[row].name);
	return row < v->rows || strstr(v->options, word) || strstr(" help version ", word);
}

/* The names of all, for messages: "plan, stream or score". */
static inline const char *
verb_names(const struct verb *v, int n)
{
	static char names[400];
	size_t at = 0;

	for (int i = 0; i < n && at < sizeof names; i++)
		at += (size_t)snprintf(names + at, sizeof names - at, "%s%s",
				       !i	   ? ""
				       : i + 1 < n ? ", "
						   : " or ",
				       v[i].name);
	return names;
}

/*
 * Find the command among n, see that operands and options go with it, and do it: its status, or
 * that of a usage message.  `check`, unless NULL, is asked before: 0 to go on.
 */
static inline int
verb_run(const struct verb *v, int n, const struct opt_table *t, const struct opt_many *words,
	 int (*check)(const struct verb *v, char **operands, int n))
{
	const struct verb *end = v + n, *all = v;
	int operands = words->n - 1, status;

	if (words->n == 0)
		return usage("nothing to do (expected %s)", verb_names(v, n));
	while (v < end && strcmp(v->name, words->v[0]) != 0)
		v++;
	if (v == end)
		return usage("%.60s: no such command (expected %s)", words->v[0],
			     verb_names(all, n));
	for (int i = 0; i < t->n; i++)
		if (opt_given(t, t->row[i].name) && !verb_takes(v, t, i))
			return usage("--%s does not go with %s", t->row[i].name, v->name);
	if (operands < v->least || operands > v->most)
		return usage("%s: %d operand%s (expected %s)", v->name, operands,
			     operands == 1 ? "" : "s", *v->operands ? v->operands : "none");
	status = check ? check(v, words->v + 1, operands) : 0;
	return status ? status : v->run(words->v + 1, operands);
}

#endif
