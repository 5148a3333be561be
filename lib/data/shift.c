#include "data/shift.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include <limits.h>
#include <stdlib.h>

/* --- plans --- */

enum { MOST = 1 << 20 }; /* phases of a plan */

/* Fisher and Yates's shuffle of 0 .. n-1. */
static void
permute(struct rng *r, int *v, int n)
{
	for (int i = 0; i < n; i++)
		v[i] = i;
	for (int i = n - 1; i > 0; i--) {
		int j = (int)rng_below(r, (uint64_t)i + 1), x = v[i];

		v[i] = v[j];
		v[j] = x;
	}
}

/*
 * Random cycles: each permutation is drawn until it does not begin with the domain before it nor,
 * being the last, end with the one that returns.  With two domains that leaves one permutation,
 * with more at least one: the end of the loop is certain.
 */
static void
draw_cycles(const struct shift_plan *p, int *v)
{
	const int n = p->domains;

	for (int c = 0; c < p->cycles; c++) {
		struct rng r = rng_at(p->seed, RNG_DATA, (uint64_t)c, 0);
		int *cycle = v + (size_t)c * n;

		do
			permute(&r, cycle, n);
		while ((c > 0 && cycle[0] == cycle[-1]) ||
		       (p->back && c == p->cycles - 1 && cycle[n - 1] == v[0]));
	}
}

/* Back and forth over 0 .. n-1: 0 1 2 1 0 1 2 1 0 ... */
static int
zigzag(int i, int n)
{
	i %= 2 * n - 2;
	return i < n ? i : 2 * n - 2 - i;
}

static long
length(const struct shift_plan *p, int domain)
{
	return p->period[p->periods == 1 ? 0 : domain];
}

static int
check(const struct shift_plan *p, int *n)
{
	long visits = p->order == SHIFT_ZIGZAG ? 2L * p->domains - 2 : p->domains;

	if (p->domains < 2)
		return err_set("%d domain makes no shift (expected two or more)", p->domains);
	if (p->periods != 1 && p->periods != p->domains)
		return err_set("%d periods for %d domains (expected one, or one for each)",
			       p->periods, p->domains);
	if (p->cycles < 1 || visits > (MOST - 1) / p->cycles)
		return err_set("%d cycles of %ld phases (expected at most %d phases)", p->cycles,
			       visits, MOST);
	*n = (int)visits * p->cycles + p->back;
	return 0;
}

struct shift_phase *
shift_phases(const struct shift_plan *p, int *n)
{
	struct shift_phase *phase;
	int *drawn = NULL;
	long at = 0;

	if (check(p, n) < 0)
		return NULL;
	phase = mem_zero((size_t)*n, sizeof(*phase));
	if (p->order == SHIFT_RANDOM) {
		drawn = mem_zero((size_t)p->domains * (size_t)p->cycles + 1, sizeof(*drawn));
		draw_cycles(p, drawn);
		drawn[(size_t)p->domains * (size_t)p->cycles] = drawn[0];
	}
	for (int i = 0; i < *n; i++) {
		struct shift_phase *x = &phase[i];

		x->domain = drawn		       ? drawn[i]
			    : p->order == SHIFT_ZIGZAG ? zigzag(i, p->domains)
						       : i % p->domains;
		x->from = at;
		at += length(p, x->domain) + (i == 0 ? p->warmup : 0);
		x->to = at;
	}
	free(drawn);
	return phase;
}

/* --- streams --- */

int
shift_width(const struct schedule *s)
{
	int width = 1;

	for (int i = 0; i < s->n; i++)
		if (s->data[i]->width > width)
			width = s->data[i]->width;
	return width;
}

static unsigned char *
put(unsigned char *p, int32_t token, int width)
{
	for (int i = 0; i < width; i++)
		*p++ = (unsigned char)((uint32_t)token >> (8 * i));
	return p;
}

int
shift_stream(const struct schedule *s, const struct shift_draw *d, long from, long to,
	     struct file *f)
{
	const size_t seq = (size_t)d->seq, tokens = (size_t)d->batch * seq;
	const size_t bytes = (tokens + (size_t)d->batch) * (size_t)shift_width(s);
	int32_t *in = mem_grow(NULL, 2 * tokens, sizeof(*in)), *out = in + tokens;
	unsigned char *buf = mem_grow(NULL, bytes, 1);
	int r = 0;

	for (long step = from; r == 0 && step < to; step++)
		for (int m = 0; r == 0 && m < d->accum; m++) {
			unsigned char *p = buf;

			schedule_batch(s, d->seed, step, m, d->batch, d->seq, in, out);
			for (size_t b = 0; b < (size_t)d->batch; b++) {
				for (size_t i = 0; i < seq; i++)
					p = put(p, in[b * seq + i], shift_width(s));
				p = put(p, out[b * seq + seq - 1], shift_width(s));
			}
			r = file_write(f, buf, bytes);
		}
	free(in);
	free(buf);
	return r;
}
