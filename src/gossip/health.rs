//! How well this node itself keeps up: Lifeguard's local health multiplier (§IV-A, LHA-Probe).
//!
//! A node that is short of CPU or network sees failures everywhere. Signs of that raise a score,
//! good news lowers it, and a node with a high score probes more slowly and waits longer for answers.

/// The highest score (S of Lifeguard §IV-A).
const MAX_SCORE: u64 = 8;

/// 0 is healthy.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    score: u64,
}

impl Health {
    /// A probe of ours was answered.
    pub(super) fn improve(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// Something went wrong that may be our own fault: a probe failed, a helper did not even say
    /// that it failed too, others suspected us, or we were called too late.
    pub(super) fn worsen(&mut self) {
        self.score = (self.score + 1).min(MAX_SCORE);
    }

    /// `ms` as this node should count them now: 1 to 9 times as many.
    pub(super) fn stretch(&self, ms: u64) -> u64 {
        ms * (self.score + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_between_zero_and_eight() {
        let mut health = Health::default();
        health.improve();
        assert_eq!(health.stretch(100), 100);
        for _ in 0..20 {
            health.worsen();
        }
        assert_eq!(health.stretch(100), 900);
        health.improve();
        assert_eq!(health.stretch(100), 800);
    }
}
