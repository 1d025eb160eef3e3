//! A list on its way from the store to one client: a bounded channel of chunks between two tasks of
//! one executor.
//!
//! Either end may leave at any time and the other learns of it at once. (glommio's own local
//! channel leaves a sender that waits for room waiting for ever when its receiver is dropped.)

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use thiserror::Error;

use super::status::Status;

/// How large the producer of a list should make a chunk: enough to fill several DATA frames.
pub const LIST_CHUNK_BYTES: usize = 64 << 10;

/// How many chunks may wait for a slow client before their producer must wait.
pub const LIST_CHUNKS_WAITING: usize = 2;

/// One key of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListItem {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The revision of the write that made it.
    pub revision: u64,
}

/// Some items of a list, about [`LIST_CHUNK_BYTES`] of them, or the reason why it cannot go on.
pub type ListChunk = Result<Vec<ListItem>, Status>;

/// Nobody takes the list any more: its client is gone, or the call's deadline passed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("nobody takes the list any more")]
pub struct ListCancelled;

/// The producer's end. Dropping it ends the list well; an error chunk ends it with that error.
pub struct ListSender {
    channel: Rc<RefCell<Channel>>,
}

/// The client's end. Dropping it makes the producer's sends fail.
pub struct ListReceiver {
    channel: Rc<RefCell<Channel>>,
}

#[derive(Default)]
struct Channel {
    /// At most [`LIST_CHUNKS_WAITING`].
    chunks: VecDeque<ListChunk>,
    sender_gone: bool,
    receiver_gone: bool,
    /// Whom to wake when there is room, or nobody to take it.
    sender: Option<Waker>,
    /// Whom to wake when there is a chunk, or none will come.
    receiver: Option<Waker>,
}

/// The two ends of one list.
#[must_use]
pub fn list_channel() -> (ListSender, ListReceiver) {
    let channel = Rc::default();
    (ListSender { channel: Rc::clone(&channel) }, ListReceiver { channel })
}

impl ListSender {
    /// Hands over a chunk, once there is room for it.
    ///
    /// # Errors
    /// When the receiver was dropped, before or meanwhile; the chunk is dropped too.
    pub async fn send(&self, chunk: ListChunk) -> Result<(), ListCancelled> {
        let mut chunk = Some(chunk);
        poll_fn(|cx| self.poll_send(&mut chunk, cx)).await
    }

    /// Takes `chunk` when there is room for it; otherwise wakes the task later.
    fn poll_send(
        &self,
        chunk: &mut Option<ListChunk>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ListCancelled>> {
        let channel = &mut *self.channel.borrow_mut();
        if channel.receiver_gone {
            return Poll::Ready(Err(ListCancelled));
        }
        if channel.chunks.len() >= LIST_CHUNKS_WAITING {
            channel.sender = Some(cx.waker().clone());
            return Poll::Pending;
        }
        channel.chunks.extend(chunk.take());
        wake(&mut channel.receiver);
        Poll::Ready(Ok(()))
    }
}

impl ListReceiver {
    /// The next chunk; `None` after the last.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<ListChunk>> {
        let channel = &mut *self.channel.borrow_mut();
        if let Some(chunk) = channel.chunks.pop_front() {
            wake(&mut channel.sender);
            return Poll::Ready(Some(chunk));
        }
        if channel.sender_gone {
            return Poll::Ready(None);
        }
        channel.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ListSender {
    fn drop(&mut self) {
        let channel = &mut *self.channel.borrow_mut();
        channel.sender_gone = true;
        wake(&mut channel.receiver);
    }
}

impl Drop for ListReceiver {
    fn drop(&mut self) {
        let channel = &mut *self.channel.borrow_mut();
        channel.receiver_gone = true;
        channel.chunks.clear();
        wake(&mut channel.sender);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn chunk() -> ListChunk {
        Ok(vec![ListItem { key: "k".into(), value: "v".into(), revision: 1 }])
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn chunks_come_out_in_order_and_then_the_end() {
        let (sender, mut receiver) = list_channel();
        assert!(receiver.poll_next(&mut cx()).is_pending());
        assert!(pin!(sender.send(chunk())).poll(&mut cx()).is_ready());
        assert!(pin!(sender.send(Err(Status::no_leader()))).poll(&mut cx()).is_ready());
        drop(sender);
        assert_eq!(receiver.poll_next(&mut cx()), Poll::Ready(Some(chunk())));
        assert!(matches!(receiver.poll_next(&mut cx()), Poll::Ready(Some(Err(_)))));
        assert_eq!(receiver.poll_next(&mut cx()), Poll::Ready(None));
    }

    #[test]
    fn a_full_channel_makes_its_sender_wait() {
        let (sender, mut receiver) = list_channel();
        for _ in 0..LIST_CHUNKS_WAITING {
            assert!(pin!(sender.send(chunk())).poll(&mut cx()).is_ready());
        }
        let mut waiting = pin!(sender.send(chunk()));
        assert!(waiting.as_mut().poll(&mut cx()).is_pending());
        assert!(receiver.poll_next(&mut cx()).is_ready());
        assert_eq!(waiting.as_mut().poll(&mut cx()), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_sender_that_waits_learns_that_nobody_takes_the_list() {
        let (sender, receiver) = list_channel();
        for _ in 0..LIST_CHUNKS_WAITING {
            assert!(pin!(sender.send(chunk())).poll(&mut cx()).is_ready());
        }
        let mut waiting = pin!(sender.send(chunk()));
        assert!(waiting.as_mut().poll(&mut cx()).is_pending());
        drop(receiver);
        assert_eq!(waiting.as_mut().poll(&mut cx()), Poll::Ready(Err(ListCancelled)));
    }
}
