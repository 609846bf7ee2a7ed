//! Which system calls a worker may make: for frames, to sleep, for memory, and to end. All others fail with EPERM. What
//! anybody sends is read here, and nothing that it could bring a worker to do opens a file, a socket or a program.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use rustix::time::{ClockId, clock_gettime};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// With any arguments.
const CALLS: &[libc::c_long] = &[
    // Frames, and the kernel's counters.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    // News from the control thread, words to the log, and a queue that is left.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fcntl,
    // Sleep and time.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_futex,
    // Memory; more of it below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // The end, also by a panic.
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Only for memory that cannot be executed. Both have their protection in the same place.
const MEMORY_CALLS: &[libc::c_long] = &[libc::SYS_mmap, libc::SYS_mprotect];
const PROTECTION: u8 = 2;

/// From now on the calling thread can do no more than a worker does.
///
/// # Errors
/// The kernel has no seccomp filters, or the filter is not made for this kind of processor.
pub fn confine() -> Result<(), Error> {
    // When rustix is first asked for the time, it looks for the kernel's vDSO, by calls that are refused from now on. Without
    // it every look at the clock, and there are two a batch, would be a system call.
    let _ = clock_gettime(ClockId::Monotonic);
    apply_filter(&filter()?)
}

fn filter() -> Result<BpfProgram, Error> {
    let is_executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    let no_code = SeccompCondition::new(PROTECTION, SeccompCmpArgLen::Dword, is_executable, 0)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    for call in MEMORY_CALLS {
        rules.insert(*call, vec![SeccompRule::new(vec![no_code.clone()])?]);
    }
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, TargetArch::try_from(ARCH)?)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

    use super::*;

    #[test]
    fn a_confined_thread_computes_and_does_nothing_else() {
        let thread = std::thread::spawn(|| {
            confine().expect("the kernel has seccomp filters");
            let sum: u64 = (0..1 << 20).collect::<Vec<u64>>().iter().sum();
            let file = std::fs::File::open("/proc/self/status").map_err(|error| error.kind());
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").map_err(|error| error.kind());
            let program = std::process::Command::new("true").status().map_err(|error| error.kind());
            let map = |protection| {
                #[allow(unsafe_code, reason = "mapping is what is tried")]
                // SAFETY: a new mapping, where the kernel wishes, that nobody uses.
                unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) }.is_ok()
            };
            (sum, file.err(), socket.err(), program.err(), map(ProtFlags::READ), map(ProtFlags::READ | ProtFlags::EXEC))
        });
        let refused = Some(ErrorKind::PermissionDenied);
        assert_eq!(thread.join().expect("no panic"), (549_755_289_600, refused, refused, refused, true, false));
    }
}
