#include "train/verdict.h"
#include "base/mem.h"
#include "base/num.h"
#include "policy/ecology.h"
#include "pool/pool.h"
#include "pool/probe.h"
#include <stdlib.h>

static int
decide(struct verdict *v, const struct recipe *r, long step, bool shifted)
{
	if (r->lifecycle == LIFE_MARKET) {
		if (market_decide(&r->market, &v->rows, &v->market) != 0)
			return -1;
		if (market_due(&r->market, step))
			v->events = &v->market.events;
	}
	if (r->lifecycle == LIFE_LIVING) {
		v->events = &v->others;
		return living_decide(&r->living, &v->rows, &v->others);
	}
	if (r->prune.kind && shifted) {
		v->events = &v->others;
		prune_decide(&r->prune, &v->rows, &v->others);
	}
	return 0;
}

/* What a living layer remembers of itself, onto its first row. */
static void
feel(struct verdict *v, const struct recipe *r, const struct param *p, long step)
{
	for (int k = 0; k < v->rows.layers; k++) {
		struct policy_row *row = &v->rows.row[v->rows.begin[k]];
		const struct layer *l = &p->layer[row->layer];
		const struct phi *phi = &v->phi[row->layer];
		if (phi->pairs > 0)
			row->phi = num_single(r->living.phi == LIVING_PRODUCT ? phi->product
									      : phi->diversity);
		row->phi_high = (double)l->phi_high;
		row->loss_low = (double)l->loss_low;
		row->norm_mean = (double)l->norm_mean;
		row->plateau = l->plateau;
		row->escape = l->until > step ? l->until - step : 0;
	}
}

int
verdict_pass(struct verdict *v, const struct recipe *r, const struct census *c,
	     const struct param *p, long step, bool shifted)
{
	census_rows(c, p, step, &v->rows);
	for (int i = 0; i < v->rows.n && r->tiers.n > 0; i++)
		v->rows.row[i].tier = ecology_tier(r->tiers.n, r->tiers.v, v->rows.row[i].slot);
	free(v->phi);
	v->phi = mem_zero((size_t)p->shape.layers, sizeof *v->phi);
	for (int i = 0; i < p->shape.layers; i++)
		v->phi[i] = probe_phi(p, i);
	if (r->lifecycle == LIFE_LIVING)
		feel(v, r, p, step);
	v->events = NULL;
	policy_events_clear(&v->others);
	return decide(v, r, step, shifted);
}

static void
remember_market(const struct verdict *v, struct param *p)
{
	const struct policy_step *s = &v->rows;

	for (int k = 0; k < v->market.layers; k++)
		for (int i = s->begin[k]; i < s->begin[k + 1]; i++) {
			const struct policy_row *r = &s->row[i];
			struct expert *x = p->layer[r->layer].expert[r->slot];
			if (r->effective < v->market.layer[k].threshold)
				x->below = r->below + 1;
			else
				x->below = 0;
		}
}

static void
remember_life(const struct policy_step *s, struct param *p)
{
	for (int i = 0; i < s->n; i++) {
		const struct policy_row *r = &s->row[i];
		struct expert *x = p->layer[r->layer].expert[r->slot];
		x->energy = (float)r->next.energy;
		x->over = r->next.over;
		x->starved = r->next.starved;
	}
	for (int k = 0; k < s->layers; k++) {
		const struct policy_row *r = &s->row[s->begin[k]];
		struct layer *l = &p->layer[r->layer];
		l->phi_high = (float)r->next.phi_high;
		l->loss_low = (float)r->next.loss_low;
		l->norm_mean = (float)r->next.norm_mean;
		l->plateau = r->next.plateau;
	}
}

void
verdict_remember(const struct verdict *v, const struct recipe *r, struct param *p)
{
	if (r->lifecycle == LIFE_MARKET && v->events)
		remember_market(v, p);
	if (r->lifecycle == LIFE_LIVING)
		remember_life(&v->rows, p);
}

int
verdict_carry_out(const struct recipe *r, struct param *p, struct policy_events *e)
{
	if (pool_apply(p, e, (uint64_t)r->seed) != 0)
		return -1;
	if (r->lifecycle == LIFE_LIVING)
		pool_part(p, r->twin_cosine);
	for (int i = 0; i < e->n; i++)
		if (e->v[i].kind == POLICY_ESCAPE)
			p->layer[e->v[i].layer].until = e->v[i].step + r->living.escape_steps;
	return 0;
}

void
verdict_free(struct verdict *v)
{
	policy_step_free(&v->rows);
	free(v->phi);
	market_round_free(&v->market);
	policy_events_free(&v->others);
}
