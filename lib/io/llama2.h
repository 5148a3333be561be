#ifndef IO_LLAMA2_H
#define IO_LLAMA2_H
#include "io/ckpt.h"

/*
 * Models of llama2.c: its version 0 files, a header of seven int32 and float32 tables without
 * names.  Their layers are dense and gated (SwiGLU); here such a layer is one expert without a
 * router, or N equal experts with one ("upcycled"), which compute the same function for any choice
 * of experts because the weights of the chosen sum to one.
 *
 * Rotary positions turn neighbouring rows of a head there, rows half a head apart here: the rows
 * of the query and key matrices are moved accordingly.  The rotary tables in the file are not
 * read, as llama2.c itself does not: angles are those of base 10000.
 */
struct llama2 {
	int dim, hidden, layers, heads, kv_heads, vocab, seq;
	bool tied; /* the head is the embedding */
	/* private */
	char *name;
	const void *file;
	size_t bytes;
	bool mapped;
	float *owned; /* rearranged queries and keys, routers */
};

/* Whether the file looks like one: named .bin, or a regular file that begins like one. */
bool llama2_is(const char *file);

/* NULL with a message: not version 0, an impossible shape, or a length that does not fit it. */
struct llama2 *llama2_open(const char *file);
void llama2_close(struct llama2 *m); /* NULL is harmless */

/*
 * Add all tensors and the metadata `recipe` and `step` to o.  Float data is written as `as` (F32 or
 * BF16) and borrowed from m, which must outlive ckpt_write.  experts 0 leaves the layers dense;
 * otherwise router weights are drawn from Normal(0, 0.02) at (seed, RNG_INIT, layer) and each token
 * uses top_k experts.
 */
void llama2_add(struct llama2 *m, struct ckpt_out *o, enum ckpt_type as, int experts, int top_k,
		uint64_t seed);

#endif
