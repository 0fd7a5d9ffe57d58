//! What the kernel tells of one process, and since when it runs itself.

use super::super::keyed;

/// Of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sampler) struct Stat {
    /// Ticks.
    pub(in crate::sampler) user: u64,
    pub(in crate::sampler) system: u64,
    pub(in crate::sampler) threads: u64,
    /// Ticks since boot.
    pub(in crate::sampler) started: u64,
    pub(in crate::sampler) resident_pages: u64,
}

/// Fields behind the name, which stands in parentheses and may hold any character, others among them.
pub(in crate::sampler) fn stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    // The first one is the third of proc(5)'s.
    let mut fields = fields.split_ascii_whitespace();
    let user = fields.nth(14 - 3)?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    let threads = fields.nth(20 - 16)?.parse().ok()?;
    let started = fields.nth(22 - 21)?.parse().ok()?;
    let resident_pages = fields.nth(24 - 23)?.parse().ok()?;
    Some(Stat { user, system, threads, started, resident_pages })
}

/// Bytes read and written of `/proc/PID/io`: of block devices, as cgroups count them.
pub(in crate::sampler) fn io(text: &str) -> Option<(u64, u64)> {
    Some((keyed::value(text, b"read_bytes:")?, keyed::value(text, b"write_bytes:")?))
}

/// Hundredths of a second since boot, of `/proc/uptime`.
pub(in crate::sampler) fn uptime(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = fraction.get(..2)?.parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(100)?.checked_add(hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        for name in ["(sleep)", "(a) b)", "((x) S 1 2 ()", "()"] {
            let text =
                format!("42 {name} S 7 42 42 0 -1 4194560 1 2 3 4 150 30 5 6 20 0 3 0 9000 1000000 250 1844 1 1\n");
            let expected = Stat { user: 150, system: 30, threads: 3, started: 9000, resident_pages: 250 };
            assert_eq!(stat(&text), Some(expected), "{name}");
        }
        assert_eq!(stat("42 (sleep) S 7"), None);
    }

    #[test]
    fn io_is_that_of_devices_and_uptime_comes_in_hundredths() {
        let text =
            "rchar: 9\nwchar: 9\nsyscr: 1\nsyscw: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(io(text), Some((4096, 8192)));
        assert_eq!(uptime("12.34 99.00\n"), Some(1234));
        assert_eq!((uptime("12"), uptime("12.3"), uptime("x.00"), uptime("1.é")), (None, None, None, None));
    }
}
