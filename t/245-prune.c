/* Who is dormant, who stays for want of others, and what is told of it. */
#include "base/mem.h"
#include "base/num.h"
#include "policy/prune.h"
#include "tap.h"

/* A layer of n experts with these shares of the demand, in sixteenths. */
static void
layer(struct policy_step *s, int number, int n, const int *sixteenths)
{
	for (int i = 0; i < n; i++) {
		const struct policy_row r = {.step = 30,
					     .layer = number,
					     .slot = 2 * i,
					     .expert = 10 * number + i,
					     .demand = sixteenths[i] / 16.0};
		policy_step_add(s, &r);
	}
}

/* "KIND SLOT VALUE CAUSE; ..." of what is decided. */
static char *
decided(int kind, double below, int least, const struct policy_step *s)
{
	const struct prune p = {kind, below, least};
	struct policy_events e = {0};
	char *text = mem_copy("");

	prune_decide(&p, s, &e);
	for (int i = 0; i < e.n; i++) {
		const struct policy_event *v = &e.v[i];
		char *more = mem_text("%s%s%d.%d %s %ld %g", text, i ? "; " : "", v->layer, v->slot,
				      policy_kind_name(v->kind), v->expert, v->value);
		is_text(v->cause,
			v->kind == POLICY_DEATH	  ? "prune"
			: v->kind == POLICY_MERGE ? "merge"
			: v->value < below	  ? "least"
						  : "fit",
			"cause of %s", more);
		is_real(v->threshold, num_single(below), 0, "threshold");
		ok(v->step == 30 && v->to_slot == -1, "step, and the pool knows with whom");
		free(text);
		text = more;
	}
	policy_events_free(&e);
	return text;
}

static void
check(int kind, double below, int least, const struct policy_step *s, const char *want,
      const char *name)
{
	char *got = decided(kind, below, least, s);

	is_text(got, want, "%s", name);
	free(got);
}

int
main(void)
{
	struct policy_step s = {0};

	layer(&s, 0, 4, (int[]){1, 8, 2, 5}); /* in fair shares: .25 2 .5 1.25 */
	check(PRUNE_DEATH, 0.5, 2, &s, "0.0 death 0 0.25",
	      "who has less dies, who is at the threshold stays");
	check(PRUNE_DEATH, 0.51, 2, &s, "0.0 death 0 0.25; 0.4 death 2 0.5", "above it, both do");
	check(PRUNE_MERGE, 0.51, 2, &s, "0.0 merge 0 0.25; 0.4 merge 2 0.5", "or are merged");
	check(PRUNE_DEATH, 0.51, 3, &s, "0.0 death 0 0.25", "of two the one with less goes first");
	check(PRUNE_DEATH, 0.51, 4, &s, "0.0 keep 0 0.25", "nobody, where all are needed");
	check(PRUNE_DEATH, 100, 1, &s, "0.0 death 0 0.25; 0.4 death 2 0.5; 0.6 death 3 1.25",
	      "one stays, whatever the threshold");
	check(PRUNE_DEATH, 0.25, 2, &s, "0.0 keep 0 0.25", "nobody is below: the idlest is told");
	layer(&s, 3, 2, (int[]){0, 16});
	check(PRUNE_MERGE, 0.5, 1, &s, "0.0 merge 0 0.25; 3.0 merge 30 0", "layer by layer");
	policy_step_clear(&s);
	layer(&s, 0, 3, (int[]){4, 8, 4});
	check(PRUNE_DEATH, 1, 2, &s, "0.0 death 0 0.75", "of equals the lowest slot goes");
	policy_step_clear(&s);
	layer(&s, 0, 1, (int[]){16});
	check(PRUNE_DEATH, 2, 1, &s, "0.0 keep 0 1", "one expert alone stays");
	policy_step_clear(&s);
	layer(&s, 0, 3, (int[]){0, 0, 0});
	check(PRUNE_MERGE, 0.5, 2, &s, "0.0 merge 0 0", "without tokens all are idle");
	policy_step_free(&s);
	return done();
}
