#include "policy/flow.h"
#include "base/mem.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct flow_tiers
flow_label(const struct tally_layer *l, struct opt_ints tiers)
{
	struct flow_tiers t = {tiers.n ? tiers.n : l->experts, NULL};

	t.of = mem_zero((size_t)l->experts, sizeof *t.of);
	for (int e = 0; e < l->experts; e++)
		t.of[e] = tiers.n ? ecology_tier(tiers.n, tiers.v, e) : e;
	return t;
}

void
flow_free(struct flow_tiers *t)
{
	free(t->of);
	*t = (struct flow_tiers){0};
}

void
flow_cells(const struct tally_layer *l, const struct flow_tiers *t, double *cell)
{
	memset(cell, 0, (size_t)t->n * (size_t)t->n * sizeof *cell);
	for (int i = 0; i < l->experts; i++)
		for (int j = 0; j < l->experts; j++)
			cell[t->of[i] * t->n + t->of[j]] +=
				(double)l->flow[(size_t)i * (size_t)l->room + (size_t)j];
}

void
flow_shuffled(const struct tally_layer *l, int layer, const struct flow_tiers *t, int draws,
	      uint64_t seed, double *mean, double *sd)
{
	const int cells = t->n * t->n;
	double *cell = mem_zero((size_t)cells, sizeof *cell);
	struct flow_tiers mixed = {t->n, mem_zero((size_t)l->experts, sizeof *mixed.of)};

	memcpy(mixed.of, t->of, (size_t)l->experts * sizeof *mixed.of);
	memset(mean, 0, (size_t)cells * sizeof *mean);
	memset(sd, 0, (size_t)cells * sizeof *sd);
	for (int draw = 0; draw < draws; draw++) {
		struct rng r = rng_at(seed, RNG_PROBE, (uint64_t)layer, (uint64_t)draw);
		for (int i = l->experts - 1; i > 0; i--) {
			const int j = (int)rng_below(&r, (uint64_t)i + 1), was = mixed.of[i];
			mixed.of[i] = mixed.of[j];
			mixed.of[j] = was;
		}
		flow_cells(l, &mixed, cell);
		for (int i = 0; i < cells; i++) {
			mean[i] += cell[i];
			sd[i] += cell[i] * cell[i];
		}
	}
	for (int i = 0; i < cells; i++) {
		sd[i] = sqrt(fmax(sd[i] - mean[i] * mean[i] / draws, 0) / (draws - 1));
		mean[i] /= draws;
	}
	flow_free(&mixed);
	free(cell);
}

enum ecology_class
flow_class(const struct tally *t, const struct tally_layer *l, int expert)
{
	const struct tally_sum *s = &l->sum[expert];

	return ecology_class(l->tokens, s->first, t->correct ? s->hits : -1);
}

struct ecology_load
flow_load(const struct tally_layer *l)
{
	double *count = mem_zero((size_t)l->experts, sizeof *count);
	struct ecology_load load;

	for (int e = 0; e < l->experts; e++)
		count[e] = (double)l->sum[e].routed;
	load = ecology_load(l->experts, count);
	free(count);
	return load;
}

static void
add(struct flow_sum *s, const struct tally_sum *x, bool active)
{
	s->experts++;
	s->active += active;
	s->sum.routed += x->routed;
	s->sum.first += x->first;
	s->sum.hits += x->hits;
	s->sum.easy += x->easy;
	s->sum.hard += x->hard;
}

void
flow_sums(const struct tally *t, const struct tally_layer *l, const struct flow_tiers *tiers,
	  struct flow_sum *sum, struct flow_sum *all)
{
	*all = (struct flow_sum){0};
	if (sum)
		memset(sum, 0, (size_t)tiers->n * sizeof *sum);
	for (int e = 0; e < l->experts; e++) {
		const bool active = flow_class(t, l, e) != ECOLOGY_DEAD;
		if (sum)
			add(&sum[tiers->of[e]], &l->sum[e], active);
		add(all, &l->sum[e], active);
	}
}
