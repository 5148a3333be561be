#include "io/llama2.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER = 7, MAGIC = 0x616b3432 /* "ak42", of versions 1 and later */ };
#define ROUTER_SD 0.02

/* The tables in file order; those of the layers hold all layers. */
struct tables {
	const float *embed, *norm1, *q, *k, *v, *o, *norm2, *gate, *down, *up, *norm, *head;
};

static bool
is_regular(const char *file)
{
	struct stat st;

	return strcmp(file, "-") && stat(file, &st) == 0 && S_ISREG(st.st_mode);
}

static bool
ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

bool
llama2_is(const char *file)
{
	uint32_t head[2] = {0, 0};
	struct file *f;
	ssize_t n;

	if (ends_in(file, ".bin") || ends_in(file, ".bin.gz"))
		return true;
	if (!is_regular(file) || !(f = file_open(file)))
		return false;
	n = file_read(f, head, sizeof head);
	file_close(f);
	/* safetensors begins with the length of its header, far below 2^32 */
	return n == sizeof head && head[1] != 0;
}

static size_t
head_size(const struct llama2 *m)
{
	return (size_t)(m->dim / m->heads);
}

static size_t
kv_dim(const struct llama2 *m)
{
	return head_size(m) * (size_t)m->kv_heads;
}

/* Values after the header. */
static uint64_t
values(const struct llama2 *m)
{
	uint64_t C = (uint64_t)m->dim, H = (uint64_t)m->hidden, S = head_size(m);
	uint64_t layer = 2 * C + 2 * C * C + 2 * kv_dim(m) * C + 3 * H * C;

	return (uint64_t)m->vocab * C * (m->tied ? 1 : 2) + (uint64_t)m->layers * layer + C +
	       (uint64_t)m->seq * S; /* cosines and sines, half a head each */
}

static const float *
take(const float **p, size_t n)
{
	const float *at = *p;

	*p += n;
	return at;
}

static struct tables
lay_out(const struct llama2 *m)
{
	const float *p = (const float *)m->file + HEADER;
	size_t C = (size_t)m->dim, H = (size_t)m->hidden, L = (size_t)m->layers;
	struct tables t;

	t.embed = take(&p, (size_t)m->vocab * C);
	t.norm1 = take(&p, L * C);
	t.q = take(&p, L * C * C);
	t.k = take(&p, L * kv_dim(m) * C);
	t.v = take(&p, L * kv_dim(m) * C);
	t.o = take(&p, L * C * C);
	t.norm2 = take(&p, L * C);
	t.gate = take(&p, L * H * C);
	t.down = take(&p, L * C * H);
	t.up = take(&p, L * H * C);
	t.norm = take(&p, C);
	take(&p, (size_t)m->seq * head_size(m));
	t.head = p; /* where it is not tied */
	return t;
}

static int
read_size(const struct llama2 *m, const char *what, int32_t got, int32_t most, int *out)
{
	if (got < 1 || got > most)
		return err_set("%s: %s is %" PRId32 " (expected 1 to %" PRId32
			       "): not a llama2.c model of version 0",
			       m->name, what, got, most);
	*out = got;
	return 0;
}

static int
read_header(struct llama2 *m)
{
	int32_t h[HEADER];

	if (m->bytes < sizeof h)
		return err_set("%s: %zu bytes: shorter than the header of a llama2.c model",
			       m->name, m->bytes);
	memcpy(h, m->file, sizeof h);
	if (h[0] == MAGIC)
		return err_set("%s: a llama2.c model of version %" PRId32 " (expected version 0)",
			       m->name, h[1]);
	m->tied = h[5] > 0;
	/* what a recipe can say; it also keeps every product of sizes within 64 bits */
	if (read_size(m, "dim", h[0], 1 << 15, &m->dim) < 0 ||
	    read_size(m, "hidden_dim", h[1], 1 << 20, &m->hidden) < 0 ||
	    read_size(m, "n_layers", h[2], 1024, &m->layers) < 0 ||
	    read_size(m, "n_heads", h[3], h[0] < 1024 ? h[0] : 1024, &m->heads) < 0 ||
	    read_size(m, "n_kv_heads", h[4], h[3], &m->kv_heads) < 0 ||
	    read_size(m, "vocab_size", h[5] == INT32_MIN ? 0 : abs(h[5]), 1 << 20, &m->vocab) < 0 ||
	    read_size(m, "seq_len", h[6], 1 << 16, &m->seq) < 0)
		return -1;
	if (m->dim % m->heads || head_size(m) % 2 || m->heads % m->kv_heads)
		return err_set("%s: dim %d, n_heads %d, n_kv_heads %d do not divide into heads of "
			       "even width",
			       m->name, m->dim, m->heads, m->kv_heads);
	return 0;
}

static int
check_length(const struct llama2 *m)
{
	uint64_t want = HEADER * sizeof(int32_t) + values(m) * sizeof(float);

	if (m->bytes != want)
		return err_set("%s: %zu bytes (expected %" PRIu64
			       " for dim %d, hidden_dim %d, n_layers %d, vocab_size %d)",
			       m->name, m->bytes, want, m->dim, m->hidden, m->layers, m->vocab);
	return 0;
}

/*
 * Rows 2i and 2i + 1 of each head, one rotating pair, become rows i and i + S/2, S the head's
 * width.  from and to are [heads * S, C].
 */
static void
split_pairs(size_t heads, size_t S, size_t C, const float *from, float *to)
{
	for (size_t h = 0; h < heads; h++)
		for (size_t i = 0; i < S; i++) {
			size_t row = h * S + i / 2 + (i % 2) * (S / 2);

			memcpy(to + row * C, from + (h * S + i) * C, C * sizeof(float));
		}
}

struct llama2 *
llama2_open(const char *file)
{
	struct llama2 *m = mem_zero(1, sizeof *m);

	m->name = mem_copy(file);
	if (is_regular(file)) /* opening a pipe twice would lose its writer */
		m->file = file_map(file, &m->bytes);
	m->mapped = m->file != NULL;
	if (!m->file)
		m->file = file_slurp(file, &m->bytes);
	if (m->file && read_header(m) == 0 && check_length(m) == 0)
		return m;
	llama2_close(m);
	return NULL;
}

void
llama2_close(struct llama2 *m)
{
	if (!m)
		return;
	if (m->mapped)
		file_unmap(m->file, m->bytes);
	else
		free((void *)m->file);
	free(m->owned);
	free(m->name);
	free(m);
}

/* --- as a checkpoint --- */

struct adding {
	struct ckpt_out *o;
	enum ckpt_type as;
	int layer; /* -1: the name stands as it is */
};

static void
add(const struct adding *a, const char *name, const float *v, size_t rows, size_t cols)
{
	uint64_t shape[2] = {rows, cols};
	char *full = a->layer < 0 ? mem_copy(name) : mem_text("model.layers.%d.%s", a->layer, name);

	if (rows) /* a vector has no rows */
		ckpt_out_floats(a->o, full, v, a->as, 2, shape);
	else
		ckpt_out_floats(a->o, full, v, a->as, 1, shape + 1);
	free(full);
}

static void
add_experts(const struct adding *a, const struct llama2 *m, const struct tables *t, int experts)
{
	size_t C = (size_t)m->dim, H = (size_t)m->hidden, at = (size_t)a->layer * H * C;
	const struct {
		const char *name;
		const float *v;
		size_t rows, cols;
	} part[] = {{"gate", t->gate + at, H, C},
		    {"up", t->up + at, H, C},
		    {"down", t->down + at, C, H}};
	char name[64];

	for (int e = 0; e < experts; e++)
		for (int i = 0; i < 3; i++) {
			snprintf(name, sizeof name, "mlp.experts.%d.%s_proj.weight", e,
				 part[i].name);
			add(a, name, part[i].v, part[i].rows, part[i].cols);
		}
}

/* Router weights [experts, C] of a layer. */
static void
draw_router(float *w, size_t n, uint64_t seed, int layer)
{
	struct rng r = rng_at(seed, RNG_INIT, 0, (uint64_t)layer);

	for (size_t i = 0; i < n; i++)
		w[i] = (float)(ROUTER_SD * rng_normal(&r));
}

static void
add_recipe(struct ckpt_out *o, const struct llama2 *m, int experts, int top_k)
{
	char *recipe =
		mem_text("task lm\nvocab %d\ndim %d\nlayers %d\nheads %d\nkv-heads %d\n"
			 "experts %d\ntop-k %d\nhidden %d\nact swiglu\nrouter linear\n"
			 "dense %d\nuntied %d\nseq %d\n",
			 m->vocab, m->dim, m->layers, m->heads, m->kv_heads, experts ? experts : 1,
			 experts ? top_k : 1, m->hidden, !experts, !m->tied, m->seq);

	ckpt_out_meta(o, "recipe", recipe);
	ckpt_out_meta(o, "step", "0");
	free(recipe);
}

void
llama2_add(struct llama2 *m, struct ckpt_out *o, enum ckpt_type as, int experts, int top_k,
	   uint64_t seed)
{
	struct adding a = {o, as, -1};
	size_t C = (size_t)m->dim, S = head_size(m), kv = kv_dim(m), E = (size_t)experts;
	float *q, *k, *router;
	struct tables t = lay_out(m);

	free(m->owned);
	m->owned = mem_grow(NULL, (size_t)m->layers * (C + kv + E) * C, sizeof(float));
	add_recipe(o, m, experts, top_k);
	add(&a, "model.embed_tokens.weight", t.embed, (size_t)m->vocab, C);
	for (int l = 0; l < m->layers; l++) {
		size_t i = (size_t)l;

		a.layer = l;
		q = m->owned + i * (C + kv + E) * C;
		k = q + C * C;
		router = k + kv * C;
		split_pairs((size_t)m->heads, S, C, t.q + i * C * C, q);
		split_pairs((size_t)m->kv_heads, S, C, t.k + i * kv * C, k);
		draw_router(router, E * C, seed, l);
		add(&a, "input_layernorm.weight", t.norm1 + i * C, 0, C);
		add(&a, "self_attn.q_proj.weight", q, C, C);
		add(&a, "self_attn.k_proj.weight", k, kv, C);
		add(&a, "self_attn.v_proj.weight", t.v + i * kv * C, kv, C);
		add(&a, "self_attn.o_proj.weight", t.o + i * C * C, C, C);
		add(&a, "post_attention_layernorm.weight", t.norm2 + i * C, 0, C);
		if (experts)
			add(&a, "mlp.gate.weight", router, E, C);
		add_experts(&a, m, &t, experts ? experts : 1);
	}
	a.layer = -1;
	add(&a, "model.norm.weight", t.norm, 0, C);
	if (!m->tied)
		add(&a, "lm_head.weight", t.head, (size_t)m->vocab, C);
}
