#ifndef POLICY_LIVING_H
#define POLICY_LIVING_H
#include "base/opt.h"
#include "policy/event.h"
#include "policy/row.h"

/*
 * The living layer: experts divide when they are overloaded and die when they starve, and a layer
 * in despair escapes.  For expert i of n in a layer, at each check, over the window that the census
 * counted:
 *
 *	f_i = demand_i n			load, in fair shares
 *	g_i = gradient_i / mean gradient	(1 if the layer had none)
 *	x_i <- memory x_i + (1 - memory) f_i g_i	(founders begin at 1)
 *	v_i = x_i / (1 + x_i)			vitality: 0.5 is average, below 1 always
 *
 * over_i counts checks in a row with v_i > overload: it goes on from where it was while v_i is
 * within `hysteresis` below, and starts again at 0 where it falls further.  starved_i likewise
 * counts v_i < starvation.
 *
 * Deaths (apoptosis) come first, the least vital first: v_i < starvation and starved_i >= patience,
 * while more than `least` candidates live.  Then births (mitosis) of the survivors with
 * v_i > overload and over_i >= patience, the most vital first, each in the lowest empty slot: a
 * clone with noise, which is its parent's twin.  Until twins part they count as one candidate, and
 * neither divides (pool/pool.h says what becomes of both).
 *
 * Of the layer as a whole, whose values stand in its first row,
 *
 *	L = sum_i demand_i / quality_i		loss of its tokens, nats
 *	G = sqrt(sum_i gradient_i^2)		norm of its experts' gradient
 *	Phi has collapsed	phi < (1 - phi_margin) phi_high, its height since it acted
 *	a plateau		`plateau` checks in a row, none L < (1 - plateau_margin) of its low
 *	gradients have faded	G < gradient_share times G's moving average, a tenth of it new
 *	despair			a plateau, or faded gradients (`despair` says which), and a collapse
 *
 * In despair the layer escapes: the event is for the trainer, which takes it on a detour of
 * `escape_steps` steps (model/detour.h), unless it is on one.  A collapse alone makes the most
 * loaded expert divide that has no twin, or the layer escape, or does nothing (`collapse`).  After
 * either, phi_high and the lowest L begin anew.  Without Phi no collapse is seen: despair is
 * stagnation alone.
 *
 * x, v and what is remembered are rounded to float32 and compared as such.  Nothing is remembered
 * here (the census brings it), nothing is drawn at random, ties go to the lowest slot.
 */
struct living {
	int most, least; /* experts of a layer */
	double overload, starvation, hysteresis;
	int patience;  /* checks */
	double memory; /* of the moving average, [0, 1) */
	int escape;    /* enum living_escape */
	long escape_steps;
	double curvature;
	int phi;	   /* enum living_phi: what the census calls phi */
	double phi_margin; /* share of its height */
	int collapse;	   /* enum living_collapse */
	int despair;	   /* enum living_despair */
	long plateau;	   /* checks */
	double plateau_margin, gradient_share;
	char *without; /* mechanisms that are off: mitosis,apoptosis,escape,phi */
	bool no_mitosis, no_apoptosis, no_escape, no_phi; /* the same, by living_check */

	/* Options of the market that serve here, too: set before living_check. */
	long interval; /* steps between checks */
	double sigma;  /* noise on a newborn */
};

enum living_escape { LIVING_POINCARE, LIVING_FOURIER };
enum living_phi { LIVING_DIVERSITY, LIVING_PRODUCT };
enum living_collapse { COLLAPSE_MITOSIS, COLLAPSE_ESCAPE, COLLAPSE_NONE };
enum living_despair { DESPAIR_PLATEAU, DESPAIR_GRADIENT };

void living_init(struct living *l); /* the defaults */

/* The rows for a program's table; struct living stands at `at` in the program's own struct. */
enum { LIVING_ROWS = 18 };
int living_rows(struct opt *row, size_t at);

/* After the options are read: bounds or thresholds that contradict. -1 with a message. */
int living_check(struct living *l);

unsigned living_needs(void); /* columns of the census (enum row_column) */
unsigned living_wants(void);

/*
 * Decide on a step: the rows' factors, vitality, and what is to be remembered of each are set, and
 * the events added in order of layers.  A layer where nothing happens has one keep event: the least
 * vital expert, v, the starvation threshold, and why it was kept.  -1 with a message: a layer that
 * has a slot beyond `most`.
 */
int living_decide(const struct living *l, struct policy_step *s, struct policy_events *e);

#endif
