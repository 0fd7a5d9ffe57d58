//! A load that is known to the byte: does what each line of its standard input says, and answers `done`.
//!
//! `spin SECONDS` · `touch BYTES` (anonymous memory, kept) · `free` (all that was touched) · `write PATH BYTES` and
//! `read PATH BYTES` (past the page cache) · `cache PATH BYTES` (into the page cache)

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{Read, Write, stdin, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// What one request to the disk carries.
const BLOCK: usize = 1 << 20;
/// Direct IO wants memory that is aligned to the device's sectors; a page does for all.
const ALIGNMENT: usize = 4096;

fn main() -> anyhow::Result<()> {
    let mut held = Vec::new();
    // A device that nobody has open is not cached.
    let mut cached = Vec::new();
    for line in stdin().lines() {
        let line = line.context("cannot read a command")?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["spin", seconds] => spin(Duration::from_secs(seconds.parse()?)),
            ["touch", bytes] => held.push(touched(bytes.parse()?)),
            ["free"] => held.clear(),
            ["write", path, bytes] => put(&open(path, libc::O_DIRECT)?, bytes.parse()?)?,
            ["read", path, bytes] => take(&open(path, libc::O_DIRECT)?, bytes.parse()?)?,
            ["cache", path, bytes] => {
                let file = open(path, 0)?;
                put(&file, bytes.parse()?)?;
                cached.push(file);
            }
            _ => anyhow::bail!("unknown command `{line}`"),
        }
        writeln!(stdout(), "done").context("nobody listens")?;
    }
    Ok(())
}

/// Ends by itself, in case that whoever should end it is gone.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        for step in 0..10_000_u64 {
            black_box(step);
        }
    }
}

fn touched(bytes: usize) -> Vec<u8> {
    black_box(vec![1; bytes])
}

/// A file, made if it is not there, or a block device.
fn open(path: &str, flags: i32) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).custom_flags(flags);
    options.open(path).with_context(|| format!("cannot open {path}"))
}

fn put(mut file: &File, bytes: usize) -> anyhow::Result<()> {
    blocks(bytes, |block| file.write_all(block))
}

fn take(mut file: &File, bytes: usize) -> anyhow::Result<()> {
    blocks(bytes, |block| file.read_exact(block))
}

fn blocks(bytes: usize, mut each: impl FnMut(&mut [u8]) -> std::io::Result<()>) -> anyhow::Result<()> {
    let mut memory = vec![7; BLOCK + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let block = &mut memory[start..start + BLOCK];
    (0..bytes / BLOCK).try_for_each(|_| each(block)).context("the disk does not take part")
}
