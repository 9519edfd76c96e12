/* What a conversion found and made: the child tells it in one JSON message, and `file.facts` keeps it. */
#ifndef RUSHES_TRANSCODER_FACTS_H
#define RUSHES_TRANSCODER_FACTS_H

#include "base/json.h"
#include "crypto/digest.h"
#include "pictures.h"

enum output { OUTPUT_MAIN, OUTPUT_SNAPSHOT, OUTPUT_FILMSTRIP, OUTPUT_MAX };

const char *output_to_string(enum output o); /* "main", "snapshot", "filmstrip" */

#define FACTS_NAME_BYTES 32

struct output_facts {
	bool made; /* false: there is nothing to show in it (sound only) */
	uint64_t bytes;
	char sha256[SHA256_TEXT_BYTES];
};

struct facts {
	struct output_facts outputs[OUTPUT_MAX];
	/* the source */
	char container[FACTS_NAME_BYTES];
	char source_video[FACTS_NAME_BYTES], source_audio[FACTS_NAME_BYTES]; /* codec names; "": none */
	unsigned parts;
	/* main */
	double duration_s;
	bool has_video, has_audio;
	bool video_copied, audio_copied;
	int width, height; /* as shown, turned upright */
	int rotation;	   /* that the player still has to apply */
	uint64_t frames;
	int sample_rate, channels;
	/* damage */
	bool truncated;		  /* the source breaks off, or packets of it were damaged */
	uint64_t dropped_packets; /* damaged */
	uint64_t hidden_frames;	  /* decoded with errors: the picture stood still instead */
	double frozen_from_s;	  /* the picture stands still from here to the end; negative: no */
	struct pictures_facts pictures;
};

/* The facts of the whole conversion; NULL without memory. */
json_t *facts_to_json(const struct facts *f);

/* Reads what facts_to_json() wrote, checking every value: the sender ran hostile input. ERR_REJECT. */
int facts_from_json(json_t *object, struct facts *ret, struct error *e) _must_check_;

/* The facts that belong to one output's row: {codec, width, height, duration_s, ...}; NULL without memory. */
json_t *facts_of_output(const struct facts *f, enum output o);

#endif
