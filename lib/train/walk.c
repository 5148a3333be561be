#include "train/walk.h"
#include "base/err.h"
#include "base/mem.h"
#include "model/net.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* --- tokens --- */

static int
form_of(const unsigned char *s, size_t n)
{
	enum { SMALL, CAPITAL, DIGIT, MARK, BLANK, OTHER, WORD };
	const bool word = n > 1 && s[0] == ' ' && isalnum(s[1]);
	const unsigned char c = n ? s[word] : 0;

	return (word ? WORD : 0) + (islower(c)	 ? SMALL
				    : isupper(c) ? CAPITAL
				    : isdigit(c) ? DIGIT
				    : ispunct(c) ? MARK
				    : isspace(c) ? BLANK
						 : OTHER);
}

static void
text_of(const unsigned char *s, size_t n, char *text, size_t room)
{
	size_t at = 0;

	*text = 0;
	for (size_t i = 0; i < n && at + 5 < room; i++)
		at += (size_t)snprintf(
			text + at, room - at,
			s[i] < 127 && isprint(s[i]) && s[i] != '\\' ? "%c" : "\\x%02X", s[i]);
}

/* --- the way --- */

/* Token `at` of the text. */
static int
see_token(struct walk *w, const struct net *n, long at, walk_fn *seen, void *arg)
{
	char text[64];
	struct walk_step x = {.window = at / w->seq,
			      .pos = at % w->seq,
			      .token = w->text.token[at],
			      .text = text};
	size_t bytes;
	const unsigned char *s =
		prompt_bytes(&w->text, x.pos ? w->text.token[at - 1] : -1, x.token, &bytes);

	w->form[at] = form_of(s, bytes);
	text_of(s, bytes, text, sizeof text);
	for (x.layer = 0; x.layer < w->model.param->shape.layers; x.layer++) {
		const struct plan *p = net_plan(n, x.layer);
		x.k = p->k;
		x.choice = p->choice + x.pos * p->k;
		x.gate = p->gate + x.pos * p->k;
		w->first[x.layer][at] = *x.choice;
		if (seen(arg, &x) != 0)
			return -1;
	}
	return 0;
}

int
walk_run(struct walk *w, walk_fn *seen, void *arg)
{
	struct net_how how = model_how(&w->model);
	struct net *n = net_new(w->model.param, 1, w->seq, true);
	struct net_loss loss; /* what follows a token does not matter */
	int r = 0;

	for (long at = 0; at < w->text.n && r == 0; at += w->seq) {
		const long left = w->text.n - at, tokens = left < w->seq ? left : w->seq;
		how.step = at / w->seq;
		net_forward(n, &how, 1, (int)tokens, w->text.token + at, w->text.token + at, &loss);
		for (long t = 0; t < tokens && r == 0; t++)
			r = see_token(w, n, at + t, seen, arg);
	}
	net_free(n);
	return r;
}

/* --- what it tells --- */

struct walk_layer
walk_layer(const struct walk *w, int layer, int permutations, uint64_t seed)
{
	const long n = w->text.n;
	const int *x = w->first[layer];
	struct walk_layer l = {.entropy = mutual_entropy(n, x)};
	int *v = mem_zero(4 * (size_t)n, sizeof *v);
	int *token = v, *before = v + n, *now = v + 2 * n, *chosen = v + 3 * n;
	long m = 0;

	for (long i = 0; i < n; i++) {
		token[i] = w->text.token[i];
		if (i % w->seq == 0)
			continue;
		now[m] = token[i];
		before[m] = token[i - 1];
		chosen[m++] = x[i];
	}
	l.token = mutual_measure(n, x, token, NULL, permutations, seed);
	l.form = mutual_measure(n, x, w->form, NULL, permutations, seed);
	l.context = mutual_measure(m, chosen, before, now, permutations, seed);
	free(v);
	return l;
}

/* --- the whole --- */

int
walk_open(struct walk *w, const char *ckpt, const struct prompt_table *words, const char *file,
	  int seq)
{
	const struct shape *s;

	*w = (struct walk){0};
	if (model_open(&w->model, ckpt) != 0)
		return -1;
	s = &w->model.param->shape;
	if (!words->bpe && s->vocab > 256)
		err_set("%s: knows %d tokens, not bytes (expected --bpe TABLE)", ckpt, s->vocab);
	else if (prompt_open(&w->text, words, file, s->vocab) == 0) {
		w->seq = seq > 0 ? seq : w->model.book.recipe.seq;
		w->first = mem_zero((size_t)s->layers, sizeof *w->first);
		for (int l = 0; l < s->layers; l++)
			w->first[l] = mem_zero((size_t)w->text.n, sizeof **w->first);
		w->form = mem_zero((size_t)w->text.n, sizeof *w->form);
		return 0;
	}
	walk_close(w);
	return -1;
}

void
walk_close(struct walk *w)
{
	for (int l = 0; w->first && l < w->model.param->shape.layers; l++)
		free(w->first[l]);
	free(w->first);
	free(w->form);
	prompt_close(&w->text);
	model_close(&w->model);
}
