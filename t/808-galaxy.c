/* Communities, silhouettes and maps beside what they are by definition. */
#include "base/mem.h"
#include "base/rng.h"
#include "knn/galaxy.h"
#include "tap.h"

enum { N = 60, D = 6 };

static struct rng draw;

/* Cliques in a ring, each with one edge to the next: Q = inner edges / edges - 1 / cliques. */
static void
communities(void)
{
	enum { CLIQUES = 8, SIZE = 5, ALL = CLIQUES * SIZE, INNER = SIZE * (SIZE - 1) / 2 };
	static double w[ALL * ALL];
	int of[ALL], other[ALL], apart = 0;

	/* Member m of clique c is node m * CLIQUES + c. */
	for (int i = 0; i < ALL; i++)
		for (int j = 0; j < ALL; j++)
			w[i * ALL + j] = i != j && i % CLIQUES == j % CLIQUES;
	for (int c = 0; c < CLIQUES; c++) {
		const int i = c, j = CLIQUES + (c + 1) % CLIQUES;
		w[i * ALL + j] = w[j * ALL + i] = 1;
	}
	is_long(galaxy_communities(ALL, w, of), CLIQUES, "a ring of cliques: as many communities");
	for (int i = 0; i < ALL; i++)
		apart += of[i] != i % CLIQUES;
	is_long(apart, 0, "each clique is one, numbered by its lowest member");
	is_real(galaxy_modularity(ALL, w, of), (double)INNER / (INNER + 1) - 1.0 / CLIQUES, 1e-12,
		"their modularity");
	memset(other, 0, sizeof other);
	is_real(galaxy_modularity(ALL, w, other), 0, 1e-12, "one community of all has none");
	for (int i = 0; i < ALL * ALL; i += ALL + 1)
		w[i] = 1000;
	galaxy_communities(ALL, w, other);
	is_bytes(other, of, sizeof of, "what a node has with itself does not count");
}

/* A weight moved from one edge to another joins a node to its new friends. */
static void
weights(void)
{
	double w[25] = {0};
	int of[5];

	for (int i = 0; i < 4; i++)
		w[i * 5 + (i ^ 1)] = 10;
	w[4 * 5 + 0] = w[0 * 5 + 4] = 1;
	w[4 * 5 + 2] = w[2 * 5 + 4] = 2;
	galaxy_communities(5, w, of);
	ok(of[4] == of[2] && of[4] != of[0], "a node goes where its weights draw it");
}

/* Two pairs: Q = 1 - 2 (1/2)^2 by hand. */
static void
by_hand(void)
{
	const double w[16] = {0, 3, 0, 0, 3, 0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0}, none[16] = {0};
	int of[4];

	is_long(galaxy_communities(4, w, of), 2, "two pairs are two communities");
	ok(of[0] == 0 && of[1] == 0 && of[2] == 1 && of[3] == 1, "each its own");
	is_real(galaxy_modularity(4, w, of), 0.5, 1e-15, "of modularity one half");
	is_long(galaxy_communities(4, none, of), 4, "without edges everyone is alone");
	is_real(galaxy_modularity(4, none, of), 0, 0, "and nothing is modular");
}

static void
silhouettes(void)
{
	const float key[] = {0, 1, 10, 12, 50};
	const int of[] = {0, 0, 1, 1, 2}, one[] = {0, 0, 0, 0, 0};
	double s[5];
	const double want[] = {(11 - 1.0) / 11, (10 - 1.0) / 10, (9.5 - 2) / 9.5, (11.5 - 2) / 11.5,
			       0};
	double mean = 0;

	for (int i = 0; i < 5; i++)
		mean += want[i] / 5;
	is_real(galaxy_silhouette(5, 1, key, of, s), mean, 1e-12, "the mean silhouette by hand");
	for (int i = 0; i < 5; i++)
		is_real(s[i], want[i], 1e-12, "that of key %d", i);
	is_real(galaxy_silhouette(5, 1, key, one, s), 0, 0, "one community has none");
}

static float key[N * D];

/* Three groups far apart along the diagonal, in no order. */
static void
make_groups(void)
{
	for (int i = 0; i < N; i++)
		for (int j = 0; j < D; j++)
			key[i * D + j] =
				(float)((i % 3 == j % 3 ? 8 : 0) + 0.3 * rng_normal(&draw));
}

/* The share of keys whose nearest neighbour on the map is of their group. */
static double
kept(const double *map)
{
	int right = 0;
	for (int i = 0; i < N; i++) {
		int best = -1;
		double least = INFINITY;
		for (int j = 0; j < N; j++) {
			const double dx = map[2 * i] - map[2 * j];
			const double dy = map[2 * i + 1] - map[2 * j + 1];
			if (j != i && dx * dx + dy * dy < least) {
				least = dx * dx + dy * dy;
				best = j;
			}
		}
		right += best % 3 == i % 3;
	}
	return (double)right / N;
}

static void
maps(void)
{
	double map[2 * N], again[2 * N], share, axis[8], v[2] = {0};
	const float cross[] = {-3, 0, 3, 0, 0, 1, 0, -1};

	galaxy_pca(4, 2, cross, axis, &share);
	is_real(share, 1, 1e-12, "two directions hold all of the variance of a plane");
	ok(fabs(axis[2] - 3) < 1e-9 && fabs(axis[3]) < 1e-9 && fabs(axis[5] - 1) < 1e-9,
	   "the longer axis comes first");
	make_groups();
	galaxy_pca(N, D, key, map, &share);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			v[k] += map[2 * i + k] * map[2 * i + k];
	ok(v[0] >= v[1] && share > 0.95 && share < 1, "components of falling variance: %.4f of it",
	   share);
	is_real(kept(map), 1, 0, "PCA keeps the groups together");
	galaxy_tsne(N, D, key, 10, 500, map);
	is_real(kept(map), 1, 0, "so does t-SNE");
	galaxy_tsne(N, D, key, 10, 500, again);
	is_bytes(again, map, sizeof map, "the same map each time");
	for (int i = 0; i < N * D; i++)
		key[i] = 1;
	galaxy_tsne(N, D, key, 30, 50, map);
	ok(isfinite(map[0]) && isfinite(map[2 * N - 1]), "keys that are all equal have a map");
	galaxy_tsne(1, D, key, 30, 50, map);
	ok(isfinite(map[0]), "and one key has");
}

int
main(void)
{
	draw = rng_at(1, RNG_TEST, 808, 0);
	communities();
	weights();
	by_hand();
	silhouettes();
	maps();
	return done();
}
