//! A socket under hyper: it bounds what is read at once, and a client's knows when the first byte of a request came,
//! since hyper tells of a request once its head is whole.
//!
//! hyper reads into buffers as large as the last reads needed, and a chunk of a body keeps the whole buffer that it
//! was read into. Bounded reads fill their buffers: what is on its way takes about as much memory as it has bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use forebay_shared::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;

/// The most that is read at once: one less than hyper's step of 64 KiB, so that its buffers stay at that. Half of it
/// takes half the memory under load, 15 % more CPU; without a bound it is twice the memory, 20 % less CPU.
const MOST_READ: u64 = (64 << 10) - 1;
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
    inner: Take<TcpStream>,
    clock: Clock,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, clock: Clock) -> Self {
        Self { inner: stream.take(MOST_READ), clock }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.inner.get_mut())
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner.set_limit(MOST_READ);
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
        self.stream().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
