#include "policy/event.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char policy_event_columns[] = "step,layer,slot,event,expert,parent,value,threshold,cause,"
				    "to_layer,to_slot,width,sigma,origin,left";

static const char *const kinds[] = {"keep",   "birth", "death",	 "move", "merge",
				    "freeze", "thaw",  "escape", "shift"};
static const char *const origins[] = {"", "mutant", "fresh", "mean", "twin"};
enum { KINDS = sizeof kinds / sizeof *kinds, ORIGINS = sizeof origins / sizeof *origins };

const char *
policy_kind_name(enum policy_kind k)
{
	return kinds[k];
}

struct policy_event
policy_event(long step, int layer, int slot, enum policy_kind kind, const char *cause)
{
	struct policy_event e = {.step = step,
				 .layer = layer,
				 .slot = slot,
				 .kind = kind,
				 .expert = -1,
				 .parent = -1,
				 .value = NAN,
				 .threshold = NAN,
				 .to_layer = -1,
				 .to_slot = -1,
				 .width = -1,
				 .sigma = NAN};
	const size_t n = strlen(cause), most = sizeof e.cause - 1;

	memcpy(e.cause, cause, n < most ? n : most);
	return e;
}

void
policy_events_add(struct policy_events *e, const struct policy_event *v)
{
	if (e->n == e->room) {
		e->room = e->room ? 2 * e->room : 16;
		e->v = mem_grow(e->v, (size_t)e->room, sizeof *e->v);
	}
	e->step = v->step;
	e->v[e->n++] = *v;
}

void
policy_events_clear(struct policy_events *e)
{
	e->n = 0;
}

void
policy_events_free(struct policy_events *e)
{
	free(e->v);
	*e = (struct policy_events){0};
}

/* --- writing --- */

int
policy_events_write(const struct policy_events *e, struct row *w)
{
	for (int i = 0; i < e->n; i++) {
		const struct policy_event *v = &e->v[i];
		row_long(w, v->step);
		row_told(w, v->layer);
		row_told(w, v->slot);
		row_text(w, kinds[v->kind]);
		row_told(w, v->expert);
		row_told(w, v->parent);
		row_known(w, v->value);
		row_known(w, v->threshold);
		row_text(w, v->cause);
		row_told(w, v->to_layer);
		row_told(w, v->to_slot);
		row_told(w, v->width);
		row_known(w, v->sigma);
		row_text(w, origins[v->origin]);
		row_long(w, e->n - 1 - i);
		if (row_end(w))
			return -1;
	}
	return 0;
}

/* --- reading --- */

enum column {
	EXPERT,
	PARENT,
	VALUE,
	THRESHOLD,
	CAUSE,
	TO_LAYER,
	TO_SLOT,
	WIDTH,
	SIGMA,
	ORIGIN,
	LEFT,
	COLUMNS
};

struct policy_history {
	struct table *t;
	char *name;
	int step, layer, slot, event, column[COLUMNS]; /* in the table, -1: missing */
	struct policy_events now;
	long last, last_left; /* last: step of the row before, -1 at the start */
	bool pending;	      /* the table's row belongs to the next step */
};

static int
find_columns(struct policy_history *h)
{
	static const char *const names[COLUMNS] = {"expert", "parent",	 "value",   "threshold",
						   "cause",  "to_layer", "to_slot", "width",
						   "sigma",  "origin",	 "left"};

	if ((h->step = table_require(h->t, "step")) < 0 ||
	    (h->layer = table_require(h->t, "layer")) < 0 ||
	    (h->slot = table_require(h->t, "slot")) < 0 ||
	    (h->event = table_require(h->t, "event")) < 0)
		return -1;
	for (int i = 0; i < COLUMNS; i++) {
		h->column[i] = table_column(h->t, names[i]);
		if (h->column[i] >= 0 && table_require(h->t, names[i]) < 0)
			return -1;
	}
	return 0;
}

struct policy_history *
policy_history_open(const char *name)
{
	return policy_history_from(file_open(name));
}

struct policy_history *
policy_history_from(struct file *f)
{
	char *name = f ? mem_copy(file_name(f)) : NULL;
	struct table *t = table_from(f);
	struct policy_history *h;

	if (!t) {
		free(name);
		return NULL;
	}
	h = mem_zero(1, sizeof *h);
	h->t = t;
	h->name = name;
	h->last = -1;
	if (find_columns(h) == 0)
		return h;
	policy_history_close(h);
	return NULL;
}

bool
policy_history_counted(const struct policy_history *h)
{
	return h->column[LEFT] >= 0;
}

bool
policy_history_waits(const struct policy_history *h)
{
	return !h->pending && !table_ready(h->t);
}

void
policy_history_close(struct policy_history *h)
{
	if (!h)
		return;
	table_close(h->t);
	policy_events_free(&h->now);
	free(h->name);
	free(h);
}

static int
at_line(const struct policy_history *h)
{
	return err_in("%s:%ld", h->name, table_line(h->t));
}

static bool
filled(const struct policy_history *h, int column)
{
	return column >= 0 && *table_text(h->t, column);
}

/* A whole number, -1 where the field is empty; -1 is also what founders have for a parent. */
static int
read_long(const struct policy_history *h, int column, long hi, long *out)
{
	*out = -1;
	return filled(h, column) ? table_long(h->t, column, -1, hi, out) : 0;
}

static int
read_int(const struct policy_history *h, int column, int hi, int *out)
{
	long v;

	if (read_long(h, column, hi, &v))
		return -1;
	*out = (int)v;
	return 0;
}

/*
 * A float32, of which %.9g is exact.  A threshold may be infinite; an empty field is NAN, which
 * cannot stand for itself.
 */
static int
read_real(const struct policy_history *h, int column, bool noise, double *out)
{
	double x;

	*out = NAN;
	if (!filled(h, column))
		return 0;
	if (table_real(h->t, column, &x))
		return -1;
	if (isnan(x) || (noise && !(x >= 0 && x <= 1e6))) {
		err_set("\"%.60s\" is not a number%s", table_text(h->t, column),
			noise ? " between 0 and 1e6" : "");
		err_in("column %s", table_header(h->t, column));
		return at_line(h);
	}
	*out = num_single(x);
	return 0;
}

/* All words together are shorter than the list. */
static int
read_word(const struct policy_history *h, int column, const char *const *words, int n, int *out)
{
	const char *s = table_text(h->t, column);
	char list[128] = "";

	for (*out = 0; *out < n; ++*out)
		if (!strcmp(s, words[*out]))
			return 0;
	for (int i = 0; i < n; i++) {
		strcat(list, *words[i] && *list ? "|" : "");
		strcat(list, words[i]);
	}
	err_set("column %s: \"%.60s\" is not one of %s", table_header(h->t, column), s, list);
	return at_line(h);
}

static int
read_cause(const struct policy_history *h, struct policy_event *v)
{
	const char *s = h->column[CAUSE] < 0 ? "" : table_text(h->t, h->column[CAUSE]);
	const size_t n = strlen(s);

	if (n < sizeof v->cause) {
		memcpy(v->cause, s, n + 1);
		return 0;
	}
	/* The cause of a shift is the name of a text, whatever that is. */
	if (v->kind == POLICY_SHIFT) {
		memcpy(v->cause, s, sizeof v->cause - 1);
		return 0;
	}
	err_set("column cause: %zu bytes (expected fewer than %zu)", n, sizeof v->cause);
	return at_line(h);
}

static int
read_event(const struct policy_history *h, struct policy_event *v, long *left)
{
	int kind, origin = 0;

	*v = policy_event(0, -1, -1, POLICY_KEEP, "");
	v->line = table_line(h->t);
	if (table_long(h->t, h->step, 0, LONG_MAX, &v->step) ||
	    read_word(h, h->event, kinds, KINDS, &kind))
		return -1;
	v->kind = (enum policy_kind)kind;
	if (read_int(h, h->layer, 1 << 20, &v->layer) || read_int(h, h->slot, 1 << 20, &v->slot) ||
	    read_long(h, h->column[EXPERT], LONG_MAX, &v->expert) ||
	    read_long(h, h->column[PARENT], LONG_MAX, &v->parent) ||
	    read_real(h, h->column[VALUE], false, &v->value) ||
	    read_real(h, h->column[THRESHOLD], false, &v->threshold) || read_cause(h, v) ||
	    read_int(h, h->column[TO_LAYER], 1 << 20, &v->to_layer) ||
	    read_int(h, h->column[TO_SLOT], 1 << 20, &v->to_slot) ||
	    read_int(h, h->column[WIDTH], INT_MAX, &v->width) ||
	    read_real(h, h->column[SIGMA], true, &v->sigma) ||
	    (h->column[ORIGIN] >= 0 &&
	     read_word(h, h->column[ORIGIN], origins, ORIGINS, &origin)) ||
	    (h->column[LEFT] >= 0 && table_long(h->t, h->column[LEFT], 0, LONG_MAX, left)))
		return -1;
	v->origin = (enum policy_origin)origin;
	if (v->kind < POLICY_ESCAPE && (v->layer < 0 || v->slot < 0)) {
		err_set("a %s without layer or slot (expected both)", kinds[v->kind]);
		return at_line(h);
	}
	return 0;
}

static int
check_order(const struct policy_history *h, const struct policy_event *v, long left)
{
	const bool within = h->now.n > 0;

	if (v->step < h->last)
		err_set("step %ld after step %ld (expected them not to fall)", v->step, h->last);
	else if (within && h->column[LEFT] >= 0 && v->step != h->last)
		err_set("step %ld begins before step %ld ends (expected %ld more row%s of that)",
			v->step, h->last, h->last_left, h->last_left == 1 ? "" : "s");
	else if (within && h->column[LEFT] >= 0 && left != h->last_left - 1)
		err_set("%ld rows left after %ld (expected %ld: is a row missing?)", left,
			h->last_left, h->last_left - 1);
	else if (h->now.n == INT_MAX / 2)
		err_set("a step of more than %d rows", h->now.n);
	else
		return 0;
	return at_line(h);
}

int
policy_history_next(struct policy_history *h, struct policy_events **e)
{
	const bool counted = policy_history_counted(h);

	policy_events_clear(&h->now);
	*e = &h->now;
	for (;;) {
		struct policy_event v;
		long left = 0;
		int got = h->pending ? 1 : table_next(h->t);
		if (got < 0)
			return -1;
		if (!got && h->now.n && counted)
			return err_set("%s: ends within step %ld (expected %ld more row%s)",
				       h->name, h->last, h->last_left,
				       h->last_left == 1 ? "" : "s");
		if (!got)
			return h->now.n > 0;
		h->pending = false;
		if (read_event(h, &v, &left))
			return -1;
		if (!counted && h->now.n && v.step > h->last) {
			h->pending = true;
			return 1;
		}
		if (check_order(h, &v, left))
			return -1;
		policy_events_add(&h->now, &v);
		h->last = v.step;
		h->last_left = left;
		if (counted && !left)
			return 1;
	}
}
