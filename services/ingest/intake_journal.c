/* Acknowledgements that wait for the journal: part of intake.h. A turn leaves marks, which tell with which batch bytes
 * become durable; the journal's thread tells of a batch, and on the loop all intakes that wait for it are gone through.
 */
#include "intake_internal.h"

#include <stdatomic.h>

void intake_unmark(struct intake *i)
{
	if (i->marked_at) {
		*i->marked_at = i->marked_next;
		if (i->marked_next)
			i->marked_next->marked_at = i->marked_at;
	}
	i->marked_at = NULL;
	i->marked_next = NULL;
}

static void enlist(struct intake *i)
{
	struct intake **first = &i->set->marked;
	if (i->marked_at)
		return;
	i->marked_next = *first;
	if (*first)
		(*first)->marked_at = &i->marked_next;
	i->marked_at = first;
	*first = i;
}

static void acknowledge(struct intake *i, uint64_t offset)
{
	if (offset <= i->acked)
		return;
	i->acked = offset;
	/* while a turn runs the segment is its own: intake_take_marks() follows */
	if (!i->running)
		segment_tell_followers(i->turn.segment);
	if (i->attached && i->callbacks.on_ack)
		i->callbacks.on_ack(i->arg, offset);
}

static bool may_acknowledge(const struct intake *i)
{
	return i->state != INTAKE_OPENING && i->state != INTAKE_FAILED && i->state != INTAKE_DISCARDING;
}

/* Tells what became durable, and keeps what did not. */
static void look(struct intake *i)
{
	uint64_t durable = journal_durable(i->set->o.host->journal), offset = 0;
	unsigned kept = 0;
	for (unsigned m = 0; m < i->n_marks; m++) {
		if (i->marks[m].batch <= durable)
			offset = MAX(offset, i->marks[m].offset);
		else
			i->marks[kept++] = i->marks[m];
	}
	i->n_marks = kept;
	if (!may_acknowledge(i))
		i->n_marks = 0;
	else
		acknowledge(i, offset);
}

void intake_take_marks(struct intake *i)
{
	const struct turn *t = &i->turn;
	segment_tell_followers(t->segment);
	i->n_marks = t->n_marks;
	for (unsigned m = 0; m < t->n_marks; m++)
		i->marks[m] = t->marks[m];
	if (i->n_marks > 0)
		look(i);
	if (i->n_marks > 0)
		enlist(i);
}

/* On the loop. */
static void tell_all(void *arg)
{
	struct intakes *s = arg;
	s->is_news_posted = false;
	bool has_failed = journal_failed(s->o.host->journal);
	struct intake *i = s->marked, *next;
	s->marked = NULL;
	for (; i; i = next) {
		next = i->marked_next;
		i->marked_at = NULL;
		i->marked_next = NULL;
		i->busy++;
		look(i);
		if (i->n_marks > 0 && has_failed) {
			i->n_marks = 0;
			intake_fail(i, "storage-failed", "the node cannot store more", true);
		}
		if (i->n_marks > 0)
			enlist(i);
		i->busy--;
		intake_settle(i);
	}
}

void intakes_journal_changed(void *intakes)
{
	struct intakes *s = intakes;
	struct segment_host *h = s->o.host;
	if (journal_failed(h->journal) && !spool_is_read_only(h->spool)) {
		spool_set_read_only(h->spool);
		log_error(NULL, "ALARM: the journal cannot be written: this node takes nothing more");
	}
	if (!atomic_exchange(&s->is_news_posted, true))
		loop_post(s->o.loop, tell_all, s);
}
