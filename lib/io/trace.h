#ifndef IO_TRACE_H
#define IO_TRACE_H
#include "io/table.h"

/*
 * Routing traces: which expert each token used, a row per token, layer and rank (0 = first choice).
 * `expert` is the slot within its layer.  See moe-trace(5).
 */
struct trace_row {
	long step, seq, pos;
	int token, layer, rank, expert;
	float weight;
	bool correct; /* the model's likeliest next token was right */
};

int trace_header(struct row *r);
int trace_put(struct row *r, const struct trace_row *t);

/*
 * Reading the choices of a trace from anywhere: columns layer, rank and expert must be there,
 * correct (0 or 1) and confidence (a share) may be.
 */
enum { TRACE_LAYERS = 1 << 12, TRACE_RANKS = 1 << 10, TRACE_EXPERTS = 1 << 16 };

struct trace_choice {
	int layer, rank, expert;
	int correct;	   /* -1: not told */
	double confidence; /* NAN: not told, or not asked for */
};

struct trace;

struct trace *trace_open(const char *name, bool confidence); /* NULL with a message */
bool trace_tells_correct(const struct trace *t);
/* Next row: 1, 0 at the end, -1 with a message. */
int trace_next(struct trace *t, struct trace_choice *c);
/* Put FILE:LINE of the row before the message that is there; always -1. */
int trace_at(const struct trace *t);
void trace_close(struct trace *t); /* NULL is harmless */

#endif
