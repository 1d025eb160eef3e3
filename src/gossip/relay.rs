//! Probes made for others: the helper's side of an indirect probe (SWIM §3.1, nacks of Lifeguard
//! §IV-A).
//!
//! ```text
//!   origin            helper            target
//!     | ping-req seq=5   |                 |
//!     |----------------->| ping seq=90     |
//!     |                  |---------------->|
//!     |                  |       ack seq=90|
//!     |        ack seq=5 |<----------------|      or, at 80 % of the probe timeout, a nack to the
//!     |<-----------------|                 |      origin; a later ack is still passed on
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::types::NodeId;

/// The most probes made for others at a time. A request beyond that is answered by a nack at once:
/// we are well, and did hear nothing.
const MAX_RELAYS: usize = 256;

/// Whoever asked for a probe, and under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) addr: SocketAddr,
    pub(super) id: NodeId,
    pub(super) seq: u32,
}

/// The probes under way, by this node's own sequence number.
#[derive(Clone, Debug, Default)]
pub(super) struct Relays {
    relays: BTreeMap<u32, Relay>,
}

#[derive(Clone, Debug)]
struct Relay {
    origin: Origin,
    target: NodeId,
    /// Until the nack is sent.
    nack_at_ms: Option<u64>,
    expires_ms: u64,
}

impl Relays {
    /// Notes a probe of `target` that is about to be sent as `seq`; says whether there was room.
    pub(super) fn begin(
        &mut self,
        seq: u32,
        target: NodeId,
        origin: Origin,
        now_ms: u64,
        timeout_ms: u64,
    ) -> bool {
        if self.relays.len() >= MAX_RELAYS {
            return false;
        }
        let nack_at_ms = Some(now_ms + timeout_ms * 4 / 5);
        // The origin's period has long ended by then, however it counts.
        let expires_ms = now_ms + 4 * timeout_ms;
        self.relays.insert(seq, Relay { origin, target, nack_at_ms, expires_ms });
        true
    }

    /// Takes an ack; returns to whom it has to be passed on.
    pub(super) fn ack(&mut self, seq: u32, sender: NodeId) -> Option<Origin> {
        if self.relays.get(&seq)?.target != sender {
            return None;
        }
        self.relays.remove(&seq).map(|relay| relay.origin)
    }

    /// Returns who must be sent a nack now, and drops what nobody waits for any more.
    pub(super) fn nacks(&mut self, now_ms: u64) -> Vec<Origin> {
        let mut nacks = Vec::new();
        for relay in self.relays.values_mut() {
            if relay.nack_at_ms.take_if(|at_ms| *at_ms <= now_ms).is_some() {
                nacks.push(relay.origin);
            }
        }
        self.relays.retain(|_, relay| relay.expires_ms > now_ms);
        nacks
    }

    /// When there is something to do.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.relays.values().map(|relay| relay.nack_at_ms.unwrap_or(relay.expires_ms)).min()
    }

    /// Makes every deadline later.
    pub(super) fn postpone(&mut self, by_ms: u64) {
        for relay in self.relays.values_mut() {
            relay.expires_ms += by_ms;
            if let Some(nack_at_ms) = &mut relay.nack_at_ms {
                *nack_at_ms += by_ms;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::addr;
    use super::*;

    const TARGET: NodeId = NodeId(9);

    fn origin(seq: u32) -> Origin {
        Origin { addr: addr(1), id: NodeId(1), seq }
    }

    #[test]
    fn an_ack_is_passed_on_once_and_only_from_the_target() {
        let mut relays = Relays::default();
        assert!(relays.begin(90, TARGET, origin(5), 0, 200));
        assert_eq!(relays.ack(90, NodeId(8)), None);
        assert_eq!(relays.ack(90, TARGET), Some(origin(5)));
        assert_eq!(relays.ack(90, TARGET), None);
    }

    #[test]
    fn a_nack_comes_at_four_fifths_and_an_ack_may_still_follow() {
        let mut relays = Relays::default();
        assert!(relays.begin(90, TARGET, origin(5), 0, 200));
        assert_eq!(relays.nacks(159), []);
        assert_eq!(relays.deadline_ms(), Some(160));
        assert_eq!(relays.nacks(160), [origin(5)]);
        assert_eq!(relays.nacks(161), []);
        assert_eq!(relays.clone().ack(90, TARGET), Some(origin(5)));
        assert_eq!(relays.deadline_ms(), Some(800));
        assert_eq!(relays.nacks(800), []);
        assert_eq!(relays.ack(90, TARGET), None);
    }

    #[test]
    fn there_is_a_limit() {
        let mut relays = Relays::default();
        for seq in 0..MAX_RELAYS as u32 {
            assert!(relays.begin(seq, TARGET, origin(seq), 0, 200));
        }
        assert!(!relays.begin(1000, TARGET, origin(1000), 0, 200));
    }
}
