#include "delivery_target.h"

#include "crypto/digest.h"
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PIECE_BYTES ((size_t)256 * 1024)

struct file_target {
	struct delivery_target target; /* first */
	char *path, *below;
	struct delivery_hooks hooks;
};

/* Where an item lies: the opened folder and the two names in it. */
struct place {
	int root, folder;
	const char *name, *temporary;
	struct uuid store;
	ino_t written; /* what this attempt wrote */
};

static void place_done(struct place *p)
{
	closep(&p->folder);
	closep(&p->root);
}

static bool is_stopped(const struct file_target *t)
{
	return t->hooks.stop && t->hooks.stop(t->hooks.arg);
}

static int stopped(struct error *e)
{
	return error_set(e, ERR_CANCELLED, "the transfer is no longer wanted");
}

static int open_place(struct file_target *t, const struct delivery_item *item, bool make, struct place *ret,
		      struct error *e)
{
	const char *slash = item->temporary ? strrchr(item->temporary, '/') : NULL;
	ret->temporary = slash ? slash + 1 : item->temporary;
	/* what was recorded by an earlier version would otherwise point anywhere */
	if (ret->temporary && !folder_path_is_safe(ret->temporary))
		return error_set(e, ERR_REJECT, "the temporary name at the target is not a plain path");
	int r = folder_open(t->path, t->below, &ret->root, e);
	if (r == 0)
		r = make ? folder_store_make(ret->root, &ret->store, e) : folder_store_id(ret->root, &ret->store, e);
	if (r == ERR_NOTFOUND)
		return error_set(e, ERR_RETRY, "the target's folder %s has no marker %s: is its disk mounted?", t->path,
				 FOLDER_MARKER);
	if (r < 0)
		return r;
	return folder_open_parent(ret->root, item->location, make, &ret->folder, &ret->name, e);
}

static int write_all(int fd, const uint8_t *data, size_t n, struct error *e)
{
	while (n > 0) {
		ssize_t written = write(fd, data, n);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return error_set_errno(e, ERR_RETRY, errno, "cannot write at the target");
		data += written;
		n -= (size_t)written;
	}
	return 0;
}

static int check_digest(struct sha256 *digest, const struct delivery_source *source, uint64_t size, const char *what,
			struct error *e)
{
	uint8_t got[SHA256_BYTES];
	sha256_finish(digest, got);
	if (size != source->size)
		return error_set(e, ERR_CORRUPT, "%s has %llu bytes, its row says %llu", what, (unsigned long long)size,
				 (unsigned long long)source->size);
	if (memcmp(got, source->sha256, sizeof(got)) != 0)
		return error_set(e, ERR_CORRUPT, "%s does not have the SHA-256 of its row", what);
	return 0;
}

static int copy_source(struct file_target *t, int fd, const struct delivery_source *source, struct error *e)
{
	_cleanup_(freep) uint8_t *piece = malloc(PIECE_BYTES);
	_cleanup_(sha256_freep) struct sha256 *digest = NULL;
	uint64_t size = 0;
	if (!piece)
		return error_nomem(e);
	int r = sha256_new(&digest, e);
	while (r == 0) {
		size_t n = 0;
		if (is_stopped(t))
			return stopped(e);
		r = source->read(source->arg, piece, PIECE_BYTES, &n, e);
		if (r < 0 || n == 0)
			break;
		size += n;
		if (size > source->size)
			return error_set(e, ERR_CORRUPT, "the file is longer than its row says");
		sha256_update(digest, piece, n);
		r = write_all(fd, piece, n, e);
	}
	return r < 0 ? r : check_digest(digest, source, size, "the file", e);
}

static int write_temporary(struct file_target *t, struct place *p, const struct delivery_source *source,
			   struct error *e)
{
	int r = folder_unlink(p->folder, p->temporary, e);
	if (r < 0)
		return r;
	_cleanup_(closep) int fd =
	    openat(p->folder, p->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot make a file at the target");
	/* no room is known before the first byte; not every file system can reserve */
	if (source->size > 0 && fallocate(fd, 0, 0, (off_t)source->size) < 0 && errno != EOPNOTSUPP && errno != EINTR)
		return error_set_errno(e, ERR_RETRY, errno, "no room at the target for %llu bytes",
				       (unsigned long long)source->size);
	r = copy_source(t, fd, source, e);
	if (r < 0)
		return r;
	struct stat st;
	if (fsync(fd) < 0 || fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot flush the file at the target");
	p->written = st.st_ino;
	if (close(TAKE_FD(fd)) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot close the file at the target");
	return 0;
}

/* Reads the file back from the disk and compares it with its row. */
static int verify(struct file_target *t, const struct place *p, const struct delivery_source *source, struct error *e)
{
	_cleanup_(freep) uint8_t *piece = malloc(PIECE_BYTES);
	_cleanup_(sha256_freep) struct sha256 *digest = NULL;
	_cleanup_(closep) int fd = -1;
	uint64_t size = 0;
	if (!piece)
		return error_nomem(e);
	int r = folder_open_file(p->folder, p->name, &fd, e);
	if (r == 0)
		r = sha256_new(&digest, e);
	if (r < 0)
		return r;
	/* what is only in memory proves little */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (;;) {
		ssize_t n = read(fd, piece, PIECE_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(e, ERR_RETRY, errno, "cannot read back from the target");
		if (n == 0)
			break;
		if (is_stopped(t))
			return stopped(e);
		size += (size_t)n;
		sha256_update(digest, piece, (size_t)n);
	}
	return check_digest(digest, source, size, "what the target holds", e);
}

/* Gives the file its name without replacing another one. A file that is already there must be the very same: an
 * earlier attempt's whose outcome was not recorded. */
static int publish(struct file_target *t, const struct place *p, const struct delivery_source *source, struct error *e)
{
	struct stat st;
	/* an attempt that took over from this one makes its own file under the same temporary name */
	if (fstatat(p->folder, p->temporary, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != p->written)
		return error_set(e, ERR_CONFLICT, "another attempt writes the same file at the target");
	int x = renameat2(p->folder, p->temporary, p->folder, p->name, RENAME_NOREPLACE);
	/* not every file system knows the flag; a link does not replace either */
	if (x < 0 && errno == EINVAL && (x = linkat(p->folder, p->temporary, p->folder, p->name, 0)) == 0)
		x = unlinkat(p->folder, p->temporary, 0);
	if (x < 0 && errno == EEXIST) {
		struct error other = {0};
		int r = verify(t, p, source, &other);
		if (r < 0)
			return error_set(e, ERR_CONFLICT, "another file has the name at the target: %s", other.text);
		return folder_unlink(p->folder, p->temporary, e);
	}
	return x < 0 ? error_set_errno(e, ERR_RETRY, errno, "cannot name the file at the target") : 0;
}

static json_t *evidence_of(const struct place *p, const struct delivery_source *source)
{
	char store[UUID_TEXT_BYTES], sha256[SHA256_TEXT_BYTES];
	uuid_format(&p->store, store);
	sha256_format(source->sha256, sha256);
	return json_pack("{s:s,s:I,s:s,s:s}", "verified", "read-back", "size", (json_int_t)source->size, "sha256",
			 sha256, "store", store);
}

static int file_put(struct delivery_target *target, const struct delivery_item *item,
		    const struct delivery_source *source, struct delivery_proof *ret, bool *ret_clean, struct error *e)
{
	struct file_target *t = (struct file_target *)target;
	_cleanup_(place_done) struct place p = {.root = -1, .folder = -1};
	*ret_clean = false;
	if (!item->temporary)
		return error_set(e, ERR_REJECT, "a file target needs a temporary name");
	int r = open_place(t, item, true, &p, e);
	if (r < 0)
		return r;
	r = write_temporary(t, &p, source, e);
	if (r == 0)
		r = publish(t, &p, source, e);
	if (r < 0) {
		struct error ignored = {0};
		*ret_clean = folder_unlink(p.folder, p.temporary, &ignored) == 0;
		return r;
	}
	if (fsync(p.folder) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot flush the folder at the target");
	r = verify(t, &p, source, e);
	if (r < 0)
		return r;
	ret->evidence = evidence_of(&p, source);
	ret->encryption = DELIVERY_ENCRYPTION_UNKNOWN;
	return ret->evidence ? 0 : error_nomem(e);
}

/* An empty disk, or another one, must never confirm that a file is gone. */
static int check_store(const struct delivery_item *item, const struct place *p, struct error *e)
{
	struct uuid delivered;
	const char *text = json_string_value(json_object_get(item->evidence, "store"));
	if (!text)
		return 0; /* never delivered: there is no more to compare with than the marker */
	if (!uuid_parse(text, &delivered) || !uuid_equal(&delivered, &p->store))
		return error_set(e, ERR_RETRY,
				 "the target's folder holds another store than %s: is the right disk mounted?", text);
	return 0;
}

static int remove_names(const struct place *p, bool *ret_found, struct error *e)
{
	const char *const names[] = {p->temporary, p->name};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		bool absent = false;
		if (!names[i])
			continue;
		int r = folder_is_absent(p->folder, names[i], &absent, e);
		*ret_found = *ret_found || (r == 0 && !absent);
		if (r == 0)
			r = folder_unlink(p->folder, names[i], e);
		if (r == 0 && fsync(p->folder) < 0)
			r = error_set_errno(e, ERR_RETRY, errno, "cannot flush the folder at the target");
		if (r == 0)
			r = folder_is_absent(p->folder, names[i], &absent, e);
		if (r == 0 && !absent)
			r = error_set(e, ERR_RETRY, "%s is still at the target", names[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int file_remove(struct delivery_target *target, const struct delivery_item *item, json_t **ret_evidence,
		       bool *ret_found, struct error *e)
{
	struct file_target *t = (struct file_target *)target;
	_cleanup_(place_done) struct place p = {.root = -1, .folder = -1};
	int r = open_place(t, item, false, &p, e);
	if (r < 0 && r != ERR_NOTFOUND)
		return r;
	bool had_folder = r == 0;
	r = check_store(item, &p, e);
	if (r == 0 && had_folder)
		r = remove_names(&p, ret_found, e);
	if (r < 0)
		return r;
	folder_prune(p.root, item->location);
	char store[UUID_TEXT_BYTES];
	uuid_format(&p.store, store);
	*ret_evidence = json_pack("{s:b,s:b,s:s}", "absent", 1, "unlinked", had_folder, "store", store);
	return *ret_evidence ? 0 : error_nomem(e);
}

static void file_free(struct delivery_target *target)
{
	struct file_target *t = (struct file_target *)target;
	free(t->path);
	free(t->below);
	free(t);
}

static const struct delivery_target_ops file_ops = {file_put, file_remove, file_free};

int delivery_file_new(const struct delivery_target_options *o, struct delivery_target **ret, struct error *e)
{
	_cleanup_(delivery_target_freep) struct delivery_target *target = NULL;
	struct file_target *t = calloc(1, sizeof(*t));
	if (!t)
		return error_nomem(e);
	t->target.ops = &file_ops;
	target = &t->target;
	t->hooks = o->hooks;
	t->path = strdup(o->endpoint->path ? o->endpoint->path : "");
	t->below = strdup(o->file_root ? o->file_root : "");
	if (!t->path || !t->below)
		return error_nomem(e);
	*ret = TAKE_PTR(target);
	return 0;
}
