#ifndef MODEL_CLASSIFIER_H
#define MODEL_CLASSIFIER_H
#include "io/ckpt.h"
#include "model/mixture.h"
#include "model/optim.h"
#include "model/wrn.h"

/*
 * A classifier of images (a wide residual network, then routed experts) or of feature vectors
 * (routed experts alone).  Inputs are [n][planes][height][width], already normalised.
 */
struct classifier_shape {
	int depth, widen; /* WRN; depth 0: none */
	int planes, height, width;
	struct mixture_shape mixture; /* features is set by classifier_new */
};

struct classifier {
	struct classifier_shape s;
	struct wrn *encoder; /* NULL: none */
	struct mixture *mixture;
	/* per plane (or feature) of what it learnt from: x = (raw - mean) / sd */
	struct tensor mean, sd;
	int tensors;
	struct tensor **tensor; /* [tensors] in the order of the file: the two, encoder, mixture */
	int encoders;		/* tensors before this one are the encoder's */
	float *feature, *dfeature;
	int batch;
};

/* NULL with a message. */
struct classifier *classifier_new(const struct classifier_shape *s, int batch, bool train);
void classifier_free(struct classifier *c); /* NULL is harmless */
void classifier_init(struct classifier *c, uint64_t seed);

/* train: the encoder normalises by batch, and classifier_back may follow. */
void classifier_forward(struct classifier *c, const struct mixture_loss *loss, const float *x,
			const uint16_t *label, int n, bool train, uint64_t seed, long step,
			struct mixture_stat *out);
/* Add the gradients. */
void classifier_back(struct classifier *c, const struct mixture_loss *loss, const float *x,
		     const uint16_t *label);

/*
 * The norm of the whole gradient, and AdamW (see model/optim.h) with a rate for the encoder and one
 * for the rest; gradients are zero after it.
 */
double classifier_norm(struct classifier *c);
void classifier_step(struct classifier *c, const struct optim *o, double encoder_rate, double rate,
		     long step, double norm);

/*
 * Add all tensors to a file, with moments.  *copy, of what is kept in another order, is freed by
 * free() when the file is written, or on failure.  -1 with a message: not finite.
 */
int classifier_put(const struct classifier *c, struct ckpt_out *o, float **copy);
/* Read them; moments if the model trains. -1 with a message that names the tensor. */
int classifier_get(struct classifier *c, const struct ckpt *k);

#endif
