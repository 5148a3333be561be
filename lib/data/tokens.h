#ifndef DATA_TOKENS_H
#define DATA_TOKENS_H
#include <stddef.h>
#include <stdint.h>

/*
 * Token sources.  DATA is any file of bytes (vocabulary 256, gzip recognised), or a packed token
 * file (moe-tokens(5)): a header line, then little-endian u16 or u32 tokens.  Standard input ("-")
 * and pipes are read into memory.
 */
struct tokens {
	char *name; /* NAME= if given, else the file's base name without .gz and its last suffix */
	char *file;
	int vocab;
	size_t n;	/* tokens */
	int width;	/* bytes per token: 1, 2 or 4 */
	const void *v;	/* mapped or owned */
	uint64_t bytes; /* size and CRC-32 of the file as on disk, or as it came from a pipe */
	uint32_t crc;
	/* private */
	void *own;
	size_t map_bytes;
};

/* "[NAME=]FILE"; NULL with a message: unreadable, empty, a damaged pack, a token >= vocab. */
struct tokens *tokens_open(const char *spec);
void tokens_close(struct tokens *t);
/* Copy tokens [from, from + n) as int32. The caller has checked the range. */
void tokens_get(const struct tokens *t, size_t from, size_t n, int32_t *out);
/* Write a packed file, whole or not at all. -1 also without tokens or with one >= vocab. */
int tokens_pack(const char *file, int vocab, const uint32_t *v, size_t n);

/*
 * A schedule: which source trains at which step.  Built from operands "[NAME=]DATA[@STEP]"; the
 * first starts at 0, steps must rise.  The same NAME again is the same domain, and so is the same
 * FILE given without a name; two files that would get the same name of themselves are refused.
 * What exists as a file wins: '=' and '@' may stand in its name.
 */
struct schedule {
	int n;		      /* phases */
	struct tokens **data; /* [n], shared where a file repeats */
	long *from;	      /* [n] first step of each phase */
	int *domain;	      /* [n] number of the domain, in order of appearance */
	int domains;
	struct tokens **owned; /* private */
	int nowned;
	size_t *train; /* [n] tokens usable for training: n less the held-out end */
};

/*
 * val_frac: share of each source's end held out.  -1 with a message: steps that do not rise, a
 * file shorter than one window of seq + 1 tokens, different vocabularies.
 */
int schedule_open(struct schedule *s, char **operand, int n, double val_frac, int seq);
void schedule_close(struct schedule *s);
int schedule_phase(const struct schedule *s, long step);

/*
 * The windows of a step: batch x (seq + 1) tokens, start positions drawn from (seed, RNG_BATCH,
 * step, micro) uniformly over the phase's training part. in and out are [batch][seq].
 */
void schedule_batch(const struct schedule *s, uint64_t seed, long step, int micro, int batch,
		    int seq, int32_t *in, int32_t *out);

#endif
