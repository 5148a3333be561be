#ifndef VIEW_LIFE_H
#define VIEW_LIFE_H
#include "policy/tally.h"
#include "view/nearby.h"
#include "view/sheet.h"
#include <time.h>

/*
 * What a run tells of its experts: the tables of its directory (see moe-run(5)), its checkpoint and
 * trace, or one CSV of any program, and what follows from them: phases, census steps, experts and
 * their families.
 */
struct life_phase {
	char *domain;	 /* "" if not told */
	double from, to; /* steps (from, to] */
	int color;	 /* the same for the same domain, from 0 */
};

struct life_expert {
	long id, parent;  /* parent -1: none is known */
	int layer, slot;  /* at the last */
	int family;	  /* index of the first ancestor */
	double born, end; /* steps; end is the last one seen of who lives on */
	bool dead;
	const char *cause;  /* of the death, "" if not told */
	const char *origin; /* of the birth: cause and origin as the events tell, "" if not */
	long rows;	    /* of the census */
	double load;	    /* mean of its census rows' demand in fair shares, NAN without */
};

enum { LIFE_LAYERS_MOST = 4096 }; /* what is beyond is no layer */

struct life_option {
	char *name, *value;
};

/* A file of lines "name value". */
struct life_list {
	int n;
	struct life_option *v;
};

/* LIFE_MAP: places of keys in a plane, as moe-knn(1) galaxy writes them. */
enum life_table { LIFE_LOSS, LIFE_EXPERTS, LIFE_EVENTS, LIFE_LAYERS, LIFE_MAP, LIFE_TABLES };

struct life_trace; /* private */

struct life {
	char *name; /* as given, without a slash at its end */
	bool grows; /* the caller says that it is still at work: its trace is not read */
	bool anew;  /* the last life_read found a table cut back or replaced */
	struct sheet sheet[LIFE_TABLES];
	struct life_list recipe, environment; /* in their order */
	struct nearby keys;		      /* of the checkpoint */
	int keys_version;		      /* rises when they are read again */
	struct life_trace *trace;
	struct life_checkpoint { /* private */
		char *path;	 /* NULL: there is none to be */
		uint64_t inode;
		struct timespec made;
		double next; /* not before then, by tick_now */
	} checkpoint;

	/* what follows; pointers hold until the next life_read */
	int phases;
	struct life_phase *phase;
	double last;	   /* the last step of any table */
	int layers;	   /* of any table: less than LIFE_LAYERS_MOST */
	bool local;	   /* experts are numbered by layer */
	int times;	   /* steps of the census */
	int census_layers; /* of layers, those that the census has */
	double *time;	   /* [times], rising */
	int *when;	   /* [census rows] index into time */
	int *who;	   /* [census rows] index into expert, -1 */
	double *load;	   /* [census rows] demand in fair shares, NAN */
	int *living;	   /* [times, census_layers] experts */
	int experts;
	struct life_expert *expert; /* in order of appearance */
	int *index;		    /* hash of experts, private */
	int buckets;
};

/* The name of a table's file in a run directory. */
const char *life_file(enum life_table t);

/*
 * Take a run directory, or a CSV whose columns say what it is: with pca_x or tsne_x, a map; with
 * layer, rank and expert a trace; with step and event, events; with domain or loss, losses; with
 * demand, usage, slot or expert, a census; with layer, layers.  -1 with a message if it is none.
 * Reads nothing but the recipe and the environment.
 */
int life_open(struct life *l, const char *name);
/* Read what has come, and draw the conclusions. False if nothing has. */
bool life_read(struct life *l);
/*
 * Read the checkpoint's keys if there is another checkpoint; seldom, if that takes long.  A
 * checkpoint that cannot be read has none.  The task pool must have been started.
 */
bool life_read_keys(struct life *l);
/*
 * The run's trace, read when first asked for; NULL with the reason in *why if there is none, or it
 * cannot be read.
 */
const struct tally *life_tally(const struct life *l, const char **why);
void life_free(struct life *l);

/* The last part of its name, with the one before where that is only a number: of a seed. */
const char *life_label(const struct life *l);
/* Whether runs that differ in this option are no seeds of the same. */
bool life_counts(const char *option);
/* An option of the recipe; NULL if it has none of that name. */
const char *life_option(const struct life *l, const char *name);
/* An expert by its number (and layer, where numbers are local); -1 if it is unknown. */
int life_find(const struct life *l, int layer, long id);
/* A census column; NULL if it is absent or holds nothing. */
const double *life_census(const struct life *l, const char *column);
/* Whether two recipes, both known, differ in nothing but the seed and where the data lies. */
bool life_alike(const struct life *a, const struct life *b);

#endif
