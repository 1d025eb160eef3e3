//! How a link that cannot be made is tried again, and how often that is worth a line in the log.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::prng::Prng;

/// The first pause after a failure, before jitter.
const MIN_PAUSE_MS: u64 = 50;

/// The longest pause, before jitter.
const MAX_PAUSE_MS: u64 = 1000;

/// How often a cause that does not change is logged again.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// The pauses between attempts: they double, and a random part keeps nodes out of step.
#[derive(Debug)]
pub(super) struct Backoff {
    pause_ms: u64,
    prng: Prng,
}

impl Backoff {
    /// Starts with the shortest pause; `seed` decides the jitter.
    pub(super) fn new(seed: u64) -> Backoff {
        Backoff { pause_ms: MIN_PAUSE_MS, prng: Prng::new(seed) }
    }

    /// The pause before the next attempt: between half of the current step and all of it.
    pub(super) fn next_pause(&mut self) -> Duration {
        let half_ms = self.pause_ms / 2;
        let pause_ms = half_ms + self.prng.below(half_ms + 1);
        self.pause_ms = (self.pause_ms * 2).min(MAX_PAUSE_MS);
        Duration::from_millis(pause_ms)
    }

    /// Begins with the shortest pause again.
    pub(super) fn reset(&mut self) {
        self.pause_ms = MIN_PAUSE_MS;
    }
}

/// Decides which of many equal failures are logged: the first of a cause, then one each interval.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    last: Option<(String, Instant)>,
}

impl FailureLog {
    /// Whether a failure for `cause` at `now` is worth a line.
    pub(super) fn is_news(&mut self, cause: &str, now: Instant) -> bool {
        if let Some((last, at)) = &self.last
            && last == cause
            && now.duration_since(*at) < LOG_INTERVAL
        {
            return false;
        }
        self.last = Some((cause.to_owned(), now));
        true
    }

    /// Forgets the last cause: what follows a success is news.
    pub(super) fn clear(&mut self) {
        self.last = None;
    }
}

/// The same for many addresses, as many as [`MAX_FAILURE_LOGS`]; when there are more, all of them are
/// news again.
#[derive(Debug, Default)]
pub(super) struct FailureLogs {
    by_addr: BTreeMap<SocketAddr, FailureLog>,
}

/// Addresses whose failures are remembered.
const MAX_FAILURE_LOGS: usize = 256;

impl FailureLogs {
    /// Whether a failure at `addr` for `cause` at `now` is worth a line.
    pub(super) fn is_news(&mut self, addr: SocketAddr, cause: &str, now: Instant) -> bool {
        if self.by_addr.len() >= MAX_FAILURE_LOGS {
            self.by_addr.clear();
        }
        self.by_addr.entry(addr).or_default().is_news(cause, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_start_over_after_a_reset() {
        let mut backoff = Backoff::new(3);
        for step_ms in [50, 100, 200, 400, 800, 1000, 1000] {
            let pause_ms = backoff.next_pause().as_millis();
            assert!((step_ms / 2..=step_ms).contains(&pause_ms), "{pause_ms} of {step_ms} ms");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_millis(50));
    }

    #[test]
    fn a_cause_is_logged_when_it_is_new_and_then_every_thirty_seconds() {
        let mut log = FailureLog::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(log.is_news("refused", at(0)));
        assert!(!log.is_news("refused", at(29)));
        assert!(log.is_news("refused", at(30)));
        assert!(log.is_news("timed out", at(31)));
        assert!(log.is_news("refused", at(32)));
        log.clear();
        assert!(log.is_news("refused", at(33)));
    }
}
