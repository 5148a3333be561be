/*
 * The slot pool, read by io_uring where there is one, and by threads: what gives way, what is read
 * ahead, what a failing disk does.  This file's pread stands before the system's: it can be made to
 * fail, to give little, or to wait.
 */
#include "base/err.h"
#include "offload/slots.h"
#include "tap.h"
#include "tiny.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static atomic_long reads;
static atomic_long fail_at = -1; /* the offset whose read fails */
static atomic_bool little, held; /* give a few bytes at a time; wait */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

ssize_t
pread(int fd, void *into, size_t n, off_t at)
{
	atomic_fetch_add(&reads, 1);
	if (atomic_load(&held)) {
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
	}
	if (atomic_load(&fail_at) >= 0 && at <= atomic_load(&fail_at) &&
	    atomic_load(&fail_at) < at + (off_t)n) {
		errno = EIO;
		return -1;
	}
	if (atomic_load(&little)) {
		if (atomic_load(&reads) % 3 == 0) {
			errno = EINTR;
			return -1;
		}
		n = n < 1000 ? n : 1000;
	}
	return syscall(SYS_pread64, fd, into, n, at);
}

static struct store *store;
static enum fetch_way way;
static struct tiny model;

static bool
right(struct slots *p, int leaf)
{
	float *want = aligned_alloc(STORE_ALIGN, store->largest);
	const bool same = store_read(store, leaf, want) == 0 &&
			  memcmp(slots_at(p, leaf), want, store->leaf[leaf].bytes) == 0;

	free(want);
	return same;
}

/* Take, wait for all, give back: how many were absent, -1 when a leaf is not what it should be. */
static int
use(struct slots *p, int n, const int *leaf)
{
	int absent[16], left, first;

	left = first = slots_take(p, n, leaf, absent);
	while (left > 0)
		left = slots_await(p, left, leaf, absent, true);
	for (int i = 0; i < n && left == 0; i++)
		left = slots_sound(p, leaf[i]) && right(p, leaf[i]) ? 0 : -1;
	slots_give(p, n, leaf);
	return left < 0 ? -1 : first;
}

static bool
uses(struct slots *p, int leaf)
{
	return use(p, 1, &leaf) >= 0;
}

/* The leaves that are there, as digits. */
static const char *
there(struct slots *p)
{
	static char text[16];
	int n = 0;

	for (int i = 0; i < store->leaves; i++) {
		if (slots_there(p, i))
			text[n++] = (char)('0' + i);
	}
	text[n] = 0;
	return text;
}

static void
wish(struct slots *p, int n, const int *leaf)
{
	float chance[16];

	for (int i = 0; i < n; i++)
		chance[i] = 0.9f;
	slots_ahead(p, n, leaf, chance);
}

static void
least_recent(int readers)
{
	struct slots *p = slots_new(store, 3, 2, readers, way);
	struct slots_count c;

	ok(uses(p, 0) && uses(p, 1) && uses(p, 2), "%d readers: three leaves", readers);
	is_text(there(p), "012", "%d readers: are kept in three slots", readers);
	ok(uses(p, 0) && uses(p, 3), "%d readers: a hit and a fourth", readers);
	is_text(there(p), "023", "%d readers: the one used least recently gives way", readers);
	is_long(use(p, 2, (int[]){2, 1}), 1, "%d readers: one that is there and one that is not",
		readers);
	is_text(there(p), "123", "%d readers: what is taken does not give way", readers);
	c = slots_counts(p);
	is_long(c.taken, 7, "%d readers: taken", readers);
	is_long(c.hits, 2, "%d readers: hits", readers);
	is_long(c.loads, 5, "%d readers: loads", readers);
	is_long(c.evicted, 2, "%d readers: evicted", readers);
	is_long((long)c.bytes, 5 * STORE_ALIGN, "%d readers: bytes", readers);
	is_long(c.ahead + c.late + c.wasted, 0, "%d readers: nothing ahead", readers);
	slots_free(p);
}

static void
ahead(void)
{
	struct slots *p = slots_new(store, 4, 2, 1, way);
	struct slots_count c;

	wish(p, 3, (int[]){5, 6, 7});
	slots_settle(p);
	is_text(there(p), "567", "three leaves read ahead");
	ok(uses(p, 6), "one of them is used");
	c = slots_counts(p);
	is_long(c.hits, 1, "that is a hit");
	is_long(c.ahead, 3, "loads ahead");
	is_long(c.wasted, 2, "of them not used so far");
	is_long((long)c.wasted_bytes, 2 * STORE_ALIGN, "their bytes");
	ok(uses(p, 0) && uses(p, 1), "others are used");
	is_text(there(p), "0167", "the oldest guess gives way");
	ok(uses(p, 7), "the last guess is used");
	is_long(slots_counts(p).wasted, 1, "the guess that gave way was wasted");
	slots_free(p);

	p = slots_new(store, 2, 2, 1, way);
	wish(p, 1, (int[]){5});
	slots_settle(p);
	is_text(there(p), "", "without a slot to spare nothing is read ahead");
	slots_free(p);
}

/* By worth: what is needed later, or less often, gives way, whenever it was used. */
static void
worth(void)
{
	struct slots *p = slots_new(store, 3, 2, 1, way);
	const float half[3] = {0.5f, 0.5f, 0.5f}, rare[3] = {0.1f, 0.5f, 0.5f};

	slots_worth(p, 1, half);
	slots_worth(p, 0, half);
	ok(uses(p, 6) && uses(p, 0) && uses(p, 2), "leaves of layer 1, and two of layer 0");
	ok(uses(p, 5), "another of layer 0, which has had its turn");
	is_text(there(p), "256", "of equals in the layer whose turn is far off, the oldest goes");
	slots_worth(p, 1, half);
	ok(uses(p, 0), "layer 1 has had its turn");
	is_text(there(p), "025", "its leaf is needed last");
	slots_worth(p, 0, rare);
	ok(uses(p, 7), "an expert is hardly needed");
	is_text(there(p), "257", "its leaf goes");
	for (int i = 0; i < 60; i++)
		slots_active(p, 1, (int[]){5}, (bool[]){false});
	ok(uses(p, 3), "a leaf has long not been active");
	is_text(there(p), "237", "it goes");
	slots_ahead(p, 1, (int[]){4}, (float[]){0.2f});
	slots_idle(p, HUGE_VAL);
	is_text(there(p), "237", "a guess less likely than all that is there is not read");
	slots_ahead(p, 1, (int[]){4}, (float[]){0.9f});
	slots_idle(p, HUGE_VAL);
	is_long((long)strlen(there(p)), 3, "a likelier one");
	ok(strchr(there(p), '4'), "is");
	slots_free(p);
}

/* A guess that nobody needs is not waited for; one that is needed while being read is late. */
static void
wrong_guess(void)
{
	struct slots *p = slots_new(store, 6, 2, 1, way);
	struct slots_count c;
	int absent[2];

	pthread_mutex_lock(&gate);
	atomic_store(&held, true);
	atomic_store(&reads, 0);
	wish(p, 4, (int[]){5, 6, 7, 8});
	while (atomic_load(&reads) == 0)
		;
	is_long(slots_take(p, 2, (int[]){5, 0}, absent), 2,
		"neither the guess being read nor the other is there yet");
	atomic_store(&held, false);
	pthread_mutex_unlock(&gate);
	for (int left = 2; left > 0;)
		left = slots_await(p, left, (int[]){5, 0}, absent, true);
	ok(right(p, 5) && right(p, 0), "both come");
	slots_give(p, 2, (int[]){5, 0});
	slots_settle(p);
	is_text(there(p), "05", "guesses that were not begun are forgotten");
	c = slots_counts(p);
	is_long(c.late, 1, "one came late");
	is_long(c.loads, 2, "two loads");
	is_long(c.wasted, 0, "none wasted");
	slots_free(p);
}

static void
failing(void)
{
	const int bad = 4;
	struct slots *p = slots_new(store, 3, 2, 2, way);
	int absent[2], left;

	atomic_store(&fail_at, (long)store->leaf[bad].at + 8);
	wish(p, 1, &bad);
	slots_settle(p);
	is_text(there(p), "", "a guess that cannot be read is dropped");
	left = slots_take(p, 2, (int[]){3, bad}, absent);
	while (left > 0)
		left = slots_await(p, left, (int[]){3, bad}, absent, true);
	is_long(left, -1, "a leaf beside one that cannot be read");
	ok(strstr(err_text(), "Input/output error") && strstr(err_text(), store->name),
	   "says why: %s", err_text());
	slots_give(p, 2, (int[]){3, bad});
	is_text(there(p), "3", "nothing of it is kept, but the other is");
	atomic_store(&fail_at, -1);
	ok(uses(p, bad), "once the disk works, so does it");
	slots_free(p);

	atomic_store(&little, true);
	p = slots_new(store, 3, 2, 2, way);
	is_long(use(p, 2, (int[]){0, 8}), 2,
		"reads that give little at a time, or are interrupted");
	slots_free(p);
	atomic_store(&little, false);
}

/* A descriptor that cannot be read: by whatever way, the same message, and no leaf. */
static void
unreadable(void)
{
	const int good = store->fd;

	store->fd = open(store->name, O_WRONLY);
	for (way = FETCH_ANY; way <= FETCH_THREADS; way++) {
		struct slots *p = slots_new(store, 3, 2, 2, way);
		int absent[2];
		int left = slots_take(p, 2, (int[]){0, 8}, absent);
		while (left > 0)
			left = slots_await(p, left, (int[]){0, 8}, absent, true);
		is_long(left, -1, "a store that cannot be read, way %d", (int)way);
		ok(strstr(err_text(), "Bad file descriptor"), "says why: %s", err_text());
		slots_give(p, 2, (int[]){0, 8});
		is_text(there(p), "", "and nothing is there");
		slots_free(p);
	}
	close(store->fd);
	store->fd = good;
}

/* A byte that is another on the disk: what was read of the leaf is there, and known unsound. */
static void
damaged(void)
{
	struct slots *p = slots_new(store, 3, 2, 2, way);
	const off_t at = (off_t)store->leaf[1].at + 5;
	const int fd = open(store->name, O_RDWR);
	int absent[1];
	unsigned char byte;

	if (pread(fd, &byte, 1, at) != 1)
		abort();
	for (int turn = 0; turn < 2; turn++) {
		byte = (unsigned char)~byte;
		if (pwrite(fd, &byte, 1, at) != 1)
			abort();
		for (int left = slots_take(p, 1, (int[]){1}, absent); left > 0;)
			left = slots_await(p, left, (int[]){1}, absent, true);
		is_long(slots_sound(p, 1), turn, "way %d: sound, %d", (int)way, turn);
		ok(turn > 0 || strstr(err_text(), "damaged"), "says so: %s", err_text());
		slots_give(p, 1, (int[]){1});
		ok(uses(p, 2) && uses(p, 3) && uses(p, 4), "others are");
	}
	close(fd);
	slots_free(p);
}

static void
cut(void)
{
	struct slots *p = slots_new(store, 3, 2, 2, way);
	const int last = store->leaves - 1;

	if (truncate(store->name, (off_t)store->leaf[last].at + 100) != 0)
		abort();
	ok(uses(p, 0), "a leaf of a store that was cut meanwhile");
	is_long(use(p, 1, &last), -1, "not the one that is gone");
	ok(strstr(err_text(), "ends at byte"), "says so: %s", err_text());
	slots_free(p);
}

/* Many leaves, many readers, any order: always the right bytes. */
static void
churn(void)
{
	struct rng r = rng_at(832, RNG_TEST, 0, 0);
	struct slots *p = slots_new(store, 4, 3, 4, way);
	long wrong = 0;

	for (int round = 0; round < 2000; round++) {
		int leaf[3], guess[3];
		leaf[0] = (int)rng_below(&r, 3);
		leaf[1] = 3 + (int)rng_below(&r, 3);
		leaf[2] = 6 + (int)rng_below(&r, 3);
		for (int i = 0; i < 3; i++)
			guess[i] = (int)rng_below(&r, (uint64_t)store->leaves);
		wish(p, 3, guess);
		wrong += use(p, 1 + (int)rng_below(&r, 3), leaf) < 0;
	}
	is_long(wrong, 0, "wrong leaves in 2000 rounds of needs and guesses");
	slots_settle(p);
	const struct slots_count c = slots_counts(p);
	ok(c.hits + c.late <= c.taken && c.wasted <= c.ahead && c.ahead <= c.loads &&
		   c.bytes == (uint64_t)c.loads * STORE_ALIGN,
	   "counts that agree");
	slots_free(p);
}

int
main(void)
{
	char *file = strdup(temp("s.store"));

	tiny_make(&model, "swiglu", "linear");
	struct store_plan plan = tiny_plan(&model, false);
	if (store_write(&plan, file) != 0 || !(store = store_open(file, false)))
		abort();
	is_long(slots_room(store, slots_bytes(store, 5)), 5, "memory for five is room for five");
	is_long(slots_room(store, slots_bytes(store, 5) - 1), 4, "a byte less, for four");
	is_long(slots_room(store, 1 << 30), store->leaves, "never more than there are leaves");
	for (way = FETCH_ANY; way <= FETCH_THREADS; way++) {
		least_recent(1);
		least_recent(3);
		ahead();
		worth();
		churn();
		damaged();
	}
	way = FETCH_THREADS; /* whose pread is ours */
	wrong_guess();
	failing();
	way = FETCH_ANY;
	unreadable();
	for (way = FETCH_ANY; way <= FETCH_THREADS; way++)
		cut();
	store_close(store);
	tiny_free(&model);
	free(file);
	return done();
}
