#ifndef TRAIN_CLASSIFY_H
#define TRAIN_CLASSIFY_H
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

#endif
