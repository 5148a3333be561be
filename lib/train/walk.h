#ifndef TRAIN_WALK_H
#define TRAIN_WALK_H
#include "policy/mutual.h"
#include "train/model.h"
#include "train/prompt.h"

/* A text on its way through a model: whom its tokens choose in each layer, and what that tells. */
struct walk {
	struct model model;
	struct prompt text;
	int seq;     /* tokens of a window; the last is as long as it is */
	int **first; /* [L][n] the first choice */
	int *form; /* [n] what kind of token it is: by its first letters, or what it begins with */
};

/* seq 0: as the model was trained.  -1 with a message; what that leaves is closed. */
int walk_open(struct walk *w, const char *ckpt, const struct prompt_table *words, const char *file,
	      int seq);
void walk_close(struct walk *w);

/* A token in one layer. */
struct walk_step {
	long window, pos; /* where it stands, both from 0 */
	int token;
	const char *text; /* its bytes, those that are not printable as \xHH */
	int layer;
	int k;
	const int *choice; /* [k] best first */
	const float *gate; /* [k] */
};
typedef int walk_fn(void *arg, const struct walk_step *x);

/* Window by window, each seeing itself alone.  Ends with -1 when `seen` returns other than 0. */
int walk_run(struct walk *w, walk_fn *seen, void *arg);

/* What the first choice of a layer tells, of the text that has been run. */
struct walk_layer {
	double entropy;		   /* of the choice, nats */
	struct mutual token, form; /* it and the token, and the token's form */
	struct mutual context;	   /* it and the token before, given the token */
};
struct walk_layer walk_layer(const struct walk *w, int layer, int permutations, uint64_t seed);

#endif
