//! What a node does of its own accord as time passes: probing, helping, burying, gossiping.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::types::NodeId;

use super::member::{Claim, Verdict};
use super::message::Body;
use super::probe::{Failure, Target};
use super::relay::Origin;
use super::{Gossip, Member, State};

impl Gossip {
    /// The target did not answer in time: asks k random others to ping it too (SWIM §3.1).
    pub(super) fn ask_helpers_when_due(&mut self, now_ms: u64) {
        let Some((seq, target)) = self.prober.needs_help(now_ms) else { return };
        let mut candidates = self.table.others(|state| state == State::Alive);
        candidates.retain(|id| *id != target);
        let helpers = self.pick(candidates, self.config.indirect_probes);
        self.prober.asked(helpers.iter().copied().collect::<BTreeSet<NodeId>>());
        let Some(addr) = self.table.get(target).map(|member| member.addr) else { return };
        for helper in helpers {
            self.send_to(helper, Body::PingReq { seq, target, addr }, now_ms);
        }
    }

    /// Judges the probe of the period that is over and begins the next.
    pub(super) fn next_period_when_due(&mut self, now_ms: u64) {
        if !self.prober.is_period_over(now_ms) {
            return;
        }
        if let Some(failure) = self.prober.conclude() {
            self.probe_failed(failure, now_ms);
        }
        let is_member = self.table.own().state.is_live();
        let probe = if is_member { self.next_probe() } else { None };
        let timeout_ms = self.health.stretch(self.config.probe_timeout_ms);
        let period_ms = self.health.stretch(self.config.probe_interval_ms);
        self.prober.begin(probe, now_ms, timeout_ms, period_ms);
        if let Some((seq, Target { id: target, .. })) = probe {
            self.send_to(target, Body::Ping { seq, target }, now_ms);
        }
        if is_member {
            self.knock(now_ms);
        }
    }

    /// Pings `target` for another member.
    pub(super) fn relay(&mut self, origin: Origin, target: NodeId, addr: SocketAddr, now_ms: u64) {
        if planted!(HelperVouchesUnasked) {
            self.send(origin.addr, origin.id, Body::Ack { seq: origin.seq }, now_ms);
        }
        let seq = self.take_seq();
        if self.relays.begin(seq, target, origin, now_ms, self.config.probe_timeout_ms) {
            self.send(addr, target, Body::Ping { seq, target }, now_ms);
        } else {
            self.send(origin.addr, origin.id, Body::Nack { seq: origin.seq }, now_ms);
        }
    }

    /// Tells those whom we help in vain that we are well ourselves.
    pub(super) fn send_nacks(&mut self, now_ms: u64) {
        for origin in self.relays.nacks(now_ms) {
            self.send(origin.addr, origin.id, Body::Nack { seq: origin.seq }, now_ms);
        }
    }

    /// Declares dead whoever was a suspect for too long.
    pub(super) fn bury_condemned(&mut self, now_ms: u64) {
        for condemned in self.table.condemned(now_ms) {
            let forget_in_ms = self.config.forget_after_ms as u32;
            self.conclude(condemned, Verdict::Dead { forget_in_ms }, now_ms);
        }
    }

    /// Sends the news, if there is any, to a few random members.
    pub(super) fn gossip_round(&mut self, now_ms: u64) {
        let candidates = self.table.others(State::is_live);
        for id in self.pick(candidates, self.config.gossip_fanout) {
            if !self.rumours.is_empty() {
                self.send_to(id, Body::Gossip, now_ms);
            }
        }
    }

    /// `count` random ones of `candidates`, fewer if there are fewer.
    pub(super) fn pick(&mut self, mut candidates: Vec<NodeId>, count: usize) -> Vec<NodeId> {
        self.prng.shuffle(&mut candidates);
        candidates.truncate(count);
        candidates
    }

    fn next_probe(&mut self) -> Option<(u32, Target)> {
        let table = &self.table;
        let is_live = |id| table.get(id).is_some_and(|member| member.state.is_live());
        let live = || table.others(State::is_live);
        let id = self.prober.next_target(live, is_live, &mut self.prng)?;
        let incarnation = self.table.get(id)?.incarnation;
        Some((self.take_seq(), Target { id, incarnation }))
    }

    fn probe_failed(&mut self, Failure { target, missing_nacks }: Failure, now_ms: u64) {
        self.counts.probe_failures += 1;
        self.health.worsen();
        for _ in 0..missing_nacks {
            self.health.worsen();
        }
        let accusers = BTreeSet::from([self.table.own().id]);
        self.conclude(target, Verdict::Suspect { accusers }, now_ms);
    }

    /// Pings one of the dead, in case it is not: the packet tells it what it has to refute. The ack
    /// counts for no probe; what it carries is the refutation. An address with a new owner is left
    /// in peace.
    fn knock(&mut self, now_ms: u64) {
        let mut dead = self.table.others(|state| state == State::Dead);
        dead.retain(|id| !self.table.is_address_taken_over(*id));
        for target in self.pick(dead, 1) {
            let seq = self.take_seq();
            self.send_to(target, Body::Ping { seq, target }, now_ms);
        }
    }

    /// Takes in what this node has found out itself, as if it had been told so.
    fn conclude(&mut self, about: Target, verdict: Verdict, now_ms: u64) {
        let Target { id, incarnation } = about;
        // It may have been forgotten in the course of the probe.
        if let Some(metadata) = self.table.get(id).map(Member::metadata) {
            self.hear(Claim { id, incarnation, verdict, metadata }, now_ms);
        }
    }

    fn send_to(&mut self, id: NodeId, body: Body, now_ms: u64) {
        if let Some(addr) = self.table.get(id).map(|member| member.addr) {
            self.send(addr, id, body, now_ms);
        }
    }
}
