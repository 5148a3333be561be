#include "offload/slots.h"
#include "base/err.h"
#include "base/mem.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum state { FREE, QUEUED, READING, READY, FAILED };
/* A slot stands in one list at most: pinned or being read, in none. */
enum list { SPARE, IDLE, NEEDED, LISTS, NOWHERE };

struct slot {
	int leaf; /* -1 in SPARE */
	enum state state;
	enum list list;
	bool pinned;
	bool guess; /* read ahead, and not used yet */
	int before, after;
};

struct slots {
	const struct store *store;
	int n, need, readers;
	char *memory;
	size_t bytes;
	struct slot *slot; /* [n] */
	int *slot_of;	   /* [leaves] or -1 */
	int first[LISTS], last[LISTS];
	int *wish;   /* [leaves] what to read ahead, [wished, wishes) still to come */
	float *hope; /* [leaves] their chances */
	int wished, wishes;
	int reading, guessing; /* reads going on; of them ahead of need */

	float **chance; /* [L][E]; NULL: the order of last use */
	float *active;	/* [leaves] recent share of active uses */
	int turn;	/* the layer that had the last turn */
	int *victim;	/* [need] */

	pthread_mutex_t lock; /* of all of this */
	pthread_cond_t work, done;
	pthread_t *thread;
	bool stop;
	char error[512]; /* the first failure of a leaf that was needed */
	struct slots_count count;
};

/* ---- lists, the oldest first ---- */

static void
leave(struct slots *p, int i)
{
	struct slot *s = &p->slot[i];

	if (s->list == NOWHERE)
		return;
	*(s->before < 0 ? &p->first[s->list] : &p->slot[s->before].after) = s->after;
	*(s->after < 0 ? &p->last[s->list] : &p->slot[s->after].before) = s->before;
	s->list = NOWHERE;
}

static void
join(struct slots *p, int i, enum list list)
{
	struct slot *s = &p->slot[i];

	leave(p, i);
	s->list = list;
	s->before = p->last[list];
	s->after = -1;
	*(s->before < 0 ? &p->first[list] : &p->slot[s->before].after) = i;
	p->last[list] = i;
}

/* ---- slots ---- */

size_t
slots_bytes(const struct store *s, int n)
{
	return (size_t)n * (s->largest + sizeof(struct slot)) + 4 * (size_t)s->leaves * sizeof(int);
}

int
slots_room(const struct store *s, size_t bytes)
{
	const size_t fixed = slots_bytes(s, 0), each = slots_bytes(s, 1) - fixed;
	const size_t n = bytes < fixed ? 0 : (bytes - fixed) / each;

	return n < (size_t)s->leaves ? (int)n : s->leaves;
}

/* The slot no longer holds its leaf. */
static void
empty(struct slots *p, int i)
{
	struct slot *s = &p->slot[i];

	if (s->guess) {
		p->count.wasted++;
		p->count.wasted_bytes += p->store->leaf[s->leaf].bytes;
	}
	p->slot_of[s->leaf] = -1;
	*s = (struct slot){
		.leaf = -1, .state = FREE, .list = s->list, .before = s->before, .after = s->after};
	join(p, i, SPARE);
}

static float
worth(const struct slots *p, int leaf)
{
	const struct store_leaf *x = &p->store->leaf[leaf];
	const int layers = p->store->param->shape.layers;
	const int turns = (x->layer - p->turn + layers - 1) % layers + 1;

	return p->chance[x->layer][x->slot] * p->active[leaf] / (float)turns;
}

/* The n idle slots that give way first, in victim[]; fewer if there are not so many. */
static int
choose(struct slots *p, int n)
{
	float least[n > 0 ? n : 1];
	int have = 0;

	for (int i = p->first[IDLE]; i >= 0 && n > 0; i = p->slot[i].after) {
		const float w = p->chance ? worth(p, p->slot[i].leaf) : 0;
		int at;
		if (have == n && !(w < least[have - 1]))
			continue;
		at = have < n ? have++ : n - 1;
		for (; at > 0 && w < least[at - 1]; at--) {
			least[at] = least[at - 1];
			p->victim[at] = p->victim[at - 1];
		}
		least[at] = w;
		p->victim[at] = i;
		if (!p->chance && have == n)
			break; /* the oldest come first */
	}
	return have;
}

/* Make room for n leaves. */
static void
clear(struct slots *p, int n)
{
	for (int i = p->first[SPARE]; i >= 0 && n > 0; i = p->slot[i].after)
		n--;
	n = choose(p, n);
	for (int i = 0; i < n; i++)
		empty(p, p->victim[i]);
	p->count.evicted += n;
}

/* A spare slot is this leaf's. */
static int
claim(struct slots *p, int leaf)
{
	const int i = p->first[SPARE];

	leave(p, i);
	p->slot[i].leaf = leaf;
	p->slot[i].state = QUEUED;
	p->slot_of[leaf] = i;
	return i;
}

/* A slot for a guess, unless all that could give way is worth more; -1 then. */
static int
claim_guess(struct slots *p, int leaf, float hope)
{
	if (p->first[SPARE] < 0) {
		if (choose(p, 1) == 0 ||
		    (p->chance && worth(p, p->slot[p->victim[0]].leaf) >= hope))
			return -1;
		clear(p, 1);
	}
	return claim(p, leaf);
}

/* ---- reading ---- */

static void
arrived(struct slots *p, int i, bool bad)
{
	struct slot *s = &p->slot[i];

	p->reading--;
	p->guessing -= !s->pinned;
	if (!bad) {
		p->count.loads++;
		p->count.bytes += p->store->leaf[s->leaf].bytes;
		s->state = READY;
		if (!s->pinned)
			join(p, i, IDLE);
	} else if (s->pinned) {
		s->state = FAILED;
		if (!*p->error)
			snprintf(p->error, sizeof p->error, "%s", err_text());
	} else {
		s->guess = false; /* who needs it will read it again, and be told */
		empty(p, i);
	}
}

/* The slot to read into next, -1 if there is nothing to do. */
static int
next_read(struct slots *p)
{
	int i = p->first[NEEDED];

	if (i >= 0) {
		leave(p, i);
		return i;
	}
	/* A guess being read cannot give way: enough must remain for what is needed. */
	while (p->wished < p->wishes && p->guessing < p->n - p->need) {
		const int leaf = p->wish[p->wished];
		const float hope = p->hope[p->wished++];
		if (p->slot_of[leaf] >= 0 || (i = claim_guess(p, leaf, hope)) < 0)
			continue;
		p->slot[i].guess = true;
		p->count.ahead++;
		p->guessing++;
		return i;
	}
	return -1;
}

static void *
reader(void *arg)
{
	struct slots *p = arg;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		const int i = next_read(p);
		bool bad;
		if (i < 0) {
			pthread_cond_broadcast(&p->done); /* guesses may have been dropped */
			pthread_cond_wait(&p->work, &p->lock);
			continue;
		}
		p->slot[i].state = READING;
		p->reading++;
		const int leaf = p->slot[i].leaf;
		pthread_mutex_unlock(&p->lock);
		bad = store_read(p->store, leaf, p->memory + (size_t)i * p->store->largest) != 0;
		pthread_mutex_lock(&p->lock);
		arrived(p, i, bad);
		pthread_cond_broadcast(&p->done);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int
start(struct slots *p, int readers)
{
	sigset_t all, old;
	int bad = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; p->readers < readers && !bad; p->readers += !bad)
		bad = pthread_create(&p->thread[p->readers], NULL, reader, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return bad ? err_set("cannot start %d readers: %s", readers, strerror(bad)) : 0;
}

struct slots *
slots_new(const struct store *s, int n, int need, int readers)
{
	struct slots *p = mem_zero(1, sizeof *p);

	p->store = s;
	p->n = n;
	p->need = need;
	p->bytes = (size_t)n * s->largest;
	p->memory = mem_map(p->bytes);
	p->slot = mem_zero((size_t)n, sizeof *p->slot);
	p->slot_of = mem_zero((size_t)s->leaves, sizeof *p->slot_of);
	p->wish = mem_zero((size_t)s->leaves, sizeof *p->wish);
	p->hope = mem_zero((size_t)s->leaves, sizeof *p->hope);
	p->active = mem_zero((size_t)s->leaves, sizeof *p->active);
	p->victim = mem_zero((size_t)need, sizeof *p->victim);
	p->thread = mem_zero((size_t)readers, sizeof *p->thread);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	for (int i = 0; i < s->leaves; i++) {
		p->slot_of[i] = -1;
		p->active[i] = 1;
	}
	for (int i = 0; i < LISTS; i++)
		p->first[i] = p->last[i] = -1;
	for (int i = 0; i < n; i++) {
		p->slot[i] = (struct slot){.leaf = -1, .list = NOWHERE};
		join(p, i, SPARE);
	}
	if (start(p, readers) == 0)
		return p;
	slots_free(p);
	return NULL;
}

void
slots_free(struct slots *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (int i = 0; i < p->readers; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->done);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p->thread);
	for (int l = 0; p->chance && l < p->store->param->shape.layers; l++)
		free(p->chance[l]);
	free(p->chance);
	free(p->victim);
	free(p->active);
	free(p->hope);
	free(p->wish);
	free(p->slot_of);
	free(p->slot);
	mem_unmap(p->memory, p->bytes);
	free(p);
}

/* ---- the caller's side ---- */

void
slots_there(struct slots *p, int n, const int *leaf, bool *there)
{
	pthread_mutex_lock(&p->lock);
	for (int i = 0; i < n; i++)
		there[i] = p->slot_of[leaf[i]] >= 0;
	pthread_mutex_unlock(&p->lock);
}

/* As many readers as have something to do. */
static void
wake(struct slots *p, int n)
{
	for (int i = 0; i < n && i < p->readers; i++)
		pthread_cond_signal(&p->work);
}

/* Pin one leaf that has a slot already. */
static bool
pin(struct slots *p, int i)
{
	struct slot *s = &p->slot[i];
	const bool ready = s->state == READY;

	p->guessing -= !ready;
	p->count.hits += ready;
	p->count.late += !ready;
	s->pinned = true;
	s->guess = false;
	leave(p, i);
	return ready;
}

int
slots_take(struct slots *p, int n, const int *leaf, int *absent)
{
	int left = 0, absentees = 0;

	pthread_mutex_lock(&p->lock);
	p->count.taken += n;
	/* What is there first, so that what is not cannot drive it out. */
	for (int i = 0; i < n; i++)
		if (p->slot_of[leaf[i]] < 0 || !pin(p, p->slot_of[leaf[i]]))
			absent[left++] = i;
	p->wishes = p->wished = 0;
	for (int i = 0; i < left; i++)
		absentees += p->slot_of[leaf[absent[i]]] < 0;
	clear(p, absentees);
	for (int i = 0; i < left; i++)
		if (p->slot_of[leaf[absent[i]]] < 0) {
			const int at = claim(p, leaf[absent[i]]);
			p->slot[at].pinned = true;
			join(p, at, NEEDED);
		}
	wake(p, left);
	pthread_mutex_unlock(&p->lock);
	return left;
}

static bool
ended(const struct slots *p, int leaf)
{
	const enum state s = p->slot[p->slot_of[leaf]].state;

	return s == READY || s == FAILED;
}

/* Move what has come to the end; -1 when some of it has failed. */
static int
sort_out(const struct slots *p, int n, const int *leaf, int *absent)
{
	bool bad = false;

	for (int i = 0; i < n;)
		if (ended(p, leaf[absent[i]])) {
			const int come = absent[i];
			bad |= p->slot[p->slot_of[leaf[come]]].state == FAILED;
			absent[i] = absent[--n];
			absent[n] = come;
		} else {
			i++;
		}
	return bad ? err_set("%s", p->error) : n;
}

int
slots_await(struct slots *p, int n, const int *leaf, int *absent)
{
	int left;

	pthread_mutex_lock(&p->lock);
	while ((left = sort_out(p, n, leaf, absent)) == n && n > 0)
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
	return left;
}

const void *
slots_at(const struct slots *p, int leaf)
{
	return p->memory + (size_t)p->slot_of[leaf] * p->store->largest;
}

void
slots_give(struct slots *p, int n, const int *leaf)
{
	pthread_mutex_lock(&p->lock);
	for (int k = 0; k < n; k++) {
		const int i = p->slot_of[leaf[k]];
		while (!ended(p, leaf[k]))
			pthread_cond_wait(&p->done, &p->lock);
		p->slot[i].pinned = false;
		if (p->slot[i].state == READY)
			join(p, i, IDLE);
		else
			empty(p, i);
	}
	pthread_mutex_unlock(&p->lock);
}

void
slots_ahead(struct slots *p, int n, const int *leaf, const float *chance)
{
	pthread_mutex_lock(&p->lock);
	memcpy(p->wish, leaf, (size_t)n * sizeof *leaf);
	memcpy(p->hope, chance, (size_t)n * sizeof *chance);
	p->wished = 0;
	p->wishes = p->n > p->need ? n : 0;
	wake(p, p->wishes);
	pthread_mutex_unlock(&p->lock);
}

void
slots_worth(struct slots *p, int layer, const float *chance)
{
	const struct shape *s = &p->store->param->shape;

	pthread_mutex_lock(&p->lock);
	if (!p->chance) {
		p->chance = mem_zero((size_t)s->layers, sizeof *p->chance);
		for (int l = 0; l < s->layers; l++)
			p->chance[l] = mem_zero((size_t)s->experts[l], sizeof **p->chance);
	}
	memcpy(p->chance[layer], chance, (size_t)s->experts[layer] * sizeof *chance);
	p->turn = layer;
	pthread_mutex_unlock(&p->lock);
}

void
slots_active(struct slots *p, int n, const int *leaf, const bool *active)
{
	const float keep = 0.95f;

	pthread_mutex_lock(&p->lock);
	for (int i = 0; i < n; i++)
		p->active[leaf[i]] = keep * p->active[leaf[i]] + (active[i] ? 1 - keep : 0);
	pthread_mutex_unlock(&p->lock);
}

void
slots_settle(struct slots *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->first[NEEDED] >= 0 || p->wished < p->wishes || p->reading > 0)
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

struct slots_count
slots_counts(struct slots *p)
{
	struct slots_count c;

	pthread_mutex_lock(&p->lock);
	c = p->count;
	for (int i = 0; i < p->n; i++)
		if (p->slot[i].guess && p->slot[i].state == READY) {
			c.wasted++;
			c.wasted_bytes += p->store->leaf[p->slot[i].leaf].bytes;
		}
	pthread_mutex_unlock(&p->lock);
	return c;
}
