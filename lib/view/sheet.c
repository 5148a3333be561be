#include "view/sheet.h"
#include "base/err.h"
#include "base/mem.h"
#include "io/table.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { WORDS = 4096 };

void
sheet_init(struct sheet *s, const char *path, const char *wanted)
{
	*s = (struct sheet){.path = mem_copy(path), .wanted = wanted, .step = -1};
}

static void
forget(struct sheet *s)
{
	table_close(s->table);
	for (int i = 0; i < s->columns; i++) {
		free(s->column[i].name);
		free(s->column[i].v);
	}
	for (int i = 0; i < s->word_count; i++)
		free(s->word[i]);
	free(s->column);
	free(s->word);
	free(s->note);
	*s = (struct sheet){.path = s->path, .wanted = s->wanted, .step = -1};
}

void
sheet_free(struct sheet *s)
{
	forget(s);
	free(s->path);
	s->path = NULL;
}

/* The first thing that is wrong is told. */
static void
note(struct sheet *s, const char *what)
{
	if (!s->note)
		s->note = mem_copy(what);
}

static bool
of_words(const char *name)
{
	static const char *const known[] = {"domain", "event", "cause", "origin", "class"};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(name, known[i]))
			return true;
	return false;
}

static bool
is_wanted(const struct sheet *s, const char *name)
{
	char word[64];

	snprintf(word, sizeof word, " %.60s ", name);
	return !s->wanted || strstr(s->wanted, word);
}

static bool
begin(struct sheet *s)
{
	s->table = table_open(s->path);
	if (!s->table)
		return false;
	free(s->note);
	s->note = NULL;
	s->columns = table_columns(s->table);
	s->column = mem_zero((size_t)s->columns, sizeof *s->column);
	for (int i = 0; i < s->columns; i++) {
		s->column[i].name = mem_copy(table_header(s->table, i));
		s->column[i].words = of_words(s->column[i].name);
		s->column[i].idle = !is_wanted(s, s->column[i].name);
	}
	s->step = table_column(s->table, "step");
	return true;
}

/* Texts repeat: those of the rows before are tried first. */
static double
number_of_word(struct sheet *s, const char *text)
{
	for (int i = s->word_count; i-- > 0;)
		if (!strcmp(s->word[i], text))
			return i;
	if (s->word_count == WORDS) {
		note(s, "more than 4096 different words: the others are left out");
		return NAN;
	}
	s->word = mem_grow(s->word, (size_t)s->word_count + 1, sizeof *s->word);
	s->word[s->word_count] = mem_copy(text);
	return s->word_count++;
}

static double
value(struct sheet *s, int column)
{
	const char *text = table_text(s->table, column);
	double v = NAN;

	if (!*text)
		return NAN;
	if (s->column[column].words)
		return number_of_word(s, text);
	if (table_real(s->table, column, &v) < 0)
		note(s, err_text());
	return isfinite(v) ? v : NAN;
}

static void
take_row(struct sheet *s)
{
	const double step = s->step < 0 ? 0 : value(s, s->step);
	const double *before = s->step < 0 ? NULL : s->column[s->step].v;

	if (isnan(step) || (before && s->rows && step < before[s->rows - 1])) {
		char *what = mem_text("%s:%ld: no step, or one before the last row's (left out)",
				      s->path, table_line(s->table));
		note(s, what);
		free(what);
		return;
	}
	if (s->rows == s->room) {
		s->room = s->room ? 2 * s->room : 256;
		for (int i = 0; i < s->columns; i++)
			if (!s->column[i].idle)
				s->column[i].v =
					mem_grow(s->column[i].v, (size_t)s->room, sizeof(double));
	}
	for (int i = 0; i < s->columns; i++)
		if (!s->column[i].idle)
			s->column[i].v[s->rows] = i == s->step ? step : value(s, i);
	s->rows++;
}

/* Whether what was read is still the beginning of the file; a file of equal runs has equal bytes.
 */
static bool
went_back(struct sheet *s, const struct stat *now)
{
	const bool back =
		s->table && ((uint64_t)now->st_size < s->bytes || now->st_ino != s->inode);

	s->bytes = (uint64_t)now->st_size;
	s->inode = now->st_ino;
	return back;
}

enum sheet_news
sheet_read(struct sheet *s)
{
	const long before = s->rows;
	enum sheet_news news = SHEET_MORE;
	struct stat now;
	int r = 0;

	if (!s->path || stat(s->path, &now) < 0)
		return SHEET_SAME;
	if (went_back(s, &now)) {
		forget(s);
		went_back(s, &now);
		news = SHEET_ANEW;
	}
	if (!s->table && !begin(s)) {
		if (now.st_size)
			note(s, err_text());
		return news == SHEET_ANEW ? news : SHEET_SAME;
	}
	while (!s->stopped && (r = table_next(s->table)) > 0)
		take_row(s);
	s->cut = r < 0 && table_cut(s->table);
	if (r < 0 && !s->cut) {
		note(s, err_text());
		s->stopped = true;
	}
	return news == SHEET_ANEW || s->rows > before ? news : SHEET_SAME;
}

static const struct sheet_column *
find(const struct sheet *s, const char *name)
{
	for (int i = 0; i < s->columns; i++)
		if (!s->column[i].idle && !strcmp(s->column[i].name, name))
			return &s->column[i];
	return NULL;
}

const double *
sheet_numbers(const struct sheet *s, const char *name)
{
	static const double none[1];
	const struct sheet_column *c = find(s, name);

	return !c || c->words ? NULL : c->v ? c->v : none;
}

const char *
sheet_word(const struct sheet *s, const char *name, long row)
{
	const struct sheet_column *c = find(s, name);

	return c && c->words && !isnan(c->v[row]) ? s->word[(int)c->v[row]] : "";
}
