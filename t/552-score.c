/* Recovery: where shifts are found, and when a run has recovered, against tables worked by hand. */
#include "base/err.h"
#include "tap.h"
#include "temp.h"
#include "train/score.h"

static struct score_table table;

/* Read a text; its first run with its phases. */
static struct score_run *
read_run(const char *text, const char *metric)
{
	score_free(&table);
	if (score_read(&table, temp_text("loss.csv", text), "x", metric) < 0 ||
	    score_phases(&table, &table.run[0], NULL, 0) < 0)
		return NULL;
	return &table.run[0];
}

static void
refused(const char *text, const char *why)
{
	if (!ok(!read_run(text, "loss") && strstr(err_text(), why), "refused: %s", why))
		fprintf(stderr, "# expected \"%s\", found \"%s\"\n", why, err_text());
}

static void
shift_is(const char *text, long step, long doubt, long first, const char *name)
{
	const struct score_run *r = read_run(text, "loss");

	if (!ok(r && r->phases == 2, "%s: two phases", name))
		return;
	is_long(r->phase[1].step, step, "%s: the shift", name);
	is_long(r->phase[1].doubt, doubt, "%s: how far it may be off", name);
	is_long(r->phase[1].first, first, "%s: its first row", name);
	is_long(r->phase[0].end, first, "%s: where the phase before ends", name);
}

static void
shifts(void)
{
	shift_is("step,domain,loss\n1,a,3\n2,a,2\n3,b,4\n4,b,3\n", 2, 2, 2, "rows by steps done");
	shift_is("step,domain,loss\n0,a,3\n1,a,2\n2,b,4\n3,b,3\n", 2, 2, 2, "rows from 0");
	shift_is("step,domain,loss\n50,a,3\n100,a,2\n150,b,4\n", 100, 149, 2, "sparse rows");
	shift_is("step,domain,loss\n0,a,3\n100,a,2\n150,b,4\n", 150, 101, 2, "sparse rows from 0");
	shift_is("step,domain,loss\n50,a,3\n90,a,2\n100,b,\n150,b,4\n", 100, 100, 2, "a mark");
	shift_is("step,domain,loss\n1,a,3\n2,a,\n3,b,\n4,b,4\n", 2, 2, 2, "rows without values");

	struct score_run *r = read_run("step,loss\n10,3\n20,2\n30,4\n40,1\n", "loss");
	const long at[] = {20, 35}, late[] = {40};

	is_long(r->phases, 1, "no domain, no shift");
	is_long(score_phases(&table, r, at, 2), 0, "shifts that are given");
	ok(r->phases == 3 && r->phase[1].first == 2 && r->phase[1].end == 3 &&
		   r->phase[2].first == 3 && r->phase[2].step == 35,
	   "cut the rows where they say");
	ok(score_phases(&table, r, late, 1) < 0 && strstr(err_text(), "no row after"),
	   "a shift after the last row is refused");
	r = read_run("step,domain,loss\n10,a,1\n20,b,2\n30,b,3\n", "loss");
	score_phases(&table, r, (const long[]){20}, 1);
	is_long(r->phase[1].first, 1,
		"a row of the shift's step that has the new domain follows it");
}

static void
recovery(void)
{
	struct score_run *r = read_run("step,domain,loss\n"
				       "1,a,2\n2,a,1\n3,b,3\n4,b,0.9\n5,b,1.1\n6,b,\n"
				       "7,b,1\n8,b,1\n9,a,5\n10,a,0.5\n",
				       "loss");

	is_real(score_last(r, 0), 1, 0, "the last value before the shift");
	is_real(score_first(r, 1), 3, 0, "the first after it");
	is_long(score_recover(r, 1, 1, 1), 3, "held for 1");
	is_long(score_recover(r, 1, 1, 2), 6, "held for 2, from the first of the two");
	is_long(score_recover(r, 1, 1.1, 4), 3, "held for 4, over a row without a value");
	is_long(score_recover(r, 1, 1, 3), -1, "a phase ends before 3 rows");
	is_long(score_recover(r, 1, 0.8, 1), -1, "never reached");
	is_long(score_recover(r, 1, 9, 1), 2, "a level above the start");
	is_real(score_peak(r, 1, 3), 3, 0, "the peak before the recovery");
	is_real(score_peak(r, 2, -1), 5, 0, "the peak of a phase");
	is_long(score_earlier(r, 2), 0, "the phase in which the domain was there before");
	is_long(score_earlier(r, 1), -1, "a new domain was not");
	is_long(score_phase_of(r, "b"), 1, "the first phase of a domain");
	is_long(score_phase_of(r, "c"), -1, "of a domain that is not there");
}

static void
smoothing(void)
{
	struct score_run *r =
		read_run("step,domain,loss\n1,a,1\n2,a,3\n3,a,\n4,a,8\n5,b,10\n6,b,0\n", "loss");
	static const double want[] = {1, 2, NAN, 5.5, 10, 5};

	score_smooth(r, 2);
	for (int i = 0; i < 6; i++)
		is_real(r->value[i], want[i], 1e-12, "mean of 2 at row %d", i);
	r = read_run("step,loss\n1,1.1\n2,1.1\n3,1.1\n4,1.1\n5,1.1\n6,1.1\n7,1.1\n", "loss");
	score_smooth(r, 7);
	is_real(r->value[6], 1.1, 0, "the mean of equal values is that value, to the bit");
}

static void
means(void)
{
	static const double v[] = {2, 4, NAN, 4, 4, 5, 5, 7, 9};
	struct score_mean m = score_mean(v, 9);

	is_long(m.n, 8, "values that are there");
	is_real(m.mean, 5, 1e-12, "mean");
	is_real(m.sd, sqrt(32 / 7.0), 1e-12, "standard deviation with n - 1");
	m = score_mean(v, 1);
	ok(m.mean == 2 && isnan(m.sd), "one value has no deviation");
	m = score_mean(v + 2, 1);
	ok(m.n == 0 && isnan(m.mean), "no value has no mean");
}

static void
runs(void)
{
	struct score_run *r =
		read_run("run,step,domain,loss\nA,1,a,1\nB,1,a,7\nA,2,b,2\nB,2,b,8\n", "loss");

	ok(r && table.runs == 2, "two runs in a table");
	ok(r && r->n == 2 && r->value[1] == 2 && table.run[1].value[1] == 8, "each with its rows");
	is_text(table.run[1].name, "B", "and its name");
	ok(!read_run("step,loss\n1,1\n", "val_loss") && strstr(err_text(), "val_loss"),
	   "a metric that is not there");
}

static void
events(void)
{
	const char *head = "step,layer,event,cause\n";
	long *step;
	int n;

	is_long(score_events(temp_text("e.csv", "step,event\n3,birth\n7,shift\n7,keep\n9,shift\n"),
			     &step, &n),
		0, "events are read");
	ok(n == 2 && step[0] == 7 && step[1] == 9, "shifts among them");
	free(step);
	is_long(score_events(temp_text("e.csv", head), &step, &n), 0, "no events");
	is_long(n, 0, "no shifts");
	free(step);
	is_long(score_events(temp_text("e.csv", "step,event\n7,shift\n7,shift\n"), &step, &n), -1,
		"two shifts at a step are refused");
	is_long(score_events(temp_text("e.csv", "step,what\n7,shift\n"), &step, &n), -1,
		"a table without events is refused");
}

int
main(void)
{
	shifts();
	recovery();
	smoothing();
	means();
	runs();
	events();
	refused("step,domain,los\n1,a,3\n", "no column \"loss\"");
	refused("domain,loss\na,3\n", "no column \"step\"");
	refused("step,loss\n2,3\n2,3\n", ":3: step 2 after step 2");
	refused("step,loss\n2,3\n1,3\n", "steps that rise");
	refused("step,loss\n1,3\n2,nan\n", ":3: loss is nan");
	refused("step,loss\n1,3\n2,inf\n", "finite");
	refused("step,loss\n1,3\n2,x\n", "column loss");
	refused("step,loss\n1,3\n-2,1\n", "column step");
	refused("step,loss\n", "no rows");
	refused("step,loss\n1,\n2,\n", "no value of loss");
	score_free(&table);
	return done();
}
