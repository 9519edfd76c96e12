#include "intake.h"

#include "base/clock.h"
#include "intake_internal.h"
#include "node/worker.h"

#include <assert.h>
#include <string.h>

/* A database that is away is asked again after this, and given up for a waiting client after the limit; what is durable
 * and only has to be recorded waits as long as it takes. */
#define RETRY_MS      500
#define RETRY_SLOW_MS 5000
#define GIVE_UP_MS    15000

static const char *const state_names[INTAKE_STATE_MAX] = {
    [INTAKE_OPENING] = "opening", [INTAKE_RECEIVING] = "receiving", [INTAKE_STOPPED] = "stopped",
    [INTAKE_SAVING] = "saving",	  [INTAKE_SAVED] = "saved",	    [INTAKE_DISCARDING] = "discarding",
    [INTAKE_FAILED] = "failed",	  [INTAKE_ENDED] = "ended",
};

/* From state (row) to state: what is not here is a programming error. */
static const bool legal[INTAKE_STATE_MAX][INTAKE_STATE_MAX] = {
    [INTAKE_OPENING] =
	{[INTAKE_RECEIVING] = true, [INTAKE_SAVED] = true, [INTAKE_DISCARDING] = true, [INTAKE_FAILED] = true},
    [INTAKE_RECEIVING] = {[INTAKE_STOPPED] = true,
			  [INTAKE_SAVING] = true,
			  [INTAKE_DISCARDING] = true,
			  [INTAKE_FAILED] = true,
			  [INTAKE_ENDED] = true},
    [INTAKE_STOPPED] =
	{[INTAKE_SAVING] = true, [INTAKE_DISCARDING] = true, [INTAKE_FAILED] = true, [INTAKE_ENDED] = true},
    [INTAKE_SAVING] = {[INTAKE_SAVED] = true, [INTAKE_FAILED] = true},
    [INTAKE_SAVED] = {[INTAKE_FAILED] = true, [INTAKE_ENDED] = true},
    [INTAKE_DISCARDING] = {[INTAKE_FAILED] = true, [INTAKE_ENDED] = true},
    [INTAKE_FAILED] = {[INTAKE_ENDED] = true},
};

const char *intake_state_to_string(enum intake_state s)
{
	return state_names[s];
}

struct log_context intake_context(const struct intake *i)
{
	return (struct log_context){.account = i->account_text, .recording = i->recording_text, .trace = &i->trace};
}

void intake_set_state(struct intake *i, enum intake_state to)
{
	assert(legal[i->state][to]);
	struct log_context ctx = intake_context(i);
	log_debug(&ctx, "intake %s -> %s", state_names[i->state], state_names[to]);
	i->state = to;
	if (to == INTAKE_STOPPED || to == INTAKE_SAVING || to == INTAKE_SAVED || to == INTAKE_DISCARDING)
		room_release(i->set->o.host->room, &i->recording);
}

static bool todo_is_empty(const struct turn_todo *t)
{
	return !(t->open || t->verify || t->flush || t->end || t->check || t->save || t->discard || t->drop ||
		 t->set_length);
}

bool intake_has_work(const struct intake *i)
{
	return !todo_is_empty(&i->turn.todo) || !todo_is_empty(&i->want) || i->turn.bytes.head || i->queue.head ||
	       i->announce;
}

static void work(void *arg)
{
	turn_run(&((struct intake *)arg)->turn);
}

static void turn_done(void *arg);

/* What was asked for meanwhile joins what the last turn left undone. */
static void take_wishes(struct intake *i)
{
	struct turn_todo *t = &i->turn.todo, *w = &i->want;
	t->open |= w->open;
	t->verify |= w->verify;
	t->flush |= w->flush;
	t->end |= w->end;
	t->discard |= w->discard;
	t->drop |= w->drop;
	t->accept |= w->accept;
	if (w->set_length) {
		t->set_length = true;
		t->length = w->length;
	}
	if (w->check) {
		t->check = true;
		t->total = w->total;
	}
	if (w->save) {
		t->save = true;
		t->how = w->how;
	}
	*w = (struct turn_todo){0};
	/* what waits behind an acceptance is what is accepted */
	i->turn.is_provisional = i->is_provisional || t->accept;
	chunks_join(&i->turn.bytes, &i->queue, i->set->o.chunks);
}

/* What a turn left undone (the database is away) is done before more is taken, so that what waits has a limit. */
static bool has_backlog(const struct intake *i)
{
	return i->turn.bytes.bytes >= INTAKE_QUEUE_BYTES && !i->want.discard && !i->want.drop;
}

/* Who waits for the database may not hold up those who do not need it. */
static struct pool *pool_for(const struct intake *i)
{
	struct turn_todo todo = i->turn.todo;
	todo.flush = false;
	bool only_writes = todo_is_empty(&todo) && segment_is_open(i->turn.segment) && !i->turn.is_provisional;
	return only_writes ? i->set->o.writers : i->set->o.pool;
}

static void submit(struct intake *i)
{
	if (!has_backlog(i))
		take_wishes(i);
	struct pool *pool = pool_for(i);
	i->running = true;
	i->announcing = i->announce;
	i->announce = false;
	if (pool && pool_submit(pool, work, turn_done, i) == 0)
		return;
	/* the pool is full, or ending */
	i->running = false;
	i->announce = i->announcing;
	i->waiting = true;
	loop_timer_set(i->wait_timer, RETRY_MS);
}

static void leave(struct intake *i)
{
	struct intakes *s = i->set;
	intake_leave_room(i);
	if (i->state != INTAKE_ENDED)
		intake_set_state(i, INTAKE_ENDED);
	struct intake **at = &s->buckets[intake_bucket(&i->recording)];
	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	s->count--;
	struct uuid recording = i->recording;
	intake_free(i);
	fences_released(s->o.fences, &recording);
}

void intake_settle(struct intake *i)
{
	if (i->running || i->busy > 0)
		return;
	if (intake_has_work(i)) {
		if (!i->waiting)
			submit(i);
		return;
	}
	if (i->attached || i->waiting)
		return;
	if (!segment_is_open(i->turn.segment)) {
		leave(i);
	} else if (i->state == INTAKE_FAILED || i->at_once) {
		i->want.end = true;
		submit(i);
	} else if (!i->lingering) {
		i->lingering = true;
		loop_timer_set(i->wait_timer, i->set->o.linger_ms);
	}
}

static void clear_work(struct intake *i)
{
	i->turn.todo = (struct turn_todo){0};
	chunks_clear(&i->turn.bytes, i->set->o.chunks);
}

void intake_fail(struct intake *i, const char *code, const char *message, bool retry)
{
	if (i->state == INTAKE_FAILED)
		return;
	struct log_context ctx = intake_context(i);
	log_info(&ctx, "the connection of the recording ends: %s (%s)", code, message);
	metric_count(i->set->failures, code);
	i->clear = i->running;
	if (!i->running)
		clear_work(i);
	i->want = (struct turn_todo){0};
	i->announce = false;
	i->is_provisional = false;
	i->is_deleted = strcmp(code, "recording-deleted") == 0;
	chunks_clear(&i->queue, i->set->o.chunks);
	intake_set_state(i, INTAKE_FAILED);
	/* nobody will go on with a single upload that was refused, or that has no name to find it by */
	bool is_refused = !retry && strcmp(code, "superseded") != 0;
	i->want.discard = i->is_single && (is_refused || !i->is_repeatable) && !i->limit_code;
	if (!i->attached)
		return;
	i->attached = false;
	const struct intake_failure why = {code, message, retry};
	i->busy++;
	i->callbacks.on_failed(i->arg, &why);
	i->busy--;
}

/* Reasons by which rushes.session_refusal refuses: they are documented codes. */
static const char *refusal_in(const char *text)
{
	static const char *const reasons[] = {"session-revoked",      "account-closed", "trial-expired",
					      "subscription-expired", "link-revoked",	"link-expired",
					      "session-expired",      "unknown-session"};
	for (size_t r = 0; r < ARRAY_SIZE(reasons); r++)
		if (strstr(text, reasons[r]))
			return reasons[r];
	return "session-refused";
}

static void wait_and_retry(struct intake *i)
{
	int64_t now = clock_monotonic_us();
	if (!i->failing_since_us)
		i->failing_since_us = now;
	bool is_late = now - i->failing_since_us > (int64_t)GIVE_UP_MS * 1000;
	/* what is durable needs no client to be recorded; what isn't, the client still has */
	bool may_give_up = i->turn.step == TURN_OPEN || i->turn.step == TURN_WRITE;
	if (is_late && may_give_up && i->state != INTAKE_FAILED) {
		intake_fail(i, "unavailable", "the service cannot take the recording now", true);
		return;
	}
	i->waiting = true;
	loop_timer_set(i->wait_timer, is_late ? RETRY_SLOW_MS : RETRY_MS);
}

/* The segment of a failed recording has to be closed all the same, unless nobody wants it any more; at a stop the next
 * start-up scan does it. */
static void closing_failed(struct intake *i)
{
	struct turn *t = &i->turn;
	if (t->result == 0 || (t->step != TURN_END && t->step != TURN_DISCARD))
		return;
	if (t->is_disk) {
		/* the turn has left what it could not end: it is brought together from the journal */
		t->todo = (struct turn_todo){0};
		if (i->set->o.on_broken)
			i->set->o.on_broken(i->set->o.arg);
		return;
	}
	if (t->result == ERR_RETRY && !i->set->draining) {
		wait_and_retry(i);
		return;
	}
	if (t->result == ERR_CANCELLED || t->result == ERR_NOTFOUND)
		segment_drop(t->segment);
	else
		segment_leave(t->segment);
	t->todo = (struct turn_todo){0};
}

static void turn_failed(struct intake *i)
{
	struct turn *t = &i->turn;
	struct log_context ctx = intake_context(i);
	log_debug(&ctx, "turn stopped at step %d: %s", (int)t->step, t->error.text);
	if (t->is_disk) {
		log_error(&ctx, "the disk failed, the segment ends at its last durable byte: %s", t->error.text);
		if (i->set->o.on_broken)
			i->set->o.on_broken(i->set->o.arg);
		intake_fail(i, t->code, "the node cannot store more", true);
		return;
	}
	if (t->was_abandoned) {
		/* for a connection that came meanwhile it is opened after all */
		if (!i->attached)
			intake_fail(i, "gone", "it went before the recording was open", true);
		return;
	}
	switch (t->result) {
	case ERR_RETRY:
	case ERR_NOMEM:
		wait_and_retry(i);
		break;
	case ERR_FULL:
		intake_fail(i, "full", "the node is full", true);
		break;
	case ERR_DENIED:
		intake_fail(i, refusal_in(t->error.text), "the session may not record", false);
		break;
	case ERR_CONFLICT:
		intake_fail(i, t->code ? t->code : "superseded", "the recording goes on elsewhere", t->code != NULL);
		break;
	case ERR_CANCELLED:
	case ERR_NOTFOUND:
		segment_drop(t->segment);
		intake_fail(i, "recording-deleted", "the recording was deleted", false);
		break;
	case ERR_REJECT:
		intake_fail(i, t->code ? t->code : "bad-request", t->error.text,
			    t->code && strcmp(t->code, "bytes-mismatch") == 0 && t->durable < t->todo.total.bytes);
		break;
	default:
		log_error(&ctx, "%s", t->error.text);
		intake_fail(i, "internal", "an internal error", true);
	}
}

static void opened(struct intake *i)
{
	const struct turn_opening *o = &i->turn.opening;
	struct log_context ctx = intake_context(i);
	if (o->refused[0]) {
		bool is_deleted = strcmp(o->refused, "deleted") == 0;
		intake_fail(i, is_deleted ? "recording-deleted" : o->refused, "the session may not record this", false);
		return;
	}
	i->received = o->offset;
	i->acked = o->offset;
	i->provisional_from = o->offset;
	i->upload = o->upload;
	if (o->upload.has_length) {
		i->has_declared = true;
		i->declared_bytes = o->upload.length;
		i->turn.room = ROOM_UPLOAD;
	}
	i->turn.opening.upload = (struct intake_upload){0};
	i->max_bytes = MIN(i->max_bytes, o->max_bytes);
	i->max_duration_ms = MIN(i->max_duration_ms, o->max_duration_ms);
	i->max_idle_ms = o->max_idle_ms;
	i->send_on_stop |= o->send_on_stop;
	i->is_copied = o->is_copied;
	i->is_recovered = o->is_recovered;
	i->opened_us = i->heard_us = i->measured_us = clock_monotonic_us();
	i->written = i->measured_written = o->offset;
	i->epoch = segment_epoch(i->turn.segment);
	intake_set_state(i, o->is_finished ? INTAKE_SAVED : INTAKE_RECEIVING);
	log_info(&ctx, "%s at %llu", o->is_finished ? "finished before" : "receiving", (unsigned long long)o->offset);
	i->announcing = true;
}

static void saved(struct intake *i)
{
	const struct turn_save *how = &i->turn.todo.how;
	struct log_context ctx = intake_context(i);
	intake_set_state(i, INTAKE_SAVED);
	i->is_empty = !how->has_job && how->bytes == 0;
	if (i->is_empty) {
		log_info(&ctx, "nothing to save: discarded");
		return;
	}
	log_info(&ctx, "saved: %llu bytes, ended by %s%s", (unsigned long long)how->bytes, how->stop,
		 how->is_sent ? ", sent" : "");
	metric_count(i->set->saved, how->stop);
	fences_released(i->set->o.fences, &i->recording);
	if (how->has_job)
		worker_hint(i->set->o.bus, i->set->o.region, JOB_COPY, NULL, &how->job, &i->trace);
}

static void owner_answered(void *arg)
{
	struct intake *i = arg;
	i->fence = NULL;
	i->waiting = false;
	intake_settle(i);
}

/* Asks the node on which the recording is open to let it go; the turn that looks where it ends waits for the answer. */
static void ask_owner(struct intake *i)
{
	struct turn *t = &i->turn;
	t->is_fenced = true;
	if (i->state == INTAKE_OPENING)
		i->waiting = fence_ask(i->set->o.fences, segment_owner(t->segment), &i->recording,
				       segment_epoch(t->segment), &i->trace, owner_answered, i, &i->fence) == 0;
}

static void tell_discarded(struct intake *i)
{
	i->attached = false;
	i->callbacks.on_discarded(i->arg);
}

static void discarded(struct intake *i)
{
	struct log_context ctx = intake_context(i);
	log_info(&ctx, "discarded");
	metric_count(i->set->saved, "discarded");
	if (i->attached)
		tell_discarded(i);
}

/* Tells the connection what this turn changed. Each call may detach it. */
static void tell(struct intake *i)
{
	const struct turn *t = &i->turn;
	if (i->state == INTAKE_OPENING || i->state == INTAKE_FAILED || i->state == INTAKE_DISCARDING)
		return;
	bool is_news = i->acked < t->durable;
	i->acked = MAX(i->acked, t->durable);
	if (i->attached && i->announcing)
		i->callbacks.on_open(i->arg, &i->recording, i->received, i->send_on_stop);
	if (i->attached && is_news && i->callbacks.on_ack)
		i->callbacks.on_ack(i->arg, i->acked);
	if (i->state != INTAKE_SAVED || !(i->announcing || t->saved))
		return;
	if (i->limit_code)
		intake_fail(i, i->limit_code, "the limit of a recording is reached", false);
	else if (i->attached && i->is_empty)
		tell_discarded(i);
	else if (i->attached)
		i->callbacks.on_saved(i->arg, i->is_copied);
}

static void turn_succeeded(struct intake *i)
{
	const struct turn *t = &i->turn;
	i->failing_since_us = 0;
	if (t->wants_fence)
		ask_owner(i);
	if (t->opened && i->state == INTAKE_OPENING)
		opened(i);
	if (t->saved && i->state == INTAKE_SAVING)
		saved(i);
	tell(i);
	if (t->discarded && i->state == INTAKE_DISCARDING)
		discarded(i);
}

static void set_flush_timer(struct intake *i)
{
	int64_t since = segment_unflushed_since_us(i->turn.segment);
	if (since)
		loop_timer_set(i->flush_timer, MAX(1, SEGMENT_COMMIT_MS - (clock_monotonic_us() - since) / 1000));
}

/* A transcoder may begin to copy before the take is saved. */
static void hint_follower(struct intake *i)
{
	struct uuid job;
	int64_t number;
	if (segment_was_opened(i->turn.segment, &job, &number))
		worker_hint_early(i->set->o.bus, i->set->o.region, &job, (unsigned)number, &i->trace);
}

static void turn_done(void *arg)
{
	struct intake *i = arg;
	i->running = false;
	hint_follower(i);
	i->busy++;
	metric_add(i->set->bytes, (double)i->turn.written_bytes);
	if (i->turn.flush_us > 0)
		metric_observe(i->set->flushes, (double)i->turn.flush_us / 1e6);
	if (i->clear)
		clear_work(i);
	if (i->clear_bytes)
		chunks_clear(&i->turn.bytes, i->set->o.chunks);
	i->clear = i->clear_bytes = false;
	if (i->state == INTAKE_FAILED) {
		closing_failed(i);
	} else if (i->turn.result < 0) {
		tell(i);
		turn_failed(i);
	} else {
		turn_succeeded(i);
	}
	intake_take_marks(i);
	intake_measure_room(i);
	i->announcing = false;
	set_flush_timer(i);
	if (i->is_full && i->queue.bytes < INTAKE_QUEUE_BYTES / 2) {
		i->is_full = false;
		if (i->attached)
			i->callbacks.on_room(i->arg);
	}
	intake_finished_in_drain(i);
	i->busy--;
	intake_settle(i);
}

void intake_flush_due(void *arg)
{
	struct intake *i = arg;
	/* a running turn flushes by itself what is due, and sets the timer again */
	if (!i->running && segment_is_open(i->turn.segment))
		i->want.flush = true;
	intake_settle(i);
}

/* The wait is over: for the next try, or for a connection that did not come back. */
void intake_wait_over(void *arg)
{
	struct intake *i = arg;
	i->waiting = false;
	/* while the database is silent the row could not be closed, nor a client that comes back get another segment */
	if (i->lingering && !i->set->draining && intakes_lack_database(i->set)) {
		loop_timer_set(i->wait_timer, MAX(i->set->o.linger_ms, RETRY_MS));
		return;
	}
	if (i->lingering)
		i->at_once = true;
	i->lingering = false;
	intake_settle(i);
}
