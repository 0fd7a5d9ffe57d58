//! What is wrong with a directory, told in health. Never more than degraded: the component runs on without the tap.

use std::path::Path;

use forebay_shared::Timestamp;
use forebay_shared::health::{Health, State};

use super::known::MOST_FILES;

pub(super) struct Report {
    health: Health,
    part: String,
    absent: Option<String>,
    watched: Option<String>,
    state: Option<String>,
    unreadable: u64,
    crowded: bool,
    told: Option<String>,
}

impl Report {
    pub(super) fn new(path: &Path, health: Health) -> Self {
        let part = format!("dir={}", path.display());
        health.set(part.clone(), State::Degraded, "not looked at yet", Timestamp::now());
        let (absent, watched, state, told) = (None, None, None, None);
        Self { health, part, absent, watched, state, unreadable: 0, crowded: false, told }
    }

    /// Why there is no directory to follow.
    pub(super) fn absent(&mut self, why: Option<String>) {
        self.absent = why;
        self.tell();
    }

    /// Why it cannot be watched.
    pub(super) fn watched(&mut self, why_not: Option<String>) {
        self.absent = None;
        self.watched = why_not;
        self.tell();
    }

    /// Why nothing can be remembered over a restart.
    pub(super) fn state(&mut self, failure: Option<String>) {
        self.state = failure;
        self.tell();
    }

    /// More files lie there than can be followed.
    pub(super) fn crowded(&mut self, crowded: bool) {
        if crowded != self.crowded {
            self.crowded = crowded;
            self.tell();
        }
    }

    /// A file could be read, or not.
    pub(super) fn read(&mut self, could: bool) {
        if !could {
            self.unreadable += 1;
        } else if self.unreadable == 0 {
            return;
        } else {
            self.unreadable = 0;
        }
        self.tell();
    }

    fn tell(&mut self) {
        let unreadable = (self.unreadable > 0).then(|| {
            let files = self.unreadable;
            format!("the last {files} files could not be read: expected files that the agent's user may read")
        });
        let crowded =
            self.crowded.then(|| format!("more than {MOST_FILES} files lie there: the others wait to be seen"));
        let found = [&self.absent, &self.watched, &self.state, &crowded, &unreadable];
        let detail = found.into_iter().flatten().next().cloned().unwrap_or_default();
        if self.told.as_ref() == Some(&detail) {
            return;
        }
        let state = if detail.is_empty() { State::Ok } else { State::Degraded };
        // Numbers change with each file: what is wrong is logged when it turns wrong.
        if state == State::Degraded && self.told.as_ref().is_none_or(String::is_empty) {
            tracing::warn!(part = self.part, detail, "the directory tap falls short");
        }
        self.health.set(self.part.clone(), state, detail.clone(), Timestamp::now());
        self.told = Some(detail);
    }
}
