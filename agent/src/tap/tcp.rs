//! The TCP tap: passes bytes both ways, and tells of them as exchanges. It looks into nothing.
//!
//! ```text
//! client  ──bytes──►            ──more──► │ ──►
//! target             ◄──answer            │      ◄──
//!         └─ exchange ─┘└─ next ... ────────────────┘
//! ```
//!
//! An exchange is what a client sends until it is answered: it arrives with its first byte, starts when that byte is
//! passed on, and ends with the first byte of an answer. A stream that is not answered is cut into exchanges, at the
//! first byte after 10 s or 8 MiB. One that is open when the connection ends is ok if both sides closed it in order,
//! else failed. A side that closes only its sending half is closed only so on the other side, too.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forebay_shared::{Outcome, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::passing::{Ending, Observer, Passing};
use super::target::Target;

/// A read of either side: a connection takes 32 KiB.
const BUFFER: usize = 16 << 10;
/// An exchange that is not answered is cut after this, so that a stream is told of while it runs.
const LONGEST: Duration = Duration::from_secs(10);
const LARGEST: u64 = 8 << 20;
/// When the agent stops, a connection on which nothing moved for this long is closed.
const QUIET: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(super) async fn serve<C>(mut client: TcpStream, target: &Target<C>, observer: &Observer, stop: CancellationToken) {
    let _ = client.set_nodelay(true);
    let connected = tokio::select! {
        connected = target.connect() => connected,
        () = stop.cancelled() => return,
    };
    match connected {
        Ok(stream) => relay(client, stream, observer, stop).await,
        // There is no answer in bytes alone but to close; what has come is not lost silently, but reset.
        Err(_) => drop(client.shutdown().await),
    }
}

/// Passes bytes both ways until both sides are closed, or one breaks off; once `stop` says so, until they are quiet.
pub(super) async fn relay(
    client: impl AsyncRead + AsyncWrite,
    target: impl AsyncRead + AsyncWrite,
    observer: &Observer,
    stop: CancellationToken,
) {
    let exchanges = Exchanges { observer, open: Mutex::default(), moved: AtomicU64::new(0) };
    let (mut from_client, mut to_client) = split(client);
    let (mut from_target, mut to_target) = split(target);
    let asked = pass(&mut from_client, &mut to_target, |bytes, at| exchanges.sent(bytes, at), || exchanges.taken());
    let answered = pass(&mut from_target, &mut to_client, |_, at| exchanges.answered(at), || {});
    let both = async { tokio::try_join!(asked, answered).is_ok() };
    let in_order = tokio::select! {
        in_order = both => in_order,
        () = exchanges.quiet(&stop) => true,
    };
    exchanges.end(if in_order { Outcome::Ok } else { Outcome::Failed });
}

/// Passes bytes one way until its side closes; `read` and `passed` hear of each read and each write.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    read: impl Fn(usize, Timestamp),
    passed: impl Fn(),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        read(n, Timestamp::now());
        to.write_all(&buffer[..n]).await?;
        passed();
    }
}

struct Exchanges<'a> {
    observer: &'a Observer,
    open: Mutex<Option<Exchange>>,
    /// When bytes last moved.
    moved: AtomicU64,
}

struct Exchange {
    began: Timestamp,
    batch: Passing,
    ending: Ending,
}

impl Exchange {
    fn finish(self, at: Timestamp, outcome: Outcome) {
        // Dropped, the batch is told before its end is.
        drop(self.batch);
        self.ending.finish(at, outcome);
    }
}

impl Exchanges<'_> {
    fn sent(&self, bytes: usize, at: Timestamp) {
        self.moved.store(at.0, Ordering::Relaxed);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = |open: &Exchange| at.since(open.began) > LONGEST || open.batch.total() >= LARGEST;
        if let Some(long) = open.take_if(|open| cut(open)) {
            long.finish(at, Outcome::Ok);
        }
        let exchange = open.get_or_insert_with(|| {
            let batch = self.observer.open_unseen(at);
            Exchange { began: at, ending: batch.ending(), batch }
        });
        exchange.batch.count(bytes as u64);
    }

    /// Returns when the agent stops, no exchange is open, and no bytes have moved for a while.
    async fn quiet(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        let busy = || self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let still = || Timestamp::now().since(Timestamp(self.moved.load(Ordering::Relaxed))) >= QUIET;
        while busy() || !still() {
            sleep(QUIET / 10).await;
        }
    }

    fn taken(&self) {
        if let Some(exchange) = self.open.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
            && !exchange.batch.started()
        {
            exchange.batch.start(Timestamp::now());
        }
    }

    fn answered(&self, at: Timestamp) {
        self.moved.store(at.0, Ordering::Relaxed);
        let answered = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(exchange) = answered {
            exchange.finish(at, Outcome::Ok);
        }
    }

    fn end(&self, outcome: Outcome) {
        let last = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(exchange) = last {
            exchange.finish(Timestamp::now(), outcome);
        }
    }
}
