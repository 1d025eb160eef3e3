//! A disk for tests that forgets what was never synced.
//!
//! Each file has the bytes that a running process sees and the bytes that surely survive; each name
//! likewise. A power loss decides for every sector and every name that differs which of the two it
//! finds again; a killed process finds what it saw, none of it any more durable than before.

use std::collections::BTreeMap;
use std::io;

use crate::prng::Prng;
use crate::storage::op::{BlockWrite, Disk, DiskOp, FileName};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct CrashDisk {
    files: BTreeMap<u64, Contents>,
    names: BTreeMap<FileName, u64>,
    durable_names: BTreeMap<FileName, u64>,
    /// Since the last sync of the directory, in order.
    pending: Vec<NameChange>,
    next_file: u64,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum NameChange {
    Add { name: FileName, file: u64 },
    Move { from: FileName, to: FileName, file: u64 },
    Remove { name: FileName },
}

impl CrashDisk {
    /// Executes an op to its end.
    pub(super) fn execute(&mut self, op: &DiskOp) {
        self.begin(op);
        match op {
            DiskOp::WriteDurable(write) => {
                let contents = self.contents(write.file);
                let (start, end) = (write.offset as usize, write.end() as usize);
                let len = contents.durable.len().max(end);
                contents.durable.resize(len, 0);
                contents.durable[start..end].copy_from_slice(&contents.live[start..end]);
            }
            DiskOp::Sync { file } => {
                let contents = self.contents(*file);
                contents.durable.clone_from(&contents.live);
            }
            DiskOp::SyncDir => {
                self.durable_names.clone_from(&self.names);
                self.pending.clear();
            }
            DiskOp::Create { .. }
            | DiskOp::Write(_)
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. } => {}
        }
    }

    /// Executes an op so far that it is seen, and not so far that any of it is durable.
    pub(super) fn begin(&mut self, op: &DiskOp) {
        match op {
            DiskOp::Create { file, len_bytes } => self.create(*file, *len_bytes as usize),
            DiskOp::Write(write) | DiskOp::WriteDurable(write) => self.write(write),
            DiskOp::Rename { from, to } => {
                let file = self.names.remove(from).expect("the renamed file exists");
                self.names.insert(*to, file);
                self.pending.push(NameChange::Move { from: *from, to: *to, file });
            }
            DiskOp::Remove { file } => {
                self.names.remove(file).expect("the removed file exists");
                self.pending.push(NameChange::Remove { name: *file });
            }
            DiskOp::Sync { .. } | DiskOp::SyncDir => {}
        }
    }

    /// The power fails: of all that was not durable, any part may be lost.
    pub(super) fn lose_power(&mut self, prng: &mut Prng) {
        for contents in self.files.values_mut() {
            contents.settle(prng);
        }
        for change in std::mem::take(&mut self.pending) {
            if prng.below(2) == 0 {
                continue;
            }
            match change {
                NameChange::Add { name, file } => {
                    self.durable_names.insert(name, file);
                }
                NameChange::Move { from, to, file } => {
                    if self.durable_names.get(&from) == Some(&file) {
                        self.durable_names.remove(&from);
                    }
                    self.durable_names.insert(to, file);
                }
                NameChange::Remove { name } => {
                    self.durable_names.remove(&name);
                }
            }
        }
        self.names.clone_from(&self.durable_names);
        let named: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
    }

    /// Changes bytes behind everyone's back, durably.
    pub(super) fn corrupt(&mut self, file: FileName, change: impl FnOnce(&mut Vec<u8>)) {
        let contents = self.contents(file);
        change(&mut contents.live);
        contents.durable.clone_from(&contents.live);
    }

    /// Takes a file away behind everyone's back, durably.
    pub(super) fn lose(&mut self, file: FileName) {
        self.names.remove(&file).expect("the lost file exists");
        self.durable_names.remove(&file);
    }

    /// What exists.
    pub(super) fn files(&self) -> impl Iterator<Item = FileName> {
        self.names.keys().copied()
    }

    fn create(&mut self, name: FileName, len_bytes: usize) {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, Contents { live: vec![0; len_bytes], durable: Vec::new() });
        self.names.insert(name, file);
        self.pending.push(NameChange::Add { name, file });
    }

    fn write(&mut self, write: &BlockWrite) {
        let contents = self.contents(write.file);
        let (start, end) = (write.offset as usize, write.end() as usize);
        assert!(start <= contents.live.len(), "{} is written beyond its end", write.file);
        let mut block: Vec<u8> = write.parts.concat();
        block.resize(write.padded_bytes, 0);
        contents.live.resize(contents.live.len().max(end), 0);
        contents.live[start..end].copy_from_slice(&block);
    }

    fn contents(&mut self, name: FileName) -> &mut Contents {
        let file = self.names.get(&name).unwrap_or_else(|| panic!("{name} does not exist"));
        self.files.get_mut(file).expect("a name leads to a file")
    }
}

impl Contents {
    /// Decides, sector by sector, whether what was written last is found again.
    fn settle(&mut self, prng: &mut Prng) {
        if self.live == self.durable {
            return;
        }
        // All and nothing are as likely as any mixture.
        let kept_of_four = [0, 1, 2, 3, 4][prng.below(5) as usize];
        let mut settled = self.durable.clone();
        if prng.below(4) < kept_of_four {
            settled.resize(self.live.len(), 0);
        }
        for (at, sector) in settled.chunks_mut(SECTOR_BYTES).enumerate() {
            let start = at * SECTOR_BYTES;
            let keep = prng.below(4) < kept_of_four;
            if keep && let Some(live) = self.live.get(start..start + sector.len()) {
                sector.copy_from_slice(live);
            }
        }
        *self = Contents { live: settled.clone(), durable: settled };
    }
}

impl Disk for CrashDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.keys().map(FileName::to_string).collect())
    }

    fn len_bytes(&self, file: FileName) -> io::Result<u64> {
        let file = self.names.get(&file).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files[file].live.len() as u64)
    }

    fn read_at(&self, file: FileName, offset: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
        let file = self.names.get(&file).ok_or(io::ErrorKind::NotFound)?;
        let rest = self.files[file].live.get(offset as usize..).unwrap_or_default();
        Ok(rest[..len_bytes.min(rest.len())].to_vec())
    }
}
