#include "train/subject.h"
#include "base/err.h"
#include "train/appraise.h"
#include <math.h>

static int
dense(const char *ckpt)
{
	return err_set("%s: a dense model has no experts", ckpt);
}

static int
open_model(struct subject *s, const struct ckpt *k, const char *data, int seq, int batch)
{
	struct recipe *r = &s->model.book.recipe;
	const struct shape *shape;

	if (model_take(&s->model, k) != 0)
		return -1;
	shape = &s->model.param->shape;
	r->seq = seq ? seq : r->seq;
	r->batch = batch ? batch : r->batch;
	s->layers = shape->layers;
	s->top_k = shape->top_k;
	s->temperature = (double)model_how(&s->model).temperature;
	if (shape->dense)
		dense(k->name);
	else if ((s->text = model_text(&s->model, data))) {
		s->net = net_new(s->model.param, r->batch, r->seq, true);
		return 0;
	}
	model_close(&s->model);
	return -1;
}

static int
open_classifier(struct subject *s, const struct ckpt *k, const char *data)
{
	if (labeller_take(&s->labeller, k) != 0)
		return -1;
	s->layers = 1;
	s->top_k = s->labeller.c->s.mixture.top_k;
	s->temperature = s->labeller.how.temperature;
	if (!s->labeller.c->s.mixture.experts)
		dense(k->name);
	else if ((s->set = labeller_data(&s->labeller, data)))
		return 0;
	labeller_close(&s->labeller);
	return -1;
}

int
subject_open(struct subject *s, const char *ckpt, const char *data, int seq, int batch)
{
	struct ckpt *k = ckpt_open(ckpt);
	const char *recipe = k ? ckpt_meta(k, "recipe") : NULL;
	int status = -1;

	*s = (struct subject){.classifier = recipe && labeller_is(recipe)};
	if (k)
		status = s->classifier ? open_classifier(s, k, data)
				       : open_model(s, k, data, seq, batch);
	ckpt_close(k);
	return status;
}

void
subject_close(struct subject *s)
{
	if (s->classifier) {
		images_close(s->set);
		labeller_close(&s->labeller);
	} else {
		net_free(s->net);
		tokens_close(s->text);
		model_close(&s->model);
	}
}

static int
experts_of(const struct subject *s, int layer)
{
	return s->classifier ? s->labeller.c->s.mixture.experts
			     : s->model.param->shape.experts[layer];
}

struct pass {
	subject_fn *seen;
	void *arg;
	long at; /* tokens of the batches before */
};

static int
see_tokens(void *arg, struct net *n, long step, int batch, const int32_t *in)
{
	struct pass *w = arg;
	long tokens = 0;

	(void)step;
	(void)batch;
	(void)in;
	for (int l = 0; l < n->param->shape.layers; l++) {
		const struct plan *p = net_plan(n, l);
		const double most = p->living > 1 ? log(p->living) : 1;

		tokens = p->tokens;
		for (long i = 0; i < tokens; i++)
			w->seen(w->arg, &(struct subject_sample){
						.layer = l,
						.at = w->at + i,
						.choice = p->choice + i * p->k,
						.right = net_token_hit(n)[i],
						.confidence = exp((double)net_token_best(n)[i]),
						.entropy = (double)p->entropy[i] / most,
						.weight = (double)p->gate[i * p->k]});
	}
	w->at += tokens;
	return 0;
}

static int
see_sample(void *arg, const struct classifier *c, const struct appraised *s)
{
	struct pass *w = arg;

	w->seen(w->arg,
		&(struct subject_sample){.at = s->at,
					 .choice = mixture_choice(c->mixture, s->i),
					 .right = s->right,
					 .confidence = s->confidence,
					 .entropy = mixture_entropy(c->mixture, s->i),
					 .weight = (double)mixture_gate(c->mixture, s->i)[0]});
	return 0;
}

int
subject_run(struct subject *s, double temperature, subject_fn *seen, void *arg,
	    struct subject_result *out)
{
	struct pass w = {seen, arg, 0};

	if (s->classifier) {
		struct mixture_loss how = s->labeller.how;
		struct appraise a;

		how.temperature = temperature;
		if (appraise_run(s->labeller.c, s->set, 0, s->set->n, &how, see_sample, &w, &a) < 0)
			return -1;
		*out = (struct subject_result){a.n, a.ce / (double)a.n,
					       (double)a.right / (double)a.n};
	} else {
		struct net_how how = model_how(&s->model);
		struct eval e;

		how.temperature = (float)temperature;
		if (eval_run(s->net, &how, s->text, 0, s->text->n, see_tokens, &w, &e) != 0)
			return -1;
		*out = (struct subject_result){e.tokens, e.loss, e.accuracy};
	}
	return 0;
}

struct count {
	struct tally *tally;
	int top_k;
};

static void
count(void *arg, const struct subject_sample *x)
{
	struct count *c = arg;

	tally_add(c->tally, x->layer, x->choice, c->top_k, x->right, x->confidence);
}

void
subject_slots(const struct subject *s, struct tally *t)
{
	t->correct = true;
	for (int l = 0; l < s->layers; l++)
		tally_slots(t, l, experts_of(s, l));
}

int
subject_tally(struct subject *s, struct tally *t)
{
	struct count c = {t, s->top_k};
	struct subject_result r;

	subject_slots(s, t);
	return subject_run(s, s->temperature, count, &c, &r);
}
