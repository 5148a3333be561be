/* Joules from a directory of counters made here: what counts, what wraps, what is unmeasured. */
#include "offload/energy.h"
#include "tap.h"
#include "temp.h"
#include <sys/stat.h>

static void
zone(const char *name, const char *what, const char *energy)
{
	char file[300];

	mkdir(temp(name), 0700);
	snprintf(file, sizeof file, "%s/name", name);
	temp_text(file, what);
	snprintf(file, sizeof file, "%s/energy_uj", name);
	temp_text(file, energy);
	snprintf(file, sizeof file, "%s/max_energy_range_uj", name);
	temp_text(file, "10000000\n");
}

int
main(void)
{
	struct energy e;

	energy_begin(&e, temp("none"));
	is_real(energy_since(&e), NAN, 0, "no counters: unmeasured");
	zone("a", "package-0\n", "1000000\n");
	zone("b", "core\n", "5\n");
	zone("c", "package-1\n", "9000000\n");
	char *root = strdup(temp(""));
	energy_begin(&e, root);
	is_long(e.n, 2, "packages alone are counted, not their parts");
	is_real(energy_since(&e), NAN, 0, "counters that stand still: unmeasured");
	zone("a", "package-0\n", "3500000\n");
	is_real(energy_since(&e), 2.5, 1e-12, "2.5 J of one of them");
	zone("c", "package-1\n", "500000\n");
	is_real(energy_since(&e), 1.5, 1e-12, "1.5 J beyond the counter's range");
	remove(temp("c/energy_uj"));
	is_real(energy_since(&e), NAN, 0, "a counter that is gone: unmeasured");
	free(root);
	return done();
}
