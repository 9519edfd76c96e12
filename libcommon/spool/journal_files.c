/* The files of a journal: found, made, written. */
#include "crypto/random.h"
#include "spool/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_BYTES 32
/* Unit in which a new file is written. */
#define FILL_BYTES MIB

static void name_of(unsigned file, const char *suffix, char ret[NAME_BYTES])
{
	(void)snprintf(ret, NAME_BYTES, "generation-%u%s", file, suffix);
}

static void close_file(struct journal_file *f)
{
	closep(&f->fd);
	closep(&f->read_fd);
	*f = (struct journal_file){.fd = -1, .read_fd = -1, .is_clean = true};
}

/* Reads must see what went around the page cache: they have a descriptor without O_DIRECT. */
static int open_pair(struct journal *j, unsigned file, struct journal_file *f)
{
	char name[NAME_BYTES];
	name_of(file, "", name);
	f->read_fd = openat(j->o.folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (f->read_fd < 0)
		return -1;
	f->fd = openat(j->o.folder_fd, name, O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
	if (f->fd < 0 && errno == EINVAL)
		f->fd = openat(j->o.folder_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return f->fd < 0 ? -1 : 0;
}

/* A file that is not the journal's own, or not whole, counts as none: it will be made anew. */
static bool is_usable(struct journal *j, unsigned file, struct journal_file *f, bool has_salt)
{
	uint8_t data[JOURNAL_HEADER_BYTES];
	struct journal_header h;
	struct stat st;
	if (pread(f->read_fd, data, sizeof(data), 0) != (ssize_t)sizeof(data) ||
	    journal_header_decode(data, &h, NULL) < 0 || fstat(f->read_fd, &st) < 0)
		return false;
	if (!uuid_equal(&h.node, &j->o.node) || h.number != file || (uint64_t)st.st_size != h.bytes ||
	    (has_salt && memcmp(h.salt, j->salt, sizeof(j->salt)) != 0))
		return false;
	memcpy(j->salt, h.salt, sizeof(j->salt));
	f->bytes = h.bytes;
	f->end = JOURNAL_HEADER_BYTES;
	/* an earlier lap may have gone further than the newest */
	f->used = h.bytes;
	return true;
}

int journal_files_open(struct journal *j, struct error *e)
{
	bool has_salt = false;
	for (unsigned file = 0; file < JOURNAL_FILES; file++) {
		struct journal_file *f = &j->files[file];
		if (open_pair(j, file, f) == 0 && is_usable(j, file, f, has_salt)) {
			has_salt = true;
			continue;
		}
		bool is_trouble = f->read_fd < 0 && errno != ENOENT && errno != ELOOP && errno != EISDIR;
		int why = errno;
		close_file(f);
		if (is_trouble)
			return error_set_errno(e, ERR_FATAL, why, "cannot open file %u of the journal", file);
	}
	if (!has_salt)
		random_bytes(j->salt, sizeof(j->salt));
	return 0;
}

int journal_pwrite(struct journal_file *f, const void *data, size_t n, uint64_t offset, struct error *e)
{
	const uint8_t *p = data;
	while (n > 0) {
		ssize_t put = pwrite(f->fd, p, n, (off_t)offset);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EINVAL) {
			/* some file systems take the flag and refuse the write: nothing was written then */
			int flags = fcntl(f->fd, F_GETFL);
			if (flags >= 0 && flags & O_DIRECT && fcntl(f->fd, F_SETFL, flags & ~O_DIRECT) == 0)
				continue;
			errno = EINVAL;
		}
		if (put <= 0)
			return error_set_errno(e, ERR_RETRY, put < 0 ? errno : ENOSPC,
					       "the journal cannot be written at %llu", (unsigned long long)offset);
		p += put;
		offset += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

/* Writes all of a new file: random bytes, which no file system turns into a hole, and its header last. */
static int fill(struct journal *j, unsigned file, int fd, uint64_t bytes, uint8_t *buffer, struct error *e)
{
	struct journal_file f = {.fd = fd};
	random_bytes(buffer, FILL_BYTES);
	int r = 0;
	for (uint64_t at = 0; r == 0 && at < bytes; at += FILL_BYTES)
		r = journal_pwrite(&f, buffer, (size_t)MIN(FILL_BYTES, bytes - at), at, e);
	if (r == 0 && fsync(fd) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "a new file of the journal cannot be flushed");
	struct journal_header h = {.node = j->o.node, .number = file, .bytes = bytes};
	memcpy(h.salt, j->salt, sizeof(h.salt));
	journal_header_encode(&h, buffer);
	if (r == 0)
		r = journal_pwrite(&f, buffer, JOURNAL_HEADER_BYTES, 0, e);
	if (r == 0 && fsync(fd) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "a new file of the journal cannot be flushed");
	return r;
}

static int make(struct journal *j, unsigned file, uint64_t bytes, uint8_t *buffer, struct error *e)
{
	char name[NAME_BYTES], temporary[NAME_BYTES];
	name_of(file, "", name);
	name_of(file, ".new", temporary);
	close_file(&j->files[file]);
	_cleanup_(closep) int fd =
	    openat(j->o.folder_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 && errno == EINVAL)
		fd = openat(j->o.folder_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot make file %u of the journal", file);
	int r = fill(j, file, fd, bytes, buffer, e);
	if (r == 0 && (renameat(j->o.folder_fd, temporary, j->o.folder_fd, name) < 0 || fsync(j->o.folder_fd) < 0))
		r = error_set_errno(e, ERR_FATAL, errno, "cannot name file %u of the journal", file);
	if (r < 0) {
		(void)unlinkat(j->o.folder_fd, temporary, 0);
		return r;
	}
	struct journal_file *f = &j->files[file];
	if (open_pair(j, file, f) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open file %u of the journal", file);
	f->bytes = bytes;
	f->end = f->used = JOURNAL_HEADER_BYTES;
	return 0;
}

static bool is_held(const struct journal *j, unsigned file)
{
	for (unsigned b = 0; b < JOURNAL_STREAM_BUCKETS; b++)
		for (const struct journal_stream *s = j->buckets[b]; s; s = s->next)
			if (journal_needs(s, &j->files[file], file))
				return true;
	return false;
}

int journal_files_make(struct journal *j, struct error *e)
{
	uint64_t want = j->o.total_bytes / JOURNAL_FILES / JOURNAL_BLOCK_BYTES * JOURNAL_BLOCK_BYTES;
	_cleanup_(freep) uint8_t *buffer = aligned_alloc(JOURNAL_BLOCK_BYTES, FILL_BYTES);
	if (!buffer)
		return error_nomem(e);
	uint64_t highest = 0;
	unsigned newest = JOURNAL_FILES - 1;
	for (unsigned file = 0; file < JOURNAL_FILES; file++) {
		struct journal_file *f = &j->files[file];
		f->is_clean = !is_held(j, file);
		if (f->generation > highest) {
			highest = f->generation;
			newest = file;
		}
	}
	/* the newest stays the place to go on from, whatever its size: the next one is taken when it is full */
	j->current = newest;
	for (unsigned file = 0; file < JOURNAL_FILES; file++) {
		struct journal_file *f = &j->files[file];
		uint64_t generation = f->generation;
		if (f->bytes == want || !f->is_clean)
			continue;
		int r = make(j, file, want, buffer, e);
		if (r < 0)
			return r;
		/* numbers go on rising where the file held the highest one */
		f->generation = generation;
		f->is_clean = true;
	}
	return 0;
}

void journal_files_close(struct journal *j)
{
	for (unsigned file = 0; file < JOURNAL_FILES; file++)
		close_file(&j->files[file]);
}
