#include "data/bpe.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/word.h"
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define NONE UINT32_MAX

/* LONGEST_PIECE: positions in what is merged as one are 32 bits wide; longer pieces are cut. */
enum { LONGEST_PIECE = 1 << 30 };
enum { LLAMA2_BOS = 1, LLAMA2_BYTE = 3, LLAMA2_TEXT = LLAMA2_BYTE + 256 };

/* A map from pairs of tokens to numbers: open addressing, at most half full. */
struct pairs {
	size_t used, mask; /* mask + 1 slots, a power of two; none yet when slot is NULL */
	struct slot {
		uint32_t left, right, value; /* value NONE: free */
	} * slot;
};

struct merge {
	uint32_t left, right, made;
	uint32_t rank; /* the lower is merged first, the leftmost of equal ones */
};

struct bpe {
	enum { TRAINED, GPT2, LLAMA2 } kind;
	int vocab;
	unsigned char *bytes; /* of all tokens, one after the other */
	size_t room;	      /* of bytes */
	size_t *at;	      /* [vocab + 1] where each begins in bytes */
	uint32_t byte[256];   /* the token of each byte */
	struct merge *merge;  /* [merges], TRAINED and GPT2: by rank */
	uint32_t merges, merge_room;
	struct pairs pair;  /* (left, right) to its merge */
	uint32_t *by_bytes; /* [sorted] tokens in the order of their bytes */
	uint32_t sorted;
};

/* --- pairs --- */

static size_t
mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93;
	return (size_t)(x ^ x >> 32);
}

/* The slot of a pair, or the free one where it would stand. */
static struct slot *
pairs_slot(const struct pairs *p, uint32_t left, uint32_t right)
{
	size_t i = mix((uint64_t)left << 32 | right);

	for (;; i++) {
		struct slot *s = &p->slot[i & p->mask];

		if (s->value == NONE || (s->left == left && s->right == right))
			return s;
	}
}

static uint32_t
pairs_find(const struct pairs *p, uint32_t left, uint32_t right)
{
	return p->slot ? pairs_slot(p, left, right)->value : NONE;
}

static void
pairs_grow(struct pairs *p)
{
	struct pairs q = {.used = p->used, .mask = p->slot ? 2 * p->mask + 1 : 1023};

	q.slot = mem_grow(NULL, q.mask + 1, sizeof(*q.slot));
	for (size_t i = 0; i <= q.mask; i++)
		q.slot[i].value = NONE;
	for (size_t i = 0; p->slot && i <= p->mask; i++)
		if (p->slot[i].value != NONE)
			*pairs_slot(&q, p->slot[i].left, p->slot[i].right) = p->slot[i];
	free(p->slot);
	*p = q;
}

/* The pair's number; when it is new it becomes `value`. */
static uint32_t
pairs_add(struct pairs *p, uint32_t left, uint32_t right, uint32_t value)
{
	struct slot *s;

	if (!p->slot || p->used > p->mask / 2)
		pairs_grow(p);
	s = pairs_slot(p, left, right);
	if (s->value == NONE) {
		*s = (struct slot){left, right, value};
		p->used++;
	}
	return s->value;
}

/* --- tables --- */

void
bpe_free(struct bpe *b)
{
	if (!b)
		return;
	free(b->bytes);
	free(b->at);
	free(b->merge);
	free(b->pair.slot);
	free(b->by_bytes);
	free(b);
}

int
bpe_vocab(const struct bpe *b)
{
	return b->vocab;
}

static size_t
length(const struct bpe *b, uint32_t token)
{
	return b->at[token + 1] - b->at[token];
}

const unsigned char *
bpe_bytes(const struct bpe *b, uint32_t token, size_t *n)
{
	*n = length(b, token);
	return b->bytes + b->at[token];
}

const unsigned char *
bpe_next(const struct bpe *b, uint32_t before, uint32_t token, size_t *n)
{
	const unsigned char *p = bpe_bytes(b, token, n);

	if (b->kind == LLAMA2 && before == LLAMA2_BOS && *n > 0 && p[0] == ' ') {
		(*n)--;
		p++;
	}
	return p;
}

/* A table without tokens, with room for `vocab` of them. */
static struct bpe *
table_new(int kind, int vocab)
{
	struct bpe *b = mem_zero(1, sizeof(*b));

	b->kind = kind;
	b->at = mem_zero((size_t)vocab + 1, sizeof(*b->at));
	return b;
}

/* Room for the n bytes of the next token, which the caller fills in. */
static unsigned char *
add_token(struct bpe *b, size_t n)
{
	size_t at = b->at[b->vocab];

	if (n > b->room - at) {
		b->room = 2 * (at + n);
		b->bytes = mem_grow(b->bytes, b->room, 1);
	}
	b->at[++b->vocab] = at + n;
	return b->bytes + at;
}

/* false when the pair is there already. */
static bool
add_merge(struct bpe *b, uint32_t left, uint32_t right, uint32_t made, uint32_t rank)
{
	if (pairs_add(&b->pair, left, right, b->merges) != b->merges)
		return false;
	if (b->merges == b->merge_room) {
		b->merge_room = b->merge_room ? 2 * b->merge_room : 1024;
		b->merge = mem_grow(b->merge, b->merge_room, sizeof(*b->merge));
	}
	b->merge[b->merges++] = (struct merge){left, right, made, rank};
	return true;
}

/* --- heap --- */

struct heap {
	size_t n, room;
	struct entry {
		uint64_t key, tie;
	} * v; /* v[0] is the least by key, then by tie */
};

static bool
before(const struct entry *a, const struct entry *b)
{
	return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

static void
heap_push(struct heap *h, uint64_t key, uint64_t tie)
{
	struct entry e = {key, tie};
	size_t i = h->n++;

	if (h->n > h->room) {
		h->room = 2 * h->n + 64;
		h->v = mem_grow(h->v, h->room, sizeof(*h->v));
	}
	for (; i > 0 && before(&e, &h->v[(i - 1) / 2]); i = (i - 1) / 2)
		h->v[i] = h->v[(i - 1) / 2];
	h->v[i] = e;
}

static struct entry
heap_pop(struct heap *h)
{
	struct entry top = h->v[0], e = h->v[--h->n];
	size_t i = 0, k;

	while ((k = 2 * i + 1) < h->n) {
		k += k + 1 < h->n && before(&h->v[k + 1], &h->v[k]);
		if (!before(&h->v[k], &e))
			break;
		h->v[i] = h->v[k];
		i = k;
	}
	h->v[i] = e;
	return top;
}

/* --- training --- */

/* The different words of a text. */
struct words {
	const unsigned char *text;
	size_t n, room;
	struct word {
		size_t from, length;
		uint32_t times;
	} * word;
	uint32_t *slot; /* [mask + 1] numbers of words, NONE: free; at most half full */
	size_t mask;
};

static size_t
hash(const unsigned char *p, size_t n)
{
	uint64_t h = n;

	for (; n >= 8; p += 8, n -= 8) {
		uint64_t x;

		memcpy(&x, p, 8);
		h = (h ^ x) * 0x9e3779b97f4a7c15;
		h ^= h >> 29;
	}
	for (; n > 0; p++, n--)
		h = (h ^ *p) * 0x100000001b3;
	return mix(h);
}

static uint32_t *
words_slot(const struct words *w, size_t from, size_t n)
{
	const unsigned char *p = w->text + from;

	for (size_t i = hash(p, n);; i++) {
		uint32_t *s = &w->slot[i & w->mask];

		if (*s == NONE ||
		    (w->word[*s].length == n && memcmp(w->text + w->word[*s].from, p, n) == 0))
			return s;
	}
}

static void
words_grow(struct words *w)
{
	w->room = w->room ? 2 * w->room : 1024;
	w->mask = 2 * w->room - 1;
	w->word = mem_grow(w->word, w->room, sizeof(*w->word));
	free(w->slot);
	w->slot = mem_grow(NULL, w->mask + 1, sizeof(*w->slot));
	memset(w->slot, 0xff, (w->mask + 1) * sizeof(*w->slot));
	for (size_t i = 0; i < w->n; i++)
		*words_slot(w, w->word[i].from, w->word[i].length) = (uint32_t)i;
}

/* Count the words; their bytes together. */
static size_t
words_count(struct words *w, size_t n)
{
	size_t sum = 0;

	for (size_t at = 0, end; at < n; at = end) {
		uint32_t *s;

		end = word_end(w->text, n, at);
		if (w->n == w->room)
			words_grow(w);
		s = words_slot(w, at, end - at);
		if (*s == NONE) {
			*s = (uint32_t)w->n;
			w->word[w->n++] = (struct word){at, end - at, 0};
			sum += end - at;
		}
		w->word[*s].times++;
	}
	return sum;
}

/*
 * The words as chains of tokens.  A pair's count is always that of its neighbourly occurrences now;
 * its list holds where they begin, in rising order, and may hold places where it no longer stands.
 * All occurrences of a pair arise while its younger token is made, so no list grows later and
 * counts then only fall: the heap's keys are upper bounds.
 */
struct train {
	struct link {
		uint32_t token; /* NONE: merged into the one before */
		uint32_t prev, next, times;
	} * link;
	struct count {
		uint32_t left, right;
		uint64_t times;
		uint32_t *at;
		uint32_t n, room;
	} * count;
	uint32_t counts, room;
	struct pairs pair; /* (left, right) to its count */
	struct heap heap;
};

static void
seen(struct train *t, uint32_t at)
{
	uint32_t left = t->link[at].token, right = t->link[t->link[at].next].token;
	uint32_t i = pairs_add(&t->pair, left, right, t->counts);
	struct count *c;

	if (i == t->counts) {
		if (t->counts == t->room) {
			t->room = t->room ? 2 * t->room : 1024;
			t->count = mem_grow(t->count, t->room, sizeof(*t->count));
		}
		t->count[t->counts++] = (struct count){.left = left, .right = right};
	}
	c = &t->count[i];
	if (c->n == c->room) {
		c->room = c->room ? 2 * c->room : 4;
		c->at = mem_grow(c->at, c->room, sizeof(*c->at));
	}
	c->at[c->n++] = at;
	c->times += t->link[at].times;
}

static void
gone(struct train *t, uint32_t at)
{
	uint32_t left = t->link[at].token, right = t->link[t->link[at].next].token;

	t->count[pairs_find(&t->pair, left, right)].times -= t->link[at].times;
}

static void
rate(struct train *t, uint32_t i)
{
	const struct count *c = &t->count[i];

	if (c->times >= 2)
		heap_push(&t->heap, UINT64_MAX - c->times, (uint64_t)c->left << 32 | c->right);
}

static void
chain(struct train *t, const struct words *w)
{
	uint32_t at = 0;

	for (size_t i = 0; i < w->n; i++) {
		const struct word *x = &w->word[i];
		uint32_t first = at;

		for (size_t k = 0; k < x->length; k++, at++)
			t->link[at] = (struct link){.token = w->text[x->from + k],
						    .prev = k > 0 ? at - 1 : NONE,
						    .next = k + 1 < x->length ? at + 1 : NONE,
						    .times = x->times};
		for (uint32_t k = first; k + 1 < at; k++)
			seen(t, k);
	}
	for (uint32_t i = 0; i < t->counts; i++)
		rate(t, i);
}

/* Make the token at `at` and the next one into `made`. */
static void
join(struct train *t, uint32_t at, uint32_t made)
{
	struct link *l = t->link;
	uint32_t prev = l[at].prev, dead = l[at].next, next = l[dead].next;

	gone(t, at);
	if (prev != NONE)
		gone(t, prev);
	if (next != NONE)
		gone(t, dead);
	l[dead].token = NONE;
	l[at].token = made;
	l[at].next = next;
	if (next != NONE) {
		l[next].prev = at;
		seen(t, at);
	}
	if (prev != NONE)
		seen(t, prev);
}

/* The most frequent pair as it is now, NONE when none repeats. */
static uint32_t
best_pair(struct train *t)
{
	while (t->heap.n > 0) {
		struct entry e = heap_pop(&t->heap);
		uint32_t i = pairs_find(&t->pair, (uint32_t)(e.tie >> 32), (uint32_t)e.tie);

		if (t->count[i].times == UINT64_MAX - e.key)
			return i;
		rate(t, i);
	}
	return NONE;
}

static void
merge_best(struct train *t, struct bpe *b, uint32_t i)
{
	struct count c = t->count[i];
	size_t l = length(b, c.left), r = length(b, c.right);
	uint32_t made = (uint32_t)b->vocab, first = t->counts;
	unsigned char *p;

	if (l + r > BPE_LONGEST)
		return;
	p = add_token(b, l + r);
	memcpy(p, b->bytes + b->at[c.left], l);
	memcpy(p + l, b->bytes + b->at[c.right], r);
	add_merge(b, c.left, c.right, made, b->merges);

	for (uint32_t k = 0; k < c.n; k++) {
		const struct link *x = &t->link[c.at[k]];

		if (x->token == c.left && x->next != NONE && t->link[x->next].token == c.right)
			join(t, c.at[k], made);
	}
	free(c.at);
	t->count[i].at = NULL;
	for (uint32_t k = first; k < t->counts; k++)
		rate(t, k);
}

static struct bpe *
bytes_only(int vocab)
{
	struct bpe *b = table_new(TRAINED, vocab);

	for (uint32_t i = 0; i < 256; i++) {
		*add_token(b, 1) = (unsigned char)i;
		b->byte[i] = i;
	}
	return b;
}

struct bpe *
bpe_train(const unsigned char *text, size_t n, int vocab)
{
	struct words w = {.text = text};
	struct train t = {0};
	struct bpe *b;
	uint32_t i;

	if (vocab <= 256 || vocab > BPE_MOST) {
		err_set("a vocabulary of %d (expected 257 to %d)", vocab, BPE_MOST);
		return NULL;
	}
	if (n >= NONE) {
		err_set("%zu bytes to train on (expected less than 4 GiB)", n);
		return NULL;
	}
	t.link = mem_grow(NULL, words_count(&w, n) + 1, sizeof(*t.link));
	chain(&t, &w);
	b = bytes_only(vocab);
	while (b->vocab < vocab && (i = best_pair(&t)) != NONE)
		merge_best(&t, b, i);

	for (i = 0; i < t.counts; i++)
		free(t.count[i].at);
	free(t.count);
	free(t.link);
	free(t.pair.slot);
	free(t.heap.v);
	free(w.word);
	free(w.slot);
	return b;
}

/* --- our own format --- */

#define HEADER "moe-bpe 1 vocab %d crc32 %08" PRIx32 "\n"

/* CRC-32 of the header, its own eight digits as zeros, and of the lines after it. */
static uint32_t
file_sum(int vocab, const char *lines, size_t n)
{
	char head[80];
	int k = snprintf(head, sizeof(head), HEADER, vocab, 0);
	uLong c = crc32(crc32(0, NULL, 0), (const Bytef *)head, (uInt)k);

	return (uint32_t)crc32_z(c, (const Bytef *)lines, n);
}

int
bpe_save(const struct bpe *b, const char *file)
{
	char *lines;
	size_t n = 0;
	struct file *f;
	int r = -1;

	if (b->kind != TRAINED)
		return err_set(
			"%s: a table from elsewhere is not saved in the format of moe-bpe(5)",
			file);
	lines = mem_grow(NULL, (size_t)b->merges + 1, 24);
	for (uint32_t i = 0; i < b->merges; i++)
		n += (size_t)sprintf(lines + n, "%" PRIu32 " %" PRIu32 "\n", b->merge[i].left,
				     b->merge[i].right);
	f = file_replace(file);
	if (f && file_print(f, HEADER, b->vocab, file_sum(b->vocab, lines, n)) == 0 &&
	    file_write(f, lines, n) == 0)
		r = file_commit(f);
	else
		file_abandon(f);
	free(lines);
	return r;
}

/* A number and the character that ends it; NULL when it is none or more than `most`. */
static const char *
read_number(const char *p, char end, uint32_t most, uint32_t *out)
{
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return NULL;
	for (; *p >= '0' && *p <= '9' && v <= most; p++)
		v = 10 * v + (uint64_t)(*p - '0');
	*out = (uint32_t)v;
	return *p == end && v <= most ? p + 1 : NULL;
}

/* Line i, "LEFT RIGHT", of the merges. */
static const char *
read_merge(struct bpe *b, const char *p)
{
	uint32_t left, right, made = (uint32_t)b->vocab;
	size_t l, r;
	unsigned char *q;

	p = read_number(p, ' ', made - 1, &left);
	if (p)
		p = read_number(p, '\n', made - 1, &right);
	if (!p)
		return NULL;
	l = length(b, left);
	r = length(b, right);
	if (l + r > BPE_LONGEST || !add_merge(b, left, right, made, b->merges))
		return NULL;
	q = add_token(b, l + r);
	memcpy(q, b->bytes + b->at[left], l);
	memcpy(q + l, b->bytes + b->at[right], r);
	return p;
}

static struct bpe *
parse(const char *file, const char *text, size_t n)
{
	const char *p = memchr(text, '\n', n);
	char again[80];
	struct bpe *b;
	uint32_t crc;
	int vocab;

	if (!p || sscanf(text, "moe-bpe 1 vocab %d crc32 %8" SCNx32, &vocab, &crc) != 2) {
		err_set("%s: not a table of moe-bpe(5), version 1", file);
		return NULL;
	}
	p++;
	snprintf(again, sizeof(again), HEADER, vocab, crc);
	if ((size_t)(p - text) != strlen(again) || memcmp(text, again, strlen(again)) != 0 ||
	    vocab < 256 || vocab > BPE_MOST || file_sum(vocab, p, n - (size_t)(p - text)) != crc) {
		err_set("%s: damaged or cut (the text does not have the CRC-32 of its header)",
			file);
		return NULL;
	}
	b = bytes_only(vocab);
	while (b->vocab < vocab) {
		p = read_merge(b, p);
		if (!p) {
			err_set("%s:%d: no merge of two earlier tokens", file, b->vocab - 254);
			goto err;
		}
	}
	if (p != text + n) {
		err_set("%s:%d: more merges than the header tells", file, b->vocab - 254);
		goto err;
	}
	return b;
err:
	bpe_free(b);
	return NULL;
}

struct bpe *
bpe_load(const char *file)
{
	size_t n;
	char *text = file_slurp(file, &n);
	struct bpe *b;

	if (!text)
		return NULL;
	b = parse(file, text, n);
	free(text);
	return b;
}

/* --- tokens by their bytes, for tables that name them so --- */

static int
bytes_order(const unsigned char *a, size_t n, const unsigned char *b, size_t m)
{
	int c = memcmp(a, b, n < m ? n : m);

	return c ? c : (n > m) - (n < m);
}

static int
token_order(const void *x, const void *y, void *table)
{
	const struct bpe *b = table;
	uint32_t s = *(const uint32_t *)x, t = *(const uint32_t *)y;
	int c = bytes_order(b->bytes + b->at[s], length(b, s), b->bytes + b->at[t], length(b, t));

	return c ? c : (s > t) - (s < t);
}

/* Tokens first..vocab-1 can be found by their bytes. */
static void
sort_tokens(struct bpe *b, uint32_t first)
{
	b->sorted = (uint32_t)b->vocab - first;
	b->by_bytes = mem_grow(NULL, b->sorted, sizeof(*b->by_bytes));
	for (uint32_t i = 0; i < b->sorted; i++)
		b->by_bytes[i] = first + i;
	qsort_r(b->by_bytes, b->sorted, sizeof(*b->by_bytes), token_order, b);
}

/* The lowest token with these bytes, NONE if there is none. */
static uint32_t
find_bytes(const struct bpe *b, const unsigned char *p, size_t n)
{
	uint32_t lo = 0, hi = b->sorted;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2, t = b->by_bytes[mid];

		if (bytes_order(b->bytes + b->at[t], length(b, t), p, n) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < b->sorted) {
		uint32_t t = b->by_bytes[lo];

		if (bytes_order(b->bytes + b->at[t], length(b, t), p, n) == 0)
			return t;
	}
	return NONE;
}

/* --- GPT-2's tables --- */

/*
 * GPT-2 writes a byte as a printable character: itself if Latin-1 prints it, else the next one from
 * 256 on.  The byte of a character, -1 for one that stands for none.
 */
static int
gpt2_byte(uint32_t c)
{
	uint32_t other = 256;

	if (c < 256)
		return (c > 32 && c < 127) || (c > 160 && c != 173) ? (int)c : -1;
	for (int i = 0; i < 256; i++)
		if (gpt2_byte((uint32_t)i) < 0 && c == other++)
			return i;
	return -1;
}

/* n bytes of UTF-8 to the bytes they stand for; how many, -1 if odd or more than BPE_LONGEST. */
static int
gpt2_bytes(const char *s, size_t n, unsigned char out[BPE_LONGEST])
{
	int k = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t c = (unsigned char)s[i];
		int byte;

		if (c >= 0xc0 && c < 0xe0 && i + 1 < n)
			c = (c & 0x1f) << 6 | ((unsigned char)s[++i] & 0x3f);
		else if (c >= 0x80)
			return -1;
		byte = gpt2_byte(c);
		if (byte < 0 || k == BPE_LONGEST)
			return -1;
		out[k++] = (unsigned char)byte;
	}
	return k;
}

/* The texts of a vocabulary by token; NULL with a message unless each of 0..n-1 has one. */
static const char **
gpt2_texts(const char *file, json_t *vocab, size_t *n)
{
	const char **text, *key;
	json_t *value;

	*n = json_object_size(vocab);
	if (*n < 256 || *n > BPE_MOST) {
		err_set("%s: %zu tokens (expected an object of 256 to %d)", file, *n, BPE_MOST);
		return NULL;
	}
	text = mem_zero(*n, sizeof(*text));
	json_object_foreach(vocab, key, value)
	{
		json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;

		if (id < 0 || (size_t)id >= *n || text[id]) {
			err_set("%s: \"%s\" has no number of its own (expected 0 to %zu, each "
				"once)",
				file, key, *n - 1);
			free(text);
			return NULL;
		}
		text[id] = key;
	}
	return text;
}

static struct bpe *
gpt2_tokens(const char *file, json_t *vocab)
{
	unsigned char byte[BPE_LONGEST];
	struct bpe *b = NULL;
	size_t n;
	const char **text = gpt2_texts(file, vocab, &n);

	if (!text)
		return NULL;
	b = table_new(GPT2, (int)n);
	for (size_t i = 0; i < n; i++) {
		int k = gpt2_bytes(text[i], strlen(text[i]), byte);

		if (k <= 0) {
			err_set("%s: \"%.40s\" is not made of GPT-2's characters for bytes", file,
				text[i]);
			goto err;
		}
		memcpy(add_token(b, (size_t)k), byte, (size_t)k);
	}
	sort_tokens(b, 0);
	for (int i = 0; i < 256; i++) {
		b->byte[i] = find_bytes(b, &(unsigned char){(unsigned char)i}, 1);
		if (b->byte[i] == NONE) {
			err_set("%s: no token for the byte 0x%02x", file, (unsigned)i);
			goto err;
		}
	}
	free(text);
	return b;
err:
	free(text);
	bpe_free(b);
	return NULL;
}

/* One line "LEFT RIGHT" of the merges, without its end. */
static int
gpt2_merge(struct bpe *b, const char *line, size_t n)
{
	unsigned char byte[2 * BPE_LONGEST];
	const char *blank = memchr(line, ' ', n);
	size_t k = blank ? (size_t)(blank - line) : 0;
	uint32_t left, right, made;
	int l, r;

	if (k == 0 || k + 1 == n)
		return err_set("not a pair (expected LEFT RIGHT)");
	l = gpt2_bytes(line, k, byte);
	r = l < 0 ? -1 : gpt2_bytes(blank + 1, n - k - 1, byte + l);
	if (r < 0)
		return err_set("\"%.*s\" is not made of GPT-2's characters for bytes",
			       n < 40 ? (int)n : 40, line);
	left = find_bytes(b, byte, (size_t)l);
	right = find_bytes(b, byte + l, (size_t)r);
	made = find_bytes(b, byte, (size_t)(l + r));
	if (left == NONE || right == NONE || made == NONE)
		return err_set("\"%.*s\": one of the two or what they make is no token",
			       n < 40 ? (int)n : 40, line);
	if (!add_merge(b, left, right, made, b->merges))
		return err_set("\"%.*s\" is there twice", n < 40 ? (int)n : 40, line);
	return 0;
}

static int
gpt2_merges(struct bpe *b, const char *file, const char *text, size_t n)
{
	const char *end = text + n, *p = text, *stop;

	for (int line = 1; p < end; line++, p = stop + 1) {
		stop = memchr(p, '\n', (size_t)(end - p));
		if (!stop)
			return err_set("%s:%d: cut short (expected a line's end)", file, line);
		if (line == 1 && strncmp(p, "#version", 8) == 0)
			continue;
		if (gpt2_merge(b, p, (size_t)(stop - p)) < 0)
			return err_in("%s:%d", file, line);
	}
	return 0;
}

struct bpe *
bpe_load_gpt2(const char *vocab, const char *merges)
{
	size_t n, m = 0;
	char *json = file_slurp(vocab, &n), *text = json ? file_slurp(merges, &m) : NULL;
	struct bpe *b = NULL;
	json_t *root = NULL;
	json_error_t why;

	if (!text)
		goto out;
	root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
	if (!root) {
		err_set("%s:%d: %s", vocab, why.line, why.text);
		goto out;
	}
	b = gpt2_tokens(vocab, root);
	if (b && gpt2_merges(b, merges, text, m) < 0) {
		bpe_free(b);
		b = NULL;
	}
out:
	json_decref(root);
	free(json);
	free(text);
	return b;
}

/* --- llama2.c's tokenizers --- */

static uint32_t
little32(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The token at s[*at], which moves behind it; its length, -1 when it is cut or too long. */
static int
llama2_token(const char *s, size_t n, size_t *at, float *score, const char **text)
{
	uint32_t k, bits;

	if (n - *at < 8)
		return -1;
	bits = little32(s + *at);
	memcpy(score, &bits, 4);
	k = little32(s + *at + 4);
	if (k > BPE_LONGEST || k > n - *at - 8)
		return -1;
	*text = s + *at + 8;
	*at += 8 + k;
	return (int)k;
}

/* Tokens with their scores; the bytes 0..255 must be the tokens <0x00>..<0xFF> from 3 on. */
static int
llama2_tokens(struct bpe *b, const char *file, const char *s, size_t n, float *score)
{
	const char *text = NULL;

	for (size_t at = 4; at < n;) {
		int i = b->vocab, k = llama2_token(s, n, &at, &score[i], &text);
		char byte[8];

		if (k < 0)
			return err_set("%s: token %d is cut short or longer than %d bytes", file, i,
				       BPE_LONGEST);
		if (i >= LLAMA2_BYTE && i < LLAMA2_TEXT) {
			snprintf(byte, sizeof(byte), "<0x%02X>", (unsigned)(i - LLAMA2_BYTE));
			if (k != 6 || memcmp(text, byte, 6) != 0)
				return err_set("%s: token %d is \"%.*s\" (expected %s, as llama2.c "
					       "has it)",
					       file, i, k, text, byte);
			*add_token(b, 1) = (unsigned char)(i - LLAMA2_BYTE);
		} else if (i == LLAMA2_BOS) {
			add_token(b, 0);
		} else {
			memcpy(add_token(b, (size_t)k), text, (size_t)k);
		}
	}
	if (b->vocab < LLAMA2_TEXT)
		return err_set("%s: %d tokens (expected %d or more)", file, b->vocab,
			       (int)LLAMA2_TEXT);
	return 0;
}

static int
score_order(const void *x, const void *y, void *scores)
{
	const float *score = scores;
	uint32_t s = *(const uint32_t *)x, t = *(const uint32_t *)y;

	if (score[s] != score[t])
		return score[s] > score[t] ? -1 : 1;
	return (s > t) - (s < t);
}

/* A token is made from any two whose bytes together are its own. */
static void
llama2_splits(struct bpe *b, uint32_t made, uint32_t rank)
{
	const unsigned char *p = b->bytes + b->at[made];
	size_t n = length(b, made);

	if (find_bytes(b, p, n) != made)
		return;
	for (size_t k = 1; k < n; k++) {
		uint32_t left = find_bytes(b, p, k), right = find_bytes(b, p + k, n - k);

		if (left != NONE && right != NONE)
			add_merge(b, left, right, made, rank);
	}
}

/* The rank is the order by falling score, the same for equal scores. */
static void
llama2_merges(struct bpe *b, float *score)
{
	uint32_t n = 0, rank = 0;
	uint32_t *order = mem_grow(NULL, (size_t)b->vocab, sizeof(*order));

	/* llama2.c never merges below this score. */
	for (int i = LLAMA2_TEXT; i < b->vocab; i++)
		if (score[i] > -1e10f)
			order[n++] = (uint32_t)i;
	qsort_r(order, n, sizeof(*order), score_order, score);
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0 && score[order[i]] < score[order[i - 1]])
			rank = i;
		llama2_splits(b, order[i], rank);
	}
	free(order);
}

struct bpe *
bpe_load_llama2(const char *file)
{
	size_t n;
	char *s = file_slurp(file, &n);
	struct bpe *b = NULL;
	float *score = NULL;

	if (!s)
		return NULL;
	if (n < 4 || (n - 4) / 8 > BPE_MOST) {
		err_set("%s: %zu bytes are no tokenizer of llama2.c", file, n);
		goto out;
	}
	b = table_new(LLAMA2, (int)((n - 4) / 8) + 1);
	score = mem_grow(NULL, (n - 4) / 8 + 1, sizeof(*score));
	if (llama2_tokens(b, file, s, n, score) < 0) {
		bpe_free(b);
		b = NULL;
		goto out;
	}
	sort_tokens(b, LLAMA2_TEXT);
	for (uint32_t i = 0; i < 256; i++) {
		b->byte[i] = find_bytes(b, &(unsigned char){(unsigned char)i}, 1);
		if (b->byte[i] == NONE)
			b->byte[i] = LLAMA2_BYTE + i;
	}
	llama2_merges(b, score);
out:
	free(score);
	free(s);
	return b;
}

/* --- encoding --- */

/* A piece being merged: a chain of tokens, and its pairs by rank, then from the left. */
struct piece {
	struct node {
		uint32_t token, prev, next;
	} * node;
	size_t n, room;
	struct heap heap;
};

struct output {
	uint32_t *v;
	size_t n, room;
};

/* n more tokens, which the caller fills in. */
static uint32_t *
more(struct output *o, size_t n)
{
	if (n > o->room - o->n) {
		o->room = 2 * (o->n + n) + 16;
		o->v = mem_grow(o->v, o->room, sizeof(*o->v));
	}
	o->n += n;
	return o->v + o->n - n;
}

static void
piece_add(struct piece *p, uint32_t token)
{
	if (p->n == p->room) {
		p->room = 2 * p->room + 64;
		p->node = mem_grow(p->node, p->room, sizeof(*p->node));
	}
	p->node[p->n] = (struct node){token, p->n > 0 ? (uint32_t)p->n - 1 : NONE, NONE};
	if (p->n > 0)
		p->node[p->n - 1].next = (uint32_t)p->n;
	p->n++;
}

/* The merge of the pair that begins at node i, NULL if there is none. */
static const struct merge *
merge_at(const struct bpe *b, const struct piece *p, uint32_t i)
{
	uint32_t next = p->node[i].next, m;

	if (p->node[i].token == NONE || next == NONE)
		return NULL;
	m = pairs_find(&b->pair, p->node[i].token, p->node[next].token);
	return m == NONE ? NULL : &b->merge[m];
}

static void
rank_at(const struct bpe *b, struct piece *p, uint32_t i)
{
	const struct merge *m = merge_at(b, p, i);

	if (m)
		heap_push(&p->heap, m->rank, i);
}

/* Merge the piece as far as it goes, append its tokens and empty it. */
static void
piece_merge(const struct bpe *b, struct piece *p, struct output *o)
{
	for (uint32_t i = 0; i + 1 < p->n; i++)
		rank_at(b, p, i);
	while (p->heap.n > 0) {
		struct entry e = heap_pop(&p->heap);
		uint32_t i = (uint32_t)e.tie, dead, next;
		const struct merge *m = merge_at(b, p, i);

		if (!m || m->rank != e.key)
			continue;
		dead = p->node[i].next;
		next = p->node[dead].next;
		p->node[dead].token = NONE;
		p->node[i].token = m->made;
		p->node[i].next = next;
		if (next != NONE)
			p->node[next].prev = i;
		rank_at(b, p, i);
		if (p->node[i].prev != NONE)
			rank_at(b, p, p->node[i].prev);
	}
	for (uint32_t i = p->n > 0 ? 0 : NONE; i != NONE; i = p->node[i].next)
		*more(o, 1) = p->node[i].token;
	p->n = 0;
}

/* Where a word was met before, and its tokens in the output; by hash, the last one stays. */
struct known {
	size_t from, length, tokens, count;
};

static void
encode_words(const struct bpe *b, const unsigned char *text, size_t n, struct output *o)
{
	struct piece p = {0};
	size_t mask = 63;
	struct known *known;

	while (mask < n / 16 && mask < 0xffff)
		mask = 2 * mask + 1;
	known = mem_zero(mask + 1, sizeof(*known));
	for (size_t at = 0, end; at < n; at = end) {
		struct known *k;
		size_t start = o->n;

		end = word_end(text, n, at);
		if (end - at > LONGEST_PIECE)
			end = at + LONGEST_PIECE;
		k = &known[hash(text + at, end - at) & mask];
		if (k->length == end - at && memcmp(text + k->from, text + at, end - at) == 0) {
			uint32_t *v = more(o, k->count);

			memcpy(v, o->v + k->tokens, k->count * sizeof(*v));
			continue;
		}
		for (size_t i = at; i < end; i++)
			piece_add(&p, b->byte[text[i]]);
		piece_merge(b, &p, o);
		*k = (struct known){at, end - at, start, o->n - start};
	}
	free(known);
	free(p.node);
	free(p.heap.v);
}

/* Length of the character at p, of which n > 0 bytes are left: with the bytes that continue it. */
static size_t
character(const unsigned char *p, size_t n)
{
	size_t k = 1;

	while (k < 4 && k < n && (p[k] & 0xc0) == 0x80)
		k++;
	return k;
}

static void
encode_llama2(const struct bpe *b, const unsigned char *text, size_t n, struct output *o)
{
	struct piece p = {0};

	*more(o, 1) = LLAMA2_BOS;
	if (n > 0)
		piece_add(&p, b->byte[' ']);
	for (size_t at = 0, k; at < n; at += k) {
		uint32_t token;

		k = character(text + at, n - at);
		token = k == 1 ? b->byte[text[at]] : find_bytes(b, text + at, k);
		if (token != NONE)
			piece_add(&p, token);
		else
			for (size_t i = 0; i < k; i++)
				piece_add(&p, LLAMA2_BYTE + text[at + i]);
		if (p.n >= LONGEST_PIECE)
			piece_merge(b, &p, o);
	}
	piece_merge(b, &p, o);
	free(p.node);
	free(p.heap.v);
}

size_t
bpe_encode(const struct bpe *b, const unsigned char *text, size_t n, uint32_t **out)
{
	struct output o = {0};

	if (b->kind == LLAMA2)
		encode_llama2(b, text, n, &o);
	else
		encode_words(b, text, n, &o);
	more(&o, 1); /* never NULL */
	*out = o.v;
	return o.n - 1;
}
