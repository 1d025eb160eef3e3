//! Who this member is, and how patient it is.

use std::net::SocketAddr;

use crate::types::{ClusterId, NodeId};

use super::wire::{MAX_LABEL_BYTES, MAX_PACKET_BYTES, MIN_PACKET_BYTES};

/// What this member says about itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id kept in the data directory.
    pub id: NodeId,
    /// The label people know it by, at most 255 bytes. Another member may have used it before.
    pub name: String,
    /// The cluster it belongs to, if it has joined one already.
    pub cluster: Option<ClusterId>,
    /// Where gossip reaches it, datagrams and streams alike; a concrete address, never `0.0.0.0`.
    pub addr: SocketAddr,
    /// `host:port` for its Raft peers, at most 255 bytes. It may hold a DNS name.
    pub peer_addr: String,
    /// `host:port` for clients, at most 255 bytes.
    pub rpc_addr: String,
    /// The first incarnation of this process: the wall clock in Unix milliseconds at its start, so
    /// that it outbids whatever was said of its earlier self.
    pub incarnation: u64,
}

/// Everything [`Gossip::new`](super::Gossip::new) needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who this member is.
    pub identity: Identity,
    /// The protocol period of SWIM §3.1: one member is probed in each.
    pub probe_interval_ms: u64,
    /// How long a direct probe may take before others are asked to help; shorter than
    /// `probe_interval_ms` by at least a round trip through another member.
    pub probe_timeout_ms: u64,
    /// How many members are asked to probe indirectly (k in SWIM §3.1).
    pub indirect_probes: usize,
    /// Alpha of Lifeguard §IV-B: the shortest suspicion lasts this many periods, times the number
    /// of decimal digits of the cluster's size.
    pub suspicion_multiplier: u64,
    /// Beta of Lifeguard §IV-B: the longest suspicion lasts this many times the shortest.
    pub suspicion_max_factor: u64,
    /// How often rumours are sent on their own, beside those that ride on probes.
    pub gossip_interval_ms: u64,
    /// To how many members each time.
    pub gossip_fanout: usize,
    /// Lambda of SWIM §4.1: a rumour is sent this many times, times the number of decimal digits of
    /// the cluster's size.
    pub transmit_multiplier: u32,
    /// How often the whole table is exchanged with one random member.
    pub push_pull_interval_ms: u64,
    /// How long a dead or departed member is remembered; at most `u32::MAX`.
    pub forget_after_ms: u64,
    /// The largest datagram sent, in bytes.
    pub packet_bytes: usize,
    /// Decides every random choice.
    pub seed: u64,
}

impl Config {
    /// Settings for a network whose round trips stay well below 200 ms: a crashed member of a small
    /// cluster is found dead after about three seconds.
    #[must_use]
    pub fn lan(identity: Identity, seed: u64) -> Config {
        Config {
            identity,
            probe_interval_ms: 500,
            probe_timeout_ms: 200,
            indirect_probes: 3,
            suspicion_multiplier: 4,
            suspicion_max_factor: 6,
            gossip_interval_ms: 200,
            gossip_fanout: 3,
            transmit_multiplier: 4,
            push_pull_interval_ms: 30_000,
            forget_after_ms: 24 * 60 * 60 * 1000,
            packet_bytes: 1400,
            seed,
        }
    }

    /// Refuses settings under which the protocol could not work.
    ///
    /// # Panics
    /// When a setting is outside what its field says: the command line has checked what users give.
    pub(super) fn check(&self) {
        let Identity { id, name, addr, peer_addr, rpc_addr, .. } = &self.identity;
        assert!(id.0 != 0, "a node id is never zero");
        assert!(!addr.ip().is_unspecified(), "{addr} is no address that others can reach");
        for label in [name, peer_addr, rpc_addr] {
            assert!(label.len() <= MAX_LABEL_BYTES, "the label {label:?} is too long");
        }
        assert!(self.probe_timeout_ms > 0, "a probe needs time");
        assert!(self.probe_timeout_ms < self.probe_interval_ms, "no time for indirect probes");
        assert!(self.suspicion_multiplier > 0, "a suspect needs time to refute");
        assert!(
            self.suspicion_max_factor > 0,
            "the longest suspicion is shorter than the shortest"
        );
        assert!(self.gossip_interval_ms > 0, "the gossip interval is zero");
        assert!(self.transmit_multiplier > 0, "rumours would never be sent");
        assert!(self.push_pull_interval_ms > 0, "the push-pull interval is zero");
        assert!(self.forget_after_ms <= u64::from(u32::MAX), "the dead are remembered too long");
        assert!(
            (MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&self.packet_bytes),
            "a packet has {MIN_PACKET_BYTES} to {MAX_PACKET_BYTES} bytes"
        );
    }
}

/// The number of decimal digits of a cluster's size: the rounded-up logarithm by which SWIM §4.1 and
/// Lifeguard §IV-B stretch transmissions and suspicions.
pub(super) fn scale(members: usize) -> u32 {
    members.max(1).ilog10() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_grows_with_the_logarithm_of_the_cluster() {
        let sizes = [0, 1, 9, 10, 99, 100, 256];
        assert_eq!(sizes.map(scale), [1, 1, 1, 2, 2, 3, 3]);
    }
}
