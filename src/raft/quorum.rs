//! Majorities, simple and joint (Raft §5.2, §6).
//!
//! Every decision is one question: which value has a majority reached? Of match indexes the answer
//! is the commit index, of acknowledged rounds it is the round that confirms reads, of contact times
//! it is since when the leader has had a majority. In a joint configuration a majority of each half
//! must have reached it, so the answer is the smaller of the two.

use std::collections::BTreeSet;

use crate::types::{Configuration, NodeId};

/// How an election stands; or what one voter adds to it. In rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// A majority can no longer be reached in one of the halves.
    Lost,
    /// Neither is decided yet.
    Open,
    /// A majority of each half granted its vote.
    Won,
}

/// The greatest value that a majority of the voters (of both halves, where joint) has reached.
/// `None` where nobody votes.
pub(super) fn agreed<T: Ord + Copy>(
    configuration: &Configuration,
    value_of: impl Fn(NodeId) -> T,
) -> Option<T> {
    let incoming = agreed_by(&configuration.voters, &value_of)?;
    if planted!(JointNeedsOneMajority) {
        return Some(incoming);
    }
    if planted!(LearnersDecide) {
        return agreed_by(&configuration.learners, &value_of).max(Some(incoming));
    }
    Some(
        agreed_by(&configuration.outgoing, &value_of).map_or(incoming, |other| other.min(incoming)),
    )
}

/// How the election stands when these have granted and refused their vote. Others do not count.
pub(super) fn outcome(
    configuration: &Configuration,
    granted: &BTreeSet<NodeId>,
    refused: &BTreeSet<NodeId>,
) -> Outcome {
    let vote_of = |voter| {
        if granted.contains(&voter) {
            Outcome::Won
        } else if refused.contains(&voter) {
            Outcome::Lost
        } else {
            Outcome::Open
        }
    };
    agreed(configuration, vote_of).unwrap_or(Outcome::Lost)
}

fn agreed_by<T: Ord + Copy>(
    voters: &BTreeSet<NodeId>,
    value_of: &impl Fn(NodeId) -> T,
) -> Option<T> {
    let mut values: Vec<T> = voters.iter().map(|&voter| value_of(voter)).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    // Of n values in falling order, the one at n / 2 is reached by n / 2 + 1 voters: a majority.
    if planted!(HalfIsAMajority) {
        return values.get(values.len().saturating_sub(1) / 2).copied();
    }
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn configuration(voters: &[u64], outgoing: &[u64]) -> Configuration {
        Configuration {
            voters: voters.iter().copied().map(NodeId).collect(),
            outgoing: outgoing.iter().copied().map(NodeId).collect(),
            ..Configuration::default()
        }
    }

    fn ids(numbers: &[u64]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn nobody_agrees_on_nothing() {
        assert_eq!(agreed(&configuration(&[], &[]), |_| 7), None);
        assert_eq!(outcome(&configuration(&[], &[]), &ids(&[]), &ids(&[])), Outcome::Lost);
    }

    #[test]
    fn a_joint_configuration_needs_both_majorities() {
        let joint = configuration(&[1, 2, 3], &[3, 4, 5]);
        let value_of = |id: NodeId| if id.0 <= 3 { 9 } else { 4 };
        assert_eq!(agreed(&joint, value_of), Some(4));
        assert_eq!(outcome(&joint, &ids(&[1, 2, 3]), &ids(&[])), Outcome::Open);
        assert_eq!(outcome(&joint, &ids(&[1, 2, 3]), &ids(&[4, 5])), Outcome::Lost);
        assert_eq!(outcome(&joint, &ids(&[2, 3, 5]), &ids(&[1, 4])), Outcome::Won);
    }

    #[test]
    fn half_of_an_even_cluster_is_no_majority() {
        let four = configuration(&[1, 2, 3, 4], &[]);
        assert_eq!(outcome(&four, &ids(&[1, 2]), &ids(&[3])), Outcome::Open);
        assert_eq!(outcome(&four, &ids(&[1, 2]), &ids(&[3, 4])), Outcome::Lost);
        assert_eq!(outcome(&four, &ids(&[1, 2, 3]), &ids(&[4])), Outcome::Won);
    }

    proptest! {
        #[test]
        fn what_is_agreed_is_what_counting_says(values in proptest::collection::vec(0u64..9, 1..8)) {
            let voters: Vec<u64> = (0..values.len() as u64).collect();
            let found = agreed(&configuration(&voters, &[]), |id| values[id.0 as usize]);
            let reached_by = |floor: u64| values.iter().filter(|&&value| value >= floor).count();
            let expected = (0..9).filter(|&floor| reached_by(floor) > values.len() / 2).max();
            prop_assert_eq!(found, expected);
        }
    }
}
