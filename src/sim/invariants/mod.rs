//! What must hold in every run, checked at every step; one property a file.
//!
//! The simulator tells the [`Watch`] what each server does, and the watch keeps its own books: what
//! was written where, who led when, what was committed. It believes nothing that a server says of
//! itself where it can know better.

mod answers;
mod bounds;
mod completeness;
mod durability;
mod election;
mod floor;
mod history;
mod leader_votes;
mod log_matching;
mod monotonic;
mod one_change;
mod one_cluster;
mod overlap;
mod state_machine;

use std::collections::{BTreeMap, BTreeSet};

use super::stranger::STRANGER;
use super::violation::{Property, Violation};
use crate::lane::Told;
use crate::node::{Node, PeerMessage, Persist, Ticket};
use crate::raft::{Message, Outline, RoleName};
use crate::storage::StateHash;
use crate::types::{
    ClusterId, Configuration, Entry, EntryKind, HardState, Index, NodeId, SnapshotMeta,
};
use answers::Answers;
use durability::Durability;
use election::Elections;
use floor::Floor;
use history::Configurations;
use log_matching::LogMatching;
use monotonic::Monotonic;
use one_cluster::OneCluster;
use state_machine::StateMachine;

/// What an entry is, for comparison: its term and the checksum over all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    term: crate::types::Term,
    crc: u32,
}

/// Whoever watches a run. After the first violation it only keeps that.
#[derive(Debug, Default)]
pub(super) struct Watch {
    violation: Option<Violation>,
    elections: Elections,
    monotonic: Monotonic,
    log_matching: LogMatching,
    state_machine: StateMachine,
    durability: Durability,
    configurations: Configurations,
    floor: Floor,
    one_cluster: OneCluster,
    answers: Answers,
    seen: BTreeMap<NodeId, Outline>,
    /// Every server that has ever started.
    existing: BTreeSet<NodeId>,
    /// Clusters that are being made: their first entry and its term.
    founding: BTreeMap<NodeId, (HardState, Entry)>,
}

impl Watch {
    /// Nothing has happened yet. The dead may be removed from among more than `spares` voters.
    pub(super) fn new(spares: Option<usize>) -> Watch {
        Watch { floor: Floor::new(spares), ..Watch::default() }
    }

    /// The first thing that was wrong.
    pub(super) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes something wrong.
    pub(super) fn report(&mut self, property: Property, detail: String) {
        self.violation.get_or_insert(Violation { property, detail });
    }

    /// A process starts with what was recovered of server `id`.
    pub(super) fn starts(
        &mut self,
        id: NodeId,
        hard_state: HardState,
        snapshot: &SnapshotMeta,
        entries: &[Entry],
    ) {
        self.seen.remove(&id);
        self.existing.insert(id);
        self.answers.forget(id);
        let kept = self.durability.recovers(id, hard_state, snapshot, entries);
        // A cluster that was being made may be there or not: nobody else has heard of it.
        if self.founding.remove(&id).is_none() {
            self.hold(Property::Durability, kept);
        }
        self.monotonic.restarts(id);
        self.configurations.starts(id, snapshot, entries);
    }

    /// Server `id` has made durable what it found, and begins to speak.
    pub(super) fn runs(&mut self, id: NodeId) {
        self.durability.repaired(id);
    }

    /// Server `id` has thought about its inputs.
    pub(super) fn stepped(&mut self, id: NodeId, node: &Node) {
        let bounded = bounds::stepped(id, node);
        self.hold(Property::Bounds, bounded);
        let raft = node.raft();
        let outline = raft.outline();
        let before = self.seen.insert(id, outline);
        if before == Some(outline) {
            return;
        }
        let monotonic = self.monotonic.stepped(id, outline);
        self.hold(Property::Monotonicity, monotonic);
        let in_force = self.configurations.in_force(id, outline.configuration_index);
        self.hold(Property::OneChange, in_force);
        if outline.role != RoleName::Leader {
            return;
        }
        let term = outline.hard_state.term;
        let elected =
            before.is_none_or(|seen| seen.role != RoleName::Leader || seen.hard_state.term != term);
        if elected {
            let safe = self.elections.leads(id, term);
            self.hold(Property::ElectionSafety, safe);
            let complete = completeness::leads(&self.state_machine, id, term, raft);
            self.hold(Property::LeaderCompleteness, complete);
        }
        let votes = leader_votes::leads(id, outline, raft.configuration());
        self.hold(Property::QuorumOverlap, votes);
        let commit = outline.commit.max(self.state_machine.last());
        let one = one_change::leads(&self.configurations, id, commit);
        self.hold(Property::OneChange, one);
    }

    /// Server `id` asks its disk to keep something.
    pub(super) fn persists(&mut self, id: NodeId, persist: &Persist, node: &Node) {
        let raft = node.raft();
        if let Some(first) = persist.entries.first() {
            let before = raft.term_at(first.index().prev());
            let matching = self.log_matching.writes(before, &persist.entries);
            self.hold(Property::LogMatching, matching);
            self.configurations.truncates(id, first.index());
        }
        for entry in persist.entries.iter().filter(|e| e.kind() == EntryKind::Configuration) {
            let leads = raft.outline().role == RoleName::Leader;
            let commit_term = raft.term_at(raft.outline().commit);
            if leads {
                let after_commit = one_change::proposes(entry, commit_term);
                self.hold(Property::OneChange, after_commit);
            }
            let overlaps = self.configurations.appends(id, entry);
            self.hold(Property::QuorumOverlap, overlaps);
        }
        self.durability.hands_over(id, persist);
    }

    /// The log of server `id` got somewhere.
    pub(super) fn told(&mut self, id: NodeId, told: &Told) {
        match told {
            Told::Persisted(number) => self.durability.persisted(id, *number),
            Told::SnapshotInstalled(meta) => {
                self.durability.installs(id, meta.index);
                self.configurations.starts(id, meta, &[]);
            }
            Told::Entered(_) => {
                if let Some((hard_state, entry)) = self.founding.remove(&id) {
                    self.durability.founds(id, hard_state, &entry);
                    let entries = std::slice::from_ref(&entry);
                    self.configurations.starts(id, &SnapshotMeta::default(), entries);
                }
            }
            Told::SnapshotRejected(_) => {}
        }
    }

    /// Server `id` makes a cluster with this first entry.
    pub(super) fn founds(&mut self, id: NodeId, hard_state: HardState, entry: Entry) {
        self.founding.insert(id, (hard_state, entry));
    }

    /// Whether there is a cluster.
    pub(super) fn has_cluster(&self) -> bool {
        self.one_cluster.exists()
    }

    /// Server `id` belongs to `cluster` from now on.
    pub(super) fn enters(&mut self, id: NodeId, cluster: ClusterId) {
        let same = self.one_cluster.enters(id, cluster);
        self.hold(Property::OneCluster, same);
    }

    /// Server `id` says something to `to`.
    pub(super) fn sends(&mut self, id: NodeId, to: NodeId, message: &PeerMessage, node: &Node) {
        let PeerMessage::Raft(message) = message else { return };
        let kept = match message {
            Message::Appended { match_index, term } => {
                // What was meant in an earlier term may have been superseded since.
                let is_current = *term == node.raft().outline().hard_state.term;
                let held = node.raft().term_at(*match_index).filter(|_| is_current);
                let durable = self.durability.acknowledges(id, *match_index, held);
                durable.and_then(|()| self.durability.is_in(id, *term))
            }
            Message::VoteReply { term, granted: true } => self.durability.votes(id, *term, to),
            _ => Ok(()),
        };
        self.hold(Property::Durability, kept);
    }

    /// Server `id` gives an entry to its map.
    pub(super) fn applies(&mut self, id: NodeId, entry: &Entry, node: &Node) {
        let stamp = Stamp::of(entry);
        let term = node.raft().outline().hard_state.term;
        let (same, is_first) = self.state_machine.applies(id, term, entry);
        self.hold(Property::StateMachineSafety, same);
        if is_first {
            let configuration = self.deciding_configuration(node);
            let durable = self.durability.is_committed(entry.index(), stamp, &configuration);
            self.hold(Property::Durability, durable);
        }
        if entry.kind() == EntryKind::Configuration {
            let configuration = Configuration::decode(entry.body())
                .expect("an entry that was applied passed its checks");
            let fair = self.floor.commits(entry.index(), &configuration);
            self.hold(Property::VotersFloor, fair);
        }
    }

    /// The map of server `id` has this hash after the entry at `index`.
    pub(super) fn reaches(&mut self, id: NodeId, index: Index, hash: StateHash) {
        let same = self.state_machine.reaches(id, index, hash);
        self.hold(Property::StateMachineSafety, same);
    }

    /// Server `id` has heard of a member; it has a cluster itself, or has none.
    pub(super) fn hears(&mut self, id: NodeId, member: NodeId, has_cluster: bool) {
        if member == STRANGER && has_cluster {
            let detail = format!("{id} knows a member of another cluster");
            self.report(Property::Membership, detail);
        }
        if member != STRANGER && !self.existing.contains(&member) {
            let detail = format!("{id} knows {member}, which never was");
            self.report(Property::Membership, detail);
        }
    }

    /// Whether the cluster outlives the loss of a disk: until a majority of the founders holds its
    /// first entry, nothing was promised, and the one that made it may be all there is.
    pub(super) fn is_founded(&self) -> bool {
        self.entries() > 0
    }

    /// Server `id` asked to leave: it may lose its vote.
    pub(super) fn may_go(&mut self, id: NodeId) {
        self.floor.may_go(id);
    }

    /// The disk of server `id` is gone, and its log can lead nobody any more.
    pub(super) fn is_gone(&mut self, id: NodeId) {
        self.floor.may_go(id);
        self.configurations.forget(id);
    }

    /// A request was handed to server `id`.
    pub(super) fn asks(&mut self, id: NodeId, ticket: Ticket) {
        self.answers.asks(id, ticket);
    }

    /// Server `id` answered a request.
    pub(super) fn answers(&mut self, id: NodeId, ticket: Ticket) {
        let once = self.answers.answers(id, ticket);
        self.hold(Property::Answers, once);
    }

    /// How many entries are committed.
    pub(super) fn entries(&self) -> u64 {
        self.state_machine.last().0
    }

    /// The last committed configuration, and every later one in any log: whatever a leader may go by.
    pub(super) fn configurations_in_play(&self) -> Vec<Configuration> {
        self.configurations.since(self.floor.index())
    }

    /// The configuration in force where the entry was committed. A follower that hears of a commit
    /// may have a later configuration in its log than its leader counted with.
    fn deciding_configuration(&self, node: &Node) -> Vec<Configuration> {
        self.configurations.around(node.raft().configuration())
    }

    fn hold(&mut self, property: Property, result: Result<(), String>) {
        if let Err(detail) = result {
            self.report(property, detail);
        }
    }
}

impl Stamp {
    fn of(entry: &Entry) -> Stamp {
        let record = entry.record();
        let crc = record.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        Stamp { term: entry.term(), crc }
    }
}
