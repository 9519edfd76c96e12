#include "base/hex.h"
#include "store/db_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

int db_result_new(PGresult *pg, struct db_result **ret, struct error *e)
{
	struct db_result *r = malloc(sizeof(*r));
	if (!r) {
		PQclear(pg);
		return error_nomem(e);
	}
	r->pg = pg;
	*ret = r;
	return 0;
}

void db_result_free(struct db_result *r)
{
	if (!r)
		return;
	PQclear(r->pg);
	free(r);
}

size_t db_rows(const struct db_result *r)
{
	return (size_t)PQntuples(r->pg);
}

static void check_place(const struct db_result *r, size_t row, size_t column)
{
	assert(row < (size_t)PQntuples(r->pg));
	assert(column < (size_t)PQnfields(r->pg));
}

bool db_null(const struct db_result *r, size_t row, size_t column)
{
	check_place(r, row, column);
	return PQgetisnull(r->pg, (int)row, (int)column) == 1;
}

const char *db_text(const struct db_result *r, size_t row, size_t column)
{
	return db_null(r, row, column) ? NULL : PQgetvalue(r->pg, (int)row, (int)column);
}

int64_t db_int(const struct db_result *r, size_t row, size_t column)
{
	const char *text = db_text(r, row, column);
	if (!text)
		return 0;
	char *end = NULL;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	assert(errno == 0 && end != text && *end == '\0');
	return value;
}

bool db_bool(const struct db_result *r, size_t row, size_t column)
{
	const char *text = db_text(r, row, column);
	return text && strcmp(text, "t") == 0;
}

bool db_uuid(const struct db_result *r, size_t row, size_t column, struct uuid *ret)
{
	const char *text = db_text(r, row, column);
	return text && uuid_parse(text, ret);
}

int db_bytea(const struct db_result *r, size_t row, size_t column, void *ret, size_t max, size_t *ret_n,
	     struct error *e)
{
	const char *text = db_text(r, row, column);
	if (!text)
		return error_set(e, ERR_NOTFOUND, "the column has no value");
	size_t digits = strlen(text) >= 2 ? strlen(text) - 2 : 0;
	if (strncmp(text, "\\x", 2) != 0 || digits % 2 != 0 || digits / 2 > max)
		return error_set(e, ERR_CORRUPT, "the column holds %zu bytes, want at most %zu", digits / 2, max);
	if (!hex_decode(text + 2, ret, digits / 2))
		return error_set(e, ERR_CORRUPT, "the column does not hold bytes");
	*ret_n = digits / 2;
	return 0;
}

const char *db_param_int(int64_t value, char ret[DB_INT_BYTES])
{
	(void)snprintf(ret, DB_INT_BYTES, "%" PRId64, value);
	return ret;
}

const char *db_param_bool(bool value)
{
	return value ? "t" : "f";
}

const char *db_param_bytea(const void *data, size_t n, char *ret)
{
	ret[0] = '\\';
	ret[1] = 'x';
	hex_encode(data, n, ret + 2);
	return ret;
}
