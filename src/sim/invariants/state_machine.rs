//! State machine safety: no two servers apply different entries at an index (Raft §5.4.3, figure 3),
//! and equal entries lead to equal maps.

use std::collections::BTreeMap;

use super::Stamp;
use crate::storage::StateHash;
use crate::types::{Entry, Index, NodeId, Term};

/// What was applied anywhere.
#[derive(Debug, Default)]
pub(super) struct StateMachine {
    /// From index 1 on: what was applied there first, and the term its server was in.
    applied: Vec<(Stamp, Term)>,
    /// The hash of the map after some indexes.
    hashes: BTreeMap<Index, StateHash>,
}

impl StateMachine {
    /// `id`, in `term`, applies `entry`. Tells whether it is the first to do so.
    pub(super) fn applies(
        &mut self,
        id: NodeId,
        term: Term,
        entry: &Entry,
    ) -> (Result<(), String>, bool) {
        let (index, stamp) = (entry.index(), Stamp::of(entry));
        match self.applied.get(at(index)) {
            Some((known, _)) if *known == stamp => (Ok(()), false),
            Some((known, _)) => (
                Err(format!(
                    "{id} applies an entry of term {} at {index}; one of term {} was applied there",
                    stamp.term, known.term
                )),
                false,
            ),
            None if at(index) == self.applied.len() => {
                self.applied.push((stamp, term));
                (Ok(()), true)
            }
            None => {
                (Err(format!("{id} applies entry {index} before anybody applied the last")), false)
            }
        }
    }

    /// The map of `id` has this hash after `index`.
    pub(super) fn reaches(
        &mut self,
        id: NodeId,
        index: Index,
        hash: StateHash,
    ) -> Result<(), String> {
        let known = *self.hashes.entry(index).or_insert(hash);
        if known == hash {
            Ok(())
        } else {
            Err(format!("the map of {id} differs from another's after entry {index}"))
        }
    }

    /// The last entry that a server applied in a term before `term`.
    pub(super) fn last_before(&self, term: Term) -> Option<(Index, Stamp)> {
        let earlier = |(_, (_, by)): &(usize, &(Stamp, Term))| *by < term;
        let (at, (stamp, _)) = self.applied.iter().enumerate().rev().find(earlier)?;
        Some((Index(at as u64 + 1), *stamp))
    }

    /// The last index that was applied anywhere.
    pub(super) fn last(&self) -> Index {
        Index(self.applied.len() as u64)
    }
}

fn at(index: Index) -> usize {
    index.0 as usize - 1
}
