//! The table of outgoing links, one a peer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::BytesMut;
use glommio::Task;

use super::link::Link;
use super::{Local, spawn_later};
use crate::types::NodeId;

/// All outgoing links of this node.
pub(super) struct Links {
    local: Rc<Local>,
    table: RefCell<BTreeMap<NodeId, Running>>,
    /// Once closed, no link is made any more.
    closed: Cell<bool>,
}

struct Running {
    link: Rc<Link>,
    task: Task<()>,
}

impl Links {
    /// No links yet.
    pub(super) fn new(local: Rc<Local>) -> Rc<Links> {
        Rc::new(Links { local, table: RefCell::default(), closed: Cell::new(false) })
    }

    /// Starts a link to `peer`, or gives the one there is a new address.
    pub(super) fn set(&self, peer: NodeId, target: String) {
        assert!(peer != self.local.node, "a node has no link to itself");
        if self.closed.get() {
            return;
        }
        if let Some(running) = self.table.borrow().get(&peer) {
            running.link.retarget(Some(target));
            return;
        }
        let link = Link::new(Rc::clone(&self.local), peer, target);
        let task = {
            let link = Rc::clone(&link);
            spawn_later(async move { link.run().await })
        };
        self.table.borrow_mut().insert(peer, Running { link, task });
    }

    /// Ends the link to `peer`, if there is one, once it has sent what it took.
    pub(super) fn remove(&self, peer: NodeId) {
        if let Some(running) = self.table.borrow_mut().remove(&peer) {
            running.link.retarget(None);
            running.task.detach();
        }
    }

    /// Queues a message for `peer`, whose bytes `write` appends. False when it was dropped.
    pub(super) fn send(&self, peer: NodeId, write: impl FnOnce(&mut BytesMut)) -> bool {
        self.table.borrow().get(&peer).is_some_and(|running| running.link.send(write))
    }

    /// Tells that there is reason to dial `peer` at once, if it is not reached already.
    pub(super) fn nudge(&self, peer: NodeId) {
        if let Some(running) = self.table.borrow().get(&peer) {
            running.link.nudge();
        }
    }

    /// Tells that there is reason to dial all peers at once.
    pub(super) fn nudge_all(&self) {
        for running in self.table.borrow().values() {
            running.link.nudge();
        }
    }

    /// Ends all links, and returns when each has sent what it took or ran out of time.
    pub(super) async fn close(&self) {
        self.closed.set(true);
        let table = self.table.take();
        for running in table.values() {
            running.link.retarget(None);
        }
        for running in table.into_values() {
            running.task.await;
        }
    }
}
