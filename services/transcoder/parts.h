/* What an input is, by its first bytes, and where the recordings in it begin. FFmpeg's own probing is never asked: it
 * would accept playlists, subtitles and pictures. A recorder that was started again into the same file leaves several
 * recordings one after the other; each is a part and is opened by itself. */
#ifndef RUSHES_TRANSCODER_PARTS_H
#define RUSHES_TRANSCODER_PARTS_H

#include "media_io.h"

/* More parts than this are not looked for; the last then reaches to the end. */
#define PARTS_MAX 64

struct media_part {
	uint64_t start, end; /* bytes [start, end) of the input */
	bool lost_first;     /* the 0x1A that a Matroska header begins with is missing: it is put before */
};

struct media_parts {
	const char *demuxer; /* "matroska", "mov" or "ogg" */
	uint64_t bytes;	     /* of the whole input */
	unsigned n;
	struct media_part part[PARTS_MAX];
};

/* Names the demuxer for a file that begins with these bytes; NULL: none of ours. *ret_lost_first as above. */
const char *parts_sniff(const uint8_t *head, size_t n, bool *ret_lost_first);

/* Reads the head, and for Matroska the whole input once, for MP4 the box headers. ERR_REJECT when it is no recording;
 * else the input's own error. */
int parts_find(struct media_io *input, struct media_parts *ret, struct error *e) _must_check_;

#endif
