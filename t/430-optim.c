/*
 * AdamW beside the same formula in double precision, clipping, what decays, experts without
 * tokens with and without dormancy, the learning rate's schedules and the search for a NaN.
 */
#include "base/rng.h"
#include "base/task.h"
#include "model/optim.h"
#include "tap.h"

static const struct optim adamw = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1};

static struct rng draw;
static double scale; /* of the gradients drawn */

static void
fill(void *arg, struct tensor *t, int layer, int slot)
{
	(void)arg, (void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++)
		t->w[i] = (float)rng_normal(&draw);
}

static void
fill_gradient(void *arg, struct tensor *t, int layer, int slot)
{
	(void)arg, (void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++)
		t->g[i] = (float)(scale * rng_normal(&draw));
}

static void
touch(struct param *p)
{
	for (int l = 0; l < p->shape.layers; l++)
		for (int e = 0; e < p->layer[l].experts; e++)
			p->layer[l].expert[e]->touched = true;
}

/* Larger than a task's slice in the embedding. */
static struct param *
make(void)
{
	struct shape s = {.vocab = 2051,
			  .dim = 36,
			  .layers = 2,
			  .heads = 3,
			  .kv_heads = 3,
			  .top_k = 2,
			  .router_hidden = 5,
			  .router = ROUTER_MLP,
			  .act = ACT_SWIGLU};
	const int e = 3, h = 17;
	struct param *p;

	if (shape_set(&s, 1, &e, 1, &h) != 0)
		exit(1);
	draw = rng_at(1, RNG_TEST, 0, 0);
	p = param_new(&s, true);
	shape_free(&s);
	param_each(p, fill, NULL);
	return p;
}

/* ---- the update ---- */

struct twin { /* the parameters in double precision */
	double *w, *m, *v;
	long n;
	const struct optim *o;
	double rate, clip; /* clip multiplies the gradient */
	int t;
	double worst; /* relative distance of the float ones, over all tensors */
};

static void
twin_start(void *arg, struct tensor *t, int layer, int slot)
{
	struct twin *x = arg;

	(void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++)
		x->w[x->n++] = (double)t->w[i];
}

static void
twin_step(void *arg, struct tensor *t, int layer, int slot)
{
	struct twin *x = arg;
	const struct optim *o = x->o;
	const double decay = strstr(t->name, "norm") ? 0 : o->decay;

	(void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++, x->n++) {
		double g = (double)t->g[i] * x->clip, *w = &x->w[x->n], *m = &x->m[x->n];
		double *v = &x->v[x->n];
		*m = o->beta1 * *m + (1 - o->beta1) * g;
		*v = o->beta2 * *v + (1 - o->beta2) * g * g;
		double mean = *m / (1 - pow(o->beta1, x->t));
		double square = *v / (1 - pow(o->beta2, x->t));
		*w -= x->rate * decay * *w + x->rate * mean / (sqrt(square) + o->eps);
	}
}

static void
twin_compare(void *arg, struct tensor *t, int layer, int slot)
{
	struct twin *x = arg;

	(void)layer, (void)slot;
	for (long i = 0; i < t->rows * t->cols; i++, x->n++) {
		double d = fabs((double)t->w[i] - x->w[x->n]) / (1 + fabs(x->w[x->n]));
		x->worst = d <= x->worst ? x->worst : d; /* a NaN stays */
	}
}

/* Several steps of one size of gradient; the float weights' distance from the double ones. */
static double
distance(struct optim o, double size, double *norm, double *want)
{
	struct param *p = make();
	const size_t n = (size_t)shape_params(&p->shape);
	struct twin x = {.w = mem_zero(n, sizeof(double)),
			 .m = mem_zero(n, sizeof(double)),
			 .v = mem_zero(n, sizeof(double)),
			 .o = &o};

	scale = size;
	param_each(p, twin_start, &x);
	for (int step = 0; step < 8; step++) {
		param_each(p, fill_gradient, NULL);
		touch(p);
		*norm = optim_norm(p, NULL);
		*want = size * sqrt((double)n);
		x.rate = 0.01 / (1 + step);
		x.clip = o.clip > 0 && *norm > o.clip ? o.clip / *norm : 1;
		x.t = step + 1;
		x.n = 0;
		param_each(p, twin_step, &x);
		optim_step(p, &o, x.rate, step, *norm);
	}
	x.n = 0;
	param_each(p, twin_compare, &x);
	free(x.w), free(x.m), free(x.v);
	param_free(p);
	return x.worst;
}

static void
update(void)
{
	struct optim o = adamw;
	double norm, want;

	is_real(distance(o, 0.01, &norm, &want), 0, 1e-6, "eight steps without clipping");
	is_real(norm / want, 1, 0.01, "the norm of the gradient");
	is_real(distance(o, 1e-10, &norm, &want), 0, 1e-6, "gradients far below eps");
	o.clip = 1;
	is_real(distance(o, 0.01, &norm, &want), 0, 1e-6, "clipped to a norm of 1");
	is_real(distance(o, 1e-4, &norm, &want), 0, 1e-6, "a norm below the limit is not clipped");
	o.decay = 5;
	is_real(distance(o, 0.01, &norm, &want), 0, 1e-6, "strong decay, norms exempt");
}

/* ---- experts without tokens ---- */

struct snapshot {
	float w[17 * 36], m[17 * 36], v[17 * 36];
};

static struct snapshot
snap(const struct tensor *t)
{
	struct snapshot s;

	memcpy(s.w, t->w, sizeof s.w);
	memcpy(s.m, t->m, sizeof s.m);
	memcpy(s.v, t->v, sizeof s.v);
	return s;
}

static void
idle(bool dormancy)
{
	struct param *p = make();
	struct optim o = adamw;
	struct expert *x = p->layer[1].expert[2], *busy = p->layer[1].expert[1];
	const char *what = dormancy ? "with dormancy" : "without dormancy";

	o.dormancy = dormancy;
	scale = 0.01;
	param_each(p, fill_gradient, NULL);
	touch(p);
	optim_step(p, &o, 0.01, 0, optim_norm(p, NULL));
	ok(!x->touched, "%s: a step clears the marks", what);

	touch(p);
	x->touched = false; /* and its gradient holds what was left there */
	struct snapshot was = snap(&x->down), other = snap(&busy->down), now;
	double norm = optim_norm(p, NULL);
	memset(x->gate.g, 0, sizeof was.w);
	memset(x->up.g, 0, sizeof was.w);
	x->touched = true;
	float left[17 * 36];
	memcpy(left, x->down.g, sizeof left);
	memset(x->down.g, 0, sizeof was.w);
	is_real(norm, optim_norm(p, NULL), 0, "%s: an idle expert adds nothing to the norm", what);
	memcpy(x->down.g, left, sizeof left);
	x->touched = false;
	optim_step(p, &o, 0.01, 1, norm);

	now = snap(&busy->down);
	ok(memcmp(now.w, other.w, sizeof now.w) != 0, "%s: a busy expert moves", what);
	now = snap(&x->down);
	if (dormancy) {
		ok(memcmp(&now, &was, sizeof was) == 0, "%s: an idle expert stays as it is", what);
	} else {
		const double fix1 = 1 - pow(o.beta1, 2), fix2 = 1 - pow(o.beta2, 2);
		double worst = 0;
		for (int i = 0; i < 17 * 36; i++) {
			double m = o.beta1 * (double)was.m[i], v = o.beta2 * (double)was.v[i];
			double w = (double)was.w[i] * (1 - 0.01 * o.decay) -
				   0.01 * m / fix1 / (sqrt(v / fix2) + o.eps);
			worst = fmax(worst, fabs(w - (double)now.w[i]));
		}
		is_real(worst, 0, 1e-6, "%s: momentum and decay move an idle expert", what);
	}
	param_free(p);
}

/* ---- schedules ---- */

static void
schedules(void)
{
	const double peak = 0.4, tenth = 0.04;

	for (int k = LR_COSINE; k <= LR_WSD; k++) {
		static const char *const name[] = {"cosine", "linear", "constant", "wsd"};
		enum schedule_kind kind = (enum schedule_kind)k;
		double end = kind == LR_CONSTANT ? peak : tenth;
		is_real(optim_rate(kind, peak, 0.1, 0, 1000, 0), peak, 1e-15,
			"%s: begins at the peak", name[k]);
		is_real(optim_rate(kind, peak, 0.1, 0, 1000, 1000), end, 1e-15, "%s: at the end",
			name[k]);
		is_real(optim_rate(kind, peak, 0, 0, 1000, 1000), kind == LR_CONSTANT ? peak : 0,
			1e-15, "%s: to nothing", name[k]);
		is_real(optim_rate(kind, peak, 0.1, 0, 1000, 5000), end, 1e-15, "%s: after the end",
			name[k]);
		is_real(optim_rate(kind, peak, 0.1, 1, 1000, 0), peak, 1e-15,
			"%s: one step of warm-up", name[k]);
		is_real(optim_rate(kind, peak, 0.1, 10, 1000000000, 0), peak / 10, 1e-8,
			"%s: the first of ten steps of warm-up", name[k]);
		is_real(optim_rate(kind, peak, 0.1, 10, 1000000000, 4), peak / 2, 1e-8,
			"%s: the fifth of ten", name[k]);
		is_real(optim_rate(kind, peak, 0.1, 10, 1000000000, 9), peak, 1e-8,
			"%s: the tenth of ten", name[k]);
	}
	is_real(optim_rate(LR_COSINE, peak, 0.1, 0, 1000, 500), (peak + tenth) / 2, 1e-15,
		"cosine: half");
	is_real(optim_rate(LR_COSINE, peak, 0.1, 0, 1200, 400), tenth + 0.75 * (peak - tenth),
		1e-15, "cosine: a third");
	is_real(optim_rate(LR_LINEAR, peak, 0.1, 100, 1000, 49), peak / 2 * (1 - 0.9 * 0.049),
		1e-15, "linear: the warm-up multiplies it");
	is_real(optim_rate(LR_LINEAR, peak, 0.1, 0, 1000, 250), peak - 0.25 * (peak - tenth), 1e-15,
		"linear: a quarter");
	is_real(optim_rate(LR_WSD, peak, 0.1, 0, 1000, 800), peak, 1e-15,
		"wsd: constant for four fifths");
	is_real(optim_rate(LR_WSD, peak, 0.1, 0, 1000, 900), (peak + tenth) / 2, 1e-14,
		"wsd: half of the last fifth");
}

/* ---- not a number ---- */

static void
faults(void)
{
	struct param *p = make();
	struct optim_fault at = {"nothing", 9, 9};
	float *bad;

	scale = 1;
	param_each(p, fill_gradient, NULL);
	touch(p);
	ok(isfinite(optim_norm(p, &at)), "a finite gradient has a finite norm");
	is_text(at.name, "nothing", "and no fault");
	bad = &p->head.g[70000];
	*bad = INFINITY;
	ok(isinf(optim_norm(p, &at)), "an infinite one has none");
	is_text(at.name, "lm_head.weight", "the tensor is named");
	ok(at.layer == -1 && at.slot == -1, "outside the layers");
	p->layer[1].expert[2]->up.g[17 * 36 - 1] = NAN;
	ok(isnan(optim_norm(p, &at)), "a NaN gives a NaN");
	is_text(at.name, "model.layers.1.mlp.experts.2.up_proj.weight", "the first is named");
	is_long(at.layer, 1, "its layer");
	is_long(at.slot, 2, "its slot");
	p->layer[0].norm2.g[3] = NAN;
	optim_norm(p, &at);
	is_text(at.name, "model.layers.0.post_attention_layernorm.weight", "an earlier one");
	ok(at.layer == 0 && at.slot == -1, "in layer 0, in no slot");
	p->layer[0].norm2.g[3] = 0;
	*bad = 0;
	p->layer[1].expert[2]->touched = false;
	ok(isfinite(optim_norm(p, NULL)), "what an idle expert's gradient holds does not count");
	param_free(p);
}

int
main(void)
{
	static const char *const name[] = {"portable", "avx2", "avx512"};

	task_start(2);
	for (int i = 0; i < 3; i++)
		if (kern_choose(name[i]) == 0) {
			update();
			idle(true);
			idle(false);
		}
	schedules();
	faults();
	task_stop();
	return done();
}
