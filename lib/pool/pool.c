#include "pool/pool.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- checking ---- */

/* Who lives where, as the events would leave it: ids, -1 for nobody, and widths. */
struct census_map {
	const struct param *p;
	int64_t **id;	     /* [layer][slot] */
	int **width, **twin; /* twin: a slot, or -1 */
	int64_t next;
};

static void
map_open(struct census_map *m, const struct param *p)
{
	const size_t layers = (size_t)p->shape.layers;

	*m = (struct census_map){.p = p, .next = p->next_id};
	m->id = mem_zero(layers, sizeof *m->id);
	m->width = mem_zero(layers, sizeof *m->width);
	m->twin = mem_zero(layers, sizeof *m->twin);
	for (int l = 0; l < p->shape.layers; l++) {
		const size_t n = (size_t)p->layer[l].experts;
		m->id[l] = mem_zero(n, sizeof **m->id);
		m->width[l] = mem_zero(n, sizeof **m->width);
		memcpy(m->width[l], p->shape.hidden[l], n * sizeof **m->width);
		m->twin[l] = mem_zero(n, sizeof **m->twin);
		for (int e = 0; e < p->layer[l].experts; e++) {
			const struct expert *x = p->layer[l].expert[e];
			m->id[l][e] = x ? x->id : -1;
			m->twin[l][e] = x ? x->twin : -1;
		}
	}
}

static void
map_close(struct census_map *m)
{
	for (int l = 0; l < m->p->shape.layers; l++) {
		free(m->id[l]);
		free(m->width[l]);
		free(m->twin[l]);
	}
	free(m->id);
	free(m->width);
	free(m->twin);
}

/* The slot becomes empty. */
static void
map_clear(struct census_map *m, int layer, int slot)
{
	const int twin = m->twin[layer][slot];

	if (twin >= 0)
		m->twin[layer][twin] = -1;
	m->twin[layer][slot] = -1;
	m->id[layer][slot] = -1;
	m->width[layer][slot] = 0;
}

/* Experts that a token can choose among: twins count once. */
static int
map_candidates(const struct census_map *m, int layer)
{
	int n = 0;

	for (int s = 0; s < m->p->layer[layer].experts; s++)
		n += m->id[layer][s] >= 0 && m->twin[layer][s] < s;
	return n;
}

static int
find(const int64_t *id, int n, int64_t who)
{
	for (int e = 0; e < n; e++)
		if (id[e] == who && who >= 0)
			return e;
	return -1;
}

static int
bad(const struct policy_event *v, const char *why)
{
	return err_set("step %ld, layer %d, slot %d: %s%s", v->step, v->layer, v->slot,
		       policy_kind_name(v->kind), why);
}

static bool
place(const struct census_map *m, int layer, int slot)
{
	return layer >= 0 && layer < m->p->shape.layers && slot >= 0 &&
	       slot < m->p->layer[layer].experts;
}

/*
 * A newborn's width where its event does not tell it: its parent's; for a mean the widest of the
 * layer, which has peers; for a fresh one that of the model.
 */
static int
width_of(const struct param *p, const struct policy_event *v, int n, const int *width, int parent)
{
	int widest = 0;

	if (v->width > 0)
		return v->width;
	if (v->origin == POLICY_FRESH)
		return p->shape.widest;
	for (int e = 0; v->origin == POLICY_MEAN && e < n; e++)
		widest = width[e] > widest ? width[e] : widest;
	return v->origin == POLICY_MEAN ? widest : width[parent];
}

static int
check_birth(struct census_map *m, const struct policy_event *v)
{
	const int n = m->p->layer[v->layer].experts;
	int64_t *id = m->id[v->layer];
	int *width = m->width[v->layer], parent = find(id, n, v->parent), peers = 0, w;

	if (id[v->slot] >= 0)
		return bad(v, " in a slot that is not empty");
	if (v->width == 0 || v->width > 1 << 20)
		return bad(v, " of an impossible width");
	if (v->origin != POLICY_FRESH && v->origin != POLICY_MEAN && parent < 0)
		return bad(v, " of a parent that does not live in the layer");
	/* who wrote the decision cannot have known its id */
	if (v->parent >= m->p->next_id)
		return bad(v, " of a parent born in the same step");
	w = width_of(m->p, v, n, width, parent);
	for (int e = 0; e < n; e++)
		peers += id[e] >= 0 && width[e] == w;
	if (v->origin == POLICY_MEAN && peers == 0)
		return bad(v, " as the mean of peers, but there are none of that width");
	if (v->expert >= 0 && v->expert != m->next)
		return bad(v, " with a number that is not the next");
	if (v->origin == POLICY_TWIN && w != width[parent])
		return bad(v, " of a twin, but not as wide as its parent");
	if (v->origin == POLICY_TWIN && m->twin[v->layer][parent] >= 0)
		return bad(v, " of a twin whose parent has one already");
	if (v->origin == POLICY_TWIN) {
		m->twin[v->layer][parent] = v->slot;
		m->twin[v->layer][v->slot] = parent;
	}
	id[v->slot] = m->next++;
	width[v->slot] = w;
	return 0;
}

static int
check_escape(const struct param *p, const struct policy_event *v)
{
	if (v->layer < 0 || v->layer >= p->shape.layers)
		return bad(v, " of a layer that the model does not have");
	if (!p->layer[v->layer].detour.rows)
		return bad(v, " of a layer that has no other geometry to go to");
	return 0;
}

static int
check_event(struct census_map *m, const struct policy_event *v)
{
	int64_t *id;

	if (v->kind == POLICY_KEEP || v->kind == POLICY_SHIFT)
		return 0;
	if (v->kind == POLICY_ESCAPE)
		return check_escape(m->p, v);
	if (!place(m, v->layer, v->slot))
		return bad(v, " in a place that the model does not have");
	if (shape_keyed(&m->p->shape) && v->kind != POLICY_FREEZE && v->kind != POLICY_THAW)
		return bad(v, " in a key store, whose experts stay");
	id = m->id[v->layer];
	if (v->kind == POLICY_BIRTH)
		return check_birth(m, v);
	if (id[v->slot] < 0)
		return bad(v, " of nobody: the slot is empty");
	if (v->expert >= 0 && v->expert != id[v->slot])
		return bad(v, " of an expert that is not there");
	if (v->kind == POLICY_THAW && m->p->shape.frozen)
		return bad(v, " of one of the model's, which do not learn");
	if (v->kind == POLICY_DEATH) {
		map_clear(m, v->layer, v->slot);
	} else if (v->kind == POLICY_MOVE) {
		if (!place(m, v->to_layer, v->to_slot) || m->id[v->to_layer][v->to_slot] >= 0)
			return bad(v, " to a place that is not an empty slot");
		m->id[v->to_layer][v->to_slot] = id[v->slot];
		m->width[v->to_layer][v->to_slot] = m->width[v->layer][v->slot];
		map_clear(m, v->layer, v->slot);
	} else if (v->kind == POLICY_MERGE) {
		if (v->to_layer != v->layer || !place(m, v->to_layer, v->to_slot) ||
		    v->to_slot == v->slot || id[v->to_slot] < 0)
			return bad(v, " into nobody of the layer");
		if (m->width[v->layer][v->slot] != m->width[v->layer][v->to_slot])
			return bad(v, " into an expert of another width");
		map_clear(m, v->layer, v->slot);
	}
	return 0;
}

/* The last event that takes an expert out of the layer. */
static long
last_exit(const struct policy_events *e, int layer)
{
	long line = 0;

	for (int i = 0; i < e->n; i++) {
		const struct policy_event *v = &e->v[i];
		if (v->layer == layer &&
		    (v->kind == POLICY_DEATH || v->kind == POLICY_MOVE || v->kind == POLICY_MERGE))
			line = v->line;
	}
	return line;
}

static int
check_layer(const struct census_map *m, struct policy_events *e, int layer)
{
	const int least = m->p->shape.top_k, living = map_candidates(m, layer);

	if (living >= least)
		return 0;
	e->line = last_exit(e, layer);
	return err_set("step %ld: layer %d would be left with %d experts (expected at least top-k, "
		       "%d)",
		       e->step, layer, living, least);
}

/* ---- who is nearest ---- */

/* The router's tensor with a row per expert. */
static struct tensor *
route_of(struct layer *l)
{
	return l->route2.rows ? &l->route2 : l->route.rows ? &l->route : NULL;
}

/* |a - b|^2 of two rows of the router; of their directions where the router knows no lengths. */
static double
apart(const struct tensor *t, bool directions, int a, int b)
{
	const float *x = t->w + a * t->cols, *y = t->w + b * t->cols;
	const double u = directions ? sqrt(kern->sumsq(t->cols, x)) : 1;
	const double v = directions ? sqrt(kern->sumsq(t->cols, y)) : 1;
	double sum = 0;

	for (long i = 0; i < t->cols; i++) {
		const double d = (double)x[i] / u - (double)y[i] / v;
		sum += d * d;
	}
	return sum;
}

/* Whether an event of the step takes the expert of this place away. */
static bool
leaves(const struct policy_events *e, int layer, int slot)
{
	for (int i = 0; i < e->n; i++) {
		const struct policy_event *v = &e->v[i];
		if (v->layer == layer && v->slot == slot &&
		    (v->kind == POLICY_DEATH || v->kind == POLICY_MOVE || v->kind == POLICY_MERGE))
			return true;
	}
	return false;
}

static void
find_nearest(struct param *p, const struct policy_events *e, struct policy_event *v)
{
	struct layer *l = &p->layer[v->layer];
	const struct tensor *t = route_of(l);
	double least = INFINITY;

	for (int i = 0; i < l->experts; i++) {
		double d;
		if (!l->expert[i] || i == v->slot || leaves(e, v->layer, i) ||
		    l->expert[i]->hidden != l->expert[v->slot]->hidden)
			continue;
		d = t ? apart(t, p->shape.router == ROUTER_COSINE, v->slot, i) : 0;
		if (v->to_slot >= 0 && !(d < least))
			continue;
		least = d;
		v->to_layer = v->layer;
		v->to_slot = i;
	}
}

/* With whom to merge, where the policy has left that open; an impossible event stays as it is. */
static void
fill_in(struct param *p, struct policy_events *e)
{
	for (int i = 0; i < e->n; i++) {
		struct policy_event *v = &e->v[i];
		if (v->kind == POLICY_MERGE && v->to_layer < 0 && v->to_slot < 0 &&
		    v->layer < p->shape.layers && v->slot < p->layer[v->layer].experts &&
		    p->layer[v->layer].expert[v->slot])
			find_nearest(p, e, v);
	}
}

/* ---- births ---- */

static double
rms(long n, const float *x)
{
	return sqrt(kern->sumsq(n, x) / (double)n);
}

/* x += sigma rms(of) noise */
static void
add_noise(struct rng *r, double sigma, double scale, long n, float *x)
{
	float *noise;

	if (!(sigma > 0))
		return;
	noise = mem_zero((size_t)n, sizeof *noise);
	rng_normals(r, noise, n);
	kern->axpy(n, (float)(sigma * scale), noise, x);
	free(noise);
}

static void
draw(struct rng *r, long n, float *x)
{
	rng_normals(r, x, n);
	kern->scale(n, 0.02f, x, x);
}

/* Rows (of up and gate) that both have are the parent's; further ones are drawn. */
static void
inherit_rows(struct rng *r, const struct tensor *from, struct tensor *to, double sigma)
{
	const long both = from->rows < to->rows ? from->rows : to->rows, c = to->cols;

	if (to->rows == 0)
		return;
	if (from != to)
		memcpy(to->w, from->w, (size_t)(both * c) * sizeof *to->w);
	draw(r, (to->rows - both) * c, to->w + both * c);
	add_noise(r, sigma, rms(from->rows * c, from->w), both * c, to->w);
}

/* Columns (of down) likewise, but further ones are zero: a wider child begins as its parent. */
static void
inherit_cols(struct rng *r, const struct tensor *from, struct tensor *to, double sigma)
{
	const long both = from->cols < to->cols ? from->cols : to->cols;
	const double scale = rms(from->rows * from->cols, from->w);

	for (long i = 0; i < to->rows; i++) {
		if (from != to)
			memcpy(to->w + i * to->cols, from->w + i * from->cols,
			       (size_t)both * sizeof *to->w);
		add_noise(r, sigma, scale, both, to->w + i * to->cols);
	}
}

/* Another expert of x's layer, as wide. */
static bool
is_peer(const struct expert *y, const struct expert *x)
{
	return y && y != x && y->hidden == x->hidden;
}

static int
peers_of(const struct layer *l, const struct expert *x)
{
	int n = 0;

	for (int e = 0; e < l->experts; e++)
		n += is_peer(l->expert[e], x);
	return n;
}

enum { FROM_PEERS = -1 };

/* The mean of the rows, and of the biases, of the experts as wide as the one in this slot. */
static void
route_of_peers(const struct layer *l, const struct tensor *t, int to, float *row)
{
	const struct expert *x = l->expert[to];
	const float share = 1 / (float)peers_of(l, x);

	if (l->bias)
		l->bias[to] = 0;
	if (row)
		memset(row, 0, (size_t)t->cols * sizeof *row);
	for (int e = 0; e < l->experts; e++) {
		if (!is_peer(l->expert[e], x))
			continue;
		if (l->bias)
			l->bias[to] += share * l->bias[e];
		if (row)
			kern->axpy(t->cols, share, t->w + e * t->cols, row);
	}
}

static void
forget_moments(struct tensor *t, int to)
{
	if (t->m) {
		memset(t->m + to * t->cols, 0, (size_t)t->cols * sizeof *t->m);
		memset(t->v + to * t->cols, 0, (size_t)t->cols * sizeof *t->v);
	}
}

static void
inherit_route(struct rng *r, struct layer *l, int from, int to, double sigma)
{
	struct tensor *t = route_of(l);
	float *row = t ? t->w + to * t->cols : NULL;

	if (from == FROM_PEERS)
		route_of_peers(l, t, to, row);
	else if (l->bias)
		l->bias[to] = l->bias[from];
	if (!t)
		return;
	if (from != FROM_PEERS)
		memcpy(row, t->w + from * t->cols, (size_t)t->cols * sizeof *row);
	add_noise(r, sigma, rms(t->cols, row), t->cols, row);
	forget_moments(t, to);
}

static void
draw_route(struct rng *r, struct layer *l, int to)
{
	struct tensor *t = route_of(l);

	if (l->bias)
		l->bias[to] = 0;
	if (!t)
		return;
	draw(r, t->cols, t->w + to * t->cols);
	forget_moments(t, to);
}

/* x = the mean of its peers. */
static void
mean_of_peers(const struct layer *l, struct expert *x)
{
	const float share = 1 / (float)peers_of(l, x);

	for (int e = 0; e < l->experts; e++) {
		const struct expert *y = l->expert[e];
		if (!is_peer(y, x))
			continue;
		kern->axpy(x->up.rows * x->up.cols, share, y->up.w, x->up.w);
		kern->axpy(x->down.rows * x->down.cols, share, y->down.w, x->down.w);
		if (x->gate.rows)
			kern->axpy(x->gate.rows * x->gate.cols, share, y->gate.w, x->gate.w);
	}
}

/* Of gradients half as large: both get m / 2 and v / 4 of n moments of the elder's. */
static void
share_moments(long n, float *m, float *v, float *to_m, float *to_v)
{
	if (!m)
		return;
	kern->scale(n, 0.5f, m, m);
	kern->scale(n, 0.25f, v, v);
	memcpy(to_m, m, (size_t)n * sizeof *m);
	memcpy(to_v, v, (size_t)n * sizeof *v);
}

static void
share_tensor(struct tensor *a, struct tensor *b)
{
	share_moments(a->rows * a->cols, a->m, a->v, b->m, b->v);
}

/* Half the vitality x / (1 + x) each. */
static void
start_anew(struct expert *x)
{
	x->energy /= 2 + x->energy;
	x->over = x->starved = 0;
}

static void
make_twins(struct layer *l, int elder, int younger)
{
	struct expert *a = l->expert[elder], *b = l->expert[younger];
	struct tensor *t = route_of(l);
	const long c = t ? t->cols : 0;

	share_tensor(&a->up, &b->up);
	share_tensor(&a->down, &b->down);
	if (a->gate.rows)
		share_tensor(&a->gate, &b->gate);
	if (t && t->m)
		share_moments(c, t->m + elder * c, t->v + elder * c, t->m + younger * c,
			      t->v + younger * c);
	start_anew(a);
	b->energy = a->energy;
	a->twin = younger;
	b->twin = elder;
}

void
pool_part(struct param *p, double cosine)
{
	for (int i = 0; i < p->shape.layers; i++) {
		struct layer *l = &p->layer[i];
		const struct tensor *t = route_of(l);
		for (int e = 0; t && e < l->experts; e++) {
			const int twin = l->expert[e] ? l->expert[e]->twin : -1;
			const float *a = t->w + e * t->cols, *b = t->w + twin * t->cols;
			if (twin < e) /* none, or seen from its twin */
				continue;
			const float aa = kern->dot(t->cols, a, a), bb = kern->dot(t->cols, b, b);
			if ((double)kern->dot(t->cols, a, b) <
			    cosine * sqrt((double)aa * (double)bb))
				param_part(l, e);
		}
	}
}

static void
birth(struct param *p, struct policy_event *v, uint64_t seed)
{
	struct layer *l = &p->layer[v->layer];
	struct rng r = rng_at(seed, RNG_MUTATE, (uint64_t)v->step,
			      (uint64_t)v->layer << 32 | (uint64_t)v->slot);
	const double sigma = v->sigma > 0 ? v->sigma : 0;
	struct expert *parent = NULL, *x;
	int from = -1;

	for (int e = 0; e < l->experts; e++)
		if (v->parent >= 0 && l->expert[e] && l->expert[e]->id == v->parent)
			parent = l->expert[from = e];
	x = param_birth(p, v->layer, v->slot,
			width_of(p, v, l->experts, p->shape.hidden[v->layer], from));
	x->parent = v->parent;
	x->born = v->step;
	v->expert = x->id;
	v->width = x->hidden;
	if (v->origin == POLICY_FRESH) {
		draw(&r, x->gate.rows * x->gate.cols, x->gate.w);
		draw(&r, x->up.rows * x->up.cols, x->up.w);
		draw(&r, x->down.rows * x->down.cols, x->down.w);
		draw_route(&r, l, v->slot);
	} else {
		if (v->origin == POLICY_MEAN) {
			mean_of_peers(l, x);
			parent = x;
			from = FROM_PEERS;
		}
		inherit_rows(&r, &parent->gate, &x->gate, sigma);
		inherit_rows(&r, &parent->up, &x->up, sigma);
		inherit_cols(&r, &parent->down, &x->down, sigma);
		inherit_route(&r, l, from, v->slot, sigma);
	}
	if (v->origin == POLICY_TWIN)
		make_twins(l, from, v->slot);
}

/* ---- the others ---- */

static void
move(struct param *p, const struct policy_event *v)
{
	struct layer *a = &p->layer[v->layer], *b = &p->layer[v->to_layer];
	struct tensor *from = route_of(a), *to = route_of(b);
	const size_t n = from ? (size_t)from->cols : 0, i = (size_t)v->slot * n;
	const size_t j = (size_t)v->to_slot * n;

	param_move(p, v->layer, v->slot, v->to_layer, v->to_slot);
	if (from) {
		memcpy(to->w + j, from->w + i, n * sizeof *to->w);
		for (int k = 0; k < 2 && to->m; k++)
			memcpy(k ? to->v + j : to->m + j, k ? from->v + i : from->m + i,
			       n * sizeof *to->m);
	}
	if (a->bias && b->bias)
		b->bias[v->to_slot] = a->bias[v->slot];
}

static void
half(const struct tensor *from, struct tensor *to)
{
	const long n = to->rows * to->cols;

	kern->scale(n, 0.5f, to->w, to->w);
	kern->axpy(n, 0.5f, from->w, to->w);
}

static void
merge(struct param *p, const struct policy_event *v)
{
	struct expert *a = p->layer[v->layer].expert[v->slot];
	struct expert *b = p->layer[v->layer].expert[v->to_slot];

	if (a->gate.rows)
		half(&a->gate, &b->gate);
	half(&a->up, &b->up);
	half(&a->down, &b->down);
	param_death(p, v->layer, v->slot);
}

static void
carry_out(struct param *p, struct policy_event *v, uint64_t seed)
{
	switch (v->kind) {
	case POLICY_DEATH:
		v->expert = p->layer[v->layer].expert[v->slot]->id;
		param_death(p, v->layer, v->slot);
		break;
	case POLICY_BIRTH: birth(p, v, seed); break;
	case POLICY_MOVE: move(p, v); break;
	case POLICY_MERGE: merge(p, v); break;
	case POLICY_FREEZE:
	case POLICY_THAW:
		p->layer[v->layer].expert[v->slot]->frozen = v->kind == POLICY_FREEZE;
		break;
	case POLICY_KEEP:
	case POLICY_ESCAPE:
	case POLICY_SHIFT: break;
	}
}

int
pool_check(struct param *p, struct policy_events *e)
{
	struct census_map m;
	int status = 0;

	fill_in(p, e);
	e->line = 0;
	map_open(&m, p);
	for (int i = 0; i < e->n && status == 0; i++) {
		status = check_event(&m, &e->v[i]);
		if (status != 0)
			e->line = e->v[i].line;
	}
	for (int l = 0; l < p->shape.layers && status == 0; l++)
		status = check_layer(&m, e, l);
	map_close(&m);
	return status;
}

int
pool_apply(struct param *p, struct policy_events *e, uint64_t seed)
{
	if (pool_check(p, e) != 0)
		return -1;
	for (int i = 0; i < e->n; i++)
		carry_out(p, &e->v[i], seed);
	return 0;
}
