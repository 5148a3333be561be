/* The tree-map: predictions worked out by hand, bounds, pruning, and its file whole and damaged. */
#include "base/err.h"
#include "base/rng.h"
#include "offload/tree.h"
#include "tap.h"
#include "temp.h"

enum { LAYERS = 3, EXPERTS = 8 };
static const struct tree_shape shape = {LAYERS, EXPERTS, 2, EXPERTS, 0};

static float
chance(struct tree *t, int layer, int expert)
{
	float p[EXPERTS];

	tree_predict(t, layer, p);
	return p[expert];
}

static void
learn(struct tree *t, int layer, int a, int b)
{
	const int expert[2] = {a, b};

	tree_learn(t, layer, expert, 2);
}

static void
test_by_hand(void)
{
	struct tree *t = tree_new(&shape);
	const double root = 1. / 2, one = (1 + root) / (1 + 1), two = (1 + one / 2) / (1 + .5);

	is_real((double)chance(t, 1, 3), 0, 0, "an empty tree expects nobody");
	learn(t, 0, 0, 1);
	learn(t, 1, 2, 3);
	is_real((double)chance(t, 2, 0), 0, 0, "a layer that had no turn expects nobody");
	learn(t, 2, 4, 5);
	learn(t, 0, 0, 1);
	learn(t, 1, 6, 7);
	/* Layer 2 has been met once: 4 and 5 after 2 and 3; 6 and 7 lead nowhere. */
	is_real((double)chance(t, 2, 4), 1, 1e-6, "unknown ways rest on the root");
	learn(t, 2, 0, 1);
	learn(t, 0, 0, 1);
	learn(t, 1, 2, 3);
	/*
	 * The root has 4 in one of two; the node of 2 in one of one, P = (1 + 1/2) / 2; that of 0
	 * below it likewise, P = (1 + P / 2) / 1.5; all four paths are alike.
	 */
	is_real((double)chance(t, 2, 4), two, 1e-6, "a known way blends its nodes with the root");
	is_real((double)chance(t, 2, 0), (1 - one) / 2 / 1.5, 1e-6, "also for who never was there");
	tree_pause(t);
	is_real((double)chance(t, 2, 4), root, 1e-6, "after a pause the root alone speaks");
	tree_free(t);
}

static void
wander(struct tree *t, uint64_t seed, int turns)
{
	for (int i = 0; i < turns; i++) {
		struct rng r = rng_at(seed, RNG_TEST, (uint64_t)i, 0);
		const int a = (int)rng_below(&r, EXPERTS);
		learn(t, i % LAYERS, a, (a + 1 + (int)rng_below(&r, EXPERTS - 1)) % EXPERTS);
	}
}

static void
test_bounds(void)
{
	const struct tree_shape narrow = {LAYERS, EXPERTS, TREE_DEPTH, 2, 0};
	struct tree *t = tree_new(&narrow);
	float p[EXPERTS], sum = 0, least = 1;

	/* Long enough for counts to be halved as well. */
	wander(t, 1, 300000);
	is_long(tree_nodes(t), LAYERS * (1 + 2 + 4 + 8 + 16), "a tree grows to its bounds");
	tree_predict(t, 0, p);
	for (int e = 0; e < EXPERTS; e++) {
		sum += p[e];
		least = p[e] < least ? p[e] : least;
	}
	/* Halving rounds down, so that a little is lost. */
	ok(sum > 1.7F && sum < 2.001F && least > 0, "two of the experts are expected (%g)",
	   (double)sum);
	tree_free(t);
}

/* What goes out of use gives way to what is used, at a branching of 4. */
static void
test_pruning(void)
{
	const struct tree_shape narrow = {1, EXPERTS, 1, 4, 0};
	struct tree *t = tree_new(&narrow);

	for (int i = 0; i < 100; i++)
		learn(t, 0, i % 2, 2 + i % 2);
	for (int i = 0; i < 100; i++)
		learn(t, 0, i % 2 ? 6 : 4, i % 2 ? 7 : 5);
	learn(t, 0, 4, 5);
	ok(chance(t, 0, 6) > .5F, "new ways are learned when the tree is full (%g)",
	   (double)chance(t, 0, 6));
	tree_free(t);
}

static void
test_file(void)
{
	const char *file = temp("tree"), *again = temp("again");
	struct tree *t = tree_new(&shape), *u;
	float p[EXPERTS], q[EXPERTS];
	char bytes[1 << 16];
	FILE *f;
	size_t n;
	long refused = 0;

	wander(t, 2, 60);
	is_long(tree_save(t, file), 0, "saved");
	u = tree_load(file);
	ok(u != NULL, "loaded");
	is_long(tree_nodes(u), tree_nodes(t), "with all nodes");
	tree_save(u, again);
	f = fopen(file, "r");
	n = fread(bytes, 1, sizeof bytes, f);
	fclose(f);
	f = fopen(again, "r");
	ok(n < sizeof bytes && fread(bytes + n, 1, sizeof bytes - n, f) == n &&
		   !memcmp(bytes, bytes + n, n),
	   "and saved again, the same bytes");
	fclose(f);
	tree_pause(t);
	wander(t, 3, 31);
	wander(u, 3, 31);
	tree_predict(t, 1, p);
	tree_predict(u, 1, q);
	is_bytes(q, p, sizeof p, "a loaded tree learns on as the other does");
	tree_free(t);
	tree_free(u);

	for (size_t i = 0; i < n; i++) {
		u = tree_load(temp_bytes("cut", bytes, i));
		refused += !u;
		tree_free(u);
	}
	is_long(refused, (long)n, "cut short at each length, it is refused");
	refused = 0;
	for (size_t i = 0; i < n; i++) {
		bytes[i] = (char)(bytes[i] ^ 0x10);
		u = tree_load(temp_bytes("flipped", bytes, n));
		bytes[i] = (char)(bytes[i] ^ 0x10);
		refused += !u;
		tree_free(u);
	}
	is_long(refused, (long)n, "with each byte flipped, too");
	bytes[8] = 3;
	ok(!tree_load(temp_bytes("later", bytes, n)) && strstr(err_text(), "format version 3"),
	   "another version is told");
	ok(!tree_load(temp_text("text", "a text that is long enough to be the head of a tree")) &&
		   strstr(err_text(), "no tree"),
	   "what is no tree is told");
}

/* A tree that was once one model's stays that one's, also in its file. */
static void
test_claim(void)
{
	struct tree *t = tree_new(&shape);
	const char *file = temp("mine");

	ok(tree_claim(t, 7) == 0 && tree_claim(t, 7) == 0, "a tree that was nobody's is claimed");
	ok(tree_claim(t, 8) != 0 && strstr(err_text(), "another model"), "by nobody else");
	tree_save(t, file);
	tree_free(t);
	t = tree_load(file);
	ok(tree_claim(t, 8) != 0 && tree_claim(t, 7) == 0, "nor when it has been kept");
	tree_free(t);
}

int
main(void)
{
	test_by_hand();
	test_bounds();
	test_pruning();
	test_file();
	test_claim();
	return done();
}
