#ifndef TRAIN_SAMPLE_H
#define TRAIN_SAMPLE_H
#include "model/net.h"

/*
 * Text generation, one token at a time.  The prompt is read into the cache; then each next token
 * is the likeliest (temperature 0; ties to the lowest), or drawn from softmax(logits /
 * temperature) by (seed, RNG_SAMPLE, position).
 */
struct sample {
	double temperature;
	uint64_t seed;
	long tokens; /* at most so many after the prompt */
	int32_t end; /* stop before this token; -1: none */
	/* Called with each token, the prompt's too; -1 stops with its message. */
	int (*emit)(void *arg, int32_t before, int32_t token, bool prompt);
	void *arg;
};

/* Stops when the net's sequence is used up. The prompt has at least one token. -1 from emit. */
int sample_run(struct net *n, const struct net_how *how, const struct sample *s,
	       const int32_t *prompt, long count);

#endif
