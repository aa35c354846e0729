//! The clock that the kernel program's time stamps come from.

use std::time::Duration;

/// Returns `CLOCK_MONOTONIC_COARSE` in nanoseconds, which is what `bpf_ktime_get_coarse_ns` reads.
/// It advances with the timer tick, every 1 to 10 ms.
#[must_use]
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to write to; the clock exists since Linux 2.6.32.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Converts a duration to the same unit; saturates after 584 years.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
