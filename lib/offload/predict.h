#ifndef OFFLOAD_PREDICT_H
#define OFFLOAD_PREDICT_H
#include "offload/tree.h"

/*
 * Who is used next: a layer's experts ranked before its turn, from what came before.
 *
 *	previous   those that the layer used for the token before, then by frequency
 *	frequency  by the number of uses so far, the prompt's included
 *	gate       those that the caller names, the layer's router asked too soon, then by frequency
 *	tree       by offload/tree
 *
 * What an expert's score is worth is learned, too: scores fall into bins, and the chance of one is
 * the share of the experts in its bin that were used so far; with the weight of two experts that
 * were as likely used as the tree says, or by another predictor's score were not.
 *
 * Experts are items as in offload/hazard: those of layer l are first[l] to first[l + 1] - 1.
 */
enum predict_kind { PREDICT_NONE, PREDICT_PREVIOUS, PREDICT_FREQUENCY, PREDICT_GATE, PREDICT_TREE };

struct predict;

/* first [depth + 1] and the tree, of PREDICT_TREE alone, stay the caller's; the tree learns. */
struct predict *predict_new(int depth, const long *first, enum predict_kind kind,
			    struct tree *tree);
void predict_free(struct predict *p); /* NULL is harmless */

/* -1 with a message unless a tree of this shape can be of a model of `depth` such layers. */
int predict_fits(int depth, int experts, const struct tree_shape *s);

struct predict_guess {
	uint32_t item;
	float chance;
};

/*
 * The most likely items of the layer's next turn, most likely first, at most `most` of them; their
 * number is returned.  named [n]: of PREDICT_GATE.
 */
long predict_turn(struct predict *p, int layer, const uint32_t *named, long n, long most,
		  struct predict_guess *guess);
/*
 * A turn of the layer has used these n items; the layers' turns come in order.  Chances are learned
 * from it if it is what predict_turn was asked for last.
 */
void predict_learn(struct predict *p, int layer, const uint32_t *item, long n);
/* What follows does not follow on what was before. */
void predict_pause(struct predict *p);

#endif
