/* moe-view: look at runs: a page, live too, and figures for papers and terminals. */
#include "base/file.h"
#include "base/mem.h"
#include "base/task.h"
#include "math/kern.h"
#include "program.h"
#include "view/life.h"
#include "view/live.h"
#include "view/page.h"
#include "view/plot.h"
#include "view/svg.h"
#include "view/term.h"
#include <langinfo.h>
#include <locale.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

enum { UNSET = -1 };

static struct args {
	int plot, width, serve;
	char *output, *listen;
	struct opt_many table;
	bool csv, help, version;
} args = {.plot = UNSET, .serve = UNSET, .listen = "127.0.0.1"};

static const struct opt_group groups[] = {{"table", "The page:"},
					  {"serve", "Live:"},
					  {"plot", "One figure:"},
					  {"output", "This program:"},
					  {0}};

static const struct opt rows[] = {
	ROW("table", 0, OPT_MANY, table, 0, 0, "FILE", "a CSV to show with the runs"),
	ROW("serve", 0, OPT_INT, serve, 0, 65535, "PORT",
	    "serve the page of a run at work; 0: any port"),
	ROW("listen", 0, OPT_TEXT, listen, 0, 0, "ADDRESS",
	    "where; others than this machine's own are open to all"),
	ROW("plot", 0, OPT_ENUM, plot, 0, 0, NULL,
	    "one figure: as SVG with -o, else on the terminal"),
	ROW("csv", 0, OPT_FLAG, csv, 0, 1, NULL, "the figure's numbers instead"),
	ROW("width", 0, OPT_INT, width, 200, 4000, "N", "of an SVG, in pixels"),
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
enum { PLOT = 3 }; /* the row whose words are the kinds */
enum { ROWS = sizeof rows / sizeof *rows };

static struct opt row[ROWS];
static struct opt_table table = {
	.program = "moe-view",
	.synopsis = "moe-view [--table FILE]... -o FILE.html [RUN]...\n"
		    "moe-view --serve PORT [--listen ADDRESS] RUN [BASELINE]\n"
		    "moe-view --plot KIND [--csv] [-o FILE] RUN...\n",
	.group = groups,
	.row = row,
	.n = ROWS,
	.values = &args,
};

/* What is wrong with a table is told; the rest of it is shown. */
static void
tell_notes(const struct life *l)
{
	for (int i = 0; i < LIFE_TABLES; i++) {
		if (l->sheet[i].note)
			say("%s", l->sheet[i].note);
		if (l->sheet[i].cut)
			say("%s: ends within a line, which is left out", l->sheet[i].path);
	}
}

static int
open_runs(struct life *life, char **v, int n)
{
	for (int i = 0; i < n; i++) {
		if (life_open(&life[i], v[i]) < 0)
			return -1;
		life_read(&life[i]);
		life_read_keys(&life[i]);
		tell_notes(&life[i]);
	}
	return 0;
}

/* --- one figure --- */

static bool
utf8(void)
{
	setlocale(LC_CTYPE, "");
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

/* A terminal's size in characters: what it says, or COLUMNS and LINES, or 80 by 24. */
static int
measure(const char *variable, int told, int otherwise)
{
	const char *s = getenv(variable);
	const int v = s ? atoi(s) : told;

	return v < 20 ? otherwise : v > 400 ? 400 : v;
}

static void
draw_on_terminal(const struct figure *f, FILE *out)
{
	const bool terminal = isatty(STDOUT_FILENO);
	struct winsize size = {0};

	if (terminal)
		ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	term_write(f, measure("COLUMNS", size.ws_col, 80), measure("LINES", size.ws_row, 24),
		   utf8(), terminal && !getenv("NO_COLOR"), out);
}

static int
write_out(const char *name, const char *s, size_t n)
{
	struct file *f = file_replace(name);
	int r = f ? file_write(f, s, n) : -1;

	return file_end(f, r);
}

static int
plot(const struct plot_runs *runs)
{
	struct figure *f = plot_make(args.plot, runs);
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	int r = -1;

	if (f->missing) {
		say("%s: %s", plot_kind(args.plot), f->missing);
		r = 1;
	} else if (out) {
		if (args.csv)
			figure_csv(f, out);
		else if (args.output)
			svg_write(f, args.width ? args.width : SVG_WIDE, true, out);
		else
			draw_on_terminal(f, out);
	}
	if (out && fclose(out) == 0 && r < 0)
		r = write_out(args.output ? args.output : "-", text, n);
	free(text);
	figure_free(f);
	return r;
}

/* --- the page --- */

static int
write_page(const struct plot_runs *runs)
{
	struct page_table *tables = mem_zero((size_t)args.table.n + 1, sizeof *tables);
	const struct page page = {.runs = runs, .tables = args.table.n, .table = tables};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	int r = -1;

	for (int i = 0; i < args.table.n; i++)
		tables[i].name = args.table.v[i];
	if (out) {
		r = page_write(&page, out);
		if (fclose(out) == 0 && r == 0)
			r = write_out(args.output, text, n);
	}
	free(text);
	free(tables);
	return r;
}

/* --- live --- */

static volatile sig_atomic_t stop;

static void
on_signal(int number)
{
	(void)number;
	stop = 1;
}

static int
serve(const struct opt_many *words)
{
	const struct sigaction action = {.sa_handler = on_signal};
	struct live *l =
		live_open(words->v[0], words->n > 1 ? words->v[1] : NULL, args.listen, args.serve);

	if (!l)
		return -1;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	printf("%s\n", live_url(l));
	if (finish(0) == 0)
		live_run(l, &stop);
	live_close(l);
	return 0;
}

/* --- what is asked --- */

static int
check(const struct opt_many *words)
{
	const bool plots = args.plot != UNSET, serves = args.serve != UNSET;

	if (!plots && !serves && !args.output)
		return usage("nothing to do (expected -o FILE.html, --serve PORT or --plot KIND)");
	if (serves && (plots || args.output || args.table.n))
		return usage("--serve goes without --plot, --table and -o");
	if (!plots && (args.csv || args.width))
		return usage("--csv and --width are about figures (expected --plot KIND)");
	if (plots && args.table.n)
		return usage("--table is about the page (expected no --plot)");
	if (!words->n && !args.table.n)
		return usage("no run given (expected RUN...)");
	if (serves && words->n > 2)
		return usage("too many runs (expected RUN and perhaps BASELINE)");
	return 0;
}

static int
run(const struct opt_many *words)
{
	struct life *life;
	struct plot_runs runs;
	int r = check(words);

	if (r)
		return r;
	if (kern_choose(NULL) < 0 || task_start(1) < 0)
		return -1;
	if (args.serve != UNSET)
		return serve(words);
	r = -1;
	life = mem_zero((size_t)words->n + 1, sizeof *life);
	if (open_runs(life, words->v, words->n) == 0) {
		plot_runs(&runs, life, words->n);
		r = args.plot == UNSET ? write_page(&runs) : plot(&runs);
		plot_runs_free(&runs);
	}
	for (int i = 0; i < words->n; i++)
		life_free(&life[i]);
	free(life);
	return r;
}

int
main(int argc, char **argv)
{
	memcpy(row, rows, sizeof rows);
	row[PLOT].words = plot_kinds;
	return program(&table, &args.help, &args.version, argc, argv, run);
}
