/* Preloaded into a service: kills it (SIGKILL) at one exact point, which a test names in the file $CRASH_FILE as
 *
 *	CALL TEXT COUNT before|after
 *
 * CALL: `open` (creating), `sync` (fsync, fdatasync), `unlink`, or `query` (a statement of PostgreSQL); TEXT: what its
 * path, or the statement's name, has in it; COUNT: at the how-manieth such call since the file was written. `after`: when
 * it has been done, for a statement: when its answer has come and nobody has seen it. Without the file nothing happens. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct point {
	char call[16], text[64], when[16];
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
	const char *path = getenv("CRASH_FILE");
	FILE *f = path ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	struct stat st;
	bool ok = fscanf(f, "%15s %63s %d %15s", p->call, p->text, &p->count, p->when) == 4 && fstat(fileno(f), &st) == 0;
	(void)fclose(f);
	if (ok && st.st_ino != armed) {
		armed = st.st_ino;
		seen = 0;
	}
	return ok;
}

/* True: the process is to die when the call has been done. */
static bool at(const char *call, const char *text)
{
	struct point p = {0};
	(void)pthread_mutex_lock(&lock);
	bool is_it = text && read_point(&p) && strcmp(p.call, call) == 0 && strstr(text, p.text) && ++seen == p.count;
	(void)pthread_mutex_unlock(&lock);
	if (is_it && strcmp(p.when, "before") == 0)
		die();
	return is_it;
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
	bool dies = (flags & O_CREAT) && at("open", path);
	int fd = REAL("openat", int (*)(int, const char *, int, ...))(dir, path, flags, mode);
	if (dies)
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
	bool dies = at("unlink", path);
	int r = REAL("unlinkat", int (*)(int, const char *, int))(dir, path, flags);
	if (dies)
		die();
	return r;
}

static int sync_fd(int fd, const char *name)
{
	char path[512];
	bool dies = at("sync", path_of(fd, path, sizeof(path)));
	int r = REAL(name, int (*)(int))(fd);
	if (dies)
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

/* libpq: a statement is sent by its name; its answer has come when PQgetResult gives one. */
static __thread bool dies_at_answer;

int PQsendQueryPrepared(void *conn, const char *name, int n, const char *const *values, const int *lengths,
			const int *formats, int format)
{
	dies_at_answer = at("query", name);
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
