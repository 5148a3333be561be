#ifndef POLICY_ECOLOGY_H
#define POLICY_ECOLOGY_H
#include <stdbool.h>
#include <stdint.h>

/*
 * The ecology of experts (Zhang, arXiv:2605.06415): a number that is said to foretell whether
 * routing leaves experts dead, and names for what becomes of each.
 */

/*
 * E = T H / (O + B): temperature and weights of entropy, oracle and balance.  With O + B = 0
 * infinite, NAN if T H is 0 too.  C classes make E_log = E / ln C and E_sqrt = E / sqrt C; NAN for
 * C = 0.
 */
struct ecology_e {
	double e, e_log, e_sqrt;
};
struct ecology_e ecology_e(double T, double H, double O, double B, long C);

/*
 * Healthy from 0.5 on, sub-health from 0.2 on, else collapse: "healthy" and so on, "" of NAN.  A
 * rounding of a 1e12th below a limit is at it, so that decimal settings mean what they say.
 */
const char *ecology_phase(double e);

/* What an expert is, by usage U (first choices) and accuracy A (of these). */
enum ecology_class {
	ECOLOGY_PURE_CORE,  /* U >= 3 %, A >= 50 % */
	ECOLOGY_BROAD_CORE, /* U >= 3 %, A 30 to 50 % */
	ECOLOGY_WEAK_CORE,  /* U >= 3 %, A < 30 % */
	ECOLOGY_EDGE,	    /* U 1 to 3 %, A >= 25 % */
	ECOLOGY_NOISE,	    /* U 1 to 3 %, A < 25 % */
	ECOLOGY_DEAD,	    /* U < 1 % */
	ECOLOGY_CORE,	    /* U >= 3 %, A not told */
	ECOLOGY_FRINGE,	    /* U 1 to 3 %, A not told */
	ECOLOGY_CLASSES
};
const char *ecology_class_name(enum ecology_class c);

/* Of `first` of N samples, of which `hits` were right (-1: not told).  In whole numbers: exact. */
enum ecology_class ecology_class(int64_t N, int64_t first, int64_t hits);
/* Of shares that were rounded to float32; accuracy NAN: not told.  Usage must be told. */
enum ecology_class ecology_class_of(double usage, double accuracy);

/*
 * How a layer's load is spread over its n experts; u_i = n_i / mean n, 1 is fair.
 *
 *   gini = sum_i (2 i + 1 - n) u_i / n^2, u rising     maxvio = max u - 1
 *   entropy = -sum_i s_i ln s_i / ln n, s = u / n      quartiles of u, between two by a line
 */
struct ecology_load {
	double gini, entropy, maxvio, q25, median, q75;
	double dead; /* share of experts without any load */
};
/* count[n] is sorted and scaled in place. */
struct ecology_load ecology_load(int n, double *count);

/*
 * Tiers: labels on slots, the first size[0] slots tier 0, the next tier 1.  Depth is how many of
 * them work: the tiers with at least a tenth of the usage, and exp(entropy of the usage by tier).
 */
int ecology_tier(int tiers, const int *size, int slot); /* tiers, if it is beyond them all */
struct ecology_depth {
	int used;
	double effective;
};
struct ecology_depth ecology_depth(int tiers, const double *usage);

#endif
