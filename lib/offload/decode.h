#ifndef OFFLOAD_DECODE_H
#define OFFLOAD_DECODE_H
#include "model/net.h"
#include "offload/slots.h"

/*
 * Generation from a store: the experts of a net computed leaf by leaf from a slot pool.
 *
 *   y_k = ((leaf 0 + leaf 1) + leaf 2) + ...    for each expert k of a token, in the store's order
 *
 * and the layer adds its experts in the router's order, so that the result has the same bits
 * whatever is in memory when, whoever reads it, and however many compute.  What a leaf adds is
 * made by itself; leaves that are there are computed while others are being read.
 *
 * With a shadow, an absent leaf that is certainly inactive is not read (offload/leaf.h).  A
 * predictor names experts of the next layer, whose absent leaves are read ahead.  It may decide
 * what is fetched, never what is computed.
 */
enum decode_predictor {
	DECODE_NONE,
	DECODE_GATE /* the next layer's router on this layer's input, its norm exchanged */
};

/* Which leaves give way, see offload/slots. */
enum decode_policy {
	DECODE_LRU,
	DECODE_LEARNED /* least worth, by the chances that offload/hazard learns */
};

struct decode_how {
	size_t memory; /* bytes for everything but the program itself; 0: all leaves resident */
	int readers;   /* reads in flight */
	enum decode_predictor predictor;
	enum decode_policy policy;
	bool skip; /* use the store's shadow */
};

struct decode_count {
	long tokens;	/* that went through the net */
	long needed;	/* leaves of the experts that the routers chose */
	long skipped;	/* of them not read because they are certainly inactive */
	long idle;	/* computed, and found inactive */
	long predicted; /* experts named ahead */
	long right;	/* of them chosen */
	long chosen;	/* experts chosen in layers that could be predicted */
	double stall;	/* seconds in which nothing could be done but wait for reads */
};

struct decode;

/* Bytes that a run over seq tokens takes without slots, and with as few as it can do with. */
size_t decode_fixed(const struct store *s, int seq);
size_t decode_least(const struct store *s, int seq);

/* net: made from the store's parameters for seq tokens; it is this run's until decode_close. */
struct decode *decode_open(const struct store *s, struct net *net, const struct decode_how *how);
void decode_close(struct decode *d); /* NULL is harmless */

/*
 * Before the text is computed: this token is in it.  Leaves that it may need are read, of the
 * experts that every layer's router chooses for its embedding alone.
 */
void decode_expect(struct decode *d, const struct net_how *how, int32_t token);

/* Has a leaf not been readable?  Then net_next has returned NULL, and the message is set. */
bool decode_failed(const struct decode *d);
int decode_slots(const struct decode *d); /* of the pool */
/* Up to now; waits until reads have ended. */
void decode_counts(struct decode *d, struct decode_count *c, struct slots_count *s);

#endif
