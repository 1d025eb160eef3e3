//! How answers come back to the connection that waits for them.
//!
//! Each connection has one [`ReplyQueue`]. All answers that are sent before its task runs again
//! wake it once and are written to the socket together. The queue is bounded by the calls a
//! connection may have open: each has one [`ReplyHandle`], and each handle pushes once.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

use super::backend::Reply;
use super::status::{Outcome, Status};

/// Answers that wait for a connection's next turn.
pub struct ReplyQueue {
    waker: Waker,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    replies: Vec<(u64, Reply)>,
    closed: bool,
}

/// The one chance to answer a call.
///
/// Dropped without an answer, it reports the answer as lost.
pub struct ReplyHandle {
    /// Taken when the answer is sent.
    queue: Option<Rc<ReplyQueue>>,
    token: u64,
    outcome_if_lost: Outcome,
}

impl ReplyQueue {
    /// A queue whose first answer after it was empty wakes `waker`.
    #[must_use]
    pub fn new(waker: Waker) -> Rc<ReplyQueue> {
        Rc::new(ReplyQueue { waker, state: RefCell::default() })
    }

    /// A handle that answers the call `token` of this queue's connection.
    #[must_use]
    pub fn handle(self: &Rc<Self>, token: u64, outcome_if_lost: Outcome) -> ReplyHandle {
        ReplyHandle { queue: Some(Rc::clone(self)), token, outcome_if_lost }
    }

    /// Moves all answers, oldest first, with the tokens of their calls, into `out`, which must be
    /// empty; its allocation serves the answers to come.
    pub fn drain_into(&self, out: &mut Vec<(u64, Reply)>) {
        assert!(out.is_empty(), "the answers of the last turn were not all sent");
        std::mem::swap(&mut self.state.borrow_mut().replies, out);
    }

    /// Whether no answer waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.borrow().replies.is_empty()
    }

    /// Drops all answers from now on: the connection is gone.
    pub fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.closed = true;
        let dropped = std::mem::take(&mut state.replies);
        // An answer may hold a list, whose end wakes its producer: not under the borrow.
        drop(state);
        drop(dropped);
    }

    fn push(&self, token: u64, reply: Reply) {
        let mut state = self.state.borrow_mut();
        if state.closed {
            return;
        }
        let first = state.replies.is_empty();
        state.replies.push((token, reply));
        drop(state);
        if first {
            self.waker.wake_by_ref();
        }
    }
}

impl ReplyHandle {
    /// Answers the call. Does nothing where the client is gone.
    pub fn send(mut self, reply: Reply) {
        let queue = self.queue.take().expect("only send takes the queue, and it takes the handle");
        queue.push(self.token, reply);
    }
}

impl Drop for ReplyHandle {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.push(self.token, Reply::Failed(Status::lost_reply(self.outcome_if_lost)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::grpc::status::Code;

    fn drained(queue: &ReplyQueue) -> Vec<(u64, Reply)> {
        let mut replies = Vec::new();
        queue.drain_into(&mut replies);
        replies
    }

    #[test]
    fn answers_come_out_in_the_order_they_were_sent() {
        let queue = ReplyQueue::new(Waker::noop().clone());
        let (one, two) = (queue.handle(1, Outcome::NotDone), queue.handle(2, Outcome::NotDone));
        two.send(Reply::Done);
        one.send(Reply::Done);
        assert_eq!(drained(&queue).iter().map(|(token, _)| *token).collect::<Vec<_>>(), [2, 1]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_handle_that_is_dropped_reports_a_lost_answer_and_what_that_means() {
        let queue = ReplyQueue::new(Waker::noop().clone());
        drop(queue.handle(7, Outcome::Unknown));
        let replies = drained(&queue);
        let [(7, Reply::Failed(status))] = replies.as_slice() else { panic!("no lost answer") };
        assert_eq!((status.code, status.outcome), (Code::Internal, Outcome::Unknown));
    }

    #[test]
    fn a_closed_queue_keeps_nothing() {
        let queue = ReplyQueue::new(Waker::noop().clone());
        let handle = queue.handle(1, Outcome::NotDone);
        queue.close();
        handle.send(Reply::Done);
        assert!(queue.is_empty());
    }
}
