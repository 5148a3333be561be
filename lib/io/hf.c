#include "io/hf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct hf {
	const struct ckpt *c;
	bool bf16;
	const char *recipe;
	int layers, heads, top_k, seq;
	uint64_t dim, vocab, kv;
	char act[16], router[16], temperature[16];
	int experts;	 /* of layer 0 */
	uint64_t hidden; /* of its first */
	const char *why; /* no architecture fits, NULL if one does */
	int named;	 /* tensors that have a name in the architecture */
};

static void
add(const struct hf *h, struct ckpt_out *o, const struct ckpt_tensor *t, const char *name)
{
	const void *p = h->c->data + t->offset;

	if (h->bf16 && t->type == CKPT_F32)
		ckpt_out_floats(o, name, p, CKPT_BF16, t->dims, t->shape);
	else
		ckpt_out_raw(o, name, p, t->type, t->dims, t->shape);
}

/* Not the optimizer's, nor of a run's window of the census. */
static bool
is_model(const char *name)
{
	return !strncmp(name, "model.", 6) || !strncmp(name, "lm_head.", 8);
}

static const struct ckpt_tensor *__attribute__((format(printf, 2, 3)))
find(const struct hf *h, const char *fmt, ...)
{
	char name[128]; /* longer than any of ours */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof name, fmt, ap);
	va_end(ap);
	return ckpt_find(h->c, name);
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
		add(h, o, t, name);
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

	if (embed->type == CKPT_BF16 || (h->bf16 && embed->type == CKPT_F32))
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
	char *text;
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
	text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	r = text ? file_print(f, "%s\n", text) : err_set("no memory for JSON");
	free(text);
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
			add(h, o, &h->c->tensor[i], h->c->tensor[i].name);
	r = ckpt_write(o, path);
	ckpt_out_free(o);
	free(path);
	return r;
}

int
hf_write(const struct ckpt *c, const char *dir, bool bf16, const char **why)
{
	struct hf h = {.c = c, .bf16 = bf16, .recipe = ckpt_meta(c, "recipe")};

	if (!h.recipe)
		return err_set("%s: no recipe in the metadata (expected a checkpoint of moe-train)",
			       c->name);
	if (hf_shape(&h) < 0)
		return -1;
	hf_fit(&h);
	*why = h.why;
	if (file_mkdir(dir) < 0 || write_model(&h, dir) < 0)
		return -1;
	return write_config(&h, dir);
}
