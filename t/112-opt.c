#include "base/err.h"
#include "base/mem.h"
#include "base/opt.h"
#include "tap.h"
#include "temp.h"
#include <float.h>
#include <limits.h>
#include <stdint.h>

struct values {
	bool help, dense;
	int steps, act;
	long seed;
	double lr, decay;
	size_t memory;
	char *out, *note;
	struct opt_ints widths;
	struct opt_many val;
};

#define AT(member) offsetof(struct values, member)
static const struct opt rows[] = {
	{"help", 'h', OPT_FLAG, AT(help), 0, 0, NULL, false, "print this"},
	{"out", 'o', OPT_TEXT, AT(out), 0, 0, "DIR", false, "where the run goes"},
	{"steps", 's', OPT_INT, AT(steps), 1, 1e9, NULL, true, "training steps"},
	{"seed", 0, OPT_LONG, AT(seed), 0, 0x1p63, NULL, true, "of all random draws"},
	{"lr", 0, OPT_REAL, AT(lr), 0, 10, NULL, true, "learning rate"},
	{"decay", 0, OPT_REAL, AT(decay), 0, 1, NULL, true, "unset by default"},
	{"memory", 'm', OPT_BYTES, AT(memory), 0, 0x1p50, "BYTES", true, "at most"},
	{"act", 'a', OPT_ENUM, AT(act), 0, 0, "gelu|relu|swiglu", true, "activation"},
	{"dense", 'd', OPT_FLAG, AT(dense), 0, 0, NULL, true,
	 "no experts, but one network in each layer that all tokens use and no router at all"},
	{"note", 0, OPT_TEXT, AT(note), 0, 0, NULL, true, "any text"},
	{"widths", 'w', OPT_INTS, AT(widths), 1, 4096, NULL, true, "of the experts"},
	{"val", 0, OPT_MANY, AT(val), 0, 0, "[NAME=]FILE", true, "validation data"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const struct values defaults = {
	.steps = 1000, .act = 1, .seed = 1, .lr = 1e-3, .decay = -1, .memory = 65536, .note = NULL};

static struct opt_table
table(struct values *v)
{
	*v = defaults;
	return (struct opt_table){.program = "moe-test",
				  .synopsis = "moe-test [options] DATA...\nmoe-test -h\n",
				  .row = rows,
				  .n = ROWS,
				  .values = v};
}

static void
forget(struct opt_many *list)
{
	for (int i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	*list = (struct opt_many){0, NULL};
}

/* Parse a command line given as words between spaces. */
static int
command(struct opt_table *t, const char *line, struct opt_many *operands)
{
	char *text = mem_copy(line), *rest = text, *w, *argv[32] = {"moe-test"};
	int argc = 1, r;
	while ((w = strsep(&rest, " ")))
		if (*w)
			argv[argc++] = w;
	r = opt_parse(t, argc, argv, operands);
	free(text);
	return r;
}

static void
parsing(void)
{
	struct values v;
	struct opt_table t = table(&v);
	struct opt_many rest = {0, NULL};
	is_long(command(&t,
			"A --steps 20 -oRUN B --lr=5e-4 -dm 1.5K - --act relu --widths 8,16,4 "
			"--val a=x --val y --seed 9223372036854775807 -- --steps -x",
			&rest),
		0, "every form of option: %s", err_text());
	is_long(v.steps, 20, "--name value");
	is_text(v.out, "RUN", "-oVALUE");
	is_real(v.lr, 5e-4, 0, "--name=value");
	ok(v.dense, "a flag");
	is_long((long)v.memory, 1536, "before an option in one word");
	is_long(v.act, 1, "a word");
	is_long(v.widths.n, 3, "a list of three");
	is_long(v.widths.v[2], 4, "the last is 4");
	is_long(v.val.n, 2, "an option used twice");
	is_text(v.val.v[0], "a=x", "first");
	is_text(v.val.v[1], "y", "second");
	ok(v.seed == LONG_MAX, "the largest seed");
	is_long(rest.n, 5, "five operands");
	is_text(rest.v[2], "-", "- is one");
	is_text(rest.v[3], "--steps", "so is anything after --");
	is_text(rest.v[4], "-x", "to the end");
	ok(opt_given(&t, "steps") && !opt_given(&t, "note") && !opt_given(&t, "nothing"),
	   "which were given");
	forget(&rest);
	is_long(command(&t, "--steps 30 --steps 40 --widths 5 --dense=0 --note=", &rest), 0,
		"again");
	is_long(v.steps, 40, "the last of two counts");
	is_long(v.widths.n, 1, "a list is set anew");
	ok(!v.dense, "a flag is taken back");
	is_text(v.note, "", "an empty text");
	opt_free(&t);
	ok(!v.out && !v.val.n && !v.widths.v, "freed and forgotten");
	forget(&rest);
}

static void
mistakes(void)
{
	static const struct {
		const char *line, *message;
	} bad[] = {
		{"--stpes 3", "unknown option --stpes (did you mean --steps?)"},
		{"--step=3", "unknown option --step (did you mean --steps?)"},
		{"--setps", "unknown option --setps (did you mean --steps?)"},
		{"--mem 4", "unknown option --mem (did you mean --memory?)"},
		{"--frobnicate", "unknown option --frobnicate"},
		{"--", ""},
		{"--=3", "unknown option --"},
		{"-x", "unknown option -x"},
		{"-dx", "unknown option -x"},
		{"--steps", "option --steps needs a value"},
		{"-d -o", "option -o needs a value"},
		{"--steps 0",
		 "option --steps: \"0\" is not a whole number between 1 and 1000000000"},
		{"-s 3x", "option -s: \"3x\" is not a whole number between 1 and 1000000000"},
		{"--steps 99999999999",
		 "option --steps: \"99999999999\" is not a whole number between 1 and 1000000000"},
		{"--lr nan", "option --lr: \"nan\" is not a number between 0 and 10"},
		{"--lr --dense", "option --lr: \"--dense\" is not a number between 0 and 10"},
		{"--seed -1", "option --seed: \"-1\" is not a whole number of at least 0"},
		{"--act gel", "option --act: \"gel\" is not one of gelu|relu|swiglu"},
		{"--act gelu|relu", "option --act: \"gelu|relu\" is not one of gelu|relu|swiglu"},
		{"--dense=2", "option --dense: \"2\" is not a whole number between 0 and 1"},
		{"--widths 8,,4",
		 "option --widths: \"8,,4\": \"\" is not a whole number between 1 and 4096"},
		{"--widths=",
		 "option --widths: \"\": \"\" is not a whole number between 1 and 4096"},
		{"--memory 2P", "option --memory: \"2P\" is not a size in bytes (4096, 64K, 1.5M, "
				"2G, 1T) of at most 1125899906842624"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct values v;
		struct opt_table t = table(&v);
		struct opt_many rest = {0, NULL};
		int r = command(&t, bad[i].line, &rest);
		is_text(r ? err_text() : "", bad[i].message, "%s", bad[i].line);
		opt_free(&t);
		forget(&rest);
	}
}

static void
recipe_mistakes(void)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{"# fine\n\nsteps 5\nstpes 6\n", "4: unknown option stpes (did you mean steps?)"},
		{"steps", "1: steps: a value is missing"},
		{"steps \t\r\n", "1: steps: a value is missing"},
		{"lr 11", "1: lr: \"11\" is not a number between 0 and 10"},
		{"\nsteps 5 6\n",
		 "2: steps: \"5 6\" is not a whole number between 1 and 1000000000"},
		{"steps=5", "1: unknown option steps=5 (did you mean steps?)"},
		{"--steps 5", "1: unknown option --steps (did you mean steps?)"},
		{"note \"open", "1: note: quote left open"},
		{"note \"a\" b", "1: note: text after a quoted value"},
		{"note \"\\q\"", "1: note: unknown escape in a quoted value "
				 "(expected \\\\ \\\" \\n \\r \\t or \\xHH)"},
		{"note \"\\x00\"", "1: note: unknown escape in a quoted value "
				   "(expected \\\\ \\\" \\n \\r \\t or \\xHH)"},
		{"note \"\\", "1: note: unknown escape in a quoted value "
			      "(expected \\\\ \\\" \\n \\r \\t or \\xHH)"},
	};
	struct values v;
	struct opt_table t = table(&v);
	char *want;
	const char *path;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		path = temp_text("recipe", bad[i].text);
		want = mem_text("%s:%s", path, bad[i].message);
		is_text(opt_read(&t, path) ? err_text() : "", want, "recipe line %s",
			strrchr(bad[i].message, ':') + 2);
		free(want);
	}
	path = temp_bytes("nul", "steps 5\0\n", 9);
	want = mem_text("%s: not a text (NUL at byte 8)", path);
	is_text(opt_read(&t, path) ? err_text() : "", want, "a recipe with NUL");
	free(want);
	is_long(opt_read(&t, temp("none")), -1, "a recipe that is not there");
	is_long(opt_set(&t, "lrr", "1", OPT_PRESET), -1, "an unknown name set");
	is_text(err_text(), "unknown option lrr (did you mean lr?)", "is named");
	opt_free(&t);
}

/* Give steps, note, widths and val from the sources in `order`; the command's must win. */
static void
in_order(const char *order)
{
	struct values v;
	struct opt_table t = table(&v);
	struct opt_many rest = {0, NULL};
	for (const char *p = order; *p; p++)
		if (*p == 'p')
			opt_read_text(&t, "preset",
				      "steps 1\nlr 1\nact gelu\nnote p\nval p\nwidths 1\n",
				      OPT_PRESET);
		else if (*p == 'r')
			opt_read_text(&t, "recipe", "steps 2\nlr 2\nnote r\nval r1\nval r2\n",
				      OPT_RECIPE);
		else
			command(&t, "--steps 3 --val c", &rest);
	is_long(v.steps, 3, "order %s: the command's steps", order);
	is_long(v.val.n, 1, "order %s: the command's list alone", order);
	is_text(v.val.v[0], "c", "order %s: with its value", order);
	is_real(v.lr, 2, 0, "order %s: the recipe's rate", order);
	is_text(v.note, "r", "order %s: the recipe's text", order);
	is_long(v.act, 0, "order %s: the preset's word", order);
	is_long(v.widths.n, 1, "order %s: the preset's list", order);
	is_long((long)v.memory, 65536, "order %s: the default", order);
	ok(opt_given(&t, "lr") && !opt_given(&t, "act") && !opt_given(&t, "memory"),
	   "order %s: given is what the recipe or the command says", order);
	is_long(opt_set(&t, "steps", "x", OPT_PRESET), -1,
		"order %s: a wrong value is refused though it would lose", order);
	is_long(opt_set(&t, "widths", "7,x", OPT_DEFAULT), -1, "order %s: in a list too", order);
	is_long(opt_set(&t, "widths", "7,8", OPT_DEFAULT), 0, "order %s: a weaker list", order);
	is_long(v.widths.n, 1, "order %s: changes nothing", order);
	opt_free(&t);
}

/* A recipe read into a fresh table prints as itself and holds the same values. */
static void
round_trip(const char *line, const char *note, const char *name)
{
	struct values a, b;
	struct opt_table t = table(&a), u = table(&b);
	struct opt_many rest = {0, NULL};
	char *text, *again;
	ok(!command(&t, line, &rest) && (!note || !opt_set(&t, "note", note, OPT_COMMAND)), "%s",
	   name);
	text = opt_recipe(&t);
	is_long(opt_read(&u, temp_text("round", text)), 0, "%s: the recipe is read", name);
	again = opt_recipe(&u);
	is_text(again, text, "%s: and prints as itself", name);
	is_text(b.note, a.note, "%s: same text", name);
	is_real(b.lr, a.lr, 0, "%s: same number", name);
	ok(a.steps == b.steps && a.seed == b.seed && a.memory == b.memory && a.act == b.act &&
		   a.dense == b.dense && a.widths.n == b.widths.n && a.val.n == b.val.n,
	   "%s: same values", name);
	free(text);
	free(again);
	opt_free(&t);
	opt_free(&u);
}

static void
recipes(void)
{
	static const double reals[] = {0.1 + 0.2, 1.0 / 3, 1e-3, 5e-324, 0.1234567891, 10, 0};
	static const char *const reads[] = {"0.30000000000000004",
					    "0.3333333333333333",
					    "0.001",
					    "4.94065646e-324",
					    "0.1234567891",
					    "10",
					    "0"};
	struct values v;
	struct opt_table t = table(&v);
	struct opt_many rest = {0, NULL};
	char *text = opt_recipe(&t), hostile[256];
	is_text(text, "steps 1000\nseed 1\nlr 0.001\nmemory 64K\nact relu\ndense 0\n",
		"the recipe of the defaults, without what is unset");
	free(text);
	command(&t, "-o RUN -h --act swiglu -d -m 1000 --widths 4,2 --val a --val b=c --decay 0.5",
		&rest);
	text = opt_recipe(&t);
	is_text(text,
		"steps 1000\nseed 1\nlr 0.001\ndecay 0.5\nmemory 1000\nact swiglu\ndense 1\n"
		"widths 4,2\nval a\nval b=c\n",
		"a recipe in the table's order, without ambient options");
	free(text);
	opt_free(&t);
	t = table(&v);
	v.memory = 1000UL * 1000 * 1000 * 1000;
	text = opt_recipe(&t);
	ok(strstr(text, "memory 1000000000000\n"), "a round number stays one");
	free(text);
	opt_free(&t);
	for (int i = 0; i < 7; i++) {
		char *want = mem_text("lr %s\n", reads[i]);
		t = table(&v);
		v.lr = reals[i];
		text = opt_recipe(&t);
		ok(strstr(text, want), "%s is the shortest that reads back", reads[i]);
		free(text);
		free(want);
	}
	round_trip("", NULL, "defaults");
	round_trip("--lr 0.3333333333333333 --seed 9223372036854775807 -d -w 3,2,1 --val a --val a",
		   NULL, "numbers and lists");
	round_trip("", "", "an empty text");
	round_trip("", "a b", "a blank inside");
	round_trip("", " a ", "blanks around");
	round_trip("", "#a", "a number sign");
	round_trip("", "\"", "a quote");
	round_trip("", "\"a\"", "quotes around");
	round_trip("", "a\\n\"b", "a backslash inside");
	round_trip("", "a\nb\r\tc\x01\x7f", "control characters");
	round_trip("", "caf\xc3\xa9 \xff", "bytes above 127");
	for (int i = 0; i < 255; i++)
		hostile[i] = (char)(i + 1);
	hostile[255] = 0;
	round_trip("", hostile, "every byte");
	t = table(&v);
	is_long(opt_read_text(&t, "x", "\t# a\r\n\r\n  steps\t 7 \r\nnote a # b\r\n", OPT_RECIPE),
		0, "blanks, comments and CRLF in a recipe");
	is_long(v.steps, 7, "a number");
	is_text(v.note, "a # b", "a number sign inside a value is no comment");
	opt_free(&t);
}

static void
usage(void)
{
	struct values v;
	struct opt_table t = table(&v);
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	static const struct opt_group group[] = {
		{"help", "First:"}, {"memory", "Then:"}, {NULL, NULL}};
	t.group = group;
	v.out = "runs/1"; /* a literal: defaults are not freed */
	opt_set(&t, "help", "1", OPT_COMMAND);
	opt_set(&t, "seed", "7", OPT_COMMAND);
	opt_usage(&t, f);
	fclose(f);
	is_text(text,
		"usage: moe-test [options] DATA...\n"
		"       moe-test -h\n"
		"\n"
		"First:\n"
		"  -h, --help                   print this\n"
		"  -o, --out DIR                where the run goes [runs/1]\n"
		"  -s, --steps N                training steps [1000]\n"
		"      --seed N                 of all random draws\n"
		"      --lr X                   learning rate [0.001]\n"
		"      --decay X                unset by default\n"
		"\n"
		"Then:\n"
		"  -m, --memory BYTES           at most [64K]\n"
		"  -a, --act gelu|relu|swiglu   activation [relu]\n"
		"  -d, --dense                  no experts, but one network in each layer that all "
		"tokens use and no\n"
		"                               router at all\n"
		"      --note TEXT              any text\n"
		"  -w, --widths N,...           of the experts\n"
		"      --val [NAME=]FILE        validation data\n",
		"usage, titles, defaults of what is not set");
	free(text);
	opt_set(&t, "out", "x", OPT_COMMAND);
	opt_set(&t, "out", "y", OPT_COMMAND);
	is_text(v.out, "y", "a literal default is replaced");
	opt_free(&t);
}

int
main(void)
{
	static const char *const order[] = {"prc", "pcr", "rpc", "rcp", "cpr", "crp"};
	parsing();
	mistakes();
	recipe_mistakes();
	for (int i = 0; i < 6; i++)
		in_order(order[i]);
	recipes();
	usage();
	return done();
}
