//! Who is there: SWIM with Lifeguard, as a pure state machine.
//!
//! Every member keeps a table of all members. Three things keep the tables right:
//!
//! - **Detection** (`probe`, `relay`). Once a period each member pings one other, in shuffled
//!   turns. If no ack comes, it asks k others to ping it too, in case only the path between the two
//!   is bad. If still no ack comes, the target becomes a suspect.
//! - **Suspicion** (`suspicion`, `member`). A suspect is told (every packet to it says so first)
//!   and refutes by raising its incarnation. If it does not, it is dead. The more members accuse
//!   it of their own knowledge, the sooner.
//! - **Dissemination** (`dissemination`, `push_pull`). News rides on the packets of probes and on
//!   gossip packets to a few random members, each piece O(log n) times. Whole tables are exchanged
//!   over a stream when a node joins, and now and then, for what the rumours missed.
//!
//! ```text
//!     a          b          c          d
//!     |--ping--->x          |          |      the path from a to b is bad
//!     |--ping-req---------->|          |
//!     |--ping-req--------------------->|
//!     |          |<--ping---|          |
//!     |          |---ack--->|          |
//!     |<---------------ack--|          |      so b is alive all the same
//! ```
//!
//! `table` draws a member's states and `wire` the bytes.
//!
//! **A node that stalls does not blame others** (Lifeguard's point). Two things see to that: a local
//! `health` score slows down a node that sees failures everywhere, and a node that was called much
//! later than it had asked for treats that time as if it had not been: it may have answers in its
//! socket that it could not read, so it moves all its deadlines before it judges anybody.
//!
//! **The dead are not given up.** Once a period one random dead member is pinged and told that it
//! counts as dead. So the halves of a healed partition find each other without help.
//!
//! **Clusters do not mix.** Every message carries its sender's cluster, every member's metadata its
//! own. Two different ones refuse each other; a node without one may talk with both.
//!
//! What is absent on purpose: no clock (`now_ms` comes in, monotonic), no randomness but the seed, no
//! I/O (effects go out), no authentication (the network is trusted, as Raft's is), and no decision
//! that matters: this is a hint about who can be reached. Only the Raft leader changes the cluster.
//!
//! Sources: Das, Gupta, Motivala, "SWIM" (DSN 2002); Dadgar, Phillips, Currey, "Lifeguard" (2017,
//! arXiv 1707.00788).

mod config;
mod cycle;
mod dissemination;
mod effect;
mod health;
mod hearsay;
mod member;
mod message;
mod probe;
mod push_pull;
#[cfg(test)]
mod random;
mod relay;
#[cfg(test)]
mod scripts;
mod suspicion;
mod table;
#[cfg(test)]
mod testing;
mod wire;

use std::net::SocketAddr;

use crate::prng::Prng;
use crate::types::{ClusterId, NodeId};

pub use config::{Config, Identity};
pub use effect::Effect;
pub use member::{Member, State};
pub use message::PacketError;
pub use wire::MAX_PUSH_PULL_BYTES;

use dissemination::Rumours;
use effect::Outbox;
use health::Health;
use member::may_mix;
use message::{Body, Packet, Sender};
use probe::Prober;
use relay::{Origin, Relays};
use table::Table;

/// One member's side of the protocol.
///
/// The driver calls [`tick`](Gossip::tick) at [`next_deadline_ms`](Gossip::next_deadline_ms), hands in
/// whatever the network brings, and after every call fetches the effects with
/// [`poll`](Gossip::poll) until there are none.
#[derive(Clone, Debug)]
pub struct Gossip {
    config: Config,
    prng: Prng,
    table: Table,
    rumours: Rumours,
    prober: Prober,
    relays: Relays,
    health: Health,
    outbox: Outbox,
    /// The sequence number of the next ping, be it our own or for another.
    next_seq: u32,
    next_gossip_ms: u64,
    next_push_pull_ms: u64,
    refused_claims: u64,
    counts: Counts,
}

/// What has happened since the start, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Own probes that nobody answered, neither the target nor through helpers.
    pub probe_failures: u64,
    /// How often this node outbid what others said of it.
    pub refutations: u64,
}

impl Gossip {
    /// A node that knows only itself.
    ///
    /// # Panics
    /// When a setting of `config` is outside what its documentation says.
    #[must_use]
    pub fn new(config: Config, now_ms: u64) -> Gossip {
        config.check();
        let mut prng = Prng::new(config.seed);
        // Nodes that start together shall not probe and exchange tables in step for ever.
        let prober = Prober::new(now_ms + prng.below(config.probe_interval_ms));
        let next_gossip_ms = now_ms + prng.below(config.gossip_interval_ms);
        let next_push_pull_ms = now_ms + prng.below(config.push_pull_interval_ms);
        let own = Member::starting(config.identity.clone(), now_ms);
        let mut rumours = Rumours::default();
        rumours.push(own.id);
        Gossip {
            table: Table::new(own),
            rumours,
            prober,
            relays: Relays::default(),
            health: Health::default(),
            outbox: Outbox::default(),
            next_seq: prng.next_u64() as u32,
            next_gossip_ms,
            next_push_pull_ms,
            refused_claims: 0,
            counts: Counts::default(),
            prng,
            config,
        }
    }

    /// Asks each of `seeds` for its table. To be called again, with names resolved anew, until
    /// [`is_alone`](Gossip::is_alone) is false; and whenever it becomes true again.
    pub fn join(&mut self, seeds: &[SocketAddr], now_ms: u64) {
        self.forgive_stall(now_ms);
        let own = self.config.identity.addr;
        for seed in seeds.iter().filter(|seed| **seed != own) {
            self.request_push_pull(*seed, None, now_ms);
        }
    }

    /// Whether no other member is alive or suspect, as far as this node knows.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.table.others(State::is_live).is_empty()
    }

    /// This node has become a member of `cluster`: tells the others, and forgets those of different
    /// clusters. Saying it again changes nothing.
    ///
    /// # Panics
    /// When it already belongs to a different one: a node changes its cluster never.
    pub fn set_cluster(&mut self, cluster: ClusterId) {
        match self.table.own().cluster {
            Some(known) => assert!(known == cluster, "a member of {known} cannot join {cluster}"),
            None => {
                self.table.declare(|own| {
                    own.cluster = Some(cluster);
                    own.incarnation = own.incarnation.saturating_add(1);
                });
                self.table.drop_foreign(cluster);
                self.spread_own();
            }
        }
    }

    /// Tells the others that this node leaves for good. It goes on answering and gossiping until the
    /// driver stops it.
    pub fn leave(&mut self, now_ms: u64) {
        self.forgive_stall(now_ms);
        if self.table.own().state != State::Left {
            self.table.declare_left(now_ms, &self.config);
            self.spread_own();
            self.gossip_round(now_ms);
        }
    }

    /// When [`tick`](Gossip::tick) has to be called, on the clock of `now_ms`. Calling it later than
    /// this by more than half a probe timeout counts as a stall.
    #[must_use]
    pub fn next_deadline_ms(&self) -> u64 {
        let always = [self.prober.deadline_ms(), self.next_gossip_ms, self.next_push_pull_ms];
        let sometimes = [self.relays.deadline_ms(), self.table.deadline_ms()];
        let deadlines = always.into_iter().chain(sometimes.into_iter().flatten());
        deadlines.min().expect("some deadlines are always there")
    }

    /// Does what is due. Calling it early does no harm.
    pub fn tick(&mut self, now_ms: u64) {
        self.forgive_stall(now_ms);
        self.ask_helpers_when_due(now_ms);
        self.next_period_when_due(now_ms);
        self.send_nacks(now_ms);
        self.bury_condemned(now_ms);
        self.table.forget(now_ms);
        if now_ms >= self.next_gossip_ms {
            self.next_gossip_ms = now_ms + self.config.gossip_interval_ms;
            self.gossip_round(now_ms);
        }
        if now_ms >= self.next_push_pull_ms {
            self.next_push_pull_ms = now_ms + self.config.push_pull_interval_ms;
            self.push_pull_round(now_ms);
        }
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// When it is damaged, of another version, cluster or purpose, or meant for another member. It
    /// then has no effect; the driver may log it.
    pub fn packet(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<(), PacketError> {
        self.forgive_stall(now_ms);
        let Packet { sender, body, claims } = wire::decode_packet(bytes)?;
        self.check_sender(sender)?;
        if let Body::Ping { target, .. } = body
            && target != self.table.own().id
        {
            return Err(PacketError::NotForUs { target });
        }
        self.hear_all(claims, now_ms);
        self.answer(from, sender.id, body, now_ms);
        Ok(())
    }

    /// What there is to do, one at a time; `None` when that is all for now.
    pub fn poll(&mut self) -> Option<Effect> {
        while let Some(id) = self.outbox.pop_changed() {
            // It may have been forgotten since.
            if let Some(member) = self.table.get(id) {
                return Some(Effect::Changed(member.clone()));
            }
        }
        self.outbox.pop_send()
    }

    /// All members by id, this node, the dead and the departed included.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.table.members()
    }

    /// Whether a living member is at this address.
    #[must_use]
    pub fn is_alive_at(&self, addr: SocketAddr) -> bool {
        self.table.members().any(|member| member.addr == addr && member.state == State::Alive)
    }

    /// One member.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.table.get(id)
    }

    /// How many claims were left out of otherwise good messages since the start, because they were
    /// about members of a foreign cluster or because 256 live members are known.
    #[must_use]
    pub fn refused_claims(&self) -> u64 {
        self.refused_claims
    }

    /// What has happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Moves all deadlines by the time for which this node was not called though it had asked to be:
    /// in that time nobody could reach it, so nobody can have failed it. Verdicts wait for another
    /// probe timeout, in which to read what has piled up in the sockets.
    fn forgive_stall(&mut self, now_ms: u64) {
        let late_ms = now_ms.saturating_sub(self.next_deadline_ms());
        if late_ms > self.config.probe_timeout_ms / 2 && !planted!(StallBlamesOthers) {
            let grace_ms = late_ms + self.config.probe_timeout_ms;
            self.prober.postpone(grace_ms);
            self.relays.postpone(grace_ms);
            self.table.postpone(grace_ms);
            self.next_gossip_ms += late_ms;
            self.next_push_pull_ms += late_ms;
            self.health.worsen();
        }
    }

    fn check_sender(&self, sender: Sender) -> Result<(), PacketError> {
        let own = self.table.own();
        if sender.id == own.id {
            return Err(PacketError::OwnId);
        }
        match (sender.cluster, own.cluster) {
            (Some(theirs), Some(ours)) if theirs != ours && !planted!(ClustersMix) => {
                Err(PacketError::ForeignCluster { node: sender.id, theirs, ours })
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    fn answer(&mut self, from: SocketAddr, sender: NodeId, body: Body, now_ms: u64) {
        match body {
            Body::Ping { seq, .. } => self.send(from, sender, Body::Ack { seq }, now_ms),
            Body::PingReq { seq, target, addr } => {
                let origin = Origin { addr: from, id: sender, seq };
                self.relay(origin, target, addr, now_ms);
            }
            Body::Ack { seq } => {
                if self.prober.ack(seq, sender) {
                    self.health.improve();
                } else if let Some(origin) = self.relays.ack(seq, sender) {
                    self.send(origin.addr, origin.id, Body::Ack { seq: origin.seq }, now_ms);
                }
            }
            Body::Nack { seq } => self.prober.nack(seq, sender),
            Body::Gossip => {}
        }
    }

    /// Sends a packet to member `whom`, filled up with what it should hear.
    fn send(&mut self, to: SocketAddr, whom: NodeId, body: Body, now_ms: u64) {
        if to == self.config.identity.addr {
            // Somebody else used to have this node's address, and does not hear us there.
            return;
        }
        let mut writer = wire::Writer::packet(self.as_sender(), body, self.config.packet_bytes);
        let receiver = self.table.get(whom);
        let cluster = receiver.and_then(|member| member.cluster);
        let mut told = self.always_told(receiver, body);
        told.retain(|id| self.table.claim(*id, now_ms).is_some_and(|claim| writer.push(&claim)));
        let limit = self.config.transmit_multiplier * config::scale(self.table.live_count());
        for id in self.rumours.in_order() {
            let Some(claim) = self.table.claim(id, now_ms) else {
                self.rumours.remove(id);
                continue;
            };
            if !may_mix(claim.metadata.cluster, cluster) {
                continue;
            }
            if told.contains(&id) || writer.push(&claim) {
                self.rumours.transmitted(id, limit);
            }
        }
        self.outbox.packet(to, writer.finish());
    }

    /// What a packet says whether it is news or not. Who is not alive to us hears that first, to
    /// refute it (the buddy system, Lifeguard §IV-C). A ping introduces its sender, so that after
    /// one pass of probes all know us, even those whom every rumour missed.
    fn always_told(&self, receiver: Option<&Member>, body: Body) -> Vec<NodeId> {
        let accused = receiver.filter(|member| member.state != State::Alive);
        let own = match body {
            Body::Ping { .. } => Some(self.table.own().id),
            Body::PingReq { .. } | Body::Ack { .. } | Body::Nack { .. } | Body::Gossip => None,
        };
        accused.map(|member| member.id).into_iter().chain(own).collect()
    }

    fn spread_own(&mut self) {
        let own = self.table.own().id;
        self.rumours.push(own);
        self.outbox.changed(own);
    }

    fn as_sender(&self) -> Sender {
        let own = self.table.own();
        Sender { id: own.id, cluster: own.cluster }
    }

    fn take_seq(&mut self) -> u32 {
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        seq
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::testing::{addr, identity};
    use super::*;

    fn node(id: u64) -> Gossip {
        Gossip::new(Config::lan(identity(id), id), 0)
    }

    /// Two nodes that know each other, at 100 ms.
    fn pair() -> (Gossip, Gossip) {
        let (mut one, mut two) = (node(1), node(2));
        two.join(&[addr(1)], 100);
        let Some(Effect::PushPull { to, bytes }) = two.poll() else { panic!("it asks the seed") };
        assert_eq!(to, addr(1));
        let reply = one.push_pull_request(&bytes, 100).expect("it answers");
        assert_eq!(two.push_pull_reply(&reply, 100), Ok(None));
        (drained(one), drained(two))
    }

    fn drained(mut gossip: Gossip) -> Gossip {
        while gossip.poll().is_some() {}
        gossip
    }

    fn ping(from: &Gossip, target: NodeId) -> Bytes {
        wire::Writer::packet(from.as_sender(), Body::Ping { seq: 1, target }, 1400).finish()
    }

    #[test]
    fn a_node_that_has_joined_is_not_alone() {
        assert!(node(1).is_alone());
        let (one, two) = pair();
        assert!(!one.is_alone() && !two.is_alone());
    }

    #[test]
    fn a_ping_is_answered_to_where_it_came_from() {
        let (mut one, two) = pair();
        assert_eq!(one.packet(addr(77), &ping(&two, NodeId(1)), 100), Ok(()));
        let Some(Effect::SendPacket { to, bytes }) = one.poll() else { panic!("it answers") };
        assert_eq!(to, addr(77));
        let packet = wire::decode_packet(&bytes).expect("its own packet");
        assert_eq!(packet.body, Body::Ack { seq: 1 });
    }

    #[test]
    fn a_ping_for_another_identity_is_not_answered() {
        let (mut one, two) = pair();
        let refused = one.packet(addr(2), &ping(&two, NodeId(9)), 100);
        assert_eq!(refused, Err(PacketError::NotForUs { target: NodeId(9) }));
        assert_eq!(one.poll(), None);
    }

    #[test]
    fn a_node_does_not_take_its_own_word_for_that_of_another() {
        let mut one = node(1);
        let own = ping(&one, NodeId(1));
        assert_eq!(one.packet(addr(1), &own, 0), Err(PacketError::OwnId));
        one.join(&[addr(1)], 0);
        assert_eq!(one.poll(), None, "and does not join itself");
    }

    #[test]
    fn changes_between_two_polls_are_reported_once() {
        let (mut one, _) = pair();
        for incarnation in 2..5 {
            let metadata = one.member(NodeId(2)).expect("it is known").metadata();
            let verdict = member::Verdict::Alive;
            one.hear(member::Claim { id: NodeId(2), incarnation, verdict, metadata }, 100);
        }
        let Some(Effect::Changed(member)) = one.poll() else { panic!("a change") };
        assert_eq!((member.id, member.incarnation), (NodeId(2), 4));
        assert_eq!(one.poll(), None);
    }

    #[test]
    fn what_is_sent_without_being_fetched_is_bounded() {
        let (mut one, two) = pair();
        for _ in 0..5_000 {
            assert_eq!(one.packet(addr(2), &ping(&two, NodeId(1)), 100), Ok(()));
        }
        let waiting = std::iter::from_fn(|| one.poll()).count();
        assert_eq!(waiting, 1024);
    }

    #[test]
    fn a_cluster_is_adopted_once_under_a_greater_incarnation() {
        let mut one = node(1);
        one.set_cluster(ClusterId(7));
        one.set_cluster(ClusterId(7));
        let own = one.member(NodeId(1)).expect("itself");
        assert_eq!((own.cluster, own.incarnation), (Some(ClusterId(7)), 2));
    }

    #[test]
    #[should_panic(expected = "cannot join")]
    fn a_cluster_is_never_changed() {
        let mut one = node(1);
        one.set_cluster(ClusterId(7));
        one.set_cluster(ClusterId(8));
    }

    #[test]
    fn a_reply_is_no_request_and_a_request_no_reply() {
        let (mut one, two) = pair();
        let (request, reply) = [message::Half::Request, message::Half::Reply]
            .map(|half| wire::Writer::push_pull(two.as_sender(), half).finish())
            .into();
        assert!(one.push_pull_request(&reply, 100).is_err());
        assert!(one.push_pull_reply(&request, 100).is_err());
        assert!(one.push_pull_request(&request, 100).is_ok());
    }
}
