#include "train/appraise.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include <math.h>
#include <stdlib.h>

long
appraise_input_size(const struct images *s)
{
	return (long)s->planes * s->height * s->width;
}

void
appraise_input(const struct classifier *c, const struct images *s, long i, struct appraise_move how,
	       float *to)
{
	const long size = (long)s->height * s->width;

	if (!s->pixel) {
		for (long k = 0; k < s->width; k++)
			to[k] = (s->value[i * s->width + k] - c->mean.w[k]) / c->sd.w[k];
		return;
	}
	for (int p = 0; p < s->planes; p++) {
		const uint8_t *from = s->pixel + (i * s->planes + p) * size;

		for (int y = 0; y < s->height; y++)
			for (int x = 0; x < s->width; x++) {
				const int v = y + how.dy;
				const int u = (how.mirror ? s->width - 1 - x : x) + how.dx;
				const bool in = v >= 0 && v < s->height && u >= 0 && u < s->width;

				*to++ = in ? ((float)from[v * s->width + u] - c->mean.w[p]) /
							c->sd.w[p]
					   : 0;
			}
	}
}

/* The largest of softmax(y), and whose it is. */
static double
confidence(const float *y, int classes, int *best)
{
	double sum = 0;

	*best = 0;
	for (int c = 1; c < classes; c++)
		*best = y[c] > y[*best] ? c : *best;
	for (int c = 0; c < classes; c++)
		sum += exp((double)y[c] - (double)y[*best]);
	return 1 / sum;
}

static int
look(struct appraise *o, const struct classifier *c, struct appraised *s, appraise_fn *seen,
     void *arg)
{
	int best;

	s->confidence = confidence(mixture_output(c->mixture, s->i), c->s.mixture.classes, &best);
	s->right = best == s->set->label[s->at];
	o->n++;
	o->right += s->right;
	o->ce += mixture_ce(c->mixture, s->i);
	return seen ? seen(arg, c, s) : 0;
}

int
appraise_run(struct classifier *c, const struct images *set, long from, long to,
	     const struct mixture_loss *how, appraise_fn *seen, void *arg, struct appraise *out)
{
	const long size = appraise_input_size(set);
	float *x = mem_zero((size_t)(c->batch * size), sizeof *x);
	struct mixture_loss loss = *how;
	int bad = 0;

	*out = (struct appraise){0};
	loss.random = false;
	loss.weight[MIXTURE_ORACLE] = 0; /* nobody asks for it here */
	for (long at = from; !bad && at < to; at += c->batch) {
		const int n = (int)(to - at < c->batch ? to - at : c->batch);
		struct mixture_stat s;

		for (int i = 0; i < n; i++)
			appraise_input(c, set, at + i, (struct appraise_move){0}, x + i * size);
		classifier_forward(c, &loss, x, set->label + at, n, false, 0, 0, &s);
		for (int i = 0; !bad && i < n; i++)
			bad = look(out, c, &(struct appraised){.set = set, .at = at + i, .i = i},
				   seen, arg);
		out->load += n * s.raw[MIXTURE_LOAD];
		out->z += n * s.raw[MIXTURE_Z];
		out->entropy += n * s.raw[MIXTURE_ENTROPY];
	}
	free(x);
	if (!bad && !isfinite(out->ce))
		return err_set("%s: the loss is not finite", set->file);
	return bad;
}

int
appraise_trace_header(struct row *w)
{
	return row_header(w, "sample,layer,rank,expert,weight,correct,confidence");
}

int
appraise_trace(struct row *w, const struct classifier *c, const struct appraised *s)
{
	const int *choice = mixture_choice(c->mixture, s->i);
	const float *gate = mixture_gate(c->mixture, s->i);
	int bad = 0;

	for (int k = 0; k < c->s.mixture.top_k && c->s.mixture.experts; k++) {
		row_long(w, s->at);
		row_long(w, 0);
		row_long(w, k);
		row_long(w, choice[k]);
		row_real(w, (double)gate[k]);
		row_long(w, s->right);
		row_real(w, num_single(s->confidence));
		bad |= row_end(w);
	}
	return bad ? -1 : 0;
}

int
appraise_features_header(struct row *w, const struct classifier *c)
{
	if (!c->encoder)
		return err_set("the classifier has no encoder: its features are its data");
	for (int k = 0; k < wrn_features(c->encoder); k++) {
		char *name = mem_text("f%d", k);
		row_text(w, name);
		free(name);
	}
	row_text(w, "class");
	return row_end(w);
}

int
appraise_features(struct row *w, const struct classifier *c, const struct appraised *s)
{
	const int n = wrn_features(c->encoder), label = s->set->label[s->at];

	for (int k = 0; k < n; k++)
		row_real(w, (double)c->feature[(long)s->i * n + k]);
	if (s->set->class_name)
		row_text(w, s->set->class_name[label]);
	else
		row_long(w, label);
	return row_end(w);
}
