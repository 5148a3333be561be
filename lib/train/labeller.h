#ifndef TRAIN_LABELLER_H
#define TRAIN_LABELLER_H
#include "data/images.h"
#include "model/classifier.h"
#include "train/recipe.h"

/* What a recipe of --task classify makes of samples like these: the shape, the loss of a step. */
struct classifier_shape labeller_shape(const struct recipe *r, const struct images *like);
struct mixture_loss labeller_loss(const struct recipe *r, long step);

/* PLANESxHEIGHTxWIDTH of --pixels, or nothing. -1 with a message. */
int labeller_form(const struct recipe *r, struct images_form *f);

/* Whether a recipe's text is of this task. */
bool labeller_is(const char *recipe);

/* A classifier in use: the weights of a checkpoint, its recipe, and the samples that it knows. */
struct labeller {
	struct recipe_book book;
	struct images like; /* shape and classes alone */
	struct classifier *c;
	struct mixture_loss how; /* as at the end of its training */
};

/* Of an open file, which may then close. -1 with a message; what that leaves is closed. */
int labeller_take(struct labeller *l, const struct ckpt *k);
void labeller_close(struct labeller *l);

/* Samples that it can take; NULL with a message. Freed by images_close. */
struct images *labeller_data(const struct labeller *l, const char *file);

#endif
