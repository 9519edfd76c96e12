#include "net/s3_xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

static void test_error(void **state _unused_)
{
	static const char full[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>"
				   "<Message>The key &lt;a&gt;\nis &#x27;gone&#39;</Message><Resource>/b/k</Resource>"
				   "<Deep><Code>not this</Code></Deep><RequestId>1</RequestId></Error>";
	static const char bare[] = "<Error><Code>AccessDenied</Code></Error>";
	static const char moved[] = "<Error><Code>PermanentRedirect</Code><Region>eu-west-1</Region>"
				    "<Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint></Error>";
	struct s3_error got;
	struct error e = {0};
	assert_int_equal(s3_xml_error(full, strlen(full), &got, &e), 0);
	assert_string_equal(got.code, "NoSuchKey");
	assert_string_equal(got.message, "The key <a>?is 'gone'");
	assert_int_equal(s3_xml_error(bare, strlen(bare), &got, &e), 0);
	assert_string_equal(got.code, "AccessDenied");
	assert_string_equal(got.message, "");
	assert_int_equal(s3_xml_error(moved, strlen(moved), &got, &e), 0);
	assert_string_equal(got.region, "eu-west-1");
	assert_string_equal(got.endpoint, "b.s3.eu-west-1.amazonaws.com");
}

static void test_hostile_answers(void **state _unused_)
{
	static const char *const hostile[] = {
	    "",
	    "<Error>",
	    "<html><body>502 Bad Gateway</body></html>",
	    "{\"Error\":{\"Code\":\"x\"}}",
	    "<!DOCTYPE a [<!ENTITY x \"yyyy\">]><Error><Code>&x;</Code></Error>",
	    "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><Error/>",
	    "<Error><Code>&undefined;</Code></Error>",
	    ("<Error><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a></a></a></a>"
	     "</a></a></a></a></a></Error>"),
	    "<Error><Code>\xff\xfe</Code></Error>",
	    "<Error/><Error/>",
	};
	struct s3_error got;
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		struct error e = {0};
		assert_int_equal(s3_xml_error(hostile[i], strlen(hostile[i]), &got, &e), ERR_CORRUPT);
		assert_int_equal(e.code, ERR_CORRUPT);
	}
}

static void test_long_text_is_refused(void **state _unused_)
{
	_cleanup_(freep) char *text = malloc(S3_XML_TEXT_MAX + 64);
	assert_non_null(text);
	int n = snprintf(text, 64, "<Error><Message>");
	memset(text + n, 'x', S3_XML_TEXT_MAX);
	memcpy(text + n + S3_XML_TEXT_MAX, "</Message></Error>", sizeof "</Message></Error>");
	struct s3_error got;
	struct error e = {0};
	assert_int_equal(s3_xml_error(text, strlen(text), &got, &e), ERR_CORRUPT);
	/* one byte less than the limit passes, cut for people */
	memcpy(text + n + S3_XML_TEXT_MAX - 1, "</Message></Error>", sizeof "</Message></Error>");
	assert_int_equal(s3_xml_error(text, strlen(text), &got, &e), 0);
	assert_int_equal(strlen(got.message), S3_MESSAGE_BYTES - 1);
}

static void test_upload(void **state _unused_)
{
	static const char good[] = "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
				   "<Bucket>b</Bucket><Key>k</Key><UploadId>2~abc/+=</UploadId>"
				   "</InitiateMultipartUploadResult>";
	static const char none[] = "<InitiateMultipartUploadResult><Key>k</Key></InitiateMultipartUploadResult>";
	char upload[S3_UPLOAD_BYTES];
	struct error e = {0};
	assert_int_equal(s3_xml_upload(good, strlen(good), upload, &e), 0);
	assert_string_equal(upload, "2~abc/+=");
	assert_int_equal(s3_xml_upload(none, strlen(none), upload, &e), ERR_CORRUPT);
	char long_id[S3_UPLOAD_BYTES + 64];
	int n = snprintf(long_id, 64, "<R><UploadId>");
	memset(long_id + n, 'u', S3_UPLOAD_BYTES);
	memcpy(long_id + n + S3_UPLOAD_BYTES, "</UploadId></R>", sizeof "</UploadId></R>");
	assert_int_equal(s3_xml_upload(long_id, strlen(long_id), upload, &e), ERR_CORRUPT);
}

static void test_complete(void **state _unused_)
{
	static const char good[] = "<CompleteMultipartUploadResult><Location>l</Location><ETag>&quot;ab-2&quot;</ETag>"
				   "</CompleteMultipartUploadResult>";
	static const char empty[] = "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>";
	static const char late[] = "<Error><Code>InternalError</Code><Message>try again</Message></Error>";
	static const char nameless[] = "<Error><Message>no code</Message></Error>";
	char etag[S3_ETAG_BYTES];
	struct s3_error failed;
	struct error e = {0};
	assert_int_equal(s3_xml_complete(good, strlen(good), etag, &failed, &e), 0);
	assert_string_equal(etag, "\"ab-2\"");
	assert_string_equal(failed.code, "");
	assert_int_equal(s3_xml_complete(empty, strlen(empty), etag, &failed, &e), 0);
	assert_string_equal(etag, "");
	assert_int_equal(s3_xml_complete(late, strlen(late), etag, &failed, &e), 0);
	assert_string_equal(failed.code, "InternalError");
	assert_int_equal(s3_xml_complete(nameless, strlen(nameless), etag, &failed, &e), 0);
	assert_string_equal(failed.code, "Error");
}

struct collected {
	unsigned n, markers, fail_at;
	char text[256];
};

static int collect(void *arg, const struct s3_entry *entry, struct error *e)
{
	struct collected *c = arg;
	if (++c->n == c->fail_at)
		return error_set(e, ERR_RETRY, "as asked");
	c->markers += entry->delete_marker;
	size_t used = strlen(c->text);
	(void)snprintf(c->text + used, sizeof c->text - used, "%s:%s%s ", entry->key, entry->version, entry->upload);
	return 0;
}

static void test_versions(void **state _unused_)
{
	static const char list[] =
	    "<ListVersionsResult><IsTruncated>true</IsTruncated><KeyMarker></KeyMarker>"
	    "<NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>v3</NextVersionIdMarker>"
	    "<Version><Key>k</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest><Owner><ID>o</ID></Owner>"
	    "</Version><DeleteMarker><Key>k</Key><VersionId>v2</VersionId></DeleteMarker>"
	    "<Version><VersionId>null</VersionId><Key>k&amp;</Key></Version></ListVersionsResult>";
	struct collected c = {0};
	struct s3_page page;
	struct error e = {0};
	assert_int_equal(s3_xml_versions(list, strlen(list), collect, &c, &page, &e), 0);
	assert_string_equal(c.text, "k:v1 k:v2 k&:null ");
	assert_int_equal(c.markers, 1);
	assert_true(page.truncated);
	assert_string_equal(page.next_key, "k");
	assert_string_equal(page.next_version, "v3");
	struct collected failing = {.fail_at = 2};
	assert_int_equal(s3_xml_versions(list, strlen(list), collect, &failing, &page, &e), ERR_RETRY);
	assert_string_equal(e.text, "as asked");
	assert_int_equal(failing.n, 2);
}

static void test_uploads(void **state _unused_)
{
	static const char list[] =
	    "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
	    "<Upload><Key>k</Key><UploadId>u1</UploadId><Initiator><ID>x</ID></Initiator></Upload>"
	    "<Upload><Key>k2</Key><UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>";
	struct collected c = {0};
	struct s3_page page;
	struct error e = {0};
	assert_int_equal(s3_xml_uploads(list, strlen(list), collect, &c, &page, &e), 0);
	assert_string_equal(c.text, "k:u1 k2:u2 ");
	assert_false(page.truncated);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_error),
	    cmocka_unit_test(test_hostile_answers),
	    cmocka_unit_test(test_long_text_is_refused),
	    cmocka_unit_test(test_upload),
	    cmocka_unit_test(test_complete),
	    cmocka_unit_test(test_versions),
	    cmocka_unit_test(test_uploads),
	};
	return cmocka_run_group_tests_name("s3_xml", tests, NULL, NULL);
}
