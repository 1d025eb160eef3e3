//! The clocks of one machine: neither agrees with the world's.

use crate::prng::Prng;

/// How fast a machine's clocks run, and what its wall clock says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// Millionths by which its seconds are shorter than true ones.
    drift_ppm: i64,
    /// By how much its wall clock is ahead, in ms.
    skew_ms: i64,
}

/// The wall clock at the beginning of a run, in Unix milliseconds.
const EPOCH_MS: i64 = 1_700_000_000_000;
/// Real oscillators stay within 100 ppm, and virtual machines do worse; but no promise may hang on it.
const MAX_DRIFT_PPM: u64 = 250_000;
/// Wall clocks are set by hand, and wrongly.
const MAX_SKEW_MS: u64 = 600_000;

impl Clock {
    /// A clock with a drift, a skew, or neither.
    pub(super) fn draw(drifts: bool, is_skewed: bool, prng: &mut Prng) -> Clock {
        let mut around_zero = |most: u64| prng.below(2 * most + 1) as i64 - most as i64;
        let (drift, skew) = (around_zero(MAX_DRIFT_PPM), around_zero(MAX_SKEW_MS));
        Clock {
            drift_ppm: if drifts { drift } else { 0 },
            skew_ms: if is_skewed { skew } else { 0 },
        }
    }

    /// What the steady clock of a process on this machine says.
    pub(super) fn steady_ms(self, now_us: u64) -> u64 {
        let scaled = i128::from(now_us) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000_000;
        u64::try_from(scaled).expect("drift is far below a whole")
    }

    /// When the steady clock will say `at_ms`, at the latest.
    pub(super) fn true_us(self, at_ms: u64) -> u64 {
        let scaled = i128::from(at_ms) * 1_000_000_000 / i128::from(1_000_000 + self.drift_ppm);
        // A deadline may be at the end of time.
        u64::try_from(scaled + 1).unwrap_or(u64::MAX)
    }

    /// What the wall clock says, in Unix milliseconds.
    pub(super) fn wall_ms(self, now_us: u64) -> u64 {
        let now_ms = i64::try_from(now_us / 1000).expect("a run is short");
        u64::try_from(EPOCH_MS + now_ms + self.skew_ms).expect("the epoch is far from zero")
    }

    /// Sets the wall clock anew.
    pub(super) fn set_wall(&mut self, prng: &mut Prng) {
        self.skew_ms = prng.below(2 * MAX_SKEW_MS + 1) as i64 - MAX_SKEW_MS as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_passed_when_its_true_time_comes() {
        let mut prng = Prng::new(1);
        for at_ms in 0..5_000 {
            let clock = Clock::draw(true, true, &mut prng);
            let at_us = clock.true_us(at_ms);
            assert!(clock.steady_ms(at_us) >= at_ms, "{clock:?} at {at_ms}");
            assert!(clock.steady_ms(at_us.saturating_sub(1_100)) < at_ms.max(1));
        }
    }
}
