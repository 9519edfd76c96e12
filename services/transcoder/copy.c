#include "copy.h"

#define AVCC_SPS_COUNT_AT 5
/* An SPS of an avcC box lies behind 6 bytes of header and 2 of length. */
#define AVCC_BYTES_MIN 9

static bool has_parameter_sets(const AVCodecParameters *p)
{
	if (!p->extradata || p->extradata_size < AVCC_BYTES_MIN)
		return false;
	/* version 1: avcC, which counts its SPS; else Annex B, as FFmpeg gathered it */
	return p->extradata[0] != 1 || (p->extradata[AVCC_SPS_COUNT_AT] & 0x1f) > 0;
}

bool copy_video_possible(const AVStream *s)
{
	const AVCodecParameters *p = s->codecpar;
	if (p->codec_id != AV_CODEC_ID_H264 || p->width <= 0 || p->height <= 0 || !has_parameter_sets(p))
		return false;
	if (p->format != AV_PIX_FMT_YUV420P && p->format != AV_PIX_FMT_YUVJ420P)
		return false;
	switch (p->profile & ~FF_PROFILE_H264_CONSTRAINED) {
	case FF_PROFILE_H264_BASELINE:
	case FF_PROFILE_H264_MAIN:
	case FF_PROFILE_H264_HIGH:
		return true;
	default:
		return false;
	}
}

bool copy_audio_possible(const AVStream *s)
{
	const AVCodecParameters *p = s->codecpar;
	return p->codec_id == AV_CODEC_ID_AAC && p->profile == FF_PROFILE_AAC_LOW && p->extradata_size >= 2 &&
	       p->sample_rate > 0 && p->sample_rate <= 48000 && p->ch_layout.nb_channels >= 1 &&
	       p->ch_layout.nb_channels <= 2;
}

void copy_track_init(struct copy_track *c, const AVStream *s, AVRational to, const struct timeline *t)
{
	*c = (struct copy_track){.from = s->time_base, .to = to, .last = TIMELINE_NONE};
	c->shift = av_rescale_q(t->shift, (AVRational){1, TIMELINE_HZ}, to);
}

bool copy_retime(struct copy_track *c, AVPacket *p, struct timeline *t)
{
	const AVRational hz = {1, TIMELINE_HZ};
	if (p->dts == AV_NOPTS_VALUE && p->pts == AV_NOPTS_VALUE && c->last == TIMELINE_NONE)
		return false;
	if (p->dts == AV_NOPTS_VALUE)
		p->dts = p->pts;
	av_packet_rescale_ts(p, c->from, c->to);
	int64_t dts = p->dts == AV_NOPTS_VALUE ? c->last + 1 : p->dts + c->shift;
	int64_t pts = p->pts == AV_NOPTS_VALUE ? dts : p->pts + c->shift;
	/* some recorders begin with two packets at one time */
	if (c->last != TIMELINE_NONE && dts <= c->last)
		dts = c->last + 1;
	pts = MAX(pts, dts);
	int64_t at = av_rescale_q(pts, c->to, hz);
	if (at > t->end + TIMELINE_JUMP_MAX || at < -TIMELINE_HZ || at > TIMELINE_END_MAX)
		return false;
	c->last = dts;
	p->dts = dts;
	p->pts = pts;
	timeline_seen(t, at, av_rescale_q(p->duration, c->to, hz));
	return true;
}
