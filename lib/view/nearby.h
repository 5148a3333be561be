#ifndef VIEW_NEARBY_H
#define VIEW_NEARBY_H

/*
 * Where a layer's experts stand for its router: the rows of model.layers.N.mlp.gate.weight of a
 * checkpoint, each scaled to length 1, and whom each expert is nearest to.  A router that has no
 * row for each expert (an MLP, a random one) has no keys.
 */
struct nearby_layer {
	int n;	     /* living experts */
	long d;	     /* dimensions */
	int *slot;   /* [n] rising */
	long *id;    /* [n] the expert's number; its slot where the file has no ledger */
	float *key;  /* [n, d] */
	int *near;   /* [n] index of the key of greatest cosine; -1: there is no other */
	float *like; /* [n] that cosine */
};

struct nearby {
	long step; /* of the checkpoint, -1: not told */
	int layers;
	struct nearby_layer *layer;
};

/* The task pool must have been started. -1 with a message; no layers is no error. */
int nearby_read(struct nearby *k, const char *file);
void nearby_free(struct nearby *k);

#endif
