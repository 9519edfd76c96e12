/* The journal of a spool: what was committed is read again after any end, what was not is cut, whatever else lies in
 * its files. */
#include "base/clock.h"
#include "base/thread.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "spool/journal.h"
#include "spool/journal_internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define TOTAL JOURNAL_TOTAL_MIN
/* Each waits two seconds for room. */
#define APPEND_TRIES 30
/* of a millisecond, for a batch */
#define WAITS_MAX 60000

static const uint8_t key_a[32] = {1}, key_b[32] = {2};

struct world {
	char path[64];
	int folder;
	struct uuid node;
	struct journal *j;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	if (!w)
		return -1;
	(void)snprintf(w->path, sizeof(w->path), "/tmp/rushes-journal-XXXXXX");
	if (!mkdtemp(w->path))
		return -1;
	w->folder = open(w->path, O_RDONLY | O_DIRECTORY);
	w->node = uuid_v4();
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	journal_free(w->j);
	for (unsigned f = 0; f < JOURNAL_FILES; f++) {
		char name[64];
		(void)snprintf(name, sizeof(name), "generation-%u", f);
		(void)unlinkat(w->folder, name, 0);
	}
	(void)close(w->folder);
	(void)rmdir(w->path);
	free(w);
	return 0;
}

static void open_journal(struct world *w)
{
	const struct journal_options o = {.folder_fd = w->folder, .node = w->node, .total_bytes = TOTAL, .tick_ms = 1};
	struct error e = {0};
	if (journal_open(&o, &w->j, &e) < 0)
		fail_msg("%s", e.text);
}

static void start(struct world *w)
{
	open_journal(w);
	assert_int_equal(journal_start(w->j, NULL), 0);
}

static void stop(struct world *w)
{
	journal_free(TAKE_PTR(w->j));
}

static void wait_for(struct world *w, uint64_t batch)
{
	for (int i = 0; i < WAITS_MAX && journal_durable(w->j) < batch && !journal_failed(w->j); i++)
		(void)usleep(1000);
	assert_false(journal_failed(w->j));
	assert_true(journal_durable(w->j) >= batch);
}

static uint8_t byte_of(const struct uuid *copy, uint64_t at)
{
	return (uint8_t)(copy->b[15] + at * 31 + (at >> 8));
}

static uint64_t append(struct journal_stream *s, const struct uuid *copy, uint64_t from, size_t n)
{
	_cleanup_(freep) uint8_t *data = malloc(n);
	uint64_t batch = 0;
	assert_non_null(data);
	for (size_t i = 0; i < n; i++)
		data[i] = byte_of(copy, from + i);
	int r = ERR_RETRY;
	for (int i = 0; r == ERR_RETRY && i < APPEND_TRIES; i++)
		r = journal_append(s, from, data, n, &batch, NULL);
	assert_int_equal(r, 0);
	return batch;
}

struct got {
	const struct uuid *copy;
	uint64_t at;
};

static int take(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	struct got *g = arg;
	(void)e;
	for (size_t i = 0; i < n; i++)
		assert_int_equal(data[i], byte_of(g->copy, g->at + i));
	g->at += n;
	return 0;
}

/* How far the bytes from `from` on go. */
static uint64_t read_from(struct world *w, const struct uuid *copy, const struct uuid *recording, const uint8_t *key,
			  uint64_t from)
{
	struct got g = {copy, from};
	assert_int_equal(journal_keep(w->j, copy, NULL), 0);
	assert_int_equal(journal_read(w->j, copy, recording, 3, key, from, take, &g, NULL), 0);
	return g.at;
}

static void what_was_committed_is_read(void **state)
{
	struct world *w = *state;
	struct uuid a = uuid_v7(), b = uuid_v7(), recording = uuid_v7();
	struct journal_stream *sa = NULL, *sb = NULL;
	start(w);
	assert_int_equal(journal_stream_new(w->j, &a, &recording, 3, key_a, &sa, NULL), 0);
	assert_int_equal(journal_stream_new(w->j, &b, &recording, 3, key_b, &sb, NULL), 0);
	uint64_t at = 0, last = 0;
	for (size_t n = 1; n < 70000; n = n * 3 + 1) {
		(void)append(sa, &a, at, n);
		last = append(sb, &b, at, n);
		at += n;
	}
	wait_for(w, last);
	journal_stream_leave(sa, UINT64_MAX);
	journal_stream_leave(sb, UINT64_MAX);
	/* in the process that wrote it */
	assert_int_equal(read_from(w, &a, &recording, key_a, 0), at);
	stop(w);
	/* and in the next */
	open_journal(w);
	assert_int_equal(read_from(w, &a, &recording, key_a, 0), at);
	assert_int_equal(read_from(w, &b, &recording, key_b, 0), at);
	assert_int_equal(read_from(w, &b, &recording, key_b, at - 5), at);
	assert_int_equal(read_from(w, &b, &recording, key_b, at + 1), at + 1);
	/* a key or an identity that is another's opens nothing */
	struct uuid other = uuid_v7();
	assert_int_equal(read_from(w, &b, &recording, key_a, 0), 0);
	assert_int_equal(read_from(w, &b, &other, key_b, 0), 0);
	assert_int_equal(read_from(w, &other, &recording, key_b, 0), 0);
	/* not even some of the plaintext */
	assert_int_equal(journal_start(w->j, NULL), 0);
}

static void a_gap_ends_what_is_read(void **state)
{
	struct world *w = *state;
	struct uuid a = uuid_v7(), recording = uuid_v7();
	struct journal_stream *s = NULL;
	start(w);
	assert_int_equal(journal_stream_new(w->j, &a, &recording, 3, key_a, &s, NULL), 0);
	/* out of order, overlapping, and with a hole */
	(void)append(s, &a, 500, 500);
	(void)append(s, &a, 0, 400);
	(void)append(s, &a, 300, 300);
	wait_for(w, append(s, &a, 1001, 100));
	journal_stream_leave(s, UINT64_MAX);
	stop(w);
	open_journal(w);
	assert_int_equal(read_from(w, &a, &recording, key_a, 0), 1000);
	assert_int_equal(read_from(w, &a, &recording, key_a, 1000), 1000);
	assert_int_equal(read_from(w, &a, &recording, key_a, 1001), 1101);
}

static int generation_fd(struct world *w, unsigned file)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "generation-%u", file);
	int fd = openat(w->folder, name, O_RDWR);
	assert_true(fd >= 0);
	return fd;
}

/* One short batch after another; where each begins in the first generation, and behind the last. */
static void write_batches(struct world *w, const struct uuid *copy, const struct uuid *recording, unsigned n,
			  uint64_t ret_at[])
{
	struct journal_stream *s = NULL;
	start(w);
	assert_int_equal(journal_stream_new(w->j, copy, recording, 3, key_a, &s, NULL), 0);
	for (unsigned i = 0; i < n; i++) {
		ret_at[i] = JOURNAL_HEADER_BYTES + (uint64_t)i * JOURNAL_BLOCK_BYTES;
		wait_for(w, append(s, copy, (uint64_t)i * 100, 100));
	}
	ret_at[n] = JOURNAL_HEADER_BYTES + (uint64_t)n * JOURNAL_BLOCK_BYTES;
	journal_stream_leave(s, UINT64_MAX);
	stop(w);
}

static void a_torn_batch_is_cut_at_every_byte(void **state)
{
	struct world *w = *state;
	struct uuid a = uuid_v7(), recording = uuid_v7();
	uint64_t at[4];
	write_batches(w, &a, &recording, 3, at);
	_cleanup_(closep) int fd = generation_fd(w, 0);
	uint8_t whole[JOURNAL_BLOCK_BYTES], torn[JOURNAL_BLOCK_BYTES];
	assert_int_equal(pread(fd, whole, sizeof(whole), (off_t)at[2]), sizeof(whole));
	size_t used = JOURNAL_BATCH_HEAD_BYTES + journal_record_bytes(100);
	for (size_t cut = 0; cut <= used; cut++) {
		/* what stood there before */
		random_bytes(torn, sizeof(torn));
		memcpy(torn, whole, cut);
		assert_int_equal(pwrite(fd, torn, sizeof(torn), (off_t)at[2]), sizeof(torn));
		open_journal(w);
		bool is_whole = memcmp(torn, whole, used) == 0;
		assert_int_equal(read_from(w, &a, &recording, key_a, 0), is_whole ? 300 : 200);
		stop(w);
	}
}

static void a_batch_that_rotted_takes_no_other_along(void **state)
{
	struct world *w = *state;
	struct uuid a = uuid_v7(), recording = uuid_v7();
	uint64_t at[6];
	write_batches(w, &a, &recording, 5, at);
	_cleanup_(closep) int fd = generation_fd(w, 0);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)at[2] + 100), 1);
	open_journal(w);
	assert_int_equal(journal_gaps(w->j), 1);
	assert_int_equal(read_from(w, &a, &recording, key_a, 0), 200);
	assert_int_equal(read_from(w, &a, &recording, key_a, 300), 500);
}

static void batches_in_another_order_or_of_another_lap_are_none(void **state)
{
	struct world *w = *state;
	struct uuid a = uuid_v7(), recording = uuid_v7();
	uint64_t at[6];
	uint8_t batches[5][JOURNAL_BLOCK_BYTES];
	write_batches(w, &a, &recording, 5, at);
	_cleanup_(closep) int fd = generation_fd(w, 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(pread(fd, batches[i], sizeof(batches[i]), (off_t)at[i]), sizeof(batches[i]));
	/* the second again behind the third: an older sequence */
	assert_int_equal(pwrite(fd, batches[1], sizeof(batches[1]), (off_t)at[3]), sizeof(batches[1]));
	open_journal(w);
	assert_int_equal(read_from(w, &a, &recording, key_a, 0), 300);
	assert_int_equal(read_from(w, &a, &recording, key_a, 400), 500);
	stop(w);
	/* what a former lap left behind the newest batch */
	struct journal_batch_head h;
	assert_int_equal(journal_batch_head_decode(batches[3], &w->node, &h, NULL), 0);
	h.generation++;
	h.sequence += 100;
	journal_batch_encode(&h, batches[3]);
	assert_int_equal(pwrite(fd, batches[3], sizeof(batches[3]), (off_t)at[3]), sizeof(batches[3]));
	open_journal(w);
	assert_int_equal(read_from(w, &a, &recording, key_a, 300), 300);
	stop(w);
	/* another node's */
	struct world other = *w;
	other.node = uuid_v4();
	open_journal(&other);
	assert_int_equal(read_from(&other, &a, &recording, key_a, 0), 0);
	stop(&other);
}

static void any_files_are_overcome(void **state)
{
	struct world *w = *state;
	struct uuid a = uuid_v7(), recording = uuid_v7();
	uint64_t at[3];
	write_batches(w, &a, &recording, 2, at);
	uint8_t noise[2 * JOURNAL_BLOCK_BYTES];
	for (unsigned round = 0; round < 4; round++) {
		_cleanup_(closep) int fd = generation_fd(w, round);
		random_bytes(noise, sizeof(noise));
		if (round == 3)
			assert_int_equal(ftruncate(fd, 5), 0);
		else
			assert_int_equal(pwrite(fd, noise, sizeof(noise), round == 1 ? 100 : 0), sizeof(noise));
		start(w);
		struct journal_stream *s = NULL;
		assert_int_equal(journal_stream_new(w->j, &a, &recording, 3, key_a, &s, NULL), 0);
		wait_for(w, append(s, &a, 0, 1000));
		journal_stream_leave(s, UINT64_MAX);
		stop(w);
		open_journal(w);
		assert_int_equal(read_from(w, &a, &recording, key_a, 0), 1000);
		stop(w);
	}
	/* of another size: made anew, when nothing in them is needed */
	const struct journal_options o = {.folder_fd = w->folder,
					  .node = w->node,
					  .total_bytes = 2 * TOTAL,
					  .tick_ms = 1};
	assert_int_equal(journal_open(&o, &w->j, NULL), 0);
	assert_int_equal(journal_start(w->j, NULL), 0);
	struct stat st;
	assert_int_equal(fstatat(w->folder, "generation-0", &st, 0), 0);
	assert_int_equal(st.st_size, 2 * TOTAL / JOURNAL_FILES);
}

/* Many times the journal's size goes through it: a stream that leaves a little unfinished from the beginning on, one
 * whose file takes what it wrote, and one that was left. */
static void unfinished_bytes_outlive_every_lap(void **state)
{
	struct world *w = *state;
	struct uuid slow = uuid_v7(), busy = uuid_v7(), left = uuid_v7(), recording = uuid_v7();
	struct journal_stream *ss = NULL, *sb = NULL, *sl = NULL;
	start(w);
	assert_int_equal(journal_stream_new(w->j, &slow, &recording, 3, key_a, &ss, NULL), 0);
	assert_int_equal(journal_stream_new(w->j, &busy, &recording, 3, key_a, &sb, NULL), 0);
	assert_int_equal(journal_stream_new(w->j, &left, &recording, 3, key_a, &sl, NULL), 0);
	(void)append(sl, &left, 0, 30000);
	wait_for(w, append(ss, &slow, 0, 30000));
	journal_stream_leave(sl, UINT64_MAX);
	uint64_t at = 0, last = 0;
	while (at < 5 * TOTAL) {
		last = append(sb, &busy, at, 20000);
		at += 20000;
		journal_stream_written(sb, at / 65504 * 65504);
		if (at % 1000000 == 0)
			(void)append(ss, &slow, 30000 + at / 1000000 - 1, 1);
	}
	wait_for(w, last);
	journal_stream_leave(ss, UINT64_MAX);
	journal_stream_leave(sb, UINT64_MAX);
	stop(w);
	open_journal(w);
	assert_int_equal(read_from(w, &slow, &recording, key_a, 0), 30000 + at / 1000000);
	assert_int_equal(read_from(w, &left, &recording, key_a, 0), 30000);
	assert_int_equal(read_from(w, &busy, &recording, key_a, at / 65504 * 65504), at);
	/* the same journal goes on with what is kept, and the laps go on */
	struct uuid next = uuid_v7();
	struct journal_stream *sn = NULL;
	assert_int_equal(journal_start(w->j, NULL), 0);
	assert_int_equal(journal_stream_new(w->j, &next, &recording, 3, key_b, &sn, NULL), 0);
	journal_forget(w->j, &busy);
	for (at = 0; at < 3 * TOTAL; at += 60000) {
		last = append(sn, &next, at, 60000);
		journal_stream_durable(sn, at);
	}
	wait_for(w, last);
	assert_int_equal(read_from(w, &left, &recording, key_a, 0), 30000);
	journal_stream_end(sn);
	stop(w);
	open_journal(w);
	assert_int_equal(read_from(w, &slow, &recording, key_a, 29990), 30000 + 5 * TOTAL / 1000000);
}

/* Segments that were left hold no more of the journal than what their files lack: the others always find room. */
static void what_was_left_gives_room(void **state)
{
	struct world *w = *state;
	struct uuid left[6], busy = uuid_v7(), recording = uuid_v7();
	struct journal_stream *s;
	start(w);
	for (unsigned i = 0; i < ARRAY_SIZE(left); i++) {
		left[i] = uuid_v7();
		assert_int_equal(journal_stream_new(w->j, &left[i], &recording, 3, key_a, &s, NULL), 0);
		for (uint64_t at = 0; at < TOTAL / 6; at += 9000)
			wait_for(w, append(s, &left[i], at, 9000));
		journal_stream_written(s, 10 * 65504);
		journal_stream_leave(s, UINT64_MAX);
	}
	assert_int_equal(journal_stream_new(w->j, &busy, &recording, 3, key_a, &s, NULL), 0);
	for (uint64_t at = 0; at < 3 * TOTAL; at += 9000) {
		(void)append(s, &busy, at, 9000);
		journal_stream_written(s, at / 65504 * 65504);
	}
	journal_stream_end(s);
	uint64_t end = (TOTAL / 6 + 8999) / 9000 * 9000;
	stop(w);
	open_journal(w);
	for (unsigned i = 0; i < ARRAY_SIZE(left); i++)
		assert_int_equal(read_from(w, &left[i], &recording, key_a, 10 * 65504), end);
}

/* Whoever appends is slowed down when nothing may be overwritten; what was given is not lost, and nothing waits for
 * ever. */
static void a_full_journal_asks_for_patience(void **state)
{
	struct world *w = *state;
	struct uuid a = uuid_v7(), b = uuid_v7(), recording = uuid_v7();
	struct journal_stream *sa = NULL, *sb = NULL;
	uint8_t data[60000] = {0};
	uint64_t batch = 0, at = 0;
	start(w);
	assert_int_equal(journal_stream_new(w->j, &a, &recording, 3, key_a, &sa, NULL), 0);
	/* nothing is ever written to its file */
	int r = 0;
	for (; r == 0 && at < 2 * TOTAL; at += sizeof(data))
		r = journal_append(sa, at, data, sizeof(data), &batch, NULL);
	assert_int_equal(r, ERR_RETRY);
	assert_true(at > TOTAL / 4);
	/* then it is: the next one finds room */
	journal_stream_durable(sa, at);
	assert_int_equal(journal_stream_new(w->j, &b, &recording, 3, key_a, &sb, NULL), 0);
	wait_for(w, append(sb, &b, 0, sizeof(data)));
	journal_stream_end(sa);
	journal_stream_end(sb);
}

static void streams_are_bounded(void **state)
{
	struct world *w = *state;
	struct journal_stream *s[64];
	start(w);
	size_t max = journal_streams_max(w->j), n = 0;
	assert_in_range(max, 1, ARRAY_SIZE(s) - 1);
	struct uuid copy = uuid_v7();
	for (; n < max; n++, copy = uuid_v7())
		assert_int_equal(journal_stream_new(w->j, &copy, &copy, 0, key_a, &s[n], NULL), 0);
	assert_int_equal(journal_stream_new(w->j, &copy, &copy, 0, key_a, &s[n], NULL), ERR_FULL);
	while (n > 0)
		journal_stream_end(s[--n]);
}

enum { THREADS = 6 };

struct writer {
	struct world *world;
	struct uuid copy, recording;
	struct journal_stream *stream;
	uint64_t to, last;
	pthread_t thread;
};

static void *write_much(void *arg)
{
	struct writer *x = arg;
	while (x->to < TOTAL / 2) {
		size_t n = 1 + x->to % 7001;
		x->last = append(x->stream, &x->copy, x->to, n);
		x->to += n;
		journal_stream_written(x->stream, x->to / 65504 * 65504);
	}
	return NULL;
}

static void many_threads_share_a_batch(void **state)
{
	struct world *w = *state;
	struct writer x[THREADS] = {0};
	start(w);
	for (unsigned i = 0; i < THREADS; i++) {
		x[i] = (struct writer){.world = w, .copy = uuid_v7(), .recording = uuid_v7()};
		assert_int_equal(journal_stream_new(w->j, &x[i].copy, &x[i].recording, 3, key_a, &x[i].stream, NULL),
				 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(thread_start(&x[i].thread, "writer", write_much, &x[i], NULL), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(x[i].thread, NULL), 0);
		wait_for(w, x[i].last);
		journal_stream_leave(x[i].stream, UINT64_MAX);
	}
	/* batches, not records, are what was flushed */
	stop(w);
	open_journal(w);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(read_from(w, &x[i].copy, &x[i].recording, key_a, x[i].to / 65504 * 65504), x[i].to);
}

static size_t records_in(struct world *w)
{
	size_t n = 0;
	_cleanup_(freep) uint8_t *bytes = malloc(TOTAL / JOURNAL_FILES);
	for (unsigned file = 0; file < JOURNAL_FILES; file++) {
		_cleanup_(closep) int fd = generation_fd(w, file);
		struct journal_batch_head h;
		assert_int_equal(pread(fd, bytes, TOTAL / JOURNAL_FILES, 0), TOTAL / JOURNAL_FILES);
		for (size_t at = 0; at < TOTAL / JOURNAL_FILES; at += JOURNAL_BLOCK_BYTES)
			if (journal_batch_head_decode(bytes + at, &w->node, &h, NULL) == 0)
				n += h.records;
	}
	return n;
}

static void an_idle_journal_keeps_nothing(void **state)
{
	struct world *w = *state;
	const struct journal_options o = {
	    .folder_fd = w->folder, .node = w->node, .total_bytes = TOTAL, .tick_ms = 1, .idle_ms = 50};
	struct uuid a = uuid_v7(), b = uuid_v7(), recording = uuid_v7();
	struct journal_stream *sa = NULL, *sb = NULL;
	assert_int_equal(journal_open(&o, &w->j, NULL), 0);
	assert_int_equal(journal_start(w->j, NULL), 0);
	assert_int_equal(journal_stream_new(w->j, &a, &recording, 3, key_a, &sa, NULL), 0);
	for (uint64_t at = 0; at < 2 * TOTAL; at += 50000) {
		(void)append(sa, &a, at, 50000);
		journal_stream_durable(sa, at);
	}
	/* one that is still there keeps all of it */
	assert_int_equal(journal_stream_new(w->j, &b, &recording, 3, key_a, &sb, NULL), 0);
	wait_for(w, append(sb, &b, 0, 1000));
	journal_stream_end(sa);
	(void)usleep(200000);
	assert_true(records_in(w) > 0);
	journal_stream_end(sb);
	for (unsigned i = 0; i < 1000 && records_in(w) > 0; i++)
		(void)usleep(10000);
	assert_int_equal(records_in(w), 0);
	/* and it goes on */
	assert_int_equal(journal_stream_new(w->j, &b, &recording, 3, key_a, &sb, NULL), 0);
	wait_for(w, append(sb, &b, 0, 1000));
	journal_stream_leave(sb, UINT64_MAX);
	stop(w);
	open_journal(w);
	assert_int_equal(read_from(w, &b, &recording, key_a, 0), 1000);
}

static void no_plaintext_lies_in_the_files(void **state)
{
	struct world *w = *state;
	struct uuid a = uuid_v7(), recording = uuid_v7();
	struct journal_stream *s = NULL;
	start(w);
	assert_int_equal(journal_stream_new(w->j, &a, &recording, 3, key_a, &s, NULL), 0);
	wait_for(w, append(s, &a, 0, 60000));
	journal_stream_end(s);
	stop(w);
	uint8_t sample[32];
	for (size_t i = 0; i < sizeof(sample); i++)
		sample[i] = byte_of(&a, 1000 + i);
	_cleanup_(freep) uint8_t *bytes = malloc(TOTAL / JOURNAL_FILES);
	_cleanup_(closep) int fd = generation_fd(w, 0);
	assert_int_equal(pread(fd, bytes, TOTAL / JOURNAL_FILES, 0), TOTAL / JOURNAL_FILES);
	assert_null(memmem(bytes, TOTAL / JOURNAL_FILES, sample, sizeof(sample)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(what_was_committed_is_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_gap_ends_what_is_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_torn_batch_is_cut_at_every_byte, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_batch_that_rotted_takes_no_other_along, setup, teardown),
	    cmocka_unit_test_setup_teardown(batches_in_another_order_or_of_another_lap_are_none, setup, teardown),
	    cmocka_unit_test_setup_teardown(any_files_are_overcome, setup, teardown),
	    cmocka_unit_test_setup_teardown(unfinished_bytes_outlive_every_lap, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_was_left_gives_room, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_full_journal_asks_for_patience, setup, teardown),
	    cmocka_unit_test_setup_teardown(streams_are_bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(many_threads_share_a_batch, setup, teardown),
	    cmocka_unit_test_setup_teardown(an_idle_journal_keeps_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(no_plaintext_lies_in_the_files, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
