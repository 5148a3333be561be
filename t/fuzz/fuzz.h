#ifndef FUZZ_H
#define FUZZ_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * libFuzzer calls this with bytes of its invention; whatever they are, a reader either refuses
 * them with a message or can give out all that it accepted.  Sanitizers watch.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes as a file, by name; the same name and file each time. */
static inline const char *
fuzz_file(const uint8_t *data, size_t size)
{
	static char name[64];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("fuzz", 0);
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	}
	if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	return name;
}

#endif
