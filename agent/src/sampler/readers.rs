//! All readers of kernel texts behind one door each, for the property tests and the fuzz targets: whatever the text,
//! they give what is in it and leave the rest.

use forebay_shared::ResourceSample;

use super::discovery::{container, membership, mountinfo, pod};
use super::processes::{counters, listing};
use super::reading::Reading;
use super::{host, keyed, net_dev, v1, v2};

/// How many readers there are.
pub(crate) const READERS: u8 = 18;

/// Reads `text` with one of them, as a counter's second reading.
pub(crate) fn read_any(reader: u8, text: &str) -> ResourceSample {
    let mut sample = ResourceSample::default();
    let into = &mut sample;
    match reader % READERS {
        0 => v1::cpu::stat(text, into),
        1 => v1::cpuacct::stat(text, 100, into),
        2 => {
            into.memory = keyed::number(text.lines().next().unwrap_or_default()).map(forebay_shared::Bytes);
            v1::memory::stat(text, into);
        }
        3 => into.oom_kills = v1::memory::oom_kills(text),
        4 => (into.io_read_bytes, into.io_write_bytes) = v1::blkio::read_and_write(text),
        5 => v2::cpu::stat(text, into),
        6 => into.cpu_quota = v2::cpu::max(text),
        7 => v2::io::stat(text, into),
        8 => {
            into.memory = keyed::number(text.lines().next().unwrap_or_default()).map(forebay_shared::Bytes);
            v2::memory::stat(text, into);
        }
        9 => v2::memory::events(text, into),
        10 => (into.pressure.cpu_some_us, into.pressure.cpu_full_us) = v2::pressure::totals(text),
        11 => (into.net_rx_bytes, into.net_tx_bytes) = net_dev::bytes(text).unzip(),
        12 => drop(host::cpu(text, 100, into)),
        13 => host::disks(text, into),
        14 => into.pids = host::tasks(text),
        15 => into.cpu_us = counters::stat(text).map(|stat| stat.user.saturating_add(stat.system)),
        16 => (into.io_read_bytes, into.io_write_bytes) = counters::io(text).unzip(),
        _ => {
            into.pids = keyed::number(text)
                .or_else(|| keyed::value(text, b"pids"))
                .or(Some(listing::numbers(text).count() as u64))
        }
    }
    let now = Reading { whole: sample.clone(), ..Reading::default() };
    let before = Reading { whole: ResourceSample { cpu_us: Some(u64::MAX), ..sample }, ..Reading::default() };
    now.since(&before)
}

/// Reads `text` as each of the texts that containers are found by.
pub(crate) fn discover_any(text: &str) {
    let key = membership::container_key(text);
    assert!(key == "/" || text.contains(key), "a key is a part of the text");
    if let Some(names) = mountinfo::kubelet_names(text) {
        assert!(!names.container.contains('/') && !names.pod_uid.is_empty());
    }
    for id in mountinfo::own_ids(text) {
        assert_eq!(id.len(), 64);
    }
    for line in text.lines() {
        if let Some(link) = container::log_link(line) {
            assert_eq!(line, format!("{}_{}_{}-{}.log", link.pod, link.namespace, link.container, link.id));
        }
        let _ = container::id(line);
        let _ = pod::is_pod(line, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts near those of the kernel: its words, numbers and marks in any order.
    fn kernel_like() -> impl Strategy<Value = String> {
        let words = proptest::sample::select(vec![
            "user",
            "total_rss",
            "inactive_file",
            "total_inactive_file",
            "oom_kill",
            "usage_usec",
            "nr_periods",
            "max",
            "some",
            "full",
            "total=",
            "rbytes=",
            "8:0",
            "Read",
            "Write",
            "Total",
            "eth0:",
            "lo:",
            "cpu ",
            "sda",
            "sda1",
            "(app)",
            "read_bytes:",
            "write_bytes:",
            "0::",
            "/..",
            "/",
            ":",
            " - ",
            "pods",
            "containers",
            "cri-containerd-",
            ".scope",
            ".log",
            "_",
            "-",
            "/dev/termination-log",
            "/etc/hostname",
            "kubepods",
            "pod",
            ".slice",
            "\u{e9}",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "18446744073709551615",
            "-1",
            "0",
            "7",
        ]);
        let between = proptest::sample::select(vec!["", " ", "  ", "\n", "/", "\0"]);
        proptest::collection::vec((words, between), 0..60)
            .prop_map(|parts| parts.into_iter().flat_map(|(word, between)| [word, between]).collect())
    }

    proptest! {
        #[test]
        fn every_reader_takes_any_text(text in prop_oneof![kernel_like(), any::<String>()], repeat in 1..200_usize) {
            let huge = text.repeat(repeat);
            for reader in 0..READERS {
                read_any(reader, &text);
                read_any(reader, &huge);
            }
            discover_any(&text);
            discover_any(&huge);
        }

        #[test]
        fn every_reader_takes_a_true_text_cut_anywhere(cut in 0..400_usize, reader in 0..READERS) {
            let texts = [
                "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 5\nnr_throttled 2\nthrottled_usec 99\n",
                "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
                "8:0 Read 10\n8:0 Write 4\n8:0 Sync 9\n8:0 Total 14\nTotal 14\n",
                "some avg10=1.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
                "42 (app) S 7 42 42 0 -1 4194560 1 2 3 4 150 30 5 6 20 0 3 0 9000 1000000 250 1844 1 1\n",
                "  eth0: 100 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n",
            ];
            for text in texts {
                read_any(reader, &text[..cut.min(text.len())]);
                discover_any(&text[..cut.min(text.len())]);
            }
        }
    }
}
