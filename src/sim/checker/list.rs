//! A `List` is one cut through the log: the map as it was at one moment, on all keys at once.
//!
//! ```text
//!   moment    1    2    3    4    5    6
//!   k1        [----a----)[----------b------      listed as a: moments 1 to 2
//!   k2             [-----------c------)[---      listed as c: moments 2 to 5
//!   k3        -----------------[----d------      not listed:  moments up to 3
//!                  ^^
//!                  all three hold at moment 2 only
//! ```
//!
//! Each key's demand can only push the moment to later, so the earliest one that suits all is a fixed
//! point, reached by going round the keys until none pushes any more.

use std::collections::BTreeMap;

use crate::sim::history::{Key, Value};
use crate::types::Revision;

use super::log::Log;

/// The first moment, none before the write of `floor`, at which the map may have been `listed`; or the
/// key that suits no moment at which all others may.
pub(super) fn first_moment_of(
    log: &Log,
    listed: &BTreeMap<Key, (Value, Revision)>,
    floor: Revision,
    answered_us: u64,
) -> Result<Revision, Key> {
    let mut moment = floor;
    loop {
        let start = moment;
        for key in log.keys() {
            let found = listed.get(&key).map(|(_, revision)| *revision);
            moment = log.first_moment_of(key, found, moment, answered_us).ok_or(key)?;
        }
        if moment == start {
            return Ok(moment);
        }
    }
}
