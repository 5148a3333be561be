/*
 * Every kernel of every instruction set that this machine runs, beside the same mathematics in
 * double precision.  Arrays end where readable memory ends, and what a kernel must not touch holds
 * a known value.
 */
#include "base/rng.h"
#include "math/kern.h"
#include "tap.h"
#include <float.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 12, SLOT = 1 << 20, FRONT = 64 }; /* SLOT: floats; FRONT: of them watched before */

static const float CANARY = -12345.678f;
static float *slot_end[SLOTS];
static struct rng draw;
static char wrong[256]; /* the first fault of a group of cases, "" if none */

static void __attribute__((format(printf, 1, 2))) blame(const char *fmt, ...)
{
	va_list ap;

	if (*wrong)
		return;
	va_start(ap, fmt);
	vsnprintf(wrong, sizeof wrong, fmt, ap);
	va_end(ap);
}

static void
verdict(const char *what)
{
	is_text(wrong, "", "%s: %s", kern->name, what);
	*wrong = 0;
}

/* n floats at the end of a slot: the next one cannot be read, those before hold the canary. */
static float *
edge(int slot, long n)
{
	if (!slot_end[slot]) {
		size_t bytes = SLOT * sizeof(float), page = (size_t)sysconf(_SC_PAGESIZE);
		char *p = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED || mprotect(p + bytes, page, PROT_NONE) != 0)
			abort();
		slot_end[slot] = (float *)(void *)(p + bytes);
	}
	if (n + FRONT > SLOT)
		abort();
	for (float *p = slot_end[slot] - n - FRONT; p < slot_end[slot]; p++)
		*p = CANARY;
	return slot_end[slot] - n;
}

static double
between(double a, double b)
{
	return a + (b - a) * rng_uniform(&draw);
}

static long
pick(long a, long b)
{
	return a + (long)rng_below(&draw, (uint64_t)(b - a + 1));
}

/* rows x cols in [-1, 1) at the end of a slot; the rest of a row holds the canary. */
static float *
matrix(int slot, long rows, long cols, long ld)
{
	float *p = edge(slot, rows > 0 ? (rows - 1) * ld + cols : 0);

	for (long i = 0; i < rows; i++)
		for (long j = 0; j < cols; j++)
			p[i * ld + j] = (float)between(-1, 1);
	return p;
}

static float *
vector(int slot, long n)
{
	return matrix(slot, 1, n, n);
}

/* What surrounds a matrix still holds the canary. */
static void
spills(const float *p, long rows, long cols, long ld, const char *what)
{
	for (long i = -FRONT; i < 0; i++)
		if (p[i] != CANARY)
			blame("%s: wrote %ld before the start", what, -i);
	for (long i = 0; i + 1 < rows; i++)
		for (long j = cols; j < ld; j++)
			if (p[i * ld + j] != CANARY)
				blame("%s: wrote beside row %ld, column %ld of %ld", what, i, j,
				      cols);
}

static void
near(double got, double want, double tol, const char *what, long n, long i)
{
	if (!(fabs(got - want) <= tol))
		blame("%s, n = %ld, [%ld]: %.9g (expected %.9g within %g)", what, n, i, got, want,
		      tol);
}

static void
same_bits(const float *got, const float *want, long n, const char *what, long at)
{
	for (long i = 0; i < n; i++)
		if (memcmp(got + i, want + i, sizeof *got) != 0)
			blame("%s, %ld, [%ld]: %.9g (expected the bits of %.9g)", what, at, i,
			      (double)got[i], (double)want[i]);
}

/* ---- products ---- */

typedef void product_fn(long m, long n, long k, const float *a, long lda, const float *b, long ldb,
			float *c, long ldc, bool add);
enum { NT, NN, TN };
static const char *const layout[] = {"nt", "nn", "tn"};

static product_fn *
product(int kind)
{
	return kind == NT ? kern->nt : kind == NN ? kern->nn : kern->tn;
}

static void
one_product(int kind, long m, long n, long k, long pad, bool add)
{
	long lda = (kind == TN ? m : k) + pad, ldb = (kind == NT ? k : n) + pad / 2, ldc = n + pad;
	const float *a = kind == TN ? matrix(0, k, m, lda) : matrix(0, m, k, lda);
	const float *b = kind == NT ? matrix(1, n, k, ldb) : matrix(1, k, n, ldb);
	float *c = matrix(2, m, n, ldc), *before = edge(3, m * ldc);

	memcpy(before, c, (size_t)((m - 1) * ldc + n) * sizeof *c);
	if (!add)
		for (long i = 0; i < m; i++)
			for (long j = 0; j < n; j++)
				c[i * ldc + j] = NAN;
	product(kind)(m, n, k, a, lda, b, ldb, c, ldc, add);
	for (long i = 0; i < m; i++)
		for (long j = 0; j < n; j++) {
			double sum = add ? (double)before[i * ldc + j] : 0, size = fabs(sum);
			for (long l = 0; l < k; l++) {
				double x = (double)(kind == TN ? a[l * lda + i] : a[i * lda + l]) *
					   (double)(kind == NT ? b[j * ldb + l] : b[l * ldb + j]);
				sum += x;
				size += fabs(x);
			}
			double tol = (double)(k + 1) * FLT_EPSILON * size,
			       got = (double)c[i * ldc + j];
			if (!(fabs(got - sum) <= tol))
				blame("%s m %ld n %ld k %ld pad %ld add %d: [%ld][%ld] %.9g "
				      "(expected %.9g)",
				      layout[kind], m, n, k, pad, add, i, j, got, sum);
		}
	spills(c, m, n, ldc, layout[kind]);
}

static void
products(void)
{
	/* beyond one block of rows and of depth; far apart, the last of them */
	static const long large[][4] = {{1, 1, 5000, 0},   {201, 97, 129, 1},	{15, 130, 777, 2},
					{7, 300, 400, 3},  {200, 70, 17, 4},	{300, 31, 385, 0},
					{1203, 33, 20, 7}, {100, 70, 300, 1024}};

	for (int kind = NT; kind <= TN; kind++) {
		for (long i = 0; i < 300; i++)
			one_product(kind, i < 70 ? i + 1 : pick(1, 70),
				    i >= 70 && i < 140 ? i - 69 : pick(1, 70),
				    i >= 140 && i < 211 ? i - 140 : pick(0, 70), pick(0, 9), i % 2);
		for (unsigned i = 0; i < sizeof large / sizeof *large; i++)
			one_product(kind, large[i][0], large[i][1], large[i][2], large[i][3],
				    i % 2);
		verdict(layout[kind]);
	}
}

/* m of the rows of a product among 200 are those of a product of these rows alone. */
static void
row_invariance(long n, long k, long every)
{
	enum { ROWS = 200 };
	const long lda = k + 3, ldt = ROWS + 1;
	const float *a = matrix(0, ROWS, k, lda), *bt = matrix(1, n, k, k), *b = matrix(2, k, n, n);
	float *at = matrix(3, k, ROWS, ldt), *all = matrix(4, ROWS, n, n),
	      *some = edge(5, ROWS * n);

	for (int kind = NT; kind <= TN; kind++) {
		product(kind)(ROWS, n, k, kind == TN ? at : a, kind == TN ? ldt : lda,
			      kind == NT ? bt : b, kind == NT ? k : n, all, n, false);
		for (long m = 1; m <= ROWS; m += every) {
			long from = pick(0, ROWS - m);
			product(kind)(m, n, k, kind == TN ? at + from : a + from * lda,
				      kind == TN ? ldt : lda, kind == NT ? bt : b,
				      kind == NT ? k : n, some, n, false);
			same_bits(some, all + from * n, m * n, layout[kind], m);
		}
	}
}

/* Columns, too, stand by themselves: a narrower product has the same bits. */
static void
column_invariance(void)
{
	const long m = 20, n = 100, k = 450;
	const float *a = matrix(0, m, k, k), *b = matrix(1, n, k, k);
	float *all = matrix(2, m, n, n), *some = edge(3, m * n);

	kern->nt(m, n, k, a, k, b, k, all, n, false);
	for (long w = 1; w <= n; w++) {
		long from = pick(0, n - w);
		kern->nt(m, w, k, a, k, b + from * k, k, some, w, false);
		for (long i = 0; i < m; i++)
			same_bits(some + i * w, all + i * n + from, w, "columns", w);
	}
}

/* A packed operand, its rows scaled, gives the bits of nt with rows that were scaled before. */
static void
one_packed(long m, long n, long k, long pad, bool scaled)
{
	const float *a = matrix(0, m, k, k + pad), *b = matrix(1, n, k, k + pad);
	const float *s = scaled ? vector(2, n) : NULL;
	float *rows = edge(3, n * k), *p = edge(4, kern_packed(n, k));
	float *want = edge(5, m * n), *got = matrix(6, m, n, n + pad);

	for (long i = 0; i < n; i++)
		kern->scale(k, s ? s[i] : 1, b + i * (k + pad), rows + i * k);
	kern->nt(m, n, k, a, k + pad, rows, k, want, n, false);
	kern->pack(n, k, s, b, k + pad, p);
	kern->packed(m, n, k, a, k + pad, p, got, n + pad);
	for (long i = 0; i < m; i++)
		same_bits(got + i * (n + pad), want + i * n, n, "packed", n);
	spills(got, m, n, n + pad, "packed");
}

static void
packs(void)
{
	for (long n = 1; n <= 100; n++)
		one_packed(pick(1, 60), n, pick(1, 70), pick(0, 5), n % 2);
	one_packed(57, 300, 64, 0, true);
	one_packed(31, 70, 300, 3, true);
	one_packed(3, 33, 777, 0, false);
	verdict("packed operands");
}

/* ---- rows ---- */

static void
sums(void)
{
	for (long n = 1; n <= 70; n++) {
		const float *a = vector(0, n), *b = vector(1, n);
		float *y = vector(2, n), *z = edge(3, n);
		double s = 0, q = 0;

		for (long i = 0; i < n; i++) {
			s += (double)a[i] * (double)b[i];
			q += (double)a[i] * (double)a[i];
		}
		near((double)kern->dot(n, a, b), s, 1e-5, "dot", n, 0);
		near(kern->sumsq(n, a), q, 1e-5, "sumsq", n, 0);
		memcpy(z, y, (size_t)n * sizeof *z);
		kern->axpy(n, 0.3f, a, y);
		for (long i = 0; i < n; i++)
			near((double)y[i], (double)z[i] + 0.3 * (double)a[i], 1e-6, "axpy", n, i);
		spills(y, 1, n, n, "axpy");
		kern->scale(n, -2, a, z);
		for (long i = 0; i < n; i++)
			near((double)z[i], -2 * (double)a[i], 0, "scale", n, i);
		spills(z, 1, n, n, "scale");
		kern->scale(n, 4, z, z);
		for (long i = 0; i < n; i++)
			near((double)z[i], -8 * (double)a[i], 0, "scale in place", n, i);
	}
	verdict("dot, sumsq, axpy, scale of 1 to 70 numbers");

	const long n = 1000003;
	float *a = vector(0, n);
	double q = 0;
	for (long i = 0; i < n; i++)
		q += (double)a[i] * (double)a[i];
	near(kern->sumsq(n, a) / q, 1, 1e-6, "sumsq", n, 0);
	near((double)kern->dot(0, a, a), 0, 0, "dot", 0, 0);
	near(kern->sumsq(0, a), 0, 0, "sumsq", 0, 0);
	verdict("sumsq of a million numbers, sums of none");
}

/* Many rows against one vector: the bits of one row at a time. */
static void
row_sets(void)
{
	for (long k = 1; k <= 70; k++)
		for (long n = 0; n <= 9; n++) {
			const float *b = matrix(0, n, k, k), *x = vector(1, k);
			float *a = vector(4, n), *y = edge(2, n), *z = vector(3, k), sum[70], one;
			signed char q[80] = {0};
			double s = 0;

			kern->dots(n, k, b, x, y);
			for (long i = 0; i < n; i++) {
				one = kern->dot(k, b + i * k, x);
				same_bits(y + i, &one, 1, "dots", k);
			}
			spills(y, 1, n, n, "dots");
			memcpy(sum, z, (size_t)k * sizeof *z);
			for (long i = 0; i < n; i++) {
				a[i] = i % 3 == 1 ? i % 2 ? 0 : -0.0f : a[i];
				if (a[i] != 0)
					kern->axpy(k, a[i], b + i * k, sum);
			}
			kern->mix(n, k, a, b, k, z);
			same_bits(z, sum, k, "mix", n);
			spills(z, 1, k, k, "mix");
			for (long i = 0; i < k; i++) {
				q[i] = (signed char)pick(-127, 127);
				s += (double)q[i] * (double)x[i];
			}
			near((double)kern->dot8(k, q, x), s, 1e-3, "dot8", k, 0);
		}
	const float none[2] = {0, -0.0f}, bad[4] = {NAN, INFINITY, NAN, -INFINITY};
	float y[2] = {1, -0.0f}, kept[2] = {1, -0.0f};
	kern->mix(2, 2, none, bad, 2, y);
	same_bits(y, kept, 2, "mix of rows of zero weight", 0);
	verdict("dots, mix and dot8 of 1 to 70 numbers");
}

static void
wide_sums(void)
{
	for (long n = 0; n <= 70; n++) {
		const float *x = vector(0, n);
		double y[72], want[72];
		for (long i = 0; i < 72; i++)
			y[i] = want[i] = between(-1, 1);
		for (long i = 0; i < n; i++)
			want[i] = want[i] + (double)0.3f * (double)x[i];
		kern->axpy64(n, (double)0.3f, x, y);
		if (memcmp(y, want, sizeof y) != 0)
			blame("axpy64 of %ld numbers", n);
	}
	verdict("axpy64 of 0 to 70 numbers, to the bit");
}

/* Distance in units of the last place of the float nearest to want, subnormals as if normal. */
static double
ulps(float got, double want)
{
	int e;

	if (want == 0)
		return got == 0 ? 0 : INFINITY;
	frexp(want, &e);
	return fabs((double)got - want) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

static void
exponentials(void)
{
	enum { N = 4096 };
	static float x[N], y[N];
	const double best =
		strcmp(kern->name, "portable") == 0 ? 1.3 : 1.1; /* without and with FMA */
	double worst = 0;
	int n = 0;

	for (float v = -87; v < 88; v += 3.1e-4f) {
		x[n++] = v;
		if (n < N && v + 3.1e-4f < 88)
			continue;
		kern->exp(n, x, y);
		for (int i = 0; i < n; i++)
			worst = fmax(worst, ulps(y[i], exp((double)x[i])));
		n = 0;
	}
	ok(worst < best, "%s: exp over [-87, 88] is within %.1f ulp (%.2f)", kern->name, best,
	   worst);

	for (int i = 0; i < N; i++)
		x[i] = (float)ldexp(i % 2 ? -1 : 1, -i / 24 - 1);
	kern->exp(N, x, y);
	for (int i = 0; i < N; i++)
		if (ulps(y[i], exp((double)x[i])) > best)
			blame("exp(%g) = %.9g", (double)x[i], (double)y[i]);
	verdict("exp near zero and of subnormal numbers");

	const float in[] = {NAN,   INFINITY, -INFINITY, 0,     -0.0f,	88,
			    88.5f, FLT_MAX,  -87.01f,	-1000, -FLT_MAX};
	const double out[] = {NAN, exp(88), 0, 1, 1, exp(88), exp(88), exp(88), 0, 0, 0};
	enum { SPECIAL = sizeof in / sizeof *in };
	kern->exp(SPECIAL, in, y);
	for (int i = 0; i < SPECIAL; i++)
		if (isnan(out[i]) ? !isnan(y[i]) : ulps(y[i], out[i]) > best)
			blame("exp(%g) = %.9g (expected %.9g)", (double)in[i], (double)y[i],
			      out[i]);
	verdict("exp of NaN, infinities, zeros and beyond its range");

	for (long m = 1; m <= 70; m++) {
		const float *a = vector(0, m);
		float *b = edge(1, m);
		kern->exp(m, a, b);
		for (long i = 0; i < m; i++)
			near((double)b[i], exp((double)a[i]), 3e-7, "exp", m, i);
		spills(b, 1, m, m, "exp");
	}
	verdict("exp of 1 to 70 numbers");
}

static void
softmaxes(void)
{
	for (long n = 1; n <= 70; n++)
		for (int shift = -200; shift <= 200; shift += 100) {
			float *x = vector(0, n), *z = edge(1, n), lse;
			double sum = 0;

			for (long i = 0; i < n; i++)
				x[i] = x[i] * 20 + (float)shift;
			if (n > 4)
				x[n / 2] = -INFINITY;
			memcpy(z, x, (size_t)n * sizeof *z);
			for (long i = 0; i < n; i++)
				sum += exp((double)z[i] - shift);
			lse = kern->softmax(n, x);
			near((double)lse, shift + log(sum), 3e-5, "softmax's normaliser", n, 0);
			for (long i = 0; i < n; i++)
				near((double)x[i], exp((double)z[i] - shift) / sum, 1e-6, "softmax",
				     n, i);
			spills(x, 1, n, n, "softmax");
		}
	verdict("softmax");

	float x[33];
	for (int i = 0; i < 33; i++)
		x[i] = i == 20 ? NAN : 1;
	if (!isnan(kern->softmax(33, x)))
		blame("the normaliser is a number");
	for (int i = 0; i < 33; i++)
		if (!isnan(x[i]))
			blame("[%d] is a number", i);
	verdict("a NaN spreads through its softmax");
}

/* sum dy * w * x / sqrt(mean x^2 + eps) */
static double
rms_loss(long n, const double *x, const double *w, double eps, const float *dy)
{
	double q = 0, s = 0;

	for (long i = 0; i < n; i++)
		q += x[i] * x[i];
	for (long i = 0; i < n; i++)
		s += (double)dy[i] * w[i] * x[i];
	return s / sqrt(q / (double)n + eps);
}

static void
norms(void)
{
	const double eps = 1e-5, h = 1e-5;
	double xd[70], wd[70];

	for (long n = 1; n <= 70; n++) {
		const float *x = vector(0, n), *w = vector(1, n), *dy = vector(2, n);
		float *y = edge(3, n), *dx = vector(4, n), *dw = vector(5, n), dx0[70], dw0[70], r;
		double q = 0;

		for (long i = 0; i < n; i++) {
			xd[i] = (double)x[i];
			wd[i] = (double)w[i];
			q += xd[i] * xd[i] / (double)n;
			dx0[i] = dx[i];
			dw0[i] = dw[i];
		}
		r = kern->rms(n, x, w, (float)eps, y);
		near((double)r * sqrt(q + eps), 1, 1e-6, "r", n, 0);
		for (long i = 0; i < n; i++)
			near((double)y[i], wd[i] * xd[i] / sqrt(q + eps), 1e-6, "rms", n, i);
		spills(y, 1, n, n, "rms");
		kern->rms_back(n, dy, x, w, r, dx, dw);
		for (long i = 0; i < n; i++) {
			double keep = xd[i], up, tol = 1e-5 / sqrt(q + eps);
			xd[i] = keep + h;
			up = rms_loss(n, xd, wd, eps, dy);
			xd[i] = keep - h;
			up -= rms_loss(n, xd, wd, eps, dy);
			xd[i] = keep;
			near((double)dx[i] - (double)dx0[i], up / (2 * h), tol, "rms dx", n, i);
			near((double)dw[i] - (double)dw0[i], (double)dy[i] * keep / sqrt(q + eps),
			     tol, "rms dw", n, i);
		}
		spills(dx, 1, n, n, "rms dx");
		spills(dw, 1, n, n, "rms dw");
	}
	verdict("rms and its gradient");
}

/* The gradient of a rotation is the rotation back. */
static void
rotations(void)
{
	for (int half = 1; half <= 35; half++) {
		const int heads = 1 + half % 3, dim = 2 * half;
		float *x = vector(0, heads * dim), *c = edge(1, half), *s = edge(2, half);
		float *x0 = edge(3, heads * dim);

		memcpy(x0, x, (size_t)(heads * dim) * sizeof *x);
		for (int i = 0; i < half; i++) {
			double angle = between(-3, 3);
			c[i] = (float)cos(angle);
			s[i] = (float)sin(angle);
		}
		kern->rope(heads, dim, x, c, s, 1);
		for (int h = 0; h < heads; h++)
			for (int i = 0; i < half; i++) {
				const float *p = x0 + h * dim + i;
				double a = (double)p[0], b = (double)p[half];
				double cd = (double)c[i], sd = (double)s[i];
				near((double)x[h * dim + i], a * cd - b * sd, 4e-7, "rope", dim, i);
				near((double)x[h * dim + half + i], b * cd + a * sd, 4e-7, "rope",
				     dim, i);
			}
		kern->rope(heads, dim, x, c, s, -1);
		for (int i = 0; i < heads * dim; i++)
			near((double)x[i], (double)x0[i], 1e-6, "rope and back", dim, i);
		spills(x, 1, heads * dim, heads * dim, "rope");
	}
	verdict("rope and back");
}

static const char *const act_name[] = {"gelu", "relu", "relu2", "swiglu", "reglu"};

static double
unit(enum kern_act act, double x)
{
	switch (act) {
	case ACT_GELU: return 0.5 * x * erfc(-x / sqrt(2));
	case ACT_SWIGLU: return x / (1 + exp(-x));
	case ACT_RELU2: return x > 0 ? x * x : 0;
	default: return x > 0 ? x : 0;
	}
}

static double
unit_of(enum kern_act act, double gate, double up)
{
	return kern_gated(act) ? unit(act, gate) * up : unit(act, up);
}

static void
activations(enum kern_act act)
{
	const double h = 1e-5;
	const char *name = act_name[act];

	for (long n = 1; n <= 70; n++) {
		float *gate = vector(0, n), *up = vector(1, n), *da = vector(2, n);
		float *a = edge(3, n), *aw = edge(4, n), *dgate = edge(5, n), *dup = edge(6, n);
		float w = (float)between(0.1, 1), dw;
		double dot = 0;

		for (long i = 0; i < n; i++) {
			/* away from the corner of relu, where there is no slope */
			gate[i] = gate[i] * 6 + copysignf(0.001f, gate[i]);
			up[i] = up[i] * 6 + copysignf(0.001f, up[i]);
		}
		kern->act(act, n, kern_gated(act) ? gate : NULL, up, a);
		dw = kern->act_back(act, n, kern_gated(act) ? gate : NULL, up, da, w, aw,
				    kern_gated(act) ? dgate : NULL, dup);
		for (long i = 0; i < n; i++) {
			double g = (double)gate[i], u = (double)up[i], f = unit_of(act, g, u);
			double d = (double)w * (double)da[i];
			double gu = (unit_of(act, g, u + h) - unit_of(act, g, u - h)) / (2 * h);
			double gg = (unit_of(act, g + h, u) - unit_of(act, g - h, u)) / (2 * h);

			near((double)a[i], f, 4e-7 * (1 + fabs(f)), name, n, i);
			near((double)aw[i], (double)w * f, 4e-7 * (1 + fabs(f)), "w a", n, i);
			near((double)dup[i], d * gu, 2e-6 * (1 + fabs(d * gu)), "d up", n, i);
			if (kern_gated(act))
				near((double)dgate[i], d * gg, 2e-6 * (1 + fabs(d * gg)), "d gate",
				     n, i);
			dot += (double)da[i] * f;
		}
		near((double)dw, dot, 2e-5 * (double)n, "d w", n, 0);
		spills(a, 1, n, n, name);
		spills(aw, 1, n, n, "w a");
		spills(dup, 1, n, n, "d up");
		spills(dgate, 1, kern_gated(act) ? n : 0, n, "d gate");
	}
	verdict(name);
}

static void
activation_range(void)
{
	enum { N = 4096 };
	static float x[N], y[N], one[N], slope[N], aw[N];
	double worst = 0, steep = 0, swish = 0;

	for (int i = 0; i < N; i++)
		one[i] = 1;
	for (float v = -16; v < 16; v += N * 3e-5f) {
		for (int i = 0; i < N; i++)
			x[i] = v + 3e-5f * (float)i;
		kern->act(ACT_GELU, N, NULL, x, y);
		kern->act_back(ACT_GELU, N, NULL, x, one, 1, aw, NULL, slope);
		for (int i = 0; i < N; i++) {
			double u = (double)x[i];
			double d = 0.5 * erfc(-u / sqrt(2)) + u * exp(-u * u / 2) / sqrt(2 * M_PI);
			worst = fmax(worst,
				     fabs((double)y[i] - unit(ACT_GELU, u)) / fmax(1, fabs(u)));
			steep = fmax(steep, fabs((double)slope[i] - d));
		}
		same_bits(aw, y, N, "gelu forward and back", 0);
		kern->act(ACT_SWIGLU, N, x, one, y);
		for (int i = 0; i < N; i++)
			swish = fmax(swish, fabs((double)y[i] - unit(ACT_SWIGLU, (double)x[i])) /
						    fmax(1, fabs((double)x[i])));
	}
	ok(worst < 1.5e-7, "%s: gelu over [-16, 16] is within 1.5e-7 max(1, |x|) (%.2g)",
	   kern->name, worst);
	ok(steep < 3e-7, "%s: its slope within 3e-7 (%.2g)", kern->name, steep);
	ok(swish < 1.5e-7, "%s: swish within 1.5e-7 max(1, |x|) (%.2g)", kern->name, swish);
	verdict("forward and backward agree to the bit");

	const float in[] = {0, -0.0f, 1e-40f, -1e-40f, 30, -30, 1000, -1000, 1e15f, -1e15f};
	enum { SPECIAL = sizeof in / sizeof *in };
	for (enum kern_act act = ACT_GELU; act <= ACT_REGLU; act++) {
		kern->act(act, SPECIAL, in, kern_gated(act) ? one : in, y);
		for (int i = 0; i < SPECIAL; i++)
			near((double)y[i],
			     unit_of(act, (double)in[i], kern_gated(act) ? 1 : (double)in[i]),
			     1e-6 * fabs((double)y[i]) + 1e-15, act_name[act], SPECIAL, i);
		x[0] = NAN;
		kern->act(act, 1, x, kern_gated(act) ? one : x, y);
		if (!isnan(y[0]))
			blame("%s of NaN is %g", act_name[act], (double)y[0]);
	}
	verdict("activations of zeros, subnormal and large numbers, and NaN");
}

static void
optimizer(void)
{
	for (long n = 1; n <= 70; n++) {
		struct kern_adamw o = {.lr = 1e-2f,
				       .beta1 = 0.9f,
				       .beta2 = 0.95f,
				       .eps = 1e-8f,
				       .decay = n % 2 ? 1e-3f : 0,
				       .fix1 = 2.5f,
				       .fix2 = 3.5f,
				       .scale = 0.7f};
		const float *g = vector(0, n);
		float *w = vector(1, n), *m = vector(2, n), *v = vector(3, n), *w0 = edge(4, n);
		float *m0 = edge(5, n), *v0 = edge(6, n);

		for (long i = 0; i < n; i++)
			v[i] = i % 5 ? v[i] * v[i] : 0;
		memcpy(w0, w, (size_t)n * sizeof *w);
		memcpy(m0, m, (size_t)n * sizeof *m);
		memcpy(v0, v, (size_t)n * sizeof *v);
		kern->adamw(n, &o, w, g, m, v);
		for (long i = 0; i < n; i++) {
			double b1 = (double)o.beta1, b2 = (double)o.beta2;
			double d = (double)g[i] * (double)o.scale;
			double m1 = b1 * (double)m0[i] + (1 - b1) * d;
			double v1 = b2 * (double)v0[i] + (1 - b2) * d * d;
			double step = 1e-2 * m1 * 2.5 / (sqrt(v1 * 3.5) + 1e-8);
			double want = (double)w0[i] * (1 - (double)o.decay) - step;

			near((double)m[i], m1, 4e-7, "m", n, i);
			near((double)v[i], v1, 5e-7 * fabs(v1) + 1e-12, "v", n, i);
			near((double)w[i], want, 2e-7 + 3e-6 * fabs(step), "w", n, i);
		}
		spills(w, 1, n, n, "w");
		spills(m, 1, n, n, "m");
		spills(v, 1, n, n, "v");
	}
	verdict("adamw");

	const struct kern_adamw idle = {1e-3f, 0.9f, 0.95f, 1e-8f, 0, 1, 1, 1};
	float w[20], g[20] = {0}, m[20], v[20];
	for (int i = 0; i < 20; i++) {
		w[i] = m[i] = i % 2 ? -1 : 1;
		v[i] = 1;
	}
	for (int step = 0; step < 2000; step++)
		kern->adamw(20, &idle, w, g, m, v);
	for (int i = 0; i < 20; i++) {
		near((double)m[i], 0, 0, "m", 20, i);
		near((double)v[i], 0, 0, "v", 20, i);
		near((double)w[i], i % 2 ? -1 : 1, 0.1, "w", 20, i);
	}
	verdict("without a gradient the moments of adamw fade to zero, never subnormal");
}

/* An element's bits do not depend on where it stands in the row. */
static void
lane_invariance(void)
{
	const long n = 133;
	float *x = vector(0, n), *u = vector(1, n), *all = edge(2, n), *some = edge(3, n);
	float *back[6];

	for (int i = 0; i < 6; i++)
		back[i] = edge(4 + i, n);
	for (long i = 0; i < n; i++)
		x[i] *= 5;
	for (enum kern_act act = ACT_GELU; act <= ACT_REGLU; act++) {
		kern->act(act, n, u, x, all);
		kern->act_back(act, n, u, x, x, 0.3f, back[0], back[1], back[2]);
		for (long from = 0; from < n; from++) {
			long m = pick(1, n - from);
			kern->act(act, m, u + from, x + from, some);
			same_bits(some, all + from, m, act_name[act], from);
			kern->act_back(act, m, u + from, x + from, x + from, 0.3f, back[3], back[4],
				       back[5]);
			same_bits(back[3], back[0] + from, m, "w a", from);
			if (kern_gated(act))
				same_bits(back[4], back[1] + from, m, "d gate", from);
			same_bits(back[5], back[2] + from, m, "d up", from);
		}
	}
	kern->exp(n, x, all);
	for (long from = 0; from < n; from++) {
		long m = pick(1, n - from);
		kern->exp(m, x + from, some);
		same_bits(some, all + from, m, "exp", from);
	}
	memcpy(all, u, (size_t)n * sizeof *u);
	kern->axpy(n, 0.3f, x, all);
	for (long from = 0; from < n; from++) {
		long m = pick(1, n - from);
		memcpy(some, u + from, (size_t)m * sizeof *u);
		kern->axpy(m, 0.3f, x + from, some);
		same_bits(some, all + from, m, "axpy", from);
	}
	verdict("an element has the same bits wherever it stands");
}

/* ---- attention ---- */

static double *
wide(const float *x, long n)
{
	double *d = malloc((size_t)n * sizeof *d);

	for (long i = 0; i < n; i++)
		d[i] = (double)x[i];
	return d;
}

/* One causal head: y[t] = sum_{u <= t} softmax_u(q_t k_u / sqrt(d)) v_u; lse[t]. */
static void
attend(const struct kern_attn *s, int head, const double *q, const double *k, const double *v,
       double *y, double *lse)
{
	const int d = s->dim, kv = head / (s->heads / s->kv_heads);
	double p[128];

	for (long t = 0; t < s->seq; t++) {
		double sum = 0;

		for (long u = 0; u <= t; u++) {
			double x = 0;
			for (int i = 0; i < d; i++)
				x += q[t * s->ld + head * d + i] * k[u * s->ld + kv * d + i];
			sum += p[u] = exp(x / sqrt(d));
		}
		lse[t] = log(sum);
		for (int i = 0; i < d; i++) {
			y[t * d + i] = 0;
			for (long u = 0; u <= t; u++)
				y[t * d + i] += p[u] / sum * v[u * s->ld + kv * d + i];
		}
	}
}

/* sum y * dy over the heads of one key-value head */
static double
attn_loss(const struct kern_attn *s, int kv, const double *q, const double *k, const double *v,
	  const float *dy, long ldy)
{
	const int group = s->heads / s->kv_heads, d = s->dim;
	double y[128 * 64], lse[128], sum = 0;

	for (int h = kv * group; h < (kv + 1) * group; h++) {
		attend(s, h, q, k, v, y, lse);
		for (long t = 0; t < s->seq; t++)
			for (int i = 0; i < d; i++)
				sum += y[t * d + i] * (double)dy[t * ldy + h * d + i];
	}
	return sum;
}

/* Everything that attention reads and writes; q, k and v side by side in one row. */
struct scene {
	struct kern_attn s;
	long nq, nkv, all,
		ldy; /* all: floats of q, k, v together, from the first row to the last */
	float *q, *k, *v, *y, *dy, *lse, *dq, *dk, *dv, *scratch;
};

static struct scene
scene(int seq, int heads, int kv_heads, int dim, long pad)
{
	struct scene a = {.s = {seq, heads, kv_heads, dim, (heads + 2 * kv_heads) * dim + pad}};

	a.nq = heads * dim;
	a.nkv = kv_heads * dim;
	a.ldy = a.nq + pad / 2;
	a.all = (seq - 1) * a.s.ld + a.nq + 2 * a.nkv;
	a.q = matrix(0, seq, a.nq + 2 * a.nkv, a.s.ld);
	a.k = a.q + a.nq;
	a.v = a.k + a.nkv;
	for (long i = 0; i < a.all; i++)
		if (a.q[i] != CANARY)
			a.q[i] *= 2;
	a.y = edge(1, (seq - 1) * a.ldy + a.nq);
	a.dy = matrix(2, seq, a.nq, a.ldy);
	a.lse = edge(3, heads * seq);
	a.dq = edge(4, a.all);
	a.dk = a.dq + a.nq;
	a.dv = a.dk + a.nkv;
	return a;
}

static void
forward(struct scene *a)
{
	a->scratch = edge(5, kern_attn_scratch(&a->s, false));
	for (int kv = 0; kv < a->s.kv_heads; kv++)
		kern->attn(&a->s, kv, a->q, a->k, a->v, a->ldy, a->y, a->lse, a->scratch);
	spills(a->scratch, 1, 0, 0, "scratch");
	spills(a->y, a->s.seq, a->nq, a->ldy, "y");
	spills(a->lse, 1, 0, 0, "lse");
}

static void
backward(struct scene *a)
{
	a->scratch = edge(5, kern_attn_scratch(&a->s, true));
	for (int kv = 0; kv < a->s.kv_heads; kv++)
		kern->attn_back(&a->s, kv, a->q, a->k, a->v, a->lse, a->ldy, a->y, a->dy, a->dq,
				a->dk, a->dv, a->scratch);
	spills(a->scratch, 1, 0, 0, "scratch of the way back");
	spills(a->dq, a->s.seq, a->nq + 2 * a->nkv, a->s.ld, "dq, dk, dv");
}

static void
check_forward(const struct scene *a)
{
	double *q = wide(a->q, a->all), y[128 * 64], lse[128];

	for (int h = 0; h < a->s.heads; h++) {
		attend(&a->s, h, q, q + a->nq, q + a->nq + a->nkv, y, lse);
		for (long t = 0; t < a->s.seq; t++) {
			near((double)a->lse[h * a->s.seq + t], lse[t], 2e-5, "lse", a->s.seq, t);
			for (int i = 0; i < a->s.dim; i++)
				near((double)a->y[t * a->ldy + h * a->s.dim + i],
				     y[t * a->s.dim + i], 1e-5, "y", a->s.seq, t);
		}
	}
	free(q);
}

/* Central differences at every `every`-th of q, k and v. */
static void
check_backward(const struct scene *a, long every)
{
	const double h = 1e-4;
	const int group = a->s.heads / a->s.kv_heads;
	double *q = wide(a->q, a->all), *k = q + a->nq, *v = k + a->nkv;

	for (long i = 0; i < a->all; i += every) {
		long col = i % a->s.ld, head;
		if (col >= a->nq + 2 * a->nkv)
			continue;
		head = col < a->nq ? col / a->s.dim / group : (col - a->nq) % a->nkv / a->s.dim;
		double keep = q[i], slope;
		q[i] = keep + h;
		slope = attn_loss(&a->s, (int)head, q, k, v, a->dy, a->ldy);
		q[i] = keep - h;
		slope -= attn_loss(&a->s, (int)head, q, k, v, a->dy, a->ldy);
		q[i] = keep;
		near((double)a->dq[i], slope / (2 * h), 3e-5, "gradient of q, k, v", a->s.seq, i);
	}
	free(q);
}

static void
attention(void)
{
	static const int shape[][5] = {{1, 1, 1, 2, 0},	  {2, 2, 1, 6, 3},   {13, 2, 2, 8, 0},
				       {14, 3, 1, 16, 1}, {31, 4, 2, 10, 7}, {57, 2, 1, 34, 2},
				       {70, 1, 1, 32, 0}, {113, 2, 2, 4, 5}};

	for (unsigned i = 0; i < sizeof shape / sizeof *shape; i++) {
		const int *s = shape[i];
		struct scene a = scene(s[0], s[1], s[2], s[3], s[4]);
		forward(&a);
		check_forward(&a);
		backward(&a);
		check_backward(&a, 1 + a.all / 150);
	}
	verdict("attention and its gradient");
}

/* A cached token and a token among others: the same bits. */
static void
one_query(void)
{
	struct scene a = scene(75, 4, 2, 20, 3);
	float *y = edge(6, a.nq), *scratch;

	forward(&a);
	for (long t = 0; t < a.s.seq; t++)
		for (int h = 0; h < a.s.heads; h++) {
			struct kern_attn one = a.s;
			one.seq = (int)t + 1;
			scratch = edge(5, kern_attn_scratch(&one, false));
			kern->attn_one(&one, h, t + 1, a.q + t * a.s.ld, a.k, a.s.ld, a.v, y,
				       scratch);
			spills(scratch, 1, 0, 0, "scratch");
			same_bits(y + h * a.s.dim, a.y + t * a.ldy + h * a.s.dim, a.s.dim,
				  "attn_one", t);
		}
	verdict("one query among cached keys has the bits of its row");
}

static void
causality(void)
{
	struct scene a = scene(61, 2, 1, 18, 0);
	float *y0 = edge(6, a.s.seq * a.ldy), *lse0 = edge(7, a.s.heads * a.s.seq);

	forward(&a);
	memcpy(y0, a.y, (size_t)(a.s.seq * a.ldy) * sizeof *y0);
	memcpy(lse0, a.lse, (size_t)(a.s.heads * a.s.seq) * sizeof *lse0);
	for (long t = a.s.seq - 1; t > 0; t--) {
		for (long i = 0; i < a.nq + 2 * a.nkv; i++)
			a.q[t * a.s.ld + i] = (float)between(-50, 50);
		forward(&a);
		same_bits(a.y, y0, t * a.ldy, "y before the changed token", t);
		for (int h = 0; h < a.s.heads; h++)
			same_bits(a.lse + h * a.s.seq, lse0 + h * a.s.seq, t, "lse before it", t);
		if (memcmp(a.y + t * a.ldy, y0 + t * a.ldy, (size_t)a.nq * sizeof *y0) == 0)
			blame("token %ld does not depend on itself", t);
	}
	verdict("a later token changes no earlier output");
}

static void
all_kernels(void)
{
	draw = rng_at(1, RNG_TEST, 210, 0);
	products();
	packs();
	row_invariance(45, 67, 1);
	row_invariance(33, 600, 9);
	verdict("a row of a product has the same bits among 1 to 200 rows");
	column_invariance();
	verdict("a column of a product has the same bits among 1 to 100 columns");
	sums();
	row_sets();
	wide_sums();
	exponentials();
	softmaxes();
	norms();
	rotations();
	for (enum kern_act act = ACT_GELU; act <= ACT_REGLU; act++)
		activations(act);
	activation_range();
	optimizer();
	lane_invariance();
	attention();
	one_query();
	causality();
}

int
main(void)
{
	static const char *const names[] = {"avx512", "avx2", "portable"};

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (kern_choose(names[i]) == 0) {
			is_text(kern->name, names[i], "the %s kernels are chosen by name",
				names[i]);
			all_kernels();
		} else {
			ok(strcmp(names[i], "portable") != 0,
			   "%s # SKIP this machine cannot run them", names[i]);
		}
	is_long(kern_choose("mmx"), -1, "unknown kernels are refused");
	is_long(kern_choose(NULL), 0, "the best are chosen without a name");
	return done();
}
