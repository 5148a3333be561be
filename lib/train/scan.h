#ifndef TRAIN_SCAN_H
#define TRAIN_SCAN_H
#include "train/subject.h"

/*
 * What another temperature of the router changes at fixed weights: softmax(z / T) keeps the order
 * of scores, so that in a first layer no choice moves, but for one that a bias has part in.
 */
struct scan_layer {
	double entropy, weight;	       /* means: of p over ln E, of the first choice */
	double first_moved, set_moved; /* shares of samples that chose otherwise at its own T */
};
struct scan {
	double temperature;
	struct subject_result result;
	struct tally tally; /* without pairs */
	int layers;
	struct scan_layer *layer;
};

/* -1 stops with its message. */
typedef int scan_fn(void *arg, const struct scan *s);

/* The subject's own temperature, then T[n]. easy, hard: limits of confidence. */
int scan_run(struct subject *s, int n, const double *T, double easy, double hard, scan_fn *seen,
	     void *arg);

#endif
