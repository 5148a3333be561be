#ifndef OFFLOAD_STORE_H
#define OFFLOAD_STORE_H
#include "model/param.h"
#include "offload/leaf.h"
#include "train/recipe.h"

/*
 * A store: a model on disk whose experts are cut into leaves, so that it can be run in less memory
 * than it needs.  A leaf is a group of hidden neurons of one expert, as one contiguous piece that
 * starts and ends on STORE_ALIGN bytes and has a CRC-32 of its own:
 *
 *   gate rows [m, C] of a gated unit, up rows [m, C], down columns as rows [m, C], zeros
 *
 * What every token uses (embedding, attention, norms, routers) stands in the head and, when the
 * store was packed so, a shadow of the rows that decide whether a neuron of the ReLU family is
 * active: int8 with proven margins (see offload/leaf.h).  See moe-store(5).
 */
enum { STORE_VERSION = 1, STORE_ALIGN = 4096 };

struct store_leaf {
	uint64_t at;	/* in the file */
	uint32_t bytes; /* a multiple of STORE_ALIGN */
	uint32_t crc;	/* of all its bytes */
	int neurons;
	int layer, slot;
	long first; /* its first neuron among all of the store */
};

/* The leaves of an expert: [first, first + n); n is 0 for an empty slot. */
struct store_expert {
	int first, n;
};

struct store {
	char *name;
	int fd;		      /* for reading leaves */
	uint64_t head, bytes; /* of the head, of the file */
	struct recipe_book book;
	struct param *param; /* hollow: all but the experts' weights */
	int leaves;
	struct store_leaf *leaf;      /* [leaves] by layer, slot, order of summation */
	struct store_expert **expert; /* [L][E] */
	uint32_t largest;	      /* bytes of the largest leaf */
	long neurons;		      /* of all leaves */
	long row;		      /* bytes of a row of q */
	struct leaf_shade *shade;     /* [neurons]; NULL without a shadow */
	signed char *q;		      /* [neurons, row] */
};

/* The most leaves that a token may need in one layer at once. */
int store_need(const struct store *s);
/* A mark of the model: the CRC-32 of what each token uses, however its leaves were cut; not 0. */
uint32_t store_model(const struct store *s);
/* Memory that the open store takes, without any leaf. */
size_t store_resident(const struct store *s);

/*
 * Open for reading.  The head is verified against its CRC and the file's length against the head;
 * leaves are not read here: store_check verifies all of them, store_read each as it comes.
 * direct: leaves are read around the page cache; a file system that cannot do that is refused.
 * NULL with a message.
 */
struct store *store_open(const char *file, bool direct);
int store_check(const struct store *s);
/* Read and verify a leaf; `into` has its bytes and is aligned to STORE_ALIGN. */
int store_read(const struct store *s, int leaf, void *into);
/* Its two halves: a read of it has ended so (offload/fetch), and are these its bytes? */
int store_came(const struct store *s, int error, uint64_t at);
int store_verify(const struct store *s, int leaf, const void *bytes);
void store_close(struct store *s); /* NULL is harmless */

/* What is to be written. */
struct store_plan {
	const struct param *param;
	const char *recipe; /* the checkpoint's */
	int leaf;	    /* neurons of a leaf; an expert's last one may be smaller */
	bool shadow;
	int ***order; /* [L][E][hidden] the order of an expert's neurons; NULL: as they are */
};

/* Write atomically. -1 with a message. */
int store_write(const struct store_plan *p, const char *file);

#endif
