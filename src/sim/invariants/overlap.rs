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
    let bits = |set: &BTreeSet<NodeId>| {
        let at = |id: &NodeId| ids.binary_search(id).expect("all are listed");
        set.iter().fold(0u32, |bits, id| bits | 1 << at(id))
    };
    let [old, old_outgoing, new, new_outgoing] = sets.map(bits);
    let can_decide_apart = |chosen: u32| {
        is_majority(chosen, old)
            && is_majority(chosen, old_outgoing)
            && is_majority(!chosen, new)
            && is_majority(!chosen, new_outgoing)
    };
    if (0..1 << ids.len()).any(can_decide_apart) {
        return Err(format!(
            "{:?} with {:?} and {:?} with {:?} can decide apart",
            before.voters, before.outgoing, after.voters, after.outgoing
        ));
    }
    Ok(())
}

/// Whether `chosen` holds more than half of `voters`; where there are none, nobody is asked.
fn is_majority(chosen: u32, voters: u32) -> bool {
    voters == 0 || (chosen & voters).count_ones() > voters.count_ones() / 2
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
