#include "policy/tally.h"
#include "policy/track.h"
#include "tap.h"

/* E against the settings that were published with one, and its corners. */
static void
control(void)
{
	static const struct {
		double T, H, O, B, e;
		const char *phase;
	} known[] = {
		{3, 0.10, 0.15, 0.40, 6.0 / 11, "healthy"},
		{3, 0.10, 0.15, 0.85, 0.3, "sub-health"},
		{3, 0.1, 0.2, 0.4, 0.5, "healthy"}, /* 0.3 / 0.6 is below 0.5 in doubles */
		{1, 0.2, 0.25, 0.75, 0.2, "sub-health"},
		{1, 0.1999, 0.25, 0.75, 0.1999, "collapse"},
		{0.3, 0.10, 0.15, 0.40, 0.6 / 11, "collapse"},
		{1, 0, 0.1, 0, 0, "collapse"},
		{1, 1, 0, 0, INFINITY, "healthy"},
		{1, 0, 0, 0, NAN, ""},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		const struct ecology_e x =
			ecology_e(known[i].T, known[i].H, known[i].O, known[i].B, 200);
		is_real(x.e, known[i].e, 1e-15, "E of T %g, H %g, O %g, B %g", known[i].T,
			known[i].H, known[i].O, known[i].B);
		is_text(ecology_phase(x.e), known[i].phase, "its phase");
		is_real(x.e_log, known[i].e / 5.298317366548036, 1e-15, "over ln 200");
		is_real(x.e_sqrt, known[i].e / 14.142135623730951, 1e-15, "over the root of 200");
	}
	is_real(ecology_e(1, 1, 1, 0, 0).e_log, NAN, 0, "without classes no E_eff");
}

/* Classes on each limit, a sample to either side, at sizes where a float would stumble. */
static void
classes(void)
{
	static const int64_t whole[] = {100, 300, 700, 1000, 10000, 9999900, 1L << 40, 1L << 60};
	static const struct {
		int usage, accuracy; /* percent: the limit crossed by one sample */
		enum ecology_class at, below;
	} limit[] = {{3, 50, ECOLOGY_PURE_CORE, ECOLOGY_BROAD_CORE},
		     {3, 30, ECOLOGY_BROAD_CORE, ECOLOGY_WEAK_CORE},
		     {1, 25, ECOLOGY_EDGE, ECOLOGY_NOISE}};

	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
		const int64_t N = whole[i];
		const int64_t three = (int64_t)(((__int128)N * 3 + 99) / 100); /* the least count */
		const int64_t one = (int64_t)(((__int128)N + 99) / 100);
		is_text(ecology_class_name(ecology_class(N, three, three)), "PURE_CORE",
			"3 %% of %lld", (long long)N);
		is_text(ecology_class_name(ecology_class(N, three - 1, three - 1)),
			three - 1 >= one ? "EDGE" : "DEAD", "one less");
		is_text(ecology_class_name(ecology_class(N, one, one)), one >= three ? "x" : "EDGE",
			"1 %% of %lld", (long long)N);
		is_text(ecology_class_name(ecology_class(N, one - 1, one - 1)), "DEAD", "one less");
		is_text(ecology_class_name(ecology_class(N, three, -1)), "CORE", "3 %%, untold");
		is_text(ecology_class_name(ecology_class(N, one, -1)), "FRINGE", "1 %%, untold");
	}
	for (int i = 0; i < 3; i++) {
		const int64_t n = 4000, N = n * 100 / limit[i].usage;
		const int64_t hits = n * limit[i].accuracy / 100;
		is_long(ecology_class(N, n, hits), limit[i].at, "accuracy of %d %%",
			limit[i].accuracy);
		is_long(ecology_class(N, n, hits - 1), limit[i].below, "a hit less");
	}
	is_long(ecology_class(100, 0, 0), ECOLOGY_DEAD, "nobody came");
	is_long(ecology_class(0, 0, 0), ECOLOGY_DEAD, "not even a sample");
}

/* Shares rounded to float32 give the class of the counts they came from. */
static void
shares(void)
{
	int wrong = 0;

	for (int64_t N = 100; N < 3000; N += 7)
		for (int64_t first = 0; first <= N && first * 20 < N; first++)
			for (int64_t hits = 0; hits <= first; hits++) {
				const double u = (double)(float)((double)first / (double)N);
				const double a =
					first ? (double)(float)((double)hits / (double)first) : 0;
				wrong += ecology_class_of(u, a) != ecology_class(N, first, hits) ||
					 ecology_class_of(u, NAN) != ecology_class(N, first, -1);
			}
	is_long(wrong, 0, "shares in float32 give the class of the counts");
}

static void
spread(void)
{
	double even[8] = {5, 5, 5, 5, 5, 5, 5, 5}, one[4] = {0, 7, 0, 0}, some[4] = {4, 1, 3, 2};
	double none[2] = {0, 0};
	struct ecology_load l = ecology_load(8, even);

	is_real(l.gini, 0, 1e-15, "even load: gini");
	is_real(l.entropy, 1, 1e-15, "entropy");
	is_real(l.maxvio, 0, 1e-15, "maxvio");
	l = ecology_load(4, one);
	is_real(l.gini, 0.75, 1e-15, "one of four has all: gini 1 - 1/4");
	is_real(l.entropy, 0, 1e-15, "entropy");
	is_real(l.maxvio, 3, 1e-15, "maxvio");
	is_real(l.dead, 0.75, 1e-15, "three are unused");
	l = ecology_load(4, some);
	is_real(l.gini, 0.25, 1e-15, "1 2 3 4: gini");
	is_real(l.entropy, 1.2798542258336676 / log(4), 1e-15, "entropy");
	is_real(l.maxvio, 0.6, 1e-15, "maxvio");
	is_real(l.q25, 0.7, 1e-15, "lower quartile");
	is_real(l.median, 1, 1e-15, "median");
	is_real(l.q75, 1.3, 1e-15, "upper quartile");
	l = ecology_load(2, none);
	is_real(l.gini + l.entropy, 0, 0, "no load at all");
}

static void
tiers(void)
{
	static const int size[] = {8, 4, 4};
	static const double used[] = {0.451, 0.182, 0.091, 0.275},
			    even[] = {0.25, 0.25, 0.25, 0.25};
	struct ecology_depth d;

	is_long(ecology_tier(3, size, 0), 0, "slot 0");
	is_long(ecology_tier(3, size, 7), 0, "slot 7");
	is_long(ecology_tier(3, size, 8), 1, "slot 8");
	is_long(ecology_tier(3, size, 15), 2, "slot 15");
	is_long(ecology_tier(3, size, 16), 3, "slot 16 is none's");
	d = ecology_depth(4, even);
	is_long(d.used, 4, "four even tiers");
	is_real(d.effective, 4, 1e-12, "are four deep");
	d = ecology_depth(4, used);
	is_long(d.used, 3, "one below a tenth");
	is_real(d.effective, 3.4637307845298255, 1e-12, "counts in part");
	d = ecology_depth(2, (const double[]){1, 0});
	is_long(d.used, 1, "one tier");
	is_real(d.effective, 1, 1e-15, "is one deep");
}

/* A tally grows with what it sees, and keeps what it had. */
static void
tally(void)
{
	struct tally t = tally_new(true, 0.7, 0.4);
	const struct tally_layer *l;
	const int far = 100;

	tally_add(&t, 1, (const int[]){2, 5}, 2, 1, 0.9);
	tally_add(&t, 1, (const int[]){5, 2}, 2, 0, 0.3);
	tally_add(&t, 1, (const int[]){2, far}, 2, 1, 0.7);
	tally_add(&t, 1, (const int[]){2, 5}, 2, 0, NAN);
	l = &t.layer[1];
	is_long(t.layer[0].tokens, 0, "a layer without samples");
	is_long(l->tokens, 4, "samples");
	is_long(l->rated, 3, "with a confidence");
	is_long(l->experts, far + 1, "experts");
	is_long(l->sum[2].routed, 4, "chosen");
	is_long(l->sum[2].first, 3, "first");
	is_long(l->sum[2].hits, 2, "and right");
	is_long(l->sum[2].easy, 1, "easy is above 0.7, not at it");
	is_long(l->sum[5].hard, 1, "hard");
	is_long(l->flow[2 * l->room + 5], 2, "2 then 5");
	is_long(l->flow[5 * l->room + 2], 1, "5 then 2");
	is_long(l->pair[2 * l->room + 5], 3, "2 and 5");
	is_real(tally_coactivation(l), 0.75, 1e-15, "three of four samples");
	tally_slots(&t, 1, TALLY_PAIRS + 1);
	ok(!t.layer[1].flow && isnan(tally_coactivation(&t.layer[1])),
	   "too many experts for a table of pairs");
	is_long(t.layer[1].sum[2].first, 3, "the rest is kept");
	tally_free(&t);
}

/* The usages of one expert, beside one that has the rest; its deaths and revivals as a word. */
static void
followed(int window, const double *usage, int n, const char *want)
{
	struct track *t = track_new((struct track_rule){0.01, window});
	char word[32] = "";

	for (int i = 0; i < n; i++) {
		struct policy_step s = {0};
		for (int slot = 0; slot < 2; slot++) {
			const struct policy_row r = {.step = i,
						     .slot = slot,
						     .expert = slot,
						     .usage = slot ? usage[i] : 1 - usage[i],
						     .accuracy = slot ? 0 : 0.5};
			policy_step_add(&s, &r);
		}
		const struct track_layer *l = track_step(t, &s);
		word[i] = l->deaths ? 'D' : l->revivals ? 'R' : l->dead ? 'd' : 'a';
		is_long(l->active + l->dead, 2, "two experts");
		is_real(l->accuracy, 0.5 * (1 - usage[i]), 1e-15, "the accuracy of both");
		policy_step_free(&s);
	}
	is_text(word, want, "window %d", window);
	track_free(t);
}

static void
tracks(void)
{
	static const double u[] = {0.5, 0.009, 0.01, 0, 0, 0, 0.02, 0, 0.3, 0.3, 0.3};
	const double sizes[] = {0.1, 0.2, 0.3, 0.4};
	const int size[] = {2, 1};
	struct policy_row r[4];
	double usage[2];

	followed(1, u, 11, "aDRDddRDRaa");
	followed(2, u, 11, "aaaaDddddRa");
	followed(3, u, 11, "aaaaaDddddR");
	for (int i = 0; i < 4; i++)
		r[i] = (struct policy_row){.slot = i, .usage = sizes[i]};
	track_tiers(r, 4, 2, size, usage);
	is_real(usage[0], 0.3, 1e-15, "usage of the first tier");
	is_real(usage[1], 0.3, 1e-15, "of the second; who is in none counts in none");
}

/* An expert that moves to another slot keeps its state; one that is new in a slot does not. */
static void
newcomers(void)
{
	struct track *t = track_new((struct track_rule){0.01, 1});
	const long expert[3] = {7, 8, 7};
	const char *const want[3] = {"a death", "nobody dies of one who is new", "7 is new again"};
	const struct track_layer *l;

	for (int i = 0; i < 3; i++) {
		struct policy_step s = {0};
		const struct policy_row r = {
			.step = i, .slot = 3 - i, .expert = expert[i], .usage = i == 1 ? 0.5 : 0};
		policy_step_add(&s, &r);
		l = track_step(t, &s);
		is_long(l->deaths, i != 1, "%s", want[i]);
		is_long(l->revivals, 0, "nobody revives");
		policy_step_free(&s);
	}
	track_free(t);
}

int
main(void)
{
	tracks();
	newcomers();
	control();
	classes();
	shares();
	spread();
	tiers();
	tally();
	return done();
}
