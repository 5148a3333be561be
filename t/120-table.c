#include "base/err.h"
#include "base/mem.h"
#include "io/table.h"
#include "tap.h"
#include "temp.h"
#include <limits.h>
#include <math.h>
#include <pthread.h>

/* All rows, fields between bars, rows ended by ';', at last the failure without the file's name. */
static char *
dump(const char *name)
{
	struct table *t = table_open(name);
	char *text;
	size_t n, len = strlen(name);
	FILE *f = open_memstream(&text, &n);
	int r = -1;
	for (int i = 0; t && i < table_columns(t); i++)
		fprintf(f, "%s%s", i ? "|" : "", table_header(t, i));
	while (t && (putc(';', f), r = table_next(t)) == 1)
		for (int i = 0; i < table_columns(t); i++)
			fprintf(f, "%s%s", i ? "|" : "", table_text(t, i));
	if (r)
		fprintf(f, "!%s", err_text() + (strncmp(err_text(), name, len) ? 0 : len));
	fclose(f);
	table_close(t);
	return text;
}

static void
reads(const char *text, const char *want, const char *test)
{
	char *got = dump(temp_text("in.csv", text));
	is_text(got, want, "%s", test);
	free(got);
}

static void
forms(void)
{
	reads("a,b\n1,2\n3,4\n", "a|b;1|2;3|4;", "a plain table");
	reads("a,b\r\n1,2\r\n", "a|b;1|2;", "CRLF");
	reads("a,b\r\n\"1\",2\r\n3,\"4\"\r\n", "a|b;1|2;3|4;", "CRLF after quotes");
	reads("a\n", "a;", "a header alone");
	reads("a,b\n,\n\"\",\n", "a|b;|;|;", "empty fields");
	reads("a,b\n\"x,y\",\"say \"\"hi\"\"\"\n", "a|b;x,y|say \"hi\";", "commas and quotes");
	reads("a,b\n\"1\n2\",3\n4,\"5\r\n\"\n", "a|b;1\n2|3;4|5\r\n;", "line ends in quotes");
	reads("a,b\n x ,\ty\n", "a|b; x |\ty;", "blanks belong to a field");
	reads("a,b\n\" x \",\"\ty\"\n", "a|b; x |\ty;", "in quotes too");
	reads("# one\na,b\n# two\n1,2\n\n\r\n#\n3,4\n", "a|b;1|2;3|4;", "comments and blank lines");
	reads("a,b\n\"#1\",#2\n", "a|b;#1|#2;", "a number sign that begins no line");
	reads("a,b\n\"1\n#2\",3\n", "a|b;1\n#2|3;", "nor one that begins a quoted line");
	reads("\xef\xbb\xbf"
	      "a,b\n1,2\n",
	      "a|b;1|2;", "a byte order mark");
	reads("\"a\",\"b c\"\n1,2\n", "a|b c;1|2;", "a quoted header");
}

static void
faults(void)
{
	static const unsigned char nul[] = "a,b\n1,2\n3,\0\n";
	char *got;
	reads("", "!: empty (expected a header line)", "an empty file");
	reads("# x\n\n", "!: empty (expected a header line)", "comments alone");
	reads("a,b\n1\n", "a|b;!:2: 1 field (expected 2, as in the header)", "a short row");
	reads("a,b\n1,2\n# c\n1,2,3\n", "a|b;1|2;!:4: 3 fields (expected 2, as in the header)",
	      "a long row, its line counted with comments");
	reads("a,b\n\"1\n\n\",2\n3\n", "a|b;1\n\n|2;!:5: 1 field (expected 2, as in the header)",
	      "lines are counted inside quotes");
	reads("a,b\n1,2\n3,4", "a|b;1|2;!:3: no line end (expected one: has the file been cut?)",
	      "a last line without its end");
	reads("a,b", "!:1: no line end (expected one: has the file been cut?)",
	      "a header without its end");
	reads("a,b\n1,\"2\n3,4\n5,6\n", "a|b;!:2: a quote that is never closed", "an open quote");
	reads("a,b\n1,x\"y\n", "a|b;!:2: a stray quote (expected a quoted field, \"\" for \")",
	      "a quote in a field");
	reads("a,b\n1,\"x\"y\n", "a|b;!:2: a stray quote (expected a quoted field, \"\" for \")",
	      "text after a quote");
	reads("a,b\n1,2\r3,4\n",
	      "a|b;!:2: a carriage return inside a row (expected a quoted field)",
	      "a carriage return");
	reads("a,b\n\"1\",2\r\"3\",4\n",
	      "a|b;!:2: a carriage return inside a row (expected a quoted field)",
	      "a carriage return among quotes");
	got = dump(temp_bytes("nul.csv", nul, sizeof nul - 1));
	is_text(got, "a|b;1|2;!:3: a NUL byte (expected text)", "a NUL byte");
	free(got);
	got = dump(temp("none.csv"));
	is_text(got, "!: No such file or directory", "a missing file");
	free(got);
	got = dump(temp_dir);
	is_text(got, "!: Is a directory", "a directory");
	free(got);
}

/* However a table is cut, no row is read that is not a row of the whole. */
static void
cut_anywhere(void)
{
	static const char text[] = "a,b\r\n# note\n12,\"x\"\"\ny\"\n3,\"4\"\n5,6\n";
	static const char whole[] = "a|b;12|x\"\ny;3|4;5|6;";
	long wrong = 0;
	for (size_t n = 0; n < sizeof text - 1; n++) {
		char *got = dump(temp_bytes("cut.csv", text, n)), *end = strchr(got, '!');
		bool at_row = n == 12 || n == 5 || n == 23 || n == 29;
		size_t k = end ? (size_t)(end - got) : strlen(got);
		if (!end != at_row || strncmp(got, whole, k)) {
			fprintf(stderr, "# cut to %zu: %s\n", n, got);
			wrong++;
		}
		free(got);
	}
	is_long(wrong, 0, "a table cut anywhere but behind a row is refused");
}

static void
cut_gzip(void)
{
	const char *path = temp("in.csv.gz");
	struct row r = {.f = file_create(path)};
	struct table *t;
	uint64_t size;
	long rows = 0;
	int s;
	row_header(&r, "a,b");
	for (int i = 0; i < 1000; i++) {
		row_long(&r, i);
		row_real(&r, i * 0.37);
		row_end(&r);
		if (i == 499) {
			file_flush(r.f);
			file_size(path, &size);
		}
	}
	is_long(file_close(r.f), 0, "a compressed table");
	t = table_open(path);
	while (t && table_next(t) == 1)
		rows++;
	table_close(t);
	is_long(rows, 1000, "is read");
	file_cut(path, size + 20);
	rows = 0;
	t = table_open(path);
	while ((s = table_next(t)) == 1)
		rows++;
	is_long(s, -1, "cut, it is refused");
	ok(strstr(err_text(), "in.csv.gz: gzip stream cut short"), "by name: %s", err_text());
	is_long(rows, 500, "after the rows that were flushed");
	table_close(t);
}

static void
long_lines(void)
{
	enum { N = 1 << 20, FIELDS = 100000 };
	char *text = mem_zero(2 * N, 1), *p;
	struct table *t;
	memset(text, 'x', N);
	memcpy(text, "a,b\n1,", 6);
	strcpy(text + N, "\n\"2\",\"");
	p = text + strlen(text);
	memset(p, 'y', N - 100);
	strcpy(p + N - 100, "\"\n3,4\n");
	t = table_open(temp_text("long.csv", text));
	is_long(table_next(t), 1, "a line of 1 MB");
	is_long((long)strlen(table_text(t, 1)), N - 6, "its length");
	is_long(table_next(t), 1, "a quoted field of 1 MB");
	is_long((long)strlen(table_text(t, 1)), N - 100, "its length");
	is_long(table_next(t), 1, "the row behind");
	is_text(table_text(t, 1), "4", "is whole");
	is_long(table_next(t), 0, "the end");
	is_long(table_next(t), 0, "still the end");
	table_close(t);
	for (int i = 0; i < 2 * FIELDS; i += 2)
		memcpy(text + i, i < 2 * FIELDS - 2 ? "1," : "1\n", 2);
	memcpy(text + 2 * FIELDS, text, 2 * FIELDS);
	text[4 * FIELDS] = 0;
	t = table_open(temp_text("wide.csv", text));
	is_long(table_columns(t), FIELDS, "a hundred thousand columns");
	is_long(table_next(t), 1, "and a row of them");
	is_text(table_text(t, FIELDS - 1), "1", "to the last");
	table_close(t);
	free(text);
}

static void
columns(void)
{
	struct table *t = table_open(temp_text("in.csv", "b,a,x,x\n2,1,0,0\n"));
	const char *path = temp("in.csv");
	char *want = mem_text("%s: no column \"c\" in the header", path);
	is_long(table_column(t, "a"), 1, "a column by name");
	is_long(table_column(t, "c"), -1, "one that is not there");
	is_long(table_require(t, "b"), 0, "one that must be there");
	is_long(table_require(t, "c"), -1, "and is not");
	is_text(err_text(), want, "is named");
	is_long(table_require(t, "x"), -1, "nor may there be two");
	free(want);
	table_close(t);
	table_close(NULL);
}

static void
numbers(void)
{
	static const char *const reals[] = {"0.1", "-1e-3", "nan",	    "-nan",   "NaN",
					    "inf", "-Inf",  "3.4028235e38", "1e-320", "-0"};
	static const char *const wrong[] = {"",		" 1", "1 ", "1,5",  "0x1", "1e999",
					    "infinity", "+1", "na", "nan1", "--1"};
	char *want;
	for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
		char *text = mem_text("v,w\n%s,0\n", reals[i]);
		struct table *t = table_open(temp_text("in.csv", text));
		double v = 7, x = strtod(reals[i], NULL);
		is_long(table_next(t), 1, "a row");
		is_long(table_real(t, 0, &v), 0, "%s is a number", reals[i]);
		is_real(v, x, 0, "%s is itself", reals[i]);
		table_close(t);
		free(text);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		char *text = mem_text("v,w\n\"%s\",0\n", wrong[i]);
		struct table *t = table_open(temp_text("in.csv", text));
		double v = 7;
		is_long(table_next(t), 1, "a row");
		is_long(table_real(t, 0, &v), -1, "\"%s\" is none", wrong[i]);
		want = mem_text("%s:2: column v: \"%s\" is not a number", temp("in.csv"), wrong[i]);
		is_text(err_text(), want, "and is named with its place");
		free(want);
		table_close(t);
		free(text);
	}
	struct table *t = table_open(temp_text("in.csv", "v\n# x\n12x\n17\n"));
	long v = 7;
	table_next(t);
	is_long(table_line(t), 3, "the line of the row");
	is_long(table_long(t, 0, 0, 9, &v), -1, "no whole number");
	want = mem_text("%s:3: column v: \"12x\" is not a whole number between 0 and 9",
			temp("in.csv"));
	is_text(err_text(), want, "message");
	free(want);
	table_next(t);
	is_long(table_long(t, 0, 0, 16, &v), -1, "out of range");
	is_long(v, 7, "a refused field leaves the value alone");
	is_long(table_long(t, 0, 17, LONG_MAX, &v), 0, "in range");
	is_long(v, 17, "17");
	table_close(t);
}

static void
writing(void)
{
	static const char *const odd[] = {"",	 "plain", "a b", " a ", "a,b",	"\"",  "a\"b\"",
					  "a\n", "\r",	  "#x",	 "'",	"\xff", "a\\b"};
	enum { ODD = sizeof odd / sizeof *odd };
	struct row r = {.f = file_create(temp("out.csv"))};
	struct table *t;
	char *s;
	size_t n;
	row_header(&r, "n,x,text,more");
	row_long(&r, -5);
	row_real(&r, 0.1f);
	row_text(&r, "plain text");
	row_skip(&r);
	is_long(row_end(&r), 0, "a row");
	row_skip(&r);
	row_real(&r, NAN);
	row_text(&r, "#,\"\n");
	row_text(&r, "#");
	row_end(&r);
	row_text(&r, "#");
	row_real(&r, -INFINITY);
	row_long(&r, LLONG_MIN);
	row_real(&r, 1e10);
	row_end(&r);
	file_close(r.f);
	s = file_slurp(temp("out.csv"), &n);
	is_text(s,
		"n,x,text,more\n-5,0.100000001,plain text,\n,nan,\"#,\"\"\n\",#\n"
		"\"#\",-inf,-9223372036854775808,1e+10\n",
		"quoted where it must be and nowhere else");
	free(s);
	for (int columns = 1; columns <= 2; columns++) {
		r = (struct row){.f = file_create(temp("out.csv"))};
		row_header(&r, columns == 1 ? "a" : "a,b");
		for (int i = 0; i < ODD; i++) {
			row_text(&r, odd[i]);
			if (columns == 2)
				row_text(&r, odd[ODD - 1 - i]);
			row_end(&r);
		}
		file_close(r.f);
		t = table_open(temp("out.csv"));
		for (int i = 0; i < ODD; i++) {
			is_long(table_next(t), 1, "row %d of %d columns", i, columns);
			is_text(table_text(t, 0), odd[i], "text %d is read as it was written", i);
			if (columns == 2)
				is_text(table_text(t, 1), odd[ODD - 1 - i], "so is the second");
		}
		is_long(table_next(t), 0, "and no other row");
		table_close(t);
	}
}

static void
full_disk(void)
{
	struct row r = {.f = file_create("/dev/full")};
	int failed = 0;
	if (!r.f) {
		ok(true, "a full disk # SKIP no /dev/full");
		return;
	}
	for (int i = 0; i < 100000; i++) {
		row_long(&r, i);
		row_real(&r, i);
		failed += row_end(&r) < 0;
	}
	ok(failed > 0, "a full disk fails rows");
	is_text(err_text(), "/dev/full: No space left on device", "and is named");
	is_long(row_end(&r), -1, "all later rows fail");
	is_long(file_close(r.f), -1, "and the close");
}

/* The sum of columns 1 and 3 of all rows and, a line each, where they stand; the failure. */
static char *
sums(const char *name, bool fast)
{
	struct table_whole w[2] = {{1, 0, 99, 0}, {3, -5, 1L << 40, 0}};
	struct table *t = table_open(name);
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	int r = 0;

	while (t && (r = fast ? table_next_longs(t, w, 2) : table_next(t)) == 1) {
		for (int i = 0; i < 2 && !fast && r == 1; i++)
			if (table_long(t, w[i].column, w[i].lo, w[i].hi, &w[i].value))
				r = -1;
		if (r != 1)
			break;
		fprintf(f, "%ld:%ld\n", table_line(t), w[0].value + w[1].value);
	}
	if (r)
		fputs(err_text(), f);
	fclose(f);
	table_close(t);
	return text;
}

/* The fast way reads what the slow one reads, and refuses what it refuses. */
static void
wholes(void)
{
	static const char *const row[] = {"x,1,y,2",
					  "\"x\",1,,2",
					  "x,\"1\",y,2",
					  "#x,1,y,2",
					  "",
					  "x,1,y,-5",
					  "x,1,y,-6",
					  "x,100,y,2",
					  "x,99,y,2",
					  "x,,y,2",
					  "x,1,y,",
					  "x,1,y",
					  "x,1,y,2,",
					  "x,1 ,y,2",
					  "x,1.0,y,2",
					  "\xc3\xa9,1,y,2",
					  "x\r,1,y,2",
					  "x,1,y,2\r",
					  "x,007,y,2",
					  "x,+1,y,2",
					  "x,1,y,4611686018427387904",
					  "x,1,y,99999999999999999999",
					  "x,1,\"y\nz\",2",
					  "x,1,y,1099511627776",
					  "x,1,y,1099511627777",
					  ",,,"};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		char *text = mem_text("a,b,c,d\nx,3,y,4\n%s\nx,5,y,6\n", row[i]), *fast, *slow;
		const char *name = temp_text("in.csv", text);
		fast = sums(name, true);
		slow = sums(name, false);
		is_text(fast, slow, "whole numbers at once: row %zu", i);
		ok(!strncmp(fast, "2:7\n", 4), "and the row before");
		free(fast);
		free(slow);
		free(text);
	}
}

/* A reader at a pipe gets each row when it was written, not when the pipe is closed. */
static void
pipes(void)
{
	int p[2], back[2], in = dup(0);
	struct table *t;
	char c;
	if (pipe(p) || pipe(back))
		exit(1);
	fflush(stdout);
	if (!fork()) {
		long v = 0;
		dup2(p[0], 0);
		close(p[1]);
		t = table_open("-");
		while (t && table_next(t) == 1 && !table_long(t, 0, 0, 9, &v)) {
			c = (char)('0' + v);
			if (write(back[1], &c, 1) != 1)
				_exit(1);
		}
		c = t && !strcmp(err_text(), "standard input:5: 2 fields "
					     "(expected 1, as in the header)")
			    ? '!'
			    : '?';
		_exit(write(back[1], &c, 1) != 1);
	}
	alarm(20);
	is_long(write(p[1], "a\n1\n2", 5), 5, "a row and a part of one");
	ok(read(back[0], &c, 1) == 1 && c == '1', "the row is seen");
	is_long(write(p[1], "\n3\n", 3), 3, "the rest and another");
	ok(read(back[0], &c, 1) == 1 && c == '2', "both are seen");
	ok(read(back[0], &c, 1) == 1 && c == '3', "at once");
	is_long(write(p[1], "4,4\n", 4), 4, "a ragged one");
	ok(read(back[0], &c, 1) == 1 && c == '!', "is refused as line 5 of standard input");
	alarm(0);
	close(in);
}

int
main(void)
{
	forms();
	faults();
	cut_anywhere();
	cut_gzip();
	long_lines();
	columns();
	numbers();
	wholes();
	writing();
	full_disk();
	pipes();
	return done();
}
