#include "io/trace.h"

int
trace_header(struct row *r)
{
	return row_header(r, "step,seq,pos,token,layer,rank,expert,weight");
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
	return row_end(r);
}
