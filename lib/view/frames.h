#ifndef VIEW_FRAMES_H
#define VIEW_FRAMES_H
#include "view/life.h"
#include <stdio.h>

/*
 * A run as JSON for the script that plays it: {frames: [{step, rows, threshold, phi}], loss:
 * [[step, loss]], events: [[step, layer, slot, event, expert, parent, cause]], phases, grace,
 * value, limits: [starved below, overloaded above] of the value, near: {step, links: [[layer,
 * expert, expert, cosine]]} of the checkpoint's keys}.  A row of a frame is [layer, slot, expert,
 * parent, born, load in fair shares, value]; value is the vitality, or effective fitness, or
 * fitness, whichever the census has; only vitality has limits.
 */
enum { FRAMES_ROWS = 150000, FRAMES_LOSSES = 1500, FRAMES_EVENTS = 20000 };

/* How far a reader has come. */
struct frames_mark {
	int times, keys;
	long losses, events;
};

/*
 * All of it, with at most FRAMES_ROWS rows: every so many frames are left out beyond, losses are
 * means beyond FRAMES_LOSSES points, events the last FRAMES_EVENTS.  baseline may be NULL: its
 * losses.  Steps of the census that are not yet whole are left out while `growing`.
 */
void frames_all(const struct life *l, const struct life *baseline, bool growing,
		struct frames_mark *mark, FILE *out);
/* What has come since the mark, which moves on; false, and nothing written, if nothing has. */
bool frames_since(const struct life *l, struct frames_mark *mark, FILE *out);

#endif
