#include "policy/living.h"
#include "base/err.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MOST = 1 << 20 };

void
living_init(struct living *l)
{
	*l = (struct living){.most = 64,
			     .least = 2,
			     .overload = 0.75,
			     .starvation = 0.1,
			     .hysteresis = 0.05,
			     .patience = 3,
			     .memory = 0.5,
			     .interval = 10,
			     .sigma = 0.01};
}

#define ROW(name, kind, member, lo, hi, words, help)                                      \
	{                                                                                 \
		name, 0, kind, offsetof(struct living, member), lo, hi, words, true, help \
	}
static const struct opt rows[] = {
	ROW("max-experts", OPT_INT, most, 1, SLOTS_MOST, "N", "slots of a layer"),
	ROW("min-experts", OPT_INT, least, 1, SLOTS_MOST, "N", "experts that a layer keeps"),
	ROW("overload", OPT_REAL, overload, 0, 1, "V", "vitality above which an expert divides"),
	ROW("starvation", OPT_REAL, starvation, 0, 1, "V", "vitality below which one dies"),
	ROW("hysteresis", OPT_REAL, hysteresis, 0, 1, "V",
	    "how far back a vitality must go to be counted anew"),
	ROW("patience", OPT_INT, patience, 1, 1e6, "N", "checks beyond a threshold that it takes"),
	ROW("vitality-memory", OPT_REAL, memory, 0, 0.999, "X",
	    "share of the moving average that stays at each check"),
	ROW("life-without", OPT_TEXT, without, 0, 0, "mitosis|apoptosis", "switch one, or a,b off"),
};

int
living_rows(struct opt *row, size_t at)
{
	_Static_assert(sizeof rows / sizeof *rows == LIVING_ROWS,
		       "LIVING_ROWS is not their number");
	return opt_rows(row, rows, LIVING_ROWS, at);
}

int
living_check(struct living *l)
{
	l->no_mitosis = l->no_apoptosis = false;
	for (const char *s = l->without; s && *s;) {
		const size_t n = strcspn(s, ",");
		if (n == 7 && !memcmp(s, "mitosis", n))
			l->no_mitosis = true;
		else if (n == 9 && !memcmp(s, "apoptosis", n))
			l->no_apoptosis = true;
		else
			return err_set("--life-without \"%.*s\" (expected mitosis or apoptosis)",
				       n < 60 ? (int)n : 60, s);
		s += n + (s[n] == ',');
	}
	if (l->least > l->most)
		return err_set("--min-experts %d is more than --max-experts %d", l->least, l->most);
	if (!(l->starvation < l->overload))
		return err_set("--starvation %g is not below --overload %g", l->starvation,
			       l->overload);
	return 0;
}

unsigned
living_needs(void)
{
	return ROW_SLOT | ROW_EXPERT | ROW_DEMAND | ROW_GRADIENT | ROW_ENERGY | ROW_OVER |
	       ROW_STARVED;
}

unsigned
living_wants(void)
{
	return ROW_PARENT | ROW_BORN | ROW_TOKENS | ROW_TWIN;
}

bool
living_due(const struct living *l, long step)
{
	return step % l->interval == 0;
}

static double
single(double x)
{
	return (double)(float)x;
}

/* x / (1 + x), which a float32 would round to 1 */
static double
vitality(double x)
{
	return fmin(single(x / (1 + x)), 0x1.fffffep-1);
}

static void
measure(const struct living *l, struct policy_row *r, int n)
{
	double mean = 0;

	for (int i = 0; i < n; i++)
		mean += r[i].gradient / n;
	for (int i = 0; i < n; i++) {
		r[i].load_factor = single(r[i].demand * n);
		r[i].gradient_factor = mean > 0 ? single(r[i].gradient / mean) : 1;
		r[i].next.energy =
			single(l->memory * r[i].energy +
			       (1 - l->memory) * r[i].load_factor * r[i].gradient_factor);
		r[i].vitality = vitality(r[i].next.energy);
	}
}

static void
count(const struct living *l, struct policy_row *r)
{
	const double v = r->vitality;

	r->next.over = v > l->overload			  ? r->over + 1
		       : v >= l->overload - l->hysteresis ? r->over
							  : 0;
	r->next.starved = v < l->starvation		       ? r->starved + 1
			  : v <= l->starvation + l->hysteresis ? r->starved
							       : 0;
}

/* A layer in the hands of the policy. */
struct body {
	struct policy_row *r;
	int n;
	bool *dead; /* [n] */
	int living, candidates;
};

static int
row_of(const struct body *b, long expert)
{
	for (int i = 0; i < b->n; i++)
		if (b->r[i].expert == expert)
			return i;
	return -1;
}

/* The row of one that is still someone's twin; -1 if its twin is dead, or it has none. */
static int
twin_of(const struct body *b, int i)
{
	const int twin = b->r[i].twin < 0 ? -1 : row_of(b, b->r[i].twin);

	return twin >= 0 && !b->dead[twin] ? twin : -1;
}

enum want { TO_DIE, TO_DIVIDE };

static bool
pressing(const struct living *l, const struct policy_row *r, enum want want)
{
	return want == TO_DIE ? r->vitality < l->starvation && r->next.starved >= l->patience
			      : r->vitality > l->overload && r->next.over >= l->patience;
}

/* The most pressing of those who may; -1: none. */
static int
first(const struct living *l, const struct body *b, enum want want, const bool *done)
{
	int best = -1;

	for (int i = 0; i < b->n; i++) {
		const struct policy_row *r = &b->r[i];
		if (done[i] || b->dead[i] || !pressing(l, r, want))
			continue;
		if (best < 0 || (want == TO_DIE ? r->vitality < b->r[best].vitality
						: r->vitality > b->r[best].vitality))
			best = i;
	}
	return best;
}

static void
die(const struct living *l, struct body *b, int i, struct policy_events *e)
{
	const struct policy_row *r = &b->r[i];
	struct policy_event v = policy_event(r->step, r->layer, r->slot, POLICY_DEATH, "apoptosis");

	b->candidates -= twin_of(b, i) < 0;
	b->living--;
	b->dead[i] = true;
	v.expert = r->expert;
	v.value = r->vitality;
	v.threshold = single(l->starvation);
	policy_events_add(e, &v);
}

static void
divide(const struct living *l, const struct policy_row *r, int slot, struct policy_events *e)
{
	struct policy_event v = policy_event(r->step, r->layer, slot, POLICY_BIRTH, "mitosis");

	v.parent = r->expert;
	v.value = r->vitality;
	v.threshold = single(l->overload);
	v.sigma = single(l->sigma);
	v.origin = POLICY_TWIN;
	policy_events_add(e, &v);
}

static void
keep(const struct living *l, const struct body *b, const char *cause, struct policy_events *e)
{
	struct policy_event v;
	int least = 0;

	for (int i = 1; i < b->n; i++)
		if (b->r[i].vitality < b->r[least].vitality)
			least = i;
	v = policy_event(b->r->step, b->r->layer, b->r[least].slot, POLICY_KEEP, cause);
	v.expert = b->r[least].expert;
	v.value = b->r[least].vitality;
	v.threshold = single(l->starvation);
	policy_events_add(e, &v);
}

/* Slots that hold someone, as far as they go. */
static bool *
taken_slots(const struct living *l, const struct body *b)
{
	bool *taken = mem_zero((size_t)l->most, sizeof *taken);

	for (int i = 0; i < b->n; i++)
		taken[b->r[i].slot] = !b->dead[i];
	return taken;
}

static void
deaths(const struct living *l, struct body *b, struct policy_events *e)
{
	bool *done = mem_zero((size_t)b->n, sizeof *done);
	int i;

	while (b->candidates > l->least && (i = first(l, b, TO_DIE, done)) >= 0) {
		done[i] = true;
		die(l, b, i, e);
	}
	free(done);
}

static void
births(const struct living *l, struct body *b, struct policy_events *e)
{
	bool *done = mem_zero((size_t)b->n, sizeof *done), *taken = taken_slots(l, b);
	int i, slot = 0;

	while (b->living < l->most && (i = first(l, b, TO_DIVIDE, done)) >= 0) {
		done[i] = true;
		if (twin_of(b, i) >= 0)
			continue;
		while (taken[slot])
			slot++;
		taken[slot] = true;
		b->living++;
		divide(l, &b->r[i], slot, e);
	}
	free(done);
	free(taken);
}

static void
decide_layer(const struct living *l, struct policy_row *r, int n, struct policy_events *e)
{
	struct body b = {r, n, mem_zero((size_t)n, sizeof(bool)), n, n};
	const int before = e->n;
	bool waits = false;

	measure(l, r, n);
	for (int i = 0; i < n; i++) {
		const int twin = twin_of(&b, i);
		count(l, &r[i]);
		b.candidates -= twin > i;
		waits |= pressing(l, &r[i], TO_DIE) || pressing(l, &r[i], TO_DIVIDE);
	}
	if (!l->no_apoptosis)
		deaths(l, &b, e);
	if (!l->no_mitosis)
		births(l, &b, e);
	if (e->n == before)
		keep(l, &b, waits ? "bounds" : "vital", e);
	free(b.dead);
}

int
living_decide(const struct living *l, struct policy_step *s, struct policy_events *e)
{
	policy_events_clear(e);
	for (int k = 0; k < s->layers; k++) {
		const struct policy_row *last = &s->row[s->begin[k + 1] - 1];
		if (last->slot >= l->most)
			return err_set("step %ld: layer %d has a slot %d (expected it below "
				       "--max-experts %d)",
				       s->step, last->layer, last->slot, l->most);
	}
	for (int k = 0; k < s->layers; k++) {
		const struct body b = {.r = s->row + s->begin[k],
				       .n = s->begin[k + 1] - s->begin[k]};
		if (living_due(l, s->step))
			decide_layer(l, b.r, b.n, e);
		else
			keep(l, &b, "interval", e);
	}
	return 0;
}
