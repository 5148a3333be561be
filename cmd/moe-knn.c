/* moe-knn: the keys nearest to a query, exactly; and while they move. */
#include "base/mem.h"
#include "base/task.h"
#include "base/tick.h"
#include "io/table.h"
#include "knn/drift.h"
#include "knn/exact.h"
#include "knn/galaxy.h"
#include "knn/stir.h"
#include "knn/vectors.h"
#include "math/kern.h"
#include "policy/tally.h"
#include "pool/gravity.h"
#include "program.h"
#include "train/walk.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

static struct args {
	struct gravity gravity;
	char *output, *kernels, *index, *timing, *census, *trace, *svg, *stats, *bpe;
	long batch;
	double perplexity;
	int layer, map, seq, shuffles;
	int k, filter, workers, clusters, steps, queries, moved, check, turn;
	double recall, distance, noise;
	long seed;
	bool cosine, verbose, help, version;
} args = {.output = "-",
	  .k = 8,
	  .steps = 10,
	  .queries = 512,
	  .moved = -1,
	  .check = 256,
	  .turn = 256,
	  .distance = 0.05,
	  .noise = 0.05,
	  .recall = -1,
	  .batch = 256,
	  .perplexity = 30,
	  .shuffles = 10,
	  .seed = 1};

static const struct opt own[] = {
	ROW("neighbours", 'k', OPT_INT, k, 1, 1 << 24, "K", "how many keys of each query"),
	ROW("cosine", 0, OPT_FLAG, cosine, 0, 1, NULL, "scale keys and queries to length 1 first"),
	ROW("filter", 0, OPT_ENUM, filter, 0, 0, "auto|float|bytes",
	    "search: what tells which scores to compute; changes no result"),
	ROW("approximate", 0, OPT_REAL, recall, 0, 1, "SHARE",
	    "look only as far as finds this share of the K best of a sample"),
	ROW("index", 0, OPT_TEXT, index, 0, 0, "FILE", "search: the index that build wrote"),
	ROW("clusters", 0, OPT_INT, clusters, 1, 1 << 24, "N",
	    "build, drift: clusters of the index; else the root of the number of keys"),
	ROW("steps", 0, OPT_INT, steps, 1, 1 << 24, "N", "drift: how often keys move"),
	ROW("queries", 0, OPT_INT, queries, 1, 1 << 24, "N", "drift: queries of a step"),
	ROW("moved", 0, OPT_INT, moved, 0, 1 << 30, "N",
	    "drift: keys moved in a step; else one in 32"),
	ROW("distance", 0, OPT_REAL, distance, 0, 1e6, "D", "drift: how far a key moves"),
	ROW("noise", 0, OPT_REAL, noise, 0, 1e6, "SD",
	    "drift: a query is a key and this in each component"),
	ROW("check", 0, OPT_INT, check, 1, 1 << 24, "N",
	    "drift: queries of a step that are put to all keys for comparison"),
	ROW("upkeep", 0, OPT_INT, turn, 1, 1 << 24, "N",
	    "drift: in how many steps all clusters are made anew"),
	ROW("batch", 0, OPT_LONG, batch, 1, 1 << 24, "N", "gravity: queries of a step"),
	ROW("census", 0, OPT_TEXT, census, 0, 0, "FILE", "gravity: CSV of each step"),
	ROW("trace", 0, OPT_TEXT, trace, 0, 0, "FILE", "gravity: CSV of the choices"),
	ROW("layer", 0, OPT_INT, layer, 0, 1 << 12, "L", "galaxy: of the trace"),
	ROW("svg", 0, OPT_TEXT, svg, 0, 0, "FILE", "galaxy: draw the map"),
	ROW("map", 0, OPT_ENUM, map, 0, 0, "tsne|pca", "galaxy: the map that is drawn"),
	ROW("perplexity", 0, OPT_REAL, perplexity, 1, 1e6, "N",
	    "galaxy: neighbours that t-SNE minds"),
	ROW("bpe", 0, OPT_TEXT, bpe, 0, 0, "TABLE",
	    "trace: tokens of a table of moe-data bpe; else bytes"),
	ROW("seq", 0, OPT_INT, seq, 1, 1 << 16, "N", "trace: tokens of a window; else the model's"),
	ROW("shuffles", 0, OPT_INT, shuffles, 1, 1000, "N",
	    "trace: permutations that tell what is due to chance"),
	ROW("stats", 0, OPT_TEXT, stats, 0, 0, "FILE",
	    "galaxy, trace: CSV of the figures of the whole, of each layer"),
	ROW("seed", 0, OPT_LONG, seed, 0, 0x1p53, "N", "of the index and of what is drawn"),
	ROW("timing", 0, OPT_TEXT, timing, 0, 0, "FILE", "drift: CSV of what each step took"),
	ROW("jobs", 'j', OPT_INT, workers, 1, 256, "N", "workers; else one per processor"),
	ROW("kernels", 0, OPT_TEXT, kernels, 0, 0, "avx512|avx2|portable",
	    "instructions to use; else the best"),
	ROW("output", 'o', OPT_TEXT, output, 0, 0, "FILE", "write here; .gz is compressed"),
	ROW("verbose", 'v', OPT_FLAG, verbose, 0, 1, NULL, "say how long it took"),
	ROW("help", 'h', OPT_FLAG, help, 0, 1, NULL, "print this"),
	ROW("version", 'V', OPT_FLAG, version, 0, 1, NULL, "print the version"),
};
enum { OWN = sizeof own / sizeof *own };
static struct opt rows[GRAVITY_ROWS + OWN];

static const struct opt_group groups[] = {
	{"alpha", "Gravity:"},
	{"neighbours", "Everything else:"},
	{NULL, NULL},
};
static struct opt_table table = {
	.program = "moe-knn",
	.synopsis = "moe-knn search [-k K] [--cosine] [options] KEYS QUERIES\n"
		    "moe-knn build [--cosine] [--clusters N] -o INDEX KEYS\n"
		    "moe-knn drift [-k K] [--approximate SHARE] [options] KEYS...\n"
		    "moe-knn gravity [-k K] [options] -o MOVED KEYS [QUERIES]\n"
		    "moe-knn galaxy [--layer L] [--svg FILE] [options] KEYS TRACE\n"
		    "moe-knn trace [--bpe TABLE] [--stats FILE] [options] CKPT [TEXT]\n",
	.group = groups,
	.row = rows,
	.n = GRAVITY_ROWS + OWN,
	.values = &args,
};

static int
read_keys(struct vectors *v, const char *name)
{
	if (vectors_read(v, name) < 0)
		return -1;
	return args.cosine ? vectors_normalize(v) : 0;
}

/* --- search --- */

static int
write_found(const int *id, const float *score, long queries, int k)
{
	struct row w = {.f = file_replace(args.output)};

	if (!w.f)
		return -1;
	row_header(&w, "query,rank,id,score");
	for (long i = 0; i < queries * k && !w.failed; i++) {
		row_long(&w, i / k);
		row_long(&w, i % k);
		row_long(&w, id[i]);
		row_real(&w, (double)score[i]);
		row_end(&w);
	}
	return file_end(w.f, w.failed);
}

/* The answer of exact search. */
static void
find(const struct vectors *keys, const struct vectors *queries, int *id, float *score)
{
	const double begun = tick_now();
	struct exact *x =
		exact_new(keys->v, keys->n, keys->d, (enum exact_filter)args.filter, queries->n);
	const double ready = tick_now();

	exact_search(x, queries->v, queries->n, args.k, id, score);
	if (args.verbose) {
		const double t = tick_now() - ready;
		say("%s kernels, filter by %s: keys made ready in %.3f s, searched in %.3f s, "
		    "%.0f queries/s, %.1f GF/s",
		    kern->name, exact_uses_bytes(x) ? "bytes" : "float32", ready - begun, t,
		    (double)queries->n / t,
		    2e-9 * (double)queries->n * (double)keys->n * (double)keys->d / t);
	}
	exact_free(x);
}

/* How far to look: all the way, or as a sample of these queries finds enough. */
static double
reach_for(struct drift *x, const float *queries, long n)
{
	if (args.recall < 0)
		return 1;
	return drift_tune(x, queries, n < args.check ? n : args.check, args.k, args.recall);
}

/* The answer through an index. */
static int
find_by_index(const struct vectors *keys, const struct vectors *queries, int *id, float *score)
{
	struct drift_work work = {0};
	struct drift *x = args.index ? drift_read(args.index, keys->v, keys->n, keys->d)
				     : drift_new(keys->v, keys->n, keys->d, args.clusters,
						 (uint64_t)args.seed);

	if (!x)
		return -1;
	const double reach = reach_for(x, queries->v, queries->n), begun = tick_now();
	drift_search(x, queries->v, queries->n, args.k, reach, id, score, &work);
	if (args.verbose)
		say("%s kernels, %ld clusters, reach %.3f%s: searched in %.3f s, scored %.4f of "
		    "the keys, %ld queries put to all keys",
		    kern->name, drift_clusters(x), reach, reach == 1 ? " (exact)" : "",
		    tick_now() - begun, work.scored / work.considered, work.swept);
	drift_free(x);
	return 0;
}

static int
fits(const struct vectors *keys, const struct vectors *queries)
{
	if (keys->d != queries->d)
		return err_set("%s: %ld components (expected %ld, as in %s)", queries->name,
			       queries->d, keys->d, keys->name);
	if (args.k > keys->n)
		return err_set("%s: %ld keys (expected at least -k %d)", keys->name, keys->n,
			       args.k);
	return 0;
}

static int
search(char **v, int n)
{
	struct vectors keys = {0}, queries = {0};
	float *score = NULL;
	int *id = NULL, r = -1;

	(void)n;
	if (read_keys(&keys, v[0]) == 0 && read_keys(&queries, v[1]) == 0)
		r = fits(&keys, &queries);
	if (r == 0) {
		id = mem_zero((size_t)queries.n * (size_t)args.k, sizeof *id);
		score = mem_zero((size_t)queries.n * (size_t)args.k, sizeof *score);
		if (args.index || args.recall >= 0)
			r = find_by_index(&keys, &queries, id, score);
		else
			find(&keys, &queries, id, score);
	}
	if (r == 0)
		r = write_found(id, score, queries.n, args.k);
	free(id);
	free(score);
	vectors_free(&keys);
	vectors_free(&queries);
	return r;
}

/* --- build --- */

static int
build(char **v, int n)
{
	struct vectors keys = {0};
	const double begun = tick_now();
	int r;

	(void)n;
	if (read_keys(&keys, v[0]) < 0)
		return -1;
	struct drift *x = drift_new(keys.v, keys.n, keys.d, args.clusters, (uint64_t)args.seed);
	r = drift_write(x, args.output);
	if (args.verbose)
		say("%ld keys in %ld clusters in %.3f s", keys.n, drift_clusters(x),
		    tick_now() - begun);
	drift_free(x);
	vectors_free(&keys);
	return r;
}

/* --- drift --- */

/* A stream of moving keys: what one step needs. */
struct stream {
	struct drift *x;
	struct stir keys;
	double reach;
	float *query; /* [args.queries][d] */
	int *moved;   /* [n] */
	float *to;    /* [n][d] */
	int *id, *exact;
	float *score;
	struct row out, timing;
};

/* As the next file of a recorded stream has them, or drawn; how many, or -1. */
static long
move_keys(struct stream *s, long step, const char *file)
{
	const long want = args.moved < 0 ? (s->keys.n + 31) / 32 : args.moved;
	struct vectors v;
	long m;

	if (!file)
		return stir_moves(&s->keys, step, want, args.distance, s->moved, s->to);
	if (read_keys(&v, file) < 0)
		return -1;
	m = stir_changes(&s->keys, &v, s->moved, s->to);
	vectors_free(&v);
	return m;
}

/* Search, compare, move, keep up. file: where the keys go next, NULL: drawn. */
static int
drift_step(struct stream *s, long step, const char *file)
{
	const int check = args.check < args.queries ? args.check : args.queries;
	struct drift_work work = {0};
	double t[5], recall;
	long m;

	stir_queries(&s->keys, step, args.noise, args.queries, s->query);
	if (step == 0)
		s->reach = reach_for(s->x, s->query, args.queries);
	t[0] = tick_now();
	drift_search(s->x, s->query, args.queries, args.k, s->reach, s->id, s->score, &work);
	t[1] = tick_now();
	drift_sweep(s->x, s->query, check, args.k, s->exact, s->score);
	t[2] = tick_now();
	recall = drift_recall(s->id, s->exact, check, args.k);
	if ((m = move_keys(s, step, file)) < 0)
		return -1;
	t[3] = tick_now();
	drift_move(s->x, s->moved, m, s->to);
	t[4] = tick_now();
	drift_upkeep(s->x, args.turn);

	row_long(&s->out, step);
	row_long(&s->out, args.queries);
	row_long(&s->out, m);
	row_real(&s->out, s->reach);
	row_real(&s->out, recall);
	if (recall < args.recall && s->reach < 1)
		s->reach += 1 / 64.0;
	if (row_end(&s->out) < 0)
		return -1;
	if (!s->timing.f)
		return 0;
	row_long(&s->timing, step);
	row_real(&s->timing, t[1] - t[0]);
	row_real(&s->timing, t[4] - t[3]);
	row_real(&s->timing, tick_now() - t[4]);
	row_real(&s->timing, (t[2] - t[1]) * args.queries / check);
	row_real(&s->timing, work.scored / work.considered);
	row_long(&s->timing, work.swept);
	return row_end(&s->timing);
}

static int
drift_steps(struct stream *s, char **file, int files)
{
	const long steps = files ? files : args.steps;

	row_header(&s->out, "step,queries,moved,reach,recall");
	if (s->timing.f)
		row_header(&s->timing,
			   "step,search_s,move_s,upkeep_s,sweep_s,scored,queries_swept");
	for (long step = 0; step < steps; step++)
		if (drift_step(s, step, files ? file[step] : NULL) < 0)
			return -1;
	return 0;
}

static int
drift(char **v, int n)
{
	struct vectors keys = {0};
	struct stream s = {0};
	int r = -1;

	if (read_keys(&keys, v[0]) < 0 || fits(&keys, &keys) < 0)
		goto end;
	if (args.moved > keys.n) {
		err_set("%s: %ld keys (expected at least --moved %d)", keys.name, keys.n,
			args.moved);
		goto end;
	}
	s.x = drift_new(keys.v, keys.n, keys.d, args.clusters, (uint64_t)args.seed);
	s.keys = (struct stir){s.x, keys.n, keys.d, (uint64_t)args.seed};
	s.query = mem_zero((size_t)args.queries * (size_t)keys.d, sizeof *s.query);
	s.moved = mem_zero((size_t)keys.n, sizeof *s.moved);
	s.to = mem_grow(NULL, (size_t)keys.n * (size_t)keys.d, sizeof *s.to);
	s.id = mem_zero((size_t)args.queries * (size_t)args.k, sizeof *s.id);
	s.exact = mem_zero((size_t)args.queries * (size_t)args.k, sizeof *s.exact);
	s.score = mem_zero((size_t)args.queries * (size_t)args.k, sizeof *s.score);
	if ((s.out.f = file_replace(args.output)) &&
	    (!args.timing || (s.timing.f = file_replace(args.timing))))
		r = drift_steps(&s, v + 1, n - 1);
	r = file_end(s.out.f, r) | file_end(s.timing.f, r);
end:
	drift_free(s.x);
	free(s.query);
	free(s.moved);
	free(s.to);
	free(s.id);
	free(s.exact);
	free(s.score);
	vectors_free(&keys);
	return r;
}

/* --- gravity --- */

struct field {
	struct gravity_keys keys;
	int *choice; /* [args.batch][args.k] */
	float *score;
	double *load; /* [n] */
	struct row census, trace;
};

/* Tokens are numbered as queries; their weights are the softmax of their scores. */
static int
trace_choices(struct field *f, long step, long first, long n)
{
	for (long t = 0; t < n; t++) {
		const float *s = f->score + t * args.k;
		double sum = 0;
		for (int r = 0; r < args.k; r++)
			sum += exp((double)s[r] - (double)s[0]);
		for (int r = 0; r < args.k; r++) {
			row_long(&f->trace, step);
			row_long(&f->trace, 0);
			row_long(&f->trace, t);
			row_long(&f->trace, first + t);
			row_long(&f->trace, 0);
			row_long(&f->trace, r);
			row_long(&f->trace, f->choice[t * args.k + r]);
			row_real(&f->trace, exp((double)s[r] - (double)s[0]) / sum);
			if (row_end(&f->trace) < 0)
				return -1;
		}
	}
	return 0;
}

static int
census_step(struct field *f, long step, long tokens, const struct gravity_done *done)
{
	memset(f->load, 0, (size_t)f->keys.n * sizeof *f->load);
	for (long i = 0; i < tokens * args.k; i++)
		f->load[f->choice[i]]++;
	const struct ecology_load l = ecology_load((int)f->keys.n, f->load);
	row_long(&f->census, step);
	row_long(&f->census, tokens);
	row_real(&f->census, l.gini);
	row_real(&f->census, l.entropy);
	row_real(&f->census, l.dead);
	row_long(&f->census, done->clamped);
	row_long(&f->census, done->forgotten);
	row_long(&f->census, done->reborn);
	row_real(&f->census, done->farthest);
	return row_end(&f->census);
}

/* Each batch is routed by the keys as they are, then moves them. */
static int
gravitate(struct field *f, const struct vectors *q)
{
	struct gravity_done done;

	if (f->census.f)
		row_header(&f->census, "step,tokens,gini,entropy,dead,clamped,forgotten,reborn,"
				       "farthest");
	if (f->trace.f)
		row_header(&f->trace, "step,seq,pos,token,layer,rank,expert,weight");
	for (long first = 0, step = 1; first < q->n; first += args.batch, step++) {
		const long n = q->n - first < args.batch ? q->n - first : args.batch;
		const struct gravity_batch b = {.tokens = n,
						.k = args.k,
						.query = q->v + first * q->d,
						.choice = f->choice};
		struct exact *x = exact_new(f->keys.key, f->keys.n, f->keys.d, EXACT_AUTO, n);
		exact_search(x, b.query, n, args.k, f->choice, f->score);
		exact_free(x);
		gravity_step(&args.gravity, &f->keys, &b, step, (uint64_t)args.seed, 0, &done);
		if ((f->census.f && census_step(f, step, n, &done) < 0) ||
		    (f->trace.f && trace_choices(f, step, first, n) < 0))
			return -1;
	}
	return 0;
}

static int
write_keys(const struct gravity_keys *k)
{
	struct file *f = file_replace(args.output);
	const int r = f ? npy_write(f, k->key, k->n, k->d) : -1;

	return file_end(f, r);
}

static int
gravity(char **v, int n)
{
	struct vectors keys = {0}, queries = {0};
	struct field f = {0};
	int r = -1;

	if (read_keys(&keys, v[0]) < 0 || vectors_read(&queries, n > 1 ? v[1] : "-") < 0 ||
	    vectors_normalize(&queries) < 0 || fits(&keys, &queries) < 0)
		goto end;
	f.keys = (struct gravity_keys){
		.n = keys.n,
		.d = keys.d,
		.key = mem_grow(NULL, (size_t)keys.n * (size_t)keys.d, sizeof(float)),
		.usage = mem_zero((size_t)keys.n, sizeof(float)),
		.born = mem_zero((size_t)keys.n, sizeof(int64_t))};
	memcpy(f.keys.key, keys.v, (size_t)keys.n * (size_t)keys.d * sizeof(float));
	f.choice = mem_zero((size_t)args.batch * (size_t)args.k, sizeof *f.choice);
	f.score = mem_zero((size_t)args.batch * (size_t)args.k, sizeof *f.score);
	f.load = mem_zero((size_t)keys.n, sizeof *f.load);
	if ((!args.census || (f.census.f = file_replace(args.census))) &&
	    (!args.trace || (f.trace.f = file_replace(args.trace))))
		r = gravitate(&f, &queries);
	r = file_end(f.census.f, r) | file_end(f.trace.f, r);
	if (r == 0)
		r = write_keys(&f.keys);
end:
	free(f.keys.key);
	free(f.keys.usage);
	free(f.keys.born);
	free(f.choice);
	free(f.score);
	free(f.load);
	vectors_free(&keys);
	vectors_free(&queries);
	return r;
}

/* --- galaxy --- */

struct sky {
	int n;
	int *community; /* [n] */
	double *degree, *silhouette, *pca, *tsne;
	int communities;
	double modularity, mean, share;
};

/* Who was chosen with whom in the layer: [n][n], freed by free(); NULL with a message. */
static double *
together(const char *trace, int n)
{
	struct tally t = tally_new(true, 1, 0);
	double *w = NULL;

	if (tally_read(&t, trace, (struct opt_ints){0}, false) < 0)
		goto end;
	if (args.layer >= t.layers || !t.layer[args.layer].tokens) {
		err_set("%s: no layer %d (--layer)", trace, args.layer);
		goto end;
	}
	const struct tally_layer *l = &t.layer[args.layer];
	if (!l->pair || l->experts > n) {
		err_set("%s: %d experts in layer %d (expected at most %d)", trace, l->experts,
			args.layer, n < TALLY_PAIRS ? n : TALLY_PAIRS);
		goto end;
	}
	w = mem_zero((size_t)n * (size_t)n, sizeof *w);
	for (int i = 0; i < l->experts; i++)
		for (int j = i + 1; j < l->experts; j++)
			w[i * n + j] = w[j * n + i] = (double)l->pair[(long)i * l->room + j];
end:
	tally_free(&t);
	return w;
}

static struct sky
survey(const struct vectors *keys, const double *w)
{
	const size_t n = (size_t)keys->n;
	struct sky s = {.n = (int)keys->n,
			.community = mem_zero(n, sizeof *s.community),
			.degree = mem_zero(n, sizeof *s.degree),
			.silhouette = mem_zero(n, sizeof *s.silhouette),
			.pca = mem_zero(n, 2 * sizeof *s.pca),
			.tsne = mem_zero(n, 2 * sizeof *s.tsne)};

	s.communities = galaxy_communities(s.n, w, s.community);
	s.modularity = galaxy_modularity(s.n, w, s.community);
	s.mean = galaxy_silhouette(s.n, keys->d, keys->v, s.community, s.silhouette);
	galaxy_pca(s.n, keys->d, keys->v, s.pca, &s.share);
	galaxy_tsne(s.n, keys->d, keys->v, args.perplexity, 500, s.tsne);
	for (long i = 0; i < keys->n * keys->n; i++)
		s.degree[i / keys->n] += w[i];
	return s;
}

static int
write_sky(const struct sky *s)
{
	struct row w = {.f = file_replace(args.output)};

	if (!w.f)
		return -1;
	row_header(&w, "expert,community,degree,silhouette,pca_x,pca_y,tsne_x,tsne_y");
	for (int i = 0; i < s->n && !w.failed; i++) {
		row_long(&w, i);
		row_long(&w, s->community[i]);
		row_real(&w, s->degree[i]);
		row_real(&w, s->silhouette[i]);
		row_real(&w, s->pca[2 * i]);
		row_real(&w, s->pca[2 * i + 1]);
		row_real(&w, s->tsne[2 * i]);
		row_real(&w, s->tsne[2 * i + 1]);
		row_end(&w);
	}
	return file_end(w.f, w.failed);
}

static int
write_figures(const struct sky *s)
{
	const struct {
		const char *quantity;
		double value;
	} figure[] = {{"experts", s->n},
		      {"communities", s->communities},
		      {"modularity", s->modularity},
		      {"silhouette", s->mean},
		      {"pca_share", s->share}};
	struct row w = {.f = file_replace(args.stats)};

	if (!w.f)
		return -1;
	row_header(&w, "quantity,value");
	for (size_t i = 0; i < sizeof figure / sizeof *figure; i++) {
		row_text(&w, figure[i].quantity);
		row_real(&w, figure[i].value);
		row_end(&w);
	}
	return file_end(w.f, w.failed);
}

/* A dot for each expert, its size by how often it works with others, its colour its community. */
static int
draw_sky(const struct sky *s)
{
	enum { WIDTH = 640, EDGE = 40 };
	const double *at = args.map ? s->pca : s->tsne;
	double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY}, most = 0;
	struct file *f = file_replace(args.svg);

	if (!f)
		return -1;
	for (int i = 0; i < 2 * s->n; i++) {
		low[i % 2] = fmin(low[i % 2], at[i]);
		high[i % 2] = fmax(high[i % 2], at[i]);
		most = fmax(most, s->degree[i / 2]);
	}
	const double span = fmax(fmax(high[0] - low[0], high[1] - low[1]), 1e-300);
	file_print(f,
		   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
		   "font-family=\"sans-serif\" font-size=\"12\">\n"
		   "<title>Keys of %d experts by %s, coloured by community</title>\n"
		   "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		   "<text x=\"12\" y=\"20\">%d experts, %d communities: modularity %.3f, "
		   "silhouette %.3f (%s)</text>\n",
		   WIDTH, WIDTH, s->n, args.map ? "PCA" : "t-SNE", s->n, s->communities,
		   s->modularity, s->mean, args.map ? "PCA" : "t-SNE");
	for (int i = 0; i < s->n; i++) {
		const double scale = (WIDTH - 2 * EDGE) / span;
		/* Hues a golden angle apart; whoever works with nobody is grey. */
		file_print(
			f,
			"<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"hsl(%.0f,%d%%,45%%)\" "
			"fill-opacity=\".75\"><title>expert %d, community %d</title></circle>\n",
			EDGE + (at[2 * i] - low[0]) * scale,
			WIDTH - EDGE - (at[2 * i + 1] - low[1]) * scale,
			3 + (most > 0 ? 6 * sqrt(s->degree[i] / most) : 0),
			fmod(s->community[i] * 137.508, 360), s->degree[i] > 0 ? 65 : 0, i,
			s->community[i]);
	}
	file_print(f, "</svg>\n");
	return file_end(f, false);
}

static int
look_at(const struct vectors *keys, const double *w)
{
	struct sky s = survey(keys, w);
	int r = write_sky(&s);

	if (r == 0 && args.stats)
		r = write_figures(&s);
	if (r == 0 && args.svg)
		r = draw_sky(&s);
	free(s.community);
	free(s.degree);
	free(s.silhouette);
	free(s.pca);
	free(s.tsne);
	return r;
}

static int
galaxy(char **v, int n)
{
	struct vectors keys = {0};
	double *w = NULL;
	int r = read_keys(&keys, v[0]);

	(void)n;
	if (r == 0 && keys.n > TALLY_PAIRS)
		r = err_set("%s: %ld keys (expected at most %d)", keys.name, keys.n, TALLY_PAIRS);
	if (r == 0)
		r = (w = together(v[1], (int)keys.n)) ? look_at(&keys, w) : -1;
	free(w);
	vectors_free(&keys);
	return r;
}

/* --- trace --- */

static int
put_step(void *arg, const struct walk_step *x)
{
	struct row *w = arg;

	for (int r = 0; r < x->k; r++) {
		row_long(w, 0);
		row_long(w, x->window);
		row_long(w, x->pos);
		row_long(w, x->token);
		row_long(w, x->layer);
		row_long(w, r);
		row_long(w, x->choice[r]);
		row_real(w, (double)x->gate[r]);
		row_text(w, x->text);
		if (row_end(w) < 0)
			return -1;
	}
	return 0;
}

static int
write_walk(struct walk *w)
{
	struct row out = {.f = file_replace(args.output)};
	int r = -1;

	if (out.f && row_header(&out, "step,seq,pos,token,layer,rank,expert,weight,text") == 0)
		r = walk_run(w, put_step, &out);
	return file_end(out.f, r);
}

static void
put_mutual(struct row *r, struct mutual m)
{
	row_real(r, m.raw - m.chance);
	row_real(r, m.raw);
	row_real(r, m.chance);
}

/* What the first choice of each layer tells of the token, of its form, and of the one before. */
static int
write_layers(const struct walk *w)
{
	struct row r = {.f = file_replace(args.stats)};

	if (!r.f)
		return -1;
	row_header(&r, "layer,tokens,entropy,token,token_raw,token_chance,form,form_raw,"
		       "form_chance,context,context_raw,context_chance");
	for (int l = 0; l < w->model.param->shape.layers && !r.failed; l++) {
		const struct walk_layer x = walk_layer(w, l, args.shuffles, (uint64_t)args.seed);
		row_long(&r, l);
		row_long(&r, w->text.n);
		row_real(&r, x.entropy);
		put_mutual(&r, x.token);
		put_mutual(&r, x.form);
		put_mutual(&r, x.context);
		row_end(&r);
	}
	return file_end(r.f, r.failed);
}

static int
trace(char **v, int n)
{
	const struct prompt_table words = {.bpe = args.bpe};
	struct walk w;
	int r;

	if (walk_open(&w, v[0], &words, n > 1 ? v[1] : "-", args.seq) < 0)
		return -1;
	r = write_walk(&w);
	if (r == 0 && args.stats)
		r = write_layers(&w);
	walk_close(&w);
	return r;
}

/* --- the command line --- */

static const struct verb verbs[] = {
	{"search", 2, 2, "KEYS QUERIES",
	 " neighbours cosine filter approximate index clusters seed check jobs kernels output "
	 "verbose ",
	 search, 0},
	{"build", 1, 1, "KEYS", " cosine clusters seed jobs kernels output verbose ", build, 0},
	{"drift", 1, 1 << 20, "KEYS...",
	 " neighbours cosine approximate clusters steps queries moved distance noise check upkeep "
	 "seed timing jobs kernels output ",
	 drift, 0},
	{"gravity", 1, 2, "KEYS [QUERIES]",
	 " neighbours cosine batch census trace seed jobs kernels output ", gravity, GRAVITY_ROWS},
	{"galaxy", 2, 2, "KEYS TRACE", " cosine layer svg map perplexity stats output ", galaxy, 0},
	{"trace", 1, 2, "CKPT [TEXT]", " bpe seq shuffles stats seed jobs kernels output ", trace,
	 0},
};

static int
check(const struct verb *verb, char **v, int n)
{
	(void)verb, (void)v, (void)n;
	if (kern_choose(args.kernels) != 0)
		return usage("%s", err_text());
	return task_start(args.workers);
}

static int
run(const struct opt_many *words)
{
	return verb_run(verbs, sizeof verbs / sizeof *verbs, &table, words, check);
}

int
main(int argc, char **argv)
{
	gravity_init(&args.gravity);
	gravity_rows(rows, offsetof(struct args, gravity));
	memcpy(rows + GRAVITY_ROWS, own, sizeof own);
	const int status = program(&table, &args.help, &args.version, argc, argv, run);

	task_stop();
	return status;
}
