#include "offload/decode.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include "model/keystore.h"
#include "offload/hazard.h"
#include <stdlib.h>
#include <string.h>

/* One leaf of one chosen expert. */
struct job {
	int leaf;
	int rank; /* of the expert in the router's order */
	bool dead, some;
	bool bad; /* its bytes are not the store's */
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

	long *first;	/* [L + 1] the item of each layer's first expert */
	uint32_t *item; /* [K] */

	/* the turn that comes, as predicted */
	struct predict *predict;     /* NULL: not asked */
	struct predict_guess *guess; /* [guesses] of [most experts of a layer, or 2 K] */
	long guesses;
	int guessed;	  /* whose they are, -1: nobody's */
	struct plan gate; /* what the next layer's router says to this layer's input */
	void *gate_block;
	size_t gate_bytes;
	float *input; /* [C] */
	int *ahead;   /* [leaves] to be read ahead */
	float *hope;  /* [leaves] their chances */

	/* how likely each expert is needed when its layer's turn comes again; NULL: not asked */
	struct hazard *hazard;

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
	return (size_t)store_need(s) *
	       (sizeof(struct job) + sizeof(struct job *) + 3 * sizeof(int) +
		(size_t)s->param->shape.dim * sizeof(float));
}

/* Of what offload/hazard and offload/predict say they take, and the leaves to be read ahead. */
static size_t
foresight_bytes(const struct store *s, const struct tree *tree)
{
	const struct shape *shape = &s->param->shape;
	size_t bytes = (size_t)s->leaves * (sizeof(int) + sizeof(float));

	for (int l = 0; l < shape->layers; l++)
		bytes += (size_t)shape->experts[l] * (80 + 4 * (size_t)shape->experts[l]);
	return bytes + (tree ? tree_most(tree_shape(tree)) : 0);
}

/* One token's rows are used, whatever the net is laid out for; and the angles of every position. */
size_t
decode_fixed(const struct store *s, int seq, const struct tree *tree)
{
	const struct shape *shape = &s->param->shape;

	return store_resident(s) + net_bytes(shape, 1, 1, false) +
	       (size_t)seq * (size_t)shape_head(shape) * sizeof(float) + cache_bytes(shape, seq) +
	       scratch_bytes(shape, seq) + job_bytes(s) + foresight_bytes(s, tree) +
	       slots_bytes(s, 0);
}

size_t
decode_least(const struct store *s, int seq, const struct tree *tree)
{
	return decode_fixed(s, seq, tree) + slots_bytes(s, store_need(s)) - slots_bytes(s, 0);
}

/* ---- one leaf ---- */

/* i: of the batch. */
static void
compute(void *arg, long i, int worker)
{
	struct decode *d = arg;
	struct job *j = d->pinned[d->batch[i]];
	const int m = d->store->leaf[j->leaf].neurons;

	j->bad = !slots_sound(d->slots, j->leaf);
	if (j->bad)
		return;
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

/* i: of the jobs. Need the leaf be read at all? */
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

/* Score the guess against the truth, before anybody learns it. */
static void
score(struct decode *d, int layer, const struct plan *p)
{
	if (d->guessed != layer)
		return;
	d->count.chosen += p->k;
	d->count.predicted += d->guesses < p->k ? d->guesses : p->k;
	for (long i = 0; i < d->guesses; i++) {
		int k = 0;
		while (k < p->k && d->first[layer] + p->choice[k] != (long)d->guess[i].item)
			k++;
		d->count.right += k < p->k && i < p->k;
		d->count.right_2k += k < p->k;
	}
}

/*
 * The next layer's router asked before its turn: the residual stream is taken for what it is now,
 * and only the norm's weights are exchanged.
 */
static void
ask_router(struct decode *d, int layer, const struct net_how *how)
{
	const struct layer *l = &d->net->param->layer[layer];

	d->gate.experts = shape_extent(d->shape, layer);
	d->gate.living = shape_living(d->shape, layer);
	if (shape_keyed(d->shape)) {
		keystore_rows(d->shape, l, &d->gate, 0, 1, d->input);
		keystore_search(l, &d->gate, how->temperature);
	} else {
		route_rows(d->shape, l, &d->gate, how->temperature, how->seed, how->step, layer,
			   how->random, 0, 1, d->input, 0);
	}
	for (int k = 0; k < d->shape->top_k; k++)
		d->item[k] = (uint32_t)(d->first[layer] + d->gate.choice[k]);
}

static void
guess_input(struct decode *d, int layer)
{
	const float *from = d->net->param->layer[layer].norm2.w;
	const float *to = d->net->param->layer[layer + 1].norm2.w;

	for (int i = 0; i < d->shape->dim; i++)
		d->input[i] = from[i] != 0 ? d->x[i] / from[i] * to[i] : 0;
}

/*
 * Those leaves of an expert that are absent and may be needed, until there are as many as there is
 * time for; x NULL: its input is not known.
 */
static int
list_leaves(struct decode *d, int n, int layer, const struct predict_guess *g, const float *x,
	    double norm)
{
	const struct store_expert *e = &d->store->expert[layer][(long)g->item - d->first[layer]];
	const int most = slots_time(d->slots);

	if (!slots_hopeful(d->slots, g->chance))
		return n;
	for (int leaf = e->first; leaf < e->first + e->n && (n < most || !x); leaf++) {
		if (slots_there(d->slots, leaf) || (x && inactive(d, leaf, x, norm)))
			continue;
		d->hope[n] = g->chance;
		d->ahead[n++] = leaf;
	}
	return n;
}

/* What the turn after this layer's will use; what the token after this one is, nobody knows. */
static void
guess(struct decode *d, int layer, const struct net_how *how, const struct plan *p)
{
	const int next = (layer + 1) % d->shape->layers;
	const bool gate = d->how.predictor == PREDICT_GATE;
	const float *x = next ? d->input : NULL;
	double norm = 0;
	int n = 0;

	d->guessed = -1;
	if (!d->predict || (gate && !next))
		return;
	if (x) {
		guess_input(d, layer);
		norm = leaf_norm(d->shape->dim, x);
	}
	d->gate.first = p->first;
	if (gate)
		ask_router(d, next, how);
	d->guesses = predict_turn(d->predict, next, d->item, gate ? p->k : 0, 2 * p->k, d->guess);
	d->guessed = next;
	for (long i = 0; i < d->guesses; i++)
		n = list_leaves(d, n, next, &d->guess[i], x, norm);
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
		ask_router(d, l, how);
		for (int k = 0; k < s->top_k; k++)
			n = list_leaves(d, n, l, &(struct predict_guess){d->item[k], 1}, NULL, 0);
	}
	slots_ahead(d->slots, n, d->ahead, d->hope);
}

static int
by_chance(const void *a, const void *b)
{
	const struct predict_guess *x = a, *y = b;

	return x->chance != y->chance ? (x->chance < y->chance) - (x->chance > y->chance)
				      : (x->item > y->item) - (x->item < y->item);
}

/* Before there is any text: what a tree expects that has seen others. */
static void
recall(struct decode *d)
{
	const int layers = d->shape->layers;
	struct predict_guess *all = mem_zero((size_t)d->first[layers], sizeof *all);
	long found = 0;
	int n = 0;

	for (int l = 0; l < layers; l++)
		found += predict_turn(d->predict, l, NULL, 0, d->first[l + 1] - d->first[l],
				      all + found);
	qsort(all, (size_t)found, sizeof *all, by_chance);
	for (long i = 0; i < found && all[i].chance > 0; i++) {
		int l = 0;
		while (d->first[l + 1] <= (long)all[i].item)
			l++;
		n = list_leaves(d, n, l, &all[i], NULL, 0);
	}
	slots_ahead(d->slots, n, d->ahead, d->hope);
	free(all);
}

/*
 * The worth of this layer's experts from now on: of one that waits for the next turn only, or until
 * it is used, the better; see offload/learned.h.
 */
static void
weigh(struct decode *d, int layer, const struct plan *p)
{
	hazard_turn(d->hazard, layer, d->item, p->k);
	slots_worth(d->slots, layer, hazard_worth(d->hazard) + d->first[layer]);
}

/* The layer's router has spoken. */
static void
learn(struct decode *d, int layer, const struct plan *p)
{
	score(d, layer, p);
	for (int k = 0; k < p->k; k++)
		d->item[k] = (uint32_t)(d->first[layer] + p->choice[k]);
	if (d->predict)
		predict_learn(d->predict, layer, d->item, p->k);
	if (d->hazard)
		weigh(d, layer, p);
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
	/* Of those read ahead, too: else nobody would learn that it was in vain. */
	for (int i = 0; i < d->jobs; i++)
		d->job[i].dead = !slots_used(d->slots, d->job[i].leaf);
	d->norm = leaf_norm(d->shape->dim, d->x);
	run_jobs(d, d->jobs, (size_t)d->store->row * (size_t)d->store->leaf->neurons, certify);
}

/* How much is computed before the disk is looked after. */
enum { AT_ONCE = 1 << 20 };

/* Some of the `come` leaves whose places are d->come[]; how many are left, -1: one is damaged. */
static int
compute_some(struct decode *d, int come)
{
	const int most = 1 + AT_ONCE / (int)d->store->largest, n = come < most ? come : most;

	d->batch = d->come + come - n;
	run_jobs(d, n, d->store->largest, compute);
	for (int i = 0; i < n; i++) {
		const struct job *j = d->pinned[d->batch[i]];
		if (j->bad) {
			slots_sound(d->slots, j->leaf); /* again: the message is a worker's */
			return -1;
		}
	}
	return come - n;
}

/* What is there, and the others as they come. */
static int
compute_jobs(struct decode *d, int n, int absent)
{
	int come = 0;
	char there[d->need];

	memset(there, 1, sizeof there);
	for (int i = 0; i < absent; i++)
		there[d->absent[i]] = 0;
	for (int i = 0; i < n; i++)
		if (there[i])
			d->come[come++] = i;
	while (come > 0 || absent > 0) {
		const double since = tick_now();
		const int left = slots_await(d->slots, absent, d->leaf, d->absent, come == 0);
		if (come == 0)
			d->count.stall += tick_now() - since;
		if (left < 0)
			return -1;
		for (; absent > left; absent--)
			d->come[come++] = d->absent[absent - 1];
		if ((come = compute_some(d, come)) < 0)
			return -1;
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
	list_jobs(d, layer, p);
	for (int i = 0; i < d->jobs; i++) {
		d->count.skipped += d->job[i].dead;
		if (d->job[i].dead)
			continue;
		d->leaf[n] = d->job[i].leaf;
		d->pinned[n++] = &d->job[i];
	}
	learn(d, layer, p);
	absent = slots_take(d->slots, n, d->leaf, d->absent);
	guess(d, layer, how, p);
	d->failed = compute_jobs(d, n, absent) != 0;
	slots_give(d->slots, n, d->leaf);
	if (d->failed)
		return -1;
	if (d->hazard && d->how.skip && d->store->shade)
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
			absent = slots_await(d->slots, absent, d->leaf, d->absent, true);
		bad = absent;
		for (int k = 0; k < n && !bad; k++)
			bad = slots_sound(d->slots, d->leaf[k]) ? 0 : -1;
		slots_give(d->slots, n, d->leaf);
	}
	return bad;
}

static void
gate_new(struct decode *d, int most)
{
	struct arena a = {0};

	plan_take(&d->gate, &a, d->shape, most, 1);
	d->gate_bytes = a.used;
	a = (struct arena){d->gate_block = mem_map(d->gate_bytes), 0};
	plan_take(&d->gate, &a, d->shape, most, 1);
	d->gate.tokens = 1;
}

static void
foresight_new(struct decode *d)
{
	const struct shape *s = d->shape;
	const struct decode_how *how = &d->how;
	int most = 2 * s->top_k;

	d->first = mem_zero((size_t)s->layers + 1, sizeof *d->first);
	for (int l = 0; l < s->layers; l++) {
		d->first[l + 1] = d->first[l] + s->experts[l];
		most = s->experts[l] > most ? s->experts[l] : most;
	}
	d->item = mem_zero((size_t)s->top_k, sizeof *d->item);
	d->guess = mem_zero((size_t)most, sizeof *d->guess);
	d->guessed = -1;
	d->input = mem_zero((size_t)s->dim, sizeof *d->input);
	d->ahead = mem_zero((size_t)d->store->leaves, sizeof *d->ahead);
	d->hope = mem_zero((size_t)d->store->leaves, sizeof *d->hope);
	gate_new(d, most);
	if (how->memory > 0 && how->policy == DECODE_LEARNED)
		d->hazard = hazard_new(s->layers, d->first);
	if (how->predictor != PREDICT_NONE)
		d->predict = predict_new(s->layers, d->first, how->predictor, how->tree);
}

struct decode *
decode_open(const struct store *s, struct net *net, const struct decode_how *how)
{
	struct decode *d = mem_zero(1, sizeof *d);
	const size_t fixed = decode_fixed(s, net->seq, how->tree) - slots_bytes(s, 0);
	const size_t n = (size_t)store_need(s);

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
	foresight_new(d);
	net->experts = experts;
	net->experts_arg = d;
	if (d->room < d->need)
		err_set("%s: one token needs %zu bytes of memory, %d leaves of %u among them "
			"(%zu given)",
			s->name, decode_least(s, net->seq, how->tree), d->need, s->largest,
			how->memory);
	else if ((d->slots = slots_new(s, d->room, d->need, how->readers, how->way)) &&
		 (how->memory > 0 || fill(d) == 0)) {
		if (how->memory > 0 && how->tree)
			recall(d);
		return d;
	}
	decode_close(d);
	return NULL;
}

void
decode_close(struct decode *d)
{
	if (!d)
		return;
	slots_free(d->slots);
	mem_unmap(d->gate_block, d->gate_bytes);
	predict_free(d->predict);
	free(d->guess);
	free(d->item);
	free(d->input);
	free(d->ahead);
	free(d->hope);
	hazard_free(d->hazard);
	free(d->first);
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

const struct store *
decode_store(const struct decode *d)
{
	return d->store;
}

void
decode_idle(struct decode *d, double until)
{
	slots_idle(d->slots, until);
}

void
decode_settle(struct decode *d)
{
	slots_settle(d->slots);
}

void
decode_counts(struct decode *d, struct decode_count *c, struct slots_count *s)
{
	*s = slots_counts(d->slots);
	*c = d->count;
}
