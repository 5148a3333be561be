#ifndef OFFLOAD_TIER_H
#define OFFLOAD_TIER_H

/*
 * Two tiers of memory as a clock: experts wait in the slow one, a link brings them, and the fast
 * one computes, whose speed is that of reading the weights of a token once.
 *
 * n loads of b bytes that are asked for together take, on an idle link,
 *
 *	T(n) = latency * ceil(n / queue) + n b / bandwidth,
 *
 * and loads asked for later wait until it is idle.  A layer's turn begins when the one before is
 * computed: its router names the experts, the loads of those that are missing begin, and when they
 * and the loads ahead that it needs are there, computing takes
 *
 *	C = (k b + dense) / fast.
 *
 * Loads ahead for the next turn are asked for when computing begins, and go on meanwhile; loads
 * that turn out to be missing wait for them.  Time in which nothing is computed is stall.
 */
struct tier {
	const char *name;
	double bandwidth; /* bytes/s that a link gives in practice */
	double latency;	  /* s of a load before its first byte */
	int queue;	  /* loads in flight */
};

/*
 * The profiles: pcie3, pcie4, pcie5 (16 lanes, four fifths of their nominal rate, memory of the
 * host pinned) and nvme (one drive on four lanes of PCIe 4).  NULL: no such.
 */
const struct tier *tier_find(const char *name);

/* The model that is computed; a turn of the trace stands for one of its layers. */
struct tier_model {
	double layers;	     /* turns of a token */
	double used;	     /* experts of a turn, k */
	double expert_bytes; /* b */
	double dense_bytes;  /* of a layer: attention, router, norms */
	double fast;	     /* bytes/s */
};

struct tier_clock {
	struct tier tier;
	struct tier_model model;
	double now, idle; /* s; when the link is idle again */
	double from;	  /* s; when computing began */
	double ahead;	  /* s; when what was loaded ahead is there */
	double stall;	  /* s in all */
	double known;	  /* s in all, had each load been known a turn ahead, and none in vain */
	double turns;
};

struct tier_clock tier_clock(const struct tier *t, const struct tier_model *m);
/* The share of a load that goes on while a turn is computed, min(C, T(1)) / T(1). */
double tier_hidden(const struct tier_clock *c);
/* Before a turn, n loads ahead for it.  Counts are of `used` experts, scaled to the model's. */
void tier_ahead(struct tier_clock *c, double used, double n);
/* A turn, of which `missing` are loaded only now, and `useful` were loaded ahead. */
void tier_turn(struct tier_clock *c, double used, double missing, double useful);
/* Seconds of a token: as it went; had all loads been known a turn ahead; without any load. */
double tier_token(const struct tier_clock *c);
double tier_token_known(const struct tier_clock *c);
double tier_token_resident(const struct tier_clock *c);
double tier_stall(const struct tier_clock *c); /* of a token's seconds, those of waiting */

#endif
