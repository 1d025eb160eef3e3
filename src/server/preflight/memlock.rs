//! May the process lock as much memory as the runtime's rings are given?

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Check;

const NAME: &str = "memlock";
/// What the runtime demands for each executor, whoever runs it.
const BYTES_PER_EXECUTOR: u64 = 512 << 10;

pub(super) fn check(executors: usize) -> Check {
    let needed_bytes = BYTES_PER_EXECUTOR * executors as u64;
    let limit = getrlimit(Resource::Memlock);
    if suffices(limit.current, needed_bytes) {
        return Check::ok(NAME, format!("limit is {}", show(limit.current)));
    }
    if !suffices(limit.maximum, needed_bytes) {
        return Check::fail(
            NAME,
            format!(
                "the limit is {}, and {} are needed ({} an executor)",
                show(limit.maximum),
                show(Some(needed_bytes)),
                show(Some(BYTES_PER_EXECUTOR))
            ),
            format!(
                "raise it (ulimit -l {}, LimitMEMLOCK= in systemd, --ulimit memlock=-1 in Docker), \
                 or run fewer --shards",
                needed_bytes >> 10
            ),
        );
    }
    // The soft limit is a default, not a decision: a process may raise it as far as the hard one.
    match setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => Check::ok(NAME, format!("limit raised to {}", show(limit.maximum))),
        Err(error) => Check::fail(
            NAME,
            format!("the limit is {} and cannot be raised: {error}", show(limit.current)),
            format!("ulimit -l {}", needed_bytes >> 10),
        ),
    }
}

/// `None` is no limit.
fn suffices(limit: Option<u64>, needed_bytes: u64) -> bool {
    limit.is_none_or(|bytes| bytes >= needed_bytes)
}

fn show(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes >> 10))
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn more_executors_than_the_limit_allows_are_named_with_the_limit_they_need() {
        let Some(limit_bytes) = getrlimit(Resource::Memlock).maximum else { return };
        let executors = (limit_bytes / BYTES_PER_EXECUTOR + 1) as usize;
        let Outcome::Fail(finding) = check(executors).outcome else { panic!("must fail") };
        assert!(finding.cause.ends_with("are needed (512 KiB an executor)"), "{finding}");
        assert!(finding.fix.contains("ulimit -l"), "{finding}");
    }

    #[test]
    fn a_limit_is_enough_up_to_the_last_byte() {
        assert!(suffices(None, u64::MAX));
        assert!(suffices(Some(512 << 10), 512 << 10));
        assert!(!suffices(Some((512 << 10) - 1), 512 << 10));
    }
}
