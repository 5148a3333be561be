#include "train/run.h"
#include "base/err.h"
#include "base/mem.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const names[RUN_CSVS] = {"loss.csv", "experts.csv", "events.csv", "layers.csv",
					    "trace.csv.gz"};

char *
run_path(const char *dir, const char *name)
{
	return mem_text("%s/%s", dir, name);
}

bool
run_is_dir(const char *operand)
{
	struct stat st;

	return strcmp(operand, "-") != 0 && stat(operand, &st) == 0 && S_ISDIR(st.st_mode);
}

char *
run_name(const char *operand)
{
	char *name = mem_copy(operand);

	for (size_t n = strlen(name); n > 1 && name[n - 1] == '/';)
		name[--n] = 0;
	return name;
}

/* The mark of a file; bytes 0 if it has none. */
static int
find_mark(const char *marks, const char *name, uint64_t *bytes, uint32_t *crc)
{
	const size_t n = strlen(name);

	*bytes = 0;
	*crc = 0;
	for (const char *at = marks; at && *at; at = strchr(at, '\n') + 1) {
		if (!strchr(at, '\n'))
			return err_set("the marks of the CSV files are cut short");
		if (strncmp(at, name, n) == 0 && at[n] == ' ' &&
		    sscanf(at + n, " %" SCNu64 " %" SCNx32, bytes, crc) != 2)
			return err_set("the mark of %s makes no sense", name);
	}
	return 0;
}

static bool
regular(const char *path)
{
	struct stat st;

	return strcmp(path, "-") != 0 && (stat(path, &st) != 0 || S_ISREG(st.st_mode));
}

/* Does the file begin with what the mark says? */
static int
check_mark(const char *path, uint64_t bytes, uint32_t crc)
{
	uint64_t size = 0;
	uint32_t found = 0;

	if (bytes == 0)
		return 0;
	if (file_size(path, &size) != 0)
		return -1;
	if (size < bytes)
		return err_set("%s: %" PRIu64 " bytes (expected at least %" PRIu64
			       ", which the checkpoint recorded)",
			       path, size, bytes);
	if (file_crc(path, bytes, &found) != 0)
		return -1;
	if (found != crc)
		return err_set("%s: its first %" PRIu64 " bytes are not those of this run", path,
			       bytes);
	return 0;
}

static int
open_one(struct run *r, int i, const char *marks)
{
	uint64_t bytes;
	uint32_t crc;

	if (find_mark(marks, names[i], &bytes, &crc) != 0)
		return -1;
	if (bytes && regular(r->path[i])) {
		if (file_cut(r->path[i], bytes) != 0 || !(r->file[i] = file_append(r->path[i])))
			return -1;
	} else if (!(r->file[i] = file_create(r->path[i]))) {
		return -1;
	}
	file_tally(r->file[i], bytes, crc);
	r->row[i] = (struct row){.f = r->file[i]};
	return 0;
}

int
run_open(struct run *r, const char *dir, char *const elsewhere[RUN_CSVS],
	 const bool wanted[RUN_CSVS], const char *marks)
{
	uint64_t bytes;
	uint32_t crc;

	*r = (struct run){.dir = mem_copy(dir)};
	for (int i = 0; i < RUN_CSVS; i++)
		r->path[i] = elsewhere[i] ? mem_copy(elsewhere[i]) : run_path(dir, names[i]);
	/* All are checked before any is cut. */
	for (int i = 0; i < RUN_CSVS; i++)
		if (wanted[i] && regular(r->path[i]) &&
		    (find_mark(marks, names[i], &bytes, &crc) != 0 ||
		     check_mark(r->path[i], bytes, crc) != 0))
			goto err;
	for (int i = 0; i < RUN_CSVS; i++)
		if (wanted[i] && open_one(r, i, marks) != 0)
			goto err;
	return 0;
err:
	run_close(r);
	return -1;
}

int
run_open_pipes(struct run *r, const char *dir, char *const elsewhere[RUN_CSVS], const char *marks)
{
	bool wanted[RUN_CSVS];

	for (int i = 0; i < RUN_CSVS; i++)
		wanted[i] = elsewhere[i] && !regular(elsewhere[i]);
	return run_open(r, dir, elsewhere, wanted, marks);
}

bool
run_new(const struct run *r, enum run_csv i)
{
	uint64_t bytes;
	uint32_t crc;

	file_tallied(r->file[i], &bytes, &crc);
	return bytes == 0;
}

bool
run_piped(const struct run *r, enum run_csv i)
{
	return !regular(r->path[i]);
}

int
run_flush(struct run *r, enum run_csv i)
{
	return r->file[i] ? file_flush(r->file[i]) : 0;
}

char *
run_marks(const struct run *r)
{
	char *text = mem_copy("");

	for (int i = 0; i < RUN_CSVS; i++) {
		uint64_t bytes;
		uint32_t crc;
		char *more;
		if (!r->file[i])
			continue;
		file_tallied(r->file[i], &bytes, &crc);
		more = mem_text("%s%s %" PRIu64 " %08" PRIx32 "\n", text, names[i], bytes, crc);
		free(text);
		text = more;
	}
	return text;
}

int
run_sync(struct run *r)
{
	for (int i = 0; i < RUN_CSVS; i++)
		if (r->file[i] && file_sync(r->file[i]) != 0 && !run_piped(r, (enum run_csv)i))
			return -1;
	return 0;
}

int
run_close(struct run *r)
{
	int status = 0;

	for (int i = 0; i < RUN_CSVS; i++) {
		status |= file_close(r->file[i]);
		free(r->path[i]);
	}
	free(r->dir);
	*r = (struct run){0};
	return status ? -1 : 0;
}
