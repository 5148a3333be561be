#include "base/err.h"
#include "policy/market.h"
#include "tap.h"

/* Four experts of one layer; founders unless a test says otherwise. */
static const double demand[] = {0.4, 0.3, 0.2, 0.1}, quality[] = {0.5, 0.5, 0.4, 0.25};
static const double first[] = {0.2, 0.1, 0.05, 0.01}, flops[] = {400, 300, 200, 100};

static struct policy_row
row(long step, int layer, int slot, double d, double q, double e, double f)
{
	return (struct policy_row){.step = step,
				   .layer = layer,
				   .slot = slot,
				   .expert = 10 * layer + slot,
				   .parent = -1,
				   .demand = (double)(float)d,
				   .quality = (double)(float)q,
				   .exclusivity = (double)(float)e,
				   .flops = (double)(float)f};
}

static struct policy_step
four(long step)
{
	struct policy_step s = {0};

	for (int i = 0; i < 4; i++) {
		struct policy_row r = row(step, 0, i, demand[i], quality[i], first[i], flops[i]);
		policy_step_add(&s, &r);
	}
	return s;
}

/* A layer whose fitness, in mode A, is what is given: D is 1/64 and exact. */
static struct policy_step
fit(long step, int n, const double *f)
{
	struct policy_step s = {0};

	for (int i = 0; i < n; i++) {
		struct policy_row r = row(step, 0, i, 1.0 / 64, 64 * f[i], 0, 1);
		policy_step_add(&s, &r);
	}
	return s;
}

static struct market
market(int mode)
{
	struct market m;

	market_init(&m);
	m.fitness = mode;
	return m;
}

/* Events as one text: `kind slot cause expert>parent` by semicolons, and the numbers in *r. */
static struct market_round round_;
static char told[1024];

static const char *
decide(struct market *m, struct policy_step *s)
{
	*told = 0;
	if (market_check(m) || market_decide(m, s, &round_))
		return err_text();
	for (int i = 0; i < round_.events.n; i++) {
		const struct policy_event *e = &round_.events.v[i];
		snprintf(told + strlen(told), sizeof told - strlen(told), "%s%s %d.%d %s %ld>%ld",
			 i ? "; " : "", policy_kind_name(e->kind), e->layer, e->slot, e->cause,
			 e->expert, e->parent);
	}
	return told;
}

static void
decides(struct market m, struct policy_step s, const char *want, const char *name)
{
	is_text(decide(&m, &s), want, "%s", name);
	policy_step_free(&s);
}

#define AT(...) fit(600, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

/* F = QD, QD/c, QDE/c with c = 2.6, 2.2, 1.8, 1.4: by hand. */
static void
by_hand(void)
{
	static const double want[3][4] = {
		{0.2, 0.15, 0.08, 0.025},
		{0.0769230769, 0.0681818182, 0.0444444444, 0.0178571429},
		{0.0153846154, 0.00681818182, 0.00222222222, 0.000178571429}};
	static const double mean[] = {0.11375, 0.0518516206, 0.0061508977};
	static const double sd[] = {0.0666497374, 0.0229441934, 0.00584828997};
	static const double least[] = {0.0471002626, 0.0289074272, 0.00030260774};
	static const double most[] = {0.180399737, 0.074795814, 0.0119991877};

	for (int mode = 0; mode < 3; mode++) {
		struct market m = market(mode);
		struct policy_step s = four(510);
		const struct market_layer *l;
		is_text(decide(&m, &s), "death 0.3 replace 3>-1; birth 0.3 replace -1>0",
			"%c replaces the worst by a clone of the fittest", "ABC"[mode]);
		l = round_.layer;
		for (int i = 0; i < 4; i++) {
			is_real(s.row[i].fitness, want[mode][i], 1e-8, "%c: F of %d", "ABC"[mode],
				i);
			is_real(s.row[i].effective, s.row[i].fitness, 0, "F_eff of a founder");
		}
		is_real(l->mean, mean[mode], 1e-8, "mean");
		is_real(l->sd, sd[mode], 1e-9, "population sd");
		is_real(l->threshold, least[mode], 1e-8, "threshold");
		is_real(l->ceiling, most[mode], 1e-8, "ceiling");
		ok(l->crossed, "it crossed");
		is_real(round_.events.v[0].value, want[mode][3], 1e-8, "the death tells F_eff");
		is_real(round_.events.v[0].threshold, least[mode], 1e-8, "and the threshold");
		is_real(round_.events.v[1].value, want[mode][0], 1e-8, "the birth its parent's");
		is_real(round_.events.v[1].sigma, 0.01, 1e-9, "and the noise");
		is_long(round_.events.v[1].origin, POLICY_MUTANT, "and that it is a mutant");
		policy_step_free(&s);
	}
}

static void
edges(void)
{
	struct market m = market(MARKET_A);
	struct policy_step s = AT(1, 1, 1, 1);

	decides(m, AT(1), "keep 0.0 alone 0>-1", "one expert stays");
	decides(m, AT(1, 1, 1, 1), "keep 0.0 fit 0>-1", "equal experts stay");
	decides(m, AT(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1), "keep 0.0 fit 0>-1",
		"whatever the rounding");
	decides(m, AT(1, 1, 3, 3), "keep 0.0 fit 0>-1", "exactly at the threshold is not below");
	decides(m, AT(3, 1), "keep 0.1 fit 1>-1", "so the worse of two always stays");
	decides(m, AT(0.7, 0.1), "keep 0.1 fit 1>-1", "whatever the rounding");
	decides(m, AT(3, 0.999, 1, 3), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"just below goes, and the lowest slot of the fittest is the parent");
	decides(m, AT(5, 1, 5, 1, 5, 5, 5), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"of equals the lowest slot goes");
	for (int i = 0; i < 4; i++)
		s.row[i].demand = s.row[i].quality = s.row[i].flops = 0;
	m.fitness = MARKET_C;
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1", "no tokens: nobody goes");
	is_real(s.row[0].effective, 0, 0, "F is 0");
	is_real(round_.layer->threshold, 0, 0, "and so is the threshold");
	for (int i = 0; i < 4; i++)
		s.row[i].demand = s.row[i].quality = 0.5;
	m.fitness = MARKET_B;
	decide(&m, &s);
	is_real(s.row[0].fitness, 0.25, 0, "without FLOPs in the layer c is 1");
	policy_step_free(&s);
	m = market(MARKET_A);
	m.kappa = 2;
	decides(m, AT(3, 0.999, 1, 3), "keep 0.1 fit 1>-1", "kappa is heard");
	m.kappa = 0;
	decides(m, AT(3, 2, 3, 3), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"kappa 0: below the mean");
}

static void
when(void)
{
	static const double f[] = {3, 0.5, 3, 3};
	struct market m = market(MARKET_A);

	decides(m, fit(500, 4, f), "keep 0.1 warm-up 1>-1", "step 500 ends the warm-up");
	decides(m, fit(505, 4, f), "keep 0.1 interval 1>-1", "a step between market steps");
	decides(m, fit(510, 4, f), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"the first market step");
	m.warmup = 0;
	decides(m, fit(0, 4, f), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"without a warm-up step 0 is one");
	m = market(MARKET_A);
	m.without = "warm-up";
	decides(m, fit(10, 4, f), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"the warm-up switched off");
	market_check(&m);
	m.interval = 7;
	ok(market_due(&m, 14) && !market_due(&m, 15), "market_due knows the interval");
}

static void
grace(void)
{
	struct market m = market(MARKET_A);
	struct policy_step s = AT(4, 3, 4, 2);

	/* Born at 350: 25 of 50 market steps old at 600. F_eff 4, 1.5, 4, 2: threshold 1.736. */
	s.row[1].born = 350;
	is_text(decide(&m, &s), "keep 0.3 young 3>-1", "ramp: the newborn is lowest and safe");
	is_real(s.row[1].effective, 1.5, 0, "its fitness is halved");
	is_real(s.row[1].maturity, 0.5, 0, "for half of its grace");
	is_real(round_.layer->threshold, 1.73619583, 1e-7, "it counts in mean and sd");
	ok(round_.layer->crossed, "the literal threshold is crossed");
	m.grace_pool = MARKET_ADULTS;
	is_text(decide(&m, &s), "death 0.3 replace 3>-1; birth 0.3 replace -1>0",
		"adults: a veteran is below their threshold");
	is_real(round_.layer->mean, 10.0 / 3, 1e-15, "which is of adults");
	is_real(round_.layer->threshold, 2.39052427, 2e-7, "alone");
	m.grace_pool = MARKET_ALL;
	m.grace_rule = MARKET_TARIFF;
	/* mean F = 3.25: F_eff = 3.25 - 0.25 / 2. */
	is_text(decide(&m, &s), "death 0.3 replace 3>-1; birth 0.3 replace -1>0",
		"tariff: a veteran is lowest");
	is_real(s.row[1].effective, 3.125, 0, "the newborn's distance is halved");
	s.row[1].quality = 64 * 0.25;
	s.row[3].quality = 64 * 4;
	/* F 4, .25, 4, 4: mean 3.0625, F_eff 1.65625; threshold 3.4140625 - 1.01487352. */
	is_text(decide(&m, &s), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"tariff: a newborn that is bad enough goes");
	is_real(s.row[1].effective, 1.65625, 0, "with its distance halved");
	is_real(round_.layer->threshold, 2.39918898, 1e-7, "below the threshold");
	m.grace_rule = MARKET_RAMP;
	is_text(decide(&m, &s), "keep 0.0 young 0>-1", "ramp: it does not");
	policy_step_free(&s);
}

static void
grace_ends(void)
{
	struct market m = market(MARKET_A);
	struct policy_step s = AT(4, 0.5, 4, 4);

	s.row[1].born = 101;
	is_text(decide(&m, &s), "keep 0.0 young 0>-1", "49.9 market steps are within the grace");
	s.row[1].born = 100;
	is_text(decide(&m, &s), "death 0.1 replace 1>-1; birth 0.1 replace -1>0", "50 are not");
	s.row[1].born = 590;
	m.grace = 0;
	is_text(decide(&m, &s), "death 0.1 replace 1>-1; birth 0.1 replace -1>0", "no grace");
	m.grace = 50;
	m.without = "grace";
	is_text(decide(&m, &s), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"grace switched off");
	m.without = NULL;
	for (int i = 0; i < 4; i++)
		s.row[i].born = 590;
	is_text(decide(&m, &s), "keep 0.1 young 1>-1", "all are young: the lowest is told of");
	m.grace_pool = MARKET_ADULTS;
	is_text(decide(&m, &s), "keep 0.1 young 1>-1", "no adults: all count");
	is_real(round_.layer->mean, 0.0625, 1e-8, "in the mean, 3.125 / 50");
	policy_step_free(&s);
}

/* Losses 1, 2, 3 and no tokens; mean 2. */
static void
adaptive(void)
{
	static const double q[] = {1, 0.5, 1.0 / 3, 0}, age[] = {20, 10, 5, 10};
	struct market m = market(MARKET_A);
	struct policy_step s = {0};

	m.adaptive = true;
	m.barrier = 0.5;
	m.slope = 2;
	m.heat = 4;
	for (int i = 0; i < 4; i++) {
		struct policy_row r = row(600, 0, i, 0.25, q[i], 0, 1);
		r.born = 600 - 10 * (long)age[i];
		policy_step_add(&s, &r);
	}
	decide(&m, &s);
	is_real(s.row[0].maturity, 20 / (50 * exp(-0.375)), 1e-7, "grace exp((E0 - a) / T)");
	is_real(s.row[1].maturity, 10 / (50 * exp(0.125)), 1e-7, "grace exp(E0 / T)");
	is_real(s.row[2].maturity, 5 / (50 * exp(0.625)), 1e-7, "grace exp((E0 + a) / T)");
	is_real(s.row[3].maturity, 10 / (50 * exp(0.125)), 1e-7, "no tokens: the mean loss");
	m.heat = 0.01;
	decide(&m, &s);
	is_real(s.row[0].maturity, 1, 0, "clamped below: 50 / 8 market steps are over");
	is_real(s.row[2].maturity, 5.0 / 400, 1e-9, "clamped above: 50 * 8");
	m.without = "adaptive-grace";
	decide(&m, &s);
	is_real(s.row[2].maturity, 0.1, 1e-9, "switched off");
	policy_step_free(&s);
}

static void
caution(void)
{
	struct market m = market(MARKET_A);
	struct policy_step s = AT(4, 3, 4, 4);

	/* sd / mean = 0.4330 / 3.75 = 0.11547 */
	m.spread = 0.116;
	is_text(decide(&m, &s), "keep 0.1 spread 1>-1", "too little spread");
	ok(round_.layer->crossed, "though it crossed");
	m.spread = 0.115;
	is_text(decide(&m, &s), "death 0.1 replace 1>-1; birth 0.1 replace -1>0", "enough");
	m.persistence = 3;
	is_text(decide(&m, &s), "keep 0.1 persistence 1>-1", "the first check of three");
	s.row[1].below = 1;
	is_text(decide(&m, &s), "keep 0.1 persistence 1>-1", "the second");
	s.row[1].below = 2;
	is_text(decide(&m, &s), "death 0.1 replace 1>-1; birth 0.1 replace -1>0", "the third");
	ok(market_needs(&m, true) & ROW_BELOW, "persistence needs the column");
	ok(!(market_needs(&m, false) & ROW_BELOW), "to decide, not to value");
	policy_step_free(&s);
}

static void
births(void)
{
	int two[] = {6}, each[] = {6, 7};
	struct market m = market(MARKET_A);
	struct policy_step s = AT(4, 4, 6, 4);

	/* mean 4.5, sd 0.866: ceiling 5.366, threshold 3.634 */
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1", "no empty slots without --slots");
	m.slots = (struct opt_ints){1, two};
	is_text(decide(&m, &s), "birth 0.4 empty-slot -1>2", "the first empty slot is filled");
	is_real(round_.events.v[0].value, 6, 0, "by the fittest's fitness");
	is_real(round_.events.v[0].threshold, 5.36602540, 1e-7, "above the ceiling");
	s.row[0].slot = 0, s.row[1].slot = 2, s.row[2].slot = 3, s.row[3].slot = 4;
	is_text(decide(&m, &s), "birth 0.1 empty-slot -1>2", "a gap comes first");
	s.row[3].slot = 5;
	is_text(decide(&m, &s), "birth 0.1 empty-slot -1>2", "whatever comes after");
	s.row[2].quality = 64 * 5.3;
	m.kappa = 2;
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1", "not below the ceiling");
	m.kappa = 1;
	m.without = "birth";
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1", "births switched off");
	m.without = NULL;
	s.row[0].quality = 64;
	is_text(decide(&m, &s), "death 0.0 replace 0>-1; birth 0.0 replace -1>2",
		"a replacement goes before a birth");
	s.row[3].slot = 6;
	is_text(decide(&m, &s), "step 600: layer 0 has a slot 6 (expected it below --slots 6)",
		"a slot too many");
	m.slots = (struct opt_ints){2, each};
	is_text(decide(&m, &s),
		"--slots has 2 numbers, step 600 has 1 layers (expected as many, or one)",
		"numbers for other layers");
	policy_step_free(&s);
}

static const struct policy_event *
newborn(struct market *m, struct policy_step *s)
{
	decide(m, s);
	return &round_.events.v[round_.events.n - 1];
}

static void
kinds(void)
{
	struct market m = market(MARKET_A);
	struct policy_step s = AT(4, 1, 4, 4);

	m.birth = 1;
	is_long(newborn(&m, &s)->origin, POLICY_FRESH, "a fresh newborn");
	is_long(newborn(&m, &s)->parent, -1, "has no parent");
	is_real(newborn(&m, &s)->sigma, NAN, 0, "and no noise");
	m.birth = 2;
	is_long(newborn(&m, &s)->origin, POLICY_MEAN, "the mean of its peers");
	is_long(newborn(&m, &s)->parent, -1, "has no parent");
	is_real(newborn(&m, &s)->sigma, 0.01, 1e-9, "but noise");
	m.birth = 0;
	m.without = "mutation";
	is_real(newborn(&m, &s)->sigma, 0, 0, "mutation switched off");
	is_long(newborn(&m, &s)->parent, 0, "leaves the parent");
	m.without = "inheritance";
	is_long(newborn(&m, &s)->origin, POLICY_FRESH, "inheritance switched off");
	m.without = NULL;
	m.width_step = 0.125;
	is_long(newborn(&m, &s)->width, -1, "no width is known");
	ok(market_needs(&m, true) & ROW_WIDTH, "it is needed");
	s.row[0].width = 512;
	is_long(newborn(&m, &s)->width, 448, "narrower by an eighth: 60 + 0 + 1 is odd");
	for (int i = 0; i < 4; i++)
		s.row[i].step = 610;
	is_long(newborn(&m, &s)->width, 576, "wider at the next market step");
	s.row[0].width = 8;
	is_long(newborn(&m, &s)->width, 16, "by one unit at least");
	for (int i = 0; i < 4; i++)
		s.row[i].step = 620;
	is_long(newborn(&m, &s)->width, 8, "and never to none");
	m.without = "width";
	is_long(newborn(&m, &s)->width, -1, "width mutation switched off");
	policy_step_free(&s);
}

/* F by mode C with one factor of D .1, Q .25, E .01, c 1.4 gone. */
static void
switches(void)
{
	static const struct {
		const char *without;
		double want;
	} t[] = {{"quality", 0.1 * 0.01 / 1.4},	   {"demand", 0.25 * 0.01 / 1.4},
		 {"cost", 0.25 * 0.1 * 0.01},	   {"exclusivity", 0.25 * 0.1 / 1.4},
		 {"cost,exclusivity", 0.25 * 0.1}, {"fitness", 1},
		 {"", 0.25 * 0.1 * 0.01 / 1.4}};
	struct market m = market(MARKET_C);
	struct policy_step s = four(600);

	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		m.without = (char *)t[i].without;
		decide(&m, &s);
		is_real(s.row[3].fitness, t[i].want, 1e-8, "--without \"%s\"", t[i].without);
	}
	m.without = "cost,exclusivity";
	market_check(&m);
	is_long(market_needs(&m, false), ROW_DEMAND | ROW_QUALITY,
		"what is not computed is not needed");
	m.without = "prices";
	is_long(market_check(&m), -1, "what is no mechanism of the market is refused");
	ok(strstr(err_text(), "--without \"prices\" (expected birth|death|"), "with a list");
	m.without = "birth,,death";
	is_long(market_check(&m), -1, "so is nothing");
	m = market(MARKET_C);
	m.migration = true;
	is_long(market_check(&m), -1, "migration needs a minimum");
	policy_step_free(&s);
	m = market(MARKET_A);
	m.without = "replacement";
	decides(m, AT(4, 1, 4, 4), "keep 0.1 off 1>-1", "replacement switched off");
	m.without = "threshold";
	decides(m, AT(1, 1, 1), "death 0.0 replace 0>-1; birth 0.0 replace -1>1",
		"without threshold the lowest goes at each market step");
	is_real(round_.events.v[0].threshold, INFINITY, 0, "its threshold is infinite");
	decides(m, AT(1), "keep 0.0 alone 0>-1", "but never the last");
}

static void
shrinking(void)
{
	struct market m = market(MARKET_A);

	m.least = 3;
	decides(m, AT(4, 1, 4, 4), "death 0.1 surplus 1>-1",
		"no candidate worth cloning: a death without replacement");
	decides(m, AT(4, 1, 4), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"at the minimum it is replaced");
	decides(m, AT(3, 1, 3, 6), "death 0.1 replace 1>-1; birth 0.1 replace -1>3",
		"and where the fittest is worth cloning");
	m.without = "death";
	decides(m, AT(4, 1, 4, 4), "death 0.1 replace 1>-1; birth 0.1 replace -1>0",
		"deaths without replacement switched off");
	m.without = "replacement";
	decides(m, AT(4, 1, 4, 4), "death 0.1 surplus 1>-1", "deaths without replacements");
}

/* Layer 1 of four experts, one of which has half of the tokens and nothing else to say for it. */
static struct policy_step
layers(double lowest)
{
	static const double d[] = {0.2, 0.5, 0.2, 0.1};
	struct policy_step s = {0};

	for (int l = 0; l < 3; l++)
		for (int i = 0; i < 4; i++) {
			const double share = l == 1 ? d[i] : 0.25;
			const double q = l == 2 && i == 2 ? lowest : 0.5;
			struct policy_row r = row(600, l, i, share, q, 0.01, 1);
			policy_step_add(&s, &r);
		}
	return s;
}

static void
migration(void)
{
	int slots[] = {4, 4, 6};
	struct market m = market(MARKET_A);
	struct policy_step s = layers(0.5);

	m.least = 3;
	m.migration = true;
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1; keep 1.3 fit 13>-1; keep 2.0 fit 20>-1",
		"nowhere to go");
	m.slots = (struct opt_ints){3, slots};
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1; keep 2.0 fit 20>-1; move 1.1 migration 11>-1",
		"to an empty slot");
	is_long(round_.events.v[2].to_layer, 2, "of the layer that has one");
	is_long(round_.events.v[2].to_slot, 4, "the first");
	is_real(round_.events.v[2].value, 2, 1e-6, "for its two fair shares");
	is_real(round_.events.v[2].threshold, 1.5, 0, "of 1.5 that it takes");
	m.without = "migration";
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1; keep 1.3 fit 13>-1; keep 2.0 fit 20>-1",
		"switched off");
	m.without = NULL;
	m.least = 4;
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1; keep 1.3 fit 13>-1; keep 2.0 fit 20>-1",
		"not below the minimum");
	m.least = 3;
	s.row[5].exclusivity = 0.25;
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1; keep 1.3 fit 13>-1; keep 2.0 fit 20>-1",
		"not who is exclusive-essential");
	s.row[5].exclusivity = 0;
	s.row[5].quality = 0.75;
	is_text(decide(&m, &s), "keep 0.0 fit 0>-1; keep 1.3 fit 13>-1; keep 2.0 fit 20>-1",
		"nor quality-essential");
	s.row[5].quality = 0.5;
	s.row[5].born = 590;
	decide(&m, &s);
	is_long(round_.events.v[round_.events.n - 1].kind, POLICY_KEEP, "nor a newborn");
	policy_step_free(&s);
	s = layers(0.1);
	m.slots = (struct opt_ints){0, NULL};
	m.without = "death";
	is_text(decide(&m, &s),
		"keep 0.0 fit 0>-1; death 2.2 migration 22>-1; move 1.1 migration 11>-1",
		"in place of the least fit");
	is_long(round_.events.v[2].to_slot, 2, "in its slot");
	policy_step_free(&s);
}

static void
essential(void)
{
	struct market m = market(MARKET_A);
	struct policy_step s = four(600);
	const struct policy_row *r = s.row;

	/* Fair share .25; losses 2, 2, 2.5, 4: mean 2.625, cut-off 2.49. */
	decide(&m, &s);
	ok(r[0].essential[POLICY_DEMAND] && !r[1].essential[POLICY_DEMAND],
	   "demand-essential: 1.5 fair shares");
	ok(r[1].essential[POLICY_QUALITY] && !r[2].essential[POLICY_QUALITY],
	   "quality-essential: 0.95 of the mean loss");
	ok(!r[0].essential[POLICY_EXCLUSIVE], "exclusive-essential: a fair share");
	s.row[0].exclusivity = 0.25;
	decide(&m, &s);
	ok(r[0].essential[POLICY_EXCLUSIVE], "of clear first choices");
	policy_step_free(&s);
}

/* A round is the same the second time, and of inputs twice as large it differs in nothing. */
static void
pure(void)
{
	struct market m = market(MARKET_C);
	struct policy_step a = four(600), b = four(600);
	char first_time[sizeof told];
	double threshold;

	strcpy(first_time, decide(&m, &a));
	threshold = round_.events.v[0].threshold;
	is_text(decide(&m, &a), first_time, "deciding twice decides the same");
	is_real(round_.events.v[0].threshold, threshold, 0, "for the same reason");
	for (int i = 0; i < 4; i++) {
		b.row[i].quality *= 2;
		b.row[i].flops *= 4;
	}
	decide(&m, &b);
	is_real(round_.events.v[0].threshold, 2 * threshold, 0, "fitness has no scale");
	is_real(b.row[1].fitness, 2 * a.row[1].fitness, 0, "nor cost");
	policy_step_free(&a);
	policy_step_free(&b);
}

int
main(void)
{
	by_hand();
	edges();
	when();
	grace();
	grace_ends();
	adaptive();
	caution();
	births();
	kinds();
	switches();
	shrinking();
	migration();
	essential();
	pure();
	market_round_free(&round_);
	return done();
}
