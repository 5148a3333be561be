#ifndef TRAIN_KEYS_H
#define TRAIN_KEYS_H
#include "model/net.h"
#include "pool/gravity.h"

/*
 * The keys of a key store while its model trains: what the batches of a step asked and chose is
 * kept until the optimizer has made its step, then gravity moves the keys of every layer by all of
 * it.  The parameters hold the keys and what they remember.
 */
struct keys;

/* For steps of so many batches of so many tokens. */
struct keys *keys_new(const struct shape *s, long tokens, int batches);
void keys_free(struct keys *k);

/* The net's last forward was this batch, from 0, of the step; before the way back. */
void keys_see(struct keys *k, const struct net *n, int batch);
/* After step number `step`, from 1. */
void keys_move(struct keys *k, struct param *p, const struct gravity *g, long step, uint64_t seed);

/* Bytes that all of this takes, and the searches. */
size_t keys_bytes(const struct shape *s, long tokens, int batches);

#endif
