#ifndef TRAIN_APPRAISE_H
#define TRAIN_APPRAISE_H
#include "base/file.h"
#include "data/images.h"
#include "io/table.h"
#include "model/classifier.h"

/* What a classifier makes of samples, which it takes in order and as they are, in its batches. */
struct appraise {
	long n, right;
	double ce, load, z, entropy; /* sums over samples */
};

/* One sample: number `at` of the set, in place i of the classifier's last batch. */
struct appraised {
	const struct images *set;
	long at;
	int i;
	bool right;
	double confidence; /* the largest of softmax(y) */
};

/* Who wants to see each sample. -1 stops with its message. */
typedef int appraise_fn(void *arg, const struct classifier *c, const struct appraised *s);

/* Samples [from, to) of a set. -1 with a message, also when the loss is not finite. */
int appraise_run(struct classifier *c, const struct images *set, long from, long to,
		 const struct mixture_loss *how, appraise_fn *seen, void *arg,
		 struct appraise *out);

/* Sample i as the classifier takes it, moved by (dy, dx), with 0 from outside, and mirrored. */
struct appraise_move {
	int dy, dx;
	bool mirror;
};
void appraise_input(const struct classifier *c, const struct images *s, long i,
		    struct appraise_move how, float *to);
long appraise_input_size(const struct images *s);

/* Its routing as rows of a trace: sample, layer 0, rank, expert, weight, correct, confidence. */
int appraise_trace_header(struct row *w);
int appraise_trace(struct row *w, const struct classifier *c, const struct appraised *s);

/* What the encoder made of it as a row that images_open reads: f0, f1, ..., class. */
int appraise_features_header(struct row *w, const struct classifier *c);
int appraise_features(struct row *w, const struct classifier *c, const struct appraised *s);

#endif
