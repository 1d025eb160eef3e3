//! The data directory: can it be made and written, has it room, and does no other server use it?
//!
//! The file `LOCK` is locked (flock) by the server that uses the directory, for as long as it lives,
//! however it ends. The number in it is that server's process, for people; only the lock counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Access, FlockOperation, access, flock, statfs};

use super::Check;

/// The file that is locked.
const LOCK_FILE: &str = "LOCK";
/// How long a lock may take to become free: a probe such as ours holds it for a moment, and a killed
/// server's is freed only when the kernel has torn it down.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The longest process number that is read back.
const MAX_PID_BYTES: u64 = 20;
/// Less free space than this is told: some segments of the log and a small snapshot.
const COMFORTABLE_BYTES: u64 = 256 << 20;
/// The file systems that forget everything when the machine stops: `TMPFS_MAGIC`, `RAMFS_MAGIC`.
const VOLATILE_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// The right to use a data directory, from [`DataDirLock::acquire`] until it is dropped.
#[derive(Debug)]
pub struct DataDirLock {
    /// The lock is tied to this open file.
    _file: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another server has it.
    #[error("{dir} is in use by process {holder}; stop that server or choose another --data-dir")]
    Held {
        /// The directory.
        dir: String,
        /// The number in the lock file, or `?`.
        holder: String,
    },
    /// The directory or the lock file cannot be made or written.
    #[error(
        "{path} cannot be written: {source}; give the user that runs mokv the right to, or \
             choose another --data-dir"
    )]
    NotWritable {
        /// What could not be made or opened.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDirLock {
    /// Makes `dir` if it is not there, locks it, and writes this process's number into the lock file.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(dir: &Path) -> Result<DataDirLock, LockError> {
        let not_writable = |path: &Path, source| LockError::NotWritable {
            path: path.display().to_string(),
            source,
        };
        fs::create_dir_all(dir).map_err(|error| not_writable(dir, error))?;
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false) // the holder's number is in it
            .open(&path)
            .map_err(|error| not_writable(&path, error))?;
        match lock(&file) {
            Ok(true) => {}
            Ok(false) => {
                let dir = dir.display().to_string();
                return Err(LockError::Held { dir, holder: read_holder(&mut file) });
            }
            Err(error) => return Err(not_writable(&path, error)),
        }
        write_holder(&mut file).map_err(|error| not_writable(&path, error))?;
        Ok(DataDirLock { _file: file })
    }
}

/// Leaves no trace: a directory made by the wrong user would be in the right one's way.
pub(super) fn check(dir: &Path) -> Vec<Check> {
    let Some(existing) = dir.ancestors().find(|path| path.exists()) else {
        // A relative path without a directory of its own begins where we are.
        return vec![check_usable(dir, Path::new(".")), check_room(Path::new("."))];
    };
    vec![check_usable(dir, existing), check_room(existing)]
}

/// `existing` is `dir`, or the closest directory above it that is there.
fn check_usable(dir: &Path, existing: &Path) -> Check {
    const NAME: &str = "data directory";
    let usable = if dir.join(LOCK_FILE).exists() {
        DataDirLock::acquire(dir).map(drop)
    } else {
        let source = access(existing, Access::WRITE_OK | Access::EXEC_OK);
        let path = existing.display().to_string();
        source.map_err(|error| LockError::NotWritable { path, source: error.into() })
    };
    match usable {
        Ok(()) if existing == dir => {
            Check::ok(NAME, format!("{} is writable and not in use", dir.display()))
        }
        Ok(()) => Check::ok(NAME, format!("{} can be made", dir.display())),
        Err(error) => {
            let text = error.to_string();
            let (cause, fix) = text.split_once("; ").expect("a lock error says what to do");
            Check::fail(NAME, cause, fix)
        }
    }
}

fn check_room(dir: &Path) -> Check {
    const NAME: &str = "disk space";
    let space = match statfs(dir) {
        Ok(space) => space,
        Err(error) => {
            let cause = format!("the free space of {} is unknown: {error}", dir.display());
            return Check::warn(NAME, cause, "see whether the disk is healthy");
        }
    };
    let free_bytes = space.f_bavail * u64::try_from(space.f_bsize).unwrap_or(0);
    if VOLATILE_FILE_SYSTEMS.contains(&space.f_type) {
        return Check::warn(
            NAME,
            format!("{} is in memory: this node forgets everything at a reboot", dir.display()),
            "choose a --data-dir on a disk",
        );
    }
    let free_mib = free_bytes >> 20;
    if free_bytes < COMFORTABLE_BYTES {
        return Check::warn(
            NAME,
            format!("only {free_mib} MiB are free at {}", dir.display()),
            "make room; a node whose disk is full stops acknowledging writes",
        );
    }
    Check::ok(NAME, format!("{free_mib} MiB free"))
}

/// True when locked; false when somebody else holds the lock and keeps it.
fn lock(file: &File) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < LOCK_PATIENCE => {
                sleep(LOCK_PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let number = match file.take(MAX_PID_BYTES).read_to_string(&mut text) {
        Ok(_) => text.trim().parse::<u32>().ok(),
        Err(_) => None, // whoever it is, the lock is held
    };
    number.map_or_else(|| "?".to_owned(), |pid| pid.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn a_directory_is_made_locked_once_and_free_again_after_its_holder() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp.path().join("not/yet/there");
        let held = DataDirLock::acquire(&dir).expect("nobody has it");
        let error = DataDirLock::acquire(&dir).expect_err("it is held");
        assert_eq!(
            error.to_string(),
            format!(
                "{} is in use by process {}; stop that server or choose another --data-dir",
                dir.display(),
                std::process::id()
            )
        );
        drop(held);
        DataDirLock::acquire(&dir).expect("its holder is gone");
    }

    #[test]
    fn a_locked_directory_fails_the_check_with_its_holder() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let _held = DataDirLock::acquire(temp.path()).expect("nobody has it");
        let Outcome::Fail(finding) = check(temp.path()).remove(0).outcome else {
            panic!("the directory is locked")
        };
        assert!(finding.cause.ends_with(&format!("process {}", std::process::id())), "{finding}");
        assert_eq!(finding.fix, "stop that server or choose another --data-dir");
    }

    #[test]
    fn looking_at_a_directory_that_is_not_there_does_not_make_it() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp.path().join("not/there");
        let Outcome::Ok(detail) = check(&dir).remove(0).outcome else { panic!("it can be made") };
        assert_eq!(detail, format!("{} can be made", dir.display()));
        assert!(!temp.path().join("not").exists());
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_told() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = DataDirLock::acquire(file.path()).expect_err("it is a file");
        assert!(matches!(error, LockError::NotWritable { .. }), "{error}");
    }
}
