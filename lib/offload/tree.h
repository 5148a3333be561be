#ifndef OFFLOAD_TREE_H
#define OFFLOAD_TREE_H
#include <stddef.h>
#include <stdint.h>

/*
 * The tree-map: which experts a layer will use, from those that the layers before it have just
 * used.  It is a search tree of bounded depth and branching, learned while it is used, pruned as
 * it grows, and kept in a file for the next time.
 *
 * A root per layer; below it a node for each expert a of the layer before; below that one for each
 * expert b of the layer before that one, and so on, depth levels in all.  A node counts how often
 * it was met, n, and how often each expert e was used then, c(e).  Its prediction rests on its
 * parent's where it has seen little:
 *
 *	P(e | node) = (c(e) + k P(e | parent)) / (n + k),	k = 1 below the root, else 1/2
 *
 * P(e | root) = c(e) / n.  The prediction of a layer is the mean over all paths that the last
 * turns open, each followed as far as there are nodes.  The layer before the first is the last, of
 * the token before.
 *
 * Pruning: a node has at most `branching` children, sorted by expert; a further one takes the
 * place of that with the fewest meetings.  Whenever that has happened as often as there are
 * children, what all of them have counted is halved, so that what has gone out of use gives way;
 * as it is in a node before it has been met 2^16 times.
 */
struct tree;

struct tree_shape {
	int layers, experts; /* of the model */
	int depth;	     /* 1 to TREE_DEPTH */
	int branching;	     /* 1 to experts */
	uint32_t model;	     /* a mark of whose it is; 0: not known */
};

enum { TREE_DEPTH = 4, TREE_WIDTH = 16 /* experts of a turn that open paths, the first */ };

struct tree *tree_new(const struct tree_shape *s);
void tree_free(struct tree *t); /* NULL is harmless */
const struct tree_shape *tree_shape(const struct tree *t);
long tree_nodes(const struct tree *t);
size_t tree_most(const struct tree_shape *s); /* bytes that such a tree can come to */

/* It is of this model. -1 with a message if it has the mark of another. */
int tree_claim(struct tree *t, uint32_t model);

/* p[experts] = the chance of each to be used when it is the turn of this layer, now. */
void tree_predict(struct tree *t, int layer, float *p);
/* The turn of the layer has used these n experts: learn, and go on from there. */
void tree_learn(struct tree *t, int layer, const int *expert, long n);
/* What follows does not follow on what was before: another trace, a prompt. */
void tree_pause(struct tree *t);

/*
 * A file of format version 2, replaced at once: see moe-tree(5).  tree_load: NULL with a message
 * for a file that is damaged, cut short, of another version, or no tree.
 */
int tree_save(const struct tree *t, const char *file);
struct tree *tree_load(const char *file);

#endif
