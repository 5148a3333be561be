/* moe-ckpt: look into checkpoints, compare, verify and convert them. */
#include "base/file.h"
#include "base/mem.h"
#include "io/ckpt.h"
#include "io/hf.h"
#include "io/llama2.h"
#include "io/table.h"
#include "program.h"
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 8192 /* elements converted or compared at a time */ };

static struct args {
	char *output, *hf;
	bool bf16, no_optimizer, verbose, help, version;
	int experts, top_k;
	long seed;
} args = {.output = "-", .top_k = 2};

static const struct opt rows[] = {
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("bf16", 0, OPT_FLAG, bf16, 0, 1, NULL, "convert: float32 becomes bfloat16"),
	ROW("no-optimizer", 0, OPT_FLAG, no_optimizer, 0, 1, NULL, "convert: leave out optim.*"),
	ROW("hf", 0, OPT_TEXT, hf, 0, 0, "DIR", "convert: write a Hugging Face directory"),
	ROW("experts", 0, OPT_INT, experts, 1, 1 << 16, "N",
	    "convert llama2.c: layers of N experts"),
	ROW("top-k", 0, OPT_INT, top_k, 1, 256, "K", "convert llama2.c: of which a token uses K"),
	ROW("seed", 0, OPT_LONG, seed, 0, 0x1p53, "N", "convert llama2.c: of the router's weights"),
	ROW("verbose", 'v', OPT_FLAG, verbose, 0, 1, NULL, "check: tell what was verified"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
static struct opt_table options = {
	.program = "moe-ckpt",
	.synopsis = "moe-ckpt ls CKPT\n"
		    "moe-ckpt meta CKPT [KEY]\n"
		    "moe-ckpt get CKPT NAME\n"
		    "moe-ckpt diff A B\n"
		    "moe-ckpt check CKPT...\n"
		    "moe-ckpt convert [--bf16] [--no-optimizer] [--hf DIR] CKPT\n"
		    "moe-ckpt convert [--bf16] [--experts N] [--top-k K] [--seed N] MODEL.bin\n",
	.row = rows,
	.n = sizeof rows / sizeof *rows,
	.values = &args,
};

static uint64_t
elements(const struct ckpt_tensor *t)
{
	return t->bytes / ckpt_type_bytes(t->type);
}

static const unsigned char *
data(const struct ckpt *c, const struct ckpt_tensor *t)
{
	return c->data + t->offset;
}

static bool
same_shape(const struct ckpt_tensor *a, const struct ckpt_tensor *b)
{
	for (int i = 0; i < a->dims && i < b->dims; i++)
		if (a->shape[i] != b->shape[i])
			return false;
	return a->dims == b->dims;
}

static bool
is_optimizer(const char *name)
{
	return !strncmp(name, "optim.", 6);
}

/* --- ls, meta, get --- */

static int
ls(char **v, int n)
{
	struct ckpt *c = ckpt_open(v[0]);
	struct row r = {0};
	char shape[CKPT_MAXDIM * 21 + 1], crc[9];
	int len;

	(void)n;
	if (!c || !(r.f = file_replace(args.output)))
		goto err;
	row_header(&r, "name,dtype,shape,crc32");
	for (int i = 0; i < c->n; i++) {
		const struct ckpt_tensor *t = &c->tensor[i];

		*shape = 0;
		for (int k = len = 0; k < t->dims; k++)
			len += snprintf(shape + len, sizeof shape - (size_t)len, "%s%" PRIu64,
					k ? "x" : "", t->shape[k]);
		snprintf(crc, sizeof crc, "%08" PRIx32, t->crc);
		row_text(&r, t->name);
		row_text(&r, ckpt_type_name(t->type));
		row_text(&r, shape);
		row_text(&r, crc);
		if (row_end(&r) < 0)
			goto err;
	}
	ckpt_close(c);
	return file_end(r.f, false);
err:
	ckpt_close(c);
	return file_end(r.f, true);
}

static void
add_meta(void *json, const char *key, const char *value)
{
	json_object_set_new(json, key, json_string(value));
}

static int
put_json(struct file *f, const json_t *j)
{
	char *text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	int r = text ? file_print(f, "%s\n", text) : err_set("no memory for JSON");

	free(text);
	return r;
}

static int
meta(char **v, int n)
{
	struct ckpt *c = ckpt_open(v[0]);
	const char *value = c && n > 1 ? ckpt_meta(c, v[1]) : NULL;
	struct file *f = NULL;
	json_t *j = json_object();
	int r = -1;

	if (!c)
		goto out;
	if (n > 1 && !value) {
		err_set("%s: no metadata \"%s\"", v[0], v[1]);
		goto out;
	}
	if (!(f = file_replace(args.output)))
		goto out;
	ckpt_each_meta(c, add_meta, j);
	if (!value)
		r = put_json(f, j);
	else /* a text is ended by one newline, whether it brings it or not */
		r = file_print(f, "%s%s", value,
			       *value && value[strlen(value) - 1] == '\n' ? "" : "\n");
out:
	r = file_end(f, r < 0);
	json_decref(j);
	ckpt_close(c);
	return r;
}

/* The header of NumPy's format, version 1.0: a Python literal, padded to 64 bytes. */
static int
put_npy_header(struct file *f, const struct ckpt_tensor *t)
{
	static const char *const descr[] = {
		[CKPT_F32] = "<f4", [CKPT_BF16] = "<f4", [CKPT_F16] = "<f2", [CKPT_F64] = "<f8",
		[CKPT_I64] = "<i8", [CKPT_I32] = "<i4",	 [CKPT_U8] = "|u1",
	};
	char text[256];
	unsigned char head[10] = "\x93NUMPY\1";
	int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (",
			 descr[t->type]);

	for (int i = 0; i < t->dims; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "%s%" PRIu64 "%s", i ? " " : "",
			      t->shape[i], i + 1 < t->dims || i == 0 ? "," : "");
	n += snprintf(text + n, sizeof text - (size_t)n, "), }");
	while (((size_t)n + sizeof head + 1) % 64)
		text[n++] = ' ';
	text[n++] = '\n';
	head[8] = (unsigned char)n;
	head[9] = (unsigned char)(n >> 8);
	return file_write(f, head, sizeof head) < 0 ? -1 : file_write(f, text, (size_t)n);
}

static int
put_npy(struct file *f, const struct ckpt *c, const struct ckpt_tensor *t)
{
	const unsigned char *p = data(c, t);
	uint64_t n = elements(t), m;
	float buf[PIECE];

	if (put_npy_header(f, t) < 0)
		return -1;
	if (t->type != CKPT_BF16)
		return file_write(f, p, t->bytes);
	for (uint64_t i = 0; i < n; i += m) {
		m = n - i < PIECE ? n - i : PIECE;
		for (uint64_t k = 0; k < m; k++)
			buf[k] = (float)ckpt_value(t->type, p + (i + k) * 2);
		if (file_write(f, buf, m * sizeof *buf) < 0)
			return -1;
	}
	return 0;
}

static int
get(char **v, int n)
{
	struct ckpt *c = ckpt_open(v[0]);
	const struct ckpt_tensor *t = c ? ckpt_find(c, v[1]) : NULL;
	struct file *f = NULL;
	int r = -1;

	(void)n;
	if (c && !t)
		err_set("%s: no tensor %s (moe-ckpt ls lists them)", v[0], v[1]);
	if (t && (f = file_replace(args.output)))
		r = put_npy(f, c, t);
	r = file_end(f, r < 0);
	ckpt_close(c);
	return r;
}

/* --- diff --- */

struct difference {
	uint64_t n;	 /* elements that differ */
	double abs, rel; /* the largest |a - b| and |a - b| / max(|a|, |b|); NaN prevails */
};

static void
raise_to(double *max, double x)
{
	if (isnan(x) || x > *max)
		*max = x;
}

static void
add_difference(struct difference *d, double a, double b)
{
	double abs = a == b ? 0 : fabs(a - b), rel = abs / fmax(fabs(a), fabs(b));

	d->n++;
	raise_to(&d->abs, abs);
	raise_to(&d->rel, abs == 0 ? 0 : isinf(abs) ? abs : rel);
}

/* Bits count between equal types, so that -0 is not 0; values count between different ones. */
static struct difference
compare(const struct ckpt *ca, const struct ckpt_tensor *a, const struct ckpt *cb,
	const struct ckpt_tensor *b)
{
	size_t sa = ckpt_type_bytes(a->type), sb = ckpt_type_bytes(b->type);
	const unsigned char *p = data(ca, a), *q = data(cb, b);
	bool same = a->type == b->type;
	struct difference d = {0};
	uint64_t n = elements(a), m;
	double x, y;

	for (uint64_t i = 0; i < n; i += m, p += m * sa, q += m * sb) {
		m = n - i < PIECE ? n - i : PIECE;
		if (same && !memcmp(p, q, m * sa))
			continue;
		for (uint64_t k = 0; k < m; k++) {
			if (same && !memcmp(p + k * sa, q + k * sb, sa))
				continue;
			x = ckpt_value(a->type, p + k * sa);
			y = ckpt_value(b->type, q + k * sb);
			if (same || !(x == y || (isnan(x) && isnan(y))))
				add_difference(&d, x, y);
		}
	}
	return d;
}

static void
put_difference(struct row *r, const char *name, const char *what, const struct difference *d)
{
	row_text(r, name);
	row_text(r, what);
	if (d) {
		row_long(r, (long long)d->n);
		row_real(r, d->abs);
		row_real(r, d->rel);
	} else {
		row_skip(r);
		row_skip(r);
		row_skip(r);
	}
	row_end(r);
}

/* One row if the tensor of a differs from its namesake in b; whether it does. */
static bool
diff_tensor(struct row *r, const struct ckpt *a, const struct ckpt_tensor *t, const struct ckpt *b)
{
	const struct ckpt_tensor *u = ckpt_find(b, t->name);
	struct difference d;

	if (!u) {
		put_difference(r, t->name, "only-in-A", NULL);
		return true;
	}
	if (!same_shape(t, u)) {
		put_difference(r, t->name, "shape", NULL);
		return true;
	}
	d = compare(a, t, b, u);
	if (!d.n && t->type == u->type)
		return false;
	put_difference(r, t->name, t->type == u->type ? "values" : "dtype", &d);
	return true;
}

struct meta_diff {
	const struct ckpt *other;
	bool second; /* only what the other lacks */
};

static void
diff_meta(void *arg, const char *key, const char *value)
{
	const struct meta_diff *d = arg;
	const char *other = ckpt_meta(d->other, key);

	if (!strcmp(key, "crc32") || !strcmp(key, "header_crc32"))
		return;
	if (!other)
		say("metadata %s: only in %s", key, d->second ? "B" : "A");
	else if (!d->second && strcmp(value, other) != 0)
		say("metadata %s differs", key);
}

static int
diff(char **v, int n)
{
	struct ckpt *a = ckpt_open(v[0]), *b = a ? ckpt_open(v[1]) : NULL;
	struct row r = {0};
	int status = -1;

	(void)n;
	if (!b || !(r.f = file_replace(args.output)))
		goto out;
	status = 0;
	row_header(&r, "name,difference,elements,max_abs,max_rel");
	for (int i = 0; i < a->n; i++)
		status |= diff_tensor(&r, a, &a->tensor[i], b);
	for (int i = 0; i < b->n; i++)
		if (!ckpt_find(a, b->tensor[i].name)) {
			put_difference(&r, b->tensor[i].name, "only-in-B", NULL);
			status = 1;
		}
	if (r.failed)
		status = -1;
	ckpt_each_meta(a, diff_meta, &(struct meta_diff){b, false});
	ckpt_each_meta(b, diff_meta, &(struct meta_diff){a, true});
out:
	if (file_end(r.f, status < 0) < 0)
		status = -1;
	ckpt_close(a);
	ckpt_close(b);
	return status;
}

/* --- check --- */

static bool
check_finite(const struct ckpt *c, const struct ckpt_tensor *t)
{
	const unsigned char *p = data(c, t);
	size_t size = ckpt_type_bytes(t->type);
	uint64_t n = elements(t), nans = 0, infs = 0, first = 0;

	if (t->type == CKPT_I64 || t->type == CKPT_I32 || t->type == CKPT_U8)
		return true;
	for (uint64_t i = 0; i < n; i++) {
		double x = ckpt_value(t->type, p + i * size);

		if (isfinite(x))
			continue;
		if (!nans && !infs)
			first = i;
		nans += isnan(x);
		infs += isinf(x);
	}
	if (nans || infs)
		say("%s: tensor %s: %" PRIu64 " NaN and %" PRIu64 " infinite of %" PRIu64
		    " values, first at element %" PRIu64 " (expected finite values)",
		    c->name, t->name, nans, infs, n, first);
	return !nans && !infs;
}

static bool
check_file(const char *file)
{
	struct ckpt *c = ckpt_open(file);
	uint64_t values = 0;
	bool good = true, marked = true;

	if (!c) {
		say("%s", err_text());
		return false;
	}
	for (int i = 0; i < c->n; i++) {
		good &= check_finite(c, &c->tensor[i]);
		marked &= c->tensor[i].has_crc;
		values += elements(&c->tensor[i]);
	}
	if (args.verbose && good)
		say("%s: %d tensors of %" PRIu64 " values, all finite; %s", file, c->n, values,
		    marked && ckpt_meta(c, "header_crc32") ? "CRC-32s match"
							   : "no CRC-32s recorded");
	ckpt_close(c);
	return good;
}

static int
check(char **v, int n)
{
	int status = 0;

	for (int i = 0; i < n; i++)
		status |= !check_file(v[i]);
	return status;
}

/* --- convert --- */

static void
copy_meta(void *out, const char *key, const char *value)
{
	if (strcmp(key, "format") != 0)
		ckpt_out_meta(out, key, value);
}

static void
copy_tensor(struct ckpt_out *o, const struct ckpt *c, const struct ckpt_tensor *t, const char *name)
{
	const void *p = data(c, t);

	if (args.bf16 && t->type == CKPT_F32)
		ckpt_out_floats(o, name, p, CKPT_BF16, t->dims, t->shape);
	else
		ckpt_out_raw(o, name, p, t->type, t->dims, t->shape);
}

static int
convert_llama2(const char *file)
{
	struct ckpt_out *o = ckpt_out_new();
	struct llama2 *m = llama2_open(file);
	int r = -1;

	if (m) {
		llama2_add(m, o, args.bf16 ? CKPT_BF16 : CKPT_F32, args.experts, args.top_k,
			   (uint64_t)args.seed);
		r = ckpt_write(o, args.output);
	}
	ckpt_out_free(o);
	llama2_close(m);
	return r;
}

static int
convert_ckpt(const char *file)
{
	struct ckpt_out *o = ckpt_out_new();
	struct ckpt *c = ckpt_open(file);
	int r = -1;

	if (c) {
		ckpt_each_meta(c, copy_meta, o);
		for (int i = 0; i < c->n; i++)
			if (!args.no_optimizer || !is_optimizer(c->tensor[i].name))
				copy_tensor(o, c, &c->tensor[i], c->tensor[i].name);
		r = ckpt_write(o, args.output);
	}
	ckpt_out_free(o);
	ckpt_close(c);
	return r;
}

static int
convert_hf(const char *file, const char *dir)
{
	struct ckpt *c = ckpt_open(file);
	const char *why = NULL;
	int r = c ? hf_write(c, dir, args.bf16, &why) : -1;

	if (r == 0 && why)
		say("%s: model_type is \"moe\": transformers has no architecture for this model: "
		    "%s",
		    dir, why);
	ckpt_close(c);
	return r;
}

/* --- the command line --- */

static bool
given(const char *name)
{
	return opt_given(&options, name);
}

static int
convert(char **v, int n)
{
	bool llama = llama2_is(v[0]);

	(void)n;
	if (args.hf && given("output"))
		return usage("--hf and -o exclude each other");
	if (!llama && (given("experts") || given("top-k") || given("seed")))
		return usage("%s: --experts, --top-k and --seed are for models of llama2.c", v[0]);
	if (llama && args.hf)
		return usage("%s: --hf reads checkpoints (convert the model to one first)", v[0]);
	if (llama && !args.experts && (given("top-k") || given("seed")))
		return usage("--top-k and --seed need --experts");
	if (args.top_k > args.experts && given("top-k"))
		return usage("--top-k %d of %d experts", args.top_k, args.experts);
	if (args.top_k > args.experts)
		args.top_k = args.experts;
	if (!args.hf && !strcmp(args.output, "-") && isatty(STDOUT_FILENO))
		return usage("a checkpoint is no text for a terminal (expected -o FILE)");
	return llama	 ? convert_llama2(v[0])
	       : args.hf ? convert_hf(v[0], args.hf)
			 : convert_ckpt(v[0]);
}

static const struct verb verbs[] = {
	{"ls", 1, 1, "CKPT", " output ", ls, 0},
	{"meta", 1, 2, "CKPT [KEY]", " output ", meta, 0},
	{"get", 2, 2, "CKPT NAME", " output ", get, 0},
	{"diff", 2, 2, "CKPT CKPT", " output ", diff, 0},
	{"check", 1, INT_MAX, "CKPT...", " verbose ", check, 0},
	{"convert", 1, 1, "CKPT or MODEL.bin", " output bf16 no-optimizer hf experts top-k seed ",
	 convert, 0},
};

static int
run(const struct opt_many *words)
{
	return verb_run(verbs, sizeof verbs / sizeof *verbs, &options, words, NULL);
}

int
main(int argc, char **argv)
{
	return program(&options, &args.help, &args.version, argc, argv, run);
}
