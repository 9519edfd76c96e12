/* `rushesctl recording delete`, `deletion`, `overdue`: the decision, and following it to its end. */
#ifndef RUSHES_CTL_RECORDING_DELETE_H
#define RUSHES_CTL_RECORDING_DELETE_H

#include "command.h"

struct recording_delete_arguments {
	struct uuid id;
	const char *reason;
	bool wait;
	int64_t limit_ms;
};

extern const struct option recording_delete_options[];

int recording_delete_run(struct ctl *c, const void *arguments, struct error *e);

/* `arguments`: a struct uuid, the recording's. */
int recording_deletion_run(struct ctl *c, const void *arguments, struct error *e);

struct recording_overdue_arguments {
	int64_t after_ms;
};

extern const struct option recording_overdue_options[];

int recording_overdue_run(struct ctl *c, const void *arguments, struct error *e);

#endif
