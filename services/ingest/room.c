#include "room.h"

#include "base/clock.h"
#include "spool/sealed.h"

#include <pthread.h>
#include <string.h>

#define BUCKETS 1024

/* How often kept claims are looked at. */
#define SWEEP_US 1000000

struct claim {
	struct claim *next;
	struct uuid recording;
	enum room_kind kind;
	uint64_t bytes;	  /* on disk */
	int64_t until_us; /* monotonic: kept until then; 0: held */
};

struct room {
	struct room_options o;
	pthread_mutex_t lock;
	struct claim *buckets[BUCKETS];
	uint64_t sums[ROOM_KIND_MAX];
	unsigned counts[ROOM_KIND_MAX];
	unsigned kept;
	int64_t swept_us;
};

static const char *const kind_names[ROOM_KIND_MAX] = {[ROOM_UPLOAD] = "upload", [ROOM_STREAM] = "stream"};

static double sum_of(struct room *r, enum room_kind kind)
{
	(void)pthread_mutex_lock(&r->lock);
	double sum = (double)r->sums[kind];
	(void)pthread_mutex_unlock(&r->lock);
	return sum;
}

static double uploads_of(void *arg)
{
	return sum_of(arg, ROOM_UPLOAD);
}

static double streams_of(void *arg)
{
	return sum_of(arg, ROOM_STREAM);
}

/* Room above `reserve`, claims not counted. 0 when the spool takes nothing. */
static uint64_t room_above(struct room *r, uint64_t reserve)
{
	uint64_t capacity = 0, available = 0;
	if (spool_is_read_only(r->o.spool) || spool_room(r->o.spool, &capacity, &available, NULL) < 0)
		return 0;
	return available > reserve ? available - reserve : 0;
}

static uint64_t above_reserve(struct room *r)
{
	return room_above(r, r->o.reserve_bytes);
}

static double free_of(void *arg)
{
	return (double)above_reserve(arg);
}

int room_new(const struct room_options *o, struct room **ret, struct error *e)
{
	struct room *r = calloc(1, sizeof(*r));
	if (!r)
		return error_nomem(e);
	r->o = *o;
	(void)pthread_mutex_init(&r->lock, NULL);
	metrics_gauge_function(o->metrics, "rushes_ingest_room_bytes", "Room of the spool above its reserve.", free_of,
			       r);
	metrics_gauge_function(o->metrics, "rushes_ingest_promised_bytes",
			       "Room claimed by uploads for what they declared and have not sent yet.", uploads_of, r);
	metrics_gauge_function(o->metrics, "rushes_ingest_expected_bytes",
			       "Room claimed by streams for a minute of their bitrate.", streams_of, r);
	*ret = r;
	return 0;
}

static void drop(struct room *r, struct claim **at)
{
	struct claim *c = *at;
	*at = c->next;
	r->sums[c->kind] -= c->bytes;
	r->counts[c->kind]--;
	r->kept -= c->until_us != 0;
	free(c);
}

void room_free(struct room *r)
{
	if (!r)
		return;
	for (unsigned b = 0; b < BUCKETS; b++)
		while (r->buckets[b])
			drop(r, &r->buckets[b]);
	(void)pthread_mutex_destroy(&r->lock);
	free(r);
}

static struct claim **find(struct room *r, const struct uuid *recording)
{
	/* the last bytes of a UUIDv7 are random */
	struct claim **at = &r->buckets[(unsigned)(recording->b[14] << 8 | recording->b[15]) % BUCKETS];
	while (*at && !uuid_equal(&(*at)->recording, recording))
		at = &(*at)->next;
	return at;
}

/* Gives back what was kept and not come back for. */
static void sweep(struct room *r)
{
	int64_t now = clock_monotonic_us();
	if (r->kept == 0 || now - r->swept_us < SWEEP_US)
		return;
	r->swept_us = now;
	for (unsigned b = 0; b < BUCKETS; b++) {
		for (struct claim **at = &r->buckets[b]; *at;) {
			if ((*at)->until_us && (*at)->until_us <= now)
				drop(r, at);
			else
				at = &(*at)->next;
		}
	}
}

static void set(struct room *r, struct claim *c, enum room_kind kind, uint64_t disk)
{
	r->sums[c->kind] -= c->bytes;
	r->counts[c->kind]--;
	c->kind = kind;
	c->bytes = disk;
	r->sums[kind] += disk;
	r->counts[kind]++;
}

static void hold(struct room *r, struct claim *c)
{
	r->kept -= c->until_us != 0;
	c->until_us = 0;
}

/* Whether `disk` more bytes find room beside all claims but `own`. */
static bool fits(struct room *r, uint64_t disk, uint64_t own)
{
	uint64_t claimed = r->sums[ROOM_UPLOAD] + r->sums[ROOM_STREAM] - own;
	uint64_t free_bytes = above_reserve(r);
	return free_bytes >= claimed && free_bytes - claimed >= disk;
}

int room_claim(struct room *r, const struct uuid *recording, enum room_kind kind, uint64_t bytes, struct error *e)
{
	uint64_t disk = sealed_file_size(bytes);
	int rc = 0;
	(void)pthread_mutex_lock(&r->lock);
	sweep(r);
	struct claim **at = find(r, recording);
	struct claim *c = *at;
	/* what is not more than before was granted before */
	if (spool_is_read_only(r->o.spool) || (!(c && disk <= c->bytes) && !fits(r, disk, c ? c->bytes : 0))) {
		rc = error_set(e, ERR_FULL, "the spool has no room for %llu bytes more", (unsigned long long)bytes);
	} else if (!c && !(c = calloc(1, sizeof(*c)))) {
		rc = error_nomem(e);
	} else {
		if (!*at) {
			c->recording = *recording;
			c->kind = kind;
			r->counts[kind]++;
			*at = c;
		}
		hold(r, c);
		set(r, c, kind, disk);
	}
	(void)pthread_mutex_unlock(&r->lock);
	return rc;
}

void room_adjust(struct room *r, const struct uuid *recording, uint64_t bytes)
{
	(void)pthread_mutex_lock(&r->lock);
	struct claim *c = *find(r, recording);
	if (c)
		set(r, c, c->kind, bytes > 0 ? sealed_file_size(bytes) : 0);
	(void)pthread_mutex_unlock(&r->lock);
}

void room_keep(struct room *r, const struct uuid *recording, int64_t ms)
{
	(void)pthread_mutex_lock(&r->lock);
	struct claim *c = *find(r, recording);
	if (c) {
		hold(r, c);
		c->until_us = clock_monotonic_us() + ms * 1000;
		r->kept++;
	}
	sweep(r);
	(void)pthread_mutex_unlock(&r->lock);
}

void room_release(struct room *r, const struct uuid *recording)
{
	(void)pthread_mutex_lock(&r->lock);
	struct claim **at = find(r, recording);
	if (*at)
		drop(r, at);
	(void)pthread_mutex_unlock(&r->lock);
}

bool room_may_write(struct room *r, enum room_kind kind, bool is_finishing, uint64_t bytes)
{
	uint64_t disk = sealed_file_size(bytes), promised = 0;
	if (is_finishing)
		return room_above(r, r->o.reserve_bytes / 2) >= disk;
	if (kind == ROOM_STREAM) {
		(void)pthread_mutex_lock(&r->lock);
		sweep(r);
		promised = r->sums[ROOM_UPLOAD];
		(void)pthread_mutex_unlock(&r->lock);
	}
	uint64_t free_bytes = above_reserve(r);
	return free_bytes >= promised && free_bytes - promised >= disk;
}

bool room_admits(struct room *r, uint64_t bytes)
{
	(void)pthread_mutex_lock(&r->lock);
	sweep(r);
	bool ok = fits(r, sealed_file_size(bytes), 0);
	(void)pthread_mutex_unlock(&r->lock);
	return ok;
}

json_t *room_debug(void *room)
{
	struct room *r = room;
	uint64_t free_bytes = above_reserve(r);
	json_t *claims = json_object();
	(void)pthread_mutex_lock(&r->lock);
	for (int k = 0; k < ROOM_KIND_MAX; k++)
		(void)json_object_set_new(claims, kind_names[k],
					  json_pack("{s:I, s:I}", "count", (json_int_t)r->counts[k], "bytes",
						    (json_int_t)r->sums[k]));
	unsigned kept = r->kept;
	(void)pthread_mutex_unlock(&r->lock);
	return json_pack("{s:I, s:I, s:b, s:o, s:I}", "free", (json_int_t)free_bytes, "reserve",
			 (json_int_t)r->o.reserve_bytes, "read_only", spool_is_read_only(r->o.spool), "claims", claims,
			 "kept", (json_int_t)kept);
}
