//! What a link still has to send: two buffers that take turns, and a bound.
//!
//! ```text
//!  send() --> [ queued ] --swap when the other is empty--> [ writing ] --> socket
//! ```
//!
//! Whoever sends only appends to `queued`, so all messages of one turn of the executor leave in one
//! write, and while one write waits for the socket the next one grows.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use futures_lite::future::yield_now;

use super::connection::{Broken, Connection};
use super::frame::{self, KEEPALIVE};
use crate::rpc::wait::Signal;

/// The most bytes that may wait for a slow peer. A message that finds more is dropped; one that
/// finds less is taken whole, so the buffers hold at most this and one frame.
pub const MAX_LINK_BUFFER_BYTES: usize = 32 << 20;

/// How large an empty buffer may stay; what a burst needed beyond it is given back.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// The outgoing side of a link. Closed and empty while the link is down.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    buffers: RefCell<Buffers>,
    /// Raised when there is something to write.
    filled: Signal,
    /// Whether bytes were written since the last keepalive was due.
    busy: Cell<bool>,
}

#[derive(Debug, Default)]
struct Buffers {
    open: bool,
    /// Whether messages are being dropped, so that it is logged once and not for each.
    dropping: bool,
    /// Whole frames, behind those in `writing`.
    queued: BytesMut,
    /// Frames of which the first may be half written.
    writing: BytesMut,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It will be written, if the link lives.
    Queued,
    /// The link is down.
    Down,
    /// Too much is waiting; this is the first message dropped since there was room.
    DroppedFirst,
    /// Too much is waiting still.
    Dropped,
}

impl Outbox {
    /// Lets messages in.
    pub(super) fn open(&self) {
        self.buffers.borrow_mut().open = true;
    }

    /// Lets no more messages in; those that wait can still be flushed.
    pub(super) fn close(&self) {
        self.buffers.borrow_mut().open = false;
    }

    /// Forgets what waits, half of a message perhaps: the next connection starts afresh.
    pub(super) fn clear(&self) {
        *self.buffers.borrow_mut() = Buffers::default();
        self.filled.lower();
    }

    /// Appends a message, whose bytes `write` appends; it writes at least one.
    pub(super) fn push(&self, write: impl FnOnce(&mut BytesMut)) -> Pushed {
        let mut buffers = self.buffers.borrow_mut();
        if !buffers.open {
            return Pushed::Down;
        }
        if buffers.len() >= MAX_LINK_BUFFER_BYTES {
            let first = !mem::replace(&mut buffers.dropping, true);
            return if first { Pushed::DroppedFirst } else { Pushed::Dropped };
        }
        let length = frame::append(&mut buffers.queued, write);
        assert!(length > 0, "an empty message would be taken for a keepalive");
        drop(buffers);
        self.filled.raise();
        Pushed::Queued
    }

    /// Queues a keepalive, unless bytes left since the last call or are waiting to.
    pub(super) fn keep_alive(&self) {
        let was_busy = self.busy.take();
        let mut buffers = self.buffers.borrow_mut();
        if was_busy || buffers.len() > 0 {
            return;
        }
        buffers.queued.put_slice(&KEEPALIVE);
        drop(buffers);
        self.filled.raise();
    }

    /// Writes what is pushed, as it is pushed, until the connection breaks.
    pub(super) async fn write_to(&self, connection: &Connection) -> Broken {
        loop {
            self.filled.wait().await;
            // Every task that is ready now adds its messages before they leave together.
            yield_now().await;
            if let Err(broken) = self.flush(connection).await {
                return broken;
            }
        }
    }

    /// Writes until nothing waits. When it is dropped half done, another flush goes on exactly
    /// there.
    ///
    /// # Errors
    /// When the connection broke.
    pub(super) async fn flush(&self, connection: &Connection) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_flush(cx, connection)).await
    }

    fn poll_flush(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection,
    ) -> Poll<Result<(), Broken>> {
        let mut buffers = self.buffers.borrow_mut();
        while buffers.refill() {
            let written = ready!(connection.poll_write(cx, &buffers.writing))?;
            buffers.writing.advance(written);
            self.busy.set(true);
        }
        buffers.dropping = false;
        Poll::Ready(Ok(()))
    }
}

impl Buffers {
    fn len(&self) -> usize {
        self.queued.len() + self.writing.len()
    }

    /// Makes sure that `writing` has bytes if there are any, and says whether it has.
    fn refill(&mut self) -> bool {
        if self.writing.is_empty() {
            if self.writing.capacity() > KEPT_BUFFER_BYTES {
                self.writing = BytesMut::new();
            }
            self.writing.clear();
            mem::swap(&mut self.queued, &mut self.writing);
        }
        !self.writing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(outbox: &Outbox, length: usize) -> Pushed {
        outbox.push(|out| out.put_bytes(7, length))
    }

    #[test]
    fn messages_are_dropped_while_the_link_is_down() {
        let outbox = Outbox::default();
        assert_eq!(push(&outbox, 1), Pushed::Down);
        outbox.open();
        assert_eq!(push(&outbox, 1), Pushed::Queued);
        outbox.close();
        assert_eq!(push(&outbox, 1), Pushed::Down);
        assert!(outbox.buffers.borrow().len() > 0, "what was taken can still be flushed");
        outbox.clear();
        assert_eq!(outbox.buffers.borrow().len(), 0, "the next connection starts afresh");
    }

    #[test]
    fn messages_over_the_bound_are_dropped_and_the_first_of_them_is_told_apart() {
        let outbox = Outbox::default();
        outbox.open();
        let large = frame::MAX_FRAME_BYTES;
        assert_eq!([push(&outbox, large), push(&outbox, large)], [Pushed::Queued; 2]);
        assert_eq!(push(&outbox, 1), Pushed::DroppedFirst);
        assert_eq!(push(&outbox, 1), Pushed::Dropped);
        assert!(outbox.buffers.borrow().len() <= MAX_LINK_BUFFER_BYTES + large);
    }

    #[test]
    fn a_keepalive_is_queued_only_when_nothing_else_goes_out() {
        let outbox = Outbox::default();
        outbox.open();
        outbox.busy.set(true);
        outbox.keep_alive();
        assert_eq!(outbox.buffers.borrow().len(), 0, "bytes left a moment ago");
        outbox.keep_alive();
        outbox.keep_alive();
        assert_eq!(outbox.buffers.borrow().queued[..], KEEPALIVE, "one keepalive waits, not two");
    }
}
