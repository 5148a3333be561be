#include "policy/market.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Mechanisms that --without switches off, by bit. */
enum mechanism {
	BIRTH = 1 << 0,
	DEATH = 1 << 1,
	REPLACEMENT = 1 << 2,
	FITNESS = 1 << 3,
	QUALITY = 1 << 4,
	DEMAND = 1 << 5,
	COST = 1 << 6,
	EXCLUSIVITY = 1 << 7,
	THRESHOLD = 1 << 8,
	INHERITANCE = 1 << 9,
	MUTATION = 1 << 10,
	WIDTH = 1 << 11,
	MIGRATION = 1 << 12,
	GRACE = 1 << 13,
	ADAPTIVE = 1 << 14,
	WARMUP = 1 << 15,
	DORMANCY = 1 << 16,
	PRICE = 1 << 17
};
static const char *const mechanisms[] = {
	"birth",     "death",	    "replacement",    "fitness",     "quality",	 "demand",
	"cost",	     "exclusivity", "threshold",      "inheritance", "mutation", "width",
	"migration", "grace",	    "adaptive-grace", "warm-up",     "dormancy", "price"};
enum { MECHANISMS = sizeof mechanisms / sizeof *mechanisms };

/* Fair shares of demand, share of the mean loss, fair shares of clear first choices. */
static const double essential_demand = 1.5, essential_loss = 0.95, essential_first = 1;
/* Adaptive grace stays within this factor of the grace. */
static const double grace_clamp = 8;
/* Widths are multiples of it. */
enum { WIDTH_UNIT = 8, WIDTH_MOST = 1 << 20, SLOTS_MOST = 1 << 20 };

void
market_init(struct market *m)
{
	*m = (struct market){.fitness = MARKET_B,
			     .grace = 50,
			     .slope = 1,
			     .heat = 1,
			     .interval = 10,
			     .warmup = 500,
			     .kappa = 1,
			     .persistence = 1,
			     .sigma = 0.01};
}

#define ROW(...) OPT_ROW(struct market, __VA_ARGS__)
static const struct opt rows[] = {
	ROW("fitness", OPT_ENUM, fitness, 0, 0, "A|B|C",
	    "QD, QD / cost, or QDE / cost of an expert"),
	ROW("grace", OPT_LONG, grace, 0, 0x1p40, "N",
	    "market steps in which newborns are protected"),
	ROW("grace-rule", OPT_ENUM, grace_rule, 0, 0, "ramp|tariff",
	    "fitness is scaled and its owner safe, or its distance from the mean is"),
	ROW("grace-pool", OPT_ENUM, grace_pool, 0, 0, "all|adults", "who counts in mean and sd"),
	ROW("adaptive-grace", OPT_FLAG, adaptive, 0, 1, NULL,
	    "longer for those with more to learn, by Evans-Polanyi"),
	ROW("barrier", OPT_REAL, barrier, -1e3, 1e3, "X", "adaptive grace: E0, in nats"),
	ROW("barrier-slope", OPT_REAL, slope, -1e3, 1e3, "X",
	    "adaptive grace: a, of the loss above the layer's mean"),
	ROW("barrier-heat", OPT_REAL, heat, 1e-6, 1e6, "T", "adaptive grace: temperature"),
	ROW("interval", OPT_LONG, interval, 1, 0x1p40, "STEPS", "between market steps"),
	ROW("market-warmup", OPT_LONG, warmup, 0, 0x1p40, "STEPS", "before the first market step"),
	ROW("kappa", OPT_REAL, kappa, 0, 1e3, "X", "standard deviations from mean to threshold"),
	ROW("spread", OPT_REAL, spread, 0, 1e3, "X", "no replacement while sd / mean is less"),
	ROW("persistence", OPT_INT, persistence, 1, 1e6, "N",
	    "checks in a row below the threshold that it takes"),
	ROW("birth", OPT_ENUM, birth, 0, 0, "mutant|fresh|mean",
	    "newborn: clone of the fittest, random, or mean of its peers"),
	ROW("sigma", OPT_REAL, sigma, 0, 1e3, "X", "noise on a newborn, in RMS of each tensor"),
	ROW("width-step", OPT_REAL, width_step, 0, 0.9, "X",
	    "share by which a mutant is wider or narrower"),
	ROW("slots", OPT_INTS, slots, 1, SLOTS_MOST, "N[,N...]",
	    "slots of every layer, or of each; else no empty ones"),
	ROW("market-min", OPT_INT, least, 0, SLOTS_MOST, "N",
	    "fewest experts of a layer; 0: it never shrinks"),
	ROW("migration", OPT_FLAG, migration, 0, 1, NULL, "experts move between layers"),
	ROW("without", OPT_TEXT, without, 0, 0, "MECHANISM[,...]", "switch mechanisms off"),
};

int
market_rows(struct opt *row, size_t at)
{
	_Static_assert(sizeof rows / sizeof *rows == MARKET_ROWS,
		       "MARKET_ROWS is not their number");
	return opt_rows(row, rows, MARKET_ROWS, at);
}

static int
find_mechanism(const char *s, size_t n)
{
	for (int i = 0; i < MECHANISMS; i++)
		if (strlen(mechanisms[i]) == n && !memcmp(mechanisms[i], s, n))
			return i;
	return -1;
}

static int
no_mechanism(const char *s, size_t n)
{
	char list[256] = "";

	for (int i = 0; i < MECHANISMS; i++) {
		strcat(list, i ? "|" : "");
		strcat(list, mechanisms[i]);
	}
	return err_set("--without \"%.*s\" (expected %s)", n < 60 ? (int)n : 60, s, list);
}

int
market_check(struct market *m)
{
	m->off = 0;
	for (const char *s = m->without; s && *s;) {
		const size_t n = strcspn(s, ",");
		const int i = find_mechanism(s, n);
		if (i < 0)
			return no_mechanism(s, n);
		m->off |= 1u << i;
		s += n + (s[n] == ',');
	}
	if (m->migration && !m->least)
		return err_set(
			"--migration lets layers shrink (expected --market-min of at least 1)");
	return 0;
}

static bool
off(const struct market *m, enum mechanism which)
{
	return m->off & which;
}

bool
market_dormancy(const struct market *m)
{
	return !off(m, DORMANCY);
}

bool
market_price(const struct market *m)
{
	return !off(m, PRICE);
}

static bool
costs(const struct market *m)
{
	return m->fitness != MARKET_A && !off(m, COST);
}

static bool
exclusive(const struct market *m)
{
	return m->fitness == MARKET_C && !off(m, EXCLUSIVITY);
}

static bool
adapts(const struct market *m)
{
	return m->adaptive && !off(m, ADAPTIVE | GRACE) && m->grace > 0;
}

static bool
migrates(const struct market *m)
{
	return m->migration && !off(m, MIGRATION);
}

static bool
widens(const struct market *m)
{
	return m->width_step > 0 && m->birth == 0 && !off(m, WIDTH | INHERITANCE);
}

unsigned
market_needs(const struct market *m, bool decide)
{
	unsigned need = ROW_DEMAND | ROW_QUALITY;

	if (costs(m))
		need |= ROW_FLOPS;
	if (exclusive(m) || (decide && migrates(m)))
		need |= ROW_EXCLUSIVITY;
	if (decide)
		need |= ROW_SLOT;
	if (decide && m->persistence > 1)
		need |= ROW_BELOW;
	if (decide && widens(m))
		need |= ROW_WIDTH;
	return need;
}

unsigned
market_wants(void)
{
	return ROW_EXPERT | ROW_BORN | ROW_TOKENS | ROW_EXCLUSIVITY;
}

bool
market_due(const struct market *m, long step)
{
	const long warmup = off(m, WARMUP) ? 0 : m->warmup;

	return step % m->interval == 0 && (step > warmup || warmup == 0);
}

/* --- value --- */

static double
mean_flops(const struct policy_row *r, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += r[i].flops;
	return sum / n;
}

/* F = Q D, Q D / c or Q D E / c; c = 1 + FLOPs / mean FLOPs */
static void
value(const struct market *m, struct policy_row *r, int n)
{
	const double mean = mean_flops(r, n);

	for (int i = 0; i < n; i++) {
		const double c = mean > 0 ? 1 + r[i].flops / mean : 1;
		double f = off(m, QUALITY) ? 1 : r[i].quality;
		f *= off(m, DEMAND) ? 1 : r[i].demand;
		f *= exclusive(m) ? r[i].exclusivity : 1;
		f /= costs(m) ? c : 1;
		r[i].fitness = off(m, FITNESS) ? 1 : num_single(f);
	}
}

/* Mean over the layer's experts with tokens of the loss 1/Q; 0 if there are none. */
static double
mean_loss(const struct policy_row *r, int n)
{
	double sum = 0;
	int with = 0;

	for (int i = 0; i < n; i++)
		if (r[i].quality > 0) {
			sum += 1 / r[i].quality;
			with++;
		}
	return with ? sum / with : 0;
}

/* grace_i = grace exp((E0 + a (L_i - mean L)) / T); an expert without tokens has the mean loss. */
static double
grace(const struct market *m, const struct policy_row *r, double loss)
{
	const double above = r->quality > 0 ? 1 / r->quality - loss : 0;
	double factor = 1;

	if (adapts(m))
		factor = exp((m->barrier + m->slope * above) / m->heat);
	factor = fmin(fmax(factor, 1 / grace_clamp), grace_clamp);
	return num_single((double)m->grace * factor);
}

static void
ripen(const struct market *m, struct policy_row *r, int n)
{
	const double loss = mean_loss(r, n);

	for (int i = 0; i < n; i++) {
		const double age = (double)(r[i].step - r[i].born) / (double)m->interval;
		const double g = grace(m, &r[i], loss);
		const bool adult = off(m, GRACE) || r[i].born == 0 || age >= g;
		r[i].maturity = adult ? 1 : age / g;
	}
}

static bool
adult(const struct policy_row *r)
{
	return r->maturity >= 1;
}

/* Who counts in mean and sd: all, or adults, unless there are none. */
static bool
pool_is_adult(const struct market *m, const struct policy_row *r, int n)
{
	for (int i = 0; m->grace_pool == MARKET_ADULTS && i < n; i++)
		if (adult(&r[i]))
			return true;
	return false;
}

enum field { RAW, EFFECTIVE };

static double
field(const struct policy_row *r, enum field f)
{
	return f == RAW ? r->fitness : r->effective;
}

/* Mean and population sd. */
static void
moments(const struct policy_row *r, int n, bool adults, enum field f, double *mean, double *sd)
{
	double sum = 0, square = 0;
	int count = 0;

	for (int i = 0; i < n; i++)
		if (!adults || adult(&r[i])) {
			sum += field(&r[i], f);
			count++;
		}
	*mean = sum / count;
	for (int i = 0; i < n; i++)
		if (!adults || adult(&r[i])) {
			const double d = field(&r[i], f) - *mean;
			square += d * d;
		}
	*sd = sqrt(square / count);
}

static void
protect(const struct market *m, struct policy_row *r, int n, bool adults)
{
	double mean, sd;

	moments(r, n, adults, RAW, &mean, &sd);
	for (int i = 0; i < n; i++) {
		const double f = r[i].fitness, ripe = r[i].maturity;
		r[i].effective = ripe >= 1 ? f
				 : m->grace_rule == MARKET_RAMP
					 ? num_single(f * ripe)
					 : num_single(mean + (f - mean) * ripe);
	}
}

static void
essentials(struct policy_row *r, int n)
{
	const double loss = mean_loss(r, n), share = 1 / (double)n;

	for (int i = 0; i < n; i++) {
		bool *e = r[i].essential;
		e[POLICY_DEMAND] = r[i].demand >= essential_demand * share;
		e[POLICY_QUALITY] = r[i].quality > 0 && 1 / r[i].quality <= essential_loss * loss;
		e[POLICY_EXCLUSIVE] = r[i].exclusivity >= essential_first * share;
	}
}

/* The ramp's newborn may not be replaced; the tariff's may. */
static bool
safe(const struct market *m, const struct policy_row *r)
{
	return m->grace_rule == MARKET_RAMP && !adult(r);
}

static void
rank(const struct market *m, const struct policy_row *r, int n, struct market_layer *l)
{
	l->lowest = l->best = 0;
	l->worst = -1;
	for (int i = 0; i < n; i++) {
		const double f = r[i].effective;
		if (f < r[l->lowest].effective)
			l->lowest = i;
		if (f > r[l->best].effective)
			l->best = i;
		if (!safe(m, &r[i]) && (l->worst < 0 || f < r[l->worst].effective))
			l->worst = i;
	}
}

void
market_value(const struct market *m, struct policy_row *r, int n, struct market_layer *l)
{
	const double kappa = m->kappa;
	bool adults;

	*l = (struct market_layer){.layer = r->layer, .cause = "fit"};
	value(m, r, n);
	ripen(m, r, n);
	adults = pool_is_adult(m, r, n);
	protect(m, r, n, adults);
	essentials(r, n);
	rank(m, r, n, l);
	moments(r, n, adults, EFFECTIVE, &l->mean, &l->sd);
	l->threshold = num_single(l->mean - kappa * l->sd);
	l->ceiling = num_single(l->mean + kappa * l->sd);
	l->crossed = r[l->lowest].effective < l->threshold;
	if (off(m, THRESHOLD)) {
		l->threshold = INFINITY;
		l->ceiling = -INFINITY;
	}
}

/* --- decide --- */

enum action { KEEP, REPLACE, SHRINK, FILL, MAKE_ROOM };

/* A layer's part in a round. */
struct deal {
	struct policy_row *r;
	int n, slots; /* slots: how many there are, 0 for those in use */
	enum action action;
	int into;    /* the slot of a birth */
	bool leaves; /* an expert moves away */
};

/* Why the worst stays, NULL if it goes. */
static const char *
reprieve(const struct market *m, const struct deal *d, const struct market_layer *l)
{
	const struct policy_row *worst = l->worst < 0 ? NULL : &d->r[l->worst];

	if (d->n == 1)
		return "alone";
	if (!worst)
		return "young";
	if (!(worst->effective < l->threshold))
		return d->r[l->lowest].effective < l->threshold ? "young" : "fit";
	if (l->sd < m->spread * l->mean)
		return "spread";
	if (worst->below + 1 < m->persistence)
		return "persistence";
	return NULL;
}

/* The slots of the k-th layer, 0 for those in use, or -1 with a message. */
static int
slots_of(const struct market *m, const struct policy_step *s, int k)
{
	const struct policy_row *last = &s->row[s->begin[k + 1] - 1];

	if (!m->slots.n)
		return 0;
	if (m->slots.n > 1 && m->slots.n != s->layers)
		return err_set("--slots has %d numbers, step %ld has %d layers (expected as many, "
			       "or one)",
			       m->slots.n, s->step, s->layers);
	if (last->slot >= m->slots.v[m->slots.n > 1 ? k : 0])
		return err_set("step %ld: layer %d has a slot %d (expected it below --slots %d)",
			       s->step, last->layer, last->slot,
			       m->slots.v[m->slots.n > 1 ? k : 0]);
	return m->slots.v[m->slots.n > 1 ? k : 0];
}

/* The first empty slot after `after`, -1 if there is none. */
static int
empty_slot(const struct deal *d, int after)
{
	int i = 0, slot = after + 1;

	while (i < d->n && d->r[i].slot < slot)
		i++;
	while (i < d->n && d->r[i].slot == slot) {
		i++;
		slot++;
	}
	return slot < d->slots ? slot : -1;
}

static void
choose(const struct market *m, struct deal *d, struct market_layer *l)
{
	const bool thrives = d->r[l->best].effective > l->ceiling;

	d->action = KEEP;
	if (d->r->step % m->interval != 0) {
		l->cause = "interval";
		return;
	}
	if (!market_due(m, d->r->step)) {
		l->cause = "warm-up";
		return;
	}
	l->cause = reprieve(m, d, l);
	if (!l->cause) {
		if (m->least && d->n > m->least && !thrives && !off(m, DEATH)) {
			d->action = SHRINK;
			l->cause = "surplus";
			return;
		}
		if (!off(m, REPLACEMENT)) {
			d->action = REPLACE;
			l->cause = "replace";
			return;
		}
		l->cause = "off";
	}
	d->into = empty_slot(d, -1);
	if (thrives && d->into >= 0 && !off(m, BIRTH)) {
		d->action = FILL;
		l->cause = "empty-slot";
	}
}

static int
best_but(const struct policy_row *r, int n, int but)
{
	int best = -1;

	for (int i = 0; i < n; i++)
		if (i != but && (best < 0 || r[i].effective > r[best].effective))
			best = i;
	return best;
}

/* --- migration --- */

struct move {
	int from, to, row, slot; /* layers by place in the step; from -1: none */
	double demand;		 /* in fair shares */
};

/* Demand-essential, of full age, and neither better nor less replaceable than its peers. */
static bool
redundant(const struct policy_row *r)
{
	return adult(r) && r->essential[POLICY_DEMAND] && !r->essential[POLICY_QUALITY] &&
	       !r->essential[POLICY_EXCLUSIVE];
}

static void
find_migrant(const struct market *m, const struct deal *d, int k, const struct market_layer *l,
	     struct move *v)
{
	const bool dies = d->action == REPLACE || d->action == SHRINK;

	if (d->n - 1 - (d->action == SHRINK) < m->least)
		return;
	for (int i = 0; i < d->n; i++) {
		const double demand = d->r[i].demand * d->n;
		if (redundant(&d->r[i]) && !(dies && i == l->worst) && demand > v->demand)
			*v = (struct move){k, -1, i, -1, demand};
	}
}

/* To the layer with most empty slots; else in place of the least fit of those to be replaced. */
static void
find_place(const struct deal *d, int layers, const struct market_layer *l, struct move *v)
{
	double least = INFINITY;
	int most = 0;

	for (int k = 0; k < layers; k++) {
		const int room = d[k].slots - d[k].n - (d[k].action == FILL);
		if (k == v->from || room <= most)
			continue;
		most = room;
		v->to = k;
		v->slot = empty_slot(&d[k], d[k].action == FILL ? d[k].into : -1);
	}
	for (int k = 0; !most && k < layers; k++) {
		double fit;
		if (k == v->from || d[k].action != REPLACE)
			continue;
		fit = l[k].mean > 0 ? d[k].r[l[k].worst].effective / l[k].mean : 0;
		if (fit >= least)
			continue;
		least = fit;
		v->to = k;
		v->slot = d[k].r[l[k].worst].slot;
	}
}

static struct move
migrate(const struct market *m, struct deal *d, int layers, struct market_layer *l)
{
	struct move v = {.from = -1, .to = -1};

	if (!migrates(m) || !market_due(m, d->r->step))
		return v;
	for (int k = 0; k < layers; k++)
		find_migrant(m, &d[k], k, &l[k], &v);
	if (v.from >= 0)
		find_place(d, layers, l, &v);
	if (v.to < 0)
		return v;
	d[v.from].leaves = true;
	if (d[v.to].action == REPLACE && v.slot == d[v.to].r[l[v.to].worst].slot) {
		d[v.to].action = MAKE_ROOM;
		l[v.to].cause = "migration";
	}
	return v;
}

/* --- events --- */

static struct policy_event
about(const struct policy_row *r, enum policy_kind kind, const struct market_layer *l)
{
	struct policy_event e = policy_event(r->step, r->layer, r->slot, kind, l->cause);

	e.expert = r->expert;
	e.value = r->effective;
	e.threshold = l->threshold;
	return e;
}

/* One multiple of the unit wider or narrower at least; which of both alternates. */
static int
mutant_width(const struct market *m, const struct policy_row *parent, int slot)
{
	const bool wider = (parent->step / m->interval + parent->layer + slot) % 2 == 0;
	const double ratio = wider ? 1 + m->width_step : 1 - m->width_step;
	const long unit = WIDTH_UNIT, now = parent->width;
	long width = lround((double)now * ratio / WIDTH_UNIT) * unit;

	if (wider ? width <= now : width >= now)
		width = wider ? now / unit * unit + unit : (now - 1) / unit * unit;
	return (int)(width < unit ? unit : width > WIDTH_MOST ? WIDTH_MOST : width);
}

static void
bear(const struct market *m, const struct deal *d, const struct market_layer *l, int slot,
     int parent, double threshold, struct policy_events *to)
{
	const struct policy_row *p = &d->r[parent];
	struct policy_event e = policy_event(p->step, p->layer, slot, POLICY_BIRTH, l->cause);
	const bool fresh = m->birth == 1 || off(m, INHERITANCE);

	e.value = p->effective;
	e.threshold = threshold;
	e.origin = fresh ? POLICY_FRESH : m->birth == 0 ? POLICY_MUTANT : POLICY_MEAN;
	if (e.origin == POLICY_MUTANT)
		e.parent = p->expert;
	if (!fresh)
		e.sigma = off(m, MUTATION) ? 0 : num_single(m->sigma);
	if (e.origin == POLICY_MUTANT && widens(m) && p->width)
		e.width = mutant_width(m, p, slot);
	policy_events_add(to, &e);
}

static void
tell(const struct market *m, const struct deal *d, const struct market_layer *l,
     struct policy_events *to)
{
	const int at = l->worst >= 0 ? l->worst : l->lowest;
	struct policy_event e;

	if (d->action == REPLACE || d->action == SHRINK || d->action == MAKE_ROOM) {
		e = about(&d->r[at], POLICY_DEATH, l);
		policy_events_add(to, &e);
	}
	if (d->action == REPLACE)
		bear(m, d, l, d->r[at].slot, best_but(d->r, d->n, at), l->threshold, to);
	if (d->action == FILL)
		bear(m, d, l, d->into, l->best, l->ceiling, to);
	if (d->action == KEEP && !d->leaves) {
		e = about(&d->r[at], POLICY_KEEP, l);
		policy_events_add(to, &e);
	}
}

static void
tell_move(const struct deal *d, const struct move *v, struct policy_events *to)
{
	const struct policy_row *r = &d[v->from].r[v->row];
	struct policy_event e = policy_event(r->step, r->layer, r->slot, POLICY_MOVE, "migration");

	e.expert = r->expert;
	e.value = num_single(v->demand);
	e.threshold = essential_demand;
	e.to_layer = d[v->to].r->layer;
	e.to_slot = v->slot;
	policy_events_add(to, &e);
}

int
market_decide(const struct market *m, struct policy_step *s, struct market_round *r)
{
	struct deal *d = mem_zero((size_t)s->layers, sizeof *d);
	struct move v;

	if (s->layers > r->room) {
		r->room = s->layers;
		r->layer = mem_grow(r->layer, (size_t)r->room, sizeof *r->layer);
	}
	r->layers = s->layers;
	policy_events_clear(&r->events);
	for (int k = 0; k < s->layers; k++) {
		d[k].r = s->row + s->begin[k];
		d[k].n = s->begin[k + 1] - s->begin[k];
		d[k].slots = slots_of(m, s, k);
		if (d[k].slots < 0) {
			free(d);
			return -1;
		}
		market_value(m, d[k].r, d[k].n, &r->layer[k]);
		choose(m, &d[k], &r->layer[k]);
	}
	v = migrate(m, d, s->layers, r->layer);
	for (int k = 0; k < s->layers; k++)
		tell(m, &d[k], &r->layer[k], &r->events);
	if (v.to >= 0)
		tell_move(d, &v, &r->events);
	free(d);
	return 0;
}

void
market_round_free(struct market_round *r)
{
	policy_events_free(&r->events);
	free(r->layer);
	*r = (struct market_round){0};
}
