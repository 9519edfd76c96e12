#include "domain/event.h"
#include "domain/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>
#include <jansson.h>

static const char id_text[] = "0190163d-8694-739b-aea5-966c26f8ad91";

static struct uuid the_id(void)
{
	struct uuid u;
	assert_true(uuid_parse(id_text, &u));
	return u;
}

static void sqlstates_become_what_the_caller_may_do(void **state _unused_)
{
	static const struct {
		const char *sqlstate;
		int code;
	} cases[] = {{"RU001", ERR_CONFLICT}, {"RU002", ERR_NOTFOUND}, {"RU003", ERR_DENIED},  {"RU004", ERR_CANCELLED},
		     {"RU005", ERR_REJECT},   {"23505", ERR_CONFLICT}, {"23503", ERR_REJECT},  {"42501", ERR_DENIED},
		     {"40001", ERR_RETRY},    {"40P01", ERR_RETRY},    {"53300", ERR_RETRY},   {"57014", ERR_RETRY},
		     {"57P01", ERR_RETRY},    {"55P03", ERR_RETRY},    {"25006", ERR_RETRY},   {"08006", ERR_RETRY},
		     {"26000", ERR_RETRY},    {"22P02", ERR_REJECT},   {"42P01", ERR_FATAL},   {"25P02", ERR_FATAL},
		     {"XX000", ERR_FATAL},    {"", ERR_FATAL},	       {"P0002", ERR_NOTFOUND}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(db_sqlstate_to_code(cases[i].sqlstate), cases[i].code);
}

static void kinds_have_names(void **state _unused_)
{
	for (unsigned k = 0; k < JOB_KIND_MAX; k++)
		assert_int_equal(job_kind_from_string(job_kind_to_string(k)), k);
	assert_int_equal(job_kind_from_string("copies"), JOB_KIND_MAX);
	assert_int_equal(job_kind_from_string(NULL), JOB_KIND_MAX);
}

static void only_what_is_bound_is_sent_to_its_spool(void **state _unused_)
{
	char text[160];
	struct uuid node = the_id(), none = {0};
	job_subject(JOB_CONVERT, "eu1", &node, text, sizeof(text));
	assert_string_equal(text, "jobs.convert.eu1.0190163d-8694-739b-aea5-966c26f8ad91");
	job_durable(JOB_CONVERT, "eu1", &node, text, sizeof(text));
	assert_string_equal(text, "convert-eu1-0190163d-8694-739b-aea5-966c26f8ad91");
	job_subject(JOB_PUSH, "eu1", &node, text, sizeof(text));
	assert_string_equal(text, "jobs.push.eu1");
	job_durable(JOB_COPY, "eu1", &none, text, sizeof(text));
	assert_string_equal(text, "copy-eu1");
	job_subject(JOB_DELETE, "eu1", NULL, text, sizeof(text));
	assert_string_equal(text, "jobs.delete.eu1");
}

static void a_message_comes_back_as_it_was_made(void **state _unused_)
{
	struct job_due due = {.job = the_id(), .attempt = 3, .publication = 2};
	char body[JOB_MESSAGE_BYTES], id[JOB_MESSAGE_ID_BYTES];
	struct uuid job;
	struct error e = {0};
	size_t n = job_message(JOB_PUSH, &due, body);
	assert_string_equal(
	    body,
	    "{\"job\":\"0190163d-8694-739b-aea5-966c26f8ad91\",\"kind\":\"push\",\"attempt\":3,\"publication\":2}");
	assert_int_equal(job_message_parse(body, n, JOB_PUSH, &job, &e), 0);
	assert_true(uuid_equal(&job, &due.job));
	assert_int_equal(job_message_parse(body, n, JOB_COPY, &job, &e), ERR_REJECT);
	job_message_id(&due, id);
	assert_string_equal(id, "0190163d-8694-739b-aea5-966c26f8ad91.3.2");
}

static void foreign_messages_are_refused(void **state _unused_)
{
	static const char *const texts[] = {
	    "",
	    "{}",
	    "[]",
	    "nonsense",
	    "{\"job\":1,\"kind\":\"push\",\"attempt\":0,\"publication\":0}",
	    "{\"job\":\"0190163d\",\"kind\":\"push\",\"attempt\":0,\"publication\":0}",
	    "{\"job\":\"0190163d-8694-739b-aea5-966c26f8ad91\",\"kind\":\"dig\",\"attempt\":0,\"publication\":0}",
	    "{\"job\":\"0190163d-8694-739b-aea5-966c26f8ad91\",\"kind\":\"push\",\"attempt\":-1,\"publication\":0}",
	    "{\"job\":\"0190163d-8694-739b-aea5-966c26f8ad91\",\"kind\":\"push\",\"attempt\":0}",
	};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct uuid job;
		struct error e = {0};
		assert_int_equal(job_message_parse(texts[i], strlen(texts[i]), JOB_PUSH, &job, &e), ERR_REJECT);
		assert_true(*e.text);
	}
}

static void an_event_holds_ids_only(void **state _unused_)
{
	char body[EVENT_MESSAGE_BYTES];
	struct event ev = {.id = 42, .type = "recording.saved", .at = "2026-11-22T02:00:00.000001Z"};
	ev.recording = the_id();
	size_t n = event_message(&ev, body);
	assert_int_equal(n, strlen(body));
	assert_string_equal(body, "{\"event\":42,\"type\":\"recording.saved\",\"account\":null,"
				  "\"recording\":\"0190163d-8694-739b-aea5-966c26f8ad91\","
				  "\"at\":\"2026-11-22T02:00:00.000001Z\"}");
}

/* The longest there can be fits, and is JSON whose head is the text that was signed. */
static void the_end_of_a_deletion_carries_its_head(void **state _unused_)
{
	char body[EVENT_MESSAGE_BYTES], head[LEDGER_HEAD_TEXT_BYTES];
	struct event ev = {.id = INT64_MAX,
			   .type = "recording.deleted",
			   .account = the_id(),
			   .recording = the_id(),
			   .at = "2026-11-22T02:00:00.000001Z",
			   .entry = INT64_MAX,
			   .entry_position = INT64_MAX,
			   .head = {.batch = INT64_MAX, .leaves = UINT32_MAX, .at = "2026-11-22T02:00:00.000001Z"}};
	memset(ev.entry_hash, 0xab, sizeof(ev.entry_hash));
	memset(ev.head.root, 0xff, sizeof(ev.head.root));
	memset(ev.head.key_id, 'k', KEY_ID_CHARS_MAX);
	ledger_head_text(&ev.head, head);
	size_t n = event_message(&ev, body);
	assert_int_equal(n, strlen(body));
	json_t *message = json_loads(body, JSON_REJECT_DUPLICATES, NULL);
	json_t *proof = json_object_get(message, "ledger");
	assert_string_equal(json_string_value(json_object_get(proof, "head")), head);
	assert_int_equal(strlen(json_string_value(json_object_get(proof, "signature"))), 128);
	assert_int_equal(strspn(json_string_value(json_object_get(proof, "hash")), "ab"), 64);
	json_decref(message);
}

static void parameters_are_text(void **state _unused_)
{
	char number[DB_INT_BYTES], bytes[DB_BYTEA_BYTES(3)];
	assert_string_equal(db_param_int(INT64_MIN, number), "-9223372036854775808");
	assert_string_equal(db_param_bool(true), "t");
	assert_string_equal(db_param_bytea("\x00\xff\x10", 3, bytes), "\\x00ff10");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sqlstates_become_what_the_caller_may_do),
	    cmocka_unit_test(kinds_have_names),
	    cmocka_unit_test(only_what_is_bound_is_sent_to_its_spool),
	    cmocka_unit_test(a_message_comes_back_as_it_was_made),
	    cmocka_unit_test(foreign_messages_are_refused),
	    cmocka_unit_test(an_event_holds_ids_only),
	    cmocka_unit_test(the_end_of_a_deletion_carries_its_head),
	    cmocka_unit_test(parameters_are_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
