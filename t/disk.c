/*
 * A disk that fails or is slow, to be loaded before a program that reads a store (LD_PRELOAD).
 * Of the reads around the page cache, by pread or by io_uring:
 *
 * FAIL=N     the N-th, from 1, ends with EIO
 * DELAY=US   each begins so many microseconds later
 * RING=no    the system has no io_uring
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long reads;

static struct {
	int fd;
	unsigned entries, taken; /* of the queue; that the system has taken */
	struct io_uring_sqe *entry;
} ring = {.fd = -1};

static long
number(const char *name)
{
	const char *text = getenv(name);

	return text ? atol(text) : 0;
}

/* May the n-th read be right? */
static bool
works(long n)
{
	if (number("DELAY") > 0)
		usleep((useconds_t)number("DELAY"));
	return n != number("FAIL");
}

ssize_t
pread(int fd, void *into, size_t n, off_t at)
{
	ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread");

	if (fcntl(fd, F_GETFL) & O_DIRECT && !works(atomic_fetch_add(&reads, 1) + 1)) {
		errno = EIO;
		return -1;
	}
	return real(fd, into, n, at);
}

void *
mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
	void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
	void *p = real(at, n, prot, flags, fd, offset);

	if (fd >= 0 && fd == ring.fd && offset == IORING_OFF_SQES)
		ring.entry = p;
	return p;
}

/* Where there is nothing at address 0, the program's own memory ends with EIO. */
static void
spoil(struct io_uring_sqe *e)
{
	e->fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	e->off = 0;
}

long
syscall(long call, ...)
{
	long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall");
	const char *may = getenv("RING");
	long a[6], r;
	va_list ap;

	va_start(ap, call);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (call == SYS_io_uring_setup && may && strcmp(may, "no") == 0) {
		errno = ENOSYS;
		return -1;
	}
	for (unsigned i = 0; call == SYS_io_uring_enter && i < (unsigned)a[1]; i++)
		if (!works((long)(ring.taken + i) + 1))
			spoil(&ring.entry[(ring.taken + i) % ring.entries]);
	r = real(call, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (call == SYS_io_uring_setup && r >= 0) {
		ring.fd = (int)r;
		ring.entries = ((const struct io_uring_params *)a[1])->sq_entries;
	} else if (call == SYS_io_uring_enter && r > 0) {
		ring.taken += (unsigned)r;
	}
	return r;
}
