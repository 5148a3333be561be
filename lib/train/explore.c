#include "train/explore.h"

struct ecology_e
explore_e(const struct recipe *r, long step, long classes)
{
	return ecology_e(recipe_temperature(r, step), r->entropy, r->oracle, r->balance, classes);
}

static const char *
phase(const struct recipe *r, long step)
{
	return ecology_phase(explore_e(r, step, 0).e);
}

/* The first step of (from, to] in another phase than that of `from`; there is one. */
static long
turn(const struct recipe *r, long from, long to)
{
	for (long a = from;;) {
		const long mid = a + (to - a) / 2;
		if (mid == a)
			return to;
		if (phase(r, mid) == phase(r, from))
			a = mid;
		else
			to = mid;
	}
}

long
explore_next(const struct recipe *r, long step)
{
	for (long part = 1; part <= 10; part++) {
		const long to = r->steps / 10 * part + r->steps % 10 * part / 10;
		if (to > step)
			return phase(r, step) == phase(r, to) ? to : turn(r, step, to);
	}
	return -1;
}
