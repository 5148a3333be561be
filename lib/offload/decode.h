#ifndef OFFLOAD_DECODE_H
#define OFFLOAD_DECODE_H
#include "model/net.h"
#include "offload/predict.h"
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
 * predictor (offload/predict) names experts of the next turn, which is scored before the truth is
 * known, and their absent leaves are read ahead where that is expected to save more than it costs
 * (offload/slots).  It may decide what is fetched, never what is computed.
 */

/* Which leaves give way, see offload/slots. */
enum decode_policy {
	DECODE_LRU,
	DECODE_LEARNED /* least worth, by the chances that offload/hazard learns */
};

struct decode_how {
	size_t memory; /* bytes for everything but the program itself; 0: all leaves resident */
	int readers;   /* reads in flight */
	enum fetch_way way;
	enum predict_kind predictor;
	struct tree *tree; /* of PREDICT_TREE, which fits the store: the caller's; it learns */
	enum decode_policy policy;
	bool skip; /* use the store's shadow */
};

struct decode_count {
	long tokens;	/* that went through the net */
	long needed;	/* leaves of the experts that the routers chose */
	long skipped;	/* of them not read because they are certainly inactive */
	long idle;	/* computed, and found inactive */
	long chosen;	/* experts chosen in turns that were predicted */
	long predicted; /* experts named for them, at most as many as a turn uses */
	long right;	/* of them chosen */
	long right_2k;	/* chosen of those named, twice as many at most */
	double stall;	/* seconds in which nothing could be done but wait for reads */
};

struct decode;

/* Bytes that a run over seq tokens takes without slots, and with as few as it can do with. */
size_t decode_fixed(const struct store *s, int seq, const struct tree *tree);
size_t decode_least(const struct store *s, int seq, const struct tree *tree);

/*
 * net: made from the store's parameters for seq tokens; it is this run's until decode_close.  What
 * a tree that has seen texts expects of any is read ahead at once.
 */
struct decode *decode_open(const struct store *s, struct net *net, const struct decode_how *how);
void decode_close(struct decode *d); /* NULL is harmless */

/*
 * Before the text is computed: this token is in it.  Leaves that it may need are read, of the
 * experts that every layer's router chooses for its embedding alone.
 */
void decode_expect(struct decode *d, const struct net_how *how, int32_t token);

/* Nothing is to be computed until then, by tick_now: leaves may be read ahead. */
void decode_idle(struct decode *d, double until);

/* Has a leaf not been readable?  Then net_next has returned NULL, and the message is set. */
bool decode_failed(const struct decode *d);
int decode_slots(const struct decode *d); /* of the pool */
const struct store *decode_store(const struct decode *d);
void decode_settle(struct decode *d); /* wait until all reads have ended */
/* Up to now. */
void decode_counts(struct decode *d, struct decode_count *c, struct slots_count *s);

#endif
