#include "bus/bus_internal.h"

#include <string.h>

#define MS_NS ((int64_t)1000000)

/* The server reserves these when a stream is made; together they stay well below its max_file_store and its volume,
 * which must not fill: a full volume wedges a stream without a word. A hint takes some 300 bytes. */
#define JOBS_BYTES_MAX	 ((int64_t)128 * 1024 * 1024)
#define EVENTS_BYTES_MAX ((int64_t)256 * 1024 * 1024)
#define EVENTS_AGE_MS	 ((int64_t)4 * 24 * 3600 * 1000)
/* Republications carry new ids, so the window only has to cover a publisher's own repeats. */
#define DUPLICATES_MS 120000

static const char *const stream_names[BUS_STREAM_MAX] = {"JOBS", "EVENTS"};
static const char *const stream_subjects[BUS_STREAM_MAX] = {"jobs.>", "events.>"};

const char *bus_stream_to_string(enum bus_stream s)
{
	return s < BUS_STREAM_MAX ? stream_names[s] : "unknown";
}

static void request_options(jsOptions *o)
{
	(void)jsOptions_Init(o);
	o->Wait = BUS_REQUEST_MS;
}

natsStatus bus_ensure_stream(jsCtx *js, enum bus_stream s, jsErrCode *ret_code)
{
	jsStreamConfig config;
	jsOptions options;
	(void)jsStreamConfig_Init(&config);
	request_options(&options);
	const char *subjects[] = {stream_subjects[s]};
	config.Name = stream_names[s];
	config.Subjects = subjects;
	config.SubjectsLen = 1;
	config.Storage = js_FileStorage;
	config.MaxMsgSize = BUS_BODY_BYTES + 1024;
	config.Duplicates = DUPLICATES_MS * MS_NS;
	if (s == BUS_STREAM_JOBS) {
		config.Retention = js_WorkQueuePolicy;
		config.Discard = js_DiscardNew;
		config.MaxBytes = JOBS_BYTES_MAX;
	} else {
		config.Retention = js_LimitsPolicy;
		config.Discard = js_DiscardOld;
		config.MaxBytes = EVENTS_BYTES_MAX;
		config.MaxAge = EVENTS_AGE_MS * MS_NS;
	}
	*ret_code = 0;
	natsStatus status = js_AddStream(NULL, js, &config, &options, ret_code);
	return *ret_code == JSStreamNameExistErr ? NATS_OK : status;
}

static natsStatus add_consumer(jsCtx *js, const struct bus_consumer *c, jsErrCode *ret_code)
{
	jsConsumerConfig config;
	jsOptions options;
	(void)jsConsumerConfig_Init(&config);
	request_options(&options);
	config.Durable = c->durable;
	config.FilterSubject = c->filter;
	config.DeliverPolicy = js_DeliverAll;
	config.AckPolicy = js_AckExplicit;
	config.AckWait = c->ack_wait_ms * MS_NS;
	/* attempts are counted in the database: a bound here would leave dead messages in the work queue */
	config.MaxDeliver = -1;
	return js_AddConsumer(NULL, js, stream_names[c->stream], &config, &options, ret_code);
}

natsStatus bus_ensure_consumer(struct bus *b, const struct bus_consumer *c)
{
	jsOptions options;
	jsErrCode code = 0;
	jsConsumerInfo *info = NULL;
	request_options(&options);
	natsStatus status = js_GetConsumerInfo(&info, b->js, stream_names[c->stream], c->durable, &options, &code);
	if (status == NATS_OK) {
		bool same =
		    info->Config && info->Config->FilterSubject && strcmp(info->Config->FilterSubject, c->filter) == 0;
		jsConsumerInfo_Destroy(info);
		if (same)
			return NATS_OK;
		status = js_DeleteConsumer(b->js, stream_names[c->stream], c->durable, &options, &code);
		if (status != NATS_OK)
			return status;
	} else if (status == NATS_NO_RESPONDERS || code == JSStreamNotFoundErr) {
		status = bus_ensure_stream(b->js, c->stream, &code);
		if (status != NATS_OK)
			return status;
	} else if (code != JSConsumerNotFoundErr) {
		return status;
	}
	code = 0;
	return add_consumer(b->js, c, &code);
}
