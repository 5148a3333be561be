#ifndef OFFLOAD_ENERGY_H
#define OFFLOAD_ENERGY_H

/*
 * Joules, from counters that the system keeps of the processor's packages: the files energy_uj
 * (microjoules, back to 0 beyond max_energy_range_uj) of the zones below a directory, "" for the
 * system's own, /sys/class/powercap, whose name begins with "package".
 */
enum { ENERGY_ZONES = 16 };

struct energy {
	int n;
	char path[ENERGY_ZONES][256];
	double last[ENERGY_ZONES], range[ENERGY_ZONES]; /* microjoules */
};

void energy_begin(struct energy *e, const char *directory);
/*
 * Joules since the beginning, or the last call.  NAN, which is to say unmeasured, when there is no
 * counter, when it cannot be read, or when none has advanced.  A counter that passes its range
 * twice between calls is not noticed.
 */
double energy_since(struct energy *e);

#endif
