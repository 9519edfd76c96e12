#include "domain/hold.h"

static const struct db_statement set_sql = {"hold_set", "SELECT rushes.hold_set($1, $2::uuid, $3::boolean, $4)", 4};

int hold_set(struct db *d, const char *actor, const struct uuid *recording, bool on, const char *reason,
	     struct error *e)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(recording, id);
	return db_query(d, &set_sql, (const char *const[]){actor, id, db_param_bool(on), reason}, NULL, e);
}
