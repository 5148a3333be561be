#ifndef POLICY_EVENT_H
#define POLICY_EVENT_H
#include "io/table.h"

/*
 * What happens to experts: the rows of events.csv, see moe-events(5).  A policy's decisions are
 * events without the ids of the newborn, which the pool gives.
 */
enum policy_kind {
	POLICY_KEEP,
	POLICY_BIRTH,
	POLICY_DEATH,
	POLICY_MOVE,
	POLICY_MERGE,
	POLICY_FREEZE,
	POLICY_THAW,
	POLICY_ESCAPE,
	POLICY_SHIFT
};

/* Of what a newborn is made. */
enum policy_origin { POLICY_NONE, POLICY_MUTANT, POLICY_FRESH, POLICY_MEAN, POLICY_TWIN };

struct policy_event {
	long step;
	int layer, slot; /* -1, here and below: empty */
	enum policy_kind kind;
	long expert, parent;
	double value, threshold; /* these and sigma: a float32; NAN: empty */
	char cause[32];
	int to_layer, to_slot;
	int width;    /* hidden neurons of a newborn; empty: the parent's */
	double sigma; /* noise on a newborn, relative to each tensor's RMS; NAN: empty */
	enum policy_origin origin;
	long line; /* of the table that it was read from */
};

/* The events of one step, in the order in which they happen. */
struct policy_events {
	long step;
	int n, room;
	struct policy_event *v;
	long line; /* of the event that the pool refused; 0: none, or in no table */
};

/* An event whose optional fields are empty. */
struct policy_event policy_event(long step, int layer, int slot, enum policy_kind kind,
				 const char *cause);
const char *policy_kind_name(enum policy_kind k);

void policy_events_add(struct policy_events *e, const struct policy_event *v);
void policy_events_clear(struct policy_events *e);
void policy_events_free(struct policy_events *e);

extern const char policy_event_columns[];
/* The rows of a step; `left` counts down to 0. -1 if a write failed. */
int policy_events_write(const struct policy_events *e, struct row *w);

/*
 * Reading, one step at a time: it ends where `left` is 0, without that column where the next step
 * begins or the table ends.  A step may come in parts that each end so (a shift, then a market's).
 * Columns step, layer, slot and event must be there; others may be missing or empty.
 */
struct policy_history;

struct policy_history *policy_history_open(const char *name);
struct policy_history *
policy_history_from(struct file *f); /* now the history's; NULL may be given */
bool policy_history_counted(const struct policy_history *h); /* has the column left */
/* Whether the next call may have to wait. */
bool policy_history_waits(const struct policy_history *h);
/* 1 and the events of a step, which hold until the next call; 0 at the end; -1 with a message. */
int policy_history_next(struct policy_history *h, struct policy_events **e);
void policy_history_close(struct policy_history *h); /* NULL is harmless */

#endif
