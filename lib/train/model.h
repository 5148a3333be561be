#ifndef TRAIN_MODEL_H
#define TRAIN_MODEL_H
#include "train/eval.h"
#include "train/recipe.h"

/* A model in use: the parameters of a checkpoint, and its recipe. */
struct model {
	struct recipe_book book;
	struct param *param;
	long step; /* updates that it has had */
};

/* -1 with a message; what model_open leaves then need not be closed. */
int model_open(struct model *m, const char *file);
int model_take(struct model *m, const struct ckpt *k); /* of an open file, which may then close */
void model_close(struct model *m);

/* As at the end of its training: the last temperature, no step to come. */
struct net_how model_how(const struct model *m);

/* A text that the model can read; NULL with a message when it has tokens that the model has not. */
struct tokens *model_text(const struct model *m, const char *file);

#endif
