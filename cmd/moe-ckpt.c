/* moe-ckpt: look into checkpoints, compare, verify and convert them. */
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/opt.h"
#include "io/ckpt.h"
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

/* Not the optimizer's, nor of a run's window of the census. */
static bool
is_model(const char *name)
{
	return !strncmp(name, "model.", 6) || !strncmp(name, "lm_head.", 8);
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
	if (!c || !(r.f = file_create(args.output)))
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
	return file_close(r.f);
err:
	file_close(r.f);
	ckpt_close(c);
	return -1;
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
	if (!(f = file_create(args.output)))
		goto out;
	ckpt_each_meta(c, add_meta, j);
	if (!value)
		r = put_json(f, j);
	else /* a text is ended by one newline, whether it brings it or not */
		r = file_print(f, "%s%s", value,
			       *value && value[strlen(value) - 1] == '\n' ? "" : "\n");
out:
	if (file_close(f) < 0)
		r = -1;
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
	if (t && (f = file_create(args.output)))
		r = put_npy(f, c, t);
	if (file_close(f) < 0)
		r = -1;
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
	if (!b || !(r.f = file_create(args.output)))
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
	if (file_close(r.f) < 0)
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

/* --- convert --hf --- */

/*
 * Two architectures of Hugging Face's transformers compute what models here compute: mixtral
 * (linear router, gated experts of one width) and llama (one gated expert and no router).  Their
 * tensors have names of their own.  Any other model keeps its names, under model_type "moe".
 */
struct hf {
	const struct ckpt *c;
	const char *recipe;
	int layers, heads, top_k, seq;
	uint64_t dim, vocab, kv;
	char act[16], router[16], temperature[16];
	int experts;	 /* of layer 0 */
	uint64_t hidden; /* of its first */
	const char *why; /* no architecture fits, NULL if one does */
	int named;	 /* tensors that have a name in the architecture */
};

static const struct ckpt_tensor *__attribute__((format(printf, 2, 3)))
find(const struct hf *h, const char *fmt, ...)
{
	const struct ckpt_tensor *t;
	va_list ap;
	char *name;

	va_start(ap, fmt);
	if (vasprintf(&name, fmt, ap) < 0)
		abort();
	va_end(ap);
	t = ckpt_find(h->c, name);
	free(name);
	return t;
}

/* The value of a recipe's line `name value`; false if there is none or it is too long. */
static bool
recipe_text(const char *recipe, const char *name, char *buf, size_t size)
{
	size_t n = strlen(name), len;

	for (const char *p = recipe; *p; p += len + (p[len] == '\n')) {
		len = strcspn(p, "\n");
		if (len <= n || strncmp(p, name, n) || p[n] != ' ' || len - n - 1 >= size)
			continue;
		memcpy(buf, p + n + 1, len - n - 1);
		buf[len - n - 1] = 0;
		return true;
	}
	return false;
}

static int
recipe_int(const struct hf *h, const char *name, int *out)
{
	char text[32];
	long x;

	if (!recipe_text(h->recipe, name, text, sizeof text))
		return err_set("%s: the recipe in the metadata has no %s", h->c->name, name);
	if (num_long(text, 1, INT_MAX, &x) < 0)
		return err_in("%s: %s in the recipe", h->c->name, name);
	*out = (int)x;
	return 0;
}

static int
experts_of(const struct hf *h, int layer)
{
	int n = 0;

	while (find(h, "model.layers.%d.mlp.experts.%d.up_proj.weight", layer, n))
		n++;
	return n;
}

static int
hf_shape(struct hf *h)
{
	const struct ckpt_tensor *embed = find(h, "model.embed_tokens.weight"), *k, *up;

	while (find(h, "model.layers.%d.input_layernorm.weight", h->layers))
		h->layers++;
	k = find(h, "model.layers.0.self_attn.k_proj.weight");
	up = find(h, "model.layers.0.mlp.experts.0.up_proj.weight");
	if (!h->layers || !embed || embed->dims != 2 || !k || k->dims != 2 || !up || up->dims != 2)
		return err_set("%s: not a language model of moe-train (expected "
			       "model.embed_tokens.weight and at least one layer)",
			       h->c->name);
	h->vocab = embed->shape[0];
	h->dim = embed->shape[1];
	h->hidden = up->shape[0];
	h->experts = experts_of(h, 0);
	if (recipe_int(h, "heads", &h->heads) < 0 || recipe_int(h, "top-k", &h->top_k) < 0 ||
	    recipe_int(h, "seq", &h->seq) < 0)
		return -1;
	if (!recipe_text(h->recipe, "act", h->act, sizeof h->act))
		return err_set("%s: the recipe in the metadata has no act", h->c->name);
	if (h->dim % (uint64_t)h->heads || k->shape[0] % (h->dim / (uint64_t)h->heads))
		return err_set("%s: %d heads do not divide a width of %" PRIu64
			       " with keys of %" PRIu64,
			       h->c->name, h->heads, h->dim, k->shape[0]);
	h->kv = k->shape[0] / (h->dim / (uint64_t)h->heads);
	return 0;
}

/* Count a tensor that the architecture has, and with o add it under its name there. */
static void
hf_tensor(struct hf *h, struct ckpt_out *o, const struct ckpt_tensor *t, char *name)
{
	if (!t && !h->why)
		h->why = "a tensor is missing";
	if (t)
		h->named++;
	if (t && o)
		copy_tensor(o, h->c, t, name);
	free(name);
}

static void
hf_expert(struct hf *h, struct ckpt_out *o, int layer, int e, bool routed)
{
	static const char *const part[3][2] = {{"gate", "w1"}, {"down", "w2"}, {"up", "w3"}};
	const struct ckpt_tensor *t;
	char *name;

	for (int i = 0; i < 3; i++) {
		t = find(h, "model.layers.%d.mlp.experts.%d.%s_proj.weight", layer, e, part[i][0]);
		if (t && (t->dims != 2 || t->shape[i == 1] != h->hidden))
			h->why = "experts differ in width";
		if (routed)
			name = mem_text("model.layers.%d.block_sparse_moe.experts.%d.%s.weight",
					layer, e, part[i][1]);
		else
			name = mem_text("model.layers.%d.mlp.%s_proj.weight", layer, part[i][0]);
		hf_tensor(h, o, t, name);
	}
}

static void
hf_layer(struct hf *h, struct ckpt_out *o, int layer, bool routed)
{
	static const char *const same[] = {"input_layernorm",  "self_attn.q_proj",
					   "self_attn.k_proj", "self_attn.v_proj",
					   "self_attn.o_proj", "post_attention_layernorm"};
	char *name;

	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		name = mem_text("model.layers.%d.%s.weight", layer, same[i]);
		hf_tensor(h, o, ckpt_find(h->c, name), name);
	}
	if (routed)
		hf_tensor(h, o, find(h, "model.layers.%d.mlp.gate.weight", layer),
			  mem_text("model.layers.%d.block_sparse_moe.gate.weight", layer));
	for (int e = 0; e < h->experts; e++)
		hf_expert(h, o, layer, e, routed);
}

/* Whether layers are routed in the architecture's sense is told by the first. */
static bool
hf_routed(const struct hf *h)
{
	return find(h, "model.layers.0.mlp.gate.weight") || h->experts > 1;
}

static void
hf_model(struct hf *h, struct ckpt_out *o)
{
	const struct ckpt_tensor *head = find(h, "lm_head.weight");

	h->named = 0;
	hf_tensor(h, o, find(h, "model.embed_tokens.weight"),
		  mem_copy("model.embed_tokens.weight"));
	for (int l = 0; l < h->layers; l++)
		hf_layer(h, o, l, hf_routed(h));
	hf_tensor(h, o, find(h, "model.norm.weight"), mem_copy("model.norm.weight"));
	if (head)
		hf_tensor(h, o, head, mem_copy("lm_head.weight"));
}

/* Set h->why to the reason why neither architecture computes this model. */
static void
hf_fit(struct hf *h)
{
	int n = 0;

	if (strcmp(h->act, "swiglu") != 0 && strcmp(h->act, "reglu") != 0) {
		h->why = "its experts are not gated";
		return;
	}
	if (hf_routed(h) && recipe_text(h->recipe, "router", h->router, sizeof h->router) &&
	    strcmp(h->router, "linear") != 0)
		h->why = "its router is not linear";
	if (hf_routed(h) &&
	    recipe_text(h->recipe, "temperature", h->temperature, sizeof h->temperature) &&
	    strcmp(h->temperature, "1") != 0)
		h->why = "its router has a temperature";
	hf_model(h, NULL);
	for (int i = 0; i < h->c->n; i++)
		n += is_model(h->c->tensor[i].name);
	if (!h->why && n != h->named)
		h->why = "it has more tensors, or layers of different size";
}

/* A list whose elements are all equal stands for itself as one of them. */
static json_t *
squeeze(json_t *list)
{
	json_t *first = json_array_get(list, 0);

	for (size_t i = 1; i < json_array_size(list); i++)
		if (!json_equal(first, json_array_get(list, i)))
			return list;
	json_incref(first);
	json_decref(list);
	return first;
}

static json_t *
hf_experts(const struct hf *h)
{
	json_t *list = json_array();

	for (int l = 0; l < h->layers; l++)
		json_array_append_new(list, json_integer(experts_of(h, l)));
	return squeeze(list);
}

static json_t *
hf_hidden(const struct hf *h)
{
	json_t *all = json_array(), *list;
	const struct ckpt_tensor *up;

	for (int l = 0; l < h->layers; l++) {
		list = json_array();
		for (int e = 0;; e++) {
			up = find(h, "model.layers.%d.mlp.experts.%d.up_proj.weight", l, e);
			if (!up)
				break;
			json_array_append_new(list, json_integer((json_int_t)up->shape[0]));
		}
		json_array_append_new(all, json_array_size(list) ? squeeze(list) : list);
	}
	return squeeze(all);
}

static const char *
hf_act(const char *act)
{
	return !strcmp(act, "swiglu") ? "silu" : !strcmp(act, "reglu") ? "relu" : act;
}

static const char *
hf_type(const struct hf *h)
{
	const struct ckpt_tensor *embed = find(h, "model.embed_tokens.weight");

	if (embed->type == CKPT_BF16 || (args.bf16 && embed->type == CKPT_F32))
		return "bfloat16";
	return embed->type == CKPT_F16	 ? "float16"
	       : embed->type == CKPT_F64 ? "float64"
					 : "float32";
}

static int
put_config(const struct hf *h, struct file *f)
{
	bool mixtral = !h->why && hf_routed(h), llama = !h->why && !mixtral;
	json_t *j = json_pack(
		"{s:s, s:I, s:I, s:o, s:i, s:i, s:I, s:i, s:s, s:f, s:f, s:b, s:s}", "model_type",
		mixtral ? "mixtral"
		: llama ? "llama"
			: "moe",
		"vocab_size", (json_int_t)h->vocab, "hidden_size", (json_int_t)h->dim,
		"intermediate_size", hf_hidden(h), "num_hidden_layers", h->layers,
		"num_attention_heads", h->heads, "num_key_value_heads", (json_int_t)h->kv,
		"max_position_embeddings", h->seq, "hidden_act", hf_act(h->act), "rms_norm_eps",
		1e-5, "rope_theta", 10000.0, "tie_word_embeddings",
		find(h, "lm_head.weight") == NULL, "torch_dtype", hf_type(h));
	int r;

	if (!llama) {
		json_object_set_new(j, "num_local_experts", hf_experts(h));
		json_object_set_new(j, "num_experts_per_tok", json_integer(h->top_k));
	}
	if (h->why) {
		json_object_set_new(j, "moe_recipe", json_string(h->recipe));
	} else {
		json_object_set_new(
			j, "architectures",
			json_pack("[s]", mixtral ? "MixtralForCausalLM" : "LlamaForCausalLM"));
		json_object_set_new(j, "attention_bias", json_false());
		/* a vocabulary of bytes has no special tokens */
		json_object_set_new(j, "bos_token_id", json_null());
		json_object_set_new(j, "eos_token_id", json_null());
	}
	if (mixtral)
		json_object_set_new(j, "sliding_window", json_null());
	r = put_json(f, j);
	json_decref(j);
	return r;
}

static int
write_config(const struct hf *h, const char *dir)
{
	char *path = mem_text("%s/config.json", dir);
	struct file *f = file_replace(path);
	int r = f ? put_config(h, f) : -1;

	if (r < 0)
		file_abandon(f);
	else
		r = file_commit(f);
	free(path);
	return r;
}

static int
write_model(struct hf *h, const char *dir)
{
	char *path = mem_text("%s/model.safetensors", dir);
	struct ckpt_out *o = ckpt_out_new();
	int r;

	ckpt_out_meta(o, "format", "pt"); /* transformers reads no other */
	if (!h->why)
		hf_model(h, o);
	for (int i = 0; h->why && i < h->c->n; i++)
		if (is_model(h->c->tensor[i].name))
			copy_tensor(o, h->c, &h->c->tensor[i], h->c->tensor[i].name);
	r = ckpt_write(o, path);
	ckpt_out_free(o);
	free(path);
	return r;
}

static int
convert_hf(const char *file, const char *dir)
{
	struct hf h = {.c = ckpt_open(file)};
	int r = -1;

	if (!h.c)
		return -1;
	h.recipe = ckpt_meta(h.c, "recipe");
	if (!h.recipe) {
		err_set("%s: no recipe in the metadata (expected a checkpoint of moe-train)", file);
		goto out;
	}
	if (hf_shape(&h) < 0)
		goto out;
	hf_fit(&h);
	if (file_mkdir(dir) < 0 || write_model(&h, dir) < 0 || write_config(&h, dir) < 0)
		goto out;
	if (h.why)
		say("%s: model_type is \"moe\": transformers has no architecture for this model: "
		    "%s",
		    dir, h.why);
	r = 0;
out:
	ckpt_close((struct ckpt *)h.c);
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
