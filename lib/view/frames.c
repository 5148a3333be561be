#include "view/frames.h"
#include "base/num.h"
#include "view/curve.h"
#include "view/escape.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void
number(FILE *out, double v)
{
	char buf[NUM_TEXT];

	fputs(isfinite(v) ? num_text(buf, v) : "null", out);
}

static const char *
value_column(const struct life *l)
{
	static const char *const known[] = {"vitality", "effective", "fitness"};

	for (int i = 0; i < 3; i++)
		if (life_census(l, known[i]))
			return known[i];
	return "";
}

/* --- frames --- */

/* The first census row of a step. */
static long
first_row(const struct life *l, int time)
{
	long lo = 0, hi = l->times ? l->sheet[LIFE_EXPERTS].rows : 0;

	while (lo < hi) {
		const long mid = (lo + hi) / 2;
		if (l->when[mid] < time)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Steps of the census that are whole: the last is if its last row says that none is left. */
static int
whole_times(const struct life *l, bool growing)
{
	const struct sheet *s = &l->sheet[LIFE_EXPERTS];
	const double *left = sheet_numbers(s, "left");

	if (!growing || !l->times || (left && left[s->rows - 1] == 0))
		return l->times;
	return l->times - 1;
}

/* What the events of a step tell of each layer's threshold, and layers.csv of Phi. */
static void
judgement(const struct life *l, double step, FILE *out)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS], *layers = &l->sheet[LIFE_LAYERS];
	const double *at = sheet_numbers(s, "step"), *layer = sheet_numbers(s, "layer");
	const double *threshold = sheet_numbers(s, "threshold"),
		     *phi = sheet_numbers(layers, "phi_diversity");
	const double *when = sheet_numbers(layers, "step");
	long lo = 0, hi = at ? s->rows : 0;
	double sum = 0, n = 0;
	bool any = false;

	while (lo < hi) {
		const long mid = (lo + hi) / 2;
		if (at[mid] < step)
			lo = mid + 1;
		else
			hi = mid;
	}
	fputs(",\"threshold\":{", out);
	for (; layer && threshold && lo < s->rows && at[lo] == step; lo++)
		if (!isnan(layer[lo]) && !isnan(threshold[lo]) &&
		    strcmp(sheet_word(s, "event", lo), "move")) {
			fprintf(out, "%s\"%.0f\":", any ? "," : "", layer[lo]);
			number(out, threshold[lo]);
			any = true;
		}
	putc('}', out);
	for (long i = 0; phi && when && i < layers->rows && when[i] <= step; i++)
		if (when[i] == step && !isnan(phi[i]))
			sum += phi[i], n++;
	if (n > 0) {
		fputs(",\"phi\":", out);
		number(out, sum / n);
	}
}

static void
frame(const struct life *l, int time, const double *value, FILE *out)
{
	const struct sheet *s = &l->sheet[LIFE_EXPERTS];
	const double *slot = sheet_numbers(s, "slot");
	const long from = first_row(l, time), to = first_row(l, time + 1);

	fputs("{\"step\":", out);
	number(out, l->time[time]);
	judgement(l, l->time[time], out);
	fputs(",\"rows\":[", out);
	for (long i = from; i < to; i++) {
		const struct life_expert *e = &l->expert[l->who[i]];
		const double *layer = sheet_numbers(s, "layer");
		fprintf(out, "%s[%.0f,%.0f,%ld,%ld,", i > from ? "," : "",
			layer && layer[i] < LIFE_LAYERS_MOST ? layer[i] : 0,
			slot && slot[i] >= 0 && slot[i] < 1e6 ? slot[i] : e->slot, e->id,
			e->parent);
		number(out, e->born);
		putc(',', out);
		number(out, (float)l->load[i]);
		putc(',', out);
		number(out, value ? value[i] : NAN);
		putc(']', out);
	}
	fputs("]}", out);
}

static void
frames(const struct life *l, int from, int to, int each, FILE *out)
{
	const char *column = value_column(l);
	const double *value = *column ? life_census(l, column) : NULL;
	bool any = false;

	fputs("\"frames\":[", out);
	for (int t = from; t < to; t++) {
		/* The last is always there. */
		if ((to - 1 - t) % each)
			continue;
		if (any)
			putc(',', out);
		any = true;
		frame(l, t, value, out);
	}
	putc(']', out);
}

/* --- losses and events --- */

static void
losses(const struct life *l, const char *name, long from, long most, FILE *out)
{
	const struct sheet *s = &l->sheet[LIFE_LOSS];
	const double *step = sheet_numbers(s, "step"), *loss = sheet_numbers(s, "loss");
	struct curve c = {0};

	for (long i = from; step && loss && i < s->rows; i++)
		curve_add(&c, step[i], loss[i]);
	curve_reduce(&c, l, most);
	fprintf(out, "\"%s\":[", name);
	for (long i = 0; i < c.n; i++) {
		fputs(i ? ",[" : "[", out);
		number(out, rint(c.x[i]));
		putc(',', out);
		number(out, c.y[i]);
		putc(']', out);
	}
	putc(']', out);
	curve_free(&c);
}

static void
one_event(const struct sheet *s, long i, FILE *out)
{
	static const char *const column[] = {"step", "layer", "slot", NULL, "expert", "parent"};

	for (int k = 0; k < 6; k++) {
		const double *v = column[k] ? sheet_numbers(s, column[k]) : NULL;
		putc(k ? ',' : '[', out);
		if (column[k])
			number(out, v ? v[i] : NAN);
		else
			escape_json(out, sheet_word(s, "event", i));
	}
	putc(',', out);
	escape_json(out, sheet_word(s, "cause", i));
	putc(']', out);
}

/* What happened; that nothing did is no event here. */
static void
events(const struct life *l, long from, FILE *out)
{
	const struct sheet *s = &l->sheet[LIFE_EVENTS];
	bool any = false;

	fputs("\"events\":[", out);
	for (long i = from; sheet_numbers(s, "step") && i < s->rows; i++) {
		if (!strcmp(sheet_word(s, "event", i), "keep"))
			continue;
		if (any)
			putc(',', out);
		any = true;
		one_event(s, i, out);
	}
	putc(']', out);
}

static void
phases(const struct life *l, FILE *out)
{
	fputs("\"phases\":[", out);
	for (int i = 0; i < l->phases; i++) {
		fprintf(out, "%s{\"from\":%.9g,\"color\":%d,\"name\":", i ? "," : "",
			l->phase[i].from, l->phase[i].color);
		escape_json(out, l->phase[i].domain);
		putc('}', out);
	}
	putc(']', out);
}

/* Each expert and the one whose key is nearest to its own; the two of them once. */
static void
near(const struct life *l, FILE *out)
{
	bool any = false;

	fprintf(out, "\"near\":{\"step\":%ld,\"links\":[", l->keys.step);
	for (int k = 0; k < l->keys.layers; k++) {
		const struct nearby_layer *layer = &l->keys.layer[k];
		for (int i = 0; i < layer->n; i++) {
			const int other = layer->near[i];
			if (other < 0 || (other < i && layer->near[other] == i))
				continue;
			fprintf(out, "%s[%d,%ld,%ld,", any ? "," : "", k, layer->id[i],
				layer->id[other]);
			number(out, layer->like[i]);
			putc(']', out);
			any = true;
		}
	}
	fputs("]}", out);
}

/* A living layer's thresholds. */
static void
limits(const struct life *l, FILE *out)
{
	const char *least = life_option(l, "starvation"), *most = life_option(l, "overload");
	double v[2];

	fputs("\"limits\":", out);
	if (least && most && num_real(least, 0, 1, &v[0]) == 0 &&
	    num_real(most, 0, 1, &v[1]) == 0 && !strcmp(value_column(l), "vitality"))
		fprintf(out, "[%.9g,%.9g]", v[0], v[1]);
	else
		fputs("null", out);
}

/* Steps for which a newborn counts as one: its grace, or a twentieth of what there is. */
static double
grace(const struct life *l)
{
	const char *s = life_option(l, "grace"), *kind = life_option(l, "lifecycle");
	double v;

	if (s && kind && !strcmp(kind, "market") && num_real(s, 1, 1e12, &v) == 0)
		return v;
	return ceil(l->last / 20);
}

void
frames_all(const struct life *l, const struct life *baseline, bool growing,
	   struct frames_mark *mark, FILE *out)
{
	const long rows = l->times ? l->sheet[LIFE_EXPERTS].rows : 0;
	const long n = l->sheet[LIFE_EVENTS].rows;

	*mark = (struct frames_mark){whole_times(l, growing), l->keys_version,
				     l->sheet[LIFE_LOSS].rows, n};
	putc('{', out);
	frames(l, 0, mark->times, (int)((rows + FRAMES_ROWS - 1) / FRAMES_ROWS) + !rows, out);
	putc(',', out);
	losses(l, "loss", 0, FRAMES_LOSSES, out);
	putc(',', out);
	if (baseline)
		losses(baseline, "baseline", 0, FRAMES_LOSSES, out);
	else
		fputs("\"baseline\":[]", out);
	putc(',', out);
	events(l, n > FRAMES_EVENTS ? n - FRAMES_EVENTS : 0, out);
	putc(',', out);
	phases(l, out);
	putc(',', out);
	near(l, out);
	putc(',', out);
	limits(l, out);
	fprintf(out, ",\"grace\":%.9g,\"value\":\"%s\"}", grace(l), value_column(l));
}

bool
frames_since(const struct life *l, struct frames_mark *mark, FILE *out)
{
	const struct frames_mark now = {whole_times(l, true), l->keys_version,
					l->sheet[LIFE_LOSS].rows, l->sheet[LIFE_EVENTS].rows};

	if (now.times <= mark->times && now.losses <= mark->losses && now.events <= mark->events &&
	    now.keys == mark->keys)
		return false;
	putc('{', out);
	frames(l, mark->times, now.times, 1, out);
	putc(',', out);
	losses(l, "loss", mark->losses, FRAMES_LOSSES, out);
	putc(',', out);
	events(l, mark->events, out);
	putc(',', out);
	phases(l, out);
	if (now.keys != mark->keys) {
		putc(',', out);
		near(l, out);
	}
	putc('}', out);
	*mark = now;
	return true;
}
