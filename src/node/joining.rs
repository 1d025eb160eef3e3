//! How a server without a cluster finds one, or makes one.
//!
//! ```text
//!            seeds belong to one cluster
//!  +---------------------------------------------> entering it ───> member
//!  |
//! looking ── expected servers look, none knows one ─> creating one ─> voter, with the others
//!  |
//!  +── otherwise, or the seeds disagree ──> keeps looking
//! ```
//!
//! No server is special. All may be told the same number of servers to expect; once so many look for
//! a cluster, know each other, and every seed is one of them, the one with the least id makes a
//! cluster of them all. A second cluster would be the end of the first, so whoever has not answered
//! might belong to one: nothing is made before it has. Since the first entry names all founders as
//! voters, no founder can decide anything alone, and one whose volume is lost at once costs nothing.
//!
//! A server that is told to bootstrap alone makes a cluster of one. It asks its seeds first as well,
//! because its volume may have been lost since the cluster was made, but not for ever.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::types::{ClusterId, NodeId};

/// How often the seeds are resolved and asked again.
pub(super) const ASK_INTERVAL_MS: u64 = 500;
/// How often a member asks those of its seeds that it does not know to be alive.
pub(super) const REJOIN_INTERVAL_MS: u64 = 10_000;
/// How long a server that bootstraps alone waits for seeds that do not answer.
const BOOTSTRAP_PATIENCE_MS: u64 = 3_000;

/// Whether a server may make a cluster, if none of its seeds knows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// It never does.
    Never,
    /// It does by itself; its seeds have some seconds to answer.
    Alone,
    /// It does together with as many servers that are told the same, itself included.
    Together(usize),
}

/// Where the seeds' names led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// Their addresses, without this node's own.
    pub addrs: BTreeSet<SocketAddr>,
    /// How many names have no address at present.
    pub unresolved: usize,
}

/// What a server that looks for a cluster sees.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    /// The clusters that gossip has heard of.
    pub(super) clusters: BTreeSet<ClusterId>,
    /// Living servers without a cluster, this one included.
    pub(super) looking: BTreeSet<NodeId>,
    /// Whether every seed has been found and is alive.
    pub(super) seeds_answer: bool,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Resolve the seeds and ask them.
    Ask,
    /// Enter this cluster.
    Enter(ClusterId),
    /// Make a cluster of these servers.
    Create(BTreeSet<NodeId>),
    /// The seeds belong to several clusters.
    Disagree(Vec<ClusterId>),
    /// Nothing yet.
    Wait,
}

/// The search for a cluster.
#[derive(Debug)]
pub(super) struct Joining {
    local: NodeId,
    bootstrap: Bootstrap,
    started_ms: u64,
    ask_at_ms: u64,
    /// Once decided, the search is over.
    decided: bool,
    disagreement: BTreeSet<ClusterId>,
}

impl Joining {
    pub(super) fn new(local: NodeId, bootstrap: Bootstrap, now_ms: u64) -> Joining {
        Joining {
            local,
            bootstrap,
            started_ms: now_ms,
            ask_at_ms: now_ms,
            decided: false,
            disagreement: BTreeSet::new(),
        }
    }

    /// Decides by what is in sight.
    pub(super) fn step(&mut self, sight: &Sight, now_ms: u64) -> Step {
        if self.decided {
            return Step::Wait;
        }
        if let (1, Some(cluster)) = (sight.clusters.len(), sight.clusters.first()) {
            self.decided = true;
            return Step::Enter(*cluster);
        }
        if sight.clusters.len() > 1 && sight.clusters != self.disagreement {
            self.disagreement.clone_from(&sight.clusters);
            return Step::Disagree(sight.clusters.iter().copied().collect());
        }
        if sight.clusters.is_empty()
            && let Some(founders) = self.founders(sight, now_ms)
        {
            self.decided = true;
            return Step::Create(founders);
        }
        if now_ms >= self.ask_at_ms {
            self.ask_at_ms = now_ms + ASK_INTERVAL_MS;
            return Step::Ask;
        }
        Step::Wait
    }

    /// The servers to make a cluster of, if it is this one's turn to make it now.
    fn founders(&self, sight: &Sight, now_ms: u64) -> Option<BTreeSet<NodeId>> {
        let is_sure = sight.seeds_answer || planted!(FoundsWithoutAsking);
        match self.bootstrap {
            Bootstrap::Never => None,
            Bootstrap::Alone => {
                let is_patient = now_ms < self.started_ms + BOOTSTRAP_PATIENCE_MS;
                (is_sure || !is_patient).then(|| BTreeSet::from([self.local]))
            }
            Bootstrap::Together(expected) => {
                let all_look = sight.looking.len() >= expected;
                let is_first = sight.looking.first() == Some(&self.local);
                (is_sure && all_look && is_first).then(|| sight.looking.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers that look, of which every seed is one or not, and clusters heard of.
    fn sight(looking: &[u64], seeds_answer: bool, clusters: &[u64]) -> Sight {
        Sight {
            clusters: clusters.iter().copied().map(ClusterId).collect(),
            looking: looking.iter().copied().map(NodeId).collect(),
            seeds_answer,
        }
    }

    fn joining(bootstrap: Bootstrap) -> Joining {
        Joining::new(NodeId(1), bootstrap, 0)
    }

    fn founders(ids: &[u64]) -> Step {
        Step::Create(ids.iter().copied().map(NodeId).collect())
    }

    #[test]
    fn a_bootstrapper_whose_seeds_all_know_none_makes_a_cluster_at_once_and_only_once() {
        let mut joining = joining(Bootstrap::Alone);
        assert_eq!(joining.step(&sight(&[1, 2], true, &[]), 0), founders(&[1]));
        assert_eq!(joining.step(&sight(&[1, 2], true, &[]), 1), Step::Wait);
    }

    #[test]
    fn a_bootstrapper_whose_seeds_know_a_cluster_enters_it() {
        let mut joining = joining(Bootstrap::Alone);
        assert_eq!(joining.step(&sight(&[1], false, &[]), 0), Step::Ask);
        assert_eq!(joining.step(&sight(&[1], true, &[7]), 20), Step::Enter(ClusterId(7)));
    }

    #[test]
    fn a_bootstrapper_waits_for_silent_seeds_before_it_makes_a_cluster() {
        let (mut joining, silent) = (joining(Bootstrap::Alone), sight(&[1], false, &[]));
        assert_eq!(joining.step(&silent, 0), Step::Ask);
        assert_eq!(joining.step(&silent, 100), Step::Wait);
        assert_eq!(joining.step(&silent, ASK_INTERVAL_MS), Step::Ask);
        assert_eq!(joining.step(&silent, BOOTSTRAP_PATIENCE_MS), founders(&[1]));
    }

    #[test]
    fn without_being_told_to_no_server_ever_makes_a_cluster() {
        let mut joining = joining(Bootstrap::Never);
        for now_ms in (0..100_000).step_by(100) {
            let step = joining.step(&sight(&[1, 2, 3], true, &[]), now_ms);
            assert!(matches!(step, Step::Ask | Step::Wait));
        }
    }

    #[test]
    fn seeds_that_disagree_are_reported_once_and_never_entered() {
        let mut joining = joining(Bootstrap::Alone);
        let both = vec![ClusterId(1), ClusterId(2)];
        let sight = sight(&[1], true, &[1, 2]);
        assert_eq!(joining.step(&sight, 0), Step::Disagree(both));
        assert_eq!(joining.step(&sight, 1), Step::Ask);
        assert_eq!(joining.step(&sight, 100_000), Step::Ask);
    }

    #[test]
    fn of_the_servers_that_are_expected_the_first_makes_a_cluster_of_all() {
        let all = sight(&[1, 2, 3], true, &[]);
        assert_eq!(joining(Bootstrap::Together(3)).step(&all, 0), founders(&[1, 2, 3]));
        assert_eq!(Joining::new(NodeId(2), Bootstrap::Together(3), 0).step(&all, 0), Step::Ask);
    }

    #[test]
    fn expected_servers_wait_for_ever_for_those_that_are_missing_or_silent() {
        let mut joining = joining(Bootstrap::Together(3));
        for now_ms in (0..100_000).step_by(100) {
            let (few, silent) = (sight(&[1, 2], true, &[]), sight(&[1, 2, 3], false, &[]));
            assert!(matches!(joining.step(&few, now_ms), Step::Ask | Step::Wait));
            assert!(matches!(joining.step(&silent, now_ms), Step::Ask | Step::Wait));
        }
    }

    #[test]
    fn expected_servers_enter_a_cluster_that_any_of_them_knows() {
        let sight = sight(&[1, 2], true, &[7]);
        assert_eq!(joining(Bootstrap::Together(3)).step(&sight, 0), Step::Enter(ClusterId(7)));
    }
}
