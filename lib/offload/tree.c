#include "offload/tree.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct count {
	uint16_t expert, n;
};

struct node {
	uint32_t met;
	uint16_t key;	 /* the expert that leads here */
	uint16_t pruned; /* children since the others were halved */
	int counts, children;
	struct count *count; /* [counts] sorted by expert */
	struct node *child;  /* [children] sorted by key */
};

/* The experts of one turn. */
struct turn {
	int layer; /* -1: none */
	int n;
	uint16_t expert[TREE_WIDTH];
};

struct tree {
	struct tree_shape shape;
	struct node *root; /* [layers] */
	long nodes;
	struct turn past[TREE_DEPTH]; /* the last turns, the latest first */
	float *level[TREE_DEPTH + 1]; /* [experts] each: predictions along a path */
};

/* --- nodes --- */

static void
free_below(struct tree *t, struct node *v)
{
	for (int i = 0; i < v->children; i++)
		free_below(t, &v->child[i]);
	t->nodes -= v->children;
	free(v->child);
	free(v->count);
}

/* Where an expert stands among n sorted ones, or would stand. */
static int
place_of_count(const struct node *v, int expert)
{
	int lo = 0, hi = v->counts;

	while (lo < hi) {
		const int mid = (lo + hi) / 2;
		if (v->count[mid].expert < expert)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int
place_of_child(const struct node *v, int key)
{
	int lo = 0, hi = v->children;

	while (lo < hi) {
		const int mid = (lo + hi) / 2;
		if (v->child[mid].key < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct node *
child_of(const struct node *v, int key)
{
	const int at = place_of_child(v, key);

	return at < v->children && v->child[at].key == key ? &v->child[at] : NULL;
}

/* Room for one more of n elements of this size; n grows by doubling from 1. */
static void *
room_for_one(void *p, int n, size_t size)
{
	return n & (n - 1) ? p : mem_grow(p, n ? 2 * (size_t)n : 1, size);
}

static void
halve(struct node *v)
{
	int kept = 0;

	for (int i = 0; i < v->counts; i++)
		if (v->count[i].n /= 2)
			v->count[kept++] = v->count[i];
	v->counts = kept;
	v->met /= 2;
	if (!kept)
		return;
	/* Room is a power of two, as room_for_one wants it: less than there may have been. */
	for (size_t room = 1;; room *= 2)
		if (room >= (size_t)kept) {
			v->count = mem_grow(v->count, room, sizeof *v->count);
			return;
		}
}

static void
count_use(struct node *v, int expert)
{
	int at = place_of_count(v, expert);

	if (at == v->counts || v->count[at].expert != expert) {
		v->count = room_for_one(v->count, v->counts, sizeof *v->count);
		memmove(&v->count[at + 1], &v->count[at],
			(size_t)(v->counts - at) * sizeof *v->count);
		v->count[at] = (struct count){.expert = (uint16_t)expert};
		v->counts++;
	}
	v->count[at].n++;
}

/* The child that was met least, the first of such. */
static int
least_met(const struct node *v)
{
	int least = 0;

	for (int i = 1; i < v->children; i++)
		if (v->child[i].met < v->child[least].met)
			least = i;
	return least;
}

static void
prune_one(struct tree *t, struct node *v)
{
	const int gone = least_met(v);

	free_below(t, &v->child[gone]);
	memmove(&v->child[gone], &v->child[gone + 1],
		(size_t)(v->children - gone - 1) * sizeof *v->child);
	v->children--;
	t->nodes--;
	if (++v->pruned < v->children)
		return;
	v->pruned = 0;
	for (int i = 0; i < v->children; i++)
		halve(&v->child[i]);
}

static struct node *
need_child(struct tree *t, struct node *v, int key)
{
	struct node *c = child_of(v, key);
	int at;

	if (c)
		return c;
	if (v->children == t->shape.branching)
		prune_one(t, v);
	else
		v->child = room_for_one(v->child, v->children, sizeof *v->child);
	at = place_of_child(v, key);
	memmove(&v->child[at + 1], &v->child[at], (size_t)(v->children - at) * sizeof *v->child);
	v->child[at] = (struct node){.key = (uint16_t)key};
	v->children++;
	t->nodes++;
	return &v->child[at];
}

/* --- predicting --- */

/*
 * The turn whose experts lead on from a node of this depth: as many before one of the layer, and
 * one more.  NULL: it is not known, or the tree is no deeper.
 */
static const struct turn *
turn_below(const struct tree *t, int layer, int depth)
{
	const int layers = t->shape.layers;
	const int want = ((layer - depth - 1) % layers + layers) % layers;

	if (depth >= t->shape.depth || depth >= TREE_DEPTH)
		return NULL;
	return t->past[depth].layer == want && t->past[depth].n ? &t->past[depth] : NULL;
}

/* P(e | node) into p; parent NULL: of the root. */
static void
blend(const struct tree *t, const struct node *v, int depth, const float *parent, float *p)
{
	const float k = !parent ? 0 : depth == 1 ? 1 : .5F;
	const float of = 1 / ((float)v->met + k);

	for (int e = 0; e < t->shape.experts; e++)
		p[e] = parent ? k * of * parent[e] : 0;
	for (int i = 0; i < v->counts; i++)
		p[v->count[i].expert] += of * (float)v->count[i].n;
}

/* sum += share * the mean over the paths from this node, whose prediction stands at its level. */
static void
follow(struct tree *t, const struct node *v, int layer, int depth, float share, float *sum)
{
	const struct turn *before = turn_below(t, layer, depth);
	const float *p = t->level[depth];
	float ended = before ? 0 : share;

	for (int i = 0; before && i < before->n; i++) {
		const struct node *c = child_of(v, before->expert[i]);
		const float part = share / (float)before->n;
		if (!c || !c->met) {
			ended += part;
			continue;
		}
		blend(t, c, depth + 1, p, t->level[depth + 1]);
		follow(t, c, layer, depth + 1, part, sum);
	}
	for (int e = 0; ended > 0 && e < t->shape.experts; e++)
		sum[e] += ended * p[e];
}

void
tree_predict(struct tree *t, int layer, float *p)
{
	const struct node *root = &t->root[layer];

	memset(p, 0, (size_t)t->shape.experts * sizeof *p);
	if (!root->met)
		return;
	blend(t, root, 0, NULL, t->level[0]);
	follow(t, root, layer, 0, 1, p);
}

/* --- learning --- */

static void
learn_below(struct tree *t, struct node *v, int layer, int depth, const int *expert, long n)
{
	const struct turn *before = turn_below(t, layer, depth);

	if (v->met == UINT16_MAX)
		halve(v);
	v->met++;
	for (long k = 0; k < n; k++)
		count_use(v, expert[k]);
	for (int i = 0; before && i < before->n; i++)
		learn_below(t, need_child(t, v, before->expert[i]), layer, depth + 1, expert, n);
}

void
tree_learn(struct tree *t, int layer, const int *expert, long n)
{
	struct turn now = {.layer = layer};

	learn_below(t, &t->root[layer], layer, 0, expert, n);
	for (long k = 0; k < n && now.n < TREE_WIDTH; k++)
		now.expert[now.n++] = (uint16_t)expert[k];
	memmove(&t->past[1], &t->past[0], sizeof t->past - sizeof *t->past);
	t->past[0] = now;
}

void
tree_pause(struct tree *t)
{
	for (int i = 0; i < TREE_DEPTH; i++)
		t->past[i] = (struct turn){.layer = -1};
}

/* --- the whole --- */

struct tree *
tree_new(const struct tree_shape *s)
{
	struct tree *t = mem_zero(1, sizeof *t);

	t->shape = *s;
	t->root = mem_zero((size_t)s->layers, sizeof *t->root);
	t->nodes = s->layers;
	for (int i = 0; i <= TREE_DEPTH; i++)
		t->level[i] = mem_zero((size_t)s->experts, sizeof *t->level[i]);
	tree_pause(t);
	return t;
}

void
tree_free(struct tree *t)
{
	if (!t)
		return;
	for (int l = 0; l < t->shape.layers; l++)
		free_below(t, &t->root[l]);
	for (int i = 0; i <= TREE_DEPTH; i++)
		free(t->level[i]);
	free(t->root);
	free(t);
}

const struct tree_shape *
tree_shape(const struct tree *t)
{
	return &t->shape;
}

long
tree_nodes(const struct tree *t)
{
	return t->nodes;
}

int
tree_claim(struct tree *t, uint32_t model)
{
	if (t->shape.model && t->shape.model != model)
		return err_set("a tree of another model (marked %08x, expected %08x)",
			       t->shape.model, model);
	t->shape.model = model;
	return 0;
}

/* Arrays have room for up to twice their elements, and malloc takes some for each. */
size_t
tree_most(const struct tree_shape *s)
{
	const size_t experts = (size_t)s->experts, each = 16 + 2 * experts * sizeof(struct count);
	size_t level = (size_t)s->layers, nodes = 0;

	for (int i = 0; i <= s->depth; i++, level *= (size_t)s->branching)
		nodes += level;
	return nodes * (2 * sizeof(struct node) + 16 + each) +
	       (TREE_DEPTH + 1) * experts * sizeof(float);
}

/* --- the file --- */

/*
 * Everything is 32-bit little-endian: "moe-", "tree", version, layers, experts, depth, branching,
 * model, bytes of the nodes, CRC-32 of the words from the version on and of the nodes; then these,
 * parents first: key | pruned << 16, met, counts, children, and expert | n << 16 for each count.
 */
enum { HEAD = 10, LENGTH = 8, SUM = 9, VERSION = 2, MOST_LAYERS = 1 << 12, MOST_EXPERTS = 1 << 16 };

struct buffer {
	unsigned char *p;
	size_t n, room, at;
};

static void
store(struct buffer *b, uint32_t v)
{
	if (b->n + 4 > b->room) {
		b->room = b->room ? 2 * b->room : 1 << 16;
		b->p = mem_grow(b->p, b->room, 1);
	}
	for (int i = 0; i < 4; i++)
		b->p[b->n++] = (unsigned char)(v >> 8 * i);
}

static uint32_t
fetch(struct buffer *b)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v |= (uint32_t)b->p[b->at++] << 8 * i;
	return v;
}

static void
store_node(struct buffer *b, const struct node *v)
{
	store(b, v->key | (uint32_t)v->pruned << 16);
	store(b, v->met);
	store(b, (uint32_t)v->counts);
	store(b, (uint32_t)v->children);
	for (int i = 0; i < v->counts; i++)
		store(b, v->count[i].expert | (uint32_t)v->count[i].n << 16);
	for (int i = 0; i < v->children; i++)
		store_node(b, &v->child[i]);
}

static uint32_t
checksum(const struct buffer *b)
{
	const uLong head = crc32(0, b->p + 8, (SUM - 2) * 4);

	return (uint32_t)crc32_z(head, b->p + (size_t)HEAD * 4, b->n - (size_t)HEAD * 4);
}

int
tree_save(const struct tree *t, const char *file)
{
	const struct tree_shape *s = &t->shape;
	struct buffer b = {0};
	struct file *f = file_replace(file);
	uint32_t sum;
	int r = -1;

	if (!f)
		return -1;
	store(&b, 0x2d656f6d);
	store(&b, 0x65657274);
	store(&b, VERSION);
	store(&b, (uint32_t)s->layers);
	store(&b, (uint32_t)s->experts);
	store(&b, (uint32_t)s->depth);
	store(&b, (uint32_t)s->branching);
	store(&b, s->model);
	store(&b, 0);
	store(&b, 0);
	for (int l = 0; l < s->layers; l++)
		store_node(&b, &t->root[l]);
	for (int i = 0; i < 4; i++)
		b.p[4 * LENGTH + i] = (unsigned char)((b.n - (size_t)HEAD * 4) >> 8 * i);
	sum = checksum(&b);
	for (int i = 0; i < 4; i++)
		b.p[4 * SUM + i] = (unsigned char)(sum >> 8 * i);
	if (b.n > UINT32_MAX)
		err_set("%s: a tree of %zu bytes (expected less than 4 GB)", file, b.n);
	else if (file_write(f, b.p, b.n) == 0)
		r = 0;
	free(b.p);
	if (r == 0)
		return file_commit(f);
	file_abandon(f);
	return -1;
}

/* The sum is right: what is refused here was written by no tree_save. */
static int
fetch_node(struct tree *t, struct buffer *b, struct node *v, int depth)
{
	uint32_t word, counts, children;

	if (b->n - b->at < 16)
		return -1;
	word = fetch(b);
	v->key = (uint16_t)word;
	v->pruned = (uint16_t)(word >> 16);
	v->met = fetch(b);
	counts = fetch(b);
	children = fetch(b);
	if (counts > (uint32_t)t->shape.experts || counts > (b->n - b->at) / 4 ||
	    children > (uint32_t)t->shape.branching || (children && depth >= t->shape.depth) ||
	    v->met > UINT16_MAX || v->key >= t->shape.experts)
		return -1;
	for (uint32_t i = 0; i < counts; i++) {
		v->count = room_for_one(v->count, v->counts, sizeof *v->count);
		word = fetch(b);
		v->count[v->counts] = (struct count){(uint16_t)word, (uint16_t)(word >> 16)};
		if (v->count[i].expert >= t->shape.experts ||
		    (i && v->count[i].expert <= v->count[i - 1].expert))
			return -1;
		v->counts++;
	}
	for (uint32_t i = 0; i < children; i++) {
		struct node *c;
		v->child = room_for_one(v->child, v->children, sizeof *v->child);
		c = &v->child[v->children++];
		*c = (struct node){0};
		t->nodes++;
		if (fetch_node(t, b, c, depth + 1) < 0 || (i && c->key <= c[-1].key))
			return -1;
	}
	return 0;
}

static struct tree *
fetch_tree(struct buffer *b, const char *file)
{
	struct tree_shape s;
	struct tree *t;
	uint32_t head[HEAD];
	int l = 0;

	if (b->n < (size_t)HEAD * 4 || memcmp(b->p, "moe-tree", 8)) {
		err_set("%s: no tree (expected one that learn has written)", file);
		return NULL;
	}
	for (int i = 0; i < HEAD; i++)
		head[i] = fetch(b);
	if (head[2] != VERSION) {
		err_set("%s: a tree of format version %u (expected %d)", file, head[2], VERSION);
		return NULL;
	}
	if (head[LENGTH] != b->n - (size_t)HEAD * 4 || head[SUM] != checksum(b)) {
		err_set("%s: a damaged tree (its length or its CRC-32 is not what it says)", file);
		return NULL;
	}
	s = (struct tree_shape){(int)head[3], (int)head[4], (int)head[5], (int)head[6], head[7]};
	if (s.layers < 1 || s.layers > MOST_LAYERS || s.experts < 1 || s.experts > MOST_EXPERTS ||
	    s.depth < 1 || s.depth > TREE_DEPTH || s.branching < 1 || s.branching > s.experts) {
		err_set("%s: a tree of impossible shape", file);
		return NULL;
	}
	t = tree_new(&s);
	while (l < s.layers && fetch_node(t, b, &t->root[l], 0) == 0)
		l++;
	if (l == s.layers && b->at == b->n)
		return t;
	err_set("%s: a damaged tree (layer %d)", file, l);
	tree_free(t);
	return NULL;
}

struct tree *
tree_load(const char *file)
{
	struct buffer b = {0};
	struct tree *t;

	b.p = (unsigned char *)file_slurp(file, &b.n);
	if (!b.p)
		return NULL;
	t = fetch_tree(&b, file);
	free(b.p);
	return t;
}
