//! The kernel's word on a directory: inotify.
//!
//! The watch holds neither the directory nor its mount: both can be removed, and that it is told too.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Bytes of events read at once: some 300 of them.
const BUFFER: usize = 16 << 10;
/// Reads in one go: what else is to be done is looked at between two of them.
const MOST_READS: usize = 16;

/// What has happened in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A file that was open for writing was closed.
    Closed(&'a OsStr),
    /// One that was open for reading only. The kernel tells of two openings as of one if nothing comes between them and
    /// the first was not read yet: the close may be all that tells of the second.
    Released(&'a OsStr),
    Opened(&'a OsStr),
    Deleted(&'a OsStr),
    /// The cookie joins both ends of a move within the directory.
    MovedFrom(&'a OsStr, u32),
    MovedTo(&'a OsStr, u32),
    /// The kernel dropped events.
    Overflow,
    /// The directory was deleted, moved or unmounted: no more events come.
    Lost,
}

pub(super) struct Watch(OwnedFd);

impl Watch {
    pub(super) fn new(directory: &Path) -> rustix::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // Of a file that has no name here any more nothing is told: another one may have it.
        let events = WatchFlags::CLOSE_WRITE
            | WatchFlags::CLOSE_NOWRITE
            | WatchFlags::EXCL_UNLINK
            | WatchFlags::OPEN
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, directory, events)?;
        Ok(Self(inotify))
    }

    /// Gives the events that wait to `take`, many but not endlessly; true if all were read.
    pub(super) fn read(&self, mut take: impl FnMut(Event<'_>)) -> bool {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut reads = 0;
        loop {
            if reader.is_buffer_empty() {
                reads += 1;
                if reads > MOST_READS {
                    return false;
                }
            }
            match reader.next() {
                Ok(event) => {
                    if let Some(event) = told(&event) {
                        take(event);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return true,
                Err(_) => {
                    take(Event::Lost);
                    return true;
                }
            }
        }
    }

    /// Bytes of events that wait.
    pub(super) fn queued(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.0).unwrap_or(0)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn told<'a>(event: &'a inotify::Event<'a>) -> Option<Event<'a>> {
    let flags = event.events();
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Event::Overflow);
    }
    let gone = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
    if flags.intersects(gone) {
        return Some(Event::Lost);
    }
    if flags.contains(ReadFlags::ISDIR) {
        return None;
    }
    let name = OsStr::from_bytes(event.file_name()?.to_bytes());
    if flags.contains(ReadFlags::CLOSE_WRITE) {
        Some(Event::Closed(name))
    } else if flags.contains(ReadFlags::CLOSE_NOWRITE) {
        Some(Event::Released(name))
    } else if flags.contains(ReadFlags::OPEN) {
        Some(Event::Opened(name))
    } else if flags.contains(ReadFlags::DELETE) {
        Some(Event::Deleted(name))
    } else if flags.contains(ReadFlags::MOVED_FROM) {
        Some(Event::MovedFrom(name, event.cookie()))
    } else if flags.contains(ReadFlags::MOVED_TO) {
        Some(Event::MovedTo(name, event.cookie()))
    } else {
        None
    }
}
