//! `/proc/net/dev`: bytes through the interfaces of the agent's own network namespace, which is the pod's.

use std::path::PathBuf;

use forebay_shared::ResourceSample;

use super::kernel_file::{KernelFile, Reader};
use super::keyed;

pub(super) struct NetDev {
    dir: PathBuf,
    file: KernelFile,
}

impl NetDev {
    pub(super) fn new(proc: &std::path::Path) -> Self {
        Self { dir: proc.join("net"), file: KernelFile::new("dev") }
    }

    pub(super) fn read(&mut self, reader: &mut Reader, into: &mut ResourceSample) {
        if let Some((received, sent)) = self.file.read(&self.dir, reader).and_then(bytes) {
            into.net_rx_bytes = Some(received);
            into.net_tx_bytes = Some(sent);
        }
    }
}

/// Bytes received and sent by all interfaces but the loopback's.
pub(super) fn bytes(text: &str) -> Option<(u64, u64)> {
    let interfaces = text.lines().filter_map(interface);
    interfaces.reduce(|(received, sent), (r, s)| (received.saturating_add(r), sent.saturating_add(s)))
}

fn interface(line: &str) -> Option<(u64, u64)> {
    let (name, counters) = line.split_once(':')?;
    if name.trim() == "lo" {
        return None;
    }
    // Eight columns received, then as many sent; the bytes come first in both.
    let mut counters = counters.split_ascii_whitespace();
    Some((keyed::number(counters.next()?)?, keyed::number(counters.nth(7)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_summed_without_the_loopback() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets|bytes\n\
            \x20   lo:    3193      29    0    0    0     0          0         0     3193      29    0 0 0 0 0 0\n\
            \x20 eth0: 100   1    0    0    0     0          0         0   7    1    0    0    0     0       0          0\n\
            \x20 eth1: 20   1    0    0    0     0          0         0   3    1    0    0    0     0       0          0\n";
        assert_eq!(bytes(text), Some((120, 10)));
        assert_eq!(bytes(""), None);
    }
}
