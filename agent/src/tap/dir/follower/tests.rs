use std::path::Path;

use forebay_shared::{Bytes, Content, DataType, Frame};

use super::*;
use crate::buffer::Buffer;
use crate::metrics::Metrics;
use crate::tap::Source;

struct Fixture {
    follower: Follower,
    buffer: Buffer,
    metrics: Metrics,
    health: Health,
    inbox: tempfile::TempDir,
}

fn fixture() -> Fixture {
    fixture_with(None)
}

fn fixture_with(state: Option<PathBuf>) -> Fixture {
    let inbox = tempfile::tempdir().unwrap();
    let (_, metrics) = Metrics::new();
    let buffer = Buffer::new(Bytes(4 << 20), metrics.clone());
    let tap = Tap::new(buffer.clone(), metrics.clone()).of(Source::Dir);
    let health = Health::new(&[], Timestamp(0));
    let mut follower = Follower::new(inbox.path().to_owned(), tap, state, health.clone());
    follower.attached(std::fs::metadata(inbox.path()).unwrap().dev());
    Fixture { follower, buffer, metrics, health, inbox }
}

impl Fixture {
    fn write(&self, name: &str, text: &str) -> Stat {
        std::fs::write(self.inbox.path().join(name), text).unwrap();
        self.stat(name)
    }

    fn stat(&self, name: &str) -> Stat {
        Stat::of(&std::fs::symlink_metadata(self.inbox.path().join(name)).unwrap(), self.follower.device)
    }

    fn recorded(&self) -> Content {
        self.buffer.close(Timestamp(0));
        let request = self.buffer.request(usize::MAX, usize::MAX);
        let frames = request.map_or_else(Vec::new, |request| Frame::decode_all(&request.body).unwrap());
        frames.into_iter().fold(Content::default(), |mut all, frame| {
            all.arrivals.extend(frame.content.arrivals);
            all.progress.extend(frame.content.progress);
            all
        })
    }

    fn detail(&self) -> String {
        self.health.parts().into_values().map(|part| part.detail).collect()
    }
}

#[test]
fn a_file_that_is_gone_before_it_is_looked_at_is_recorded_by_its_size() {
    let mut fixture = fixture();
    let stat = fixture.write("a.csv", "a,b\n1,2\n");
    std::fs::remove_file(fixture.inbox.path().join("a.csv")).unwrap();
    fixture.follower.judge("a.csv".as_ref(), &stat, Cause::Closed, Timestamp(5), false);
    let arrival = fixture.recorded().arrivals.remove(0);
    assert_eq!((arrival.characteristics.data_volume.bytes, arrival.arrived_at), (8, Timestamp(5)));
    assert!(arrival.characteristics.estimated && arrival.characteristics.data_volume.records.is_none());
    assert_eq!(fixture.metrics.tap_uninspected_batches.get(), 1);
    fixture.follower.seen("b.csv".as_ref(), Cause::Closed, Timestamp(6), false);
    assert_eq!(fixture.metrics.tap_dir_vanished_files.get(), 1, "of this one nothing was ever known");
    assert_eq!(fixture.recorded().arrivals.len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_recorded_by_its_size_counted_and_told_without_its_name() {
    let mut fixture = fixture();
    let stat = fixture.write("secret.csv", "a,b\n1,2\n");
    // It has become a link by the time that it is opened: like one without permission, and for root too.
    std::os::unix::fs::symlink("secret.csv", fixture.inbox.path().join("link.csv")).unwrap();
    fixture.follower.judge("link.csv".as_ref(), &stat, Cause::Closed, Timestamp(5), false);
    assert_eq!(fixture.recorded().arrivals[0].characteristics.data_volume.bytes, 8);
    assert_eq!(fixture.metrics.tap_dir_unreadable_files.get(), 1);
    let detail = fixture.detail();
    assert!(detail.contains("could not be read") && !detail.contains("link"), "{detail}");
    let stat = fixture.write("b.csv", "a,b\n1,2\n");
    fixture.follower.judge("b.csv".as_ref(), &stat, Cause::Closed, Timestamp(5), false);
    assert_eq!(fixture.detail(), "");
}

#[test]
fn when_events_pile_up_files_are_recorded_by_their_volume_and_counted() {
    let mut fixture = fixture();
    fixture.write("a.csv", "a,b\n1,2\n");
    fixture.write("b.csv", "a,b\n1,2\n");
    fixture.follower.take(Event::Closed("a.csv".as_ref()), Timestamp(1), BEHIND + 1);
    fixture.follower.take(Event::Closed("b.csv".as_ref()), Timestamp(1), BEHIND);
    let arrivals = fixture.recorded().arrivals;
    let records: Vec<_> = arrivals.iter().map(|arrival| arrival.characteristics.data_volume.records).collect();
    assert_eq!(records, [None, Some(2)]);
    assert_eq!(arrivals[0].characteristics.data_type, DataType::Csv, "what its name says");
    assert_eq!(fixture.metrics.tap_uninspected_batches.get(), 1);
}

#[test]
fn without_a_journal_what_lay_there_for_long_is_backlog_and_nothing_else() {
    let mut fixture = fixture();
    fixture.write("old.csv", "a,b\n1,2\n");
    fixture.follower.recent = Duration::ZERO;
    // As if it had lain there for longer than it takes to be left alone.
    let meta = std::fs::symlink_metadata(fixture.inbox.path().join("old.csv")).unwrap();
    let stat = Stat { changed: 0, ..fixture.stat("old.csv") };
    let cause = Cause::Found { unbroken: false };
    assert!(!fixture.follower.found("old.csv".as_ref(), &meta, cause, Timestamp::now()), "it may still be written");
    fixture.follower.judge("old.csv".as_ref(), &stat, cause, Timestamp(5), false);
    fixture.follower.follow(true);
    let backlog = fixture.follower.tap.backlog(Timestamp(1005)).unwrap();
    assert_eq!((backlog.waiting, backlog.waiting_bytes, backlog.oldest_wait_ms), (1, 8, 1000));
    fixture.follower.take(Event::Opened("old.csv".as_ref()), Timestamp(6), 0);
    std::fs::remove_file(fixture.inbox.path().join("old.csv")).unwrap();
    fixture.follower.take(Event::Deleted("old.csv".as_ref()), Timestamp(7), 0);
    assert_eq!(fixture.recorded(), Content::default());
    assert_eq!(fixture.follower.tap.backlog(Timestamp(1005)).unwrap().waiting, 0);
}

#[test]
fn an_event_that_is_older_than_a_scan_does_not_end_the_file_that_has_the_name_now() {
    let mut fixture = fixture();
    let stat = fixture.write("a", "1\n");
    fixture.follower.judge("a".as_ref(), &stat, Cause::Closed, Timestamp(5), false);
    fixture.follower.take(Event::Deleted("a".as_ref()), Timestamp(6), 0);
    fixture.follower.take(Event::MovedFrom("a".as_ref(), 7), Timestamp(6), 0);
    fixture.follower.drained(Duration::ZERO);
    assert!(fixture.recorded().progress.is_empty());
    // Another one has its name.
    std::fs::write(fixture.inbox.path().join("b"), "22\n").unwrap();
    std::fs::rename(fixture.inbox.path().join("b"), fixture.inbox.path().join("a")).unwrap();
    fixture.follower.take(Event::MovedTo("a".as_ref(), 8), Timestamp(7), 0);
    let recorded = fixture.recorded();
    assert_eq!((recorded.arrivals.len(), recorded.progress.len()), (2, 1));
    assert_eq!(recorded.progress[0].batch_id, recorded.arrivals[0].batch_id, "the one that was covered is gone");
}

#[test]
fn a_scan_ends_no_file_that_is_being_renamed_meanwhile() {
    let mut fixture = fixture();
    let stat = fixture.write("a", "1\n");
    fixture.follower.judge("a".as_ref(), &stat, Cause::Closed, Timestamp(5), false);
    // The listing had passed the new name when the old one was still there, and was past the old one then.
    fixture.follower.generation += 1;
    fixture.follower.suspects = true;
    std::fs::rename(fixture.inbox.path().join("a"), fixture.inbox.path().join("b")).unwrap();
    fixture.follower.take(Event::MovedFrom("a".as_ref(), 7), Timestamp(6), 0);
    fixture.follower.drained(Duration::from_secs(60));
    fixture.follower.take(Event::MovedTo("b".as_ref(), 7), Timestamp(6), 0);
    fixture.follower.drained(Duration::from_secs(60));
    assert!(!fixture.follower.suspects());
    let recorded = fixture.recorded();
    assert_eq!((recorded.arrivals.len(), recorded.progress.len()), (1, 0));
}

#[test]
fn only_so_many_files_are_followed_and_the_others_are_looked_for_once_there_is_room() {
    let mut fixture = fixture();
    for inode in 0..MOST_FILES as u64 {
        let key = Key { inode, birth: 9 };
        fixture.follower.known.insert(key, File { name: inode, ..File::default() });
    }
    let stat = fixture.write("a", "1\n");
    fixture.follower.judge("a".as_ref(), &stat, Cause::Closed, Timestamp(5), false);
    assert!(fixture.recorded().arrivals.is_empty() && !fixture.follower.wants_scan());
    for inode in 0..PLACES as u64 {
        fixture.follower.known.remove(Key { inode, birth: 9 });
    }
    assert!(fixture.follower.wants_scan());
    assert!(Path::new(fixture.inbox.path()).join("a").exists());
}

/// Takes in these events of a file that was looked at just now; gives how many starts were told.
fn starts_by(events: &[Event<'_>], missed: bool) -> usize {
    let mut fixture = fixture();
    let stat = fixture.write("a", "1\n");
    fixture.follower.judge("a".as_ref(), &stat, Cause::Closed, Timestamp(5), false);
    if missed {
        fixture.follower.gap();
        fixture.follower.drained(Duration::ZERO);
    }
    for event in events {
        fixture.follower.take(*event, Timestamp(6), 0);
    }
    fixture.recorded().progress.len()
}

#[test]
fn an_opening_that_the_kernel_tells_of_as_one_with_ours_is_told_by_its_close() {
    let (opened, released) = (Event::Opened("a".as_ref()), Event::Released("a".as_ref()));
    assert_eq!(starts_by(&[opened, released], false), 0, "these are our own");
    assert_eq!(starts_by(&[opened, released, released], false), 1);
    assert_eq!(starts_by(&[opened, released, opened, released], false), 1);
    assert_eq!(starts_by(&[opened], true), 1, "the kernel has dropped what it had to say of ours");
    assert_eq!(starts_by(&[released], true), 1);
}

#[test]
fn the_backlog_is_known_once_all_directories_are_followed_and_while_they_are() {
    let mut first = fixture();
    let inbox = tempfile::tempdir().unwrap();
    let tap = first.follower.tap.clone();
    let mut second = Follower::new(inbox.path().to_owned(), tap.clone(), None, first.health.clone());
    let known = || tap.backlog(Timestamp(0)).is_some();
    let scan = |follower: &mut Follower| follower.scan("slow", Timestamp::now()).is_ok();
    assert!(scan(&mut first.follower) && !known());
    // A file of the first is taken.
    let stat = first.write("a", "1\n");
    first.follower.judge("a".as_ref(), &stat, Cause::Closed, Timestamp(5), false);
    first.follower.gone(stat.key, Timestamp(6));
    assert!(!known(), "nobody has looked at the second");
    assert!(scan(&mut second) && known());
    for _ in 0..2 {
        second.detached();
        assert!(scan(&mut first.follower) && !known(), "however often the others are looked through");
    }
    assert!(scan(&mut second) && known());
}

#[test]
fn a_state_that_cannot_be_written_anew_is_told_until_it_is() {
    let state = tempfile::tempdir().unwrap();
    let mut fixture = fixture_with(Some(state.path().to_owned()));
    fixture.follower.report().watched(None);
    let journal = std::fs::read_dir(state.path()).unwrap().next().unwrap().unwrap().path();
    // In the place of the new one.
    let half = journal.with_extension("tmp");
    std::fs::create_dir(&half).unwrap();
    (0..100_000).for_each(|id| fixture.follower.note(Entry::Done(id)));
    for _ in 0..2 {
        fixture.follower.settle();
        assert!(fixture.detail().contains("cannot write the state"), "{}", fixture.detail());
    }
    std::fs::remove_dir(&half).unwrap();
    fixture.follower.note(Entry::Done(0));
    fixture.follower.settle();
    assert_eq!(fixture.detail(), "");
    assert!(std::fs::metadata(&journal).unwrap().len() < 100);
}
