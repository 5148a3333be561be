#include "view/plot.h"
#include "base/mem.h"
#include "view/curve.h"
#include "view/folk.h"
#include "view/ties.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- groups --- */

/* What the names of a group's runs begin with, without the seed and what separates it. */
static char *
group_name(const struct plot_group *g, const struct life *life)
{
	char *name = mem_copy(life_label(&life[g->run[0]])), *whole;
	size_t n = strlen(name);

	for (int i = 1; i < g->n; i++) {
		const char *other = life_label(&life[g->run[i]]);
		size_t same = 0;
		while (same < n && other[same] == name[same])
			same++;
		n = same;
	}
	while (g->n > 1 && n && strchr("-_. /s", name[n - 1]))
		n--;
	name[n] = 0;
	if (g->n == 1)
		return name;
	whole = mem_text("%s (%d seeds)", n ? name : life_label(&life[g->run[0]]), g->n);
	free(name);
	return whole;
}

void
plot_runs(struct plot_runs *r, const struct life *life, int n)
{
	*r = (struct plot_runs){.n = n, .life = life};
	r->group = mem_zero((size_t)n + 1, sizeof *r->group);
	for (int i = 0; i < n; i++) {
		struct plot_group *g = r->group;
		while (g < r->group + r->groups && !life_alike(&life[g->run[0]], &life[i]))
			g++;
		if (g == r->group + r->groups) {
			r->groups++;
			g->run = mem_zero((size_t)n, sizeof *g->run);
		}
		g->run[g->n++] = i;
	}
	for (int i = 0; i < r->groups; i++)
		r->group[i].name = group_name(&r->group[i], life);
}

void
plot_runs_free(struct plot_runs *r)
{
	for (int i = 0; i < r->groups; i++) {
		free(r->group[i].name);
		free(r->group[i].run);
	}
	free(r->group);
	*r = (struct plot_runs){0};
}

/* --- what figures have alike --- */

static void
add_escapes(struct figure *f, const struct life *l)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS];
	const double *step = sheet_numbers(s, "step");
	double before = -1;

	for (long i = 0; step && i < s->rows && f->marks < 24; i++)
		if (!strcmp(sheet_word(s, "event", i), "escape") && step[i] != before)
			figure_mark(f, "escape", before = step[i]);
}

/* The axis of steps with what it is divided into: phases are those of the first run. */
static void
add_steps(struct figure *f, const struct plot_runs *r)
{
	const struct life *l = &r->life[0];

	for (int i = 0; i < r->n; i++)
		f->to = fmax(f->to, r->life[i].last);
	if (f->to <= 0)
		f->to = 1;
	for (int i = 0; i < l->phases; i++)
		figure_band(f, l->phase[i].domain, l->phase[i].from,
			    i + 1 < l->phases ? l->phase[i].to : f->to, l->phase[i].color);
	if (r->groups == 1)
		add_escapes(f, l);
}

static const char *
file_of(const struct life *l, enum life_table t)
{
	return l->sheet[t].path ? l->sheet[t].path : life_file(t);
}

/* Why a column cannot be drawn. */
static void
lacks(struct figure *f, const struct life *l, enum life_table t, const char *column)
{
	const struct sheet *s = &l->sheet[t];

	if (!s->path || !s->columns)
		figure_missing(f, "there is no %s", file_of(l, t));
	else if (!s->rows)
		figure_missing(f, "%s has no rows", s->path);
	else if (!sheet_numbers(s, "step"))
		figure_missing(f, "%s has no column step", s->path);
	else
		figure_missing(f, "%s has nothing in the column %s", s->path, column);
}

/* A column's points, of one layer or (-1) all; of a step with several rows, their mean. */
static struct curve
column_curve(const struct life *l, enum life_table t, const char *column, int layer)
{
	const struct sheet *s = &l->sheet[t];
	const double *step = sheet_numbers(s, "step"), *y = sheet_numbers(s, column);
	const double *where = sheet_numbers(s, "layer");
	struct curve c = {0};
	double count = 0;

	for (long i = 0; step && y && i < s->rows; i++) {
		if (isnan(y[i]) || (layer >= 0 && where && where[i] != layer))
			continue;
		if (c.n && c.x[c.n - 1] == step[i]) {
			count++;
			c.y[c.n - 1] += (y[i] - c.y[c.n - 1]) / count;
			continue;
		}
		curve_add(&c, step[i], y[i]);
		count = 1;
	}
	return c;
}

struct wish {
	enum life_table table;
	const char *column;
	int layer;
	const char *name;
	enum figure_look look;
	int color, dash;
};

/* The mean over a group; false, and nothing drawn, if none of its runs has the column. */
static bool
add_column(struct figure *f, struct figure_panel *p, const struct plot_runs *r,
	   const struct plot_group *g, const struct wish *w)
{
	struct curve *c = mem_zero((size_t)g->n, sizeof *c);
	struct figure_series *s;
	double bucket = 0;
	int n = 0;

	for (int i = 0; i < g->n; i++) {
		c[n] = column_curve(&r->life[g->run[i]], w->table, w->column, w->layer);
		bucket = fmax(bucket, curve_reduce(&c[n], &r->life[g->run[i]], PLOT_POINTS));
		n += c[n].n > 0;
	}
	if (n) {
		s = figure_series(p, w->name, w->look, w->color);
		s->dash = w->dash;
		s->symbol = FIGURE_CIRCLE + w->color % 5;
		curve_mean(c, n, s);
	}
	for (int i = 0; i < n; i++)
		curve_free(&c[i]);
	free(c);
	if (bucket > 0 && !f->note && g->n == 1)
		f->note = mem_text("Each point is the mean of %.9g steps; the band reaches from "
				   "the least to the greatest of them.",
				   bucket);
	else if (bucket > 0 && !f->note)
		f->note = mem_text("Each point is the mean of %.9g steps and of the seeds; the "
				   "band is one standard deviation of the seeds on each side.",
				   bucket);
	else if (g->n > 1 && !f->note)
		f->note = mem_copy("Each point is the mean of the seeds; the band is one standard "
				   "deviation of them on each side.");
	return n;
}

/* --- losses --- */

/* The n-th text to validate on: files first, then what is held out of the texts to train on. */
static char *
validated(const struct life *l, const char *column)
{
	const char *held = life_option(l, "val-frac"), *named = column + strlen("val_loss");

	if (*named)
		return mem_text("validation, %s", named + 1);
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < l->recipe.n; i++) {
			const char *kind = pass ? "train " : "val ", *v = l->recipe.v[i].value;
			if (strcmp(l->recipe.v[i].name, "made-of") ||
			    strncmp(v, kind, strlen(kind)) ||
			    (pass && (!held || !strcmp(held, "0"))))
				continue;
			v += strlen(kind);
			return mem_text("validation, %.*s", (int)strcspn(v, "@ "), v);
		}
	return mem_copy("validation");
}

/* All that begin so, of the first run; a curve each in the first panel, or a panel each. */
static void
add_validations(struct figure *f, const struct plot_runs *r)
{
	const struct sheet *s = &r->life[0].sheet[LIFE_LOSS];
	int color = 1;

	for (int k = 0; k < s->columns; k++) {
		const char *column = s->column[k].name;
		char *name;
		if (strncmp(column, "val_loss", 8))
			continue;
		name = validated(&r->life[0], column);
		for (int i = 0; i < r->groups; i++) {
			const struct wish w = {LIFE_LOSS,
					       column,
					       -1,
					       r->groups > 1 ? r->group[i].name : name,
					       FIGURE_MARKED,
					       r->groups > 1 ? i : color,
					       r->groups > 1 ? i : color};
			if (r->groups > 1 && !i)
				figure_panel(f, name, 150);
			add_column(f, &f->panel[f->panels - 1], r, &r->group[i], &w);
		}
		if (r->groups > 1 && !f->panel[f->panels - 1].n)
			figure_drop(f);
		color++;
		free(name);
	}
}

static void
loss(struct figure *f, const struct plot_runs *r)
{
	struct figure_panel *p =
		figure_panel(f, r->groups > 1 ? "training loss" : "loss (nats per token)", 240);
	bool any = false;

	for (int i = 0; i < r->groups; i++) {
		const struct wish w = {
			LIFE_LOSS,   "loss", -1, r->groups > 1 ? r->group[i].name : "training",
			FIGURE_LINE, i,	     i};
		any |= add_column(f, p, r, &r->group[i], &w);
	}
	add_validations(f, r);
	if (!any)
		lacks(f, &r->life[0], LIFE_LOSS, "loss");
}

/* Whether all there is in a panel is zero. */
static bool
is_zero(const struct figure_panel *p)
{
	for (int i = 0; i < p->n; i++)
		for (long k = 0; k < p->series[i].n; k++)
			if (p->series[i].y[k] != 0)
				return false;
	return p->n > 0;
}

/* Columns of a table, a panel each, with a curve for each layer or, of many groups, each group. */
static void
add_panels(struct figure *f, const struct plot_runs *r, enum life_table t,
	   const char *const (*list)[2], double height)
{
	const int layers = t == LIFE_LAYERS && r->groups == 1 ? r->life[0].layers : 1;
	char *zero = NULL;

	for (int k = 0; list[k][0]; k++) {
		struct figure_panel *p = figure_panel(f, list[k][1], height);
		for (int i = 0; i < r->groups; i++)
			for (int layer = 0; layer < layers && layer < 24; layer++) {
				char *name = r->groups > 1 ? mem_copy(r->group[i].name)
					     : layers > 1  ? mem_text("layer %d", layer)
							   : mem_copy("");
				const struct wish w = {t,
						       list[k][0],
						       layers > 1 ? layer : -1,
						       name,
						       FIGURE_LINE,
						       layers > 1 ? layer : i,
						       layers > 1 ? layer : i};
				add_column(f, p, r, &r->group[i], &w);
				free(name);
			}
		if (is_zero(p)) {
			char *all =
				mem_text("%s%s%s", zero ? zero : "", zero ? "; " : "", list[k][1]);
			free(zero);
			zero = all;
		}
		if (!p->n || is_zero(p))
			figure_drop(f);
	}
	if (zero)
		figure_note(f, "Zero throughout: %s.", zero);
	free(zero);
	if (!f->panels)
		lacks(f, &r->life[0], t, list[0][0]);
}

static void
terms(struct figure *f, const struct plot_runs *r)
{
	static const char *const list[][2] = {{"load_balance_weighted", "load balance, weighted"},
					      {"z_weighted", "z loss, weighted"},
					      {"entropy_weighted", "entropy, weighted"},
					      {"balance_weighted", "balance, weighted"},
					      {"ortho_weighted", "orthogonality, weighted"},
					      {"divergence_weighted", "divergence, weighted"},
					      {"grad_norm", "norm of the gradient"},
					      {"lr", "learning rate"},
					      {NULL, NULL}};

	add_panels(f, r, LIFE_LOSS, list, 80);
}

static void
routing(struct figure *f, const struct plot_runs *r)
{
	static const char *const list[][2] = {
		{"balance", "balance (1 is even)"},
		{"gini", "Gini coefficient of the load"},
		{"entropy", "entropy of the routing (1 is no preference)"},
		{"dead", "share of experts without tokens"},
		{"maxvio", "largest load above the fair share"},
		{"phi_diversity", "Phi, diversity"},
		{"phi_product", "Phi, product"},
		{"phi_distance", "Phi, distance"},
		{"phi_integration", "Phi, integration"},
		{"coactivation", "most frequent pair, share of tokens"},
		{NULL, NULL}};

	add_panels(f, r, LIFE_LAYERS, list, 80);
}

/* --- population --- */

/* Living experts of a layer, or (-1) all. */
static struct curve
living(const struct life *l, int layer)
{
	struct curve c = {0};

	for (int t = 0; t < l->times; t++) {
		double n = 0;
		for (int k = 0; k < l->census_layers; k++)
			n += layer < 0 || k == layer ? l->living[t * l->census_layers + k] : 0;
		curve_add(&c, l->time[t], n);
	}
	return c;
}

/* How many of a kind there were up to each step; who is merged dies, too. */
static struct curve
total(const struct life *l, const char *event)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS];
	const double *step = sheet_numbers(s, "step");
	struct curve c = {0};
	double n = 0;

	curve_add(&c, 0, 0);
	for (long i = 0; step && i < s->rows; i++)
		if (!strcmp(sheet_word(s, "event", i), event) ||
		    (!strcmp(event, "death") && !strcmp(sheet_word(s, "event", i), "merge")))
			curve_add(&c, step[i], ++n);
	curve_add(&c, l->last, n);
	return c;
}

/* Staircases of different steps meet at the same ones, so that they have a mean. */
static void
add_stairs(struct figure *f, struct figure_panel *p, struct curve *c, int n, const char *name,
	   int color, int dash)
{
	struct figure_series *s = figure_series(p, name, FIGURE_STEPS, color);

	s->dash = dash;
	for (int i = 0; i < n && (n > 1 || c[i].n > 4 * PLOT_POINTS); i++) {
		struct curve even = {0};
		for (int k = 0; k <= PLOT_POINTS; k++) {
			const double x = floor(f->to * k / PLOT_POINTS);
			if (c[i].n && x <= c[i].x[c[i].n - 1] && x >= c[i].x[0])
				curve_add(&even, x, curve_at(&c[i], x));
		}
		curve_free(&c[i]);
		c[i] = even;
	}
	curve_mean(c, n, s);
	for (int i = 0; i < n; i++)
		curve_free(&c[i]);
}

static void
add_living(struct figure *f, struct figure_panel *p, const struct plot_runs *r)
{
	const int layers = r->groups == 1 ? r->life[0].layers : 1;
	struct curve *c = mem_zero((size_t)r->n, sizeof *c);

	for (int i = 0; i < r->groups; i++)
		for (int k = 0; k < layers && k < 24; k++) {
			const struct plot_group *g = &r->group[i];
			char *name = r->groups > 1 ? mem_copy(g->name)
				     : layers > 1  ? mem_text("layer %d", k)
						   : mem_copy("");
			for (int j = 0; j < g->n; j++)
				c[j] = living(&r->life[g->run[j]], r->groups > 1 ? -1 : k);
			add_stairs(f, p, c, g->n, name, layers > 1 ? k : i, layers > 1 ? k : i);
			free(name);
		}
	free(c);
}

static void
add_totals(struct figure *f, struct figure_panel *p, const struct plot_runs *r, const char *event,
	   const char *what, int color, int dash)
{
	struct curve *c = mem_zero((size_t)r->n, sizeof *c);

	for (int i = 0; i < r->groups; i++) {
		const struct plot_group *g = &r->group[i];
		char *name = r->groups > 1 ? mem_text("%s, %s", what, g->name) : mem_copy(what);
		for (int j = 0; j < g->n; j++)
			c[j] = total(&r->life[g->run[j]], event);
		add_stairs(f, p, c, g->n, name, r->groups > 1 ? i : color, dash);
		free(name);
	}
	free(c);
}

static void
population(struct figure *f, const struct plot_runs *r)
{
	const struct life *l = &r->life[0];
	struct figure_panel *p;

	if (l->times) {
		p = figure_panel(f, r->groups > 1 ? "living experts, all layers" : "living experts",
				 110);
		p->whole = true;
		add_living(f, p, r);
	} else {
		lacks(f, l, LIFE_EXPERTS, "expert");
	}
	if (l->sheet[LIFE_EVENTS].columns) {
		p = figure_panel(f, "born and died, in all", 110);
		p->whole = true;
		add_totals(f, p, r, "birth", "births", FIGURE_BIRTH, 0);
		add_totals(f, p, r, "death", "deaths", FIGURE_DEATH, 1);
		free(f->missing);
		f->missing = NULL;
	}
}

/* --- events --- */

enum deed { REPLACED, BORN, DIED, MOVED, OTHER, DEEDS };
static const char *const deed_name[] = {"replaced", "born", "died", "moved", "other"};
static const int deed_color[] = {FIGURE_REPLACED, FIGURE_BIRTH, FIGURE_DEATH, FIGURE_MOVE,
				 FIGURE_GREY};
static const int deed_symbol[] = {FIGURE_DIAMOND, FIGURE_UP, FIGURE_DOWN, FIGURE_SQUARE,
				  FIGURE_RING};

/* What a row tells; a replacement's death is told by its birth. -1: nothing happened. */
static int
deed_of(const struct sheet *s, long i)
{
	const char *event = sheet_word(s, "event", i);
	const bool replace = !strcmp(sheet_word(s, "cause", i), "replace");

	if (!strcmp(event, "birth"))
		return replace ? REPLACED : BORN;
	if (!strcmp(event, "death") || !strcmp(event, "merge"))
		return replace ? -1 : DIED;
	if (!strcmp(event, "move"))
		return MOVED;
	return !strcmp(event, "keep") || !strcmp(event, "shift") || !*event ? -1 : OTHER;
}

/* Stacked bars of what happened in every so many steps; of several runs, the mean. */
static void
add_bars(struct figure *f, const struct plot_runs *r, const struct plot_group *g)
{
	const double size = figure_tick(0, f->to, 60, true);
	const int n = (int)ceil(f->to / size) + 1;
	double *count = mem_zero((size_t)n * DEEDS, sizeof *count);
	char *title = mem_text("%s%sin each %.9g steps", r->groups > 1 ? g->name : "",
			       r->groups > 1 ? ", " : "", size);
	struct figure_panel *p = figure_panel(f, title, 90);

	free(title);
	p->whole = g->n == 1;
	for (int i = 0; i < g->n; i++) {
		const struct sheet *s = &r->life[g->run[i]].sheet[LIFE_EVENTS];
		const double *step = sheet_numbers(s, "step");
		for (long k = 0; step && k < s->rows; k++) {
			const int deed = deed_of(s, k);
			const int at = (int)fmax(ceil(step[k] / size) - 1, 0);
			if (deed >= 0 && at < n)
				count[at * DEEDS + deed] += 1.0 / g->n;
		}
	}
	for (int d = 0; d < DEEDS; d++) {
		struct figure_series *s = NULL;
		for (int i = 0; i < n; i++) {
			double below = 0;
			if (count[i * DEEDS + d] <= 0)
				continue;
			if (!s)
				s = figure_series(p, deed_name[d], FIGURE_BARS, deed_color[d]);
			for (int k = 0; k < d; k++)
				below += count[i * DEEDS + k];
			s->dash = d;
			s->width = size;
			figure_point(s, (i + 0.5) * size, count[i * DEEDS + d]);
			figure_range(s, below, below + count[i * DEEDS + d]);
		}
	}
	if (!p->n) {
		p->lo = 0;
		p->hi = 1;
	}
	free(count);
}

/* The phase of a step; what a policy does at the step of a shift it does with what it saw. */
static int
phase_of(const struct life *l, double step)
{
	int k = 0;

	while (k + 1 < l->phases && step > l->phase[k].to)
		k++;
	return k;
}

static void
count_phase(const struct life *l, int phase, double *count)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS];
	const double *step = sheet_numbers(s, "step");

	memset(count, 0, DEEDS * sizeof *count);
	for (long k = 0; step && k < s->rows; k++) {
		const int deed = deed_of(s, k);
		if (deed >= 0 && phase_of(l, step[k]) == phase)
			count[deed]++;
	}
}

static bool
happens(const struct plot_runs *r, const struct plot_group *g, int deed)
{
	for (int i = 0; i < g->n; i++) {
		const struct sheet *s = &r->life[g->run[i]].sheet[LIFE_EVENTS];
		for (long k = 0; k < s->rows; k++)
			if (deed_of(s, k) == deed)
				return true;
	}
	return false;
}

/* A point for each phase and kind of event (of groups: replacements, births and deaths). */
static void
add_phases(struct figure *f, const struct plot_runs *r)
{
	const int n = r->groups > 1 ? r->groups : DEEDS;
	int places = 0, place = 0;
	struct figure_panel *p =
		figure_panel(f, r->groups > 1 ? "events in each phase" : "in each phase", 90);

	p->whole = true;
	for (int i = 0; i < n; i++)
		places += r->groups > 1 || happens(r, &r->group[0], i);
	for (int i = 0; i < n; i++) {
		const struct plot_group *g = &r->group[r->groups > 1 ? i : 0];
		struct figure_series *s;
		if (r->groups == 1 && !happens(r, g, i))
			continue;
		place++;
		s = figure_series(p, r->groups > 1 ? g->name : "", FIGURE_DOTS,
				  r->groups > 1 ? i : deed_color[i]);
		s->symbol = r->groups > 1 ? FIGURE_CIRCLE + i % 5 : deed_symbol[i];
		for (int k = 0; k < r->life[0].phases; k++) {
			const struct figure_band *b = &f->band[k];
			double mean = 0, square = 0, count[DEEDS];
			for (int j = 0; j < g->n; j++) {
				double v = 0, d;
				count_phase(&r->life[g->run[j]], k, count);
				for (int q = 0; q < OTHER; q++)
					v += r->groups > 1 || q == i ? count[q] : 0;
				d = v - mean;
				mean += d / (j + 1);
				square += d * d * j / (j + 1);
			}
			figure_point(s, b->from + (b->to - b->from) * place / (places + 1), mean);
			if (g->n > 1) {
				const double sd = sqrt(square / (g->n - 1));
				figure_range(s, mean - sd, mean + sd);
			}
			figure_label(s, "%s%s%s", *b->name ? b->name : "phase",
				     r->groups > 1 ? "" : ": ", r->groups > 1 ? "" : deed_name[i]);
		}
	}
}

/* Each event at its layer. */
static void
add_strip(struct figure *f, const struct life *l)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS];
	const double *step = sheet_numbers(s, "step"), *layer = sheet_numbers(s, "layer");
	const double *slot = sheet_numbers(s, "slot"), *expert = sheet_numbers(s, "expert");
	struct figure_panel *p =
		figure_panel(f, "by layer", fmin(40 + 16 * fmax(l->layers, 1), 400));

	p->down = p->whole = true;
	p->lo = -0.6;
	p->hi = l->layers - 0.4;
	p->ticks = l->layers;
	p->tick = mem_zero((size_t)l->layers + 1, sizeof *p->tick);
	for (int i = 0; i < l->layers; i++)
		p->tick[i] = mem_text("layer %d", i);
	for (int d = 0; d < DEEDS; d++) {
		struct figure_series *v = NULL;
		for (long i = 0; step && layer && i < s->rows; i++) {
			if (deed_of(s, i) != d || isnan(layer[i]))
				continue;
			if (!v)
				v = figure_series(p, "", FIGURE_DOTS, deed_color[d]);
			v->symbol = deed_symbol[d];
			figure_point(v, step[i], layer[i]);
			figure_label(v, "%s, slot %.0f, expert %.0f: %s%s%s", deed_name[d],
				     slot ? slot[i] : NAN, expert ? expert[i] : NAN,
				     sheet_word(s, "event", i),
				     *sheet_word(s, "cause", i) ? ", " : "",
				     sheet_word(s, "cause", i));
		}
	}
}

static void
events(struct figure *f, const struct plot_runs *r)
{
	const struct life *l = &r->life[0];

	if (!l->sheet[LIFE_EVENTS].columns || !sheet_numbers(&l->sheet[LIFE_EVENTS], "step")) {
		lacks(f, l, LIFE_EVENTS, "event");
		return;
	}
	for (int i = 0; i < r->groups; i++)
		add_bars(f, r, &r->group[i]);
	if (l->phases > 1)
		add_phases(f, r);
	if (r->n == 1 && l->layers)
		add_strip(f, l);
	if (r->n > r->groups)
		f->note = mem_copy("Counts are means of the seeds; whiskers reach one standard "
				   "deviation of them on each side.");
}

/* --- kinds --- */

static const struct kind {
	const char *name, *title, *about;
	/* One of: of all runs; of the first run's experts, by step; of what it has besides. */
	void (*runs)(struct figure *, const struct plot_runs *);
	void (*folk)(struct figure *, const struct life *);
	void (*ties)(struct figure *, const struct life *);
} kinds[] = {
	{"loss", "Loss",
	 "Mean cross-entropy per token, in nats: lower is better. Shades tell which text the model "
	 "learnt from; dashed lines mark the shifts.",
	 .runs = loss},
	{"events", "Births, deaths and replacements", "What happened to experts, and when.",
	 .runs = events},
	{"population", "Population",
	 "How many experts live, and how many have been born and have died since the beginning. A "
	 "replacement is a death and a birth.",
	 .runs = population},
	{"experts", "Use of each expert",
	 "A row is an expert, from its birth to its death; the darker, the more tokens it serves. "
	 "1 is the fair share of its layer.",
	 .folk = folk_use},
	{"fitness", "Fitness of each expert",
	 "Effective fitness: what the market compares. A line begins with a birth and ends with a "
	 "death; who stays below the threshold is replaced.",
	 .folk = folk_fitness},
	{"vitality", "Vitality of each expert",
	 "What the living policy keeps of each expert's load: 0.5 is average.",
	 .folk = folk_vitality},
	{"family", "Families",
	 "A line is an expert's life; it hangs from its parent's. A cross ends who was replaced, a "
	 "triangle who died otherwise.",
	 .folk = folk_family},
	{"tiers", "Load of the tiers", "Each tier's share of the tokens of its layer.",
	 .folk = folk_tiers},
	{"flow", "First and second choices",
	 "Left, whom tokens chose first; right, whom second; a ribbon is as wide as its share of "
	 "the tokens.",
	 .ties = ties_flow},
	{"web", "Who works together",
	 "How often two slots serve the same token; 1 is what each pair would have if all were as "
	 "frequent. Columns are in the order of the rows.",
	 .ties = ties_pairs},
	{"map", "Map of the keys",
	 "Experts whose keys point the same way are near each other: the router can hardly tell "
	 "them apart.",
	 .ties = ties_map},
	{"routing", "Routing", "How evenly each layer uses its experts.", .runs = routing},
	{"terms", "Terms of the loss and the gradient",
	 "What is added to the loss before it is minimised, times its weight; the norm of the "
	 "whole gradient before it is clipped.",
	 .runs = terms},
};
enum { KINDS = sizeof kinds / sizeof *kinds };
const char plot_kinds[] = "loss|events|population|experts|fitness|vitality|family|tiers|flow|web|"
			  "map|routing|terms";

const char *
plot_kind(int i)
{
	return i < KINDS ? kinds[i].name : NULL;
}

static void
draw_first(const struct kind *k, struct figure *f, const struct plot_runs *r)
{
	const struct life *l = &r->life[0];

	if (k->ties)
		k->ties(f, l);
	else if (!l->experts)
		lacks(f, l, LIFE_EXPERTS, "expert");
	else
		k->folk(f, l);
	if (r->n > 1)
		figure_note(f, "Of the first run, %s.", life_label(l));
}

struct figure *
plot_make(int kind, const struct plot_runs *r)
{
	const struct kind *k = &kinds[kind];
	struct figure *f = figure_new(k->name, k->title, k->about);
	const struct plot_runs one = {.n = 1, .life = r->life, .groups = 1};

	if (!k->ties)
		add_steps(f, k->runs ? r : &one);
	if (k->runs)
		k->runs(f, r);
	else
		draw_first(k, f, r);
	return f;
}
