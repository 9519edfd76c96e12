#include "output_copy.h"

#include <errno.h>

static enum sealed_kind sealed_kind_of(enum file_kind k)
{
	static const enum sealed_kind kinds[FILE_KIND_MAX] = {SEALED_RAW, SEALED_MAIN, SEALED_SNAPSHOT,
							      SEALED_FILMSTRIP};
	return kinds[k];
}

int output_copy_begin(struct transcoder *t, const struct job *j, enum file_kind kind, uint64_t bytes,
		      struct output_copy *ret, struct error *e)
{
	char location[SPOOL_LOCATION_BYTES];
	*ret = (struct output_copy){.kind = kind, .fd = -1};
	if (!spool_admits(t->spool, sealed_file_size(bytes)))
		return error_set(e, ERR_FULL, "the spool has no room for %lu bytes more", (unsigned long)bytes);
	ret->header = (struct sealed_header){.kind = sealed_kind_of(kind),
					     .account = j->account,
					     .recording = j->recording,
					     .copy = uuid_v7()};
	spool_location(&ret->header.copy, location);
	int r =
	    file_copy_begin(platform_db(t->platform), j, spool_node(t->spool), kind, &ret->header.copy, location, e);
	return r < 0 ? r : spool_create(t->spool, &ret->header.copy, &ret->fd, e);
}

int output_copy_settle(struct transcoder *t, struct output_copy *o, const uint8_t key[SEALED_KEY_BYTES], uint64_t bytes,
		       struct error *e)
{
	_cleanup_(sealed_reader_freep) struct sealed_reader *reader = NULL;
	int r = sealed_reader_new(o->fd, key, &o->header, &reader, e);
	if (r < 0)
		return error_wrap(e, "the new %s", file_kind_to_string(o->kind));
	if (sealed_reader_size(reader) != bytes)
		return error_set(e, ERR_RETRY, "the new %s holds %lu bytes instead of %lu",
				 file_kind_to_string(o->kind), (unsigned long)sealed_reader_size(reader),
				 (unsigned long)bytes);
	if (fsync(o->fd) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "cannot flush the new %s", file_kind_to_string(o->kind));
	else
		r = spool_sync(t->spool, &o->header.copy, e);
	if (r < 0)
		spool_set_read_only(t->spool);
	return r;
}

void output_copy_close(struct output_copy *o)
{
	closep(&o->fd);
	o->fd = -1;
}

void output_copy_abandon(struct transcoder *t, struct output_copy *o)
{
	struct error e = {0};
	if (o->fd < 0)
		return;
	output_copy_close(o);
	if (spool_remove(t->spool, &o->header.copy, NULL, &e) < 0)
		log_warning(NULL, "a given up %s stays until the keeper removes it: %s", file_kind_to_string(o->kind),
			    e.text);
}
