#include "janitor.h"

#include "compare.h"
#include "duty.h"
#include "pauses.h"
#include "sealing.h"

#include "base/clock.h"
#include "base/log.h"
#include "domain/account.h"
#include "domain/deletion.h"
#include "domain/partition.h"
#include "domain/retention.h"
#include "node/slice.h"

#include <inttypes.h>
#include <stdatomic.h>

/* Recordings whose personal metadata goes by one statement: each locks its recording. */
#define PERSONAL_BATCH 100
/* Overdue deletions that are told one by one; the metric counts all. */
#define OVERDUE_LOG_MAX 50

/* Recordings recomputed by one statement: each stays locked until it ends, so takes and sweeps wait that long at most.
 */
#define CHANGES_BATCH 500

#define KEYS_BATCH    100
#define KEYS_EVERY_MS ((int64_t)60000)

/* A pause is an alarm: told soon, and the look costs next to nothing. */
#define PAUSES_EVERY_MS ((int64_t)10000)

/* Zone data change a few times a year, and are looked at for a moment. */
#define ZONES_EVERY_MS ((int64_t)6 * 3600000)

#define PARTITIONS_EVERY_MS   ((int64_t)3600000)
#define PARTITIONS_AHEAD_DAYS 3

enum {
	DUTY_SWEEP,
	DUTY_CHANGES,
	DUTY_KEYS,
	DUTY_WATCH,
	DUTY_PAUSES,
	DUTY_PARTITIONS,
	DUTY_ZONES,
	DUTY_SEAL,
	DUTY_PUBLISH,
	DUTY_MAX
};

struct janitor {
	const struct janitor_config *config;
	struct platform *platform;
	struct duty_definition definitions[DUTY_MAX];
	struct duty *duties[DUTY_MAX];
	struct sealing *sealing;
	struct compare compare;
	struct metric_series *overdue;
	unsigned overdue_logged;
	_Atomic unsigned overdue_recordings;
	_Atomic bool is_draining; /* long work ends at its next batch */
	struct pauses *pauses;
};

#define OPTION(member) offsetof(struct janitor_config, member)

const struct config_option janitor_options[] = {
    {"RUSHES_JANITOR_SWEEP_EVERY", CONFIG_DURATION, "2s", 100, 3600000, NULL, OPTION(sweep_every_ms),
     "Time between two sweeps for copies and personal metadata that are due by the janitor's rules, and between two "
     "looks for changed facts of accounts and environments"},
    {"RUSHES_JANITOR_WATCH_EVERY", CONFIG_DURATION, "10m", 1000, 86400000, NULL, OPTION(watch_every_ms),
     "Time between two looks for deletions that are overdue; pauses and keys are looked at as often, or more"},
    {"RUSHES_JANITOR_OVERDUE_AFTER", CONFIG_DURATION, "4d", 1000, (uint64_t)5 * 86400000, NULL,
     OPTION(overdue_after_ms), "Age at which a deletion that is not complete raises the alarm; 5 days is the promise"},
    {"RUSHES_JANITOR_KEEP_DAYS", CONFIG_UINT, "40", 35, 3650, NULL, OPTION(keep_days),
     "Days that finished jobs, attempts and events are kept; failed deliveries are judged by them for up to 32"},
    {"RUSHES_LEDGER_SIGN_KEY_FILE", CONFIG_PATH, NULL, 0, 0, NULL, OPTION(ledger_sign_key_file),
     "Key file (ledger-sign) whose first key signs the ledger's batches; read again at each"},
    {"RUSHES_LEDGER_TARGET", CONFIG_STRING, "", 0, 0, NULL, OPTION(ledger_target),
     "Where sealed batches of the ledger are kept outside PostgreSQL: file:/folder, which must exist, or "
     "s3:https://host/bucket/prefix"},
    {"RUSHES_LEDGER_TARGET_CREDENTIAL_FILE", CONFIG_PATH, "", 0, 0, NULL, OPTION(ledger_credential_file),
     "JSON with access_key and secret_key for the ledger target of kind s3; readable by nobody else"},
    {"RUSHES_LEDGER_TARGET_REGION", CONFIG_STRING, "us-east-1", 0, 0, NULL, OPTION(ledger_region),
     "Region that requests to the ledger target of kind s3 are signed for"},
    {"RUSHES_LEDGER_TARGET_CA_FILE", CONFIG_PATH, "", 0, 0, NULL, OPTION(ledger_ca_file),
     "Certificates that prove the ledger target of kind s3; without it the system's"},
    {"RUSHES_LEDGER_TARGET_PRIVATE", CONFIG_BOOL, "no", 0, 0, NULL, OPTION(ledger_private),
     "Whether the ledger target of kind s3 may lie at loopback and private addresses"},
    {"RUSHES_LEDGER_SEAL_EVERY", CONFIG_DURATION, "10s", 100, 60000, NULL, OPTION(ledger_seal_every_ms),
     "Time between two sealings of new ledger entries, and between two looks for batches to bring to the target"},
    {0},
};

/* Due copies turn going; what was said of people goes with the last copy. */
static int run_sweep(void *arg, uint64_t *ret_n, struct error *e)
{
	struct janitor *j = arg;
	struct db_pool *db = platform_db(j->platform);
	struct db_pool_stats stats;
	struct error why = {0};
	unsigned n = 0;
	/* a ledger target that is away, or differs, is told; it is not what a sweep depends on */
	int compared = compare_run(&j->compare, &why);
	db_pool_stats(db, &stats);
	if (compared < 0 && !stats.reachable)
		return error_set(e, compared, "%s", why.text);
	int r = slice_sweep(db, "janitor", platform_metrics(j->platform), &n, e);
	*ret_n = n;
	for (n = PERSONAL_BATCH; r == 0 && n == PERSONAL_BATCH;) {
		r = deletion_personal_sweep(db, PERSONAL_BATCH, &n, e);
		*ret_n += r == 0 ? n : 0;
	}
	return r == 0 && compared < 0 ? error_set(e, compared, "%s", why.text) : r;
}

/* Plans, settings and lifecycle rules changed: the due dates of the recordings that are there follow. */
static int run_changes(void *arg, uint64_t *ret_n, struct error *e)
{
	struct janitor *j = arg;
	unsigned n = 1;
	int r = 0;
	while (r == 0 && n > 0 && !j->is_draining) {
		r = retention_change_work(platform_db(j->platform), CHANGES_BATCH, &n, e);
		*ret_n += r == 0 ? n : 0;
	}
	return r;
}

/* Nothing of an ended account is left: what its key opened once is nowhere, and shall open nowhere. */
static int run_keys(void *arg, uint64_t *ret_n, struct error *e)
{
	struct janitor *j = arg;
	struct db_pool *db = platform_db(j->platform);
	int r = slice_gate(db, platform_metrics(j->platform), e);
	for (unsigned n = KEYS_BATCH; r == 0 && n == KEYS_BATCH && !j->is_draining;) {
		r = account_keys_sweep(db, KEYS_BATCH, &n, e);
		*ret_n += r == 0 ? n : 0;
	}
	if (r == 0 && *ret_n > 0)
		log_info(NULL, "the keys of %" PRIu64 " accounts that ended are destroyed", *ret_n);
	return r;
}

static int run_pauses(void *arg, uint64_t *ret_n, struct error *e)
{
	struct janitor *j = arg;
	*ret_n = 1;
	return pauses_look(j->pauses, platform_db(j->platform), e);
}

static void tell_overdue(void *arg, const struct deletion_overdue *o)
{
	struct janitor *j = arg;
	const struct log_context ctx = {.recording = o->recording, .copy = o->copy[0] ? o->copy : NULL};
	if (j->overdue_logged++ < OVERDUE_LOG_MAX)
		log_error(&ctx, "the deletion is overdue: %s%s%s", o->place, o->place[0] ? ": " : "", o->reason);
}

/* The rule complete-removal: every deletion is followed to its proof. */
static int run_watch(void *arg, uint64_t *ret_n, struct error *e)
{
	struct janitor *j = arg;
	unsigned n = 0;
	j->overdue_logged = 0;
	int r = deletion_overdue(platform_db(j->platform), j->config->overdue_after_ms, tell_overdue, j, &n, e);
	if (r < 0)
		return r;
	j->overdue_recordings = n;
	metric_set(j->overdue, n);
	*ret_n = 1;
	return 0;
}

static int run_partitions(void *arg, uint64_t *ret_n, struct error *e)
{
	struct janitor *j = arg;
	unsigned made = 0, dropped = 0;
	/* old ones are dropped by the clock; rows that come before their partition wait in the default one */
	int r = slice_gate(platform_db(j->platform), platform_metrics(j->platform), e);
	if (r == 0)
		r = partition_maintain(platform_db(j->platform), PARTITIONS_AHEAD_DAYS, (unsigned)j->config->keep_days,
				       &made, &dropped, e);
	if (r == 0 && made + dropped > 0)
		log_info(NULL, "partitions: %u made, %u dropped", made, dropped);
	*ret_n = made + dropped;
	return r;
}

static int run_zones(void *arg, uint64_t *ret_n, struct error *e)
{
	struct janitor *j = arg;
	unsigned n = 0;
	int r = retention_zones_watch(platform_db(j->platform), &n, e);
	if (r == 0 && n > 0)
		log_warning(NULL, "the zone data of %u zones changed: due dates are derived again", n);
	*ret_n = n;
	return r;
}

static json_t *debug(void *arg)
{
	struct janitor *j = arg;
	json_t *o = json_pack("{s:i}", "overdue_deletions", (int)j->overdue_recordings);
	(void)json_object_set_new(o, "paused", pauses_state(j->pauses));
	for (int i = 0; i < DUTY_MAX; i++)
		if (j->duties[i])
			(void)json_object_set_new(o, j->definitions[i].name, duty_state(j->duties[i]));
	return o;
}

static int make_duties(struct janitor *j, struct error *e)
{
	const struct janitor_config *c = j->config;
	j->definitions[DUTY_SWEEP] =
	    (struct duty_definition){"sweep", c->sweep_every_ms, MIN(c->sweep_every_ms, 1000), run_sweep, j};
	j->definitions[DUTY_CHANGES] =
	    (struct duty_definition){"changes", c->sweep_every_ms, MIN(c->sweep_every_ms, 1000), run_changes, j};
	j->definitions[DUTY_KEYS] = (struct duty_definition){"account-keys", MIN(c->watch_every_ms, KEYS_EVERY_MS),
							     MIN(c->watch_every_ms, 3000), run_keys, j};
	j->definitions[DUTY_PAUSES] =
	    (struct duty_definition){"pauses", MIN(c->watch_every_ms, PAUSES_EVERY_MS), 0, run_pauses, j};
	j->definitions[DUTY_WATCH] =
	    (struct duty_definition){"overdue-watch", c->watch_every_ms, MIN(c->watch_every_ms, 2000), run_watch, j};
	j->definitions[DUTY_PARTITIONS] =
	    (struct duty_definition){"partitions", PARTITIONS_EVERY_MS, 0, run_partitions, j};
	j->definitions[DUTY_ZONES] = (struct duty_definition){"zones", ZONES_EVERY_MS, 4000, run_zones, j};
	j->definitions[DUTY_SEAL] =
	    (struct duty_definition){"ledger-seal", c->ledger_seal_every_ms, 500, sealing_seal, j->sealing};
	j->definitions[DUTY_PUBLISH] =
	    (struct duty_definition){"ledger-publish", c->ledger_seal_every_ms, 1000, sealing_publish, j->sealing};
	int r = 0;
	for (int i = 0; i < DUTY_MAX && r == 0; i++)
		r = duty_new(j->platform, &j->definitions[i], &j->duties[i], e);
	return r;
}

int janitor_start(struct service *s, const void *config, void **ret_state, struct error *e)
{
	struct janitor *j = calloc(1, sizeof(*j));
	if (!j)
		return error_nomem(e);
	*ret_state = j;
	j->config = config;
	int r = platform_start(s, &j->config->platform, PLATFORM_BUS | PLATFORM_OUTBOX, &j->platform, e);
	if (r < 0)
		return r;
	const struct janitor_config *c = j->config;
	const struct ledger_target_config target = {.where = c->ledger_target,
						    .credential_file = c->ledger_credential_file,
						    .region = c->ledger_region,
						    .ca_file = c->ledger_ca_file,
						    .allow_private = c->ledger_private};
	j->compare = (struct compare){.db = platform_db(j->platform), .target = target};
	r = platform_gate(j->platform, compare_at_gate, &j->compare, e);
	if (r < 0)
		return r;
	struct metrics *m = platform_metrics(j->platform);
	j->overdue = metric_series(metrics_gauge(m, "rushes_deletion_overdue",
						 "Recordings whose deletion is not complete in time.", NULL),
				   NULL);
	r = pauses_new(m, &j->pauses, e);
	if (r < 0)
		return r;
	platform_debug_add(j->platform, "janitor", debug, j);
	r = sealing_new(j->platform, c->ledger_sign_key_file, &target, &j->sealing, e);
	return r < 0 ? r : make_duties(j, e);
}

static bool busy(void *arg)
{
	const struct janitor *j = arg;
	bool running = false;
	for (int i = 0; i < DUTY_MAX; i++)
		running = running || duty_is_running(j->duties[i]);
	return running;
}

void janitor_drain(void *state)
{
	struct janitor *j = state;
	j->is_draining = true;
	for (int i = 0; i < DUTY_MAX; i++)
		duty_stop(j->duties[i]);
	platform_drain(j->platform, busy, j);
}

int janitor_reload(void *state, struct error *e)
{
	struct janitor *j = state;
	return platform_reload(j->platform, e);
}

/* The platform waits for its pool, so no duty runs any more when they are freed. */
void janitor_stop(void *state)
{
	struct janitor *j = state;
	platform_stop(j->platform);
	for (int i = 0; i < DUTY_MAX; i++)
		duty_free(j->duties[i]);
	pauses_free(j->pauses);
	sealing_free(j->sealing);
	free(j);
}
