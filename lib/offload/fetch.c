#include "offload/fetch.h"
#include "base/err.h"
#include "base/mem.h"
#include <errno.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A read in flight, or a place for one. */
struct flight {
	int tag, error;
	char *into;
	size_t n; /* still to be read */
	uint64_t at;
	int next; /* in the list it stands in, -1: the last */
};

struct list {
	int first, last; /* -1: empty */
};

/* What the kernel and we share: it takes from sq what we put there, and puts into cq. */
struct ring {
	int fd; /* -1: none, threads read */
	void *map;
	size_t bytes, sqe_bytes;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	unsigned pending; /* put there, and the kernel not told yet */
};

struct fetch {
	int fd, most, going;
	struct flight *flight; /* [most] */
	struct list spare;
	struct ring ring;

	/* Of threads. */
	int threads;
	pthread_t *thread;
	pthread_mutex_t lock; /* of these lists, and of flights in neither */
	pthread_cond_t work, ended;
	struct list waiting, done;
	bool stop;
};

static void
push(struct fetch *f, struct list *l, int i)
{
	f->flight[i].next = -1;
	*(l->last < 0 ? &l->first : &f->flight[l->last].next) = i;
	l->last = i;
}

static int
pop(struct fetch *f, struct list *l)
{
	const int i = l->first;

	if (i < 0)
		return -1;
	l->first = f->flight[i].next;
	if (l->first < 0)
		l->last = -1;
	return i;
}

/* So many bytes of it have come, or -errno: is it to go on? */
static bool
goes_on(struct flight *v, ssize_t got)
{
	if (got > 0) {
		v->into += got;
		v->at += (uint64_t)got;
		v->n -= (size_t)got;
		return v->n > 0;
	}
	if (got == -EINTR || got == -EAGAIN)
		return true;
	/* Around the page cache, what follows a file's odd end is asked for at an odd place. */
	v->error = got == 0 || (got == -EINVAL && v->at % 512) ? FETCH_END : (int)-got;
	return false;
}

/* ---- the ring ---- */

static void
ring_close(struct ring *r)
{
	if (r->sqe)
		munmap(r->sqe, r->sqe_bytes);
	if (r->map)
		munmap(r->map, r->bytes);
	if (r->fd >= 0)
		close(r->fd);
	*r = (struct ring){.fd = -1};
}

static void *
ring_map(const struct ring *r, size_t bytes, off_t at)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, at);

	return p == MAP_FAILED ? NULL : p;
}

/* Without a word where it cannot be had: then threads read. */
static void
ring_open(struct ring *r, int most)
{
	struct io_uring_params p = {0};
	const unsigned need = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_RW_CUR_POS; /* and so OP_READ */
	size_t sq, cq;
	char *map;

	*r = (struct ring){.fd = (int)syscall(SYS_io_uring_setup, most, &p)};
	if (r->fd < 0 || (p.features & need) != need) {
		ring_close(r);
		return;
	}
	sq = p.sq_off.array + p.sq_entries * sizeof *r->sq_array;
	cq = p.cq_off.cqes + p.cq_entries * sizeof *r->cqe;
	r->bytes = sq > cq ? sq : cq;
	r->sqe_bytes = p.sq_entries * sizeof *r->sqe;
	r->map = ring_map(r, r->bytes, IORING_OFF_SQ_RING);
	r->sqe = ring_map(r, r->sqe_bytes, IORING_OFF_SQES);
	if (!r->map || !r->sqe) {
		ring_close(r);
		return;
	}
	map = r->map;
	r->sq_tail = (unsigned *)(void *)(map + p.sq_off.tail);
	r->sq_mask = (unsigned *)(void *)(map + p.sq_off.ring_mask);
	r->sq_array = (unsigned *)(void *)(map + p.sq_off.array);
	r->cq_head = (unsigned *)(void *)(map + p.cq_off.head);
	r->cq_tail = (unsigned *)(void *)(map + p.cq_off.tail);
	r->cq_mask = (unsigned *)(void *)(map + p.cq_off.ring_mask);
	r->cqe = (struct io_uring_cqe *)(void *)(map + p.cq_off.cqes);
}

static void
ring_put(struct fetch *f, int i)
{
	struct ring *r = &f->ring;
	const struct flight *v = &f->flight[i];
	const unsigned tail = *r->sq_tail, at = tail & *r->sq_mask;

	r->sqe[at] = (struct io_uring_sqe){.opcode = IORING_OP_READ,
					   .fd = f->fd,
					   .off = v->at,
					   .addr = (uint64_t)(uintptr_t)v->into,
					   .len = v->n < 1U << 30 ? (unsigned)v->n : 1U << 30,
					   .user_data = (uint64_t)i};
	r->sq_array[at] = at;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	r->pending++;
}

/* Tell the kernel what was put there, and wait until `least` have ended. */
static void
ring_enter(struct ring *r, unsigned least)
{
	const long told = syscall(SYS_io_uring_enter, r->fd, r->pending, least,
				  least ? IORING_ENTER_GETEVENTS : 0, NULL, 0);

	if (told > 0)
		r->pending -= (unsigned)told;
}

/* A flight that has ended, -1: none has. */
static int
ring_take(struct fetch *f)
{
	struct ring *r = &f->ring;

	for (;;) {
		const unsigned head = *r->cq_head;
		const struct io_uring_cqe *c = &r->cqe[head & *r->cq_mask];
		if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
			return -1;
		const int i = (int)c->user_data, got = c->res;
		__atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
		if (!goes_on(&f->flight[i], got))
			return i;
		ring_put(f, i);
	}
}

static int
ring_next(struct fetch *f, bool wait)
{
	int i = ring_take(f);

	while (i < 0 && (wait || f->ring.pending)) {
		ring_enter(&f->ring, wait);
		i = ring_take(f);
		if (!wait)
			break;
	}
	return i;
}

/* ---- threads ---- */

static void *
reader(void *arg)
{
	struct fetch *f = arg;

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		const int i = pop(f, &f->waiting);
		ssize_t got;
		if (i < 0) {
			pthread_cond_wait(&f->work, &f->lock);
			continue;
		}
		pthread_mutex_unlock(&f->lock);
		struct flight *v = &f->flight[i];
		do {
			got = pread(f->fd, v->into, v->n, (off_t)v->at);
		} while (goes_on(v, got < 0 ? -errno : got));
		pthread_mutex_lock(&f->lock);
		push(f, &f->done, i);
		pthread_cond_signal(&f->ended);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static int
threads_start(struct fetch *f)
{
	sigset_t all, old;
	int bad = 0;

	f->thread = mem_zero((size_t)f->most, sizeof *f->thread);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; f->threads < f->most && !bad; f->threads += !bad)
		bad = pthread_create(&f->thread[f->threads], NULL, reader, f);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return bad ? err_set("cannot start %d readers: %s", f->most, strerror(bad)) : 0;
}

static int
threads_next(struct fetch *f, bool wait)
{
	int i;

	pthread_mutex_lock(&f->lock);
	while ((i = pop(f, &f->done)) < 0 && wait)
		pthread_cond_wait(&f->ended, &f->lock);
	pthread_mutex_unlock(&f->lock);
	return i;
}

/* ---- either ---- */

struct fetch *
fetch_new(int fd, int most, enum fetch_way way)
{
	struct fetch *f = mem_zero(1, sizeof *f);

	f->fd = fd;
	f->most = most;
	f->flight = mem_zero((size_t)most, sizeof *f->flight);
	f->spare = f->waiting = f->done = (struct list){-1, -1};
	for (int i = 0; i < most; i++)
		push(f, &f->spare, i);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->work, NULL);
	pthread_cond_init(&f->ended, NULL);
	f->ring.fd = -1;
	if (way == FETCH_ANY)
		ring_open(&f->ring, most);
	if (f->ring.fd >= 0 || threads_start(f) == 0)
		return f;
	fetch_free(f);
	return NULL;
}

void
fetch_free(struct fetch *f)
{
	struct fetch_end end;

	if (!f)
		return;
	while (fetch_next(f, true, &end))
		;
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_broadcast(&f->work);
	pthread_mutex_unlock(&f->lock);
	for (int i = 0; i < f->threads; i++)
		pthread_join(f->thread[i], NULL);
	ring_close(&f->ring);
	pthread_cond_destroy(&f->ended);
	pthread_cond_destroy(&f->work);
	pthread_mutex_destroy(&f->lock);
	free(f->thread);
	free(f->flight);
	free(f);
}

bool
fetch_full(const struct fetch *f)
{
	return f->going == f->most;
}

void
fetch_begin(struct fetch *f, int tag, void *into, size_t n, uint64_t at)
{
	const int i = pop(f, &f->spare);

	f->flight[i] = (struct flight){.tag = tag, .into = into, .n = n, .at = at};
	f->going++;
	if (f->ring.fd >= 0) {
		ring_put(f, i);
		return;
	}
	pthread_mutex_lock(&f->lock);
	push(f, &f->waiting, i);
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
}

void
fetch_go(struct fetch *f)
{
	if (f->ring.pending)
		ring_enter(&f->ring, 0);
}

bool
fetch_next(struct fetch *f, bool wait, struct fetch_end *end)
{
	int i;

	if (!f->going)
		return false;
	i = f->ring.fd >= 0 ? ring_next(f, wait) : threads_next(f, wait);
	if (i < 0)
		return false;
	*end = (struct fetch_end){f->flight[i].tag, f->flight[i].error, f->flight[i].at};
	push(f, &f->spare, i);
	f->going--;
	return true;
}
