#include "train/score.h"
#include "base/err.h"
#include "base/mem.h"
#include "io/table.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- reading --- */

enum { MOST = 4096 }; /* runs or domains of a table: a number in their column makes many */

static int
name_index(struct score_table *t, const char *name)
{
	for (int i = t->names - 1; i >= 0; i--)
		if (strcmp(t->name[i], name) == 0)
			return i;
	if (t->names == MOST)
		return err_set("more than %d domains", MOST);
	t->name = mem_grow(t->name, (size_t)t->names + 1, sizeof(*t->name));
	t->name[t->names] = mem_copy(name);
	return t->names++;
}

static struct score_run *
find_run(struct score_table *t, const char *name)
{
	for (int i = t->runs - 1; i >= 0; i--)
		if (strcmp(t->run[i].name, name) == 0)
			return &t->run[i];
	if (t->runs == MOST) {
		err_set("more than %d runs", MOST);
		return NULL;
	}
	t->run = mem_grow(t->run, (size_t)t->runs + 1, sizeof(*t->run));
	t->run[t->runs] = (struct score_run){.name = mem_copy(name)};
	return &t->run[t->runs++];
}

static void
add_row(struct score_run *r, long step, double value, int domain)
{
	if (r->n == r->room) {
		r->room = r->room ? 2 * r->room : 256;
		r->step = mem_grow(r->step, (size_t)r->room, sizeof(*r->step));
		r->value = mem_grow(r->value, (size_t)r->room, sizeof(*r->value));
		r->domain = mem_grow(r->domain, (size_t)r->room, sizeof(*r->domain));
	}
	r->step[r->n] = step;
	r->value[r->n] = value;
	r->domain[r->n++] = domain;
}

/* Where the columns are; -1: not there. */
struct columns {
	int run, step, domain, value;
};

static int
read_row(struct score_table *t, const struct table *in, const struct columns *c, const char *name)
{
	struct score_run *r = find_run(t, c->run < 0 ? name : table_text(in, c->run));
	double value = NAN;
	int domain = -1;
	long step;

	if (!r || (c->domain >= 0 && (domain = name_index(t, table_text(in, c->domain))) < 0))
		return err_in("%s:%ld", t->file, table_line(in));
	if (table_long(in, c->step, 0, LONG_MAX, &step) < 0)
		return -1;
	if (r->n > 0 && step <= r->step[r->n - 1])
		return err_set("%s:%ld: step %ld after step %ld (expected steps that rise)",
			       t->file, table_line(in), step, r->step[r->n - 1]);
	if (*table_text(in, c->value)) {
		if (table_real(in, c->value, &value) < 0)
			return -1;
		if (!isfinite(value))
			return err_set("%s:%ld: %s is %s (expected a finite number, or nothing)",
				       t->file, table_line(in), table_header(in, c->value),
				       table_text(in, c->value));
	}
	add_row(r, step, value, domain);
	return 0;
}

static int
check_runs(const struct score_table *t, const char *metric)
{
	if (t->runs == 0)
		return err_set("%s: no rows (expected steps and their %s)", t->file, metric);
	for (int i = 0; i < t->runs; i++) {
		const struct score_run *r = &t->run[i];
		long k = 0;

		while (k < r->n && isnan(r->value[k]))
			k++;
		if (k == r->n)
			return err_set("%s: no value of %s in run %s", t->file, metric, r->name);
	}
	return 0;
}

int
score_read(struct score_table *t, const char *file, const char *name, const char *metric)
{
	struct table *in = table_open(file);
	struct columns c;
	int r = -1;

	*t = (struct score_table){.file = mem_copy(file)};
	if (!in)
		goto err;
	c = (struct columns){.run = table_column(in, "run"),
			     .step = table_require(in, "step"),
			     .domain = table_column(in, "domain"),
			     .value = -1};
	if (c.step < 0 || (c.value = table_require(in, metric)) < 0)
		goto err;
	while ((r = table_next(in)) == 1)
		if ((r = read_row(t, in, &c, name)) < 0)
			break;
	if (r == 0)
		r = check_runs(t, metric);
err:
	table_close(in);
	if (r < 0)
		score_free(t);
	return r;
}

void
score_free(struct score_table *t)
{
	for (int i = 0; i < t->runs; i++) {
		free(t->run[i].name);
		free(t->run[i].step);
		free(t->run[i].value);
		free(t->run[i].domain);
		free(t->run[i].phase);
	}
	for (int i = 0; i < t->names; i++)
		free(t->name[i]);
	free(t->run);
	free(t->name);
	free(t->file);
	*t = (struct score_table){0};
}

int
score_events(const char *file, long **step, int *n)
{
	struct table *in = table_open(file);
	int at, event, r = -1;
	long x;

	*step = NULL;
	*n = 0;
	if (!in)
		return -1;
	if ((at = table_require(in, "step")) >= 0 && (event = table_require(in, "event")) >= 0)
		while ((r = table_next(in)) == 1) {
			if (strcmp(table_text(in, event), "shift") != 0)
				continue;
			r = table_long(in, at, 0, LONG_MAX, &x);
			if (r == 0 && *n > 0 && x <= (*step)[*n - 1])
				r = err_set("%s:%ld: a shift at step %ld after one at step %ld",
					    file, table_line(in), x, (*step)[*n - 1]);
			if (r < 0)
				break;
			*step = mem_grow(*step, (size_t)*n + 1, sizeof(**step));
			(*step)[(*n)++] = x;
		}
	table_close(in);
	if (r < 0) {
		free(*step);
		*step = NULL;
		*n = 0;
	}
	return r;
}

/* --- phases --- */

static bool
from_zero(const struct score_run *r)
{
	return r->step[0] == 0;
}

static void
add_phase(const struct score_table *t, struct score_run *r, long step, long doubt, long first)
{
	const int domain = r->domain[first];

	r->phase = mem_grow(r->phase, (size_t)r->phases + 1, sizeof(*r->phase));
	if (r->phases > 0)
		r->phase[r->phases - 1].end = first;
	r->phase[r->phases++] = (struct score_phase){.step = step,
						     .doubt = doubt,
						     .name = domain < 0 ? NULL : t->name[domain],
						     .first = first,
						     .end = r->n};
}

/* Phases where the domain changes. */
static void
find_shifts(const struct score_table *t, struct score_run *r)
{
	for (long i = 1; i < r->n; i++) {
		const long a = r->step[i - 1], b = r->step[i];

		if (r->domain[i] == r->domain[i - 1])
			continue;
		if (b - a > 1 && isnan(r->value[i]))
			add_phase(t, r, b, b, i);
		else if (from_zero(r))
			add_phase(t, r, b, b - a > 1 ? a + 1 : b, i);
		else
			add_phase(t, r, a, b - 1, i);
	}
}

/* The first row after a shift at step s. */
static long
first_after(const struct score_run *r, long s)
{
	long i = 0;

	while (i < r->n && r->step[i] < s)
		i++;
	/* A row of step s is before the shift, but for what its own domain says. */
	if (i < r->n && r->step[i] == s && !from_zero(r) &&
	    (i == 0 || r->domain[i] == r->domain[i - 1]))
		i++;
	return i;
}

int
score_phases(const struct score_table *t, struct score_run *r, const long *shift, int n)
{
	free(r->phase);
	r->phase = NULL;
	r->phases = 0;
	add_phase(t, r, 0, 0, 0);
	for (int i = 0; i < n; i++) {
		long first = first_after(r, shift[i]);

		if (first == r->n)
			return err_set(
				"%s: run %s has no row after the shift at step %ld (its last "
				"is step %ld)",
				t->file, r->name, shift[i], r->step[r->n - 1]);
		add_phase(t, r, shift[i], shift[i], first);
	}
	if (n == 0)
		find_shifts(t, r);
	return 0;
}

int
score_earlier(const struct score_run *r, int phase)
{
	const char *name = r->phase[phase].name;

	while (name && --phase >= 0)
		if (r->phase[phase].name && strcmp(r->phase[phase].name, name) == 0)
			return phase;
	return -1;
}

int
score_phase_of(const struct score_run *r, const char *domain)
{
	for (int i = 0; i < r->phases; i++)
		if (r->phase[i].name && strcmp(r->phase[i].name, domain) == 0)
			return i;
	return -1;
}

/* --- values --- */

/* The mean of equal values is that value, to the bit. */
static double
mean_of(const double *v, long n)
{
	double mean = 0;

	for (long i = 0; i < n; i++)
		mean += (v[i] - mean) / (double)(i + 1);
	return mean;
}

void
score_smooth(struct score_run *r, int n)
{
	double *last;

	if (n <= 1)
		return;
	last = mem_zero((size_t)n, sizeof(*last));
	for (int p = 0; p < r->phases; p++) {
		long seen = 0;

		for (long i = r->phase[p].first; i < r->phase[p].end; i++)
			if (!isnan(r->value[i])) {
				last[seen++ % n] = r->value[i];
				r->value[i] = mean_of(last, seen < n ? seen : n);
			}
	}
	free(last);
}

double
score_last(const struct score_run *r, int phase)
{
	const struct score_phase *p = &r->phase[phase];

	for (long i = p->end - 1; i >= p->first; i--)
		if (!isnan(r->value[i]))
			return r->value[i];
	return NAN;
}

double
score_first(const struct score_run *r, int phase)
{
	const struct score_phase *p = &r->phase[phase];

	for (long i = p->first; i < p->end; i++)
		if (!isnan(r->value[i]))
			return r->value[i];
	return NAN;
}

long
score_recover(const struct score_run *r, int phase, double level, int hold)
{
	const struct score_phase *p = &r->phase[phase];
	long first = -1;
	int held = 0;

	for (long i = p->first; i < p->end; i++) {
		if (isnan(r->value[i]))
			continue;
		if (!(r->value[i] <= level)) {
			held = 0;
			continue;
		}
		if (held++ == 0)
			first = i;
		if (held == hold)
			return first;
	}
	return -1;
}

double
score_peak(const struct score_run *r, int phase, long end)
{
	const struct score_phase *p = &r->phase[phase];
	double peak = NAN;

	for (long i = p->first; i < p->end && (end < 0 || i <= end); i++)
		if (!isnan(r->value[i]) && !(r->value[i] <= peak))
			peak = r->value[i];
	return peak;
}

struct score_mean
score_mean(const double *v, long n)
{
	struct score_mean m = {0, NAN, NAN};
	double mean = 0, square = 0;

	for (long i = 0; i < n; i++)
		if (!isnan(v[i])) {
			const double d = v[i] - mean;

			mean += d / (double)++m.n;
			square += d * (v[i] - mean);
		}
	if (m.n > 0)
		m.mean = mean;
	if (m.n > 1)
		m.sd = sqrt(square / (double)(m.n - 1));
	return m;
}
