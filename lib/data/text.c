#include "data/text.h"
#include "base/err.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct text texts[] = {
	{.name = "bible",
	 .package = "bible-kjv",
	 .what = "the King James Bible, a verse a line",
	 .command = "bible -f gen1:1-rev22:21"},
	{.name = "python",
	 .package = "libpython3-stdlib",
	 .what = "Python source: its standard library",
	 .lists = "libpython3.*-minimal libpython3.*-stdlib",
	 .match = "/usr/lib/python3*.py"},
	{.name = "c",
	 .package = "libc6-dev",
	 .what = "C headers: the C library's and the kernel's",
	 .lists = "libc6-dev linux-libc-dev",
	 .match = "/usr/include/*.h"},
	{.name = "perl",
	 .package = "perl",
	 .what = "Perl source with its manual: the standard modules",
	 .lists = "perl-base perl-modules-5.*",
	 .match = "*.pm *.pod *.pl",
	 .skip = "*/unicore/*"},
	{.name = "man",
	 .package = "manpages mandoc",
	 .what = "manual pages about Linux, as mandoc renders them",
	 .lists = "manpages",
	 .match = "/usr/share/man/man*.gz",
	 .command = "mandoc -T ascii"},
	{.name = "licenses",
	 .package = "base-files",
	 .what = "licences of free software, in legal English",
	 .lists = "base-files",
	 .match = "/usr/share/common-licenses/*"},
	{.name = "jargon",
	 .package = "jargon-text",
	 .what = "the Jargon File, a dictionary of hackers",
	 .lists = "jargon-text",
	 .match = "*/jargon.txt.gz"},
	{.name = "gcide",
	 .package = "dict-gcide",
	 .what = "the Collaborative International Dictionary of English",
	 .lists = "dict-gcide",
	 .match = "*.dict.dz"},
	{.name = "metamath",
	 .package = "metamath-databases",
	 .what = "formal proofs in Metamath",
	 .lists = "metamath-databases",
	 .match = "*.mm"},
	{.name = "russian",
	 .package = "fortunes-ru",
	 .what = "jokes and sayings in Russian, in UTF-8",
	 .lists = "fortunes-ru",
	 .match = "/usr/share/games/fortunes/ru/*",
	 .skip = "*.dat"},
};

int
text_count(void)
{
	return (int)(sizeof(texts) / sizeof(texts[0]));
}

const struct text *
text_at(int i)
{
	return &texts[i];
}

const struct text *
text_find(const char *name)
{
	char names[512] = "";

	for (int i = 0; i < text_count(); i++) {
		if (strcmp(texts[i].name, name) == 0)
			return &texts[i];
		strcat(strcat(names, i > 0 ? ", " : ""), texts[i].name);
	}
	err_set("no text is called %s (expected one of %s)", name, names);
	return NULL;
}

/* --- the files of packages --- */

struct names {
	size_t n, room;
	char **v;
};

static void
names_add(struct names *s, const char *name)
{
	if (s->n == s->room) {
		s->room = 2 * s->room + 64;
		s->v = mem_grow(s->v, s->room, sizeof(*s->v));
	}
	s->v[s->n++] = mem_copy(name);
}

static void
names_free(struct names *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->v[i]);
	free(s->v);
}

static int
names_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether one of the patterns, which stand between blanks, matches. */
static bool
matches(const char *patterns, const char *path)
{
	char *all = mem_copy(patterns), *rest = all, *p;
	bool found = false;

	while (!found && (p = strsep(&rest, " ")))
		found = fnmatch(p, path, 0) == 0;
	free(all);
	return found;
}

/* A manual page that only says where another one is. */
static bool
is_reference(const char *path)
{
	struct file *f = file_open(path);
	char start[4] = "";
	bool is = f && file_read(f, start, 4) == 4 && memcmp(start, ".so ", 4) == 0;

	file_close(f);
	return is;
}

/* The files that dpkg's list names and the text wants, where they are on the disk. */
static int
names_from(struct names *s, const struct text *t, const char *list)
{
	size_t n;
	char *text = file_slurp(list, &n), *rest = text, *path;
	struct stat st;

	if (!text)
		return -1;
	while ((path = strsep(&rest, "\n")))
		if (matches(t->match, path) && !(t->skip && matches(t->skip, path)) &&
		    lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
		    !(t->command && is_reference(path)))
			names_add(s, path);
	free(text);
	return 0;
}

/* The lists of packages that match a pattern, with or without an architecture. */
static int
names_from_packages(struct names *s, const struct text *t, const char *pattern)
{
	static const char *const form[] = {"/var/lib/dpkg/info/%s.list",
					   "/var/lib/dpkg/info/%s:*.list"};
	int r = 0;

	for (int k = 0; k < 2 && r == 0; k++) {
		char *path = k ? mem_text(form[1], pattern) : mem_text(form[0], pattern);
		glob_t g = {0};

		if (glob(path, 0, NULL, &g) == 0)
			for (size_t i = 0; i < g.gl_pathc && r == 0; i++)
				r = names_from(s, t, g.gl_pathv[i]);
		globfree(&g);
		free(path);
	}
	return r;
}

static int
names_of(struct names *s, const struct text *t)
{
	char *all = mem_copy(t->lists), *rest = all, *pattern;
	size_t n = 0;
	int r = 0;

	while (r == 0 && (pattern = strsep(&rest, " ")))
		r = names_from_packages(s, t, pattern);
	free(all);
	if (s->n > 0)
		qsort(s->v, s->n, sizeof(*s->v), names_order);
	for (size_t i = 0; i < s->n; i++) {
		if (n > 0 && strcmp(s->v[i], s->v[n - 1]) == 0)
			free(s->v[i]);
		else
			s->v[n++] = s->v[i];
	}
	s->n = n;
	return r;
}

/* --- writing --- */

struct sink {
	struct file *f; /* NULL: only count */
	int64_t n, limit;
};

static int
sink_put(struct sink *s, const char *p, size_t n)
{
	if ((int64_t)n > s->limit - s->n)
		n = (size_t)(s->limit - s->n);
	s->n += (int64_t)n;
	return s->f ? file_write(s->f, p, n) : 0;
}

static int
copy_file(struct sink *s, const char *name)
{
	struct file *f = file_open(name);
	char buf[1 << 14];
	ssize_t n = 0;
	int r = f ? 0 : -1;

	while (r == 0 && s->n < s->limit && (n = file_read(f, buf, sizeof(buf))) > 0)
		r = sink_put(s, buf, (size_t)n);
	if (n < 0)
		r = -1;
	file_close(f);
	return r;
}

/*
 * What a program for terminals prints, without overstriking: "a\ba" is a bold a, "_\ba" an
 * underlined one.  *held is the character that a backspace may still take back, -1 without one.
 */
static int
put_plain(struct sink *s, char *p, size_t n, int *held)
{
	char out[(1 << 14) + 1];
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] != '\b' && *held >= 0)
			out[k++] = (char)*held;
		*held = p[i] == '\b' ? -1 : (unsigned char)p[i];
	}
	return sink_put(s, out, k);
}

static int
copy_fd(struct sink *s, int fd)
{
	char buf[1 << 14], last;
	int held = -1, r = 0;
	ssize_t n = 1;

	while (r == 0 && n != 0 && s->n < s->limit) {
		n = read(fd, buf, sizeof(buf));
		if (n > 0)
			r = put_plain(s, buf, (size_t)n, &held);
		else if (n < 0 && errno != EINTR)
			return err_set("reading from a program: %s", strerror(errno));
	}
	last = (char)held;
	return r == 0 && held >= 0 ? sink_put(s, &last, 1) : r;
}

/* Start argv with its stdout on *fd: 1, 0 when there is no such program, -1 with a message. */
static int
start(char **argv, pid_t *pid, int *fd)
{
	static char *const environment[] = {"LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin", NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t how;
	sigset_t pipe_signal;
	int end[2], why;

	if (pipe2(end, O_CLOEXEC) < 0)
		return err_set("pipe: %s", strerror(errno));
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, end[1], 1);
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_init(&how);
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	posix_spawnattr_setsigdefault(&how, &pipe_signal);
	posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGDEF);
	why = posix_spawnp(pid, argv[0], &files, &how, argv, environment);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&how);
	close(end[1]);
	if (why == 0) {
		*fd = end[0];
		return 1;
	}
	close(end[0]);
	return why == ENOENT ? 0 : err_set("%s: %s", argv[0], strerror(why));
}

/* Copy what argv prints; a program cut off at the limit may complain. */
static int
copy_command(struct sink *s, char **argv)
{
	pid_t pid;
	int fd, status, r = start(argv, &pid, &fd);

	if (r <= 0)
		return r;
	r = copy_fd(s, fd);
	close(fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 0 && s->n < s->limit && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return err_set("%s failed", argv[0]);
	return r;
}

/* The command's words, then the files. */
static int
run(struct sink *s, const struct text *t, const struct names *files)
{
	char *words = mem_copy(t->command), *rest = words, *word;
	char **argv = mem_zero(strlen(words) + files->n + 1, sizeof(*argv));
	size_t n = 0;
	int r;

	while ((word = strsep(&rest, " ")))
		argv[n++] = word;
	for (size_t i = 0; i < files->n; i++)
		argv[n++] = files->v[i];
	r = copy_command(s, argv);
	free(argv);
	free(words);
	return r;
}

int64_t
text_write(const struct text *t, int64_t limit, struct file *f)
{
	struct sink s = {f, 0, limit};
	struct names files = {0};
	int r = t->lists ? names_of(&files, t) : 0;

	if (r == 0 && t->command && (files.n > 0 || !t->lists))
		r = run(&s, t, &files);
	else
		for (size_t i = 0; r == 0 && i < files.n && s.n < limit; i++)
			r = copy_file(&s, files.v[i]);
	names_free(&files);
	return r < 0 ? -1 : s.n;
}
