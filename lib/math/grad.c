#include "math/grad.h"
#include "math/kern.h"

static long
blocks(const struct grad *g)
{
	return (g->m + GRAD_ROWS - 1) / GRAD_ROWS;
}

long
grad_blocks(const struct grad *g, int n)
{
	long total = 0;

	for (int i = 0; i < n; i++)
		total += blocks(&g[i]);
	return total;
}

void
grad_block(const struct grad *g, long i)
{
	for (; i >= blocks(g); g++)
		i -= blocks(g);
	const long r = i * GRAD_ROWS, m = g->m - r < GRAD_ROWS ? g->m - r : GRAD_ROWS;
	kern->tn(m, g->n, g->k, g->a + r, g->lda, g->b, g->ldb, g->c + r * g->n, g->n, g->add);
}
