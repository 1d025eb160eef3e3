//! Any majority of a configuration meets any majority of the next one in the log, so no two can
//! decide without each other (Raft §6, figure 10).

use std::collections::BTreeSet;

use crate::types::{Configuration, NodeId};

/// Fails where a majority of one can miss a majority of the other.
pub(super) fn check(before: &Configuration, after: &Configuration) -> Result<(), String> {
    let sets = [&before.voters, &before.outgoing, &after.voters, &after.outgoing];
    let ids: BTreeSet<NodeId> = sets.into_iter().flatten().copied().collect();
    if before.voters.is_empty() {
        return Ok(());
    }
    let ids: Vec<NodeId> = ids.into_iter().collect();
    assert!(ids.len() < 24, "a run has few servers");
    for chosen in 0u32..1 << ids.len() {
        let is_chosen = |id: &NodeId| ids.binary_search(id).is_ok_and(|at| chosen & (1 << at) != 0);
        if is_quorum(before, &is_chosen) && is_quorum(after, &|id| !is_chosen(id)) {
            return Err(format!(
                "{:?} with {:?} and {:?} with {:?} can decide apart",
                before.voters, before.outgoing, after.voters, after.outgoing
            ));
        }
    }
    Ok(())
}

fn is_quorum(configuration: &Configuration, has: &dyn Fn(&NodeId) -> bool) -> bool {
    let majority = |voters: &BTreeSet<NodeId>| {
        voters.is_empty() || voters.iter().filter(|id| has(id)).count() > voters.len() / 2
    };
    majority(&configuration.voters) && majority(&configuration.outgoing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voters: &[u64], outgoing: &[u64]) -> Configuration {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        Configuration { voters: set(voters), outgoing: set(outgoing), ..Configuration::default() }
    }

    #[test]
    fn a_joint_step_overlaps_and_a_leap_does_not() {
        assert_eq!(check(&of(&[1, 2, 3], &[]), &of(&[3, 4, 5], &[1, 2, 3])), Ok(()));
        assert_eq!(check(&of(&[3, 4, 5], &[1, 2, 3]), &of(&[3, 4, 5], &[])), Ok(()));
        assert_eq!(check(&of(&[1, 2, 3], &[]), &of(&[1, 2, 3, 4], &[])), Ok(()));
        assert!(check(&of(&[1, 2, 3], &[]), &of(&[1, 2, 3, 4, 5], &[])).is_err());
        assert!(check(&of(&[1, 2, 3], &[]), &of(&[3, 4, 5], &[])).is_err());
    }
}
