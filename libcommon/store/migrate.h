/* Schema migrations: files NNNN_name.sql of one folder, applied in order, each in its own transaction, under one
 * advisory lock, and recorded with their SHA-256 in rushes.schema_migration. A recorded file that changed or is missing
 * is refused: a schema is corrected by a new file. Blocks; off the loop. */
#ifndef RUSHES_STORE_MIGRATE_H
#define RUSHES_STORE_MIGRATE_H

#include "store/db.h"

/* Most migrations, and largest file: both far above what is sane, to bound a wrong folder. */
#define MIGRATE_FILES_MAX      1000
#define MIGRATE_FILE_BYTES_MAX ((size_t)4 * 1024 * 1024)

/* The oldest schema that this program works with; raised with each migration that code relies on. A newer database is
 * accepted: migrations stay compatible one version back. */
#define SCHEMA_VERSION 1

struct migrate_step {
	int version;	     /* NNNN */
	const char *name;    /* file name; lives during the callback */
	bool applied_before; /* false: applied now */
	int64_t took_ms;
};

typedef void migrate_progress(void *arg, const struct migrate_step *step);

/* Applies what is missing of `folder`, through a direct connection (the lock and long statements don't suit a pooler)
 * as the schema's owner. `progress` may be NULL. ERR_CONFLICT: a recorded file changed or is missing, or a lower number
 * appeared after a higher one was applied. ERR_RETRY: not reachable, or another migration holds the lock. */
int migrate_run(const char *conninfo, const char *folder, migrate_progress *progress, void *arg,
		struct error *e) _must_check_;

/* Changes nothing: tells `progress` of every file of `folder`, and whether it was applied; `*ret_missing` counts those
 * that were not. Takes no lock. Errors as migrate_run(); a database without the schema misses all. */
int migrate_check(const char *conninfo, const char *folder, migrate_progress *progress, void *arg, size_t *ret_missing,
		  struct error *e) _must_check_;

/* The applied version. ERR_NOTFOUND for a database without the schema. */
int schema_version(struct db_pool *p, int *ret, struct error *e) _must_check_;

/* For services at start: ERR_FATAL when the database is older than SCHEMA_VERSION or has none; ERR_RETRY when it does
 * not answer. A newer database is accepted: migrations are compatible one version back. */
int schema_version_check(struct db_pool *p, struct error *e) _must_check_;

#endif
