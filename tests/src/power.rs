//! Power cuts, from what strace has seen a program write and sync.
//!
//! ```text
//! strace's log ─► steps: writes, syncs, answers ─► [cut at any of them] ─► the files as a disk may hold them then
//! ```
//!
//! What was written before a sync of its file began that has ended is on the disk. Of the rest each write is there or
//! not, whole or in some of its sectors, whatever its order.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context as _;

/// What a disk writes as one.
const SECTOR: usize = 512;

/// Something that the program did.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Bytes of a file.
    Write {
        /// The file's name.
        file: String,
        /// Where.
        at: usize,
        /// What.
        bytes: Vec<u8>,
    },
    /// The file's length is set.
    Truncate {
        /// The file's name.
        file: String,
        /// To what.
        len: usize,
    },
    /// The file is no more.
    Unlink {
        /// The file's name.
        file: String,
    },
    /// A sync of the file begins.
    Syncing {
        /// The file's name.
        file: String,
    },
    /// A sync of the file has ended.
    Synced {
        /// The file's name.
        file: String,
        /// The step that it began with.
        from: usize,
    },
    /// An answer that acknowledges leaves, over a socket of this number.
    Acknowledged {
        /// The file descriptor.
        socket: u64,
    },
}

/// The options of strace that the log is read with, before `-o FILE` and the program.
pub const STRACE: [&str; 8] = [
    "strace",
    "-f",
    "-y",
    "-xx",
    "-s16777216",
    "-esignal=none",
    "-etrace=pwrite64,fsync,fdatasync,ftruncate,unlink,sendto,sendmsg,write,writev",
    "-qq",
];

/// Reads a log.
///
/// # Errors
/// It is not there, or does not read.
pub fn steps(log: &Path) -> anyhow::Result<Vec<Step>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("there is no {}", log.display()))?;
    let acknowledges = hex(b"\"accepted\":");
    let mut steps = Vec::new();
    let mut syncing: HashMap<&str, (String, usize)> = HashMap::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("<... fsync") || call.starts_with("<... fdatasync") {
            if let Some((file, from)) = syncing.remove(thread) {
                steps.push(Step::Synced { file, from });
            }
            continue;
        }
        let Some((name, arguments)) = call.split_once('(') else { continue };
        let step = match name {
            "pwrite64" => write(arguments).context("a pwrite64 that does not read")?,
            "ftruncate" => {
                let len = arguments.split_once(", ").and_then(|(_, rest)| number(rest));
                Step::Truncate { file: file_of(arguments)?, len: len.context("a length that does not read")? }
            }
            "unlink" => Step::Unlink { file: name_of(&unhex(quoted(arguments).unwrap_or_default())) },
            "fsync" | "fdatasync" => {
                let (file, from) = (file_of(arguments)?, steps.len());
                if arguments.contains("<unfinished") {
                    syncing.insert(thread, (file.clone(), from));
                    Step::Syncing { file }
                } else {
                    steps.push(Step::Syncing { file: file.clone() });
                    Step::Synced { file, from }
                }
            }
            _ if arguments.contains(&acknowledges) => {
                Step::Acknowledged { socket: number(arguments).context("a socket that does not read")? as u64 }
            }
            _ => continue,
        };
        steps.push(step);
    }
    Ok(steps)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits.filter_map(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok()).collect()
}

fn quoted(arguments: &str) -> Option<&str> {
    arguments.split('"').nth(1)
}

fn number(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
    digits.parse().ok()
}

/// The name of the file behind a descriptor, `9<\x2f…>`.
fn file_of(arguments: &str) -> anyhow::Result<String> {
    let path = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    Ok(name_of(&unhex(path.context("a file without a path")?.0)))
}

fn name_of(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn write(arguments: &str) -> anyhow::Result<Step> {
    let bytes = unhex(quoted(arguments).context("no bytes")?);
    let (_, after) = arguments.rsplit_once('"').context("no bytes")?;
    let mut numbers = after.split(", ").skip(1);
    let len = numbers.next().and_then(number).context("no length")?;
    let at = numbers.next().and_then(number).context("no offset")?;
    anyhow::ensure!(bytes.len() == len, "{len} bytes were written, {} are in the log", bytes.len());
    Ok(Step::Write { file: file_of(arguments)?, at, bytes })
}

/// The files as they may be on the disk if the power goes before step `cut`; `before` are those of the first step.
pub fn cut(
    before: &BTreeMap<String, Vec<u8>>,
    steps: &[Step],
    cut: usize,
    random: &mut fastrand::Rng,
) -> BTreeMap<String, Vec<u8>> {
    let mut durable: HashMap<&str, usize> = HashMap::new();
    for step in &steps[..cut] {
        if let Step::Synced { file, from } = step {
            let until = durable.entry(file).or_default();
            *until = (*until).max(*from);
        }
    }
    let mut files = before.clone();
    for (index, step) in steps[..cut].iter().enumerate() {
        let is_durable = |file: &str| durable.get(file).is_some_and(|until| index < *until);
        match step {
            Step::Write { file, at, bytes } => {
                let kept = if is_durable(file) { Kept::Whole } else { Kept::any(random) };
                let held = files.entry(file.clone()).or_default();
                kept.put(held, *at, bytes, random);
            }
            Step::Truncate { file, len } if is_durable(file) || random.bool() => {
                files.entry(file.clone()).or_default().resize(*len, 0);
            }
            Step::Unlink { file } if random.bool() => drop(files.remove(file)),
            _ => {}
        }
    }
    files
}

/// How much of a write is on the disk.
#[derive(Clone, Copy)]
enum Kept {
    Whole,
    Torn,
    Nothing,
}

impl Kept {
    fn any(random: &mut fastrand::Rng) -> Self {
        [Self::Whole, Self::Torn, Self::Nothing, Self::Nothing][random.usize(0..4)]
    }

    fn put(self, held: &mut Vec<u8>, at: usize, bytes: &[u8], random: &mut fastrand::Rng) {
        if matches!(self, Self::Nothing) {
            return;
        }
        if held.len() < at + bytes.len() {
            held.resize(at + bytes.len(), 0);
        }
        for (sector, part) in bytes.chunks(SECTOR).enumerate() {
            if matches!(self, Self::Whole) || random.bool() {
                let from = at + sector * SECTOR;
                held[from..from + part.len()].copy_from_slice(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &str) -> Vec<Step> {
        let path = std::env::temp_dir().join(format!("forebay-strace-{}", std::process::id()));
        std::fs::write(&path, log).unwrap();
        let steps = steps(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        steps
    }

    #[test]
    fn what_a_sync_has_covered_stays_and_the_rest_may_go() {
        let file = hex(b"/tmp/a/wal");
        let log = format!(
            "7 pwrite64(9<{file}>, \"{}\", 2, 4) = 2\n\
             8 fsync(9<{file}> <unfinished ...>\n\
             7 pwrite64(9<{file}>, \"{}\", 1, 0 <unfinished ...>\n\
             7 <... pwrite64 resumed>) = 1\n\
             8 <... fsync resumed>)  = 0\n\
             7 sendto(12<{}>, \"{}\", 20, 0, NULL, 0) = 20\n",
            hex(b"hi"),
            hex(b"!"),
            hex(b"socket:[1]"),
            hex(b"HTTP/1.1 200 OK\r\n\r\n{\"accepted\":1}")
        );
        let steps = read(&log);
        assert_eq!(steps[3], Step::Synced { file: "wal".into(), from: 1 });
        assert_eq!(steps[4], Step::Acknowledged { socket: 12 });
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let files = cut(&BTreeMap::new(), &steps, steps.len(), &mut random);
            assert_eq!(files["wal"][4..], *b"hi", "synced");
            seen.insert(files["wal"][0]);
        }
        assert_eq!(seen, [0, b'!'].into(), "written while the sync was under way: there or not");
    }
}
