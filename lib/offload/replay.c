#include "offload/replay.h"
#include "base/mem.h"
#include <stdlib.h>

struct play {
	const struct access_trace *t;
	const struct replay_plan *plan;
	struct replay_score *s;
	struct evict *evict;
	struct predict *predict;     /* NULL: none */
	bool *hit;		     /* [most accesses of a turn] */
	struct predict_guess *guess; /* [2 budget] for the turn at hand */
	long guesses;
	uint32_t *ahead; /* [2 budget] loaded for the turn at hand before it */
	long aheads;
	long *expected; /* [items] the number, from 1, of the turn for which it was guessed */
	long lesson;	/* the first turn of the prompts that has not been learned */
	long named, right, right_2k;
};

static long
size_of(const struct access_turn *turn)
{
	return turn[1].begin - turn->begin;
}

static long
largest_turn(const struct access_list *l)
{
	long most = 0;

	for (long k = 0; k < l->turns; k++)
		most = size_of(&l->turn[k]) > most ? size_of(&l->turn[k]) : most;
	return most;
}

/* What is expected of turn k is kept, or brought. */
static void
prepare(struct play *p, long k)
{
	const long budget = p->s->budget;
	const double saves = p->plan->clock ? tier_hidden(p->plan->clock) : 1;

	p->aheads = 0;
	const struct access_list *gate = &p->t->gate;
	const bool named = p->plan->predictor == PREDICT_GATE;
	const long first = named ? gate->turn[k].begin : 0;
	p->guesses =
		predict_turn(p->predict, p->t->play.turn[k].layer, gate->item + first,
			     named ? gate->turn[k + 1].begin - first : 0, 2 * budget, p->guess);
	for (long i = 0; i < p->guesses && i < budget; i++)
		evict_expect(p->evict, p->guess[i].item);
	for (long i = 0; p->plan->ahead && i < p->guesses; i++)
		if (evict_load(p->evict, k, p->guess[i].item, (double)p->guess[i].chance, saves,
			       p->plan->waste)) {
			p->ahead[p->aheads++] = p->guess[i].item;
			p->s->loads++;
			p->s->bytes += (double)p->t->bytes[p->t->play.turn[k].layer];
		}
	if (p->plan->clock)
		tier_ahead(p->plan->clock, (double)budget, (double)p->aheads);
}

/* Of what was loaded ahead for a turn, how many it uses. */
static long
useful(const struct play *p, const struct access_turn *turn)
{
	long n = 0;

	for (long i = 0; i < p->aheads; i++)
		for (long k = turn->begin; k < turn[1].begin; k++)
			n += p->t->play.item[k] == p->ahead[i];
	return n;
}

/* What was guessed for turn k, which is known now. */
static void
judge(struct play *p, long k)
{
	const struct access_turn *turn = &p->t->play.turn[k];
	const long budget = p->s->budget;

	for (long i = 0; i < p->guesses; i++)
		p->expected[p->guess[i].item] = (k + 1) * (i < budget ? 1 : -1);
	for (long i = turn->begin; i < turn[1].begin; i++) {
		const long number = p->expected[p->t->play.item[i]];
		p->right += number == k + 1;
		p->right_2k += labs(number) == k + 1;
	}
	p->named += p->guesses < budget ? p->guesses : budget;
}

static void
learn_list(struct predict *p, const struct access_list *l, long k)
{
	const struct access_turn *turn = &l->turn[k];

	predict_learn(p, turn->layer, l->item + turn->begin, turn[1].begin - turn->begin);
}

/*
 * Turn k is known.  A prompt is learned token by token, when the last of its layers has been
 * computed.
 */
static void
learn_turn(const struct access_trace *t, struct predict *p, long k, long *lesson)
{
	const struct access_turn *turn = &t->play.turn[k];
	const struct access_list *l = &t->prompt;

	if (!turn->warm) {
		learn_list(p, &t->play, k);
		return;
	}
	if ((turn[1].warm && turn[1].part == turn->part) || *lesson == l->turns ||
	    l->turn[*lesson].part > turn->part)
		return;
	predict_pause(p);
	for (; *lesson < l->turns && l->turn[*lesson].part <= turn->part; ++*lesson)
		learn_list(p, l, *lesson);
}

void
replay_learn(const struct access_trace *t, struct tree *tree)
{
	struct predict *p = predict_new(t->depth, t->first, PREDICT_TREE, tree);
	long lesson = 0;

	for (long k = 0; k < t->play.turns; k++)
		learn_turn(t, p, k, &lesson);
	predict_free(p);
}

static void
play_turn(struct play *p, long k)
{
	const struct access_turn *turn = &p->t->play.turn[k];
	struct replay_score *s = p->s;
	long hits;

	if (p->predict && !turn->warm)
		prepare(p, k);
	hits = evict_turn(p->evict, k, p->hit);
	if (!turn->warm) {
		const long missed = size_of(turn) - hits;
		s->accesses += size_of(turn);
		s->hits += hits;
		s->loads += missed;
		s->bytes += (double)missed * (double)p->t->bytes[turn->layer];
		if (p->predict)
			judge(p, k);
		if (p->plan->clock)
			tier_turn(p->plan->clock, (double)size_of(turn), (double)missed,
				  (double)useful(p, turn));
	}
	if (p->predict)
		learn_turn(p->t, p->predict, k, &p->lesson);
}

static double
share(long part, long whole)
{
	return whole ? (double)part / (double)whole : 0;
}

void
replay(const struct access_trace *t, const struct replay_plan *plan, struct replay_score *s)
{
	struct play p = {.t = t, .plan = plan, .s = s};

	*s = (struct replay_score){0};
	s->budget = (t->counted + t->counted_turns / 2) / t->counted_turns;
	s->budget += !s->budget;
	p.evict = evict_new(t, plan->policy, plan->slots, plan->global, plan->half_life);
	p.hit = mem_zero((size_t)largest_turn(&t->play), sizeof *p.hit);
	if (plan->predictor != PREDICT_NONE) {
		p.predict = predict_new(t->depth, t->first, plan->predictor, plan->tree);
		p.guess = mem_zero(2 * (size_t)s->budget, sizeof *p.guess);
		p.ahead = mem_zero(2 * (size_t)s->budget, sizeof *p.ahead);
		p.expected = mem_zero((size_t)t->items, sizeof *p.expected);
	}
	for (long k = 0; k < t->play.turns; k++)
		play_turn(&p, k);
	s->wasted = evict_wasted(p.evict, &s->wasted_bytes);
	s->recall = share(p.right, s->accesses);
	s->recall_2k = share(p.right_2k, s->accesses);
	s->precision = share(p.right, p.named);
	predict_free(p.predict);
	evict_free(p.evict);
	free(p.hit);
	free(p.guess);
	free(p.ahead);
	free(p.expected);
}
