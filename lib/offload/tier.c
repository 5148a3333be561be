#include "offload/tier.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

static const struct tier tiers[] = {
	{"pcie3", 12.6e9, 10e-6, 8},
	{"pcie4", 25.2e9, 10e-6, 8},
	{"pcie5", 50.4e9, 10e-6, 8},
	{"nvme", 6e9, 80e-6, 32},
};

const struct tier *
tier_find(const char *name)
{
	for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
		if (!strcmp(tiers[i].name, name))
			return &tiers[i];
	return NULL;
}

struct tier_clock
tier_clock(const struct tier *t, const struct tier_model *m)
{
	return (struct tier_clock){.tier = *t, .model = *m};
}

/* T(n) */
static double
loading(const struct tier_clock *c, double n)
{
	return c->tier.latency * ceil(n / c->tier.queue) +
	       n * c->model.expert_bytes / c->tier.bandwidth;
}

/* C */
static double
computing(const struct tier_clock *c)
{
	const struct tier_model *m = &c->model;

	return (m->used * m->expert_bytes + m->dense_bytes) / m->fast;
}

/* Loads that are asked for at this time; when they are there. */
static double
ask(struct tier_clock *c, double when, double n)
{
	if (n > 0)
		c->idle = fmax(c->idle, when) + loading(c, n);
	return n > 0 ? c->idle : when;
}

double
tier_hidden(const struct tier_clock *c)
{
	return fmin(computing(c), loading(c, 1)) / loading(c, 1);
}

static double
scale(const struct tier_clock *c, double used)
{
	return used > 0 ? c->model.used / used : 0;
}

void
tier_ahead(struct tier_clock *c, double used, double n)
{
	c->ahead = ask(c, c->from, n * scale(c, used));
}

void
tier_turn(struct tier_clock *c, double used, double missing, double useful)
{
	const double begun = c->now, all = (missing + useful) * scale(c, used);

	c->from = ask(c, begun, missing * scale(c, used));
	if (useful > 0)
		c->from = fmax(c->from, c->ahead);
	c->stall += c->from - begun;
	c->now = c->from + computing(c);
	c->known += fmax(computing(c), all > 0 ? loading(c, all) : 0);
	c->turns++;
}

/* From the turns of the trace to those of a token. */
static double
of_token(const struct tier_clock *c, double seconds)
{
	return c->turns > 0 ? seconds / c->turns * c->model.layers : 0;
}

double
tier_token(const struct tier_clock *c)
{
	return of_token(c, c->now);
}

double
tier_token_known(const struct tier_clock *c)
{
	return of_token(c, c->known);
}

double
tier_token_resident(const struct tier_clock *c)
{
	return c->model.layers * computing(c);
}

double
tier_stall(const struct tier_clock *c)
{
	return of_token(c, c->stall);
}
