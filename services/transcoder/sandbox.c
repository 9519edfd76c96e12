#include "sandbox.h"

#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/random.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/landlock.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

/* Between the soft limit, which ends the process with a telling signal, and the hard one. */
#define CPU_GRACE_SECONDS 10

/* The rights of each Landlock ABI; newer kernels take the last. Debian's header knows only some. */
struct landlock_attr {
	uint64_t fs, net, scoped;
};
static const struct {
	uint64_t fs;
	uint64_t net, scoped;
	size_t size;
} LANDLOCK[] = {
    {0x1fff, 0, 0, 8}, {0x3fff, 0, 0, 8}, {0x7fff, 0, 0, 8}, {0x7fff, 3, 0, 16}, {0xffff, 3, 0, 16}, {0xffff, 3, 3, 24},
};

static void *nothing(void *arg)
{
	return arg;
}

static int warm_crypto(struct error *e)
{
	_cleanup_(aead_freep) struct aead *a = NULL;
	uint8_t key[AEAD_KEY_BYTES] = {0}, nonce[AEAD_NONCE_BYTES], tag[AEAD_TAG_BYTES], sealed[4],
		digest[SHA256_BYTES];
	random_bytes(nonce, sizeof(nonce));
	int r = aead_new(key, &a, e);
	if (r < 0)
		return r;
	const struct aead_piece piece = {"warm", sizeof(sealed)};
	r = aead_seal(a, nonce, NULL, 0, &piece, 1, sealed, tag, e);
	if (r == 0)
		r = aead_open(a, nonce, NULL, 0, sealed, sizeof(sealed), tag, sealed, e);
	if (r == 0)
		r = sha256_of(sealed, sizeof(sealed), digest, e);
	return r;
}

/* Seeds the hash tables and looks at the locale's decimal point. */
static int warm_json(struct error *e)
{
	json_t *o = json_pack("{s:f}", "warm", 0.5);
	char *text = o ? json_dumps(o, 0) : NULL;
	json_t *again = text ? json_loads(text, 0, NULL) : NULL;
	bool ok = again != NULL;
	json_decref(again);
	json_decref(o);
	free(text);
	return ok ? 0 : error_nomem(e);
}

int sandbox_warm_up(struct error *e)
{
	pthread_t thread;
	tzset();
	/* the default of eight arenas a core only costs address space, which is limited here */
	(void)mallopt(M_ARENA_MAX, 1);
	int r = pthread_create(&thread, NULL, nothing, NULL);
	if (r != 0)
		return error_set_errno(e, ERR_RETRY, r, "cannot start a thread");
	(void)pthread_join(thread, NULL);
	r = warm_crypto(e);
	return r < 0 ? r : warm_json(e);
}

static int set_limit(int what, uint64_t soft, uint64_t hard, struct error *e)
{
	struct rlimit limit = {soft, hard};
	if (setrlimit((__rlimit_resource_t)what, &limit) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot set resource limit %d", what);
	return 0;
}

static int enter_limits(const struct sandbox_limits *l, struct error *e)
{
	int r = set_limit(RLIMIT_CPU, l->cpu_seconds, l->cpu_seconds + CPU_GRACE_SECONDS, e);
	if (r == 0)
		r = set_limit(RLIMIT_AS, l->address_bytes, l->address_bytes, e);
	if (r == 0)
		r = set_limit(RLIMIT_FSIZE, l->file_bytes, l->file_bytes, e);
	if (r == 0)
		r = set_limit(RLIMIT_CORE, 0, 0, e);
	/* open descriptors stay, new ones are refused */
	return r < 0 ? r : set_limit(RLIMIT_NOFILE, 0, 0, e);
}

/* The second layer: a kernel without it is accepted, since the filter alone forbids opening. */
static int enter_landlock(struct error *e)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1)
		return 0;
	size_t i = MIN((size_t)abi, ARRAY_SIZE(LANDLOCK)) - 1;
	struct landlock_attr attr = {LANDLOCK[i].fs, LANDLOCK[i].net, LANDLOCK[i].scoped};
	_cleanup_(closep) int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, LANDLOCK[i].size, 0);
	if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot enter Landlock");
	return 0;
}

static const int ALLOWED[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(futex),
    SCMP_SYS(munmap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(mremap),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getrusage),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* the sealed files' own, on inherited descriptors */
    SCMP_SYS(fstat),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fdatasync),
};

/* abort() signals its own thread; nothing else may be signalled. */
static int allow_conditional(scmp_filter_ctx filter)
{
	const uint64_t thread = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND | CLONE_FS | CLONE_FILES;
	int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
				     SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
	/* its flags lie in memory, out of the filter's sight: glibc then takes clone() */
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
	return r;
}

static int enter_filter(uint32_t otherwise, struct error *e)
{
	scmp_filter_ctx filter = seccomp_init(otherwise);
	if (!filter)
		return error_nomem(e);
	int r = 0;
	for (size_t i = 0; i < ARRAY_SIZE(ALLOWED) && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, ALLOWED[i], 0);
	if (r == 0)
		r = allow_conditional(filter);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? error_set_errno(e, ERR_FATAL, -r, "cannot enter the seccomp filter") : 0;
}

static volatile sig_atomic_t trap_fd = -1;

static void trapped(int signal_number _unused_, siginfo_t *info, void *context _unused_)
{
	char line[] = "forbidden system call 0000\n";
	int call = info->si_syscall;
	for (size_t at = sizeof(line) - 3; call > 0 && at > sizeof(line) - 7; at--, call /= 10)
		line[at] = (char)('0' + call % 10);
	(void)!write(trap_fd, line, sizeof(line) - 1);
	_exit(3);
}

static int set_trap(int report_fd, struct error *e)
{
	struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
	trap_fd = report_fd;
	if (sigaction(SIGSYS, &action, NULL) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot set the trap");
	return 0;
}

int sandbox_enter(const struct sandbox_limits *limits, bool trap, int report_fd, struct error *e)
{
	int r = trap ? set_trap(report_fd, e) : 0;
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot give up privileges");
	/* Landlock needs a descriptor for a moment: the limit on them comes after it */
	r = enter_landlock(e);
	if (r == 0)
		r = enter_limits(limits, e);
	return r < 0 ? r : enter_filter(trap ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS, e);
}
