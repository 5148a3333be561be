#include "policy/ending.h"
#include "base/err.h"
#include "base/mem.h"
#include "io/table.h"
#include "policy/track.h"
#include <math.h>
#include <stdlib.h>

const char *const ending_figure_name[ENDING_FIGURES] = {
	"loss", "val_loss", "accuracy", "pure_core", "broad_core", "weak_core",
	"edge", "noise",    "dead",	"active",    "gini",	   "depth"};

double
ending_figure(const struct ending *x, int i)
{
	const int *n = x->class;
	const double v[ENDING_FIGURES] = {x->loss,
					  x->val_loss,
					  x->accuracy,
					  n[ECOLOGY_PURE_CORE],
					  n[ECOLOGY_BROAD_CORE],
					  n[ECOLOGY_WEAK_CORE],
					  n[ECOLOGY_EDGE],
					  n[ECOLOGY_NOISE],
					  n[ECOLOGY_DEAD],
					  x->experts - n[ECOLOGY_DEAD],
					  x->gini,
					  x->depth};

	return i < ENDING_FIGURES ? v[i] : x->tier[i - ENDING_FIGURES];
}

struct policy_census *
ending_census(const char *run)
{
	char *file = mem_text("%s/experts.csv", run);
	struct policy_census *c =
		policy_census_open(file_exists(file) ? file : run, ROW_USAGE | ROW_SLOT,
				   ROW_EXPERT | ROW_BORN | ROW_ACCURACY);

	free(file);
	return c;
}

int
ending_slots(const struct policy_step *s, const char *run, struct opt_ints tiers)
{
	int sum = 0;

	for (int i = 0; i < tiers.n; i++)
		sum += tiers.v[i];
	for (int i = 0; i < s->n && tiers.n; i++)
		if (s->row[i].slot >= sum)
			return err_set("%s: step %ld: slot %d in layer %d (expected it below %d, "
				       "the sum of --tiers)",
				       run, s->step, s->row[i].slot, s->row[i].layer, sum);
	return 0;
}

static int
rising(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct ending
ending_of(const struct policy_row *r, int n, const char *run, struct opt_ints tiers)
{
	struct ending x = {.run = run, .layer = r->layer, .experts = n, .depth = NAN};
	double *load = mem_zero((size_t)n, sizeof *load);

	x.usage = mem_zero((size_t)n, sizeof *x.usage);
	x.tier = mem_zero((size_t)tiers.n + 1, sizeof *x.tier);
	for (int i = 0; i < n; i++) {
		x.usage[i] = load[i] = r[i].usage;
		if (r[i].usage > 0) /* who had no sample has no accuracy */
			x.accuracy += r[i].usage * r[i].accuracy;
		x.class[ecology_class_of(r[i].usage, r[i].accuracy)]++;
	}
	x.gini = ecology_load(n, load).gini;
	track_tiers(r, n, tiers.n, tiers.v, x.tier);
	if (tiers.n)
		x.depth = ecology_depth(tiers.n, x.tier).effective;
	qsort(x.usage, (size_t)n, sizeof *x.usage, rising);
	free(load);
	return x;
}

/* The last values that a run's table of losses has, NAN where it has none. */
static int
last_losses(const char *run, double *loss, double *val)
{
	char *file = mem_text("%s/loss.csv", run);
	struct table *t = file_exists(file) ? table_open(file) : NULL;
	const int column[2] = {t ? table_column(t, "loss") : -1,
			       t ? table_column(t, "val_loss") : -1};
	double *const at[2] = {loss, val};
	int got = t || !file_exists(file) ? 0 : -1;

	*loss = *val = NAN;
	free(file);
	while (t && (got = table_next(t)) > 0)
		for (int i = 0; i < 2; i++)
			if (column[i] >= 0 && *table_text(t, column[i]) &&
			    table_real(t, column[i], at[i]) != 0) {
				table_close(t);
				return -1;
			}
	table_close(t);
	return got;
}

int
ending_read(struct endings *e, const char *run, struct opt_ints tiers)
{
	struct policy_census *c = ending_census(run);
	struct policy_step *s, last = {0};
	double loss = NAN, val = NAN;
	int got = -1;

	while (c && (got = policy_census_next(c, &s)) > 0) {
		policy_step_clear(&last);
		for (int i = 0; i < s->n; i++)
			policy_step_add(&last, &s->row[i]);
	}
	if (got == 0 && last.n == 0)
		got = err_set("%s: no census", run);
	if (got == 0)
		got = ending_slots(&last, run, tiers);
	if (got == 0 && (got = last_losses(run, &loss, &val)) == 0)
		for (int k = 0; k < last.layers; k++) {
			const int from = last.begin[k];

			e->v = mem_grow(e->v, (size_t)e->n + 1, sizeof *e->v);
			e->v[e->n] =
				ending_of(last.row + from, last.begin[k + 1] - from, run, tiers);
			e->v[e->n].loss = loss;
			e->v[e->n++].val_loss = val;
		}
	policy_step_free(&last);
	policy_census_close(c);
	return got;
}

void
ending_free(struct endings *e)
{
	for (int i = 0; i < e->n; i++) {
		free(e->v[i].usage);
		free(e->v[i].tier);
	}
	free(e->v);
	*e = (struct endings){0};
}

double
ending_distance(const double *a, const double *b, int n)
{
	double d = 0;

	for (int i = 0; i < n; i++)
		d += 0.5 * fabs(a[i] - b[i]);
	return d;
}
