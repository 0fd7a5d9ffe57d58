//! Opening the file: whose it is comes first, and a file that is not ours is left as it is.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::HistoryError;

/// The schema that this build writes.
pub(super) const SCHEMA: i64 = 3;
/// "FBAY", in the header of every history: tells it from other programs' SQLite files.
pub(super) const APPLICATION_ID: i64 = 0x4642_4159;
/// Makes an empty file one of ours.
const SQL: [&str; 5] = [
    include_str!("sql/schema.sql"),
    include_str!("sql/columns.sql"),
    include_str!("sql/live.sql"),
    include_str!("sql/runs.sql"),
    include_str!("sql/contents.sql"),
];
/// Makes a file of schema 1 one of schema 2, less the view.
const FROM_1: [&str; 4] = [
    include_str!("sql/from1to2.sql"),
    include_str!("sql/columns.sql"),
    include_str!("sql/live.sql"),
    include_str!("sql/extents1to2.sql"),
];
/// Makes a file of schema 2 one of schema 3.
const FROM_2: [&str; 3] =
    [include_str!("sql/runs.sql"), include_str!("sql/from2to3.sql"), include_str!("sql/contents.sql")];
const MAGIC: &[u8] = b"SQLite format 3\0";
/// How long to wait for a lock that another process holds, such as a `sqlite3` shell that checkpoints.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Statements kept ready on a connection: more than there are.
const STATEMENTS: usize = 64;

/// Opens the file for writing; makes it where there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection, HistoryError> {
    check_header(path)?;
    let sqlite = |error| HistoryError::sqlite(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    // Until the file is known to be ours, closing it must not move its write-ahead log.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sqlite)?;
    prepare(&connection).map_err(sqlite)?;
    adopt(path, &mut connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(sqlite)?;
    set(path, &connection, "journal_mode", "wal", "wal")?;
    // A commit returns once the log is synced.
    set(path, &connection, "synchronous", "FULL", "2")?;
    // The references are kept by the order of the writes; to have them checked costs a scan a pod that is given up.
    set(path, &connection, "foreign_keys", "OFF", "0")?;
    check_tables(&connection).map_err(sqlite)?;
    Ok(connection)
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |error| HistoryError::sqlite(path, &error);
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    prepare(&connection).map_err(sqlite)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(LOCK_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // The file may come from elsewhere: its schema is not to be trusted, nor the shape of its pages.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Reads the header without SQLite, which may already replay a log: the magic, the schema version at 60, the
/// application id at 68, both big-endian. A newer version that is in the log alone is found by [`adopt`].
fn check_header(path: &Path) -> Result<(), HistoryError> {
    let wrong = |reason: String| HistoryError::Path { path: path.to_owned(), reason };
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
            return match directory.filter(|directory| !directory.is_dir()) {
                Some(directory) => Err(wrong(format!("there is no directory {}; make it first", directory.display()))),
                None => Ok(()),
            };
        }
        other => other.map_err(|error| wrong(format!("cannot be read: {error}")))?,
    };
    if !metadata.is_file() {
        let example = path.join("history.db");
        return Err(wrong(format!("is no file; expected the path of a file, such as {}", example.display())));
    }
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if header.len() == 100 && header.starts_with(MAGIC) {
        let field = |at| header[at..at + 4].iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
        return check_identity(path, field(68), field(60));
    }
    // An empty file, or one beside a rollback journal, is one whose making was cut short: SQLite takes that back.
    if header.is_empty() || beside(path, "-journal").exists() {
        return Ok(());
    }
    Err(HistoryError::Foreign { path: path.to_owned(), found: "is no SQLite file".into() })
}

fn check_identity(path: &Path, application: i64, schema: i64) -> Result<(), HistoryError> {
    if application != APPLICATION_ID {
        let found = format!("is an SQLite file of another program (application id {application:#x})");
        return Err(HistoryError::Foreign { path: path.to_owned(), found });
    }
    if schema > SCHEMA {
        return Err(HistoryError::Newer { path: path.to_owned(), found: schema, known: SCHEMA });
    }
    Ok(())
}

/// Makes the schema in an empty file, or the newest one of an older, in one transaction: a migration that fails leaves
/// the file as it was. Checks that any other is ours.
fn adopt(path: &Path, connection: &mut Connection) -> Result<(), HistoryError> {
    let sqlite = |error| HistoryError::sqlite(path, &error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    let tables = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let application: i64 = pragma(&transaction, "application_id").map_err(sqlite)?;
    let schema: i64 = pragma(&transaction, "user_version").map_err(sqlite)?;
    if tables.map_err(sqlite)? == 0 && application == 0 && schema == 0 {
        transaction.execute_batch(&SQL.concat()).map_err(sqlite)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
        transaction.pragma_update(None, "user_version", SCHEMA).map_err(sqlite)?;
        return transaction.commit().map_err(sqlite);
    }
    check_identity(path, application, schema)?;
    if schema < SCHEMA {
        let migrate = || {
            if schema == 1 {
                transaction.execute_batch(&FROM_1.concat())?;
            }
            transaction.execute_batch(&FROM_2.concat())?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
            transaction.commit()
        };
        migrate().map_err(|error| HistoryError::Migration {
            path: path.to_owned(),
            from: schema,
            to: SCHEMA,
            detail: match error {
                // Its text has the whole of the SQL.
                rusqlite::Error::SqlInputError { msg, .. } => msg,
                error => error.to_string(),
            },
        })?;
        tracing::info!(path = %path.display(), from = schema, to = SCHEMA, "the history's schema was brought up to date");
    }
    Ok(())
}

fn pragma<T: FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Sets a pragma, and checks that it holds: SQLite keeps silent about one that it can't follow.
fn set(
    path: &Path,
    connection: &Connection,
    setting: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<(), HistoryError> {
    let sqlite = |error| HistoryError::sqlite(path, &error);
    connection.pragma_update(None, setting, value).map_err(sqlite)?;
    let found = connection
        .pragma_query_value(None, setting, |row| Ok(row.get_ref(0)?.as_str().map(str::to_owned).ok()))
        .and_then(|text| text.map_or_else(|| pragma::<i64>(connection, setting).map(|number| number.to_string()), Ok))
        .map_err(sqlite)?;
    if found != expected {
        return Err(HistoryError::Setting { path: path.to_owned(), setting, found, expected });
    }
    Ok(())
}

/// Every table is there; those that deduplication rests on are whole.
fn check_tables(connection: &Connection) -> rusqlite::Result<()> {
    let unchecked = ["raw", "blocks", "extents", "horizon", "gaps", "models", "decisions", "forecasts"];
    for table in unchecked.iter().chain(&["allocations", "carried", "ticked", "contents"]) {
        connection.prepare(&format!("SELECT * FROM {table}"))?;
    }
    for table in ["components", "pods", "watermarks"] {
        let problem: String = connection.query_row(&format!("PRAGMA quick_check({table})"), [], |row| row.get(0))?;
        if problem != "ok" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(code, Some(problem)));
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
