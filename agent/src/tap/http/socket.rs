//! A socket under hyper that knows when the first byte of a request came: hyper tells of a request once its head is
//! whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use forebay_shared::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Nothing has come yet.
const NONE: u64 = 0;
/// A request is on its way: what comes now is its body.
const BUSY: u64 = u64::MAX;

/// When the request that is being read began.
#[derive(Clone, Default)]
pub(super) struct Clock(Arc<AtomicU64>);

impl Clock {
    /// The head is whole: when its first byte came. One that had come with the request before it begins now.
    pub(super) fn arrived(&self) -> Timestamp {
        match self.0.swap(BUSY, Ordering::Relaxed) {
            NONE | BUSY => Timestamp::now(),
            at => Timestamp(at),
        }
    }

    /// The request is answered: the next byte is another's first.
    pub(super) fn rearm(&self) {
        self.0.store(NONE, Ordering::Relaxed);
    }

    /// Bytes came.
    pub(super) fn came(&self) {
        if self.0.load(Ordering::Relaxed) == NONE {
            self.0.store(Timestamp::now().0, Ordering::Relaxed);
        }
    }
}

pub(super) struct Socket {
    inner: TcpStream,
    clock: Clock,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, clock: Clock) -> Self {
        Self { inner: stream, clock }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, into);
        // The end of the connection counts as a byte too; nobody asks then.
        if let Poll::Ready(Ok(())) = read {
            self.clock.came();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
