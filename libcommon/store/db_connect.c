#include "base/clock.h"
#include "store/db_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

int db_wait_socket(PGconn *pg, short events, int64_t deadline_us, struct error *e)
{
	for (;;) {
		int64_t left = deadline_us - clock_monotonic_us();
		if (left <= 0)
			return error_set(e, ERR_RETRY, "the database did not answer in time");
		struct pollfd fd = {.fd = PQsocket(pg), .events = events};
		int n = poll(&fd, 1, (int)MIN(left / 1000 + 1, 60000));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return error_set_errno(e, ERR_RETRY, errno, "cannot wait for the database");
	}
}

/* libpq's messages are for terminals: their last newline goes, inner ones and tabs become spaces. */
static int connection_error(PGconn *pg, int code, struct error *e)
{
	char text[ERROR_TEXT_BYTES];
	(void)snprintf(text, sizeof(text), "%s", pg ? PQerrorMessage(pg) : "out of memory");
	size_t n = strlen(text);
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (text[i] == '\n' || text[i] == '\t')
			text[i] = ' ';
	return error_set(e, code, "cannot connect to the database: %s", text);
}

static void ignore_notice(void *arg _unused_, const PGresult *result _unused_)
{
}

static int finish_connect(PGconn *pg, int64_t deadline_us, struct error *e)
{
	if (PQstatus(pg) == CONNECTION_BAD)
		return connection_error(pg, ERR_RETRY, e);
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;
	while (state != PGRES_POLLING_OK) {
		int r = db_wait_socket(pg, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_us, e);
		if (r < 0)
			return error_wrap(e, "cannot connect to the database");
		state = PQconnectPoll(pg);
		if (state == PGRES_POLLING_FAILED)
			return connection_error(pg, ERR_RETRY, e);
	}
	const char *host = PQhost(pg);
	if (!PQsslInUse(pg) && (!host || host[0] != '/'))
		return error_set(
		    e, ERR_FATAL,
		    "the database connection to %s is not encrypted: use sslmode=verify-full or a Unix socket",
		    host ? host : "an unknown host");
	return 0;
}

int db_connect(const char *conninfo, const char *application_name, int64_t limit_us, PGconn **ret, struct error *e)
{
	/* libpq takes the last value of a keyword, so the settings in conninfo win over what stands before dbname.
	 * PostgreSQL's planner overrates the statements over sets, and compiling them anew at each call (jit) took over
	 * a second where running them takes milliseconds. */
	static const char *const names[] = {"sslmode",
					    "gssencmode",
					    "client_encoding",
					    "keepalives_idle",
					    "tcp_user_timeout",
					    "keepalives_count",
					    "keepalives_interval",
					    "options",
					    "application_name",
					    "dbname",
					    NULL};
	const char *values[] = {"verify-full", "disable",    "UTF8",	       "15",	 "20000", "3",
				"5",	       "-c jit=off", application_name, conninfo, NULL};
	PGconn *pg = PQconnectStartParams(names, values, 1);
	int r = pg ? finish_connect(pg, clock_monotonic_us() + limit_us, e) : error_nomem(e);
	if (r == 0 && PQsetnonblocking(pg, 1) < 0)
		r = connection_error(pg, ERR_RETRY, e);
	if (r < 0) {
		PQfinish(pg);
		return r;
	}
	(void)PQsetNoticeReceiver(pg, ignore_notice, NULL);
	*ret = pg;
	return 0;
}

int db_open(const char *conninfo, const char *application_name, int64_t connect_us, int64_t statement_us,
	    struct db **ret, struct error *e)
{
	struct db *d = calloc(1, sizeof(*d));
	if (!d)
		return error_nomem(e);
	int r = db_connect(conninfo, application_name, connect_us, &d->pg, e);
	if (r < 0) {
		free(d);
		return r;
	}
	d->made_us = clock_monotonic_us();
	d->statement_us = statement_us;
	*ret = d;
	return 0;
}

void db_close(struct db *d)
{
	if (!d)
		return;
	PQfinish(d->pg);
	free(d->prepared);
	free(d);
}
