#ifndef OFFLOAD_ACCESS_H
#define OFFLOAD_ACCESS_H
#include <stdbool.h>
#include <stdint.h>

/*
 * A routing trace as what it asks of the memory of experts: a list of accesses, each of one
 * expert of one layer.
 *
 * A trace is a CSV table with the columns step, layer and expert, and perhaps turn (of a
 * conversation), phase, expert_bytes and gate.  Rows with phase 0 are the tokens of a prompt,
 * computed as one batch: one access per distinct expert and layer, in layer order, within a layer
 * in the order of the file; these warm the memory and are not counted.  Rows with phase 1, or of a
 * table without that column, are decoded tokens: one access per distinct expert of each step and
 * layer, in the order of the file.
 *
 * An item is an expert of a layer; items are numbered by layer, then expert, without a gap
 * between layers.  Memory: 4 bytes per access, 24 per layer's turn, 4 per row of a prompt.
 */
enum { ACCESS_LAYERS = 1 << 12, ACCESS_EXPERTS = 1 << 16, ACCESS_ITEMS = 1 << 24 };

/* Consecutive accesses of one step and layer. */
struct access_turn {
	long begin; /* the first of them; the last stands before the begin of the next turn */
	int step;   /* another number, another token (in the play, a prompt is one) */
	int layer;
	int part;  /* of the conversation, from 0 */
	bool warm; /* of a prompt: not counted */
};

struct access_list {
	long n, turns;
	uint32_t *item;		  /* [n] */
	struct access_turn *turn; /* [turns + 1]; the last only ends the one before */
};

struct access_trace {
	int layers;   /* that appear */
	int depth;    /* the highest layer + 1 */
	int experts;  /* the highest expert of any layer + 1 */
	long items;   /* those of layer l are first[l] to first[l + 1] - 1 */
	long *first;  /* [depth + 1] */
	long *bytes;  /* [depth] of one expert of the layer; 0: not told */
	long counted; /* accesses, and turns of layers, that are no prompt's */
	long counted_turns;
	long steps; /* decoded */
	struct access_list play;
	/*
	 * With a column gate: for each turn of the play the experts that the layer's router chose
	 * when it was given the input of the layer before; none for prompts.  turns is 0 without.
	 */
	struct access_list gate;
	/* The rows of prompts token by token, sorted by part of the conversation, step, layer. */
	struct access_list prompt;
};

/*
 * Read a whole trace.  Rows of phase 1 are sorted by step within a turn of the conversation, and
 * the prompt of a turn stands before them.  layers and experts, where above 0, tell how many
 * there are: a row with another is refused.  NULL with a message on failure.
 */
struct access_trace *access_read(const char *file, int layers, int experts);
void access_free(struct access_trace *t); /* NULL is harmless */

#endif
