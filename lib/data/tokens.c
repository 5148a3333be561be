#include "data/tokens.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "data/spec.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/*
 * A pack opens with one line of HEADER bytes, padded with spaces, that begins and ends with the
 * same word: no one damaged byte turns a pack into a plain file of bytes.
 */
enum { HEADER = 128 };
#define WORD "moe-tokens"
#define CRC_AT "crc32 "

static const char head_word[] = WORD " ";
static const char tail_word[] = " " WORD "\n";

/* CRC-32 of n bytes, continuing from crc; zlib counts in uInt. */
static uint32_t
crc_more(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *b = p;

	while (n > 0) {
		size_t k = n < (1U << 30) ? n : 1U << 30;

		crc = (uint32_t)crc32(crc, b, (uInt)k);
		b += k;
		n -= k;
	}
	return crc;
}

static uint32_t
read16(const unsigned char *p)
{
	return p[0] | (uint32_t)p[1] << 8;
}

static uint32_t
read32(const unsigned char *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void
tokens_get(const struct tokens *t, size_t from, size_t n, int32_t *out)
{
	const unsigned char *p = (const unsigned char *)t->v + from * (size_t)t->width;

	if (t->width == 1)
		for (size_t i = 0; i < n; i++)
			out[i] = p[i];
	else if (t->width == 2)
		for (size_t i = 0; i < n; i++)
			out[i] = (int32_t)read16(p + 2 * i);
	else
		for (size_t i = 0; i < n; i++)
			out[i] = (int32_t)read32(p + 4 * i);
}

/* --- packed files --- */

/* Whether n bytes are a pack, whole or damaged: by either end of the header line, or cut in it. */
static bool
is_pack(const char *p, size_t n)
{
	size_t k = sizeof(head_word) - 1, m = sizeof(tail_word) - 1;

	if (memcmp(p, head_word, n < k ? n : k) == 0)
		return true;
	return n >= HEADER && memcmp(p + HEADER - m, tail_word, m) == 0;
}

/* The header line, as a pack with these values must have it. */
static void
header_text(char line[HEADER + 1], int vocab, int width, uint64_t n, uint32_t crc)
{
	int k = snprintf(line, HEADER + 1,
			 WORD " 1 vocab %d width %d count %" PRIu64 " " CRC_AT "%08" PRIx32, vocab,
			 width, n, crc);
	int m = (int)sizeof(tail_word) - 1;

	memset(line + k, ' ', (size_t)(HEADER - k));
	memcpy(line + HEADER - m, tail_word, (size_t)m + 1);
}

/* CRC-32 of the header, its own eight digits as zeros, and of the tokens. */
static uint32_t
pack_crc(int vocab, int width, uint64_t n, const void *v)
{
	char line[HEADER + 1];

	header_text(line, vocab, width, n, 0);
	return crc_more(crc_more(0, line, HEADER), v, (size_t)n * (size_t)width);
}

static int
pack_width(int vocab)
{
	return vocab <= 65536 ? 2 : 4;
}

/* Every token is below the vocabulary. */
static int
tokens_in_vocab(const struct tokens *t)
{
	const unsigned char *p = t->v;

	for (size_t i = 0; i < t->n; i++) {
		uint32_t x = t->width == 2 ? read16(p + 2 * i) : read32(p + 4 * i);

		if (x >= (uint32_t)t->vocab)
			return err_set("%s: token %zu is %" PRIu32
				       " (expected below the vocabulary of %d)",
				       t->file, i, x, t->vocab);
	}
	return 0;
}

/* Read t from the size bytes of a pack at p. */
static int
pack_read(struct tokens *t, const char *p, size_t size)
{
	char line[HEADER + 1], again[HEADER + 1];
	uint64_t n;
	uint32_t crc;

	if (size < HEADER)
		return err_set("%s: packed tokens cut in their header (%zu bytes, expected %d or "
			       "more)",
			       t->file, size, (int)HEADER);
	memcpy(line, p, HEADER);
	line[HEADER] = 0;
	if (sscanf(line, WORD " 1 vocab %d width %d count %" SCNu64 " " CRC_AT "%8" SCNx32,
		   &t->vocab, &t->width, &n, &crc) != 4)
		return err_set("%s: damaged header of packed tokens, or not version 1", t->file);
	header_text(again, t->vocab, t->width, n, crc);
	if (memcmp(line, again, HEADER) != 0 || t->vocab < 1 || t->width != pack_width(t->vocab))
		return err_set("%s: damaged header of packed tokens", t->file);
	if (n == 0)
		return err_set("%s: holds no tokens", t->file);
	if (n > (SIZE_MAX - HEADER) / (size_t)t->width ||
	    size != HEADER + (size_t)n * (size_t)t->width)
		return err_set("%s: %zu bytes do not hold %" PRIu64
			       " tokens of %d bytes after a header "
			       "of %d",
			       t->file, size, n, t->width, (int)HEADER);
	t->n = (size_t)n;
	t->v = p + HEADER;
	if (pack_crc(t->vocab, t->width, n, t->v) != crc)
		return err_set("%s: damaged: the tokens do not have the CRC-32 %08" PRIx32
			       " of the header",
			       t->file, crc);
	return tokens_in_vocab(t);
}

static void
put_le(unsigned char *p, uint32_t x, int width)
{
	for (int i = 0; i < width; i++)
		p[i] = (unsigned char)(x >> (8 * i));
}

int
tokens_pack(const char *file, int vocab, const uint32_t *v, size_t n)
{
	int width = pack_width(vocab);
	char line[HEADER + 1];
	unsigned char *b;
	struct file *f;
	int r = -1;

	if (vocab < 1)
		return err_set("%s: a vocabulary of %d (expected 1 or more)", file, vocab);
	if (n == 0)
		return err_set("%s: no tokens to pack", file);
	for (size_t i = 0; i < n; i++)
		if (v[i] >= (uint32_t)vocab)
			return err_set("%s: token %zu is %" PRIu32
				       " (expected below the vocabulary of %d)",
				       file, i, v[i], vocab);
	b = mem_grow(NULL, n, (size_t)width);
	for (size_t i = 0; i < n; i++)
		put_le(b + i * (size_t)width, v[i], width);
	header_text(line, vocab, width, n, pack_crc(vocab, width, n, b));

	f = file_replace(file);
	if (f && file_write(f, line, HEADER) == 0 && file_write(f, b, n * (size_t)width) == 0)
		r = file_commit(f);
	else
		file_abandon(f);
	free(b);
	return r;
}

/* --- opening --- */

/*
 * The bytes of t->file, mapped where it is a plain regular file, else read into t->own; size and
 * CRC are of the bytes on disk, or of those read when it is a pipe.
 */
static const char *
load(struct tokens *t, size_t *size)
{
	struct stat st;
	bool regular = strcmp(t->file, "-") != 0 && stat(t->file, &st) == 0 && S_ISREG(st.st_mode);

	if (regular) {
		t->own = (void *)file_map(t->file, size);
		if (t->own) {
			t->bytes = t->map_bytes = *size;
			t->crc = crc_more(0, t->own, *size);
			return t->own;
		}
		if (file_size(t->file, &t->bytes) < 0 || file_crc(t->file, t->bytes, &t->crc) < 0)
			return NULL;
	}
	t->own = file_slurp(t->file, size);
	if (t->own && !regular) {
		t->bytes = *size;
		t->crc = crc_more(0, t->own, *size);
	}
	return t->own;
}

/* Open a file under a name of k bytes, or the file's own when k is 0. */
static struct tokens *
open_named(const char *name, int k, const char *file)
{
	struct tokens *t = mem_zero(1, sizeof(*t));
	const char *p;
	size_t size = 0;

	t->file = mem_copy(file);
	t->name = k ? mem_text("%.*s", k, name) : spec_name(file);
	p = load(t, &size);
	if (!p)
		goto err;
	if (size == 0) {
		err_set("%s: is empty (expected text or packed tokens)", file);
		goto err;
	}
	if (is_pack(p, size)) {
		if (pack_read(t, p, size) < 0)
			goto err;
		return t;
	}
	t->vocab = 256;
	t->width = 1;
	t->n = size;
	t->v = p;
	return t;
err:
	tokens_close(t);
	return NULL;
}

struct tokens *
tokens_open(const char *spec)
{
	int k = spec_length(spec);

	return k < 0 ? NULL : open_named(spec, k, k ? spec + k + 1 : spec);
}

void
tokens_close(struct tokens *t)
{
	if (!t)
		return;
	if (t->map_bytes)
		file_unmap(t->own, t->map_bytes);
	else
		free(t->own);
	free(t->name);
	free(t->file);
	free(t);
}

/* --- schedules --- */

/* An operand "[NAME=]DATA[@STEP]" taken apart. */
struct operand {
	const char *name; /* k bytes, 0 when none is given */
	int k;
	char *file;
	long step; /* -1 when none is given */
};

/* Where "@STEP" begins: the last '@' when only digits follow it to the end, else NULL. */
static char *
step_at(char *s)
{
	char *at = strrchr(s, '@');

	if (!at || !at[1] || at[1 + strspn(at + 1, "0123456789")])
		return NULL;
	return at;
}

/* What exists as a file wins: the whole operand, then the part after NAME=, then without @STEP. */
static int
operand_parse(struct operand *o, const char *s)
{
	char *whole = mem_copy(s), *at = step_at(whole);

	*o = (struct operand){.name = s, .step = -1};
	o->k = spec_length(whole);
	if (at && !file_exists(whole) && !(o->k > 0 && file_exists(whole + o->k + 1))) {
		*at = 0;
		if (num_long(at + 1, 0, LONG_MAX, &o->step) < 0) {
			err_in("%s: the step after '@'", s);
			goto err;
		}
		o->k = spec_length(whole);
	}
	if (o->k < 0)
		goto err;
	o->file = mem_copy(o->k ? whole + o->k + 1 : whole);
	free(whole);
	return 0;
err:
	free(whole);
	return -1;
}

static bool
same_file(const char *a, const char *b)
{
	struct stat s, t;

	if (strcmp(a, b) == 0)
		return true;
	return stat(a, &s) == 0 && stat(b, &t) == 0 && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

static bool
same_name(const struct operand *o, const char *name)
{
	return strlen(name) == (size_t)o->k && memcmp(name, o->name, (size_t)o->k) == 0;
}

/* The tokens of phase i: those of an earlier phase, or newly opened. */
static int
phase_tokens(struct schedule *s, int i, const struct operand *o)
{
	for (int j = 0; j < i; j++)
		if (same_file(o->file, s->data[j]->file) &&
		    (o->k == 0 || same_name(o, s->data[j]->name))) {
			s->data[i] = s->data[j];
			s->domain[i] = s->domain[j];
			return 0;
		}
	s->data[i] = open_named(o->name, o->k, o->file);
	if (!s->data[i])
		return -1;
	s->owned[s->nowned++] = s->data[i];

	s->domain[i] = s->domains;
	for (int j = 0; j < i; j++)
		if (strcmp(s->data[i]->name, s->data[j]->name) == 0) {
			if (o->k == 0)
				return err_set(
					"%s and %s would both be called %s (write NAME=%s to tell "
					"them apart)",
					s->data[j]->file, o->file, s->data[j]->name, o->file);
			s->domain[i] = s->domain[j];
		}
	s->domains += s->domain[i] == s->domains;
	return 0;
}

static int
phase_step(struct schedule *s, int i, const struct operand *o)
{
	if (i == 0 && o->step > 0)
		return err_set("%s: the first data starts at step 0 (found @%ld)", o->file,
			       o->step);
	if (i > 0 && o->step < 0)
		return err_set("%s: at which step does it take over? (expected %s@STEP)", o->file,
			       o->file);
	if (i > 0 && o->step <= s->from[i - 1])
		return err_set("%s: step %ld does not come after step %ld of %s", o->file, o->step,
			       s->from[i - 1], s->data[i - 1]->file);
	s->from[i] = i == 0 ? 0 : o->step;
	return 0;
}

/* A phase of `seq` must find one window of seq + 1 tokens in the first 1 - val_frac of its data. */
static int
phase_size(struct schedule *s, int i, double val_frac, int seq)
{
	const struct tokens *t = s->data[i];
	size_t need = (size_t)seq + 1;

	s->train[i] = t->n - (size_t)((double)t->n * val_frac);
	if (s->train[i] < need)
		return err_set("%s: %zu tokens to train on (expected one window of %zu or more)",
			       t->file, s->train[i], need);
	if (t->vocab != s->data[0]->vocab)
		return err_set("%s: a vocabulary of %d (expected %d, as in %s)", t->file, t->vocab,
			       s->data[0]->vocab, s->data[0]->file);
	return 0;
}

static int
phase_open(struct schedule *s, int i, const char *operand, double val_frac, int seq)
{
	struct operand o;
	int r;

	if (operand_parse(&o, operand) < 0)
		return -1;
	r = phase_step(s, i, &o);
	if (r == 0)
		r = phase_tokens(s, i, &o);
	if (r == 0)
		r = phase_size(s, i, val_frac, seq);
	free(o.file);
	return r;
}

int
schedule_open(struct schedule *s, char **operand, int n, double val_frac, int seq)
{
	*s = (struct schedule){0};
	if (n < 1)
		return err_set("no data to train on (expected [NAME=]DATA[@STEP])");
	if (seq < 1)
		return err_set("windows of %d tokens (expected 1 or more)", seq);
	if (!(val_frac >= 0 && val_frac < 1))
		return err_set("%g is no share to hold out (expected 0 or more, below 1)",
			       val_frac);
	s->n = n;
	s->data = mem_zero((size_t)n, sizeof(*s->data));
	s->owned = mem_zero((size_t)n, sizeof(struct tokens *));
	s->from = mem_zero((size_t)n, sizeof(*s->from));
	s->domain = mem_zero((size_t)n, sizeof(*s->domain));
	s->train = mem_zero((size_t)n, sizeof(*s->train));
	for (int i = 0; i < n; i++)
		if (phase_open(s, i, operand[i], val_frac, seq) < 0) {
			schedule_close(s);
			return -1;
		}
	return 0;
}

void
schedule_close(struct schedule *s)
{
	for (int i = 0; i < s->nowned; i++)
		tokens_close(s->owned[i]);
	free(s->data);
	free(s->owned);
	free(s->from);
	free(s->domain);
	free(s->train);
	*s = (struct schedule){0};
}

int
schedule_phase(const struct schedule *s, long step)
{
	int i = s->n - 1;

	while (i > 0 && s->from[i] > step)
		i--;
	return i;
}

void
schedule_batch(const struct schedule *s, uint64_t seed, long step, int micro, int batch, int seq,
	       int32_t *in, int32_t *out)
{
	int phase = schedule_phase(s, step);
	const struct tokens *t = s->data[phase];
	struct rng r = rng_at(seed, RNG_BATCH, (uint64_t)step, (uint64_t)micro);

	for (size_t b = 0; b < (size_t)batch; b++) {
		size_t from = (size_t)rng_below(&r, s->train[phase] - (size_t)seq);

		tokens_get(t, from, (size_t)seq, in + b * (size_t)seq);
		tokens_get(t, from + 1, (size_t)seq, out + b * (size_t)seq);
	}
}
