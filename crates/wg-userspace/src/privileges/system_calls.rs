//! The system calls that are kept: a seccomp filter (`seccomp(2)`, kernel:
//! `Documentation/userspace-api/seccomp_filter.rst`).
//!
//! What is not listed fails with EPERM. The process is not killed for it: a later C library may
//! try a call first that is not here, and a tunnel should not end for that; whoever has taken over
//! a thread gains nothing by a refusal.

use nix::errno::Errno;
use nix::libc::{self, c_long, sock_filter};

/// Allowed with any arguments: first what is called for packets, because the filter looks for a
/// call from the first to the last.
const ALLOWED: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_readv,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_timerfd_settime,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    // Clients, netlink, new UDP sockets. `connect' and `listen' are not needed.
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_fstat,
    // To see whether the socket is still there and to remove it, and nothing elsewhere: Landlock
    // refuses that.
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_unlinkat,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // To give memory back, which takes unlocking it for a moment.
    libc::SYS_munlockall,
    libc::SYS_mlockall,
    // Threads: their first steps, which they may not have done yet, and their end. There will be no
    // others.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_gettid,
    libc::SYS_getpid,
    // By which musl aborts. Where Landlock scopes signals, it reaches our own threads only.
    libc::SYS_tkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Waiting, and going on after a signal.
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_gettimeofday,
    // The background's standard streams.
    libc::SYS_dup3,
];

/// The older forms of some of them, which this processor's kernel has too.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[c_long] =
    &[libc::SYS_poll, libc::SYS_dup2, libc::SYS_stat, libc::SYS_lstat, libc::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[c_long] = &[];

/// `AUDIT_ARCH_…` of `linux/audit.h`, by which the kernel tells calls of another processor's
/// numbers; `None` where the filter has not been tried.
const ARCHITECTURE: Option<u32> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64"))
{
    Some(0xc000_003e)
} else {
    None
};

/// A call allowed when all these conditions hold.
struct Conditional {
    call: c_long,
    conditions: Vec<Condition>,
}

/// Certain values of one argument.
struct Condition {
    /// Which argument, from 0.
    argument: u32,
    /// The bits of it that matter.
    mask: u32,
    values: Vec<u32>,
}

/// Leaves all threads of this process with these system calls.
///
/// # Errors
/// ENOSYS on a processor without a filter, or the kernel's refusal.
pub(super) fn restrict() -> Result<(), Errno> {
    let program = program(ARCHITECTURE.ok_or(Errno::ENOSYS)?);
    let length = program.len().try_into().map_err(|_| Errno::E2BIG)?;
    // The kernel does not write to it.
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // Linux before 5.16 would slow all speculation down with a filter; nothing here runs code of
    // others, which is what that is good for.
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    match install(&program, flags) {
        // Before Linux 4.17.
        Err(Errno::EINVAL) => install(&program, libc::SECCOMP_FILTER_FLAG_TSYNC),
        result => result,
    }
}

fn install(program: &libc::sock_fprog, flags: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: the program points to as many instructions as it says, live during the call.
    let result = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(program),
        )
    })?;
    // A thread that has another filter, which none of ours has.
    if result == 0 { Ok(()) } else { Err(Errno::EBUSY) }
}

/// Calls that are harmless with some arguments only.
fn conditional() -> Vec<Conditional> {
    let flags = |flags: libc::c_int| flags as u32;
    let among = |argument, mask, values| Condition { argument, mask, values };
    let one = |call, condition| Conditional { call, conditions: vec![condition] };
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(flags).to_vec();
    let types = [libc::SOCK_DGRAM, libc::SOCK_RAW].map(flags).to_vec();
    // Their type is another one in musl.
    let requests = vec![libc::TUNGETIFF as u32, libc::FIONBIO as u32];
    let ourselves = vec![std::process::id()];
    vec![
        Conditional {
            call: libc::SYS_socket,
            // UDP and rtnetlink. Raw IP sockets take a capability that we have not. TCP ones could
            // connect by `sendto' alone, which Landlock does not see.
            conditions: vec![
                among(0, u32::MAX, families),
                among(1, SOCKET_TYPE, types),
                among(2, u32::MAX, vec![0]),
            ],
        },
        one(libc::SYS_ioctl, among(1, u32::MAX, requests)),
        // No memory that is executed.
        one(libc::SYS_mmap, among(2, flags(libc::PROT_EXEC), vec![0])),
        one(libc::SYS_mprotect, among(2, flags(libc::PROT_EXEC), vec![0])),
        one(
            libc::SYS_prctl,
            among(0, u32::MAX, vec![flags(libc::PR_SET_NAME), flags(libc::PR_SET_VMA)]),
        ),
        // To abort.
        one(libc::SYS_tgkill, among(0, u32::MAX, ourselves)),
    ]
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// The bits of a socket's type that are no flags (`SOCK_TYPE_MASK` of `linux/net.h`).
const SOCKET_TYPE: u32 = 0xf;
/// Offsets in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// The filter as instructions of the kernel's classic BPF.
fn program(architecture: u32) -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE_AT)];
    program.push(when_equal(architecture, 1, 0));
    program.push(end(libc::SECCOMP_RET_KILL_PROCESS));
    program.push(load(NUMBER_AT));
    for call in ALLOWED.iter().chain(ALLOWED_OLD) {
        program.push(when_equal(*call as u32, 0, 1));
        program.push(end(ALLOW));
    }
    for Conditional { call, conditions } in conditional() {
        let mut body = Vec::new();
        for Condition { argument, mask, values } in conditions {
            body.extend([load(low_half_of(argument)), and(mask)]);
            // From the value that it is on to what follows the refusal.
            for (value, left) in values.iter().zip((1..=values.len()).rev()) {
                body.push(when_equal(*value, left as u8, 0));
            }
            body.push(end(REFUSE));
        }
        body.push(end(ALLOW));
        program.push(when_equal(call as u32, 0, body.len() as u8));
        program.extend(body);
    }
    program.push(end(REFUSE));
    program
}

/// The lower 32 bits, where all flags and numbers are that we look at.
fn low_half_of(argument: u32) -> u32 {
    let half = if cfg!(target_endian = "big") { 4 } else { 0 };
    ARGUMENTS_AT + 8 * argument + half
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn and(mask: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, 0, 0)
}

/// Skips so many instructions when what was loaded is equal, or when it is not.
fn when_equal(value: u32, equal: u8, other: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, equal, other)
}

fn end(action: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, action, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
