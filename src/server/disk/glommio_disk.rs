//! Executes [`DiskOp`]s.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use thiserror::Error;

use super::open_file::{OpenFile, Transfer};
use crate::storage::{BlockWrite, DiskOp, FileName};

/// How many files are kept open; beyond it the coldest is closed and opened again when needed.
const MAX_OPEN_FILES: usize = 32;

/// The file that tells, at start, what the filesystem can do.
const PROBE: &str = "probe.tmp";

/// The data directory of one server, written by one executor.
pub(crate) struct GlommioDisk {
    dir: PathBuf,
    transfer: Transfer,
    open: RefCell<BTreeMap<FileName, Rc<OpenFile>>>,
    /// What the first failed op said; from then on nothing is written any more.
    poison: RefCell<Option<String>>,
}

/// Why an op or a read failed.
#[derive(Debug, Error)]
pub(crate) enum DiskError {
    /// The disk refused. After a failed op its state is unknown: stop, and recover.
    #[error("cannot {action} {path}: {source}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier op failed, and nothing was tried.
    #[error("nothing is written after a failed write: {first}")]
    Poisoned {
        /// What that op said.
        first: String,
    },
}

impl DiskError {
    /// Whether the file doesn't exist, as when a snapshot was removed while a peer was reading it.
    #[must_use]
    pub(crate) fn is_not_found(&self) -> bool {
        match self {
            DiskError::Failed { source, .. } => source.kind() == io::ErrorKind::NotFound,
            DiskError::Poisoned { .. } => false,
        }
    }
}

impl GlommioDisk {
    /// Opens the data directory `dir`, which exists, and finds out whether its filesystem can do
    /// direct I/O.
    ///
    /// # Errors
    /// When a file cannot be made there.
    pub(crate) async fn open(dir: &Path) -> Result<GlommioDisk, DiskError> {
        let probe = dir.join(PROBE);
        let direct = try_transfer(&probe, Transfer::Direct).await;
        let transfer = match direct {
            Ok(()) => Transfer::Direct,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                try_transfer(&probe, Transfer::Buffered).await.map_err(failed("create", &probe))?;
                tracing::warn!(dir = %dir.display(), "no direct I/O here: using the page cache");
                Transfer::Buffered
            }
            Err(error) => return Err(failed("create", &probe)(error)),
        };
        glommio::io::remove(&probe).await.map_err(|e| failed("remove", &probe)(e.into()))?;
        Ok(GlommioDisk::with_transfer(dir, transfer))
    }

    pub(super) fn with_transfer(dir: &Path, transfer: Transfer) -> GlommioDisk {
        let (open, poison) = (RefCell::default(), RefCell::default());
        GlommioDisk { dir: dir.to_owned(), transfer, open, poison }
    }

    /// Executes `ops` in order, each after the one before is done. Several lists may be under way
    /// at once, as the storage room's lanes allow.
    ///
    /// Once begun, it must run to its end: dropped half-way, it may leave a write in flight.
    ///
    /// # Errors
    /// At the first op that fails; the disk is then poisoned.
    pub(crate) async fn execute(&self, ops: Vec<DiskOp>) -> Result<(), DiskError> {
        for op in ops {
            if let Some(first) = self.poison.borrow().clone() {
                return Err(DiskError::Poisoned { first });
            }
            if let Err(error) = self.execute_one(op).await {
                self.poison.borrow_mut().get_or_insert_with(|| error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads up to `len_bytes` at `offset`, fewer only where the file ends.
    ///
    /// # Errors
    /// When there is no such file or it cannot be read. The disk is not poisoned by that.
    pub(crate) async fn read_at(
        &self,
        file: FileName,
        offset: u64,
        len_bytes: usize,
    ) -> Result<Bytes, DiskError> {
        let open = self.opened(file).await?;
        open.read_at(offset, len_bytes).await.map_err(failed("read", &self.path(file)))
    }

    async fn execute_one(&self, op: DiskOp) -> Result<(), DiskError> {
        match op {
            DiskOp::Create { file, len_bytes } => self.create(file, len_bytes).await,
            DiskOp::Write(write) => self.write(&write).await,
            DiskOp::WriteDurable(write) => {
                self.write(&write).await?;
                // Where the write itself did not wait for the disk, a sync does.
                if is_durable(write.file) { Ok(()) } else { self.sync(write.file).await }
            }
            DiskOp::Sync { file } => self.sync(file).await,
            DiskOp::Rename { from, to } => self.rename(from, to).await,
            DiskOp::Remove { file } => self.remove(file).await,
            DiskOp::SyncDir => self.sync_dir().await,
        }
    }

    async fn create(&self, file: FileName, len_bytes: u64) -> Result<(), DiskError> {
        let path = self.path(file);
        let made = OpenFile::create(&path, self.transfer).await;
        let made = made.map_err(failed("create", &path))?;
        made.zero(len_bytes).await.map_err(failed("fill", &path))?;
        self.forget(&[file]);
        if !is_durable(file) {
            self.keep_open(file, Rc::new(made));
        }
        Ok(())
    }

    async fn write(&self, write: &BlockWrite) -> Result<(), DiskError> {
        let open = self.opened(write.file).await?;
        let written = open.write(write.offset, &write.parts, write.padded_bytes).await;
        written.map_err(failed("write", &self.path(write.file)))
    }

    async fn sync(&self, file: FileName) -> Result<(), DiskError> {
        let open = self.opened(file).await?;
        open.sync().await.map_err(failed("sync", &self.path(file)))
    }

    async fn rename(&self, from: FileName, to: FileName) -> Result<(), DiskError> {
        self.forget(&[from, to]);
        let renamed = glommio::io::rename(self.path(from), self.path(to)).await;
        renamed.map_err(|error| failed("rename", &self.path(from))(error.into()))
    }

    async fn remove(&self, file: FileName) -> Result<(), DiskError> {
        self.forget(&[file]);
        let removed = glommio::io::remove(self.path(file)).await;
        removed.map_err(|error| failed("remove", &self.path(file))(error.into()))
    }

    async fn sync_dir(&self) -> Result<(), DiskError> {
        // A whole fsync: fdatasync, which glommio has for directories, need not cover a new name on
        // every filesystem. It blocks, so another thread does it.
        let dir = self.dir.clone();
        let synced = glommio::executor().spawn_blocking(move || File::open(dir)?.sync_all()).await;
        synced.map_err(failed("sync", &self.dir))
    }

    /// The open file, opened now if it was not.
    async fn opened(&self, file: FileName) -> Result<Rc<OpenFile>, DiskError> {
        if let Some(open) = self.open.borrow().get(&file) {
            return Ok(Rc::clone(open));
        }
        let path = self.path(file);
        let open = if is_durable(file) {
            OpenFile::open_durable(&path, self.transfer).await
        } else {
            OpenFile::open(&path, self.transfer).await
        };
        let open = Rc::new(open.map_err(failed("open", &path))?);
        self.keep_open(file, Rc::clone(&open));
        Ok(open)
    }

    fn keep_open(&self, file: FileName, open: Rc<OpenFile>) {
        let mut files = self.open.borrow_mut();
        if files.len() >= MAX_OPEN_FILES {
            // The smallest name is the coldest: records that seldom change, then old segments.
            files.pop_first();
        }
        files.insert(file, open);
    }

    fn forget(&self, files: &[FileName]) {
        let mut open = self.open.borrow_mut();
        for file in files {
            open.remove(file);
        }
    }

    fn path(&self, file: FileName) -> PathBuf {
        self.dir.join(file.to_string())
    }
}

/// Whether each write to a file is acknowledged by itself, so that it is opened with `O_DSYNC`. The
/// others are written as a whole and synced once.
fn is_durable(file: FileName) -> bool {
    match file {
        FileName::Identity | FileName::HardState | FileName::Segment(_) => true,
        FileName::IdentityTemp
        | FileName::Spare(_)
        | FileName::Snapshot(_)
        | FileName::SnapshotTemp(..) => false,
    }
}

async fn try_transfer(probe: &Path, transfer: Transfer) -> io::Result<()> {
    // A trial read of an executor's first direct file decides whether it will poll this device and
    // never sleep. On an empty file the read succeeds everywhere; on one that cannot be read it
    // fails, as it should. Nothing is written: a server must come up on a full disk, or it could
    // never free any.
    OpenFile::create_unreadable(probe, transfer).await.map(drop)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError + use<> {
    let path = path.to_owned();
    move |source| DiskError::Failed { action, path, source }
}
