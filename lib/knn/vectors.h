#ifndef KNN_VECTORS_H
#define KNN_VECTORS_H
#include "io/npy.h"

/*
 * Sets of vectors from files.  What a name stands for:
 *
 *	FILE           a .npy file ("-", the standard input, must be one); else a CSV table, whose
 *	               columns are the components, a row a vector
 *	CKPT:LAYER     the router's keys of a checkpoint's layer, its tensor
 *	               model.layers.LAYER.mlp.gate.weight
 *	CKPT:NAME      any other tensor of two dimensions
 *
 * All components are finite: a NaN or an infinity is refused, with its place.
 */
struct vectors {
	long n, d;
	const float *v; /* [n][d] */
	char *name;	/* for messages */
	struct npy matrix;
	float *own;
};

/* -1 with a message. */
int vectors_read(struct vectors *s, const char *name);
/* Scale each to length 1: divided by the float64 norm, rounded to float32. -1: there is a zero. */
int vectors_normalize(struct vectors *s);
void vectors_free(struct vectors *s);

#endif
