//! What the parts of the demo have to say to whoever looks on: printed above the table, and kept in a log.

use tokio::sync::mpsc;

/// Notices not yet printed. The terminal takes them each second; more than this is a flood, and is cut.
const WAITING: usize = 256;

/// Where a part says what has happened.
#[derive(Clone)]
pub(super) struct Notices(mpsc::Sender<String>);

impl Notices {
    /// Both ends.
    pub(super) fn new() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Says something; dropped if nobody listens.
    pub(super) fn say(&self, notice: impl Into<String>) {
        self.0.try_send(notice.into()).ok();
    }
}
