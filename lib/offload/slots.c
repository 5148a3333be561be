#include "offload/slots.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/tick.h"
#include "offload/fetch.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CLASSES = 8 }; /* of chances that are named */
enum state { FREE, QUEUED, READING, READY, FAILED };
/* A slot stands in one list at most: pinned or being read, in none. */
enum list { SPARE, IDLE, NEEDED, LISTS, NOWHERE };

struct slot {
	int leaf; /* -1 in SPARE */
	enum state state;
	enum list list;
	bool pinned;
	bool sound; /* verified since it was read */
	bool guess; /* read ahead, and not used yet */
	int class;  /* of its chance then; -1: what became of it is known */
	int before, after;
};

struct slots {
	const struct store *store;
	int n, need;
	struct fetch *fetch; /* the tag of a read is its slot */
	char *memory;
	size_t bytes;
	struct slot *slot; /* [n] */
	int *slot_of;	   /* [leaves] or -1 */
	int first[LISTS], last[LISTS];
	int *wish;   /* [leaves] to read ahead: [0, begun) begun, [wished, wishes) still to come */
	float *hope; /* [leaves] their chances */
	int wished, wishes;
	int begun;
	int needing;	       /* leaves that are needed and not there */
	int reading, guessing; /* reads going on; of them ahead of need */
	/* Of late, by class: leaves read ahead of which it is known, and those that were used; and
	 * what gave way to such and was needed when its turn came. */
	float known[CLASSES], used[CLASSES], missed[CLASSES];
	signed char *gone; /* [leaves] the class of what it gave way to, -1: nothing read ahead */

	/* The disk's time, seconds; service and window are recent means. */
	double since;	/* when reads of leaves that are needed began */
	int asked;	/* how many */
	double free;	/* when the last of them had come, or there were none */
	double service; /* of a leaf among others */
	double window;	/* from there until the next are needed */
	bool idle;	/* nothing is needed until further notice */

	float **chance; /* [L][E]; NULL: the order of last use */
	float *active;	/* [leaves] recent share of active uses */
	int turn;	/* the layer that had the last turn */
	int *victim;	/* [need] */

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
	return (size_t)n * (s->largest + sizeof(struct slot)) +
	       (4 * sizeof(int) + 1) * (size_t)s->leaves;
}

int
slots_room(const struct store *s, size_t bytes)
{
	const size_t fixed = slots_bytes(s, 0), each = slots_bytes(s, 1) - fixed;
	const size_t n = bytes < fixed ? 0 : (bytes - fixed) / each;

	return n < (size_t)s->leaves ? (int)n : s->leaves;
}

static int
class_of(float chance)
{
	const int c = (int)(chance * CLASSES);

	return c < 0 ? 0 : c < CLASSES ? c : CLASSES - 1;
}

/* What became of a leaf that was read ahead. */
static void
judge(struct slots *p, struct slot *s, bool used)
{
	const float keep = 1 - 1.F / 256;

	if (!s->guess || s->class < 0)
		return;
	p->known[s->class] = p->known[s->class] * keep + 1;
	p->used[s->class] = p->used[s->class] * keep + used;
	p->missed[s->class] *= keep;
	s->class = -1;
}

/*
 * What was named with a chance may be less likely where it is absent, because others did not expect
 * it: the share of such leaves that were used, with four as named before there were any.
 */
static float
likely(const struct slots *p, float chance)
{
	const int c = class_of(chance);

	return (p->used[c] + 4 * chance) / (p->known[c] + 4);
}

/* Likewise of what gives way to it, which is needed with this chance as far as is known. */
static float
costly(const struct slots *p, float chance, float lost)
{
	const int c = class_of(chance);

	return (p->missed[c] + 4 * lost) / (p->known[c] + 4);
}

/* The slot no longer holds its leaf. */
static void
empty(struct slots *p, int i)
{
	struct slot *s = &p->slot[i];

	if (s->guess) {
		p->count.wasted++;
		p->count.wasted_bytes += p->store->leaf[s->leaf].bytes;
		judge(p, s, false);
	}
	p->slot_of[s->leaf] = -1;
	*s = (struct slot){
		.leaf = -1, .state = FREE, .list = s->list, .before = s->before, .after = s->after};
	join(p, i, SPARE);
}

/* The chance that a leaf is needed when its layer's turn comes. */
static float
needed(const struct slots *p, int leaf)
{
	const struct store_leaf *x = &p->store->leaf[leaf];

	return p->chance[x->layer][x->slot] * p->active[leaf];
}

static float
worth(const struct slots *p, int leaf)
{
	const int layers = p->store->param->shape.layers;
	const int turns = (p->store->leaf[leaf].layer - p->turn + layers - 1) % layers + 1;

	return needed(p, leaf) / (float)turns;
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

/* ---- reading ---- */

static char *
place(const struct slots *p, int i)
{
	return p->memory + (size_t)i * p->store->largest;
}

static void
begin(struct slots *p, int i)
{
	const struct store_leaf *x = &p->store->leaf[p->slot[i].leaf];

	p->slot[i].state = READING;
	p->slot[i].sound = false;
	p->reading++;
	fetch_begin(p->fetch, i, place(p, i), x->bytes, x->at);
}

/*
 * As many guesses as end before the next leaves are needed, the first of them after the time of a
 * few, delay nobody.  The disk has no time for more: those that are right would save nothing then,
 * for what is needed keeps it busy, and the others would be waited for.  One is read all the same,
 * to learn how likely such are right.
 */
int
slots_time(const struct slots *p)
{
	const double n = p->window / p->service - 2;

	if (p->idle || p->window <= 0 || !(n < p->store->leaves))
		return p->store->leaves;
	return n > 1 ? (int)ceil(n) : 1;
}

/*
 * A guess with the chance c saves c reads that would be waited for, and costs those of what gives
 * way to it, when that is needed; and, if it is in vain, the work of reading it, a quarter of a
 * read.  Where nobody knows how likely a leaf is needed, that is half a read.
 */
static bool
pays(struct slots *p, float chance)
{
	const float c = likely(p, chance), vain = p->idle ? 0 : .25F;
	float lost = 0;

	if (p->first[SPARE] < 0) {
		if (choose(p, 1) == 0)
			return false;
		lost = p->chance ? needed(p, p->slot[p->victim[0]].leaf) : .5F;
		lost = costly(p, chance, lost);
	}
	return c > (1 - c) * vain + lost;
}

/* The place of one that a guess is worth more than. */
static void
give_way(struct slots *p, int class)
{
	if (p->first[SPARE] >= 0)
		return;
	p->gone[p->slot[p->victim[0]].leaf] = (signed char)class;
	empty(p, p->victim[0]);
	p->count.evicted++;
}

/* The slot of a wish that is to be read now, -1: none is. */
static int
next_guess(struct slots *p)
{
	/* A guess being read cannot give way: enough must remain for what is needed. */
	while (p->wished < p->wishes && p->guessing < p->n - p->need && p->begun < slots_time(p)) {
		const int leaf = p->wish[p->wished];
		const float c = p->hope[p->wished++];
		int i;
		if (p->slot_of[leaf] >= 0 || !pays(p, c))
			continue;
		give_way(p, class_of(c));
		i = claim(p, leaf);
		leave(p, i);
		p->slot[i].guess = true;
		p->slot[i].class = class_of(c);
		p->count.ahead++;
		p->guessing++;
		p->wish[p->begun++] = leaf;
		return i;
	}
	return -1;
}

/* What is needed first; guesses when all of it has come. */
static void
start(struct slots *p)
{
	int i;

	while (!fetch_full(p->fetch) && (i = p->first[NEEDED]) >= 0) {
		leave(p, i);
		begin(p, i);
	}
	while (!fetch_full(p->fetch) && p->needing == 0 && (i = next_guess(p)) >= 0)
		begin(p, i);
	fetch_go(p->fetch);
}

/* mean = 15/16 mean + 1/16 x, of the first few their mean */
static void
follow(double *mean, double x)
{
	*mean = *mean > 0 ? *mean + (x - *mean) / 16 : x;
}

/* A leaf that is needed has come, or failed to. */
static void
satisfied(struct slots *p)
{
	if (--p->needing > 0)
		return;
	p->free = tick_now();
	follow(&p->service, (p->free - p->since) / p->asked);
}

static void
arrived(struct slots *p, const struct fetch_end *end)
{
	const int i = end->tag;
	struct slot *s = &p->slot[i];
	const bool bad = store_came(p->store, end->error, end->at) != 0;

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
	if (s->pinned)
		satisfied(p);
}

/* What has ended, after waiting for one perhaps. */
static void
collect(struct slots *p, bool wait)
{
	struct fetch_end end;

	for (; fetch_next(p->fetch, wait, &end); wait = false)
		arrived(p, &end);
}

static void
reap(struct slots *p, bool wait)
{
	collect(p, wait);
	start(p);
}

struct slots *
slots_new(const struct store *s, int n, int need, int readers, enum fetch_way way)
{
	struct slots *p = mem_zero(1, sizeof *p);

	p->store = s;
	p->n = n;
	p->need = need;
	p->bytes = (size_t)n * s->largest;
	p->memory = mem_map(p->bytes);
	madvise(p->memory, p->bytes, MADV_HUGEPAGE); /* fewer pages to pin for each read */
	p->slot = mem_zero((size_t)n, sizeof *p->slot);
	p->slot_of = mem_zero((size_t)s->leaves, sizeof *p->slot_of);
	p->wish = mem_zero((size_t)s->leaves, sizeof *p->wish);
	p->hope = mem_zero((size_t)s->leaves, sizeof *p->hope);
	p->active = mem_zero((size_t)s->leaves, sizeof *p->active);
	p->gone = mem_zero((size_t)s->leaves, sizeof *p->gone);
	memset(p->gone, -1, (size_t)s->leaves * sizeof *p->gone);
	p->victim = mem_zero((size_t)need, sizeof *p->victim);
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
	if ((p->fetch = fetch_new(s->fd, readers, way)))
		return p;
	slots_free(p);
	return NULL;
}

void
slots_free(struct slots *p)
{
	if (!p)
		return;
	fetch_free(p->fetch);
	for (int l = 0; p->chance && l < p->store->param->shape.layers; l++)
		free(p->chance[l]);
	free(p->chance);
	free(p->victim);
	free(p->gone);
	free(p->active);
	free(p->hope);
	free(p->wish);
	free(p->slot_of);
	free(p->slot);
	mem_unmap(p->memory, p->bytes);
	free(p);
}

/* ---- the caller's side ---- */

bool
slots_there(const struct slots *p, int leaf)
{
	return p->slot_of[leaf] >= 0;
}

bool
slots_used(const struct slots *p, int leaf)
{
	return p->slot_of[leaf] >= 0 && !p->slot[p->slot_of[leaf]].guess;
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
	judge(p, s, true);
	s->guess = false;
	leave(p, i);
	return ready;
}

/* Leaves read ahead for this turn that it does not take: they may be used yet, but not by it. */
static void
judge_turn(struct slots *p)
{
	for (int i = 0; i < p->begun && !p->idle; i++)
		if (p->slot_of[p->wish[i]] >= 0)
			judge(p, &p->slot[p->slot_of[p->wish[i]]], false);
}

/* The disk was free since the last of what was needed had come, or nothing was. */
static void
measure(struct slots *p, int absent)
{
	const double now = tick_now();

	if (p->free > 0 && !p->idle)
		follow(&p->window, now - p->free);
	p->idle = false;
	p->free = p->since = now;
	p->asked = absent;
}

int
slots_take(struct slots *p, int n, const int *leaf, int *absent)
{
	int left = 0, absentees = 0;

	collect(p, false);
	p->count.taken += n;
	/* What is there first, so that what is not cannot drive it out. */
	for (int i = 0; i < n; i++) {
		if (p->slot_of[leaf[i]] < 0 || !pin(p, p->slot_of[leaf[i]]))
			absent[left++] = i;
		if (p->gone[leaf[i]] >= 0)
			p->missed[p->gone[leaf[i]]]++;
		p->gone[leaf[i]] = -1;
	}
	judge_turn(p);
	p->wishes = p->wished = p->begun = 0;
	for (int i = 0; i < left; i++)
		absentees += p->slot_of[leaf[absent[i]]] < 0;
	clear(p, absentees);
	for (int i = 0; i < left; i++)
		if (p->slot_of[leaf[absent[i]]] < 0) {
			const int at = claim(p, leaf[absent[i]]);
			p->slot[at].pinned = true;
			join(p, at, NEEDED);
		}
	p->needing = left;
	measure(p, left);
	start(p);
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
slots_await(struct slots *p, int n, const int *leaf, int *absent, bool wait)
{
	int left;

	reap(p, false);
	while ((left = sort_out(p, n, leaf, absent)) == n && n > 0 && wait)
		reap(p, true);
	return left;
}

const void *
slots_at(const struct slots *p, int leaf)
{
	return place(p, p->slot_of[leaf]);
}

bool
slots_sound(struct slots *p, int leaf)
{
	struct slot *s = &p->slot[p->slot_of[leaf]];

	if (!s->sound)
		s->sound = store_verify(p->store, leaf, slots_at(p, leaf)) == 0;
	return s->sound;
}

void
slots_give(struct slots *p, int n, const int *leaf)
{
	for (int k = 0; k < n; k++) {
		const int i = p->slot_of[leaf[k]];
		while (!ended(p, leaf[k]))
			reap(p, true);
		p->slot[i].pinned = false;
		if (p->slot[i].state == READY)
			join(p, i, IDLE);
		else
			empty(p, i);
	}
}

void
slots_ahead(struct slots *p, int n, const int *leaf, const float *chance)
{
	memcpy(p->wish, leaf, (size_t)n * sizeof *leaf);
	memcpy(p->hope, chance, (size_t)n * sizeof *chance);
	p->wished = p->begun = 0;
	p->wishes = p->n > p->need ? n : 0;
	start(p);
}

bool
slots_hopeful(const struct slots *p, float chance)
{
	const float c = likely(p, chance);

	return p->idle || p->first[SPARE] >= 0 || c > (1 - c) * .25F + costly(p, chance, 0);
}

void
slots_idle(struct slots *p, double until)
{
	p->idle = true;
	start(p);
	while (p->reading > 0 && tick_now() < until)
		reap(p, true);
}

void
slots_worth(struct slots *p, int layer, const float *chance)
{
	const struct shape *s = &p->store->param->shape;

	if (!p->chance) {
		p->chance = mem_zero((size_t)s->layers, sizeof *p->chance);
		for (int l = 0; l < s->layers; l++)
			p->chance[l] = mem_zero((size_t)s->experts[l], sizeof **p->chance);
	}
	memcpy(p->chance[layer], chance, (size_t)s->experts[layer] * sizeof *chance);
	p->turn = layer;
}

void
slots_active(struct slots *p, int n, const int *leaf, const bool *active)
{
	const float keep = 0.95f;

	for (int i = 0; i < n; i++)
		p->active[leaf[i]] = keep * p->active[leaf[i]] + (active[i] ? 1 - keep : 0);
}

void
slots_settle(struct slots *p)
{
	while (p->reading > 0)
		reap(p, true);
}

struct slots_count
slots_counts(const struct slots *p)
{
	struct slots_count c = p->count;

	for (int i = 0; i < p->n; i++)
		if (p->slot[i].guess && p->slot[i].state == READY) {
			c.wasted++;
			c.wasted_bytes += p->store->leaf[p->slot[i].leaf].bytes;
		}
	return c;
}
