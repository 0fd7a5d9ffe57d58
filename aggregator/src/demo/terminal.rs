//! What the demo shows: a table that is redrawn in place on a terminal, plain lines elsewhere.

mod live;

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table};
use tokio::sync::mpsc;

pub(super) use self::live::View;

/// Width where it can't be found out.
const USUAL_WIDTH: u16 = 120;
/// A narrower table would be unreadable.
const LEAST_WIDTH: u16 = 60;
const REDRAW_EVERY: Duration = Duration::from_secs(1);
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Where the demo is shown.
pub(super) struct Terminal {
    notices: mpsc::Receiver<String>,
    log: Option<std::fs::File>,
    plain: bool,
    drawn: usize,
}

impl Terminal {
    /// On stdout; plain if asked for, or if that is no terminal. Notices are kept in `log` too.
    pub(super) fn new(plain: bool, notices: mpsc::Receiver<String>, log: Option<std::fs::File>) -> Self {
        Self { notices, log, plain: plain || !io::stdout().is_terminal(), drawn: 0 }
    }

    /// How often [`Terminal::show`] is worth calling.
    pub(super) fn pace(&self) -> Duration {
        if self.plain { PLAIN_EVERY } else { REDRAW_EVERY }
    }

    /// Prints text that stays.
    pub(super) fn print(&mut self, text: &str) {
        self.draw(&format!("{text}\n"));
        self.drawn = 0;
    }

    /// Prints notices that have come, which stay.
    pub(super) fn print_notices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            if let Some(log) = &mut self.log {
                writeln!(log, "{notice}").ok();
            }
            self.print(&format!("! {notice}"));
        }
    }

    /// Shows how things are, in place of what was shown before.
    pub(super) fn show(&mut self, view: &View) {
        let text = if self.plain { view.lines() } else { format!("{}\n{}", view.headline(), view.table(width())) };
        self.replace(text.trim_end());
    }

    /// Shows text in place of what was shown before.
    pub(super) fn replace(&mut self, text: &str) {
        self.print_notices();
        self.draw(&format!("{text}\n"));
        self.drawn = if self.plain { 0 } else { text.lines().count() };
    }

    /// Writes over what was drawn last. A reader that is gone is no reason to stop.
    fn draw(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let up = if self.drawn > 0 { format!("\x1b[{}A\r\x1b[J", self.drawn) } else { String::new() };
        write!(stdout, "{up}{text}").and_then(|()| stdout.flush()).ok();
    }
}

/// An empty table in the demo's style.
pub(super) fn table(width: u16) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table
}

/// Columns of the terminal.
pub(super) fn width() -> u16 {
    let told = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    told.or_else(ask_stty).unwrap_or(USUAL_WIDTH).max(LEAST_WIDTH)
}

fn ask_stty() -> Option<u16> {
    let output = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output().ok()?;
    parse_size(str::from_utf8(&output.stdout).ok()?)
}

/// `rows columns`
fn parse_size(text: &str) -> Option<u16> {
    text.split_ascii_whitespace().nth(1)?.parse().ok().filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_the_second_of_sttys_numbers() {
        assert_eq!(parse_size("50 132\n"), Some(132));
        assert_eq!(parse_size("0 0\n"), None);
        assert_eq!(parse_size(""), None);
    }
}
