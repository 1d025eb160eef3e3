//! What the driver is asked to do, until it has fetched it.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;

use crate::types::NodeId;

use super::member::Member;

/// The most messages that wait to be sent. When there are more, new ones are dropped, as the network
/// itself might; every part of the protocol survives that.
const MAX_SENDS: usize = 1024;

/// Something for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send one datagram.
    SendPacket {
        /// To where.
        to: SocketAddr,
        /// The whole datagram.
        bytes: Bytes,
    },
    /// Send a request over a stream, and give its reply to
    /// [`push_pull_reply`](super::Gossip::push_pull_reply), or the lack of one to
    /// [`push_pull_failed`](super::Gossip::push_pull_failed).
    PushPull {
        /// To where.
        to: SocketAddr,
        /// The whole request.
        bytes: Bytes,
    },
    /// A member is new, or anything but the `since_ms` of a known one has changed. Changes that come
    /// between two polls are reported once. Forgetting a member is not reported.
    Changed(Member),
}

/// Effects in the order in which they are handed out: changes first, then messages as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    /// At most one a member, so it needs no limit of its own.
    changed: BTreeSet<NodeId>,
    /// At most [`MAX_SENDS`], and never [`Effect::Changed`].
    sends: VecDeque<Effect>,
}

impl Outbox {
    pub(super) fn changed(&mut self, id: NodeId) {
        self.changed.insert(id);
    }

    pub(super) fn packet(&mut self, to: SocketAddr, bytes: Bytes) {
        self.push(Effect::SendPacket { to, bytes });
    }

    pub(super) fn push_pull(&mut self, to: SocketAddr, bytes: Bytes) {
        self.push(Effect::PushPull { to, bytes });
    }

    pub(super) fn pop_changed(&mut self) -> Option<NodeId> {
        self.changed.pop_first()
    }

    pub(super) fn pop_send(&mut self) -> Option<Effect> {
        self.sends.pop_front()
    }

    fn push(&mut self, effect: Effect) {
        if self.sends.len() < MAX_SENDS {
            self.sends.push_back(effect);
        }
    }
}
