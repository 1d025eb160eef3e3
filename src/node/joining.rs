//! How a server without a cluster finds one, or makes one.
//!
//! ```text
//!            seeds belong to one cluster
//!  +---------------------------------------------> entering it ───> member
//!  |
//! looking ── bootstrap, and no seed knows one ────> creating one ──> member
//!  |
//!  +── otherwise, or the seeds disagree ──> keeps looking
//! ```
//!
//! No server is special: one that is told to bootstrap asks all its seeds first, because a volume may
//! have been lost since the cluster was made, and a second cluster would be the end of the first.

use std::collections::BTreeSet;

use crate::types::ClusterId;

/// How often the seeds are resolved and asked again.
pub(super) const ASK_INTERVAL_MS: u64 = 500;
/// How often a member asks those of its seeds that it does not know to be alive.
pub(super) const REJOIN_INTERVAL_MS: u64 = 10_000;
/// How long a server that may bootstrap waits for seeds that do not answer before it makes a cluster.
const BOOTSTRAP_PATIENCE_MS: u64 = 3_000;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Resolve the seeds and ask them.
    Ask,
    /// Enter this cluster.
    Enter(ClusterId),
    /// Make a cluster.
    Create,
    /// The seeds belong to several clusters.
    Disagree(Vec<ClusterId>),
    /// Nothing yet.
    Wait,
}

/// The search for a cluster.
#[derive(Debug)]
pub(super) struct Joining {
    bootstrap: bool,
    started_ms: u64,
    ask_at_ms: u64,
    /// Once decided, the search is over.
    decided: bool,
    disagreement: BTreeSet<ClusterId>,
}

impl Joining {
    pub(super) fn new(bootstrap: bool, now_ms: u64) -> Joining {
        Joining {
            bootstrap,
            started_ms: now_ms,
            ask_at_ms: now_ms,
            decided: false,
            disagreement: BTreeSet::new(),
        }
    }

    /// Decides by the clusters that gossip has heard of, and whether every seed has answered.
    pub(super) fn step(
        &mut self,
        heard: &BTreeSet<ClusterId>,
        answered: bool,
        now_ms: u64,
    ) -> Step {
        if self.decided {
            return Step::Wait;
        }
        if let (1, Some(cluster)) = (heard.len(), heard.first()) {
            self.decided = true;
            return Step::Enter(*cluster);
        }
        if heard.len() > 1 && *heard != self.disagreement {
            self.disagreement.clone_from(heard);
            return Step::Disagree(heard.iter().copied().collect());
        }
        let patient = !answered && now_ms < self.started_ms + BOOTSTRAP_PATIENCE_MS;
        if self.bootstrap && heard.is_empty() && (!patient || planted!(FoundsWithoutAsking)) {
            self.decided = true;
            return Step::Create;
        }
        if now_ms >= self.ask_at_ms {
            self.ask_at_ms = now_ms + ASK_INTERVAL_MS;
            return Step::Ask;
        }
        Step::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(clusters: &[u64]) -> BTreeSet<ClusterId> {
        clusters.iter().copied().map(ClusterId).collect()
    }

    #[test]
    fn a_bootstrapper_whose_seeds_all_know_none_makes_a_cluster_at_once_and_only_once() {
        let mut joining = Joining::new(true, 100);
        assert_eq!(joining.step(&heard(&[]), true, 100), Step::Create);
        assert_eq!(joining.step(&heard(&[]), true, 101), Step::Wait);
    }

    #[test]
    fn a_bootstrapper_whose_seeds_know_a_cluster_enters_it() {
        let mut joining = Joining::new(true, 0);
        assert_eq!(joining.step(&heard(&[]), false, 0), Step::Ask);
        assert_eq!(joining.step(&heard(&[7]), true, 20), Step::Enter(ClusterId(7)));
    }

    #[test]
    fn a_bootstrapper_waits_for_silent_seeds_before_it_makes_a_cluster() {
        let mut joining = Joining::new(true, 0);
        assert_eq!(joining.step(&heard(&[]), false, 0), Step::Ask);
        assert_eq!(joining.step(&heard(&[]), false, 100), Step::Wait);
        assert_eq!(joining.step(&heard(&[]), false, ASK_INTERVAL_MS), Step::Ask);
        assert_eq!(joining.step(&heard(&[]), false, BOOTSTRAP_PATIENCE_MS), Step::Create);
    }

    #[test]
    fn without_bootstrap_no_cluster_is_ever_made() {
        let mut joining = Joining::new(false, 0);
        for now_ms in (0..100_000).step_by(100) {
            let step = joining.step(&heard(&[]), true, now_ms);
            assert!(matches!(step, Step::Ask | Step::Wait));
        }
    }

    #[test]
    fn seeds_that_disagree_are_reported_once_and_never_entered() {
        let mut joining = Joining::new(true, 0);
        let both = vec![ClusterId(1), ClusterId(2)];
        assert_eq!(joining.step(&heard(&[1, 2]), true, 0), Step::Disagree(both));
        assert_eq!(joining.step(&heard(&[1, 2]), true, 1), Step::Ask);
        assert_eq!(joining.step(&heard(&[1, 2]), true, 100_000), Step::Ask);
    }
}
