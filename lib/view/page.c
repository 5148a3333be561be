#include "view/page.h"
#include "base/version.h"
#include "io/table.h"
#include "view/assets.h"
#include "view/escape.h"
#include "view/frames.h"
#include "view/story.h"
#include "view/svg.h"
#include <stdlib.h>
#include <string.h>

enum { WIDE = 640 };

/* --- figures --- */

static void
put_figure(const struct figure *f, bool heat, FILE *out)
{
	fprintf(out, "<section class=\"figure\" id=\"%s\" aria-labelledby=\"%s-title\">\n", f->kind,
		f->kind);
	fprintf(out, "<h2 id=\"%s-title\">", f->kind);
	escape_xml(out, f->title);
	fputs("</h2>\n<p class=\"about\">", out);
	escape_xml(out, f->about);
	fputs("</p>\n", out);
	for (int narrow = 0; narrow < 2; narrow++) {
		fprintf(out,
			"<div class=\"chart %s\" tabindex=\"0\" role=\"group\" aria-label=\"%s: "
			"arrow "
			"keys read the values\">\n",
			narrow ? "narrow" : "wide", f->title);
		svg_write(f, narrow ? SVG_NARROW : WIDE, false, out);
		fputs("</div>\n", out);
	}
	if (f->note) {
		fputs("<p class=\"note\">", out);
		escape_xml(out, f->note);
		fputs("</p>\n", out);
	}
	fputs("<div class=\"tools\"><button type=\"button\" class=\"save\">CSV</button>", out);
	if (heat)
		fprintf(out,
			"<label for=\"%s-sort\">Rows by</label><select class=\"sort\" "
			"id=\"%s-sort\">"
			"<option value=\"0\">slot</option><option value=\"1\">age</option>"
			"<option value=\"2\">load</option><option value=\"3\">family</option>"
			"</select>",
			f->kind, f->kind);
	fputs("</div>\n<details><summary>Values</summary><div class=\"scroll\" tabindex=\"0\" "
	      "role=\"region\" aria-label=\"Values\"></div></details>\n"
	      "<script type=\"application/json\">",
	      out);
	figure_json(f, out);
	fputs("</script>\n</section>\n", out);
}

static void
put_figures(const struct plot_runs *r, FILE *out)
{
	bool any = false;

	for (int i = 0; plot_kind(i); i++) {
		struct figure *f = plot_make(i, r);
		if (!f->missing)
			put_figure(f, f->panels && f->panel[0].heat, out);
		any |= f->missing != NULL;
		figure_free(f);
	}
	if (!any)
		return;
	fputs("<section id=\"missing\"><h2>Not drawn</h2>\n<ul class=\"story\">\n", out);
	for (int i = 0; plot_kind(i); i++) {
		struct figure *f = plot_make(i, r);
		if (f->missing) {
			fputs("<li>", out);
			escape_xml(out, f->title);
			fputs(": ", out);
			escape_xml(out, f->missing);
			fputs(".</li>\n", out);
		}
		figure_free(f);
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
			if (s->note) {
				fputs("<p class=\"note\">", out);
				escape_xml(out, s->note);
				fputs("</p>\n", out);
			}
			if (s->cut) {
				fputs("<p class=\"note\">", out);
				escape_xml(out, s->path);
				fputs(": ends within a line, which is left out.</p>\n", out);
			}
		}
}

static void
put_story(const struct plot_runs *r, FILE *out)
{
	fprintf(out, "<section id=\"story\"%s><h2>What happened</h2>\n",
		r->n > 1 ? " class=\"all\"" : "");
	if (r->n == 1) {
		fputs("<ul class=\"story\">\n", out);
		story_tell(&r->life[0], out);
		fputs("</ul>\n", out);
	} else {
		story_table(r, out);
		fputs("<h3>In the first run</h3>\n<ul class=\"story\">\n", out);
		story_tell(&r->life[0], out);
		fputs("</ul>\n", out);
	}
	put_notes(r, out);
	fputs("</section>\n", out);
}

void
page_part(const struct plot_runs *r, FILE *out)
{
	put_story(r, out);
	put_figures(r, out);
}

/* --- recipes --- */

static bool
told_before(const struct plot_runs *r, int run, const char *name)
{
	for (int i = 0; i < run; i++)
		if (life_option(&r->life[i], name))
			return true;
	return false;
}

/* The n-th value of an option that may be repeated; NULL beyond. */
static const char *
nth_option(const struct life *l, const char *name, int n)
{
	for (int i = 0; i < l->options; i++)
		if (!strcmp(l->option[i].name, name) && n-- == 0)
			return l->option[i].value;
	return NULL;
}

static bool
differs(const struct plot_runs *r, const char *name, int n)
{
	const char *first = nth_option(&r->life[0], name, n);

	for (int i = 1; i < r->n; i++) {
		const char *other = nth_option(&r->life[i], name, n);
		if (!first != !other || (first && strcmp(first, other)))
			return true;
	}
	return false;
}

/* A row for an option; given: with all values it has in this place of the list. */
static void
put_option(const struct plot_runs *r, const char *name, int n, FILE *out)
{
	const bool other = differs(r, name, n);

	fprintf(out, "<tr%s><th scope=\"row\">", other ? " class=\"differs\"" : "");
	escape_xml(out, name);
	fputs(other ? " <span class=\"soft\">(differs)</span></th>" : "</th>", out);
	for (int i = 0; i < r->n; i++) {
		const char *v = nth_option(&r->life[i], name, n);
		fputs("<td>", out);
		escape_xml(out, v ? v : "");
		fputs("</td>", out);
	}
	fputs("</tr>\n", out);
}

static void
put_options(const struct plot_runs *r, bool different, FILE *out)
{
	for (int i = 0; i < r->n; i++) {
		const struct life *l = &r->life[i];
		for (int k = 0; k < l->options; k++) {
			const char *name = l->option[k].name;
			int n = 0;
			for (int j = 0; j < k; j++)
				n += !strcmp(l->option[j].name, name);
			if (!told_before(r, i, name) && differs(r, name, n) == different)
				put_option(r, name, n, out);
		}
	}
}

static void
put_recipe(const struct plot_runs *r, FILE *out)
{
	bool any = false;

	for (int i = 0; i < r->n; i++)
		any |= r->life[i].options > 0;
	if (!any)
		return;
	fprintf(out, "<section id=\"recipe\"%s><h2>Recipe</h2>\n",
		r->n > 2 ? " class=\"all\"" : "");
	if (r->n > 1)
		fputs("<p class=\"about\">What differs between the runs comes first.</p>\n", out);
	fputs("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Recipe\"><table>\n"
	      "<thead><tr><th scope=\"col\">option</th>",
	      out);
	for (int i = 0; i < r->n; i++) {
		fputs("<th scope=\"col\">", out);
		escape_xml(out, r->life[i].name);
		fputs("</th>", out);
	}
	fputs("</tr></thead>\n<tbody>\n", out);
	put_options(r, true, out);
	put_options(r, false, out);
	fputs("</tbody></table></div>\n</section>\n", out);
}

/* --- tables from elsewhere --- */

static const char *
verdict_class(const char *header, const char *v)
{
	if (strcmp(header, "verdict"))
		return "";
	if (!strcmp(v, "reproduced"))
		return " class=\"yes\"";
	return !strcmp(v, "not reproduced") ? " class=\"no\"" : " class=\"open\"";
}

static int
put_rows(struct table *t, FILE *out)
{
	int r;

	fputs("<thead><tr>", out);
	for (int i = 0; i < table_columns(t); i++) {
		fputs("<th scope=\"col\">", out);
		escape_xml(out, table_header(t, i));
		fputs("</th>", out);
	}
	fputs("</tr></thead>\n<tbody>\n", out);
	while ((r = table_next(t)) > 0) {
		fputs("<tr>", out);
		for (int i = 0; i < table_columns(t); i++) {
			fprintf(out, "<td%s>", verdict_class(table_header(t, i), table_text(t, i)));
			escape_xml(out, table_text(t, i));
			fputs("</td>", out);
		}
		fputs("</tr>\n", out);
	}
	fputs("</tbody>", out);
	return r;
}

static int
put_table(const struct page_table *v, FILE *out)
{
	struct table *t = table_open(v->name);
	int r;

	if (!t)
		return -1;
	fputs("<section class=\"all\"><h2>", out);
	escape_xml(out, v->name);
	fputs("</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\">"
	      "<table>\n",
	      out);
	r = put_rows(t, out);
	fputs("</table></div>\n</section>\n", out);
	table_close(t);
	return r;
}

/* --- the life of experts, to be played --- */

static const char stage[] =
	"<section id=\"life\" class=\"all\" aria-labelledby=\"life-title\">\n"
	"<h2 id=\"life-title\">The experts at work</h2>\n"
	"<p class=\"about\">A cell is an expert, as large as its load; a line joins it to its "
	"parent. "
	"A solid ring that appears for a moment is a birth, a dashed one a death.</p>\n"
	"<div class=\"tiles\">"
	"<div><b data-tile=\"step\"></b><span>step</span></div>"
	"<div><b data-tile=\"loss\"></b><span>loss</span></div>"
	"<div><b data-tile=\"living\"></b><span>living</span></div>"
	"<div><b data-tile=\"births\"></b><span>births</span></div>"
	"<div><b data-tile=\"deaths\"></b><span>deaths</span></div>"
	"<div><b data-tile=\"replaced\"></b><span>replaced</span></div>";

static const char controls[] =
	"</div>\n<div class=\"stage\"><div>\n"
	"<canvas id=\"cells\" role=\"img\" aria-label=\"Experts\"></canvas>\n"
	"<canvas id=\"track\" role=\"img\" aria-label=\"Loss by step; the line is the step shown\">"
	"</canvas>\n</div>\n"
	"<ul id=\"log\" tabindex=\"0\" aria-label=\"Events\"></ul></div>\n"
	"<div class=\"tools\"><button type=\"button\" id=\"play\">Play</button>"
	"<button type=\"button\" id=\"reset\">Reset</button>"
	"<label for=\"speed\">Speed</label><select id=\"speed\"><option value=\"1\">1</option>"
	"<option value=\"4\" selected>4</option><option value=\"15\">15</option>"
	"<option value=\"60\">60</option></select>"
	"<label for=\"scrub\" class=\"unseen\">Step</label>"
	"<input type=\"range\" id=\"scrub\" min=\"0\" max=\"0\" value=\"0\">";

static const char legend[] =
	"</div>\n<div class=\"key\">"
	"<span><i style=\"background:var(--healthy)\"></i>healthy</span>"
	"<span><i style=\"background:var(--over)\"></i>overloaded: more than 2 fair shares</span>"
	"<span><i style=\"background:var(--starved)\"></i>unfit: below the threshold; or starved: "
	"less "
	"than a quarter of a fair share</span>"
	"<span><i style=\"background:var(--newborn)\"></i>newborn</span>"
	"<span><i class=\"ring\"></i>a fair share or more</span></div>\n"
	"<details id=\"now\"><summary>The experts as a table</summary><div class=\"scroll\" "
	"tabindex=\"0\" role=\"region\" aria-label=\"Experts at this step\"></div></details>\n";

static void
put_life(const struct page *p, FILE *out)
{
	const struct life *l = &p->runs->life[0];

	if (!p->live && !l->times)
		return;
	fputs(stage, out);
	if (sheet_numbers(&l->sheet[LIFE_LAYERS], "phi_diversity"))
		fputs("<div><b data-tile=\"phi\"></b><span>Phi, diversity</span></div>", out);
	fputs(controls, out);
	if (p->live)
		fputs("<button type=\"button\" id=\"follow\" aria-pressed=\"true\">Follow</button>"
		      "<span id=\"state\" role=\"status\">connecting</span>",
		      out);
	fputs(legend, out);
	if (p->runs->n > 1 || p->baseline) {
		fputs("<p class=\"note\">Of the run ", out);
		escape_xml(out, l->name);
		if (p->baseline) {
			fputs("; the dashed line is the loss of ", out);
			escape_xml(out, p->baseline->name);
		}
		fputs(".</p>\n", out);
	}
	if (!p->live) {
		struct frames_mark mark;
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
	escape_xml(out, p->runs->life[0].name);
	if (p->runs->n > 1)
		fprintf(out, " and %d more", p->runs->n - 1);
	fputs("</title>\n<style>\n", out);
	fputs(assets_page_css, out);
	fprintf(out, "</style>\n</head>\n<body%s>\n", p->live ? " data-live" : "");
}

static void
put_header(const struct page *p, FILE *out)
{
	fputs("<header><h1>", out);
	for (int i = 0; i < p->runs->groups && i < 4; i++) {
		fputs(i ? ", " : "", out);
		escape_xml(out, p->runs->group[i].name);
	}
	fputs(p->runs->groups > 4 ? ", …</h1>\n" : "</h1>\n", out);
	fputs("<button type=\"button\" id=\"theme\">Theme: auto</button>\n"
	      "<nav aria-label=\"Sections\"><a href=\"#story\">What happened</a>",
	      out);
	if (p->live || p->runs->life[0].times)
		fputs("<a href=\"#life\">The experts at work</a>", out);
	for (int i = 0; plot_kind(i); i++) {
		struct figure *f = plot_make(i, p->runs);
		if (!f->missing) {
			fprintf(out, "<a href=\"#%s\">", f->kind);
			escape_xml(out, f->title);
			fputs("</a>", out);
		}
		figure_free(f);
	}
	fputs("</nav></header>\n<main>\n", out);
}

int
page_write(const struct page *p, FILE *out)
{
	put_head(p, out);
	put_header(p, out);
	put_story(p->runs, out);
	put_recipe(p->runs, out);
	put_life(p, out);
	fputs("<div class=\"figures\">\n", out);
	put_figures(p->runs, out);
	fputs("</div>\n", out);
	for (int i = 0; i < p->tables; i++)
		if (put_table(&p->table[i], out) < 0)
			return -1;
	fprintf(out,
		"</main>\n<footer class=\"soft\"><p>Drawn by moe-view %s.</p></footer>\n<script>\n",
		MOE_VERSION);
	fputs(assets_page_js, out);
	fputs(assets_life_js, out);
	fputs("</script>\n</body>\n</html>\n", out);
	return 0;
}
