#include "domain/ledger_target.h"

#include "base/clock.h"
#include "base/uuid.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_PREFIX	"file:"
#define NAME_SUFFIX	".ledger"
#define NAME_DIGITS	12
#define NAME_BYTES	(20 + sizeof(NAME_SUFFIX))
#define TEMPORARY	".new-"
#define TEMPORARY_BYTES (sizeof(TEMPORARY) + UUID_TEXT_BYTES)
/* A temporary file that is older was left by a process that was killed. */
#define TEMPORARY_AGE_S 3600

struct ledger_target {
	int folder;
};

static void name_of(uint64_t batch, char ret[NAME_BYTES])
{
	(void)snprintf(ret, NAME_BYTES, "%0*" PRIu64 NAME_SUFFIX, NAME_DIGITS, batch);
}

int ledger_target_open(const char *where, struct ledger_target **ret, struct error *e)
{
	size_t n = strlen(FILE_PREFIX);
	if (strncmp(where, FILE_PREFIX, n) != 0 || where[n] != '/')
		return error_set(e, ERR_REJECT, "%s is no ledger target; want file:/path/of/a/folder", where);
	_cleanup_(closep) int folder = open(where + n, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot open the folder of the ledger target %s",
				       where + n);
	struct ledger_target *t = calloc(1, sizeof(*t));
	if (!t)
		return error_nomem(e);
	t->folder = TAKE_FD(folder);
	*ret = t;
	return 0;
}

void ledger_target_free(struct ledger_target *t)
{
	if (!t)
		return;
	(void)close(t->folder);
	free(t);
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

int ledger_target_get(struct ledger_target *t, uint64_t batch, struct buffer *ret, struct error *e)
{
	char name[NAME_BYTES];
	name_of(batch, name);
	buffer_init(ret, LEDGER_TARGET_BYTES_MAX + 1);
	_cleanup_(closep) int fd = openat(t->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return error_set(e, ERR_NOTFOUND, "the ledger target has no file %s", name);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot open %s at the ledger target", name);
	return read_whole(fd, ret, e);
}

/* 0: there is none; 1: it has this content; ERR_CORRUPT: another one. */
static int compare(struct ledger_target *t, uint64_t batch, const void *data, size_t n, struct error *e)
{
	_cleanup_(buffer_done) struct buffer there = {0};
	struct error missing = {0};
	int r = ledger_target_get(t, batch, &there, &missing);
	if (r == ERR_NOTFOUND)
		return 0;
	if (r < 0)
		return error_set(e, r, "%s", missing.text);
	if (there.size != n || memcmp(there.data, data, n) != 0)
		return error_set(e, ERR_CORRUPT,
				 "the ledger target has another content for batch %" PRIu64 "; both stay as they are, "
				 "run `rushesctl ledger verify`",
				 batch);
	return 1;
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

static int flush(struct ledger_target *t, struct error *e)
{
	if (fsync(t->folder) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot flush the folder of the ledger target");
	return 0;
}

static void remove_leftovers(struct ledger_target *t)
{
	int fd = openat(t->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *names = fd < 0 ? NULL : fdopendir(fd);
	if (!names) {
		closep(&fd);
		return;
	}
	int64_t now_s = clock_wall_us() / 1000000;
	for (struct dirent *entry; (entry = readdir(names));) {
		struct stat st;
		if (strncmp(entry->d_name, TEMPORARY, strlen(TEMPORARY)) == 0 &&
		    fstatat(t->folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    now_s - st.st_mtime > TEMPORARY_AGE_S)
			(void)unlinkat(t->folder, entry->d_name, 0);
	}
	(void)closedir(names);
}

int ledger_target_put(struct ledger_target *t, uint64_t batch, const void *data, size_t n, struct error *e)
{
	char name[NAME_BYTES], temporary[TEMPORARY_BYTES] = TEMPORARY;
	struct uuid id = uuid_v4();
	int r = compare(t, batch, data, n, e);
	if (r < 0)
		return r;
	if (r > 0) /* perhaps of a process that ended before it had flushed the name */
		return flush(t, e);
	name_of(batch, name);
	uuid_format(&id, temporary + strlen(TEMPORARY));
	_cleanup_(closep) int fd = openat(t->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0440);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot make a file at the ledger target");
	bool written = write_all(fd, data, n) == 0 && fsync(fd) == 0;
	/* a link, which never takes the place of what is there, unlike a rename */
	bool linked = written && linkat(t->folder, temporary, t->folder, name, 0) == 0;
	int error = errno;
	(void)unlinkat(t->folder, temporary, 0);
	if (!linked && error == EEXIST)
		r = compare(t, batch, data, n, e);
	else if (!linked)
		r = error_set_errno(e, ERR_RETRY, error, "cannot write %s at the ledger target", name);
	remove_leftovers(t);
	return r < 0 ? r : flush(t, e);
}

int ledger_target_last(struct ledger_target *t, uint64_t *ret, struct error *e)
{
	int fd = openat(t->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *names = fd < 0 ? NULL : fdopendir(fd);
	if (!names) {
		closep(&fd);
		return error_set_errno(e, ERR_RETRY, errno, "cannot list the ledger target");
	}
	*ret = 0;
	for (struct dirent *entry; (entry = readdir(names));) {
		char *end = NULL, again[NAME_BYTES];
		unsigned long long batch = strtoull(entry->d_name, &end, 10);
		name_of(batch, again);
		if (strcmp(again, entry->d_name) == 0 && batch > *ret)
			*ret = batch;
	}
	(void)closedir(names);
	return 0;
}
