#include "secret_input.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

static int read_all(int fd, char *to, size_t size, size_t *ret_n, struct error *e)
{
	size_t n = 0;
	while (n < size) {
		ssize_t k = read(fd, to + n, size - n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return error_set_errno(e, ERR_FATAL, errno, "cannot read the credential");
		if (k == 0)
			break;
		n += (size_t)k;
	}
	*ret_n = n;
	return 0;
}

int secret_input_read(const char *path, size_t max, char **ret, size_t *ret_n, struct error *e)
{
	bool is_stdin = strcmp(path, "-") == 0;
	_cleanup_(closep) int file = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_(secret_input_freep) char *text = NULL;
	size_t n = 0;
	if (!is_stdin && file < 0)
		return error_set_errno(e, ERR_REJECT, errno, "cannot open the credential file %s", path);
	if (sodium_init() < 0 || !(text = sodium_malloc(max + 2)))
		return error_nomem(e);
	int r = read_all(is_stdin ? STDIN_FILENO : file, text, max + 1, &n, e);
	if (r < 0)
		return r;
	if (n > max)
		return error_set(e, ERR_REJECT, "the credential is longer than %zu bytes", max);
	while (n > 0 && isspace((unsigned char)text[n - 1]))
		n--;
	text[n] = '\0';
	if (n == 0)
		return error_set(e, ERR_REJECT, "the credential is empty");
	if (strlen(text) != n)
		return error_set(e, ERR_REJECT, "the credential holds a zero byte");
	*ret = TAKE_PTR(text);
	*ret_n = n;
	return 0;
}

void secret_input_free(char *text)
{
	sodium_free(text);
}
