/* with: services/transcoder/sandbox.c */
#include "../../services/transcoder/sandbox.h"

#include "base/macros.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

static const struct sandbox_limits LIMITS = {.cpu_seconds = 60, .address_bytes = 2 * GIB, .file_bytes = MIB};

/* How a process ends that does this inside the walls. */
static int inside(void (*act)(void))
{
	int status = 0;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct error e = {0};
		if (sandbox_warm_up(&e) < 0 || sandbox_enter(&LIMITS, false, -1, &e) < 0)
			_exit(9);
		act();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void open_file(void)
{
	(void)!open("/etc/passwd", O_RDONLY);
}

static void make_socket(void)
{
	(void)!socket(AF_INET, SOCK_STREAM, 0);
}

static void make_process(void)
{
	(void)!syscall(SYS_fork);
}

static void clone_process(void)
{
	(void)!syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void execute(void)
{
	(void)!execl("/bin/true", "true", (char *)NULL);
}

static void trace(void)
{
	(void)!syscall(SYS_ptrace, 16, getppid(), 0, 0);
}

static void signal_parent(void)
{
	(void)!kill(getppid(), SIGUSR1);
}

static void thread_signal_parent(void)
{
	(void)!syscall(SYS_tgkill, getppid(), getppid(), SIGUSR1);
}

static void executable_memory(void)
{
	(void)!mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void make_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)!mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static void ring(void)
{
	(void)!syscall(SYS_io_uring_setup, 1, NULL);
}

static void become_dumpable(void)
{
	(void)!prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void forbidden_calls_kill(void **state)
{
	(void)state;
	void (*const acts[])(void) = {open_file,	 make_socket,	  make_process,	 clone_process,
				      execute,		 trace,		  signal_parent, thread_signal_parent,
				      executable_memory, make_executable, ring,		 become_dumpable};
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		int status = inside(acts[i]);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("act %zu ended with status %x", i, (unsigned)status);
	}
}

static void *work(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static void ordinary_work(void)
{
	pthread_t threads[4];
	int done[4] = {0};
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, work, &done[i]) != 0)
			_exit(1);
	for (int i = 0; i < 4; i++)
		if (pthread_join(threads[i], NULL) != 0 || !done[i])
			_exit(2);
	char *p = malloc(8 * MIB);
	if (!p)
		_exit(3);
	p[8 * MIB - 1] = 1;
	free(p);
}

static void too_much_memory(void)
{
	_exit(malloc(4 * GIB) == NULL ? 7 : 0);
}

static void give_up(void)
{
	abort();
}

static void ordinary_work_goes_on(void **state)
{
	(void)state;
	assert_int_equal(inside(ordinary_work), 0);
	int status = inside(too_much_memory);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	/* a failed assertion is told from an attack */
	status = inside(give_up);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
#ifdef RUSHES_SANITIZED
	return 0; /* the sanitizers' own system calls are forbidden, and their shadow does not fit the limits */
#endif
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(forbidden_calls_kill),
	    cmocka_unit_test(ordinary_work_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
