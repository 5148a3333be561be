#ifndef TRAIN_DECISIONS_H
#define TRAIN_DECISIONS_H
#include "policy/event.h"
#include <signal.h>

/*
 * Decisions of a policy at the other end of a pipe: a table of events, moe-events(5), of which one
 * step is read after each census.  Neither side writes while the other does.
 */
struct decisions;

/*
 * The pipe by its name ("-" the standard input), without waiting for who will write to it.  NULL
 * with a message if there is none of that name.
 */
struct decisions *decisions_open(const char *name);

/*
 * The events of this step, which hold until the next call: 1 and they; 0 when *stop was raised
 * while waiting; -1 with a message when the policy has ended, as the end of its pipe tells, or the
 * one at `census` (the descriptor of a pipe that it reads, or -1), or when what it says is no step
 * of events or another's.
 */
int decisions_next(struct decisions *d, long step, int census, const volatile sig_atomic_t *stop,
		   struct policy_events **e);

/*
 * The run has ended, and the census is closed: who was never asked may still be about to open the
 * pipe, and would wait there for ever.  Wait for its first sign, or its end, or *stop.
 */
void decisions_settle(const struct decisions *d, const volatile sig_atomic_t *stop);

/* The name, for messages about the events. */
const char *decisions_name(const struct decisions *d);
void decisions_close(struct decisions *d); /* NULL is harmless */

#endif
