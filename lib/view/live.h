#ifndef VIEW_LIVE_H
#define VIEW_LIVE_H
#include <signal.h>

/*
 * The page of a run while it is written, over HTTP: the run's files are looked at several times a
 * second, and what has come is sent as server-sent events.  Nothing is written, and no file is
 * served: there are three paths,
 *
 *	/         the page
 *	/events   all of the run, then what comes: JSON of frames.h, {"all": ...} or {"frames": ...}
 *	/figures  what happened and the figures, as they stand now
 *
 * and all others are refused.  On a loopback address, so are requests that name another host, which
 * a browser sends when another site's page makes it.  At most LIVE_CLIENTS connections are held,
 * each with LIVE_HEADER bytes of memory for what it asks.  Cut off is who neither asks nor reads
 * for LIVE_IDLE seconds, has not asked after LIVE_ASK seconds, however many bytes came, has not
 * taken an answer, or a block of one that has no end, after LIVE_TAKE seconds, or is LIVE_BEHIND
 * bytes behind.
 */
enum {
	LIVE_CLIENTS = 64,
	LIVE_HEADER = 16 << 10,
	LIVE_IDLE = 5,
	LIVE_ASK = 10,
	LIVE_TAKE = 60,
	LIVE_BEHIND = 32 << 20
};

struct live;

/* Port 0: any that is free. baseline: a run whose losses are shown too, or NULL. */
struct live *live_open(const char *run, const char *baseline, const char *address, int port);
const char *live_url(const struct live *l);
/* Until *stop is not 0, which a signal may bring about. */
void live_run(struct live *l, const volatile sig_atomic_t *stop);
void live_close(struct live *l); /* NULL is harmless */

#endif
