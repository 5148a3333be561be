#ifndef KNN_GALAXY_H
#define KNN_GALAXY_H

/*
 * What keys look like as a whole: communities of experts that work together, whether those are also
 * neighbours in key space, and maps of it.  All is serial and in float64; the same input gives the
 * same output.
 */

/*
 * Communities of a graph by Louvain's method (Blondel et al., 2008), nodes visited in order, ties
 * to the lowest community: weight[n][n] symmetric, >= 0, its diagonal not counted.  community[n] is
 * numbered from 0 by lowest member; their number is returned.
 */
int galaxy_communities(int n, const double *weight, int *community);

/* Q = sum_c (in_c / 2m - (total_c / 2m)^2), 2m the sum of all weights; 0 for a graph without edges.
 */
double galaxy_modularity(int n, const double *weight, const int *community);

/*
 * Silhouettes by Euclidean distance (Rousseeuw, 1987): (b - a) / max(a, b), a the mean distance to
 * the others of a key's community, b the least mean distance to those of another; 0 for one alone,
 * or where there is but one community.  The mean over all keys is returned.
 */
double galaxy_silhouette(int n, long d, const float *key, const int *community, double *of);

/* Coordinates along the two directions of greatest variance, map[n][2]; of each direction the
 * greatest component is positive. share: of the variance that the two hold, or NULL. */
void galaxy_pca(int n, long d, const float *key, double *map, double *share);

/*
 * t-SNE (van der Maaten and Hinton, 2008), exact, begun from the principal components: map[n][2].
 * perplexity: the number of neighbours that a key minds; at most (n - 1) / 3 is used.
 */
void galaxy_tsne(int n, long d, const float *key, double perplexity, int steps, double *map);

#endif
