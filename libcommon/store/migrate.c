#include "store/migrate.h"

#include "base/clock.h"
#include "base/hex.h"
#include "store/db_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#define CONNECT_US   10000000
#define STATEMENT_US 3600000000 /* an index on a large table takes its time */
#define DIGEST_BYTES 32
#define LOCK_WAIT_MS 60000

/* Any constant does, as long as it stays: "rushes" as a number. */
#define LOCK_KEY "125779802810739"

struct migration {
	int version;
	char *name;
	char *sql;
	char sha256[2 * DIGEST_BYTES + 1];
};

struct migrations {
	struct migration *list;
	size_t n;
};

static void migrations_done(struct migrations *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->list[i].name);
		free(m->list[i].sql);
	}
	free(m->list);
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), k = strlen(end);
	return n >= k && strcmp(text + n - k, end) == 0;
}

/* The number of NNNN_name.sql; 0 for other names. */
static int version_of(const char *name)
{
	for (int i = 0; i < 4; i++)
		if (!isdigit((unsigned char)name[i]))
			return 0;
	return name[4] == '_' && name[5] != '.' ? (int)strtol(name, NULL, 10) : 0;
}

static int read_file(int folder, struct migration *m, struct error *e)
{
	_cleanup_(closep) int fd = openat(folder, m->name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot read migration %s", m->name);
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > MIGRATE_FILE_BYTES_MAX)
		return error_set(e, ERR_REJECT, "migration %s: not a file of 1 to %zu bytes", m->name,
				 MIGRATE_FILE_BYTES_MAX);
	size_t n = (size_t)st.st_size, done = 0;
	m->sql = malloc(n + 1);
	if (!m->sql)
		return error_nomem(e);
	while (done < n) {
		ssize_t k = read(fd, m->sql + done, n - done);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return error_set(e, ERR_FATAL, "migration %s: cannot be read whole", m->name);
		done += (size_t)k;
	}
	m->sql[n] = '\0';
	if (strlen(m->sql) != n)
		return error_set(e, ERR_REJECT, "migration %s: holds a zero byte", m->name);
	uint8_t digest[DIGEST_BYTES];
	if (EVP_Digest(m->sql, n, digest, NULL, EVP_sha256(), NULL) != 1)
		return error_set(e, ERR_FATAL, "migration %s: cannot compute its SHA-256", m->name);
	hex_encode(digest, sizeof(digest), m->sha256);
	return 0;
}

static int compare_versions(const void *a, const void *b)
{
	const struct migration *x = a, *y = b;
	return (x->version > y->version) - (x->version < y->version);
}

static int add_file(struct migrations *m, const char *name, struct error *e)
{
	int version = version_of(name);
	if (version == 0)
		return error_set(e, ERR_REJECT, "migration %s: the name must be NNNN_words.sql, from 0001", name);
	if (m->n == MIGRATE_FILES_MAX)
		return error_set(e, ERR_REJECT, "more than %d migrations", MIGRATE_FILES_MAX);
	struct migration *grown = reallocarray(m->list, m->n + 1, sizeof(*grown));
	if (!grown)
		return error_nomem(e);
	m->list = grown;
	m->list[m->n] = (struct migration){.version = version, .name = strdup(name)};
	return m->list[m->n++].name ? 0 : error_nomem(e);
}

static int read_folder(const char *path, struct migrations *m, struct error *e)
{
	DIR *folder = opendir(path);
	if (!folder)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open the folder of migrations %s", path);
	int r = 0;
	const struct dirent *entry;
	while (r == 0 && (entry = readdir(folder)))
		if (ends_with(entry->d_name, ".sql"))
			r = add_file(m, entry->d_name, e);
	if (m->n > 0)
		qsort(m->list, m->n, sizeof(*m->list), compare_versions);
	for (size_t i = 0; r == 0 && i < m->n; i++)
		r = read_file(dirfd(folder), &m->list[i], e);
	(void)closedir(folder);
	for (size_t i = 1; r == 0 && i < m->n; i++)
		if (m->list[i].version == m->list[i - 1].version)
			r = error_set(e, ERR_REJECT, "migrations %s and %s have the same number", m->list[i - 1].name,
				      m->list[i].name);
	if (r == 0 && m->n == 0)
		r = error_set(e, ERR_NOTFOUND, "the folder %s holds no migration", path);
	return r;
}

static int lock_and_prepare(struct db *d, struct error *e)
{
	char sql[96];
	(void)snprintf(sql, sizeof(sql), "SET lock_timeout = %d; SELECT pg_advisory_lock(" LOCK_KEY ")", LOCK_WAIT_MS);
	int r = db_simple(d, "migrate_lock", sql, NULL, e);
	if (r < 0)
		return error_wrap(e, "another migration may be running");
	return db_simple(d, "migrate_table",
			 "SET lock_timeout = 0; CREATE SCHEMA IF NOT EXISTS rushes;"
			 "CREATE TABLE IF NOT EXISTS rushes.schema_migration ("
			 " version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,"
			 " applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), took_ms bigint NOT NULL)",
			 NULL, e);
}

static const struct migration *find(const struct migrations *m, int64_t version)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->list[i].version == version)
			return &m->list[i];
	return NULL;
}

/* What is recorded must be a prefix of the folder, unchanged. */
static int check_recorded(struct db *d, const struct migrations *m, size_t *ret_applied, struct error *e)
{
	static const struct db_statement recorded = {
	    "migrate_recorded", "SELECT version, name, sha256 FROM rushes.schema_migration ORDER BY version", 0};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_query(d, &recorded, NULL, &rows, e);
	for (size_t i = 0; r == 0 && i < db_rows(rows); i++) {
		const struct migration *found = find(m, db_int(rows, i, 0));
		const char *name = db_text(rows, i, 1);
		if (!found)
			r = error_set(e, ERR_CONFLICT,
				      "migration %s was applied, but the folder has no file of that number", name);
		else if (strcmp(found->sha256, db_text(rows, i, 2)) != 0)
			r = error_set(e, ERR_CONFLICT,
				      "migration %s changed after it was applied; correct the schema by a new file",
				      found->name);
		else if (found != &m->list[i])
			r = error_set(e, ERR_CONFLICT, "migration %s was never applied, but the later %s was",
				      m->list[i].name, name);
	}
	if (r == 0)
		*ret_applied = db_rows(rows);
	return r;
}

static int apply(struct db *d, const struct migration *m, int64_t *ret_took_ms, struct error *e)
{
	static const struct db_statement record = {
	    "migrate_record",
	    "INSERT INTO rushes.schema_migration (version, name, sha256, took_ms)"
	    " VALUES ($1::integer, $2, $3, $4::bigint)",
	    4};
	int64_t begin = clock_monotonic_us();
	_cleanup_(db_tx_end) struct db_tx tx = {0};
	int r = db_tx_begin(d, &tx, e);
	if (r == 0)
		r = db_simple(d, m->name, m->sql, NULL, e);
	if (r == 0 && PQtransactionStatus(d->pg) != PQTRANS_INTRANS)
		r = error_set(e, ERR_FATAL, "migration %s ended its transaction: leave BEGIN and COMMIT out", m->name);
	if (r == 0) {
		*ret_took_ms = (clock_monotonic_us() - begin) / 1000;
		char version[DB_INT_BYTES], took[DB_INT_BYTES];
		const char *params[] = {db_param_int(m->version, version), m->name, m->sha256,
					db_param_int(*ret_took_ms, took)};
		r = db_query(d, &record, params, NULL, e);
	}
	return r == 0 ? db_tx_commit(&tx, e) : r;
}

int migrate_run(const char *conninfo, const char *folder, migrate_progress *progress, void *arg, struct error *e)
{
	_cleanup_(migrations_done) struct migrations m = {0};
	_cleanup_(db_closep) struct db *d = NULL;
	size_t applied = 0;
	int r = read_folder(folder, &m, e);
	if (r == 0)
		r = db_open(conninfo, "rushes-migrate", CONNECT_US, STATEMENT_US, &d, e);
	if (r == 0)
		r = lock_and_prepare(d, e);
	if (r == 0)
		r = check_recorded(d, &m, &applied, e);
	for (size_t i = 0; r == 0 && i < m.n; i++) {
		struct migrate_step step = {.version = m.list[i].version, .name = m.list[i].name};
		step.applied_before = i < applied;
		if (!step.applied_before)
			r = apply(d, &m.list[i], &step.took_ms, e);
		if (r == 0 && progress)
			progress(arg, &step);
	}
	return r;
}

/* No such schema, no such table. */
static bool is_schema_missing(const struct db *d)
{
	return strcmp(db_sqlstate(d), "3F000") == 0 || strcmp(db_sqlstate(d), "42P01") == 0;
}

int migrate_check(const char *conninfo, const char *folder, migrate_progress *progress, void *arg, size_t *ret_missing,
		  struct error *e)
{
	_cleanup_(migrations_done) struct migrations m = {0};
	_cleanup_(db_closep) struct db *d = NULL;
	size_t applied = 0;
	int r = read_folder(folder, &m, e);
	if (r == 0)
		r = db_open(conninfo, "rushes-migrate", CONNECT_US, STATEMENT_US, &d, e);
	if (r == 0)
		r = check_recorded(d, &m, &applied, e);
	if (r < 0 && d && is_schema_missing(d))
		r = 0;
	for (size_t i = 0; r == 0 && i < m.n && progress; i++)
		progress(arg, &(struct migrate_step){m.list[i].version, m.list[i].name, i < applied, 0});
	if (r == 0)
		*ret_missing = m.n - applied;
	return r;
}

int schema_version(struct db_pool *p, int *ret, struct error *e)
{
	static const struct db_statement latest = {"schema_version",
						   "SELECT coalesce(max(version), 0) FROM rushes.schema_migration", 0};
	_cleanup_(db_releasep) struct db *d = NULL;
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_acquire(p, &d, e);
	if (r == 0)
		r = db_query(d, &latest, NULL, &rows, e);
	if (r < 0) {
		bool missing = d && is_schema_missing(d);
		return missing ? error_set(e, ERR_NOTFOUND, "the database has no schema yet: run rushesctl migrate")
			       : r;
	}
	*ret = (int)db_int(rows, 0, 0);
	return 0;
}

int schema_version_check(struct db_pool *p, struct error *e)
{
	int version = 0;
	int r = schema_version(p, &version, e);
	if (r == ERR_NOTFOUND)
		return error_set(e, ERR_FATAL, "the database has no schema yet: run rushesctl migrate");
	if (r == 0 && version < SCHEMA_VERSION)
		return error_set(e, ERR_FATAL, "the schema is at version %d, want %d or newer: run rushesctl migrate",
				 version, SCHEMA_VERSION);
	return r;
}
