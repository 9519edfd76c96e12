#include "facts.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

const char *output_to_string(enum output o)
{
	static const char *const names[OUTPUT_MAX] = {"main", "snapshot", "filmstrip"};
	return names[o];
}

/* One table writes, reads and checks. */
enum field_type { FIELD_BOOL, FIELD_INT, FIELD_UNSIGNED, FIELD_UINT64, FIELD_SECONDS, FIELD_NAME };

struct field {
	const char *name;
	enum field_type type;
	size_t offset;
	double min, max;
};

#define SECONDS_MAX (48.0 * 3600)
#define PIXELS_MAX  65536
#define COUNT_MAX   9007199254740992.0
#define F(member)   offsetof(struct facts, member)

static const struct field FIELDS[] = {
    {"container", FIELD_NAME, F(container), 0, 0},
    {"source_video", FIELD_NAME, F(source_video), 0, 0},
    {"source_audio", FIELD_NAME, F(source_audio), 0, 0},
    {"parts", FIELD_UNSIGNED, F(parts), 1, 65536},
    {"duration_s", FIELD_SECONDS, F(duration_s), 0, SECONDS_MAX},
    {"has_video", FIELD_BOOL, F(has_video), 0, 0},
    {"has_audio", FIELD_BOOL, F(has_audio), 0, 0},
    {"video_copied", FIELD_BOOL, F(video_copied), 0, 0},
    {"audio_copied", FIELD_BOOL, F(audio_copied), 0, 0},
    {"width", FIELD_INT, F(width), 0, PIXELS_MAX},
    {"height", FIELD_INT, F(height), 0, PIXELS_MAX},
    {"rotation", FIELD_INT, F(rotation), 0, 270},
    {"frames", FIELD_UINT64, F(frames), 0, COUNT_MAX},
    {"sample_rate", FIELD_INT, F(sample_rate), 0, 1000000},
    {"channels", FIELD_INT, F(channels), 0, 64},
    {"truncated", FIELD_BOOL, F(truncated), 0, 0},
    {"dropped_packets", FIELD_UINT64, F(dropped_packets), 0, COUNT_MAX},
    {"hidden_frames", FIELD_UINT64, F(hidden_frames), 0, COUNT_MAX},
    {"frozen_from_s", FIELD_SECONDS, F(frozen_from_s), -1, SECONDS_MAX},
    {"snapshot_width", FIELD_INT, F(pictures.snapshot_width), 0, PIXELS_MAX},
    {"snapshot_height", FIELD_INT, F(pictures.snapshot_height), 0, PIXELS_MAX},
    {"snapshot_time_s", FIELD_SECONDS, F(pictures.snapshot_time), 0, SECONDS_MAX},
    {"thumbs", FIELD_UNSIGNED, F(pictures.thumbs), 0, PICTURES_THUMBS_MAX},
    {"columns", FIELD_UNSIGNED, F(pictures.columns), 0, PICTURES_COLUMNS},
    {"rows", FIELD_UNSIGNED, F(pictures.rows), 0, PICTURES_THUMBS_MAX},
    {"thumb_width", FIELD_INT, F(pictures.thumb_width), 0, PIXELS_MAX},
    {"thumb_height", FIELD_INT, F(pictures.thumb_height), 0, PIXELS_MAX},
    {"interval_s", FIELD_SECONDS, F(pictures.interval), 0, SECONDS_MAX},
};

static json_t *field_to_json(const struct facts *f, const struct field *field)
{
	const void *at = (const char *)f + field->offset;
	switch (field->type) {
	case FIELD_BOOL:
		return json_boolean(*(const bool *)at);
	case FIELD_INT:
		return json_integer(*(const int *)at);
	case FIELD_UNSIGNED:
		return json_integer(*(const unsigned *)at);
	case FIELD_UINT64:
		return json_integer((json_int_t) * (const uint64_t *)at);
	case FIELD_SECONDS:
		return json_real(round(*(const double *)at * 1e6) / 1e6);
	case FIELD_NAME:
		return json_string(at);
	}
	return NULL;
}

static bool name_valid(const char *s)
{
	return s && strlen(s) < FACTS_NAME_BYTES && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-.") == strlen(s);
}

static bool field_from_json(json_t *v, const struct field *field, struct facts *f)
{
	void *at = (char *)f + field->offset;
	if (field->type == FIELD_BOOL) {
		*(bool *)at = json_is_true(v);
		return json_is_boolean(v);
	}
	if (field->type == FIELD_NAME) {
		if (!name_valid(json_string_value(v)))
			return false;
		(void)snprintf(at, FACTS_NAME_BYTES, "%s", json_string_value(v));
		return true;
	}
	double n = json_number_value(v);
	if (!json_is_number(v) || !(n >= field->min && n <= field->max))
		return false;
	if (field->type == FIELD_SECONDS)
		*(double *)at = n;
	else if (!json_is_integer(v))
		return false;
	else if (field->type == FIELD_INT)
		*(int *)at = (int)n;
	else if (field->type == FIELD_UNSIGNED)
		*(unsigned *)at = (unsigned)n;
	else
		*(uint64_t *)at = (uint64_t)n;
	return true;
}

json_t *facts_to_json(const struct facts *f)
{
	json_t *o = json_object();
	int bad = 0;
	for (size_t i = 0; i < ARRAY_SIZE(FIELDS); i++)
		bad |= json_object_set_new(o, FIELDS[i].name, field_to_json(f, &FIELDS[i]));
	for (enum output k = 0; k < OUTPUT_MAX; k++)
		if (f->outputs[k].made)
			bad |= json_object_set_new(o, output_to_string(k),
						   json_pack("{s:I, s:s}", "bytes", (json_int_t)f->outputs[k].bytes,
							     "sha256", f->outputs[k].sha256));
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

static bool output_from_json(json_t *v, struct output_facts *ret)
{
	if (!v)
		return true;
	json_int_t bytes = json_integer_value(json_object_get(v, "bytes"));
	const char *sha256 = json_string_value(json_object_get(v, "sha256"));
	if (bytes <= 0 || !sha256 || strlen(sha256) != SHA256_TEXT_BYTES - 1 ||
	    strspn(sha256, "0123456789abcdef") != SHA256_TEXT_BYTES - 1)
		return false;
	ret->made = true;
	ret->bytes = (uint64_t)bytes;
	memcpy(ret->sha256, sha256, SHA256_TEXT_BYTES);
	return true;
}

int facts_from_json(json_t *object, struct facts *ret, struct error *e)
{
	struct facts f = {0};
	for (size_t i = 0; i < ARRAY_SIZE(FIELDS); i++)
		if (!field_from_json(json_object_get(object, FIELDS[i].name), &FIELDS[i], &f))
			return error_set(e, ERR_REJECT, "fact %s is missing or out of range", FIELDS[i].name);
	for (enum output k = 0; k < OUTPUT_MAX; k++)
		if (!output_from_json(json_object_get(object, output_to_string(k)), &f.outputs[k]))
			return error_set(e, ERR_REJECT, "facts of output %s are wrong", output_to_string(k));
	*ret = f;
	return 0;
}

static json_t *main_facts(const struct facts *f)
{
	json_t *o = facts_to_json(f);
	if (!o)
		return NULL;
	/* the pictures have their own rows, the digests their own columns */
	for (size_t i = 0; i < ARRAY_SIZE(FIELDS); i++)
		if (FIELDS[i].offset >= F(pictures))
			(void)json_object_del(o, FIELDS[i].name);
	for (enum output k = 0; k < OUTPUT_MAX; k++)
		(void)json_object_del(o, output_to_string(k));
	if (f->frozen_from_s < 0)
		(void)json_object_del(o, "frozen_from_s");
	int bad = json_object_set_new(o, "codec", json_string(f->has_video ? "h264" : "aac"));
	if (f->has_video)
		bad |= json_object_set_new(o, "video_codec", json_string("h264"));
	if (f->has_audio)
		bad |= json_object_set_new(o, "audio_codec", json_string("aac"));
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

json_t *facts_of_output(const struct facts *f, enum output o)
{
	const struct pictures_facts *p = &f->pictures;
	if (o == OUTPUT_MAIN)
		return main_facts(f);
	if (o == OUTPUT_SNAPSHOT)
		return json_pack("{s:s, s:i, s:i, s:f}", "codec", "mjpeg", "width", p->snapshot_width, "height",
				 p->snapshot_height, "time_s", p->snapshot_time);
	return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f}", "codec", "mjpeg", "width",
			 (int)p->columns * p->thumb_width, "height", (int)p->rows * p->thumb_height, "thumbs",
			 (int)p->thumbs, "columns", (int)p->columns, "rows", (int)p->rows, "thumb_width",
			 p->thumb_width, "thumb_height", p->thumb_height, "interval_s", p->interval);
}
