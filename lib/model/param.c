#include "model/param.h"
#include "base/rng.h"
#include "base/task.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a tensor is, for its start's address: see param_init. */
enum role {
	EMBED = 1,
	HEAD,
	NORM1,
	QUERY,
	KEY,
	VALUE,
	OUT,
	NORM2,
	ROUTE,
	ROUTE2,
	GATE,
	UP,
	DOWN,
	NORM,
	ASK,
	ASK2
};

static void __attribute__((format(printf, 6, 7)))
tensor_take(struct tensor *t, struct arena *a, bool train, long rows, long cols, const char *fmt,
	    ...)
{
	size_t n = (size_t)rows * (size_t)cols;
	va_list ap;

	*t = (struct tensor){.rows = rows, .cols = cols, .decay = true};
	t->w = arena_take(a, n, sizeof(float));
	if (train) {
		t->g = arena_take(a, n, sizeof(float));
		t->m = arena_take(a, n, sizeof(float));
		t->v = arena_take(a, n, sizeof(float));
	}
	va_start(ap, fmt);
	vsnprintf(t->name, sizeof t->name, fmt, ap);
	va_end(ap);
}

static void __attribute__((format(printf, 5, 6)))
norm_take(struct tensor *t, struct arena *a, bool train, long n, const char *fmt, ...)
{
	char name[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof name, fmt, ap);
	va_end(ap);
	tensor_take(t, a, train, 1, n, "%s", name);
	t->flat = true;
	t->decay = false;
}

/* Queries, keys and values stand one after another so that one product makes all three. */
static void
qkv_take(struct layer *l, struct arena *a, const struct shape *s, bool train, int layer)
{
	const long c = s->dim, kv = (long)s->kv_heads * shape_head(s);
	const long n[3] = {c, kv, kv};
	const char *name[3] = {"q", "k", "v"};
	struct tensor all, *t[3] = {&l->q, &l->k, &l->v};
	long at = 0;

	tensor_take(&all, a, train, c + 2 * kv, c, "qkv");
	for (int i = 0; i < 3; at += n[i++] * c) {
		*t[i] = all;
		t[i]->rows = n[i];
		t[i]->w = all.w ? all.w + at : NULL;
		t[i]->g = all.g ? all.g + at : NULL;
		t[i]->m = all.m ? all.m + at : NULL;
		t[i]->v = all.v ? all.v + at : NULL;
		snprintf(t[i]->name, sizeof t[i]->name, "model.layers.%d.self_attn.%s_proj.weight",
			 layer, name[i]);
	}
}

static void
keys_take(struct layer *l, struct arena *a, const struct shape *s, bool train, int i)
{
	const long c = s->dim, e = s->experts[i], r = s->router_hidden;

	tensor_take(&l->route, a, false, e, c, "model.layers.%d.mlp.gate.weight", i);
	if (r > 0) {
		tensor_take(&l->query, a, train, r, c, "model.layers.%d.mlp.query.0.weight", i);
		tensor_take(&l->query2, a, train, c, r, "model.layers.%d.mlp.query.2.weight", i);
	} else {
		tensor_take(&l->query, a, train, c, c, "model.layers.%d.mlp.query.weight", i);
	}
	l->usage = arena_take(a, (size_t)e, sizeof *l->usage);
	l->reborn = arena_take(a, (size_t)e, sizeof *l->reborn);
}

static void
layer_take(struct layer *l, struct arena *a, const struct shape *s, bool train, int i)
{
	const long c = s->dim, e = s->experts[i], r = s->router_hidden;

	norm_take(&l->norm1, a, train, c, "model.layers.%d.input_layernorm.weight", i);
	qkv_take(l, a, s, train, i);
	tensor_take(&l->o, a, train, c, c, "model.layers.%d.self_attn.o_proj.weight", i);
	norm_take(&l->norm2, a, train, c, "model.layers.%d.post_attention_layernorm.weight", i);
	l->detour.rows = 0;
	if (s->bent)
		norm_take(&l->detour, a, train, c, "model.layers.%d.mlp.detour.weight", i);
	l->route.rows = l->route2.rows = l->query.rows = l->query2.rows = 0;
	if (s->dense || s->router == ROUTER_RANDOM)
		return;
	if (s->router == ROUTER_KEYSTORE) {
		keys_take(l, a, s, train, i);
		return;
	}
	if (s->router == ROUTER_MLP) {
		tensor_take(&l->route, a, train, r, c, "model.layers.%d.mlp.gate.0.weight", i);
		tensor_take(&l->route2, a, train, e, r, "model.layers.%d.mlp.gate.2.weight", i);
	} else {
		tensor_take(&l->route, a, train, e, c, "model.layers.%d.mlp.gate.weight", i);
	}
	l->bias = arena_take(a, (size_t)e, sizeof(float));
}

static void
common_take(struct param *p, struct arena *a, const struct shape *s, bool train)
{
	tensor_take(&p->embed, a, train, s->vocab, s->dim, "model.embed_tokens.weight");
	for (int i = 0; i < s->layers; i++)
		layer_take(&p->layer[i], a, s, train, i);
	norm_take(&p->norm, a, train, s->dim, "model.norm.weight");
	p->head.rows = 0;
	if (!s->tied)
		tensor_take(&p->head, a, train, s->vocab, s->dim, "lm_head.weight");
}

static void
expert_take(struct expert *x, struct arena *a, const struct shape *s, bool train, int layer,
	    int slot)
{
	const char *fmt = "model.layers.%d.mlp.experts.%d.%s_proj.weight";
	const long h = s->hidden[layer][slot], c = s->dim;

	train = train && !s->frozen;
	x->hidden = (int)h;
	x->gate.rows = 0;
	if (kern_gated(s->act))
		tensor_take(&x->gate, a, train, h, c, fmt, layer, slot, "gate");
	tensor_take(&x->up, a, train, h, c, fmt, layer, slot, "up");
	tensor_take(&x->down, a, train, c, h, fmt, layer, slot, "down");
}

static size_t
page_up(size_t bytes)
{
	return (bytes + 4095) / 4096 * 4096;
}

static struct expert *
expert_new(const struct shape *s, bool train, bool hollow, int layer, int slot)
{
	struct expert *x = mem_zero(1, sizeof *x);
	struct arena a = {0};

	expert_take(x, &a, s, train, layer, slot);
	x->parent = -1;
	x->twin = -1;
	x->energy = 1;
	if (hollow)
		return x;
	x->bytes = page_up(a.used);
	a = (struct arena){x->block = mem_map(x->bytes), 0};
	expert_take(x, &a, s, train, layer, slot);
	return x;
}

static void
expert_free(struct expert *x)
{
	if (!x)
		return;
	mem_unmap(x->block, x->bytes);
	free(x);
}

/* The router has a row for each slot up to the last that is not empty. */
static void
fit_route(struct param *p, int layer)
{
	struct layer *l = &p->layer[layer];
	struct tensor *t = l->route2.rows ? &l->route2 : &l->route;

	if (t->w)
		t->rows = shape_extent(&p->shape, layer);
}

void
param_part(struct layer *l, int slot)
{
	struct expert *x = l->expert[slot];

	if (!x || x->twin < 0)
		return;
	l->expert[x->twin]->twin = -1;
	x->twin = -1;
}

void
param_death(struct param *p, int layer, int slot)
{
	param_part(&p->layer[layer], slot);
	expert_free(p->layer[layer].expert[slot]);
	p->layer[layer].expert[slot] = NULL;
	p->shape.hidden[layer][slot] = 0;
	fit_route(p, layer);
}

struct expert *
param_birth(struct param *p, int layer, int slot, int hidden)
{
	struct expert *x;

	p->shape.hidden[layer][slot] = hidden;
	x = p->layer[layer].expert[slot] = expert_new(&p->shape, p->train, p->hollow, layer, slot);
	x->id = p->next_id++;
	fit_route(p, layer);
	return x;
}

void
param_move(struct param *p, int layer, int slot, int to_layer, int to_slot)
{
	struct expert *x = p->layer[layer].expert[slot], named = *x;

	param_part(&p->layer[layer], slot);
	p->shape.hidden[to_layer][to_slot] = x->hidden;
	p->shape.hidden[layer][slot] = 0;
	p->layer[to_layer].expert[to_slot] = x;
	p->layer[layer].expert[slot] = NULL;
	expert_take(&named, &(struct arena){0}, &p->shape, p->train, to_layer, to_slot);
	memcpy(x->gate.name, named.gate.name, sizeof x->gate.name);
	memcpy(x->up.name, named.up.name, sizeof x->up.name);
	memcpy(x->down.name, named.down.name, sizeof x->down.name);
	fit_route(p, layer);
	fit_route(p, to_layer);
}

static struct param *
make(const struct shape *s, bool train, bool hollow)
{
	struct param *p = mem_zero(1, sizeof *p);
	struct arena a = {0};

	shape_copy(&p->shape, s);
	p->train = train;
	p->hollow = hollow;
	p->layer = mem_zero((size_t)s->layers, sizeof *p->layer);
	common_take(p, &a, s, train);
	p->bytes = page_up(a.used);
	a = (struct arena){p->block = mem_map(p->bytes), 0};
	common_take(p, &a, s, train);
	for (int l = 0; l < s->layers; l++) {
		p->layer[l].experts = s->experts[l];
		p->layer[l].expert = mem_zero((size_t)s->experts[l], sizeof(struct expert *));
		for (int e = 0; e < s->experts[l]; e++)
			if (s->hidden[l][e] > 0)
				param_birth(p, l, e, s->hidden[l][e]);
	}
	return p;
}

struct param *
param_new(const struct shape *s, bool train)
{
	return make(s, train, false);
}

struct param *
param_new_hollow(const struct shape *s)
{
	return make(s, false, true);
}

void
param_free(struct param *p)
{
	if (!p)
		return;
	for (int l = 0; l < p->shape.layers; l++) {
		for (int e = 0; e < p->layer[l].experts; e++)
			expert_free(p->layer[l].expert[e]);
		free(p->layer[l].expert);
	}
	free(p->layer);
	shape_free(&p->shape);
	mem_unmap(p->block, p->bytes);
	free(p);
}

size_t
param_bytes(const struct shape *s, bool train)
{
	struct param p = {.layer = mem_zero((size_t)s->layers, sizeof *p.layer)};
	struct arena a = {0};
	size_t bytes;

	common_take(&p, &a, s, train);
	bytes = page_up(a.used);
	for (int l = 0; l < s->layers; l++)
		for (int e = 0; e < s->experts[l]; e++) {
			struct expert x;
			if (s->hidden[l][e] == 0)
				continue;
			a.used = 0;
			expert_take(&x, &a, s, train, l, e);
			bytes += page_up(a.used);
		}
	free(p.layer);
	return bytes;
}

void
param_each(struct param *p, param_fn *fn, void *arg)
{
	fn(arg, &p->embed, -1, -1);
	for (int i = 0; i < p->shape.layers; i++) {
		struct layer *l = &p->layer[i];
		struct tensor *t[] = {&l->norm1, &l->q,	     &l->k,	&l->v,
				      &l->o,	 &l->norm2,  &l->route, &l->route2,
				      &l->query, &l->query2, &l->detour};
		for (unsigned j = 0; j < sizeof t / sizeof *t; j++)
			if (t[j]->rows)
				fn(arg, t[j], i, -1);
		for (int e = 0; e < l->experts; e++) {
			struct expert *x = l->expert[e];
			if (!x)
				continue;
			if (x->gate.rows)
				fn(arg, &x->gate, i, e);
			fn(arg, &x->up, i, e);
			fn(arg, &x->down, i, e);
		}
	}
	fn(arg, &p->norm, -1, -1);
	if (p->head.rows)
		fn(arg, &p->head, -1, -1);
}

struct start {
	struct param *p;
	uint64_t seed;
	struct place {
		struct tensor *t;
		uint64_t at;
	} * place;
	long n;
};

static enum role
role_of(const struct param *p, const struct tensor *t, int layer, int slot)
{
	if (slot >= 0) {
		const struct expert *x = p->layer[layer].expert[slot];
		return t == &x->gate ? GATE : t == &x->up ? UP : DOWN;
	}
	if (layer >= 0) {
		const struct layer *l = &p->layer[layer];
		const struct tensor *order[] = {&l->norm1, &l->q,     &l->k,	 &l->v,
						&l->o,	   &l->norm2, &l->route, &l->route2};
		int i = 0;
		if (t == &l->query || t == &l->query2)
			return t == &l->query ? ASK : ASK2;
		while (order[i] != t)
			i++;
		return NORM1 + i;
	}
	return t == &p->embed ? EMBED : t == &p->head ? HEAD : NORM;
}

static void
start_add(void *arg, struct tensor *t, int layer, int slot)
{
	struct start *s = arg;
	uint64_t at;

	if (layer >= 0 && t == &s->p->layer[layer].detour)
		return;
	at = (uint64_t)(layer + 1) << 40 | (uint64_t)(slot + 1) << 8 |
	     (uint64_t)role_of(s->p, t, layer, slot);
	if ((s->n & (s->n - 1)) == 0) /* room doubles at powers of two */
		s->place = mem_grow(s->place, s->n ? 2 * (size_t)s->n : 1, sizeof *s->place);
	s->place[s->n++] = (struct place){t, at};
}

static void
start_one(void *arg, long i, int worker)
{
	struct start *s = arg;
	struct tensor *t = s->place[i].t;
	struct rng r = rng_at(s->seed, RNG_INIT, 0, s->place[i].at);

	(void)worker;
	const long n = t->rows * t->cols;

	rng_normals(&r, t->w, n);
	for (long j = 0; j < n; j++)
		t->w[j] = t->flat ? 1 : 0.02f * t->w[j];
}

static void
to_length_one(struct tensor *keys)
{
	for (long i = 0; i < keys->rows; i++) {
		float *k = keys->w + i * keys->cols;
		kern->scale(keys->cols, (float)(1 / sqrt(kern->sumsq(keys->cols, k))), k, k);
	}
}

void
param_init(struct param *p, uint64_t seed)
{
	struct start s = {.p = p, .seed = seed};

	param_each(p, start_add, &s);
	task_run(s.n, start_one, &s);
	for (int l = 0; l < p->shape.layers && shape_keyed(&p->shape); l++)
		to_length_one(&p->layer[l].route);
	free(s.place);
}
