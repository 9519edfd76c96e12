#include "sandbox.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define DESCRIPTORS_MAX 64

static const int refused_calls[] = {
    /* programs and processes */
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(kill), SCMP_SYS(tkill),
    SCMP_SYS(pidfd_send_signal),
    /* others' memory and descriptors */
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp), SCMP_SYS(pidfd_getfd),
    SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(bpf), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    /* mounts and name spaces */
    SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns),
    SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(fsmount), SCMP_SYS(mount_setattr),
    SCMP_SYS(open_by_handle_at),
    /* the machine */
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(acct),
    SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(sethostname), SCMP_SYS(iopl), SCMP_SYS(ioperm),
    /* keys of the kernel's rings, other identities */
    SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl), SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid),
    SCMP_SYS(setregid), SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(capset),
    /* it connects, nobody connects to it */
    SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4)};

/* Families that name look-ups and transfers use. */
static const int allowed_families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

static int add_rules(scmp_filter_ctx filter)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(refused_calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused_calls[i], 0);
	/* a filter cannot look into clone3's struct; without it glibc makes threads by clone */
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	/* refused: everything between the allowed families, and above the last */
	int from = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed_families); i++) {
		for (int family = from; r == 0 && family < allowed_families[i]; family++)
			r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
					     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family, 0));
		from = allowed_families[i] + 1;
	}
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_GE, (scmp_datum_t)from, 0));
	return r;
}

static int load_filter(struct error *e)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return error_nomem(e);
	int r = add_rules(filter);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? error_set_errno(e, ERR_FATAL, -r, "cannot load the system call filter") : 0;
}

int sandbox_enter(struct error *e)
{
	const struct {
		__rlimit_resource_t what;
		rlim_t limit;
	} limits[] = {
	    {RLIMIT_CORE, 0},
	    {RLIMIT_NOFILE, DESCRIPTORS_MAX},
/* a sanitizer maps far more than it uses */
#ifndef RUSHES_SANITIZED
	    {RLIMIT_AS, SANDBOX_MEMORY_BYTES},
#endif
	};
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (setrlimit(limits[i].what, &(struct rlimit){limits[i].limit, limits[i].limit}) < 0)
			return error_set_errno(e, ERR_FATAL, errno, "cannot limit the delivery child");
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot shield the delivery child");
	return load_filter(e);
}
