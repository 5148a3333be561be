/* Token sources, packed files and schedules. */
#include "base/err.h"
#include "base/rng.h"
#include "data/tokens.h"
#include "tap.h"
#include "temp.h"
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { TEXT = 1000 };

static char text[TEXT + 1];

static const char *
gzip(const char *name, const void *p, size_t n)
{
	const char *path = temp(name);
	gzFile f = gzopen(path, "wb");

	if (!f || gzwrite(f, p, (unsigned)n) != (int)n || gzclose(f) != Z_OK)
		abort();
	return path;
}

static void
refused(const char *spec, const char *why, const char *name)
{
	struct tokens *t = tokens_open(spec);

	if (!ok(!t && strstr(err_text(), why), "%s", name))
		fprintf(stderr, "# expected \"%s\", found %s\n", why,
			t ? "no refusal" : err_text());
	tokens_close(t);
}

static void
test_bytes(void)
{
	const char *plain = temp_bytes("plain.txt", text, TEXT);
	const char *packed = gzip("packed.txt.gz", text, TEXT);
	struct tokens *a = tokens_open(plain), *b = tokens_open(packed);
	int32_t out[3];

	if (!a || !b)
		abort();
	is_text(a->name, "plain", "the name is the base name without its suffix");
	is_text(b->name, "packed", "and without .gz");
	is_long(a->vocab, 256, "bytes have a vocabulary of 256");
	is_long((long)a->n, TEXT, "a token a byte");
	is_long((long)a->bytes, TEXT, "the size of a plain file");
	is_long(a->crc, (long)crc32(0, (const Bytef *)text, TEXT), "its CRC-32");
	is_long((long)b->n, TEXT, "tokens of a compressed file are of its text");
	is_long(b->bytes < TEXT && b->crc != a->crc, 1, "its size and CRC-32 are of the file");
	is_bytes(b->v, text, TEXT, "its bytes");
	tokens_get(a, 998, 2, out);
	is_long(out[0] * 256 + out[1], text[998] * 256 + text[999], "tokens_get reaches the end");
	tokens_close(a);
	tokens_close(b);

	refused(temp_bytes("empty", "", 0), "is empty", "an empty file is refused");
	refused(gzip("empty.gz", "", 0), "is empty", "so is a compressed nothing");
	refused(temp("none"), "No such file", "a file that is not there is refused");
	refused(temp("."), "directory", "a directory is refused");
}

static void
test_names(void)
{
	struct {
		const char *file, *spec, *name;
	} row[] = {
		{"a=b.txt", "a=b.txt", "a_b"}, {"a=b.txt", "n=a=b.txt", "n"},
		{"x.tar", "x.tar", "x"},       {".hidden", ".hidden", ".hidden"},
		{"s p.txt", "s p.txt", "s_p"},
	};
	char here[4096];

	temp_bytes("a=b.txt", text, 10);
	if (!getcwd(here, sizeof here) || chdir(temp_dir))
		abort();
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct tokens *t;

		temp_bytes(row[i].file, text, 10);
		t = tokens_open(row[i].spec);
		is_text(t ? t->name : err_text(), row[i].name, "the name of %s", row[i].spec);
		tokens_close(t);
	}
	refused("=x.tar", "empty", "an empty name is refused");
	refused("a b=x.tar", "blanks", "a name with a blank is refused");
	if (chdir(here))
		abort();
}

static void
test_pack(int vocab, int width)
{
	static const uint32_t v[] = {0, 7, 511, 300, 2};
	const char *path = temp("p.tok");
	struct tokens *t;
	int32_t out[5];
	static char whole[4096];
	size_t n;
	FILE *f;
	long cut = 0, flipped = 0;

	is_long(tokens_pack(path, vocab, v, 5), 0, "tokens of a vocabulary of %d are packed",
		vocab);
	t = tokens_open(path);
	if (!t)
		abort();
	is_long(t->vocab, vocab, "the vocabulary comes back");
	is_long(t->width, width, "in %d bytes a token", width);
	is_long((long)t->n, 5, "all of them");
	tokens_get(t, 0, 5, out);
	is_bytes(out, v, sizeof v, "the tokens come back");
	tokens_close(t);

	f = fopen(path, "r");
	if (!f)
		abort();
	n = fread(whole, 1, sizeof whole, f);
	fclose(f);
	for (size_t i = 1; i <= n + 1; i++) {
		t = tokens_open(temp_bytes("cut.tok", whole, i));
		cut += i != n && !t;
		tokens_close(t);
	}
	is_long(cut, (long)n, "a pack is refused at every other length");
	for (size_t i = 0; i < n; i++) {
		whole[i] = (char)(whole[i] ^ 1 << i % 8);
		t = tokens_open(temp_bytes("flip.tok", whole, n));
		flipped += !t;
		tokens_close(t);
		whole[i] = (char)(whole[i] ^ 1 << i % 8);
	}
	is_long(flipped, (long)n, "a pack is refused with any byte damaged");
	is_long(tokens_pack(temp("p.tok"), 511, v, 5), -1,
		"a token beyond the vocabulary is not packed");
	is_long(tokens_pack(temp("p.tok"), 512, v, 0), -1, "nothing is not packed");
	t = tokens_open(temp("p.tok"));
	ok(t != NULL, "a pack that cannot be written leaves the old one");
	tokens_close(t);
}

/* The schedule of the operands up to NULL; its message when it is refused, "" when not. */
static const char *
schedule(struct schedule *s, double val_frac, int seq, ...)
{
	char *operand[8];
	int n = 0;
	va_list ap;

	va_start(ap, seq);
	while ((operand[n] = va_arg(ap, char *)))
		n++;
	va_end(ap);
	return schedule_open(s, operand, n, val_frac, seq) < 0 ? err_text() : "";
}

static void
wrong(const char *found, const char *why)
{
	if (!ok(strstr(found, why), "a schedule is refused: %s", why))
		fprintf(stderr, "# expected \"%s\", found \"%s\"\n", why, found);
}

static void
test_schedule(void)
{
	struct schedule s;
	uint32_t token = 3, tokens[40];

	temp_bytes("a.txt", text, 500);
	temp_bytes("b.txt", text, 400);
	temp_bytes("x@7", text, 100);
	temp_bytes("short", text, 20);
	temp_bytes("sub.a.txt", text, 100);
	for (int i = 0; i < 40; i++)
		tokens[i] = token;
	tokens_pack(temp("p.tok"), 512, tokens, 40);
	is_text(schedule(&s, 0.1, 16, "a.txt", "B=b.txt@10", "a.txt@20", "B=a.txt@30", "x@7@40",
			 NULL),
		"", "data with names and steps");
	is_long(s.n, 5, "five phases");
	is_long(s.domains, 3, "of three domains");
	is_text(s.data[1]->name, "B", "the name that was given");
	ok(s.data[0] == s.data[2] && s.domain[2] == 0, "a file without a name is its domain again");
	is_long(s.domain[3], 1, "a name is its domain again, also with another file");
	is_text(s.data[4]->name, "x_7", "a file whose name looks like a step");
	is_long(s.from[4], 40, "with a step");
	is_long((long)s.train[0], 450, "a tenth is held out");
	is_long(schedule_phase(&s, 0), 0, "step 0 is of the first phase");
	is_long(schedule_phase(&s, 9), 0, "as is the one before the second");
	is_long(schedule_phase(&s, 10), 1, "which begins at its step");
	is_long(schedule_phase(&s, 1L << 40), 4, "the last one stays");
	schedule_close(&s);

	is_text(schedule(&s, 0, 16, "x@7", NULL), "", "a file wins over a step");
	is_long(s.from[0], 0, "and begins at 0");
	schedule_close(&s);
	schedule_close(&s);

	wrong(schedule(&s, 0, 16, NULL), "no data");
	wrong(schedule(&s, 0, 16, "a.txt@3", NULL), "starts at step 0 (found @3)");
	wrong(schedule(&s, 0, 16, "a.txt", "b.txt", NULL), "b.txt@STEP");
	wrong(schedule(&s, 0, 16, "a.txt", "b.txt@5", "a.txt@5", NULL),
	      "does not come after step 5");
	wrong(schedule(&s, 0, 16, "a.txt", "b.txt@99999999999999999999", NULL),
	      "99999999999999999999");
	wrong(schedule(&s, 0, 20, "short", NULL),
	      "20 tokens to train on (expected one window of 21");
	wrong(schedule(&s, 0.5, 10, "short", NULL),
	      "10 tokens to train on (expected one window of 11");
	wrong(schedule(&s, 0, 16, "a.txt", "p.tok@4", NULL), "a vocabulary of 512 (expected 256");
	wrong(schedule(&s, 1, 16, "a.txt", NULL), "share to hold out");
	mkdir(temp("sub"), 0777);
	temp_bytes("sub/a.txt", text, 100);
	wrong(schedule(&s, 0, 16, "a.txt", "sub/a.txt@4", NULL), "both be called a");
	is_text(schedule(&s, 0, 16, "a.txt", "z=sub/a.txt@4", "sub/../a.txt@5", NULL), "",
		"unless they are told apart");
	is_long(s.domain[2], 0, "the same file by another path is the same domain");
	schedule_close(&s);
}

static void
test_batch(void)
{
	enum { BATCH = 4, SEQ = 20, N = BATCH * SEQ };
	struct schedule s;
	int32_t in[N], out[N], again[N], other[N], one[99], next[99];
	long starts[41] = {0}, outside = 0, unshifted = 0, missing = 0;
	char ramp[100];

	for (int i = 0; i < 100; i++)
		ramp[i] = (char)i;
	temp_bytes("ramp", ramp, 100);
	if (*schedule(&s, 0.4, SEQ, "ramp", NULL))
		abort();
	for (long step = 0; step < 1000; step++) {
		schedule_batch(&s, 7, step, 0, BATCH, SEQ, in, out);
		for (int i = 0; i < N; i++)
			unshifted += out[i] != in[i - i % SEQ] + i % SEQ + 1 || in[i] != out[i] - 1;
		for (int b = 0; b < BATCH; b++) {
			outside += in[b * SEQ] > 39;
			starts[in[b * SEQ] > 39 ? 40 : in[b * SEQ]]++;
		}
	}
	for (int i = 0; i < 40; i++)
		missing += starts[i] == 0;
	is_long(unshifted, 0, "targets are the inputs, one token on");
	is_long(outside, 0, "no window reaches into the held-out end");
	is_long(missing, 0, "every start is drawn, the last one too");

	schedule_batch(&s, 7, 3, 0, BATCH, SEQ, in, out);
	schedule_batch(&s, 7, 3, 0, BATCH, SEQ, again, out);
	is_bytes(again, in, sizeof in, "a step has the same windows again");
	schedule_batch(&s, 7, 3, 1, BATCH, SEQ, other, out);
	ok(memcmp(other, in, sizeof in), "another part of it has others");
	schedule_batch(&s, 7, 4, 0, BATCH, SEQ, other, out);
	ok(memcmp(other, in, sizeof in), "so has another step");
	schedule_batch(&s, 8, 3, 0, BATCH, SEQ, other, out);
	ok(memcmp(other, in, sizeof in), "and another seed");
	schedule_close(&s);

	if (*schedule(&s, 0, 99, "ramp", NULL))
		abort();
	schedule_batch(&s, 7, 0, 0, 1, 99, one, next);
	is_long(one[0], 0, "data of one window has one start");
	is_long(next[98], 99, "and its last token is a target");
	schedule_close(&s);
}

int
main(void)
{
	struct rng r = rng_at(1, RNG_TEST, 310, 0);

	for (int i = 0; i < TEXT; i++)
		text[i] = (char)('a' + rng_below(&r, 8));
	test_bytes();
	test_names();
	test_pack(512, 2);
	test_pack(70000, 4);
	if (chdir(temp_dir))
		abort();
	test_schedule();
	test_batch();
	if (chdir("/"))
		abort();
	return done();
}
