#include "model/shape.h"
#include "base/err.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

static int
check(const struct shape *s)
{
	if (s->vocab < 1 || s->dim < 1 || s->layers < 1)
		return err_set("vocabulary of %d, width %d, %d layers (expected 1 or more of each)",
			       s->vocab, s->dim, s->layers);
	if (!s->dense && s->top_k < 1)
		return err_set("top-k %d (expected 1 or more)", s->top_k);
	if (!s->dense && s->router == ROUTER_MLP && s->router_hidden < 1)
		return err_set("mlp router of width %d (expected 1 or more)", s->router_hidden);
	if (s->heads < 1 || s->dim % s->heads != 0)
		return err_set("width %d is not a multiple of %d heads", s->dim, s->heads);
	if (shape_head(s) % 2 != 0)
		return err_set("heads of width %d (expected an even width, for rotary positions)",
			       shape_head(s));
	if (s->kv_heads < 1 || s->heads % s->kv_heads != 0)
		return err_set("%d heads are not a multiple of %d key-value heads", s->heads,
			       s->kv_heads);
	return 0;
}

static int
layer_set(struct shape *s, int l, int e, int nhidden, const int *hidden)
{
	if (s->top_k > e)
		return err_set("top-k %d of %d experts in layer %d", s->top_k, e, l);
	if (nhidden != 1 && nhidden != e)
		return err_set("%d widths for the %d experts of layer %d (expected 1 or %d)",
			       nhidden, e, l, e);
	s->experts[l] = e;
	s->hidden[l] = mem_zero((size_t)e, sizeof **s->hidden);
	for (int i = 0; i < e; i++) {
		s->hidden[l][i] = hidden[nhidden == 1 ? 0 : i];
		if (s->hidden[l][i] < 1)
			return err_set("expert %d of layer %d has width %d (expected 1 or more)", i,
				       l, s->hidden[l][i]);
		s->widest = s->hidden[l][i] > s->widest ? s->hidden[l][i] : s->widest;
	}
	return 0;
}

int
shape_set(struct shape *s, int nexperts, const int *experts, int nhidden, const int *hidden)
{
	if (check(s) != 0)
		return -1;
	if (nexperts != 1 && nexperts != s->layers)
		return err_set("%d numbers of experts for %d layers (expected 1 or %d)", nexperts,
			       s->layers, s->layers);
	if (s->dense)
		s->top_k = 1;
	s->experts = mem_zero((size_t)s->layers, sizeof *s->experts);
	s->hidden = mem_zero((size_t)s->layers, sizeof *s->hidden);
	for (int l = 0; l < s->layers; l++) {
		int e = s->dense ? 1 : experts[nexperts == 1 ? 0 : l];
		if (layer_set(s, l, e, nhidden, hidden) != 0) {
			shape_free(s);
			return -1;
		}
	}
	return 0;
}

void
shape_copy(struct shape *to, const struct shape *from)
{
	*to = *from;
	to->experts = mem_zero((size_t)to->layers, sizeof *to->experts);
	to->hidden = mem_zero((size_t)to->layers, sizeof *to->hidden);
	for (int l = 0; l < to->layers; l++) {
		size_t e = (size_t)from->experts[l];
		to->experts[l] = from->experts[l];
		to->hidden[l] = mem_zero(e, sizeof **to->hidden);
		memcpy(to->hidden[l], from->hidden[l], e * sizeof **to->hidden);
	}
}

void
shape_free(struct shape *s)
{
	for (int l = 0; s->hidden && l < s->layers; l++)
		free(s->hidden[l]);
	free(s->hidden);
	free(s->experts);
	s->hidden = NULL;
	s->experts = NULL;
}

int
shape_living(const struct shape *s, int layer)
{
	int n = 0;

	for (int e = 0; e < s->experts[layer]; e++)
		n += s->hidden[layer][e] > 0;
	return n;
}

int
shape_extent(const struct shape *s, int layer)
{
	int n = s->experts[layer];

	while (n > 0 && s->hidden[layer][n - 1] == 0)
		n--;
	return n;
}

bool
shape_keyed(const struct shape *s)
{
	return !s->dense && s->router == ROUTER_KEYSTORE;
}

int
shape_head(const struct shape *s)
{
	return s->dim / s->heads;
}

int
shape_qkv(const struct shape *s)
{
	return (s->heads + 2 * s->kv_heads) * shape_head(s);
}

static double
route_params(const struct shape *s, int layer)
{
	double e = shape_extent(s, layer), c = s->dim, r = s->router_hidden;

	if (s->dense || s->router == ROUTER_RANDOM)
		return 0;
	if (s->router == ROUTER_KEYSTORE)
		return e * c + (r > 0 ? 2 * r * c : c * c);
	return s->router == ROUTER_MLP ? r * c + e * r : e * c;
}

/* Parameters of all experts of a layer. */
static double
expert_params(const struct shape *s, int layer)
{
	double h = 0;

	for (int i = 0; i < s->experts[layer]; i++)
		h += s->hidden[layer][i];
	return h * s->dim * (kern_gated(s->act) ? 3 : 2);
}

/* Matrices outside the experts and the embedding, then the experts' by share used. */
static double
params(const struct shape *s, double norms, bool all)
{
	double c = s->dim, n = 0;

	for (int l = 0; l < s->layers; l++)
		n += c * shape_qkv(s) + c * c + (s->bent ? 3 : 2) * c * norms + route_params(s, l) +
		     expert_params(s, l) * (all ? 1 : (double)s->top_k / shape_living(s, l));
	return n;
}

long
shape_params(const struct shape *s)
{
	double c = s->dim;

	return (long)(params(s, 1, true) + c + c * s->vocab * (s->tied ? 1 : 2));
}

double
shape_active(const struct shape *s)
{
	double c = s->dim;

	return params(s, 1, false) + c + c * s->vocab * (s->tied ? 1 : 2);
}

double
shape_forward(const struct shape *s, int seq, double experts)
{
	double c = s->dim, mean = 0;

	for (int l = 0; l < s->layers; l++)
		mean += expert_params(s, l) * s->top_k / shape_living(s, l);
	return 2 * (params(s, 0, false) - mean + c * s->vocab) + 4.0 * seq * c * s->layers +
	       experts;
}

/* Multiplications that the way back spares: of frozen weights one each, of keys both. */
static double
spared(const struct shape *s)
{
	double n = 0;

	for (int l = 0; l < s->layers; l++) {
		n += s->frozen ? expert_params(s, l) * s->top_k / shape_living(s, l) : 0;
		n += shape_keyed(s) ? 2.0 * shape_extent(s, l) * s->dim : 0;
	}
	return n;
}

double
shape_flops(const struct shape *s, int seq)
{
	double c = s->dim, attention = 4.0 * seq * c * s->layers;

	return 3 * (2 * params(s, 0, false) + attention + 2 * c * s->vocab) - 2 * spared(s);
}
