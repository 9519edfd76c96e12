#include "node/spool.h"

#include "base/clock.h"
#include "base/json.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define SUPERBLOCK_NAME	 "superblock.json"
#define SUPERBLOCK_TEMP	 "superblock.json.new"
#define LOCK_NAME	 "lock"
#define BEATS_NAME	 "beats"
#define BEATS_TEMP	 "beats.new"
#define COPIES_NAME	 "copies"
#define JOURNAL_NAME	 "journal"
#define SUFFIX		 ".sealed"
#define AGAIN_SUFFIX	 ".again"
#define TAIL_SUFFIX	 ".tail"
#define SUPERBLOCK_BYTES 4096
/* copies/<xx>: one folder per value of the copy UUID's last byte, so that none grows too large to list */
#define FOLDERS 256
/* Deepest folder of a walk: the spool, copies, xx. */
#define WALK_DEPTH_MAX 4

#define LOCK_WAIT_MS  5000
#define LOCK_RETRY_US 20000

struct spool {
	int dir_fd;
	int lock_fd;
	struct uuid node;
	char node_text[UUID_TEXT_BYTES];
	char region[32];
	char service[32];
	char *path;
	uint64_t reserve_bytes;
	_Atomic bool read_only;
};

struct superblock {
	struct uuid node;
	char *region;
	char *service;
	uint64_t version;
};

static const struct json_field superblock_fields[] = {
    {.name = "version",
     .type = JSON_FIELD_UINT,
     .required = true,
     .min = 1,
     .max = 1,
     .offset = offsetof(struct superblock, version)},
    {.name = "node", .type = JSON_FIELD_UUID, .required = true, .offset = offsetof(struct superblock, node)},
    {.name = "region",
     .type = JSON_FIELD_STRING,
     .required = true,
     .min = 1,
     .max = 16,
     .offset = offsetof(struct superblock, region)},
    {.name = "service",
     .type = JSON_FIELD_STRING,
     .required = true,
     .min = 1,
     .max = 16,
     .offset = offsetof(struct superblock, service)},
    {0},
};

static int sync_folder(int dir_fd, const char *name, struct error *e)
{
	_cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open folder %s of the spool", name);
	if (fsync(fd) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot flush folder %s of the spool", name);
	return 0;
}

/* Reads a whole small file. ERR_NOTFOUND when it does not exist. */
static int read_small(int dir_fd, const char *name, char *ret, size_t size, size_t *ret_n, struct error *e)
{
	_cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? error_set(e, ERR_NOTFOUND, "%s does not exist", name)
				       : error_set_errno(e, ERR_FATAL, errno, "cannot open %s", name);
	ssize_t n = read(fd, ret, size);
	if (n < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot read %s", name);
	if ((size_t)n == size)
		return error_set(e, ERR_CORRUPT, "%s is longer than %zu bytes", name, size - 1);
	*ret_n = (size_t)n;
	return 0;
}

static int read_superblock(struct spool *s, const struct spool_options *o, struct error *e)
{
	char text[SUPERBLOCK_BYTES];
	size_t n = 0;
	int r = read_small(s->dir_fd, SUPERBLOCK_NAME, text, sizeof(text), &n, e);
	if (r < 0)
		return r;
	_cleanup_(json_decrefp) json_t *j = NULL;
	struct superblock b = {0};
	r = json_parse(text, n, &j, e);
	if (r == 0)
		r = json_read(j, superblock_fields, false, &b, e);
	if (r < 0) {
		(void)error_wrap(e, "superblock of %s", o->path);
		return error_set(e, ERR_FATAL, "%s", e ? e->text : "");
	}
	if (strcmp(b.region, o->region) != 0 || strcmp(b.service, o->service) != 0)
		r = error_set(
		    e, ERR_FATAL,
		    "spool %s belongs to %s in region %s, not to %s in region %s: give each service a spool of its own",
		    o->path, b.service, b.region, o->service, o->region);
	else
		s->node = b.node;
	json_read_done(superblock_fields, &b);
	return r;
}

/* An unknown folder with files in it is somebody else's, or has lost its superblock: a person has to look. */
static int check_empty(struct spool *s, const struct spool_options *o, struct error *e)
{
	int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d) {
		if (fd >= 0)
			(void)close(fd);
		return error_set_errno(e, ERR_FATAL, errno, "cannot list spool %s", o->path);
	}
	int r = 0;
	for (struct dirent *entry; r == 0 && (entry = readdir(d));) {
		const char *name = entry->d_name;
		if (strcmp(name, ".") && strcmp(name, "..") && strcmp(name, LOCK_NAME) &&
		    strcmp(name, SUPERBLOCK_TEMP) && strcmp(name, "lost+found"))
			r = error_set(
			    e, ERR_FATAL,
			    "folder %s has no superblock but holds %s: a spool is made in an empty folder only",
			    o->path, name);
	}
	(void)closedir(d);
	return r;
}

static int write_superblock(struct spool *s, const struct spool_options *o, struct error *e)
{
	s->node = uuid_v4();
	char node[UUID_TEXT_BYTES], text[SUPERBLOCK_BYTES];
	uuid_format(&s->node, node);
	int n = snprintf(text, sizeof(text), "{\"version\":1,\"node\":\"%s\",\"region\":\"%s\",\"service\":\"%s\"}\n",
			 node, o->region, o->service);
	assert(n > 0 && (size_t)n < sizeof(text));
	_cleanup_(closep) int fd =
	    openat(s->dir_fd, SUPERBLOCK_TEMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, text, (size_t)n) != n || fsync(fd) < 0 ||
	    renameat(s->dir_fd, SUPERBLOCK_TEMP, s->dir_fd, SUPERBLOCK_NAME) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot write the superblock of %s", o->path);
	return sync_folder(s->dir_fd, ".", e);
}

static int make_folders(struct spool *s, struct error *e)
{
	bool made = mkdirat(s->dir_fd, COPIES_NAME, 0700) == 0;
	if (!made && errno != EEXIST)
		return error_set_errno(e, ERR_FATAL, errno, "cannot make folder %s of the spool", COPIES_NAME);
	for (int i = 0; i < FOLDERS; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), COPIES_NAME "/%02x", (unsigned)i);
		if (mkdirat(s->dir_fd, name, 0700) < 0 && errno != EEXIST)
			return error_set_errno(e, ERR_FATAL, errno, "cannot make folder %s of the spool", name);
	}
	int r = sync_folder(s->dir_fd, COPIES_NAME, e);
	return r < 0 ? r : sync_folder(s->dir_fd, ".", e);
}

static int take_lock(struct spool *s, const struct spool_options *o, struct error *e)
{
	s->lock_fd = openat(s->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot make the lock of spool %s", o->path);
	/* a killed process holds it until the last of its threads has left the kernel */
	int64_t deadline = clock_monotonic_us() + (int64_t)LOCK_WAIT_MS * 1000;
	while (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_set_errno(e, ERR_FATAL, errno, "cannot lock spool %s", o->path);
		if (clock_monotonic_us() > deadline)
			return error_set(e, ERR_FATAL, "spool %s is in use by another process", o->path);
		(void)usleep(LOCK_RETRY_US);
	}
	return 0;
}

int spool_open(const struct spool_options *o, struct spool **ret, struct error *e)
{
	_cleanup_(spool_freep) struct spool *s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(e);
	s->dir_fd = s->lock_fd = -1;
	s->reserve_bytes = o->reserve_bytes;
	s->path = strdup(o->path);
	if (!s->path)
		return error_nomem(e);
	(void)snprintf(s->region, sizeof(s->region), "%s", o->region);
	(void)snprintf(s->service, sizeof(s->service), "%s", o->service);
	s->dir_fd = open(o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open spool %s", o->path);
	int r = take_lock(s, o, e);
	if (r == 0)
		r = read_superblock(s, o, e);
	if (r == ERR_NOTFOUND) {
		r = check_empty(s, o, e);
		if (r == 0)
			r = write_superblock(s, o, e);
	}
	if (r == 0)
		r = make_folders(s, e);
	if (r < 0)
		return r;
	uuid_format(&s->node, s->node_text);
	*ret = TAKE_PTR(s);
	return 0;
}

void spool_free(struct spool *s)
{
	if (!s)
		return;
	closep(&s->dir_fd);
	closep(&s->lock_fd);
	free(s->path);
	free(s);
}

const struct uuid *spool_node(const struct spool *s)
{
	return &s->node;
}

const char *spool_node_text(const struct spool *s)
{
	return s->node_text;
}

const char *spool_service(const struct spool *s)
{
	return s->service;
}

const char *spool_region(const struct spool *s)
{
	return s->region;
}

/* A file of a copy, by the end of its name. */
static void beside(const struct uuid *copy, const char *suffix, char ret[SPOOL_LOCATION_BYTES])
{
	char text[UUID_TEXT_BYTES];
	uuid_format(copy, text);
	(void)snprintf(ret, SPOOL_LOCATION_BYTES, COPIES_NAME "/%02x/%s%s", copy->b[UUID_BYTES - 1], text, suffix);
}

void spool_location(const struct uuid *copy, char ret[SPOOL_LOCATION_BYTES])
{
	beside(copy, SUFFIX, ret);
}

static void folder_of(const struct uuid *copy, char ret[SPOOL_LOCATION_BYTES])
{
	(void)snprintf(ret, SPOOL_LOCATION_BYTES, COPIES_NAME "/%02x", copy->b[UUID_BYTES - 1]);
}

int64_t spool_beats_seen(const struct spool *s)
{
	char text[32] = "";
	size_t n = 0;
	if (read_small(s->dir_fd, BEATS_NAME, text, sizeof(text) - 1, &n, NULL) < 0)
		return 0;
	char *end = NULL;
	long long beats = strtoll(text, &end, 10);
	return *end == '\n' && beats > 0 ? beats : 0;
}

/* A number that could not be kept is an older one later: the spool then knows less, and never too much. */
void spool_set_beats_seen(struct spool *s, int64_t beats)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%lld\n", (long long)beats);
	_cleanup_(closep) int fd =
	    openat(s->dir_fd, BEATS_TEMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && write(fd, text, (size_t)n) == n)
		(void)renameat(s->dir_fd, BEATS_TEMP, s->dir_fd, BEATS_NAME);
}

int spool_open_journal(struct spool *s, int *ret_fd, struct error *e)
{
	if (mkdirat(s->dir_fd, JOURNAL_NAME, 0700) < 0 && errno != EEXIST)
		return error_set_errno(e, ERR_FATAL, errno, "cannot make folder %s of the spool", JOURNAL_NAME);
	int r = sync_folder(s->dir_fd, ".", e);
	if (r < 0)
		return r;
	*ret_fd = openat(s->dir_fd, JOURNAL_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret_fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open folder %s of the spool", JOURNAL_NAME);
	return 0;
}

int spool_create(struct spool *s, const struct uuid *copy, int *ret_fd, struct error *e)
{
	if (s->read_only)
		return error_set(e, ERR_FULL, "spool %s is read-only after a failed write", s->path);
	char location[SPOOL_LOCATION_BYTES];
	spool_location(copy, location);
	int fd = openat(s->dir_fd, location, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(e, errno == EEXIST ? ERR_CONFLICT : ERR_RETRY, errno, "cannot create %s",
				       location);
	*ret_fd = fd;
	return 0;
}

int spool_create_again(struct spool *s, const struct uuid *copy, int *ret_fd, struct error *e)
{
	char location[SPOOL_LOCATION_BYTES];
	beside(copy, AGAIN_SUFFIX, location);
	int fd = openat(s->dir_fd, location, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot create %s", location);
	*ret_fd = fd;
	return 0;
}

static int rename_again(struct spool *s, const struct uuid *copy, const char *suffix, struct error *e)
{
	char from[SPOOL_LOCATION_BYTES], to[SPOOL_LOCATION_BYTES];
	beside(copy, AGAIN_SUFFIX, from);
	beside(copy, suffix, to);
	if (renameat(s->dir_fd, from, s->dir_fd, to) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot rename %s to %s", from, to);
	return spool_sync(s, copy, e);
}

int spool_replace(struct spool *s, const struct uuid *copy, struct error *e)
{
	return rename_again(s, copy, SUFFIX, e);
}

int spool_keep_tail(struct spool *s, const struct uuid *copy, struct error *e)
{
	return rename_again(s, copy, TAIL_SUFFIX, e);
}

int spool_open_tail(struct spool *s, const struct uuid *copy, int *ret_fd, struct error *e)
{
	char location[SPOOL_LOCATION_BYTES];
	beside(copy, TAIL_SUFFIX, location);
	int fd = openat(s->dir_fd, location, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set_errno(e, errno == ENOENT ? ERR_NOTFOUND : ERR_RETRY, errno, "cannot open %s",
				       location);
	*ret_fd = fd;
	return 0;
}

void spool_drop_tail(struct spool *s, const struct uuid *copy)
{
	char location[SPOOL_LOCATION_BYTES];
	beside(copy, TAIL_SUFFIX, location);
	(void)unlinkat(s->dir_fd, location, 0);
}

void spool_drop_again(struct spool *s, const struct uuid *copy)
{
	char location[SPOOL_LOCATION_BYTES];
	beside(copy, AGAIN_SUFFIX, location);
	(void)unlinkat(s->dir_fd, location, 0);
}

int spool_sync(struct spool *s, const struct uuid *copy, struct error *e)
{
	char folder[SPOOL_LOCATION_BYTES];
	folder_of(copy, folder);
	return sync_folder(s->dir_fd, folder, e);
}

int spool_open_copy(struct spool *s, const struct uuid *copy, int flags, int *ret_fd, struct error *e)
{
	char location[SPOOL_LOCATION_BYTES];
	spool_location(copy, location);
	int fd = openat(s->dir_fd, location, flags | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set_errno(e, errno == ENOENT ? ERR_NOTFOUND : ERR_RETRY, errno, "cannot open %s",
				       location);
	*ret_fd = fd;
	return 0;
}

int spool_remove(struct spool *s, const struct uuid *copy, bool *ret_was_there, struct error *e)
{
	char location[SPOOL_LOCATION_BYTES];
	spool_location(copy, location);
	spool_drop_tail(s, copy);
	bool was_there = unlinkat(s->dir_fd, location, 0) == 0;
	if (!was_there && errno != ENOENT)
		return error_set_errno(e, ERR_RETRY, errno, "cannot unlink %s", location);
	/* also when it was not there: an earlier unlink may not be durable yet */
	int r = spool_sync(s, copy, e);
	if (r == 0 && ret_was_there)
		*ret_was_there = was_there;
	return r;
}

/* Files of the spool itself. */
static bool is_own(const char *name)
{
	static const char *const names[] = {SUPERBLOCK_NAME, LOCK_NAME, BEATS_NAME, BEATS_TEMP};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* The copy that a name is of, which has to be exactly the one that is made of it. */
static bool parse_location(const char *name, const char *suffix, struct uuid *ret)
{
	const char *file = strrchr(name, '/');
	char text[UUID_TEXT_BYTES];
	if (!file || strlen(file + 1) != UUID_TEXT_BYTES - 1 + strlen(suffix))
		return false;
	(void)snprintf(text, sizeof(text), "%.36s", file + 1);
	struct uuid copy;
	char location[SPOOL_LOCATION_BYTES];
	if (!uuid_parse(text, &copy))
		return false;
	beside(&copy, suffix, location);
	if (strcmp(location, name) != 0)
		return false;
	*ret = copy;
	return true;
}

int spool_remove_stray(struct spool *s, const char *name, struct error *e)
{
	if (is_own(name) || strncmp(name, JOURNAL_NAME "/", strlen(JOURNAL_NAME "/")) == 0 || name[0] == '/' ||
	    strstr(name, ".."))
		return error_set(e, ERR_DENIED, "%s is not to be removed", name);
	struct uuid copy;
	if (parse_location(name, SUFFIX, &copy))
		spool_drop_tail(s, &copy);
	if (unlinkat(s->dir_fd, name, 0) < 0 && errno != ENOENT)
		return error_set_errno(e, ERR_RETRY, errno, "cannot unlink %s", name);
	char folder[PATH_MAX];
	(void)snprintf(folder, sizeof(folder), "%s", name);
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	return sync_folder(s->dir_fd, slash ? folder : ".", e);
}

static int walk_folder(struct spool *s, const char *folder, int depth, spool_visit *visit, void *arg, struct error *e);

static bool is_tail_of_copy(struct spool *s, const char *name)
{
	struct uuid copy;
	char location[SPOOL_LOCATION_BYTES];
	if (!parse_location(name, TAIL_SUFFIX, &copy))
		return false;
	spool_location(&copy, location);
	return faccessat(s->dir_fd, location, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int walk_entry(struct spool *s, const char *name, int depth, spool_visit *visit, void *arg, struct error *e)
{
	struct stat st;
	if (fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_set_errno(e, ERR_RETRY, errno, "cannot look at %s", name);
	if (S_ISDIR(st.st_mode))
		return depth < WALK_DEPTH_MAX ? walk_folder(s, name, depth + 1, visit, arg, e) : 0;
	struct uuid copy;
	bool is_copy = S_ISREG(st.st_mode) && parse_location(name, SUFFIX, &copy);
	if (!is_copy && is_tail_of_copy(s, name))
		return 0;
	return visit(arg, name, is_copy ? &copy : NULL, e);
}

static int walk_folder(struct spool *s, const char *folder, int depth, spool_visit *visit, void *arg, struct error *e)
{
	int fd = openat(s->dir_fd, folder[0] ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d) {
		if (fd >= 0)
			(void)close(fd);
		return error_set_errno(e, ERR_RETRY, errno, "cannot list folder %s of the spool", folder);
	}
	int r = 0;
	for (struct dirent *entry; r >= 0 && (entry = readdir(d));) {
		char name[PATH_MAX];
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (snprintf(name, sizeof(name), "%s%s%s", folder, folder[0] ? "/" : "", entry->d_name) >=
		    (int)sizeof(name))
			continue;
		if (depth == 0 && (is_own(name) || strcmp(name, JOURNAL_NAME) == 0 || strcmp(name, "lost+found") == 0))
			continue;
		r = walk_entry(s, name, depth, visit, arg, e);
	}
	(void)closedir(d);
	return r;
}

int spool_walk(struct spool *s, spool_visit *visit, void *arg, struct error *e)
{
	return walk_folder(s, "", 0, visit, arg, e);
}

int spool_room(struct spool *s, uint64_t *ret_capacity, uint64_t *ret_free, struct error *e)
{
	struct statvfs v;
	if (fstatvfs(s->dir_fd, &v) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot ask for the room of spool %s", s->path);
	*ret_capacity = (uint64_t)v.f_blocks * v.f_frsize;
	*ret_free = (uint64_t)v.f_bavail * v.f_frsize;
	return 0;
}

bool spool_admits(struct spool *s, uint64_t bytes)
{
	uint64_t capacity = 0, available = 0;
	if (s->read_only || spool_room(s, &capacity, &available, NULL) < 0)
		return false;
	return available > s->reserve_bytes && available - s->reserve_bytes >= bytes;
}

void spool_set_read_only(struct spool *s)
{
	s->read_only = true;
}

bool spool_is_read_only(const struct spool *s)
{
	return s->read_only;
}
