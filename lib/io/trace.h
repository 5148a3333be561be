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
};

int trace_header(struct row *r);
int trace_put(struct row *r, const struct trace_row *t);

#endif
