//! The `grpc-timeout` header: how long a client will wait for its answer.
//!
//! ```text
//!  timeout = 1 to 8 decimal digits, then one of  H  M  S  m  u  n
//!                                            hours min sec ms us ns
//! ```

use std::time::Duration;

use thiserror::Error;

/// The most digits that the protocol allows.
const MAX_DIGITS: usize = 8;

/// A header value that is no timeout.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("grpc-timeout must be 1 to 8 digits and one of the units H, M, S, m, u, n")]
pub(super) struct TimeoutError;

/// Reads the value of a `grpc-timeout` header.
///
/// # Errors
/// When the value does not have the form above.
pub(super) fn parse_timeout(value: &[u8]) -> Result<Duration, TimeoutError> {
    let (unit, digits) = value.split_last().ok_or(TimeoutError)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return Err(TimeoutError);
    }
    let mut amount = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(TimeoutError);
        }
        amount = amount * 10 + u64::from(digit - b'0');
    }
    match unit {
        b'H' => Ok(Duration::from_secs(amount * 3600)),
        b'M' => Ok(Duration::from_secs(amount * 60)),
        b'S' => Ok(Duration::from_secs(amount)),
        b'm' => Ok(Duration::from_millis(amount)),
        b'u' => Ok(Duration::from_micros(amount)),
        b'n' => Ok(Duration::from_nanos(amount)),
        _ => Err(TimeoutError),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_is_understood() {
        let cases =
            [("2H", 7200.0), ("3M", 180.0), ("4S", 4.0), ("5m", 5e-3), ("6u", 6e-6), ("7n", 7e-9)];
        for (value, seconds) in cases {
            assert_eq!(
                parse_timeout(value.as_bytes()),
                Ok(Duration::from_secs_f64(seconds)),
                "{value}"
            );
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for value in ["", "S", "5", "-5S", "5.0S", "5s", "5 S", "123456789S", "١S"] {
            assert_eq!(parse_timeout(value.as_bytes()), Err(TimeoutError), "{value}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_in_range_reads_back(amount in 0u64..100_000_000) {
            let value = format!("{amount}m");
            prop_assert_eq!(parse_timeout(value.as_bytes()), Ok(Duration::from_millis(amount)));
        }

        #[test]
        fn garbage_never_panics(value in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse_timeout(&value);
        }
    }
}
