//! A member of another cluster that knocks at every door: wrong addresses are copied all the time.
//!
//! It speaks the same protocol and is in earnest: it sends packets and asks for push-pulls. No server
//! may learn of it (the cluster's id stands in every message), and nothing must come of it.

use std::net::SocketAddr;

use bytes::Bytes;

use super::plan::Plan;
use crate::gossip::{Config, Effect, Gossip, Identity};
use crate::prng::Prng;
use crate::types::{ClusterId, NodeId};

/// Its identity: no server of the cluster under test has it.
pub(super) const STRANGER: NodeId = NodeId(u64::MAX);
/// How often it asks everybody, in ms.
const ASK_INTERVAL_MS: u64 = 20_000;

/// The stranger.
#[derive(Debug)]
pub(super) struct Stranger {
    gossip: Gossip,
    ask_at_ms: u64,
}

/// What it sends.
#[derive(Debug)]
pub(super) enum Sent {
    Packet { to: SocketAddr, bytes: Bytes },
    PushPull { to: SocketAddr, bytes: Bytes },
}

impl Stranger {
    pub(super) fn new(plan: &Plan, now_us: u64) -> Stranger {
        let mut prng = Prng::new(plan.seed ^ 0x7374_7261);
        let identity = Identity {
            id: STRANGER,
            name: "stranger".to_owned(),
            cluster: Some(ClusterId(prng.next_u64().max(1))),
            addr: Stranger::addr(),
            peer_addr: Stranger::addr().to_string(),
            rpc_addr: "stranger:8400".to_owned(),
            incarnation: 1,
        };
        let gossip = Gossip::new(Config::lan(identity, prng.next_u64()), now_us / 1_000);
        Stranger { gossip, ask_at_ms: now_us / 1_000 }
    }

    /// Where it is.
    pub(super) fn addr() -> SocketAddr {
        ([10, 9, 9, 250], 8401).into()
    }

    /// Its time has come: it sends something, and says when it wants to be called again, in us.
    pub(super) fn act(&mut self, hosts: &[SocketAddr], now_us: u64) -> (Vec<Sent>, u64) {
        let now_ms = now_us / 1_000;
        self.gossip.tick(now_ms);
        if now_ms >= self.ask_at_ms {
            self.ask_at_ms = now_ms + ASK_INTERVAL_MS;
            self.gossip.join(hosts, now_ms);
        }
        let mut sent = Vec::new();
        while let Some(effect) = self.gossip.poll() {
            match effect {
                Effect::SendPacket { to, bytes } => sent.push(Sent::Packet { to, bytes }),
                Effect::PushPull { to, bytes } => sent.push(Sent::PushPull { to, bytes }),
                Effect::Changed(_) => {}
            }
        }
        (sent, now_us + ASK_INTERVAL_MS * 1_000)
    }
}
