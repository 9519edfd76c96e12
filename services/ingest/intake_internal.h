/* What the parts of an intake share: intake.c (turns and states), intake_commands.c (what connections ask for),
 * intakes.c (the set). */
#ifndef RUSHES_INGEST_INTAKE_INTERNAL_H
#define RUSHES_INGEST_INTAKE_INTERNAL_H

#include "fence.h"
#include "intake.h"
#include "turn.h"

#define INTAKE_BUCKETS 8192

/* A stream claims room for so many seconds of its rate. */
#define INTAKE_ROOM_S 60

struct intakes {
	struct intakes_options o;
	size_t count;
	bool draining;
	struct intake *buckets[INTAKE_BUCKETS];
	struct metric *saved, *failures;
	struct loop_timer *limits_timer, *grace_timer;
	struct metric_series *bytes, *flushes;
	struct intake *marked; /* those that wait for the journal */
	_Atomic bool is_news_posted;
};

struct intake {
	struct intake *next;
	struct intakes *set;
	struct uuid recording;
	char account_text[UUID_TEXT_BYTES], recording_text[UUID_TEXT_BYTES];
	struct trace trace;
	struct turn_facts facts;
	enum intake_state state;

	/* the connection */
	bool attached;
	struct intake_callbacks callbacks;
	void *arg;

	/* among nodes */
	int64_t epoch;	     /* that it holds; 0 while it is being opened */
	struct fence *fence; /* the owner that is being asked, or NULL */
	bool is_superseded;  /* by a connection to another node: it only closes its segment */

	/* bytes and limits */
	uint64_t received; /* offset behind the last byte that was taken */
	uint64_t acked;
	uint64_t max_bytes, max_duration_ms;
	bool send_on_stop;
	bool is_upload, is_single, is_repeatable;
	bool is_provisional; /* what the connection brings is, from `provisional_from` on */
	uint64_t provisional_from;
	struct intake_upload upload; /* by tus */
	int64_t max_idle_ms;	     /* 0: none */
	int64_t opened_us;	     /* monotonic, as all here; pauses are not counted */
	int64_t paused_us;	     /* since when nothing is recorded; 0: it is */
	int64_t heard_us;	     /* when the connection last brought bytes or a message */

	/* its claim of room */
	bool has_declared;
	uint64_t declared_bytes, written; /* offset behind the last byte in the spool */
	int64_t keep_room_ms;
	uint64_t rate; /* bytes per second, as measured from here on: */
	uint64_t measured_written;
	int64_t measured_us; /* monotonic */

	struct chunks queue;
	bool is_full; /* the connection was told to pause */

	/* the work: `turn` is the pool's while `running` */
	bool running;
	struct turn turn;
	struct turn_todo want; /* for the next turn */
	bool clear;	       /* it failed meanwhile: what the running turn leaves undone is dropped */
	bool clear_bytes;      /* likewise the bytes alone */
	unsigned busy;	       /* depth of calls that must not free it */
	struct loop_timer *flush_timer, *wait_timer;
	bool waiting;		  /* for the next try */
	bool lingering;		  /* for a connection */
	bool at_once;		  /* without lingering */
	int64_t failing_since_us; /* monotonic; 0: the last turn succeeded */

	/* what becomes durable with a batch of the journal */
	struct segment_mark marks[SEGMENT_MARKS_MAX];
	unsigned n_marks;
	struct intake *marked_next, **marked_at;

	/* news for the connection */
	bool announce, announcing; /* on_open: with the next turn, with this one */
	bool is_copied, is_recovered, is_empty, is_deleted;
	const char *limit_code; /* the limit that ended it, or NULL */
};

unsigned intake_bucket(const struct uuid *recording);
void intake_free(struct intake *i);

void intake_set_state(struct intake *i, enum intake_state to);

/* Its claim of room: made with it, kept up with what is written, given back when nothing more comes. */
int intake_claim_room(struct intake *i, struct error *e) _must_check_;
void intake_measure_room(struct intake *i);
void intake_leave_room(struct intake *i);

/* What the last turn gave to the journal is acknowledged when that has it. */
void intake_take_marks(struct intake *i);
void intake_unmark(struct intake *i);

/* The end of every entry into an intake: more work, a wait, or the end. Nothing may touch it afterwards. */
void intake_settle(struct intake *i);

/* Ends it for its connection, which is told. */
void intake_fail(struct intake *i, const char *code, const char *message, bool retry);

/* The connection goes: what it brought provisionally is dropped. */
void intake_drop_provisional(struct intake *i);

/* The recording reached a limit of its environment: what came is saved, truncated. */
void intake_end_by_limit(struct intake *i, const char *code);
bool intake_is_too_long(const struct intake *i);

/* PostgreSQL has answered nobody for a while (store/db.h): what can go on without it does, and who begins is refused.
 */
bool intakes_lack_database(const struct intakes *s);

/* Timers. */
void intakes_look_at_limits(void *intakes);
void intakes_grace_over(void *intakes);

/* Whether something was asked for or came that no turn has done yet. */
bool intake_has_work(const struct intake *i);

/* During a stop: what was to be finished here is. */
void intake_finished_in_drain(struct intake *i);
void intake_flush_due(void *arg);
void intake_wait_over(void *arg);

struct log_context intake_context(const struct intake *i);

#endif
