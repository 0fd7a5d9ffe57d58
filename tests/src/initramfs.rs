//! The archive that a Linux kernel unpacks as its first root: cpio in the `newc` form, uncompressed
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive under way.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: usize,
}

impl Initramfs {
    /// Adds a file that may be run, and the folders that lead to it. `path` is absolute.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) {
        let above: Vec<_> = path.ancestors().skip(1).collect();
        for folder in above.into_iter().rev() {
            let name = name(folder);
            if !name.is_empty() && self.directories.insert(name.clone()) {
                self.entry(&name, DIRECTORY, &[]);
            }
        }
        self.entry(&name(path), PROGRAM, content);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // Inode, mode, owner, group, links, time, length, four device numbers, length of the name, checksum.
        let fields = [self.entries, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// As archives have it: without the leading slash.
fn name(path: &Path) -> String {
    path.strip_prefix("/").unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_once_and_before_what_is_in_them() {
        let mut archive = Initramfs::default();
        archive.file(Path::new("/lib/one"), b"12345");
        archive.file(Path::new("/lib/two"), b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name:?} in {text}"));
        assert!(at("lib\0") < at("lib/one\0") && at("lib/one\0") < at("12345") && at("12345") < at("lib/two\0"));
        assert!(at("lib/two\0") < at("TRAILER!!!\0"));
        assert_eq!(text.matches("070701").count(), 4);
        assert_eq!(text.matches("lib\0").count(), 1);
    }
}
