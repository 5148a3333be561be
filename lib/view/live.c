#include "view/live.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/tick.h"
#include "view/frames.h"
#include "view/page.h"
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Between looks at the files, and makings of the figures: at least so long, and COST times the
 * processor's time that the last took. */
enum { LOOK_MS = 100, FRESH_MS = 2000, COST = 100, BEAT_S = 2, STACK = 512 << 10 };

/*
 * What was sent to all, in order: a chain in which each holds the next.  A message is freed when
 * nobody holds it: no client that is at it, no message before it, not the end of the chain.
 */
struct message {
	struct message *next;
	int holders;
	size_t n;
	uint64_t begin; /* bytes of all messages before it */
	char *text;
};

/* A text that is made anew when it is asked for and no longer true: seldom, if that takes long. */
struct cache {
	char *text;
	size_t n;
	long version; /* of the run that it tells of */
	double next;  /* ms: not to be made again before */
};

/* A connection, in what it must not take too long for: MHD's own limit is of silence alone. */
struct visit {
	bool open;
	int socket;
	enum { ASKS, TAKES } state;
	double since; /* ms */
};

struct live {
	pthread_mutex_t lock; /* of all that follows */
	struct visit visit[LIVE_CLIENTS];
	pthread_cond_t news;
	struct life life[2]; /* the run, and the baseline */
	bool has_baseline, ending;
	struct plot_runs runs;
	struct frames_mark mark;
	long version;
	struct message *last;
	struct message *first; /* the whole run, for who comes; NULL before anybody has */
	double first_made;     /* ms */
	struct cache page, figures;

	/* not of this lock */
	struct MHD_Daemon *daemon;
	int listener;
	bool loopback;
	char *url;
};

static double
now_ms(void)
{
	return 1e3 * tick_now();
}

/* --- messages --- */

static struct message *
message_new(char *text, size_t n, uint64_t begin)
{
	struct message *m = mem_zero(1, sizeof *m);

	*m = (struct message){.holders = 1, .n = n, .begin = begin, .text = text};
	return m;
}

static void
let_go(struct message *m)
{
	while (m && --m->holders == 0) {
		struct message *next = m->next;
		free(m->text);
		free(m);
		m = next;
	}
}

/* Hand a text on to all who listen. */
static void
tell(struct live *l, char *text, size_t n)
{
	struct message *m = message_new(text, n, l->last->begin + l->last->n);

	m->holders = 2;
	l->last->next = m;
	let_go(l->last);
	l->last = m;
	pthread_cond_broadcast(&l->news);
}

/* The whole run as an event; lock held. */
static char *
whole(struct live *l, struct frames_mark *mark, size_t *n)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, n);

	if (!out)
		return NULL;
	fputs("data: {\"all\":", out);
	frames_all(&l->life[0], l->has_baseline ? &l->life[1] : NULL, true, mark, out);
	fputs("}\n\n", out);
	fclose(out);
	return text;
}

/* --- connections --- */

static void
notice(void *v, struct MHD_Connection *c, void **visit, enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *of =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct live *l = v;
	struct visit *free_one = NULL;

	pthread_mutex_lock(&l->lock);
	for (int i = 0; i < LIVE_CLIENTS && what == MHD_CONNECTION_NOTIFY_STARTED; i++)
		if (!l->visit[i].open)
			free_one = &l->visit[i];
	if (free_one && of)
		*free_one = (struct visit){true, of->connect_fd, ASKS, now_ms()};
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		*visit = free_one;
	else if (*visit)
		((struct visit *)*visit)->open = false;
	pthread_mutex_unlock(&l->lock);
}

static struct visit *
visit_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *v =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return v ? v->socket_context : NULL;
}

static void
turn(struct live *l, struct visit *v, int state)
{
	pthread_mutex_lock(&l->lock);
	if (v) {
		v->state = state;
		v->since = now_ms();
	}
	pthread_mutex_unlock(&l->lock);
}

/* An answer has been taken, or not: the next may be asked for. */
static void
answered(void *v, struct MHD_Connection *c, void **seen, enum MHD_RequestTerminationCode why)
{
	(void)seen;
	(void)why;
	turn(v, visit_of(c), ASKS);
}

/* Cut off who takes too long; lock held. */
static void
cut_off(struct live *l)
{
	const double now = now_ms();

	for (int i = 0; i < LIVE_CLIENTS; i++) {
		struct visit *v = &l->visit[i];
		if (v->open && now - v->since > 1e3 * (v->state == ASKS ? LIVE_ASK : LIVE_TAKE))
			shutdown(v->socket, SHUT_RDWR);
	}
}

/* --- a client of /events --- */

struct client {
	struct live *live;
	struct visit *visit;
	struct message *at;
	size_t sent; /* of at */
	bool joins;  /* at is the whole run: the next one is part of it already */
};

static void
client_free(void *v)
{
	struct client *c = v;

	pthread_mutex_lock(&c->live->lock);
	let_go(c->at);
	pthread_mutex_unlock(&c->live->lock);
	free(c);
}

/* Wait for news, not longer than a beat; lock held. */
static void
wait_for_news(struct live *l)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += BEAT_S;
	pthread_cond_timedwait(&l->news, &l->lock, &until);
}

static ssize_t
read_events(void *v, uint64_t pos, char *buf, size_t room)
{
	struct client *c = v;
	struct live *l = c->live;
	ssize_t n = 0;

	(void)pos;
	pthread_mutex_lock(&l->lock);
	if (c->visit)
		c->visit->since = now_ms();
	for (int waits = 0; !n;) {
		if (l->ending) {
			n = MHD_CONTENT_READER_END_OF_STREAM;
		} else if (l->last->begin - c->at->begin > LIVE_BEHIND) {
			n = MHD_CONTENT_READER_END_WITH_ERROR;
		} else if (c->sent < c->at->n) {
			n = (ssize_t)(c->at->n - c->sent < room ? c->at->n - c->sent : room);
			memcpy(buf, c->at->text + c->sent, (size_t)n);
			c->sent += (size_t)n;
		} else if (c->at->next) {
			struct message *next = c->at->next;
			next->holders++;
			let_go(c->at);
			c->at = next;
			c->sent = c->joins ? next->n : 0;
			c->joins = false;
		} else if (!waits++) {
			wait_for_news(l);
		} else {
			/* A comment: is anybody there? */
			memcpy(buf, ":\n\n", 3);
			n = 3;
		}
	}
	pthread_mutex_unlock(&l->lock);
	return n;
}

/* The whole run as a message that leads on to the end of the chain; lock held. */
static struct message *
first(struct live *l)
{
	struct frames_mark mark;
	size_t n;
	char *text;

	if (l->first)
		return l->first;
	if (!(text = whole(l, &mark, &n)))
		return NULL;
	l->first = message_new(text, n, l->last->begin);
	l->first->next = l->last;
	l->last->holders++;
	l->first_made = now_ms();
	return l->first;
}

/* It holds all that comes after it: not for long. Lock held. */
static void
drop_first(struct live *l)
{
	if (!l->first || now_ms() - l->first_made < FRESH_MS)
		return;
	let_go(l->first);
	l->first = NULL;
}

/* Who comes at about the same time begins with the same message: it may be large. */
static struct client *
client_new(struct live *l, struct visit *visit)
{
	struct client *c = mem_zero(1, sizeof *c);

	pthread_mutex_lock(&l->lock);
	*c = (struct client){.live = l, .visit = visit, .at = first(l), .joins = true};
	if (c->at)
		c->at->holders++;
	pthread_mutex_unlock(&l->lock);
	return c;
}

/* --- answers --- */

static enum MHD_Result
answer(struct MHD_Connection *to, unsigned status, struct MHD_Response *r, const char *type)
{
	enum MHD_Result done;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
	MHD_add_response_header(r, "Content-Security-Policy", "frame-ancestors 'none'");
	MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, "Allow", "GET, HEAD");
	done = MHD_queue_response(to, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result
refuse(struct MHD_Connection *to, unsigned status, const char *why)
{
	return answer(to, status,
		      MHD_create_response_from_buffer(strlen(why), (void *)(uintptr_t)why,
						      MHD_RESPMEM_PERSISTENT),
		      "text/plain; charset=utf-8");
}

/* Make a text again if it is old and the run has moved on; lock held. */
static void
freshen(struct live *l, struct cache *c)
{
	const double spent = tick_spent();
	FILE *out;

	if (c->text && (c->version == l->version || now_ms() < c->next))
		return;
	free(c->text);
	*c = (struct cache){.version = l->version};
	if (!(out = open_memstream(&c->text, &c->n)))
		return;
	if (c == &l->page)
		page_write(&(struct page){.runs = &l->runs,
					  .baseline = l->has_baseline ? &l->life[1] : NULL,
					  .live = true},
			   out);
	else
		page_part(&l->runs, out);
	fclose(out);
	c->next = now_ms() + fmax(FRESH_MS, COST * 1e3 * (tick_spent() - spent));
}

static enum MHD_Result
send_text(struct live *l, struct MHD_Connection *to, struct cache *c)
{
	struct MHD_Response *r = NULL;

	pthread_mutex_lock(&l->lock);
	freshen(l, c);
	if (c->text)
		r = MHD_create_response_from_buffer(c->n, c->text, MHD_RESPMEM_MUST_COPY);
	pthread_mutex_unlock(&l->lock);
	return answer(to, MHD_HTTP_OK, r, "text/html; charset=utf-8");
}

static enum MHD_Result
send_events(struct live *l, struct MHD_Connection *to)
{
	enum { BLOCK = 64 << 10 };
	struct client *c = client_new(l, visit_of(to));
	struct MHD_Response *r;

	if (!c->at) {
		free(c);
		return MHD_NO;
	}
	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_events, c, client_free);
	if (!r)
		client_free(c);
	return answer(to, MHD_HTTP_OK, r, "text/event-stream");
}

/* Whether a request was meant for us, by its header Host: one of a loopback address, any port. */
static bool
meant(const struct live *l, struct MHD_Connection *from)
{
	static const char *const ours[] = {"localhost", "127.0.0.1", "[::1]"};
	const char *host = MHD_lookup_connection_value(from, MHD_HEADER_KIND, "Host");

	if (!l->loopback)
		return true;
	for (size_t i = 0; host && i < sizeof ours / sizeof *ours; i++) {
		const size_t n = strlen(ours[i]);
		if (!strncasecmp(host, ours[i], n) && (!host[n] || host[n] == ':'))
			return true;
	}
	return false;
}

static enum MHD_Result
handle(void *v, struct MHD_Connection *from, const char *url, const char *method,
       const char *version, const char *data, size_t *size, void **seen)
{
	struct live *l = v;
	static int once;

	(void)version;
	(void)data;
	if (!*seen) {
		*seen = &once;
		turn(l, visit_of(from), TAKES);
		return MHD_YES;
	}
	if (*size) {
		*size = 0;
		return MHD_YES;
	}
	if (!meant(l, from))
		return refuse(from, MHD_HTTP_FORBIDDEN, "another host was asked for\n");
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return refuse(from, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD are all\n");
	if (!strcmp(url, "/"))
		return send_text(l, from, &l->page);
	if (!strcmp(url, "/figures"))
		return send_text(l, from, &l->figures);
	if (!strcmp(url, "/events"))
		return send_events(l, from);
	return refuse(from, MHD_HTTP_NOT_FOUND, "there is no such page\n");
}

/* --- the listener --- */

static bool
is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
	return a->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static int
listen_on(struct live *l, const struct addrinfo *a)
{
	const int one = 1;

	l->listener = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->listener < 0)
		return -1;
	setsockopt(l->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	l->loopback = is_loopback(a->ai_addr);
	return bind(l->listener, a->ai_addr, a->ai_addrlen) < 0 || listen(l->listener, 16) < 0 ? -1
											       : 0;
}

/* The address that others reach it by, with the port that it got. */
static void
note_url(struct live *l)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof a;
	char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";

	if (!getsockname(l->listener, (struct sockaddr *)&a, &n))
		getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port, sizeof port,
			    NI_NUMERICHOST | NI_NUMERICSERV);
	l->url = mem_text(strchr(host, ':') ? "http://[%s]:%s/" : "http://%s:%s/", host, port);
}

static int
open_listener(struct live *l, const char *address, int port)
{
	const struct addrinfo wish = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found = NULL;
	char service[16];
	int r;

	snprintf(service, sizeof service, "%d", port);
	r = getaddrinfo(address, service, &wish, &found);
	if (r)
		return err_set("address %s: %s", address, gai_strerror(r));
	r = listen_on(l, found);
	if (r < 0)
		err_set("address %s, port %d: %s", address, port, strerror(errno));
	freeaddrinfo(found);
	if (r == 0)
		note_url(l);
	return r;
}

/* --- the run --- */

static int
open_runs(struct live *l, const char *run, const char *baseline)
{
	if (life_open(&l->life[0], run) < 0)
		return -1;
	l->life[0].grows = true;
	life_read(&l->life[0]);
	life_read_keys(&l->life[0]);
	if (baseline && life_open(&l->life[1], baseline) < 0)
		return -1;
	if (baseline)
		life_read(&l->life[1]);
	l->has_baseline = baseline;
	plot_runs(&l->runs, l->life, 1);
	return 0;
}

struct live *
live_open(const char *run, const char *baseline, const char *address, int port)
{
	struct live *l = mem_zero(1, sizeof *l);
	pthread_condattr_t steady;
	size_t n;

	l->listener = -1;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	pthread_cond_init(&l->news, &steady);
	pthread_condattr_destroy(&steady);
	l->last = message_new(mem_copy(""), 0, 0);
	if (open_runs(l, run, baseline) < 0 || open_listener(l, address, port) < 0)
		goto err;
	free(whole(l, &l->mark, &n));
	l->daemon = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_THREAD_PER_CONNECTION, 0,
		NULL, NULL, handle, l, MHD_OPTION_LISTEN_SOCKET, l->listener,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)LIVE_CLIENTS, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)LIVE_IDLE, MHD_OPTION_NOTIFY_CONNECTION, notice, l,
		MHD_OPTION_NOTIFY_COMPLETED, answered, l, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)LIVE_HEADER, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK, MHD_OPTION_END);
	if (l->daemon)
		return l;
	err_set("%s cannot be served", l->url);
err:
	live_close(l);
	return NULL;
}

const char *
live_url(const struct live *l)
{
	return l->url;
}

/* Tell what has come; all of it anew when files were cut back. */
static void
look(struct live *l)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out;
	bool any = life_read_keys(&l->life[0]);

	if (!life_read(&l->life[0]) && !any)
		return;
	l->version++;
	if (l->life[0].anew) {
		text = whole(l, &l->mark, &n);
		if (text)
			tell(l, text, n);
		return;
	}
	if (!(out = open_memstream(&text, &n)))
		return;
	fputs("data: ", out);
	any = frames_since(&l->life[0], &l->mark, out);
	fputs("\n\n", out);
	fclose(out);
	if (any)
		tell(l, text, n);
	else
		free(text);
}

void
live_run(struct live *l, const volatile sig_atomic_t *stop)
{
	while (!*stop) {
		const double spent = tick_spent();
		double pause;
		struct timespec t;
		pthread_mutex_lock(&l->lock);
		look(l);
		cut_off(l);
		drop_first(l);
		pthread_mutex_unlock(&l->lock);
		pause = fmax(LOOK_MS, COST * 1e3 * (tick_spent() - spent));
		t = (struct timespec){(time_t)(pause / 1e3), (long)pause % 1000 * 1000000};
		nanosleep(&t, NULL);
	}
}

void
live_close(struct live *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->ending = true;
	pthread_cond_broadcast(&l->news);
	pthread_mutex_unlock(&l->lock);
	if (l->daemon)
		MHD_stop_daemon(l->daemon);
	else if (l->listener >= 0)
		close(l->listener);
	let_go(l->first);
	let_go(l->last);
	plot_runs_free(&l->runs);
	life_free(&l->life[0]);
	life_free(&l->life[1]);
	free(l->page.text);
	free(l->figures.text);
	free(l->url);
	pthread_cond_destroy(&l->news);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
