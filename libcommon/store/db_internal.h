/* What the files of the database module share; nobody else includes this. */
#ifndef RUSHES_STORE_DB_INTERNAL_H
#define RUSHES_STORE_DB_INTERNAL_H

#include "store/db.h"

#include <libpq-fe.h>

struct db_prepared {
	const char *name, *sql;
};

struct db {
	struct db_pool *pool;
	struct db *next_idle;
	PGconn *pg;
	int64_t made_us;	      /* monotonic */
	unsigned generation;	      /* of the pool, when it was made */
	bool broken;		      /* is closed when it comes back */
	struct db_prepared *prepared; /* statements known to this connection */
	size_t n_prepared, prepared_room;
	int64_t statement_us; /* time limit of a statement */
	char sqlstate[DB_SQLSTATE_BYTES];
};

struct db_result {
	PGresult *pg;
};

/* Waits until the connection's socket is ready for poll(2) `events`. ERR_RETRY when the monotonic deadline passed. */
int db_wait_socket(PGconn *pg, short events, int64_t deadline_us, struct error *e) _must_check_;

/* Connects within `limit_us`. */
int db_connect(const char *conninfo, const char *application_name, int64_t limit_us, PGconn **ret,
	       struct error *e) _must_check_;

/* A connection outside any pool, for migrations. db_close() frees it. */
int db_open(const char *conninfo, const char *application_name, int64_t connect_us, int64_t statement_us,
	    struct db **ret, struct error *e) _must_check_;
void db_close(struct db *d);
DEFINE_CLEANUP(struct db, db_close)

/* Runs one or several statements without parameters by the simple protocol; the last result counts. `what` names them
 * in errors. */
int db_simple(struct db *d, const char *what, const char *sql, PGresult **ret, struct error *e) _must_check_;

/* Ends a transaction that is open; false when the connection is of no further use. */
bool db_reset(struct db *d) _must_check_;

/* The server is asked for something, and answered or did not. Every question has an end. */
void db_pool_ask(struct db_pool *p);
void db_pool_hear(struct db_pool *p, bool is_answered);

/* The pool counts a statement's end. */
void db_pool_count(struct db_pool *p, int64_t took_us, bool failed, bool lost);

/* Takes the answer's PGresult into a db_result, or frees it without memory. */
int db_result_new(PGresult *pg, struct db_result **ret, struct error *e) _must_check_;

#endif
