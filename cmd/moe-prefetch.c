/* moe-prefetch: experts that do not fit into memory, and what it costs to bring them. */
#include "base/mem.h"
#include "io/table.h"
#include "offload/replay.h"
#include "program.h"
#include <limits.h>
#include <stddef.h>
#include <string.h>

static struct args {
	char *output;
	struct opt_ints slots;
	int policy, scope, layers, experts;
	double half_life;
	bool help, version;
} args = {.output = "-", .half_life = 16};

enum { LAYER, GLOBAL };
#define POLICIES "lru|lfu|decay|learned|min"
#define SCOPES "layer|global"

static const struct opt rows[] = {
	ROW("slots", 0, OPT_INTS, slots, 1, INT_MAX, "N[,N...]", "slots for each layer"),
	ROW("policy", 0, OPT_ENUM, policy, 0, 0, POLICIES, "who gives way to another expert"),
	ROW("scope", 0, OPT_ENUM, scope, 0, 0, SCOPES,
	    "slots kept for each layer, or as many in one pool for all layers"),
	ROW("half-life", 0, OPT_REAL, half_life, 1e-3, 1e9, "STEPS",
	    "of a use, as --policy decay counts it"),
	ROW("layers", 0, OPT_INT, layers, 1, ACCESS_LAYERS, "N",
	    "how many the model has: a trace with another is refused"),
	ROW("experts", 0, OPT_INT, experts, 1, ACCESS_EXPERTS, "N", "of a layer, likewise"),
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
static const struct opt_group groups[] = {
	{"slots", "Replay:"}, {"output", "This program:"}, {NULL, NULL}};
static struct opt_table table = {
	.program = "moe-prefetch",
	.synopsis = "moe-prefetch replay --slots N[,N...] [options] TRACE...\n",
	.group = groups,
	.row = rows,
	.n = sizeof rows / sizeof *rows,
	.values = &args,
};

/* --- replay --- */

static const char replay_columns[] =
	"policy,predictor,scope,slots,accesses,hits,hit_rate,min_hit_rate,loads,wasted,bytes,trace";

static double
share(long part, long whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static const char *
policy_name(int i)
{
	static const char *const name[] = {"lru", "lfu", "decay", "learned", "min"};

	return name[i];
}

static int
write_score(struct row *w, const char *trace, const struct replay_plan *p,
	    const struct replay_score *s, const struct replay_score *limit)
{
	row_text(w, policy_name(p->policy));
	row_text(w, "none");
	row_text(w, p->global ? "global" : "layer");
	row_long(w, p->slots);
	row_long(w, s->accesses);
	row_long(w, s->hits);
	row_real(w, share(s->hits, s->accesses));
	row_real(w, share(limit->hits, limit->accesses));
	row_long(w, s->loads);
	row_long(w, 0);
	if (s->bytes > 0)
		row_real(w, s->bytes);
	else
		row_skip(w);
	row_text(w, trace);
	return row_end(w);
}

static int
replay_trace(struct row *w, const char *file)
{
	struct access_trace *t = access_read(file, args.layers, args.experts);
	int r = t ? 0 : -1;

	for (int i = 0; !r && i < args.slots.n; i++) {
		struct replay_plan plan = {.policy = (enum evict_policy)args.policy,
					   .slots = args.slots.v[i],
					   .global = args.scope == GLOBAL,
					   .half_life = args.half_life};
		struct replay_plan min = plan;
		struct replay_score score, limit;
		min.policy = EVICT_MIN;
		replay(t, &min, &limit);
		replay(t, &plan, &score);
		r = write_score(w, file, &plan, &score, &limit);
	}
	access_free(t);
	return r;
}

static int
replay_traces(char **v, int n)
{
	struct row w = {0};
	int r = 0;

	if (!args.slots.n)
		return usage("replay: no --slots (expected how many experts of a layer are kept)");
	if (!(w.f = file_create(args.output)) || row_header(&w, replay_columns) < 0)
		r = -1;
	for (int i = 0; !r && i < n; i++)
		r = replay_trace(&w, v[i]);
	if (file_close(w.f) < 0)
		r = -1;
	return r;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"replay", 1, INT_MAX, "TRACE...", " output slots policy scope half-life layers experts ",
	 replay_traces, 0},
};

static int
run(const struct opt_many *words)
{
	return verb_run(verbs, sizeof verbs / sizeof *verbs, &table, words, NULL);
}

int
main(int argc, char **argv)
{
	return program(&table, &args.help, &args.version, argc, argv, run);
}
