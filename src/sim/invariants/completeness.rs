//! Leader completeness: what was committed in a term is in the log of every leader of a later one
//! (Raft §5.4, figure 3).
//!
//! The last such entry is enough: by log matching, a log that holds it holds all before it.

use super::state_machine::StateMachine;
use crate::raft::Raft;
use crate::types::{NodeId, Term};

pub(super) fn leads(
    committed: &StateMachine,
    id: NodeId,
    term: Term,
    raft: &Raft,
) -> Result<(), String> {
    let Some((index, stamp)) = committed.last_before(term) else { return Ok(()) };
    let is_in_snapshot = index < raft.status().first_index;
    if is_in_snapshot || raft.term_at(index) == Some(stamp.term) {
        return Ok(());
    }
    let found = raft.term_at(index);
    Err(format!(
        "{id} leads in term {term} without entry {index} of term {}, which is committed; it has {found:?} there",
        stamp.term
    ))
}
