/* The clock of two tiers against times worked out by hand. */
#include "offload/tier.h"
#include "tap.h"

/* A load of 100 bytes takes 1 s, and .5 s before it begins, for two at a time; computing 4 s. */
static const struct tier tier = {"hand", 100, .5, 2};
static const struct tier_model model = {
	.layers = 3, .used = 2, .expert_bytes = 100, .dense_bytes = 200, .fast = 100};

static void
test_missing(void)
{
	struct tier_clock c = tier_clock(&tier, &model);

	tier_turn(&c, 2, 0, 0);
	is_real(c.now, 4, 1e-12, "a turn with all there is computed");
	tier_turn(&c, 2, 2, 0);
	is_real(c.now, 4 + 2.5 + 4, 1e-12, "two loads, one latency");
	tier_turn(&c, 2, 3, 0);
	is_real(c.now, 10.5 + 4 + 4, 1e-12, "three loads, two latencies");
	is_real(tier_token(&c), 18.5, 1e-12, "three turns are a token");
	is_real(tier_stall(&c), 6.5, 1e-12, "of which it waits for loads");
	is_real(tier_token_resident(&c), 12, 1e-12, "in memory it would not");
	is_real(tier_token_known(&c), 4 + 4 + 4, 1e-12, "nor had it known a turn before");
	c = tier_clock(&tier, &model);
	tier_turn(&c, 1, 1, 0);
	is_real(c.now, 2.5 + 4, 1e-12,
		"a trace with one expert a turn stands for a model with two");
}

static void
test_ahead(void)
{
	struct tier_clock c = tier_clock(&tier, &model);

	is_real(tier_hidden(&c), 1, 0, "a load is hidden by computing that takes longer");
	tier_turn(&c, 2, 0, 0);
	tier_ahead(&c, 2, 2);
	tier_turn(&c, 2, 0, 2);
	is_real(c.now, 8, 1e-12, "loads ahead go on while a turn is computed");
	tier_ahead(&c, 2, 4);
	tier_turn(&c, 2, 0, 1);
	/* They began at 4 and took 5 s. */
	is_real(c.now, 4 + 5 + 4, 1e-12, "what is longer is waited for if it is needed");
	tier_ahead(&c, 2, 4);
	tier_turn(&c, 2, 0, 0);
	/* They began at 9, until 14; the turn at 13 needs none of them. */
	is_real(c.now, 13 + 4, 1e-12, "else not");
	tier_ahead(&c, 2, 4);
	tier_turn(&c, 2, 1, 0);
	/* The former took the link until 14, these until 19; then comes what is missing. */
	is_real(c.now, 14 + 5 + 1.5 + 4, 1e-12, "but what is missing waits for the link");
	is_real(c.stall, 1 + 3.5, 1e-12, "stall in all");
}

static void
test_profiles(void)
{
	const char *const name[] = {"nvme", "pcie3", "pcie4", "pcie5"};

	for (int i = 0; i < 3; i++)
		ok(tier_find(name[i])->bandwidth < tier_find(name[i + 1])->bandwidth,
		   "%s is slower than %s", name[i], name[i + 1]);
	ok(!tier_find("isa"), "no such tier");
}

int
main(void)
{
	test_missing();
	test_ahead();
	test_profiles();
	return done();
}
