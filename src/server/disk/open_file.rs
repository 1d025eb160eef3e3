//! One open file, direct where the filesystem can, through the page cache where it can't.

use std::io;
use std::path::Path;

use bytes::Bytes;
use glommio::io::{BufferedFile, DmaFile, OpenOptions};
use rustix::fs::OFlags;

/// How bytes travel between memory and disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    /// O_DIRECT: no copy in the page cache.
    Direct,
    /// Through the page cache, for filesystems without O_DIRECT.
    Buffered,
}

pub(super) enum OpenFile {
    Direct(DmaFile),
    Buffered(BufferedFile),
}

/// How much is zeroed at a time; between two writes the executor does other work.
const ZERO_CHUNK_BYTES: u64 = 256 << 10;

impl OpenFile {
    /// Opens an existing file.
    pub(super) async fn open(path: &Path, transfer: Transfer) -> io::Result<OpenFile> {
        let mut options = OpenOptions::new();
        OpenFile::open_with(options.read(true).write(true), path, transfer).await
    }

    /// Opens an existing file, each write to which is done only when it is durable.
    pub(super) async fn open_durable(path: &Path, transfer: Transfer) -> io::Result<OpenFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlags::DSYNC.bits().cast_signed());
        OpenFile::open_with(&options, path, transfer).await
    }

    /// Makes a file, or makes it empty.
    pub(super) async fn create(path: &Path, transfer: Transfer) -> io::Result<OpenFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        OpenFile::open_with(&options, path, transfer).await
    }

    /// Makes a file that cannot be read.
    pub(super) async fn create_unreadable(path: &Path, transfer: Transfer) -> io::Result<OpenFile> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        OpenFile::open_with(&options, path, transfer).await
    }

    async fn open_with(
        options: &OpenOptions,
        path: &Path,
        transfer: Transfer,
    ) -> io::Result<OpenFile> {
        Ok(match transfer {
            Transfer::Direct => OpenFile::Direct(options.dma_open(path).await?),
            Transfer::Buffered => OpenFile::Buffered(options.buffered_open(path).await?),
        })
    }

    /// Writes `parts`, and zeros up to `padded_bytes`: all of it, or it is an error.
    pub(super) async fn write(
        &self,
        offset: u64,
        parts: &[Bytes],
        padded_bytes: usize,
    ) -> io::Result<()> {
        let written = match self {
            OpenFile::Direct(file) => {
                let mut buffer = file.alloc_dma_buffer(padded_bytes);
                gather(parts, buffer.as_bytes_mut());
                file.write_at(buffer, offset).await?
            }
            OpenFile::Buffered(file) => {
                let mut buffer = vec![0; padded_bytes];
                gather(parts, &mut buffer);
                file.write_at(buffer, offset).await?
            }
        };
        if written == padded_bytes {
            return Ok(());
        }
        // The rest was refused without an error, as a full disk does.
        let message = format!("only {written} of {padded_bytes} bytes at {offset} were written");
        Err(io::Error::new(io::ErrorKind::WriteZero, message))
    }

    /// Writes zeros from the file's start to `len_bytes`.
    pub(super) async fn zero(&self, len_bytes: u64) -> io::Result<()> {
        let mut offset = 0;
        while offset < len_bytes {
            let padded_bytes = (len_bytes - offset).min(ZERO_CHUNK_BYTES) as usize;
            self.write(offset, &[], padded_bytes).await?;
            offset += padded_bytes as u64;
        }
        Ok(())
    }

    pub(super) async fn sync(&self) -> io::Result<()> {
        match self {
            OpenFile::Direct(file) => file.fdatasync().await?,
            OpenFile::Buffered(file) => file.fdatasync().await?,
        }
        Ok(())
    }

    /// Reads up to `len_bytes`, fewer only where the file ends.
    pub(super) async fn read_at(&self, offset: u64, len_bytes: usize) -> io::Result<Bytes> {
        let read = match self {
            OpenFile::Direct(file) => file.read_at(offset, len_bytes).await?,
            OpenFile::Buffered(file) => file.read_at(offset, len_bytes).await?,
        };
        Ok(Bytes::copy_from_slice(&read))
    }
}

/// Joins `parts` at the front of `buffer` and zeros the rest, whatever it held before.
fn gather(parts: &[Bytes], buffer: &mut [u8]) {
    let mut rest = buffer;
    for part in parts {
        let (now, later) = rest.split_at_mut(part.len());
        now.copy_from_slice(part);
        rest = later;
    }
    rest.fill(0);
}
