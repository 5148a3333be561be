/* moe-data: find text, turn it into tokens; make chaotic sequences; convert and make images. */
#include "base/file.h"
#include "base/mem.h"
#include "data/bpe.h"
#include "data/chaos.h"
#include "data/images.h"
#include "data/shapes.h"
#include "data/text.h"
#include "data/tokens.h"
#include "io/table.h"
#include "program.h"
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static struct args {
	char *output, *bpe, *gpt2, *llama2, *pixels, *labels;
	size_t limit;
	int vocab;
	long tokens, samples, seed;
	double parameter;
	int bins, every, format, to, classes, size;
	char *floor;
	bool pack, help, version;
} args = {.output = "-", .samples = 10000, .seed = 1, .classes = 10, .size = 32};

static const struct opt rows[] = {
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("limit", 0, OPT_BYTES, limit, 1, 0x1p53, "BYTES", "text: stop after so many bytes"),
	ROW("vocab", 0, OPT_INT, vocab, 257, BPE_MOST, "N", "bpe: tokens to make"),
	ROW("bpe", 0, OPT_TEXT, bpe, 0, 0, "FILE", "tokens of a table made by moe-data bpe"),
	ROW("gpt2", 0, OPT_TEXT, gpt2, 0, 0, "VOCAB",
	    "tokens of GPT-2; MERGES is the first operand"),
	ROW("llama2", 0, OPT_TEXT, llama2, 0, 0, "FILE", "tokens of a tokenizer of llama2.c"),
	ROW("tokens", 0, OPT_LONG, tokens, 1, 0x1p32, "N", "chaos: length of the sequence"),
	ROW("bins", 0, OPT_INT, bins, 2, CHAOS_BINS, "V", "chaos: tokens known, 64 unless told"),
	ROW("every", 0, OPT_INT, every, 1, CHAOS_EVERY, "STEPS",
	    "chaos: from token to token; else as usual for the system"),
	ROW("parameter", 0, OPT_REAL, parameter, 0, 1e9, "X",
	    "chaos: of the system; else the usual one"),
	ROW("pack", 0, OPT_FLAG, pack, 0, 1, NULL, "chaos: packed tokens instead of bytes"),
	ROW("floor", 0, OPT_TEXT, floor, 0, 0, "FILE",
	    "chaos: CSV of what the best predictor would lose"),
	ROW("format", 0, OPT_ENUM, format, 0, 0, "auto|records|cifar10|cifar100|idx|csv",
	    "images: what FILE is"),
	ROW("pixels", 0, OPT_TEXT, pixels, 0, 0, "PLANESxHEIGHTxWIDTH", "images: of a record"),
	ROW("labels", 0, OPT_TEXT, labels, 0, 0, "FILE", "images: of idx, else beside the images"),
	ROW("to", 0, OPT_ENUM, to, 0, 0, "count|records|cifar10|cifar100|csv",
	    "images: write the set as such, or count its classes"),
	ROW("samples", 0, OPT_LONG, samples, 1, 1e7, "N", "shapes: images to make"),
	ROW("classes", 0, OPT_INT, classes, 2, SHAPES_CLASSES, "N", "shapes: of the task"),
	ROW("size", 0, OPT_INT, size, 8, 256, "PIXELS", "shapes: height and width of an image"),
	ROW("seed", 0, OPT_LONG, seed, 0, 0x1p53, "N", "chaos, shapes: of all that is drawn"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
static struct opt_table options = {
	.program = "moe-data",
	.synopsis = "moe-data text\n"
		    "moe-data text [--limit BYTES] [-o FILE] NAME\n"
		    "moe-data bpe --vocab N -o FILE TEXT...\n"
		    "moe-data encode TABLE [-o FILE] [TEXT...]\n"
		    "moe-data decode TABLE [-o FILE] [TOKENS]\n"
		    "moe-data pack TABLE -o FILE TEXT...\n"
		    "moe-data chaos --tokens N [options] [-o FILE] SYSTEM\n"
		    "moe-data images [--to FORMAT] [-o FILE] FILE\n"
		    "moe-data shapes [--classes N] [--samples N] -o FILE\n"
		    "where TABLE is --bpe FILE, --gpt2 VOCAB MERGES or --llama2 FILE\n",
	.row = rows,
	.n = sizeof(rows) / sizeof(rows[0]),
	.values = &args,
};

/* --- text --- */

static int
list_texts(void)
{
	struct row r = {.f = file_replace(args.output)};

	if (!r.f)
		return -1;
	row_header(&r, "name,bytes,package,present,what");
	for (int i = 0; i < text_count(); i++) {
		const struct text *t = text_at(i);
		int64_t n = text_write(t, INT64_MAX, NULL);

		if (n < 0)
			goto err;
		row_text(&r, t->name);
		row_long(&r, n);
		row_text(&r, t->package);
		row_long(&r, n > 0);
		row_text(&r, t->what);
		if (row_end(&r) < 0)
			goto err;
	}
	return file_end(r.f, false);
err:
	return file_end(r.f, true);
}

static int
text(char **v, int n)
{
	const struct text *t = n > 0 ? text_find(v[0]) : NULL;
	struct file *f;
	int64_t there;

	if (n == 0 && args.limit)
		return usage("--limit without the NAME of a text");
	if (n == 0)
		return list_texts();
	if (!t)
		return usage("%s", err_text());
	there = text_write(t, 1, NULL);
	if (there < 0)
		return -1;
	if (there == 0)
		return err_set(
			"%s is not on this machine (expected the package: apt-get install %s)",
			t->name, t->package);
	f = file_replace(args.output);
	if (!f)
		return -1;
	if (text_write(t, args.limit ? (int64_t)args.limit : INT64_MAX, f) < 0) {
		file_abandon(f);
		return -1;
	}
	return file_commit(f);
}

/* --- tables --- */

/* All n files in memory, one after the other. */
static unsigned char *
read_all(char **v, int n, size_t *size)
{
	unsigned char *all = mem_grow(NULL, 1, 1);

	*size = 0;
	for (int i = 0; i < n; i++) {
		size_t k;
		char *p = file_slurp(v[i], &k);

		if (!p) {
			free(all);
			return NULL;
		}
		all = mem_grow(all, *size + k + 1, 1);
		memcpy(all + *size, p, k);
		*size += k;
		free(p);
	}
	return all;
}

static int
train(char **v, int n)
{
	unsigned char *p;
	struct bpe *b;
	size_t size;
	int r = -1;

	if (!args.vocab)
		return usage("how many tokens? (expected --vocab N)");
	p = read_all(v, n, &size);
	if (!p)
		return -1;
	b = bpe_train(p, size, args.vocab);
	if (b)
		r = bpe_save(b, args.output);
	if (r == 0 && bpe_vocab(b) < args.vocab)
		say("%s: %d tokens, not %d: after them no pair repeats", args.output, bpe_vocab(b),
		    args.vocab);
	bpe_free(b);
	free(p);
	return r;
}

/* The table that the options name; with --gpt2 the first of the n operands is its second file. */
static struct bpe *
load_table(char ***v, int *n)
{
	if (args.bpe)
		return bpe_load(args.bpe);
	if (args.llama2)
		return bpe_load_llama2(args.llama2);
	++*v;
	--*n;
	return bpe_load_gpt2(args.gpt2, (*v)[-1]);
}

/* --- encode, decode, pack --- */

static int
put_tokens(struct file *f, const uint32_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (file_print(f, "%" PRIu32 "\n", v[i]) < 0)
			return -1;
	return 0;
}

static int
encode(char **v, int n)
{
	struct bpe *b = load_table(&v, &n);
	struct file *f = b ? file_replace(args.output) : NULL;
	char *standard[] = {"-"};
	int r = f ? 0 : -1;

	if (n == 0) {
		v = standard;
		n = 1;
	}
	for (int i = 0; r == 0 && i < n; i++) {
		size_t size;
		char *p = file_slurp(v[i], &size);
		uint32_t *t = NULL;

		r = -1;
		if (p) {
			size_t count = bpe_encode(b, (unsigned char *)p, size, &t);

			r = put_tokens(f, t, count);
		}
		free(t);
		free(p);
	}
	if (r == 0)
		r = file_commit(f);
	else
		file_abandon(f);
	bpe_free(b);
	return r;
}

/* Where decoding has come to. */
struct decoder {
	const struct bpe *b;
	struct file *f;
	uint32_t before;
};

static int
put_bytes(struct decoder *d, uint32_t token)
{
	size_t n;
	const unsigned char *p = bpe_next(d->b, d->before, token, &n);

	d->before = token;
	return file_write(d->f, p, n);
}

/* Token numbers between blanks and line ends. */
static int
decode_text(struct decoder *d, const char *file, const char *p)
{
	uint32_t vocab = (uint32_t)bpe_vocab(d->b);
	int line = 1;

	for (;; p++) {
		size_t n = strcspn(p, " \t\r\n"), digits = strspn(p, "0123456789");
		uint64_t x = 0;

		for (size_t i = 0; i < digits && x < vocab; i++)
			x = 10 * x + (uint64_t)(p[i] - '0');
		if (digits < n || x >= vocab)
			return err_set("%s:%d: \"%.*s\" is no token (expected 0 to %" PRIu32 ")",
				       file, line, n < 40 ? (int)n : 40, p, vocab - 1);
		if (n > 0 && put_bytes(d, (uint32_t)x) < 0)
			return -1;
		p += n;
		if (!*p)
			return 0;
		line += *p == '\n';
	}
}

static int
decode_pack(struct decoder *d, const char *file)
{
	struct tokens *t = tokens_open(file);
	int r = 0;

	if (!t)
		return -1;
	if (t->vocab > bpe_vocab(d->b))
		r = err_set("%s: a vocabulary of %d (expected at most the table's %d)", file,
			    t->vocab, bpe_vocab(d->b));
	for (size_t i = 0; r == 0 && i < t->n; i++) {
		int32_t x;

		tokens_get(t, i, 1, &x);
		r = put_bytes(d, (uint32_t)x);
	}
	tokens_close(t);
	return r;
}

static int
decode_file(struct decoder *d, const char *file)
{
	size_t n;
	char *p = file_slurp(file, &n);
	int r = -1;

	if (!p)
		return -1;
	if (n >= 10 && memcmp(p, "moe-tokens", 10) == 0)
		r = decode_pack(d, file);
	else if (strlen(p) < n)
		err_set("%s: a zero byte (expected numbers of tokens)", file);
	else
		r = decode_text(d, file, p);
	free(p);
	return r;
}

static int
decode(char **v, int n)
{
	struct decoder d = {.b = load_table(&v, &n), .before = UINT32_MAX};
	int r = -1;

	if (d.b)
		d.f = file_replace(args.output);
	if (d.f)
		r = decode_file(&d, n > 0 ? v[0] : "-");
	if (r == 0)
		r = file_commit(d.f);
	else
		file_abandon(d.f);
	bpe_free((struct bpe *)d.b);
	return r;
}

/* The tokens of all n files; each file is encoded by itself. */
static uint32_t *
encode_all(const struct bpe *b, char **v, int n, size_t *count)
{
	uint32_t *all = mem_grow(NULL, 1, sizeof(*all)), *t;

	*count = 0;
	for (int i = 0; i < n; i++) {
		size_t size, k;
		char *p = file_slurp(v[i], &size);

		if (!p) {
			free(all);
			return NULL;
		}
		k = bpe_encode(b, (unsigned char *)p, size, &t);
		free(p);
		all = mem_grow(all, *count + k + 1, sizeof(*all));
		memcpy(all + *count, t, k * sizeof(*all));
		*count += k;
		free(t);
	}
	return all;
}

static int
pack(char **v, int n)
{
	struct bpe *b;
	uint32_t *t;
	size_t count;
	int r = -1;

	if (strcmp(args.output, "-") == 0 && isatty(STDOUT_FILENO))
		return usage("packed tokens are no text for a terminal (expected -o FILE)");
	b = load_table(&v, &n);
	if (!b)
		return -1;
	t = encode_all(b, v, n, &count);
	if (t)
		r = tokens_pack(args.output, bpe_vocab(b), t, count);
	free(t);
	bpe_free(b);
	return r;
}

/* --- images --- */

/* A row per class, also for those without a sample. */
static int
count_classes(const struct images *s)
{
	long *n = mem_zero((size_t)s->classes, sizeof *n);
	struct row r = {.f = file_replace(args.output)};
	int bad = r.f ? row_header(&r, "class,name,samples,planes,height,width") : -1;

	for (long i = 0; i < s->n; i++)
		n[s->label[i]]++;
	for (int i = 0; !bad && i < s->classes; i++) {
		row_long(&r, i);
		if (s->class_name)
			row_text(&r, s->class_name[i]);
		else
			row_skip(&r);
		row_long(&r, n[i]);
		row_long(&r, s->planes);
		row_long(&r, s->height);
		row_long(&r, s->width);
		bad = row_end(&r);
	}
	free(n);
	return file_end(r.f, bad);
}

static int
images(char **v, int n)
{
	static const enum images_format to[] = {IMAGES_AUTO, IMAGES_RECORDS, IMAGES_CIFAR10,
						IMAGES_CIFAR100, IMAGES_CSV};
	struct images_form form = {.format = (enum images_format)args.format,
				   .labels = args.labels};
	struct images *s;
	int r;

	(void)n;
	if (args.pixels && images_shape(args.pixels, &form) < 0)
		return usage("--pixels: %s", err_text());
	if (!(s = images_open(v[0], &form, NULL)))
		return -1;
	r = args.to ? images_write(s, to[args.to], args.output) : count_classes(s);
	images_close(s);
	return r;
}

static int
shapes(char **v, int n)
{
	struct images *s = shapes_make(args.samples, args.classes, args.size, (uint64_t)args.seed);
	int r = images_write(s, IMAGES_RECORDS, args.output);

	(void)v, (void)n;
	images_close(s);
	return r;
}

/* --- chaos --- */

static bool
given(const char *name)
{
	return opt_given(&options, name);
}

static void
quantity(struct row *r, const char *name, double nats)
{
	row_text(r, name);
	row_real(r, nats);
	row_real(r, nats / log(2));
	row_end(r);
}

/* Steps that give the exponents two or three digits; tokens that a plain predictor learns from. */
enum { FLOOR_STEPS = 1000000, FLOOR_TOKENS = 1 << 19 };

static int
write_floor(const struct chaos *c, const uint32_t *v, size_t n)
{
	struct chaos_floor f;
	struct row r = {0};

	if (!args.floor)
		return 0;
	if (chaos_floor(c, FLOOR_STEPS, &f) != 0 || !(r.f = file_replace(args.floor)))
		return -1;
	row_header(&r, "quantity,nats,bits");
	for (int i = 0; i < f.exponents; i++) {
		char name[32];
		snprintf(name, sizeof name, "exponent_%d", i + 1);
		quantity(&r, name, f.exponent[i] * f.unit);
	}
	quantity(&r, "positive_exponents", f.positive);
	quantity(&r, "switching", f.switching);
	quantity(&r, f.exact ? "floor" : "floor_at_most", f.bound);
	quantity(&r, "reached", chaos_reached(v, n < FLOOR_TOKENS ? n : FLOOR_TOKENS, c->bins));
	quantity(&r, "uniform", log(c->bins));
	return file_end(r.f, false);
}

static int
write_sequence(const struct chaos *c, const uint32_t *v, size_t n)
{
	struct file *f;
	unsigned char *p;
	int bad;

	if (args.pack)
		return tokens_pack(args.output, c->bins, v, n);
	if (!(f = file_replace(args.output)))
		return -1;
	p = mem_zero(n, 1);
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)v[i];
	bad = file_write(f, p, n);
	free(p);
	if (bad == 0)
		return file_commit(f);
	file_abandon(f);
	return -1;
}

static int
chaos(char **v, int n)
{
	int s = 0;
	struct chaos c;
	uint32_t *tokens;
	int status;

	while (n > 0 && s < CHAOS_COUNT && strcmp(v[0], chaos_name((enum chaos_system)s)) != 0)
		s++;
	if (n == 0 || s == CHAOS_COUNT)
		return usage("chaos: %s (expected " CHAOS_SYSTEMS ")",
			     n ? "no such system" : "of which system?");
	if (!args.tokens)
		return usage("chaos: how many tokens? (expected --tokens N)");
	c = chaos_usual((enum chaos_system)s);
	c.seed = (uint64_t)args.seed;
	c.p = given("parameter") ? args.parameter : c.p;
	c.bins = given("bins") ? args.bins : c.bins;
	c.every = given("every") ? args.every : c.every;
	if (!args.pack && c.bins > 256)
		return usage("chaos: --bins %d are more than bytes (expected at most 256, or "
			     "--pack)",
			     c.bins);
	if (args.pack && strcmp(args.output, "-") == 0 && isatty(STDOUT_FILENO))
		return usage("packed tokens are no text for a terminal (expected -o FILE)");
	if (args.floor && strcmp(args.floor, args.output) == 0)
		return usage("chaos: --floor and --output are the same file");
	tokens = mem_zero((size_t)args.tokens, sizeof *tokens);
	status = chaos_run(&c, (size_t)args.tokens, tokens) != 0 ||
				 write_floor(&c, tokens, (size_t)args.tokens) != 0
			 ? -1
			 : write_sequence(&c, tokens, (size_t)args.tokens);
	free(tokens);
	return status;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"text", 0, 1, "[NAME]", " output limit ", text, 0},
	{"bpe", 1, INT_MAX, "TEXT...", " output vocab ", train, 0},
	{"encode", 0, INT_MAX, "[TEXT...]", " output bpe gpt2 llama2 ", encode, 0},
	{"decode", 0, 2, "[TOKENS]", " output bpe gpt2 llama2 ", decode, 0},
	{"pack", 1, INT_MAX, "TEXT...", " output bpe gpt2 llama2 ", pack, 0},
	{"chaos", 0, 1, "SYSTEM", " output tokens bins every parameter pack floor seed ", chaos, 0},
	{"images", 1, 1, "FILE", " output format pixels labels to ", images, 0},
	{"shapes", 0, 0, "", " output samples classes size seed ", shapes, 0},
};

/* A command that works with a table of tokens has one, and operands beside it. */
static int
check(const struct verb *v, char **operands, int n)
{
	int tables = given("bpe") + given("gpt2") + given("llama2");

	(void)operands;
	if (!strstr(v->options, " bpe "))
		return 0;
	if (tables != 1)
		return usage("%s: %d tables (expected one of --bpe, --gpt2, --llama2)", v->name,
			     tables);
	if (given("gpt2") && n == 0)
		return usage("--gpt2 VOCAB needs the MERGES as the first operand");
	n -= given("gpt2");
	if (v->run == pack && n == 0)
		return usage("pack: nothing to read (expected TEXT)");
	if (v->run == decode && n > 1)
		return usage("decode: %d operands (expected at most 1)", n);
	return 0;
}

static int
run(const struct opt_many *words)
{
	return verb_run(verbs, sizeof verbs / sizeof *verbs, &options, words, check);
}

int
main(int argc, char **argv)
{
	return program(&options, &args.help, &args.version, argc, argv, run);
}
