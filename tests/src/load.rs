//! A load within a cgroup: a process that does as it is told, step by step.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::cgroup::Cgroup;
use crate::program;

/// A running `forebay-load`, killed when it is dropped.
#[derive(Debug)]
pub struct Load {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Load {
    /// Starts one within the cgroup; it has started up and is idle when this returns.
    ///
    /// # Errors
    /// It is not built, or the cgroup does not take it.
    pub fn start(cgroup: &Cgroup) -> anyhow::Result<Self> {
        let mut command = Command::new(program("forebay-load")?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a load")?;
        let (commands, answers) = child.stdin.take().zip(child.stdout.take()).context("the load has no pipes")?;
        let mut load = Self { child, commands, answers: BufReader::new(answers) };
        cgroup.admit(load.child.id())?;
        load.ask("free")?;
        Ok(load)
    }

    /// Has a command done: `touch BYTES`, `free`, or `write`, `read` or `cache` with `PATH BYTES`.
    ///
    /// # Errors
    /// It was not done: the load was killed, or ended by itself.
    pub fn ask(&mut self, command: &str) -> anyhow::Result<()> {
        self.tell(command)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("the load does not answer")?;
        if answer.trim() != "done" {
            bail!("the load ended at `{command}` with {:?}", self.child.wait());
        }
        Ok(())
    }

    /// Has a command begun, such as `spin SECONDS`.
    ///
    /// # Errors
    /// The load has ended.
    pub fn tell(&mut self, command: &str) -> anyhow::Result<()> {
        writeln!(self.commands, "{command}").context("the load has ended")
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.kill();
    }
}
