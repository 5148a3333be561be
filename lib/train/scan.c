#include "train/scan.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

struct pass {
	struct scan scan;
	int k;
	bool reference; /* the pass whose choices are kept */
	long room;	/* of choice, in samples */
	int *choice;	/* [samples, layers, k] of the reference */
};

/* Whether two lists of k choices are the same set. */
static bool
same_set(const int *a, const int *b, int k)
{
	for (int i = 0; i < k; i++) {
		int j = 0;
		while (j < k && b[j] != a[i])
			j++;
		if (j == k)
			return false;
	}
	return true;
}

static void
look(void *arg, const struct subject_sample *x)
{
	struct pass *p = arg;
	struct scan_layer *l = &p->scan.layer[x->layer];
	const int layers = p->scan.layers;
	int *was;

	if (x->at >= p->room) {
		p->room = 2 * (x->at + 1);
		p->choice = mem_grow(p->choice, (size_t)p->room,
				     (size_t)(layers * p->k) * sizeof *p->choice);
	}
	was = p->choice + (x->at * layers + x->layer) * p->k;
	if (p->reference)
		memcpy(was, x->choice, (size_t)p->k * sizeof *was);
	l->first_moved += x->choice[0] != was[0];
	l->set_moved += !same_set(x->choice, was, p->k);
	l->entropy += x->entropy;
	l->weight += x->weight;
	tally_add(&p->scan.tally, x->layer, x->choice, p->k, x->right, x->confidence);
}

/* Sums become means. */
static void
finish(struct scan *s)
{
	const double n = (double)s->result.samples;

	for (int i = 0; i < s->layers; i++) {
		s->layer[i].entropy /= n;
		s->layer[i].weight /= n;
		s->layer[i].first_moved /= n;
		s->layer[i].set_moved /= n;
	}
}

int
scan_run(struct subject *s, int n, const double *T, double easy, double hard, scan_fn *seen,
	 void *arg)
{
	struct pass p = {.scan = {.layers = s->layers}, .k = s->top_k, .reference = true};
	int bad = 0;

	p.scan.layer = mem_zero((size_t)s->layers, sizeof *p.scan.layer);
	for (int i = -1; i < n && !bad; i++) {
		p.scan.temperature = i < 0 ? s->temperature : T[i];
		p.scan.tally = tally_new(false, easy, hard);
		subject_slots(s, &p.scan.tally);
		memset(p.scan.layer, 0, (size_t)s->layers * sizeof *p.scan.layer);
		bad = subject_run(s, p.scan.temperature, look, &p, &p.scan.result);
		p.reference = false;
		if (!bad) {
			finish(&p.scan);
			bad = seen(arg, &p.scan);
		}
		tally_free(&p.scan.tally);
	}
	free(p.scan.layer);
	free(p.choice);
	return bad;
}
