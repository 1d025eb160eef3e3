//! Where a good copy of everything acknowledged must remain: which machines may lose data.
//!
//! # The rule
//! In every configuration that some server may still act under, the undamaged voters are a majority
//! of `voters`, and of `outgoing` where there are any.
//!
//! # Why it is enough
//! What was acknowledged was durable on a majority of the voters (of both halves of a joint
//! configuration) that were in force then, and any two majorities of one set share a server. So a
//! majority of undamaged voters has an undamaged server in it that holds the entry. Votes of the
//! undamaged alone elect, and by the election restriction (Raft §5.4.1) whoever they elect holds
//! every committed entry. The entries outlive the configuration they were acknowledged under
//! because the next one takes effect only through an entry of the same log (Raft §6): it is
//! committed behind them, on the majorities that it asks for.
//!
//! # Why it is needed
//! A damaged machine is given up: it finds its damage at recovery, is wiped, and comes back under
//! another id as a learner. Its old id never votes again. So more damage would not bring a wrong
//! value to light but leave a cluster that can elect nobody, for ever; and a test that ends so has
//! proved nothing. A wipe is damage for the same reason, whatever the disk held.
//!
//! A damaged learner that had just caught up may still be made a voter by a leader that doesn't know.
//! So the rule counts damaged learners as if they were voters already.
//!
//! A machine that is merely down counts as undamaged: it comes back with all it promised. Where the
//! dead are removed from among the voters, it may come too late; so the damaged may be only as many as
//! the fewest voters that this leaves could bear.
//!
//! # Which configurations
//! The newest committed one, and every later one in any log. A configuration that isn't committed
//! may still be rolled back with its entry, and then the one before is in force again.

use std::collections::BTreeSet;

use crate::types::{Configuration, NodeId};

/// The machines that hold damaged data, or none any more.
#[derive(Clone, Debug, Default)]
pub struct Atlas {
    damaged: BTreeSet<NodeId>,
    /// Undamaged voters that are down may be removed until so many are left; `None`: never.
    spares: Option<usize>,
}

impl Atlas {
    /// No machine is damaged. The dead may be removed from among more than `spares` voters.
    #[must_use]
    pub fn new(spares: Option<usize>) -> Atlas {
        Atlas { damaged: BTreeSet::new(), spares }
    }

    /// Whether the data of `machine` may be damaged as well, by a lie or a wipe, while the cluster
    /// may act under any of these configurations.
    pub fn permits<'a>(
        &self,
        configurations: impl IntoIterator<Item = &'a Configuration>,
        machine: NodeId,
    ) -> bool {
        configurations.into_iter().all(|configuration| {
            let bad = |id: &NodeId| *id == machine || self.damaged.contains(id);
            let bad_learners = configuration.learners.iter().filter(|id| bad(id)).count();
            self.majority_remains(&configuration.voters, bad, bad_learners)
                && self.majority_remains(&configuration.outgoing, bad, 0)
        })
    }

    /// Whether the bad are less than half of `voters` and of those that may soon join them, and of
    /// the fewest that may be left of these. An empty set decides nothing.
    fn majority_remains(
        &self,
        voters: &BTreeSet<NodeId>,
        bad: impl Fn(&NodeId) -> bool,
        bad_joining: usize,
    ) -> bool {
        let bad = voters.iter().filter(|id| bad(id)).count() + bad_joining;
        let all = voters.len() + bad_joining;
        let fewest = self.spares.map_or(all, |floor| all.min(floor));
        voters.is_empty() || 2 * bad < fewest
    }

    /// The machines whose data is damaged or gone.
    pub fn machines(&self) -> impl Iterator<Item = NodeId> {
        self.damaged.iter().copied()
    }

    /// The data of this machine is damaged or gone.
    pub fn damaged(&mut self, machine: NodeId) {
        self.damaged.insert(machine);
    }

    /// No configuration names this machine any more, or recovery has found it whole after all.
    pub fn replaced(&mut self, machine: NodeId) {
        self.damaged.remove(&machine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(voters: &[u64], outgoing: &[u64]) -> Configuration {
        let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
        Configuration { voters: ids(voters), outgoing: ids(outgoing), ..Configuration::default() }
    }

    #[test]
    fn a_majority_of_the_voters_stays_undamaged() {
        let mut atlas = Atlas::default();
        let of_five = configuration(&[1, 2, 3, 4, 5], &[]);
        assert!(atlas.permits([&of_five], NodeId(1)));
        atlas.damaged(NodeId(1));
        assert!(atlas.permits([&of_five], NodeId(2)));
        atlas.damaged(NodeId(2));
        assert!(!atlas.permits([&of_five], NodeId(3)));
        assert!(atlas.permits([&of_five], NodeId(2)), "what is damaged can be damaged again");
        assert!(atlas.permits([&of_five], NodeId(9)), "a stranger holds no vote");
    }

    #[test]
    fn where_the_dead_are_removed_the_fewest_that_may_be_left_decide() {
        let mut atlas = Atlas::new(Some(3));
        let of_five = configuration(&[1, 2, 3, 4, 5], &[]);
        assert!(atlas.permits([&of_five], NodeId(1)));
        atlas.damaged(NodeId(1));
        assert!(
            !atlas.permits([&of_five], NodeId(2)),
            "4 and 5 may be removed while they are down"
        );
    }

    #[test]
    fn two_voters_or_one_are_never_damaged() {
        let atlas = Atlas::default();
        assert!(!atlas.permits([&configuration(&[1], &[])], NodeId(1)));
        assert!(!atlas.permits([&configuration(&[1, 2], &[])], NodeId(1)));
    }

    #[test]
    fn both_halves_of_a_joint_configuration_keep_a_majority() {
        let mut atlas = Atlas::default();
        let joint = configuration(&[2, 3, 4], &[1, 2, 3]);
        assert!(atlas.permits([&joint], NodeId(1)));
        atlas.damaged(NodeId(1));
        assert!(!atlas.permits([&joint], NodeId(2)), "3 alone is no majority of the outgoing ones");
        assert!(atlas.permits([&joint], NodeId(4)), "it counts in the incoming half only");
    }

    #[test]
    fn a_damaged_learner_counts_as_the_voter_it_may_become() {
        let mut atlas = Atlas::default();
        let mut with_learner = configuration(&[1, 2, 3], &[]);
        with_learner.learners.insert(NodeId(4));
        assert!(atlas.permits([&with_learner], NodeId(4)));
        atlas.damaged(NodeId(4));
        assert!(!atlas.permits([&with_learner], NodeId(1)), "2 and 3 are no majority of four");
    }

    #[test]
    fn a_replaced_machine_counts_no_more_and_an_older_configuration_still_does() {
        let mut atlas = Atlas::default();
        atlas.damaged(NodeId(1));
        let (before, after) = (configuration(&[1, 2, 3], &[]), configuration(&[2, 3, 4], &[]));
        assert!(!atlas.permits([&before, &after], NodeId(2)));
        assert!(atlas.permits([&after], NodeId(2)));
        atlas.replaced(NodeId(1));
        assert!(atlas.permits([&after], NodeId(2)));
    }
}
