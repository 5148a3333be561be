#ifndef TEMP_H
#define TEMP_H
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A directory of the test's own, removed at its exit. */
static char temp_dir[256];

static int
temp_remove(const char *path, const struct stat *st, int type, struct FTW *w)
{
	(void)st, (void)type, (void)w;
	return remove(path);
}

static void
temp_clean(void)
{
	nftw(temp_dir, temp_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path of NAME in it; it holds for the next 63 calls. */
static __attribute__((unused)) const char *
temp(const char *name)
{
	static char path[64][512];
	static int turn;
	if (!*temp_dir) {
		const char *top = getenv("TMPDIR");
		snprintf(temp_dir, sizeof temp_dir, "%s/moe-test.XXXXXX", top ? top : "/tmp");
		if (!mkdtemp(temp_dir)) {
			perror(temp_dir);
			exit(1);
		}
		atexit(temp_clean);
	}
	turn = (turn + 1) % 64;
	snprintf(path[turn], sizeof path[turn], "%s/%s", temp_dir, name);
	return path[turn];
}

/* Make NAME in it of n bytes; its path. */
static __attribute__((unused)) const char *
temp_bytes(const char *name, const void *p, size_t n)
{
	const char *path = temp(name);
	FILE *f = fopen(path, "w");
	if (!f || fwrite(p, 1, n, f) != n || fclose(f)) {
		perror(path);
		exit(1);
	}
	return path;
}

static __attribute__((unused)) const char *
temp_text(const char *name, const char *text)
{
	return temp_bytes(name, text, strlen(text));
}

#endif
