#include "train/train.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include "data/tokens.h"
#include "io/trace.h"
#include "model/ffn.h"
#include "model/start.h"
#include "pool/pool.h"
#include "train/adopt.h"
#include "train/decisions.h"
#include "train/eval.h"
#include "train/keys.h"
#include "train/site.h"
#include "train/state.h"
#include "train/verdict.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char timing_columns[] =
	"step,seconds,product,attention,routing,element,optimizer,census,other,tables,market";

/* Seconds of the step in hand. */
struct clock {
	double parts[NET_PARTS]; /* of all workers, since the net began, when the step began */
	double step;		 /* from its windows to the end of the update */
	double optimizer, keys, census;
	double tables, market; /* after the step */
};

/* A text to validate on: a file, or the held-out end of a source. */
struct val {
	char *name;
	struct tokens *data, *own;
	size_t from, to; /* of its tokens */
};

/* A run under way. */
struct loop {
	struct train *t;
	struct recipe *r;
	struct schedule data;
	struct val *val;
	int vals;
	struct site site;
	char *ckpt; /* path of the checkpoint */
	struct param *param;
	struct net *net;
	struct census *census;
	struct run run;
	struct file *timing;
	struct clock clock;
	struct decisions *decisions; /* NULL: none come by pipe */
	struct keys *keys;	     /* NULL: no key store */
	long step;		     /* steps done */
	bool due;		     /* the step's census and events are still to come */
	bool open;		     /* the step has something that no checkpoint has */
	int32_t *in, *out;
	double *load; /* [sum of E] rows per expert in this step, for the bias */
	double *val_loss;
	/* of the step in hand */
	double loss, norm, rate;
	struct route_stat stat; /* sums over layers, means over batches */
	struct route_cost cost; /* alike */
};

/* ---- data ---- */

/* Files to validate on, and the held-out end of each source, once. */
static int
vals_open(struct loop *l)
{
	const struct recipe *r = l->r;

	l->val = mem_zero((size_t)(r->val.n + l->data.n), sizeof *l->val);
	for (int i = 0; i < r->val.n; i++) {
		struct tokens *t = tokens_open(r->val.v[i]);
		if (!t)
			return -1;
		l->val[l->vals++] = (struct val){t->name, t, t, 0, t->n};
	}
	for (int i = 0; r->val_frac > 0 && i < l->data.n; i++) {
		struct tokens *t = l->data.data[i];
		int j = 0;
		while (l->data.data[j] != t)
			j++;
		if (j == i)
			l->val[l->vals++] = (struct val){t->name, t, NULL, l->data.train[i], t->n};
	}
	return 0;
}

static int
vals_check(const struct loop *l)
{
	const struct recipe *r = l->r;

	for (int i = 0; i < l->vals; i++) {
		const struct val *v = &l->val[i];
		if (v->data->vocab > r->vocab)
			return err_set("%s: %d tokens known (expected at most the model's %d)",
				       v->data->file, v->data->vocab, r->vocab);
		if (v->to - v->from < (size_t)r->seq + 1)
			return err_set(
				"%s: %zu tokens to validate on (expected at least %d, one window)",
				v->data->file, v->to - v->from, r->seq + 1);
		for (int j = 0; j < i; j++)
			if (strcmp(v->name, l->val[j].name) == 0)
				return err_set(
					"two texts to validate on are called %s (write NAME=%s to "
					"tell them apart)",
					v->name, v->data->file);
	}
	return 0;
}

/* Another run's checkpoint is known by its bytes. */
static int
measure_ckpt(const char *file, const char *kind, long i, struct site_source *to)
{
	*to = (struct site_source){.kind = kind, .name = "-", .step = i};
	return file_size(file, &to->bytes) || file_crc(file, to->bytes, &to->crc) ? -1 : 0;
}

static int
recipe_text(struct loop *l)
{
	const char *from = l->r->resume_from;
	const struct opt_many *experts = &l->r->experts_from;
	const int most = l->data.n + l->vals + 1 + experts->n;
	struct site_source *v = mem_zero((size_t)most, sizeof *v), *at = v;
	int status = 0;

	for (int i = 0; i < l->data.n; i++)
		*at++ = (struct site_source){"train", l->data.data[i]->name, l->data.from[i],
					     l->data.data[i]->bytes, l->data.data[i]->crc};
	for (int i = 0; i < l->vals; i++)
		if (l->val[i].own)
			*at++ = (struct site_source){"val", l->val[i].name, 0,
						     l->val[i].data->bytes, l->val[i].data->crc};
	if (from)
		status = measure_ckpt(from, "from", 0, at++);
	for (int i = 0; i < experts->n && status == 0; i++)
		status = measure_ckpt(experts->v[i], "experts", i, at++);
	if (status == 0)
		status = site_recipe(&l->site, l->t->table, v, (int)(at - v));
	free(v);
	return status ? -1 : 0;
}

static int
data_open(struct loop *l)
{
	struct recipe *r = l->r;

	if (schedule_open(&l->data, r->data.v, r->data.n, r->val_frac, r->seq) != 0)
		return -1;
	if (r->vocab && r->vocab < l->data.data[0]->vocab)
		return err_set("--vocab %d (expected at least the data's %d)", r->vocab,
			       l->data.data[0]->vocab);
	if (!r->vocab)
		r->vocab = l->data.data[0]->vocab;
	return vals_open(l) != 0 || vals_check(l) != 0 || recipe_text(l) != 0 ||
			       site_check(&l->site, l->t->table, &l->r->made_of) != 0
		       ? -1
		       : 0;
}

/* ---- the directory ---- */

/* Where the data is found, as lines of a recipe file; freed by free(). */
static char *
sources_text(const struct loop *l)
{
	struct recipe r = {0};
	struct opt row[RECIPE_ROWS];
	struct opt_table t = {.row = row, .n = recipe_rows(row, 0), .values = &r};
	char *text;

	for (int i = 0; i < t.n; i++)
		row[i].recipe = strcmp(row[i].name, "data") == 0 ||
				strcmp(row[i].name, "val") == 0 ||
				strcmp(row[i].name, "experts-from") == 0 ||
				strcmp(row[i].name, "resume-from") == 0;
	for (int i = 0; i < l->data.n; i++) {
		text = mem_text("%s=%s@%ld", l->data.data[i]->name, l->data.data[i]->file,
				l->data.from[i]);
		opt_set(&t, "data", text, OPT_COMMAND);
		free(text);
	}
	for (int i = 0; i < l->vals && l->val[i].own; i++) {
		text = mem_text("%s=%s", l->val[i].name, l->val[i].data->file);
		opt_set(&t, "val", text, OPT_COMMAND);
		free(text);
	}
	for (int i = 0; i < l->r->experts_from.n; i++)
		opt_set(&t, "experts-from", l->r->experts_from.v[i], OPT_COMMAND);
	if (l->r->resume_from)
		opt_set(&t, "resume-from", l->r->resume_from, OPT_COMMAND);
	text = opt_recipe(&t);
	opt_free(&t);
	return text;
}

static int
write_recipe(const struct loop *l)
{
	char *sources = sources_text(l);
	int status = site_write(&l->site, sources);

	free(sources);
	return status;
}

static int
save(struct loop *l)
{
	char *marks;
	struct state s = {
		.param = l->param, .census = l->census, .step = l->step, .recipe = l->site.text};
	int status;

	if (run_sync(&l->run) != 0)
		return -1;
	s.files = marks = run_marks(&l->run);
	status = state_save(&s, l->ckpt);
	free(marks);
	return status;
}

/* A checkpoint as of before the step's census, whose rows are in the tables or not. */
static int
save_held(struct loop *l, const char *before, bool rows)
{
	char *marks;
	struct state s = {.param = l->param,
			  .census = l->census,
			  .step = l->step,
			  .recipe = l->site.text,
			  .files = before,
			  .held = ""};
	int status;

	if (run_sync(&l->run) != 0)
		return -1;
	marks = run_marks(&l->run);
	if (rows)
		s.held = marks;
	status = state_save(&s, l->ckpt);
	free(marks);
	return status;
}

/* Who decides begins anew when the run does: with a header, which is not counted twice. */
static int
greet(struct loop *l)
{
	struct file *f = l->run.file[RUN_EXPERTS];
	struct row w = {.f = f};
	uint64_t bytes;
	uint32_t crc;

	if (!l->decisions || !run_piped(&l->run, RUN_EXPERTS))
		return 0;
	file_tallied(f, &bytes, &crc);
	if (row_header(&w, policy_row_columns) != 0 || file_flush(f) != 0)
		return -1;
	file_tally(f, bytes, crc);
	return 0;
}

static int
open_csvs(struct loop *l, const char *marks)
{
	const bool wanted[RUN_CSVS] = {true, true, true, true, l->r->trace};
	bool begun; /* the census had a header before */
	char *loss = mem_copy("step,domain,tokens,loss,val_loss,lr,grad_norm,load_balance,"
			      "load_balance_weighted,z,z_weighted,entropy,entropy_weighted,"
			      "balance,balance_weighted,ortho,ortho_weighted,oracle,"
			      "oracle_weighted,divergence,divergence_weighted");
	const char *head[RUN_CSVS] = {NULL, policy_row_columns, policy_event_columns,
				      census_layer_columns, NULL};
	int bad = run_open(&l->run, l->t->dir, l->t->csv, wanted, marks);

	for (int i = 1; i < l->vals; i++) {
		char *more = mem_text("%s,val_loss_%s", loss, l->val[i].name);
		free(loss);
		loss = more;
	}
	head[RUN_LOSS] = loss;
	begun = !bad && !run_new(&l->run, RUN_EXPERTS);
	for (int i = 0; i < RUN_CSVS && !bad; i++)
		if (wanted[i] && run_new(&l->run, (enum run_csv)i))
			bad = (i == RUN_TRACE ? trace_header(&l->run.row[i])
					      : row_header(&l->run.row[i], head[i])) ||
			      run_flush(&l->run, (enum run_csv)i);
	free(loss);
	return bad || (begun && greet(l) != 0) ? -1 : 0;
}

/* Events that others carried out on the checkpoint, onto the table. */
static int
tell_events(struct loop *l, const char *rows)
{
	l->open = rows;
	return rows && (file_write(l->run.file[RUN_EVENTS], rows, strlen(rows)) != 0 ||
			run_flush(&l->run, RUN_EVENTS) != 0)
		       ? -1
		       : 0;
}

/* Parameters, step and census of the run's own checkpoint; without parameters if complete. */
static int
resume(struct loop *l, const struct ckpt *k)
{
	const char *text = state_recipe(k), *files = ckpt_meta(k, "files");
	const char *events = ckpt_meta(k, "events");
	const bool longer = l->r->schedule == LR_CONSTANT || l->r->schedule == LR_WSD;

	if (!text || site_compare(&l->site, text, longer, l->r->steps) != 0 ||
	    (l->step = state_step(k)) < 0)
		return -1;
	l->due = ckpt_meta(k, "held");
	if (l->step >= l->r->steps && !l->due && !events)
		return run_open_pipes(&l->run, l->t->dir, l->t->csv, files) != 0 || greet(l) != 0
			       ? -1
			       : 0;
	if (!files)
		return err_set("%s: does not say how far the CSV files had been written", k->name);
	if (state_params(k, l->r, STATE_RESUME, &l->param) != 0)
		return -1;
	l->census = census_new(&l->param->shape);
	if (census_get(l->census, k) != 0 || open_csvs(l, files) != 0 ||
	    tell_events(l, events) != 0)
		return -1;
	return strcmp(text, l->site.text) == 0 ? 0 : write_recipe(l);
}

/* Parameters and step from another run's checkpoint. */
static int
take_over(struct loop *l, const struct ckpt *k)
{
	if ((l->step = state_step(k)) < 0)
		return -1;
	if (l->step >= l->r->steps)
		return err_set("%s: is at step %ld (expected one before --steps %ld)", k->name,
			       l->step, l->r->steps);
	return state_params(k, l->r, STATE_START, &l->param);
}

static int
with_ckpt(struct loop *l, const char *file, int use(struct loop *, const struct ckpt *))
{
	struct ckpt *k = ckpt_open(file);
	int status = k ? use(l, k) : -1;

	ckpt_close(k);
	return status;
}

static int
begin_experts(struct loop *l)
{
	const struct opt_many *from = &l->r->experts_from;
	const int kind = start_kind(l->r->expert_init);

	if (kind == START_PRETRAINED)
		return adopt_experts(l->param, from->v, from->n);
	if (kind != START_NORMAL)
		start_experts(l->param, (enum start)kind, (uint64_t)l->r->seed);
	return 0;
}

static int
begin(struct loop *l)
{
	struct shape s;

	if (l->r->resume_from) {
		if (with_ckpt(l, l->r->resume_from, take_over) != 0)
			return -1;
	} else {
		if (recipe_shape(l->r, l->r->vocab, &s) != 0)
			return -1;
		l->param = param_new(&s, true);
		shape_free(&s);
		param_init(l->param, (uint64_t)l->r->seed);
		if (begin_experts(l) != 0)
			return -1;
	}
	l->census = census_new(&l->param->shape);
	return open_csvs(l, NULL) != 0 || write_recipe(l) != 0 || save(l) != 0 ? -1 : 0;
}

/* ---- steps ---- */

static struct net_how
how(const struct loop *l, int micro)
{
	const struct recipe *r = l->r;

	return (struct net_how){.temperature = (float)recipe_temperature(r, l->step),
				.aux = {.balance = r->load_balance,
					.z = r->z_loss,
					.entropy = r->entropy,
					.even = r->balance,
					.ortho = r->ortho,
					.oracle = r->oracle,
					.tau = r->tau,
					.divergence = r->divergence,
					.normalised = r->loss_scale == 1},
				.seed = (uint64_t)r->seed,
				.step = l->step * r->accum + micro,
				.noise = (float)r->router_noise,
				.detour = recipe_detour(r),
				.curvature = (float)r->living.curvature,
				.scale = 1 / (float)r->accum,
				.back = true,
				.add = micro > 0,
				.random = l->step < r->random_warmup};
}

static int
not_finite(const struct loop *l, long step, const char *what, int layer, int slot)
{
	char place[64] = "";

	if (slot >= 0)
		snprintf(place, sizeof place, ", layer %d, expert %lld", layer,
			 (long long)l->param->layer[layer].expert[slot]->id);
	else if (layer >= 0)
		snprintf(place, sizeof place, ", layer %d", layer);
	return err_set("step %ld: the %s is not finite%s; the checkpoint before it is kept", step,
		       what, place);
}

static int
bad_loss(const struct loop *l, long step, const char *what)
{
	int layer, slot;

	if (!net_fault(l->net, &layer, &slot))
		layer = slot = -1;
	return not_finite(l, step, what, layer, slot);
}

struct fault {
	char what[128];
	int layer, slot;
};

/* The last in file order stays: the way back goes from there, and spreads what it meets. */
static void
find_fault(void *arg, struct tensor *t, int layer, int slot)
{
	struct fault *f = arg;

	if (!t->g || isfinite(kern->sumsq(t->rows * t->cols, t->g)))
		return;
	snprintf(f->what, sizeof f->what, "gradient of %s", t->name);
	f->layer = layer;
	f->slot = slot;
}

static int
bad_gradient(const struct loop *l)
{
	struct fault f = {"gradient", -1, -1};

	param_each(l->param, find_fault, &f);
	return not_finite(l, l->step + 1, f.what, f.layer, f.slot);
}

/* A layer's routing losses of one batch, raw and as they count. */
static void
add_terms(struct loop *l, const struct route_stat *s, const struct route_loss *w, int living)
{
	const struct route_cost c = route_cost(w, s, living);
	const double part = 1.0 / l->r->accum;

	l->stat.balance += s->balance * part;
	l->stat.z += s->z * part;
	l->stat.entropy += s->entropy * part;
	l->stat.kl += s->kl * part;
	l->stat.variance += s->variance * part;
	l->stat.ortho += s->ortho * part;
	l->stat.oracle += s->oracle * part;
	l->stat.divergence += s->divergence * part;
	l->cost.balance += c.balance * part;
	l->cost.z += c.z * part;
	l->cost.entropy += c.entropy * part;
	l->cost.even += c.even * part;
	l->cost.ortho += c.ortho * part;
	l->cost.oracle += c.oracle * part;
	l->cost.divergence += c.divergence * part;
}

/* The oracle speaks on the way back. */
static void
hear_oracle(struct loop *l, const struct net_how *h)
{
	for (int i = 0; h->aux.oracle != 0 && i < l->param->shape.layers; i++) {
		const struct plan *p = net_plan(l->net, i);
		const struct route_stat s = {.oracle = p->oracle};
		add_terms(l, &s, &h->aux, p->living);
	}
}

/* Routing statistics and census of the batch just seen. */
static void
observe(struct loop *l, const struct net_how *h)
{
	const struct net *n = l->net;
	struct route_stat s;
	double *load = l->load;

	for (int i = 0; i < n->param->shape.layers; i++) {
		const struct plan *p = net_plan(n, i);
		const int slots = n->param->layer[i].experts;
		route_stat(p, &s);
		if (h->aux.ortho != 0)
			s.ortho = route_ortho(&n->param->shape, &n->param->layer[i]);
		l->clock.census -= tick_now();
		census_add(l->census, i, p, &s, net_token_loss(n), net_token_hit(n));
		l->clock.census += tick_now();
		add_terms(l, &s, &h->aux, p->living);
		for (int e = 0; e < p->experts; e++)
			load[e] += (double)p->count[e];
		load += slots;
	}
}

/* b += rate * sign(mean load - load), then zero mean, over the living of each layer. */
static void
move_bias(struct loop *l)
{
	const double *load = l->load;

	for (int i = 0; i < l->param->shape.layers; i++) {
		struct layer *x = &l->param->layer[i];
		const int living = shape_living(&l->param->shape, i);
		double mean = 0, sum = 0;
		for (int e = 0; e < x->experts; e++)
			mean += load[e] / living;
		for (int e = 0; e < x->experts; e++) {
			double d = mean - load[e];
			if (!x->expert[e])
				continue;
			x->bias[e] += (float)(l->r->bias_rate * ((d > 0) - (d < 0)));
			sum += (double)x->bias[e];
		}
		for (int e = 0; e < x->experts; e++)
			if (x->expert[e])
				x->bias[e] -= (float)(sum / living);
		load += x->experts;
	}
}

/* Whether keys move after the step in hand. */
static bool
keys_due(const struct loop *l)
{
	return l->keys && (l->step + 1) % l->r->key_every == 0;
}

/* The step's gradient, from all of its batches. */
static int
gradient(struct loop *l)
{
	const struct recipe *r = l->r;
	struct net_loss loss;
	size_t experts = 0;

	for (int i = 0; i < l->param->shape.layers; i++)
		experts += (size_t)l->param->layer[i].experts;
	memset(l->load, 0, experts * sizeof *l->load);
	l->stat = (struct route_stat){0};
	l->cost = (struct route_cost){0};
	l->loss = 0;
	for (int i = 0; i < l->param->shape.layers; i++)
		l->param->layer[i].away = l->step < l->param->layer[i].until;
	for (int m = 0; m < r->accum; m++) {
		struct net_how h = how(l, m);
		schedule_batch(&l->data, (uint64_t)r->seed, l->step, m, r->batch, r->seq, l->in,
			       l->out);
		net_forward(l->net, &h, r->batch, r->seq, l->in, l->out, &loss);
		if (!isfinite(loss.loss))
			return bad_loss(l, l->step + 1, "loss");
		l->loss += loss.loss / r->accum;
		observe(l, &h);
		if (keys_due(l))
			keys_see(l->keys, l->net, m);
		net_backward(l->net, &h);
		hear_oracle(l, &h);
	}
	return 0;
}

static int
update(struct loop *l)
{
	const struct recipe *r = l->r;
	const struct optim o = recipe_optim(r);

	l->norm = optim_norm(l->param, NULL);
	if (!isfinite(l->norm))
		return bad_gradient(l);
	census_gradients(l->census, l->param);
	l->rate = optim_rate((enum schedule_kind)r->schedule, r->lr, r->lr_end, r->warmup, r->steps,
			     l->step);
	optim_step(l->param, &o, l->rate, l->step, l->norm);
	if (recipe_bias_rate(r) > 0)
		move_bias(l);
	l->clock.keys -= tick_now();
	if (keys_due(l))
		keys_move(l->keys, l->param, &r->gravity, l->step + 1, (uint64_t)r->seed);
	l->clock.keys += tick_now();
	return 0;
}

/* Events of this step, onto the table. */
static int
write_events(struct loop *l, const struct policy_events *e)
{
	return policy_events_write(e, &l->run.row[RUN_EVENTS]) != 0 ||
			       run_flush(&l->run, RUN_EVENTS) != 0
		       ? -1
		       : 0;
}

static int
shift_event(struct loop *l)
{
	const int phase = schedule_phase(&l->data, l->step);
	struct policy_events e = {0};
	struct policy_event v;
	int status;

	if (phase == 0 || l->data.from[phase] != l->step)
		return 0;
	v = policy_event(l->step, -1, -1, POLICY_SHIFT, l->data.data[phase]->name);
	policy_events_add(&e, &v);
	status = write_events(l, &e);
	policy_events_free(&e);
	return status;
}

/* A step's events, carried out and written down. */
static int
carry_out(struct loop *l, struct policy_events *e)
{
	if (verdict_carry_out(l->r, l->param, e) != 0)
		return -1;
	if (!net_fits(l->net)) { /* it keeps nothing from step to step */
		net_free(l->net);
		l->net = net_new(l->param, l->r->batch, l->r->seq, true);
	}
	return write_events(l, e);
}

static int
write_census(struct loop *l, const struct verdict *v)
{
	struct run *u = &l->run;

	return census_write_experts(&v->rows, &u->row[RUN_EXPERTS]) != 0 ||
			       census_write_layers(l->census, l->param, v->phi, l->step,
						   u->file[RUN_LAYERS]) != 0 ||
			       run_flush(u, RUN_EXPERTS) != 0 || run_flush(u, RUN_LAYERS) != 0
		       ? -1
		       : 0;
}

/* Whether the window is the first whole one of a text that took over from another. */
static bool
shifted(const struct loop *l)
{
	const int phase = schedule_phase(&l->data, l->step - 1);
	const long window = l->r->census_every, from = l->data.from[phase];

	return phase > 0 && l->step >= from + window && l->step < from + 2 * window;
}

/* Whether the recipe has a policy. */
static bool
decides(const struct loop *l)
{
	return l->r->lifecycle != LIFE_NONE || l->r->prune.kind;
}

/* At a step that is none of the policy's, the run would not write down that nothing happens. */
static void
drop_keeps(struct policy_events *e)
{
	int n = 0;

	for (int i = 0; i < e->n; i++)
		if (e->v[i].kind != POLICY_KEEP)
			e->v[n++] = e->v[i];
	e->n = n;
}

/* What others decide who have just read the census: 1 and possible events; 0 when stopped; -1. */
static int
ask(struct loop *l, const struct verdict *v, struct policy_events **e)
{
	const int census = run_piped(&l->run, RUN_EXPERTS) ? file_fd(l->run.file[RUN_EXPERTS]) : -1;
	int got = decisions_next(l->decisions, l->step, census, l->t->stop, e);

	if (got <= 0)
		return got;
	if (decides(l) && !v->events)
		drop_keeps(*e);
	if (pool_check(l->param, *e) == 0)
		return 1;
	return (*e)->line ? err_in("%s:%ld", decisions_name(l->decisions), (*e)->line) : -1;
}

/* The run goes on from before the census, whose readers are gone or said what cannot be. */
static enum train_end
ask_later(struct loop *l, int got, const char *before)
{
	char *why = got < 0 ? mem_copy(err_text()) : NULL;

	if (save_held(l, before, false) != 0)
		got = -1;
	else if (why)
		err_set("%s; step %ld is checkpointed and awaits its decisions", why, l->step);
	free(why);
	return got < 0 ? TRAIN_FAILED : TRAIN_STOPPED;
}

/* What the run itself decides, or others, now or later. */
static enum train_end
act(struct loop *l, struct verdict *v, const char *before)
{
	struct policy_events *e = v->events;

	if (l->decisions) {
		const int got = ask(l, v, &e);
		if (got <= 0)
			return ask_later(l, got, before);
	} else if (l->t->decisions && (v->events || !decides(l))) {
		return save_held(l, before, true) == 0 ? TRAIN_HELD : TRAIN_FAILED;
	}
	verdict_remember(v, l->r, l->param);
	return !e || carry_out(l, e) == 0 ? TRAIN_DONE : TRAIN_FAILED;
}

/* The window's tables, and what follows from them. */
static enum train_end
census(struct loop *l)
{
	struct verdict v = {0};
	char *before = run_marks(&l->run);
	enum train_end end = TRAIN_FAILED;
	const double start = tick_now();
	double tables = 0;

	if (verdict_pass(&v, l->r, l->census, l->param, l->step, shifted(l)) == 0) {
		const double judged = tick_now();
		const bool written = write_census(l, &v) == 0;
		tables = tick_now() - judged;
		if (written)
			end = act(l, &v, before);
		else if (l->decisions)
			end = ask_later(l, -1, before);
	}
	l->clock.tables = tables;
	l->clock.market = tick_now() - start - tables;
	census_clear(l->census);
	verdict_free(&v);
	free(before);
	l->due = false;
	return end;
}

static int
validate(struct loop *l)
{
	struct net_how h = how(l, 0);

	h.back = h.random = false;
	for (int i = 0; i < l->vals; i++) {
		const struct val *v = &l->val[i];
		struct eval e;
		if (eval_run(l->net, &h, v->data, v->from, v->to, NULL, NULL, &e) != 0)
			return bad_loss(l, l->step, "validation loss");
		l->val_loss[i] = e.loss;
	}
	return 0;
}

static void
val_field(struct loop *l, int i, bool validated)
{
	if (validated)
		row_real(&l->run.row[RUN_LOSS], l->val_loss[i]);
	else
		row_skip(&l->run.row[RUN_LOSS]);
}

/* A term that is not measured has no raw value, and counts nothing. */
static void
term_fields(struct row *w, bool measured, double raw, double cost)
{
	if (measured)
		row_real(w, raw);
	else
		row_skip(w);
	row_real(w, cost == 0 ? 0 : cost);
}

static int
loss_row(struct loop *l, const char *domain, bool validated)
{
	const struct recipe *r = l->r;
	struct row *w = &l->run.row[RUN_LOSS];
	const struct route_stat *raw = &l->stat;
	const struct route_cost *cost = &l->cost;

	row_long(w, l->step);
	row_text(w, domain);
	row_long(w, (long)r->batch * r->seq * r->accum);
	row_real(w, l->loss);
	val_field(l, 0, validated && l->vals);
	row_real(w, l->rate);
	row_real(w, l->norm);
	term_fields(w, true, raw->balance, cost->balance);
	term_fields(w, true, raw->z, cost->z);
	term_fields(w, true, raw->entropy, cost->entropy);
	term_fields(w, r->balance > 0, raw->kl + raw->variance, cost->even);
	term_fields(w, r->ortho > 0, raw->ortho, cost->ortho);
	term_fields(w, r->oracle > 0, raw->oracle, cost->oracle);
	term_fields(w, r->divergence > 0, raw->divergence, cost->divergence);
	for (int i = 1; i < l->vals; i++)
		val_field(l, i, validated);
	return row_end(w) != 0 || run_flush(&l->run, RUN_LOSS) != 0 ? -1 : 0;
}

/* The routing of the step's last batch, when its time has come. */
static int
trace(struct loop *l)
{
	const struct recipe *r = l->r;

	if (!r->trace || l->step % r->trace_every != 0)
		return 0;
	return eval_trace(&l->run.row[RUN_TRACE], l->net, l->step, r->batch, l->in) != 0 ||
			       run_flush(&l->run, RUN_TRACE) != 0
		       ? -1
		       : 0;
}

/* What one step did, to those who watch. */
static void
tell(const struct loop *l, const char *domain, bool validated, double seconds)
{
	const struct recipe *r = l->r;
	const double speed = (double)r->batch * r->seq * r->accum / seconds;

	l->t->progress(l->t->arg, &(struct train_progress){
					  .step = l->step,
					  .steps = r->steps,
					  .domain = domain,
					  .loss = l->loss,
					  .val_loss = validated && l->vals ? l->val_loss[0] : NAN,
					  .rate = l->rate,
					  .tokens = (long)r->batch * r->seq * r->accum,
					  .tokens_per_s = speed,
					  .flops = speed * shape_flops(&l->param->shape, r->seq)});
}

static void
begin_clock(struct loop *l)
{
	l->clock = (struct clock){0};
	memcpy(l->clock.parts, net_seconds(l->net), sizeof l->clock.parts);
}

/* What net_seconds has is summed over workers. */
static void
stop_parts(struct loop *l)
{
	const double *now = net_seconds(l->net);

	for (int i = 0; i < NET_PARTS; i++)
		l->clock.parts[i] = (now[i] - l->clock.parts[i]) / task_workers();
	l->clock.parts[PART_ROUTE] += l->clock.keys;
}

/* A step and its rows, but for its census. */
static int
advance(struct loop *l)
{
	const struct recipe *r = l->r;
	const char *domain = l->data.data[schedule_phase(&l->data, l->step)]->name;
	struct clock *c = &l->clock;
	double start, middle;
	bool check;

	begin_clock(l);
	start = tick_now();
	if (shift_event(l) != 0 || gradient(l) != 0)
		return -1;
	middle = tick_now();
	if (update(l) != 0)
		return -1;
	c->step = tick_now() - start;
	c->optimizer = tick_now() - middle - c->keys;
	stop_parts(l);
	l->step++;
	check = l->step == r->steps || (r->val_every && l->step % r->val_every == 0);
	if (trace(l) != 0 || (check && validate(l) != 0) || loss_row(l, domain, check) != 0)
		return -1;
	tell(l, domain, check, c->step);
	l->due = l->step % r->census_every == 0;
	l->open = true;
	return 0;
}

/* Seconds of a step by part. */
static int
timing_row(struct loop *l)
{
	const struct clock *c = &l->clock;
	struct row w = {.f = l->timing};
	double other = c->step - c->optimizer - c->census;

	if (!l->timing)
		return 0;
	row_long(&w, l->step);
	row_real(&w, c->step);
	for (int i = 0; i < NET_PARTS; i++) {
		row_real(&w, c->parts[i]);
		other -= c->parts[i];
	}
	row_real(&w, c->optimizer);
	row_real(&w, c->census);
	row_real(&w, other);
	row_real(&w, c->tables);
	row_real(&w, c->market);
	return row_end(&w) != 0 || file_flush(l->timing) != 0 ? -1 : 0;
}

/* The census and the checkpoint of a step, when their time has come. */
static enum train_end
end_step(struct loop *l)
{
	const bool last = l->step == l->r->steps;
	enum train_end end = l->due ? census(l) : TRAIN_DONE;
	bool stop;

	if (end == TRAIN_DONE && l->clock.step > 0 && timing_row(l) != 0)
		return TRAIN_FAILED;
	if (end != TRAIN_DONE)
		return end;
	stop = *l->t->stop != 0;
	if ((stop || last || l->step % l->t->ckpt_every == 0) && save(l) != 0)
		return TRAIN_FAILED;
	l->open = false;
	return stop && !last ? TRAIN_STOPPED : TRAIN_DONE;
}

/* Steps until done, held, stopped or failed. */
static enum train_end
steps(struct loop *l)
{
	enum train_end end = l->due || l->open ? end_step(l) : TRAIN_DONE;

	while (end == TRAIN_DONE && l->step < l->r->steps)
		end = advance(l) == 0 ? end_step(l) : TRAIN_FAILED;
	return end;
}

static void
loop_free(struct loop *l)
{
	for (int i = 0; i < l->vals; i++)
		tokens_close(l->val[i].own);
	free(l->val);
	free(l->val_loss);
	free(l->in);
	free(l->load);
	free(l->ckpt);
	keys_free(l->keys);
	net_free(l->net);
	param_free(l->param);
	census_free(l->census);
	decisions_close(l->decisions);
	schedule_close(&l->data);
	site_close(&l->site);
}

static enum train_end
run(struct loop *l)
{
	const struct recipe *r = l->r;
	const size_t tokens = (size_t)r->batch * (size_t)r->seq;
	size_t experts = 0;

	if (recipe_check(l->r) != 0 || data_open(l) != 0 || site_lock(&l->site) != 0)
		return TRAIN_FAILED;
	l->ckpt = run_path(l->t->dir, "ckpt.safetensors");
	if (l->t->decisions && strcmp(l->t->decisions, "hold") != 0 &&
	    !(l->decisions = decisions_open(l->t->decisions)))
		return TRAIN_FAILED;
	if ((file_exists(l->ckpt) ? with_ckpt(l, l->ckpt, resume) : begin(l)) != 0)
		return TRAIN_FAILED;
	if (!l->param)
		return TRAIN_DONE;
	if (l->t->timing && (!(l->timing = file_create(l->t->timing)) ||
			     row_header(&(struct row){.f = l->timing}, timing_columns) != 0))
		return TRAIN_FAILED;
	for (int i = 0; i < l->param->shape.layers; i++)
		experts += (size_t)l->param->layer[i].experts;
	l->net = net_new(l->param, r->batch, r->seq, true);
	if (shape_keyed(&l->param->shape))
		l->keys = keys_new(&l->param->shape, (long)tokens, r->accum);
	l->in = mem_zero(2 * tokens, sizeof *l->in);
	l->out = l->in + tokens;
	l->load = mem_zero(experts, sizeof *l->load);
	l->val_loss = mem_zero((size_t)l->vals + 1, sizeof *l->val_loss);
	l->t->ready(l->t->arg, &l->param->shape, l->step);
	return steps(l);
}

/* Whether somebody reads the census and is to decide. */
static bool
accompanied(const struct loop *l)
{
	const struct file *f = l->run.file[RUN_EXPERTS];
	struct stat st;

	return l->decisions && f && fstat(file_fd(f), &st) == 0 && S_ISFIFO(st.st_mode);
}

enum train_end
train_run(struct train *t)
{
	struct loop l = {.t = t, .r = t->recipe, .site = {t->dir, -1, NULL}};
	enum train_end end = run(&l);
	char *message = end == TRAIN_FAILED ? mem_copy(err_text()) : NULL;
	const bool settle = end == TRAIN_DONE && accompanied(&l);
	int bad = run_close(&l.run) | file_close(l.timing);

	if (settle)
		decisions_settle(l.decisions, t->stop);
	loop_free(&l);
	if (message)
		err_set("%s", message);
	free(message);
	return bad ? TRAIN_FAILED : end;
}

/* ---- what a run would take ---- */

/* Resident besides what is laid out here: program, libraries, stacks, tables of the kernels. */
#define RESIDENT_BASE (6u << 20)

/* Bytes of a text in memory: all of it is read when its CRC is taken. */
static size_t
text_bytes(const struct tokens *t)
{
	return t->map_bytes ? t->map_bytes : t->n * (size_t)t->width;
}

static size_t
data_bytes(const struct loop *l)
{
	size_t bytes = 0;

	for (int i = 0; i < l->data.nowned; i++)
		bytes += text_bytes(l->data.owned[i]);
	for (int i = 0; i < l->vals && l->val[i].own; i++)
		bytes += text_bytes(l->val[i].own);
	return bytes;
}

/* The experts' tensors in a checkpoint, with both moments of those that learn. */
static size_t
listed(const struct shape *s, double experts)
{
	return (size_t)experts * (kern_gated(s->act) ? 3 : 2) * (s->frozen ? 1 : 3);
}

static void
plan(const struct loop *l, const struct shape *s, struct train_plan *out)
{
	const struct recipe *r = l->r;
	const struct net_how h = how(l, 0);
	double experts = 0;

	for (int i = 0; i < s->layers; i++)
		experts += shape_living(s, i);
	*out = (struct train_plan){
		.params = shape_params(s),
		.active = shape_active(s),
		.flops = shape_flops(s, r->seq),
		.tokens = (double)r->steps * r->batch * r->seq * r->accum,
		.rows = (double)r->batch * r->seq * s->top_k * s->layers / experts,
		.bytes = param_bytes(s, true) + net_bytes(s, r->batch, r->seq, true) -
			 net_idle_bytes(s, &h, r->batch, r->seq) +
			 (r->divergence > 0 ? net_extra_bytes(s, r->batch, r->seq) : 0) +
			 (shape_keyed(s) ? keys_bytes(s, (long)r->batch * r->seq, r->accum) : 0) +
			 data_bytes(l) + (size_t)task_workers() * ffn_scratch(s) +
			 listed(s, experts) * CKPT_LISTED + RESIDENT_BASE};
}

int
train_plan(struct train *t, struct train_plan *out)
{
	struct loop l = {.t = t, .r = t->recipe, .site = {t->dir, -1, NULL}};
	struct shape s;
	int status = recipe_check(l.r) != 0 || (l.r->data.n > 0 && data_open(&l) != 0) ? -1 : 0;

	if (status == 0 && (status = recipe_shape(l.r, 256, &s)) == 0) {
		plan(&l, &s, out);
		shape_free(&s);
	}
	loop_free(&l);
	return status;
}
