//! Of the file: which are opened, and which are left as they are.

use super::*;

/// The file is refused with these words, and neither it nor its directory changes.
fn refused(directory: &TempDir, says: &[&str]) {
    let listing = || {
        let mut files: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = listing();
    let error = History::open(&directory.path().join("history.db")).unwrap_err().to_string();
    for words in says.iter().chain(&["history.db"]) {
        assert!(error.contains(words), "{error}");
    }
    assert!(listing() == before, "the file or its directory was touched");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_untouched() {
    for bytes in [&b"timestamp,cpu\n1,2\n"[..], &[7; 8192]] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("history.db"), bytes).unwrap();
        refused(&directory, &["is no SQLite file", "expected a file that Forebay has made"]);
    }
}

#[test]
fn another_programs_database_is_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let other = Connection::open(directory.path().join("history.db")).unwrap();
    other.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    drop(other);
    refused(&directory, &["another program"]);
}

#[test]
fn a_newer_schema_is_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    let newer = Connection::open(directory.path().join("history.db")).unwrap();
    newer.pragma_update(None, "user_version", file::SCHEMA + 1).unwrap();
    drop(newer);
    refused(&directory, &["schema 4", "reads schema 3", "upgrade"]);
}

#[test]
fn a_newer_schema_that_is_only_in_the_log_is_refused_and_stays_there() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    let newer = Connection::open(directory.path().join("history.db")).unwrap();
    newer.pragma_update(None, "user_version", file::SCHEMA + 1).unwrap();
    let crashed = copy(&directory);
    let [database, log] =
        ["history.db", "history.db-wal"].map(|name| (name, std::fs::read(crashed.path().join(name)).unwrap()));
    let error = History::open(&crashed.path().join("history.db")).unwrap_err();
    assert!(matches!(error, HistoryError::Newer { found: 4, .. }), "{error}");
    for (name, bytes) in [database, log] {
        assert!(std::fs::read(crashed.path().join(name)).unwrap() == bytes, "{name} was touched");
    }
}

#[test]
fn a_path_that_cannot_be_a_file_is_refused_with_what_would_be_right() {
    let directory = tempfile::tempdir().unwrap();
    let error = History::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("is no file") && error.contains("such as"), "{error}");
    let error = History::open(&directory.path().join("there/history.db")).unwrap_err().to_string();
    assert!(error.contains("no directory") && error.contains("make it first"), "{error}");
}

#[tokio::test]
async fn a_torn_file_is_called_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let history = open(&directory);
    history.append(&pod("a"), frames(0..500)).await.unwrap();
    drop(history);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..3 * 4096]).unwrap();
    let error = History::open(&path).unwrap_err();
    assert!(matches!(error, HistoryError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(".recover"), "{error}");
}

#[test]
fn making_that_was_cut_short_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("history.db"), "").unwrap();
    assert_eq!(open(&directory).components().unwrap(), []);
}
