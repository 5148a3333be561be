/* The living layer's policy on tables worked out by hand. */
#include "base/err.h"
#include "policy/living.h"
#include "tap.h"
#include <math.h>
#include <stdlib.h>

static struct policy_row
row(int layer, int slot, double demand, double gradient, double energy)
{
	return (struct policy_row){.step = 20,
				   .layer = layer,
				   .slot = slot,
				   .expert = 10 * layer + slot,
				   .parent = -1,
				   .twin = -1,
				   .demand = demand,
				   .gradient = gradient,
				   .energy = energy,
				   .vitality = NAN};
}

static struct policy_step
step_of(const struct policy_row *r, int n)
{
	struct policy_step s = {0};

	for (int i = 0; i < n; i++)
		policy_step_add(&s, &r[i]);
	return s;
}

static struct living
rules(void)
{
	struct living l;

	living_init(&l);
	is_long(living_check(&l), 0, "the defaults are sound");
	return l;
}

/* "birth 4 of 1, death 3, keep 0 vital": what happens, in order. */
static const char *
story(const struct policy_events *e)
{
	static char text[1024];
	size_t n = 0;

	text[0] = 0;
	for (int i = 0; i < e->n; i++) {
		const struct policy_event *v = &e->v[i];
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %d", i ? ", " : "",
				      policy_kind_name(v->kind), v->slot);
		if (v->kind == POLICY_BIRTH)
			n += (size_t)snprintf(text + n, sizeof text - n, " of %ld", v->parent);
		if (v->kind == POLICY_KEEP)
			n += (size_t)snprintf(text + n, sizeof text - n, " %s", v->cause);
	}
	return text;
}

/* Decide on rows of one step, which is left as the policy made it. */
static const char *
decide(const struct living *l, struct policy_row *r, int n)
{
	struct policy_step s = step_of(r, n);
	struct policy_events e = {0};
	static char text[1024];

	if (living_decide(l, &s, &e) == 0)
		snprintf(text, sizeof text, "%s", story(&e));
	else
		snprintf(text, sizeof text, "refused");
	memcpy(r, s.row, (size_t)n * sizeof *r);
	policy_events_free(&e);
	policy_step_free(&s);
	return text;
}

/*
 * Four experts: f = 4 demand = 2, 1, 1, 0; mean gradient 2, g = 2, 1, 0.5, 0.5; memory 0.5, from 1:
 * x = 0.5 + 0.5 f g = 2.5, 1, 0.75, 0.5; v = 5/7, 1/2, 3/7, 1/3.
 */
static void
formula(void)
{
	static const double x[] = {2.5, 1, 0.75, 0.5}, f[] = {2, 1, 1, 0}, g[] = {2, 1, 0.5, 0.5};
	struct policy_row r[] = {row(0, 0, 0.5, 4, 1), row(0, 1, 0.25, 2, 1), row(0, 2, 0.25, 1, 1),
				 row(0, 3, 0, 1, 1)};
	const struct living l = rules();

	is_text(decide(&l, r, 4), "keep 3 vital", "all are vital; the least of them is named");
	for (int i = 0; i < 4; i++) {
		is_real(r[i].load_factor, f[i], 0, "load of %d", i);
		is_real(r[i].gradient_factor, g[i], 0, "gradient of %d", i);
		is_real(r[i].next.energy, x[i], 0, "energy of %d", i);
		is_real(r[i].vitality, (double)(float)(x[i] / (1 + x[i])), 0, "vitality of %d", i);
	}
	for (int i = 0; i < 4; i++)
		r[i].gradient = r[i].demand = 0;
	decide(&l, r, 4);
	is_real(r[0].gradient_factor, 1, 0, "without any gradient the factor is 1");
	r[0].energy = 1e30;
	decide(&l, r, 4);
	ok(r[0].vitality < 1 && r[0].vitality > 0.9999, "vitality stays below 1");
}

/* v = 4/5 when x = 4; 1/21 when x = 0.05; the window is made to leave x as it was. */
static struct policy_row
still(int slot, double x, long over, long starved)
{
	struct policy_row r = row(0, slot, 0.1, 1, x);

	r.over = over;
	r.starved = starved;
	return r;
}

static struct living
slow(void)
{
	struct living l = rules();

	l.memory = 1; /* x stays as it was: not an option, but a way to choose v here */
	return l;
}

static void
patience(void)
{
	const struct living l = slow();
	struct policy_row r[] = {still(0, 4, 1, 0), still(1, 1, 0, 0), still(2, 1, 0, 0),
				 still(3, 0.05, 0, 1)};

	is_text(decide(&l, r, 4), "keep 3 vital", "twice is not enough");
	is_long(r[0].next.over, 2, "but counted");
	is_long(r[3].next.starved, 2, "on either side");
	r[0].over = r[3].starved = 2;
	is_text(decide(&l, r, 4), "death 3, birth 3 of 0", "the third time: one dies, one divides");
	r[0].over = 5;
	r[3].starved = 0;
	is_text(decide(&l, r, 4), "birth 4 of 0", "into the lowest empty slot");
	r[2].slot = 5;
	is_text(decide(&l, r, 3), "birth 2 of 0", "which may be in between");
}

static void
hysteresis(void)
{
	const struct living l = slow();
	/* 0.72, 0.69 and 0.13, 0.16: within and beyond 0.05 of the thresholds */
	struct policy_row r[] = {still(0, 0.72 / 0.28, 2, 0), still(1, 0.69 / 0.31, 2, 0),
				 still(2, 0.13 / 0.87, 0, 2), still(3, 0.16 / 0.84, 0, 2)};

	decide(&l, r, 4);
	is_long(r[0].next.over, 2, "a little below overload the count waits");
	is_long(r[1].next.over, 0, "further below it begins anew");
	is_long(r[2].next.starved, 2, "a little above starvation it waits");
	is_long(r[3].next.starved, 0, "further above it begins anew");
}

static void
exact(void)
{
	struct living l = slow();
	struct policy_row r[] = {still(0, 1, 0, 0), still(1, 3, 2, 0), still(2, 0.25, 0, 2)};

	l.starvation = 0.2;
	is_text(decide(&l, r, 3), "keep 2 vital", "at a threshold is neither above nor below");
	is_long(r[1].next.over, 2, "0.75: the count waits");
	is_real((double)(float)0.2, r[2].vitality, 0, "0.2 as a float32");
}

static void
bounds(void)
{
	struct living l = slow();
	struct policy_row r[] = {still(0, 4, 9, 0), still(1, 5, 9, 0), still(2, 5, 9, 0),
				 still(3, 0.02, 0, 9), still(4, 0.01, 0, 9)};

	l.most = 6;
	is_text(decide(&l, r, 5), "death 4, death 3, birth 3 of 1, birth 4 of 2, birth 5 of 0",
		"the least vital dies first, the most vital divides first, ties by slot");
	l.most = 5;
	l.least = 4;
	is_text(decide(&l, r, 5), "death 4, birth 4 of 1", "no more than may live, no fewer");
	l.least = 5;
	is_text(decide(&l, r, 5), "keep 4 bounds", "nothing may happen");
	l.most = 4;
	l.least = 1;
	is_text(decide(&l, r, 5), "refused", "a slot beyond the bound");
	is_text(err_text(), "step 20: layer 0 has a slot 4 (expected it below --max-experts 4)",
		"told");
	l = slow();
	l.without = (char[]){"mitosis"};
	is_long(living_check(&l), 0, "without mitosis");
	is_text(decide(&l, r, 5), "death 4, death 3", "none divides");
	l.without = (char[]){"apoptosis,mitosis"};
	is_long(living_check(&l), 0, "without both");
	is_text(decide(&l, r, 5), "keep 4 bounds", "nothing happens");
}

static void
twins(void)
{
	struct living l = slow();
	struct policy_row r[] = {still(0, 4, 9, 0), still(1, 5, 9, 0), still(2, 0.05, 0, 9)};

	r[0].twin = 1;
	r[1].twin = 0;
	is_text(decide(&l, r, 3), "keep 2 bounds",
		"twins count once, so two are left, and neither divides");
	l.least = 1;
	is_text(decide(&l, r, 3), "death 2", "where one may be left");
	r[0].next.starved = 0;
	r[0] = still(0, 0.05, 0, 9);
	r[0].twin = 1;
	r[2] = still(2, 1, 0, 0);
	is_text(decide(&l, r, 3), "death 0, birth 0 of 1", "whose twin is dead may divide");
	l.least = 2;
	is_text(decide(&l, r, 3), "keep 0 bounds", "a twin's death leaves candidates as they are");
}

static void
layers(void)
{
	struct living l = rules();
	struct policy_row r[] = {row(0, 0, 0.5, 1, 1), row(0, 1, 0.5, 1, 1), row(3, 0, 0.9, 3, 8),
				 row(3, 1, 0.1, 1, 1)};

	r[2].over = 2;
	is_text(decide(&l, r, 4), "keep 0 vital, birth 2 of 30", "each layer by itself");
	for (int i = 0; i < 4; i++) {
		r[i].step = 25;
		r[i].vitality = NAN;
	}
	is_text(decide(&l, r, 4), "keep 0 interval, keep 0 interval", "between checks");
}

/* Two experts of equal demand whose tokens lose 2 nats; Phi 0.8 of a height of 1. */
static void
layer_of(struct policy_row r[2])
{
	for (int i = 0; i < 2; i++) {
		r[i] = row(0, i, 0.5, 3 + i, 1); /* the norm is 5 */
		r[i].quality = 0.5;
		r[i].phi = NAN;
		r[i].plateau = r[i].escape = -1;
	}
	r[0].phi = 0.8;
	r[0].phi_high = 1;
	r[0].loss_low = 2;
	r[0].norm_mean = 8;
	r[0].plateau = 18;
	r[0].escape = 0;
}

static void
layer_formula(void)
{
	struct living l = rules();
	struct policy_row r[2];

	l.collapse = COLLAPSE_NONE;
	layer_of(r);
	is_text(decide(&l, r, 2), "keep 0 vital", "a collapse alone, which brings nothing");
	is_real(r[0].loss, 2, 0, "loss of the layer's tokens");
	is_real(r[0].next.loss_low, 2, 0, "as low as it was");
	is_long(r[0].next.plateau, 19, "one check more without a new low");
	is_real(r[0].next.norm_mean, (double)(float)(0.9 * 8 + 0.1 * 5), 0, "norm");
	is_real(r[0].next.phi_high, 1, 0, "Phi's height");
	r[0].loss_low = 2.01;
	decide(&l, r, 2);
	is_real(r[0].next.loss_low, 2, 0, "a new low");
	is_long(r[0].next.plateau, 0, "no check since");
	r[0].loss_low = 2.003;
	decide(&l, r, 2);
	is_real(r[0].next.loss_low, 2.003, 0, "lower, but within the margin");
	r[0].phi = 1.5;
	decide(&l, r, 2);
	is_real(r[0].next.phi_high, 1.5, 0, "a new height");
	r[0].phi = NAN;
	r[0].loss_low = r[0].norm_mean = r[0].phi_high = 0;
	r[0].plateau = -1;
	decide(&l, r, 2);
	is_real(r[0].next.loss_low + r[0].next.norm_mean, 2 + 5, 0, "what was not yet, begins");
	is_real(r[0].next.phi_high, 0, 0, "but for Phi that is not told");
	is_long(r[0].next.plateau, 0, "with no check");
}

static void
despair(void)
{
	struct living l = rules();
	struct policy_row r[2];

	layer_of(r);
	r[0].plateau = 19;
	is_text(decide(&l, r, 2), "escape -1", "a plateau and a collapse");
	is_real(r[0].next.phi_high, 0.8, 0, "after which Phi's height");
	is_long(r[0].next.plateau, 0, "and the plateau begin anew");
	r[0].escape = 4;
	is_text(decide(&l, r, 2), "keep 0 vital", "no escape within an escape");
	is_long(r[0].next.plateau, 20, "the plateau goes on");
	r[0].escape = 0;
	r[0].phi = 0.9;
	is_text(decide(&l, r, 2), "keep 0 vital", "at the bound Phi has not collapsed");
	l.no_phi = true;
	is_text(decide(&l, r, 2), "escape -1", "without Phi a plateau is despair");
	l.no_escape = true;
	is_text(decide(&l, r, 2), "keep 0 vital", "without escapes there is none");
	l = rules();
	l.despair = DESPAIR_GRADIENT;
	l.collapse = COLLAPSE_NONE;
	layer_of(r);
	r[0].norm_mean = 10;
	is_text(decide(&l, r, 2), "keep 0 vital", "half of the mean norm is not faded");
	r[0].norm_mean = 10.1;
	is_text(decide(&l, r, 2), "escape -1", "less is");
	is_text(decide((l.no_phi = true, &l), r, 2), "escape -1", "without Phi, too");
}

static void
collapses(void)
{
	struct living l = rules();
	struct policy_row r[3];

	layer_of(r);
	r[1].demand = 0.6;
	is_text(decide(&l, r, 2), "birth 2 of 1", "a collapse: the most loaded divides");
	is_real(r[0].next.phi_high, 0.8, 0, "and Phi's height begins anew");
	r[1].twin = 0;
	r[0].twin = 1;
	is_text(decide(&l, r, 2), "keep 0 vital", "twins do not divide");
	is_real(r[0].next.phi_high, 1, 0, "and the height waits");
	r[0].twin = r[1].twin = -1;
	l.most = 2;
	is_text(decide(&l, r, 2), "keep 0 vital", "nor does who has no slot for a child");
	l.most = 4;
	r[1].over = 9;
	r[1].energy = 9;
	l.memory = 1;
	is_text(decide(&l, r, 2), "birth 2 of 1, birth 3 of 0", "who divides anyway does it once");
	l.no_mitosis = true;
	is_text(decide(&l, r, 2), "keep 0 bounds", "without mitosis there is none");
	l = rules();
	l.collapse = COLLAPSE_ESCAPE;
	layer_of(r);
	is_text(decide(&l, r, 2), "escape -1", "or the layer escapes");
	l.no_phi = true;
	is_text(decide(&l, r, 2), "keep 0 vital", "of which without Phi nothing is known");
}

static void
contents(void)
{
	const struct living l = slow();
	struct policy_row r[] = {still(0, 4, 2, 0), still(1, 1, 0, 0), still(2, 0.05, 0, 2)};
	struct policy_step s = step_of(r, 3);
	struct policy_events e = {0};

	living_decide(&l, &s, &e);
	is_long(e.n, 2, "two events");
	is_text(e.v[0].cause, "apoptosis", "a death's cause");
	is_real(e.v[0].value, s.row[2].vitality, 0, "its vitality");
	is_real(e.v[0].threshold, (double)0.1f, 0, "below this");
	is_text(e.v[1].cause, "mitosis", "a birth's cause");
	is_real(e.v[1].value, (double)0.8f, 0, "its parent's vitality");
	is_real(e.v[1].threshold, 0.75, 0, "above this");
	is_real(e.v[1].sigma, (double)0.01f, 0, "its noise");
	is_long(e.v[1].origin, POLICY_TWIN, "a twin");
	policy_events_free(&e);
	policy_step_free(&s);
}

static void
refusals(void)
{
	struct living l;

	living_init(&l);
	l.starvation = 0.8;
	is_long(living_check(&l), -1, "thresholds that cross");
	is_text(err_text(), "--starvation 0.8 is not below --overload 0.75", "told");
	living_init(&l);
	l.most = 4;
	l.least = 5;
	is_long(living_check(&l), -1, "bounds that cross");
	is_text(err_text(), "--min-experts 5 is more than --max-experts 4", "told");
	living_init(&l);
	l.without = (char[]){"mitosis,meiosis"};
	is_long(living_check(&l), -1, "a mechanism that is none");
	is_text(err_text(),
		"--life-without \"meiosis\" (expected mitosis, apoptosis, escape or phi)", "told");
}

int
main(void)
{
	formula();
	patience();
	hysteresis();
	exact();
	bounds();
	twins();
	layers();
	layer_formula();
	despair();
	collapses();
	contents();
	refusals();
	return done();
}
