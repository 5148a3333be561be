#include "base/err.h"
#include "base/mem.h"
#include "policy/event.h"
#include "policy/row.h"
#include "tap.h"
#include "temp.h"
#include <fcntl.h>
#include <unistd.h>

enum { NEED = ROW_DEMAND | ROW_QUALITY, WANT = ROW_EXPERT | ROW_BORN | ROW_TOKENS };

/* A table as `step:layer.slot=expert ...; ` by steps, at last the failure, less the file's name. */
static char *
dump(const char *name, unsigned need, unsigned want)
{
	struct policy_census *c = policy_census_open(name, need, want);
	struct policy_step *s;
	char *text;
	size_t n, len = strlen(name);
	FILE *f = open_memstream(&text, &n);
	int r = -1;

	while (c && (r = policy_census_next(c, &s)) == 1) {
		fprintf(f, "%ld:", s->step);
		for (int k = 0; k < s->layers; k++)
			for (int i = s->begin[k]; i < s->begin[k + 1]; i++)
				fprintf(f, " %d.%d=%ld", s->row[i].layer, s->row[i].slot,
					s->row[i].expert);
		fputs("; ", f);
	}
	if (r)
		fprintf(f, "!%s", err_text() + (strncmp(err_text(), name, len) ? 0 : len));
	fclose(f);
	policy_census_close(c);
	return text;
}

static void
reads(const char *text, const char *want, const char *test)
{
	char *got = dump(temp_text("in.csv", text), NEED, WANT);

	is_text(got, want, "%s", test);
	free(got);
}

static void
forms(void)
{
	reads("step,layer,slot,expert,demand,quality,left\n"
	      "10,0,0,4,.5,1,1\n10,0,2,5,.5,1,0\n20,0,0,4,.5,1,1\n20,0,2,5,.5,1,0\n",
	      "10: 0.0=4 0.2=5; 20: 0.0=4 0.2=5; ", "steps that count down");
	reads("step,layer,slot,expert,demand,quality\n10,0,0,4,.5,1\n10,3,0,5,.5,1\n20,0,0,4,.5,1\n"
	      "20,3,0,5,.5,1\n",
	      "10: 0.0=4 3.0=5; 20: 0.0=4 3.0=5; ", "steps that do not");
	reads("quality,x y,expert,\"demand\",layer,step\r\n1,\"a,\nb\",\"2\",0.5,0,10\r\n"
	      "1,,3,0.5,0,10\r\n",
	      "10: 0.2=2 0.3=3; ", "any order, CRLF, quotes, foreign columns, no slot");
	reads("step,layer,slot,demand,quality\n10,0,3,.5,1\n", "10: 0.3=3; ", "no expert");
	reads("step,layer,demand,quality\n10,0,.5,1\n10,0,.5,1\n10,1,.5,1\n",
	      "10: 0.0=0 0.1=1 1.0=0; ", "neither");
	reads("step,layer,slot,demand,quality,fitness,accuracy,tier\n10,0,3,.5,1,,nan,x\n",
	      "10: 0.3=3; ", "what nobody wants is not looked at");
	reads("step,layer,slot,expert,born,tokens,demand,quality\n10,0,3,,,,.5,1\n", "10: 0.3=3; ",
	      "what is not needed may be empty");
	reads("step,layer,demand,quality\n", "", "no rows");
	reads("step,layer,slot,expert,born,demand,quality\n"
	      "10,0,0,0,0,.5,1\n10,0,1,1,0,.5,1\n20,0,0,0,0,.5,1\n20,0,1,2,10,.5,1\n"
	      "30,0,0,3,25,.5,1\n30,0,1,2,10,.5,1\n",
	      "10: 0.0=0 0.1=1; 20: 0.0=0 0.1=2; 30: 0.0=3 0.1=2; ", "births between steps");
	reads("step,layer,slot,expert,demand,quality\n10,0,0,0,.5,1\n20,0,0,9,.5,1\n",
	      "10: 0.0=0; 20: 0.0=9; ", "without born nobody can tell");
}

#define HEAD "step,layer,slot,expert,born,tokens,demand,quality\n"
#define LEFT "step,layer,slot,demand,quality,left\n"

static void
faults(void)
{
	reads("step,layer,slot,quality\n1,0,0,1\n", "!: no column \"demand\" in the header",
	      "a missing column");
	reads("layer,slot,demand,quality\n", "!: no column \"step\" in the header", "no step");
	reads("step,layer,step,demand,quality\n",
	      "!: two columns \"step\" in the header (expected one)", "a column twice");
	reads("step,layer,slot,born,demand,quality,born\n",
	      "!: two columns \"born\" in the header (expected one)", "one that is wanted");
	reads(HEAD "20,0,0,0,0,1,.5,1\n10,0,0,0,0,1,.5,1\n",
	      "!:3: step 10 after step 20 (expected them to rise)", "steps that fall");
	reads(LEFT "10,0,0,.5,1,0\n10,0,0,.5,1,0\n",
	      "10: 0.0=0; !:3: step 10 after step 10 (expected them to rise)", "a step twice");
	reads(LEFT "10,0,0,.5,1,2\n10,0,1,.5,1,1\n20,0,0,.5,1,2\n",
	      "!:4: step 20 begins before step 10 ends (expected 1 more row of that)",
	      "a step that does not end");
	reads(LEFT "10,0,0,.5,1,3\n10,0,1,.5,1,1\n",
	      "!:3: 1 rows left after 3 (expected 2: is a row missing?)", "a row is missing");
	reads(LEFT "10,0,0,.5,1,3\n10,0,1,.5,1,2\n",
	      "!: ends within step 10 (expected 2 more rows)", "an end within a step");
	reads(LEFT "10,0,0,.5,1,0\n20,0,0,.5,1",
	      "10: 0.0=0; !:3: no line end (expected one: has the file been cut?)",
	      "an end within a line");
	reads(HEAD "10,1,0,0,0,1,.5,1\n10,0,0,1,0,1,.5,1\n",
	      "!:3: layer 0 after layer 1 (expected layers to rise within a step)",
	      "layers that fall");
	reads(HEAD "10,0,1,0,0,1,.5,1\n10,0,0,1,0,1,.5,1\n",
	      "!:3: slot 0 after slot 1 in layer 0 (expected slots to rise)", "slots that fall");
	reads(HEAD "10,0,1,0,0,1,.5,1\n10,0,1,1,0,1,.5,1\n",
	      "!:3: slot 1 after slot 1 in layer 0 (expected slots to rise)", "a slot twice");
	reads(HEAD "10,0,0,7,0,1,.5,1\n10,0,1,7,0,1,.5,1\n",
	      "!:3: step 10: expert 7 is twice in layer 0 (expected once)", "an expert twice");
	reads(HEAD "10,0,0,0,0,1,.5,1\n20,0,0,5,9,1,.5,1\n",
	      "10: 0.0=0; !:3: step 20: expert 5 in layer 0 slot 0 is unknown (expected one of "
	      "step 10, or born since)",
	      "an unknown expert");
	reads(HEAD "10,0,0,0,11,1,.5,1\n",
	      "!:2: expert 0 was born at step 11 (expected at most 10, the row's step)",
	      "a birth to come");
	reads(HEAD "10,0,0,0,0,1,.5,1\n10,1,0,1,0,1,.5,1\n20,0,0,0,0,1,.5,1\n",
	      "10: 0.0=0 1.0=1; !:4: step 20: layer 1 has disappeared (expected the layers of the "
	      "first step)",
	      "a layer that disappears");
	reads(HEAD "10,1,0,1,0,1,.5,1\n20,0,0,0,0,1,.5,1\n20,1,0,1,0,1,.5,1\n",
	      "10: 1.0=1; !:4: step 20: layer 0 is new (expected the layers of the first step)",
	      "one that appears");
	reads(HEAD "10,0,0,0,0,1,.5\n", "!:2: 7 fields (expected 8, as in the header)",
	      "a short row");
}

static void
numbers(void)
{
	static const struct {
		const char *field, *value, *want;
	} t[] = {
		{"demand", "nan", "\"nan\" is not a number between 0 and 1"},
		{"demand", "inf", "\"inf\" is not a number between 0 and 1"},
		{"demand", "1.5", "\"1.5\" is not a number between 0 and 1"},
		{"demand", "-0.1", "\"-0.1\" is not a number between 0 and 1"},
		{"demand", "", "\"\" is not a number"},
		{"demand", "0.5x", "\"0.5x\" is not a number"},
		{"quality", "NaN", "\"NaN\" is not a number of at least 0 that a float32 holds"},
		{"quality", "-1", "\"-1\" is not a number of at least 0 that a float32 holds"},
		{"quality", "1e39", "\"1e39\" is not a number of at least 0 that a float32 holds"},
		{"tokens", "-5", "\"-5\" is not a whole number of at least 0"},
		{"tokens", "2.5", "\"2.5\" is not a whole number of at least 0"},
		{"born", "-1", "\"-1\" is not a whole number of at least 0"},
		{"step", "-1", "\"-1\" is not a whole number of at least 0"},
		{"step", "99999999999999999999",
		 "\"99999999999999999999\" is not a whole number of at least 0"},
		{"layer", "x", "\"x\" is not a whole number between 0 and 1048576"},
		{"slot", "1048577", "\"1048577\" is not a whole number between 0 and 1048576"},
		{"expert", "-1", "\"-1\" is not a whole number of at least 0"},
	};
	static const char *const fields[] = {"step",   "layer", "slot",	  "expert",
					     "tokens", "born",	"demand", "quality"};
	static const char *const good[] = {"10", "0", "0", "0", "1", "0", "0.5", "1"};

	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		char text[512] = "step,layer,slot,expert,tokens,born,demand,quality\n", want[256];
		for (int k = 0; k < 8; k++) {
			const bool bad = !strcmp(fields[k], t[i].field);
			strcat(text, bad ? t[i].value : good[k]);
			strcat(text, k < 7 ? "," : "\n");
		}
		snprintf(want, sizeof want, "!:2: column %s: %s", t[i].field, t[i].want);
		reads(text, want, t[i].value);
	}
}

/* A line of 1 MB in a foreign column, and the same cut. */
static void
long_line(void)
{
	const size_t n = 1 << 20;
	char *text = mem_zero(n + 256, 1), *got;
	size_t at = (size_t)sprintf(text, "step,layer,slot,demand,quality,note\n10,0,0,.5,1,");

	memset(text + at, 'x', n);
	strcpy(text + at + n, "\n10,0,1,.5,1,y\n");
	reads(text, "10: 0.0=0 0.1=1; ", "a line of 1 MB");
	text[at] = '"';
	strcpy(text + at + n, "\"\n10,0,1,.5,1,y\n");
	reads(text, "10: 0.0=0 0.1=1; ", "in quotes");
	memset(text + at, '0', n);
	strcpy(text, "step,layer,slot,demand,note,quality\n10,0,0,.5,1,");
	text[strlen(text)] = '0';
	strcpy(text + at + n, "1\n");
	reads(text, "10: 0.0=0; ", "a number of 1 MB");
	text[at + n] = 'z';
	got = dump(temp_text("in.csv", text), NEED, WANT);
	ok(strlen(got) < 256 && strstr(got, "!:2: column quality: \"000"),
	   "and one that is none, in a short message");
	free(got);
	free(text);
}

/* Each prefix of a census is refused or read up to the last step that it holds whole. */
static void
cut(void)
{
	static const char text[] = LEFT "10,0,0,.5,1,1\n10,0,1,.5,1,0\n"
					"20,0,0,.5,1,1\n20,0,1,.5,1,0\n";
	static const char *const whole[] = {"", "10: 0.0=0 0.1=1; ",
					    "10: 0.0=0 0.1=1; 20: 0.0=0 0.1=1; "};
	const size_t size = sizeof text - 1, row = strlen("10,0,0,.5,1,1\n");
	int wrong = 0;

	for (size_t n = 0; n <= size; n++) {
		char *got = dump(temp_bytes("in.csv", text, n), NEED, WANT);
		const int steps = n == size ? 2 : n >= size - 2 * row ? 1 : 0;
		const size_t len = strlen(whole[steps]);
		const bool ends = n == size || n == size - 2 * row || n == size - 4 * row;
		wrong += strncmp(got, whole[steps], len) || (got[len] == '!') == ends;
		free(got);
	}
	is_long(wrong, 0, "a census cut anywhere");
}

/* A step is there as soon as its last row is, though the pipe stays open. */
static void
pipe_of_steps(void)
{
	char path[64];
	struct policy_census *c;
	struct policy_step *s;
	int fd[2];
	static const char first[] = LEFT "10,0,0,.5,1,1\n10,0,1,.5,1,0\n",
			  second[] = "20,0,0,.5,1,1\n";

	if (pipe(fd)) {
		perror("pipe");
		exit(1);
	}
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd[0]);
	ok(write(fd[1], first, sizeof first - 1) == sizeof first - 1, "a step goes into a pipe");
	c = policy_census_open(path, NEED, WANT);
	close(fd[0]);
	is_long(policy_census_next(c, &s), 1, "it comes out before the pipe is closed");
	is_long(s->n, 2, "whole");
	ok(policy_census_waits(c), "the next would have to wait");
	ok(write(fd[1], second, sizeof second - 1) == sizeof second - 1, "half a step");
	close(fd[1]);
	is_long(policy_census_next(c, &s), -1, "is not a step");
	policy_census_close(c);
}

static void
same(const char *a, const char *b, const char *test)
{
	size_t n;
	char *x = file_slurp(a, &n), *y = file_slurp(b, &n);

	is_text(x, y, "%s", test);
	free(x);
	free(y);
}

static void
write_row(const char *name, const struct policy_row *r)
{
	struct row w = {.f = file_create(name)};

	row_header(&w, policy_row_columns);
	policy_row_write(&w, r, 0);
	file_close(w.f);
}

static void
write_events(const char *name, const struct policy_events *e)
{
	struct row w = {.f = file_create(name)};

	row_header(&w, policy_event_columns);
	is_long(policy_events_write(e, &w), 0, "events are written");
	file_close(w.f);
}

/* What is written is read, to the bit. */
static void
rows_round(void)
{
	const struct policy_row r = {.step = 20,
				     .layer = 1,
				     .slot = 2,
				     .expert = 1L << 40,
				     .parent = 3,
				     .born = 7,
				     .tier = 1,
				     .tokens = 123456789012,
				     .demand = (double)(1.0f / 3),
				     .quality = (double)0.1f,
				     .exclusivity = (double)1e-30f,
				     .flops = (double)1.2345678e12f,
				     .fitness = NAN,
				     .effective = NAN,
				     .vitality = (double)0.7f,
				     .usage = NAN,
				     .accuracy = 1,
				     .below = 4,
				     .width = 512,
				     .gradient = (double)0.3f,
				     .energy = (double)1.7f,
				     .over = 2,
				     .starved = 1,
				     .twin = 5,
				     .load_factor = NAN,
				     .gradient_factor = NAN};
	const char *name = temp("rows.csv"), *again = temp("again.csv");
	struct policy_census *c;
	struct policy_step *s;

	write_row(name, &r);
	c = policy_census_open(name, ~0u, 0);
	is_long(policy_census_next(c, &s), -1, "an empty field that is needed");
	policy_census_close(c);
	c = policy_census_open(name, NEED, ~0u);
	is_long(policy_census_next(c, &s), 1, "rows are read again");
	write_row(again, &s->row[0]);
	same(again, name, "as they were");
	is_real(s->row[0].demand, r.demand, 0, "to the bit");
	is_real(s->row[0].exclusivity, r.exclusivity, 0, "to the bit");
	is_real(s->row[0].flops, r.flops, 0, "to the bit");
	is_long(policy_census_next(c, &s), 0, "and no more");
	policy_census_close(c);
}

static void
events_round(void)
{
	const char *name = temp("events.csv"), *again = temp("again.csv");
	struct policy_events e = {0}, *got;
	struct policy_event v = policy_event(10, 1, 2, POLICY_DEATH, "replace");
	struct policy_history *h;

	v.expert = 5;
	v.value = 0.125;
	v.threshold = INFINITY;
	policy_events_add(&e, &v);
	v = policy_event(10, 1, 2, POLICY_BIRTH, "replace");
	v.parent = 4;
	v.width = 96;
	v.sigma = 0.5;
	v.origin = POLICY_MUTANT;
	policy_events_add(&e, &v);
	v = policy_event(10, 1, 0, POLICY_MOVE, "migration");
	v.to_layer = 0;
	v.to_slot = 7;
	policy_events_add(&e, &v);
	write_events(name, &e);
	h = policy_history_open(name);
	is_long(policy_history_next(h, &got), 1, "and read again");
	is_long(got->n, 3, "all of them");
	is_long(got->v[1].line, 3, "each from its line");
	write_events(again, got);
	same(again, name, "as they were");
	is_long(policy_history_next(h, &got), 0, "and no more");
	policy_history_close(h);
	policy_events_free(&e);
}

/* Steps of events as `step:kinds; `, at last the failure without the file's name. */
static void
history(const char *text, const char *want, const char *test)
{
	const char *name = temp_text("in.csv", text);
	struct policy_history *h = policy_history_open(name);
	struct policy_events *e;
	char got[1024] = "";
	int r = -1;

	while (h && (r = policy_history_next(h, &e)) == 1) {
		sprintf(got + strlen(got), "%ld:", e->step);
		for (int i = 0; i < e->n; i++)
			sprintf(got + strlen(got), " %s", policy_kind_name(e->v[i].kind));
		strcat(got, "; ");
	}
	if (r)
		sprintf(got + strlen(got), "!%s", err_text() + strlen(name));
	policy_history_close(h);
	is_text(got, want, "%s", test);
}

static void
histories(void)
{
	history("step,layer,slot,event,left\n10,,,shift,0\n10,0,0,keep,1\n10,1,0,keep,0\n",
		"10: shift; 10: keep keep; ", "a step in parts");
	history("event,slot,layer,step\nkeep,0,0,10\ndeath,0,0,20\nbirth,0,0,20\n",
		"10: keep; 20: death birth; ", "a table from elsewhere");
	history("step,layer,slot\n", "!: no column \"event\" in the header", "a missing column");
	history("step,layer,slot,event\n10,0,0,die\n",
		"!:2: column event: \"die\" is not one of "
		"keep|birth|death|move|merge|freeze|thaw|escape|shift",
		"an unknown event");
	history("step,layer,slot,event,origin\n10,0,0,birth,stork\n",
		"!:2: column origin: \"stork\" is not one of mutant|fresh|mean|twin",
		"an unknown origin");
	history("step,layer,slot,event\n10,0,,death\n",
		"!:2: a death without layer or slot (expected both)", "a death of nobody");
	history("step,layer,slot,event\n20,0,0,keep\n10,0,0,keep\n",
		"!:3: step 10 after step 20 (expected them not to fall)", "steps that fall");
	history("step,layer,slot,event,left\n10,0,0,keep,2\n10,0,0,keep,0\n",
		"!:3: 0 rows left after 2 (expected 1: is a row missing?)", "a missing row");
	history("step,layer,slot,event,left\n10,0,0,keep,1\n",
		"!: ends within step 10 (expected 1 more row)", "an end within a step");
	history("step,layer,slot,event,left\n10,0,0,keep,1\n20,0,0,keep,0\n",
		"!:3: step 20 begins before step 10 ends (expected 1 more row of that)",
		"a step that does not end");
	history("step,layer,slot,event,value\n10,0,0,keep,nan\n",
		"!:2: column value: \"nan\" is not a number", "NaN");
	history("step,layer,slot,event,sigma\n10,0,0,birth,-1\n",
		"!:2: column sigma: \"-1\" is not a number between 0 and 1e6", "negative noise");
	history("step,layer,slot,event,cause\n10,0,0,birth,"
		"0123456789012345678901234567890123456789\n",
		"!:2: column cause: 40 bytes (expected fewer than 32)", "a long cause");
	history("step,layer,slot,event,cause\n10,,,shift,"
		"0123456789012345678901234567890123456789\n",
		"10: shift; ", "a long name of a text");
}

int
main(void)
{
	forms();
	faults();
	numbers();
	long_line();
	cut();
	pipe_of_steps();
	rows_round();
	events_round();
	histories();
	return done();
}
