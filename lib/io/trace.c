#include "io/trace.h"
#include "base/err.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

int
trace_header(struct row *r)
{
	return row_header(r, "step,seq,pos,token,layer,rank,expert,weight,correct");
}

int
trace_put(struct row *r, const struct trace_row *t)
{
	row_long(r, t->step);
	row_long(r, t->seq);
	row_long(r, t->pos);
	row_long(r, t->token);
	row_long(r, t->layer);
	row_long(r, t->rank);
	row_long(r, t->expert);
	row_real(r, (double)t->weight);
	row_long(r, t->correct);
	return row_end(r);
}

/* ---- reading ---- */

enum { LAYER, RANK, EXPERT, CORRECT, WHOLE };

struct trace {
	struct table *table;
	struct table_whole whole[WHOLE]; /* in the order of the table's columns */
	int at[WHOLE], wholes;		 /* where in whole each stands */
	int confidence;			 /* its column, -1: none, or not asked for */
};

static int
by_column(const void *a, const void *b)
{
	return ((const struct table_whole *)a)->column - ((const struct table_whole *)b)->column;
}

struct trace *
trace_open(const char *name, bool confidence)
{
	static const char *const column[WHOLE] = {"layer", "rank", "expert", "correct"};
	static const long most[WHOLE] = {TRACE_LAYERS, TRACE_RANKS, TRACE_EXPERTS, 2};
	struct trace *t = mem_zero(1, sizeof *t);
	int at[WHOLE];

	if (!(t->table = table_open(name)))
		goto err;
	for (int i = 0; i < WHOLE; i++) {
		at[i] = i == CORRECT && table_column(t->table, column[i]) < 0
				? -1
				: table_require(t->table, column[i]);
		if (at[i] < 0 && i != CORRECT)
			goto err;
		if (at[i] >= 0)
			t->whole[t->wholes++] = (struct table_whole){at[i], 0, most[i] - 1, 0};
	}
	qsort(t->whole, (size_t)t->wholes, sizeof *t->whole, by_column);
	for (int i = 0; i < WHOLE; i++) {
		t->at[i] = -1;
		for (int k = 0; k < t->wholes; k++)
			if (t->whole[k].column == at[i])
				t->at[i] = k;
	}
	t->confidence = confidence ? table_column(t->table, "confidence") : -1;
	return t;
err:
	trace_close(t);
	return NULL;
}

bool
trace_tells_correct(const struct trace *t)
{
	return t->at[CORRECT] >= 0;
}

int
trace_at(const struct trace *t)
{
	return err_in("%s:%ld", table_name(t->table), table_line(t->table));
}

/* With a share of the row, which only the slow way has. */
static int
next_with_confidence(struct trace *t, double *confidence)
{
	int r = table_next(t->table);

	for (int i = 0; i < t->wholes && r == 1; i++)
		if (table_long(t->table, t->whole[i].column, t->whole[i].lo, t->whole[i].hi,
			       &t->whole[i].value))
			return -1;
	if (r != 1 || !*table_text(t->table, t->confidence))
		return r;
	if (table_real(t->table, t->confidence, confidence))
		return -1;
	if (*confidence >= 0 && *confidence <= 1)
		return 1;
	err_set("column confidence: %.9g (expected a share, 0 to 1)", *confidence);
	return trace_at(t);
}

int
trace_next(struct trace *t, struct trace_choice *c)
{
	int r;

	c->confidence = NAN;
	r = t->confidence >= 0 ? next_with_confidence(t, &c->confidence)
			       : table_next_longs(t->table, t->whole, t->wholes);
	c->layer = (int)t->whole[t->at[LAYER]].value;
	c->rank = (int)t->whole[t->at[RANK]].value;
	c->expert = (int)t->whole[t->at[EXPERT]].value;
	c->correct = t->at[CORRECT] < 0 ? -1 : (int)t->whole[t->at[CORRECT]].value;
	return r;
}

void
trace_close(struct trace *t)
{
	if (!t)
		return;
	table_close(t->table);
	free(t);
}
