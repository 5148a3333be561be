#include "policy/row.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include "policy/ecology.h"
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char policy_row_columns[] =
	"step,layer,slot,expert,parent,born,tier,tokens,demand,quality,exclusivity,flops,fitness,"
	"effective,vitality,usage,accuracy,class,below,width,demand_essential,quality_essential,"
	"exclusive_essential,gradient,energy,over,starved,twin,load_factor,gradient_factor,"
	"phi,phi_high,loss_low,norm_mean,plateau,escape,left";

enum { LAYER_MOST = 1 << 20, SLOT_MOST = 1 << 20 };
enum { EXPERT = 0, BORN = 2, COLUMNS = 25 };
_Static_assert(1 << EXPERT == ROW_EXPERT && 1 << BORN == ROW_BORN, "places are bits");

/* The columns of enum row_column in its order: shares are real and at most 1. */
static const struct column {
	const char *name;
	enum { INT, LONG, SHARE, REAL } kind;
	size_t at;
	long lo, hi;
} columns[COLUMNS] = {
	{"expert", LONG, offsetof(struct policy_row, expert), 0, LONG_MAX},
	{"parent", LONG, offsetof(struct policy_row, parent), -1, LONG_MAX},
	{"born", LONG, offsetof(struct policy_row, born), 0, LONG_MAX},
	{"tier", INT, offsetof(struct policy_row, tier), 0, INT_MAX},
	{"tokens", LONG, offsetof(struct policy_row, tokens), 0, LONG_MAX},
	{"demand", SHARE, offsetof(struct policy_row, demand), 0, 0},
	{"quality", REAL, offsetof(struct policy_row, quality), 0, 0},
	{"exclusivity", SHARE, offsetof(struct policy_row, exclusivity), 0, 0},
	{"flops", REAL, offsetof(struct policy_row, flops), 0, 0},
	{"vitality", SHARE, offsetof(struct policy_row, vitality), 0, 0},
	{"usage", SHARE, offsetof(struct policy_row, usage), 0, 0},
	{"accuracy", SHARE, offsetof(struct policy_row, accuracy), 0, 0},
	{"below", LONG, offsetof(struct policy_row, below), 0, LONG_MAX},
	{"width", INT, offsetof(struct policy_row, width), 0, INT_MAX},
	{"gradient", REAL, offsetof(struct policy_row, gradient), 0, 0},
	{"energy", REAL, offsetof(struct policy_row, energy), 0, 0},
	{"over", LONG, offsetof(struct policy_row, over), 0, LONG_MAX},
	{"starved", LONG, offsetof(struct policy_row, starved), 0, LONG_MAX},
	{"twin", LONG, offsetof(struct policy_row, twin), -1, LONG_MAX},
	{"phi", REAL, offsetof(struct policy_row, phi), 0, 0},
	{"phi_high", REAL, offsetof(struct policy_row, phi_high), 0, 0},
	{"loss_low", REAL, offsetof(struct policy_row, loss_low), 0, 0},
	{"norm_mean", REAL, offsetof(struct policy_row, norm_mean), 0, 0},
	{"plateau", LONG, offsetof(struct policy_row, plateau), 0, LONG_MAX},
	{"escape", LONG, offsetof(struct policy_row, escape), 0, LONG_MAX},
};

/* --- a step --- */

void
policy_step_add(struct policy_step *s, const struct policy_row *r)
{
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->row = mem_grow(s->row, (size_t)s->room, sizeof *s->row);
	}
	if (s->layers + 1 >= s->layer_room) {
		s->layer_room = s->layer_room ? 2 * s->layer_room : 16;
		s->begin = mem_grow(s->begin, (size_t)s->layer_room, sizeof *s->begin);
	}
	if (!s->n || s->row[s->n - 1].layer != r->layer)
		s->begin[s->layers++] = s->n;
	s->step = r->step;
	s->row[s->n++] = *r;
	s->begin[s->layers] = s->n;
}

void
policy_step_clear(struct policy_step *s)
{
	s->n = s->layers = 0;
}

void
policy_step_free(struct policy_step *s)
{
	free(s->row);
	free(s->begin);
	*s = (struct policy_step){0};
}

/* --- reading --- */

struct known {
	int layer;
	long expert;
};

struct policy_census {
	struct table *t;
	char *name;
	int step, layer, slot, left, column[COLUMNS]; /* in the table; -1: not read */
	bool need[COLUMNS];
	struct policy_step now;
	long last_left;
	bool pending;		      /* the table's row belongs to the next step */
	bool begun;		      /* a step has been read */
	int *layers, count;	      /* numbers of the layers, as in the first step */
	struct known *known, *sorted; /* experts of the step before, as read and by id */
	int knowns, known_room;
	long known_step;
	bool keep;
	char *text; /* the kept fields of the step's rows, each with its NUL */
	size_t text_end, text_room;
	size_t *field; /* [rows, columns] in text */
	size_t field_room;
};

static int
require(struct policy_census *c, const char *name, int *column)
{
	*column = table_require(c->t, name);
	return *column < 0 ? -1 : 0;
}

/* A column that may be missing, but not be there twice. */
static int
look(struct policy_census *c, const char *name, int *column)
{
	*column = table_column(c->t, name);
	return *column < 0 ? 0 : require(c, name, column);
}

static int
find_columns(struct policy_census *c, unsigned need, unsigned want)
{
	if (require(c, "step", &c->step) || require(c, "layer", &c->layer) ||
	    look(c, "slot", &c->slot) || look(c, "left", &c->left))
		return -1;
	if (c->slot < 0)
		want |= ROW_EXPERT;
	if (c->slot < 0 && need & ROW_SLOT && table_column(c->t, "expert") < 0)
		return table_require(c->t, "slot");
	for (int i = 0; i < COLUMNS; i++) {
		c->column[i] = -1;
		c->need[i] = need >> i & 1;
		if (c->need[i] ? require(c, columns[i].name, &c->column[i])
			       : want >> i & 1 && look(c, columns[i].name, &c->column[i]))
			return -1;
	}
	return 0;
}

struct policy_census *
policy_census_open(const char *name, unsigned need, unsigned want)
{
	struct table *t = table_open(name);
	struct policy_census *c;

	if (!t)
		return NULL;
	c = mem_zero(1, sizeof *c);
	c->t = t;
	c->name = mem_copy(strcmp(name, "-") ? name : "standard input");
	if (find_columns(c, need, want) == 0)
		return c;
	policy_census_close(c);
	return NULL;
}

void
policy_census_close(struct policy_census *c)
{
	if (!c)
		return;
	table_close(c->t);
	policy_step_free(&c->now);
	free(c->name);
	free(c->layers);
	free(c->known);
	free(c->sorted);
	free(c->text);
	free(c->field);
	free(c);
}

static int
at_line(const struct policy_census *c)
{
	return err_in("%s:%ld", c->name, table_line(c->t));
}

/* A number that is finite, not negative and, for a share, at most 1, as a float32. */
static int
read_real(struct policy_census *c, int column, bool share, double *out)
{
	double x;

	if (table_real(c->t, column, &x))
		return -1;
	if (!(x >= 0 && x <= (share ? 1 : 0x1.fffffep127))) {
		err_set("\"%.60s\" is not a number %s", table_text(c->t, column),
			share ? "between 0 and 1" : "of at least 0 that a float32 holds");
		err_in("column %s", table_header(c->t, column));
		return at_line(c);
	}
	*out = num_single(x);
	return 0;
}

static int
read_int(struct policy_census *c, int column, long lo, long hi, int *out)
{
	long v;

	if (table_long(c->t, column, lo, hi, &v))
		return -1;
	*out = (int)v;
	return 0;
}

static int
read_column(struct policy_census *c, int i, struct policy_row *r)
{
	const struct column *k = &columns[i];
	void *at = (char *)r + k->at;

	if (c->column[i] < 0 || (!c->need[i] && !*table_text(c->t, c->column[i])))
		return 0;
	switch (k->kind) {
	case INT: return read_int(c, c->column[i], k->lo, k->hi, at);
	case LONG: return table_long(c->t, c->column[i], k->lo, k->hi, at);
	default: return read_real(c, c->column[i], k->kind == SHARE, at);
	}
}

static int
read_row(struct policy_census *c, struct policy_row *r, long *left)
{
	*r = (struct policy_row){.expert = -1,
				 .parent = -1,
				 .fitness = NAN,
				 .effective = NAN,
				 .vitality = NAN,
				 .usage = NAN,
				 .accuracy = NAN,
				 .gradient = NAN,
				 .energy = NAN,
				 .twin = -1,
				 .load_factor = NAN,
				 .gradient_factor = NAN,
				 .phi = NAN,
				 .plateau = -1,
				 .escape = -1};
	if (table_long(c->t, c->step, 0, LONG_MAX, &r->step) ||
	    read_int(c, c->layer, 0, LAYER_MOST, &r->layer) ||
	    (c->slot >= 0 && read_int(c, c->slot, 0, SLOT_MOST, &r->slot)) ||
	    (c->left >= 0 && table_long(c->t, c->left, 0, LONG_MAX, left)))
		return -1;
	for (int i = 0; i < COLUMNS; i++)
		if (read_column(c, i, r))
			return -1;
	return 0;
}

/* What slot and expert are where a column is missing, and whether born makes sense. */
static int
complete(struct policy_census *c, struct policy_row *r)
{
	const struct policy_step *s = &c->now;
	const bool same = s->n && s->row[s->n - 1].layer == r->layer;

	if (c->slot < 0 && r->expert < 0) {
		r->slot = same ? s->row[s->n - 1].slot + 1 : 0;
	} else if (c->slot < 0 && r->expert > SLOT_MOST) {
		err_set("expert %ld cannot be its own slot (expected a column slot)", r->expert);
		return at_line(c);
	} else if (c->slot < 0) {
		r->slot = (int)r->expert;
	}
	if (r->expert < 0)
		r->expert = r->slot;
	if (r->born > r->step) {
		err_set("expert %ld was born at step %ld (expected at most %ld, the row's step)",
			r->expert, r->born, r->step);
		return at_line(c);
	}
	return 0;
}

/* The row's place after the one before it in the step. */
static int
check_order(struct policy_census *c, const struct policy_row *r, long left)
{
	const struct policy_step *s = &c->now;
	const struct policy_row *p = s->n ? &s->row[s->n - 1] : NULL;

	if (!p && c->begun && r->step <= s->step)
		err_set("step %ld after step %ld (expected them to rise)", r->step, s->step);
	else if (p && c->left >= 0 && r->step != p->step)
		err_set("step %ld begins before step %ld ends (expected %ld more row%s of that)",
			r->step, p->step, c->last_left, c->last_left == 1 ? "" : "s");
	else if (p && c->left >= 0 && left != c->last_left - 1)
		err_set("%ld rows left after %ld (expected %ld: is a row missing?)", left,
			c->last_left, c->last_left - 1);
	else if (p && r->layer < p->layer)
		err_set("layer %d after layer %d (expected layers to rise within a step)", r->layer,
			p->layer);
	else if (p && r->layer == p->layer && r->slot <= p->slot)
		err_set("slot %d after slot %d in layer %d (expected slots to rise)", r->slot,
			p->slot, r->layer);
	else if (s->n == INT_MAX / 2)
		err_set("a step of more than %d rows", s->n);
	else
		return 0;
	return at_line(c);
}

void
policy_census_keep(struct policy_census *c)
{
	c->keep = true;
}

static void
keep_row(struct policy_census *c)
{
	const size_t n = (size_t)table_columns(c->t), row = (size_t)c->now.n - 1;

	if ((row + 1) * n > c->field_room) {
		c->field_room = 2 * (row + 1) * n;
		c->field = mem_grow(c->field, c->field_room, sizeof *c->field);
	}
	for (size_t i = 0; i < n; i++) {
		const char *s = table_text(c->t, (int)i);
		const size_t bytes = strlen(s) + 1;
		if (c->text_end + bytes > c->text_room) {
			c->text_room = 2 * (c->text_end + bytes);
			c->text = mem_grow(c->text, c->text_room, 1);
		}
		memcpy(c->text + c->text_end, s, bytes);
		c->field[row * n + i] = c->text_end;
		c->text_end += bytes;
	}
}

int
policy_census_columns(const struct policy_census *c)
{
	return table_columns(c->t);
}

const char *
policy_census_header(const struct policy_census *c, int column)
{
	return table_header(c->t, column);
}

const char *
policy_census_text(const struct policy_census *c, int row, int column)
{
	return c->text + c->field[(size_t)row * (size_t)table_columns(c->t) + (size_t)column];
}

/* --- what a whole step must be --- */

static int
check_layers(struct policy_census *c)
{
	const struct policy_step *s = &c->now;

	if (!c->begun) {
		c->count = s->layers;
		c->layers = mem_grow(NULL, (size_t)s->layers, sizeof *c->layers);
		for (int k = 0; k < s->layers; k++)
			c->layers[k] = s->row[s->begin[k]].layer;
		return 0;
	}
	for (int k = 0; k < s->layers || k < c->count; k++) {
		const int is = k < s->layers ? s->row[s->begin[k]].layer : INT_MAX;
		const int was = k < c->count ? c->layers[k] : INT_MAX;
		if (was < is)
			err_set("step %ld: layer %d has disappeared (expected the layers of the "
				"first step)",
				s->step, was);
		else if (is < was)
			err_set("step %ld: layer %d is new (expected the layers of the first step)",
				s->step, is);
		else
			continue;
		return at_line(c);
	}
	return 0;
}

static int
by_layer_and_id(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return (x->expert > y->expert) - (x->expert < y->expert);
}

static int
by_id(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return (x->expert > y->expert) - (x->expert < y->expert);
}

/* Nobody has come, gone or moved since the step before. */
static bool
same_experts(const struct policy_census *c)
{
	const struct policy_step *s = &c->now;

	if (s->n != c->knowns)
		return false;
	for (int i = 0; i < s->n; i++)
		if (s->row[i].expert != c->known[i].expert || s->row[i].layer != c->known[i].layer)
			return false;
	return true;
}

/* An id that the step before did not have is a birth since then. */
static int
check_known(struct policy_census *c)
{
	const struct policy_step *s = &c->now;

	for (int i = 0; c->begun && i < s->n; i++) {
		const struct policy_row *r = &s->row[i];
		const struct known key = {r->layer, r->expert};
		if (r->born >= c->known_step ||
		    bsearch(&key, c->sorted, (size_t)c->knowns, sizeof key, by_id))
			continue;
		err_set("step %ld: expert %ld in layer %d slot %d is unknown (expected one of "
			"step %ld, or born since)",
			s->step, r->expert, r->layer, r->slot, c->known_step);
		return at_line(c);
	}
	return 0;
}

static int
check_experts(struct policy_census *c)
{
	const struct policy_step *s = &c->now;
	const size_t n = (size_t)s->n;

	if (c->column[EXPERT] < 0)
		return 0;
	if (same_experts(c)) {
		c->known_step = s->step;
		return 0;
	}
	if (c->column[BORN] >= 0 && check_known(c))
		return -1;
	if (s->n > c->known_room) {
		c->known_room = 2 * s->n;
		c->known = mem_grow(c->known, (size_t)c->known_room, sizeof *c->known);
		c->sorted = mem_grow(c->sorted, (size_t)c->known_room, sizeof *c->sorted);
	}
	for (int i = 0; i < s->n; i++)
		c->known[i] = (struct known){s->row[i].layer, s->row[i].expert};
	memcpy(c->sorted, c->known, n * sizeof *c->known);
	qsort(c->sorted, n, sizeof *c->sorted, by_layer_and_id);
	for (size_t i = 1; i < n; i++)
		if (!by_layer_and_id(&c->sorted[i - 1], &c->sorted[i])) {
			err_set("step %ld: expert %ld is twice in layer %d (expected once)",
				s->step, c->sorted[i].expert, c->sorted[i].layer);
			return at_line(c);
		}
	qsort(c->sorted, n, sizeof *c->sorted, by_id);
	c->knowns = s->n;
	c->known_step = s->step;
	return 0;
}

static int
end_step(struct policy_census *c, struct policy_step **s)
{
	if (check_layers(c) || check_experts(c))
		return -1;
	c->begun = true;
	*s = &c->now;
	return 1;
}

int
policy_census_next(struct policy_census *c, struct policy_step **s)
{
	policy_step_clear(&c->now);
	c->text_end = 0;
	for (;;) {
		struct policy_row r;
		long left = 0;
		int got = c->pending ? 1 : table_next(c->t);
		if (got < 0)
			return -1;
		if (!got && c->now.n && c->left >= 0)
			return err_set("%s: ends within step %ld (expected %ld more row%s)",
				       c->name, c->now.step, c->last_left,
				       c->last_left == 1 ? "" : "s");
		if (!got)
			return c->now.n ? end_step(c, s) : 0;
		c->pending = false;
		if (read_row(c, &r, &left) || complete(c, &r))
			return -1;
		if (c->left < 0 && c->now.n && r.step > c->now.step) {
			c->pending = true;
			return end_step(c, s);
		}
		if (c->left < 0 && c->now.n && r.step < c->now.step) {
			err_set("step %ld after step %ld (expected them to rise)", r.step,
				c->now.step);
			return at_line(c);
		}
		if (check_order(c, &r, left))
			return -1;
		policy_step_add(&c->now, &r);
		if (c->keep)
			keep_row(c);
		c->last_left = left;
		if (c->left >= 0 && !left)
			return end_step(c, s);
	}
}

bool
policy_census_waits(const struct policy_census *c)
{
	return !table_ready(c->t);
}

/* --- writing --- */

/* What the first row of a layer says of all of it. */
static void
write_layer(struct row *w, const struct policy_row *r)
{
	if (r->escape < 0) {
		for (int i = 0; i < 6; i++)
			row_skip(w);
		return;
	}
	row_known(w, r->phi);
	row_real(w, r->phi_high);
	row_real(w, r->loss_low);
	row_real(w, r->norm_mean);
	row_long(w, r->plateau);
	row_long(w, r->escape);
}

int
policy_row_write(struct row *w, const struct policy_row *r, long left)
{
	row_long(w, r->step);
	row_long(w, r->layer);
	row_long(w, r->slot);
	row_long(w, r->expert);
	row_long(w, r->parent);
	row_long(w, r->born);
	row_long(w, r->tier);
	row_long(w, r->tokens);
	row_real(w, r->demand);
	row_real(w, r->quality);
	row_real(w, r->exclusivity);
	row_real(w, r->flops);
	row_known(w, r->fitness);
	row_known(w, r->effective);
	row_known(w, r->vitality);
	row_known(w, r->usage);
	row_known(w, r->accuracy);
	row_text(w, isnan(r->usage) ? ""
				    : ecology_class_name(ecology_class_of(r->usage, r->accuracy)));
	row_long(w, r->below);
	row_long(w, r->width);
	for (int i = 0; i < 3; i++)
		row_long(w, r->essential[i]);
	row_known(w, r->gradient);
	row_known(w, r->energy);
	row_long(w, r->over);
	row_long(w, r->starved);
	row_told(w, r->twin);
	row_known(w, r->load_factor);
	row_known(w, r->gradient_factor);
	write_layer(w, r);
	row_long(w, left);
	return row_end(w);
}
