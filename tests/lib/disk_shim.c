/* A disk that forgets, fails or dawdles, for tests: preloaded into a service
 *(LD_PRELOAD=build/gcc/tests/lib/disk_shim.so).
 *
 *	DISK_SHIM_ROOT=FOLDER	only files below it are handled (an absolute path without links in it)
 *	DISK_SHIM_SHADOW=FOLDER	beside it: holds, at any moment, what a power cut would leave of ROOT, in FOLDER/tree.
 *				Written bytes and sizes get there when their file is flushed (fsync, fdatasync, syncfs,
 *				O_SYNC is not known); names when their folder is. At the start of a process all of ROOT
 *				counts as durable. A test kills the process, puts FOLDER/tree in the place of ROOT and
 *				starts the process again (tests/lib/power-cut.mjs).
 *	DISK_SHIM_LEAK=PERCENT	so many of the written blocks of 4096 bytes get there at once all the same, in no order,
 *				as disks write back what nobody asked them to
 *	DISK_SHIM_SEED=NUMBER	of the choice of these
 *	DISK_SHIM_RULES=FILE	read again whenever it changes; one rule a line, the first that fits counts:
 *					write ERRNO PATTERN	pwrite and write fail (EIO, ENOSPC, EDQUOT)
 *					sync ERRNO PATTERN	fsync, fdatasync and syncfs fail, and nothing of that
 *								flush becomes durable
 *					delay MS PATTERN	these flushes take so much longer
 *				PATTERN is fnmatch's, of the path relative to ROOT: "copies/??/?*.sealed",
 *				"journal/generation-?"; "." is the folder itself, by which syncfs goes too. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT	    __attribute__((visibility("default")))
#define BLOCK	    4096
#define RANGES_MAX  4096 /* of one file; more of them are one from the first to the last */
#define RULES_MAX   16
#define EARLY_MAX   64
#define PATTERN_MAX 128
#define FILES_MAX   65536

struct range {
	off_t from, to;
};

/* A file that was written since the start. */
struct file {
	ino_t ino;
	unsigned id; /* its name in SHADOW/inodes */
	bool is_dirty;
	size_t n_ranges;
	struct range *ranges;
};

struct rule {
	enum { RULE_WRITE, RULE_SYNC, RULE_DELAY } kind;
	int value; /* errno or milliseconds */
	char pattern[PATTERN_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX], shadow[PATH_MAX];
static size_t root_n;
static dev_t root_dev;
static int leak;
static unsigned seed = 1;
static unsigned next_id = 1;
static struct file *files[FILES_MAX];
static size_t n_files;

/* Folders that were flushed before the one they are in. */
static char early[EARLY_MAX][PATTERN_MAX];
static size_t n_early;

static const char *rules_path;
static struct timespec rules_time;
static ino_t rules_ino;
static struct rule rules[RULES_MAX];
static size_t n_rules;

static struct {
	ssize_t (*pwrite)(int, const void *, size_t, off_t);
	ssize_t (*write)(int, const void *, size_t);
	int (*fsync)(int);
	int (*fdatasync)(int);
	int (*syncfs)(int);
	int (*ftruncate)(int, off_t);
	int (*unlinkat)(int, const char *, int);
	int (*unlink)(const char *);
	int (*renameat)(int, const char *, int, const char *);
	int (*rename)(const char *, const char *);
} real;

static void die(const char *what)
{
	fprintf(stderr, "disk_shim: %s: %s\n", what, strerror(errno));
	abort();
}

static void load_real(void)
{
	if (real.rename)
		return;
	*(void **)&real.pwrite = dlsym(RTLD_NEXT, "pwrite");
	*(void **)&real.write = dlsym(RTLD_NEXT, "write");
	*(void **)&real.fsync = dlsym(RTLD_NEXT, "fsync");
	*(void **)&real.fdatasync = dlsym(RTLD_NEXT, "fdatasync");
	*(void **)&real.syncfs = dlsym(RTLD_NEXT, "syncfs");
	*(void **)&real.ftruncate = dlsym(RTLD_NEXT, "ftruncate");
	*(void **)&real.unlinkat = dlsym(RTLD_NEXT, "unlinkat");
	*(void **)&real.unlink = dlsym(RTLD_NEXT, "unlink");
	*(void **)&real.renameat = dlsym(RTLD_NEXT, "renameat");
	*(void **)&real.rename = dlsym(RTLD_NEXT, "rename");
}

/* The path below ROOT of an open file ("." for ROOT itself); false for any other. */
static bool path_of(int fd, char ret[PATH_MAX])
{
	char link[64], path[PATH_MAX];
	if (!root_n)
		return false;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n < (ssize_t)root_n)
		return false;
	path[n] = '\0';
	if (memcmp(path, root, root_n) != 0 || (path[root_n] != '\0' && path[root_n] != '/'))
		return false;
	(void)snprintf(ret, PATH_MAX, "%s", path[root_n] ? path + root_n + 1 : ".");
	return true;
}

/* ---- rules ---- */

static int errno_of(const char *name)
{
	return strcmp(name, "ENOSPC") == 0 ? ENOSPC : strcmp(name, "EDQUOT") == 0 ? EDQUOT : EIO;
}

static void read_rules(void)
{
	struct stat st;
	if (!rules_path || stat(rules_path, &st) < 0) {
		n_rules = 0;
		return;
	}
	if (st.st_ino == rules_ino && st.st_mtim.tv_sec == rules_time.tv_sec &&
	    st.st_mtim.tv_nsec == rules_time.tv_nsec)
		return;
	rules_ino = st.st_ino;
	rules_time = st.st_mtim;
	n_rules = 0;
	FILE *f = fopen(rules_path, "re");
	char kind[16], value[16], pattern[PATTERN_MAX];
	while (f && n_rules < RULES_MAX && fscanf(f, "%15s %15s %127s", kind, value, pattern) == 3) {
		struct rule *r = &rules[n_rules++];
		r->kind = strcmp(kind, "write") == 0 ? RULE_WRITE : strcmp(kind, "sync") == 0 ? RULE_SYNC : RULE_DELAY;
		r->value = r->kind == RULE_DELAY ? (int)strtol(value, NULL, 10) : errno_of(value);
		(void)snprintf(r->pattern, sizeof(r->pattern), "%s", pattern);
	}
	if (f)
		(void)fclose(f);
}

/* 0, or the errno with which it fails. */
static int rule_for(int kind, const char *path, int *ret_delay_ms)
{
	(void)pthread_mutex_lock(&lock);
	int failure = 0;
	read_rules();
	for (size_t i = 0; i < n_rules && !failure; i++) {
		if (fnmatch(rules[i].pattern, path, 0) != 0)
			continue;
		if ((int)rules[i].kind == kind)
			failure = rules[i].value;
		else if (rules[i].kind == RULE_DELAY && ret_delay_ms)
			*ret_delay_ms = rules[i].value;
	}
	(void)pthread_mutex_unlock(&lock);
	return failure;
}

/* ---- the shadow; the lock is held ---- */

static void shadow_path(char ret[PATH_MAX], unsigned id)
{
	(void)snprintf(ret, PATH_MAX, "%.3000s/inodes/%u", shadow, id);
}

static struct file *file_of(ino_t ino)
{
	for (size_t i = 0; i < n_files; i++)
		if (files[i]->ino == ino)
			return files[i];
	if (n_files == FILES_MAX)
		die("too many files");
	struct file *f = calloc(1, sizeof(*f));
	char path[PATH_MAX];
	if (!f)
		die("memory");
	f->ino = ino;
	f->id = next_id++;
	shadow_path(path, f->id);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	(void)close(fd);
	files[n_files++] = f;
	return f;
}

/* Its number may be another file's from now on. */
static void forget(ino_t ino)
{
	for (size_t i = 0; i < n_files; i++) {
		if (files[i]->ino == ino) {
			free(files[i]->ranges);
			free(files[i]);
			files[i] = files[--n_files];
			return;
		}
	}
}

static void copy_range(int from_fd, int to_fd, off_t from, off_t to)
{
	static char buffer[1 << 20];
	while (from < to) {
		size_t n = (size_t)(to - from) < sizeof(buffer) ? (size_t)(to - from) : sizeof(buffer);
		ssize_t got = pread(from_fd, buffer, n, from);
		if (got <= 0)
			return;
		if (real.pwrite(to_fd, buffer, (size_t)got, from) != got)
			die("the shadow cannot be written");
		from += got;
	}
}

/* Opens the file behind `fd` for reading through the page cache, and its shadow. */
static bool open_both(int fd, const struct file *f, int ret[2])
{
	char link[64], path[PATH_MAX];
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	shadow_path(path, f->id);
	ret[0] = open(link, O_RDONLY | O_CLOEXEC);
	ret[1] = open(path, O_WRONLY | O_CLOEXEC);
	if (ret[1] < 0)
		die(path);
	if (ret[0] < 0)
		(void)close(ret[1]);
	return ret[0] >= 0;
}

static void add_range(struct file *f, off_t from, off_t to)
{
	f->is_dirty = true;
	if (!f->ranges && !(f->ranges = calloc(RANGES_MAX, sizeof(*f->ranges))))
		die("memory");
	if (f->n_ranges == RANGES_MAX) {
		for (size_t i = 1; i < f->n_ranges; i++) {
			f->ranges[0].from =
			    f->ranges[i].from < f->ranges[0].from ? f->ranges[i].from : f->ranges[0].from;
			f->ranges[0].to = f->ranges[i].to > f->ranges[0].to ? f->ranges[i].to : f->ranges[0].to;
		}
		f->n_ranges = 1;
	}
	f->ranges[f->n_ranges++] = (struct range){from, to};
}

static void note_write(int fd, off_t from, size_t n)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	(void)pthread_mutex_lock(&lock);
	struct file *f = file_of(st.st_ino);
	int both[2];
	add_range(f, from, from + (off_t)n);
	if (leak > 0 && open_both(fd, f, both)) {
		for (off_t at = from; at < from + (off_t)n; at += BLOCK) {
			off_t end = at + BLOCK < from + (off_t)n ? at + BLOCK : from + (off_t)n;
			if (rand_r(&seed) % 100 < leak)
				copy_range(both[0], both[1], at, end);
		}
		(void)close(both[0]);
		(void)close(both[1]);
	}
	(void)pthread_mutex_unlock(&lock);
}

static void sync_file(int fd, ino_t ino)
{
	struct file *f = file_of(ino);
	struct stat st;
	int both[2];
	if (!f->is_dirty || !open_both(fd, f, both))
		return;
	for (size_t i = 0; i < f->n_ranges; i++)
		copy_range(both[0], both[1], f->ranges[i].from, f->ranges[i].to);
	if (fstat(both[0], &st) == 0 && real.ftruncate(both[1], st.st_size) < 0)
		die("the shadow cannot be cut");
	f->n_ranges = 0;
	f->is_dirty = false;
	(void)close(both[0]);
	(void)close(both[1]);
}

static void sync_folder(const char *relative, bool all);

/* A folder has got its name: what was flushed in it before is there too. */
static void sync_early(void)
{
	size_t n = n_early;
	char folders[EARLY_MAX][PATTERN_MAX];
	memcpy(folders, early, sizeof(folders));
	n_early = 0;
	for (size_t i = 0; i < n; i++)
		sync_folder(folders[i], false);
}

/* One name of a folder that was flushed. The new name takes the old one's place in one step. */
static void sync_name(const char *from, const char *to, bool all)
{
	struct stat st, have;
	char inode[PATH_MAX], temporary[PATH_MAX];
	if (lstat(from, &st) < 0)
		return;
	if (S_ISDIR(st.st_mode)) {
		if (mkdir(to, 0700) < 0 && errno != EEXIST)
			die(to);
		return;
	}
	if (!S_ISREG(st.st_mode))
		return;
	size_t known = n_files;
	struct file *f = file_of(st.st_ino);
	shadow_path(inode, f->id);
	if (all && n_files > known)
		add_range(f, 0, st.st_size);
	if (all) {
		int fd = open(from, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			sync_file(fd, st.st_ino);
			(void)close(fd);
		}
	}
	struct stat own;
	if (stat(inode, &own) < 0)
		die(inode);
	if (lstat(to, &have) == 0 && have.st_ino == own.st_ino)
		return;
	(void)snprintf(temporary, sizeof(temporary), "%.3000s/new", shadow);
	(void)real.unlink(temporary);
	if (link(inode, temporary) < 0 || real.rename(temporary, to) < 0)
		die(to);
}

static void drop_names(const char *folder, const char *in_shadow)
{
	DIR *d = opendir(in_shadow);
	char path[PATH_MAX], there[PATH_MAX];
	struct stat st;
	for (struct dirent *e; d && (e = readdir(d));) {
		(void)snprintf(path, sizeof(path), "%.3000s/%.255s", folder, e->d_name);
		(void)snprintf(there, sizeof(there), "%.3000s/%.255s", in_shadow, e->d_name);
		if (e->d_type == DT_REG && lstat(path, &st) < 0)
			(void)real.unlink(there);
	}
	if (d)
		(void)closedir(d);
}

/* `all`: the files' bytes too, and the folders below. */
static void sync_folder(const char *relative, bool all)
{
	char folder[PATH_MAX], in_shadow[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
	(void)snprintf(folder, sizeof(folder), "%.2000s/%.1000s", root, relative);
	(void)snprintf(in_shadow, sizeof(in_shadow), "%.2000s/tree/%.1000s", shadow, relative);
	DIR *d = opendir(folder);
	if (!d)
		return;
	/* its own name is not durable yet: nothing below it can be */
	struct stat st;
	if (stat(in_shadow, &st) < 0) {
		(void)closedir(d);
		if (n_early == EARLY_MAX)
			die("too many folders were flushed before the folder they are in");
		(void)snprintf(early[n_early++], sizeof(early[0]), "%.*s", PATTERN_MAX - 1, relative);
		return;
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		(void)snprintf(from, sizeof(from), "%.3000s/%.255s", folder, e->d_name);
		(void)snprintf(to, sizeof(to), "%.3000s/%.255s", in_shadow, e->d_name);
		sync_name(from, to, all);
		if (all && e->d_type == DT_DIR) {
			char below[PATH_MAX];
			(void)snprintf(below, sizeof(below), "%.2000s/%.255s", relative, e->d_name);
			sync_folder(below, true);
		}
	}
	(void)closedir(d);
	drop_names(folder, in_shadow);
	if (n_early > 0)
		sync_early();
}

/* ---- what is taken over ---- */

__attribute__((constructor)) static void begin(void)
{
	load_real();
	const char *r = getenv("DISK_SHIM_ROOT"), *s = getenv("DISK_SHIM_SHADOW");
	const char *percent = getenv("DISK_SHIM_LEAK"), *number = getenv("DISK_SHIM_SEED");
	char path[PATH_MAX];
	struct stat st;
	rules_path = getenv("DISK_SHIM_RULES");
	if (!r || stat(r, &st) < 0)
		return;
	(void)snprintf(root, sizeof(root), "%s", r);
	root_dev = st.st_dev;
	leak = percent ? (int)strtol(percent, NULL, 10) : 0;
	seed = number ? (unsigned)strtoul(number, NULL, 10) : 1;
	root_n = strlen(root);
	if (!s)
		return;
	(void)snprintf(shadow, sizeof(shadow), "%s", s);
	(void)mkdir(shadow, 0700);
	(void)snprintf(path, sizeof(path), "%.3000s/inodes", shadow);
	(void)mkdir(path, 0700);
	(void)snprintf(path, sizeof(path), "%.3000s/tree", shadow);
	(void)mkdir(path, 0700);
	sync_folder(".", true);
}

static ssize_t wrote(int fd, off_t from, ssize_t n)
{
	if (n > 0 && shadow[0])
		note_write(fd, from, (size_t)n);
	return n;
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
	char path[PATH_MAX];
	load_real();
	if (!path_of(fd, path))
		return real.pwrite(fd, data, n, offset);
	int failure = rule_for(RULE_WRITE, path, NULL);
	if (failure) {
		errno = failure;
		return -1;
	}
	return wrote(fd, offset, real.pwrite(fd, data, n, offset));
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t n, off_t offset)
{
	return pwrite(fd, data, n, offset);
}

EXPORT ssize_t write(int fd, const void *data, size_t n)
{
	char path[PATH_MAX];
	load_real();
	if (!path_of(fd, path))
		return real.write(fd, data, n);
	int failure = rule_for(RULE_WRITE, path, NULL);
	if (failure) {
		errno = failure;
		return -1;
	}
	off_t at = lseek(fd, 0, SEEK_CUR);
	return wrote(fd, at, real.write(fd, data, n));
}

EXPORT int ftruncate(int fd, off_t size)
{
	char path[PATH_MAX];
	struct stat st;
	load_real();
	int r = real.ftruncate(fd, size);
	if (r == 0 && shadow[0] && path_of(fd, path) && fstat(fd, &st) == 0) {
		(void)pthread_mutex_lock(&lock);
		add_range(file_of(st.st_ino), 0, 0);
		(void)pthread_mutex_unlock(&lock);
	}
	return r;
}

EXPORT int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

/* Which flush it was matters to nobody but the kernel: `flush` asks it first. */
static int synced(int fd, int (*flush)(int), bool everything)
{
	char path[PATH_MAX];
	struct stat st;
	int delay_ms = 0;
	if (!path_of(fd, path))
		return flush(fd);
	int failure = rule_for(RULE_SYNC, everything ? "." : path, &delay_ms);
	if (delay_ms > 0)
		(void)usleep((useconds_t)delay_ms * 1000);
	if (failure) {
		errno = failure;
		return -1;
	}
	if (!shadow[0])
		return flush(fd);
	/* the machine that runs the test stays up: its own disk need not be waited for */
	if (fstat(fd, &st) < 0)
		return -1;
	(void)pthread_mutex_lock(&lock);
	if (everything)
		sync_folder(".", true);
	else if (S_ISDIR(st.st_mode))
		sync_folder(path, false);
	else
		sync_file(fd, st.st_ino);
	(void)pthread_mutex_unlock(&lock);
	return 0;
}

EXPORT int fsync(int fd)
{
	load_real();
	return synced(fd, real.fsync, false);
}

EXPORT int fdatasync(int fd)
{
	load_real();
	return synced(fd, real.fdatasync, false);
}

EXPORT int syncfs(int fd)
{
	load_real();
	return synced(fd, real.syncfs, true);
}

/* A name goes: the inode's number may soon be another file's. */
static void name_goes(int folder, const char *name, struct stat *ret)
{
	if (!shadow[0] || fstatat(folder, name, ret, AT_SYMLINK_NOFOLLOW) < 0 || ret->st_dev != root_dev)
		ret->st_nlink = 0;
}

static int name_went(int r, const struct stat *st)
{
	if (r == 0 && st->st_nlink == 1 && S_ISREG(st->st_mode)) {
		(void)pthread_mutex_lock(&lock);
		forget(st->st_ino);
		(void)pthread_mutex_unlock(&lock);
	}
	return r;
}

EXPORT int unlinkat(int folder, const char *name, int flags)
{
	struct stat st;
	load_real();
	name_goes(folder, name, &st);
	return name_went(real.unlinkat(folder, name, flags), &st);
}

EXPORT int unlink(const char *name)
{
	struct stat st;
	load_real();
	name_goes(AT_FDCWD, name, &st);
	return name_went(real.unlink(name), &st);
}

EXPORT int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	struct stat st;
	load_real();
	name_goes(to_folder, to, &st);
	return name_went(real.renameat(from_folder, from, to_folder, to), &st);
}

EXPORT int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}
