//! CPU time of the calling thread, without a system library.

use std::fs;
use std::thread;
use std::time::Duration;

/// Ticks of `/proc/*/stat` a second: 100 on every Linux that userspace sees.
const TICKS_A_SECOND: u64 = 100;

/// CPU time of this thread since it started; zero where the kernel does not tell.
pub(super) fn thread_time() -> Duration {
    // Yielding lets the scheduler bring the thread's account up to date, which else happens at its ticks.
    thread::yield_now();
    rough_thread_time()
}

/// The same, up to a scheduler's tick (1 to 4 ms) behind.
pub(super) fn rough_thread_time() -> Duration {
    let exact = fs::read_to_string("/proc/thread-self/schedstat").ok().and_then(|text| parse_schedstat(&text));
    let coarse = || parse_stat(&fs::read_to_string("/proc/thread-self/stat").ok()?);
    exact.or_else(coarse).unwrap_or_default()
}

/// First of three numbers: time on a CPU, ns. All are zero where the kernel keeps no account.
fn parse_schedstat(text: &str) -> Option<Duration> {
    let nanoseconds = text.split_ascii_whitespace().next()?.parse().ok().filter(|time| *time > 0)?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Fields 14 and 15, counted from 1: user and system time in ticks. The second field may hold spaces.
fn parse_stat(text: &str) -> Option<Duration> {
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS_A_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_read_as_the_kernel_writes_them() {
        assert_eq!(parse_schedstat("123456789 5 6\n"), Some(Duration::from_nanos(123_456_789)));
        assert_eq!(parse_schedstat("0 0 0\n"), None);
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(stat), Some(Duration::from_millis(420)));
        assert_eq!(parse_stat("7 (a"), None);
    }
}
