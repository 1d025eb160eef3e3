//! Election safety: at most one leader is elected in a term (Raft §5.2, figure 3).

use std::collections::BTreeMap;

use crate::types::{NodeId, Term};

/// Who led when.
#[derive(Debug, Default)]
pub(super) struct Elections {
    leaders: BTreeMap<Term, NodeId>,
}

impl Elections {
    pub(super) fn leads(&mut self, id: NodeId, term: Term) -> Result<(), String> {
        let leader = *self.leaders.entry(term).or_insert(id);
        if leader == id {
            Ok(())
        } else {
            Err(format!("{leader} and {id} both lead in term {term}"))
        }
    }
}
