/* The sweep of one service's slice of the retention rules: copies that are due turn `going`, wherever they lie, and
 * recordings that a rule takes whole are deleted (DESIGN section 7). The rules of a slice stand in the database; any
 * number of processes may sweep the same one. */
#ifndef RUSHES_NODE_SLICE_H
#define RUSHES_NODE_SLICE_H

#include "base/metrics.h"
#include "store/db.h"

/* A sweep refuses to work while its clock and PostgreSQL's differ by more. */
#define SLICE_CLOCK_SKEW_MS 60000

/* Copies decided by one statement. */
#define SLICE_BATCH 100

/* The gate before anything is deleted by a date, in every service: 0 when the installation is open, this clock and
 * PostgreSQL's agree, and PostgreSQL's agrees with what this machine counted (rushes.sweep_gate). ERR_DENIED while they
 * do not, ERR_RETRY while the installation is being restored or the database is away. Shown as
 * rushes_retention_refused{reason}; a clock that jumped is also a pause that a person can confirm. Blocks: off the
 * loop. */
int slice_gate(struct db_pool *db, struct metrics *metrics, struct error *e) _must_check_;

/* Sweeps, looking at the brakes before each batch, until nothing more is due. `slice` is the service's name: "ingest",
 * "transcoder", "storage-pusher", "janitor". Logs each decision with its ids. ERR_DENIED while the clocks differ,
 * ERR_RETRY while the installation is being restored or the database is away: then nothing was decided. Blocks: off the
 * loop. */
int slice_sweep(struct db_pool *db, const char *slice, struct metrics *metrics, unsigned *ret_decided,
		struct error *e) _must_check_;

#endif
