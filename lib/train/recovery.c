#include "train/recovery.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "train/run.h"
#include <math.h>
#include <stdlib.h>

/* --- which shifts --- */

int
recovery_open(struct recovery_source *s, const char *operand, const char *metric)
{
	char *name = run_name(operand), *path;
	int r;

	*s = (struct recovery_source){.dir = run_is_dir(operand) ? mem_copy(name) : NULL};
	path = s->dir ? run_path(s->dir, "loss.csv") : mem_copy(operand);
	r = score_read(&s->table, path, name, metric);
	free(path);
	free(name);
	if (r < 0)
		free(s->dir);
	return r;
}

void
recovery_close(struct recovery_source *s)
{
	score_free(&s->table);
	free(s->dir);
}

int
recovery_phases(const struct recovery_source *s, struct score_run *r)
{
	char *path = s->dir ? run_path(s->dir, "events.csv") : NULL;
	long *step = NULL;
	int n = 0, bad = 0;

	if (path && file_exists(path))
		bad = score_events(path, &step, &n);
	/* A run under way may stand at a shift. */
	while (n > 0 && step[n - 1] >= r->step[r->n - 1])
		n--;
	if (!bad)
		bad = score_phases(&s->table, r, step, n);
	free(step);
	free(path);
	return bad;
}

/* The phase that begins at a step, or may. */
static int
phase_at(const struct score_run *r, long step)
{
	for (int i = 1; i < r->phases; i++) {
		const struct score_phase *p = &r->phase[i];

		if ((step >= p->step && step <= p->doubt) || (step >= p->doubt && step <= p->step))
			return i;
	}
	return -1;
}

bool *
recovery_choose(const struct recovery_source *s, struct score_run *r,
		const struct recovery_shifts *which)
{
	bool all_known = true, *chosen;

	if (recovery_phases(s, r) < 0)
		return NULL;
	for (int i = 0; i < which->n; i++)
		all_known &= phase_at(r, which->step[i]) >= 0;
	if (!all_known && score_phases(&s->table, r, which->step, which->n) < 0)
		return NULL;
	chosen = mem_zero((size_t)r->phases, sizeof(*chosen));
	for (int i = 0; i < which->n; i++) {
		const int p = phase_at(r, which->step[i]);

		if (p < 0)
			continue;
		chosen[p] = true;
		r->phase[p].step = r->phase[p].doubt = which->step[i];
	}
	for (int i = 1; which->n == 0 && i < r->phases; i++)
		chosen[i] = !which->last || i == r->phases - 1;
	return chosen;
}

/* --- figures --- */

static double
level_of(const struct score_run *r, int phase, const struct recovery_how *how)
{
	int earlier;

	switch (how->level) {
	case RECOVERY_BEFORE: return score_last(r, phase - 1);
	case RECOVERY_LEFT:
		earlier = score_earlier(r, phase);
		return earlier < 0 ? NAN : score_last(r, earlier);
	default: return how->value;
	}
}

/* Steps from the start of the domain's first phase until the level; NAN if never. */
static int
scratch_steps(const struct score_run *r, const char *domain, double level, int hold, double *steps)
{
	const int p = r->phases == 1 ? 0 : domain ? score_phase_of(r, domain) : -1;
	long row;

	if (p < 0)
		return err_set("run %s, from scratch, has %d phases and none of domain %s", r->name,
			       r->phases, domain ? domain : "(untold)");
	row = score_recover(r, p, level, hold);
	*steps = row < 0 ? NAN : (double)(r->step[row] - r->phase[p].step);
	return 0;
}

int
recovery_score(const struct score_run *r, int phase, const struct recovery_how *how,
	       struct recovery *x)
{
	const struct score_phase *p = &r->phase[phase];
	const double level = level_of(r, phase, how);
	double *f;

	*x = (struct recovery){.shift = phase};
	f = x->figure;
	x->row = isnan(level) ? -1 : score_recover(r, phase, level, how->hold);
	/* A domain that is new has no earlier start to compare with. */
	x->compared = how->scratch && !isnan(level) &&
		      !(how->scratch == r && score_earlier(r, phase) < 0);
	f[RECOVERY_SHIFT_STEP] = (double)p->step;
	f[RECOVERY_LEVEL] = level;
	f[RECOVERY_RECOVERED_AT] = x->row < 0 ? NAN : (double)r->step[x->row];
	f[RECOVERY_STEPS] = f[RECOVERY_RECOVERED_AT] - f[RECOVERY_SHIFT_STEP];
	f[RECOVERY_BEFORE_SHIFT] = score_last(r, phase - 1);
	f[RECOVERY_FIRST] = score_first(r, phase);
	f[RECOVERY_PEAK] = score_peak(r, phase, x->row);
	f[RECOVERY_SPIKE] = f[RECOVERY_PEAK] - f[RECOVERY_BEFORE_SHIFT];
	f[RECOVERY_SCRATCH_STEPS] = f[RECOVERY_SPEEDUP] = NAN;
	if (x->compared &&
	    scratch_steps(how->scratch, p->name, level, how->hold, &f[RECOVERY_SCRATCH_STEPS]) < 0)
		return -1;
	if (f[RECOVERY_STEPS] > 0)
		f[RECOVERY_SPEEDUP] = f[RECOVERY_SCRATCH_STEPS] / f[RECOVERY_STEPS];
	return 0;
}

struct recovery_mean
recovery_mean(const struct recovery *x, long n, int shift, int hold)
{
	struct recovery_mean all = {0};
	double *v = mem_zero((size_t)n + 1, sizeof(*v));

	for (int f = 0; f < RECOVERY_FIGURES; f++) {
		struct score_mean m;

		all.runs = 0;
		for (long i = 0; i < n; i++)
			if (x[i].shift == shift && x[i].hold == hold)
				v[all.runs++] = x[i].figure[f];
		m = score_mean(v, all.runs);
		all.mean[f] = m.mean;
		all.sd[f] = m.sd;
		if (f == RECOVERY_RECOVERED_AT)
			all.recovered = m.n;
	}
	free(v);
	return all;
}
