#include "node/keeper.h"

#include "base/clock.h"
#include "base/log.h"
#include "node/reconcile.h"
#include "node/slice.h"
#include "node/witness.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

/* A spool counts as silent after 30 s without a beat (node_silence in the schema). */
#define BEAT_MS	 5000
#define TURN_MS	 1000
#define SWEEP_MS 2000
/* Abandoned `incoming` copies of failed attempts, and the whole walk over rows and files. */
#define ABANDONED_MS	  60000
#define RECONCILE_MS	  900000
#define START_DEADLINE_MS 60000
#define START_RETRY_MS	  500
/* The pause after a failure, so that a database that is away is not asked in a tight circle. */
#define FAILURE_PAUSE_MS 2000
#define GOING_BATCH	 100

struct keeper {
	struct keeper_options o;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ending, woken; /* protected by lock, as the counters */
	uint64_t removed, decided;
	struct reconcile_result last;
	int64_t last_reconcile_us;
	char trouble[ERROR_TEXT_BYTES];
	/* the thread's own */
	int64_t beat_due, sweep_due, abandoned_due, reconcile_due;
	struct metric_series *removed_total;
};

static int reconcile_all(struct keeper *k, bool with_files, struct error *e);

/* Somebody attested that this disk is destroyed, and its copies are gone by the ledger: their files go, and nothing is
 * taken any more. */
static int leave(struct keeper *k, struct error *e)
{
	int r = reconcile_all(k, true, e);
	if (r < 0)
		return r;
	r = error_set(
	    e, ERR_FATAL,
	    "spool %s was retired: what the ledger calls gone is removed from it, and it is not used again; give the "
	    "service an empty folder",
	    spool_node_text(k->o.spool));
	if (k->o.service)
		service_fail(k->o.service, e);
	return r;
}

static int beat(struct keeper *k, struct error *e)
{
	static const struct db_statement st = {
	    "node_beat", "SELECT rushes.node_beat($1::uuid, $2, $3, $4, $5::bigint, $6::bigint, $7::boolean)", 7};
	const struct witness w = {.spool = k->o.spool, .peer_url = k->o.peer_url, .db = k->o.db};
	uint64_t capacity = 0, available = 0;
	int r = spool_room(k->o.spool, &capacity, &available, e);
	/* before the beat, which would make an old copy of the database look fresh */
	if (r == 0)
		r = witness_tell(&w, e);
	if (r < 0)
		return r;
	char c[DB_INT_BYTES], f[DB_INT_BYTES];
	const char *params[] = {spool_node_text(k->o.spool),
				spool_region(k->o.spool),
				spool_service(k->o.spool),
				k->o.peer_url,
				db_param_int((int64_t)capacity, c),
				db_param_int((int64_t)available, f),
				db_param_bool(spool_is_read_only(k->o.spool))};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	r = db_run(k->o.db, &st, params, &rows, e);
	return r == 0 && strcmp(db_text(rows, 0, 0), "retired") == 0 ? leave(k, e) : r;
}

/* Removes what is going, confirms each. A copy that cannot be removed is tried again at the next turn. */
static int remove_going(struct keeper *k, struct error *e)
{
	static const struct db_statement st = {
	    "copies_going", "SELECT copy, recording, rule FROM rushes.copies_going($1::uuid, $2::integer)", 2};
	char limit[DB_INT_BYTES];
	for (size_t n = GOING_BATCH; n == GOING_BATCH;) {
		_cleanup_(db_result_freep) struct db_result *rows = NULL;
		int r =
		    db_run(k->o.db, &st,
			   (const char *[]){spool_node_text(k->o.spool), db_param_int(GOING_BATCH, limit)}, &rows, e);
		if (r < 0)
			return r;
		n = db_rows(rows);
		for (size_t i = 0; i < n; i++) {
			struct uuid copy;
			if (!db_uuid(rows, i, 0, &copy))
				continue;
			r = reconcile_remove(k->o.spool, k->o.db, &copy, "unlinked", e);
			if (r < 0)
				return error_wrap(e, "copy %s is going", db_text(rows, i, 0));
			struct log_context ctx = {.copy = db_text(rows, i, 0), .recording = db_text(rows, i, 1)};
			log_info(&ctx, "removed, rule %s",
				 db_text(rows, i, 2) ? db_text(rows, i, 2) : "none: it was never complete");
			metric_add(k->removed_total, 1);
			(void)pthread_mutex_lock(&k->lock);
			k->removed++;
			(void)pthread_mutex_unlock(&k->lock);
		}
	}
	return 0;
}

static int sweep(struct keeper *k, struct error *e)
{
	unsigned decided = 0;
	int r = slice_sweep(k->o.db, spool_service(k->o.spool), k->o.metrics, &decided, e);
	(void)pthread_mutex_lock(&k->lock);
	k->decided += decided;
	(void)pthread_mutex_unlock(&k->lock);
	return r;
}

static int reconcile_all(struct keeper *k, bool with_files, struct error *e)
{
	struct reconcile_options o = {.spool = k->o.spool,
				      .db = k->o.db,
				      .metrics = k->o.metrics,
				      .is_live = k->o.is_live,
				      .arg = k->o.arg,
				      .with_files = with_files};
	struct reconcile_result result = {0};
	int r = reconcile_run(&o, &result, e);
	if (r == 0 && with_files) {
		(void)pthread_mutex_lock(&k->lock);
		k->last = result;
		k->last_reconcile_us = clock_wall_us();
		(void)pthread_mutex_unlock(&k->lock);
	}
	return r;
}

static bool is_due(int64_t *due, int64_t period_ms)
{
	int64_t now = clock_monotonic_us();
	if (now < *due)
		return false;
	*due = now + period_ms * 1000;
	return true;
}

static int turn(struct keeper *k, struct error *e)
{
	int r = 0;
	if (is_due(&k->beat_due, BEAT_MS))
		r = beat(k, e);
	if (r == 0 && is_due(&k->sweep_due, SWEEP_MS))
		r = sweep(k, e);
	/* a clock that is off stops decisions, not the removal of what was decided */
	if (r == 0 || r == ERR_DENIED) {
		struct error removal = {0};
		int going = remove_going(k, &removal);
		if (r == 0 && going < 0)
			r = error_set(e, going, "%s", removal.text);
	}
	if (r == 0 && is_due(&k->reconcile_due, RECONCILE_MS))
		return reconcile_all(k, true, e);
	if (r == 0 && is_due(&k->abandoned_due, ABANDONED_MS))
		return reconcile_all(k, false, e);
	return r;
}

/* Says a trouble once when it begins, and once when it has passed. */
static void note_trouble(struct keeper *k, const char *text)
{
	(void)pthread_mutex_lock(&k->lock);
	bool had = k->trouble[0] != '\0';
	(void)snprintf(k->trouble, sizeof(k->trouble), "%s", text);
	(void)pthread_mutex_unlock(&k->lock);
	if (text[0] && !had)
		log_warning(NULL, "keeping the spool is held up: %s", text);
	else if (!text[0] && had)
		log_info(NULL, "keeping the spool goes on");
}

/* Waits for a wake-up or the time; false when the keeper ends. */
static bool rest(struct keeper *k, int64_t ms)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_mutex_lock(&k->lock);
	int r = 0;
	while (!k->ending && !k->woken && r == 0)
		r = pthread_cond_timedwait(&k->wake, &k->lock, &until);
	bool go_on = !k->ending;
	k->woken = false;
	(void)pthread_mutex_unlock(&k->lock);
	return go_on;
}

static void *thread_main(void *arg)
{
	struct keeper *k = arg;
	int64_t pause = TURN_MS;
	while (rest(k, pause)) {
		struct error e = {0};
		int r = turn(k, &e);
		note_trouble(k, r < 0 ? e.text : "");
		pause = r < 0 ? FAILURE_PAUSE_MS : TURN_MS;
		if (r < 0)
			k->beat_due = 0;
	}
	return NULL;
}

/* The first agreement, before the service takes anything: waits for a database that is away. */
static int first_turn(struct keeper *k, struct error *e)
{
	int64_t deadline = clock_monotonic_us() + (int64_t)START_DEADLINE_MS * 1000;
	for (;;) {
		int r = beat(k, e);
		if (r == 0)
			r = reconcile_all(k, true, e);
		if (r != ERR_RETRY || clock_monotonic_us() > deadline)
			return r;
		log_warning(NULL, "waiting for the database: %s", e ? e->text : "");
		(void)rest(k, START_RETRY_MS);
	}
}

int keeper_start(const struct keeper_options *o, struct keeper **ret, struct error *e)
{
	_cleanup_(keeper_freep) struct keeper *k = calloc(1, sizeof(*k));
	if (!k)
		return error_nomem(e);
	k->o = *o;
	(void)pthread_mutex_init(&k->lock, NULL);
	pthread_condattr_t attributes;
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&k->wake, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	k->removed_total = metric_series(metrics_counter(o->metrics, "rushes_spool_removed_total",
							 "Copies that this spool removed and confirmed.", NULL),
					 NULL);
	int r = first_turn(k, e);
	if (r < 0)
		return error_wrap(e, "cannot bring spool and database into agreement");
	int64_t now = clock_monotonic_us();
	k->beat_due = now + BEAT_MS * 1000;
	k->abandoned_due = now + (int64_t)ABANDONED_MS * 1000;
	k->reconcile_due = now + (int64_t)RECONCILE_MS * 1000;

	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&k->thread, NULL, thread_main, k);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return error_set_errno(e, ERR_FATAL, r, "cannot start the keeper's thread");
	(void)pthread_setname_np(k->thread, "keeper");
	k->started = true;
	*ret = TAKE_PTR(k);
	return 0;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	(void)pthread_mutex_lock(&k->lock);
	k->ending = true;
	(void)pthread_cond_signal(&k->wake);
	(void)pthread_mutex_unlock(&k->lock);
	if (k->started)
		(void)pthread_join(k->thread, NULL);
	(void)pthread_cond_destroy(&k->wake);
	(void)pthread_mutex_destroy(&k->lock);
	free(k);
}

void keeper_wake(struct keeper *k)
{
	(void)pthread_mutex_lock(&k->lock);
	k->woken = true;
	(void)pthread_cond_signal(&k->wake);
	(void)pthread_mutex_unlock(&k->lock);
}

json_t *keeper_debug(void *keeper)
{
	struct keeper *k = keeper;
	char when[CLOCK_TEXT_BYTES];
	(void)pthread_mutex_lock(&k->lock);
	clock_format(k->last_reconcile_us, when);
	json_t *j = json_pack("{s:s, s:b, s:I, s:I, s:{s:s, s:I, s:I, s:I, s:I, s:I}, s:s*}", "node",
			      spool_node_text(k->o.spool), "read_only", spool_is_read_only(k->o.spool), "removed",
			      (json_int_t)k->removed, "decided", (json_int_t)k->decided, "reconciled", "at", when,
			      "files", (json_int_t)k->last.files, "abandoned", (json_int_t)k->last.abandoned, "lost",
			      (json_int_t)k->last.lost, "lost_rows", (json_int_t)k->last.lost_rows, "unknown",
			      (json_int_t)k->last.unknown, "trouble", k->trouble[0] ? k->trouble : NULL);
	(void)pthread_mutex_unlock(&k->lock);
	return j;
}
