#include "view/page.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/version.h"
#include "io/table.h"
#include "view/assets.h"
#include "view/escape.h"
#include "view/frames.h"
#include "view/story.h"
#include "view/svg.h"
#include <stdlib.h>
#include <string.h>

enum { WIDE = 860 };

/* --- figures --- */

/* All kinds, those that cannot be drawn among them; freed by drop_figures. */
static struct figure **
make_figures(const struct plot_runs *r)
{
	int n = 0;
	struct figure **f;

	while (plot_kind(n))
		n++;
	f = mem_zero((size_t)n + 1, sizeof *f);
	for (int i = 0; r->n && i < n; i++)
		f[i] = plot_make(i, r);
	return f;
}

static void
drop_figures(struct figure **f)
{
	for (int i = 0; f[i]; i++)
		figure_free(f[i]);
	free(f);
}

static void
put_chart(const struct figure *f, bool narrow, FILE *out)
{
	fprintf(out,
		"<div class=\"chart %s\" tabindex=\"0\" role=\"group\" aria-label=\"%s: arrow "
		"keys read the values\">\n",
		narrow ? "narrow" : "wide", f->title);
	svg_write(f, narrow ? SVG_NARROW : WIDE, false, out);
	fputs("</div>\n", out);
}

static bool
sortable(const struct figure *f)
{
	return f->panels && f->panel[0].heat && f->panel[0].heat->order;
}

static void
put_figure(const struct figure *f, FILE *out)
{
	fprintf(out,
		"<section class=\"figure\" id=\"%s\" aria-labelledby=\"%s-title\">\n"
		"<h2 id=\"%s-title\">",
		f->kind, f->kind, f->kind);
	escape_into(out, "", f->title, "</h2>\n");
	escape_into(out, "<p class=\"about\">", f->about, "</p>\n");
	put_chart(f, false, out);
	put_chart(f, true, out);
	if (f->note)
		escape_into(out, "<p class=\"note\">", f->note, "</p>\n");
	fputs("<div class=\"tools\"><button type=\"button\" class=\"save\">CSV</button>", out);
	if (sortable(f))
		fprintf(out,
			"<label for=\"%s-sort\">Rows by</label><select class=\"sort\" "
			"id=\"%s-sort\"><option value=\"0\">slot</option>"
			"<option value=\"1\">age</option><option value=\"2\">load</option>"
			"<option value=\"3\">family</option></select>",
			f->kind, f->kind);
	fputs("<details><summary>Values</summary><div class=\"scroll\" tabindex=\"0\" "
	      "role=\"region\" aria-label=\"Values\"></div></details></div>\n"
	      "<script type=\"application/json\">",
	      out);
	figure_json(f, out);
	fputs("</script>\n</section>\n", out);
}

static void
put_figures(struct figure *const *f, FILE *out)
{
	bool any = false;

	for (int i = 0; f[i]; i++) {
		if (!f[i]->missing)
			put_figure(f[i], out);
		any |= f[i]->missing != NULL;
	}
	if (!any)
		return;
	fputs("<section id=\"missing\"><h2>Not drawn</h2>\n<ul class=\"story\">\n", out);
	for (int i = 0; f[i]; i++)
		if (f[i]->missing) {
			escape_into(out, "<li>", f[i]->title, ": ");
			escape_into(out, "", f[i]->missing, ".</li>\n");
		}
	fputs("</ul></section>\n", out);
}

/* --- what happened --- */

static void
put_notes(const struct plot_runs *r, FILE *out)
{
	for (int i = 0; i < r->n; i++)
		for (int t = 0; t < LIFE_TABLES; t++) {
			const struct sheet *s = &r->life[i].sheet[t];
			if (s->note)
				escape_into(out, "<p class=\"note\">", s->note, "</p>\n");
			if (s->cut)
				escape_into(out, "<p class=\"note\">", s->path,
					    ": ends within a line, which is left out.</p>\n");
		}
}

static void
put_story(const struct plot_runs *r, bool live, FILE *out)
{
	if (!r->n)
		return;
	fputs("<section id=\"story\"><h2>What happened</h2>\n", out);
	if (live)
		fprintf(out, "<p class=\"note\">Up to step %.0f.</p>\n", r->life[0].last);
	story_lede(r, out);
	if (r->n > 1) {
		story_table(r, out);
		escape_into(out, "<h3>In the first run, ", life_label(&r->life[0]), "</h3>\n");
	}
	fputs("<ul class=\"story\">\n", out);
	story_tell(&r->life[0], out);
	fputs("</ul>\n", out);
	put_notes(r, out);
	fputs("</section>\n", out);
}

void
page_part(const struct plot_runs *r, FILE *out)
{
	struct figure **f = make_figures(r);

	put_story(r, true, out);
	put_figures(f, out);
	drop_figures(f);
}

/* --- recipes and environments --- */

typedef const struct life_list *list_of(const struct life *l);

static const struct life_list *
recipe(const struct life *l)
{
	return &l->recipe;
}

static const struct life_list *
environment(const struct life *l)
{
	return &l->environment;
}

/* The n-th value of an option that may be repeated; NULL beyond. */
static const char *
nth_option(const struct life_list *l, const char *name, int n)
{
	for (int i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].name, name) && n-- == 0)
			return l->v[i].value;
	return NULL;
}

static bool
differs(const struct plot_runs *r, list_of *of, const char *name, int n)
{
	const char *first = nth_option(of(&r->life[0]), name, n);

	for (int i = 1; i < r->n; i++) {
		const char *other = nth_option(of(&r->life[i]), name, n);
		if (!first != !other || (first && strcmp(first, other)))
			return true;
	}
	return false;
}

static bool
told_before(const struct plot_runs *r, list_of *of, int run, const char *name, int n)
{
	for (int i = 0; i < run; i++)
		if (nth_option(of(&r->life[i]), name, n))
			return true;
	return false;
}

static void
put_option(const struct plot_runs *r, list_of *of, const char *name, int n, FILE *out)
{
	const bool other = differs(r, of, name, n);

	fprintf(out, "<tr%s>", other ? " class=\"differs\"" : "");
	escape_into(out, "<th scope=\"row\">", name,
		    other ? " <span class=\"soft\">(differs)</span></th>" : "</th>");
	for (int i = 0; i < r->n; i++) {
		const char *v = nth_option(of(&r->life[i]), name, n);
		escape_into(out, "<td>", v ? v : "", "</td>");
	}
	fputs("</tr>\n", out);
}

static void
put_options(const struct plot_runs *r, list_of *of, bool different, FILE *out)
{
	for (int i = 0; i < r->n; i++) {
		const struct life_list *l = of(&r->life[i]);
		for (int k = 0; k < l->n; k++) {
			const char *name = l->v[k].name;
			int n = 0;
			for (int j = 0; j < k; j++)
				n += !strcmp(l->v[j].name, name);
			if (!told_before(r, of, i, name, n) && differs(r, of, name, n) == different)
				put_option(r, of, name, n, out);
		}
	}
}

/* What differs between the runs comes first. */
static void
put_list(const struct plot_runs *r, list_of *of, const char *id, const char *title, FILE *out)
{
	bool any = false;

	for (int i = 0; i < r->n; i++)
		any |= of(&r->life[i])->n > 0;
	if (!any)
		return;
	fprintf(out,
		"<section id=\"%s\"><h2>%s</h2>\n<div class=\"scroll\" tabindex=\"0\" "
		"role=\"region\" aria-label=\"%s\"><table class=\"options%s\">\n",
		id, title, title, r->n == 1 ? " one" : "");
	if (r->n > 1) {
		fputs("<thead><tr><td></td>", out);
		for (int i = 0; i < r->n; i++)
			escape_into(out, "<th scope=\"col\">", life_label(&r->life[i]), "</th>");
		fputs("</tr></thead>\n", out);
	}
	fputs("<tbody>\n", out);
	put_options(r, of, true, out);
	put_options(r, of, false, out);
	fputs("</tbody></table></div>\n</section>\n", out);
}

/* --- tables from elsewhere --- */

static const char *
verdict_class(const char *header, const char *v)
{
	if (strcmp(header, "verdict"))
		return strcmp(header, "why") ? "" : "why";
	if (!strcmp(v, "reproduced"))
		return "yes";
	return !strcmp(v, "not reproduced") ? "no" : "open";
}

/* How often each verdict stands in a table. */
struct verdicts {
	int yes, no, open;
};

static int
put_rows(struct table *t, struct verdicts *v, FILE *out)
{
	/* The command that recomputes a figure stands under the reason of its verdict. */
	const int why = table_column(t, "why");
	const int command = why < 0 ? -1 : table_column(t, "command");
	int r;

	fputs("<thead><tr>", out);
	for (int i = 0; i < table_columns(t); i++)
		if (i != command)
			escape_into(out, "<th scope=\"col\">", table_header(t, i), "</th>");
	fputs("</tr></thead>\n<tbody>\n", out);
	while ((r = table_next(t)) > 0) {
		fputs("<tr>", out);
		for (int i = 0; i < table_columns(t); i++) {
			const char *class = verdict_class(table_header(t, i), table_text(t, i));
			v->yes += !strcmp(class, "yes");
			v->no += !strcmp(class, "no");
			v->open += !strcmp(class, "open");
			if (i == command)
				continue;
			fprintf(out, "<td class=\"%s\">", class);
			escape_into(out, "", table_text(t, i), "");
			if (i == why && command >= 0)
				escape_into(out, "<code>", table_text(t, command), "</code>");
			fputs("</td>", out);
		}
		fputs("</tr>\n", out);
	}
	fputs("</tbody>", out);
	return r;
}

/* A bar of all verdicts, and its legend. */
static void
put_verdicts(const struct verdicts *v, FILE *out)
{
	const struct {
		const char *class, *what;
		int n;
	} part[] = {{"yes", "reproduced", v->yes},
		    {"no", "not reproduced", v->no},
		    {"open", "cannot tell", v->open}};

	if (!(v->yes + v->no + v->open))
		return;
	fputs("<div class=\"verdicts\" aria-hidden=\"true\">", out);
	for (int i = 0; i < 3; i++)
		if (part[i].n)
			fprintf(out, "<i class=\"%s\" style=\"flex:%d\"></i>", part[i].class,
				part[i].n);
	fprintf(out, "</div>\n<p class=\"key\"><span>Of %d claims:</span>",
		v->yes + v->no + v->open);
	for (int i = 0; i < 3; i++)
		fprintf(out, "<span class=\"%s\"><b>%d</b> %s</span>", part[i].class, part[i].n,
			part[i].what);
	fputs("</p>\n", out);
}

/* The name of a file, and of the directory that it is in. */
static const char *
last_two(const char *path)
{
	const char *s = path + strlen(path);

	for (int slashes = 0; s > path && (s[-1] != '/' || ++slashes < 2);)
		s--;
	return s;
}

/* Of verdicts, what they are about: the directory that they are in. */
static void
put_title(const char *path, FILE *out)
{
	const char *s = last_two(path), *slash = strchr(s, '/');

	if (!slash || strcmp(slash, "/verdicts.csv")) {
		escape_into(out, "", s, "");
		return;
	}
	char *about = mem_text("%.*s", (int)(slash - s), s);
	escape_into(out, "Verdicts: ", about, "");
	free(about);
}

static int
put_table(const struct page_table *p, int number, FILE *out)
{
	struct table *t = table_open(p->name);
	struct verdicts v = {0};
	char *rows = NULL;
	size_t n;
	FILE *body;
	int r;

	if (!t)
		return -1;
	body = open_memstream(&rows, &n);
	r = body ? put_rows(t, &v, body) : err_set("%s: no memory", p->name);
	if (body)
		fclose(body);
	fprintf(out, "<section class=\"table\" id=\"table-%d\"><h2>", number);
	put_title(p->name, out);
	fputs("</h2>\n", out);
	put_verdicts(&v, out);
	fprintf(out,
		"<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\">"
		"<table>\n%s</table></div>\n</section>\n",
		rows ? rows : "");
	free(rows);
	table_close(t);
	return r;
}

/* --- the life of experts, to be played --- */

static const char stage[] =
	"<section id=\"life\" aria-labelledby=\"life-title\">\n"
	"<h2 id=\"life-title\">The experts at work</h2>\n"
	"<p class=\"about\">A cell is an expert, its area the load; its colour tells how it fares. "
	"A solid ring that appears for a moment is a birth, a dashed one a death.</p>\n"
	"<div class=\"tiles\">"
	"<div><b data-tile=\"step\"></b><span>step</span></div>"
	"<div><b data-tile=\"loss\"></b><span>loss</span></div>"
	"<div><b data-tile=\"living\"></b><span>living</span></div>"
	"<div><b data-tile=\"births\"></b><span>births</span></div>"
	"<div><b data-tile=\"deaths\"></b><span>deaths</span></div>"
	"<div><b data-tile=\"replaced\"></b><span>replaced</span></div>"
	"<div hidden><b data-tile=\"phi\"></b><span>Phi, diversity</span></div>"
	"</div>\n<div class=\"stage\"><div class=\"field\">\n"
	"<canvas id=\"cells\" tabindex=\"0\" role=\"img\" aria-label=\"Experts\"></canvas>\n"
	"<canvas id=\"track\" role=\"img\" aria-label=\"Loss by step; the line is the step shown\">"
	"</canvas>\n</div>\n"
	"<ul id=\"log\" tabindex=\"0\" aria-label=\"Events\"></ul></div>\n"
	"<div class=\"tools\"><button type=\"button\" id=\"play\">Play</button>"
	"<button type=\"button\" id=\"reset\">Reset</button>"
	"<label for=\"scrub\" class=\"unseen\">Step</label>"
	"<input type=\"range\" id=\"scrub\" min=\"0\" max=\"0\" value=\"0\">"
	"<label for=\"speed\">Speed</label><select id=\"speed\"><option value=\"1\">1</option>"
	"<option value=\"4\" selected>4</option><option value=\"15\">15</option>"
	"<option value=\"60\">60</option></select>"
	"<label for=\"links\">Lines</label><select id=\"links\"><option value=\"\">none</option>"
	"<option value=\"up\">to parents</option>"
	"<option value=\"near\">to the nearest key</option></select>";

static const char legend[] =
	"</div>\n<p class=\"key\" id=\"states\"></p>\n"
	"<p class=\"unseen\" id=\"cell\" aria-live=\"polite\"></p>\n"
	"<details id=\"now\"><summary>The experts as a table</summary><div class=\"scroll\" "
	"tabindex=\"0\" role=\"region\" aria-label=\"Experts at this step\"></div></details>\n";

static void
put_life(const struct page *p, FILE *out)
{
	const struct life *l = &p->runs->life[0];
	struct frames_mark mark;

	if (!p->runs->n || (!p->live && !l->times))
		return;
	fputs(stage, out);
	if (p->live)
		fputs("<button type=\"button\" id=\"follow\" aria-pressed=\"true\">Follow</button>"
		      "<span id=\"state\" role=\"status\">connecting</span>",
		      out);
	fputs(legend, out);
	if (p->runs->n > 1)
		escape_into(out, "<p class=\"note\">Of the first run, ", life_label(l), ".</p>\n");
	if (p->baseline)
		escape_into(out, "<p class=\"note\">The dashed line is the loss of ",
			    life_label(p->baseline), ".</p>\n");
	if (!p->live) {
		fputs("<script type=\"application/json\" id=\"frames\">", out);
		frames_all(l, p->baseline, false, &mark, out);
		fputs("</script>\n", out);
	}
	fputs("</section>\n", out);
}

/* --- the whole --- */

/* Nothing is loaded from anywhere: even a text that got past all escapes could not send a word. */
static void
put_head(const struct page *p, FILE *out)
{
	fprintf(out,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
		"script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:%s; "
		"base-uri 'none'; form-action 'none'\">\n"
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		"<meta name=\"generator\" content=\"moe-view %s\">\n<link rel=\"icon\" "
		"href=\"data:,\">\n<title>",
		p->live ? "; connect-src 'self'" : "", MOE_VERSION);
	escape_into(out, "", p->runs->n ? p->runs->group[0].name : last_two(p->table[0].name), "");
	if (p->runs->groups > 1)
		fprintf(out, " and %d more", p->runs->groups - 1);
	fputs("</title>\n<style>\n", out);
	fputs(assets_page_css, out);
	fprintf(out, "</style>\n</head>\n<body%s>\n", p->live ? " data-live" : "");
}

static void
put_header(const struct page *p, struct figure *const *f, FILE *out)
{
	fputs("<header><h1>", out);
	for (int i = 0; i < p->runs->groups && i < 4; i++)
		escape_into(out, i ? " · " : "", p->runs->group[i].name, "");
	fputs(!p->runs->n ? "Tables" : p->runs->groups > 4 ? " …" : "", out);
	fputs("</h1>\n<button type=\"button\" id=\"theme\">Theme: auto</button></header>\n"
	      "<div class=\"body\">\n<nav aria-label=\"Sections\">",
	      out);
	if (p->live)
		fputs("<a href=\"#life\">The experts at work</a>", out);
	if (p->runs->n)
		fputs("<a href=\"#story\">What happened</a>", out);
	for (int i = 0; i < p->tables; i++) {
		fprintf(out, "<a href=\"#table-%d\">", i);
		put_title(p->table[i].name, out);
		fputs("</a>", out);
	}
	if (!p->live && p->runs->n && p->runs->life[0].times)
		fputs("<a href=\"#life\">The experts at work</a>", out);
	for (int i = 0; f[i]; i++)
		if (!f[i]->missing) {
			fprintf(out, "<a href=\"#%s\">", f[i]->kind);
			escape_into(out, "", f[i]->title, "</a>");
		}
	if (p->runs->n && p->runs->life[0].recipe.n)
		fputs("<a href=\"#recipe\">Recipe</a>", out);
	if (p->runs->n && p->runs->life[0].environment.n)
		fputs("<a href=\"#environment\">Environment</a>", out);
	fputs("</nav>\n<main>\n", out);
}

int
page_write(const struct page *p, FILE *out)
{
	struct figure **f = make_figures(p->runs);
	int r = 0;

	put_head(p, out);
	put_header(p, f, out);
	if (p->live)
		put_life(p, out);
	put_story(p->runs, p->live, out);
	for (int i = 0; i < p->tables && r == 0; i++)
		r = put_table(&p->table[i], i, out);
	if (!p->live)
		put_life(p, out);
	fputs("<div class=\"figures\">\n", out);
	put_figures(f, out);
	fputs("</div>\n", out);
	put_list(p->runs, recipe, "recipe", "Recipe", out);
	put_list(p->runs, environment, "environment", "Environment", out);
	fprintf(out,
		"</main>\n</div>\n<footer class=\"soft\"><p>Drawn by moe-view %s.</p></footer>\n"
		"<script>\n",
		MOE_VERSION);
	fputs(assets_page_js, out);
	fputs(assets_life_js, out);
	fputs("</script>\n</body>\n</html>\n", out);
	drop_figures(f);
	return r;
}
