//! A harness for the built programs: finds them, runs them, and ends them whatever a test does.

pub mod agent;
pub mod aggregator;
pub mod cgroup;
mod disk;
pub mod guest;
mod initramfs;
pub mod load;
pub mod power;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

pub use self::disk::Device;

/// The path of a built program, beside the test's own.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("the test has no path")?;
    let beside = test.ancestors().map(|folder| folder.join(name)).find(|path| path.is_file());
    beside.with_context(|| format!("{name} is not built: run `cargo build --release --workspace`"))
}

/// A running program, killed when it is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a program with its standard input held open.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::piped()).spawn();
        child.map(Self).with_context(|| format!("cannot start {:?}", command.get_program()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill().context("cannot kill")?;
        self.0.wait().context("cannot wait")?;
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + within;
        until_some(until, || self.0.try_wait().ok().flatten()).context("it does not end")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again and again until there is an answer.
///
/// # Errors
/// The time is up.
pub fn until_some<T>(until: Instant, mut ask: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > until {
            bail!("no answer in time");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Children of a process whose command line holds all of `words`.
pub fn children(parent: u32, words: &[&str]) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of_parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    let has_words = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments: Vec<_> = command.split(|byte| *byte == 0).collect();
        words.iter().all(|word| arguments.contains(&word.as_bytes()))
    };
    pids.filter(|pid| of_parent(pid) && has_words(pid)).collect()
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
