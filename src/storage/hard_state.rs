//! The bytes of term and vote.
//!
//! The payload of the twin record: term, then the candidate's node id or 0 for no vote, both u64
//! little-endian. See [`twin`](super::twin) for why a crash never turns either back.

use crate::types::{HardState, NodeId, Term};

pub(super) fn encode(state: HardState) -> [u8; 16] {
    let vote = state.vote.map_or(0, |vote| vote.0);
    assert!(state.vote != Some(NodeId(0)), "a node id is never zero");
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&state.term.0.to_le_bytes());
    payload[8..].copy_from_slice(&vote.to_le_bytes());
    payload
}

pub(super) fn decode(payload: &[u8]) -> Option<HardState> {
    let payload: &[u8; 16] = payload.try_into().ok()?;
    let [term, vote] = [0, 8].map(|at| {
        u64::from_le_bytes(*payload[at..].first_chunk().expect("sixteen bytes hold two numbers"))
    });
    Some(HardState { term: Term(term), vote: (vote != 0).then_some(NodeId(vote)) })
}

/// Whether `next` may follow `last`: a term never decreases, and a vote is given once a term.
pub(super) fn may_follow(last: HardState, next: HardState) -> bool {
    let keeps_vote = last.vote.is_none() || last.vote == next.vote;
    next.term > last.term || (next.term == last.term && keeps_vote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(term: u64, vote: u64) -> HardState {
        HardState { term: Term(term), vote: (vote != 0).then_some(NodeId(vote)) }
    }

    #[test]
    fn reads_back_as_it_was_written() {
        for state in [state(0, 0), state(9, 0), state(u64::MAX, u64::MAX)] {
            assert_eq!(decode(&encode(state)), Some(state));
        }
        assert_eq!(decode(&[0; 15]), None);
    }

    #[test]
    fn a_term_never_falls_and_a_vote_never_changes_within_one() {
        assert!(may_follow(state(3, 0), state(3, 7)));
        assert!(may_follow(state(3, 7), state(3, 7)));
        assert!(may_follow(state(3, 7), state(4, 0)));
        assert!(!may_follow(state(3, 7), state(3, 8)));
        assert!(!may_follow(state(3, 7), state(3, 0)));
        assert!(!may_follow(state(3, 7), state(2, 0)));
    }
}
