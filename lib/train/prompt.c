#include "train/prompt.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include <stdlib.h>

static int
read_table(struct prompt *p, const struct prompt_table *t)
{
	if (!t->bpe && !t->gpt2 && !t->llama2)
		return 0;
	p->bpe = t->gpt2     ? bpe_load_gpt2(t->gpt2, t->merges)
		 : t->llama2 ? bpe_load_llama2(t->llama2)
			     : bpe_load(t->bpe);
	p->marked = t->llama2;
	p->end = t->llama2 ? 1 : -1;
	return p->bpe ? 0 : -1;
}

static int
read_text(struct prompt *p, const char *file)
{
	size_t n;
	char *text = file_slurp(file, &n);
	uint32_t *t = NULL;

	if (!text)
		return -1;
	p->n = (long)(p->bpe ? bpe_encode(p->bpe, (unsigned char *)text, n, &t) : n);
	p->token = mem_zero((size_t)p->n + 1, sizeof *p->token);
	for (long i = 0; i < p->n; i++)
		p->token[i] = p->bpe ? (int32_t)t[i] : (unsigned char)text[i];
	free(t);
	free(text);
	return 0;
}

int
prompt_open(struct prompt *p, const struct prompt_table *t, const char *file, int vocab)
{
	*p = (struct prompt){.end = -1};
	if (read_table(p, t) != 0 || read_text(p, file) != 0)
		return -1;
	if (p->n == 0)
		return err_set("the prompt on standard input is empty");
	for (long i = 0; i < p->n; i++)
		if (p->token[i] >= vocab)
			return err_set("token %d of the prompt is not one of the model's %d",
				       p->token[i], vocab);
	return 0;
}

void
prompt_close(struct prompt *p)
{
	bpe_free(p->bpe);
	free(p->token);
	*p = (struct prompt){0};
}

const unsigned char *
prompt_bytes(const struct prompt *p, int32_t before, int32_t token, size_t *n)
{
	static unsigned char byte;

	*n = 1;
	if (!p->bpe) {
		byte = (unsigned char)token;
		return &byte;
	}
	if (before >= 0)
		return bpe_next(p->bpe, (uint32_t)before, (uint32_t)token, n);
	if (!p->marked)
		return bpe_bytes(p->bpe, (uint32_t)token, n);
	*n = 0;
	return &byte;
}

long
prompt_room(const struct prompt *p, long tokens, long most)
{
	if (p->n > most)
		return err_set("the prompt has %ld tokens (expected at most %ld)", p->n, most);
	return p->n + tokens < most ? p->n + tokens : most;
}
