//! Reading a data directory before any executor runs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::storage::{Disk, FileName};

/// A data directory, read with blocking calls.
#[derive(Clone, Debug)]
pub(crate) struct StdDisk {
    dir: PathBuf,
}

impl StdDisk {
    /// The data directory `dir`, which exists.
    #[must_use]
    pub(crate) fn new(dir: &Path) -> StdDisk {
        StdDisk { dir: dir.to_owned() }
    }

    fn path(&self, file: FileName) -> PathBuf {
        self.dir.join(file.to_string())
    }
}

impl Disk for StdDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| {
            // A name that is not UTF-8 is none of ours, and stays so when it is made one.
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        });
        names.collect()
    }

    fn len_bytes(&self, file: FileName) -> io::Result<u64> {
        Ok(fs::metadata(self.path(file))?.len())
    }

    fn read_at(&self, file: FileName, offset: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(file))?;
        // Never more than the file has: the length may come from a caller's limit.
        let rest = file.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; len_bytes.min(usize::try_from(rest).unwrap_or(len_bytes))];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Index;

    #[test]
    fn reads_end_where_the_file_does() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = StdDisk::new(dir.path());
        let file = FileName::Snapshot(Index(1));
        fs::write(dir.path().join(file.to_string()), b"0123456789").expect("written");
        assert_eq!(disk.list().expect("listed"), [file.to_string()]);
        assert_eq!(disk.len_bytes(file).expect("there"), 10);
        assert_eq!(disk.read_at(file, 8, 100).expect("read"), b"89");
        assert_eq!(disk.read_at(file, 11, 100).expect("read"), b"");
        let missing = disk.read_at(FileName::Identity, 0, 1).expect_err("no such file");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
