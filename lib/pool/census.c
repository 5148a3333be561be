#include "pool/census.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include "io/table.h"
#include "policy/ecology.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char census_layer_columns[] = "step,layer,balance,z,entropy,maxvio,usage_q25,usage_median,"
				    "usage_q75,dead,gini,coactivation,phi_diversity,"
				    "phi_product,phi_distance,phi_integration";

struct census *
census_new(const struct shape *s)
{
	struct census *c = mem_zero(1, sizeof *c);

	c->layers = s->layers;
	c->layer = mem_zero((size_t)s->layers, sizeof *c->layer);
	for (int i = 0; i < s->layers; i++) {
		struct census_layer *l = &c->layer[i];
		const size_t e = (size_t)s->experts[i];
		l->experts = s->experts[i];
		l->sum = mem_zero(e, sizeof *l->sum);
		if (e <= CENSUS_PAIRS)
			l->pair = mem_zero(e * e, sizeof *l->pair);
	}
	return c;
}

void
census_free(struct census *c)
{
	if (!c)
		return;
	for (int i = 0; i < c->layers; i++) {
		free(c->layer[i].sum);
		free(c->layer[i].pair);
	}
	free(c->layer);
	free(c);
}

void
census_clear(struct census *c)
{
	for (int i = 0; i < c->layers; i++) {
		struct census_layer *l = &c->layer[i];
		const size_t e = (size_t)l->experts;
		memset(l->sum, 0, e * sizeof *l->sum);
		if (l->pair)
			memset(l->pair, 0, e * e * sizeof *l->pair);
		l->tokens = l->batches = l->steps = 0;
		l->balance = l->z = l->entropy = 0;
	}
}

void
census_add(struct census *c, int layer, const struct plan *p, const struct route_stat *stat,
	   const float *loss, const unsigned char *hit)
{
	struct census_layer *l = &c->layer[layer];

	for (long t = 0; t < p->tokens; t++) {
		const int *e = p->choice + t * p->k;
		for (int i = 0; i < p->k; i++) {
			l->sum[e[i]].tokens++;
			l->sum[e[i]].loss += (double)loss[t];
			for (int j = 0; l->pair && j < i; j++) {
				int a = e[i] < e[j] ? e[i] : e[j], b = e[i] < e[j] ? e[j] : e[i];
				l->pair[a * l->experts + b]++;
			}
		}
		l->sum[e[0]].first++;
		l->sum[e[0]].clear += p->margin[t] > 0.1f;
		l->sum[e[0]].hits += hit[t];
	}
	l->tokens += p->tokens;
	l->batches++;
	l->balance += stat->balance;
	l->z += stat->z;
	l->entropy += stat->entropy;
}

void
census_gradients(struct census *c, const struct param *p)
{
	for (int i = 0; i < c->layers; i++) {
		c->layer[i].steps++;
		for (int e = 0; e < c->layer[i].experts; e++)
			if (p->layer[i].expert[e])
				c->layer[i].sum[e].gradient += sqrt(p->layer[i].expert[e]->norm2);
	}
}

static double
share(double part, double whole)
{
	return whole > 0 ? num_single(part / whole) : 0;
}

static double
weights(const struct expert *x)
{
	return (double)((x->gate.rows + x->up.rows + x->down.cols) * x->up.cols);
}

/* A layer's tokens times the experts that each used. */
static double
routed(const struct census_layer *l)
{
	int64_t n = 0;

	for (int i = 0; i < l->experts; i++)
		n += l->sum[i].tokens;
	return (double)n;
}

static struct policy_row
row_of(const struct census_layer *l, const struct expert *x, const struct expert *twin, double all,
       long step, int layer, int slot)
{
	const struct census_sum *s = &l->sum[slot];

	return (struct policy_row){
		.step = step,
		.layer = layer,
		.slot = slot,
		.expert = x->id,
		.parent = x->parent,
		.born = x->born,
		.tokens = s->tokens,
		.demand = share((double)s->tokens, all),
		.quality = share((double)s->tokens, s->loss),
		.exclusivity = share((double)s->clear, (double)l->tokens),
		.flops = num_single(2 * weights(x) * (double)s->tokens),
		.fitness = NAN,
		.effective = NAN,
		.vitality = NAN,
		.usage = share((double)s->first, (double)l->tokens),
		.accuracy = share((double)s->hits, (double)s->first),
		.below = x->below,
		.width = x->hidden,
		.gradient = l->steps ? share(s->gradient, (double)l->steps) : NAN,
		.energy = (double)x->energy,
		.over = x->over,
		.starved = x->starved,
		.twin = twin ? twin->id : -1,
		.load_factor = NAN,
		.gradient_factor = NAN,
		.phi = NAN,
		.plateau = -1,
		.escape = -1,
	};
}

void
census_rows(const struct census *c, const struct param *p, long step, struct policy_step *out)
{
	policy_step_clear(out);
	for (int i = 0; i < c->layers; i++) {
		const struct census_layer *l = &c->layer[i];
		const double all = routed(l);
		for (int e = 0; e < l->experts; e++)
			if (p->layer[i].expert[e]) {
				const struct expert *x = p->layer[i].expert[e];
				const struct expert *twin =
					x->twin < 0 ? NULL : p->layer[i].expert[x->twin];
				struct policy_row r = row_of(l, x, twin, all, step, i, e);
				policy_step_add(out, &r);
			}
	}
}

int
census_write_experts(const struct policy_step *s, struct row *w)
{
	for (int i = 0; i < s->n; i++)
		if (policy_row_write(w, &s->row[i], s->n - 1 - i) != 0)
			return -1;
	return 0;
}

static void
write_phi(struct row *r, struct phi phi)
{
	const double v[] = {phi.diversity, phi.product, phi.distance, phi.integration};

	for (int i = 0; i < 4; i++)
		if (phi.pairs > 0)
			row_real(r, num_single(v[i]));
		else
			row_skip(r);
}

static int
write_layer(struct row *r, const struct census_layer *l, const struct layer *who, struct phi phi,
	    long step, int layer, double *load)
{
	const int slots = l->experts;
	const double batches = (double)l->batches;
	struct ecology_load spread;
	double pair = 0;
	int n = 0;

	for (int i = 0; i < slots; i++)
		if (who->expert[i])
			load[n++] = (double)l->sum[i].tokens;
	spread = ecology_load(n, load);
	for (int i = 0; l->pair && i < slots * slots; i++)
		pair = (double)l->pair[i] > pair ? (double)l->pair[i] : pair;
	row_long(r, step);
	row_long(r, layer);
	row_real(r, share(l->balance, batches));
	row_real(r, share(l->z, batches));
	row_real(r, share(l->entropy, batches * (n > 1 ? log(n) : 1)));
	row_real(r, num_single(spread.maxvio));
	row_real(r, num_single(spread.q25));
	row_real(r, num_single(spread.median));
	row_real(r, num_single(spread.q75));
	row_real(r, num_single(spread.dead));
	row_real(r, num_single(spread.gini));
	if (l->pair)
		row_real(r, share(pair, (double)l->tokens));
	else
		row_skip(r);
	write_phi(r, phi);
	return row_end(r);
}

int
census_write_layers(const struct census *c, const struct param *p, const struct phi *phi, long step,
		    struct file *f)
{
	struct row r = {.f = f};
	int bad = 0;

	for (int i = 0; i < c->layers && !bad; i++) {
		double *load = mem_zero((size_t)c->layer[i].experts, sizeof *load);
		bad = write_layer(&r, &c->layer[i], &p->layer[i], phi[i], step, i, load);
		free(load);
	}
	return bad;
}

static void
tensor_name(char name[64], int layer, const char *what)
{
	snprintf(name, 64, "census.%d.%s", layer, what);
}

/* A layer's scalars stand in one struct from `tokens` on, all of eight bytes. */
enum { SCALARS = 6, SUMS = sizeof(struct census_sum) / 8 };
_Static_assert(sizeof(struct census_layer) - offsetof(struct census_layer, tokens) == SCALARS * 8,
	       "census_layer's scalars are six words");

void
census_put(const struct census *c, struct ckpt_out *o)
{
	char name[64];

	for (int i = 0; i < c->layers; i++) {
		const struct census_layer *l = &c->layer[i];
		const uint64_t e = (uint64_t)l->experts;
		tensor_name(name, i, "sums");
		ckpt_out_raw(o, name, l->sum, CKPT_I64, 2, (uint64_t[]){e, SUMS});
		tensor_name(name, i, "layer");
		ckpt_out_raw(o, name, &l->tokens, CKPT_I64, 1, (uint64_t[]){SCALARS});
		tensor_name(name, i, "pairs");
		if (l->pair)
			ckpt_out_raw(o, name, l->pair, CKPT_I64, 2, (uint64_t[]){e, e});
	}
}

/* Words in rows of cols; rows 0: a vector. */
static int
get(const struct ckpt *k, int layer, const char *what, void *to, uint64_t rows, uint64_t cols)
{
	const uint64_t shape[2] = {rows, cols};
	const int dims = rows == 0 ? 1 : 2;
	const struct ckpt_tensor *t;
	char name[64];

	tensor_name(name, layer, what);
	t = ckpt_find(k, name);
	if (!t)
		return err_set("%s: tensor %s is missing", k->name, name);
	if (t->type != CKPT_I64 || t->dims != dims ||
	    memcmp(t->shape, shape + 2 - dims, (size_t)dims * sizeof *shape) != 0)
		return err_set("%s: tensor %s is misshapen (expected %llu words)", k->name, name,
			       (unsigned long long)(dims == 1 ? cols : rows * cols));
	memcpy(to, k->data + t->offset, t->bytes);
	return 0;
}

static int
get_layer(struct census_layer *l, const struct ckpt *k, int layer)
{
	const uint64_t e = (uint64_t)l->experts;
	double sum = 0;

	if (get(k, layer, "sums", l->sum, e, SUMS) != 0 ||
	    get(k, layer, "layer", &l->tokens, 0, SCALARS) != 0 ||
	    (l->pair && get(k, layer, "pairs", l->pair, e, e) != 0))
		return -1;
	for (uint64_t i = 0; i < e; i++)
		sum += l->sum[i].loss;
	if (!isfinite(sum + l->balance + l->z + l->entropy))
		return err_set("%s: the census of layer %d holds a value that is not finite",
			       k->name, layer);
	return 0;
}

int
census_get(struct census *c, const struct ckpt *k)
{
	for (int i = 0; i < c->layers; i++)
		if (get_layer(&c->layer[i], k, i) != 0)
			return -1;
	return 0;
}

bool
census_owns(const char *name, int layers)
{
	static const char *const part[] = {"sums", "layer", "pairs"};
	char own[64];
	int layer;

	if (sscanf(name, "census.%9d.", &layer) != 1 || layer < 0 || layer >= layers)
		return false;
	for (int i = 0; i < 3; i++) {
		tensor_name(own, layer, part[i]);
		if (strcmp(name, own) == 0)
			return true;
	}
	return false;
}
