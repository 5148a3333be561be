/* Plans of domain shifts, and the stream of tokens under a schedule. */
#include "base/err.h"
#include "base/mem.h"
#include "data/shift.h"
#include "tap.h"
#include "temp.h"

/* The domains of a plan as letters. */
static const char *
letters(const struct shift_plan *p)
{
	static char text[256];
	int n;
	struct shift_phase *v = shift_phases(p, &n);

	if (!v)
		return NULL;
	for (int i = 0; i < n; i++)
		text[i] = (char)('A' + v[i].domain);
	text[n] = 0;
	free(v);
	return text;
}

static void
orders(void)
{
	static const int period[] = {1500};
	struct shift_plan p = {
		.domains = 2, .cycles = 1, .back = true, .period = period, .periods = 1};

	is_text(letters(&p), "ABA", "two domains: there and back");
	p.back = false;
	is_text(letters(&p), "AB", "without return");
	p = (struct shift_plan){
		.domains = 3, .cycles = 2, .back = true, .period = period, .periods = 1};
	is_text(letters(&p), "ABCABCA", "three domains, two cycles");
	p.order = SHIFT_ZIGZAG;
	is_text(letters(&p), "ABCBABCBA", "back and forth");
	p.domains = 2;
	is_text(letters(&p), "ABABA", "back and forth between two");
	p.domains = 1;
	ok(!letters(&p) && strstr(err_text(), "two or more"), "one domain is refused");
	p.domains = 3;
	p.periods = 2;
	ok(!letters(&p) && strstr(err_text(), "2 periods for 3"), "two periods for three domains");
	p.periods = 1;
	p.cycles = 1 << 20;
	ok(!letters(&p) && strstr(err_text(), "at most"), "too many phases");
}

static void
random_order(void)
{
	static const int period[] = {10};
	bool repeated = false, uneven = false, closed = true, differ = false;
	char first[256] = "";

	for (uint64_t seed = 1; seed <= 200; seed++) {
		const struct shift_plan p = {.domains = 2 + (int)(seed % 4),
					     .cycles = 5,
					     .order = SHIFT_RANDOM,
					     .back = true,
					     .period = period,
					     .periods = 1,
					     .seed = seed};
		const char *s = letters(&p);
		const int n = (int)strlen(s);

		for (int i = 1; i < n; i++)
			repeated |= s[i] == s[i - 1];
		for (int c = 0; c < 5; c++)
			for (int d = 0; d < p.domains; d++)
				uneven |= !memchr(s + c * p.domains, 'A' + d, (size_t)p.domains);
		closed &= n == 5 * p.domains + 1 && s[n - 1] == s[0];
		if (seed % 4 == 3 && *first)
			differ |= strcmp(first, s) != 0;
		if (seed % 4 == 3)
			snprintf(first, sizeof(first), "%s", s);
	}
	ok(!repeated, "random: no domain follows itself");
	ok(!uneven, "random: each cycle has every domain");
	ok(closed, "random: the first domain returns at the end");
	ok(differ, "random: seeds differ");
}

static void
lengths(void)
{
	static const int each[] = {10, 20, 30};
	const struct shift_plan p = {
		.domains = 3, .cycles = 1, .back = true, .warmup = 5, .period = each, .periods = 3};
	static const long from[] = {0, 15, 35, 65}, to[] = {15, 35, 65, 75};
	int n;
	struct shift_phase *v = shift_phases(&p, &n);

	is_long(n, 4, "four phases");
	for (int i = 0; i < n; i++)
		ok(v[i].from == from[i] && v[i].to == to[i], "phase %d is [%ld, %ld)", i, from[i],
		   to[i]);
	free(v);
}

enum { SEQ = 7, BATCH = 3, ACCUM = 2, STEPS = 6, WINDOW = SEQ + 1 };

/* Each window of the stream is the inputs and the last target that a trainer draws. */
static void
stream(int vocab)
{
	uint32_t tokens[400];
	char *operand[2];
	struct schedule s;
	const struct shift_draw d = {3, ACCUM, BATCH, SEQ};
	const char *out = temp("stream");
	struct file *f;
	unsigned char *p;
	size_t size, at = 0;
	int wrong = 0, width;

	for (int i = 0; i < 400; i++)
		tokens[i] = (uint32_t)(i * 37) % (uint32_t)vocab;
	tokens_pack(temp("a"), vocab, tokens, 400);
	tokens_pack(temp("b"), vocab, tokens + 200, 200);
	operand[0] = mem_text("%s", temp("a"));
	operand[1] = mem_text("%s@4", temp("b"));
	if (schedule_open(&s, operand, 2, 0.25, SEQ) < 0 || !(f = file_create(out)) ||
	    shift_stream(&s, &d, 1, STEPS, f) < 0 || file_close(f) < 0) {
		ok(false, "stream: %s", err_text());
		return;
	}
	p = (unsigned char *)file_slurp(out, &size);
	width = shift_width(&s);
	is_long(width, vocab > 65536 ? 4 : 2, "bytes a token, vocabulary %d", vocab);
	is_long((long)size, (STEPS - 1) * ACCUM * BATCH * WINDOW * width, "bytes of the stream");
	for (long step = 1; step < STEPS; step++)
		for (int m = 0; m < ACCUM; m++) {
			int32_t in[BATCH * SEQ], to[BATCH * SEQ];

			schedule_batch(&s, 3, step, m, BATCH, SEQ, in, to);
			for (int i = 0; i < BATCH * WINDOW; i++, at += (size_t)width) {
				const int row = i / WINDOW, k = i % WINDOW;
				int32_t got = 0;

				for (int b = width - 1; b >= 0; b--)
					got = got << 8 | p[at + (size_t)b];
				wrong += k < SEQ && got != in[row * SEQ + k];
				wrong += k > 0 && got != to[row * SEQ + k - 1];
			}
		}
	is_long(wrong, 0, "each window holds the inputs and targets of its step");
	free(p);
	schedule_close(&s);
	free(operand[0]);
	free(operand[1]);
}

int
main(void)
{
	orders();
	random_order();
	lengths();
	stream(300);
	stream(70000);
	return done();
}
