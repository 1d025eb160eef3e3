//! Log matching: two logs with an entry of the same index and term are the same up to it
//! (Raft §5.3, figure 3).
//!
//! It holds if an index and a term name one entry and one predecessor, whoever writes it.

use std::collections::BTreeMap;

use super::Stamp;
use crate::types::{Entry, Index, Term};

/// Each entry that any server ever wrote: what it is, and the term of the one before it.
#[derive(Debug, Default)]
pub(super) struct LogMatching {
    written: BTreeMap<(Index, Term), (Stamp, Option<Term>)>,
}

impl LogMatching {
    /// Consecutive entries are written behind one of term `before`, where that is still known.
    pub(super) fn writes(
        &mut self,
        mut before: Option<Term>,
        entries: &[Entry],
    ) -> Result<(), String> {
        for entry in entries {
            let key = (entry.index(), entry.term());
            let stamp = Stamp::of(entry);
            let known = self.written.entry(key).or_insert((stamp, before));
            if known.0 != stamp {
                return Err(format!("two different entries at {} of term {}", key.0, key.1));
            }
            known.1 = known.1.or(before);
            if before.is_some() && known.1 != before {
                return Err(format!(
                    "entry {} of term {} stands behind one of term {:?} and one of {:?}",
                    key.0, key.1, known.1, before
                ));
            }
            before = Some(entry.term());
        }
        Ok(())
    }
}
