#ifndef OFFLOAD_PREDICT_H
#define OFFLOAD_PREDICT_H
#include "offload/access.h"
#include "offload/tree.h"

/*
 * Who is used next: a layer's experts ranked before its turn, from what came before.
 *
 *	previous   those that the layer used for the token before, then by frequency
 *	frequency  by the number of uses so far, the prompt's included
 *	gate       those of the trace's column gate, then by frequency
 *	tree       by offload/tree
 *
 * What an expert's score is worth is learned, too: scores fall into bins, and the chance of one is
 * the share of the experts in its bin that were used so far.
 */
enum predict_kind { PREDICT_NONE, PREDICT_PREVIOUS, PREDICT_FREQUENCY, PREDICT_GATE, PREDICT_TREE };

struct predict;

/*
 * The tree, of PREDICT_TREE alone, stays the caller's, and has learned from the trace in the end.
 * The trace fits it: see predict_fits.
 */
struct predict *predict_new(const struct access_trace *t, enum predict_kind kind,
			    struct tree *tree);
void predict_free(struct predict *p); /* NULL is harmless */

/* -1 with a message if the trace is of another model than the tree. */
int predict_fits(const struct access_trace *t, const struct tree_shape *s);

struct predict_guess {
	uint32_t item;
	float chance;
};

/*
 * The most likely items of turn k of t->play, most likely first, at most `most` of them; their
 * number is returned.  Turns are asked for in order, and not one of a prompt.
 */
long predict_turn(struct predict *p, long k, long most, struct predict_guess *guess);
/* Turn k is known; before it, predict_turn was called for it, unless it is of a prompt. */
void predict_learn(struct predict *p, long k);

#endif
