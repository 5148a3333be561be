#include "view/ties.h"
#include "base/mem.h"
#include "knn/galaxy.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct tally *
trace(struct figure *f, const struct life *l)
{
	const char *why;
	const struct tally *t = life_tally(l, &why);
	int64_t seconds = 0;

	if (!t) {
		figure_missing(f, "%s", why);
		return NULL;
	}
	for (int k = 0; k < t->layers; k++)
		for (long i = 0; t->layer[k].flow && i < (long)t->layer[k].room * t->layer[k].room;
		     i++)
			seconds += t->layer[k].flow[i];
	if (!seconds)
		figure_missing(f, "the trace has no second choices");
	return seconds ? t : NULL;
}

/* --- flow --- */

/* Groups of a layer's slots: tiers where there are several, else each slot is one. */
struct groups {
	int n;
	bool tiers;
	int *of; /* [slots] */
};

static struct groups
group(const struct life *l, int layer, int slots)
{
	const struct sheet *s = &l->sheet[LIFE_EXPERTS];
	const double *tier = sheet_numbers(s, "tier"), *slot = sheet_numbers(s, "slot");
	const double *where = sheet_numbers(s, "layer");
	struct groups g = {.n = 1, .of = mem_zero((size_t)slots + 1, sizeof *g.of)};

	for (long i = 0; tier && slot && l->times && i < s->rows; i++) {
		const bool ours = (!where || where[i] == layer) && slot[i] >= 0 && slot[i] < slots;
		if (ours && tier[i] >= 0 && tier[i] < slots) {
			g.of[(int)slot[i]] = (int)tier[i];
			g.n = tier[i] >= g.n ? (int)tier[i] + 1 : g.n;
		}
	}
	g.tiers = g.n > 1;
	if (!g.tiers) {
		g.n = slots;
		for (int i = 0; i < slots; i++)
			g.of[i] = i;
	}
	return g;
}

/* One side of a flow: where each group begins, with a gap between two. */
static void
stand(const double *height, int n, double *begin)
{
	double at = 0;

	for (int i = 0; i < n; i++) {
		begin[i] = at;
		at += height[i] + (n > 1 ? 0.16 / (n - 1) : 0);
	}
}

static void
add_nodes(struct figure_panel *p, const struct groups *g, const double *height, const double *begin,
	  double x)
{
	for (int i = 0; i < g->n; i++) {
		struct figure_series *s;
		if (height[i] <= 0)
			continue;
		s = figure_series(p, "", FIGURE_BARS, i);
		s->width = 0.02;
		figure_point(s, x, height[i]);
		figure_range(s, begin[i], begin[i] + height[i]);
		figure_label(s, "%s %d", g->tiers ? "tier" : "slot", i);
	}
}

static void
add_ribbons(struct figure_panel *p, const struct groups *g, const double *cell, double *left,
	    double *right)
{
	const char *what = g->tiers ? "tier" : "slot";

	for (int i = 0; i < g->n; i++) {
		struct figure_series *s = figure_series(p, "", FIGURE_RIBBONS, i);
		for (int j = 0; j < g->n; j++) {
			const double share = cell[i * g->n + j];
			if (share <= 0)
				continue;
			figure_point(s, 0, share);
			figure_range(s, left[i], right[j]);
			figure_label(s, "first %s %d, second %s %d", what, i, what, j);
			left[i] += share;
			right[j] += share;
		}
		if (!s->n)
			p->n--, free(s->name);
	}
}

static void
flow_of(struct figure *f, const struct tally_layer *t, const struct groups *g, int layer)
{
	const size_t n = (size_t)g->n;
	double *cell = mem_zero(n * n + 4 * n, sizeof *cell), all = 0;
	double *height = cell + n * n, *begin = height + 2 * n;
	char *title = mem_text("layer %d", layer);
	struct figure_panel *p = figure_panel(f, title, fmin(fmax(g->n * 22, 120), 330));

	for (int i = 0; i < t->experts; i++)
		for (int j = 0; j < t->experts; j++) {
			const double v = (double)t->flow[(size_t)i * (size_t)t->room + (size_t)j];
			cell[g->of[i] * g->n + g->of[j]] += v;
			all += v;
		}
	for (int i = 0; i < g->n * g->n; i++) {
		cell[i] /= all > 0 ? all : 1;
		height[i / g->n] += cell[i];
		height[g->n + i % g->n] += cell[i];
	}
	p->lo = 0;
	p->hi = 1.16;
	p->down = true;
	for (int side = 0; side < 2; side++) {
		stand(height + side * g->n, g->n, begin + side * g->n);
		add_nodes(p, g, height + side * g->n, begin + side * g->n, side ? 1.01 : -0.01);
	}
	add_ribbons(p, g, cell, begin, begin + g->n);
	free(cell);
	free(title);
}

void
ties_flow(struct figure *f, const struct life *l)
{
	const struct tally *t = trace(f, l);

	f->axis = "";
	f->from = -0.02;
	f->to = 1.02;
	for (int k = 0; t && k < t->layers && f->panels < TIES_PANELS; k++) {
		struct groups g = group(l, k, t->layer[k].experts);
		if (t->layer[k].flow && g.n <= TIES_NODES)
			flow_of(f, &t->layer[k], &g, k);
		free(g.of);
	}
	if (t && t->layers > TIES_PANELS)
		figure_note(f, "The first %d of %d layers.", TIES_PANELS, t->layers);
	if (t && !f->panels)
		figure_missing(f, "layers of the trace have more than %d experts, of one tier",
			       TIES_NODES);
}

/* --- pairs --- */

static int64_t
pair(const struct tally_layer *t, int i, int j)
{
	return t->pair[(size_t)(i < j ? i : j) * (size_t)t->room + (size_t)(i < j ? j : i)];
}

struct busy {
	int64_t count;
	int slot;
};

static int
by_count(const void *a, const void *b)
{
	const struct busy *p = a, *q = b;

	if (p->count != q->count)
		return p->count > q->count ? -1 : 1;
	return p->slot - q->slot;
}

static int
by_place(const void *a, const void *b)
{
	return ((const struct busy *)a)->slot - ((const struct busy *)b)->slot;
}

/* The busiest slots of a layer, in their order. */
static struct busy *
busiest(const struct tally_layer *t, int n)
{
	struct busy *b = mem_zero((size_t)t->experts + 1, sizeof *b);

	for (int i = 0; i < t->experts; i++)
		b[i] = (struct busy){t->sum[i].routed, i};
	if (n < t->experts)
		qsort(b, (size_t)t->experts, sizeof *b, by_count);
	qsort(b, (size_t)n, sizeof *b, by_place);
	return b;
}

static void
pairs_of(struct figure *f, const struct tally_layer *t, int n, int layer)
{
	struct busy *b = busiest(t, n);
	char *title = mem_text("layer %d", layer);
	struct figure_panel *p = figure_panel(f, title, 330);
	struct figure_heat *h = p->heat = mem_zero(1, sizeof *h);
	double all = 0;

	*h = (struct figure_heat){.rows = n,
				  .columns = n,
				  .middle = true,
				  .unit = "times the even share",
				  .scale = "chosen together, in even shares",
				  .lo = -3,
				  .hi = 3};
	h->x = mem_zero((size_t)n + 1, sizeof *h->x);
	h->v = mem_zero((size_t)n * (size_t)n + 1, sizeof *h->v);
	h->name = mem_zero((size_t)n + 1, sizeof *h->name);
	p->down = true;
	p->hi = n;
	for (int i = 0; i < t->experts; i++)
		for (int j = i + 1; j < t->experts; j++)
			all += (double)pair(t, i, j);
	for (int i = 0; i <= n; i++)
		h->x[i] = i - 0.5;
	for (int i = 0; i < n; i++) {
		h->name[i] = mem_text("%d", b[i].slot);
		for (int j = 0; j < n; j++)
			h->v[i * n + j] = i == j || all <= 0
						  ? NAN
						  : (double)pair(t, b[i].slot, b[j].slot) / all *
							    t->experts * (t->experts - 1) / 2;
	}
	f->to = fmax(f->to, n - 0.5);
	free(b);
	free(title);
}

void
ties_pairs(struct figure *f, const struct life *l)
{
	const struct tally *t = trace(f, l);
	long cells = 0;

	f->axis = "";
	f->square = true;
	f->from = -0.5;
	f->to = 0.5;
	for (int k = 0; t && k < t->layers && f->panels < TIES_PANELS && cells < TIES_CELLS; k++) {
		const struct tally_layer *layer = &t->layer[k];
		const int n = layer->experts < TIES_EXPERTS ? layer->experts : TIES_EXPERTS;
		if (!layer->pair || !layer->tokens)
			continue;
		pairs_of(f, layer, n, k);
		cells += (long)n * n;
		if (n < layer->experts) {
			figure_note(f, "The %d busiest slots of %d.", n, layer->experts);
		}
	}
	if (t && f->panels < t->layers)
		figure_note(f, "%d of %d layers.", f->panels, t->layers);
	if (t && !f->panels)
		figure_missing(f, "layers of the trace have more than %d experts", TALLY_PAIRS);
}

/* --- map --- */

/* A square around all points, so that lengths compare. */
static void
frame(struct figure *f, struct figure_panel *p, double *reach)
{
	for (int i = 0; i < p->n; i++)
		for (long k = 0; k < p->series[i].n; k++)
			*reach = fmax(*reach,
				      fmax(fabs(p->series[i].x[k]), fabs(p->series[i].y[k])));
	f->to = *reach > 0 ? 1.06 * *reach : 1;
	f->from = -f->to;
	for (int k = 0; k < f->panels; k++) {
		f->panel[k].lo = f->from;
		f->panel[k].hi = f->to;
	}
}

/* The series of a colour, begun if the panel has none; named where there are few. */
static struct figure_series *
series_of(struct figure_panel *p, int color, const char *name)
{
	struct figure_series *s;

	for (int i = 0; i < p->n; i++)
		if (p->series[i].color == color)
			return &p->series[i];
	s = figure_series(p, name, FIGURE_DOTS, color);
	s->symbol = FIGURE_CIRCLE + color / 8 % 5;
	return s;
}

static int
whole(const double *v, long i)
{
	return v && v[i] >= 0 && v[i] < 1e6 ? (int)v[i] : 0;
}

/* Each map of the file, its middle in the origin. */
static void
map_of_table(struct figure *f, const struct sheet *s)
{
	static const struct {
		const char *x, *y, *title;
	} map[] = {{"tsne_x", "tsne_y", "keys by t-SNE"},
		   {"pca_x", "pca_y", "keys by principal components"}};
	const double *expert = sheet_numbers(s, "expert"), *group = sheet_numbers(s, "community");
	double reach = 0;
	bool few = true;

	for (long i = 0; i < s->rows; i++)
		few &= whole(group, i) < TIES_NAMES;
	for (int k = 0; k < 2; k++) {
		const double *x = sheet_numbers(s, map[k].x), *y = sheet_numbers(s, map[k].y);
		double mean[2] = {0}, most = 0, n = 0;
		struct figure_panel *p;
		if (!x || !y || !s->rows)
			continue;
		for (long i = 0; i < s->rows; i++) {
			if (isnan(x[i] + y[i]))
				continue;
			n++;
			mean[0] += (x[i] - mean[0]) / n;
			mean[1] += (y[i] - mean[1]) / n;
		}
		/* fmax passes over what is no number. */
		for (long i = 0; i < s->rows; i++)
			most = fmax(most, fmax(fabs(x[i] - mean[0]), fabs(y[i] - mean[1])));
		most = most > 0 ? most : 1;
		p = figure_panel(f, map[k].title, 330);
		for (long i = 0; i < s->rows; i++) {
			struct figure_series *v;
			char *name;
			if (isnan(x[i] + y[i]))
				continue;
			name = group ? mem_text("community %d", whole(group, i)) : mem_copy("");
			v = series_of(p, whole(group, i), few ? name : "");
			/* Two maps on one scale: each is as wide as the other. */
			figure_point(v, (x[i] - mean[0]) / most, (y[i] - mean[1]) / most);
			figure_label(v, "expert %d, %s", expert ? whole(expert, i) : (int)i, name);
			free(name);
		}
		frame(f, p, &reach);
	}
	if (!f->panels)
		figure_missing(f, "%s has no columns tsne_x, tsne_y or pca_x, pca_y", s->path);
}

static void
map_of_layer(struct figure *f, const struct life *l, const struct nearby_layer *k, int layer,
	     double *reach)
{
	double *at = mem_zero((size_t)k->n, 2 * sizeof *at), share;
	struct figure_panel *p;
	char *title;

	galaxy_pca(k->n, k->d, k->key, at, &share);
	title = mem_text("layer %d (%.0f %% of the variance)", layer, 100 * share);
	p = figure_panel(f, title, 330);
	for (int i = 0; i < k->n; i++) {
		const int who = life_find(l, layer, k->id[i]);
		struct figure_series *s =
			series_of(p, who < 0 ? FIGURE_GREY : l->expert[who].family, "");
		figure_point(s, at[2 * i], at[2 * i + 1]);
		figure_label(s, "expert %ld, slot %d", k->id[i], k->slot[i]);
	}
	frame(f, p, reach);
	free(at);
	free(title);
}

void
ties_map(struct figure *f, const struct life *l)
{
	double reach = 0;

	f->axis = "";
	f->square = true;
	if (l->sheet[LIFE_MAP].columns) {
		map_of_table(f, &l->sheet[LIFE_MAP]);
		return;
	}
	for (int k = 0; k < l->keys.layers && f->panels < TIES_PANELS; k++)
		if (l->keys.layer[k].n > 2)
			map_of_layer(f, l, &l->keys.layer[k], k, &reach);
	if (!f->panels)
		figure_missing(f,
			       "there is no checkpoint with a row of the router for each expert");
	else if (l->keys.step >= 0)
		figure_note(f, "From the checkpoint of step %ld.", l->keys.step);
}
