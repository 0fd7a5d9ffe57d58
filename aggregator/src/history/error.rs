//! What can go wrong with a history.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the history did not open, take or give something.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// The path can't be a file.
    #[error("history {}: {reason}", path.display())]
    Path {
        /// The history's path.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// Another program's file.
    #[error(
        "history {}: {found}; expected a file that Forebay has made, or a path where there is none yet \
         (the file was left as it is)",
        path.display()
    )]
    Foreign {
        /// The history's path.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// A newer Forebay's file.
    #[error(
        "history {}: schema {found} is from a newer Forebay: this build reads schema {known} and below; \
         upgrade the aggregator, or give another path (the file was left as it is)",
        path.display()
    )]
    Newer {
        /// The history's path.
        path: PathBuf,
        /// The file's schema.
        found: i64,
        /// The newest schema that this build knows.
        known: i64,
    },
    /// An older Forebay's file that could not be brought up to date.
    #[error(
        "history {}: cannot be brought from schema {from} to {to}: {detail} (the file was left as it is); \
         make room on its disk, or run the version that it is from",
        path.display()
    )]
    Migration {
        /// The history's path.
        path: PathBuf,
        /// The file's schema.
        from: i64,
        /// The schema that this build writes.
        to: i64,
        /// In SQLite's words.
        detail: String,
    },
    /// The file is corrupt beyond what is skipped block by block.
    #[error(
        "history {}: the file is damaged: {detail}; restore it from a copy, or save what is left with \
         `sqlite3 FILE .recover`",
        path.display()
    )]
    Damaged {
        /// The history's path.
        path: PathBuf,
        /// In SQLite's words.
        detail: String,
    },
    /// SQLite did not take a setting that durability rests on.
    #[error(
        "history {}: {setting} is `{found}`, expected `{expected}`: the file must lie on a local file system",
        path.display()
    )]
    Setting {
        /// The history's path.
        path: PathBuf,
        /// The pragma.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The value that is needed.
        expected: &'static str,
    },
    /// The disk is full: nothing of the request was stored, and what is stored can be read. Later ones may succeed.
    #[error("history {}: the disk is full: nothing is stored until there is room ({detail})", path.display())]
    Full {
        /// The history's path.
        path: PathBuf,
        /// In SQLite's words.
        detail: String,
    },
    /// Input or output failed. Nothing of the request was stored; later ones may succeed.
    #[error("history {}: {detail}", path.display())]
    Failed {
        /// The history's path.
        path: PathBuf,
        /// In SQLite's words.
        detail: String,
    },
    /// A frame that can't be stored. Nothing of the request was stored.
    #[error("frame {frame}: {reason}")]
    Refused {
        /// Its index in the request.
        frame: usize,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The queue of the writer is full.
    #[error("the history's queue is full: try again in a second")]
    Busy,
    /// The history is closed.
    #[error("the history is closed")]
    Closed,
}

impl HistoryError {
    /// SQLite's error on the file at `path`.
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, detail) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, detail },
            Some(ErrorCode::DiskFull) => Self::Full { path, detail },
            _ => Self::Failed { path, detail },
        }
    }
}
