#ifndef MODEL_WRN_H
#define MODEL_WRN_H
#include "model/param.h"

/*
 * Wide residual networks WRN-d-k (Zagoruyko and Komodakis 2016) as encoders of images: a 3x3
 * convolution to 16 channels; three groups of n = (d - 4) / 6 blocks with 16k, 32k and 64k
 * channels, the second and third beginning with stride 2; normalisation, ReLU, and the mean over
 * pixels.  A block is
 *
 *	a = relu(norm(x)),  y = conv3(relu(norm(conv3(a)))) + (x, or conv1(a) where shapes differ)
 *
 * Normalisation is by batch in training (eps 1e-5; running mean and variance with momentum 0.1,
 * the variance unbiased), by the running figures otherwise.
 *
 * Sums over the batch are made image by image in order, those of filters over a fixed number of
 * groups of images: no bit depends on the number of workers.
 */
struct wrn;

/*
 * depth = 6n + 4, width k >= 1, images of planes x height x width (multiples of 4), batches of at
 * most `batch`; train: with gradients, moments, and what the way back needs.  NULL with a message.
 */
struct wrn *wrn_new(int depth, int k, int planes, int height, int width, int batch, bool train);
void wrn_free(struct wrn *w); /* NULL is harmless */

/* Filters Normal(0, sqrt(2 / (9 out))), scales 1, shifts 0, from (seed, RNG_INIT, 0, index). */
void wrn_init(struct wrn *w, uint64_t seed, uint64_t index);

int wrn_features(const struct wrn *w); /* 64k */

/*
 * Tensors in the order of a file, named as a PyTorch user expects: conv1, then
 * block G.B.{norm1,conv1,norm2,conv2,shortcut}, then norm.  Filters are kept in an order of their
 * own (see conv.h); wrn_oihw says which convolution a tensor is the filter of, NULL for others.
 * Running figures are tensors without gradient.
 */
int wrn_tensors(const struct wrn *w);
struct tensor *wrn_tensor(struct wrn *w, int i);
const struct conv *wrn_oihw(const struct wrn *w, int i);

/* feature[n][64k] of x[n][planes][height][width]; train: by batch, and ready for wrn_back. */
void wrn_forward(struct wrn *w, const float *x, int n, bool train, float *feature);
/* Add the gradients through the features of the last wrn_forward. */
void wrn_back(struct wrn *w, const float *dfeature);

#endif
