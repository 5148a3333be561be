#ifndef TRAIN_SUBJECT_H
#define TRAIN_SUBJECT_H
#include "policy/tally.h"
#include "train/labeller.h"
#include "train/model.h"

/*
 * A checkpoint in use on data, whichever its task: how the experts of each layer were chosen by
 * the tokens that a language model reads, in consecutive windows, or by the samples of a
 * classifier, which has one layer.
 */
struct subject {
	bool classifier;
	int layers, top_k;
	double temperature; /* as at the end of its training */
	/* a language model and its text */
	struct model model;
	struct tokens *text;
	struct net *net;
	/* a classifier and its samples */
	struct labeller labeller;
	struct images *set;
};

/* seq, batch: of windows, 0 as the checkpoint was trained; a classifier has none.
 * -1 with a message; what that leaves is closed. */
int subject_open(struct subject *s, const char *ckpt, const char *data, int seq, int batch);
void subject_close(struct subject *s);

/* A token or a sample in one layer. */
struct subject_sample {
	int layer;
	long at;	   /* its number from 0 */
	const int *choice; /* [top_k] best first */
	bool right;
	double confidence; /* of what the model held likeliest */
	double entropy;	   /* of p, over the log of the number of experts */
	double weight;	   /* of the first choice */
};
typedef void subject_fn(void *arg, const struct subject_sample *x);

struct subject_result {
	long samples;
	double loss, accuracy; /* nats a sample */
};

/* All data at one temperature of the router; samples of a layer come in order. -1: a message. */
int subject_run(struct subject *s, double temperature, subject_fn *seen, void *arg,
		struct subject_result *out);

/* An empty tally for it, and all of it at its own temperature. */
void subject_slots(const struct subject *s, struct tally *t);
int subject_tally(struct subject *s, struct tally *t);

#endif
