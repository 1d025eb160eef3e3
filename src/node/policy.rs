//! Gossip and membership: what is heard, and what the leader makes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use super::effect::{Effect, Event};
use super::joining::{ASK_INTERVAL_MS, REJOIN_INTERVAL_MS, Seeds, Sight, Step};
use super::membership::{Replica, View, labels};
use super::message::PeerMessage;
use crate::gossip::{self, State};
use crate::types::{ClusterId, Configuration, Entry, HardState, Index, NodeId, Term};

/// How often the leader tells a living server that it was removed.
const TELL_REMOVED_INTERVAL_MS: u64 = 1_000;

impl Node {
    /// The cluster id is durable: this node is a member from now on.
    pub fn cluster_entered(&mut self, cluster: ClusterId, now_ms: u64) {
        assert!(self.cluster.is_none(), "a node enters one cluster in its life");
        self.cluster = Some(cluster);
        self.gossip.set_cluster(cluster);
        self.effects.push_back(Effect::ClusterEntered { cluster });
        if let Some((entry, hard_state)) = self.founding.take()
            && cluster == self.fresh_cluster
        {
            self.restart_raft(entry, hard_state, now_ms);
        }
        self.refresh_links();
    }

    /// Carries gossip's effects on, and keeps links to those it hears of.
    pub(super) fn drain_gossip(&mut self) {
        let mut changed = false;
        while let Some(effect) = self.gossip.poll() {
            match effect {
                gossip::Effect::SendPacket { to, bytes } => {
                    self.effects.push_back(Effect::SendPacket { to, bytes });
                }
                gossip::Effect::PushPull { to, bytes } => {
                    self.effects.push_back(Effect::PushPull { to, bytes });
                }
                gossip::Effect::Changed(member) => {
                    changed = true;
                    let (name, id, state) = (member.name, member.id, member.state);
                    self.event(Event::Member { name, id, state });
                }
            }
        }
        if changed {
            self.refresh_links();
        }
    }

    /// Looks for a cluster, while this node has none.
    pub(super) fn look_for_cluster(&mut self, now_ms: u64) {
        if self.cluster.is_some() {
            return self.look_for_members(now_ms);
        }
        match self.joining.step(&self.sight(), now_ms) {
            Step::Ask => self.ask_seeds(),
            Step::Enter(cluster) => self.effects.push_back(Effect::JoinCluster { cluster }),
            Step::Create(founders) => {
                let (entry, hard_state) = self.first_entry(founders);
                let cluster = self.fresh_cluster;
                self.founding = Some((entry.clone(), hard_state));
                self.effects.push_back(Effect::CreateCluster { cluster, entry, hard_state });
            }
            Step::Disagree(clusters) => self.event(Event::ManyClusters(clusters)),
            Step::Uninvited(clusters) => self.event(Event::Uninvited(clusters)),
            Step::Wait => {}
        }
    }

    fn sight(&self) -> Sight {
        let looks =
            |member: &&gossip::Member| member.state == State::Alive && member.cluster.is_none();
        let is_found = |seeds: &Seeds| {
            seeds.unresolved == 0 && seeds.addrs.iter().all(|addr| self.gossip.is_alive_at(*addr))
        };
        Sight {
            heard: self.gossip.members().filter_map(|member| member.cluster).collect(),
            looking: self.gossip.members().filter(looks).map(|member| member.id).collect(),
            seeds_answer: self.joining.seeds().is_some_and(is_found),
        }
    }

    /// A member asks its seeds, and the members that its log names: often while it hears of nobody
    /// alive, as after a restart, and now and then in any case. When all restart at once while the
    /// network is parted, those who find each other are not alone, and would never look further.
    fn look_for_members(&mut self, now_ms: u64) {
        let interval_ms = if self.gossip.is_alone() { ASK_INTERVAL_MS } else { REJOIN_INTERVAL_MS };
        if self.asked_at_ms.is_none_or(|asked_at_ms| now_ms >= asked_at_ms + interval_ms) {
            self.asked_at_ms = Some(now_ms);
            self.ask_seeds();
        }
    }

    fn ask_seeds(&mut self) {
        let configuration = self.raft.configuration();
        let others = configuration.members.iter().filter(|(id, _)| **id != self.id);
        let members = others.map(|(_, member)| member.peer_addr.clone()).collect();
        self.effects.push_back(Effect::ResolveSeeds { members });
    }

    /// As the leader, proposes the change of members that is due.
    pub(super) fn follow_policy(&mut self, now_ms: u64) {
        self.refresh_links();
        let status = self.raft.status();
        let is_changing = status.has_pending_change && !planted!(ChangesOverlap);
        if !self.is_leader() || is_changing || status.configuration.is_joint() {
            return;
        }
        let Some(cluster) = self.cluster else { return };
        let replica = |progress: &crate::raft::PeerStatus| Replica {
            match_index: progress.match_index,
            last_contact_ms: progress.last_contact_ms,
        };
        let replicas: BTreeMap<NodeId, Replica> =
            status.progress.iter().map(|(id, progress)| (*id, replica(progress))).collect();
        let leaving = self.departing_members();
        let view = View {
            now_ms,
            local: self.id,
            cluster,
            policy: self.membership,
            configuration: status.configuration,
            last_index: status.last_index,
            replicas,
            gossip: self.gossip.members().map(|member| (member.id, member)).collect(),
            leaving: &leaving,
        };
        let conflicts: Vec<Event> = view.name_conflicts().collect();
        let change = view.next_change();
        for conflict in conflicts {
            self.report_conflict(conflict);
        }
        if let Some(change) = change {
            // Refused while the term's first entry is not committed yet: the next look tries again.
            if self.raft.propose_configuration(change.target.clone()).is_ok() {
                self.event(Event::Proposed { target: change.target, reason: change.reason });
            }
        }
    }

    /// As the leader, tells living servers that were removed so. Whoever crashed before it heard that
    /// hears from nobody else any more.
    pub(super) fn tell_removed(&mut self, now_ms: u64) {
        if !self.is_leader() || now_ms < self.tell_removed_at_ms {
            return;
        }
        self.tell_removed_at_ms = now_ms + TELL_REMOVED_INTERVAL_MS;
        let is_removed = |member: &&gossip::Member| {
            member.state == State::Alive && self.delivered_configuration.has_removed(member.id)
        };
        let removed: Vec<NodeId> =
            self.gossip.members().filter(is_removed).map(|member| member.id).collect();
        for id in removed {
            self.send(id, PeerMessage::Removed);
        }
    }

    fn report_conflict(&mut self, conflict: Event) {
        if let Event::NameTaken { id, .. } = conflict
            && self.reported_conflicts.insert(id)
        {
            self.event(conflict);
        }
    }

    /// Links lead to every member of the configuration and to every server of the cluster that
    /// gossip knows: a new server must answer a leader that is not in its log yet.
    pub(super) fn refresh_links(&mut self) {
        let Some(cluster) = self.cluster else { return };
        self.linked_configuration = Some(self.raft.configuration_place());
        let configuration = self.raft.configuration();
        let mut wanted: BTreeMap<NodeId, String> = configuration
            .members
            .iter()
            .map(|(id, member)| (*id, member.peer_addr.clone()))
            .collect();
        for member in self.gossip.members() {
            let reachable = member.state != State::Dead || wanted.contains_key(&member.id);
            if member.cluster == Some(cluster) && reachable {
                wanted.insert(member.id, member.peer_addr.clone());
            }
        }
        wanted.remove(&self.id);
        if wanted == self.links {
            return;
        }
        for id in self.links.keys().filter(|id| !wanted.contains_key(id)) {
            self.effects.push_back(Effect::RemovePeer { id: *id });
            self.connected.remove(id);
        }
        for (id, addr) in wanted.iter().filter(|(id, addr)| self.links.get(id) != Some(addr)) {
            self.effects.push_back(Effect::SetPeer { id: *id, addr: addr.clone() });
        }
        self.links = wanted;
    }

    /// The first entry of a cluster that this node makes: a configuration of its founders.
    fn first_entry(&self, founders: BTreeSet<NodeId>) -> (Entry, HardState) {
        let known = self.gossip.members().filter(|member| founders.contains(&member.id));
        let members = known.map(|member| (member.id, labels(member))).collect();
        let configuration = Configuration { voters: founders, members, ..Configuration::default() };
        let term = Term(1);
        (configuration.to_entry().seal(Index(1), term), HardState { term, vote: None })
    }
}
