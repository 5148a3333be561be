/*
 * Traces as accesses; LRU, LFU, decay and MIN against cases worked out by hand and brute force;
 * what the learned policy may and may not do.
 */
#include "base/err.h"
#include "base/rng.h"
#include "offload/replay.h"
#include "tap.h"
#include "temp.h"

static struct access_trace *
trace(const char *text)
{
	struct access_trace *t = access_read(temp_text("trace.csv", text), 0, 0);

	if (!t) {
		printf("Bail out! %s\n", err_text());
		exit(1);
	}
	return t;
}

/* Layer, a dot, expert, for each access; "|" where the turn of a layer begins. */
static const char *
list_text(const struct access_trace *t, const struct access_list *l)
{
	static char text[1 << 12];
	char *s = text;

	*s = 0;
	for (long k = 0; k < l->turns; k++) {
		const struct access_turn *turn = &l->turn[k];
		s += sprintf(s, "|");
		for (long i = turn->begin; i < turn[1].begin; i++)
			s += sprintf(s, " %d.%ld", turn->layer, l->item[i] - t->first[turn->layer]);
		s += sprintf(s, turn->warm ? " warm " : " ");
	}
	return text;
}

static void
test_read(void)
{
	struct access_trace *t = trace("expert,layer,step,phase,expert_bytes\n"
				       "3,0,0,0,10\n1,0,1,0,0\n3,0,2,0,10\n"
				       "2,4,2,0,20\n0,4,1,0,0\n"
				       "1,0,3,1,0\n2,0,3,1,0\n1,0,3,1,0\n0,4,3,1,0\n1,0,4,1,0\n");

	is_text(list_text(t, &t->play), "| 0.3 0.1 warm | 4.2 4.0 warm | 0.1 0.2 | 4.0 | 0.1 ",
		"a prompt is one batch in layer order, a step has each expert once");
	is_text(list_text(t, &t->prompt), "| 0.3 warm | 0.1 warm | 4.0 warm | 0.3 warm | 4.2 warm ",
		"the prompt's tokens are kept in order of step and layer");
	is_long(t->layers, 2, "layers that appear");
	is_long(t->depth, 5, "layers up to the highest");
	is_long(t->items, 4 + 3, "experts of each layer up to its highest");
	is_long(t->counted, 4, "accesses of decoded steps");
	is_long(t->steps, 2, "steps decoded");
	is_long(t->bytes[0], 10, "bytes of layer 0");
	is_long(t->bytes[4], 20, "bytes of layer 4");
	access_free(t);

	t = trace("phase,step,layer,expert\n0,0,0,1\n0,0,0,2\n0,0,0,1\n0,1,0,1\n1,2,0,0\n");
	is_text(list_text(t, &t->prompt), "| 0.1 0.2 warm | 0.1 warm ",
		"a token of a prompt has each expert once, too");
	access_free(t);

	t = trace("turn,phase,step,layer,expert\n0,0,0,0,0\n0,1,1,0,1\n3,0,0,0,2\n3,1,1,0,3\n");
	is_text(list_text(t, &t->play), "| 0.0 warm | 0.1 | 0.2 warm | 0.3 ",
		"each turn of a conversation has its prompt, and its steps begin anew");
	is_long(t->play.turn[2].part, 1, "which part it is");
	access_free(t);

	t = trace("step,seq,pos,token,layer,rank,expert,weight\n"
		  "1,0,0,65,0,0,1,.6\n1,0,0,65,0,1,0,.4\n1,0,0,65,1,0,1,1\n"
		  "1,0,1,66,0,0,1,.5\n1,0,1,66,0,1,2,.5\n1,0,1,66,1,0,1,1\n");
	is_text(list_text(t, &t->play), "| 0.1 0.0 | 1.1 | 0.2 | ",
		"a batch of tokens in one step uses each expert once, in the order of the file");
	access_free(t);
}

/* Hits of a policy in one layer, or two that share a pool, told by the experts of each step. */
static long
hits(const struct access_trace *t, enum evict_policy policy, int slots, bool global)
{
	const struct replay_plan plan = {
		.policy = policy, .slots = slots, .global = global, .half_life = 1};
	struct replay_score s;

	replay(t, &plan, &s);
	return s.loads + s.hits == s.accesses ? s.hits : -1;
}

static void
test_by_hand(void)
{
	/* Experts a = 0 to d = 3, one a step. */
	static const struct {
		const char *uses;
		int slots;
		long lru, lfu, decay, min;
	} by_hand[] = {
		/* a b a c a b: LRU and LFU lose b to c, MIN does not keep c. */
		{"010201", 2, 2, 2, 2, 3},
		/* a a b c b c: LFU keeps a; decay, half-life 1, has a at 1/8 + 1/4 < 1/2 of b. */
		{"001212", 2, 3, 1, 3, 3},
		/* a b c a b c, room for two: LRU never hits; MIN keeps a and b, not c. */
		{"012012", 2, 0, 0, 0, 2},
		/* a a a b c d a: LFU alone among the blind keeps a. */
		{"0001230", 2, 2, 3, 2, 3},
		/* All fit: each expert is loaded once. */
		{"0123012301", 4, 6, 6, 6, 6},
	};

	for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++) {
		char text[512] = "step,layer,expert\n";
		struct access_trace *t;
		for (int k = 0; by_hand[i].uses[k]; k++)
			sprintf(text + strlen(text), "%d,0,%c\n", k, by_hand[i].uses[k]);
		t = trace(text);
		is_long(hits(t, EVICT_LRU, by_hand[i].slots, false), by_hand[i].lru, "lru of %s",
			by_hand[i].uses);
		is_long(hits(t, EVICT_LFU, by_hand[i].slots, false), by_hand[i].lfu, "lfu of %s",
			by_hand[i].uses);
		is_long(hits(t, EVICT_DECAY, by_hand[i].slots, false), by_hand[i].decay,
			"decay of %s", by_hand[i].uses);
		is_long(hits(t, EVICT_MIN, by_hand[i].slots, false), by_hand[i].min, "min of %s",
			by_hand[i].uses);
		access_free(t);
	}
}

static void
test_scope(void)
{
	/* Layer 0 uses one expert, layer 1 two in turn: one pool for both has room for all. */
	struct access_trace *t = trace("step,layer,expert\n0,0,0\n0,1,0\n0,1,1\n0,1,2\n"
				       "1,0,0\n1,1,0\n1,1,1\n1,1,2\n");

	is_long(hits(t, EVICT_LRU, 2, false), 1, "slots of one layer are of no use to another");
	is_long(hits(t, EVICT_LRU, 2, true), 4, "a pool for all layers goes where the need is");
	is_long(hits(t, EVICT_LRU, 1000000000, true), 4, "more slots than there are experts");
	access_free(t);
}

/* --- brute force --- */

/* What an access of the trace is to a pool. */
enum part { ANOTHERS, WARMS, COUNTS };

/* The most counted hits from access i on, when the pool holds `held`; best is a memory of it. */
static int
most_hits(const struct access_trace *t, const enum part *part, int room, int i, unsigned held,
	  signed char *best)
{
	const long n = t->play.n, items = t->items;
	signed char *known = &best[((long)i << items) + held];
	unsigned with;

	if (i == n)
		return 0;
	if (*known >= 0)
		return *known;
	with = part[i] == ANOTHERS ? held : held | 1U << t->play.item[i];
	if (with == held) {
		*known = (signed char)((part[i] == COUNTS) +
				       most_hits(t, part, room, i + 1, held, best));
		return *known;
	}
	for (int k = -1; k < items; k++) {
		const unsigned then = k < 0 ? with : with & ~(1U << k);
		if (__builtin_popcount(then) <= room) {
			int h = most_hits(t, part, room, i + 1, then, best);
			*known = (signed char)(h > *known ? h : *known);
		}
	}
	return *known;
}

/* Of a pool for one layer, or with -1 for all. */
static long
brute_force(const struct access_trace *t, int layer, int room)
{
	enum part part[64];
	signed char *best = malloc((size_t)(t->play.n + 1) << t->items);
	long h;

	memset(best, -1, (size_t)(t->play.n + 1) << t->items);
	for (long k = 0; k < t->play.turns; k++)
		for (long i = t->play.turn[k].begin; i < t->play.turn[k + 1].begin; i++)
			part[i] = layer >= 0 && t->play.turn[k].layer != layer ? ANOTHERS
				  : t->play.turn[k].warm		       ? WARMS
									       : COUNTS;
	h = most_hits(t, part, room, 0, 0, best);
	free(best);
	return h;
}

/* Two layers of three experts; conversations of two parts, each with a prompt. */
static struct access_trace *
random_trace(uint64_t number)
{
	struct rng r = rng_at(1, RNG_TEST, number, 0);
	char text[2048] = "turn,phase,step,layer,expert\n";

	for (int step = 0; step < 10; step++)
		for (int layer = 0; layer < 2; layer++)
			for (int n = 1 + (int)rng_below(&r, 2); n--;)
				sprintf(text + strlen(text), "%d,%d,%d,%d,%d\n", step / 5,
					step % 5 > 0, step, layer, (int)rng_below(&r, 3));
	return trace(text);
}

static void
test_limit(void)
{
	int same = 0, below = 0, all = 0;

	for (uint64_t i = 0; i < 200; i++) {
		struct access_trace *t = random_trace(i);
		for (int slots = 1; slots <= 2; slots++) {
			const long min = hits(t, EVICT_MIN, slots, true);
			const long each = hits(t, EVICT_MIN, slots, false);
			all += 2;
			same += min == brute_force(t, -1, slots * t->layers);
			same += each == brute_force(t, 0, slots) + brute_force(t, 1, slots);
			for (enum evict_policy p = EVICT_LRU; p < EVICT_MIN; p++)
				below += (hits(t, p, slots, true) <= min) +
					 (hits(t, p, slots, false) <= each);
		}
		access_free(t);
	}
	is_long(same, all, "MIN has as many hits as the best of all ways to evict");
	is_long(below, EVICT_MIN * all, "no policy has more hits than MIN");
}

/* --- the learned policy --- */

enum { STEPS = 200, LAYERS = 4, EXPERTS = 32, USED = 3 };

/* What a layer's experts may do: each is a way to draw the next one. */
enum habit { POPULAR, SHIFTING, STICKY, LOOP, HABITS };

static int
draw(enum habit habit, struct rng *r, int step, int k, const int *before)
{
	const double u = rng_uniform(r);

	switch (habit) {
	case POPULAR: return (int)(EXPERTS * u * u * u);
	case SHIFTING: return ((int)(EXPERTS * u * u * u) + 7 * (step / 40)) % EXPERTS;
	case STICKY: return u < .5 ? before[rng_below(r, USED)] : (int)rng_below(r, EXPERTS);
	default: return (USED * step + k) % 12;
	}
}

/* The first `same` steps of two traces of one habit and number are equal, whatever the tail. */
static struct access_trace *
habit_trace(enum habit habit, int same, uint64_t tail)
{
	static char text[1 << 16];
	int before[LAYERS][USED] = {0};
	char *s = text + sprintf(text, "step,layer,expert\n0,0,%d\n", EXPERTS - 1);

	for (int step = 1; step <= STEPS; step++)
		for (int l = 0; l < LAYERS; l++) {
			struct rng r = rng_at(step <= same ? 1 : tail, RNG_TEST, (uint64_t)step,
					      (uint64_t)l);
			int now[USED];
			for (int k = 0; k < USED; k++) {
				now[k] = draw(habit, &r, step, k, before[l]);
				s += sprintf(s, "%d,%d,%d\n", step, l, now[k]);
			}
			memcpy(before[l], now, sizeof now);
		}
	return trace(text);
}

static void
test_learned(void)
{
	static const char *const name[] = {"popular", "shifting", "sticky", "loop"};

	for (int h = 0; h < HABITS; h++) {
		struct access_trace *t = habit_trace((enum habit)h, STEPS, 1);
		for (int global = 0; global < 2; global++)
			for (int slots = 4; slots <= 8; slots += 4) {
				const long lru = hits(t, EVICT_LRU, slots, global);
				const long learned = hits(t, EVICT_LEARNED, slots, global);
				const long min = hits(t, EVICT_MIN, slots, global);
				ok(lru <= learned && learned <= min,
				   "%s experts, %d slots, scope %d: learned between LRU and MIN",
				   name[h], slots, global);
				if (lru > learned || learned > min)
					fprintf(stderr, "# lru %ld, learned %ld, min %ld\n", lru,
						learned, min);
			}
		access_free(t);
	}
}

/*
 * Traces for which nothing is better than LRU: each use is of an expert by its place in the order
 * of last uses, the latest the likeliest, or of any.
 */
static struct access_trace *
recent_trace(uint64_t number, bool even)
{
	static char text[1 << 16];
	int order[LAYERS][EXPERTS];
	char *s = text + sprintf(text, "step,layer,expert\n");

	for (int i = 0; i < LAYERS * EXPERTS; i++)
		order[i / EXPERTS][i % EXPERTS] = i % EXPERTS;
	for (int step = 0; step < STEPS; step++)
		for (int l = 0; l < LAYERS; l++) {
			struct rng r = rng_at(number, RNG_TEST, (uint64_t)step, (uint64_t)l);
			for (int k = 0; k < USED; k++) {
				const double u = rng_uniform(&r);
				const int at = (int)(EXPERTS * (even ? u : u * u));
				const int e = order[l][at];
				memmove(order[l] + 1, order[l], (size_t)at * sizeof e);
				order[l][0] = e;
				s += sprintf(s, "%d,%d,%d\n", step, l, e);
			}
		}
	return trace(text);
}

static void
test_never_below(void)
{
	long below = 0, all = 0;

	for (uint64_t number = 1; number <= 12; number++) {
		struct access_trace *t = recent_trace(number, number % 4 == 0);
		for (int global = 0; global < 2; global++)
			for (int slots = 2; slots <= 24; slots += slots / 2) {
				const long lru = hits(t, EVICT_LRU, slots, global);
				const long learned = hits(t, EVICT_LEARNED, slots, global);
				all++;
				below += learned < lru;
				if (learned < lru)
					fprintf(stderr, "# trace %d, %d slots: %ld < %ld\n",
						(int)number, slots, learned, lru);
			}
		access_free(t);
	}
	is_long(below, 0,
		"where LRU is the best, of %ld pools those in which learned has fewer hits", all);
}

/* The hits of the first steps are the same whatever comes after them. */
static void
test_blind(void)
{
	enum { SAME = 120 };
	struct access_trace *t[2] = {habit_trace(STICKY, SAME, 1), habit_trace(STICKY, SAME, 2)};
	bool hit[2][USED] = {{0}};
	struct evict *e[2];
	long turns = 0, equal = 0;

	for (int i = 0; i < 2; i++)
		e[i] = evict_new(t[i], EVICT_LEARNED, 6, true, 1);
	for (long k = 0; t[0]->play.turn[k].step <= SAME; k++) {
		const long a = evict_turn(e[0], k, hit[0]), b = evict_turn(e[1], k, hit[1]);
		turns++;
		equal += a == b && !memcmp(hit[0], hit[1], sizeof hit[0]);
	}
	is_long(equal, turns, "the learned policy does not see the future");
	for (int i = 0; i < 2; i++) {
		evict_free(e[i]);
		access_free(t[i]);
	}
}

static void
test_bad(void)
{
	static const struct {
		const char *text, *complaint;
	} bad[] = {
		{"step,layer,expert\n0,0,x\n", "trace.csv:2: column expert: \"x\" is not"},
		{"step,layer,expert\n0,-1,0\n", "trace.csv:2: column layer: \"-1\" is not"},
		{"step,layer,expert\n0,4096,0\n", "between 0 and 4095"},
		{"step,layer,expert\n0,0,65536\n", "between 0 and 65535"},
		{"step,layer\n0,0\n", "no column \"expert\""},
		{"step,layer,expert\n1,0,0\n0,0,0\n",
		 "trace.csv:3: decoding goes back to step 0 (expected steps in order)"},
		{"step,phase,layer,expert\n0,1,0,0\n1,0,0,0\n",
		 "trace.csv:3: a row of the prompt after the decoded ones of turn 0"},
		{"step,phase,layer,expert\n0,2,0,0\n", "column phase: \"2\" is not"},
		{"turn,step,layer,expert\n1,1,0,0\n0,0,0,0\n", "goes back to turn 0"},
		{"step,phase,layer,expert\n0,0,0,0\n", "nothing to count"},
		{"step,layer,expert\n", "nothing to count"},
		{"step,layer,expert\n0,0,0\n0,0,1", "trace.csv:3: no line end"},
		{"", "empty"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct access_trace *t = access_read(temp_text("trace.csv", bad[i].text), 0, 0);
		ok(!t && strstr(err_text(), bad[i].complaint), "refused: %s", bad[i].complaint);
		if (t || !strstr(err_text(), bad[i].complaint))
			fprintf(stderr, "# found: %s\n", t ? "accepted" : err_text());
		access_free(t);
	}
	ok(!access_read(temp_text("trace.csv", "step,layer,expert\n0,2,0\n"), 2, 0),
	   "a layer that the model does not have");
	ok(strstr(err_text(), "column layer: \"2\"") != NULL, "is told");
	ok(!access_read(temp_text("trace.csv", "step,layer,expert\n0,1,8\n"), 2, 8),
	   "an expert that the model does not have");
}

int
main(void)
{
	test_read();
	test_by_hand();
	test_scope();
	test_limit();
	test_learned();
	test_never_below();
	test_blind();
	test_bad();
	return done();
}
