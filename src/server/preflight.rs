//! Looks for everything that would stop a server, before it starts, and names the real cause.
//!
//! The runtime below us reports some of these late, some by a panic, and some under a wrong name: a
//! seccomp profile that forbids io_uring, for one, as a kernel that is too old. And a listening
//! socket that shares its port (SO_REUSEPORT) takes half of another server's connections without
//! an error. So each is looked at here, in this order, with nothing but std and plain system calls:
//!
//! ```text
//!   io_uring ─► memlock ─► address ─► data directory ─► disk space ─► ports
//! ```
//!
//! A check that fails does not keep the later ones from being made: all faults are told at once.
//! What is free now may be taken a moment later; then the server's own attempt fails, less clearly.

mod data_dir;
mod io_uring;
mod memlock;
mod network;

use std::fmt;

pub use data_dir::{DataDirLock, LockError};

use super::settings::Settings;

/// What was looked at and what was found, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// At least one for each kind of check.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What: `io_uring`, `rpc port`.
    pub name: &'static str,
    /// How it stands.
    pub outcome: Outcome,
}

/// How one check went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Fine; the text says what was found.
    Ok(String),
    /// A server will run, but the user should know this.
    Warn(Finding),
    /// A server cannot run.
    Fail(Finding),
}

/// A cause and what to do about it, each one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is the matter.
    pub cause: String,
    /// What the user can do.
    pub fix: String,
}

/// Why a server cannot start here: every failed check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PreflightError {
    /// The checks that failed, at least one.
    pub failed: Vec<(&'static str, Finding)>,
}

/// Makes all checks for a server with these settings. Takes milliseconds, but waits some seconds for
/// a host name that does not resolve, because a cluster's DNS may learn it only now.
pub fn run(settings: &Settings) -> Report {
    let executors = settings.executor_count();
    let mut checks = vec![io_uring::check(), memlock::check(executors)];
    let (address, ip) = network::check_address(settings);
    checks.push(address);
    checks.extend(data_dir::check(&settings.data_dir));
    if let Some(ip) = ip {
        checks.extend(network::check_ports(settings, settings.listen_ip(ip)));
    }
    Report { checks }
}

impl Report {
    /// The warnings, to be logged by a server that starts in spite of them.
    pub fn warnings(&self) -> impl Iterator<Item = (&'static str, &Finding)> {
        self.checks.iter().filter_map(|check| match &check.outcome {
            Outcome::Warn(finding) => Some((check.name, finding)),
            Outcome::Ok(_) | Outcome::Fail(_) => None,
        })
    }

    /// Nothing, or all that failed.
    ///
    /// # Errors
    /// When any check failed.
    pub fn into_result(self) -> Result<(), PreflightError> {
        let failed: Vec<_> = self
            .checks
            .into_iter()
            .filter_map(|check| match check.outcome {
                Outcome::Fail(finding) => Some((check.name, finding)),
                Outcome::Ok(_) | Outcome::Warn(_) => None,
            })
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(PreflightError { failed }) }
    }
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Ok(detail.into()) }
    }

    fn warn(name: &'static str, cause: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Warn(Finding { cause: cause.into(), fix: fix.into() }) }
    }

    fn fail(name: &'static str, cause: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Fail(Finding { cause: cause.into(), fix: fix.into() }) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.fix)
    }
}

impl fmt::Display for PreflightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, finding)) in self.failed.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{name}: {finding}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_told_and_warnings_stop_nothing() {
        let checks = vec![
            Check::ok("one", "fine"),
            Check::fail("two", "it is broken", "mend it"),
            Check::warn("three", "it is old", "renew it"),
            Check::fail("four", "it is gone", "bring it back"),
        ];
        let report = Report { checks };
        assert_eq!(report.warnings().count(), 1);
        let error = report.into_result().expect_err("two checks failed");
        assert_eq!(
            error.to_string(),
            "two: it is broken; mend it\nfour: it is gone; bring it back"
        );
    }
}
