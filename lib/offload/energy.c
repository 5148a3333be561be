#include "offload/energy.h"
#include <dirent.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A number or a word of a zone's file; false when there is none. */
static bool
look(const char *zone, const char *file, const char *format, void *out)
{
	char path[300];
	FILE *f;
	bool found;

	snprintf(path, sizeof path, "%s/%s", zone, file);
	if (!(f = fopen(path, "r")))
		return false;
	/* cppcheck-suppress invalidScanfArgType_float ; the caller knows what out is */
	found = fscanf(f, format, out) == 1;
	fclose(f);
	return found;
}

void
energy_begin(struct energy *e, const char *directory)
{
	const char *root = *directory ? directory : "/sys/class/powercap";
	DIR *d = opendir(root);
	struct dirent *x;

	e->n = 0;
	while (d && e->n < ENERGY_ZONES && (x = readdir(d))) {
		char name[32], *zone = e->path[e->n];
		const int length = snprintf(zone, sizeof e->path[0], "%s/%s", root, x->d_name);
		if (length < (int)sizeof e->path[0] && look(zone, "name", "%31s", name) &&
		    strncmp(name, "package", 7) == 0 &&
		    look(zone, "energy_uj", "%lf", &e->last[e->n]) &&
		    look(zone, "max_energy_range_uj", "%lf", &e->range[e->n]))
			e->n++;
	}
	if (d)
		closedir(d);
}

double
energy_since(struct energy *e)
{
	double sum = 0;

	for (int i = 0; i < e->n; i++) {
		double now;
		if (!look(e->path[i], "energy_uj", "%lf", &now))
			return NAN;
		sum += now - e->last[i] + (now < e->last[i] ? e->range[i] : 0);
		e->last[i] = now;
	}
	return sum > 0 ? sum * 1e-6 : (double)NAN;
}
