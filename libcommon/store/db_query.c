#include "base/clock.h"
#include "store/db_internal.h"

#include <assert.h>
#include <poll.h>
#include <string.h>

/* The server gives up before the client does, so that the client learns what happened. */
#define SERVER_SHARE_PERCENT 80

const char *db_sqlstate(const struct db *d)
{
	return d->sqlstate;
}

int db_sqlstate_to_code(const char *sqlstate)
{
	static const struct {
		const char *prefix; /* the first that fits counts */
		int code;
	} classes[] = {
	    {"RU001", ERR_CONFLICT},
	    {"RU002", ERR_NOTFOUND},
	    {"RU003", ERR_DENIED},
	    {"RU004", ERR_CANCELLED},
	    {"RU005", ERR_REJECT},
	    {"RU006", ERR_RETRY},
	    {"23505", ERR_CONFLICT},
	    {"42501", ERR_DENIED},
	    {"P0002", ERR_NOTFOUND},
	    /* a cached plan that a migration outdated; the connection is replaced */
	    {"0A000", ERR_RETRY},
	    {"08", ERR_RETRY},
	    {"25006", ERR_RETRY},
	    {"26000", ERR_RETRY},
	    {"40001", ERR_RETRY},
	    {"40P01", ERR_RETRY},
	    {"53", ERR_RETRY},
	    {"55P03", ERR_RETRY},
	    {"57", ERR_RETRY},
	    {"22", ERR_REJECT},
	    {"23", ERR_REJECT},
	};
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		if (strncmp(sqlstate, classes[i].prefix, strlen(classes[i].prefix)) == 0)
			return classes[i].code;
	return ERR_FATAL;
}

/* States after which this connection would fail the same way again. */
static bool spoils_connection(const char *sqlstate)
{
	return strcmp(sqlstate, "0A000") == 0 || strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "25006") == 0 ||
	       strncmp(sqlstate, "57P", 3) == 0 || strncmp(sqlstate, "08", 2) == 0;
}

static int lost(struct db *d, const char *name, struct error *e)
{
	d->broken = true;
	return error_set(e, ERR_RETRY, "statement %s: the connection to the database was lost, outcome unknown", name);
}

static int server_error(struct db *d, const char *name, const PGresult *res, struct error *e)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	if (!state)
		return lost(d, name, e);
	(void)snprintf(d->sqlstate, sizeof(d->sqlstate), "%s", state);
	if (spoils_connection(state))
		d->broken = true;
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	if (strncmp(state, "22", 2) == 0 || !message)
		message = "a value was refused (the message may quote it and is left out)";
	const char *position = PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION);
	return error_set(e, db_sqlstate_to_code(state), "statement %s: SQLSTATE %s: %s%s%s", name, state, message,
			 position ? " at character " : "", position ? position : "");
}

static int flush(struct db *d, const char *name, int64_t deadline_us, struct error *e)
{
	for (;;) {
		int n = PQflush(d->pg);
		if (n == 0)
			return 0;
		if (n < 0)
			return lost(d, name, e);
		int r = db_wait_socket(d->pg, POLLIN | POLLOUT, deadline_us, e);
		if (r < 0)
			return r;
		if (PQconsumeInput(d->pg) == 0)
			return lost(d, name, e);
	}
}

/* Reads until the statement's end; the last result with rows or the first error stays in *ret. */
static int read_results(struct db *d, const char *name, int64_t deadline_us, PGresult **ret, struct error *e)
{
	int r = flush(d, name, deadline_us, e);
	while (r == 0) {
		if (PQisBusy(d->pg)) {
			r = db_wait_socket(d->pg, POLLIN, deadline_us, e);
			if (r == 0 && PQconsumeInput(d->pg) == 0)
				r = lost(d, name, e);
			continue;
		}
		PGresult *res = PQgetResult(d->pg);
		if (!res)
			break;
		if (*ret && PQresultStatus(*ret) == PGRES_FATAL_ERROR) {
			PQclear(res);
		} else {
			PQclear(*ret);
			*ret = res;
		}
	}
	return r == 0 && !*ret ? lost(d, name, e) : r;
}

/* The end of everything that was sent. */
static int collect(struct db *d, const char *name, int64_t deadline_us, PGresult **ret, struct error *e)
{
	PGresult *kept = NULL;
	if (d->pool)
		db_pool_ask(d->pool);
	int r = read_results(d, name, deadline_us, &kept, e);
	if (d->pool)
		db_pool_hear(d->pool, r == 0);
	if (r == 0) {
		ExecStatusType status = PQresultStatus(kept);
		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
			r = server_error(d, name, kept, e);
	} else if (!d->broken) {
		/* the time limit: the statement may still run there, its answer must not meet the next one */
		d->broken = true;
		(void)error_wrap(e, "statement %s", name);
	}
	if (PQstatus(d->pg) != CONNECTION_OK)
		d->broken = true;
	if (r < 0 || !ret)
		PQclear(kept);
	else
		*ret = kept;
	return r;
}

static bool is_prepared(const struct db *d, const struct db_statement *st)
{
	for (size_t i = 0; i < d->n_prepared; i++) {
		if (strcmp(d->prepared[i].name, st->name) != 0)
			continue;
		/* two statements of one name: the other's would run */
		assert(strcmp(d->prepared[i].sql, st->sql) == 0);
		return true;
	}
	return false;
}

static int prepare(struct db *d, const struct db_statement *st, int64_t deadline_us, struct error *e)
{
	if (d->n_prepared == d->prepared_room) {
		size_t room = d->prepared_room ? 2 * d->prepared_room : 32;
		struct db_prepared *grown = reallocarray(d->prepared, room, sizeof(*grown));
		if (!grown)
			return error_nomem(e);
		d->prepared = grown;
		d->prepared_room = room;
	}
	if (PQsendPrepare(d->pg, st->name, st->sql, st->n_params, NULL) == 0)
		return lost(d, st->name, e);
	int r = collect(d, st->name, deadline_us, NULL, e);
	if (r == 0)
		d->prepared[d->n_prepared++] = (struct db_prepared){st->name, st->sql};
	return r;
}

static int run(struct db *d, const struct db_statement *st, const char *const *params, PGresult **ret, struct error *e)
{
	int64_t deadline = clock_monotonic_us() + d->statement_us;
	if (d->broken)
		return error_set(e, ERR_RETRY, "statement %s: the connection was lost before", st->name);
	if (!is_prepared(d, st)) {
		int r = prepare(d, st, deadline, e);
		if (r < 0)
			return r;
	}
	if (PQsendQueryPrepared(d->pg, st->name, st->n_params, params, NULL, NULL, 0) == 0)
		return lost(d, st->name, e);
	return collect(d, st->name, deadline, ret, e);
}

int db_query(struct db *d, const struct db_statement *st, const char *const *params, struct db_result **ret,
	     struct error *e)
{
	assert(st->n_params >= 0 && st->n_params <= DB_PARAMS_MAX);
	int64_t begin = clock_monotonic_us();
	d->sqlstate[0] = '\0';
	PGresult *res = NULL;
	int r = run(d, st, params, &res, e);
	if (d->pool)
		db_pool_count(d->pool, clock_monotonic_us() - begin, r < 0, d->broken);
	if (r < 0)
		return r;
	if (ret)
		return db_result_new(res, ret, e);
	PQclear(res);
	return 0;
}

int db_simple(struct db *d, const char *what, const char *sql, PGresult **ret, struct error *e)
{
	d->sqlstate[0] = '\0';
	if (d->broken)
		return error_set(e, ERR_RETRY, "%s: the connection was lost before", what);
	if (PQsendQuery(d->pg, sql) == 0)
		return lost(d, what, e);
	return collect(d, what, clock_monotonic_us() + d->statement_us, ret, e);
}

bool db_reset(struct db *d)
{
	if (d->broken || PQstatus(d->pg) != CONNECTION_OK)
		return false;
	switch (PQtransactionStatus(d->pg)) {
	case PQTRANS_IDLE:
		return true;
	case PQTRANS_INTRANS:
	case PQTRANS_INERROR:
		return db_simple(d, "rollback", "ROLLBACK", NULL, NULL) == 0;
	default:
		return false;
	}
}

int db_tx_begin(struct db *d, struct db_tx *tx, struct error *e)
{
	assert(!tx->db);
	char sql[192];
	long long server_ms = d->statement_us / 1000 * SERVER_SHARE_PERCENT / 100;
	(void)
	    snprintf(sql, sizeof(sql),
		     "BEGIN; SET LOCAL statement_timeout = %lld; SET LOCAL idle_in_transaction_session_timeout = 30000",
		     server_ms);
	int r = db_simple(d, "begin", sql, NULL, e);
	if (r == 0)
		tx->db = d;
	return r;
}

int db_tx_commit(struct db_tx *tx, struct error *e)
{
	struct db *d = tx->db;
	assert(d);
	tx->db = NULL;
	PGresult *res = NULL;
	int r = db_simple(d, "commit", "COMMIT", &res, e);
	/* a transaction in which a statement failed answers COMMIT with ROLLBACK and no error */
	if (r == 0 && strcmp(PQcmdStatus(res), "COMMIT") != 0)
		r = error_set(e, ERR_FATAL, "commit after a failed statement: the transaction was rolled back");
	PQclear(res);
	return r;
}

void db_tx_end(struct db_tx *tx)
{
	struct db *d = TAKE_PTR(tx->db);
	if (d && !db_reset(d))
		d->broken = true;
}
