#include "train/classify.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/rng.h"
#include "base/tick.h"
#include "policy/event.h"
#include "policy/row.h"
#include "policy/tally.h"
#include "pool/census.h"
#include "train/appraise.h"
#include "train/labeller.h"
#include "train/site.h"
#include "train/state.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHIFT = 4 /* pixels by which an image is moved at most */ };

/* Samples [from, to) of a set, in batches. */
struct part {
	const struct images *set;
	long from, to;
};

/* What the census asks of samples. */
struct count {
	struct tally tally;
	double *ce_of;	/* [E] sums over samples that chose the expert at all */
	long *clear_of; /* [E] samples whose first choice it is with p1 - p2 > 0.1 */
};

/* What --timing tells of a step. */
enum step_part { DATA, FORWARD, BACKWARD, OPTIMIZER, TABLES, PARTS };
static const char timing_columns[] = "step,seconds,data,forward,backward,optimizer,tables";

struct job {
	struct train *t;
	struct recipe *r;
	struct images *data, *val;
	struct part learn, check; /* check.set NULL: none */
	struct classifier *c;
	struct site site;
	struct run run;
	char *ckpt;
	long step;
	long epoch, *order; /* samples of learn in the order of that epoch */
	float *x;
	uint16_t *label;
	struct mixture_stat stat;
	double norm, rate, val_loss, val_accuracy;
	struct file *timing;
	double mark, spent[PARTS]; /* when a part began, seconds of the step's parts */
};

/* --- data --- */

/* Every class has a sample to learn from. */
static int
check_classes(const struct part *p)
{
	const struct images *s = p->set;
	bool *seen = mem_zero((size_t)s->classes, sizeof *seen);
	int missing = 0;

	for (long i = p->from; i < p->to; i++)
		seen[s->label[i]] = true;
	while (missing < s->classes && seen[missing])
		missing++;
	free(seen);
	return missing == s->classes
		       ? 0
		       : err_set("%s: no sample of class %d to learn from (expected some of each "
				 "of the %d classes)",
				 s->file, missing, s->classes);
}

static int
data_open(struct job *j)
{
	struct recipe *r = j->r;
	struct images_form form;
	struct site_source v[3];
	int sources = 1;
	long held;

	if (r->data.n != 1 || r->val.n > 1)
		return err_set("a classifier learns from one set of samples and is validated on "
			       "one at most (found %d and %d)",
			       r->data.n, r->val.n);
	if (labeller_form(r, &form) < 0 || !(j->data = images_open(r->data.v[0], &form, NULL)))
		return -1;
	if (r->val.n && !(j->val = images_open(r->val.v[0], &form, j->data)))
		return -1;
	held = (long)((double)j->data->n * r->val_frac);
	j->learn = (struct part){j->data, 0, j->data->n - held};
	if (j->val)
		j->check = (struct part){j->val, 0, j->val->n};
	else if (held)
		j->check = (struct part){j->data, j->data->n - held, j->data->n};
	if (j->learn.to < r->batch)
		return err_set("%s: %ld samples to learn from (expected at least --batch %d)",
			       j->data->file, j->learn.to, r->batch);
	if (check_classes(&j->learn) < 0)
		return -1;
	v[0] = (struct site_source){"train", j->data->name, 0, j->data->bytes, j->data->crc};
	if (j->val)
		v[sources++] =
			(struct site_source){"val", j->val->name, 0, j->val->bytes, j->val->crc};
	if (r->resume_from) {
		struct site_source *from = &v[sources++];

		*from = (struct site_source){.kind = "from", .name = "-"};
		if (file_size(r->resume_from, &from->bytes) < 0 ||
		    file_crc(r->resume_from, from->bytes, &from->crc) < 0)
			return -1;
	}
	return site_recipe(&j->site, j->t->table, v, sources) < 0 ||
			       site_check(&j->site, j->t->table, &r->made_of) < 0
		       ? -1
		       : 0;
}

/* The permutation of the epoch that the step belongs to. */
static const long *
shuffled(struct job *j)
{
	const long n = j->learn.to, batches = n / j->r->batch, epoch = j->step / batches;
	struct rng r;

	if (!j->order)
		j->order = mem_zero((size_t)n, sizeof *j->order);
	if (epoch != j->epoch) {
		r = rng_at((uint64_t)j->r->seed, RNG_BATCH, (uint64_t)epoch, 0);
		for (long i = 0; i < n; i++) {
			const long k = (long)rng_below(&r, (uint64_t)i + 1);

			j->order[i] = j->order[k];
			j->order[k] = i;
		}
		j->epoch = epoch;
	}
	return j->order + j->step % batches * j->r->batch;
}

static void
next_batch(struct job *j)
{
	const long *order = shuffled(j), size = appraise_input_size(j->data);

	for (int i = 0; i < j->r->batch; i++) {
		struct rng r =
			rng_at((uint64_t)j->r->seed, RNG_DATA, (uint64_t)j->step, (uint64_t)i);
		const bool move = j->r->augment && j->data->pixel;
		struct appraise_move how = {0};

		if (move) {
			how.dy = (int)rng_below(&r, 2 * SHIFT + 1) - SHIFT;
			how.dx = (int)rng_below(&r, 2 * SHIFT + 1) - SHIFT;
			how.mirror = rng_below(&r, 2);
		}
		appraise_input(j->c, j->data, order[i], how, j->x + i * size);
		j->label[i] = j->data->label[order[i]];
	}
}

/* Mean and deviation of each plane, or feature, of the samples to learn from. */
static void
measure_input(struct classifier *c, const struct part *p)
{
	const struct images *s = p->set;
	const long planes = c->mean.cols, size = appraise_input_size(s) / planes;

	for (long k = 0; k < planes; k++) {
		double sum = 0, square = 0, n = (double)p->to * (double)size;

		for (long i = 0; i < p->to; i++)
			for (long x = 0; x < size; x++) {
				const long at = (i * planes + k) * size + x;
				const double v = s->pixel ? s->pixel[at] : (double)s->value[at];

				sum += v;
				square += v * v;
			}
		sum /= n;
		square = sqrt(fmax(square / n - sum * sum, 0));
		c->mean.w[k] = (float)sum;
		c->sd.w[k] = square > 0 ? (float)square : 1;
	}
}

/* --- the directory --- */

static int
save(struct job *j)
{
	struct ckpt_out *o = ckpt_out_new();
	const struct images *s = j->data;
	char *shape = mem_text("%dx%dx%d", s->planes, s->height, s->width),
	     *classes = mem_text("%d", s->classes), *step = mem_text("%ld", j->step), *marks,
	     *names = NULL;
	float *copy = NULL;
	size_t n;
	int status = -1;

	if (run_sync(&j->run) != 0)
		goto out;
	if (s->class_name) {
		FILE *f = open_memstream(&names, &n);

		for (int i = 0; f && i < s->classes; i++)
			fprintf(f, "%s\n", s->class_name[i]);
		if (!f || fclose(f) != 0) {
			err_set("out of memory");
			goto out;
		}
		ckpt_out_meta(o, "class_names", names);
	}
	marks = run_marks(&j->run);
	ckpt_out_meta(o, "recipe", j->site.text);
	ckpt_out_meta(o, "step", step);
	ckpt_out_meta(o, "files", marks);
	ckpt_out_meta(o, s->pixel ? "image" : "features", shape);
	ckpt_out_meta(o, "classes", classes);
	free(marks);
	if (classifier_put(j->c, o, &copy) == 0)
		status = ckpt_write(o, j->ckpt);
out:
	ckpt_out_free(o);
	free(copy);
	free(shape);
	free(classes);
	free(step);
	free(names);
	return status;
}

static int
open_csvs(struct job *j, const char *marks)
{
	const bool wanted[RUN_CSVS] = {true, true, true, true, false};
	char *loss = mem_copy("step,domain,tokens,loss,val_loss,lr,grad_norm,accuracy,val_accuracy,"
			      "total");
	const char *head[RUN_CSVS] = {NULL, policy_row_columns, policy_event_columns,
				      census_layer_columns, NULL};
	int bad = run_open(&j->run, j->t->dir, j->t->csv, wanted, marks);

	for (int i = 0; i < MIXTURE_TERMS && !j->r->dense; i++) {
		char *more = mem_text("%s,%s,%s_weighted", loss, mixture_term_name[i],
				      mixture_term_name[i]);
		free(loss);
		loss = more;
	}
	head[RUN_LOSS] = loss;
	for (int i = 0; i < RUN_CSVS && !bad; i++)
		if (wanted[i] && run_new(&j->run, (enum run_csv)i))
			bad = row_header(&j->run.row[i], head[i]) ||
			      run_flush(&j->run, (enum run_csv)i);
	free(loss);
	return bad ? -1 : 0;
}

static int
write_recipe(const struct job *j)
{
	char *val = j->val ? mem_text("val %s=%s\n", j->val->name, j->val->file) : mem_copy(""),
	     *from = j->r->resume_from ? mem_text("resume-from %s\n", j->r->resume_from)
				       : mem_copy(""),
	     *sources = mem_text("data %s=%s\n%s%s", j->data->name, j->data->file, val, from);
	int status = site_write(&j->site, sources);

	free(val);
	free(from);
	free(sources);
	return status;
}

/* Start from another run's model, moments, and step. */
static int
take_over(struct job *j)
{
	struct ckpt *k = ckpt_open(j->r->resume_from);
	int status = k && (j->step = state_step(k)) >= 0 ? classifier_get(j->c, k) : -1;

	if (status == 0 && j->step >= j->r->steps)
		status = err_set("%s: is at step %ld (expected one before --steps %ld)", k->name,
				 j->step, j->r->steps);
	ckpt_close(k);
	return status;
}

static int
begin(struct job *j)
{
	if (j->r->resume_from) {
		if (take_over(j) < 0)
			return -1;
	} else {
		classifier_init(j->c, (uint64_t)j->r->seed);
		measure_input(j->c, &j->learn);
	}
	return open_csvs(j, NULL) < 0 || write_recipe(j) < 0 || save(j) < 0 ? -1 : 0;
}

/* Go on where the checkpoint stands; the step alone if the run is complete. */
static int
resume(struct job *j)
{
	struct ckpt *k = ckpt_open(j->ckpt);
	const char *text = k ? state_recipe(k) : NULL, *files = k ? ckpt_meta(k, "files") : NULL;
	const bool longer = j->r->schedule == LR_CONSTANT || j->r->schedule == LR_WSD;
	int status = -1;

	if (!text || site_compare(&j->site, text, longer, j->r->steps) < 0 ||
	    (j->step = state_step(k)) < 0)
		goto out;
	if (j->step >= j->r->steps) {
		status = run_open_pipes(&j->run, j->t->dir, j->t->csv, files);
		goto out;
	}
	if (!files) {
		err_set("%s: does not say how far the CSV files had been written", k->name);
		goto out;
	}
	if (classifier_get(j->c, k) < 0 || open_csvs(j, files) < 0)
		goto out;
	status = strcmp(text, j->site.text) == 0 ? 0 : write_recipe(j);
out:
	ckpt_close(k);
	return status;
}

/* --- the census --- */

static struct count
count_new(const struct classifier *c)
{
	const size_t experts = (size_t)c->s.mixture.experts;
	struct count n = {.tally = tally_new(true, 1, 0)};

	n.ce_of = mem_zero(experts, sizeof *n.ce_of);
	n.clear_of = mem_zero(experts, sizeof *n.clear_of);
	tally_slots(&n.tally, 0, c->s.mixture.experts);
	return n;
}

static void
count_free(struct count *n)
{
	tally_free(&n->tally);
	free(n->ce_of);
	free(n->clear_of);
}

static int
count_sample(void *arg, const struct classifier *c, const struct appraised *s)
{
	const int *choice = mixture_choice(c->mixture, s->i);
	struct count *n = arg;

	tally_add(&n->tally, 0, choice, c->s.mixture.top_k, s->right, s->confidence);
	n->clear_of[choice[0]] += mixture_clear(c->mixture, s->i);
	for (int k = 0; k < c->s.mixture.top_k; k++)
		n->ce_of[choice[k]] += mixture_ce(c->mixture, s->i);
	return 0;
}

static double
share(double part, double whole)
{
	return whole > 0 ? num_single(part / whole) : 0;
}

static struct policy_row
row_of(const struct job *j, const struct count *o, int e)
{
	const struct mixture_shape *s = &j->c->s.mixture;
	const struct tally_layer *l = &o->tally.layer[0];
	const struct tally_sum *sum = &l->sum[e];
	const double params = (double)s->width * (s->classes + 1.0) + s->classes;

	return (struct policy_row){
		.step = j->step,
		.slot = e,
		.expert = e,
		.parent = -1,
		.tier = ecology_tier(j->r->tiers.n, j->r->tiers.v, e),
		.tokens = sum->routed,
		.demand = share((double)sum->routed, (double)l->tokens * s->top_k),
		.quality = share((double)sum->routed, o->ce_of[e]),
		.exclusivity = share((double)o->clear_of[e], (double)l->tokens),
		.flops = num_single(2 * params * (double)sum->routed),
		.fitness = NAN,
		.effective = NAN,
		.vitality = NAN,
		.usage = share((double)sum->first, (double)l->tokens),
		.accuracy = sum->first ? share((double)sum->hits, (double)sum->first) : NAN,
		.width = s->classes,
		.gradient = NAN,
		.energy = NAN,
		.twin = -1,
		.load_factor = NAN,
		.gradient_factor = NAN};
}

static int
layer_row(struct job *j, const struct count *o, const struct appraise *a)
{
	const int E = j->c->s.mixture.experts;
	const struct tally_layer *l = &o->tally.layer[0];
	double *count = mem_zero((size_t)E, sizeof *count);
	struct row *w = &j->run.row[RUN_LAYERS];
	struct ecology_load spread;

	for (int e = 0; e < E; e++)
		count[e] = (double)l->sum[e].routed;
	spread = ecology_load(E, count);
	free(count);
	row_long(w, j->step);
	row_long(w, 0);
	row_real(w, a->load / (double)a->n);
	row_real(w, a->z / (double)a->n);
	row_real(w, a->entropy / (double)a->n / log(E));
	row_real(w, spread.maxvio);
	row_real(w, spread.q25);
	row_real(w, spread.median);
	row_real(w, spread.q75);
	row_real(w, spread.dead);
	row_real(w, spread.gini);
	row_real(w, tally_coactivation(l));
	return row_end(w) || run_flush(&j->run, RUN_LAYERS);
}

static int
census(struct job *j, const struct count *o, const struct appraise *a)
{
	const int E = j->c->s.mixture.experts;

	for (int e = 0; e < E; e++) {
		const struct policy_row r = row_of(j, o, e);

		if (policy_row_write(&j->run.row[RUN_EXPERTS], &r, E - 1 - e) != 0)
			return -1;
	}
	return run_flush(&j->run, RUN_EXPERTS) || layer_row(j, o, a) ? -1 : 0;
}

/* Validate, take the census, or both: what is due. */
static int
observe(struct job *j, bool validate, bool count)
{
	const struct mixture_loss loss = labeller_loss(j->r, j->step);
	const struct part *p = j->check.set ? &j->check : &j->learn;
	struct count n = {0};
	struct appraise a;
	int bad;

	count = count && !j->r->dense;
	if (!validate && !count)
		return 0;
	if (count)
		n = count_new(j->c);
	bad = appraise_run(j->c, p->set, p->from, p->to, &loss, count ? count_sample : NULL, &n,
			   &a);
	if (!bad && validate) {
		j->val_loss = a.ce / (double)a.n;
		j->val_accuracy = (double)a.right / (double)a.n;
	}
	if (!bad && count)
		bad = census(j, &n, &a);
	count_free(&n);
	return bad;
}

/* --- steps --- */

static int
loss_row(struct job *j, bool validated)
{
	struct row *w = &j->run.row[RUN_LOSS];

	row_long(w, j->step);
	row_text(w, j->data->name);
	row_long(w, j->r->batch);
	row_real(w, j->stat.ce);
	if (validated)
		row_real(w, j->val_loss);
	else
		row_skip(w);
	row_real(w, j->rate);
	row_real(w, j->norm);
	row_real(w, (double)j->stat.right / j->r->batch);
	if (validated)
		row_real(w, j->val_accuracy);
	else
		row_skip(w);
	row_real(w, j->stat.total);
	for (int i = 0; i < MIXTURE_TERMS && !j->r->dense; i++) {
		row_real(w, j->stat.raw[i]);
		row_real(w, j->stat.cost[i]);
	}
	return row_end(w) || run_flush(&j->run, RUN_LOSS) ? -1 : 0;
}

static void
part_ends(struct job *j, enum step_part part)
{
	const double now = tick_now();

	j->spent[part] = now - j->mark;
	j->mark = now;
}

/* `seconds` are those of learning, without the tables. */
static int
timing_row(struct job *j)
{
	struct row w = {.f = j->timing};
	double sum = 0;

	if (!j->timing)
		return 0;
	for (int i = 0; i < TABLES; i++)
		sum += j->spent[i];
	row_long(&w, j->step);
	row_real(&w, sum);
	for (int i = 0; i < PARTS; i++)
		row_real(&w, j->spent[i]);
	return row_end(&w) != 0 || file_flush(j->timing) != 0 ? -1 : 0;
}

static int
learn(struct job *j)
{
	const struct recipe *r = j->r;
	const struct mixture_loss loss = labeller_loss(r, j->step);
	const struct optim o = recipe_optim(r);
	double share = r->encoder_lr > 0 ? r->encoder_lr / r->lr : 1;

	j->mark = tick_now();
	next_batch(j);
	part_ends(j, DATA);
	classifier_forward(j->c, &loss, j->x, j->label, r->batch, true, (uint64_t)r->seed, j->step,
			   &j->stat);
	if (!isfinite(j->stat.total))
		return err_set("step %ld: the loss is not finite (%.9g); the last checkpoint is "
			       "good",
			       j->step + 1, j->stat.total);
	part_ends(j, FORWARD);
	classifier_back(j->c, &loss, j->x, j->label);
	j->norm = classifier_norm(j->c);
	if (!isfinite(j->norm))
		return err_set("step %ld: the gradient is not finite; the last checkpoint is good",
			       j->step + 1);
	part_ends(j, BACKWARD);
	j->rate = optim_rate((enum schedule_kind)r->schedule, r->lr, r->lr_end, r->warmup, r->steps,
			     j->step);
	classifier_step(j->c, &o, j->rate * share, j->rate, j->step, j->norm);
	if (r->bias_rate > 0)
		mixture_move_bias(j->c->mixture, r->bias_rate);
	part_ends(j, OPTIMIZER);
	j->step++;
	return 0;
}

static void
tell(const struct job *j, bool validated, double seconds)
{
	j->t->progress(j->t->arg,
		       &(struct train_progress){.step = j->step,
						.steps = j->r->steps,
						.domain = j->data->name,
						.loss = j->stat.ce,
						.val_loss = validated ? j->val_loss : NAN,
						.rate = j->rate,
						.tokens = j->r->batch,
						.tokens_per_s = j->r->batch / seconds,
						.flops = NAN});
}

static enum train_end
steps(struct job *j)
{
	const struct recipe *r = j->r;

	while (j->step < r->steps) {
		const double start = tick_now();
		bool last, validate, stop;

		if (learn(j) < 0)
			return TRAIN_FAILED;
		last = j->step == r->steps;
		validate = j->check.set && (last || (r->val_every && j->step % r->val_every == 0));
		if (observe(j, validate, last || j->step % r->census_every == 0) ||
		    loss_row(j, validate) < 0)
			return TRAIN_FAILED;
		part_ends(j, TABLES);
		if (timing_row(j) < 0)
			return TRAIN_FAILED;
		tell(j, validate, tick_now() - start);
		stop = *j->t->stop != 0;
		if ((stop || last || j->step % j->t->ckpt_every == 0) && save(j) < 0)
			return TRAIN_FAILED;
		if (stop && !last)
			return TRAIN_STOPPED;
	}
	return TRAIN_DONE;
}

static enum train_end
run(struct job *j)
{
	const struct recipe *r = j->r;
	struct classifier_shape shape;

	if (recipe_check(j->r) < 0 || data_open(j) < 0 || site_lock(&j->site) < 0)
		return TRAIN_FAILED;
	shape = labeller_shape(r, j->data);
	if (!(j->c = classifier_new(&shape, r->batch, true)))
		return TRAIN_FAILED;
	j->ckpt = run_path(j->t->dir, "ckpt.safetensors");
	if ((file_exists(j->ckpt) ? resume(j) : begin(j)) < 0)
		return TRAIN_FAILED;
	if (j->step >= r->steps)
		return TRAIN_DONE;
	if (j->t->timing && (!(j->timing = file_create(j->t->timing)) ||
			     row_header(&(struct row){.f = j->timing}, timing_columns) != 0))
		return TRAIN_FAILED;
	j->x = mem_zero((size_t)(r->batch * appraise_input_size(j->data)), sizeof *j->x);
	j->label = mem_zero((size_t)r->batch, sizeof *j->label);
	j->t->ready(j->t->arg, NULL, j->step);
	return steps(j);
}

enum train_end
classify_run(struct train *t)
{
	struct job j = {.t = t, .r = t->recipe, .site = {t->dir, -1, NULL}, .epoch = -1};
	enum train_end end = run(&j);
	char *message = end == TRAIN_FAILED ? mem_copy(err_text()) : NULL;
	int bad = run_close(&j.run) | file_close(j.timing);

	classifier_free(j.c);
	images_close(j.data);
	images_close(j.val);
	site_close(&j.site);
	free(j.order);
	free(j.x);
	free(j.label);
	free(j.ckpt);
	if (message)
		err_set("%s", message);
	free(message);
	return bad ? TRAIN_FAILED : end;
}
