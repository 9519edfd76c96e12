/* with: services/storage-pusher/sandbox.c */
#include "../../services/storage-pusher/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
/* after the headers it needs */
#include <cmocka.h>

/* Runs inside the sandbox; the status of its process tells the first thing that was wrong. */
static int in_sandbox(int (*check)(void))
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct error e = {0};
		if (sandbox_enter(&e) < 0)
			_exit(99);
		_exit(check());
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool refused(long result, int error)
{
	return result < 0 && errno == error;
}

static int nothing_is_started(void)
{
	char *const argv[] = {(char[]){"true"}, NULL};
	(void)execv("/bin/true", argv);
	if (errno != EPERM)
		return 1;
	if (!refused(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), EPERM))
		return 2;
	if (!refused(syscall(SYS_fork), EPERM) || !refused(syscall(SYS_vfork), EPERM))
		return 3;
	if (!refused(syscall(SYS_clone3, 0, 0), ENOSYS))
		return 4;
	return 0;
}

static int nobody_is_looked_into(void)
{
	if (!refused(ptrace(PTRACE_ATTACH, getppid(), 0, 0), EPERM))
		return 1;
	if (!refused(syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0), EPERM))
		return 2;
	if (!refused(kill(getppid(), 0), EPERM))
		return 3;
	if (!refused(unshare(CLONE_NEWUSER), EPERM) || !refused(chroot("/"), EPERM))
		return 4;
	return prctl(PR_GET_DUMPABLE) == 0 ? 0 : 5;
}

static bool is_refused_family(int family, int type)
{
	int fd = socket(family, type, 0);
	if (fd >= 0)
		(void)close(fd);
	return fd < 0 && errno == EAFNOSUPPORT;
}

static int sockets_are_clients_only(void)
{
	_cleanup_(closep) int stream = socket(AF_INET, SOCK_STREAM, 0), datagram = socket(AF_INET6, SOCK_DGRAM, 0);
	if (stream < 0 || !refused(listen(stream, 1), EPERM))
		return 1;
	if (datagram < 0 && errno == EPERM)
		return 2;
	if (!is_refused_family(AF_PACKET, SOCK_RAW) || !is_refused_family(AF_ALG, SOCK_SEQPACKET))
		return 3;
	if (!is_refused_family(AF_AX25, SOCK_DGRAM) || !is_refused_family(AF_VSOCK, SOCK_STREAM))
		return 4;
	return 0;
}

static void *set_true(void *arg)
{
	*(bool *)arg = true;
	return NULL;
}

/* What a transfer needs goes on working: threads, look-ups, files, memory. */
static int work_goes_on(void)
{
	pthread_t thread;
	bool ran = false;
	if (pthread_create(&thread, NULL, set_true, &ran) != 0 || pthread_join(thread, NULL) != 0 || !ran)
		return 1;
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
	if (getaddrinfo("localhost", "80", &hints, &found) != 0)
		return 2;
	freeaddrinfo(found);
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	void *part = malloc(64 * MIB);
	if (fd < 0 || !part)
		return 3;
	free(part);
	return 0;
}

static void test_nothing_is_started(void **state _unused_)
{
	assert_int_equal(in_sandbox(nothing_is_started), 0);
}

static void test_nobody_is_looked_into(void **state _unused_)
{
	assert_int_equal(in_sandbox(nobody_is_looked_into), 0);
}

static void test_sockets_are_clients_only(void **state _unused_)
{
	assert_int_equal(in_sandbox(sockets_are_clients_only), 0);
}

static void test_work_goes_on(void **state _unused_)
{
	assert_int_equal(in_sandbox(work_goes_on), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_is_started),
	    cmocka_unit_test(test_nobody_is_looked_into),
	    cmocka_unit_test(test_sockets_are_clients_only),
	    cmocka_unit_test(test_work_goes_on),
	};
	return cmocka_run_group_tests_name("pusher_sandbox", tests, NULL, NULL);
}
