#include "train/sample.h"
#include "base/mem.h"
#include "base/rng.h"
#include <stdlib.h>
#include <string.h>

static int32_t
likeliest(const float *z, int n)
{
	int32_t best = 0;

	for (int i = 1; i < n; i++)
		if (z[i] > z[best])
			best = i;
	return best;
}

static int32_t
draw(const struct sample *s, const float *z, int n, long at, float *p)
{
	struct rng r = rng_at(s->seed, RNG_SAMPLE, (uint64_t)at, 0);
	double u = rng_uniform(&r), sum = 0;

	kern->scale(n, (float)(1 / s->temperature), z, p);
	kern->softmax(n, p);
	for (int i = 0; i < n; i++)
		if ((sum += (double)p[i]) > u)
			return i;
	return likeliest(z, n); /* what rounding leaves of the sum */
}

int
sample_run(struct net *n, const struct net_how *how, const struct sample *s, const int32_t *prompt,
	   long count)
{
	const int vocab = n->param->shape.vocab;
	struct cache *c = cache_new(n->param, n->seq);
	float *p = mem_zero((size_t)vocab, sizeof *p);
	int32_t before = -1, token = prompt[0];
	int status = 0;

	for (long at = 0; at < count + s->tokens; at++) {
		const float *z;
		if ((status = s->emit(s->arg, before, token, at < count)) != 0)
			break;
		if (at + 1 == count + s->tokens || !(z = net_next(n, c, how, token)))
			break;
		before = token;
		token = at + 1 < count	     ? prompt[at + 1]
			: s->temperature > 0 ? draw(s, z, vocab, at, p)
					     : likeliest(z, vocab);
		if (at + 1 >= count && token == s->end)
			break;
	}
	cache_free(c);
	free(p);
	return status;
}
