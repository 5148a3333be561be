#include "view/story.h"
#include "base/num.h"
#include "view/escape.h"
#include <math.h>
#include <string.h>

enum { FIGURES = 7 };
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

static struct figures
figures_of(const struct life *l)
{
	const struct deeds d = deeds(l, -1, INFINITY);
	struct figures f = {{l->last, mean_loss(l, -1, INFINITY, 1, false),
			     mean_loss(l, -1, INFINITY, STORY_LAST, true),
			     living_at(l, l->times - 1), d.births, d.deaths, d.replaced}};

	if (!l->times)
		f.v[3] = NAN;
	if (!l->sheet[LIFE_EVENTS].columns)
		f.v[4] = f.v[5] = f.v[6] = NAN;
	return f;
}

/* --- sentences --- */

static const char *
several(int n)
{
	return n == 1 ? "" : "s";
}

static void
tell_texts(const struct life *l, FILE *out)
{
	fprintf(out, "<li>%.0f steps", l->last);
	for (int i = 0; i < l->phases; i++) {
		if (!*l->phase[i].domain)
			continue;
		fputs(i ? ", then <b>" : " on <b>", out);
		escape_xml(out, l->phase[i].domain);
		fputs("</b>", out);
		if (i)
			fprintf(out, " from step %.0f", l->phase[i].from);
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

static void
tell_shift(const struct life *l, int i, FILE *out)
{
	const struct life_phase *p = &l->phase[i];
	const double before = mean_loss(l, p[-1].from, p->from, STORY_LAST, true);
	const double after = mean_loss(l, p->from, p->to, 5, false);
	int same = i - 1;
	double level, back;

	if (isnan(before) || isnan(after))
		return;
	fprintf(out, "<li>At step %.0f the text became <b>", p->from);
	escape_xml(out, p->domain);
	fprintf(out, "</b>: the loss went from %.2f to %.2f.", before, after);
	while (same >= 0 && strcmp(l->phase[same].domain, p->domain))
		same--;
	if (same >= 0) {
		level = mean_loss(l, l->phase[same].from, l->phase[same].to, STORY_LAST, true);
		back = reached(l, p->from, p->to, level);
		fprintf(out, " When it was last learnt from, the loss was %.2f; ", level);
		if (back >= 0)
			fprintf(out, "it was reached again after %.0f steps.", back - p->from);
		else
			fputs("it was not reached again.", out);
	}
	fputs("</li>\n", out);
}

static void
tell_population(const struct life *l, FILE *out)
{
	const struct deeds d = deeds(l, -1, INFINITY);
	int survive = 0, born = 0;

	if (l->times)
		fprintf(out,
			"<li><b>%d</b> expert%s in %d layer%s at the first census, <b>%d</b> at "
			"the "
			"last.</li>\n",
			living_at(l, 0), several(living_at(l, 0)), l->census_layers,
			several(l->census_layers), living_at(l, l->times - 1));
	if (!l->sheet[LIFE_EVENTS].columns)
		return;
	if (!d.births && !d.deaths) {
		fputs("<li>No expert was born and none died.</li>\n", out);
		return;
	}
	for (int i = 0; i < l->experts; i++) {
		born += l->expert[i].born > 0;
		survive += l->expert[i].born > 0 && !l->expert[i].dead;
	}
	fprintf(out, "<li><b>%d</b> born, <b>%d</b> died, <b>%d</b> of them replaced", d.births,
		d.deaths, d.replaced);
	for (int i = 0; l->phases > 1 && i < l->phases; i++) {
		const struct deeds p = deeds(l, i ? l->phase[i].from : -1,
					     i + 1 < l->phases ? l->phase[i].to : INFINITY);
		fprintf(out, "%s%d", i ? ", " : " (replacements by phase: ", p.replaced);
	}
	fprintf(out, "%s. Of %d newborn %d live at the end.</li>\n", l->phases > 1 ? ")" : "", born,
		survive);
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
			"<li>At the last census expert <b>%ld</b> of layer %d was busiest, with "
			"%.2f "
			"fair shares of its layer's tokens; expert <b>%ld</b> of layer %d had the "
			"least, %.2f.</li>\n",
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
	tell_experts(l, out);
}

/* --- table --- */

static void
cell(FILE *out, double v)
{
	if (isnan(v))
		fputs("<td class=\"n\"></td>", out);
	else if (v == rint(v))
		fprintf(out, "<td class=\"n\">%.0f</td>", v);
	else
		fprintf(out, "<td class=\"n\">%.4g</td>", v);
}

static void
summary(const struct plot_runs *r, const struct plot_group *g, FILE *out)
{
	double mean[FIGURES] = {0}, square[FIGURES] = {0};

	for (int i = 0; i < g->n; i++) {
		const struct figures f = figures_of(&r->life[g->run[i]]);
		for (int k = 0; k < FIGURES; k++) {
			const double d = f.v[k] - mean[k];
			mean[k] += d / (i + 1);
			square[k] += d * d * i / (i + 1);
		}
	}
	for (int sd = 0; sd < 2; sd++) {
		fputs("<tr class=\"mean\"><th scope=\"row\">", out);
		escape_xml(out, g->name);
		fprintf(out, "</th><td>%s</td>", sd ? "sd" : "mean");
		for (int k = 0; k < FIGURES; k++)
			cell(out, sd ? sqrt(square[k] / (g->n - 1)) : mean[k]);
		fputs("</tr>\n", out);
	}
}

void
story_table(const struct plot_runs *r, FILE *out)
{
	fputs("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Runs\"><table>\n"
	      "<thead><tr><th scope=\"col\">run</th><th scope=\"col\">seed</th>",
	      out);
	static const char *const head[FIGURES] = {"steps",  "first loss", "last loss", "living",
						  "births", "deaths",	  "replaced"};
	for (int k = 0; k < FIGURES; k++)
		fprintf(out, "<th class=\"n\" scope=\"col\">%s</th>", head[k]);
	fputs("</tr></thead>\n<tbody>\n", out);
	for (int i = 0; i < r->groups; i++) {
		const struct plot_group *g = &r->group[i];
		for (int k = 0; k < g->n; k++) {
			const struct life *l = &r->life[g->run[k]];
			const struct figures f = figures_of(l);
			const char *seed = life_option(l, "seed");
			fputs("<tr><th scope=\"row\">", out);
			escape_xml(out, l->name);
			fputs("</th><td>", out);
			escape_xml(out, seed ? seed : "");
			fputs("</td>", out);
			for (int q = 0; q < FIGURES; q++)
				cell(out, f.v[q]);
			fputs("</tr>\n", out);
		}
		if (g->n > 1)
			summary(r, g, out);
	}
	fputs("</tbody></table></div>\n", out);
}
