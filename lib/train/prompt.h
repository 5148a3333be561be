#ifndef TRAIN_PROMPT_H
#define TRAIN_PROMPT_H
#include "data/bpe.h"
#include <stdbool.h>

/*
 * Text that goes into a model and comes out: a token is a byte, or a piece of text by a table of
 * moe-data bpe, of GPT-2 or of llama2.c.
 */
struct prompt {
	struct bpe *bpe; /* NULL: bytes */
	bool marked;	 /* the first token is the mark of a beginning, which is not written */
	int32_t end;	 /* the token that ends a text, -1: none */
	int32_t *token;	 /* [n] */
	long n;
};

/* Where the table is; all NULL: bytes. gpt2 is a vocabulary, beside which merges is needed. */
struct prompt_table {
	const char *bpe, *gpt2, *merges, *llama2;
};

/* Read the table and the text of a file ("-": standard input). -1 with a message: it is empty, or
 * has a token that a model of this vocabulary does not know. */
int prompt_open(struct prompt *p, const struct prompt_table *t, const char *file, int vocab);
void prompt_close(struct prompt *p);

/* The bytes that a token adds to the text after `before` (-1: it is the first); *n of them, valid
 * until the next call. */
const unsigned char *prompt_bytes(const struct prompt *p, int32_t before, int32_t token, size_t *n);

/* Tokens of the text with `tokens` more, at most `most`; -1 when it has more already. */
long prompt_room(const struct prompt *p, long tokens, long most);

#endif
