//! How often the kernel took the core away.
#![allow(unsafe_code, reason = "getrusage(2) of one thread has no safe wrapper")]

/// This thread's involuntary context switches until now.
pub fn involuntary() -> i64 {
    // SAFETY: all fields of rusage are integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a whole rusage, which the kernel fills in.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    usage.ru_nivcsw
}
