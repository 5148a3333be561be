#ifndef DATA_SHIFT_H
#define DATA_SHIFT_H
#include "base/file.h"
#include "data/tokens.h"
#include <stdbool.h>

/*
 * Shifts of domain: a plan says which domain trains from which step, a stream is what a trainer
 * reads under such a plan.
 */

/* In which order a cycle visits the domains; see moe-shift(1). */
enum shift_order {
	SHIFT_GIVEN,  /* A B C  A B C  A */
	SHIFT_ZIGZAG, /* A B C B  A B C B  A */
	SHIFT_RANDOM  /* a permutation drawn for each cycle */
};

struct shift_plan {
	int domains; /* two or more */
	int cycles;
	enum shift_order order;
	bool back;	   /* after the last cycle its first domain returns */
	long warmup;	   /* steps by which the first phase is longer */
	const int *period; /* [periods] steps of a phase, by domain; one value serves all */
	int periods;
	uint64_t seed; /* of SHIFT_RANDOM */
};

struct shift_phase {
	int domain;
	long from, to; /* steps [from, to) */
};

/*
 * The phases, *n of them, freed by free(): the first starts at 0, each where the one before ends,
 * neighbours differ in their domain.  NULL with a message.
 */
struct shift_phase *shift_phases(const struct shift_plan *p, int *n);

/* What is drawn at each step: the arguments of schedule_batch. */
struct shift_draw {
	uint64_t seed;
	int accum, batch, seq;
};

int shift_width(const struct schedule *s); /* bytes of a token in the stream: 1, 2 or 4 */

/*
 * Write the windows of steps [from, to) as a trainer with this seed draws them: by step, batch of
 * the step and row, each window its seq + 1 tokens, little-endian.  -1 with a message.
 */
int shift_stream(const struct schedule *s, const struct shift_draw *d, long from, long to,
		 struct file *f);

#endif
