#include "domain/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int read_endpoint(enum target_kind kind, const char *text, struct target_endpoint *ret, struct error *e)
{
	json_t *object = json_loads(text, 0, NULL);
	assert_non_null(object);
	*e = (struct error){0};
	int r = target_endpoint_read(kind, object, ret, e);
	json_decref(object);
	return r;
}

static void refused(enum target_kind kind, const char *text, const char *why)
{
	struct target_endpoint t = {0};
	struct error e;
	assert_int_equal(read_endpoint(kind, text, &t, &e), ERR_REJECT);
	if (!strstr(e.text, why))
		fail_msg("wanted \"%s\" in \"%s\"", why, e.text);
	assert_null(t.path);
	assert_null(t.bucket);
}

static void endpoints_are_read(void **state _unused_)
{
	struct target_endpoint t = {0};
	struct error e;
	assert_int_equal(read_endpoint(TARGET_FILE, "{\"path\":\"/srv/x\"}", &t, &e), 0);
	assert_string_equal(t.path, "/srv/x");
	target_endpoint_done(&t);
	assert_int_equal(
	    read_endpoint(TARGET_S3,
			  "{\"bucket\":\"b\",\"endpoint\":\"https://h:1\",\"path\":\"a/b\",\"path_style\":true,"
			  "\"part_bytes\":5242880}",
			  &t, &e),
	    0);
	assert_string_equal(t.endpoint, "https://h:1");
	assert_true(t.path_style && !t.allow_private);
	assert_int_equal(t.part_bytes, 5242880);
	assert_null(t.region);
	target_endpoint_done(&t);
	assert_null(t.bucket);
}

static void paths_stay_in_their_folder(void **state _unused_)
{
	refused(TARGET_FILE, "{\"path\":\"srv\"}", "must begin with /");
	refused(TARGET_FILE, "{\"path\":\"/srv/../etc\"}", "holds . or ..");
	refused(TARGET_FILE, "{\"path\":\"/srv/./x\"}", "holds . or ..");
	refused(TARGET_FILE, "{\"path\":\"/srv/..\"}", "holds . or ..");
	refused(TARGET_S3, "{\"bucket\":\"b\",\"path\":\"/a\"}", "do not begin with /");
	refused(TARGET_S3, "{\"bucket\":\"b\",\"path\":\"..\"}", "holds . or ..");
}

static void what_does_not_belong_is_refused(void **state _unused_)
{
	refused(TARGET_FILE, "{}", "path: required");
	refused(TARGET_FILE, "{\"path\":\"/x\",\"bucket\":\"b\"}", "bucket: no such field");
	refused(TARGET_S3, "{}", "bucket: required");
	refused(TARGET_S3, "{\"bucket\":\"b\",\"secret_key\":\"s\"}", "secret_key: no such field");
	refused(TARGET_S3, "{\"bucket\":\"b\",\"endpoint\":\"ftp://h\"}", "want https://host");
	refused(TARGET_S3, "{\"bucket\":\"b\",\"part_bytes\":1}", "part_bytes");
	refused(TARGET_KIND_MAX, "{}", "no such kind");
}

static void a_binding_names_the_endpoint(void **state _unused_)
{
	struct target_endpoint t = {.region = (char *)"eu-central-1", .bucket = (char *)"b", .path = (char *)"p"};
	struct vault_binding b = target_binding(TARGET_S3, &t, "", "id");
	assert_string_equal(b.host, "eu-central-1");
	assert_string_equal(b.kind, "s3");
	t.endpoint = (char *)"https://h";
	b = target_binding(TARGET_S3, &t, "acc", "id");
	assert_string_equal(b.host, "https://h");
	assert_string_equal(b.bucket, "b");
	assert_string_equal(b.path, "p");
	assert_string_equal(b.account, "acc");
	assert_string_equal(b.target, "id");
}

static void credential_is(int want, enum target_kind kind, const char *text)
{
	struct error e = {0};
	assert_int_equal(target_credential_check(kind, text, strlen(text), &e), want);
	assert_null(strstr(e.text, "hidden"));
}

static void credentials_are_checked_without_being_told(void **state _unused_)
{
	credential_is(0, TARGET_S3, "{\"access_key\":\"a\",\"secret_key\":\"hidden\"}");
	credential_is(0, TARGET_S3, "{\"access_key\":\"a\",\"secret_key\":\"hidden\",\"session_token\":\"hidden\"}");
	credential_is(ERR_REJECT, TARGET_S3, "{\"access_key\":\"hidden\"}");
	credential_is(ERR_REJECT, TARGET_S3, "{\"access_key\":\"hidden\",\"secret_key\":\"\"}");
	credential_is(ERR_REJECT, TARGET_S3, "{\"access_key\":\"a\",\"secret_key\":[\"hidden\"]}");
	credential_is(ERR_REJECT, TARGET_S3, "hidden");
	credential_is(ERR_REJECT, TARGET_FILE, "{\"access_key\":\"hidden\",\"secret_key\":\"hidden\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(endpoints_are_read),
	    cmocka_unit_test(paths_stay_in_their_folder),
	    cmocka_unit_test(what_does_not_belong_is_refused),
	    cmocka_unit_test(a_binding_names_the_endpoint),
	    cmocka_unit_test(credentials_are_checked_without_being_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
