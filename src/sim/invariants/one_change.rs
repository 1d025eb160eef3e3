//! At most one change of the members is under way: a leader appends a configuration only when the one
//! before it is committed, and an entry of its own term as well (Raft §6; Ongaro's correction of 2015
//! to the single-server change, thesis §4.1).

use super::history::Configurations;
use crate::types::{Entry, Index, NodeId, Term};

/// `id` leads, and entries up to `commit` are committed, whether it knows it or not.
pub(super) fn leads(
    configurations: &Configurations,
    id: NodeId,
    commit: Index,
) -> Result<(), String> {
    let under_way = configurations.uncommitted(id, commit);
    if under_way <= 1 {
        Ok(())
    } else {
        Err(format!("{under_way} changes are under way in the log of {id}"))
    }
}

/// A leader appends a configuration while its last committed entry is of `commit_term`.
pub(super) fn proposes(entry: &Entry, commit_term: Option<Term>) -> Result<(), String> {
    if commit_term.is_none_or(|term| term == entry.term()) {
        Ok(())
    } else {
        Err(format!(
            "a change is proposed at {} in term {} while the last committed entry is of {commit_term:?}",
            entry.index(),
            entry.term()
        ))
    }
}
