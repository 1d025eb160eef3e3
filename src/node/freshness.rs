//! Whether this server may say that it serves: it knows a leader and has caught up with it.
//!
//! A restarted server replays its log before it can answer anything, and only the leader knows how
//! far that must go. So when a leader becomes known, the node runs one ReadIndex round for itself;
//! once the index of its answer is delivered, the node is fresh, until the leader changes.

use super::reads::ROUND_TIMEOUT_MS;
use crate::types::Index;

/// How long to wait after a lost round before the next.
const RETRY_MS: u64 = 50;

/// Progress towards being fresh under the present leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Freshness {
    /// No round runs.
    #[default]
    Unknown,
    /// No round runs before this time.
    RetryAt(u64),
    /// A round with this context runs since this time.
    Asked { context: u64, since_ms: u64 },
    /// Fresh once this index is delivered.
    Behind(Index),
    /// Caught up with the leader.
    Fresh,
}

impl Freshness {
    pub(super) fn leader_changed(&mut self) {
        *self = Freshness::Unknown;
    }

    /// Whether a round should begin now.
    pub(super) fn wants_round(&self, now_ms: u64) -> bool {
        match self {
            Freshness::Unknown => true,
            Freshness::RetryAt(at_ms) => now_ms >= *at_ms,
            Freshness::Asked { since_ms, .. } => {
                now_ms.saturating_sub(*since_ms) >= ROUND_TIMEOUT_MS
            }
            Freshness::Behind(_) | Freshness::Fresh => false,
        }
    }

    pub(super) fn asked(&mut self, context: u64, now_ms: u64) {
        *self = Freshness::Asked { context, since_ms: now_ms };
    }

    pub(super) fn confirmed(&mut self, confirmed: u64, index: Index) {
        if self.is_asking(confirmed) {
            *self = Freshness::Behind(index);
        }
    }

    pub(super) fn lost(&mut self, lost: u64, now_ms: u64) {
        if self.is_asking(lost) {
            *self = Freshness::RetryAt(now_ms + RETRY_MS);
        }
    }

    pub(super) fn delivered(&mut self, delivered: Index) {
        if let Freshness::Behind(index) = self
            && delivered >= *index
        {
            *self = Freshness::Fresh;
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        *self == Freshness::Fresh
    }

    fn is_asking(&self, asked: u64) -> bool {
        matches!(self, Freshness::Asked { context, .. } if *context == asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_once_the_leaders_index_is_delivered_and_not_after_it_changes() {
        let mut freshness = Freshness::default();
        assert!(freshness.wants_round(0));
        freshness.asked(1, 0);
        freshness.confirmed(1, Index(5));
        freshness.delivered(Index(4));
        assert!(!freshness.is_fresh());
        freshness.delivered(Index(5));
        assert!(freshness.is_fresh());
        freshness.leader_changed();
        assert!(!freshness.is_fresh());
    }

    #[test]
    fn a_lost_or_silent_round_is_run_again() {
        let mut freshness = Freshness::default();
        freshness.asked(1, 0);
        assert!(!freshness.wants_round(ROUND_TIMEOUT_MS - 1));
        assert!(freshness.wants_round(ROUND_TIMEOUT_MS));
        freshness.lost(1, 10);
        assert!(!freshness.wants_round(10));
        assert!(freshness.wants_round(10 + RETRY_MS));
    }
}
