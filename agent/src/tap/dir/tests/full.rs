//! The state on a disk that is full: the kernel cuts a write at a limit of the process.

use std::fs::OpenOptions;
use std::io::Write as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::journal::{Batch, Entry, Journal};
use super::*;

const ALONE: &str = "FOREBAY_TEST_ALONE";

/// Runs the test `name` of this module, `body`, in a process of its own: the limit is one of the process, and a process
/// gets over it only where its signal is ignored.
fn alone(name: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" --exact --nocapture \"$1\""]);
    command.arg(std::env::current_exe().unwrap()).arg(format!("tap::dir::tests::full::{name}"));
    let output = command.env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

/// No file may be longer than that.
fn limit(bytes: Option<u64>) {
    setrlimit(Resource::Fsize, Rlimit { current: bytes, ..getrlimit(Resource::Fsize) }).unwrap();
}

fn batch(id: u64) -> Batch {
    Batch { id, ..Batch::default() }
}

#[test]
fn a_write_that_fails_halfway_damages_nothing_and_is_made_again() {
    alone("a_write_that_fails_halfway_damages_nothing_and_is_made_again", || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let length = || std::fs::metadata(&path).unwrap().len();
        let (mut journal, _) = Journal::open(path.clone()).unwrap();
        journal.note(Entry::Told(batch(1)));
        assert!(journal.flush(1).unwrap());
        let whole = length();
        limit(Some(whole + 100));
        // It is the kernel that cuts: a record and a half.
        let half = path.with_extension("half");
        std::fs::copy(&path, &half).unwrap();
        assert!(OpenOptions::new().append(true).open(&half).unwrap().write_all(&[1; 128]).is_err());
        assert_eq!(std::fs::metadata(&half).unwrap().len(), whole + 100);
        for id in 2..4 {
            journal.note(Entry::Told(batch(id)));
            assert!(journal.flush(id as usize).is_err() == (id == 3), "the first has room");
        }
        for id in 4..6 {
            journal.note(Entry::Told(batch(id)));
            assert!(journal.flush(id as usize).is_err());
            assert_eq!(length(), whole + 64, "no part of a record stays");
        }
        (0..70_000).for_each(|_| journal.note(Entry::Done(7)));
        assert!(journal.flush(5).is_err());
        limit(None);
        assert!(journal.flush(1 << 20).unwrap());
        assert_eq!(length(), whole + 64 + 65_536 * 64, "only so much is kept");
        assert!(!journal.flush(5).unwrap(), "there was nothing more");
        journal.note(Entry::Told(batch(6)));
        assert!(journal.flush(6).unwrap());
        assert_eq!(Journal::open(path.clone()).unwrap().1, (1..7).map(batch).collect::<Vec<_>>());
    });
}

#[test]
fn a_state_that_cannot_be_written_is_told_until_it_can_be() {
    alone("a_state_that_cannot_be_written_is_told_until_it_can_be", || {
        let world = World::new();
        let (_, metrics) = Metrics::new();
        let tap = Tap::new(Buffer::new(Bytes(1 << 20), metrics.clone()), metrics.clone()).of(Source::Dir);
        let (inbox, state) = (world.root.path().join("inbox"), world.root.path().join("state"));
        let health = Health::new(&[], Timestamp(0));
        let mut dir = Dir::new(inbox, tap, Some(state), &health);
        let detail = || health.parts().into_values().map(|part| part.detail).collect::<String>();
        dir.turn();
        assert_eq!(detail(), "");
        // Room for the magic and half a record.
        limit(Some(40));
        world.write("a", "1\n");
        for _ in 0..3 {
            dir.turn();
            assert!(detail().contains("cannot write the state"), "{}", detail());
        }
        assert!(metrics.tap_dir_state_failures.get() > 0);
        limit(None);
        dir.turn();
        assert_eq!(detail(), "");
    });
}
