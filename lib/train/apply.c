#include "train/apply.h"
#include "base/err.h"
#include "policy/event.h"
#include "train/state.h"
#include "train/verdict.h"
#include <stdlib.h>
#include <string.h>

/* A step's events, which may come in parts; what a shift tells is the run's own to tell. */
static void
gather(const struct policy_events *part, struct policy_events *to)
{
	for (int i = 0; i < part->n; i++)
		if (part->v[i].kind != POLICY_SHIFT)
			policy_events_add(to, &part->v[i]);
}

static int
read_events(const char *name, long step, struct policy_events *e)
{
	struct policy_history *h = policy_history_open(name);
	struct policy_events *part;
	long last = -1;
	int got = -1;

	while (h && (got = policy_history_next(h, &part)) > 0) {
		last = part->step;
		if (last == step)
			gather(part, e);
		if (last <= step)
			continue;
		got = err_set("%s:%ld: events of step %ld (expected none after the checkpoint's, "
			      "%ld)",
			      name, part->v[0].line, last, step);
		break;
	}
	policy_history_close(h);
	if (got == 0 && e->n == 0 && last < 0)
		return err_set("%s: no events (expected those of step %ld)", name, step);
	if (got == 0 && e->n == 0)
		return err_set("%s: no events of step %ld, the checkpoint's (the last are of step "
			       "%ld)",
			       name, step, last);
	return got;
}

/* Rows without a header; freed by free(). NULL with a message. */
static char *
rows_of(const struct policy_events *e)
{
	struct row w = {.f = file_memory("events")};
	char *text = NULL;
	size_t n;

	if (w.f && policy_events_write(e, &w) == 0)
		text = file_text(w.f, &n);
	file_close(w.f);
	return text;
}

/* Whether its step awaits events: not if it has had them, or lacks the census that is judged. */
static int
check_state(const struct ckpt *k, long step)
{
	const char *held = ckpt_meta(k, "held");

	if (ckpt_meta(k, "events"))
		return err_set("%s: the events of step %ld have been carried out (expected a "
			       "checkpoint that awaits them)",
			       k->name, step);
	if (held && !*held)
		return err_set("%s: the census of step %ld is still to come (expected its run to "
			       "go on first)",
			       k->name, step);
	return 0;
}

static int
carry_out(struct state *s, const struct recipe *r, const char *name, const char *out)
{
	struct policy_events e = {0};
	char *rows = NULL;
	int bad = read_events(name, s->step, &e);

	if (!bad && (bad = verdict_carry_out(r, s->param, &e)) != 0 && e.line)
		err_in("%s:%ld", name, e.line);
	if (!bad && !(bad = !(rows = rows_of(&e)))) {
		s->events = rows;
		bad = state_save(s, out);
	}
	free(rows);
	policy_events_free(&e);
	return bad ? -1 : 0;
}

/*
 * The window, if the file has one: a run that is held remembers what it would have remembered, and
 * the next window begins.
 */
static int
end_window(struct state *s, const struct ckpt *k, const struct recipe *r, bool held)
{
	struct verdict v = {0};
	int bad = 0;

	if (!ckpt_find(k, "census.0.sums"))
		return 0;
	s->census = census_new(&s->param->shape);
	if (held && (bad = census_get(s->census, k)) == 0 &&
	    (bad = verdict_pass(&v, r, s->census, s->param, s->step, false)) == 0)
		verdict_remember(&v, r, s->param);
	verdict_free(&v);
	census_clear(s->census);
	return bad;
}

static int
on_ckpt(const struct ckpt *k, const struct recipe *r, const char *events, const char *out)
{
	const enum state_use use = state_has_moments(k) ? STATE_RESUME : STATE_USE;
	const char *held = ckpt_meta(k, "held");
	struct state s = {.step = state_step(k),
			  .recipe = state_recipe(k),
			  .files = held ? held : ckpt_meta(k, "files"),
			  .from = k};
	int bad = -1;

	if (s.step >= 0 && check_state(k, s.step) == 0 && state_params(k, r, use, &s.param) == 0 &&
	    end_window(&s, k, r, held) == 0)
		bad = carry_out(&s, r, events, out);
	census_free(s.census);
	param_free(s.param);
	return bad;
}

int
apply_run(const char *ckpt, const char *events, const char *out)
{
	struct ckpt *k = ckpt_open(ckpt);
	const char *text = k ? state_recipe(k) : NULL;
	struct recipe_book b;
	int bad = -1;

	if (text && recipe_open(&b, ckpt, text) == 0) {
		bad = on_ckpt(k, &b.recipe, events, out);
		recipe_close(&b);
	}
	ckpt_close(k);
	return bad;
}
