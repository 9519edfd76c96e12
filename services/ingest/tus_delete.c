#include "answer.h"
#include "recording_rows.h"
#include "tus_internal.h"

/* One termination, on its way through the pool. */
struct removal {
	struct tus_request q;
	int result;
	bool was_there;
	struct error error;
};

static void work(void *arg)
{
	struct removal *m = arg;
	m->result = recording_row_upload_delete(platform_db(m->q.g->platform), &m->q.recording, &m->q.token.account,
						&m->q.token.session, &m->was_there, &m->error);
}

static void done(void *arg)
{
	struct removal *m = arg;
	struct http_request *r = m->q.r;
	char recording[UUID_TEXT_BYTES];
	uuid_format(&m->q.recording, recording);
	struct log_context ctx = {.recording = recording, .trace = http_request_trace(r)};
	if (m->result == 0 && m->was_there) {
		log_info(&ctx, "discarded by its client");
		/* who brings bytes of it here learns it now, elsewhere by that node's next look */
		struct intake *i = intakes_find(m->q.g->intakes, &m->q.recording);
		if (i)
			intake_revoked(i, "recording-deleted");
		(void)http_response_header(r, "Cache-Control", "no-store");
		(void)http_respond(r, 204, NULL, NULL, 0);
	} else if (m->result == 0) {
		answer_problem(r, "unknown-upload", false, "there is no such upload");
	} else if (m->result == ERR_CANCELLED) {
		answer_problem(r, "recording-deleted", false, "the upload was deleted");
	} else if (m->result == ERR_DENIED) {
		answer_problem(r, "held", false, "the recording is held");
	} else {
		log_warning(&ctx, "the upload cannot be discarded now: %s", m->error.text);
		answer_problem(r, "unavailable", true, "the service cannot discard the upload now");
	}
	http_request_unref(r);
	free(m);
}

void tus_delete(const struct tus_request *q)
{
	struct removal *m = calloc(1, sizeof(*m));
	if (m) {
		m->q = *q;
		(void)http_request_ref(q->r);
		if (pool_submit(q->g->pool, work, done, m) == 0)
			return;
		http_request_unref(q->r);
		free(m);
	}
	answer_problem(q->r, "unavailable", true, "try again");
}
