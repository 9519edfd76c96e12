#include "supervisor.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* How often cancellation is looked at. */
#define POLL_MS 200
/* From the result to the end of the process. */
#define EXIT_MS 10000
/* Processor time: at least this, and what the slowest conversion of so many bytes could need. */
#define CPU_SECONDS_MIN	     1800
#define CPU_BYTES_PER_SECOND (4 * KIB)
#define ADDRESS_BYTES	     (3 * GIB)
#define FILE_BYTES_MIN	     (4 * GIB)
#define FILE_BYTES_PER_INPUT 4
/* Where descriptors are moved to before they take their fixed numbers. */
#define FD_SAFE_FROM 64

struct child_process {
	pid_t pid; /* 0: reaped */
	int control;
};

static struct sandbox_limits limits_for(uint64_t bytes)
{
	return (struct sandbox_limits){
	    .cpu_seconds = CPU_SECONDS_MIN + bytes / CPU_BYTES_PER_SECOND,
	    .address_bytes = ADDRESS_BYTES,
	    .file_bytes = FILE_BYTES_MIN + bytes * FILE_BYTES_PER_INPUT,
	};
}

static int send_setup(int fd, const struct supervisor_job *job, struct error *e)
{
	struct child_setup s = {0};
	s.size = sizeof(s);
	s.input = job->input;
	memcpy(s.outputs, job->outputs, sizeof(s.outputs));
	for (int i = 0; i < OUTPUT_MAX; i++)
		s.wanted[i] = job->output_fds[i] >= 0;
	memcpy(s.key, job->key, sizeof(s.key));
	s.limits = limits_for(job->input_bytes);
	s.encoder_threads = job->encoder_threads;
	s.trap = job->trap;
	ssize_t n = send(fd, &s, sizeof(s), MSG_NOSIGNAL);
	int saved = errno;
	explicit_bzero(&s, sizeof(s));
	if (n != (ssize_t)sizeof(s))
		return error_set_errno(e, ERR_RETRY, saved, "cannot send the setup to the conversion child");
	return 0;
}

/* A fixed number may still be in use by another of the descriptors, so all move out of the way first. */
static int add_descriptor(posix_spawn_file_actions_t *actions, int fd, int number, int *ret_moved)
{
	*ret_moved = fcntl(fd, F_DUPFD_CLOEXEC, FD_SAFE_FROM);
	if (*ret_moved < 0)
		return errno;
	return posix_spawn_file_actions_adddup2(actions, *ret_moved, number);
}

static int add_descriptors(posix_spawn_file_actions_t *actions, const struct supervisor_job *job, int control,
			   int moved[CHILD_FD_END])
{
	int r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	if (r == 0 && !job->trap)
		r = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = add_descriptor(actions, control, CHILD_FD_CONTROL, &moved[CHILD_FD_CONTROL]);
	if (r == 0)
		r = add_descriptor(actions, job->input_fd, CHILD_FD_INPUT, &moved[CHILD_FD_INPUT]);
	for (int i = 0; i < OUTPUT_MAX && r == 0; i++)
		if (job->output_fds[i] >= 0)
			r = add_descriptor(actions, job->output_fds[i], CHILD_FD_OUTPUT + i,
					   &moved[CHILD_FD_OUTPUT + i]);
	return r == 0 ? posix_spawn_file_actions_addclosefrom_np(actions, CHILD_FD_END) : r;
}

static int spawn(const struct supervisor_job *job, int control, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	char *const argv[] = {(char *)"rushes-transcoder", (char *)CHILD_ARGUMENT, NULL};
	char *const environment[] = {NULL};
	int moved[CHILD_FD_END];
	memset(moved, -1, sizeof(moved));
	int r = posix_spawn_file_actions_init(&actions);
	if (r != 0)
		return r;
	r = posix_spawnattr_init(&attributes);
	if (r != 0)
		goto out;
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	/* its own process group, to be killed as one; default signals, none blocked */
	(void)posix_spawnattr_setpgroup(&attributes, 0);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setsigdefault(&attributes, &all);
	(void)posix_spawnattr_setflags(&attributes,
				       POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = add_descriptors(&actions, job, control, moved);
	if (r == 0)
		r = posix_spawn(ret_pid, "/proc/self/exe", &actions, &attributes, argv, environment);
	(void)posix_spawnattr_destroy(&attributes);
out:
	(void)posix_spawn_file_actions_destroy(&actions);
	for (int i = 0; i < CHILD_FD_END; i++)
		closep(&moved[i]);
	return r;
}

static int start(const struct supervisor_job *job, struct child_process *ret, struct error *e)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot make a socket pair");
	_cleanup_(closep) int ours = pair[0];
	_cleanup_(closep) int theirs = pair[1];
	int r = send_setup(ours, job, e);
	if (r < 0)
		return r;
	r = spawn(job, theirs, &ret->pid);
	if (r != 0)
		return error_set_errno(e, ERR_RETRY, r, "cannot start the conversion child");
	ret->control = TAKE_FD(ours);
	return 0;
}

/* Ends what is left of the child's group; returns its wait status. */
static int reap(struct child_process *c, bool kill_now)
{
	int status = 0;
	int64_t until = clock_monotonic_us() + (int64_t)EXIT_MS * 1000;
	while (!kill_now && clock_monotonic_us() < until) {
		pid_t done = waitpid(c->pid, &status, WNOHANG);
		if (done == c->pid)
			goto reaped;
		(void)poll(NULL, 0, 10);
	}
	(void)kill(-c->pid, SIGKILL);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
reaped:
	c->pid = 0;
	closep(&c->control);
	return status;
}

/* One message into `ret`: 1; the child closed its end: 0; nothing within POLL_MS: ERR_RETRY; nonsense: ERR_FATAL. */
static int next_message(int control, struct child_message *ret, struct error *e)
{
	char text[CHILD_MESSAGE_BYTES_MAX];
	struct pollfd p = {.fd = control, .events = POLLIN};
	int n = poll(&p, 1, POLL_MS);
	if (n <= 0)
		return ERR_RETRY;
	ssize_t got = recv(control, text, sizeof(text), MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? ERR_RETRY : 0;
	if (got == 0)
		return 0;
	if (child_message_parse(text, (size_t)got, ret, e) < 0) {
		(void)error_wrap(e, "the conversion child talks nonsense");
		return ERR_FATAL;
	}
	return 1;
}

static int judge(int status, bool *ret_alarm, struct error *e)
{
	if (WIFSIGNALED(status)) {
		int sig = WTERMSIG(status);
		*ret_alarm = sig == SIGSYS;
		if (sig == SIGSYS)
			return error_set(e, ERR_RETRY, "the conversion child was killed for a forbidden system call");
		if (sig == SIGXCPU)
			return error_set(e, ERR_RETRY, "the conversion used up its processor time");
		if (sig == SIGXFSZ)
			return error_set(e, ERR_RETRY, "an output of the conversion grew over its limit");
		if (sig == SIGKILL)
			return error_set(e, ERR_RETRY, "the conversion child was killed: out of memory or time");
		return error_set(e, ERR_RETRY, "the conversion child crashed by signal %d", sig);
	}
	return error_set(e, ERR_RETRY, "the conversion child ended without a result, status %d", WEXITSTATUS(status));
}

int supervisor_run(const struct supervisor_job *job, struct facts *ret, bool *ret_alarm, struct error *e)
{
	struct child_process c = {.control = -1};
	*ret_alarm = false;
	int r = start(job, &c, e);
	if (r < 0)
		return r;
	int64_t heard = clock_monotonic_us();
	for (;;) {
		struct child_message m;
		if (job->cancelled && job->cancelled(job->arg)) {
			(void)reap(&c, true);
			return error_set(e, ERR_CANCELLED, "the conversion is no longer wanted");
		}
		r = next_message(c.control, &m, e);
		if (r == 0)
			return judge(reap(&c, false), ret_alarm, e);
		if (r == ERR_FATAL) {
			(void)reap(&c, true);
			e->code = ERR_RETRY;
			return ERR_RETRY;
		}
		if (r == ERR_RETRY) {
			if (clock_monotonic_us() - heard < (int64_t)SUPERVISOR_SILENCE_MS * 1000)
				continue;
			(void)reap(&c, true);
			return error_set(e, ERR_RETRY, "the conversion made no progress for %d s",
					 SUPERVISOR_SILENCE_MS / 1000);
		}
		heard = clock_monotonic_us();
		if (m.type == CHILD_PROGRESS) {
			if (job->progress)
				job->progress(job->arg, m.seconds, m.fraction);
			continue;
		}
		(void)reap(&c, false);
		if (m.type == CHILD_FAILED)
			return error_set(e, m.error.code, "%s", m.error.text);
		*ret = m.facts;
		return 0;
	}
}
