#include "view/story.h"
#include "base/mem.h"
#include "base/num.h"
#include "view/escape.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAST_LOSS = 2, FIGURES = 7 };
struct figures {
	double v[FIGURES]; /* last step, first and last loss, living, births, deaths, replaced */
};

/* Mean loss of up to n steps of (from, to], the first ones or (last) the last; NAN without. */
static double
mean_loss(const struct life *l, double from, double to, int n, bool last)
{
	const struct sheet *s = &l->sheet[LIFE_LOSS];
	const double *step = sheet_numbers(s, "step"), *loss = sheet_numbers(s, "loss");
	double sum = 0, count = 0;

	for (long i = 0; step && loss && i < s->rows && count < n; i++) {
		const long at = last ? s->rows - 1 - i : i;
		if (step[at] > from && step[at] <= to && !isnan(loss[at])) {
			sum += loss[at];
			count++;
		}
	}
	return count > 0 ? sum / count : NAN;
}

struct deeds {
	int births, deaths, replaced;
};

static struct deeds
deeds(const struct life *l, double from, double to)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS];
	const double *step = sheet_numbers(s, "step");
	struct deeds d = {0};

	for (long i = 0; step && i < s->rows; i++) {
		const bool replace = !strcmp(sheet_word(s, "cause", i), "replace");
		if (step[i] <= from || step[i] > to)
			continue;
		d.births += !strcmp(sheet_word(s, "event", i), "birth");
		d.deaths += !strcmp(sheet_word(s, "event", i), "death") ||
			    !strcmp(sheet_word(s, "event", i), "merge");
		d.replaced += replace && !strcmp(sheet_word(s, "event", i), "birth");
	}
	return d;
}

static int
living_at(const struct life *l, int time)
{
	int n = 0;

	for (int k = 0; time >= 0 && k < l->census_layers; k++)
		n += l->living[time * l->census_layers + k];
	return n;
}

struct count {
	int first, last;
	bool told; /* by events, else by the first and the last census */
};

/*
 * How many lived.  Events tell more than a census, which is taken before what its step brings; but
 * only where they tell of all who came and went: then first + births - deaths = last.
 */
static struct count
count_living(const struct life *l)
{
	const struct deeds d = deeds(l, -1, INFINITY);
	int founders = 0, dead = 0;

	for (int i = 0; i < l->experts; i++) {
		founders += l->expert[i].born <= 0;
		dead += l->expert[i].dead;
	}
	if (l->times && l->sheet[LIFE_EVENTS].columns && dead == d.deaths &&
	    founders + d.births == l->experts)
		return (struct count){founders, l->experts - dead, true};
	return (struct count){living_at(l, 0), living_at(l, l->times - 1), false};
}

static struct figures
figures_of(const struct life *l)
{
	const struct deeds d = deeds(l, -1, INFINITY);
	struct figures f = {{l->last, mean_loss(l, -1, INFINITY, 1, false),
			     mean_loss(l, -1, INFINITY, STORY_LAST, true), count_living(l).last,
			     d.births, d.deaths, d.replaced}};

	if (!l->times)
		f.v[3] = NAN;
	if (!l->sheet[LIFE_EVENTS].columns)
		f.v[4] = f.v[5] = f.v[6] = NAN;
	return f;
}

/* --- sentences --- */

static const char *
several(long n)
{
	return n == 1 ? "" : "s";
}

/* An option's value, if it is the same in all runs. */
static const char *
common(const struct plot_runs *r, const char *name)
{
	const char *v = life_option(&r->life[0], name);

	for (int i = 1; v && i < r->n; i++) {
		const char *other = life_option(&r->life[i], name);
		if (!other || strcmp(v, other))
			return NULL;
	}
	return v;
}

static bool
is(const char *s, const char *what)
{
	return s && !strcmp(s, what);
}

/* What it was made of, as far as the recipes say so, and alike. */
static void
lede_model(const struct plot_runs *r, FILE *out)
{
	const char *layers = common(r, "layers"), *experts = common(r, "experts");
	const char *k = common(r, "top-k"), *vocab = common(r, "vocab");
	const char *task = common(r, "task");
	const bool lm = is(task, "lm"), bytes = is(vocab, "256");
	const char *token = !lm ? "sample" : bytes ? "byte" : "token";

	if (!lm && !is(task, "classify"))
		return;
	if (lm && layers)
		escape_into(out, "A language model of ", layers,
			    is(layers, "1") ? " layer" : " layers");
	else
		fputs(lm ? "A language model" : "A classifier", out);
	fprintf(out, " learnt to %s.",
		lm ? bytes ? "predict a text's next byte" : "predict a text's next token"
		   : "tell classes apart");
	if (!experts || !k || is(experts, "0") || is(common(r, "dense"), "1"))
		return;
	fprintf(out, " In each layer a router sends every %s to ", token);
	escape_into(out, "", k, strchr(experts, ',') ? " of its <em>experts</em> (" : " of ");
	escape_into(out, "", experts,
		    strchr(experts, ',') ? " of them, layer by layer)" : " <em>experts</em>");
	fputs(", small networks of which only those chosen compute.", out);
}

static void
lede_lifecycle(const struct plot_runs *r, FILE *out)
{
	const char *kind = common(r, "lifecycle"), *interval = common(r, "interval");
	const char *shift = common(r, "at-shift");

	if (is(kind, "market")) {
		escape_into(
			out, " Every ", interval ? interval : "few",
			" steps a <em>market</em> compares what each expert serves with what it "
			"costs; the least fit of a layer may give way to a newborn.");
	} else if (is(kind, "living")) {
		escape_into(out, " Every ", interval ? interval : "few",
			    " steps overloaded experts may divide, and starved ones die.");
	} else if (is(kind, "none") && (is(shift, "prune") || is(shift, "merge"))) {
		escape_into(out, " When the text changes, who lies idle is ", shift, "d.");
	} else if (is(kind, "none")) {
		fputs(" Nobody is born and nobody dies: the pool of experts is fixed.", out);
	}
}

/* Names of the options in which runs differ, without those that make no group. */
static void
put_differences(const struct plot_runs *r, FILE *out)
{
	const struct life_list *first = &r->life[0].recipe;
	int n = 0;

	for (int i = 0; i < first->n; i++) {
		const char *name = first->v[i].name;
		if (!life_counts(name) || common(r, name) ||
		    life_option(&r->life[0], name) != first->v[i].value)
			continue;
		escape_into(out, n++ ? ", " : "; the recipes differ in ", name, "");
	}
}

void
story_lede(const struct plot_runs *r, FILE *out)
{
	fputs("<p class=\"lede\">", out);
	if (r->n > 1) {
		fprintf(out, "%d runs", r->n);
		if (r->groups < r->n)
			fprintf(out, " of %d recipe%s", r->groups, several(r->groups));
		put_differences(r, out);
		fputs(". ", out);
	}
	if (r->life[0].recipe.n) {
		lede_model(r, out);
		lede_lifecycle(r, out);
	} else if (r->n == 1) {
		escape_into(out, "What ", life_label(&r->life[0]), " tells of a run.");
	}
	fputs("</p>\n", out);
}

/* What the recipe says; 0 if it does not. */
static double
steps_planned(const struct life *l)
{
	const char *s = life_option(l, "steps");
	double v = 0;

	if (s)
		num_real(s, 1, 1e15, &v);
	return v;
}

static void
tell_texts(const struct life *l, FILE *out)
{
	const double planned = steps_planned(l);

	fprintf(out, "<li>It learnt for <b>%.0f</b>", l->last);
	if (l->last < planned)
		fprintf(out, " of %.0f", planned);
	fputs(" steps", out);
	for (int i = 0; i < l->phases; i++) {
		if (!*l->phase[i].domain)
			continue;
		escape_into(out, i ? ", then <b>" : ", from <b>", l->phase[i].domain, "</b>");
		if (i)
			fprintf(out, " (after step %.0f)", l->phase[i].from);
	}
	fputs(".</li>\n", out);
}

static void
tell_loss(const struct life *l, FILE *out)
{
	const struct figures f = figures_of(l);

	if (!isnan(f.v[1]))
		fprintf(out,
			"<li>The training loss went from <b>%.2f</b> to <b>%.2f</b> nats per token "
			"(mean of the last %d steps).</li>\n",
			f.v[1], f.v[2], STORY_LAST);
}

/* Step of (from, to] from which the mean of 10 steps is at most a level; -1: none. */
static double
reached(const struct life *l, double from, double to, double level)
{
	enum { WINDOW = 10 };
	const struct sheet *s = &l->sheet[LIFE_LOSS];
	const double *step = sheet_numbers(s, "step"), *loss = sheet_numbers(s, "loss");
	double sum = 0;
	long n = 0;

	for (long i = 0; i < s->rows; i++) {
		if (step[i] <= from || step[i] > to)
			continue;
		sum += loss[i] - (n >= WINDOW ? loss[i - WINDOW] : 0);
		if (++n >= WINDOW && sum / WINDOW <= level)
			return step[i];
	}
	return -1;
}

/* How long it takes to be back at what the loss was when this text was left, and took before. */
static void
tell_return(const struct life *l, const struct life_phase *was, const struct life_phase *is,
	    FILE *out)
{
	const double level = mean_loss(l, was->from, was->to, STORY_LAST, true);
	const double back = reached(l, is->from, is->to, level);
	const double first = reached(l, was->from, was->to, level);

	fprintf(out, " When it was left, the loss was %.2f; ", level);
	if (back < 0)
		fputs("it was not reached again.", out);
	else
		fprintf(out, "it was reached again after <b>%.0f</b> steps", back - is->from);
	if (back >= 0 && first >= 0)
		fprintf(out, "; the first time it had taken %.0f", first - was->from);
	fputs(back < 0 ? "" : ".", out);
}

static void
tell_shift(const struct life *l, int i, FILE *out)
{
	const struct life_phase *p = &l->phase[i];
	const double before = mean_loss(l, p[-1].from, p->from, STORY_LAST, true);
	const double after = mean_loss(l, p->from, p->to, 5, false);
	int same = i - 1;

	if (isnan(before) || isnan(after))
		return;
	fprintf(out, "<li>At step %.0f the text became <b>", p->from);
	escape_xml(out, p->domain);
	fprintf(out, "</b>: the loss went from %.2f to %.2f.", before, after);
	while (same >= 0 && strcmp(l->phase[same].domain, p->domain))
		same--;
	if (same >= 0)
		tell_return(l, &l->phase[same], p, out);
	fputs("</li>\n", out);
}

/* How often a newborn took the place of who died, in all and in each phase. */
static void
tell_replaced(const struct life *l, int n, FILE *out)
{
	fprintf(out, "<li><b>%d</b> time%s an expert died and a newborn took its place", n,
		several(n));
	for (int i = 0; l->phases > 1 && i < l->phases; i++) {
		const struct deeds p = deeds(l, i ? l->phase[i].from : -1,
					     i + 1 < l->phases ? l->phase[i].to : INFINITY);
		fprintf(out, "%s%d", i ? ", " : ": ", p.replaced);
		escape_into(out, " in ", *l->phase[i].domain ? l->phase[i].domain : "a phase", "");
	}
	fputs(".</li>\n", out);
}

static void
tell_population(const struct life *l, FILE *out)
{
	const struct deeds d = deeds(l, -1, INFINITY);
	const struct count n = count_living(l);
	const char *when = !n.told			? "at the last census"
			   : l->last < steps_planned(l) ? "so far"
							: "in the end";
	int survive = 0, born = 0;

	if (l->times)
		fprintf(out,
			"<li>There were <b>%d</b> expert%s in %d layer%s at %s, <b>%d</b> "
			"%s.</li>\n",
			n.first, several(n.first), l->census_layers, several(l->census_layers),
			n.told ? "first" : "the first census", n.last, when);
	if (!l->sheet[LIFE_EVENTS].columns)
		return;
	if (!d.births && !d.deaths) {
		fputs("<li>No expert was born, none died.</li>\n", out);
		return;
	}
	for (int i = 0; i < l->experts; i++) {
		born += l->expert[i].born > 0;
		survive += l->expert[i].born > 0 && !l->expert[i].dead;
	}
	if (d.replaced)
		tell_replaced(l, d.replaced, out);
	if (d.births > d.replaced || d.deaths > d.replaced)
		fprintf(out, "<li>%s<b>%d</b> expert%s born and <b>%d</b> died.</li>\n",
			d.replaced ? "Besides, " : "", d.births - d.replaced,
			d.births - d.replaced == 1 ? " was" : "s were", d.deaths - d.replaced);
	if (born)
		fprintf(out, "<li>Of the %d newborn <b>%d</b> lived on.</li>\n", born, survive);
}

/* That most experts of the last census are as good as idle, if they are. */
static void
tell_unused(const struct life *l, FILE *out)
{
	const int last = l->times - 1, layers = last < 0 ? 0 : l->census_layers;
	int *busy = mem_zero((size_t)layers + 1, sizeof *busy);
	int idle = 0, none = 0, all = 0, least = 0, most = 0, seen = 0;
	bool even = true;

	for (long i = l->sheet[LIFE_EXPERTS].rows; layers && i-- > 0 && l->when[i] == last;) {
		all += !isnan(l->load[i]);
		none += l->load[i] == 0;
		idle += l->load[i] < 0.25;
		busy[l->expert[l->who[i]].layer] += l->load[i] >= 1;
	}
	for (int k = 0; k < layers; k++) {
		if (!l->living[last * layers + k])
			continue;
		least = seen && least < busy[k] ? least : busy[k];
		most = seen && most > busy[k] ? most : busy[k];
		seen++;
		even &= l->living[last * layers + k] == all / layers;
	}
	free(busy);
	if (2 * idle <= all)
		return;
	fprintf(out,
		"<li><b>Most experts went nearly unused</b>: at the last census <b>%d</b> of %d "
		"served less than a quarter of a fair share of the tokens",
		idle, all);
	if (none)
		fprintf(out, ", and %d of them none", none);
	fprintf(out, least == most ? "; %d" : "; %d to %d", least, most);
	if (even)
		fprintf(out, " of %d", all / layers);
	fprintf(out, " in %s layer had a fair share or more.</li>\n", seen > 1 ? "each" : "the");
}

/* Who has the most descendants, and who is busiest and idlest at the end. */
static void
tell_experts(const struct life *l, FILE *out)
{
	int best = -1, most = 0, high = -1, low = -1;
	const long rows = l->times ? l->sheet[LIFE_EXPERTS].rows : 0;

	for (int i = 0; i < l->experts && l->experts < 20000; i++) {
		int n = 0;
		for (int k = i + 1; l->expert[i].family == i && k < l->experts; k++)
			n += l->expert[k].family == i;
		if (n > most) {
			most = n;
			best = i;
		}
	}
	if (best >= 0)
		fprintf(out,
			"<li>The largest family descends from expert <b>%ld</b> of layer %d: %d "
			"descendant%s.</li>\n",
			l->expert[best].id, l->expert[best].layer, most, several(most));
	for (long i = rows; i-- > 0 && l->when[i] == l->times - 1;) {
		if (isnan(l->load[i]))
			continue;
		if (high < 0 || l->load[i] > l->load[high])
			high = (int)i;
		if (low < 0 || l->load[i] < l->load[low])
			low = (int)i;
	}
	if (high >= 0 && high != low)
		fprintf(out,
			"<li>At the last census expert <b>%ld</b> of layer %d was busiest: it "
			"served "
			"%.2f times its fair share of the tokens. Expert <b>%ld</b> of layer %d "
			"was idlest, with %.2f of a fair share.</li>\n",
			l->expert[l->who[high]].id, l->expert[l->who[high]].layer, l->load[high],
			l->expert[l->who[low]].id, l->expert[l->who[low]].layer, l->load[low]);
}

void
story_tell(const struct life *l, FILE *out)
{
	tell_texts(l, out);
	tell_loss(l, out);
	for (int i = 1; i < l->phases; i++)
		tell_shift(l, i, out);
	tell_population(l, out);
	tell_unused(l, out);
	tell_experts(l, out);
}

/* --- several runs --- */

/* Of a group's runs that have the figure; sd NAN with fewer than two. */
struct spread {
	double mean, sd;
	int n;
};

static struct spread
spread(const struct plot_runs *r, const struct plot_group *g, int figure)
{
	struct spread s = {0};
	double square = 0;

	for (int i = 0; i < g->n; i++) {
		const double v = figures_of(&r->life[g->run[i]]).v[figure], d = v - s.mean;
		if (isnan(v))
			continue;
		s.mean += d / ++s.n;
		square += d * d * (s.n - 1) / s.n;
	}
	s.sd = s.n > 1 ? sqrt(square / (s.n - 1)) : NAN;
	s.mean = s.n ? s.mean : NAN;
	return s;
}

static bool
same_end(const struct plot_runs *r)
{
	const struct life *l = &r->life[0];

	for (int i = 1; i < r->n; i++)
		if (strcmp(r->life[i].phase[r->life[i].phases - 1].domain,
			   l->phase[l->phases - 1].domain))
			return false;
	return true;
}

/* Whether means are farther apart than twice the standard error of their difference. */
static bool
apart(const struct spread *a, const struct spread *b)
{
	return fabs(a->mean - b->mean) > 2 * sqrt(a->sd * a->sd / a->n + b->sd * b->sd / b->n);
}

/* Whose loss is least at the end, if all end with the same text. */
static void
tell_least(const struct plot_runs *r, FILE *out)
{
	struct spread best = {0}, next = {0};
	int least = -1, second = -1;

	for (int i = 0; i < r->groups; i++) {
		const struct spread s = spread(r, &r->group[i], LAST_LOSS);
		if (!s.n)
			return;
		if (least < 0 || s.mean < best.mean) {
			second = least;
			next = best;
			least = i;
			best = s;
		} else if (second < 0 || s.mean < next.mean) {
			second = i;
			next = s;
		}
	}
	if (second < 0 || !same_end(r))
		return;
	escape_into(out, "<li>At the end the training loss is least in <b>", r->group[least].name,
		    "</b>, ");
	fprintf(out, "<b>%.3f</b>; next is ", best.mean);
	escape_into(out, "<b>", r->group[second].name, "</b>, ");
	fprintf(out, "<b>%.3f</b> nats per token (mean of the last %d steps). %s</li>\n", next.mean,
		STORY_LAST,
		isnan(best.sd) || isnan(next.sd) ? "With one seed each that may be chance."
		: apart(&best, &next)
			? "They are farther apart than twice the standard error of the seeds."
			: "The seeds differ by so much among themselves that this may be chance.");
}

static void
cell(FILE *out, double v)
{
	fprintf(out, v == rint(v) ? "%.0f" : "%.4g", v);
}

static void
summary(const struct plot_runs *r, const struct plot_group *g, FILE *out)
{
	escape_into(out, "<tr class=\"mean\"><th scope=\"row\">", g->name,
		    "</th><td>mean ± sd</td>");
	for (int k = 0; k < FIGURES; k++) {
		const struct spread s = spread(r, g, k);
		fputs("<td class=\"n\">", out);
		if (s.n)
			cell(out, s.mean);
		if (s.n > 1 && s.sd > 0)
			fprintf(out, " ± %.2g", s.sd);
		fputs("</td>", out);
	}
	fputs("</tr>\n", out);
}

static void
row(const struct life *l, FILE *out)
{
	const struct figures f = figures_of(l);
	const char *seed = life_option(l, "seed");

	escape_into(out, "<tr><th scope=\"row\">", life_label(l), "</th><td>");
	escape_into(out, "", seed ? seed : "", "</td>");
	for (int k = 0; k < FIGURES; k++) {
		fputs("<td class=\"n\">", out);
		if (!isnan(f.v[k]))
			cell(out, f.v[k]);
		fputs("</td>", out);
	}
	fputs("</tr>\n", out);
}

void
story_table(const struct plot_runs *r, FILE *out)
{
	static const char *const head[FIGURES] = {"steps",  "first loss", "last loss", "living",
						  "births", "deaths",	  "replaced"};

	fputs("<ul class=\"story\">\n", out);
	tell_least(r, out);
	fputs("</ul>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Runs\">"
	      "<table>\n<thead><tr><th scope=\"col\">run</th><th scope=\"col\">seed</th>",
	      out);
	for (int k = 0; k < FIGURES; k++)
		fprintf(out, "<th class=\"n\" scope=\"col\">%s</th>", head[k]);
	fputs("</tr></thead>\n<tbody>\n", out);
	for (int i = 0; i < r->groups; i++) {
		const struct plot_group *g = &r->group[i];
		for (int k = 0; k < g->n; k++)
			row(&r->life[g->run[k]], out);
		if (g->n > 1)
			summary(r, g, out);
	}
	fputs("</tbody></table></div>\n", out);
}
