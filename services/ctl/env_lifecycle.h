/* `rushesctl env lifecycle`: an environment's lifecycle rules; and `rushesctl retention preview`, what one would take.
 */
#ifndef RUSHES_CTL_ENV_LIFECYCLE_H
#define RUSHES_CTL_ENV_LIFECYCLE_H

#include "command.h"

struct lifecycle_arguments {
	const char *account, *env;
	const char *name;			/* of a rule; NULL: none was named */
	const char *recording_kind, *file_kind; /* NULL: as before, at first every kind and the whole recording */
	uint64_t age_days, limit;
	bool enabled, has_enabled;
	const char *until;
};

extern const struct option env_lifecycle_list_options[];
extern const struct option env_lifecycle_set_options[];
extern const struct option env_lifecycle_remove_options[];
extern const struct option retention_preview_options[];

int env_lifecycle_list(struct ctl *c, const void *arguments, struct error *e);
int env_lifecycle_set(struct ctl *c, const void *arguments, struct error *e);
int env_lifecycle_remove(struct ctl *c, const void *arguments, struct error *e);
int retention_preview(struct ctl *c, const void *arguments, struct error *e);

#endif
