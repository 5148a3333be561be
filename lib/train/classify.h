#ifndef TRAIN_CLASSIFY_H
#define TRAIN_CLASSIFY_H
#include "io/ckpt.h"
#include "train/train.h"

/*
 * Training of a classifier (--task classify), with the run directory, resumption and reproduction
 * that train_run has.  A step takes the next `batch` samples of the epoch's permutation, which is
 * drawn at (seed, RNG_BATCH, epoch); what is left of an epoch below a batch is dropped.  With
 * augmentation each image is moved by up to 4 pixels and mirrored, drawn at (seed, RNG_DATA, step,
 * place in the batch).
 *
 * The census looks at the samples of validation, or without any at those of training, and counts
 * first choices (usage), choices of any rank (tokens, demand) and how often the samples of a first
 * choice are right (accuracy).
 */
enum train_end classify_run(struct train *t);

/* What a checkpoint makes of a set of images. */
struct classify_eval {
	long samples;
	double loss, accuracy; /* nats per sample */
};

/*
 * Evaluate a checkpoint of classify_run on a set.  trace: NULL, or a table that gets the routing of
 * each sample: layer 0, rank, expert, weight, correct, confidence.  -1 with a message.
 */
int classify_eval(const struct ckpt *k, const char *data, struct file *trace,
		  struct classify_eval *out);

/* Whether a recipe's text is of this task. */
bool classify_is(const char *recipe);

#endif
