#ifndef TRAIN_MEMORY_H
#define TRAIN_MEMORY_H
#include "io/ckpt.h"
#include "train/score.h"

/*
 * What experts keep while another domain trains: whom the tokens of each domain went to, from a
 * census, and how far an expert's weights have moved, from two checkpoints.  See moe-shift(1).
 */

/* A census: the columns step, layer, expert, tokens, and where they are there slot and domain. */
struct memory_row {
	long step; /* the window's last */
	long window;
	int layer;
	long slot;   /* -1: untold */
	long expert; /* its id */
	long tokens;
};
struct memory_window {
	long from, to;	    /* steps (from, to] */
	const char *domain; /* as a column says; NULL: untold */
	int phase;	    /* -1: a shift lies within */
};
struct memory {
	long rows, room;
	struct memory_row *row; /* by window, layer, expert */
	long windows;
	struct memory_window *window;
	int names;
	char **name;
};

/*
 * -1 with a message: steps that fall, an expert twice in a window, tokens that are no whole
 * numbers, a window with two domains.
 */
int memory_read(struct memory *m, const char *file);
void memory_free(struct memory *m);

/* Phases, from their first step on; the last has no end. */
struct memory_phase {
	long from, to; /* steps (from, to]; LONG_MAX: no end */
	const char *domain;
};
/* Say of each window in which phase it lies. */
void memory_place(struct memory *m, const struct memory_phase *p, int n);
/* The phases that the census' own column `domain` tells, *n of them; 0 without that column. */
struct memory_phase *memory_phases(const struct memory *m, int *n);

/* An expert in a group of windows. */
struct memory_use {
	int group, layer;
	long expert, slot;  /* the last slot of the group; -1: untold */
	long windows;	    /* in which the expert is listed */
	long idle;	    /* of these, windows in which its share was at or below the limit */
	double tokens, all; /* its own, and its layer's in the same windows */
	long first;	    /* end of the first window that was not idle; -1: none */
};

/*
 * Sum the windows of each group (group[w] of window w, -1 leaves one out) by expert.  *n cells by
 * layer, expert and group, freed by free().
 */
struct memory_use *memory_sum(const struct memory *m, const int *group, double limit, long *n);
double memory_share(const struct memory_use *u); /* of its layer's tokens; 0 when there were none */

/* Tokens of an expert and its layer in the windows within (from, to]; false if it is in none. */
bool memory_tokens(const struct memory *m, int layer, long expert, long from, long to,
		   double *tokens, double *all);

/* An expert in two checkpoints. */
enum memory_state { MEMORY_KEPT, MEMORY_BORN, MEMORY_GONE, MEMORY_RESHAPED };
struct memory_drift {
	enum memory_state state;
	long expert;
	int layer, slot; /* in the second; in the first if it is gone */
	double drift;	 /* |b - a| / |a| over its weights; NAN unless kept */
	double router;	 /* the same of its row of a linear router; NAN without one */
};

/*
 * Match the experts of two checkpoints by the ids of their ledgers, or by layer and slot where
 * there is no ledger (the ids are then slots).  *n of them by layer and slot.  NULL with a message.
 */
struct memory_drift *memory_drift(const struct ckpt *a, const struct ckpt *b, long *n);

#endif
