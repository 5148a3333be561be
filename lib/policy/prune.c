#include "policy/prune.h"
#include "base/mem.h"
#include "base/num.h"
#include <stdlib.h>

/* The one of least demand of those that stay. */
static int
idlest(const struct policy_row *r, int n, const bool *goes)
{
	int at = -1;

	for (int i = 0; i < n; i++)
		if (!goes[i] && (at < 0 || r[i].demand < r[at].demand))
			at = i;
	return at;
}

static void
tell(const struct prune *p, const struct policy_row *r, int n, enum policy_kind kind,
     const char *cause, struct policy_events *to)
{
	struct policy_event e = policy_event(r->step, r->layer, r->slot, kind, cause);

	e.expert = r->expert;
	e.value = num_single(r->demand * n);
	e.threshold = num_single(p->below);
	policy_events_add(to, &e);
}

static void
decide_layer(const struct prune *p, const struct policy_row *r, int n, struct policy_events *to)
{
	bool *goes = mem_zero((size_t)n, sizeof *goes), below;
	int at, left = n;

	for (;; goes[at] = true, left--) {
		at = idlest(r, n, goes);
		below = at >= 0 && num_single(r[at].demand * n) < num_single(p->below);
		if (!below || left <= p->least)
			break;
	}
	for (int i = 0; i < n; i++)
		if (goes[i] && p->kind == PRUNE_DEATH)
			tell(p, &r[i], n, POLICY_DEATH, "prune", to);
		else if (goes[i])
			tell(p, &r[i], n, POLICY_MERGE, "merge", to);
	if (left == n)
		tell(p, &r[at], n, POLICY_KEEP, below ? "least" : "fit", to);
	free(goes);
}

void
prune_decide(const struct prune *p, const struct policy_step *s, struct policy_events *to)
{
	policy_events_clear(to);
	for (int k = 0; k < s->layers; k++)
		decide_layer(p, s->row + s->begin[k], s->begin[k + 1] - s->begin[k], to);
}
