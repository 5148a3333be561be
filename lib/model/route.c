#include "model/route.h"
#include "base/rng.h"
#include "base/task.h"
#include <math.h>
#include <string.h>

void
plan_take(struct plan *p, struct arena *a, const struct shape *s, int experts, long tokens)
{
	const size_t n = (size_t)tokens, e = (size_t)experts, k = (size_t)s->top_k;
	const bool keyed = shape_keyed(s), mlp = !s->dense && s->router == ROUTER_MLP;
	const size_t r = keyed || mlp ? (size_t)s->router_hidden : 0;
	const size_t all = keyed ? 0 : e;

	p->experts = experts;
	p->k = (int)k;
	p->z = arena_take(a, n * all, sizeof *p->z);
	p->p = arena_take(a, n * all, sizeof *p->p);
	p->lse = arena_take(a, n, sizeof *p->lse);
	p->entropy = arena_take(a, n, sizeof *p->entropy);
	p->choice = arena_take(a, n * k, sizeof *p->choice);
	p->gate = arena_take(a, n * k, sizeof *p->gate);
	p->row = arena_take(a, n * k, sizeof *p->row);
	p->token = arena_take(a, n * k, sizeof *p->token);
	p->row_gate = arena_take(a, n * k, sizeof *p->row_gate);
	p->count = arena_take(a, e, sizeof *p->count);
	p->start = arena_take(a, e + 1, sizeof *p->start);
	p->importance = arena_take(a, e, sizeof *p->importance);
	p->carried = arena_take(a, e, sizeof *p->carried);
	p->margin = arena_take(a, n, sizeof *p->margin);
	p->ik = arena_take(a, all, sizeof *p->ik);
	p->keys = arena_take(a, keyed ? 0 : (size_t)kern_packed(experts, s->dim), sizeof *p->keys);
	p->shut = arena_take(a, 2 * all, sizeof *p->shut);
	p->score = arena_take(a, n * k, sizeof *p->score);
	p->dz = arena_take(a, n * k, sizeof *p->dz);
	p->along = arena_take(a, n * k, sizeof *p->along);
	p->mass = arena_take(a, (n + ROUTE_ROWS - 1) / ROUTE_ROWS * e, sizeof *p->mass);
	p->target = arena_take(a, (n / ROUTE_PROBE + 1) * all, sizeof *p->target);
	p->hidden = arena_take(a, n * r, sizeof *p->hidden);
	p->active = arena_take(a, n * r, sizeof *p->active);
	p->query = arena_take(a, keyed ? n * (size_t)s->dim : 0, sizeof *p->query);
	p->length = arena_take(a, n, sizeof *p->length);
}

void
route_inverse_norms(long rows, long cols, const float *x, float *out)
{
	for (long i = 0; i < rows; i++)
		out[i] = 1 / sqrtf(kern->dot(cols, x + i * cols, x + i * cols) + 1e-12f);
}

void
route_scale_rows(long rows, long cols, const float *by, const float *x, float *out)
{
	for (long i = 0; i < rows; i++)
		kern->scale(cols, by[i], x + i * cols, out + i * cols);
}

/* The finaliser of MurmurHash3. */
uint64_t
route_hash(int32_t token, long place)
{
	uint64_t h = (uint64_t)token << 32 ^ (uint64_t)place;

	h = (h ^ h >> 33) * 0xff51afd7ed558ccd;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53;
	return h ^ h >> 33;
}

bool
route_waits(const struct layer *l, int slot, uint64_t hash)
{
	const struct expert *x = l->expert[slot], *y = x->twin < 0 ? NULL : l->expert[x->twin];

	/* a bit of the pair: its younger's number */
	return y && (hash >> (x->id > y->id ? x->id : y->id) % 64 & 1) == (x->id > y->id);
}

void
route_disturb(const struct plan *p, long t, float by, float *z)
{
	const struct route_noise *n = &p->noise;
	struct rng r = rng_at(n->seed, RNG_ROUTE, (uint64_t)n->step,
			      1ULL << 63 | (uint64_t)n->layer << 40 | (uint64_t)(p->first + t));
	float noise[p->experts];

	rng_normals(&r, noise, p->experts);
	kern->axpy(p->experts, by * n->size, noise, z);
}

/* Of twins one is hidden from each token. */
static void
hide_twins(const struct layer *l, struct plan *p, long from, long to)
{
	const int e = p->experts;
	int twin[e], n = 0;

	for (int i = 0; i < e; i++)
		if (l->expert[i] && l->expert[i]->twin >= 0)
			twin[n++] = i;
	for (long t = from; n > 0 && t < to; t++) {
		const uint64_t h = route_hash(p->in[t], (p->first + t) % p->seq);
		for (int i = 0; i < n; i++)
			if (route_waits(l, twin[i], h))
				p->z[t * e + twin[i]] = ROUTE_EMPTY;
	}
}

static void
scores(const struct shape *s, const struct layer *l, struct plan *p, long from, long to,
       const float *x, int worker)
{
	const long rows = to - from, c = s->dim, e = p->experts, r = s->router_hidden;
	const bool cosine = !s->dense && s->router == ROUTER_COSINE;
	const float *w = l->route.w;
	float *z = p->z + from * e;

	x += from * c;
	if (cosine) {
		const size_t n = (size_t)(e + rows);
		float *unit = task_scratch(worker, n * (size_t)(c + 1) * sizeof *unit);
		float *inverse = unit + (e + rows) * c;
		route_inverse_norms(e, c, w, inverse);
		route_inverse_norms(rows, c, x, inverse + e);
		route_scale_rows(e, c, inverse, w, unit);
		route_scale_rows(rows, c, inverse + e, x, unit + e * c);
		w = unit;
		x = unit + e * c;
	}
	if (s->dense || s->router == ROUTER_RANDOM) {
		memset(z, 0, (size_t)(rows * e) * sizeof *z);
	} else if (s->router == ROUTER_MLP) {
		float *h = p->hidden + from * r, *a = p->active + from * r;
		kern->nt(rows, r, c, x, c, l->route.w, c, h, r, false);
		kern->act(ACT_GELU, rows * r, NULL, h, a);
		kern->nt(rows, e, r, a, r, l->route2.w, r, z, e, false);
	} else {
		kern->nt(rows, e, c, x, c, w, c, z, e, false);
	}
	for (long i = 0; i < e && p->living < e; i++)
		for (long t = 0; !l->expert[i] && t < rows; t++)
			z[t * e + i] = ROUTE_EMPTY;
	hide_twins(l, p, from, to);
}

/* k distinct experts, drawn for this token. */
static void
draw(const int *live, int n, int k, uint64_t seed, long step, int layer, long token, int *out)
{
	struct rng r =
		rng_at(seed, RNG_ROUTE, (uint64_t)step, (uint64_t)layer << 40 | (uint64_t)token);

	for (int i = 0; i < k; i++) {
		int e = (int)rng_below(&r, (uint64_t)(n - i)), j;
		for (j = 0; j < i && out[j] <= e; j++) /* out[0, i) is kept sorted while drawing */
			e++;
		memmove(out + j + 1, out + j, (size_t)(i - j) * sizeof *out);
		out[j] = e;
	}
	for (int i = 0; i < k; i++)
		out[i] = live[out[i]];
}

static float
margin(const struct plan *p, const float *q, const int *choice)
{
	float next = 0;

	if (p->k > 1)
		return q[choice[0]] - q[choice[1]];
	for (int i = 0; i < p->experts; i++)
		next = i != choice[0] && q[i] > next ? q[i] : next;
	return q[choice[0]] - next;
}

void
route_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
	   uint64_t seed, long step, int layer, bool random, long from, long to, const float *x,
	   int worker)
{
	const int e = p->experts, k = p->k;
	const float scale = 1 / temperature;
	float biased[l->bias ? e : 1];
	int live[e], n = 0; /* slots by rank among the living */

	for (int i = 0; i < e; i++)
		if (l->expert[i])
			live[n++] = i;
	scores(s, l, p, from, to, x, worker);
	for (long t = from; p->noise.size > 0 && t < to; t++)
		route_disturb(p, t, 1, p->z + t * e);
	random = random || (!s->dense && s->router == ROUTER_RANDOM);
	for (long t = from; t < to; t++) {
		const float *z = p->z + t * e;
		float *q = p->p + t * e, *gate = p->gate + t * k;
		int *c = p->choice + t * k;

		kern->scale(e, scale, z, q);
		if (random) {
			draw(live, n, k, seed, step, layer, p->first + t, c);
		} else if (l->bias) {
			memcpy(biased, q, (size_t)e * sizeof *q);
			kern->axpy(e, 1, l->bias, biased);
			kern->largest(e, k, 1, biased, c);
		} else {
			kern->largest(e, k, 1, q, c);
		}
		p->lse[t] = kern->softmax(e, q);
		p->entropy[t] = p->lse[t] - scale * kern->dot(e, q, z);
		/* from the scores: a biased choice may hold experts whose p are all 0 */
		for (int j = 0; j < k; j++)
			gate[j] = random ? 0 : z[c[j]] * scale;
		kern->softmax(k, gate);
		p->margin[t] = margin(p, q, c);
	}
}

void
route_sort(struct plan *p)
{
	const int e = p->experts, k = p->k;
	long *next = p->count;

	memset(p->count, 0, (size_t)e * sizeof *p->count);
	for (long i = 0; i < p->tokens * k; i++)
		p->count[p->choice[i]]++;
	p->start[0] = 0;
	for (int i = 0; i < e; i++) {
		p->start[i + 1] = p->start[i] + p->count[i];
		next[i] = p->start[i];
	}
	for (long i = 0; i < p->tokens * k; i++) {
		long r = next[p->choice[i]]++;
		p->row[i] = r;
		p->token[r] = (int)(i / k);
		p->row_gate[r] = p->gate[i];
	}
	for (int i = 0; i < e; i++)
		p->count[i] = p->start[i + 1] - p->start[i];
	p->even = false;
	p->probes = 0;
	p->oracle = p->divergence = 0;
}

void
route_even(struct plan *p)
{
	const int e = p->experts, k = p->k;

	memset(p->importance, 0, (size_t)e * sizeof *p->importance);
	memset(p->carried, 0, (size_t)e * sizeof *p->carried);
	for (long t = 0; t < p->tokens; t++) {
		for (int i = 0; i < e; i++)
			p->importance[i] += (double)p->p[t * e + i];
		for (int j = 0; j < k; j++)
			p->carried[p->choice[t * k + j]] += (double)p->gate[t * k + j];
	}
	for (int i = 0; i < e; i++) {
		p->importance[i] /= (double)p->tokens;
		p->carried[i] /= (double)p->tokens;
	}
	p->even = true;
}

/* An empty slot has no importance and carries nothing: it counts in neither sum. */
static void
evenness(const struct plan *p, struct route_stat *out)
{
	const double even = 1.0 / p->living;

	for (int i = 0; i < p->experts; i++) {
		const double P = p->importance[i], d = p->carried[i] - even;
		out->kl += P > 0 ? P * log(P * p->living) : 0;
		out->variance += d * d / p->living;
	}
	out->variance -= (p->experts - p->living) * even * even / p->living;
}

void
route_oracle(struct plan *p, float temperature, double tau)
{
	const int e = p->experts;

	p->oracle = 0;
	for (long i = 0; i < p->probes; i++) {
		const long t = p->probe + i * ROUTE_PROBE;
		const float *z = p->z + t * e;
		float *q = p->target + i * e;
		for (int j = 0; j < e; j++)
			q[j] = z[j] > ROUTE_EMPTY ? (float)(-(double)q[j] / tau) : ROUTE_EMPTY;
		kern->softmax(e, q);
		for (int j = 0; j < e; j++)
			if (q[j] > 0)
				p->oracle += (double)q[j] *
					     (log((double)q[j]) - (double)(z[j] / temperature) +
					      (double)p->lse[t]);
	}
	p->oracle /= (double)(p->probes ? p->probes : 1);
}

double
route_ortho(const struct shape *s, const struct layer *l)
{
	const struct tensor *w = s->router == ROUTER_MLP ? &l->route2 : &l->route;
	const long c = w->cols, e = w->rows;
	double sum = 0, pairs = 0;

	for (long i = 0; i < e; i++)
		for (long j = 0; j < i; j++) {
			const float *a = w->w + i * c, *b = w->w + j * c;
			double cosine;
			if (!l->expert[i] || !l->expert[j])
				continue;
			cosine = (double)kern->dot(c, a, b) /
				 sqrt((double)kern->dot(c, a, a) * (double)kern->dot(c, b, b) +
				      1e-30);
			sum += cosine * cosine;
			pairs++;
		}
	return pairs > 0 ? sum / pairs : 0;
}

/* What makes a layer's entropy a share of the largest there can be. */
static double
per_nat(int living)
{
	return living > 1 ? 1 / log(living) : 0;
}

struct route_cost
route_cost(const struct route_loss *w, const struct route_stat *s, int living)
{
	const double nats = w->normalised ? per_nat(living) : 1;
	const double squares = w->normalised ? (double)living * living : 1;

	return (struct route_cost){
		.balance = w->balance * s->balance,
		.z = w->z * s->z,
		.entropy = -w->entropy * nats * s->entropy,
		.even = w->even * (nats * s->kl + squares * s->variance),
		.ortho = w->ortho * s->ortho,
		.oracle = w->oracle * nats * s->oracle,
		.divergence = w->divergence * s->divergence,
	};
}

void
route_stat(const struct plan *p, struct route_stat *out)
{
	const int e = p->experts;
	const double n = (double)p->tokens;
	double z = 0, entropy = 0, balance = 0;
	float share[e]; /* sum over tokens of <count, p> is what balance needs, not each mean */

	for (int i = 0; i < e; i++)
		share[i] = (float)p->count[i] / (float)(p->tokens * p->k);
	for (long i = 0; p->lean && i < p->tokens; i += ROUTE_ROWS)
		balance += (double)kern->dot(e, share, p->mass + i / ROUTE_ROWS * e);
	for (long t = 0; t < p->tokens; t++) {
		balance += p->lean ? 0 : (double)kern->dot(e, share, p->p + t * e);
		z += (double)p->lse[t] * (double)p->lse[t];
		entropy += (double)p->entropy[t];
	}
	*out = (struct route_stat){
		.balance = balance * p->living / n,
		.z = z / n,
		.entropy = entropy / n,
		.oracle = p->oracle,
		.divergence = p->divergence,
	};
	if (p->even)
		evenness(p, out);
}

/* Of a layer, the same for all of its rows. */
struct slope {
	float *push; /* [E] d of N times the terms that are linear in a row's p: balance, even */
	float *pull; /* [E] d of the loads' variance by a row's weight of each expert */
	float z, entropy; /* weights of those terms */
	float oracle;	  /* alike, for one probed token */
	bool pushes, pulls;
};

/*
 * balance  E f_e,   even  log(P_e E),   and  2 (c_e - 1/E) / (E N)  for the weights; see route.h.
 * A constant more in push changes nothing: p sums to 1.
 */
static struct slope
slopes(const struct plan *p, const struct route_loss *loss, float scale, float *push, float *pull)
{
	const double living = p->living, even = loss->even;
	const double nats = loss->normalised ? per_nat(p->living) : 1;
	const double squares = loss->normalised ? living * living : 1;
	struct slope s = {.push = push,
			  .pull = pull,
			  .z = (float)loss->z,
			  .entropy = (float)(loss->entropy * nats),
			  .oracle = (float)(loss->oracle * nats * (double)scale /
					    (double)(p->probes ? p->probes : 1)),
			  .pushes = loss->balance != 0 || p->even,
			  .pulls = p->even};

	for (int i = 0; i < p->experts; i++) {
		push[i] = (float)(loss->balance * living * (double)p->count[i] /
				  (double)(p->tokens * p->k));
		if (!p->even)
			continue;
		push[i] += (float)(even * nats * log(fmax(p->importance[i] * living, 1e-30)));
		pull[i] = (float)(even * squares * (double)scale * 2 *
				  (p->carried[i] - 1 / living) / (living * (double)p->tokens));
	}
	return s;
}

/*
 * dz of one row, in place of z.  With u = z / T and p = softmax(u):
 *   gates      du_j = g_j (dg_j - sum_k g_k dg_k)             for the chosen, dg with its pull
 *   push h     du   = p (h - <p, h>) / N
 *   z-loss     du   = 2 c lse p / N
 *   entropy    du   = a p (log p + H) / N                     for the loss -a H
 *   oracle     du   = o (p - q) / probes                      for a probed token
 */
static void
back_row(struct plan *p, float temperature, float scale, const struct slope *s, bool random, long t,
	 const float *dgate)
{
	const int e = p->experts, k = p->k, *choice = p->choice + t * k;
	const float n = (float)p->tokens, lse = p->lse[t], inv = 1 / temperature;
	const float *q = p->p + t * e, *gate = p->gate + t * k;
	float *z = p->z + t * e, mean = 0, dot = 0, dg[k];

	if (s->pushes)
		for (int i = 0; i < e; i++)
			mean += q[i] * s->push[i];
	for (int i = 0; i < e; i++) {
		float d = 0;
		if (s->pushes)
			d += s->push[i] - mean;
		if (s->z != 0)
			d += 2 * s->z * lse;
		if (s->entropy != 0)
			d += s->entropy * (z[i] * inv - lse + p->entropy[t]);
		z[i] = d * q[i] * (scale / n) * inv;
	}
	if (p->probes > 0 && t % ROUTE_PROBE == p->probe)
		for (int i = 0; i < e; i++)
			z[i] += s->oracle * (q[i] - p->target[t / ROUTE_PROBE * e + i]) * inv;
	if (random)
		return;
	for (int j = 0; j < k; j++) {
		dg[j] = dgate[j] + (s->pulls ? s->pull[choice[j]] : 0);
		dot += gate[j] * dg[j];
	}
	for (int j = 0; j < k; j++)
		z[choice[j]] += gate[j] * (dg[j] - dot) * inv;
}

/* Cosine: z = x.k / (|x| |k|), so dx = sum_e dz_e (k / (|x| |k|) - z x / |x|^2), and k alike. */
static void
cosine_back(const struct shape *s, struct plan *p, const float *zrow, long t, const float *x,
	    const float *ik, float *dx)
{
	const int e = p->experts;
	const long c = s->dim;
	float *dz = p->z + t * e, *along = p->p + t * e, ix, sum = 0;

	route_inverse_norms(1, c, x, &ix);
	for (int i = 0; i < e; i++) {
		along[i] = dz[i] * zrow[i];
		sum += along[i];
		dz[i] *= ix * ik[i];
	}
	kern->axpy(c, -sum * ix * ix, x, dx);
}

void
route_back_rows(const struct shape *s, const struct layer *l, struct plan *p, float temperature,
		const struct route_loss *loss, float scale, bool random, const float *dgate,
		long from, long to, const float *x, float *dx, int worker)
{
	const long rows = to - from, c = s->dim, e = p->experts, r = s->router_hidden;
	const bool cosine = s->router == ROUTER_COSINE;
	float *push, *ik, *zrow, *dh;
	struct slope slope;

	if (s->dense || s->router == ROUTER_RANDOM)
		return;
	push = task_scratch(worker, (size_t)(4 * e + 2 * rows * r) * sizeof *push);
	ik = push + 2 * e;
	zrow = ik + e;
	dh = zrow + e;
	slope = slopes(p, loss, scale, push, push + e);
	if (cosine)
		route_inverse_norms(e, c, l->route.w, ik);
	for (long t = from; t < to; t++) {
		memcpy(zrow, p->z + t * e, (size_t)e * sizeof *zrow);
		if (cosine && p->noise.size > 0)
			route_disturb(p, t, -1, zrow);
		back_row(p, temperature, scale, &slope, random, t, dgate + t * p->k);
		if (cosine)
			cosine_back(s, p, zrow, t, x + t * c, ik, dx + t * c);
	}
	if (s->router == ROUTER_MLP) {
		float *h = p->hidden + from * r;
		kern->nn(rows, r, e, p->z + from * e, e, l->route2.w, r, dh, r, false);
		kern->act_back(ACT_GELU, rows * r, NULL, h, dh, 1, dh + rows * r, NULL, h);
		kern->nn(rows, c, r, h, r, l->route.w, c, dx + from * c, c, true);
	} else {
		kern->nn(rows, c, e, p->z + from * e, e, l->route.w, c, dx + from * c, c, true);
	}
}

int
route_grads(const struct shape *s, struct layer *l, struct plan *p, const float *x, bool add,
	    struct grad *out)
{
	const long n = p->tokens, c = s->dim, e = p->experts, r = s->router_hidden;

	if (s->dense || s->router == ROUTER_RANDOM)
		return 0;
	if (s->router == ROUTER_MLP) {
		out[0] = (struct grad){r, c, n, p->hidden, x, r, c, l->route.g, add};
		out[1] = (struct grad){e, r, n, p->z, p->active, e, r, l->route2.g, add};
		return 2;
	}
	out[0] = (struct grad){e, c, n, p->z, x, e, c, l->route.g, add};
	return 1;
}

/* The gradient through the keys' lengths. */
static void
cosine_grads_end(const struct shape *s, struct layer *l, const struct plan *p)
{
	const long c = s->dim, e = p->experts;

	for (long i = 0; i < e; i++) {
		const float *k = l->route.w + i * c;
		float sum = 0, ik;
		route_inverse_norms(1, c, k, &ik);
		for (long t = 0; t < p->tokens; t++)
			sum += p->p[t * e + i];
		kern->axpy(c, -sum * ik * ik, k, l->route.g + i * c);
	}
}

/*
 * ortho = a sum_{i < j} c_ij^2, c_ij = <u_i, u_j>, u = w / |w|:
 * dw_i = 2 a sum_{j != i} c_ij (u_j - c_ij u_i) / |w_i|
 */
static void
ortho_grads(const struct layer *l, const struct tensor *w, int living, float weight)
{
	const long c = w->cols, e = w->rows;
	const float a = weight / (0.5f * (float)living * (float)(living - 1));
	float norm[e];

	route_inverse_norms(e, c, w->w, norm);
	for (long i = 0; i < e; i++)
		for (long j = 0; l->expert[i] && j < e; j++) {
			const float *wi = w->w + i * c, *wj = w->w + j * c;
			float cosine;
			if (j == i || !l->expert[j])
				continue;
			cosine = kern->dot(c, wi, wj) * norm[i] * norm[j];
			kern->axpy(c, 2 * a * cosine * norm[i] * norm[j], wj, w->g + i * c);
			kern->axpy(c, -2 * a * cosine * cosine * norm[i] * norm[i], wi,
				   w->g + i * c);
		}
}

void
route_grads_end(const struct shape *s, struct layer *l, struct plan *p,
		const struct route_loss *loss, float scale)
{
	if (s->dense || s->router == ROUTER_RANDOM)
		return;
	if (s->router == ROUTER_COSINE && !p->lean)
		cosine_grads_end(s, l, p);
	if (loss->ortho != 0 && p->living > 1)
		ortho_grads(l, s->router == ROUTER_MLP ? &l->route2 : &l->route, p->living,
			    (float)loss->ortho * scale);
}
