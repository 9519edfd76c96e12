#include "pass.h"

#include "audio.h"
#include "canvas.h"
#include "copy.h"
#include "demux.h"
#include "media_log.h"
#include "mux.h"
#include "timeline.h"
#include "video_decode.h"
#include "video_encode.h"

#include <libavutil/display.h>
#include <string.h>

#define HZ ((AVRational){1, TIMELINE_HZ})

struct pass {
	struct convert_job *job;
	const struct media_parts *parts;
	struct pass_plan *plan;
	bool want_video, want_audio; /* some part has it */
	bool trust_durations;	     /* of video packets */
	struct mux *mux;
	struct timeline timeline;
	struct pictures *pictures;
	struct canvas *canvas;
	struct video_decoder *video; /* of the part; NULL: no picture in it */
	AVCodecContext *video_encoder;
	struct audio *audio;
	struct copy_track copy_video, copy_audio;
	bool copies_video, copies_audio; /* in this part, which is then the only one */
	int width, height;		 /* of a copied picture: every keyframe must have it */
	int rotation;
	int copied_rate, copied_channels;
	bool copied_reordered; /* frames are not shown in decoding order */
	int64_t video_at;      /* the newest frame's time */
	AVPacket *packet, *encoded;
	/* found so far */
	char container_video[FACTS_NAME_BYTES], container_audio[FACTS_NAME_BYTES];
	uint64_t dropped, hidden;
	bool cut, frozen;
};

static int write_audio(void *arg, AVPacket *packet, struct error *e)
{
	struct pass *p = arg;
	return mux_write(p->mux, MUX_AUDIO, packet, e);
}

static void remember_codec(char name[FACTS_NAME_BYTES], const AVStream *s)
{
	if (s && !name[0])
		(void)snprintf(name, FACTS_NAME_BYTES, "%s", avcodec_get_name(s->codecpar->codec_id));
}

/* Parts after the first that do not open are left out; the first one's refusal is the recording's. */
static int look_at_parts(struct pass *p, struct error *e)
{
	for (unsigned i = 0; i < p->parts->n; i++) {
		_cleanup_(demux_freep) struct demux *d = NULL;
		int r = demux_open(p->job->input, p->parts->demuxer, &p->parts->part[i], &d, e);
		if (r == ERR_REJECT && p->parts->n > 1)
			continue;
		if (r < 0)
			return r;
		p->want_video |= d->video != NULL;
		p->want_audio |= d->audio != NULL;
		if (p->parts->n == 1) {
			p->plan->copy_video &= d->video && copy_video_possible(d->video);
			p->plan->copy_audio &= d->audio && copy_audio_possible(d->audio);
		}
		remember_codec(p->container_video, d->video);
		remember_codec(p->container_audio, d->audio);
	}
	return 0;
}

int pass_new(struct convert_job *job, const struct media_parts *parts, struct pass_plan *plan, struct pass **ret,
	     struct error *e)
{
	_cleanup_(pass_freep) struct pass *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	p->job = job;
	p->parts = parts;
	p->plan = plan;
	p->packet = av_packet_alloc();
	p->encoded = av_packet_alloc();
	if (!p->packet || !p->encoded)
		return error_nomem(e);
	timeline_init(&p->timeline);
	int r = look_at_parts(p, e);
	if (r == 0 && !p->want_video && !p->want_audio)
		r = error_set(e, ERR_REJECT, "no part of the recording can be opened");
	if (r == 0)
		r = pictures_new(&p->pictures, e);
	if (r == 0)
		r = canvas_new(&p->canvas, e);
	const bool expected[MUX_TRACK_MAX] = {[MUX_VIDEO] = p->want_video, [MUX_AUDIO] = p->want_audio};
	if (r == 0)
		r = mux_new(job->outputs[OUTPUT_MAIN], expected, &p->mux, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

void pass_free(struct pass *p)
{
	if (!p)
		return;
	video_decoder_free(p->video);
	avcodec_free_context(&p->video_encoder);
	audio_free(p->audio);
	mux_free(p->mux);
	canvas_free(p->canvas);
	pictures_free(p->pictures);
	av_packet_free(&p->packet);
	av_packet_free(&p->encoded);
	free(p);
}

static const int32_t *matrix_of(const AVStream *s)
{
	size_t n = 0;
	const uint8_t *data = av_stream_get_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, &n);
	return data && n >= 9 * sizeof(int32_t) ? (const int32_t *)(const void *)data : NULL;
}

/* ---- the picture, decoded and encoded ---- */

static int take_video_packets(struct pass *p, struct error *e)
{
	for (;;) {
		int r = encoder_receive(p->video_encoder, p->encoded, e);
		if (r <= 0)
			return r;
		r = mux_write(p->mux, MUX_VIDEO, p->encoded, e);
		av_packet_unref(p->encoded);
		if (r < 0)
			return r;
	}
}

static int open_video_encoder(struct pass *p, const AVFrame *drawn, struct error *e)
{
	int r = video_encoder_new(drawn, p->job->encoder_threads, &p->video_encoder, e);
	if (r < 0)
		return r;
	AVCodecParameters *par = avcodec_parameters_alloc();
	if (!par || avcodec_parameters_from_context(par, p->video_encoder) < 0)
		r = error_nomem(e);
	else
		r = mux_set_track(p->mux, MUX_VIDEO, par, HZ, NULL, e);
	avcodec_parameters_free(&par);
	return r;
}

static int encode_frame(struct pass *p, AVFrame *frame, int64_t source, struct error *e)
{
	AVFrame *drawn;
	int64_t at;
	bool key;
	if (!timeline_frame(&p->timeline, source, &at, &key))
		return 0;
	int r = canvas_draw(p->canvas, frame, &drawn, e);
	if (r == ERR_REJECT)
		return 0;
	if (r == 0)
		r = pictures_frame(p->pictures, drawn, at, e);
	if (r == 0 && !p->video_encoder)
		r = open_video_encoder(p, drawn, e);
	if (r < 0)
		return r;
	drawn->pts = at;
	p->video_at = at;
	r = video_encoder_send(p->video_encoder, drawn, key, e);
	return r < 0 ? r : take_video_packets(p, e);
}

static int64_t to_hz(const AVStream *s, int64_t t)
{
	return t == AV_NOPTS_VALUE ? TIMELINE_NONE : av_rescale_q(t, s->time_base, HZ);
}

static int receive_frames(struct pass *p, const AVStream *s, struct error *e)
{
	for (;;) {
		AVFrame *frame;
		int r = video_decoder_receive(p->video, &frame, e);
		if (r <= 0)
			return r;
		r = encode_frame(p, frame, to_hz(s, frame->best_effort_timestamp), e);
		if (r < 0)
			return r;
	}
}

/* What is seen of packets counts even where nothing can be decoded: the picture then stands still to the end. */
static void note_packet(struct pass *p, const AVStream *s, const AVPacket *packet)
{
	int64_t at, duration = av_rescale_q(packet->duration, s->time_base, HZ);
	/* outside of MP4 it is a guess from the frames before, wrong by a second for a still screen */
	if (!p->trust_durations)
		duration = MIN(duration, TIMELINE_FRAME_LONGEST);
	if (timeline_map(&p->timeline, to_hz(s, packet->pts), &at))
		timeline_seen(&p->timeline, at, duration);
}

static int decode_video(struct pass *p, const AVStream *s, const AVPacket *packet, struct error *e)
{
	if (!p->video)
		return 0;
	if (packet)
		note_packet(p, s, packet);
	int r = video_decoder_send(p->video, packet, e);
	return r < 0 ? r : receive_frames(p, s, e);
}

/* ---- the picture, copied ---- */

static int give_up_copy(struct pass *p)
{
	p->plan->copy_video = false;
	return PASS_AGAIN;
}

/* Keyframes are decoded for the pictures, and to see that the stream is sound. */
static int check_keyframes(struct pass *p, const AVStream *s, const AVPacket *packet, struct error *e)
{
	int r = video_decoder_send(p->video, packet, e);
	while (r == 0) {
		AVFrame *frame, *drawn;
		r = video_decoder_receive(p->video, &frame, e);
		if (r <= 0)
			break;
		if (p->width == 0) {
			p->width = frame->width;
			p->height = frame->height;
		}
		if (frame->width != p->width || frame->height != p->height)
			return give_up_copy(p);
		int64_t at, source = to_hz(s, frame->best_effort_timestamp);
		r = canvas_draw(p->canvas, frame, &drawn, e);
		if (r == 0 && timeline_map(&p->timeline, source, &at))
			r = pictures_frame(p->pictures, drawn, MAX(at, 0), e);
		if (r == ERR_REJECT)
			return give_up_copy(p);
	}
	if (r < 0)
		return r;
	return p->video->errors > 0 ? give_up_copy(p) : 0;
}

static int copy_video(struct pass *p, const AVStream *s, AVPacket *packet, struct error *e)
{
	bool key = packet->flags & AV_PKT_FLAG_KEY;
	size_t n;
	/* parameter sets that change, or a start or a hole in the middle of a group of pictures */
	if (av_packet_get_side_data(packet, AV_PKT_DATA_NEW_EXTRADATA, &n) ||
	    (!key && (p->copy_video.last == TIMELINE_NONE || p->dropped > 0)))
		return give_up_copy(p);
	if (key) {
		int r = check_keyframes(p, s, packet, e);
		if (r != 0)
			return r;
	}
	p->copied_reordered |= packet->pts != packet->dts;
	if (!p->trust_durations)
		packet->duration = 0;
	if (!copy_retime(&p->copy_video, packet, &p->timeline)) {
		p->plan->copy_audio = false;
		return give_up_copy(p);
	}
	p->video_at = MAX(p->video_at, packet->pts);
	return mux_write(p->mux, MUX_VIDEO, packet, e);
}

static int copy_audio(struct pass *p, AVPacket *packet, struct error *e)
{
	if (!copy_retime(&p->copy_audio, packet, &p->timeline)) {
		p->plan->copy_audio = false;
		return PASS_AGAIN;
	}
	return mux_write(p->mux, MUX_AUDIO, packet, e);
}

/* ---- a part ---- */

static int begin_video(struct pass *p, const AVStream *s, struct error *e)
{
	p->copies_video = p->plan->copy_video;
	p->rotation = canvas_rotation(matrix_of(s));
	canvas_rotate(p->canvas, p->rotation);
	int r = video_decoder_new(s, p->copies_video, &p->video, e);
	if (r < 0 || !p->copies_video)
		return r == ERR_REJECT ? 0 : r;
	copy_track_init(&p->copy_video, s, HZ, &p->timeline);
	return mux_set_track(p->mux, MUX_VIDEO, s->codecpar, HZ, matrix_of(s), e);
}

static int begin_audio(struct pass *p, const struct demux *d, struct error *e)
{
	p->copies_audio = p->plan->copy_audio;
	if (p->copies_audio) {
		const AVCodecParameters *par = d->audio->codecpar;
		AVRational rate = {1, par->sample_rate};
		p->copied_rate = par->sample_rate;
		p->copied_channels = par->ch_layout.nb_channels;
		copy_track_init(&p->copy_audio, d->audio, rate, &p->timeline);
		return mux_set_track(p->mux, MUX_AUDIO, par, rate, NULL, e);
	}
	if (!p->audio) {
		int r = audio_new(write_audio, p, &p->audio, e);
		if (r < 0)
			return r;
		AVCodecParameters *par = avcodec_parameters_alloc();
		if (!par || avcodec_parameters_from_context(par, audio_encoder(p->audio)) < 0)
			r = error_nomem(e);
		else
			r = mux_set_track(p->mux, MUX_AUDIO, par, (AVRational){1, AUDIO_RATE}, NULL, e);
		avcodec_parameters_free(&par);
		if (r < 0)
			return r;
	}
	int r = audio_begin_part(p->audio, d, e);
	return r == ERR_REJECT ? 0 : r;
}

static int take_packet(struct pass *p, const struct demux *d, AVPacket *packet, struct error *e)
{
	if (d->video && packet->stream_index == d->video->index)
		return p->copies_video ? copy_video(p, d->video, packet, e) : decode_video(p, d->video, packet, e);
	return p->copies_audio ? copy_audio(p, packet, e) : audio_send(p->audio, packet, &p->timeline, e);
}

static int end_part(struct pass *p, const struct demux *d, struct error *e)
{
	int r = 0;
	if (p->video) {
		r = p->copies_video ? check_keyframes(p, d->video, NULL, e) : decode_video(p, d->video, NULL, e);
		p->hidden += p->video->hidden;
		p->frozen = p->video->frozen && p->video->errors > 0;
		video_decoder_free(TAKE_PTR(p->video));
	}
	if (r == 0 && p->audio)
		r = audio_send(p->audio, NULL, &p->timeline, e);
	p->dropped += d->dropped;
	p->cut |= d->cut;
	return r;
}

int pass_part(struct pass *p, const struct media_part *part, struct error *e)
{
	_cleanup_(demux_freep) struct demux *d = NULL;
	int r = demux_open(p->job->input, p->parts->demuxer, part, &d, e);
	if (r == ERR_REJECT && p->parts->n > 1) {
		p->cut = true;
		return 0;
	}
	if (r < 0)
		return r;
	timeline_begin_part(&p->timeline, d->start);
	p->trust_durations = d->is_mov;
	if (d->video)
		r = begin_video(p, d->video, e);
	if (r == 0 && d->audio)
		r = begin_audio(p, d, e);
	while (r == 0 && !p->timeline.full) {
		r = demux_read(d, p->job->input, p->packet, e);
		if (r <= 0)
			break;
		p->job->input_position = part->start + (uint64_t)MAX(avio_tell(d->view), 0);
		p->job->seconds = (double)p->timeline.end / TIMELINE_HZ;
		r = take_packet(p, d, p->packet, e);
		av_packet_unref(p->packet);
	}
	return r == 0 ? end_part(p, d, e) : r;
}

/* ---- the end ---- */

static int end_encoders(struct pass *p, struct error *e)
{
	int r = p->audio ? audio_finish(p->audio, e) : 0;
	if (r == 0 && p->video_encoder) {
		r = video_encoder_send(p->video_encoder, NULL, false, e);
		if (r == 0)
			r = take_video_packets(p, e);
	}
	return r;
}

static void fill_facts(const struct pass *p, int64_t end, struct facts *f)
{
	f->has_video = mux_has(p->mux, MUX_VIDEO);
	f->has_audio = mux_packets(p->mux, MUX_AUDIO) > 0;
	memcpy(f->source_video, p->container_video, sizeof(f->source_video));
	memcpy(f->source_audio, p->container_audio, sizeof(f->source_audio));
	f->video_copied = p->copies_video && f->has_video;
	f->audio_copied = p->copies_audio && f->has_audio;
	f->duration_s = (double)end / TIMELINE_HZ;
	if (f->has_video) {
		struct canvas_size size = canvas_size(p->canvas);
		f->width = size.width;
		f->height = size.height;
		f->rotation = f->video_copied ? p->rotation : 0;
		f->frames = mux_packets(p->mux, MUX_VIDEO);
		f->hidden_frames = p->hidden;
		if (p->frozen)
			f->frozen_from_s = (double)p->video_at / TIMELINE_HZ;
	}
	if (f->has_audio) {
		f->sample_rate = p->copies_audio ? p->copied_rate : AUDIO_RATE;
		f->channels = p->copies_audio ? p->copied_channels : 2;
	}
	f->dropped_packets = p->dropped;
	f->truncated = p->cut || p->dropped > 0 || p->timeline.full;
}

int pass_finish(struct pass *p, struct facts *facts, struct error *e)
{
	int r = end_encoders(p, e);
	if (r < 0)
		return r;
	bool video = mux_has(p->mux, MUX_VIDEO);
	int64_t end = p->timeline.end;
	if (video)
		end = MAX(end, p->video_at + timeline_last_duration(&p->timeline, p->video_at));
	if (!video && mux_packets(p->mux, MUX_AUDIO) == 0 && (!p->audio || audio_samples(p->audio) == 0))
		return error_set(e, ERR_REJECT, "nothing in the recording could be decoded");
	r = mux_finish(p->mux, end, p->copies_video && p->copied_reordered, e);
	if (r < 0)
		return r;
	bool made;
	r = pictures_finish(p->pictures, end, p->job->outputs[OUTPUT_SNAPSHOT], p->job->outputs[OUTPUT_FILMSTRIP],
			    &facts->pictures, &made, e);
	if (r < 0)
		return r;
	fill_facts(p, end, facts);
	return 0;
}
