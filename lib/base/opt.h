#ifndef BASE_OPT_H
#define BASE_OPT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/*
 * One table of options per program drives the command line, recipe files, usage and the test that
 * the manual names each.  A row says where the value lives as an offset into the program's struct.
 */
enum opt_kind {
	OPT_FLAG,  /* bool;            --name, or "name 1" / "name 0" in a recipe                */
	OPT_INT,   /* int;             in [lo, hi]                                               */
	OPT_LONG,  /* long;            in [lo, hi]                                               */
	OPT_REAL,  /* double;          in [lo, hi]                                               */
	OPT_BYTES, /* size_t;          4096, 64K, 2G; in [lo, hi]                                */
	OPT_TEXT,  /* char *;          any text                                                  */
	OPT_ENUM,  /* int;             index of the word in `words`, which is "a|b|c"            */
	OPT_INTS,  /* struct opt_ints; comma-separated whole numbers in [lo, hi], at least one   */
	OPT_MANY   /* struct opt_many; may be repeated; each use adds a text                     */
};

struct opt_ints {
	int n;
	int *v;
};
struct opt_many {
	int n;
	char **v;
};

struct opt {
	const char *name; /* long name without dashes */
	char letter;	  /* short form or 0 */
	enum opt_kind kind;
	size_t at; /* offsetof(struct, member) */
	double lo, hi;
	const char *words; /* OPT_ENUM: "linear|mlp"; others: the value's name in usage, "FILE" */
	bool recipe;	   /* part of the recipe (changes results), not ambient */
	const char *help;  /* one line */
};
/* A long option of the recipe that sets a member of `type`. */
#define OPT_ROW(type, name, kind, member, lo, hi, words, help)                   \
	{                                                                        \
		name, 0, kind, offsetof(type, member), lo, hi, words, true, help \
	}

/* Where a value came from; a later source never loses to an earlier one, in any order given. */
enum opt_source { OPT_DEFAULT, OPT_PRESET, OPT_RECIPE, OPT_COMMAND };

/* A title in the usage, above the row of this name. */
struct opt_group {
	const char *first, *title;
};

struct opt_table {
	const char *program;
	const char *synopsis;	       /* lines of "moe-train [options] ...", the usage's head */
	const struct opt_group *group; /* ended by a NULL name; NULL for none */
	const struct opt *row;
	int n;
	void *values;
	unsigned char source[160]; /* enum opt_source by row */
	bool owned[160];	   /* the row's text or list is the table's to free */
};

/*
 * Defaults are what the struct holds at the start; they are the program's (a literal will do), and
 * a default number outside [lo, hi] means unset, as NULL does for a text.
 */

/*
 * Parse argv.  Long options as --name value or --name=value (unique prefixes are not accepted),
 * short ones as -o FILE or -oFILE, flags combined; "--" ends options; options and operands mix.
 * Operands are gathered into *operands.  -h and -V are the program's own rows (OPT_FLAG).
 * -1: unknown option (with the nearest name suggested), missing or bad value.
 */
int opt_parse(struct opt_table *t, int argc, char **argv, struct opt_many *operands);

/*
 * Read "name value" lines ('#' comments, blank lines); errors as FILE:LINE: ....  A value that is
 * empty, begins or ends with a blank, or holds control characters stands in "quotes", with
 * \\ \" \n \r \t \xHH.
 */
int opt_read(struct opt_table *t, const char *file);
/* The same from memory, e.g. a recipe in a checkpoint; `file` names it in messages. */
int opt_read_text(struct opt_table *t, const char *file, const char *text, enum opt_source from);

/* Set one option by name, if no stronger source has set it. -1: unknown name or bad value. */
int opt_set(struct opt_table *t, const char *name, const char *value, enum opt_source from);
bool opt_given(const struct opt_table *t, const char *name); /* by more than default or preset */

/* All recipe rows in force as "name value\n" lines, in table order; what is unset is left out. */
char *opt_recipe(const struct opt_table *t);

/*
 * Copy n rows into a larger table, for values that stand at `at` in that table's struct: a module
 * keeps rows of its own, programs put them together. n is returned.
 */
int opt_rows(struct opt *to, const struct opt *from, int n, size_t at);

/* Usage: synopsis, then each row with its help and, unless it has been set, its default. */
void opt_usage(const struct opt_table *t, FILE *f);

/* Free the texts and lists that were set (defaults are the program's), and forget them. */
void opt_free(struct opt_table *t);

#endif
