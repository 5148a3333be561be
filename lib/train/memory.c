#include "train/memory.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include "io/table.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- reading a census --- */

enum { MOST_DOMAINS = 4096 };

struct columns {
	int step, layer, expert, tokens, slot, domain;
};

static int
domain_index(struct memory *m, const char *name)
{
	for (int i = m->names - 1; i >= 0; i--)
		if (strcmp(m->name[i], name) == 0)
			return i;
	if (m->names == MOST_DOMAINS)
		return err_set("more than %d domains", MOST_DOMAINS);
	m->name = mem_grow(m->name, (size_t)m->names + 1, sizeof(*m->name));
	m->name[m->names] = mem_copy(name);
	return m->names++;
}

/* The window that ends at a step: the last one or a new one. */
static int
take_window(struct memory *m, long step, const char *domain)
{
	struct memory_window *last = m->windows ? &m->window[m->windows - 1] : NULL;
	int name = domain ? domain_index(m, domain) : -1;

	if (domain && name < 0)
		return -1;
	if (last && step < last->to)
		return err_set("step %ld after step %ld (expected steps that do not fall)", step,
			       last->to);
	if (last && step == last->to) {
		if (domain && strcmp(domain, last->domain) != 0)
			return err_set("domain %s in a window of domain %s", domain, last->domain);
		return 0;
	}
	if ((m->windows & (m->windows - 1)) == 0)
		m->window = mem_grow(m->window, (size_t)(m->windows ? 2 * m->windows : 1),
				     sizeof(*m->window));
	m->window[m->windows] =
		(struct memory_window){.from = m->windows ? m->window[m->windows - 1].to : 0,
				       .to = step,
				       .domain = domain ? m->name[name] : NULL,
				       .phase = -1};
	m->windows++;
	return 0;
}

static int
read_row(struct memory *m, const char *file, const struct table *t, const struct columns *c)
{
	struct memory_row r = {.slot = -1};
	long layer;

	if (table_long(t, c->step, 0, LONG_MAX, &r.step) < 0 ||
	    table_long(t, c->layer, 0, INT_MAX, &layer) < 0 ||
	    table_long(t, c->expert, 0, LONG_MAX, &r.expert) < 0 ||
	    table_long(t, c->tokens, 0, LONG_MAX, &r.tokens) < 0 ||
	    (c->slot >= 0 && table_long(t, c->slot, 0, LONG_MAX, &r.slot) < 0))
		return -1;
	if (take_window(m, r.step, c->domain < 0 ? NULL : table_text(t, c->domain)) < 0)
		return err_in("%s:%ld", file, table_line(t));
	r.layer = (int)layer;
	r.window = m->windows - 1;
	if (m->rows == m->room) {
		m->room = m->room ? 2 * m->room : 256;
		m->row = mem_grow(m->row, (size_t)m->room, sizeof(*m->row));
	}
	m->row[m->rows++] = r;
	return 0;
}

static int
compare(long a, long b)
{
	return (a > b) - (a < b);
}

static int
by_place(const void *a, const void *b)
{
	const struct memory_row *x = a, *y = b;
	int d = compare(x->window, y->window);

	if (d == 0)
		d = compare(x->layer, y->layer);
	return d ? d : compare(x->expert, y->expert);
}

static int
finish(struct memory *m, const char *file)
{
	if (m->rows == 0)
		return err_set("%s: no rows (expected a census)", file);
	qsort(m->row, (size_t)m->rows, sizeof(*m->row), by_place);
	for (long i = 1; i < m->rows; i++)
		if (by_place(&m->row[i - 1], &m->row[i]) == 0)
			return err_set("%s: step %ld, layer %d: expert %ld stands there twice",
				       file, m->row[i].step, m->row[i].layer, m->row[i].expert);
	/* The first window is as long as the second. */
	if (m->windows > 1) {
		struct memory_window *w = m->window;
		long length = w[1].to - w[0].to;

		w[0].from = w[0].to > length ? w[0].to - length : 0;
	}
	return 0;
}

int
memory_read(struct memory *m, const char *file)
{
	struct table *t = table_open(file);
	struct columns c;
	int r = -1;

	*m = (struct memory){0};
	if (!t)
		return -1;
	c = (struct columns){.slot = table_column(t, "slot"), .domain = table_column(t, "domain")};
	if ((c.step = table_require(t, "step")) >= 0 &&
	    (c.layer = table_require(t, "layer")) >= 0 &&
	    (c.expert = table_require(t, "expert")) >= 0 &&
	    (c.tokens = table_require(t, "tokens")) >= 0)
		while ((r = table_next(t)) == 1)
			if ((r = read_row(m, file, t, &c)) < 0)
				break;
	table_close(t);
	if (r == 0)
		r = finish(m, file);
	if (r < 0)
		memory_free(m);
	return r;
}

void
memory_free(struct memory *m)
{
	for (int i = 0; i < m->names; i++)
		free(m->name[i]);
	free(m->name);
	free(m->row);
	free(m->window);
	*m = (struct memory){0};
}

/* --- phases --- */

void
memory_place(struct memory *m, const struct memory_phase *p, int n)
{
	int at = 0;

	for (long i = 0; i < m->windows; i++) {
		struct memory_window *w = &m->window[i];

		while (at < n && p[at].to <= w->from)
			at++;
		w->phase = at < n && p[at].from <= w->from && w->to <= p[at].to ? at : -1;
	}
}

struct memory_phase *
memory_phases(const struct memory *m, int *n)
{
	struct memory_phase *p = NULL;

	*n = 0;
	if (m->names == 0)
		return NULL;
	for (long i = 0; i < m->windows; i++) {
		const struct memory_window *w = &m->window[i];

		if (*n > 0 && strcmp(p[*n - 1].domain, w->domain) == 0) {
			p[*n - 1].to = w->to;
			continue;
		}
		p = mem_grow(p, (size_t)*n + 1, sizeof(*p));
		p[(*n)++] = (struct memory_phase){w->from, w->to, w->domain};
	}
	p[*n - 1].to = LONG_MAX;
	return p;
}

/* --- sums --- */

static int
by_expert(const void *a, const void *b)
{
	const struct memory_use *x = a, *y = b;
	int d = compare(x->layer, y->layer);

	if (d == 0)
		d = compare(x->expert, y->expert);
	if (d == 0)
		d = compare(x->group, y->group);
	return d;
}

/* By expert, then in time: `windows` holds the window's number until cells are folded. */
static int
by_expert_and_time(const void *a, const void *b)
{
	const struct memory_use *x = a, *y = b;
	int d = by_expert(x, y);

	return d ? d : compare(x->windows, y->windows);
}

double
memory_share(const struct memory_use *u)
{
	return u->all > 0 ? u->tokens / u->all : 0;
}

/* Past the rows of one layer in one window from row i on; their tokens. */
static long
layer_end(const struct memory *m, long i, double *all)
{
	long k = i;

	for (*all = 0; k < m->rows && m->row[k].window == m->row[i].window &&
		       m->row[k].layer == m->row[i].layer;
	     k++)
		*all += (double)m->row[k].tokens;
	return k;
}

/* Add a cell of one window. */
static void
fold(struct memory_use *to, const struct memory_use *one, double limit, long step)
{
	const bool idle = memory_share(one) <= limit;

	to->slot = one->slot;
	to->tokens += one->tokens;
	to->all += one->all;
	to->windows++;
	to->idle += idle;
	if (!idle && to->first < 0)
		to->first = step;
}

struct memory_use *
memory_sum(const struct memory *m, const int *group, double limit, long *n)
{
	struct memory_use *u = mem_zero((size_t)m->rows, sizeof(*u));
	long count = 0;
	double all = 0;

	for (long i = 0, end = 0; i < m->rows; i++) {
		const struct memory_row *r = &m->row[i];

		if (i == end)
			end = layer_end(m, i, &all);
		if (group[r->window] >= 0)
			u[count++] = (struct memory_use){.group = group[r->window],
							 .layer = r->layer,
							 .expert = r->expert,
							 .slot = r->slot,
							 .windows = r->window,
							 .tokens = (double)r->tokens,
							 .all = all};
	}
	qsort(u, (size_t)count, sizeof(*u), by_expert_and_time);
	*n = 0;
	for (long i = 0; i < count; i++) {
		const struct memory_use one = u[i];

		if (*n == 0 || by_expert(&u[*n - 1], &one) != 0)
			u[(*n)++] = (struct memory_use){.group = one.group,
							.layer = one.layer,
							.expert = one.expert,
							.first = -1};
		fold(&u[*n - 1], &one, limit, m->window[one.windows].to);
	}
	return u;
}

bool
memory_tokens(const struct memory *m, int layer, long expert, long from, long to, double *tokens,
	      double *all)
{
	bool there = false;
	double sum;

	*tokens = *all = 0;
	for (long i = 0, end; i < m->rows; i = end) {
		const struct memory_window *w = &m->window[m->row[i].window];

		end = layer_end(m, i, &sum);
		if (m->row[i].layer != layer || w->from < from || w->to > to)
			continue;
		for (long k = i; k < end; k++)
			if (m->row[k].expert == expert) {
				there = true;
				*tokens += (double)m->row[k].tokens;
				*all += sum;
			}
	}
	return there;
}

/* --- checkpoints --- */

/* Where an expert stands in a checkpoint. */
struct place {
	long expert;
	int layer, slot;
};
struct places {
	long n;
	struct place *v;
	bool ledger;
};

static void
add_place(struct places *p, long expert, long layer, long slot)
{
	if ((p->n & (p->n - 1)) == 0)
		p->v = mem_grow(p->v, (size_t)(p->n ? 2 * p->n : 1), sizeof(*p->v));
	p->v[p->n++] = (struct place){expert, (int)layer, (int)slot};
}

/* The fields of a line up to n, cut at its commas and its end; how many, and the next line. */
static int
cut(char **line, char **field, int n)
{
	char *s = strsep(line, "\n");
	int k = 0;

	while (s && k < n)
		field[k++] = strsep(&s, ",");
	return k;
}

enum { LEDGER = 32 }; /* columns of a ledger at most */

static int
ledger_places(struct places *p, const struct ckpt *k, const char *ledger)
{
	static const char *const name[3] = {"layer", "slot", "expert"};
	char *text = mem_copy(ledger), *rest = text, *field[LEDGER];
	int column[3] = {-1, -1, -1}, fields = cut(&rest, field, LEDGER), r = 0;

	for (int i = 0; i < fields; i++)
		for (int j = 0; j < 3; j++)
			if (strcmp(field[i], name[j]) == 0)
				column[j] = i;
	if (column[0] < 0 || column[1] < 0 || column[2] < 0)
		r = err_set("%s: the ledger lacks layer, slot or expert", k->name);
	while (r == 0 && rest && *rest) {
		long v[3] = {0, 0, 0};

		if (cut(&rest, field, LEDGER) != fields ||
		    num_long(field[column[0]], 0, INT_MAX, &v[0]) < 0 ||
		    num_long(field[column[1]], 0, INT_MAX, &v[1]) < 0 ||
		    num_long(field[column[2]], 0, LONG_MAX, &v[2]) < 0)
			r = err_set("%s: line %ld of the ledger makes no sense", k->name, p->n + 2);
		else
			add_place(p, v[2], v[0], v[1]);
	}
	p->ledger = true;
	free(text);
	return r;
}

/* Without a ledger an expert is its slot. */
static void
tensor_places(struct places *p, const struct ckpt *k)
{
	for (int i = 0; i < k->n; i++) {
		int layer, slot, end = 0;

		if (sscanf(k->tensor[i].name, "model.layers.%9d.mlp.experts.%9d.up_proj.weight%n",
			   &layer, &slot, &end) == 2 &&
		    end > 0 && !k->tensor[i].name[end] && layer >= 0 && slot >= 0)
			add_place(p, slot, layer, slot);
	}
}

static int
by_slot(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int d = compare(x->layer, y->layer);

	return d ? d : compare(x->slot, y->slot);
}

static int
by_id(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return compare(x->expert, y->expert);
}

static int
find_places(struct places *p, const struct ckpt *k)
{
	const char *ledger = ckpt_meta(k, "ledger");

	*p = (struct places){0};
	if (ledger && ledger_places(p, k, ledger) < 0)
		return -1;
	if (!ledger)
		tensor_places(p, k);
	return p->n > 0 ? 0 : err_set("%s: no experts (expected a mixture's checkpoint)", k->name);
}

/* Sort by the key that both checkpoints have; each key stands once. */
static int
sort_places(struct places *p, const struct ckpt *k, int (*key)(const void *, const void *))
{
	qsort(p->v, (size_t)p->n, sizeof(*p->v), key);
	for (long i = 1; i < p->n; i++)
		if (key(&p->v[i - 1], &p->v[i]) == 0)
			return err_set("%s: expert %ld of layer %d stands twice in the ledger",
				       k->name, p->v[i].expert, p->v[i].layer);
	return 0;
}

static const struct ckpt_tensor *
tensor(const struct ckpt *k, const struct place *x, const char *part)
{
	char name[128];

	snprintf(name, sizeof(name), "model.layers.%d.mlp.experts.%d.%s.weight", x->layer, x->slot,
		 part);
	return ckpt_find(k, name);
}

/* n values of a tensor from its i-th on, beside those of another. */
struct pair {
	const struct ckpt *a, *b;
	const struct ckpt_tensor *ta, *tb;
	uint64_t ia, ib, n;
};

static double
element(const struct ckpt *k, const struct ckpt_tensor *t, uint64_t i)
{
	return ckpt_value(t->type, k->data + t->offset + i * ckpt_type_bytes(t->type));
}

/* Add |b - a|^2 and |a|^2. */
static int
add_squares(const struct pair *p, double *moved, double *size)
{
	double d2 = 0, a2 = 0;

	for (uint64_t i = 0; i < p->n; i++) {
		const double a = element(p->a, p->ta, p->ia + i);
		const double d = element(p->b, p->tb, p->ib + i) - a;

		d2 += d * d;
		a2 += a * a;
	}
	if (!isfinite(d2 + a2))
		return err_set("%s or %s: tensor %s holds a value that is not finite", p->a->name,
			       p->b->name, p->ta->name);
	*moved += d2;
	*size += a2;
	return 0;
}

static double
relative(double moved, double size)
{
	return size > 0 ? sqrt(moved / size) : NAN;
}

static bool
same_shape(const struct ckpt_tensor *a, const struct ckpt_tensor *b)
{
	return a->dims == b->dims &&
	       memcmp(a->shape, b->shape, (size_t)a->dims * sizeof(*a->shape)) == 0;
}

static int
weights_drift(const struct ckpt *a, const struct place *pa, const struct ckpt *b,
	      const struct place *pb, struct memory_drift *d)
{
	static const char *const part[] = {"gate_proj", "up_proj", "down_proj"};
	double moved = 0, size = 0;
	int parts = 0;

	for (int i = 0; i < 3; i++) {
		const struct ckpt_tensor *ta = tensor(a, pa, part[i]), *tb = tensor(b, pb, part[i]);

		if (!ta && !tb)
			continue;
		parts++;
		if (!ta || !tb || !same_shape(ta, tb)) {
			d->state = MEMORY_RESHAPED;
			return 0;
		}
		if (add_squares(&(struct pair){a, b, ta, tb, 0, 0,
					       ta->bytes / ckpt_type_bytes(ta->type)},
				&moved, &size) < 0)
			return -1;
	}
	if (parts == 0)
		return err_set("%s: expert %ld has no weights (expected model.layers.%d.mlp."
			       "experts.%d.up_proj.weight)",
			       b->name, pb->expert, pb->layer, pb->slot);
	d->drift = relative(moved, size);
	return 0;
}

static const struct ckpt_tensor *
router(const struct ckpt *k, const struct place *x)
{
	const struct ckpt_tensor *t;
	char name[64];

	snprintf(name, sizeof(name), "model.layers.%d.mlp.gate.weight", x->layer);
	t = ckpt_find(k, name);
	return t && t->dims == 2 && (uint64_t)x->slot < t->shape[0] ? t : NULL;
}

static int
router_drift(const struct ckpt *a, const struct place *pa, const struct ckpt *b,
	     const struct place *pb, struct memory_drift *d)
{
	const struct ckpt_tensor *ta = router(a, pa), *tb = router(b, pb);
	double moved = 0, size = 0;
	uint64_t n;

	if (!ta || !tb || (n = ta->shape[1]) != tb->shape[1])
		return 0;
	if (add_squares(
		    &(struct pair){a, b, ta, tb, (uint64_t)pa->slot * n, (uint64_t)pb->slot * n, n},
		    &moved, &size) < 0)
		return -1;
	d->router = relative(moved, size);
	return 0;
}

static struct memory_drift
row_of(const struct place *x, enum memory_state state)
{
	return (struct memory_drift){.state = state,
				     .expert = x->expert,
				     .layer = x->layer,
				     .slot = x->slot,
				     .drift = NAN,
				     .router = NAN};
}

static int
by_row(const void *a, const void *b)
{
	const struct memory_drift *x = a, *y = b;
	int d = compare(x->layer, y->layer);

	if (d == 0)
		d = compare(x->slot, y->slot);
	return d ? d : compare(x->state, y->state);
}

/* Both lists rise by key: walk them side by side. */
static struct memory_drift *
match(const struct ckpt *a, const struct places *pa, const struct ckpt *b, const struct places *pb,
      int (*key)(const void *, const void *), long *n)
{
	struct memory_drift *v = mem_zero((size_t)(pa->n + pb->n), sizeof(*v));

	*n = 0;
	for (long i = 0, j = 0; i < pa->n || j < pb->n;) {
		const struct place *x = &pa->v[i], *y = &pb->v[j];
		int d = i == pa->n ? 1 : j == pb->n ? -1 : key(x, y);
		struct memory_drift *row = &v[(*n)++];

		*row = d < 0   ? row_of(x, MEMORY_GONE)
		       : d > 0 ? row_of(y, MEMORY_BORN)
			       : row_of(y, MEMORY_KEPT);
		if (d == 0 &&
		    (weights_drift(a, x, b, y, row) < 0 || router_drift(a, x, b, y, row) < 0)) {
			free(v);
			return NULL;
		}
		i += d <= 0;
		j += d >= 0;
	}
	qsort(v, (size_t)*n, sizeof(*v), by_row);
	return v;
}

struct memory_drift *
memory_drift(const struct ckpt *a, const struct ckpt *b, long *n)
{
	struct memory_drift *v = NULL;
	struct places pa = {0}, pb = {0};

	if (find_places(&pa, a) == 0 && find_places(&pb, b) == 0) {
		int (*key)(const void *, const void *) = pa.ledger && pb.ledger ? by_id : by_slot;

		if (sort_places(&pa, a, key) == 0 && sort_places(&pb, b, key) == 0)
			v = match(a, &pa, b, &pb, key, n);
	}
	free(pa.v);
	free(pb.v);
	return v;
}
