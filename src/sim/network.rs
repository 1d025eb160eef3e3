//! What lies between machines: paths that delay, lose, repeat, reorder and change what they carry.
//!
//! Datagrams suffer all of that. Peer links are connections: what arrives is whole and in order, as
//! their frames' checksums and TCP make sure, until a connection breaks and takes with it what was
//! on its way. That is the promise of the real transport. With [`Fault::Duplication`],
//! [`Fault::Reordering`] and [`Fault::Loss`] the messages of consensus get less than it: Raft must
//! live with any network (Raft §5).

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use super::plan::{Fault, Plan};
use crate::prng::Prng;

/// Where a message goes: from one host, by number, to another.
pub(super) type Path = (usize, usize);

/// One in so many of what is sent meets a fault while it is on.
const ONE_IN: u64 = 30;
/// Now and then something takes this many times as long.
const SLOW_FACTOR: u64 = 40;

/// All paths.
#[derive(Debug)]
pub(super) struct Network {
    prng: Prng,
    latency_us: (u64, u64),
    loses: bool,
    repeats: bool,
    reorders: bool,
    corrupts: bool,
    /// Paths on which nothing arrives.
    blocked: BTreeSet<Path>,
    /// Whether nothing goes wrong but what is blocked: the liveness phase.
    is_calm: bool,
}

/// What became of one message.
#[derive(Debug)]
pub(super) struct Delivery {
    /// How long it takes.
    pub(super) after_us: u64,
    pub(super) bytes: Bytes,
    /// Whether it may overtake what was sent before it.
    pub(super) is_loose: bool,
}

impl Network {
    pub(super) fn new(plan: &Plan) -> Network {
        Network {
            prng: Prng::new(plan.seed ^ 0x6e65_7477),
            latency_us: plan.latency_us,
            loses: plan.has(Fault::Loss),
            repeats: plan.has(Fault::Duplication),
            reorders: plan.has(Fault::Reordering),
            corrupts: plan.has(Fault::Corruption),
            blocked: BTreeSet::new(),
            is_calm: false,
        }
    }

    /// Ends everything but what is blocked.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
    }

    pub(super) fn block(&mut self, path: Path) {
        self.blocked.insert(path);
    }

    pub(super) fn unblock(&mut self, path: Path) {
        self.blocked.remove(&path);
    }

    /// Opens all paths.
    pub(super) fn heal(&mut self) {
        self.blocked.clear();
    }

    pub(super) fn is_open(&self, path: Path) -> bool {
        !self.blocked.contains(&path)
    }

    /// Whether a connection can be made.
    pub(super) fn connects(&self, (from, to): Path) -> bool {
        self.is_open((from, to)) && self.is_open((to, from))
    }

    /// How long something takes from one host to another.
    pub(super) fn delay_us(&mut self) -> u64 {
        let (least, most) = self.latency_us;
        let delay_us = least + self.prng.below(most - least + 1);
        let is_slow = !self.is_calm && self.prng.below(1_000) == 0;
        if is_slow { delay_us * SLOW_FACTOR } else { delay_us }
    }

    /// Sends a datagram: it arrives once, not at all, or twice, whole or not.
    pub(super) fn datagram(&mut self, path: Path, bytes: Bytes) -> Vec<Delivery> {
        if !self.is_open(path) || self.strikes(self.loses) {
            return Vec::new();
        }
        let copies = 1 + u64::from(self.strikes(self.repeats));
        (0..copies).map(|_| self.loose(bytes.clone())).collect()
    }

    /// Sends a message of consensus over an open link. Nothing arrives when it is lost.
    pub(super) fn consensus_message(&mut self, bytes: Bytes) -> Vec<Delivery> {
        if self.strikes(self.loses) {
            return Vec::new();
        }
        let mut deliveries = vec![self.message(bytes.clone())];
        deliveries[0].is_loose = self.strikes(self.reorders);
        if self.strikes(self.repeats) {
            let again = self.message(bytes);
            deliveries.push(Delivery {
                after_us: again.after_us * (1 + self.prng.below(20)),
                is_loose: true,
                ..again
            });
        }
        deliveries
    }

    /// Sends a message over an open link.
    pub(super) fn message(&mut self, bytes: Bytes) -> Delivery {
        Delivery { after_us: self.delay_us(), bytes, is_loose: false }
    }

    /// Whether a frame on a link is damaged on its way: its checksum tells, and the link breaks.
    pub(super) fn breaks_frame(&mut self) -> bool {
        self.corrupts && self.strikes(true) && self.prng.below(10) == 0
    }

    fn loose(&mut self, bytes: Bytes) -> Delivery {
        let bytes = if self.strikes(self.corrupts) { self.corrupt(&bytes) } else { bytes };
        Delivery { after_us: self.delay_us(), bytes, is_loose: true }
    }

    fn corrupt(&mut self, bytes: &Bytes) -> Bytes {
        let mut bytes = BytesMut::from(&bytes[..]);
        let at = self.prng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << self.prng.below(8);
        bytes.freeze()
    }

    fn strikes(&mut self, is_on: bool) -> bool {
        is_on && !self.is_calm && self.prng.below(ONE_IN) == 0
    }
}
