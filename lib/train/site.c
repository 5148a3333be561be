#include "train/site.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "train/environment.h"
#include "train/run.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_TRIES = 40 }; /* a twentieth of a second each */

int
site_lock(struct site *s)
{
	if (file_mkdir(s->dir) != 0)
		return -1;
	s->lock = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->lock < 0)
		return err_set("%s: %s", s->dir, strerror(errno));
	/* one that was killed holds it until its memory is given back */
	for (int i = 0; flock(s->lock, LOCK_EX | LOCK_NB) != 0; i++) {
		if (i == LOCK_TRIES)
			return err_set("%s: another moe-train is at work there", s->dir);
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	}
	return 0;
}

int
site_recipe(struct site *s, const struct opt_table *t, const struct site_source *v, int n)
{
	char *rows = opt_recipe(t);
	size_t bytes;
	FILE *f = open_memstream(&s->text, &bytes);

	if (f) {
		fputs(rows, f);
		for (int i = 0; i < n; i++)
			fprintf(f, "made-of %s %s@%ld %" PRIu64 " %08" PRIx32 "\n", v[i].kind,
				v[i].name, v[i].step, v[i].bytes, v[i].crc);
	}
	free(rows);
	return f && fclose(f) == 0 ? 0 : err_set("out of memory");
}

/* Whether the command line has the last word on an option. */
static bool
commanded(const struct opt_table *t, const char *name)
{
	int i = 0;

	while (strcmp(t->row[i].name, name) != 0)
		i++;
	return t->source[i] == OPT_COMMAND;
}

static int
not_made_of(const char *was)
{
	return err_set("the data is not what the recipe was made with: no file is \"%s\"", was);
}

int
site_check(const struct site *s, const struct opt_table *t, const struct opt_many *made_of)
{
	static const char *const kind[][2] = {{"train ", "data"},
					      {"val ", "val"},
					      {"from ", "resume-from"},
					      {"experts ", "experts-from"}};

	for (int i = 0; i < made_of->n; i++) {
		const char *was = made_of->v[i];
		char *line = mem_text("\nmade-of %s\n", was);
		bool good = strstr(s->text, line) != NULL;
		for (int j = 0; j < 4; j++)
			good |= strncmp(was, kind[j][0], strlen(kind[j][0])) == 0 &&
				commanded(t, kind[j][1]);
		free(line);
		if (!good)
			return not_made_of(was);
	}
	return 0;
}

int
site_check_data(const struct schedule *s, const struct opt_many *made_of)
{
	for (int i = 0; i < made_of->n; i++) {
		const char *was = made_of->v[i];
		bool there = strncmp(was, "train ", 6) != 0;

		for (int k = 0; !there && k < s->n; k++) {
			char *is = mem_text("train %s@%ld %" PRIu64 " %08" PRIx32, s->data[k]->name,
					    s->from[k], s->data[k]->bytes, s->data[k]->crc);

			there = strcmp(is, was) == 0;
			free(is);
		}
		if (!there)
			return not_made_of(was);
	}
	return 0;
}

/* The lines of two recipes at which they first differ, or both at their end. */
static void
first_difference(const char **a, const char **b)
{
	for (;;) {
		size_t n = strcspn(*a, "\n");
		if (!**a || strncmp(*a, *b, n + 1) != 0)
			return;
		*a += n + 1;
		*b += n + 1;
	}
}

int
site_compare(const struct site *s, const char *there, bool longer, long steps)
{
	const char *a = there, *b = s->text;
	long was;

	first_difference(&a, &b);
	if (longer && sscanf(a, "steps %ld\n", &was) == 1 && was < steps &&
	    strncmp(b, "steps ", 6) == 0) {
		a = strchr(a, '\n') + 1;
		b = strchr(b, '\n') + 1;
		first_difference(&a, &b);
	}
	if (!*a && !*b)
		return 0;
	return err_set("%s: a run with another recipe is there (\"%.*s\" there, \"%.*s\" here)",
		       s->dir, (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b);
}

static int
write_text(const struct site *s, const char *name, const char *text, const char *more)
{
	char *path = run_path(s->dir, name);
	struct file *f = file_replace(path);
	int status = f ? file_print(f, "%s%s", text, more) : -1;

	free(path);
	if (status == 0)
		return file_commit(f);
	file_abandon(f);
	return -1;
}

int
site_write(const struct site *s, const char *sources)
{
	char *environment = environment_text();
	int status = write_text(s, "environment", environment, "");

	free(environment);
	return status < 0 ? -1 : write_text(s, "recipe", s->text, sources);
}

void
site_close(struct site *s)
{
	if (s->lock >= 0)
		close(s->lock);
	free(s->text);
}
