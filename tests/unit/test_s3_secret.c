#include "net/s3_secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

static int parse(const char *text, struct s3_secret **ret, struct error *e)
{
	return s3_secret_parse(text, strlen(text), ret, e);
}

static void what_operators_give_is_read(void **state)
{
	_cleanup_(s3_secret_freep) struct s3_secret *two = NULL;
	_cleanup_(s3_secret_freep) struct s3_secret *three = NULL;
	(void)state;
	assert_int_equal(parse("{\"access_key\": \"AKIA\", \"secret_key\": \"s\\u00e4cret\"}", &two, NULL), 0);
	struct s3_credentials c = s3_secret_credentials(two);
	assert_string_equal(c.access_key, "AKIA");
	assert_string_equal(c.secret_key, "s\xc3\xa4"
					  "cret");
	assert_null(c.session_token);
	assert_int_equal(parse("{\"access_key\": \"a\", \"secret_key\": \"b\", \"session_token\": \"c\"}", &three,
			       NULL),
			 0);
	assert_string_equal(s3_secret_credentials(three).session_token, "c");
}

/* Refused in words that name the field and hold nothing of the text. */
static void refused(const char *text, const char *words)
{
	struct s3_secret *s = NULL;
	struct error e = {0};
	assert_int_equal(parse(text, &s, &e), ERR_CORRUPT);
	assert_null(s);
	assert_non_null(strstr(e.text, words));
	assert_null(strstr(e.text, "hidden"));
}

static void what_opens_nothing_is_refused(void **state)
{
	char text[4096];
	(void)state;
	refused("", "is not");
	refused("hidden", "is not");
	refused("{\"access_key\": \"hidden\", \"secret_key\": \"hidden\"", "is not");
	refused("[\"hidden\"]", "is not");
	refused("{}", "no usable access_key");
	refused("{\"access_key\": \"hidden\"}", "no usable secret_key");
	refused("{\"access_key\": \"hidden\", \"secret_key\": 5}", "no usable secret_key");
	refused("{\"access_key\": \"hidden\", \"secret_key\": \"\"}", "no usable secret_key");
	refused("{\"access_key\": \"hidden\", \"secret_key\": \"hidden\", \"session_token\": \"\"}",
		"no usable session_token");
	(void)snprintf(text, sizeof(text), "{\"access_key\": \"%0*d\", \"secret_key\": \"hidden\"}", 2048, 7);
	refused(text, "no usable access_key");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_operators_give_is_read),
	    cmocka_unit_test(what_opens_nothing_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
