//! Asking for memory before it is needed. Nothing waits for it meanwhile, as a load would in the end: a core has room for
//! few hundred instructions behind a load that has not come back.
#![allow(unsafe_code, reason = "the instruction has no safe wrapper on stable Rust")]

/// Has the cache line that `wanted` begins in come near. Nothing else happens; on processors other than these not even that.
#[inline(always)]
pub fn prefetch<T>(wanted: &T) {
    let line = std::ptr::from_ref(wanted).cast::<i8>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has it, and it is a hint that neither faults nor changes anything, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}
