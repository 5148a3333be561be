#include "view/life.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/tick.h"
#include "io/table.h"
#include "train/run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *
life_file(enum life_table t)
{
	static const char *const name[LIFE_TABLES] = {"loss.csv", "experts.csv", "events.csv",
						      "layers.csv", "galaxy.csv"};
	return name[t];
}

/* A census has many columns and many rows; of it only what is drawn. */
static const char *
wanted(enum life_table t)
{
	return t != LIFE_EXPERTS ? NULL
				 : " step layer slot expert parent born tier tokens demand usage "
				   "fitness effective vitality left ";
}

/* --- the trace --- */

struct life_trace {
	char *path;
	bool read;
	struct tally tally;
	char *why; /* it is not there */
};

static struct life_trace *
trace_of(char *path)
{
	struct life_trace *t = mem_zero(1, sizeof *t);

	t->path = path;
	return t;
}

static void
trace_free(struct life_trace *t)
{
	if (!t)
		return;
	tally_free(&t->tally);
	free(t->path);
	free(t->why);
	free(t);
}

const struct tally *
life_tally(const struct life *l, const char **why)
{
	struct life_trace *t = l->trace;

	*why = "there is no trace (moe-train --trace writes one)";
	if (!t)
		return NULL;
	if (l->grows) {
		*why = "the trace is drawn when the run is over (moe-view -o)";
		return NULL;
	}
	if (!t->read && file_exists(t->path)) {
		t->tally = tally_new(true, 0, 0);
		t->read = true;
		if (tally_read(&t->tally, t->path, (struct opt_ints){0}, false) < 0)
			t->why = mem_copy(err_text());
	}
	if (t->why)
		*why = t->why;
	return t->read && !t->why ? &t->tally : NULL;
}

/* --- the checkpoint --- */

bool
life_read_keys(struct life *l)
{
	struct life_checkpoint *c = &l->checkpoint;
	const double spent = tick_spent();
	struct stat now;

	if (!c->path || tick_now() < c->next || stat(c->path, &now) < 0 ||
	    (now.st_ino == c->inode && !memcmp(&now.st_mtim, &c->made, sizeof c->made)))
		return false;
	c->inode = now.st_ino;
	c->made = now.st_mtim;
	nearby_read(&l->keys, c->path);
	l->keys_version++;
	c->next = tick_now() + 100 * (tick_spent() - spent);
	return true;
}

/* --- opening --- */

static bool
has(const struct table *t, const char *column)
{
	return table_column(t, column) >= 0;
}

static int
kind_of(const struct table *t)
{
	static const struct {
		const char *column;
		enum life_table kind;
	} sign[] = {{"event", LIFE_EVENTS},  {"loss", LIFE_LOSS},    {"demand", LIFE_EXPERTS},
		    {"usage", LIFE_EXPERTS}, {"slot", LIFE_EXPERTS}, {"expert", LIFE_EXPERTS},
		    {"domain", LIFE_LOSS},   {"layer", LIFE_LAYERS}};

	if (has(t, "pca_x") || has(t, "tsne_x"))
		return LIFE_MAP;
	if (has(t, "layer") && has(t, "rank") && has(t, "expert"))
		return LIFE_TABLES;
	for (size_t i = 0; i < sizeof sign / sizeof *sign; i++)
		if (has(t, sign[i].column) && has(t, "step"))
			return (int)sign[i].kind;
	return -1;
}

static int
open_table(struct life *l)
{
	struct table *t = table_open(l->name);
	const int kind = t ? kind_of(t) : -1;

	table_close(t);
	if (!t)
		return -1;
	if (kind < 0)
		return err_set("%s: no table of a run (expected a column step, and one of event, "
			       "loss, demand, usage, slot, expert, layer)",
			       l->name);
	if (kind == LIFE_TABLES)
		l->trace = trace_of(mem_copy(l->name));
	else
		sheet_init(&l->sheet[kind], l->name, wanted(kind));
	return 0;
}

static void
add_option(struct life_list *l, char *line)
{
	char *value = line + strcspn(line, " ");

	if (*value)
		*value++ = 0;
	l->v = mem_grow(l->v, (size_t)l->n + 1, sizeof *l->v);
	l->v[l->n++] = (struct life_option){mem_copy(line), mem_copy(value)};
}

static void
read_list(struct life_list *l, const char *run, const char *name)
{
	char *path = mem_text("%s/%s", run, name), *end;
	size_t n;
	char *text = file_exists(path) ? file_slurp(path, &n) : NULL;

	for (char *line = text; line && *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = 0;
		if (*line && *line != '#')
			add_option(l, line);
	}
	free(text);
	free(path);
}

static void
free_list(struct life_list *l)
{
	for (int i = 0; i < l->n; i++) {
		free(l->v[i].name);
		free(l->v[i].value);
	}
	free(l->v);
}

static int
open_directory(struct life *l)
{
	bool any = false;

	read_list(&l->recipe, l->name, "recipe");
	read_list(&l->environment, l->name, "environment");
	l->trace = trace_of(mem_text("%s/trace.csv.gz", l->name));
	l->checkpoint.path = mem_text("%s/ckpt.safetensors", l->name);
	for (int i = 0; i < LIFE_TABLES; i++) {
		char *path = mem_text("%s/%s", l->name, life_file(i));
		sheet_init(&l->sheet[i], path, wanted(i));
		any |= file_exists(path);
		free(path);
	}
	if (any || l->recipe.n)
		return 0;
	return err_set("%s: no run directory (expected loss.csv, experts.csv, events.csv or "
		       "layers.csv in it)",
		       l->name);
}

int
life_open(struct life *l, const char *name)
{
	int r;

	*l = (struct life){.name = run_name(name)};
	r = run_is_dir(name) ? open_directory(l) : open_table(l);
	if (r < 0)
		life_free(l);
	return r;
}

const char *
life_option(const struct life *l, const char *name)
{
	for (int i = 0; i < l->recipe.n; i++)
		if (!strcmp(l->recipe.v[i].name, name))
			return l->recipe.v[i].value;
	return NULL;
}

const char *
life_label(const struct life *l)
{
	const char *s = l->name + strlen(l->name), *last;

	while (s > l->name && s[-1] != '/')
		s--;
	last = s;
	if (!*s || s[strspn(s, "0123456789")] || s - l->name < 2)
		return s;
	for (s--; s > l->name && s[-1] != '/'; s--)
		;
	return *s == '/' ? last : s;
}

bool
life_counts(const char *name)
{
	return strcmp(name, "seed") && strcmp(name, "data") && strcmp(name, "val") &&
	       strcmp(name, "resume-from");
}

static int
next_that_counts(const struct life_list *l, int i)
{
	while (i < l->n && !life_counts(l->v[i].name))
		i++;
	return i;
}

bool
life_alike(const struct life *one, const struct life *other)
{
	const struct life_list *a = &one->recipe, *b = &other->recipe;
	int i = next_that_counts(a, 0), k = next_that_counts(b, 0);

	while (i < a->n && k < b->n) {
		if (strcmp(a->v[i].name, b->v[k].name) || strcmp(a->v[i].value, b->v[k].value))
			return false;
		i = next_that_counts(a, i + 1);
		k = next_that_counts(b, k + 1);
	}
	return a->n && b->n && i == a->n && k == b->n;
}

/* --- phases --- */

static void
forget_phases(struct life *l)
{
	for (int i = 0; i < l->phases; i++)
		free(l->phase[i].domain);
	free(l->phase);
	l->phase = NULL;
	l->phases = 0;
}

static void
forget_experts(struct life *l)
{
	free(l->time);
	free(l->when);
	free(l->who);
	free(l->load);
	free(l->living);
	free(l->expert);
	free(l->index);
	l->time = l->load = NULL;
	l->when = l->who = l->living = l->index = NULL;
	l->expert = NULL;
	l->times = l->experts = l->layers = l->census_layers = l->buckets = 0;
}

void
life_free(struct life *l)
{
	forget_phases(l);
	forget_experts(l);
	for (int i = 0; i < LIFE_TABLES; i++)
		sheet_free(&l->sheet[i]);
	free_list(&l->recipe);
	free_list(&l->environment);
	nearby_free(&l->keys);
	trace_free(l->trace);
	free(l->checkpoint.path);
	free(l->name);
	*l = (struct life){0};
}

static void
add_phase(struct life *l, const char *domain, double from)
{
	int color = 0;

	if (l->phases)
		l->phase[l->phases - 1].to = from;
	for (int i = 0; i < l->phases; i++) {
		if (!strcmp(l->phase[i].domain, domain)) {
			color = l->phase[i].color;
			break;
		}
		if (l->phase[i].color >= color)
			color = l->phase[i].color + 1;
	}
	l->phase = mem_grow(l->phase, (size_t)l->phases + 1, sizeof *l->phase);
	l->phase[l->phases++] = (struct life_phase){mem_copy(domain), from, from, color};
}

/* From the domains of the losses; without those, from the shifts among the events. */
static void
find_phases(struct life *l)
{
	const struct sheet *loss = &l->sheet[LIFE_LOSS], *events = &l->sheet[LIFE_EVENTS];
	const double *step = sheet_numbers(loss, "step");

	for (long i = 0; step && i < loss->rows; i++) {
		const char *domain = sheet_word(loss, "domain", i);
		if (!l->phases || strcmp(domain, l->phase[l->phases - 1].domain))
			add_phase(l, domain, i ? step[i - 1] : 0);
	}
	step = sheet_numbers(events, "step");
	for (long i = 0; !loss->rows && step && i < events->rows; i++)
		if (!strcmp(sheet_word(events, "event", i), "shift")) {
			if (!l->phases)
				add_phase(l, "", 0);
			add_phase(l, sheet_word(events, "cause", i), step[i]);
		}
	if (!l->phases)
		add_phase(l, "", 0);
	l->last = 0;
	for (int i = 0; i < LIFE_TABLES; i++) {
		step = sheet_numbers(&l->sheet[i], "step");
		if (step && l->sheet[i].rows)
			l->last = fmax(l->last, step[l->sheet[i].rows - 1]);
	}
	l->phase[l->phases - 1].to = l->last;
}

/* --- experts --- */

static unsigned long
hash(int layer, long id)
{
	return ((unsigned long)id * 1000003u + (unsigned long)layer) * 0x9e3779b97f4a7c15u >> 20;
}

static int *
place(const struct life *l, int layer, long id)
{
	unsigned long h = hash(l->local ? layer : 0, id);

	for (;; h++) {
		int *p = &l->index[h & (unsigned long)(l->buckets - 1)];
		if (*p < 0 ||
		    (l->expert[*p].id == id && (!l->local || l->expert[*p].layer == layer)))
			return p;
	}
}

int
life_find(const struct life *l, int layer, long id)
{
	return l->buckets ? *place(l, layer, id) : -1;
}

static void
rehash(struct life *l)
{
	l->buckets = l->buckets ? 2 * l->buckets : 1024;
	l->index = mem_grow(l->index, (size_t)l->buckets, sizeof *l->index);
	l->expert = mem_grow(l->expert, (size_t)l->buckets / 2, sizeof *l->expert);
	for (int i = 0; i < l->buckets; i++)
		l->index[i] = -1;
	for (int i = 0; i < l->experts; i++)
		*place(l, l->expert[i].layer, l->expert[i].id) = i;
}

/* The expert's index; if it is new, it was born at this step. */
static int
meet(struct life *l, int layer, int slot, long id, double step)
{
	int *p;

	if (2 * (l->experts + 1) > l->buckets)
		rehash(l);
	p = place(l, layer, id);
	if (*p < 0) {
		*p = l->experts;
		l->expert[l->experts++] = (struct life_expert){.id = id,
							       .parent = -1,
							       .layer = layer,
							       .slot = slot,
							       .born = step,
							       .end = step,
							       .cause = "",
							       .origin = "",
							       .load = NAN};
	}
	return *p;
}

const double *
life_census(const struct life *l, const char *column)
{
	const struct sheet *s = &l->sheet[LIFE_EXPERTS];
	const double *v = sheet_numbers(s, column);

	for (long i = 0; v && i < s->rows; i++)
		if (!isnan(v[i]))
			return v;
	return NULL;
}

static int
whole(const double *v, long row, int otherwise)
{
	return v && v[row] >= 0 && v[row] < 1e9 ? (int)v[row] : otherwise;
}

static int
layer_at(const double *v, long row, int otherwise)
{
	return v && v[row] >= 0 && v[row] < LIFE_LAYERS_MOST ? (int)v[row] : otherwise;
}

static void
count_layers(struct life *l)
{
	for (int t = 0; t < LIFE_TABLES; t++) {
		const double *layer = sheet_numbers(&l->sheet[t], "layer");
		for (long i = 0; layer && i < l->sheet[t].rows; i++)
			if (layer_at(layer, i, -1) >= l->layers)
				l->layers = layer_at(layer, i, 0) + 1;
	}
}

static void
find_times(struct life *l, const double *step, long rows)
{
	l->time = mem_zero((size_t)rows + 1, sizeof *l->time);
	l->when = mem_zero((size_t)rows + 1, sizeof *l->when);
	for (long i = 0; i < rows; i++) {
		if (!l->times || step[i] != l->time[l->times - 1])
			l->time[l->times++] = step[i];
		l->when[i] = l->times - 1;
	}
}

/* An id that stands in two layers of the first step is one of its layer alone. */
static bool
numbered_by_layer(const struct life *l, const double *layer, const double *id, long rows)
{
	long n = 0;
	bool twice = false;
	char *seen;
	enum { IDS = 1 << 20 };

	if (!id || !layer)
		return true;
	seen = mem_zero(IDS, 1);
	for (; n < rows && !l->when[n] && !twice; n++) {
		const int k = whole(id, n, 0);
		twice = k < IDS && seen[k];
		if (k < IDS)
			seen[k] = 1;
	}
	free(seen);
	return twice;
}

struct census {
	long rows;
	const double *step, *layer, *slot, *id, *parent, *born;
};

/* Without slots and ids a layer's rows are told apart by their order. */
static void
meet_experts(struct life *l, const struct census *c)
{
	int order = 0, before = -1, layer_before = -1;

	for (long i = 0; i < c->rows; i++) {
		const int layer = layer_at(c->layer, i, 0);
		struct life_expert *e;
		order = l->when[i] == before && layer == layer_before ? order + 1 : 0;
		before = l->when[i];
		layer_before = layer;
		const int slot = whole(c->slot, i, whole(c->id, i, order));
		const int who = meet(l, layer, slot, whole(c->id, i, slot), c->step[i]);
		e = &l->expert[who];
		l->who[i] = who;
		e->layer = l->local ? e->layer : layer;
		e->slot = slot;
		e->end = c->step[i];
		e->rows++;
		if (c->parent && c->parent[i] >= 0)
			e->parent = (long)c->parent[i];
		if (c->born && !isnan(c->born[i]))
			e->born = c->born[i];
		else if (!l->when[i])
			e->born = 0;
		l->census_layers = layer >= l->census_layers ? layer + 1 : l->census_layers;
	}
}

/* Demand, or tokens, or usage, in shares of what each would have if all were served alike. */
static void
find_loads(struct life *l, const struct census *c)
{
	const double *v = life_census(l, "demand");
	double *sum = mem_zero((size_t)l->times * l->census_layers + 1, sizeof *sum);

	if (!v)
		v = life_census(l, "tokens");
	if (!v)
		v = life_census(l, "usage");
	l->living = mem_zero((size_t)l->times * l->census_layers + 1, sizeof *l->living);
	l->load = mem_zero((size_t)c->rows + 1, sizeof *l->load);
	for (long i = 0; i < c->rows; i++) {
		const int at = l->when[i] * l->census_layers + layer_at(c->layer, i, 0);
		l->living[at]++;
		sum[at] += v && v[i] > 0 ? v[i] : 0;
	}
	for (long i = 0; i < c->rows; i++) {
		const int at = l->when[i] * l->census_layers + layer_at(c->layer, i, 0);
		struct life_expert *e = &l->expert[l->who[i]];
		l->load[i] = v && sum[at] > 0 ? v[i] / sum[at] * l->living[at] : NAN;
		if (!isnan(l->load[i]))
			e->load = (isnan(e->load) ? 0 : e->load) + l->load[i] / (double)e->rows;
	}
	free(sum);
}

/* Each step has each layer, or nearly so: other numbers are none of layers. */
static bool
sane(const struct life *l, const struct census *c)
{
	int layers = 1;

	for (long i = 0; i < c->rows; i++)
		if (whole(c->layer, i, 0) >= layers)
			layers = whole(c->layer, i, 0) + 1;
	return (double)layers * l->times <= 4.0 * (double)c->rows + 1024;
}

static void
find_experts(struct life *l)
{
	struct sheet *s = &l->sheet[LIFE_EXPERTS];
	struct census c = {.rows = sheet_numbers(s, "step") ? s->rows : 0,
			   .step = sheet_numbers(s, "step"),
			   .layer = sheet_numbers(s, "layer"),
			   .slot = sheet_numbers(s, "slot"),
			   .id = life_census(l, "expert"),
			   .parent = sheet_numbers(s, "parent"),
			   .born = sheet_numbers(s, "born")};

	l->who = mem_zero((size_t)c.rows + 1, sizeof *l->who);
	find_times(l, c.step, c.rows);
	if (!sane(l, &c)) {
		c.rows = l->times = 0;
		if (!s->note)
			s->note = mem_text("%s: layers are numbered with gaps", s->path);
	}
	l->local = numbered_by_layer(l, c.layer, c.id, c.rows);
	meet_experts(l, &c);
	find_loads(l, &c);
}

/* The events tell of those whom no census saw, and who died, when and why. */
static void
hear_events(struct life *l)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS];
	const double *step = sheet_numbers(s, "step"), *layer = sheet_numbers(s, "layer");
	const double *slot = sheet_numbers(s, "slot"), *id = sheet_numbers(s, "expert");
	const double *parent = sheet_numbers(s, "parent");

	for (long i = 0; step && layer && id && i < s->rows; i++) {
		const char *event = sheet_word(s, "event", i);
		const bool birth = !strcmp(event, "birth");
		const bool death = !strcmp(event, "death") || !strcmp(event, "merge");
		const int where = layer_at(layer, i, -1);
		struct life_expert *e;
		if ((!birth && !death) || where < 0 || !(id[i] >= 0))
			continue;
		const int who = meet(l, where, whole(slot, i, 0), (long)id[i], birth ? step[i] : 0);
		e = &l->expert[who];
		if (birth) {
			e->born = step[i];
			e->origin = sheet_word(s, "cause", i);
			if (parent && parent[i] >= 0)
				e->parent = (long)parent[i];
			e->end = fmax(e->end, step[i]);
		} else {
			e->dead = true;
			e->end = step[i];
			e->cause = sheet_word(s, "cause", i);
			if (!*e->cause)
				e->cause = event;
		}
	}
}

/* Who is not in the last census has died before it, whoever tells of it or not. */
static void
find_ends(struct life *l)
{
	for (int i = 0; i < l->experts; i++) {
		struct life_expert *e = &l->expert[i];
		if (!e->dead && e->rows && l->times && e->end < l->time[l->times - 1])
			e->dead = true;
		if (!e->dead)
			e->end = fmax(e->end, l->last);
	}
}

/* A parent stands before its child, for it lived when the child was born. */
static void
find_families(struct life *l)
{
	for (int i = 0; i < l->experts; i++) {
		struct life_expert *e = &l->expert[i];
		int up = i;
		for (int steps = 0; steps < l->experts; steps++) {
			const struct life_expert *a = &l->expert[up];
			const int next = a->parent < 0 ? -1 : life_find(l, a->layer, a->parent);
			if (next < 0 || next == up || l->expert[next].born > a->born)
				break;
			up = next;
		}
		e->family = up;
	}
}

bool
life_read(struct life *l)
{
	bool news = !l->phases, of_experts = news;

	l->anew = false;
	for (int i = 0; i < LIFE_TABLES; i++) {
		const enum sheet_news what = sheet_read(&l->sheet[i]);
		news |= what != SHEET_SAME;
		of_experts |= what == SHEET_ANEW || (what != SHEET_SAME && i != LIFE_LOSS);
		l->anew |= what == SHEET_ANEW;
	}
	if (!news)
		return false;
	forget_phases(l);
	find_phases(l);
	/* A loss comes with each step; of the experts it tells only how long they have lived. */
	if (of_experts) {
		forget_experts(l);
		count_layers(l);
		find_experts(l);
		hear_events(l);
		if (l->layers < l->census_layers)
			l->layers = l->census_layers;
		find_families(l);
	}
	find_ends(l);
	return true;
}
