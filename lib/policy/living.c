#include "policy/living.h"
#include "base/err.h"
#include "base/mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MOST = 1 << 20 };

/* Of the moving average of a layer's gradient, the share that stays at each check. */
static const double NORM_MEMORY = 0.9;

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
			     .escape_steps = 50,
			     .curvature = 1,
			     .phi_margin = 0.1,
			     .plateau = 20,
			     .plateau_margin = 0.002,
			     .gradient_share = 0.5,
			     .interval = 10,
			     .sigma = 0.01};
}

#define ROW(...) OPT_ROW(struct living, __VA_ARGS__)
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
	ROW("escape", OPT_ENUM, escape, 0, 0, "poincare|fourier",
	    "geometry in which a layer works after despair"),
	ROW("escape-steps", OPT_LONG, escape_steps, 1, 0x1p40, "STEPS", "that it stays there"),
	ROW("curvature", OPT_REAL, curvature, 1e-6, 1e6, "C", "of the Poincare ball"),
	ROW("phi", OPT_ENUM, phi, 0, 0, "diversity|product", "which measure of Phi"),
	ROW("phi-margin", OPT_REAL, phi_margin, 0, 1, "SHARE",
	    "of its height by which Phi must have fallen: a collapse"),
	ROW("phi-collapse", OPT_ENUM, collapse, 0, 0, "mitosis|escape|none",
	    "what a collapse without despair brings"),
	ROW("despair", OPT_ENUM, despair, 0, 0, "plateau|gradient",
	    "a collapse, and a plateau of the loss or faded gradients"),
	ROW("plateau", OPT_LONG, plateau, 1, 0x1p40, "N", "checks without a new lowest loss"),
	ROW("plateau-margin", OPT_REAL, plateau_margin, 0, 1, "SHARE",
	    "by which a loss must be lower to be one"),
	ROW("gradient-share", OPT_REAL, gradient_share, 0, 1, "SHARE",
	    "of its moving average below which a gradient has faded"),
	ROW("life-without", OPT_TEXT, without, 0, 0, "mitosis|apoptosis|escape|phi",
	    "switch one, or a,b,... off"),
};

int
living_rows(struct opt *row, size_t at)
{
	_Static_assert(sizeof rows / sizeof *rows == LIVING_ROWS,
		       "LIVING_ROWS is not their number");
	return opt_rows(row, rows, LIVING_ROWS, at);
}

static int
switch_off(struct living *l)
{
	const struct {
		const char *name;
		bool *off;
	} part[] = {{"mitosis", &l->no_mitosis},
		    {"apoptosis", &l->no_apoptosis},
		    {"escape", &l->no_escape},
		    {"phi", &l->no_phi}};
	enum { PARTS = sizeof part / sizeof *part };

	for (int i = 0; i < PARTS; i++)
		*part[i].off = false;
	for (const char *s = l->without; s && *s;) {
		const size_t n = strcspn(s, ",");
		int i = 0;
		while (i < PARTS && (n != strlen(part[i].name) || memcmp(s, part[i].name, n) != 0))
			i++;
		if (i == PARTS)
			return err_set("--life-without \"%.*s\" (expected mitosis, apoptosis, "
				       "escape or phi)",
				       n < 60 ? (int)n : 60, s);
		*part[i].off = true;
		s += n + (s[n] == ',');
	}
	return 0;
}

int
living_check(struct living *l)
{
	if (switch_off(l) != 0)
		return -1;
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
	return ROW_PARENT | ROW_BORN | ROW_TOKENS | ROW_TWIN | ROW_QUALITY | ROW_PHI |
	       ROW_PHI_HIGH | ROW_LOSS_LOW | ROW_PLATEAU | ROW_NORM_MEAN | ROW_ESCAPE;
}

static bool
due(const struct living *l, long step)
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
	bool fallen, stagnant;
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

/* Below this Phi has collapsed. */
static double
phi_bound(const struct living *l, const struct policy_row *r)
{
	return (1 - l->phi_margin) * r->phi_high;
}

/* What is remembered of the layer begins with this check. */
static void
begin_anew(struct policy_row *r)
{
	r->next.phi_high = isnan(r->phi) ? 0 : r->phi;
	r->next.loss_low = r->loss;
	r->next.plateau = 0;
}

/* The layer as a whole, in its first row. */
static void
feel(const struct living *l, struct body *b)
{
	struct policy_row *r = b->r;
	double loss = 0, square = 0, norm;
	bool lower;

	for (int i = 0; i < b->n; i++) {
		loss += r[i].quality > 0 ? r[i].demand / r[i].quality : 0;
		square += r[i].gradient * r[i].gradient;
	}
	r->loss = single(loss);
	norm = single(sqrt(square));
	lower = !(r->loss_low > 0) || r->loss < (1 - l->plateau_margin) * r->loss_low;
	r->next.loss_low = lower ? r->loss : r->loss_low;
	r->next.plateau = lower ? 0 : r->plateau + 1;
	r->next.norm_mean = r->norm_mean > 0
				    ? single(NORM_MEMORY * r->norm_mean + (1 - NORM_MEMORY) * norm)
				    : norm;
	r->next.phi_high = r->phi > r->phi_high ? r->phi : r->phi_high;
	b->fallen = r->phi < phi_bound(l, r);
	b->stagnant = l->despair == DESPAIR_PLATEAU ? r->next.plateau >= l->plateau
						    : norm < l->gradient_share * r->norm_mean;
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
divide(const struct living *l, const struct policy_row *r, int slot, const char *cause,
       double value, double threshold, struct policy_events *e)
{
	struct policy_event v = policy_event(r->step, r->layer, slot, POLICY_BIRTH, cause);

	v.parent = r->expert;
	v.value = value;
	v.threshold = single(threshold);
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

static int
lowest_empty(bool *taken)
{
	int slot = 0;

	while (taken[slot])
		slot++;
	taken[slot] = true;
	return slot;
}

/* Phi has collapsed: the most loaded divides that can, unless it has in this check. */
static bool
relieve(const struct living *l, struct body *b, const bool *done, bool *taken,
	struct policy_events *e)
{
	int most = -1;

	for (int i = 0; i < b->n; i++)
		if (!done[i] && !b->dead[i] && twin_of(b, i) < 0 &&
		    (most < 0 || b->r[i].load_factor > b->r[most].load_factor))
			most = i;
	if (most < 0 || b->living >= l->most)
		return false;
	divide(l, &b->r[most], lowest_empty(taken), "phi", b->r->phi, phi_bound(l, b->r), e);
	return true;
}

static void
births(const struct living *l, struct body *b, struct policy_events *e)
{
	bool *done = mem_zero((size_t)b->n, sizeof *done), *taken = taken_slots(l, b);
	int i;

	while (b->living < l->most && (i = first(l, b, TO_DIVIDE, done)) >= 0) {
		done[i] = true;
		if (twin_of(b, i) >= 0)
			continue;
		b->living++;
		divide(l, &b->r[i], lowest_empty(taken), "mitosis", b->r[i].vitality, l->overload,
		       e);
	}
	if (b->fallen && !b->stagnant && !l->no_phi && l->collapse == COLLAPSE_MITOSIS &&
	    relieve(l, b, done, taken, e))
		begin_anew(b->r);
	free(done);
	free(taken);
}

/* Into another geometry: in despair, or because Phi has collapsed and that is what it brings. */
static void
escapes(const struct living *l, struct body *b, struct policy_events *e)
{
	struct policy_row *r = b->r;
	const bool despair = b->stagnant && (b->fallen || l->no_phi);
	struct policy_event v =
		policy_event(r->step, r->layer, -1, POLICY_ESCAPE, despair ? "despair" : "phi");

	if (r->escape > 0 || !(despair || (b->fallen && !l->no_phi && !b->stagnant &&
					   l->collapse == COLLAPSE_ESCAPE)))
		return;
	v.value = l->no_phi ? r->loss : r->phi;
	v.threshold = l->no_phi ? r->loss_low : single(phi_bound(l, r));
	policy_events_add(e, &v);
	begin_anew(r);
}

static void
decide_layer(const struct living *l, struct policy_row *r, int n, struct policy_events *e)
{
	struct body b = {r, n, mem_zero((size_t)n, sizeof(bool)), n, n, false, false};
	const int before = e->n;
	bool waits = false;

	measure(l, r, n);
	feel(l, &b);
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
	if (!l->no_escape)
		escapes(l, &b, e);
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
		if (due(l, s->step))
			decide_layer(l, b.r, b.n, e);
		else
			keep(l, &b, "interval", e);
	}
	return 0;
}
