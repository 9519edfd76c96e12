/* What connections and polls ask of an intake: part of intake.h. */
#include "base/clock.h"
#include "intake_internal.h"

void intake_drop_provisional(struct intake *i)
{
	bool is_receiving = i->is_provisional && i->state == INTAKE_RECEIVING;
	i->is_provisional = false;
	if (!is_receiving)
		return;
	i->received = i->written = i->provisional_from;
	i->measured_written = MIN(i->measured_written, i->written);
	chunks_clear(&i->queue, i->set->o.chunks);
	i->clear_bytes = i->running;
	if (!i->running)
		chunks_clear(&i->turn.bytes, i->set->o.chunks);
	i->want.drop = true;
}

void intake_accept(struct intake *i)
{
	if (i->is_provisional) {
		i->is_provisional = false;
		i->want.end = i->want.accept = true;
	}
	intake_settle(i);
}

void intake_set_length(struct intake *i, uint64_t length)
{
	i->upload.has_length = true;
	i->upload.length = length;
	i->want.set_length = true;
	i->want.length = length;
	i->has_declared = true;
	i->declared_bytes = length;
	intake_settle(i);
}

void intake_detach(struct intake *i, bool at_once)
{
	intake_drop_provisional(i);
	i->attached = false;
	i->turn.is_abandoned = true;
	i->at_once = at_once;
	intake_settle(i);
}

static void heard(struct intake *i)
{
	i->heard_us = clock_monotonic_us();
}

int intake_give(struct intake *i, uint64_t offset, struct chunks *bytes, struct error *e)
{
	struct slab *pool = i->set->o.chunks;
	/* what was on its way when the limit was reached is not the client's fault: it is told of the limit, not of
	 * these */
	if (i->limit_code) {
		chunks_clear(bytes, pool);
		return 0;
	}
	if (i->state != INTAKE_RECEIVING)
		return error_set(e, ERR_REJECT, "no bytes may come now: the recording is %s",
				 intake_state_to_string(i->state));
	if (offset > i->received)
		return error_set(e, ERR_CONFLICT, "the bytes from %llu to %llu are missing",
				 (unsigned long long)i->received, (unsigned long long)offset);
	heard(i);
	if (i->paused_us)
		i->opened_us += i->heard_us - i->paused_us;
	i->paused_us = 0;
	chunks_skip(bytes, pool, MIN(i->received - offset, bytes->bytes));
	uint64_t room = i->max_bytes > i->received ? i->max_bytes - i->received : 0;
	if (bytes->bytes > room) {
		chunks_cut(bytes, pool, room);
		intake_end_by_limit(i, "too-large");
	} else if (intake_is_too_long(i)) {
		intake_end_by_limit(i, "too-long");
	}
	i->received += bytes->bytes;
	chunks_join(&i->queue, bytes, pool);
	i->is_full = i->queue.bytes >= INTAKE_QUEUE_BYTES;
	intake_settle(i);
	return 0;
}

bool intake_is_full(const struct intake *i)
{
	return i->is_full;
}

uint64_t intake_received(const struct intake *i)
{
	return i->received;
}

uint64_t intake_durable(const struct intake *i)
{
	return i->acked;
}

uint64_t intake_max_bytes(const struct intake *i)
{
	return i->max_bytes;
}

const struct intake_upload *intake_upload(const struct intake *i)
{
	return i->facts.tus == INTAKE_NO_TUS ? NULL : &i->upload;
}

struct uuid intake_recording(const struct intake *i)
{
	return i->recording;
}

bool intake_is_recovered(const struct intake *i)
{
	return i->is_recovered;
}

enum intake_state intake_state(const struct intake *i)
{
	return i->state;
}

void intake_sync(struct intake *i)
{
	heard(i);
	if (i->state == INTAKE_RECEIVING && i->received > i->acked) {
		i->want.flush |= i->set->o.host->journal != NULL;
		i->want.end |= !i->set->o.host->journal;
	}
	intake_settle(i);
}

void intake_pause(struct intake *i)
{
	heard(i);
	if (i->state == INTAKE_RECEIVING) {
		/* a segment that ends needs the database for the next one: without it the journal alone makes it
		 * durable, and bytes may follow */
		bool stays_open = i->set->o.host->journal && intakes_lack_database(i->set);
		i->want.flush |= stays_open;
		i->want.end |= !stays_open;
		i->paused_us = i->heard_us;
	}
	intake_settle(i);
}

static void release(struct intake *i)
{
	intake_set_state(i, INTAKE_SAVING);
	i->want.end = true;
	i->want.save = true;
	i->want.how = (struct turn_save){.stop = i->is_upload ? "upload" : "user", .is_sent = true};
}

void intake_stop(struct intake *i, const struct intake_total *t)
{
	heard(i);
	if (i->state == INTAKE_RECEIVING) {
		intake_set_state(i, INTAKE_STOPPED);
		i->want.end = true;
		i->want.check = true;
		i->want.total = *t;
		if (i->send_on_stop)
			release(i);
	}
	intake_settle(i);
}

void intake_send(struct intake *i)
{
	if (i->state == INTAKE_RECEIVING || i->state == INTAKE_STOPPED)
		release(i);
	intake_settle(i);
}

void intake_abort(struct intake *i)
{
	if (i->state == INTAKE_OPENING || i->state == INTAKE_RECEIVING || i->state == INTAKE_STOPPED) {
		intake_set_state(i, INTAKE_DISCARDING);
		i->want = (struct turn_todo){.discard = true};
		i->announce = false;
		chunks_clear(&i->queue, i->set->o.chunks);
	}
	intake_settle(i);
}

bool intake_supersede(struct intake *i)
{
	if (i->state == INTAKE_OPENING || i->state == INTAKE_SAVED || i->state == INTAKE_ENDED)
		return false;
	i->busy++;
	if (i->state == INTAKE_RECEIVING || i->state == INTAKE_STOPPED) {
		i->is_superseded = true;
		i->at_once = true;
		i->want.end = true;
		if (i->lingering) {
			loop_timer_cancel(i->wait_timer);
			i->lingering = false;
		}
		if (i->attached) {
			i->attached = false;
			const struct intake_failure why = {"superseded", "the recording goes on at another node",
							   false};
			i->callbacks.on_failed(i->arg, &why);
		}
	}
	i->busy--;
	intake_settle(i);
	return true;
}

void intake_revoked(struct intake *i, const char *code)
{
	i->busy++;
	if (i->state == INTAKE_OPENING || i->state == INTAKE_RECEIVING || i->state == INTAKE_STOPPED)
		intake_fail(i, code, "the session may not record any more", false);
	i->busy--;
	intake_settle(i);
}

void intake_copied(struct intake *i)
{
	bool is_news = !i->is_copied;
	i->is_copied = true;
	i->busy++;
	if (is_news && i->attached && i->callbacks.on_copied)
		i->callbacks.on_copied(i->arg);
	i->busy--;
	intake_settle(i);
}

void intake_hold(struct intake *i)
{
	i->busy++;
}

void intake_let_go(struct intake *i)
{
	i->busy--;
	intake_settle(i);
}
