#include "offload/access.h"
#include "base/err.h"
#include "base/mem.h"
#include "io/table.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* While reading, layer and expert stand in one word, for the items of a layer are not known. */
enum { SHIFT = 16 };

/* The columns that are known. */
enum { TURN, PHASE, STEP, LAYER, EXPERT, BYTES, GATE, FIELDS };

struct row_of {
	long turn, phase, step, layer, expert, bytes, gate;
};

/* What is known of a layer while reading. */
struct level {
	int experts;
	uint32_t *stamp; /* [experts] the last step that had it, numbered from 1 */
	long bytes;
};

/* A row of a prompt, kept until its batch is complete. */
struct word {
	int part;
	long step;
	uint32_t what;
	int order; /* in the file, for an order that does not depend on qsort */
};

struct reader {
	struct table *table;
	const char *file;
	struct table_whole cell[FIELDS]; /* those that are there, by column, then the others */
	int cells;			 /* there */
	int at[FIELDS];			 /* the cell of each */
	long most_layers, most_experts;
	struct access_trace *t;
	struct level *level; /* [t->depth] */
	long room[2];	     /* of play.item, play.turn */
	long gate_room[2];
	uint32_t stamp;	    /* of the step that is being read */
	int part;	    /* of the conversation */
	struct row_of last; /* the row before; phase -1: none yet */
	struct word *prompt;
	long prompts, prompt_room;
	long batch; /* where the prompt begins that is being read */
};

/* --- lists --- */

static void
begin_turn(struct access_list *l, long *room, struct access_turn turn)
{
	if (l->turns + 1 >= *room) {
		*room = *room ? 2 * *room : 1024;
		l->turn = mem_grow(l->turn, (size_t)*room, sizeof *l->turn);
	}
	turn.begin = l->n;
	l->turn[l->turns++] = turn;
}

static void
add_item(struct access_list *l, long *room, uint32_t what)
{
	if (l->n >= *room) {
		*room = *room ? 2 * *room : 4096;
		l->item = mem_grow(l->item, (size_t)*room, sizeof *l->item);
	}
	l->item[l->n++] = what;
}

static void
end_list(struct access_list *l)
{
	if (!l->turn)
		l->turn = mem_zero(1, sizeof *l->turn);
	l->turn[l->turns] = (struct access_turn){.begin = l->n};
}

/* --- layers and experts --- */

static struct level *
level_of(struct reader *r, long layer)
{
	struct access_trace *t = r->t;

	if (layer >= t->depth) {
		r->level = mem_grow(r->level, (size_t)layer + 1, sizeof *r->level);
		for (; t->depth <= layer; t->depth++)
			r->level[t->depth] = (struct level){0};
	}
	return &r->level[layer];
}

/* The layer has an expert of this number. */
static struct level *
level_with(struct reader *r, long layer, long expert)
{
	struct level *l = level_of(r, layer);
	const int n = (int)expert + 1;

	if (n > l->experts) {
		l->stamp = mem_grow(l->stamp, (size_t)n, sizeof *l->stamp);
		memset(l->stamp + l->experts, 0, (size_t)(n - l->experts) * sizeof *l->stamp);
		l->experts = n;
	}
	return l;
}

/* Whether this step has not had the expert yet. */
static bool
first_of_step(struct reader *r, const struct row_of *row)
{
	struct level *l = level_with(r, row->layer, row->expert);
	bool first;

	if (row->bytes > l->bytes)
		l->bytes = row->bytes;
	first = l->stamp[row->expert] != r->stamp;
	l->stamp[row->expert] = r->stamp;
	return first;
}

/* --- the prompt --- */

static int
by_layer(const void *a, const void *b)
{
	const struct word *x = a, *y = b;
	const uint32_t i = x->what >> SHIFT, k = y->what >> SHIFT;

	return i != k ? (i > k) - (i < k) : (x->order > y->order) - (x->order < y->order);
}

static int
by_step(const void *a, const void *b)
{
	const struct word *x = a, *y = b;

	if (x->part != y->part)
		return x->part - y->part;
	if (x->step != y->step)
		return (x->step > y->step) - (x->step < y->step);
	return by_layer(a, b);
}

static void
keep_word(struct reader *r, const struct row_of *row)
{
	if (r->prompts == r->prompt_room) {
		r->prompt_room = r->prompt_room ? 2 * r->prompt_room : 1024;
		r->prompt = mem_grow(r->prompt, (size_t)r->prompt_room, sizeof *r->prompt);
	}
	r->prompt[r->prompts] = (struct word){.part = r->part,
					      .step = row->step,
					      .what = (uint32_t)(row->layer << SHIFT | row->expert),
					      .order = (int)r->prompts};
	r->prompts++;
}

/* The prompt that has been read becomes one batch of accesses. */
static void
end_batch(struct reader *r)
{
	struct access_list *play = &r->t->play;
	struct row_of row = {.layer = -1};

	if (r->batch == r->prompts)
		return;
	qsort(r->prompt + r->batch, (size_t)(r->prompts - r->batch), sizeof *r->prompt, by_layer);
	r->stamp++;
	for (; r->batch < r->prompts; r->batch++) {
		const uint32_t what = r->prompt[r->batch].what;
		const bool new_layer = row.layer != what >> SHIFT;
		row.layer = what >> SHIFT;
		row.expert = what & (ACCESS_EXPERTS - 1);
		if (new_layer)
			begin_turn(play, &r->room[1],
				   (struct access_turn){.step = (int)r->stamp,
							.layer = (int)row.layer,
							.part = r->prompt[r->batch].part,
							.warm = true});
		if (first_of_step(r, &row))
			add_item(play, &r->room[0], what);
	}
}

/* --- rows --- */

static int
wrong(const struct reader *r, const char *what, long found, const char *expected)
{
	return err_set("%s:%ld: %s %ld (expected %s)", r->file, table_line(r->table), what, found,
		       expected);
}

static int
check_order(const struct reader *r, const struct row_of *row)
{
	const struct row_of *last = &r->last;

	if (last->phase < 0 || row->turn > last->turn)
		return 0;
	if (row->turn < last->turn)
		return wrong(r, "the conversation goes back to turn", row->turn, "turns in order");
	if (row->phase < last->phase)
		return wrong(r, "a row of the prompt after the decoded ones of turn", row->turn,
			     "phase 0 before phase 1");
	if (row->phase == last->phase && row->phase == 1 && row->step < last->step)
		return wrong(r, "decoding goes back to step", row->step, "steps in order");
	return 0;
}

static void
add_gate(struct reader *r, const struct row_of *row)
{
	struct access_list *gate = &r->t->gate;
	const struct access_list *play = &r->t->play;

	if (r->at[GATE] >= r->cells)
		return;
	while (gate->turns < play->turns)
		begin_turn(gate, &r->gate_room[1], play->turn[gate->turns]);
	level_with(r, row->layer, row->gate);
	add_item(gate, &r->gate_room[0], (uint32_t)(row->layer << SHIFT | row->gate));
}

static void
add_decoded(struct reader *r, const struct row_of *row)
{
	const struct row_of *last = &r->last;
	struct access_list *play = &r->t->play;
	const bool step = last->phase != 1 || row->step != last->step || row->turn != last->turn;

	r->stamp += step;
	r->t->steps += step;
	if (step || row->layer != last->layer)
		begin_turn(play, &r->room[1],
			   (struct access_turn){.step = (int)r->stamp,
						.layer = (int)row->layer,
						.part = r->part});
	if (first_of_step(r, row))
		add_item(play, &r->room[0], (uint32_t)(row->layer << SHIFT | row->expert));
	add_gate(r, row);
}

static long
cell(const struct reader *r, int field)
{
	return r->cell[r->at[field]].value;
}

static int
take_row(struct reader *r)
{
	const struct row_of row = {.turn = cell(r, TURN),
				   .phase = cell(r, PHASE),
				   .step = cell(r, STEP),
				   .layer = cell(r, LAYER),
				   .expert = cell(r, EXPERT),
				   .bytes = cell(r, BYTES),
				   .gate = cell(r, GATE)};

	if (check_order(r, &row) < 0)
		return -1;
	if (r->last.phase >= 0 && row.turn > r->last.turn) {
		end_batch(r);
		r->part++;
	}
	if (!row.phase) {
		keep_word(r, &row);
		if (level_of(r, row.layer)->bytes < row.bytes)
			level_of(r, row.layer)->bytes = row.bytes;
	} else {
		end_batch(r);
		add_decoded(r, &row);
	}
	r->last = row;
	return 0;
}

/* Where each field stands in a row; those that are absent keep their values. */
static int
find_columns(struct reader *r)
{
	const struct {
		const char *name;
		bool needed;
		long most, else_;
	} field[FIELDS] = {[TURN] = {"turn", false, LONG_MAX, 0},
			   [PHASE] = {"phase", false, 1, 1},
			   [STEP] = {"step", true, LONG_MAX, 0},
			   [LAYER] = {"layer", true, r->most_layers - 1, 0},
			   [EXPERT] = {"expert", true, r->most_experts - 1, 0},
			   [BYTES] = {"expert_bytes", false, LONG_MAX, 0},
			   [GATE] = {"gate", false, r->most_experts - 1, 0}};
	int column[FIELDS], next = 0;

	for (int f = 0; f < FIELDS; f++) {
		column[f] = table_column(r->table, field[f].name);
		if (field[f].needed && table_require(r->table, field[f].name) < 0)
			return -1;
		r->cells += column[f] >= 0;
	}
	next = r->cells;
	for (int f = 0; f < FIELDS; f++) {
		int before = 0;
		for (int g = 0; g < FIELDS; g++)
			before += column[g] >= 0 && column[g] < column[f];
		r->at[f] = column[f] < 0 ? next++ : before;
		r->cell[r->at[f]] = (struct table_whole){
			.column = column[f], .hi = field[f].most, .value = field[f].else_};
	}
	return 0;
}

static int
read_rows(struct reader *r)
{
	int got;

	if (find_columns(r) < 0)
		return -1;
	while ((got = table_next_longs(r->table, r->cell, r->cells)) > 0)
		if (take_row(r) < 0)
			return -1;
	end_batch(r);
	return got;
}

/* --- the end --- */

/* Items get their numbers: layers have as many as their highest expert tells. */
static int
number_items(struct reader *r)
{
	struct access_trace *t = r->t;

	t->first = mem_zero((size_t)t->depth + 1, sizeof *t->first);
	t->bytes = mem_zero((size_t)t->depth, sizeof *t->bytes);
	for (int l = 0; l < t->depth; l++) {
		const struct level *v = &r->level[l];
		t->first[l + 1] = t->first[l] + v->experts;
		t->bytes[l] = v->bytes;
		t->layers += v->experts > 0;
		t->experts = v->experts > t->experts ? v->experts : t->experts;
	}
	t->items = t->first[t->depth];
	if (t->items > ACCESS_ITEMS)
		return err_set("%s: %ld experts in all layers (expected at most %d)", r->file,
			       t->items, ACCESS_ITEMS);
	return 0;
}

static void
renumber(const struct access_trace *t, struct access_list *l)
{
	for (long i = 0; i < l->n; i++)
		l->item[i] = (uint32_t)(t->first[l->item[i] >> SHIFT] +
					(l->item[i] & (ACCESS_EXPERTS - 1)));
}

static void
list_prompt(struct reader *r)
{
	struct access_list *l = &r->t->prompt;
	long room[2] = {0};
	int step = 0;
	struct row_of row = {.layer = -1};

	if (r->prompts)
		qsort(r->prompt, (size_t)r->prompts, sizeof *r->prompt, by_step);
	for (long i = 0; i < r->prompts; i++) {
		const struct word *w = &r->prompt[i], *before = i ? w - 1 : NULL;
		const bool token = !before || w->step != before->step || w->part != before->part;
		step += token;
		r->stamp += token;
		if (token || w->what >> SHIFT != before->what >> SHIFT)
			begin_turn(l, &room[1],
				   (struct access_turn){.step = step,
							.layer = (int)(w->what >> SHIFT),
							.part = w->part,
							.warm = true});
		row.layer = w->what >> SHIFT;
		row.expert = w->what & (ACCESS_EXPERTS - 1);
		if (first_of_step(r, &row))
			add_item(l, &room[0], w->what);
	}
}

static int
complete(struct reader *r)
{
	struct access_trace *t = r->t;

	if (!t->steps)
		return err_set("%s: nothing to count (expected decoded rows, of phase 1)", r->file);
	if (t->play.n >= INT32_MAX)
		return err_set("%s: %ld accesses (expected less than 2^31)", r->file, t->play.n);
	if (number_items(r) < 0)
		return -1;
	list_prompt(r);
	renumber(t, &t->play);
	renumber(t, &t->prompt);
	renumber(t, &t->gate);
	end_list(&t->play);
	end_list(&t->prompt);
	end_list(&t->gate);
	for (long i = 0; i < t->play.turns; i++)
		if (!t->play.turn[i].warm) {
			t->counted_turns++;
			t->counted += t->play.turn[i + 1].begin - t->play.turn[i].begin;
		}
	return 0;
}

struct access_trace *
access_read(const char *file, int layers, int experts)
{
	struct access_trace *t = mem_zero(1, sizeof *t);
	struct reader r = {.file = file,
			   .t = t,
			   .most_layers = layers > 0 ? layers : ACCESS_LAYERS,
			   .most_experts = experts > 0 ? experts : ACCESS_EXPERTS,
			   .last.phase = -1};

	r.table = table_open(file);
	if (!r.table || read_rows(&r) < 0 || complete(&r) < 0)
		t = NULL;
	for (int l = 0; l < r.t->depth; l++)
		free(r.level[l].stamp);
	if (!t)
		access_free(r.t);
	table_close(r.table);
	free(r.level);
	free(r.prompt);
	return t;
}

void
access_free(struct access_trace *t)
{
	if (!t)
		return;
	free(t->first);
	free(t->bytes);
	free(t->play.item);
	free(t->play.turn);
	free(t->prompt.item);
	free(t->prompt.turn);
	free(t->gate.item);
	free(t->gate.turn);
	free(t);
}
