//! Read-only connections: a few, lent one by one, so that readers never wait for the writer.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::{HistoryError, file};

/// Connections at most, at up to 2 MiB of cache each: the reads are short, or they are bound by the disk.
const READERS: usize = 4;

/// The pool.
pub(super) struct Readers {
    path: PathBuf,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    lent: usize,
    closed: bool,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, pool: Mutex::default(), returned: Condvar::new() }
    }

    /// Reads in one snapshot. Blocks while all connections are lent: `work` must not read itself.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, HistoryError> {
        let mut lent = Lent { readers: self, connection: self.take()? };
        let connection = match &mut lent.connection {
            Some(connection) => connection,
            none => none.insert(file::open_reader(&self.path)?),
        };
        let sqlite = |error| HistoryError::sqlite(&self.path, &error);
        let snapshot = connection.transaction().map_err(sqlite)?;
        work(&snapshot).map_err(sqlite)
    }

    /// Gives up the idle connections: the last one to close takes the log into the file.
    pub(super) fn close(&self) {
        let mut pool = self.lock();
        pool.closed = true;
        pool.idle.clear();
        drop(pool);
        self.returned.notify_all();
    }

    /// An idle connection, or the right to open one.
    fn take(&self) -> Result<Option<Connection>, HistoryError> {
        let mut pool = self.lock();
        while pool.lent == READERS && !pool.closed {
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        if pool.closed {
            return Err(HistoryError::Closed);
        }
        pool.lent += 1;
        Ok(pool.idle.pop())
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that finds its way back.
struct Lent<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.lock();
        pool.lent -= 1;
        if !pool.closed {
            pool.idle.extend(self.connection.take());
        }
        drop(pool);
        self.readers.returned.notify_one();
    }
}
