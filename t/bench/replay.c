/*
 * bench,config,ours,peer,unit,ratio,share_of_peak: a routing trace of ten million accesses, read
 * and replayed together with the limit; the peer is replay.py, an ordered dictionary and a heap in
 * Python, on the first tenth of it, and of the policies that this does not have the bar, all of the
 * accesses in ten seconds.
 */
#include "offload/replay.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/tick.h"
#include "math/kern.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LAYERS = 48, EXPERTS = 128, USED = 8, ACCESSES = 10 * 1000 * 1000, TENTH = 10, SLOTS = 24 };
static const double bar = ACCESSES / 10.;

/* Popular experts, half of a token's kept from the token before. */
static void
draw(struct rng *r, int *used)
{
	bool taken[EXPERTS] = {false};

	for (int k = 0; k < USED; k++) {
		int e = used[k];
		if (!(rng_u32(r) & 1) || taken[e])
			do {
				const double u = rng_uniform(r);
				e = (int)(EXPERTS * u * u);
			} while (taken[e]);
		taken[e] = true;
		used[k] = e;
	}
}

static int
make_trace(const char *name, long accesses)
{
	static int used[LAYERS][USED];
	struct file *f = file_create(name);
	struct rng r = rng_at(1, RNG_TEST, 0, 0);
	long n = 0;

	memset(used, 0, sizeof used);
	if (!f)
		return -1;
	file_print(f, "step,layer,expert\n");
	for (long step = 0; n < accesses; step++)
		for (int l = 0; l < LAYERS && n < accesses; l++) {
			draw(&r, used[l]);
			for (int k = 0; k < USED && n < accesses; k++, n++)
				file_print(f, "%ld,%d,%d\n", step, l, used[l][k]);
		}
	return file_close(f);
}

/* Accesses per second of the peer, 0 where there is no Python. */
static double
peer(const char *name, const char *policy)
{
	char *command = mem_text("python3 t/bench/replay.py %s %d %s 2>/dev/null", name,
				 SLOTS * LAYERS, policy);
	FILE *f = popen(command, "r");
	double rate = 0;

	if (f && fscanf(f, "%lf", &rate) != 1)
		rate = 0;
	if (f)
		pclose(f);
	free(command);
	return rate;
}

static void
report(const char *policy, double ours, double theirs)
{
	printf("replay,%s with its limit from a file,%.3g,", policy, ours);
	if (theirs > 0)
		printf("%.3g,accesses/s,%.3g,\n", theirs, ours / theirs);
	else
		printf(",accesses/s,,\n");
	fflush(stdout);
}

static int
race(const char *big, const char *small)
{
	static const struct {
		const char *name;
		enum evict_policy policy;
	} ours[] = {{"lru", EVICT_LRU},
		    {"lfu", EVICT_LFU},
		    {"decay", EVICT_DECAY},
		    {"learned", EVICT_LEARNED}};

	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		const double from = tick_now();
		struct access_trace *t = access_read(big, 0, 0);
		struct replay_plan plan = {.slots = SLOTS, .global = true, .half_life = 16};
		struct replay_score s;
		if (!t)
			return -1;
		plan.policy = EVICT_MIN;
		replay(t, &plan, &s);
		plan.policy = ours[i].policy;
		replay(t, &plan, &s);
		report(ours[i].name, (double)s.accesses / (tick_now() - from),
		       i < 2 ? peer(small, ours[i].name) : bar);
		access_free(t);
	}
	return 0;
}

int
main(void)
{
	const char *top = getenv("TMPDIR");
	char *name[2];
	int r = 0;

	kern_choose(NULL);
	for (int i = 0; i < 2; i++) {
		name[i] = mem_text("%s/moe-replay-%d-%d.csv", top ? top : "/tmp", (int)getpid(), i);
		r |= make_trace(name[i], i ? ACCESSES / TENTH : ACCESSES);
	}
	if (r == 0)
		r = race(name[0], name[1]);
	if (r < 0)
		fprintf(stderr, "replay: %s\n", err_text());
	for (int i = 0; i < 2; i++) {
		unlink(name[i]);
		free(name[i]);
	}
	return r < 0;
}
