/*
 * Stores: every leaf holds its rows, the resident part is the model's, and a file that is cut at
 * any length, longer, or flipped at any byte is refused.
 */
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "tap.h"
#include "tiny.h"
#include <fcntl.h>
#include <zlib.h>

static float *
aligned(const struct store *s)
{
	return aligned_alloc(STORE_ALIGN, s->largest);
}

/* Leaf i holds the rows of neurons order[from, from + n) of its expert. */
static bool
leaf_is(const struct store *s, const struct param *p, int i, const int *order, int from)
{
	const struct store_leaf *l = &s->leaf[i];
	const struct expert *x = p->layer[l->layer].expert[l->slot];
	const long c = p->shape.dim, m = l->neurons;
	const bool gated = x->gate.rows > 0;
	float *w = aligned(s), *up = w + (gated ? m * c : 0), *down = up + m * c;
	bool same = store_read(s, i, w) == 0;

	for (int j = 0; j < m && same; j++) {
		const int k = order ? order[from + j] : from + j;
		if (gated && memcmp(w + j * c, x->gate.w + k * c, (size_t)c * sizeof *w) != 0)
			same = false;
		if (memcmp(up + j * c, x->up.w + k * c, (size_t)c * sizeof *w) != 0)
			same = false;
		for (long n = 0; n < c; n++)
			same = same && down[j * c + n] == x->down.w[n * x->hidden + k];
	}
	for (const char *b = (char *)(down + m * c); same && b < (char *)w + l->bytes; b++)
		same = *b == 0;
	free(w);
	return same;
}

struct both {
	struct tensor *t[64];
	int n;
};

static void
collect(void *arg, struct tensor *t, int layer, int slot)
{
	struct both *b = arg;

	(void)layer;
	if (slot < 0)
		b->t[b->n++] = t;
}

static bool
same_resident(struct param *a, struct param *b)
{
	struct both x = {.n = 0}, y = {.n = 0};
	bool same;

	param_each(a, collect, &x);
	param_each(b, collect, &y);
	same = x.n == y.n;
	for (int i = 0; i < x.n && same; i++)
		same = x.t[i]->rows == y.t[i]->rows && x.t[i]->cols == y.t[i]->cols &&
		       memcmp(x.t[i]->w, y.t[i]->w,
			      (size_t)(x.t[i]->rows * x.t[i]->cols) * sizeof(float)) == 0;
	for (int l = 0; l < 2 && a->layer[0].bias; l++)
		same = same && memcmp(a->layer[l].bias, b->layer[l].bias, 3 * sizeof(float)) == 0;
	return same;
}

static void
holds(const char *act, const char *router, bool shadow, int ***order, const char *what)
{
	static const int slot[] = {0, 0, 1, 1, 1, 2, 0, 0, 2}, width[] = {5, 8, 3};
	struct tiny m;
	struct store_plan plan;
	struct store *s;
	const char *file = temp("a.store");
	int right = 0;

	tiny_make(&m, act, router);
	plan = tiny_plan(&m, shadow);
	plan.order = order;
	is_long(store_write(&plan, file), 0, "%s: written", what);
	s = store_open(file, false);
	ok(s && store_check(s) == 0, "%s: read and whole", what);
	if (!s)
		return;
	is_long(s->leaves, TINY_LEAVES, "%s: its leaves", what);
	for (int i = 0, from = 0; i < s->leaves; i++) {
		const struct store_leaf *l = &s->leaf[i];
		from = i && slot[i] == slot[i - 1] ? from + TINY_LEAF : 0;
		const int left = width[slot[i]] - from;
		right += l->layer == (i > 5) && l->slot == slot[i] &&
			 l->neurons == (left < TINY_LEAF ? left : TINY_LEAF) &&
			 l->at % STORE_ALIGN == 0 && l->bytes % STORE_ALIGN == 0 &&
			 leaf_is(s, m.param, i, order ? order[l->layer][l->slot] : NULL, from);
	}
	is_long(right, TINY_LEAVES, "%s: leaves that hold their rows", what);
	ok(same_resident(s->param, m.param), "%s: the resident part is the model's", what);
	is_long(s->expert[1][1].n, 0, "%s: an empty slot has no leaf", what);
	ok(!s->param->layer[1].expert[1] && !s->param->layer[0].expert[1]->up.w,
	   "%s: no expert's weights are resident", what);
	is_long(store_need(s), 5, "%s: leaves of the two widest experts of a layer", what);
	is_long(!!s->shade, shadow, "%s: a shadow where wanted", what);
	store_close(s);
	tiny_free(&m);
}

static bool
refused(const char *file)
{
	struct store *s = store_open(file, false);
	const bool bad = !s || store_check(s) != 0;

	store_close(s);
	return bad && *err_text();
}

static void
damaged(void)
{
	struct tiny m;
	size_t n;
	char *bytes, *file = mem_copy(temp("b.store"));
	long passed = 0, cut = 0, lengths = 0;

	tiny_make(&m, "reglu", "mlp");
	if (store_write(&(struct store_plan){m.param, m.recipe, TINY_LEAF, true, NULL}, file) !=
		    0 ||
	    !(bytes = file_slurp(file, &n)))
		abort();
	const int fd = open(file, O_RDWR);
	for (size_t i = 0; i < n; i++) {
		const char bad = (char)(bytes[i] ^ (1 << i % 8));
		if (pwrite(fd, &bad, 1, (off_t)i) != 1)
			abort();
		passed += !refused(file);
		if (pwrite(fd, bytes + i, 1, (off_t)i) != 1)
			abort();
	}
	is_long(passed, 0, "of %zu bytes, those that can be flipped unseen", n);
	ok(!refused(file), "the file as it was is read");
	if (ftruncate(fd, (off_t)n + 1) != 0)
		abort();
	ok(refused(file), "a byte more is refused");
	for (size_t i = n; i-- > 0;) {
		if (i % 512 > 1 && i % 512 < 511 && i > 600)
			continue;
		if (ftruncate(fd, (off_t)i) != 0)
			abort();
		lengths++;
		cut += !refused(file);
	}
	is_long(cut, 0, "of %ld lengths below %zu, those that pass", lengths, n);
	close(fd);
	free(bytes);
	free(file);
	tiny_free(&m);
}

/* A head with a right CRC that asks for what is not there. */
static void
hostile(void)
{
	struct tiny m;
	size_t n;
	char *bytes;
	const char *file = temp("c.store");
	long died = 0;

	tiny_make(&m, "relu", "linear");
	if (store_write(&(struct store_plan){m.param, m.recipe, TINY_LEAF, true, NULL}, file) !=
		    0 ||
	    !(bytes = file_slurp(file, &n)))
		abort();
	const size_t head = *(uint64_t *)(void *)(bytes + 16);
	for (size_t i = 16; i < 64 + strlen(m.recipe) + 60; i++)
		for (int bit = 0; bit < 8; bit++) {
			bytes[i] = (char)(bytes[i] ^ 1 << bit);
			memset(bytes + 12, 0, 4);
			*(uint32_t *)(void *)(bytes + 12) =
				(uint32_t)crc32_z(0, (Bytef *)bytes, head);
			struct store *s = store_open(temp_bytes("d.store", bytes, n), false);
			if (s && (s->bytes != n || s->leaves != TINY_LEAVES))
				died++;
			store_close(s);
			bytes[i] = (char)(bytes[i] ^ 1 << bit);
		}
	is_long(died, 0, "heads with a right CRC and wrong contents that are believed");
	free(bytes);
	tiny_free(&m);
}

int
main(void)
{
	int five[5] = {4, 2, 0, 1, 3}, eight[8] = {7, 0, 6, 1, 5, 2, 4, 3};
	int *layer[2][3] = {{five, eight, NULL}, {five, NULL, NULL}};
	int **order[2] = {layer[0], layer[1]};

	holds("gelu", "linear", false, NULL, "gelu");
	holds("reglu", "mlp", true, NULL, "gated");
	holds("relu", "random", true, order, "in an order of its own");
	damaged();
	hostile();
	ok(!store_open(temp("none"), false), "a store that is not there");
	ok(!store_open(temp_text("text", "moestore"), false), "a text");
	ok(strstr(err_text(), "not a store"), "says what it is not: %s", err_text());
	return done();
}
