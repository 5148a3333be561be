#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "tap.h"
#include "temp.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <zlib.h>

enum { BIG = 300000 };

/* Text that compresses a little, the same every time. */
static char *
sample(size_t n)
{
	char *p = mem_zero(n + 1, 1);
	uint32_t x = 1;
	for (size_t i = 0; i < n; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = "0123456789,\n"[(x >> 24) % 12];
	}
	return p;
}

static bool
starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/* The message of the last failure begins with the name and says what. */
static void
says(const char *name, const char *what, const char *test)
{
	char *want = mem_text("%s: %s", name, what);
	is_text(err_text(), want, "%s", test);
	free(want);
}

static int
write_all(struct file *f, const char *p, size_t n, size_t piece)
{
	for (size_t i = 0; i < n; i += piece)
		if (file_write(f, p + i, n - i < piece ? n - i : piece))
			return -1;
	return 0;
}

static void
round_trip(const char *name)
{
	static const size_t sizes[] = {0, 1, 65535, 65536, 65537, BIG};
	static const size_t pieces[] = {1, 1000, 65536, BIG};
	char *data = sample(BIG);
	const char *path = temp(name);
	for (size_t i = 0; i < 6; i++)
		for (size_t k = 0; k < 4; k++) {
			struct file *f = file_create(path);
			size_t n = 0;
			char *back;
			int r = !f || write_all(f, data, sizes[i], pieces[k]);
			r |= file_close(f);
			back = file_slurp(path, &n);
			ok(!r && back && n == sizes[i] && !memcmp(back, data, n) && !back[n],
			   "%s: %zu bytes written by %zu are read again", name, sizes[i],
			   pieces[k]);
			free(back);
		}
	free(data);
}

static void
reading(void)
{
	const char *path = temp_text("ten", "0123456789");
	struct file *f = file_open(path);
	char buf[16] = "";
	is_text(file_name(f), path, "the name");
	is_long(file_read(f, buf, 4), 4, "four of ten bytes");
	is_bytes(buf, "0123", 4, "are the first");
	is_long(file_read(f, buf, 0), 0, "no bytes asked, none given");
	is_long(file_read(f, buf, 16), 6, "the rest, fewer than asked");
	is_long(file_read(f, buf, 16), 0, "the end");
	is_long(file_read(f, buf, 16), 0, "still the end");
	is_long(file_close(f), 0, "close");
	is_long(file_close(NULL), 0, "closing nothing");
	ok(!file_open(temp("none")), "a missing file");
	says(temp("none"), "No such file or directory", "is named");
	ok(!file_open(temp_dir), "a directory is no file to read");
	says(temp_dir, "Is a directory", "and is named");
	ok(!file_create(temp_dir), "nor to write");
	is_long(file_size(temp_dir, &(uint64_t){0}), -1, "nor to size");
}

static void
two_bytes(void)
{
	static const char *const magic[] = {"\x1f", "\x1fx", "\x1f\x8b\x07xyz"};
	for (int i = 0; i < 3; i++) {
		size_t n = 0;
		char *p = file_slurp(temp_text("near", magic[i]), &n);
		is_text(p, magic[i], "data that begins almost as gzip, %d", i);
		free(p);
	}
}

static int
slurp_bytes(const char *name, const void *p, size_t n)
{
	size_t got;
	char *s = file_slurp(temp_bytes(name, p, n), &got);
	free(s);
	return s ? (int)got : -1;
}

static void
damaged_gzip(void)
{
	const char *text = "step,loss\n1,2.5\n2,2.25\n3,2.125\n";
	struct file *f = file_create(temp("whole.gz"));
	unsigned char raw[256], two[512];
	size_t n, m, len = strlen(text);
	long cut = 0, flip = 0, silent = 0;
	FILE *in;
	file_write(f, text, len);
	is_long(file_close(f), 0, "a small .gz");
	in = fopen(temp("whole.gz"), "r");
	n = fread(raw, 1, sizeof raw, in);
	fclose(in);
	is_bytes(raw + 4, "\0\0\0\0", 4, "no time in the gzip header");
	for (size_t k = 0; k < n; k++)
		cut += slurp_bytes("cut.gz", raw, k) == -1;
	is_long(cut, (long)n, "cut at any length it is refused");
	is_long(slurp_bytes("cut", raw, n - 1), -1, "cut by one byte");
	says(temp("cut"), "gzip stream cut short", "names the file");
	is_long(slurp_bytes("cut.gz", raw, 0), -1, "empty");
	says(temp("cut.gz"), "not a gzip stream (expected one by its name)", "is no gzip stream");
	/*
	 * Time, level and system (bytes 4 to 9) and the bits that fill up the last byte tell
	 * nothing of the data.
	 */
	for (size_t k = 0; k < 8 * n; k++) {
		char *s;
		raw[k / 8] ^= (unsigned char)(1 << k % 8);
		s = file_slurp(temp_bytes("flip.gz", raw, n), &m);
		flip += s && (m != len || memcmp(s, text, len));
		silent += s && k >= 80;
		free(s);
		raw[k / 8] ^= (unsigned char)(1 << k % 8);
	}
	is_long(flip, 0, "with any bit flipped no other data is read");
	ok(silent < 8, "and it is refused but for filling bits (%ld)", silent);
	memcpy(two, raw, n);
	memcpy(two + n, raw, n);
	is_long(slurp_bytes("two", two, 2 * n), (long)(2 * len), "two members are one stream");
	is_long(slurp_bytes("two", two, 2 * n - 1), -1, "the second cut by a byte");
	is_long(slurp_bytes("two", two, n + 1), -1, "the second cut after a byte");
	memcpy(two + n, "tail", 4);
	is_long(slurp_bytes("tail", two, n + 4), -1, "something else behind");
	says(temp("tail"), "bytes after the end of the gzip stream", "is refused");
}

/* A run that is cut at a flush and goes on ends in the bytes of one that was not. */
static void
cut_and_append(void)
{
	char *data = sample(BIG), *a, *b;
	const char *one = temp("one.gz"), *two = temp("two.gz");
	struct file *f = file_create(one), *g = file_create(two);
	uint64_t flushed, whole;
	size_t n, m;
	write_all(f, data, BIG / 2, 7);
	write_all(g, data, BIG / 2, 1000);
	is_long(file_flush(f) | file_flush(g), 0, "flush");
	is_long(file_flush(g) | file_sync(g), 0, "and once more, with nothing to flush");
	file_size(two, &flushed);
	a = file_slurp(two, &n);
	ok(a && n == BIG / 2 && !memcmp(a, data, n), "what was flushed can be read");
	free(a);
	write_all(f, data + BIG / 2, BIG / 2, BIG);
	file_close(f);
	write_all(g, data, BIG / 4, 100);
	file_flush(g);
	file_abandon(g);
	is_long(file_cut(two, flushed), 0, "cut to the flush");
	g = file_append(two);
	write_all(g, data + BIG / 2, BIG / 2, 13);
	is_long(file_close(g), 0, "append the rest");
	file_size(one, &whole);
	file_size(two, &flushed);
	is_long((long)flushed, (long)whole, "the same size as one never cut");
	if (flushed == whole) {
		uint32_t c = 0, d = 1;
		file_crc(one, whole, &c);
		file_crc(two, whole, &d);
		is_long(c, d, "and the same bytes");
	}
	b = file_slurp(two, &m);
	ok(b && m == BIG && !memcmp(b, data, m), "which hold the data");
	free(b);
	is_long(file_close(file_append(two)), 0, "append nothing");
	file_size(two, &flushed);
	is_long((long)flushed, (long)whole, "adds nothing");
	free(data);
}

static void
printing(void)
{
	char *big = sample(5000), *back;
	struct file *f = file_create(temp("print"));
	size_t n;
	is_long(file_print(f, "%d,%s\n", 7, "x"), 0, "a short text");
	is_long(file_print(f, "%s", big), 0, "a long text");
	file_close(f);
	back = file_slurp(temp("print"), &n);
	ok(n == 5004 && starts(back, "7,x\n") && !strcmp(back + 4, big), "both are there");
	free(back);
	free(big);
}

/* A full disk: no data is called written that was not. */
static void
full_disk(void)
{
	char *data = sample(BIG);
	struct file *f;
	if (access("/dev/full", W_OK)) {
		ok(true, "a full disk # SKIP no /dev/full");
		free(data);
		return;
	}
	f = file_create("/dev/full");
	is_long(file_write(f, "x", 1), 0, "a full disk takes a byte into the buffer");
	is_long(file_flush(f), -1, "and refuses the flush");
	says("/dev/full", "No space left on device", "by name");
	is_long(file_write(f, "x", 1), -1, "and all that follows");
	is_long(file_close(f), -1, "and the close");
	f = file_create("/dev/full");
	file_write(f, "x", 1);
	is_long(file_close(f), -1, "close alone tells it");
	f = file_create("/dev/full");
	is_long(file_write(f, data, BIG), -1, "as does a long write");
	file_close(f);
	is_long(symlink("/dev/full", temp("full.gz")), 0, "a link to it named .gz");
	f = file_create(temp("full.gz"));
	file_write(f, "x", 1);
	is_long(file_close(f), -1, "compressed too");
	f = file_replace("/dev/full");
	file_write(f, "x", 1);
	is_long(file_commit(f), -1, "and committed");
	ok(!file_exists("/dev/full.tmp"), "a device is written to, never replaced");
	free(data);
}

static bool
holds(const char *path, const char *want)
{
	size_t n;
	char *s = file_slurp(path, &n);
	bool r = s && !strcmp(s, want);
	free(s);
	return r;
}

static void
replacing(void)
{
	const char *path = temp_text("state", "old");
	struct stat st;
	struct file *f;
	chmod(path, 0640);
	f = file_replace(path);
	file_print(f, "new");
	file_flush(f);
	ok(holds(path, "old"), "a reader sees the old file until the commit");
	ok(file_exists(temp("state.tmp")), "the new one stands beside it");
	is_long(file_commit(f), 0, "commit");
	ok(holds(path, "new"), "then the new one");
	ok(!file_exists(temp("state.tmp")), "and nothing is left beside it");
	stat(path, &st);
	is_long(st.st_mode & 0777, 0640, "its mode is kept");
	f = file_replace(path);
	file_print(f, "third");
	file_abandon(f);
	ok(holds(path, "new") && !file_exists(temp("state.tmp")), "abandoned, it never was");
	f = file_replace(path);
	is_long(file_close(f), -1, "closed instead of committed, it tells");
	ok(holds(path, "new") && !file_exists(temp("state.tmp")), "and never was");
	temp_text("state.tmp", "left by a crash");
	f = file_replace(path);
	file_print(f, "4");
	is_long(file_commit(f), 0, "what a crash left beside is overwritten");
	ok(holds(path, "4"), "without a trace");
	is_long(symlink("state", temp("link")), 0, "a link to a file");
	f = file_replace(temp("link"));
	file_print(f, "through");
	is_long(file_commit(f), 0, "through a link");
	lstat(temp("link"), &st);
	ok(S_ISLNK(st.st_mode) && holds(path, "through"),
	   "the link stays and its file is replaced");
	f = file_replace(temp("first"));
	file_print(f, "1");
	is_long(file_commit(f), 0, "a file that was not there");
	ok(holds(temp("first"), "1"), "is there");
	ok(!file_replace(temp("none/x")), "in a directory that is not there");
	ok(strstr(err_text(), "/none/x: No such file") != NULL, "told by its name: %s", err_text());
	file_abandon(NULL);
	f = file_replace(path);
	file_print(f, "half");
	is_long(file_end(f, true), -1, "ended as bad");
	ok(holds(path, "through"), "the old one stays");
	f = file_replace(path);
	file_print(f, "whole");
	is_long(file_end(f, false), 0, "ended as good");
	ok(holds(path, "whole"), "it is replaced");
	is_long(file_end(NULL, false), 0, "nothing to end");
	is_long(file_end(NULL, true), -1, "and nothing good");
	is_long(mkfifo(temp("pipe"), 0600), 0, "a pipe");
	const int fd = open(temp("pipe"), O_RDONLY | O_NONBLOCK);
	char got[8] = "";
	f = file_replace(temp("pipe"));
	file_print(f, "rows");
	is_long(file_end(f, true), -1, "what is bad in the end");
	is_long(read(fd, got, sizeof got), 4, "has sent what there was");
	close(fd);
}

static void
by_name(void)
{
	const char *path = temp_text("nine", "123456789");
	uint64_t n = 0;
	uint32_t crc = 0;
	char *want;
	is_long(file_size(path, &n), 0, "size");
	is_long((long)n, 9, "of nine bytes");
	is_long(file_crc(path, 9, &crc), 0, "crc");
	is_long(crc, 0xcbf43926, "of 123456789, the check value of CRC-32");
	is_long(file_crc(path, 0, &crc), 0, "crc of nothing");
	is_long(crc, 0, "is 0");
	is_long(file_crc(path, 10, &crc), -1, "crc of more than there is");
	says(path, "9 bytes (expected at least 10)", "is refused");
	is_long(file_cut(path, 10), -1, "a cut does not lengthen");
	is_long(file_cut(path, 4), 0, "cut to 4");
	ok(holds(path, "1234"), "leaves 4");
	is_long(file_size(temp("none"), &n), -1, "no size");
	is_long(file_crc(temp("none"), 0, &crc), -1, "no crc");
	is_long(file_cut(temp("none"), 0), -1, "no cut of what is not there");
	is_long(file_mkdir(temp("a/b/c")), 0, "a directory with parents");
	is_long(file_mkdir(temp("a/b/c/")), 0, "again");
	ok(file_exists(temp("a/b/c")), "is there");
	is_long(file_mkdir(temp("nine/d")), -1, "not inside a file");
	is_long(file_mkdir(path), -1, "nor over one");
	want = mem_text("%s: File exists", path);
	is_text(err_text(), want, "which is named");
	free(want);
}

static void
mapping(void)
{
	const char *path = temp_text("map", "mapped");
	struct file *f;
	size_t n = 1;
	const char *p = file_map(path, &n);
	ok(p && n == 6 && !memcmp(p, "mapped", 6), "a mapped file");
	file_unmap(p, n);
	ok(!file_map(temp_text("empty", ""), &n) && !n, "an empty one is not mapped");
	ok(!file_map("/dev/null", &n) && !n, "nor a device");
	ok(!file_map(temp("none"), &n) && !n, "nor a missing one");
	f = file_create(temp("map.gz"));
	file_close(f);
	ok(!file_map(temp("map.gz"), &n) && !n, "nor a compressed one");
	file_unmap(NULL, 0);
}

struct slow {
	int fd;
	const char *text;
	size_t n;
};

static void *
write_slowly(void *arg)
{
	const struct slow *s = arg;
	for (size_t i = 0; i < s->n; i++) {
		if (write(s->fd, s->text + i, 1) != 1)
			break;
		usleep(100);
	}
	close(s->fd);
	return NULL;
}

/* "-" on a pipe that delivers a byte at a time and does not block. */
static void
pipes(void)
{
	static const char text[] = "a,b\n1,2\n";
	struct slow s = {-1, text + 3, 5};
	int p[2], in = dup(0), out = dup(1);
	pthread_t thread;
	struct file *f;
	char buf[64] = "";
	ssize_t n;
	if (pipe(p))
		exit(1);
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	dup2(p[0], 0);
	s.fd = p[1];
	is_long(write(p[1], text, 3), 3, "three bytes of eight");
	f = file_open("-");
	is_text(file_name(f), "standard input", "the name of -");
	n = file_some(f, buf, sizeof buf);
	is_long(n, 3, "more are not waited for");
	pthread_create(&thread, NULL, write_slowly, &s);
	n += file_read(f, buf + n, sizeof buf - (size_t)n);
	is_long(n, 8, "the rest is");
	is_bytes(buf, text, 8, "all in order");
	pthread_join(thread, NULL);
	is_long(file_close(f), 0, "close standard input");
	dup2(in, 0);
	close(in);
	close(p[0]);
	fflush(stdout);
	if (pipe(p))
		exit(1);
	dup2(p[1], 1);
	f = file_create("-");
	file_print(f, "to standard output");
	n = file_sync(f) || file_close(f);
	dup2(out, 1);
	close(out);
	close(p[1]);
	is_long(n, 0, "a pipe is synced and closed without complaint");
	n = read(p[0], buf, sizeof buf);
	is_long(n, 18, "and has the text");
	is_bytes(buf, "to standard output", 18, "as written");
	close(p[0]);
}

static void
on_alarm(int sig)
{
	(void)sig;
}

/* Signals arrive while a write waits: nothing is lost or written twice. */
static void
interrupted(void)
{
	enum { N = 1 << 20 };
	struct sigaction sa = {.sa_handler = on_alarm};
	char *data = sample(N), *back;
	char *path = mem_copy(temp("fifo"));
	pid_t child;
	size_t n;
	mkfifo(path, 0600);
	sigaction(SIGALRM, &sa, NULL);
	child = fork();
	if (!child) {
		struct file *f = file_create(path);
		ualarm(300, 300);
		_exit(!f || write_all(f, data, N, 5000) || file_close(f));
	}
	ualarm(500, 500);
	back = file_slurp(path, &n);
	ualarm(0, 0);
	ok(back && n == N && !memcmp(back, data, N), "a pipe under a rain of signals");
	free(back);
	free(data);
	free(path);
}

int
main(void)
{
	round_trip("plain");
	round_trip("packed.gz");
	reading();
	two_bytes();
	damaged_gzip();
	cut_and_append();
	printing();
	full_disk();
	replacing();
	by_name();
	mapping();
	pipes();
	interrupted();
	return done();
}
