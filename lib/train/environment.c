#include "train/environment.h"
#include "base/mem.h"
#include "base/version.h"
#include "math/blas.h"
#include "math/kern.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifdef __clang__
static const char compiler[] = __VERSION__;
#else
static const char compiler[] = "GCC " __VERSION__;
#endif

/* The processor's name as the system tells it, else the kind of machine. */
static char *
processor(const struct utsname *system)
{
	static const char key[] = "model name";
	FILE *f = fopen("/proc/cpuinfo", "r");
	char *line = NULL, *name = NULL;
	size_t room = 0;

	while (f && !name && getline(&line, &room, f) > 0) {
		const char *value = strchr(line, ':');
		if (value && !strncmp(line, key, sizeof key - 1))
			name = mem_text("%.*s", (int)strcspn(value + 2, "\n"), value + 2);
	}
	free(line);
	if (f)
		fclose(f);
	return name ? name : mem_copy(system->machine);
}

char *
environment_text(void)
{
	struct utsname system = {0};
	char *name, *text;

	uname(&system);
	name = processor(&system);
	text = mem_text("program moe-train %s\ncompiler %s\nsystem %s %s %s\nprocessor %s\n"
			"processors %ld\nmemory-gib %.1f\nkernels %s\nblas OpenBLAS %s\n",
			MOE_VERSION, compiler, system.sysname, system.release, system.machine, name,
			sysconf(_SC_NPROCESSORS_ONLN),
			(double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 0x1p30,
			kern->name, blas_kernel());
	free(name);
	return text;
}
