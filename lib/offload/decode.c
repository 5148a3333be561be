#include "offload/decode.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include "offload/hazard.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One leaf of one chosen expert. */
struct job {
	int leaf;
	int rank; /* of the expert in the router's order */
	bool dead, some;
};

/* How often an expert of this rank of a prediction was chosen. */
struct odds {
	double named, right;
};

struct decode {
	const struct store *store;
	const struct shape *shape;
	struct net *net;
	struct decode_how how;
	struct slots *slots;
	int need, room;

	/* the layer that is being computed */
	const float *x;
	double norm;
	int jobs;
	struct job *job;	   /* [need] by rank, then in the order of summation */
	float *part;		   /* [need, C] what each adds */
	struct job **pinned;	   /* [need] jobs whose leaves are wanted */
	int *leaf, *come, *absent; /* [need] these leaves; places of some */
	const int *batch;	   /* places of leaves to be computed now */
	bool failed;

	/* the next layer, as predicted */
	struct plan guess;
	void *guess_block;
	size_t guess_bytes;
	int guessed;	   /* its number, -1: none */
	float *input;	   /* [C] */
	struct odds *odds; /* [K] */
	int *ahead;	   /* [L need] leaves to be read ahead */
	float *hope;	   /* [L need] their chances */

	/* how likely each expert is needed when its layer's turn comes again; NULL: not asked */
	struct hazard *hazard;
	long *first;   /* [L + 1] the hazard's number of each layer's first expert */
	float *chance; /* [E] */

	struct decode_count count;
};

/* ---- memory ---- */

static size_t
cache_bytes(const struct shape *s, int seq)
{
	const size_t kv = (size_t)(s->kv_heads * shape_head(s));

	return (2 * (size_t)s->layers * (size_t)seq * kv + (size_t)s->vocab) * sizeof(float);
}

static size_t
scratch_bytes(const struct shape *s, int seq)
{
	const struct kern_attn a = {seq, s->heads, s->kv_heads, shape_head(s), 0};

	return (size_t)task_workers() * (size_t)kern_attn_scratch(&a, false) * sizeof(float);
}

static size_t
job_bytes(const struct store *s)
{
	return (size_t)store_need(s) * (sizeof(struct job) + sizeof(struct job *) +
					(3 + 2 * (size_t)s->param->shape.layers) * sizeof(int) +
					(size_t)s->param->shape.dim * sizeof(float));
}

/* What offload/hazard says it takes. */
static size_t
hazard_bytes(const struct shape *s)
{
	size_t bytes = 0;

	for (int l = 0; l < s->layers; l++)
		bytes += (size_t)s->experts[l] * (64 + 4 * (size_t)s->experts[l]);
	return bytes;
}

/* One token's rows are used, whatever the net is laid out for; and the angles of every position. */
size_t
decode_fixed(const struct store *s, int seq)
{
	const struct shape *shape = &s->param->shape;

	return store_resident(s) + net_bytes(shape, 1, 1, false) +
	       (size_t)seq * (size_t)shape_head(shape) * sizeof(float) + cache_bytes(shape, seq) +
	       scratch_bytes(shape, seq) + job_bytes(s) + hazard_bytes(shape) + slots_bytes(s, 0);
}

size_t
decode_least(const struct store *s, int seq)
{
	return decode_fixed(s, seq) + slots_bytes(s, store_need(s)) - slots_bytes(s, 0);
}

/* ---- one leaf ---- */

/* i: of the batch. */
static void
compute(void *arg, long i, int worker)
{
	struct decode *d = arg;
	struct job *j = d->pinned[d->batch[i]];
	const int m = d->store->leaf[j->leaf].neurons;

	j->some = leaf_compute(d->shape, m, slots_at(d->slots, j->leaf), d->x,
			       d->part + (j - d->job) * d->shape->dim,
			       task_scratch(worker, (size_t)leaf_scratch(m) * sizeof(float)));
}

/* Is a leaf certainly inactive for this input? */
static bool
inactive(const struct decode *d, int leaf, const float *x, double norm)
{
	const struct store *s = d->store;
	const struct store_leaf *l = &s->leaf[leaf];

	return d->how.skip && s->shade &&
	       leaf_dead(d->shape, l->neurons, s->shade + l->first, s->q + l->first * s->row, x,
			 norm);
}

/* i: of the jobs. Need an absent leaf be read at all? */
static void
certify(void *arg, long i, int worker)
{
	struct decode *d = arg;
	struct job *j = &d->job[i];

	(void)worker;
	j->dead = j->dead && inactive(d, j->leaf, d->x, d->norm);
}

/* Waking the workers for fewer bytes than this takes longer than the work. */
enum { WORTH_SHARING = 1 << 19 };

static void
run_jobs(struct decode *d, int n, size_t bytes, task_fn *fn)
{
	if ((size_t)n * bytes >= WORTH_SHARING)
		task_run(n, fn, d);
	else
		for (int i = 0; i < n; i++)
			fn(d, i, 0);
}

/* ---- what comes next ---- */

/* Score the guess against the truth. */
static void
score(struct decode *d, int layer, const struct plan *p)
{
	if (d->guessed != layer)
		return;
	d->count.chosen += p->k;
	for (int r = 0; r < p->k; r++) {
		struct odds *o = &d->odds[r];
		int k = 0;
		while (k < p->k && p->choice[k] != d->guess.choice[r])
			k++;
		o->named++;
		o->right += k < p->k;
		d->count.predicted++;
		d->count.right += k < p->k;
		if (o->named >= 1024) { /* older evidence counts half */
			o->named /= 2;
			o->right /= 2;
		}
	}
}

/*
 * A read ahead saves its wait when the expert is chosen and costs as much of the disk's time when
 * it is not: it pays when the expert is likelier chosen than not.
 */
static float
chance(const struct odds *o)
{
	return (float)((o->right + 1) / (o->named + 2));
}

static void
guess(struct decode *d, int layer, const struct net_how *how, const struct plan *p)
{
	const struct layer *l = &d->net->param->layer[layer], *next = l + 1;
	double norm;
	int n = 0;

	d->guessed = -1;
	if (d->how.predictor == DECODE_NONE || layer + 1 == d->shape->layers)
		return;
	for (int i = 0; i < d->shape->dim; i++)
		d->input[i] = l->norm2.w[i] != 0 ? d->x[i] / l->norm2.w[i] * next->norm2.w[i] : 0;
	d->guess.experts = shape_extent(d->shape, layer + 1);
	d->guess.living = shape_living(d->shape, layer + 1);
	d->guess.first = p->first;
	route_rows(d->shape, next, &d->guess, how->temperature, how->seed, how->step, layer + 1,
		   how->random, 0, 1, d->input, 0);
	d->guessed = layer + 1;
	norm = leaf_norm(d->shape->dim, d->input);
	for (int r = 0; r < d->shape->top_k; r++) {
		const struct store_expert *x = &d->store->expert[layer + 1][d->guess.choice[r]];
		const float likely = chance(&d->odds[r]);
		for (int i = 0; i < x->n && likely > 0.5f; i++) {
			if (inactive(d, x->first + i, d->input, norm))
				continue;
			d->hope[n] = likely;
			d->ahead[n++] = x->first + i;
		}
	}
	slots_ahead(d->slots, n, d->ahead, d->hope);
}

void
decode_expect(struct decode *d, const struct net_how *how, int32_t token)
{
	const struct shape *s = d->shape;
	const struct param *p = d->net->param;
	int n = 0;

	d->guessed = -1; /* nothing that is scored */
	for (int l = 0; l < s->layers; l++) {
		kern->rms(s->dim, p->embed.w + (long)token * s->dim, p->layer[l].norm2.w, SHAPE_EPS,
			  d->input);
		d->guess.experts = shape_extent(s, l);
		d->guess.living = shape_living(s, l);
		route_rows(s, &p->layer[l], &d->guess, how->temperature, how->seed, how->step, l,
			   how->random, 0, 1, d->input, 0);
		for (int k = 0; k < s->top_k; k++) {
			const struct store_expert *x = &d->store->expert[l][d->guess.choice[k]];
			for (int i = 0; i < x->n && n < d->room - d->need; i++) {
				d->hope[n] = 1;
				d->ahead[n++] = x->first + i;
			}
		}
	}
	slots_ahead(d->slots, n, d->ahead, d->hope);
}

/*
 * The worth of this layer's experts from now on: of one that waits for the next turn only, or until
 * it is used, the better; see offload/evict.h.
 */
static void
weigh(struct decode *d, int layer, const struct plan *p)
{
	const long first = d->first[layer];
	const float *next = hazard_next(d->hazard) + first;
	const float *later = hazard_later(d->hazard) + first;
	uint32_t item[p->k];

	for (int k = 0; k < p->k; k++)
		item[k] = (uint32_t)(first + p->choice[k]);
	hazard_turn(d->hazard, layer, item, p->k);
	for (long e = 0; e < d->first[layer + 1] - first; e++)
		d->chance[e] = fmaxf(next[e], later[e] / (1 + later[e] - next[e]));
	slots_worth(d->slots, layer, d->chance);
}

/* What the leaves of this layer's experts turned out to be. */
static void
tell_active(struct decode *d)
{
	bool active[d->need];

	for (int i = 0; i < d->jobs; i++) {
		d->leaf[i] = d->job[i].leaf;
		active[i] = d->job[i].some;
	}
	slots_active(d->slots, d->jobs, d->leaf, active);
}

/* ---- a layer ---- */

static void
list_jobs(struct decode *d, int layer, const struct plan *p)
{
	d->jobs = 0;
	for (int k = 0; k < p->k; k++) {
		const struct store_expert *x = &d->store->expert[layer][p->choice[k]];
		for (int i = 0; i < x->n; i++)
			d->job[d->jobs++] = (struct job){.leaf = x->first + i, .rank = k};
	}
	d->count.needed += d->jobs;
	if (!d->how.skip || !d->store->shade)
		return;
	bool there[d->need];
	for (int i = 0; i < d->jobs; i++)
		d->leaf[i] = d->job[i].leaf;
	slots_there(d->slots, d->jobs, d->leaf, there);
	for (int i = 0; i < d->jobs; i++)
		d->job[i].dead = !there[i];
	d->norm = leaf_norm(d->shape->dim, d->x);
	run_jobs(d, d->jobs, (size_t)d->store->row * (size_t)d->store->leaf->neurons, certify);
}

/* Compute the leaves whose places are batch[0, n). */
static void
compute_batch(struct decode *d, int n, const int *batch)
{
	d->batch = batch;
	run_jobs(d, n, d->store->largest, compute);
}

/* What is there first, then each as it comes. */
static int
compute_jobs(struct decode *d, int n, int absent)
{
	int come = 0, left;
	char there[d->need];

	memset(there, 1, sizeof there);
	for (int i = 0; i < absent; i++)
		there[d->absent[i]] = 0;
	for (int i = 0; i < n; i++)
		if (there[i])
			d->come[come++] = i;
	compute_batch(d, come, d->come);
	for (; absent > 0; absent = left) {
		const double since = tick_now();
		left = slots_await(d->slots, absent, d->leaf, d->absent);
		d->count.stall += tick_now() - since;
		if (left < 0)
			return -1;
		compute_batch(d, absent - left, d->absent + left);
	}
	return 0;
}

static void
add_up(struct decode *d, const struct plan *p, float *y)
{
	const long c = d->shape->dim;

	memset(y, 0, (size_t)(p->k * c) * sizeof *y);
	for (int i = 0; i < d->jobs; i++) {
		if (d->job[i].some)
			kern->axpy(c, 1, d->part + i * c, y + p->row[d->job[i].rank] * c);
		else
			d->count.idle += !d->job[i].dead;
	}
}

static int
experts(void *arg, int layer, const struct net_how *how, const struct plan *p, const float *x,
	float *y)
{
	struct decode *d = arg;
	int n = 0, absent;

	d->x = x;
	d->count.tokens += layer == 0;
	score(d, layer, p);
	list_jobs(d, layer, p);
	for (int i = 0; i < d->jobs; i++) {
		d->count.skipped += d->job[i].dead;
		if (d->job[i].dead)
			continue;
		d->leaf[n] = d->job[i].leaf;
		d->pinned[n++] = &d->job[i];
	}
	if (d->hazard)
		weigh(d, layer, p);
	absent = slots_take(d->slots, n, d->leaf, d->absent);
	guess(d, layer, how, p);
	d->failed = compute_jobs(d, n, absent) != 0;
	slots_give(d->slots, n, d->leaf);
	if (d->failed)
		return -1;
	if (d->hazard)
		tell_active(d);
	add_up(d, p, y);
	return 0;
}

/* ---- a run ---- */

/* Everything there before the first token. */
static int
fill(struct decode *d)
{
	int bad = 0;

	for (int i = 0; i < d->store->leaves && !bad; i += d->need) {
		const int n = d->store->leaves - i < d->need ? d->store->leaves - i : d->need;
		int absent;
		for (int k = 0; k < n; k++)
			d->leaf[k] = i + k;
		absent = slots_take(d->slots, n, d->leaf, d->absent);
		while (absent > 0)
			absent = slots_await(d->slots, absent, d->leaf, d->absent);
		bad = absent;
		slots_give(d->slots, n, d->leaf);
	}
	return bad;
}

static void
guess_new(struct decode *d)
{
	struct arena a = {0};
	int most = 0;

	for (int l = 0; l < d->shape->layers; l++)
		most = d->shape->experts[l] > most ? d->shape->experts[l] : most;
	plan_take(&d->guess, &a, d->shape, most, 1);
	d->guess_bytes = a.used;
	a = (struct arena){d->guess_block = mem_map(d->guess_bytes), 0};
	plan_take(&d->guess, &a, d->shape, most, 1);
	d->guess.tokens = 1;
	d->guessed = -1;
	d->input = mem_zero((size_t)d->shape->dim, sizeof *d->input);
	d->odds = mem_zero((size_t)d->shape->top_k, sizeof *d->odds);
	d->ahead = mem_zero((size_t)d->need * (size_t)d->shape->layers, sizeof *d->ahead);
	d->hope = mem_zero((size_t)d->need * (size_t)d->shape->layers, sizeof *d->hope);
}

static void
hazard_open(struct decode *d)
{
	const struct shape *s = d->shape;
	int most = 0;

	d->first = mem_zero((size_t)s->layers + 1, sizeof *d->first);
	for (int l = 0; l < s->layers; l++) {
		d->first[l + 1] = d->first[l] + s->experts[l];
		most = s->experts[l] > most ? s->experts[l] : most;
	}
	d->hazard = hazard_new(s->layers, d->first);
	d->chance = mem_zero((size_t)most, sizeof *d->chance);
}

struct decode *
decode_open(const struct store *s, struct net *net, const struct decode_how *how)
{
	struct decode *d = mem_zero(1, sizeof *d);
	const size_t fixed = decode_fixed(s, net->seq) - slots_bytes(s, 0), n = store_need(s);

	d->store = s;
	d->shape = &s->param->shape;
	d->net = net;
	d->how = *how;
	d->need = (int)n;
	d->room = how->memory == 0	 ? s->leaves
		  : how->memory <= fixed ? 0
					 : slots_room(s, how->memory - fixed);
	d->job = mem_zero(n, sizeof *d->job);
	d->part = mem_zero(n * (size_t)d->shape->dim, sizeof *d->part);
	d->leaf = mem_zero(n, sizeof *d->leaf);
	d->pinned = mem_zero(n, sizeof *d->pinned);
	d->come = mem_zero(n, sizeof *d->come);
	d->absent = mem_zero(n, sizeof *d->absent);
	guess_new(d);
	if (how->memory > 0 && how->policy == DECODE_LEARNED)
		hazard_open(d);
	net->experts = experts;
	net->experts_arg = d;
	if (d->room < d->need)
		err_set("%s: one token needs %zu bytes of memory, %d leaves of %u among them "
			"(%zu given)",
			s->name, decode_least(s, net->seq), d->need, s->largest, how->memory);
	else if ((d->slots = slots_new(s, d->room, d->need, how->readers)) &&
		 (how->memory > 0 || fill(d) == 0))
		return d;
	decode_close(d);
	return NULL;
}

void
decode_close(struct decode *d)
{
	if (!d)
		return;
	slots_free(d->slots);
	mem_unmap(d->guess_block, d->guess_bytes);
	free(d->input);
	free(d->odds);
	free(d->ahead);
	free(d->hope);
	hazard_free(d->hazard);
	free(d->first);
	free(d->chance);
	free(d->leaf);
	free(d->come);
	free(d->absent);
	free(d->pinned);
	free(d->part);
	free(d->job);
	free(d);
}

bool
decode_failed(const struct decode *d)
{
	return d->failed;
}

int
decode_slots(const struct decode *d)
{
	return d->room;
}

void
decode_counts(struct decode *d, struct decode_count *c, struct slots_count *s)
{
	slots_settle(d->slots);
	*s = slots_counts(d->slots);
	*c = d->count;
}
