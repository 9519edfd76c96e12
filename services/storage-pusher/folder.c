#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PATH_BYTES_MAX 4096
#define PART_BYTES_MAX 256
#define FOLDER_FLAGS   (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

bool folder_path_is_safe(const char *path)
{
	for (const char *part = path;;) {
		size_t n = strcspn(part, "/");
		if (n == 0 || n > 255 || (n == 1 && part[0] == '.') || (n == 2 && memcmp(part, "..", 2) == 0))
			return false;
		if (part[n] == '\0')
			return true;
		part += n + 1;
	}
}

static int open_below(int folder, const char *path, int flags, mode_t mode)
{
	struct open_how how = {.flags = (uint64_t)flags,
			       .mode = mode,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	for (;;) {
		long fd = syscall(SYS_openat2, folder, path, &how, sizeof(how));
		/* the kernel lost a race with a rename above us and wants to be asked again */
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			return (int)fd;
	}
}

int folder_open(const char *path, const char *below, int *ret, struct error *e)
{
	if (path[0] != '/')
		return error_set(e, ERR_REJECT, "the target's folder is not an absolute path");
	if (!below[0]) {
		int fd = open(path, FOLDER_FLAGS);
		if (fd < 0)
			return error_set_errno(e, ERR_RETRY, errno, "cannot open the target's folder %s", path);
		*ret = fd;
		return 0;
	}
	size_t n = strlen(below);
	while (n > 1 && below[n - 1] == '/')
		n--;
	if (strncmp(path, below, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return error_set(e, ERR_RETRY, "the target's folder %s does not lie below %s", path, below);
	_cleanup_(closep) int root = open(below, FOLDER_FLAGS);
	if (root < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot open the folder of targets %s", below);
	const char *rest = path + n;
	while (*rest == '/')
		rest++;
	int fd = open_below(root, rest[0] ? rest : ".", FOLDER_FLAGS, 0);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot open the target's folder %s", path);
	*ret = fd;
	return 0;
}

/* Opens one part below `folder`, making it when asked. */
static int open_part(int folder, const char *part, bool make, int *ret, struct error *e)
{
	bool made = make && mkdirat(folder, part, 0700) == 0;
	if (make && !made && errno != EEXIST)
		return error_set_errno(e, ERR_RETRY, errno, "cannot make the folder %s at the target", part);
	int fd = open_below(folder, part, FOLDER_FLAGS, 0);
	if (fd < 0 && errno == ENOENT)
		return error_set(e, ERR_NOTFOUND, "the target has no folder %s", part);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot open the folder %s at the target", part);
	if (made && fsync(folder) < 0) {
		int error = errno;
		(void)close(fd);
		return error_set_errno(e, ERR_RETRY, error, "cannot flush a folder at the target");
	}
	*ret = fd;
	return 0;
}

int folder_open_parent(int root, const char *path, bool make, int *ret, const char **ret_name, struct error *e)
{
	if (!folder_path_is_safe(path))
		return error_set(e, ERR_REJECT, "the name at the target is not a plain path");
	_cleanup_(closep) int at = fcntl(root, F_DUPFD_CLOEXEC, 0);
	if (at < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot use the target's folder");
	for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
		char part[PART_BYTES_MAX];
		int next = -1;
		(void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		int r = open_part(at, part, make, &next, e);
		if (r < 0)
			return r;
		(void)close(at);
		at = next;
	}
	*ret = TAKE_FD(at);
	*ret_name = path;
	return 0;
}

int folder_open_file(int folder, const char *name, int *ret, struct error *e)
{
	struct stat st;
	_cleanup_(closep) int fd = open_below(folder, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	if (fd < 0 && errno == ENOENT)
		return error_set(e, ERR_NOTFOUND, "the target has no file %s", name);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot open %s at the target", name);
	if (!S_ISREG(st.st_mode))
		return error_set(e, ERR_RETRY, "%s at the target is not a regular file", name);
	*ret = TAKE_FD(fd);
	return 0;
}

int folder_unlink(int folder, const char *name, struct error *e)
{
	if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
		return 0;
	return error_set_errno(e, ERR_RETRY, errno, "cannot remove %s at the target", name);
}

int folder_is_absent(int folder, const char *name, bool *ret, struct error *e)
{
	struct stat st;
	*ret = false;
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	*ret = errno == ENOENT;
	return *ret ? 0 : error_set_errno(e, ERR_RETRY, errno, "cannot look for %s at the target", name);
}

void folder_prune(int root, const char *path)
{
	char above[PATH_BYTES_MAX];
	if (!folder_path_is_safe(path) || snprintf(above, sizeof(above), "%s", path) >= (int)sizeof(above))
		return;
	for (char *slash; (slash = strrchr(above, '/'));) {
		*slash = '\0';
		struct error ignored = {0};
		_cleanup_(closep) int folder = -1;
		const char *name = NULL;
		if (folder_open_parent(root, above, false, &folder, &name, &ignored) < 0 ||
		    unlinkat(folder, name, AT_REMOVEDIR) < 0)
			return;
		(void)fsync(folder);
	}
}

int folder_store_id(int root, struct uuid *ret, struct error *e)
{
	char text[UUID_TEXT_BYTES] = "";
	_cleanup_(closep) int fd = -1;
	int r = folder_open_file(root, FOLDER_MARKER, &fd, e);
	if (r < 0)
		return r;
	ssize_t n = read(fd, text, UUID_TEXT_BYTES - 1);
	if (n < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot read the marker of the target's folder");
	text[n] = '\0';
	if (!uuid_parse(text, ret))
		return error_set(e, ERR_CORRUPT, "the marker of the target's folder holds no id");
	return 0;
}

/* Writes a marker under a name of its own and links it into place, which only works once. */
static int write_marker(int root, const struct uuid *id, struct error *e)
{
	char text[UUID_TEXT_BYTES], name[sizeof(FOLDER_MARKER) + UUID_TEXT_BYTES];
	uuid_format(id, text);
	(void)snprintf(name, sizeof(name), FOLDER_MARKER ".%s", text);
	text[UUID_TEXT_BYTES - 1] = '\n'; /* in the end's place: a line of its own */
	_cleanup_(closep) int fd = open_below(root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot mark the target's folder");
	bool written = write(fd, text, UUID_TEXT_BYTES) == UUID_TEXT_BYTES && fsync(fd) == 0;
	bool linked = written && (linkat(root, name, root, FOLDER_MARKER, 0) == 0 || errno == EEXIST);
	int error = errno;
	(void)unlinkat(root, name, 0);
	if (!linked || fsync(root) < 0)
		return error_set_errno(e, ERR_RETRY, linked ? errno : error, "cannot mark the target's folder");
	return 0;
}

int folder_store_make(int root, struct uuid *ret, struct error *e)
{
	int r = folder_store_id(root, ret, e);
	if (r != ERR_NOTFOUND)
		return r;
	struct uuid fresh = uuid_v4();
	r = write_marker(root, &fresh, e);
	return r < 0 ? r : folder_store_id(root, ret, e);
}
