//! How long a suspect has to refute: Lifeguard's LHA-Suspicion (§IV-B).
//!
//! One failed probe may well be the prober's own fault. So a suspicion starts with the longest
//! timeout, and each further member that probes the suspect in vain shortens it. With C independent
//! confirmations out of the K that are wanted, it lasts
//!
//! ```text
//!                                        log(C + 1)
//!   max(min, max - (max - min) x ---------------------- )     min = alpha x digits(n) x period
//!                                        log(K + 1)           max = beta x min
//! ```

use std::collections::BTreeSet;

use crate::types::NodeId;

use super::config::{Config, scale};

/// The most independent confirmations that are waited for (K of Lifeguard §IV-B).
const MAX_CONFIRMATIONS: usize = 3;

/// The most accusers of one suspect that are remembered and passed on: the first, and those that
/// confirmed.
pub(super) const MAX_ACCUSERS: usize = MAX_CONFIRMATIONS + 1;

/// `1000 x log(C + 1) / log(K + 1)`: in row K, the share of the way from the longest to the shortest
/// timeout that C confirmations take. A table, because floating point may differ between machines.
const SHARE_PERMILLE: [[u64; MAX_ACCUSERS]; MAX_ACCUSERS] =
    [[1000; 4], [0, 1000, 1000, 1000], [0, 631, 1000, 1000], [0, 500, 792, 1000]];

/// A running suspicion of one member at one incarnation.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    began_ms: u64,
    min_ms: u64,
    max_ms: u64,
    /// K: how many members there are that could confirm, at most [`MAX_CONFIRMATIONS`].
    wanted: usize,
    /// Never empty, at most [`MAX_ACCUSERS`].
    accusers: BTreeSet<NodeId>,
}

impl Suspicion {
    /// A suspicion that begins now in a cluster of `members`, this node and the suspect included.
    pub(super) fn new(
        accusers: BTreeSet<NodeId>,
        now_ms: u64,
        members: usize,
        config: &Config,
    ) -> Suspicion {
        assert!((1..=MAX_ACCUSERS).contains(&accusers.len()), "a suspicion has 1 to 4 accusers");
        let min_ms =
            config.suspicion_multiplier * u64::from(scale(members)) * config.probe_interval_ms;
        Suspicion {
            began_ms: now_ms,
            min_ms,
            max_ms: config.suspicion_max_factor * min_ms,
            // Neither the suspect nor the first accuser can confirm.
            wanted: members.saturating_sub(2).min(MAX_CONFIRMATIONS),
            accusers,
        }
    }

    /// Counts further accusers; says whether one of them is new.
    pub(super) fn accuse(&mut self, accusers: &BTreeSet<NodeId>) -> bool {
        let before = self.accusers.len();
        for accuser in accusers {
            if self.accusers.len() < MAX_ACCUSERS {
                self.accusers.insert(*accuser);
            }
        }
        self.accusers.len() > before
    }

    pub(super) fn accusers(&self) -> &BTreeSet<NodeId> {
        &self.accusers
    }

    /// When the suspect is held dead, unless it refutes before.
    pub(super) fn deadline_ms(&self) -> u64 {
        if planted!(SuspicionNeverEnds) {
            return self.began_ms + 1000 * self.max_ms;
        }
        let share = SHARE_PERMILLE[self.wanted][self.accusers.len() - 1];
        self.began_ms + self.max_ms - (self.max_ms - self.min_ms) * share / 1000
    }

    /// Gives the suspect back the time in which this node could not hear it.
    pub(super) fn postpone(&mut self, by_ms: u64) {
        self.began_ms += by_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::identity;
    use super::*;

    fn timeouts_ms(members: usize) -> Vec<u64> {
        let config = Config::lan(identity(1), 0);
        let accused_by = |count: u64| {
            let accusers = (1..=count).map(NodeId).collect();
            Suspicion::new(accusers, 0, members, &config).deadline_ms()
        };
        (1..=4).map(accused_by).collect()
    }

    #[test]
    fn confirmations_shorten_a_suspicion() {
        assert_eq!(timeouts_ms(5), [12_000, 7_000, 4_080, 2_000]);
        assert_eq!(timeouts_ms(4), [12_000, 5_690, 2_000, 2_000]);
        assert_eq!(timeouts_ms(3), [12_000, 2_000, 2_000, 2_000]);
    }

    #[test]
    fn where_nobody_could_confirm_the_shortest_timeout_holds() {
        assert_eq!(timeouts_ms(2), [2_000; 4]);
    }

    #[test]
    fn a_larger_cluster_takes_longer() {
        assert_eq!(timeouts_ms(50), [24_000, 14_000, 8_160, 4_000]);
    }

    #[test]
    fn the_same_accuser_does_not_count_twice() {
        let config = Config::lan(identity(1), 0);
        let mut suspicion = Suspicion::new(BTreeSet::from([NodeId(1)]), 0, 5, &config);
        assert!(!suspicion.accuse(&BTreeSet::from([NodeId(1)])));
        assert!(suspicion.accuse(&BTreeSet::from([NodeId(1), NodeId(2)])));
        assert!(suspicion.accuse(&(3..9).map(NodeId).collect()));
        assert_eq!(suspicion.accusers().len(), MAX_ACCUSERS);
    }
}
