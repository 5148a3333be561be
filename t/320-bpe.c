/* Words, byte-pair encoding, and tables from elsewhere. */
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/bpe.h"
#include "data/word.h"
#include "tap.h"
#include "temp.h"

static const char gpt2_vocab[] = "../shared/data/bpe/encoder.json";
static const char gpt2_merges[] = "../shared/data/bpe/vocab.bpe";
static const char llama2_file[] = "../shared/data/weights/tok512.bin";

/* --- texts --- */

/* n bytes of words, numbers, blanks and other characters; freed by free(). */
static unsigned char *
some_text(size_t n, uint64_t seed)
{
	static const char *const part[] = {
		" the",
		" of",
		"ab",
		" ",
		"  ",
		"\n",
		"\t",
		"'",
		"'s",
		"'re",
		"'ll",
		"12",
		"7",
		"!?",
		"--",
		"aa",
		"a",
		"\xc3\xa9",
		"\xce\xb1",
		"\xe0\xa4\xbf",
		"\xe0\xa4\x95",
		"\xe4\xb8\xad",
		"\xf0\x9f\x98\x80",
		"\xc2\xa0",
		"\xe3\x80\x80",
		"\xc2\xb2",
		"\xc2\xbd",
		"\xe2\x85\xa0",
		"\xd9\xa1",
		"\xc2\x85",
		"\xe2\x80\xa8",
		"\x1c",
		"\xf0\x9d\x9f\x8e",
	};
	struct rng r = rng_at(seed, RNG_TEST, 320, 0);
	char *s = mem_zero(n + 8, 1);
	size_t at = 0;

	while (at < n) {
		const char *p = part[rng_below(&r, sizeof part / sizeof *part)];

		if (at + strlen(p) > n)
			p = "x";
		memcpy(s + at, p, strlen(p));
		at += strlen(p);
	}
	return (unsigned char *)s;
}

static unsigned char *
some_bytes(size_t n, uint64_t seed)
{
	struct rng r = rng_at(seed, RNG_TEST, 320, 1);
	unsigned char *s = mem_zero(n + 1, 1);

	for (size_t i = 0; i < n; i++)
		s[i] = (unsigned char)rng_below(&r, 256);
	return s;
}

/* --- words --- */

/* The ends of the words as Perl's regular expressions find them: an oracle with its own Unicode. */
static void
test_words(void)
{
	enum { N = 20000 };
	unsigned char *s = some_text(N, 1);
	char *command = mem_text(
		"perl -CO -0777 -e 'use utf8; open F, q(<:utf8), shift; $_ = <F>; my $n = 0;"
		"while (/(\\x27s|\\x27t|\\x27re|\\x27ve|\\x27m|\\x27ll|\\x27d| ?\\p{L}+| ?\\p{N}+|"
		" ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+)/g) { my $w = $1; utf8::encode($w);"
		"$n += length $w; print qq($n\\n) }' %s",
		temp_bytes("words", s, N));
	FILE *f = popen(command, "r");
	size_t at = 0, words = 0, wrong = 0;
	unsigned long want;

	if (!f)
		abort();
	for (; fscanf(f, "%lu", &want) == 1 && at < N; words++) {
		at = word_end(s, N, at);
		wrong += at != want;
	}
	is_long(pclose(f), 0, "perl found the words");
	ok(words > 5000, "many of them");
	is_long((long)at, N, "words cover the text");
	is_long((long)wrong, 0, "words end where perl finds their ends");
	free(command);
	free(s);
}

static void
is_words(const char *text, const char *want)
{
	size_t n = strlen(text);
	char got[256] = "";

	for (size_t at = 0, end; at < n; at = end) {
		end = word_end((const unsigned char *)text, n, at);
		strncat(got, text + at, end - at);
		strcat(got, "|");
	}
	is_text(got, want, "words of \"%s\"", want);
}

/* --- brute force --- */

struct list {
	uint32_t v[4096];
	size_t n;
};

/* Replace v[i], v[i + 1] by t. */
static void
replace(struct list *l, size_t i, uint32_t t)
{
	l->v[i] = t;
	memmove(l->v + i + 1, l->v + i + 2, (l->n - i - 2) * sizeof *l->v);
	l->n--;
}

/* Pairs of the text counted anew for each merge; SEP, which is no token, ends a word. */
#define SEP 99999

static void
brute_train(const unsigned char *s, size_t n, int vocab, struct list *left, struct list *right)
{
	static struct list l;

	l.n = left->n = right->n = 0;
	for (size_t at = 0, end; at < n; at = end) {
		end = word_end(s, n, at);
		for (size_t i = at; i < end; i++)
			l.v[l.n++] = s[i];
		l.v[l.n++] = SEP;
	}
	for (uint32_t made = 256; made < (uint32_t)vocab; made++) {
		size_t best = 0, best_at = 0;

		for (size_t i = 0; i + 1 < l.n; i++) {
			size_t times = 0;

			for (size_t k = 0; k + 1 < l.n; k++)
				times += l.v[k] == l.v[i] && l.v[k + 1] == l.v[i + 1];
			if (l.v[i] == SEP || l.v[i + 1] == SEP || times < best)
				continue;
			if (times > best || l.v[i] < l.v[best_at] ||
			    (l.v[i] == l.v[best_at] && l.v[i + 1] < l.v[best_at + 1])) {
				best = times;
				best_at = i;
			}
		}
		if (best < 2)
			break;
		left->v[left->n++] = l.v[best_at];
		right->v[right->n++] = l.v[best_at + 1];
		for (size_t i = 0; i + 1 < l.n; i++)
			if (l.v[i] == left->v[left->n - 1] && l.v[i + 1] == right->v[right->n - 1])
				replace(&l, i, made);
	}
}

/* All merges in their order, each from left to right, word by word. */
static void
brute_encode(const struct list *left, const struct list *right, const unsigned char *s, size_t n,
	     struct list *out)
{
	static struct list l;

	out->n = 0;
	for (size_t at = 0, end; at < n; at = end) {
		end = word_end(s, n, at);
		l.n = 0;
		for (size_t i = at; i < end; i++)
			l.v[l.n++] = s[i];
		for (size_t m = 0; m < left->n; m++)
			for (size_t i = 0; i + 1 < l.n; i++)
				if (l.v[i] == left->v[m] && l.v[i + 1] == right->v[m])
					replace(&l, i, (uint32_t)(256 + m));
		memcpy(out->v + out->n, l.v, l.n * sizeof *l.v);
		out->n += l.n;
	}
}

/* --- what every table does --- */

static void
is_list(const struct bpe *b, const unsigned char *s, size_t n, const struct list *want,
	const char *name)
{
	uint32_t *got;
	size_t count = bpe_encode(b, s, n, &got);

	if (is_long((long)count, (long)want->n, "%s: so many", name))
		is_bytes(got, want->v, count * sizeof *got, "%s: these", name);
	free(got);
}

/* Decoding gives the bytes back. */
static void
is_identity(const struct bpe *b, const unsigned char *s, size_t n, const char *name)
{
	uint32_t *v;
	size_t count = bpe_encode(b, s, n, &v), at = 0, wrong = 0;

	for (size_t i = 0; i < count; i++) {
		size_t k;
		const unsigned char *p = bpe_next(b, i ? v[i - 1] : UINT32_MAX, v[i], &k);

		wrong += at + k > n || memcmp(p, s + at, k);
		at += k;
	}
	is_long((long)at, (long)n, "%s: decoding gives as many bytes", name);
	is_long((long)wrong, 0, "%s: and the same", name);
	free(v);
}

static void
identities(const struct bpe *b, const char *table)
{
	unsigned char *s = some_text(5000, 2), *r = some_bytes(5000, 3), *z = mem_zero(5000, 1);
	char name[100];

	for (size_t n = 0; n < 4; n++) {
		snprintf(name, sizeof name, "%s, %zu bytes", table, n);
		is_identity(b, r, n, name);
	}
	snprintf(name, sizeof name, "%s, text", table);
	is_identity(b, s, 5000, name);
	snprintf(name, sizeof name, "%s, random bytes", table);
	is_identity(b, r, 5000, name);
	snprintf(name, sizeof name, "%s, zeros", table);
	is_identity(b, z, 5000, name);
	free(s);
	free(r);
	free(z);
}

/* --- tables trained here --- */

static void
test_trained(void)
{
	enum { N = 1500, VOCAB = 300 };
	static struct list left, right, want;
	unsigned char *s = some_text(N, 4), *other = some_text(N, 5), *run = mem_zero(N, 1);
	struct bpe *b = bpe_train(s, N, VOCAB), *c;

	brute_train(s, N, VOCAB, &left, &right);
	is_long(bpe_vocab(b), (long)(256 + left.n), "as many tokens as by brute force");
	brute_encode(&left, &right, s, N, &want);
	is_list(b, s, N, &want, "tokens of the text it learnt from, by brute force");
	brute_encode(&left, &right, other, N, &want);
	is_list(b, other, N, &want, "tokens of another text, by brute force");
	identities(b, "trained");

	is_long(bpe_save(b, temp("a.bpe")), 0, "a table is saved");
	c = bpe_load(temp("a.bpe"));
	if (!c)
		abort();
	is_list(c, other, N, &want, "a table that is loaded again: tokens");
	bpe_free(c);
	bpe_free(b);

	/* Runs of one character, where occurrences of a pair overlap. */
	memset(run, 'a', N);
	for (size_t i = 0; i < N; i += 1 + i / 8)
		run[i] = 'b';
	b = bpe_train(run, N, VOCAB);
	brute_train(run, N, VOCAB, &left, &right);
	is_long(bpe_vocab(b), (long)(256 + left.n), "runs: as many tokens as by brute force");
	brute_encode(&left, &right, run, N, &want);
	is_list(b, run, N, &want, "runs, by brute force");
	bpe_free(b);

	b = bpe_train((const unsigned char *)"abcdefg", 7, VOCAB);
	is_long(bpe_vocab(b), 256, "training stops when no pair repeats");
	bpe_free(b);
	b = bpe_train(s, 0, VOCAB);
	is_long(bpe_vocab(b), 256, "of nothing only bytes are learnt");
	bpe_free(b);
	ok(!bpe_train(s, N, 256), "a vocabulary of 256 is refused");
	free(s);
	free(other);
	free(run);
}

/* No prefix of a table and no table with a damaged byte is read. */
static void
test_damage(void)
{
	unsigned char *s = some_text(2000, 6);
	struct bpe *b = bpe_train(s, 2000, 280);
	size_t n, refused = 0;
	char *whole;

	if (bpe_save(b, temp("whole.bpe")) < 0 || !(whole = file_slurp(temp("whole.bpe"), &n)))
		abort();
	bpe_free(b);
	for (size_t i = 0; i < n; i++) {
		b = bpe_load(temp_bytes("cut.bpe", whole, i));
		refused += !b;
		bpe_free(b);
	}
	is_long((long)refused, (long)n, "a table is refused at every shorter length");
	refused = 0;
	for (size_t i = 0; i < n; i++) {
		whole[i] = (char)(whole[i] ^ 1 << i % 7);
		b = bpe_load(temp_bytes("flip.bpe", whole, n));
		refused += !b;
		bpe_free(b);
		whole[i] = (char)(whole[i] ^ 1 << i % 7);
	}
	is_long((long)refused, (long)n, "a table is refused with any byte damaged");
	free(whole);
	free(s);
}

/* --- GPT-2's format --- */

/* A byte as GPT-2 writes it, by its own definition: printable Latin-1 is itself. */
static void
put_byte(FILE *f, int byte)
{
	int c = byte, other = 256;

	for (int i = 0; i <= byte; i++) {
		bool itself = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae;

		if (i == byte)
			c = itself ? i : other;
		other += !itself;
	}
	if (c == '"' || c == '\\')
		fputc('\\', f);
	if (c < 0x80)
		fputc(c, f);
	else
		fprintf(f, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
}

static void
put_token(FILE *f, const struct bpe *b, uint32_t t, bool json)
{
	size_t n;
	const unsigned char *p = bpe_bytes(b, t, &n);

	for (size_t i = 0; i < n; i++)
		if (!json && (p[i] == '"' || p[i] == '\\'))
			fputc(p[i], f);
		else
			put_byte(f, p[i]);
}

/* A table trained here, written in GPT-2's format with its tokens numbered backwards. */
static void
test_gpt2_format(void)
{
	enum { N = 1500, VOCAB = 300 };
	static struct list left, right, want;
	unsigned char *s = some_text(N, 7);
	struct bpe *b = bpe_train(s, N, VOCAB), *g;
	FILE *json = fopen(temp("v.json"), "w"), *merges = fopen(temp("v.bpe"), "w");

	if (!json || !merges)
		abort();
	brute_train(s, N, VOCAB, &left, &right);
	for (uint32_t i = 0; i < VOCAB; i++) {
		fputs(i ? ", \"" : "{\"", json);
		put_token(json, b, i, true);
		fprintf(json, "\": %u", VOCAB - 1 - i);
	}
	fputs("}\n", json);
	fputs("#version: 0.2\n", merges);
	for (size_t i = 0; i < left.n; i++) {
		put_token(merges, b, left.v[i], false);
		fputc(' ', merges);
		put_token(merges, b, right.v[i], false);
		fputc('\n', merges);
	}
	fclose(json);
	fclose(merges);

	g = bpe_load_gpt2(temp("v.json"), temp("v.bpe"));
	if (!ok(g != NULL, "tables in GPT-2's format are read")) {
		fprintf(stderr, "# %s\n", err_text());
		return;
	}
	brute_encode(&left, &right, s, N, &want);
	for (size_t i = 0; i < want.n; i++)
		want.v[i] = VOCAB - 1 - want.v[i];
	is_list(g, s, N, &want, "tokens with GPT-2's numbering");
	identities(g, "GPT-2's format");
	is_long(bpe_save(g, temp("g.bpe")), -1, "such a table is not saved in our format");
	bpe_free(g);
	bpe_free(b);
	free(s);

	ok(!bpe_load_gpt2(temp_text("bad.json", "{\"a\": 0, \"b\": 0}"), temp("v.bpe")),
	   "a small vocabulary is refused");
	ok(!bpe_load_gpt2(temp_text("bad.json", "{\"a\": 0"), temp("v.bpe")),
	   "JSON cut short is refused");
	ok(!bpe_load_gpt2(temp("v.json"), temp_text("bad.bpe", "a b c\n")),
	   "three in a line are refused");
	ok(!bpe_load_gpt2(temp("v.json"), temp_text("bad.bpe", "Q Q\n")),
	   "an unknown merge is refused");
	is_text(strrchr(err_text(), '/') + 1,
		"bad.bpe:1: \"Q Q\": one of the two or what they make is no token",
		"by file and line");
	ok(!bpe_load_gpt2(temp("v.json"), temp_text("bad.bpe", "Q Q")),
	   "a line cut short is refused");
}

static void
test_gpt2(void)
{
	static const struct list hello = {{15496, 995, 0, 314, 1101, 532, 352, 362, 4747}, 9};
	struct bpe *b;
	unsigned char *s;
	size_t n;

	if (!file_exists(gpt2_vocab)) {
		ok(true, "GPT-2's own tables # SKIP not here");
		return;
	}
	b = bpe_load_gpt2(gpt2_vocab, gpt2_merges);
	is_long(b ? bpe_vocab(b) : -1, 50257, "GPT-2 has 50257 tokens");
	s = (unsigned char *)"Hello world! I'm - 1 2 33";
	is_list(b, s, strlen((char *)s), &hello, "GPT-2's tokens of a sentence");
	identities(b, "GPT-2");
	s = (unsigned char *)file_slurp("../shared/data/text/shakespeare.txt", &n);
	if (s) {
		uint32_t *v;

		/* nanoGPT's documentation: 301,966 tokens of the first 90 %, 36,059 of the rest. */
		size_t cut = n * 9 / 10;

		is_long((long)bpe_encode(b, s, cut, &v), 301966, "GPT-2's tokens of Shakespeare");
		free(v);
		is_long((long)bpe_encode(b, s + cut, n - cut, &v), 36059, "and of the rest");
		free(v);
		free(s);
	}
	bpe_free(b);
}

/* --- llama2.c's format --- */

struct piece {
	float score;
	const char *text;
};

static const struct piece pieces[] = {
	{-9, " "},	  {-9, "a"},	     {-9, "b"},	 {-9, "c"},    {-9, "d"},
	{-9, "\xc3\xa9"}, {-2, "ab"},	     {-1, "bc"}, {-1, "ca"},   {-0.5f, " a"},
	{-0.5f, "abc"},	  {-4, "a\xc3\xa9"}, {-3, "dd"}, {-3, "dddd"}, {-1e10f, "cd"},
};
enum { PIECES = sizeof pieces / sizeof *pieces, FIRST = 259 };

static void
put_piece(FILE *f, float score, const char *text)
{
	int32_t n = (int32_t)strlen(text);

	fwrite(&score, 4, 1, f);
	fwrite(&n, 4, 1, f);
	fwrite(text, 1, (size_t)n, f);
}

static const char *
put_llama2(const char *name)
{
	const char *path = temp(name);
	FILE *f = fopen(path, "w");
	int32_t longest = 7;

	if (!f)
		abort();
	fwrite(&longest, 4, 1, f);
	put_piece(f, 0, "<unk>");
	put_piece(f, 0, "\n<s>\n");
	put_piece(f, 0, "\n</s>\n");
	for (int i = 0; i < 256; i++) {
		char byte[8];

		snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)i);
		put_piece(f, 0, byte);
	}
	for (size_t i = 0; i < PIECES; i++)
		put_piece(f, pieces[i].score, pieces[i].text);
	fclose(f);
	return path;
}

static int
find_piece(const char *a, const char *b)
{
	char both[64];

	snprintf(both, sizeof both, "%s%s", a, b);
	for (int i = 0; i < PIECES; i++)
		if (strcmp(pieces[i].text, both) == 0)
			return i;
	return -1;
}

/* As llama2.c says it: the best pair of the whole text, again and again. */
static void
brute_llama2(const char *s, struct list *l)
{
	*l = (struct list){{1, (uint32_t)(FIRST + find_piece(" ", ""))}, *s ? 2 : 1};
	for (size_t k; *s; s += k) {
		char character[5] = "";

		k = (*s & 0xe0) == 0xc0 ? 2 : 1;
		memcpy(character, s, k);
		if (find_piece(character, "") >= 0)
			l->v[l->n++] = (uint32_t)(FIRST + find_piece(character, ""));
		else
			for (size_t i = 0; i < k; i++)
				l->v[l->n++] = 3U + (unsigned char)s[i];
	}
	for (;;) {
		float best = -1e10f;
		size_t at = 0;
		int made = -1;

		for (size_t i = 0; i + 1 < l->n; i++) {
			uint32_t x = l->v[i], y = l->v[i + 1];
			int m = x < FIRST || y < FIRST ? -1
						       : find_piece(pieces[x - FIRST].text,
								    pieces[y - FIRST].text);

			if (m >= 0 && pieces[m].score > best) {
				best = pieces[m].score;
				at = i;
				made = m;
			}
		}
		if (made < 0)
			return;
		replace(l, at, (uint32_t)(FIRST + made));
	}
}

static void
test_llama2(void)
{
	static const char *const part[] = {"a", "b", "c", "d", " ", "\xc3\xa9", "\xc3\xb6", "!"};
	static struct list want;
	struct bpe *b = bpe_load_llama2(put_llama2("t.bin"));
	struct rng r = rng_at(1, RNG_TEST, 320, 2);
	size_t n, refused = 0;
	char *whole;
	long wrong = 0;

	if (!b)
		abort();
	is_long(bpe_vocab(b), FIRST + PIECES, "a tokenizer of llama2.c");
	for (int turn = 0; turn < 2000; turn++) {
		char s[64] = "";
		uint32_t *v;
		int k = (int)rng_below(&r, 25);

		while (k-- > 0)
			strcat(s, part[rng_below(&r, sizeof part / sizeof *part)]);
		brute_llama2(s, &want);
		n = bpe_encode(b, (unsigned char *)s, strlen(s), &v);
		wrong += n != want.n || memcmp(v, want.v, n * sizeof *v);
		free(v);
	}
	is_long(wrong, 0, "its tokens, by brute force");
	identities(b, "llama2.c's format");
	bpe_free(b);

	whole = file_slurp(temp("t.bin"), &n);
	if (!whole)
		abort();
	for (size_t i = 0; i < n; i++) {
		b = bpe_load_llama2(temp_bytes("cut.bin", whole, i));
		/* The format does not tell how many tokens there are. */
		refused += !b || bpe_vocab(b) < FIRST + PIECES;
		bpe_free(b);
	}
	is_long((long)refused, (long)n, "no shorter file is taken for the whole");
	whole[4 + 13 + 13 + 14 + 8]++; /* the '<' of <0x00> */
	b = bpe_load_llama2(temp_bytes("other.bin", whole, n));
	ok(!b, "a file without the bytes at 3 to 258 is refused");
	bpe_free(b);
	free(whole);

	if (!file_exists(llama2_file)) {
		ok(true, "the tokenizer of stories260K # SKIP not here");
		return;
	}
	b = bpe_load_llama2(llama2_file);
	if (!b)
		abort();
	/* The prompt of llama2.c's examples: its start and the words of the model's vocabulary. */
	is_list(b, (const unsigned char *)"Once upon a time", 16,
		&(struct list){{1, 403, 407, 261, 378}, 5}, "stories260K's tokens of a prompt");
	identities(b, "stories260K");
	bpe_free(b);
}

int
main(void)
{
	test_words();
	is_words("Hello world", "Hello| world|");
	is_words("I've  done\t\t it's", "I|'ve| | done|\t\t| it|'s|");
	is_words(" x1 --!a", " x|1| --!|a|");
	is_words("\xff"
		 "a\xc3",
		 "\xff|a|\xc3|");
	is_words("   ", "   |");
	test_trained();
	test_damage();
	test_gpt2_format();
	test_gpt2();
	test_llama2();
	return done();
}
