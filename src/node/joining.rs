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
//! voters, no founder can decide anything alone, and one whose volume is lost costs nothing once a
//! majority of the others holds that entry. Before that, which is the first moments of a cluster that
//! has promised nobody anything, the volume of the one that made it must not be lost.
//!
//! Addresses are copied, and taken over by others. So a server that has seeds enters no cluster but
//! the one that they answer with; whoever else speaks to it only keeps it from making one.
//!
//! A server that is told to bootstrap alone makes a cluster of one. It asks its seeds first as well,
//! because its volume may have been lost since the cluster was made, but not for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::types::{ClusterId, NodeId};

/// How often the seeds are resolved and asked again.
pub(super) const ASK_INTERVAL_MS: u64 = 500;
/// How often a member asks those of its seeds that it does not know to be alive.
pub(super) const REJOIN_INTERVAL_MS: u64 = 10_000;
/// How long a server that bootstraps alone waits for seeds that do not answer.
const BOOTSTRAP_PATIENCE_MS: u64 = 3_000;
/// A cluster that no seed answers with is reported after this long: a seed may be about to.
const UNINVITED_PATIENCE_MS: u64 = 5_000;

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
    /// The clusters that gossip has heard of, from whomever.
    pub(super) heard: BTreeSet<ClusterId>,
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
    /// Members of clusters that no seed belongs to speak to this server.
    Uninvited(Vec<ClusterId>),
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
    /// Where the seeds' names led to last.
    seeds: Option<Seeds>,
    /// The clusters that seeds have answered with, by seed.
    told: BTreeMap<SocketAddr, ClusterId>,
    /// Since when clusters are heard of that no seed has answered with.
    uninvited_since_ms: Option<u64>,
    /// The clusters that were reported last.
    reported: BTreeSet<ClusterId>,
    /// Once decided, the search is over.
    decided: bool,
}

impl Joining {
    pub(super) fn new(local: NodeId, bootstrap: Bootstrap, now_ms: u64) -> Joining {
        Joining {
            local,
            bootstrap,
            started_ms: now_ms,
            ask_at_ms: now_ms,
            seeds: None,
            told: BTreeMap::new(),
            uninvited_since_ms: None,
            reported: BTreeSet::new(),
            decided: false,
        }
    }

    /// The seeds' names lead to these addresses.
    pub(super) fn found(&mut self, seeds: Seeds) {
        self.told.retain(|addr, _| seeds.addrs.contains(addr));
        self.seeds = Some(seeds);
    }

    /// Whoever is at `addr` answered, as a member of `cluster`.
    pub(super) fn answered(&mut self, addr: SocketAddr, cluster: Option<ClusterId>) {
        let is_seed = self.seeds.as_ref().is_some_and(|seeds| seeds.addrs.contains(&addr));
        match cluster.filter(|_| is_seed) {
            Some(cluster) => self.told.insert(addr, cluster),
            None => self.told.remove(&addr),
        };
    }

    /// Where the seeds' names led to last.
    pub(super) fn seeds(&self) -> Option<&Seeds> {
        self.seeds.as_ref()
    }

    /// Decides by what is in sight.
    pub(super) fn step(&mut self, sight: &Sight, now_ms: u64) -> Step {
        if self.decided {
            return Step::Wait;
        }
        let invitations = self.invitations(sight);
        if let (1, Some(cluster)) = (invitations.len(), invitations.first()) {
            self.decided = true;
            return Step::Enter(*cluster);
        }
        if invitations.len() > 1 && self.report(&invitations) {
            return Step::Disagree(invitations.into_iter().collect());
        }
        if self.is_disturbed(sight, &invitations, now_ms) && self.report(&sight.heard) {
            return Step::Uninvited(sight.heard.iter().copied().collect());
        }
        if sight.heard.is_empty()
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

    /// The clusters that this server may enter: those of its seeds. One without seeds asks nobody, and
    /// waits for others to whom it is a seed.
    fn invitations(&self, sight: &Sight) -> BTreeSet<ClusterId> {
        let has_seeds = |seeds: &Seeds| !seeds.addrs.is_empty() || seeds.unresolved > 0;
        if self.seeds.as_ref().is_none_or(has_seeds) && !planted!(EntersUninvited) {
            self.told.values().copied().collect()
        } else {
            sight.heard.clone()
        }
    }

    /// Whether clusters are heard of, and have been for some time, without any seed that knows one.
    fn is_disturbed(
        &mut self,
        sight: &Sight,
        invitations: &BTreeSet<ClusterId>,
        now_ms: u64,
    ) -> bool {
        if sight.heard.is_empty() || !invitations.is_empty() {
            self.uninvited_since_ms = None;
            return false;
        }
        now_ms >= *self.uninvited_since_ms.get_or_insert(now_ms) + UNINVITED_PATIENCE_MS
    }

    /// Whether these clusters were not the last to be reported; now they are.
    fn report(&mut self, clusters: &BTreeSet<ClusterId>) -> bool {
        let is_new = self.reported != *clusters;
        self.reported.clone_from(clusters);
        is_new
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
    fn sight(looking: &[u64], seeds_answer: bool, heard: &[u64]) -> Sight {
        Sight {
            heard: heard.iter().copied().map(ClusterId).collect(),
            looking: looking.iter().copied().map(NodeId).collect(),
            seeds_answer,
        }
    }

    fn joining(bootstrap: Bootstrap) -> Joining {
        let mut joining = Joining::new(NodeId(1), bootstrap, 0);
        joining.found(Seeds { addrs: [2, 3].map(addr).into(), unresolved: 0 });
        joining
    }

    fn addr(id: u8) -> SocketAddr {
        ([10, 0, 0, id], 8401).into()
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
        joining.answered(addr(2), Some(ClusterId(7)));
        assert_eq!(joining.step(&sight(&[1], true, &[7]), 20), Step::Enter(ClusterId(7)));
    }

    #[test]
    fn a_cluster_that_no_seed_answers_with_is_not_entered_and_keeps_it_from_making_one() {
        let (mut joining, uninvited) = (joining(Bootstrap::Alone), sight(&[1, 2], true, &[7]));
        joining.answered(addr(9), Some(ClusterId(7)));
        assert_eq!(joining.step(&uninvited, 0), Step::Ask);
        let late_ms = UNINVITED_PATIENCE_MS;
        assert_eq!(joining.step(&uninvited, late_ms), Step::Uninvited(vec![ClusterId(7)]));
        assert_eq!(joining.step(&uninvited, late_ms + 1), Step::Ask, "it is said once");
        joining.answered(addr(2), Some(ClusterId(8)));
        assert_eq!(joining.step(&uninvited, late_ms + 2), Step::Enter(ClusterId(8)));
    }

    #[test]
    fn a_seed_that_is_none_any_more_has_said_nothing() {
        let mut joining = joining(Bootstrap::Never);
        joining.answered(addr(2), Some(ClusterId(7)));
        joining.found(Seeds { addrs: [3].map(addr).into(), unresolved: 0 });
        assert_eq!(joining.step(&sight(&[1], true, &[7]), 0), Step::Ask);
    }

    #[test]
    fn a_server_without_seeds_enters_the_cluster_that_speaks_to_it() {
        let mut joining = Joining::new(NodeId(1), Bootstrap::Never, 0);
        let invited = sight(&[1], false, &[7]);
        assert_eq!(joining.step(&invited, 0), Step::Ask, "it may have seeds that nobody looked up");
        joining.found(Seeds::default());
        assert_eq!(joining.step(&invited, 1), Step::Enter(ClusterId(7)));
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
        joining.answered(addr(2), Some(ClusterId(1)));
        joining.answered(addr(3), Some(ClusterId(2)));
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
        let mut joining = joining(Bootstrap::Together(3));
        joining.answered(addr(3), Some(ClusterId(7)));
        assert_eq!(joining.step(&sight(&[1, 2], true, &[7]), 0), Step::Enter(ClusterId(7)));
    }
}
