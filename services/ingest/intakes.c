/* The set of a process's intakes: part of intake.h. */
#include "base/clock.h"
#include "intake_internal.h"
#include "net/http_parse.h"

#include <assert.h>
#include <string.h>

unsigned intake_bucket(const struct uuid *recording)
{
	/* the last bytes of a UUIDv7 are random */
	return (unsigned)(recording->b[14] << 8 | recording->b[15]) % INTAKE_BUCKETS;
}

static double count_of(void *arg)
{
	return (double)((struct intakes *)arg)->count;
}

static double waiting_of(void *arg)
{
	struct intakes *s = arg;
	return (double)slab_used(s->o.chunks) * CHUNK_BUFFER_BYTES;
}

struct metric *intakes_ended(struct metrics *m)
{
	static const char *const by_end[] = {"end", NULL};
	return metrics_counter(m, "rushes_ingest_recordings_total",
			       "Recordings that ended, by how: user, limit, upload, lost, discarded.", by_end);
}

int intakes_new(const struct intakes_options *o, struct intakes **ret, struct error *e)
{
	static const char *const by_code[] = {"code", NULL};
	struct intakes *s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(e);
	s->o = *o;
	s->saved = intakes_ended(o->metrics);
	s->failures = metrics_counter(o->metrics, "rushes_ingest_refusals_total",
				      "Connections of recordings that were ended with an error, by its code.", by_code);
	s->bytes = metric_series(metrics_counter(o->metrics, "rushes_ingest_bytes_total",
						 "Bytes of recordings sealed and written.", NULL),
				 NULL);
	static const double seconds[] = {0.001, 0.005, 0.02, 0.1, 0.5, 2, 10};
	s->flushes = metric_series(metrics_histogram(o->metrics, "rushes_ingest_flush_seconds",
						     "What it took to make written slots durable.", NULL, seconds,
						     ARRAY_SIZE(seconds)),
				   NULL);
	metrics_gauge_function(o->metrics, "rushes_ingest_recordings", "Recordings that are being received.", count_of,
			       s);
	metrics_gauge_function(o->metrics, "rushes_ingest_waiting_bytes", "Buffers that wait to be sealed and written.",
			       waiting_of, s);
	if (loop_timer_new(o->loop, intakes_look_at_limits, s, &s->limits_timer) < 0 ||
	    loop_timer_new(o->loop, intakes_grace_over, s, &s->grace_timer) < 0) {
		loop_timer_free(s->limits_timer);
		free(s);
		return error_nomem(e);
	}
	intakes_look_at_limits(s);
	*ret = s;
	return 0;
}

void intakes_free(struct intakes *s)
{
	if (!s)
		return;
	loop_timer_free(s->limits_timer);
	loop_timer_free(s->grace_timer);
	for (unsigned b = 0; b < INTAKE_BUCKETS; b++) {
		while (s->buckets[b]) {
			struct intake *i = s->buckets[b];
			s->buckets[b] = i->next;
			intake_free(i);
		}
	}
	free(s);
}

void intakes_close(struct intakes *s)
{
	s->o.pool = s->o.writers = NULL;
}

size_t intakes_count(const struct intakes *s)
{
	return s->count;
}

bool intakes_lack_database(const struct intakes *s)
{
	return db_pool_is_silent(s->o.host->db);
}

/* What each may leave unfinished has room in the journal. */
static size_t count_max(const struct intakes *s)
{
	const struct journal *j = s->o.host->journal;
	return j ? MIN((size_t)INTAKES_MAX, journal_streams_max(j)) : INTAKES_MAX;
}

bool intakes_have_room(const struct intakes *s)
{
	return s->count < count_max(s) && room_admits(s->o.host->room, s->o.stream_rate * INTAKE_ROOM_S);
}

struct slab *intakes_chunks(struct intakes *s)
{
	return s->o.chunks;
}

void intake_free(struct intake *i)
{
	if (!i)
		return;
	chunks_clear(&i->queue, i->set->o.chunks);
	chunks_clear(&i->turn.bytes, i->set->o.chunks);
	if (i->fence)
		fence_cancel(i->fence);
	intake_unmark(i);
	loop_timer_free(i->flush_timer);
	loop_timer_free(i->wait_timer);
	segment_free(i->turn.segment);
	turn_facts_done(&i->facts);
	free(i->turn.opening.upload.metadata);
	free(i->upload.metadata);
	free(i);
}

/* What is no UTF-8 is as good as unknown: the database would refuse all of it. */
static char *copy_text(const char *text)
{
	return text && http_utf8_valid(text, strlen(text)) ? strdup(text) : NULL;
}

static int fill(struct intake *i, const struct intake_start *start, struct error *e)
{
	struct intakes *s = i->set;
	i->recording = start->recording;
	uuid_format(&start->recording, i->recording_text);
	uuid_format(&start->account, i->account_text);
	i->trace = *start->trace;
	i->max_bytes = start->max_bytes;
	i->max_duration_ms = start->max_duration_ms;
	i->send_on_stop = start->send_on_stop;
	i->is_upload = start->is_upload;
	i->is_single = start->is_single;
	i->is_repeatable = start->is_repeatable;
	i->has_declared = start->has_declared;
	i->declared_bytes = start->declared_bytes;
	i->keep_room_ms = start->keep_room_ms;
	i->rate = s->o.stream_rate;
	i->facts = (struct turn_facts){.mime = copy_text(start->mime),
				       .ip = copy_text(start->ip),
				       .user_agent = copy_text(start->user_agent),
				       .devices = copy_text(start->devices),
				       .referrer = copy_text(start->referrer),
				       .file_name = copy_text(start->file_name),
				       .replaces = start->replaces,
				       .tus = start->tus};
	if (start->upload) {
		i->facts.has_length = start->upload->has_length;
		i->facts.length = start->upload->length;
		i->facts.metadata = copy_text(start->upload->metadata);
	}
	trace_format(start->trace, i->facts.trace);
	i->turn = (struct turn){.host = s->o.host,
				.chunk_pool = s->o.chunks,
				.room = start->has_declared ? ROOM_UPLOAD : ROOM_STREAM,
				.facts = &i->facts,
				.account = start->account,
				.session = start->session,
				.recording = start->recording,
				.acked = start->has_acked ? (int64_t)start->acked : SEGMENT_ACKED_UNKNOWN};
	if (loop_timer_new(s->o.loop, intake_flush_due, i, &i->flush_timer) < 0 ||
	    loop_timer_new(s->o.loop, intake_wait_over, i, &i->wait_timer) < 0)
		return error_nomem(e);
	return segment_new(s->o.host, &start->account, &start->session, &start->recording, &i->turn.segment, e);
}

static int create(struct intakes *s, const struct intake_start *start, struct intake **ret, struct error *e)
{
	if (s->draining)
		return error_set(e, ERR_RETRY, "this node is stopping");
	if (intakes_lack_database(s))
		return error_set(e, ERR_RETRY, "the database does not answer");
	if (s->count >= count_max(s))
		return error_set(e, ERR_FULL, "the node is full");
	struct intake *i = calloc(1, sizeof(*i));
	if (!i)
		return error_nomem(e);
	i->set = s;
	int r = fill(i, start, e);
	if (r == 0)
		r = intake_claim_room(i, e);
	if (r < 0) {
		intake_free(i);
		return r;
	}
	struct intake **bucket = &s->buckets[intake_bucket(&i->recording)];
	i->next = *bucket;
	*bucket = i;
	s->count++;
	i->want.open = true;
	*ret = i;
	return 0;
}

struct intake *intakes_find(struct intakes *s, const struct uuid *recording)
{
	struct intake *i = s->buckets[intake_bucket(recording)];
	while (i && !uuid_equal(&i->recording, recording))
		i = i->next;
	return i;
}

int intake_attach(struct intakes *s, const struct intake_start *start, const struct intake_callbacks *c, void *arg,
		  struct intake **ret, struct error *e)
{
	struct intake *i = intakes_find(s, &start->recording);
	bool is_new = !i;
	if (is_new) {
		int r = create(s, start, &i, e);
		if (r < 0)
			return r;
	}
	if (!uuid_equal(&i->turn.session, &start->session) || !uuid_equal(&i->turn.account, &start->account))
		return error_set(e, ERR_DENIED, "the recording belongs to another session");
	if (i->is_deleted)
		return error_set(e, ERR_CANCELLED, "the recording was deleted");
	if (s->draining || i->is_superseded || i->state == INTAKE_FAILED || i->state == INTAKE_DISCARDING)
		return error_set(e, ERR_RETRY, "the recording is being closed here");
	if ((start->tus == INTAKE_NO_TUS) != (i->facts.tus == INTAKE_NO_TUS))
		return error_set(e, ERR_DENIED, "an upload and a stream are two recordings");
	i->busy++;
	intake_drop_provisional(i);
	if (i->attached) {
		i->attached = false;
		const struct intake_failure why = {"superseded", "a newer connection of this recording came", false};
		i->callbacks.on_failed(i->arg, &why);
	}
	i->callbacks = *c;
	i->arg = arg;
	i->attached = true;
	i->turn.is_abandoned = false;
	i->heard_us = clock_monotonic_us();
	i->at_once = false;
	if (i->lingering)
		loop_timer_cancel(i->wait_timer);
	i->lingering = false;
	i->is_provisional = start->is_provisional;
	i->provisional_from = i->received;
	/* the offset that an upload by tus is told is durable */
	i->want.end |= start->tus != INTAKE_NO_TUS && i->state == INTAKE_RECEIVING && i->received > i->acked;
	i->want.verify |=
	    !is_new && (i->state == INTAKE_RECEIVING || i->state == INTAKE_STOPPED) && !intakes_lack_database(s);
	/* told at the end of the next turn, when what was received is flushed as well */
	i->announce = i->state != INTAKE_OPENING;
	*ret = i;
	i->busy--;
	intake_settle(i);
	return 0;
}

size_t intakes_attached(struct intakes *s, bool only_saved, struct uuid *ret, int64_t *ret_epochs, size_t max)
{
	size_t n = 0;
	for (unsigned b = 0; b < INTAKE_BUCKETS; b++) {
		for (const struct intake *i = s->buckets[b]; i && n < max; i = i->next) {
			bool is_saved = i->state == INTAKE_SAVED;
			if (!i->attached || !(only_saved ? is_saved && !i->is_copied && !i->is_empty
							 : i->state == INTAKE_RECEIVING || i->state == INTAKE_STOPPED))
				continue;
			ret[n] = i->recording;
			ret_epochs[n++] = i->epoch;
		}
	}
	return n;
}

/* Beside what a running turn holds. */
static uint64_t waiting_bytes(const struct intake *i)
{
	return i->queue.bytes + (i->running ? 0 : i->turn.bytes.bytes);
}

/* Most intakes shown one by one. */
#define DEBUG_MAX 500

json_t *intakes_debug(void *intakes)
{
	struct intakes *s = intakes;
	json_t *list = json_array();
	size_t shown = 0;
	for (unsigned b = 0; b < INTAKE_BUCKETS; b++) {
		for (const struct intake *i = s->buckets[b]; i && shown < DEBUG_MAX; i = i->next, shown++) {
			json_t *one = json_pack("{s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:I}", "recording",
						i->recording_text, "account", i->account_text, "state",
						intake_state_to_string(i->state), "connected", i->attached, "working",
						i->running, "received", (json_int_t)i->received, "durable",
						(json_int_t)i->acked, "waiting", (json_int_t)waiting_bytes(i));
			(void)json_array_append_new(list, one);
		}
	}
	return json_pack("{s:I, s:b, s:o}", "count", (json_int_t)s->count, "draining", s->draining, "recordings", list);
}
