/* How experts begin: what each way promises of every matrix; the same for any number of workers. */
#include "base/err.h"
#include "base/task.h"
#include "model/start.h"
#include "tap.h"

enum { C = 24, E = 5 };

/* Experts wider and narrower than the model. */
static struct param *
make(enum kern_act act, enum start kind, uint64_t seed)
{
	struct shape s = {.vocab = 7,
			  .dim = C,
			  .layers = 2,
			  .heads = 2,
			  .kv_heads = 2,
			  .top_k = 2,
			  .act = act};
	const int experts = E, hidden[E] = {40, 16, 24, 31, 1};
	struct param *p;

	if (shape_set(&s, 1, &experts, E, hidden) != 0)
		exit(1);
	p = param_new(&s, false);
	shape_free(&s);
	param_init(p, seed);
	if (kind != START_NORMAL)
		start_experts(p, kind, seed);
	return p;
}

/* What is measured over all matrices of experts. */
struct sums {
	enum start kind;
	long n, odd; /* matrices, those that are not as they should be */
	double square, count, most;
};

static double
product(const struct tensor *t, bool rows, long i, long j)
{
	double s = 0;

	for (long k = 0; k < (rows ? t->cols : t->rows); k++)
		s += rows ? (double)t->w[i * t->cols + k] * (double)t->w[j * t->cols + k]
			  : (double)t->w[k * t->cols + i] * (double)t->w[k * t->cols + j];
	return s;
}

static bool
is_orthogonal(const struct tensor *t)
{
	const bool rows = t->rows <= t->cols;
	const long n = rows ? t->rows : t->cols;
	double worst = 0;

	for (long i = 0; i < n; i++)
		for (long j = 0; j <= i; j++)
			worst = fmax(worst, fabs(product(t, rows, i, j) - (i == j)));
	return worst < 1e-6;
}

static bool
is_sparse(const struct tensor *t)
{
	for (long j = 0; j < t->cols; j++) {
		long zeros = 0;
		for (long i = 0; i < t->rows; i++)
			zeros += t->w[i * t->cols + j] == 0;
		if (zeros != (t->rows + 1) / 2)
			return false;
	}
	return true;
}

static void
look(void *arg, struct tensor *t, int layer, int slot)
{
	struct sums *s = arg;

	(void)layer;
	if (slot < 0)
		return;
	s->n++;
	if (s->kind == START_SPARSE)
		s->odd += !is_sparse(t);
	if (s->kind == START_ORTHOGONAL)
		s->odd += !is_orthogonal(t);
	for (long i = 0; i < t->rows * t->cols; i++) {
		const double x =
			(double)t->w[i] * (s->kind == START_DEFAULT ? sqrt((double)t->cols) : 1);
		s->count += x != 0;
		s->square += x * x;
		s->most = fmax(s->most, fabs(x));
	}
}

static struct sums
measure(enum start kind, enum kern_act act)
{
	struct param *p = make(act, kind, 1);
	struct sums s = {.kind = kind};

	param_each(p, look, &s);
	param_free(p);
	return s;
}

struct copy {
	float w[40000];
	long n;
};

static void
keep(void *arg, struct tensor *t, int layer, int slot)
{
	struct copy *c = arg;

	(void)layer, (void)slot;
	memcpy(c->w + c->n, t->w, (size_t)(t->rows * t->cols) * sizeof *t->w);
	c->n += t->rows * t->cols;
}

static void
kinds(void)
{
	struct sums s = measure(START_SPARSE, ACT_SWIGLU);

	is_long(s.n, 2 * E * 3, "gated experts: matrices");
	is_long(s.odd, 0, "sparse: half of each column is zero");
	is_real(sqrt(s.square / s.count), 0.01, 0.0004, "and the others have the deviation 0.01");
	s = measure(START_DEFAULT, ACT_GELU);
	is_real(sqrt(s.square / s.count), 1 / sqrt(3), 0.02, "default: uniform in 1 / sqrt(in)");
	ok(s.most <= 1 && s.most > 0.99, "and never beyond (%g)", s.most);
	s = measure(START_ORTHOGONAL, ACT_GELU);
	is_long(s.odd, 0, "orthogonal: rows or columns, whichever are fewer");
}

static void
draws(void)
{
	static struct copy one, two, other, normal;
	struct param *p;

	p = make(ACT_GELU, START_SPARSE, 1);
	param_each(p, keep, &one);
	param_free(p);
	p = make(ACT_GELU, START_SPARSE, 2);
	param_each(p, keep, &other);
	param_free(p);
	p = make(ACT_GELU, START_NORMAL, 1);
	param_each(p, keep, &normal);
	param_free(p);
	task_start(2);
	p = make(ACT_GELU, START_SPARSE, 1);
	param_each(p, keep, &two);
	param_free(p);
	is_bytes(two.w, one.w, (size_t)one.n * sizeof *one.w, "two workers draw the same");
	is_long(one.n, normal.n, "as many weights as ever");
	ok(memcmp(one.w, other.w, sizeof one.w) != 0, "another seed draws others");
	is_bytes(one.w, normal.w, 7 * C * sizeof *one.w, "what is no expert begins as ever");
}

static void
names(void)
{
	static const char *const name[] = {"normal", "sparse", "default", "orthogonal",
					   "pretrained"};

	for (int i = 0; i < 5; i++)
		is_long(start_kind(name[i]), i, "%s", name[i]);
	is_long(start_kind("sparsely"), -1, "another name is refused");
	ok(strstr(err_text(), "\"sparsely\" (expected normal, sparse, default,"), "and told");
}

int
main(void)
{
	kern_choose(NULL);
	task_start(1);
	kinds();
	names();
	draws();
	task_stop();
	return done();
}
