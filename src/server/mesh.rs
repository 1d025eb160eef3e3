//! Work that crosses from one executor to another, in batches.
//!
//! Each executor has a post: what it addresses to itself is handled at once, what it addresses to
//! another is gathered and leaves in one message at the end of the turn. Waking another core costs
//! more than twice as much as staying on one, so one message carries all that a turn produced.
//!
//! The gathered work is bounded by what may be in flight at all: the requests of bounded connections
//! with bounded streams, and the entries that consensus lets be in flight.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use glommio::channels::channel_mesh::{Receivers, Senders};

use super::envelope::{Answer, Envelope};
use crate::node::Ticket;
use crate::rpc::wait::Signal;
use crate::types::Slot;

/// Batches that may be under way between two executors before the sender waits.
pub(super) const CHANNEL_BATCHES: usize = 128;

/// The executor that runs the node, the disk and the peer links.
pub(super) const NODE_EXECUTOR: usize = 0;

/// Who handles what arrives on this executor.
pub(super) trait Addressee {
    /// Handles one thing, at once.
    fn receive(&self, envelope: Envelope);
}

/// One executor's post.
pub(super) struct Post {
    local: usize,
    addressee: OnceCell<Rc<dyn Addressee>>,
    lanes: Vec<Lane>,
    last_ticket: Cell<u64>,
}

#[derive(Default)]
struct Lane {
    gathered: RefCell<Vec<Envelope>>,
    signal: Signal,
}

impl Post {
    pub(super) fn new(local: usize, executors: usize) -> Rc<Post> {
        let lanes = (0..executors).map(|_| Lane::default()).collect();
        Rc::new(Post { local, addressee: OnceCell::new(), lanes, last_ticket: Cell::new(0) })
    }

    /// Names who handles what arrives here. Called once, before anything is sent.
    pub(super) fn deliver_to(&self, addressee: Rc<dyn Addressee>) {
        assert!(self.addressee.set(addressee).is_ok(), "an executor has one addressee");
    }

    /// How many executors there are.
    pub(super) fn executors(&self) -> usize {
        self.lanes.len()
    }

    /// The executor this post belongs to.
    pub(super) fn local(&self) -> usize {
        self.local
    }

    /// The executor whose shard owns `key`.
    pub(super) fn owner(&self, key: &[u8]) -> usize {
        usize::from(Slot::of(key).0) % self.executors()
    }

    /// Sends `envelope` to an executor, which may be this one.
    pub(super) fn send(&self, to: usize, envelope: Envelope) {
        if to == self.local {
            self.receive(envelope);
        } else {
            let lane = &self.lanes[to];
            lane.gathered.borrow_mut().push(envelope);
            lane.signal.raise();
        }
    }

    /// A ticket that no executor has made before.
    pub(super) fn new_ticket(&self) -> Ticket {
        let number = self.last_ticket.get() + 1;
        assert!(number < 1 << TICKET_BITS, "an executor numbers its requests with 48 bits");
        self.last_ticket.set(number);
        Ticket((self.local as u64) << TICKET_BITS | number)
    }

    /// Sends an answer to the executor that made `ticket`.
    pub(super) fn answer(&self, ticket: Ticket, answer: Answer) {
        self.send(ticket_executor(ticket), Envelope::Answer(ticket, answer));
    }

    /// Carries batches to and from the other executors until they are gone.
    pub(super) fn connect(
        self: &Rc<Post>,
        senders: Senders<Vec<Envelope>>,
        mut receivers: Receivers<Vec<Envelope>>,
    ) {
        let senders = Rc::new(senders);
        for to in (0..self.lanes.len()).filter(|to| *to != self.local) {
            let (post, senders) = (Rc::clone(self), Rc::clone(&senders));
            glommio::spawn_local(async move { post.carry_out(to, &senders).await }).detach();
        }
        for (_from, receiver) in receivers.streams() {
            let post = Rc::clone(self);
            glommio::spawn_local(async move {
                while let Some(batch) = receiver.recv().await {
                    batch.into_iter().for_each(|envelope| post.receive(envelope));
                }
            })
            .detach();
        }
    }

    async fn carry_out(&self, to: usize, senders: &Senders<Vec<Envelope>>) {
        let lane = &self.lanes[to];
        loop {
            lane.signal.wait().await;
            let batch = lane.gathered.take();
            // The receiver is gone only when its executor has stopped, and then all of them stop.
            if !batch.is_empty() && senders.send_to(to, batch).await.is_err() {
                return;
            }
        }
    }

    fn receive(&self, envelope: Envelope) {
        self.addressee.get().expect("the addressee was named first").receive(envelope);
    }
}

/// Bits of a ticket that number the requests of one executor.
const TICKET_BITS: u32 = 48;

/// The executor that made `ticket`.
pub(super) fn ticket_executor(ticket: Ticket) -> usize {
    (ticket.0 >> TICKET_BITS) as usize
}
