#include "view/folk.h"
#include "base/mem.h"
#include "base/num.h"
#include "view/curve.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void
no_column(struct figure *f, const struct life *l, const char *what)
{
	const struct sheet *s = &l->sheet[LIFE_EXPERTS];

	if (s->columns)
		figure_missing(f, "%s has nothing in the column %s", s->path, what);
	else
		figure_missing(f, "there is no %s", s->path ? s->path : "experts.csv");
}

/* --- order of experts --- */

/* Experts of a layer by number of appearance, those that a census saw or not. */
static int
of_layer(const struct life *l, int layer, bool seen, int *list)
{
	int n = 0;

	for (int i = 0; i < l->experts; i++)
		if (l->expert[i].layer == layer && (!seen || l->expert[i].rows))
			list[n++] = i;
	return n;
}

static const struct life *sorted; /* by the comparison below, which has no argument for it */

static int
by_slot(const void *a, const void *b)
{
	const struct life_expert *p = &sorted->expert[*(const int *)a];
	const struct life_expert *q = &sorted->expert[*(const int *)b];

	if (p->slot != q->slot)
		return p->slot < q->slot ? -1 : 1;
	if (p->born != q->born)
		return p->born < q->born ? -1 : 1;
	return (p > q) - (p < q);
}

static int
by_length(const void *a, const void *b)
{
	const struct life_expert *p = &sorted->expert[*(const int *)a];
	const struct life_expert *q = &sorted->expert[*(const int *)b];

	if (p->rows != q->rows)
		return p->rows > q->rows ? -1 : 1;
	return (p > q) - (p < q);
}

/*
 * Rank of each expert in a walk through the families: a founder, then its first child with all
 * that descends from it, then the next.
 */
static int *
family_ranks(const struct life *l)
{
	const int n = l->experts;
	int *rank = mem_zero((size_t)n + 1, sizeof *rank), next = 0;
	int *child = mem_zero((size_t)n + 1, sizeof *child);
	int *peer = mem_zero((size_t)n + 1, sizeof *peer);
	int *up = mem_zero((size_t)n + 1, sizeof *up);

	for (int i = 0; i < n; i++) {
		child[i] = peer[i] = up[i] = -1;
		rank[i] = -1;
	}
	for (int i = n; i-- > 0;) {
		const struct life_expert *e = &l->expert[i];
		const int parent =
			e->family == i || e->parent < 0 ? -1 : life_find(l, e->layer, e->parent);
		if (parent < 0)
			continue;
		up[i] = parent;
		peer[i] = child[parent];
		child[parent] = i;
	}
	for (int i = 0; i < n; i++)
		for (int at = up[i] < 0 ? i : -1; at >= 0;) {
			if (rank[at] < 0)
				rank[at] = next++;
			if (child[at] >= 0) {
				const int down = child[at];
				child[at] = peer[down];
				at = down;
			} else {
				at = up[at];
			}
		}
	/* Parents that are their own descendants: a table from elsewhere may say so. */
	for (int i = 0; i < n; i++)
		if (rank[i] < 0)
			rank[i] = next++;
	free(child);
	free(peer);
	free(up);
	return rank;
}

static const char *
end_of(const struct life_expert *e)
{
	return !e->dead ? "lives" : *e->cause ? e->cause : "gone";
}

static void
about_expert(struct figure_series *s, const struct life_expert *e)
{
	char born[64] = "a founder", parent[32] = "";

	if (e->born > 0)
		snprintf(born, sizeof born, "born %.0f%s%s", e->born, *e->origin ? ", " : "",
			 e->origin);
	if (e->parent >= 0)
		snprintf(parent, sizeof parent, ", child of %ld", e->parent);
	if (e->dead)
		figure_label(s, "expert %ld, layer %d, slot %d: %s%s, died %.0f, %s", e->id,
			     e->layer, e->slot, born, parent, e->end, end_of(e));
	else
		figure_label(s, "expert %ld, layer %d, slot %d: %s%s, lives", e->id, e->layer,
			     e->slot, born, parent);
}

/* --- heat map of the load --- */

/* A row for each expert of the list; a column for each census step, or the mean of several. */
static struct figure_heat *
heat(const struct life *l, const int *list, int rows, int each, const int *rank)
{
	const int columns = (l->times + each - 1) / each;
	struct figure_heat *h = mem_zero(1, sizeof *h);
	int *row = mem_zero((size_t)l->experts + 1, sizeof *row);
	float *count = mem_zero((size_t)rows * columns + 1, sizeof *count);

	*h = (struct figure_heat){.rows = rows,
				  .columns = columns,
				  .unit = "fair shares",
				  .scale = "load, in fair shares",
				  .lo = -3,
				  .hi = 3};
	h->x = mem_zero((size_t)columns + 1, sizeof *h->x);
	h->v = mem_zero((size_t)rows * columns + 1, sizeof *h->v);
	h->name = mem_zero((size_t)rows + 1, sizeof *h->name);
	h->order = mem_zero((size_t)rows + 1, sizeof *h->order);
	for (int c = 0; c < columns; c++)
		h->x[c + 1] = l->time[c + 1 < columns ? (c + 1) * each - 1 : l->times - 1];
	h->x[0] = columns > 1 ? fmax(h->x[1] - (h->x[2] - h->x[1]), 0) : fmax(h->x[1] - 1, 0);
	for (int r = 0; r < rows; r++) {
		const struct life_expert *e = &l->expert[list[r]];
		row[list[r]] = r + 1;
		h->name[r] = mem_text("%ld", e->id);
		h->order[r][0] = r;
		h->order[r][1] = e->born;
		h->order[r][2] = isnan(e->load) ? 0 : -e->load;
		h->order[r][3] = rank[list[r]];
	}
	for (long i = 0; i < l->sheet[LIFE_EXPERTS].rows; i++) {
		const long at = (long)(row[l->who[i]] - 1) * columns + l->when[i] / each;
		if (row[l->who[i]] && !isnan(l->load[i]))
			h->v[at] += (l->load[i] - h->v[at]) / ++count[at];
	}
	for (long i = 0; i < (long)rows * columns; i++)
		if (count[i] == 0)
			h->v[i] = NAN;
	free(row);
	free(count);
	return h;
}

void
folk_use(struct figure *f, const struct life *l)
{
	int *list = mem_zero((size_t)l->experts + 1, sizeof *list), *rank = family_ranks(l);
	const int each = (l->times + FOLK_COLUMNS - 1) / FOLK_COLUMNS;
	bool any = false;

	for (long i = 0; i < l->sheet[LIFE_EXPERTS].rows && l->times && !any; i++)
		any = !isnan(l->load[i]);
	if (!any)
		no_column(f, l, "demand, tokens or usage");
	sorted = l;
	for (int k = 0; any && k < l->layers; k++) {
		int n = of_layer(l, k, true, list);
		char *title = mem_text("layer %d", k);
		struct figure_panel *p;
		if (n > FOLK_ROWS) {
			figure_note(f, "Of %d experts of layer %d the %d with the longest lives.",
				    n, k, FOLK_ROWS);
			qsort(list, (size_t)n, sizeof *list, by_length);
			n = FOLK_ROWS;
		}
		qsort(list, (size_t)n, sizeof *list, by_slot);
		p = figure_panel(f, title, fmin(fmax(n * 13, 60), 480));
		p->down = true;
		p->hi = fmax(n, 1);
		p->heat = heat(l, list, n, each, rank);
		free(title);
	}
	if (any && each > 1)
		figure_note(f, "A cell is the mean of %d steps of the census.", each);
	free(list);
	free(rank);
}

/* --- lines --- */

static struct curve
line_of(const struct life *l, const double *v, const long *row, long n)
{
	const double *step = sheet_numbers(&l->sheet[LIFE_EXPERTS], "step");
	struct curve c = {0};

	for (long i = 0; i < n; i++)
		curve_add(&c, step[row[i]], v[row[i]]);
	return c;
}

/* Rows of the census by expert: those of i are row[begin[i]] to row[begin[i + 1] - 1]. */
struct rows {
	long *begin, *row;
};

static struct rows
rows_by_expert(const struct life *l)
{
	const long n = l->times ? l->sheet[LIFE_EXPERTS].rows : 0;
	struct rows r = {mem_zero((size_t)l->experts + 2, sizeof(long)),
			 mem_zero((size_t)n + 1, sizeof(long))};

	for (long i = 0; i < n; i++)
		r.begin[l->who[i] + 2]++;
	for (int i = 2; i <= l->experts; i++)
		r.begin[i] += r.begin[i - 1];
	for (long i = 0; i < n; i++)
		r.row[r.begin[l->who[i] + 1]++] = i;
	return r;
}

/* A census without columns for this event's judge: value and threshold stand in the events. */
static void
add_threshold(struct figure_panel *p, const struct life *l, int layer)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS];
	const double *step = sheet_numbers(s, "step"), *where = sheet_numbers(s, "layer");
	const double *threshold = sheet_numbers(s, "threshold");
	struct curve c = {0};

	for (long i = 0; step && where && threshold && i < s->rows; i++)
		if (where[i] == layer && strcmp(sheet_word(s, "event", i), "move") &&
		    (!c.n || step[i] > c.x[c.n - 1]))
			curve_add(&c, step[i], threshold[i]);
	curve_reduce(&c, l, FOLK_POINTS);
	if (c.n) {
		struct figure_series *v = figure_series(p, "threshold", FIGURE_LINE, FIGURE_GREY);
		v->dash = 2;
		for (long i = 0; i < c.n; i++)
			figure_point(v, c.x[i], c.y[i]);
	}
	curve_free(&c);
}

static void
add_lines(struct figure *f, struct figure_panel *p, const struct life *l, const double *v,
	  const struct rows *r, const int *list, int n)
{
	double size = 0;

	for (int i = 0; i < n; i++) {
		const long from = r->begin[list[i]], to = r->begin[list[i] + 1];
		const struct life_expert *e = &l->expert[list[i]];
		struct curve c = line_of(l, v, r->row + from, to - from);
		struct figure_series *s;
		double bucket =
			l->times > FOLK_POINTS ? curve_bucket(l->times, l->last, FOLK_POINTS) : 0;
		if (bucket > 0 && c.n > 1)
			size = fmax(size, curve_reduce(&c, l, (long)fmax(l->last / bucket, 1)));
		if (c.n) {
			char *name = mem_text("expert %ld", e->id);
			s = figure_series(p, name, FIGURE_LINE, e->family);
			s->faint = true;
			for (long k = 0; k < c.n; k++)
				figure_point(s, c.x[k], c.y[k]);
			free(name);
		}
		curve_free(&c);
	}
	if (size > 0)
		figure_note(f, "Each point is the mean of up to %.9g steps.", size);
}

static int
compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
quantile(const double *v, int n, double q)
{
	const double at = q * (n - 1);
	const int k = (int)at;

	return k + 1 < n ? v[k] + (at - k) * (v[k + 1] - v[k]) : v[k];
}

/* Too many lines to tell apart: median with quartiles, and the least and greatest. */
static void
add_quartiles(struct figure *f, struct figure_panel *p, const struct life *l, const double *v,
	      int layer)
{
	const struct sheet *census = &l->sheet[LIFE_EXPERTS];
	const double *where = sheet_numbers(census, "layer");
	const double *step = sheet_numbers(census, "step");
	double *pool = mem_zero((size_t)census->rows + 1, sizeof *pool);
	struct curve c[5] = {{0}};
	static const double q[] = {0.5, 0.25, 0.75, 0, 1};

	for (long i = 0; i < census->rows;) {
		const long begin = i;
		int n = 0;
		for (; i < census->rows && step[i] == step[begin]; i++)
			if ((!where || where[i] == layer) && !isnan(v[i]))
				pool[n++] = v[i];
		qsort(pool, (size_t)n, sizeof *pool, compare);
		for (int k = 0; n && k < 5; k++)
			curve_add(&c[k], step[begin], quantile(pool, n, q[k]));
	}
	for (int k = 0; k < 5; k++)
		curve_reduce(&c[k], l, FOLK_POINTS);
	for (int pass = 0; pass < 2; pass++) {
		struct figure_series *s =
			figure_series(p, pass ? "median and quartiles" : "least to greatest",
				      FIGURE_LINE, pass ? 0 : FIGURE_GREY);
		s->faint = !pass;
		for (long i = 0; i < c[0].n; i++) {
			figure_point(s, c[0].x[i], c[0].y[i]);
			figure_range(s, c[pass ? 1 : 3].y[i], c[pass ? 2 : 4].y[i]);
		}
	}
	for (int k = 0; k < 5; k++)
		curve_free(&c[k]);
	free(pool);
	figure_note(f, "Layers of more than %d experts show medians and quartiles.", FOLK_LINES);
}

static void
individuals(struct figure *f, const struct life *l, const char *column, const char *title)
{
	const double *v = life_census(l, column);
	int *list = mem_zero((size_t)l->experts + 1, sizeof *list);
	struct rows r = rows_by_expert(l);

	if (!v || !l->times)
		no_column(f, l, column);
	for (int k = 0; v && l->times && k < l->layers; k++) {
		const int n = of_layer(l, k, true, list);
		char *name = mem_text("layer %d, %s", k, title);
		struct figure_panel *p = figure_panel(f, name, 130);
		free(name);
		if (n <= FOLK_LINES)
			add_lines(f, p, l, v, &r, list, n);
		else
			add_quartiles(f, p, l, v, k);
		if (strcmp(column, "vitality"))
			add_threshold(p, l, k);
	}
	free(list);
	free(r.begin);
	free(r.row);
}

void
folk_fitness(struct figure *f, const struct life *l)
{
	const bool effective = life_census(l, "effective");

	individuals(f, l, effective ? "effective" : "fitness",
		    effective ? "effective fitness" : "fitness");
}

void
folk_vitality(struct figure *f, const struct life *l)
{
	static const char *const limit[] = {"overload", "starvation"};

	individuals(f, l, "vitality", "vitality");
	for (int i = 0; i < 2; i++) {
		const char *s = life_option(l, limit[i]);
		double v;
		if (!s || num_real(s, 0, 1, &v) < 0)
			continue;
		for (int k = 0; k < f->panels; k++) {
			struct figure_series *line =
				figure_series(&f->panel[k], limit[i], FIGURE_LINE, FIGURE_GREY);
			line->dash = 2;
			figure_point(line, 0, v);
			figure_point(line, l->last, v);
		}
	}
}

/* --- tiers --- */

static int
highest(const double *v, long n)
{
	double most = 0;

	for (long i = 0; v && i < n; i++)
		most = v[i] > most ? v[i] : most;
	return most < 64 ? (int)most : 63;
}

static void
add_tiers(struct figure_panel *p, const struct life *l, const double *tier, int tiers, int layer)
{
	const struct sheet *s = &l->sheet[LIFE_EXPERTS];
	const double *where = sheet_numbers(s, "layer"), *step = sheet_numbers(s, "step");

	for (int t = 0; t <= tiers; t++) {
		struct curve c = {0};
		char *name = mem_text("tier %d", t);
		struct figure_series *v = figure_series(p, name, FIGURE_LINE, t);
		free(name);
		v->dash = t;
		for (long i = 0; i < s->rows;) {
			const int when = l->when[i];
			double share = 0, all = 0;
			const double x = step[i];
			for (; i < s->rows && l->when[i] == when; i++)
				if ((!where || where[i] == layer) && !isnan(l->load[i])) {
					all += l->load[i];
					share += tier[i] == t ? l->load[i] : 0;
				}
			curve_add(&c, x, all > 0 ? share / all : NAN);
		}
		curve_reduce(&c, l, FOLK_POINTS);
		curve_mean(&c, 1, v);
		curve_free(&c);
	}
}

void
folk_tiers(struct figure *f, const struct life *l)
{
	const double *tier = life_census(l, "tier");
	const int tiers = highest(tier, l->sheet[LIFE_EXPERTS].rows);

	if (!tier)
		no_column(f, l, "tier");
	else if (!tiers)
		figure_missing(f, "all experts of %s are in tier 0", l->sheet[LIFE_EXPERTS].path);
	for (int k = 0; tiers && l->times && k < l->layers; k++) {
		char *title = mem_text("layer %d, share of the tokens", k);
		struct figure_panel *p = figure_panel(f, title, 110);
		free(title);
		p->lo = 0;
		p->hi = 1;
		add_tiers(p, l, tier, tiers, k);
	}
}

/* --- families --- */

static int
by_rank(const void *a, const void *b)
{
	return ((const int *)a)[1] < ((const int *)b)[1] ? -1 : 1;
}

/* A row of the legend: how a life ended. */
static void
add_sign(struct figure_panel *p, const char *name, enum figure_symbol symbol)
{
	figure_series(p, name, FIGURE_DOTS, FIGURE_GREY)->symbol = symbol;
}

static void
add_family(struct figure_panel *p, const struct life *l, const int (*list)[2], int n)
{
	struct figure_series *s = NULL;
	double *row = mem_zero((size_t)l->experts + 1, sizeof *row);
	bool replaced = false, died = false;

	p->down = true;
	p->lo = -0.7;
	p->hi = n - 0.3;
	p->ticks = n;
	p->tick = mem_zero((size_t)n + 1, sizeof *p->tick);
	for (int i = 0; i < l->experts; i++)
		row[i] = NAN;
	for (int i = 0; i < n; i++) {
		row[list[i][0]] = i;
		p->tick[i] = mem_text("%ld", l->expert[list[i][0]].id);
	}
	for (int i = 0; i < n; i++) {
		const struct life_expert *e = &l->expert[list[i][0]];
		const int up = e->parent < 0 || e->family == list[i][0]
				       ? -1
				       : life_find(l, e->layer, e->parent);
		if (!s || s->color != e->family) {
			s = figure_series(p, "", FIGURE_SPANS, e->family);
		}
		figure_point(s, e->born, i);
		figure_range(s, up < 0 ? NAN : row[up], e->end);
		about_expert(s, e);
		if (!s->mark)
			s->mark = mem_zero((size_t)s->room, 1);
		if (!e->dead)
			continue;
		s->mark[s->n - 1] = !strcmp(e->cause, "replace") ? FIGURE_CROSS : FIGURE_DOWN;
		*(s->mark[s->n - 1] == FIGURE_CROSS ? &replaced : &died) = true;
	}
	if (replaced)
		add_sign(p, "replaced", FIGURE_CROSS);
	if (died)
		add_sign(p, "died otherwise", FIGURE_DOWN);
	free(row);
}

void
folk_family(struct figure *f, const struct life *l)
{
	int *rank = family_ranks(l), lives = 0;
	int(*list)[2] = mem_zero((size_t)l->experts + 1, sizeof *list);

	for (int i = 0; i < l->experts; i++)
		lives += l->expert[i].dead || l->expert[i].born > 0 || l->expert[i].parent >= 0;
	if (!lives)
		figure_missing(f, "all experts are founders, and live");

	for (int k = 0; lives && k < l->layers; k++) {
		char *title = mem_text("layer %d", k);
		struct figure_panel *p;
		int n = 0;
		for (int i = 0; i < l->experts; i++)
			if (l->expert[i].layer == k) {
				list[n][0] = i;
				list[n++][1] = rank[i];
			}
		qsort(list, (size_t)n, sizeof *list, by_rank);
		if (n > FOLK_SPANS)
			figure_note(f, "Layer %d shows the first %d of %d lives.", k, FOLK_SPANS,
				    n);
		n = n < FOLK_SPANS ? n : FOLK_SPANS;
		p = figure_panel(f, title, fmin(fmax(n * 13, 60), 900));
		add_family(p, l, (const int(*)[2])list, n);
		free(title);
	}
	free(list);
	free(rank);
}
