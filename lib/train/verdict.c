#include "train/verdict.h"
#include "policy/ecology.h"
#include "pool/pool.h"

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

int
verdict_pass(struct verdict *v, const struct recipe *r, const struct census *c,
	     const struct param *p, long step, bool shifted)
{
	census_rows(c, p, step, &v->rows);
	for (int i = 0; i < v->rows.n && r->tiers.n > 0; i++)
		v->rows.row[i].tier = ecology_tier(r->tiers.n, r->tiers.v, v->rows.row[i].slot);
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
	return 0;
}

void
verdict_free(struct verdict *v)
{
	policy_step_free(&v->rows);
	market_round_free(&v->market);
	policy_events_free(&v->others);
}
