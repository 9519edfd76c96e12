#include "domain/ledger_target_backend.h"

#include "base/clock.h"
#include "base/uuid.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define TEMPORARY	".new-"
#define TEMPORARY_BYTES (sizeof(TEMPORARY) + UUID_TEXT_BYTES)
/* A temporary file that is older was left by a process that was killed. */
#define TEMPORARY_AGE_S 3600

struct file_target {
	struct ledger_target target; /* first */
	int folder;
};

static struct file_target *file_of(struct ledger_target *t)
{
	return (struct file_target *)t;
}

static void file_free(struct ledger_target *t)
{
	(void)close(file_of(t)->folder);
	free(file_of(t));
}

static int read_whole(int fd, struct buffer *ret, struct error *e)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > LEDGER_TARGET_BYTES_MAX)
		return error_set(e, ERR_CORRUPT, "a name at the ledger target is no file of a batch");
	int r = buffer_reserve(ret, (size_t)st.st_size + 1);
	/* one byte more than there should be, to meet the end */
	while (r == 0) {
		size_t room = (size_t)st.st_size + 1 - ret->size;
		ssize_t n = room ? read(fd, ret->data + ret->size, room) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(e, ERR_RETRY, errno, "cannot read at the ledger target");
		if (n == 0)
			break;
		ret->size += (size_t)n;
	}
	if (r < 0)
		return error_nomem(e);
	if (ret->size != (size_t)st.st_size)
		return error_set(e, ERR_RETRY, "a file at the ledger target changed while it was read");
	ret->data[ret->size] = '\0';
	return 0;
}

static int file_get(struct ledger_target *t, uint64_t batch, struct buffer *ret, struct error *e)
{
	char name[LEDGER_TARGET_NAME_BYTES];
	ledger_target_name(batch, name);
	_cleanup_(closep) int fd = openat(file_of(t)->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return error_set(e, ERR_NOTFOUND, "the ledger target has no file %s", name);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot open %s at the ledger target", name);
	return read_whole(fd, ret, e);
}

static int write_all(int fd, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, data, n);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return -1;
		data += written;
		n -= (size_t)written;
	}
	return 0;
}

static int file_flush(struct ledger_target *t, struct error *e)
{
	if (fsync(file_of(t)->folder) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot flush the folder of the ledger target");
	return 0;
}

static void remove_leftovers(struct ledger_target *t)
{
	int fd = openat(file_of(t)->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *names = fd < 0 ? NULL : fdopendir(fd);
	if (!names) {
		closep(&fd);
		return;
	}
	int64_t now_s = clock_wall_us() / 1000000;
	for (struct dirent *entry; (entry = readdir(names));) {
		struct stat st;
		if (strncmp(entry->d_name, TEMPORARY, strlen(TEMPORARY)) == 0 &&
		    fstatat(file_of(t)->folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    now_s - st.st_mtime > TEMPORARY_AGE_S)
			(void)unlinkat(file_of(t)->folder, entry->d_name, 0);
	}
	(void)closedir(names);
}

static int file_put(struct ledger_target *t, uint64_t batch, const void *data, size_t n, bool *ret_exists,
		    struct error *e)
{
	char name[LEDGER_TARGET_NAME_BYTES], temporary[TEMPORARY_BYTES] = TEMPORARY;
	struct uuid id = uuid_v4();
	int r = 0;
	ledger_target_name(batch, name);
	uuid_format(&id, temporary + strlen(TEMPORARY));
	_cleanup_(closep) int fd = openat(file_of(t)->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0440);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot make a file at the ledger target");
	bool written = write_all(fd, data, n) == 0 && fsync(fd) == 0;
	/* a link, which never takes the place of what is there, unlike a rename */
	bool linked = written && linkat(file_of(t)->folder, temporary, file_of(t)->folder, name, 0) == 0;
	int error = errno;
	(void)unlinkat(file_of(t)->folder, temporary, 0);
	*ret_exists = !linked && error == EEXIST;
	if (!linked && error != EEXIST)
		r = error_set_errno(e, ERR_RETRY, error, "cannot write %s at the ledger target", name);
	remove_leftovers(t);
	return r < 0 ? r : file_flush(t, e);
}

static int file_last(struct ledger_target *t, uint64_t *ret, struct error *e)
{
	int fd = openat(file_of(t)->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *names = fd < 0 ? NULL : fdopendir(fd);
	if (!names) {
		closep(&fd);
		return error_set_errno(e, ERR_RETRY, errno, "cannot list the ledger target");
	}
	*ret = 0;
	for (struct dirent *entry; (entry = readdir(names));) {
		uint64_t batch = ledger_target_batch(entry->d_name);
		*ret = MAX(*ret, batch);
	}
	(void)closedir(names);
	return 0;
}

int ledger_target_file_open(const char *path, struct ledger_target **ret, struct error *e)
{
	static const struct ledger_target_ops ops = {file_put, file_flush, file_get, file_last, file_free};
	_cleanup_(closep) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot open the folder of the ledger target %s", path);
	struct file_target *t = calloc(1, sizeof(*t));
	if (!t)
		return error_nomem(e);
	t->target.ops = &ops;
	t->folder = TAKE_FD(folder);
	*ret = &t->target;
	return 0;
}
