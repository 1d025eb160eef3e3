//! The exchange of whole tables over a stream: how a node joins, and what mends whatever the rumours
//! missed. The receiver merges the request before it replies, so both know the same afterwards.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::types::ClusterId;

use super::Gossip;
use super::member::{State, may_mix};
use super::message::{Half, PacketError, PushPull};
use super::wire::{self, Writer};

impl Gossip {
    /// Takes a request that came over a stream; the reply goes back on the same stream.
    ///
    /// # Errors
    /// When it is damaged, of another version or cluster, or no request. It then has no effect, and
    /// the driver closes the stream.
    pub fn push_pull_request(&mut self, bytes: &[u8], now_ms: u64) -> Result<Bytes, PacketError> {
        self.forgive_stall(now_ms);
        let PushPull { half, sender, claims } = wire::decode_push_pull(bytes)?;
        match half {
            Half::Request => self.check_sender(sender)?,
            Half::Reply => return Err(PacketError::Field("half of the exchange")),
        }
        self.hear_all(claims, now_ms);
        Ok(self.whole_table(Half::Reply, sender.cluster, now_ms))
    }

    /// Takes the reply to a request of this node's; returns the cluster of whoever sent it.
    ///
    /// # Errors
    /// When it is damaged, of another version or cluster, or no reply. It then has no effect.
    pub fn push_pull_reply(
        &mut self,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<Option<ClusterId>, PacketError> {
        self.forgive_stall(now_ms);
        let PushPull { half, sender, claims } = wire::decode_push_pull(bytes)?;
        match half {
            Half::Reply => self.check_sender(sender)?,
            Half::Request => return Err(PacketError::Field("half of the exchange")),
        }
        self.hear_all(claims, now_ms);
        Ok(sender.cluster)
    }

    /// A request of this node's got no reply. Another member is asked after a probe interval; while
    /// there is none, it is for the driver to [`join`](Gossip::join) again.
    pub fn push_pull_failed(&mut self, now_ms: u64) {
        self.forgive_stall(now_ms);
        let retry_ms = now_ms + self.config.probe_interval_ms;
        self.next_push_pull_ms = self.next_push_pull_ms.min(retry_ms);
    }

    /// Asks whoever is at `to` for its table; `cluster` is what is known of theirs.
    pub(super) fn request_push_pull(
        &mut self,
        to: SocketAddr,
        cluster: Option<ClusterId>,
        now_ms: u64,
    ) {
        let request = self.whole_table(Half::Request, cluster, now_ms);
        self.outbox.push_pull(to, request);
    }

    /// Exchanges tables with one random member.
    pub(super) fn push_pull_round(&mut self, now_ms: u64) {
        let candidates = self.table.others(State::is_live);
        for id in self.pick(candidates, 1) {
            let partner = self.table.get(id).map(|member| (member.addr, member.cluster));
            let (to, cluster) = partner.expect("it was picked from the table");
            self.request_push_pull(to, cluster, now_ms);
        }
    }

    /// All that a member of `cluster` may hear.
    fn whole_table(&self, half: Half, cluster: Option<ClusterId>, now_ms: u64) -> Bytes {
        let mut writer = Writer::push_pull(self.as_sender(), half);
        for member in self.table.members().filter(|member| may_mix(member.cluster, cluster)) {
            if let Some(claim) = self.table.claim(member.id, now_ms) {
                let fits = writer.push(&claim);
                assert!(fits, "a whole table fits into its message");
            }
        }
        writer.finish()
    }
}
