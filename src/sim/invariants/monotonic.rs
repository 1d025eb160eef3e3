//! Neither the term nor the commit index of a server ever falls, and it votes once a term
//! (Raft §5.1, §5.2, figure 2).

use std::collections::BTreeMap;

use crate::raft::Outline;
use crate::types::{Index, NodeId, Term};

/// How far each server has come.
#[derive(Debug, Default)]
pub(super) struct Monotonic {
    commits: BTreeMap<NodeId, Index>,
    votes: BTreeMap<NodeId, (Term, Option<NodeId>)>,
}

impl Monotonic {
    /// A process forgets what was committed; it finds out again. A vote that was not durable may be
    /// forgotten too, if nobody has seen it: durability is checked elsewhere.
    pub(super) fn restarts(&mut self, id: NodeId) {
        self.commits.remove(&id);
        self.votes.remove(&id);
    }

    pub(super) fn stepped(&mut self, id: NodeId, outline: Outline) -> Result<(), String> {
        let commit = self.commits.entry(id).or_default();
        if outline.commit < *commit {
            return Err(format!(
                "the commit index of {id} falls from {commit} to {}",
                outline.commit
            ));
        }
        *commit = outline.commit;
        let now = outline.hard_state;
        let (term, vote) = self.votes.entry(id).or_insert((now.term, now.vote));
        if now.term < *term {
            return Err(format!("the term of {id} falls from {term} to {}", now.term));
        }
        if now.term == *term && vote.is_some() && *vote != now.vote {
            return Err(format!("{id} votes for {vote:?} and {:?} in term {term}", now.vote));
        }
        (*term, *vote) = (now.term, now.vote);
        Ok(())
    }
}
