#include "train/decisions.h"
#include "base/err.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE = 500 }; /* milliseconds after which a signal that came between is seen */

struct decisions {
	char *name;
	int fd;			  /* until there is a table to read from it, then -1 */
	int in;			  /* the same, to wait for */
	struct policy_history *h; /* NULL before the first answer, whose header it needs */
};

static int
open_pipe(const char *name)
{
	const bool standard = strcmp(name, "-") == 0;
	int fd = standard ? STDIN_FILENO : open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0) {
		err_set("%s: %s", name, strerror(errno));
	} else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
		err_set("%s: not a pipe (expected one, or the word hold)", name);
	} else if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) != 0) {
		err_set("%s: %s", name, strerror(errno));
	} else {
		return fd;
	}
	if (fd >= 0 && !standard)
		close(fd);
	return -1;
}

struct decisions *
decisions_open(const char *name)
{
	const int fd = open_pipe(name);
	struct decisions *d;

	if (fd < 0)
		return NULL;
	d = mem_zero(1, sizeof *d);
	d->name = mem_copy(strcmp(name, "-") ? name : "standard input");
	d->fd = d->in = fd;
	return d;
}

void
decisions_close(struct decisions *d)
{
	if (!d)
		return;
	policy_history_close(d->h);
	if (d->fd > STDIN_FILENO)
		close(d->fd);
	free(d->name);
	free(d);
}

const char *
decisions_name(const struct decisions *d)
{
	return d->name;
}

/* 1 when there is something to read, be it the end; 0 when stopped; -1 when nothing will come. */
static int
await(const struct decisions *d, int census, const volatile sig_atomic_t *stop)
{
	struct pollfd p[2] = {{.fd = d->in, .events = POLLIN}, {.fd = census}};

	for (;;) {
		const int got = poll(p, 2, PATIENCE);
		if (got < 0 && errno != EINTR)
			return err_set("%s: %s", d->name, strerror(errno));
		if (got > 0 && p[0].revents)
			return 1;
		if (got > 0)
			return err_set("%s: nobody reads the census any more", d->name);
		if (*stop)
			return 0;
	}
}

/* Who writes has begun: its header. */
static int
begin(struct decisions *d)
{
	d->h = policy_history_from(file_from(d->fd, d->name));
	d->fd = -1;
	if (!d->h)
		return -1;
	return policy_history_counted(d->h)
		       ? 0
		       : err_set("%s: no column \"left\" in the header (expected it: a pipe tells "
				 "the end of a step by no other means)",
				 d->name);
}

int
decisions_next(struct decisions *d, long step, int census, const volatile sig_atomic_t *stop,
	       struct policy_events **e)
{
	int got = d->h && !policy_history_waits(d->h) ? 1 : await(d, census, stop);

	if (got <= 0)
		return got;
	if ((!d->h && begin(d) != 0) || (got = policy_history_next(d->h, e)) < 0)
		return -1;
	if (got == 0)
		return err_set("%s: ends before step %ld (has the policy ended?)", d->name, step);
	if ((*e)->step != step)
		return err_set("%s:%ld: events of step %ld (expected those of step %ld)", d->name,
			       (*e)->v[0].line, (*e)->step, step);
	return 1;
}

void
decisions_settle(const struct decisions *d, const volatile sig_atomic_t *stop)
{
	if (!d->h)
		(void)await(d, -1, stop);
}
