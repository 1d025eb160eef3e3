//! Is io_uring there, and does it know the operations the runtime needs?

use std::io;

use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;

use super::Check;

const NAME: &str = "io_uring";
/// The first kernel that has every operation the runtime asks for.
const NEEDED_KERNEL: (u32, u32) = (5, 8);
/// The size of the ring that is made and thrown away.
const PROBE_ENTRIES: u32 = 8;
/// The newest of the runtime's operations in each family; an old kernel lacks these first.
const NEEDED_OPERATIONS: [(&str, u8); 6] = [
    ("ACCEPT", opcode::Accept::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("READ", opcode::Read::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
];

/// What the system says about itself, as far as it explains a refusal.
#[derive(Debug, Default)]
struct Facts {
    /// `uname -r`.
    release: String,
    /// `kernel.io_uring_disabled`: 0 all may, 1 only some, 2 none. Absent before Linux 6.6.
    disabled: Option<u8>,
    /// A seccomp filter watches this process.
    filtered: bool,
}

pub(super) fn check() -> Check {
    let facts = Facts::gather();
    let missing = IoUring::new(PROBE_ENTRIES).and_then(|ring| {
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let lacks = |(_, code): &&(&str, u8)| !probe.is_supported(*code);
        Ok(NEEDED_OPERATIONS.iter().filter(lacks).map(|(name, _)| *name).collect::<Vec<_>>())
    });
    match missing {
        Ok(missing) if missing.is_empty() => {
            Check::ok(NAME, format!("usable, Linux {}", facts.release))
        }
        Ok(missing) => Check::fail(
            NAME,
            format!("Linux {} has no io_uring {}", facts.release, missing.join(", ")),
            upgrade(),
        ),
        Err(error) => diagnose(&error, &facts),
    }
}

impl Facts {
    fn gather() -> Facts {
        let read = |path| std::fs::read_to_string(path).ok();
        let status = read("/proc/self/status").unwrap_or_default();
        Facts {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            disabled: read("/proc/sys/kernel/io_uring_disabled")
                .and_then(|text| text.trim().parse().ok()),
            filtered: status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])),
        }
    }

    fn kernel_is_old(&self) -> bool {
        let mut numbers = self.release.split(['.', '-']).map_while(|part| part.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) => (major, minor) < NEEDED_KERNEL,
            (None | Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// Explains why no ring could be made.
fn diagnose(error: &io::Error, facts: &Facts) -> Check {
    let release = &facts.release;
    match Errno::from_io_error(error) {
        _ if facts.kernel_is_old() => {
            Check::fail(NAME, format!("Linux {release} is too old: {error}"), upgrade())
        }
        Some(Errno::PERM | Errno::ACCESS) => explain_denial(facts),
        Some(Errno::NOSYS) => Check::fail(
            NAME,
            format!("Linux {release} should have io_uring, but it is not there"),
            "use a kernel built with CONFIG_IO_URING, and no sandbox such as gVisor that lacks it",
        ),
        Some(Errno::NOMEM) => Check::fail(
            NAME,
            "there is not enough lockable memory for a ring",
            "raise the memlock limit: ulimit -l unlimited, or LimitMEMLOCK=infinity in systemd",
        ),
        Some(_) | None => Check::fail(
            NAME,
            format!("a ring could not be made: {error}"),
            "see whether other programs can use io_uring on this machine",
        ),
    }
}

fn explain_denial(facts: &Facts) -> Check {
    match facts.disabled {
        Some(2) => Check::fail(
            NAME,
            "it is switched off: kernel.io_uring_disabled is 2",
            "sysctl -w kernel.io_uring_disabled=0",
        ),
        Some(1) => Check::fail(
            NAME,
            "it is kept for privileged processes: kernel.io_uring_disabled is 1",
            "sysctl -w kernel.io_uring_disabled=0, or add the user to kernel.io_uring_group",
        ),
        Some(_) | None if facts.filtered => Check::fail(
            NAME,
            "a seccomp profile forbids it, as the default ones of Docker 25 and containerd 2 do",
            "allow io_uring_setup, io_uring_enter and io_uring_register in the profile, or run \
             with --security-opt seccomp=unconfined (Kubernetes: seccompProfile)",
        ),
        Some(_) | None => Check::fail(
            NAME,
            "the system denies it to this process, and neither sysctl nor seccomp is the reason",
            "look for a security module's rule: SELinux or AppArmor in the kernel's log",
        ),
    }
}

fn upgrade() -> String {
    let (major, minor) = NEEDED_KERNEL;
    format!("run Linux {major}.{minor} or newer")
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Outcome};
    use super::*;

    fn cause(errno: Errno, facts: &Facts) -> String {
        match diagnose(&errno.into(), facts).outcome {
            Outcome::Fail(Finding { cause, .. }) => cause,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    fn modern() -> Facts {
        Facts { release: "6.8.0-31-generic".to_owned(), ..Facts::default() }
    }

    #[test]
    fn the_same_errno_is_told_apart_by_what_the_system_says() {
        let seccomp = Facts { filtered: true, ..modern() };
        assert!(cause(Errno::PERM, &seccomp).contains("seccomp profile"));
        let sysctl = Facts { disabled: Some(2), filtered: true, ..modern() };
        assert!(cause(Errno::PERM, &sysctl).contains("io_uring_disabled is 2"));
        let group = Facts { disabled: Some(1), ..modern() };
        assert!(cause(Errno::PERM, &group).contains("io_uring_disabled is 1"));
        let neither = Facts { disabled: Some(0), ..modern() };
        assert!(cause(Errno::PERM, &neither).contains("neither"));
    }

    #[test]
    fn only_an_old_kernel_is_called_old() {
        let old = Facts { release: "5.4.0-150-generic".to_owned(), ..Facts::default() };
        assert!(cause(Errno::NOSYS, &old).contains("5.4.0-150-generic is too old"));
        assert!(cause(Errno::NOSYS, &modern()).contains("should have io_uring"));
        for (release, is_old) in [("5.8.0", false), ("4.19", true), ("10.0", false), ("odd", false)]
        {
            let facts = Facts { release: release.to_owned(), ..Facts::default() };
            assert_eq!(facts.kernel_is_old(), is_old, "{release}");
        }
    }
}
