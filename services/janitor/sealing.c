#include "sealing.h"

#include "domain/lease.h"
#include "domain/ledger_head.h"
#include "domain/ledger_seal.h"

#define SEAL_LEASE    "ledger-seal"
#define PUBLISH_LEASE "ledger-publish"
/* How long another replica waits for one that was killed. */
#define LEASE_MS     ((int64_t)20000)
#define HOLDER_BYTES 300
/* Batches of one run: a run ends, so that a drain need not wait long. */
#define RUN_BATCHES 20

struct sealing {
	struct platform *platform;
	const char *key_file;
	struct ledger_target_config target; /* where "": none */
	char holder[HOLDER_BYTES];
	struct metric_series *unsealed_s, *unpublished, *unpublished_s;
};

static struct metric_series *gauge(struct platform *p, const char *name, const char *help)
{
	return metric_series(metrics_gauge(platform_metrics(p), name, help, NULL), NULL);
}

int sealing_new(struct platform *p, const char *key_file, const struct ledger_target_config *target,
		struct sealing **ret, struct error *e)
{
	_cleanup_(keyring_freep) struct keyring *key = NULL;
	_cleanup_(ledger_target_freep) struct ledger_target *t = NULL;
	struct error wrong = {0};
	int r = keyring_load(key_file, KEY_LEDGER_SIGN, &key, e);
	if (r < 0)
		return r;
	if (*target->where && ledger_target_open(target, &t, &wrong) == ERR_REJECT)
		return error_set(e, ERR_REJECT, "RUSHES_LEDGER_TARGET: %s", wrong.text);
	struct sealing *s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(e);
	s->platform = p;
	s->key_file = key_file;
	s->target = *target;
	(void)snprintf(s->holder, sizeof(s->holder), "%s#%d", platform_identity(p), (int)getpid());
	s->unsealed_s = gauge(p, "rushes_ledger_unsealed_seconds", "Age of the oldest ledger entry in no batch.");
	s->unpublished = gauge(p, "rushes_ledger_unpublished", "Sealed batches that the ledger target does not have.");
	s->unpublished_s = gauge(p, "rushes_ledger_unpublished_seconds",
				 "Age of the oldest sealed batch that the ledger target does not have.");
	*ret = s;
	return 0;
}

void sealing_free(struct sealing *s)
{
	free(s);
}

/* Shown by every replica, also by those that do not hold the lease: the alarm must not depend on who works. */
static int show_backlog(struct sealing *s, struct error *e)
{
	struct ledger_backlog b;
	int r = ledger_backlog(platform_db(s->platform), &b, e);
	if (r < 0)
		return r;
	metric_set(s->unsealed_s, b.unsealed_s);
	metric_set(s->unpublished, *s->target.where ? (double)b.unpublished : 0);
	metric_set(s->unpublished_s, *s->target.where ? b.unpublished_s : 0);
	return 0;
}

static int seal_all(struct sealing *s, uint64_t *ret_n, struct error *e)
{
	struct db_pool *db = platform_db(s->platform);
	_cleanup_(keyring_freep) struct keyring *key = NULL;
	unsigned n = LEDGER_BATCH_LEAVES_MAX;
	/* read each time: a rotated key counts without a restart */
	int r = keyring_load(s->key_file, KEY_LEDGER_SIGN, &key, e);
	for (int i = 0; i < RUN_BATCHES && r == 0 && n == LEDGER_BATCH_LEAVES_MAX; i++) {
		bool is_held = false;
		r = lease_take(db, SEAL_LEASE, s->holder, LEASE_MS, &is_held, e);
		if (r < 0 || !is_held)
			return r;
		r = ledger_seal_next(db, key, &n, e);
		*ret_n += r == 0 ? n : 0;
	}
	return r;
}

int sealing_seal(void *arg, uint64_t *ret_n, struct error *e)
{
	struct sealing *s = arg;
	int r = seal_all(s, ret_n, e);
	/* another replica was quicker */
	if (r == ERR_CONFLICT) {
		*e = (struct error){0};
		r = 0;
	}
	return r < 0 ? r : show_backlog(s, e);
}

int sealing_publish(void *arg, uint64_t *ret_n, struct error *e)
{
	struct sealing *s = arg;
	struct db_pool *db = platform_db(s->platform);
	_cleanup_(ledger_target_freep) struct ledger_target *t = NULL;
	unsigned n = 1;
	if (!*s->target.where)
		return 0;
	int r = ledger_target_open(&s->target, &t, e);
	for (int i = 0; i < RUN_BATCHES && r == 0 && n == 1; i++) {
		bool is_held = false;
		r = lease_take(db, PUBLISH_LEASE, s->holder, LEASE_MS, &is_held, e);
		if (r < 0 || !is_held)
			return r;
		r = ledger_publish_next(db, t, &n, e);
		*ret_n += r == 0 ? n : 0;
	}
	return r;
}
