//! Consensus: who leads, how far the log is, what became of requests, how the followers do.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::register::{Register, set};
use crate::node::{Effect, Event, Failure, Node, Role};
use crate::raft::{PeerStatus, Status};
use crate::types::{Configuration, NodeId};

/// A voter that has not answered its leader for so long does not count as one that may be relied on:
/// many heartbeats, and less than a person would take to look.
const SILENT_AFTER_MS: u64 = 5_000;

const ROLES: [(Role, &str); 6] = [
    (Role::Joining, "joining"),
    (Role::Learner, "learner"),
    (Role::Follower, "follower"),
    (Role::Candidate, "candidate"),
    (Role::Leader, "leader"),
    (Role::Removed, "removed"),
];

const FAILURES: [Failure; 5] = [
    Failure::NoLeader,
    Failure::OutcomeUnknown,
    Failure::Overloaded,
    Failure::NotJoined,
    Failure::ShuttingDown,
];

/// The metrics of consensus.
pub(in crate::server) struct RaftMetrics {
    role: IntGaugeVec,
    has_leader: IntGauge,
    term: IntGauge,
    last_index: IntGauge,
    commit_index: IntGauge,
    applied_index: IntGauge,
    snapshot_index: IntGauge,
    members: IntGaugeVec,
    failures_tolerated: IntGaugeVec,
    followers: Followers,
    /// The last term that was counted as an election; 0 before the first look.
    seen_term: AtomicU64,
    elections: IntCounter,
    leader_changes: IntCounter,
    proposals_committed: IntCounter,
    proposals_failed: IntCounterVec,
    reads_served: IntCounter,
    reads_failed: IntCounterVec,
    snapshot_sends: IntCounter,
}

/// What a leader says of each other member; the series of those that it does not serve are removed.
struct Followers {
    lag_entries: GaugeVec,
    contact_age_seconds: GaugeVec,
    labels: Mutex<BTreeSet<[String; 2]>>,
}

impl RaftMetrics {
    pub(super) fn new(register: &Register) -> RaftMetrics {
        let gauge = |name, help| register.gauge(name, help);
        let counter = |name, help| register.counter(name, help);
        let failed = |name, help| {
            let counters = register.counters(name, help, &["reason"]);
            // All are there from the start: a series that begins at 1 has no rate.
            for failure in FAILURES {
                counters.with_label_values(&[label(failure)]);
            }
            counters
        };
        RaftMetrics {
            role: register.gauges("mokv_raft_role", "1 for what this server is now", "role"),
            has_leader: gauge("mokv_raft_has_leader", "1 if this server knows a leader"),
            term: gauge("mokv_raft_term", "The current term: it grows with each election"),
            last_index: gauge("mokv_raft_last_index", "The last entry of this server's log"),
            commit_index: gauge(
                "mokv_raft_commit_index",
                "The last entry that this server knows to be on a majority's disks",
            ),
            applied_index: gauge("mokv_raft_applied_index", "The last entry given to the map"),
            snapshot_index: gauge("mokv_raft_snapshot_index", "The cut of the newest snapshot"),
            members: register.gauges(
                "mokv_raft_members",
                "Members of the latest configuration, by whether they vote",
                "kind",
            ),
            failures_tolerated: register.sometimes(
                "mokv_raft_failures_tolerated",
                "On the leader only: how many more voters may fail before writes stop; 0: none",
            ),
            followers: Followers::new(register),
            seen_term: AtomicU64::new(0),
            elections: counter(
                "mokv_raft_elections_total",
                "Elections that this server has seen, won or not: each begins a term",
            ),
            leader_changes: counter(
                "mokv_raft_leader_changes_total",
                "How often this server learned of a leader, itself included",
            ),
            proposals_committed: counter(
                "mokv_raft_proposals_committed_total",
                "Writes of this server's clients that were committed",
            ),
            proposals_failed: failed(
                "mokv_raft_proposals_failed_total",
                "Writes of this server's clients that failed, or whose outcome is unknown, by reason",
            ),
            reads_served: counter(
                "mokv_raft_reads_served_total",
                "Linearizable reads and lists of this server's clients that were confirmed",
            ),
            reads_failed: failed(
                "mokv_raft_reads_failed_total",
                "Linearizable reads and lists of this server's clients that failed, by reason",
            ),
            snapshot_sends: counter(
                "mokv_raft_snapshot_sends_total",
                "Snapshots that this server began to send to a member that was too far behind",
            ),
        }
    }

    pub(super) fn count(&self, effect: &Effect) {
        match effect {
            Effect::Written(written) => self.proposals_committed.inc_by(written.len() as u64),
            Effect::Serve(tickets) => self.reads_served.inc_by(tickets.len() as u64),
            Effect::ReadSnapshot { offset: 0, .. } => self.snapshot_sends.inc(),
            Effect::Event(Event::Leader { leader: Some(_), .. }) => self.leader_changes.inc(),
            _ => {}
        }
    }

    /// A client's write failed.
    pub(in crate::server) fn proposal_failed(&self, failure: Failure) {
        self.proposals_failed.with_label_values(&[label(failure)]).inc();
    }

    /// A client's read failed.
    pub(in crate::server) fn read_failed(&self, failure: Failure) {
        self.reads_failed.with_label_values(&[label(failure)]).inc();
    }

    pub(super) fn observe(&self, node: &Node, now_ms: u64) {
        let status = node.status();
        for (role, label) in ROLES {
            self.role.with_label_values(&[label]).set(i64::from(status.role == role));
        }
        self.has_leader.set(i64::from(status.leader.is_some()));
        set(&self.term, status.term.0);
        set(&self.last_index, status.last_index.0);
        set(&self.commit_index, status.commit.0);
        set(&self.applied_index, status.applied.0);
        set(&self.snapshot_index, status.snapshot_index.0);
        self.count_elections(status.term.0);
        let raft = node.raft().status();
        let configuration = raft.configuration;
        for (kind, ids) in [("voter", &configuration.voters), ("learner", &configuration.learners)]
        {
            set(&self.members.with_label_values(&[kind]), ids.len() as u64);
        }
        if status.role == Role::Leader {
            let tolerated = failures_tolerated(configuration, |id| answers(&raft, id, now_ms));
            self.failures_tolerated.with_label_values::<&str>(&[]).set(tolerated);
        } else {
            self.failures_tolerated.reset();
        }
        self.followers.observe(&raft, now_ms);
    }

    /// The term in which a process starts is none that it has seen begin.
    fn count_elections(&self, term: u64) {
        let seen = self.seen_term.swap(term, Ordering::Relaxed);
        if seen > 0 {
            self.elections.inc_by(term - seen);
        }
    }
}

impl Followers {
    fn new(register: &Register) -> Followers {
        Followers {
            lag_entries: register.member_gauges(
                "mokv_raft_follower_lag_entries",
                "On the leader only: entries of its log that the member does not have on its disk",
            ),
            contact_age_seconds: register.member_gauges(
                "mokv_raft_follower_contact_age_seconds",
                "On the leader only: for how long the member has not answered",
            ),
            labels: Mutex::default(),
        }
    }

    fn observe(&self, raft: &Status<'_>, now_ms: u64) {
        let mut labels = BTreeSet::new();
        for (id, peer) in &raft.progress {
            let name = raft.configuration.members.get(id).map(|member| member.name.clone());
            let label = [name.unwrap_or_default(), id.to_string()];
            let lag = raft.last_index.0.saturating_sub(peer.match_index.0);
            self.lag_entries.with_label_values(&label).set(lag as f64);
            let age_ms = now_ms.saturating_sub(peer.last_contact_ms);
            self.contact_age_seconds.with_label_values(&label).set(age_ms as f64 / 1000.0);
            labels.insert(label);
        }
        let mut before = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in before.difference(&labels) {
            // Each was set when it was noted.
            let _ = self.lag_entries.remove_label_values(gone);
            let _ = self.contact_age_seconds.remove_label_values(gone);
        }
        *before = labels;
    }
}

/// How many more voters may fail before one half of the configuration has no majority; negative when
/// none has to.
fn failures_tolerated(configuration: &Configuration, answers: impl Fn(NodeId) -> bool) -> i64 {
    let Configuration { voters, outgoing, .. } = configuration;
    let halves = [voters, outgoing].into_iter().filter(|half| !half.is_empty());
    let spare = |half: &BTreeSet<NodeId>| {
        let answering = half.iter().filter(|id| answers(**id)).count();
        answering as i64 - (half.len() as i64 / 2 + 1)
    };
    halves.map(spare).min().unwrap_or(0)
}

/// Whether the leader has lately heard of a voter; it hears of itself always.
fn answers(raft: &Status<'_>, id: NodeId, now_ms: u64) -> bool {
    let is_recent = |peer: &PeerStatus| now_ms < peer.last_contact_ms + SILENT_AFTER_MS;
    id == raft.id || raft.progress.get(&id).is_some_and(is_recent)
}

fn label(failure: Failure) -> &'static str {
    match failure {
        Failure::NoLeader => "no_leader",
        Failure::OutcomeUnknown => "outcome_unknown",
        Failure::Overloaded => "overloaded",
        Failure::NotJoined => "not_joined",
        Failure::ShuttingDown => "shutting_down",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn tolerated(voters: &[u64], outgoing: &[u64], silent: &[u64]) -> i64 {
        let (voters, outgoing) = (ids(voters), ids(outgoing));
        let configuration = Configuration { voters, outgoing, ..Configuration::default() };
        failures_tolerated(&configuration, |id| !silent.contains(&id.0))
    }

    #[test]
    fn a_majority_that_just_holds_tolerates_no_failure() {
        assert_eq!(tolerated(&[1], &[], &[]), 0);
        assert_eq!(tolerated(&[1, 2], &[], &[]), 0);
        assert_eq!(tolerated(&[1, 2, 3], &[], &[]), 1);
        assert_eq!(tolerated(&[1, 2, 3], &[], &[3]), 0);
        assert_eq!(tolerated(&[1, 2, 3, 4, 5], &[], &[3]), 1);
        assert_eq!(tolerated(&[1, 2, 3], &[], &[2, 3]), -1);
    }

    #[test]
    fn in_a_joint_configuration_the_weaker_half_counts() {
        assert_eq!(tolerated(&[1, 2, 3, 4, 5], &[1, 2, 3], &[3]), 0);
        assert_eq!(tolerated(&[1, 2, 3], &[1, 2, 3, 4, 5], &[]), 1);
    }

    #[test]
    fn the_term_in_which_a_process_starts_is_no_election() {
        let metrics = RaftMetrics::new(&Register::default());
        for term in [7, 7, 8, 10] {
            metrics.count_elections(term);
        }
        assert_eq!(metrics.elections.get(), 3);
    }
}
