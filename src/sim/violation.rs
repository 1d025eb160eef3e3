//! What a run may find wrong.

use std::fmt;

/// A property that must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// A term has at most one leader (Raft §5.2).
    ElectionSafety,
    /// Entries with the same index and term are the same, and so is all before them (§5.3).
    LogMatching,
    /// A leader's log holds all that was committed in earlier terms (§5.4).
    LeaderCompleteness,
    /// No two servers apply different entries at an index, or reach different states (§5.4.3).
    StateMachineSafety,
    /// Neither the term nor the commit index of a server ever falls, and a vote is never changed.
    Monotonicity,
    /// What a server acknowledged is on its disk, and what is committed on a majority's.
    Durability,
    /// At most one change of the members is under way (§6).
    OneChange,
    /// Any majority of a configuration meets any majority of the next (§6).
    QuorumOverlap,
    /// Nobody loses its vote without having asked to leave or having lost its disk.
    VotersFloor,
    /// All servers belong to one cluster.
    OneCluster,
    /// No queue grows over its limit.
    Bounds,
    /// A data directory that nobody damaged is recovered, and damage is told.
    Recovery,
    /// Each request is answered at most once.
    Answers,
    /// What clients saw has an order that explains it (Herlihy and Wing 1990).
    Linearizability,
    /// A healthy majority commits, and a healthy cluster comes to agree.
    Liveness,
    /// Members that can talk to each other know that they live (SWIM §3).
    Membership,
    /// An assertion of the code itself failed.
    Assertion,
}

/// A property that did not hold, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub property: Property,
    /// What was seen.
    pub detail: String,
}

impl Property {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Property::ElectionSafety => "election safety",
            Property::LogMatching => "log matching",
            Property::LeaderCompleteness => "leader completeness",
            Property::StateMachineSafety => "state machine safety",
            Property::Monotonicity => "monotonic term and commit",
            Property::Durability => "durable before acknowledged",
            Property::OneChange => "one change at a time",
            Property::QuorumOverlap => "quorums overlap",
            Property::VotersFloor => "no vote lost by silence",
            Property::OneCluster => "one cluster",
            Property::Bounds => "bounded queues",
            Property::Recovery => "recovery",
            Property::Answers => "one answer each",
            Property::Linearizability => "linearizability",
            Property::Liveness => "liveness",
            Property::Membership => "membership",
            Property::Assertion => "assertion",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}
