/* What experts keep: sums of a census by phase, and drift between checkpoints, worked by hand. */
#include "base/err.h"
#include "tap.h"
#include "temp.h"
#include "train/memory.h"
#include <limits.h>

/* Windows of 10 steps; expert 7 of layer 0 sleeps in the second phase and wakes in the third. */
static const char census[] = "step,layer,slot,expert,tokens\n"
			     "10,0,0,5,1\n10,0,1,7,3\n10,1,0,9,4\n"
			     "20,0,0,5,2\n20,0,1,7,2\n20,1,0,9,4\n"
			     "30,0,0,5,4\n30,0,1,7,0\n30,1,0,9,4\n"
			     "40,0,0,5,4\n40,0,1,7,0\n40,1,0,9,4\n"
			     "50,0,0,5,4\n50,0,1,7,0\n50,1,0,9,4\n"
			     "60,0,0,5,3\n60,0,1,7,1\n60,1,0,9,4\n";

static void
sums(void)
{
	const struct memory_phase phase[] = {{0, 20, "a"}, {20, 40, "b"}, {40, LONG_MAX, "a"}};
	struct memory m;
	int group[6];
	long n;
	struct memory_use *u;

	if (!ok(memory_read(&m, temp_text("c.csv", census)) == 0, "a census is read"))
		return;
	is_long(m.windows, 6, "its windows");
	memory_place(&m, phase, 3);
	for (int i = 0; i < 6; i++) {
		group[i] = m.window[i].phase;
		is_long(group[i], i / 2, "phase of window %d", i);
		is_long(m.window[i].from, 10 * i, "where window %d begins", i);
	}
	u = memory_sum(&m, group, 0, &n);
	is_long(n, 9, "three experts in three phases");
	/* By layer, expert, phase: 3, 4 and 5 are expert 7. */
	ok(u[3].expert == 7 && u[3].slot == 1 && u[3].tokens == 5 && u[3].all == 8, "phase 0");
	ok(u[4].group == 1 && u[4].tokens == 0 && u[4].idle == 2 && u[4].first == -1, "phase 1");
	ok(u[5].group == 2 && u[5].tokens == 1 && u[5].idle == 1 && u[5].first == 60, "phase 2");
	is_real(memory_share(&u[3]), 0.625, 0, "share");
	ok(u[6].layer == 1 && u[6].tokens == 8 && memory_share(&u[6]) == 1,
	   "a layer of one expert");
	free(u);
	u = memory_sum(&m, group, 0.25, &n);
	ok(u[5].idle == 2 && u[5].first == -1, "a share at the limit is idle");
	free(u);

	double tokens, all;

	ok(memory_tokens(&m, 0, 7, 10, 50, &tokens, &all) && tokens == 2 && all == 16,
	   "tokens between two steps");
	ok(memory_tokens(&m, 0, 7, 11, 29, &tokens, &all) == false, "no window between them");
	ok(memory_tokens(&m, 0, 8, 0, 60, &tokens, &all) == false, "no such expert");

	memory_place(&m, (const struct memory_phase[]){{0, 25, "a"}, {25, LONG_MAX, "b"}}, 2);
	ok(m.window[1].phase == 0 && m.window[2].phase == -1 && m.window[3].phase == 1,
	   "a window that holds a shift is in no phase");
	memory_free(&m);
}

static void
domains(void)
{
	struct memory m;
	struct memory_phase *p;
	int n;

	if (!ok(memory_read(&m, temp_text("c.csv", "domain,step,layer,expert,tokens\n"
						   "a,110,0,0,1\na,120,0,0,1\nb,130,0,0,1\n"
						   "a,140,0,0,1\n")) == 0,
		"a census with domains"))
		return;
	p = memory_phases(&m, &n);
	is_long(n, 3, "phases by its domains");
	ok(p[0].from == 100 && p[0].to == 120, "the first window is as long as the second");
	ok(p[1].from == 120 && p[1].to == 130 && !strcmp(p[1].domain, "b"), "the second phase");
	ok(p[2].to == LONG_MAX && !strcmp(p[2].domain, "a"), "the last has no end");
	free(p);
	memory_free(&m);
}

static void
refused(const char *text, const char *why)
{
	struct memory m;

	if (!ok(memory_read(&m, temp_text("c.csv", text)) < 0 && strstr(err_text(), why),
		"refused: %s", why))
		fprintf(stderr, "# expected \"%s\", found \"%s\"\n", why, err_text());
}

/* A model of two experts in a layer, with or without a ledger. */
static const char *
save(const char *name, const char *ledger, const float *up0, const float *up1, int width,
     const float *gate)
{
	struct ckpt_out *o = ckpt_out_new();
	const uint64_t shape[2] = {(uint64_t)width, 2}, router[2] = {2, 2};
	const char *path = temp(name);

	if (ledger)
		ckpt_out_meta(o, "ledger", ledger);
	ckpt_out_floats(o, "model.layers.0.mlp.experts.0.up_proj.weight", up0, CKPT_F32, 2, shape);
	ckpt_out_floats(o, "model.layers.0.mlp.experts.1.up_proj.weight", up1, CKPT_F32, 2, shape);
	ckpt_out_floats(o, "model.layers.0.mlp.gate.weight", gate, CKPT_F32, 2, router);
	if (ckpt_write(o, path) < 0)
		abort();
	ckpt_out_free(o);
	return path;
}

static struct memory_drift *
drift(const char *a, const char *b, long *n)
{
	struct ckpt *x = ckpt_open(a), *y = ckpt_open(b);
	struct memory_drift *d = memory_drift(x, y, n);

	ckpt_close(x);
	ckpt_close(y);
	return d;
}

static void
drifts(void)
{
	const float e[] = {3, 4, 0, 0}, moved[] = {3, 4, 0, 0.5f}, other[] = {1, 1, 1, 1};
	const float g[] = {1, 0, 0, 2}, turned[] = {0, 2, 1, 1};
	const char *head = "layer,slot,expert,parent,born,hidden\n";
	char *first, *swapped, *born;
	long n;
	struct memory_drift *d;

	if (asprintf(&first, "%s0,0,4,-1,0,2\n0,1,6,-1,0,2\n", head) < 0 ||
	    asprintf(&swapped, "%s0,0,6,-1,0,2\n0,1,4,-1,0,2\n", head) < 0 ||
	    asprintf(&born, "%s0,0,4,-1,0,2\n0,1,8,4,30,2\n", head) < 0)
		abort();

	/* Expert 4 moves to slot 1 and by 0.5 of 5, its router row from (1,0) to (1,1). */
	d = drift(save("a", first, e, other, 2, g), save("b", swapped, other, moved, 2, turned),
		  &n);
	is_long(n, 2, "two experts");
	ok(d[1].expert == 4 && d[1].slot == 1 && d[1].state == MEMORY_KEPT,
	   "an expert is found by id");
	is_real(d[1].drift, 0.1, 1e-12, "its drift");
	is_real(d[1].router, 1, 1e-12, "its router row's");
	is_real(d[0].drift, 0, 0, "one that has not moved");
	free(d);

	d = drift(save("a", NULL, e, other, 2, g), save("b", NULL, moved, other, 2, g), &n);
	ok(n == 2 && d[0].expert == 0 && d[1].expert == 1, "without ledgers by slot");
	is_real(d[0].drift, 0.1, 1e-12, "drift of slot 0");
	free(d);

	d = drift(save("a", first, e, other, 2, g), save("b", born, e, other, 2, g), &n);
	is_long(n, 3, "a birth and a death");
	ok(d[0].expert == 4 && d[0].drift == 0 && d[0].state == MEMORY_KEPT, "one is kept");
	ok(d[1].expert == 8 && d[1].state == MEMORY_BORN && isnan(d[1].drift), "one is born");
	ok(d[2].expert == 6 && d[2].state == MEMORY_GONE && isnan(d[2].drift), "one is gone");
	free(d);

	d = drift(save("a", first, e, other, 2, g), save("b", first, e, other, 1, g), &n);
	ok(d[0].state == MEMORY_RESHAPED && isnan(d[0].drift), "another width");
	free(d);

	d = drift(save("a", "layer,slot\n0,0\n", e, other, 2, g), save("b", first, e, other, 2, g),
		  &n);
	ok(!d && strstr(err_text(), "ledger lacks"), "a ledger without experts is refused");
	d = drift(save("a", "layer,slot,expert\n0,0,4\n0,1,4\n", e, other, 2, g),
		  save("b", first, e, other, 2, g), &n);
	ok(!d && strstr(err_text(), "stands twice"), "an expert in two slots is refused");
	d = drift(save("a", "layer,slot,expert\n0,x,4\n", e, other, 2, g),
		  save("b", first, e, other, 2, g), &n);
	ok(!d && strstr(err_text(), "line 2 of the ledger"),
	   "a line that makes no sense is refused");
	d = drift(save("a", "layer,slot,expert\n0,5,4\n", e, other, 2, g),
		  save("b", "layer,slot,expert\n0,5,4\n", e, other, 2, g), &n);
	ok(!d && strstr(err_text(), "no weights"), "an expert without weights is refused");
	const float bad[] = {3, NAN, 0, 0};
	d = drift(save("a", first, e, other, 2, g), save("b", first, bad, other, 2, g), &n);
	ok(!d && strstr(err_text(), "not finite"), "a weight that is no number is refused");
	free(first);
	free(swapped);
	free(born);
}

int
main(void)
{
	sums();
	domains();
	refused("step,layer,tokens\n1,0,1\n", "no column \"expert\"");
	refused("step,layer,expert,tokens\n", "no rows");
	refused("step,layer,expert,tokens\n2,0,0,1\n1,0,0,1\n", ":3: step 1 after step 2");
	refused("step,layer,expert,tokens\n2,0,0,1\n2,0,0,1\n", "stands there twice");
	refused("step,layer,expert,tokens\n2,0,0,-1\n", "column tokens");
	refused("step,layer,expert,tokens\n2,0,0,nan\n", "column tokens");
	refused("step,layer,expert,tokens,domain\n2,0,0,1,a\n2,0,1,1,b\n", "domain b in a window");
	drifts();
	return done();
}
