/* What operators read: recordings, jobs, nodes, as JSON built by the database in one snapshot each. Read-only.
 * Blocks: off the loop. Values are the caller's. */
#ifndef RUSHES_DOMAIN_REPORT_H
#define RUSHES_DOMAIN_REPORT_H

#include "store/db.h"

#include <jansson.h>

struct report_recordings {
	const struct uuid *account; /* NULL: any */
	const char *state;	    /* NULL: any */
	unsigned limit;		    /* newest first */
};

int report_recordings(struct db *d, const struct report_recordings *f, json_t **ret, struct error *e) _must_check_;

/* Everything that is known of one (rushes.recording_get). ERR_NOTFOUND. */
int report_recording(struct db *d, const struct uuid *id, json_t **ret, struct error *e) _must_check_;

struct report_jobs {
	const struct uuid *recording; /* NULL: any */
	const char *kind;	      /* NULL: any */
	const char *state;	      /* NULL: any unfinished one; or a finished state: done, failed, cancelled */
	unsigned limit;
};

/* Unfinished jobs by due date; with `recording` or a finished state also those of the last days. */
int report_jobs(struct db *d, const struct report_jobs *f, json_t **ret, struct error *e) _must_check_;

/* One job with its attempts. ERR_NOTFOUND. */
int report_job(struct db *d, const struct uuid *id, json_t **ret, struct error *e) _must_check_;

int report_nodes(struct db *d, json_t **ret, struct error *e) _must_check_;

/* A spool with what lies on it: one object. ERR_NOTFOUND when there is none. */
int report_node(struct db *d, const struct uuid *id, json_t **ret, struct error *e) _must_check_;

#endif
