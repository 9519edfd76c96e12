/* PostgreSQL: a small pool of synchronous libpq connections for threads that may block; never on a loop's thread.
 * Nothing here needs a session of its own: statements are prepared at protocol level, settings are SET LOCAL, there is
 * no LISTEN and no session lock, so a transaction pooler (pgbouncer 1.21 or newer) may lie between.
 *
 * Errors carry the statement's name, the SQLSTATE and the server's primary message, never a parameter: messages of
 * class 22 (data exception) quote values and are left out. Classes of SQLSTATE → struct error:
 *
 *   08xxx, connection lost, time limit, 0A000, 25006, 26000, 40001, 40P01, 53xxx, 55P03, 57xxx, RU006 → ERR_RETRY
 *   23505, RU001 → ERR_CONFLICT    42501, RU003 → ERR_DENIED    RU002, P0002 → ERR_NOTFOUND
 *   RU004 → ERR_CANCELLED          22xxx, 23xxx, RU005 → ERR_REJECT     the rest → ERR_FATAL
 *
 * A connection that is lost while a statement or a COMMIT runs leaves its outcome unknown: the caller gets ERR_RETRY
 * and must be able to repeat, as every function of the schema is made to be. */
#ifndef RUSHES_STORE_DB_H
#define RUSHES_STORE_DB_H

#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>

/* Most parameters that one statement takes. */
#define DB_PARAMS_MAX 40

/* Room for "XX000" and its end. */
#define DB_SQLSTATE_BYTES 6

struct db_pool;
struct db;	  /* a leased connection: one thread at a time */
struct db_result; /* the rows of one statement */

/* Zeros take the defaults. */
struct db_pool_options {
	const char *conninfo;	      /* libpq keywords or URI; copied. Certificates are read again at each connect */
	const char *application_name; /* "rushes-ingest"; copied */
	unsigned connections;	      /* most connections at once; default 8 */
	int64_t acquire_ms;	      /* longest wait for a connection; default 5000 */
	int64_t connect_ms;	      /* longest connect, the TLS handshake included; default 3000 */
	int64_t statement_ms;	      /* longest wait for a statement's answer; default 15000 */
	int64_t max_age_ms;	      /* an older connection is replaced when it comes back; default 600000 */
	int64_t silent_ms;	      /* after so long without an answer to anybody it is silent; default 3000 */
	bool fails_fast;	      /* a silent database is not waited for: db_acquire() fails at once */
};

/* Makes no connection: a database that is away is met at the first db_acquire(). Any thread. */
int db_pool_new(const struct db_pool_options *o, struct db_pool **ret, struct error *e) _must_check_;

/* All connections must have been released. */
void db_pool_free(struct db_pool *p);
DEFINE_CLEANUP(struct db_pool, db_pool_free)

/* Connections made before this are closed when they come back: after new certificates. Any thread. */
void db_pool_renew(struct db_pool *p);

struct db_pool_stats {
	unsigned connections, leased, waiting; /* now */
	uint64_t connects, connect_failures;   /* since start, as all below */
	uint64_t acquire_timeouts;
	uint64_t statements, statement_failures;
	uint64_t statement_us; /* time spent in statements */
	bool reachable;	       /* the last connect or statement got an answer from the server */
};

void db_pool_stats(struct db_pool *p, struct db_pool_stats *ret); /* any thread */

/* Whether somebody has asked for the pool's `silent_ms` and since then nobody was answered, on whatever connection: one
 * connection alone does not tell a slow database from one that stands still, or lies behind a network that swallows
 * everything. The next answer ends it, as does the end of all questions. Any thread, never blocks. */
bool db_pool_is_silent(struct db_pool *p);

/* Leases a connection, connecting when none is idle; waits up to the pool's limit. After a failed connect the next try
 * of any thread waits 0.1 s doubling to 2 s. ERR_RETRY when the limit passed, with the last reason. A pool that fails
 * fast lets one thread at a time connect anew to a silent database, and refuses all others. Holding one connection
 * while acquiring a second can starve the pool: don't. */
int db_acquire(struct db_pool *p, struct db **ret, struct error *e) _must_check_;

/* Gives it back; an open transaction is rolled back. NULL is accepted. */
void db_release(struct db *d);
DEFINE_CLEANUP(struct db, db_release)

struct db_statement {
	const char *name; /* unique in the program: a name with two texts aborts. A literal, as the text */
	const char *sql;  /* one statement with $1.. */
	int n_params;
};

/* Runs one statement, preparing it at its first use on this connection. `params` are n_params texts, NULL is SQL's
 * null; bytea as DB_BYTEA text. `ret` may be NULL when rows do not matter; the result is the caller's. Outside a
 * transaction each statement commits by itself. After ERR_RETRY by a lost connection, `d` is of no further use: release
 * it. */
int db_query(struct db *d, const struct db_statement *st, const char *const *params, struct db_result **ret,
	     struct error *e) _must_check_;

/* For a single statement on a connection of its own: acquire, query, release. */
int db_run(struct db_pool *p, const struct db_statement *st, const char *const *params, struct db_result **ret,
	   struct error *e) _must_check_;

/* SQLSTATE of the last failed statement of this lease, "" when the server gave none. */
const char *db_sqlstate(const struct db *d);

/* A transaction that ends with its scope:
 *
 *	_cleanup_(db_tx_end) struct db_tx tx = {0};
 *	r = db_tx_begin(d, &tx, e);
 *	... db_query(d, ...) ...
 *	r = db_tx_commit(&tx, e);
 *
 * Read committed. The server ends a transaction that sits idle for 30 s, or a statement that runs over the limit. */
struct db_tx {
	struct db *db; /* NULL: none open */
};

int db_tx_begin(struct db *d, struct db_tx *tx, struct error *e) _must_check_;
int db_tx_commit(struct db_tx *tx, struct error *e) _must_check_;
void db_tx_end(struct db_tx *tx); /* rolls back what was not committed */

/* Results. Rows and columns count from 0; a place outside the result is a programming error and aborts. Texts live as
 * long as the result. */
void db_result_free(struct db_result *r);
DEFINE_CLEANUP(struct db_result, db_result_free)

size_t db_rows(const struct db_result *r);
bool db_null(const struct db_result *r, size_t row, size_t column);
const char *db_text(const struct db_result *r, size_t row, size_t column); /* NULL for null */
int64_t db_int(const struct db_result *r, size_t row, size_t column); /* 0 for null; aborts on what is no integer */
bool db_bool(const struct db_result *r, size_t row, size_t column);   /* false for null */
bool db_uuid(const struct db_result *r, size_t row, size_t column, struct uuid *ret) _must_check_; /* false for null */

/* Copies a bytea column of at most `max` bytes into `ret`. ERR_NOTFOUND for null, ERR_CORRUPT when longer or no bytea.
 */
int db_bytea(const struct db_result *r, size_t row, size_t column, void *ret, size_t max, size_t *ret_n,
	     struct error *e) _must_check_;

/* Parameter texts. */
#define DB_INT_BYTES	  24
#define DB_BYTEA_BYTES(n) (2 * (n) + 3) /* "\x", digits, end */
const char *db_param_int(int64_t value, char ret[DB_INT_BYTES]);
const char *db_param_bool(bool value);
const char *db_param_bytea(const void *data, size_t n, char *ret); /* ret holds DB_BYTEA_BYTES(n) */

/* The class for a SQLSTATE, by the table above. */
int db_sqlstate_to_code(const char *sqlstate);

#endif
