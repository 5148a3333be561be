#ifndef DATA_BPE_H
#define DATA_BPE_H
#include <stddef.h>
#include <stdint.h>

/*
 * Byte-level byte-pair encoding (Sennrich et al. 2016; bytes and words as in GPT-2, see
 * data/word.h).  A table is immutable once made, so threads may share it.  Tokens 0..255 are the
 * bytes when trained here; tables from elsewhere bring their own numbering.  Encoding then decoding
 * is the identity on any bytes.
 */
struct bpe;

/*
 * No token is longer than BPE_LONGEST bytes, made here or read, and no table has more than BPE_MOST
 * tokens: a hostile file of a few bytes cannot ask for much memory.
 */
enum { BPE_LONGEST = 1024, BPE_MOST = 1 << 22 };

/*
 * Train on n bytes until `vocab` tokens (> 256) or no pair repeats.  The most frequent pair is
 * merged first; ties by the smaller pair (left token, then right).
 */
struct bpe *bpe_train(const unsigned char *text, size_t n, int vocab);
struct bpe *bpe_load(const char *file); /* our own format, see moe-bpe(5) */
struct bpe *bpe_load_gpt2(const char *vocab, const char *merges); /* encoder.json, vocab.bpe */

/*
 * The tokenizer of a llama2.c model (little-endian: int32 longest token, then per token float32
 * score, int32 length, bytes).  The text is one word: its characters, or for those that are no
 * token their bytes as tokens 3..258, are merged by the highest score, leftmost first.  bpe_encode
 * puts BOS (1) and, before any text, a blank in front, which bpe_next takes off again.
 */
struct bpe *bpe_load_llama2(const char *file);

int bpe_save(const struct bpe *b, const char *file); /* -1 also when b was not trained here */
void bpe_free(struct bpe *b);

int bpe_vocab(const struct bpe *b);
/* Tokens of n bytes; *out is allocated (free()), the count returned. */
size_t bpe_encode(const struct bpe *b, const unsigned char *text, size_t n, uint32_t **out);
/* The bytes of one token (< vocab); valid while b lives. */
const unsigned char *bpe_bytes(const struct bpe *b, uint32_t token, size_t *n);
/* The same when it follows the token `before`: decoding is the concatenation of these. */
const unsigned char *bpe_next(const struct bpe *b, uint32_t before, uint32_t token, size_t *n);

#endif
