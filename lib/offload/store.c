#include "offload/store.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/task.h"
#include "offload/fetch.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The head: this, the recipe, u32 hidden [L][E], u32 crc [leaves], the resident tensors in file
 * order, each layer's bias after them, then the shadow; zeros up to STORE_ALIGN.
 */
struct preamble {
	char magic[8];
	uint32_t version, crc; /* of the head with these four bytes zero */
	uint64_t head, bytes;  /* of the head and of the whole file */
	uint32_t recipe, leaf; /* bytes of the recipe, neurons of a leaf */
	uint32_t shadow;       /* 1: there is one */
	uint32_t zero[5];
};
static const char magic[8] = "moestore";
_Static_assert(sizeof(struct preamble) == 64, "the file's first 64 bytes");

static uint64_t
align_up(uint64_t n)
{
	return (n + STORE_ALIGN - 1) / STORE_ALIGN * STORE_ALIGN;
}

/* Bytes of a leaf of so many neurons, padding included. */
static size_t
leaf_bytes(const struct shape *s, int neurons)
{
	return align_up((uint64_t)leaf_floats(s, neurons) * sizeof(float));
}

int
store_need(const struct store *s)
{
	const struct shape *shape = &s->param->shape;
	int need = 0;

	for (int l = 0; l < shape->layers; l++) {
		int most[shape->top_k], sum = 0;
		memset(most, 0, sizeof most);
		for (int e = 0; e < shape->experts[l]; e++) {
			int n = s->expert[l][e].n;
			for (int k = 0; k < shape->top_k; k++)
				if (n > most[k]) {
					int less = most[k];
					most[k] = n;
					n = less;
				}
		}
		for (int k = 0; k < shape->top_k; k++)
			sum += most[k];
		need = sum > need ? sum : need;
	}
	return need;
}

size_t
store_resident(const struct store *s)
{
	const struct shape *shape = &s->param->shape;
	size_t bytes = s->param->bytes + (size_t)s->leaves * sizeof *s->leaf;

	for (int l = 0; l < shape->layers; l++)
		bytes += (size_t)shape->experts[l] * (sizeof(struct expert) + sizeof **s->expert);
	if (s->shade)
		bytes += (size_t)s->neurons * (sizeof *s->shade + (size_t)s->row);
	return bytes;
}

static void
mark_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	uint32_t *crc = arg;

	(void)layer;
	if (slot < 0)
		*crc = crc_32(*crc, t->w, (size_t)(t->rows * t->cols) * sizeof *t->w);
}

uint32_t
store_model(const struct store *s)
{
	uint32_t crc = 0;

	param_each(s->param, mark_tensor, &crc);
	return crc ? crc : 1;
}

/* ---- the leaves' places ---- */

/* Lay out the leaves of all experts, as wide as the shape says; false beyond what a file holds. */
static bool
lay_out(struct store *s, const struct shape *shape, int leaf)
{
	uint64_t at = s->head;
	int n = 0;

	s->expert = mem_zero((size_t)shape->layers, sizeof *s->expert);
	for (int l = 0; l < shape->layers; l++) {
		s->expert[l] = mem_zero((size_t)shape->experts[l], sizeof **s->expert);
		for (int e = 0; e < shape->experts[l]; e++) {
			struct store_expert *x = &s->expert[l][e];
			x->first = s->leaves;
			x->n = (shape->hidden[l][e] + leaf - 1) / leaf;
			if (x->n > (1 << 28) - s->leaves)
				return false;
			s->leaves += x->n;
		}
	}
	s->leaf = mem_zero((size_t)s->leaves, sizeof *s->leaf);
	for (int l = 0; l < shape->layers; l++)
		for (int e = 0; e < shape->experts[l]; e++)
			for (int left = shape->hidden[l][e]; left > 0; left -= leaf, n++) {
				struct store_leaf *x = &s->leaf[n];
				x->at = at;
				x->neurons = left < leaf ? left : leaf;
				x->bytes = (uint32_t)leaf_bytes(shape, x->neurons);
				x->layer = l;
				x->slot = e;
				x->first = s->neurons;
				s->neurons += x->neurons;
				s->largest = x->bytes > s->largest ? x->bytes : s->largest;
				at += x->bytes;
			}
	s->bytes = at;
	s->row = leaf_row(shape);
	return true;
}

static void
free_places(struct store *s, int layers)
{
	for (int l = 0; s->expert && l < layers; l++)
		free(s->expert[l]);
	free(s->expert);
	free(s->leaf);
}

/* ---- writing ---- */

struct head {
	char *p;
	size_t n, room;
};

static void
put(struct head *h, const void *p, size_t n)
{
	if (h->n + n > h->room) {
		h->room = 2 * (h->n + n);
		h->p = mem_grow(h->p, h->room, 1);
	}
	if (n)
		memcpy(h->p + h->n, p, n);
	h->n += n;
}

static void
put_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	(void)layer;
	if (slot < 0)
		put(arg, t->w, (size_t)(t->rows * t->cols) * sizeof *t->w);
}

static void
put_hidden(struct head *h, const struct shape *s)
{
	for (int l = 0; l < s->layers; l++)
		for (int e = 0; e < s->experts[l]; e++) {
			const uint32_t n = (uint32_t)s->hidden[l][e];
			put(h, &n, sizeof n);
		}
}

/* Rows of an expert's matrices in the order of the store: [rows, C] each. */
static void
gather(float *to, const float *w, long step, long stride, long c, const int *order, int from, int n)
{
	for (int i = 0; i < n; i++, to += c) {
		const float *row = w + (order ? order[from + i] : from + i) * step;
		for (long j = 0; j < c; j++)
			to[j] = row[j * stride];
	}
}

/* A leaf as it stands in the file; `from` is its first neuron within the expert. */
static void
leaf_make(const struct store_plan *p, const struct store_leaf *x, int from, float *to)
{
	const struct expert *e = p->param->layer[x->layer].expert[x->slot];
	const int *order = p->order ? p->order[x->layer][x->slot] : NULL;
	const long c = p->param->shape.dim, n = x->neurons;

	memset(to, 0, x->bytes);
	if (e->gate.rows) {
		gather(to, e->gate.w, c, 1, c, order, from, x->neurons);
		to += n * c;
	}
	gather(to, e->up.w, c, 1, c, order, from, x->neurons);
	gather(to + n * c, e->down.w, 1, e->hidden, c, order, from, x->neurons);
}

static void
put_shadow(struct head *h, const struct store_plan *p, const struct store *s, float *leaf)
{
	const struct shape *shape = &p->param->shape;
	signed char *q = mem_zero((size_t)s->row, 1);

	for (int part = 0; part < 2; part++)
		for (int i = 0; i < s->leaves; i++) {
			const struct store_leaf *x = &s->leaf[i];
			const int from = (i - s->expert[x->layer][x->slot].first) * p->leaf;
			leaf_make(p, x, from, leaf);
			for (int j = 0; j < x->neurons; j++) {
				struct leaf_shade shade;
				leaf_shadow(shape, leaf, x->neurons, j, &shade, q);
				put(h, part ? (void *)q : &shade,
				    part ? (size_t)s->row : sizeof shade);
			}
		}
	free(q);
}

/* The head but for the CRCs of the leaves, whose place is *crcs. */
static void
head_make(struct head *h, const struct store_plan *p, struct store *s, float *leaf, size_t *crcs)
{
	const struct shape *shape = &p->param->shape;
	struct preamble pre = {.version = STORE_VERSION,
			       .recipe = (uint32_t)strlen(p->recipe),
			       .leaf = (uint32_t)p->leaf,
			       .shadow = p->shadow};

	memcpy(pre.magic, magic, sizeof magic);
	put(h, &pre, sizeof pre);
	put(h, p->recipe, pre.recipe);
	put_hidden(h, shape);
	*crcs = h->n;
	for (int i = 0; i < s->leaves; i++)
		put(h, &s->leaf[i].crc, sizeof s->leaf[i].crc);
	param_each((struct param *)(uintptr_t)p->param, put_tensor, h);
	for (int l = 0; l < shape->layers; l++)
		if (p->param->layer[l].bias)
			put(h, p->param->layer[l].bias, (size_t)shape->experts[l] * sizeof(float));
	if (p->shadow)
		put_shadow(h, p, s, leaf);
}

static void
head_end(struct head *h, struct store *s, size_t crcs)
{
	static const char zeros[STORE_ALIGN];
	struct preamble pre;

	put(h, zeros, align_up(h->n) - h->n);
	for (int i = 0; i < s->leaves; i++)
		memcpy(h->p + crcs + (size_t)i * sizeof s->leaf[i].crc, &s->leaf[i].crc,
		       sizeof s->leaf[i].crc);
	memcpy(&pre, h->p, sizeof pre);
	pre.head = h->n;
	pre.bytes = s->bytes + h->n; /* laid out with a head of nothing */
	memcpy(h->p, &pre, sizeof pre);
	pre.crc = crc_32(0, h->p, h->n);
	memcpy(h->p, &pre, sizeof pre);
}

/* Make each leaf in turn: for its CRC, or into the file. */
static int
each_leaf(const struct store_plan *p, struct store *s, float *leaf, struct file *f)
{
	for (int i = 0; i < s->leaves; i++) {
		struct store_leaf *x = &s->leaf[i];
		leaf_make(p, x, (i - s->expert[x->layer][x->slot].first) * p->leaf, leaf);
		if (!f)
			x->crc = crc_32(0, leaf, x->bytes);
		else if (file_write(f, leaf, x->bytes) != 0)
			return -1;
	}
	return 0;
}

int
store_write(const struct store_plan *p, const char *file)
{
	struct store s = {0};
	struct head h = {0};
	struct file *f = NULL;
	float *leaf = NULL;
	size_t crcs;
	int bad = -1;

	if (!lay_out(&s, &p->param->shape, p->leaf)) {
		err_set("%s: too many leaves (expected larger ones)", file);
		goto done;
	}
	leaf = mem_zero(s.largest, 1);
	head_make(&h, p, &s, leaf, &crcs);
	each_leaf(p, &s, leaf, NULL);
	head_end(&h, &s, crcs);
	if (!(f = file_replace(file)))
		goto done;
	if (file_write(f, h.p, h.n) != 0 || each_leaf(p, &s, leaf, f) != 0)
		file_abandon(f);
	else
		bad = file_commit(f);
done:
	free(leaf);
	free(h.p);
	free_places(&s, p->param->shape.layers);
	return bad;
}

/* ---- reading ---- */

static int
came(const char *name, int error, uint64_t at)
{
	if (error == FETCH_END)
		return err_set("%s: ends at byte %llu (expected more)", name,
			       (unsigned long long)at);
	if (error)
		return err_set("%s: byte %llu: %s", name, (unsigned long long)at, strerror(error));
	return 0;
}

int
store_came(const struct store *s, int error, uint64_t at)
{
	return came(s->name, error, at);
}

/* n bytes at `at`, all of them. */
static int
read_all(const char *name, int fd, void *into, size_t n, uint64_t at)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = pread(fd, (char *)into + have, n - have, (off_t)(at + have));
		if (got > 0)
			have += (size_t)got;
		else if (got == 0 || (errno == EINVAL && have > 0)) /* the same with O_DIRECT */
			return came(name, FETCH_END, at + have);
		else if (errno != EINTR)
			return came(name, errno, at + have);
	}
	return 0;
}

int
store_verify(const struct store *s, int leaf, const void *bytes)
{
	const struct store_leaf *x = &s->leaf[leaf];

	if (crc_32(0, bytes, x->bytes) == x->crc)
		return 0;
	return err_set("%s: layer %d, expert %d: the leaf at byte %llu is damaged (its CRC-32 is "
		       "another)",
		       s->name, x->layer, x->slot, (unsigned long long)x->at);
}

int
store_read(const struct store *s, int leaf, void *into)
{
	const struct store_leaf *x = &s->leaf[leaf];

	return read_all(s->name, s->fd, into, x->bytes, x->at) ? -1 : store_verify(s, leaf, into);
}

struct check {
	const struct store *store;
	char *buffer;
	atomic_int failed; /* the first damaged leaf so far */
};

static void
check_leaf(void *arg, long leaf, int worker)
{
	struct check *c = arg;
	int first = atomic_load(&c->failed);

	if (leaf > first ||
	    store_read(c->store, (int)leaf, c->buffer + (size_t)worker * c->store->largest) == 0)
		return;
	while (leaf < first && !atomic_compare_exchange_weak(&c->failed, &first, (int)leaf))
		;
}

int
store_check(const struct store *s)
{
	const size_t bytes = (size_t)task_workers() * s->largest;
	struct check c = {s, mem_map(bytes), s->leaves};
	int first, bad = 0;

	task_run(s->leaves, check_leaf, &c);
	first = atomic_load(&c.failed);
	if (first < s->leaves) {
		/* Again: the message is the reading thread's; or this, if it works now. */
		bad = err_set("%s: byte %llu: could not be read at first", s->name,
			      (unsigned long long)s->leaf[first].at);
		store_read(s, first, c.buffer);
	}
	mem_unmap(c.buffer, bytes);
	return bad;
}

/* The head from front to back. */
struct reader {
	const char *name;
	int fd;
	uint64_t at, end;
};

static int
get(struct reader *r, void *into, size_t n)
{
	if (n > r->end - r->at)
		return err_set("%s: the head is too short for what it describes", r->name);
	if (read_all(r->name, r->fd, into, n, r->at) != 0)
		return -1;
	r->at += n;
	return 0;
}

static int
head_check(struct reader *r, struct preamble *pre)
{
	static const uint32_t none[5];
	struct stat st;

	if (fstat(r->fd, &st) != 0)
		return err_set("%s: %s", r->name, strerror(errno));
	r->end = (uint64_t)st.st_size;
	if (r->end < sizeof *pre)
		return err_set("%s: not a store of moe-prefetch pack, or cut short", r->name);
	if (get(r, pre, sizeof *pre) != 0)
		return -1;
	if (memcmp(pre->magic, magic, sizeof magic) != 0)
		return err_set("%s: not a store of moe-prefetch pack", r->name);
	if (pre->version != STORE_VERSION)
		return err_set("%s: a store of version %u (expected %d)", r->name, pre->version,
			       STORE_VERSION);
	if (pre->head % STORE_ALIGN || pre->head < sizeof *pre || pre->head > pre->bytes ||
	    pre->shadow > 1 || memcmp(pre->zero, none, sizeof none) != 0)
		return err_set("%s: the head is damaged", r->name);
	if (r->end != pre->bytes)
		return err_set("%s: has %llu bytes (expected %llu)", r->name,
			       (unsigned long long)r->end, (unsigned long long)pre->bytes);
	r->end = pre->head;
	return 0;
}

static int
head_crc(const struct reader *r, const struct preamble *pre)
{
	enum { PIECE = 1 << 18 };
	struct preamble bare = *pre;
	char *p = mem_zero(PIECE, 1);
	uint32_t crc;
	int bad = 0;

	bare.crc = 0;
	crc = crc_32(0, &bare, sizeof bare);
	for (uint64_t at = sizeof bare; at < r->end && !bad; at += PIECE) {
		const size_t n = r->end - at < PIECE ? (size_t)(r->end - at) : PIECE;
		bad = read_all(r->name, r->fd, p, n, at);
		crc = crc_32(crc, p, n);
	}
	free(p);
	if (!bad && crc != pre->crc)
		bad = err_set("%s: the head is damaged (its CRC-32 is %08x, expected %08x)",
			      r->name, crc, pre->crc);
	return bad;
}

/* The shape of the recipe, with the population that the store has. */
static int
get_shape(struct reader *r, struct store *s, const struct preamble *pre, struct shape *shape)
{
	char *text;
	int bad;

	if (pre->recipe > r->end - r->at)
		return err_set("%s: the head is too short for its recipe", r->name);
	text = mem_zero(pre->recipe + 1, 1);
	bad = get(r, text, pre->recipe) != 0 || recipe_open(&s->book, r->name, text) != 0;
	free(text);
	if (bad)
		return -1;
	if (recipe_shape(&s->book.recipe, 0, shape) != 0)
		return err_in("%s", r->name);
	for (int l = 0; l < shape->layers; l++)
		for (int e = 0; e < shape->experts[l]; e++) {
			uint32_t n;
			if (get(r, &n, sizeof n) != 0)
				return -1;
			if (n > 1 << 20)
				return err_set("%s: an expert of width %u", r->name, n);
			shape->hidden[l][e] = (int)n;
		}
	for (int l = 0; l < shape->layers; l++)
		if (shape_living(shape, l) < shape->top_k)
			return err_set("%s: layer %d has fewer experts than a token uses", r->name,
				       l);
	return 0;
}

struct get {
	struct reader *r;
	int bad;
};

static void
get_tensor(void *arg, struct tensor *t, int layer, int slot)
{
	struct get *g = arg;

	(void)layer;
	if (slot < 0 && !g->bad)
		g->bad = get(g->r, t->w, (size_t)(t->rows * t->cols) * sizeof *t->w);
}

static int
get_resident(struct reader *r, struct store *s, const struct shape *shape)
{
	struct get g = {r, 0};
	double experts = 0;

	for (int l = 0; l < shape->layers; l++)
		for (int e = 0; e < shape->experts[l]; e++)
			experts += (kern_gated(shape->act) ? 3.0 : 2.0) * shape->dim *
				   shape->hidden[l][e];
	if (((double)shape_params(shape) - experts) * sizeof(float) > (double)(r->end - r->at))
		return err_set("%s: the head is too short for its model", r->name);
	s->param = param_new_hollow(shape);
	param_each(s->param, get_tensor, &g);
	for (int l = 0; l < shape->layers && !g.bad; l++)
		if (s->param->layer[l].bias)
			g.bad = get(r, s->param->layer[l].bias,
				    (size_t)shape->experts[l] * sizeof(float));
	return g.bad;
}

static int
get_shadow(struct reader *r, struct store *s)
{
	const size_t n = (size_t)s->neurons;

	if (n > (r->end - r->at) / ((size_t)s->row + sizeof *s->shade))
		return err_set("%s: the head is too short for its shadow", r->name);
	s->shade = mem_zero(n, sizeof *s->shade);
	s->q = mem_zero(n, (size_t)s->row);
	if (get(r, s->shade, n * sizeof *s->shade) != 0)
		return -1;
	return get(r, s->q, n * (size_t)s->row);
}

static int
get_head(struct reader *r, struct store *s, const struct preamble *pre)
{
	struct shape shape = {0};
	int bad = get_shape(r, s, pre, &shape);

	s->head = pre->head;
	if (!bad &&
	    (pre->leaf < 1 || pre->leaf > 1 << 20 || leaf_bytes(&shape, (int)pre->leaf) > 1 << 30))
		bad = err_set("%s: leaves of %u neurons", r->name, pre->leaf);
	if (!bad && (!lay_out(s, &shape, (int)pre->leaf) || s->bytes != pre->bytes))
		bad = err_set("%s: has %llu bytes (expected %llu by its experts)", r->name,
			      (unsigned long long)pre->bytes, (unsigned long long)s->bytes);
	for (int i = 0; i < s->leaves && !bad; i++)
		bad = get(r, &s->leaf[i].crc, sizeof s->leaf[i].crc);
	if (!bad)
		bad = get_resident(r, s, &shape);
	if (!bad && pre->shadow)
		bad = get_shadow(r, s);
	if (!bad && align_up(r->at) != r->end)
		bad = err_set("%s: the head is longer than its model", r->name);
	if (!s->param)
		free_places(s, shape.layers);
	shape_free(&shape);
	return bad;
}

struct store *
store_open(const char *file, bool direct)
{
	struct store *s = mem_zero(1, sizeof *s);
	struct reader r = {.name = file, .fd = open(file, O_RDONLY | O_CLOEXEC)};
	struct preamble pre;
	int bad = -1;

	s->fd = -1;
	s->name = mem_copy(file);
	if (r.fd < 0)
		err_set("%s: %s", file, strerror(errno));
	else if (head_check(&r, &pre) == 0 && head_crc(&r, &pre) == 0)
		bad = get_head(&r, s, &pre);
	if (r.fd >= 0)
		close(r.fd);
	if (!bad && (s->fd = open(file, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0))) < 0)
		bad = err_set("%s: %s%s", file, strerror(errno),
			      direct && errno == EINVAL ? " (its file system has no O_DIRECT)"
							: "");
	if (!bad)
		return s;
	store_close(s);
	return NULL;
}

void
store_close(struct store *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	if (s->param)
		free_places(s, s->param->shape.layers);
	param_free(s->param);
	recipe_close(&s->book);
	free(s->shade);
	free(s->q);
	free(s->name);
	free(s);
}
