/* Preloaded into a service: kills it (SIGKILL), or makes its disk fail, at one exact point, which a test names in the
 *file $FAULT_FILE as
 *
 *	CALL TEXT COUNT WHAT
 *
 * CALL: `open` (creating), `write` (pwrite), `sync` (fsync, fdatasync), `unlink`, or `query` (a statement of
 *PostgreSQL); TEXT: what its path, or the statement's name, has in it; COUNT: at the how-manieth such call since the
 *file was written. WHAT: `before`: it dies before that call; `after`: when it has been done, for a statement: when its
 *answer has come and nobody has seen it; `ENOSPC` or `EIO`: that call and all that follow fail so. Without the file
 *nothing happens.
 *
 * $FAULT_FILE.room: so many bytes are free on every disk. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct point {
	char call[16], text[64], what[16];
	int count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ino_t armed; /* the file that the calls are counted for */
static int seen;

static void die(void)
{
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause();
}

static bool read_point(struct point *p)
{
	const char *path = getenv("FAULT_FILE");
	FILE *f = path ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	char count[16] = "";
	struct stat st;
	bool ok = fscanf(f, "%15s %63s %15s %15s", p->call, p->text, count, p->what) == 4 && fstat(fileno(f), &st) == 0;
	(void)fclose(f);
	p->count = (int)strtol(count, NULL, 10);
	if (ok && st.st_ino != armed) {
		armed = st.st_ino;
		seen = 0;
	}
	return ok;
}

enum fate { GO_ON, DIE_AFTER, FAIL };

/* FAIL: errno is set. */
static enum fate at(const char *call, const char *text)
{
	struct point p = {0};
	(void)pthread_mutex_lock(&lock);
	bool is_it = text && read_point(&p) && strcmp(p.call, call) == 0 && strstr(text, p.text);
	int n = is_it ? ++seen : 0;
	(void)pthread_mutex_unlock(&lock);
	if (!is_it || n < p.count)
		return GO_ON;
	if (p.what[0] == 'E') {
		errno = strcmp(p.what, "ENOSPC") == 0 ? ENOSPC : EIO;
		return FAIL;
	}
	if (n > p.count)
		return GO_ON;
	if (strcmp(p.what, "before") == 0)
		die();
	return DIE_AFTER;
}

static const char *path_of(int fd, char *ret, size_t size)
{
	char link[64];
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, ret, size - 1);
	ret[n < 0 ? 0 : n] = '\0';
	return ret;
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	if (flags & O_CREAT) {
		va_list list;
		va_start(list, flags);
		mode = va_arg(list, mode_t);
		va_end(list);
	}
	enum fate fate = flags & O_CREAT ? at("open", path) : GO_ON;
	if (fate == FAIL)
		return -1;
	int fd = REAL("openat", int (*)(int, const char *, int, ...))(dir, path, flags, mode);
	if (fate == DIE_AFTER)
		die();
	return fd;
}

int openat64(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	if (flags & O_CREAT) {
		va_list list;
		va_start(list, flags);
		mode = va_arg(list, mode_t);
		va_end(list);
	}
	return openat(dir, path, flags, mode);
}

int unlinkat(int dir, const char *path, int flags)
{
	enum fate fate = at("unlink", path);
	if (fate == FAIL)
		return -1;
	int r = REAL("unlinkat", int (*)(int, const char *, int))(dir, path, flags);
	if (fate == DIE_AFTER)
		die();
	return r;
}

static int sync_fd(int fd, const char *name)
{
	char path[512];
	enum fate fate = at("sync", path_of(fd, path, sizeof(path)));
	if (fate == FAIL)
		return -1;
	int r = REAL(name, int (*)(int))(fd);
	if (fate == DIE_AFTER)
		die();
	return r;
}

int fsync(int fd)
{
	return sync_fd(fd, "fsync");
}

int fdatasync(int fd)
{
	return sync_fd(fd, "fdatasync");
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
	char path[512];
	enum fate fate = at("write", path_of(fd, path, sizeof(path)));
	if (fate == FAIL)
		return -1;
	ssize_t r = REAL("pwrite", ssize_t(*)(int, const void *, size_t, off_t))(fd, data, n, offset);
	if (fate == DIE_AFTER)
		die();
	return r;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t offset)
{
	return pwrite(fd, data, n, offset);
}

int fstatvfs(int fd, struct statvfs *v)
{
	char path[512];
	char room[32];
	int r = REAL("fstatvfs", int (*)(int, struct statvfs *))(fd, v);
	const char *file = getenv("FAULT_FILE");
	(void)snprintf(path, sizeof(path), "%s.room", file ? file : "");
	FILE *f = file && r == 0 ? fopen(path, "re") : NULL;
	if (f && fgets(room, sizeof(room), f))
		v->f_bavail = strtoull(room, NULL, 10) / v->f_frsize;
	if (f)
		(void)fclose(f);
	return r;
}

int fstatvfs64(int fd, struct statvfs64 *v)
{
	return fstatvfs(fd, (struct statvfs *)v); /* the same on 64 bits */
}

/* libpq: a statement is sent by its name; its answer has come when PQgetResult gives one. */
static __thread bool dies_at_answer;

int PQsendQueryPrepared(void *conn, const char *name, int n, const char *const *values, const int *lengths,
			const int *formats, int format)
{
	dies_at_answer = at("query", name) == DIE_AFTER;
	return REAL("PQsendQueryPrepared", int (*)(void *, const char *, int, const char *const *, const int *,
						   const int *, int))(conn, name, n, values, lengths, formats, format);
}

void *PQgetResult(void *conn)
{
	void *result = REAL("PQgetResult", void *(*)(void *))(conn);
	if (dies_at_answer && result)
		die();
	return result;
}
