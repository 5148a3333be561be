#include "policy/mutual.h"
#include "base/mem.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int
by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* H of up to three labels together, each NULL or [n]; room [n]. */
static double
joint(long n, const int *x, const int *y, const int *z, uint64_t *room)
{
	double sum = 0;

	for (long i = 0; i < n; i++)
		room[i] = (uint64_t)(x ? x[i] : 0) << 42 | (uint64_t)(y ? y[i] : 0) << 21 |
			  (uint64_t)(z ? z[i] : 0);
	qsort(room, (size_t)n, sizeof *room, by_value);
	for (long i = 0, from = 0; i < n; i++)
		if (i + 1 == n || room[i + 1] != room[i]) {
			const double count = (double)(i + 1 - from);
			sum += count * log(count);
			from = i + 1;
		}
	return n ? log((double)n) - sum / (double)n : 0;
}

double
mutual_entropy(long n, const int *x)
{
	uint64_t *room = mem_zero((size_t)n, sizeof *room);
	const double h = joint(n, x, NULL, NULL, room);

	free(room);
	return h;
}

/* The samples in order of z, those of the same z in their own order. */
static void
group(long n, const int *z, uint64_t *order)
{
	for (long i = 0; i < n; i++)
		order[i] = (uint64_t)(z ? z[i] : 0) << 42 | (uint64_t)i;
	qsort(order, (size_t)n, sizeof *order, by_value);
}

/* to = y with its values exchanged within groups of order. */
static void
permute(long n, const uint64_t *order, const int *y, struct rng *r, int *to)
{
	const uint64_t mask = ((uint64_t)1 << 42) - 1;

	memcpy(to, y, (size_t)n * sizeof *to);
	for (long i = 0, from = 0; i < n; i++) {
		const long j = from + (long)rng_below(r, (uint64_t)(i - from + 1));
		int *a = &to[order[i] & mask], *b = &to[order[j] & mask], was = *a;
		*a = *b;
		*b = was;
		if (i + 1 < n && order[i + 1] >> 42 != order[i] >> 42)
			from = i + 1;
	}
}

struct mutual
mutual_measure(long n, const int *x, const int *y, const int *z, int permutations, uint64_t seed)
{
	uint64_t *room = mem_zero((size_t)n, sizeof *room),
		 *order = mem_zero((size_t)n, sizeof *order);
	int *shuffled = mem_zero((size_t)n, sizeof *shuffled);
	const double apart = joint(n, x, NULL, z, room) + joint(n, NULL, y, z, room) -
			     joint(n, NULL, NULL, z, room);
	struct mutual m = {.raw = apart - joint(n, x, y, z, room)};

	group(n, z, order);
	for (int i = 0; i < permutations; i++) {
		struct rng r = rng_at(seed, RNG_PROBE, 2, (uint64_t)i);
		permute(n, order, y, &r, shuffled);
		m.chance += (apart - joint(n, x, shuffled, z, room)) / permutations;
	}
	free(room);
	free(order);
	free(shuffled);
	return m;
}
