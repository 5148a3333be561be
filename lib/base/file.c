#include "base/file.h"
#include "base/err.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { BUF = 1 << 16, GZIP = 15 + 16 }; /* GZIP: zlib's window bits for a gzip wrapper */

struct file {
	char *name; /* in messages */
	char *path; /* file_replace: what commit renames temp to */
	char *temp; /* file_replace: what is being written; NULL otherwise */
	int fd;
	int error;     /* errno of the first failed write: all later ones fail alike */
	bool standard; /* fd is not ours to close */
	bool writing;
	bool known; /* reader: the first bytes have been looked at */
	bool gzip;
	bool member;  /* gzip: inside a member */
	bool members; /* gzip: the file holds at least one member */
	bool tally;   /* see file_tally */
	uint64_t tally_bytes;
	uint32_t tally_crc;
	FILE *memory; /* file_memory: where it goes instead of fd */
	char *text;
	size_t length;
	z_stream z;
	size_t at, end;		 /* reader: buf[at, end) not yet given; writer: buf[0, end) */
	unsigned char buf[BUF];	 /* reader: as in the file; writer: as the caller wrote it */
	unsigned char pack[BUF]; /* gzip writer: compressed, on its way out */
};

static int
fail(const char *name)
{
	return err_set("%s: %s", name, strerror(errno));
}

static bool
ends_gz(const char *name)
{
	size_t n = strlen(name);
	return n > 3 && !strcmp(name + n - 3, ".gz");
}

/* After a failed read or write: true if it is to be tried again, when the descriptor is ready. */
static bool
again(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	if (errno == EINTR)
		return true;
	if (errno != EAGAIN)
		return false;
	while (poll(&p, 1, -1) < 0)
		if (errno != EINTR)
			return false;
	return true;
}

static ssize_t
read_fd(int fd, void *buf, size_t n)
{
	ssize_t got;
	do
		got = read(fd, buf, n);
	while (got < 0 && again(fd, POLLIN));
	return got;
}

static int
open_fd(const char *name, int flags)
{
	int fd;
	do
		fd = open(name, flags | O_CLOEXEC, 0666);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static struct file *
file_new(const char *name, int fd, bool writing)
{
	struct file *f = mem_zero(1, sizeof *f);
	f->standard = fd == STDIN_FILENO || fd == STDOUT_FILENO;
	f->name = mem_copy(name);
	f->fd = fd;
	f->writing = writing;
	return f;
}

static void
file_free(struct file *f)
{
	if (f->gzip && f->writing)
		deflateEnd(&f->z);
	else if (f->gzip)
		inflateEnd(&f->z);
	if (f->fd >= 0 && !f->standard)
		close(f->fd);
	if (f->memory)
		fclose(f->memory);
	free(f->text);
	free(f->name);
	free(f->path);
	free(f->temp);
	free(f);
}

const char *
file_name(const struct file *f)
{
	return f->name;
}

int
file_fd(const struct file *f)
{
	return f->fd;
}

/* --- reading --- */

struct file *
file_open(const char *name)
{
	struct stat st;
	int fd;
	if (!strcmp(name, "-"))
		return file_new("standard input", STDIN_FILENO, false);
	fd = open_fd(name, O_RDONLY);
	if (fd < 0)
		goto err;
	if (!fstat(fd, &st) && S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		goto err;
	}
	return file_new(name, fd, false);
err:
	fail(name);
	if (fd >= 0)
		close(fd);
	return NULL;
}

struct file *
file_from(int fd, const char *name)
{
	return file_new(name, fd, false);
}

/* More into buf, behind what is there; bytes added, 0 at the end, -1. */
static ssize_t
fill(struct file *f)
{
	ssize_t n;
	if (f->at == f->end)
		f->at = f->end = 0;
	n = read_fd(f->fd, f->buf + f->end, BUF - f->end);
	if (n < 0)
		return fail(f->name);
	f->end += (size_t)n;
	return n;
}

/*
 * Three bytes tell gzip: magic and method.  Two are enough at the end of a file, so that one cut
 * there is refused.
 */
static int
look(struct file *f)
{
	static const unsigned char magic[3] = {0x1f, 0x8b, 8};
	ssize_t n = 1;
	while (n > 0 && f->end < 3 && !memcmp(f->buf, magic, f->end))
		if ((n = fill(f)) < 0)
			return -1;
	f->known = true;
	if (f->end < 2 || memcmp(f->buf, magic, f->end < 3 ? f->end : 3)) {
		if (!ends_gz(f->name))
			return 0;
		return err_set("%s: not a gzip stream (expected one by its name)", f->name);
	}
	if (inflateInit2(&f->z, GZIP) != Z_OK)
		return err_set("%s: no memory to decompress", f->name);
	f->gzip = f->member = true;
	return 0;
}

/* Between members: 1 if another begins, 0 at the end. */
static int
next_member(struct file *f)
{
	ssize_t n;
	if (f->at == f->end && (n = fill(f)) <= 0)
		return (int)n;
	if (f->buf[f->at] != 0x1f)
		return err_set("%s: bytes after the end of the gzip stream", f->name);
	inflateReset(&f->z);
	f->member = true;
	return 1;
}

/* Some decompressed bytes, at least one unless at the end. */
static ssize_t
inflate_some(struct file *f, void *buf, size_t n)
{
	uInt want = n < INT_MAX ? (uInt)n : INT_MAX;
	f->z.next_out = buf;
	f->z.avail_out = want;
	while (f->z.avail_out == want) {
		int r = f->member ? 1 : next_member(f);
		if (r <= 0)
			return r;
		if (f->at == f->end && (r = (int)fill(f)) <= 0)
			return r < 0 ? -1 : err_set("%s: gzip stream cut short", f->name);
		f->z.next_in = f->buf + f->at;
		f->z.avail_in = (uInt)(f->end - f->at);
		r = inflate(&f->z, Z_NO_FLUSH);
		f->at = f->end - f->z.avail_in;
		if (r == Z_STREAM_END)
			f->member = false;
		else if (r != Z_OK && r != Z_BUF_ERROR)
			return err_set("%s: damaged gzip stream (%s)", f->name,
				       f->z.msg ? f->z.msg : "unreadable");
	}
	return want - f->z.avail_out;
}

ssize_t
file_some(struct file *f, void *buf, size_t n)
{
	ssize_t got;
	if (!f->known && look(f))
		return -1;
	if (!n)
		return 0;
	if (f->gzip)
		return inflate_some(f, buf, n);
	if (f->at == f->end && n >= BUF) {
		got = read_fd(f->fd, buf, n);
		return got < 0 ? fail(f->name) : got;
	}
	if (f->at == f->end && (got = fill(f)) <= 0)
		return got;
	if (n > f->end - f->at)
		n = f->end - f->at;
	memcpy(buf, f->buf + f->at, n);
	f->at += n;
	return (ssize_t)n;
}

ssize_t
file_read(struct file *f, void *buf, size_t n)
{
	size_t have = 0;
	while (have < n) {
		ssize_t got = file_some(f, (char *)buf + have, n - have);
		if (got < 0)
			return -1;
		if (!got)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

/* --- writing --- */

/* The compressor starts once per file; every member begins from its reset state. */
static struct file *
start(struct file *f, const char *path)
{
	if (!ends_gz(path))
		return f;
	if (deflateInit2(&f->z, 1, Z_DEFLATED, GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
		err_set("%s: no memory to compress", f->name);
		file_abandon(f);
		return NULL;
	}
	f->gzip = true;
	return f;
}

static struct file *
open_to_write(const char *name, int flags)
{
	struct stat st;
	struct file *f;
	int fd;
	if (!strcmp(name, "-"))
		return file_new("standard output", STDOUT_FILENO, true);
	fd = open_fd(name, O_WRONLY | O_CREAT | flags);
	if (fd < 0) {
		fail(name);
		return NULL;
	}
	f = file_new(name, fd, true);
	f->members = (flags & O_APPEND) && !fstat(fd, &st) && st.st_size > 0;
	return start(f, name);
}

struct file *
file_create(const char *name)
{
	return open_to_write(name, O_TRUNC);
}

struct file *
file_append(const char *name)
{
	return open_to_write(name, O_APPEND);
}

/* All n bytes to the system. */
static int
put(struct file *f, const unsigned char *p, size_t n)
{
	if (f->tally && n) {
		f->tally_bytes += n;
		f->tally_crc = (uint32_t)crc32_z(f->tally_crc, p, n);
	}
	if (n && f->memory && fwrite(p, 1, n, f->memory) != n)
		f->error = ENOMEM;
	while (n && !f->memory && !f->error) {
		ssize_t k = write(f->fd, p, n);
		if (k < 0 && !again(f->fd, POLLOUT))
			f->error = errno;
		if (k > 0) {
			p += k;
			n -= (size_t)k;
		}
	}
	return f->error ? err_set("%s: %s", f->name, strerror(f->error)) : 0;
}

/* Compress buf; with Z_FINISH end the member. */
static int
put_gzip(struct file *f, int flush)
{
	int r;
	if (!f->member && deflateReset(&f->z) != Z_OK)
		return err_set("%s: the compressor failed", f->name);
	f->member = f->members = true;
	f->z.next_in = f->buf;
	f->z.avail_in = (uInt)f->end;
	do {
		f->z.next_out = f->pack;
		f->z.avail_out = BUF;
		r = deflate(&f->z, flush);
		if (put(f, f->pack, BUF - f->z.avail_out))
			return -1;
	} while (!f->z.avail_out || (flush == Z_FINISH && r == Z_OK));
	f->end = 0;
	if (flush == Z_FINISH)
		f->member = false;
	return 0;
}

/* The buffer is full.  The compressor sees full buffers only, so its bytes depend on nothing but
 * the data and the flushes between, not on how the data was cut into writes. */
static int
drain(struct file *f)
{
	size_t n = f->end;
	if (f->gzip)
		return put_gzip(f, Z_NO_FLUSH);
	f->end = 0;
	return put(f, f->buf, n);
}

int
file_write(struct file *f, const void *buf, size_t n)
{
	const unsigned char *p = buf;
	if (f->error)
		return put(f, NULL, 0);
	while (n) {
		size_t k = BUF - f->end;
		if (!f->end && n >= BUF && !f->gzip)
			return put(f, p, n);
		if (k > n)
			k = n;
		memcpy(f->buf + f->end, p, k);
		f->end += k;
		p += k;
		n -= k;
		if (f->end == BUF && drain(f))
			return -1;
	}
	return 0;
}

int
file_print(struct file *f, const char *fmt, ...)
{
	char brief[1024], *text = brief;
	va_list ap;
	int n, r;
	va_start(ap, fmt);
	n = vsnprintf(brief, sizeof brief, fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof brief) {
		text = NULL;
		va_start(ap, fmt);
		n = vasprintf(&text, fmt, ap);
		va_end(ap);
	}
	if (n < 0)
		return err_set("%s: a text that cannot be formatted", f->name);
	r = file_write(f, text, (size_t)n);
	if (text != brief)
		free(text);
	return r;
}

int
file_flush(struct file *f)
{
	if (!f->gzip)
		return drain(f);
	if (!f->member && !f->end)
		return put(f, NULL, 0);
	return put_gzip(f, Z_FINISH);
}

struct file *
file_memory(const char *name)
{
	struct file *f = file_new(name, -1, true);
	f->memory = open_memstream(&f->text, &f->length);
	if (f->memory)
		return f;
	fail(name);
	file_free(f);
	return NULL;
}

char *
file_text(struct file *f, size_t *n)
{
	char *p;
	if (file_flush(f))
		return NULL;
	if (fflush(f->memory)) {
		fail(f->name);
		return NULL;
	}
	p = mem_grow(NULL, f->length + 1, 1);
	memcpy(p, f->text, f->length + 1);
	*n = f->length;
	return p;
}

/* Pipes and terminals have nothing to sync. */
static int
sync_fd(int fd, int sync(int))
{
	int r;
	do
		r = sync(fd);
	while (r && errno == EINTR);
	return r && errno != EINVAL && errno != EROFS && errno != ENOTSUP ? -1 : 0;
}

int
file_sync(struct file *f)
{
	if (file_flush(f))
		return -1;
	return sync_fd(f->fd, fdatasync) ? fail(f->name) : 0;
}

/* Flush; a .gz without data still becomes a gzip stream. */
static int
finish(struct file *f)
{
	if (f->gzip && !f->members)
		return put_gzip(f, Z_FINISH);
	return file_flush(f);
}

/* Close the descriptor.  On Linux it is closed even when the call is interrupted. */
static int
shut(struct file *f)
{
	int fd = f->fd;
	f->fd = -1;
	if (fd < 0 || f->standard || !close(fd) || errno == EINTR)
		return 0;
	return fail(f->name);
}

int
file_close(struct file *f)
{
	int r = 0;
	if (!f)
		return 0;
	if (f->temp) {
		r = err_set("%s: closed without being committed", f->name);
		file_abandon(f);
		return r;
	}
	if (f->writing)
		r = finish(f);
	if (!r)
		r = shut(f);
	file_free(f);
	return r;
}

/* --- replacing --- */

struct file *
file_replace(const char *name)
{
	struct stat st;
	struct file *f;
	char *path, *temp;
	int fd, there;
	if (!strcmp(name, "-"))
		return file_create(name);
	there = !stat(name, &st);
	/* A device or a pipe is written to, never replaced. */
	if (there && !S_ISREG(st.st_mode))
		return file_create(name);
	path = realpath(name, NULL); /* a link stays a link */
	if (!path)
		path = mem_copy(name);
	temp = mem_text("%s.tmp", path);
	fd = open_fd(temp, O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0) {
		fail(errno == ENOENT ? name : temp); /* without the directory neither can be */
		free(path);
		free(temp);
		return NULL;
	}
	if (there)
		(void)!fchmod(fd, st.st_mode & 07777);
	f = file_new(name, fd, true);
	f->path = path;
	f->temp = temp;
	return start(f, name);
}

static int
sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? mem_copy(path) : mem_copy(".");
	int fd, r = -1;
	if (slash)
		dir[slash == path ? 1 : slash - path] = 0;
	fd = open_fd(dir, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || (r = sync_fd(fd, fsync)))
		fail(dir);
	if (fd >= 0)
		close(fd);
	free(dir);
	return r;
}

int
file_commit(struct file *f)
{
	if (!f->temp)
		return file_sync(f) ? (file_abandon(f), -1) : file_close(f);
	if (finish(f))
		goto err;
	if (sync_fd(f->fd, fsync)) {
		fail(f->name);
		goto err;
	}
	if (shut(f))
		goto err;
	if (rename(f->temp, f->path)) {
		fail(f->path);
		goto err;
	}
	free(f->temp);
	f->temp = NULL;
	if (sync_parent(f->path))
		goto err;
	file_free(f);
	return 0;
err:
	file_abandon(f);
	return -1;
}

void
file_abandon(struct file *f)
{
	if (!f)
		return;
	if (f->temp)
		unlink(f->temp);
	file_free(f);
}

int
file_end(struct file *f, bool bad)
{
	if (!f || !bad)
		return bad || (f && file_commit(f)) ? -1 : 0;
	if (f->temp)
		file_abandon(f);
	else
		(void)file_close(f); /* the message is of what was bad */
	return -1;
}

/* --- whole files --- */

char *
file_slurp(const char *name, size_t *n)
{
	struct file *f = file_open(name);
	struct stat st;
	size_t room = BUF, have = 0;
	char *p;
	ssize_t got;
	if (!f)
		return NULL;
	/* One byte more than the file has, so that the read that fills it also meets the end. */
	if (!fstat(f->fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0)
		room = (size_t)st.st_size + 1;
	p = mem_grow(NULL, room, 1);
	while ((got = file_read(f, p + have, room - have)) > 0) {
		have += (size_t)got;
		if (have < room)
			break;
		room += room / 2;
		p = mem_grow(p, room, 1);
	}
	file_close(f);
	if (got < 0) {
		free(p);
		return NULL;
	}
	p[have] = 0;
	*n = have;
	return p;
}

const void *
file_map(const char *name, size_t *n)
{
	struct stat st;
	unsigned char *p = NULL;
	int fd = open_fd(name, O_RDONLY);
	*n = 0;
	if (fd < 0 || fstat(fd, &st)) {
		fail(name);
		goto err;
	}
	if (!S_ISREG(st.st_mode) || !st.st_size) {
		err_set("%s: not a regular file with data", name);
		goto err;
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED) {
		fail(name);
		goto err;
	}
	if (st.st_size >= 3 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8) {
		err_set("%s: compressed", name);
		munmap(p, (size_t)st.st_size);
		goto err;
	}
	close(fd);
	*n = (size_t)st.st_size;
	return p;
err:
	if (fd >= 0)
		close(fd);
	return NULL;
}

void
file_unmap(const void *p, size_t n)
{
	if (p)
		munmap((void *)p, n);
}

/* --- files by name --- */

int
file_size(const char *name, uint64_t *n)
{
	struct stat st;
	if (stat(name, &st))
		return fail(name);
	if (!S_ISREG(st.st_mode))
		return err_set("%s: not a regular file", name);
	*n = (uint64_t)st.st_size;
	return 0;
}

int
file_crc(const char *name, uint64_t n, uint32_t *crc)
{
	unsigned char *buf = NULL;
	uint64_t left = n;
	uLong c = crc32(0, NULL, 0);
	int r = -1, fd = open_fd(name, O_RDONLY);
	if (fd < 0)
		return fail(name);
	buf = mem_grow(NULL, BUF, 1);
	while (left) {
		ssize_t got = read_fd(fd, buf, left < BUF ? (size_t)left : BUF);
		if (got < 0) {
			fail(name);
			goto out;
		}
		if (!got) {
			err_set("%s: %llu bytes (expected at least %llu)", name,
				(unsigned long long)(n - left), (unsigned long long)n);
			goto out;
		}
		c = crc32(c, buf, (uInt)got);
		left -= (uint64_t)got;
	}
	*crc = (uint32_t)c;
	r = 0;
out:
	free(buf);
	close(fd);
	return r;
}

bool
file_exists(const char *name)
{
	struct stat st;
	return !stat(name, &st);
}

int
file_cut(const char *name, uint64_t n)
{
	struct stat st;
	int r = -1, fd = open_fd(name, O_WRONLY);
	if (fd < 0)
		return fail(name);
	if (fstat(fd, &st))
		fail(name);
	else if ((uint64_t)st.st_size < n)
		err_set("%s: %llu bytes (expected at least %llu)", name,
			(unsigned long long)st.st_size, (unsigned long long)n);
	else if (ftruncate(fd, (off_t)n) || sync_fd(fd, fsync))
		fail(name);
	else
		r = 0;
	close(fd);
	return r;
}

/* One directory; harmless when it is there. */
static int
make_one(const char *path)
{
	struct stat st;
	int why;
	if (!mkdir(path, 0777))
		return 0;
	why = errno;
	if (!stat(path, &st) && S_ISDIR(st.st_mode))
		return 0;
	errno = why;
	return fail(path);
}

int
file_mkdir(const char *name)
{
	char *path = mem_copy(name), *p;
	int r = 0;
	for (p = path; !r && *p; p++) {
		if (*p != '/' || p == path)
			continue;
		*p = 0;
		r = make_one(path);
		*p = '/';
	}
	if (!r)
		r = make_one(path);
	free(path);
	return r;
}

void
file_tally(struct file *f, uint64_t bytes, uint32_t crc)
{
	f->tally = true;
	f->tally_bytes = bytes;
	f->tally_crc = crc;
}

void
file_tallied(const struct file *f, uint64_t *bytes, uint32_t *crc)
{
	*bytes = f->tally_bytes;
	*crc = f->tally_crc;
}
