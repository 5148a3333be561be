#ifndef TRAIN_APPLY_H
#define TRAIN_APPLY_H

/*
 * Carry the events of a checkpoint's step out on it, as a run would have done: see moe-market(1).
 * `events` is a table of moe-events(5), of which rows of earlier steps and shifts are passed over;
 * the result goes to `out`, atomically.  -1 with a message, nothing written, when the file has had
 * its events, when the table has none of its step or has later ones, or when one is impossible.
 */
int apply_run(const char *ckpt, const char *events, const char *out);

#endif
