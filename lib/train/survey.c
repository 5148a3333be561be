#include "train/survey.h"
#include "base/mem.h"
#include "train/run.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- phases --- */

/* Phases that the rows of RUN/loss.csv tell. */
static int
loss_phases(struct survey *c)
{
	struct score_run *r;

	if (recovery_open(&c->loss, c->name, "loss") < 0) {
		c->loss = (struct recovery_source){0};
		return -1;
	}
	r = &c->loss.table.run[0];
	if (recovery_phases(&c->loss, r) < 0)
		return -1;
	c->phase = mem_zero((size_t)r->phases, sizeof(*c->phase));
	c->phases = r->phases;
	for (int i = 0; i < r->phases; i++)
		c->phase[i] = (struct memory_phase){
			r->phase[i].step, i + 1 < r->phases ? r->phase[i + 1].step : LONG_MAX,
			r->phase[i].name};
	return 0;
}

static int
find_phases(struct survey *c, bool dir, const long *step, int n)
{
	if (n == 0 && (c->phase = memory_phases(&c->m, &c->phases)))
		return 0;
	if (n == 0 && dir)
		return loss_phases(c);
	c->phases = n + 1;
	c->phase = mem_zero((size_t)c->phases, sizeof(*c->phase));
	for (int i = 0; i < c->phases; i++)
		c->phase[i] = (struct memory_phase){i ? step[i - 1] : 0, i < n ? step[i] : LONG_MAX,
						    NULL};
	return 0;
}

int
survey_open(struct survey *c, const char *operand, const long *step, int n)
{
	const bool dir = run_is_dir(operand);
	char *path;
	int r;

	*c = (struct survey){.name = run_name(operand)};
	path = dir ? run_path(c->name, "experts.csv") : mem_copy(operand);
	r = memory_read(&c->m, path);
	free(path);
	if (r == 0)
		r = find_phases(c, dir, step, n);
	if (r < 0) {
		survey_close(c);
		return -1;
	}
	memory_place(&c->m, c->phase, c->phases);
	for (long i = 0; i < c->m.windows; i++)
		c->split += c->m.window[i].phase < 0;
	return 0;
}

void
survey_close(struct survey *c)
{
	free(c->name);
	memory_free(&c->m);
	recovery_close(&c->loss);
	free(c->phase);
}

/* --- uses --- */

/* The first phase of the same domain stands for the domain. */
static int
domain_of(const struct survey *c, int phase)
{
	const char *name = phase < 0 ? NULL : c->phase[phase].domain;

	for (int i = 0; name && i < phase; i++)
		if (c->phase[i].domain && strcmp(c->phase[i].domain, name) == 0)
			return i;
	return phase;
}

static int *
make_groups(const struct survey *c, enum survey_by by)
{
	int *group = mem_zero((size_t)c->m.windows, sizeof(*group));

	for (long i = 0; i < c->m.windows; i++) {
		const int phase = c->m.window[i].phase;

		group[i] = by == SURVEY_PHASE	 ? phase
			   : by == SURVEY_DOMAIN ? domain_of(c, phase)
						 : (int)i;
	}
	return group;
}

/* The same expert's cell of an earlier phase: the one before, or the last of the same domain. */
static const struct memory_use *
earlier(const struct survey *c, const struct memory_use *u, const struct memory_use *first,
	bool same_domain)
{
	for (const struct memory_use *x = u; x-- > first;) {
		if (x->layer != u->layer || x->expert != u->expert)
			return NULL;
		if (!same_domain)
			return x->group == u->group - 1 ? x : NULL;
		if (c->phase[u->group].domain && domain_of(c, x->group) == domain_of(c, u->group))
			return x;
	}
	return NULL;
}

/* Phase, domain and steps of a group. */
static void
place(const struct survey *c, enum survey_by by, struct survey_use *u)
{
	const int group = u->sum.group;
	const struct memory_window *w =
		&c->m.window[by == SURVEY_WINDOW ? group : c->m.windows - 1];

	u->phase = by == SURVEY_WINDOW ? w->phase : by == SURVEY_PHASE ? group : -1;
	u->domain = by != SURVEY_WINDOW ? c->phase[group].domain
		    : w->phase < 0	? w->domain
					: c->phase[w->phase].domain;
	u->from = by == SURVEY_WINDOW ? w->from : by == SURVEY_PHASE ? c->phase[group].from : -1;
	u->to = by == SURVEY_DOMAIN					? -1
		: by == SURVEY_WINDOW || c->phase[group].to == LONG_MAX ? w->to
									: c->phase[group].to;
}

struct survey_use *
survey_uses(const struct survey *c, enum survey_by by, double limit, long *n)
{
	int *group = make_groups(c, by);
	struct memory_use *sum = memory_sum(&c->m, group, limit, n);
	struct survey_use *use = mem_zero((size_t)*n + 1, sizeof(*use));

	for (long i = 0; i < *n; i++) {
		const struct memory_use *u = &sum[i];
		const bool phase = by == SURVEY_PHASE;
		const struct memory_use *before = phase ? earlier(c, u, sum, false) : NULL;
		const struct memory_use *then = phase ? earlier(c, u, sum, true) : NULL;

		use[i] = (struct survey_use){.sum = *u,
					     .dormant = memory_share(u) <= limit,
					     .used_after = NAN,
					     .share_before = then ? memory_share(then) : NAN};
		place(c, by, &use[i]);
		if (before && memory_share(before) <= limit && u->first >= 0)
			use[i].used_after = (double)(u->first - c->phase[u->group].from);
	}
	free(sum);
	free(group);
	return use;
}
