#include "channel.h"

#include "base/json.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

int channel_pair(int ret[2], struct error *e)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot make a socket pair");
	/* one message must fit whole */
	int size = CHANNEL_BYTES_MAX * 2;
	for (int i = 0; i < 2; i++)
		(void)setsockopt(ret[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

int channel_send(int fd, json_t *message, struct error *e)
{
	if (!message)
		return error_nomem(e);
	_cleanup_(freep) char *text = json_dumps(message, JSON_COMPACT);
	json_decref(message);
	if (!text)
		return error_nomem(e);
	size_t n = strlen(text);
	if (n > CHANNEL_BYTES_MAX)
		return error_set(e, ERR_REJECT, "a message to the delivery child has %zu bytes", n);
	ssize_t sent;
	do
		sent = send(fd, text, n, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent == (ssize_t)n)
		return 0;
	if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
		return error_set(e, ERR_NOTFOUND, "the other end of the delivery is gone");
	return error_set_errno(e, ERR_RETRY, errno, "cannot send to the other end of the delivery");
}

int channel_receive(int fd, int wait_ms, json_t **ret, struct error *e)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int ready = poll(&p, 1, wait_ms);
	if (ready == 0 || (ready < 0 && errno == EINTR))
		return error_set(e, ERR_RETRY, "no message came");
	_cleanup_(freep) char *text = malloc(CHANNEL_BYTES_MAX);
	if (!text)
		return error_nomem(e);
	ssize_t n = recv(fd, text, CHANNEL_BYTES_MAX, MSG_TRUNC | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return error_set(e, ERR_RETRY, "no message came");
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return error_set(e, ERR_NOTFOUND, "the other end of the delivery is gone");
	if (n < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot receive from the other end of the delivery");
	if ((size_t)n > CHANNEL_BYTES_MAX)
		return error_set(e, ERR_CORRUPT, "a message of %zd bytes is too long", n);
	struct error reason = {0};
	if (json_parse(text, (size_t)n, ret, &reason) < 0)
		return error_set(e, ERR_CORRUPT, "a message is no JSON object");
	return 0;
}

bool channel_is_pending(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 0) > 0;
}

json_t *channel_failure(const struct error *e)
{
	/* a text from outside may not be UTF-8: then it is left out rather than the whole message */
	json_t *text = json_string(e->text);
	return json_pack("{s:s,s:i,s:o}", "op", "failed", "class", e->code, "text",
			 text ? text : json_string("(the reason is not readable text)"));
}

int channel_failure_read(const json_t *message, struct error *e)
{
	json_int_t class = json_integer_value(json_object_get(message, "class"));
	const char *text = json_string_value(json_object_get(message, "text"));
	if (class >= 0 || class < ERR_FATAL)
		class = ERR_RETRY;
	return error_set(e, (int)class, "%s", text ? text : "no reason was given");
}
