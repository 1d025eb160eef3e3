//! A disk in memory that forgets what was never synced: for tests of this room, and for whoever
//! simulates whole machines.
//!
//! Each file has the bytes that a running process sees and the bytes that surely survive; each name
//! likewise. A power loss decides for every sector and every name that differs which of the two it
//! finds again; a killed process finds what it saw, none of it any more durable than before.
//! (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014, names what file systems
//! promise; this disk promises no more than [`DiskOp`] says.)
//!
//! A file is kept once, as it is seen. What would be lost is laid aside in whole blocks when they
//! are first written over, so each op costs what it writes and a power loss what is in doubt:
//!
//! ```text
//!            block 0   block 1   block 2   block 3
//!  live      | A       | B'      | C       | D'      |     as the process sees it
//!  before              | B       |         | zeros   |     what is durable where it may differ
//!                                ^ durable_len_bytes: a power loss may cut the file here
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;

use super::op::{BLOCK_BYTES, BlockWrite, Disk, DiskOp, FileName};
use crate::prng::Prng;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// How many durable writes are remembered with what they replaced.
const MAX_REPLACED: usize = 16;

/// A disk in memory; see the module's description.
#[derive(Clone, Debug, Default)]
pub struct CrashDisk {
    /// By number: a file keeps its number when it is renamed.
    files: BTreeMap<u64, Contents>,
    names: BTreeMap<FileName, u64>,
    durable_names: BTreeMap<FileName, u64>,
    /// Since the last sync of the directory, in order.
    pending: Vec<NameChange>,
    next_file: u64,
    /// The last durable writes, oldest first; at most [`MAX_REPLACED`].
    replaced: VecDeque<(u64, Replaced)>,
}

/// A durable write, and what stood in its place: what a drive that lost the write would still hold.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// Its file, as it was named.
    pub file: FileName,
    /// Where in the file it was written.
    pub offset: u64,
    before: Vec<Before>,
}

/// The durable bytes of a block; zeros where there are fewer than [`BLOCK_BYTES`].
type Before = Box<[u8]>;

#[derive(Clone, Debug, Default)]
struct Contents {
    live: Vec<u8>,
    /// Never more than there are live ones.
    durable_len_bytes: usize,
    /// By block; a block that is not here is as durable as it is long.
    before: BTreeMap<usize, Before>,
}

#[derive(Clone, Copy, Debug)]
enum NameChange {
    Add { name: FileName, file: u64 },
    Move { from: FileName, to: FileName, file: u64 },
    Remove { name: FileName },
}

impl CrashDisk {
    /// Executes an op to its end.
    #[cfg(test)]
    pub(super) fn execute(&mut self, op: &DiskOp) {
        self.begin(op);
        self.finish(op);
    }

    /// Executes an op so far that it is seen, and not so far that any of it is durable.
    ///
    /// # Panics
    /// When it names a file that doesn't exist, or writes beyond a file's end: bugs of the caller.
    pub fn begin(&mut self, op: &DiskOp) {
        match op {
            DiskOp::Create { file, len_bytes } => self.create(*file, *len_bytes as usize),
            DiskOp::Write(write) | DiskOp::WriteDurable(write) => {
                self.contents(write.file).write(write);
            }
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

    /// Makes durable what an op that was begun has promised to be.
    ///
    /// # Panics
    /// When its file doesn't exist any more.
    pub fn finish(&mut self, op: &DiskOp) {
        match op {
            DiskOp::WriteDurable(write) => self.finish_write(write),
            DiskOp::Sync { file } => self.contents(*file).sync(),
            DiskOp::SyncDir => {
                self.durable_names.clone_from(&self.names);
                self.pending.clear();
                self.drop_nameless();
            }
            DiskOp::Create { .. }
            | DiskOp::Write(_)
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. } => {}
        }
    }

    /// The op was begun and broken off, or failed: of what it wrote or should have synced, and is
    /// not durable, any part is gone, although the power stays on. What remains is no more durable
    /// than before. (A failed sync drops pages: Rebello et al., "Can Applications Recover from
    /// fsync Failures?", USENIX ATC 2020.)
    ///
    /// # Panics
    /// When its file doesn't exist.
    pub fn tear(&mut self, op: &DiskOp, prng: &mut Prng) {
        match op {
            DiskOp::Write(write) | DiskOp::WriteDurable(write) => {
                self.contents(write.file).tear(blocks(write), prng);
            }
            DiskOp::Sync { file } => self.contents(*file).tear(0..usize::MAX, prng),
            DiskOp::Create { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. }
            | DiskOp::SyncDir => {}
        }
    }

    /// The power fails: of all that was not durable, any part may be lost.
    pub fn lose_power(&mut self, prng: &mut Prng) {
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
        self.drop_nameless();
    }

    /// Changes bytes behind everyone's back, durably.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn corrupt(&mut self, file: FileName, change: impl FnOnce(&mut Vec<u8>)) {
        let contents = self.contents(file);
        change(&mut contents.live);
        contents.sync();
    }

    /// Takes a file away behind everyone's back, durably.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn lose(&mut self, name: FileName) {
        let lost = self.names.remove(&name).expect("the lost file exists");
        self.durable_names.remove(&name);
        self.pending.retain(|change| match change {
            NameChange::Add { file, .. } | NameChange::Move { file, .. } => *file != lost,
            NameChange::Remove { .. } => true,
        });
    }

    /// What exists.
    pub fn files(&self) -> impl Iterator<Item = FileName> {
        self.names.keys().copied()
    }

    /// How many bytes the files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.names.values().map(|file| self.files[file].live.len() as u64).sum()
    }

    /// The last durable writes whose bytes are the last written at their place, newest first.
    pub fn replaced(&self) -> impl Iterator<Item = &Replaced> {
        let newest_first = self.replaced.iter().rev().enumerate();
        newest_first
            .filter(|(at, (file, this))| {
                let overwritten =
                    self.replaced.iter().rev().take(*at).any(|(later_file, later)| {
                        later_file == file && later.offset < this.end() && this.offset < later.end()
                    });
                !overwritten && self.names.get(&this.file) == Some(file)
            })
            .map(|(_, (_, this))| this)
    }

    fn create(&mut self, name: FileName, len_bytes: usize) {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, Contents { live: vec![0; len_bytes], ..Contents::default() });
        self.names.insert(name, file);
        self.pending.push(NameChange::Add { name, file });
    }

    fn finish_write(&mut self, write: &BlockWrite) {
        let before = self.contents(write.file).make_durable(write);
        let replaced = Replaced { file: write.file, offset: write.offset, before };
        if self.replaced.len() == MAX_REPLACED {
            self.replaced.pop_front();
        }
        self.replaced.push_back((self.names[&write.file], replaced));
    }

    fn contents(&mut self, name: FileName) -> &mut Contents {
        let file = self.names.get(&name).unwrap_or_else(|| panic!("{name} does not exist"));
        self.files.get_mut(file).expect("a name leads to a file")
    }

    /// Forgets files that no name leads to, before or after a power loss.
    fn drop_nameless(&mut self) {
        let named: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
    }
}

impl Replaced {
    /// Where the write ended.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + (self.before.len() * BLOCK_BYTES) as u64
    }

    /// What stood there before, as long as the write.
    #[must_use]
    pub fn before(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.before.len() * BLOCK_BYTES);
        for block in &self.before {
            bytes.extend_from_slice(block);
            bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        bytes
    }
}

impl Contents {
    fn write(&mut self, write: &BlockWrite) {
        let (start, end) = (write.offset as usize, write.end() as usize);
        assert!(start <= self.live.len(), "{} is written beyond its end", write.file);
        for block in blocks(write) {
            self.lay_aside(block);
        }
        self.live.resize(self.live.len().max(end), 0);
        let mut at = start;
        for part in &write.parts {
            self.live[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.live[at..end].fill(0);
    }

    fn lay_aside(&mut self, block: usize) {
        let (live, durable_len) = (&self.live, self.durable_len_bytes);
        self.before.entry(block).or_insert_with(|| {
            let start = (block * BLOCK_BYTES).min(durable_len);
            live[start..(start + BLOCK_BYTES).min(durable_len)].into()
        });
    }

    /// Makes what was written durable, and returns what it replaced.
    fn make_durable(&mut self, write: &BlockWrite) -> Vec<Before> {
        let end = write.end() as usize;
        assert!(end <= self.live.len(), "{}: a write ends that was never begun", write.file);
        self.durable_len_bytes = self.durable_len_bytes.max(end);
        let durable_again = |block| self.before.remove(&block).unwrap_or_default();
        blocks(write).map(durable_again).collect()
    }

    fn sync(&mut self) {
        self.durable_len_bytes = self.live.len();
        self.before.clear();
    }

    /// Decides, sector by sector, whether what was written last is found again.
    fn settle(&mut self, prng: &mut Prng) {
        if self.before.is_empty() && self.durable_len_bytes == self.live.len() {
            return;
        }
        let odds = Odds::draw(prng);
        for (block, before) in std::mem::take(&mut self.before) {
            self.mix(block, &before, odds, prng);
        }
        if !odds.keep(prng) {
            self.live.truncate(self.durable_len_bytes);
        }
        self.durable_len_bytes = self.live.len();
    }

    /// The same for some blocks, none of which become any more durable.
    fn tear(&mut self, blocks: Range<usize>, prng: &mut Prng) {
        let odds = Odds::draw(prng);
        let torn: Vec<(usize, Before)> =
            self.before.range(blocks).map(|(block, before)| (*block, before.clone())).collect();
        for (block, before) in torn {
            self.mix(block, &before, odds, prng);
        }
    }

    fn mix(&mut self, block: usize, before: &[u8], odds: Odds, prng: &mut Prng) {
        let start = block * BLOCK_BYTES;
        let end = (start + BLOCK_BYTES).min(self.live.len());
        for (at, sector) in self.live[start..end].chunks_mut(SECTOR_BYTES).enumerate() {
            if odds.keep(prng) {
                continue;
            }
            let old = before.get(at * SECTOR_BYTES..).unwrap_or_default();
            let len = old.len().min(sector.len());
            sector[..len].copy_from_slice(&old[..len]);
            sector[len..].fill(0);
        }
    }
}

/// How likely one sector is kept. All and nothing are as likely as any mixture.
#[derive(Clone, Copy)]
struct Odds {
    of_four: u64,
}

impl Odds {
    fn draw(prng: &mut Prng) -> Odds {
        Odds { of_four: prng.below(5) }
    }

    fn keep(self, prng: &mut Prng) -> bool {
        prng.below(4) < self.of_four
    }
}

/// The blocks that a write touches.
fn blocks(write: &BlockWrite) -> Range<usize> {
    write.offset as usize / BLOCK_BYTES..(write.end() as usize).div_ceil(BLOCK_BYTES)
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const FILE: FileName = FileName::HardState;
    const FILE_BYTES: usize = 4 * BLOCK_BYTES;

    fn block_of(byte: u8, offset: usize) -> BlockWrite {
        let parts = vec![Bytes::from(vec![byte; BLOCK_BYTES - 100])];
        BlockWrite::new(FILE, offset as u64, parts)
    }

    fn disk_with_a_durable_file() -> CrashDisk {
        let mut disk = CrashDisk::default();
        disk.execute(&DiskOp::Create { file: FILE, len_bytes: FILE_BYTES as u64 });
        disk.execute(&DiskOp::Sync { file: FILE });
        disk.execute(&DiskOp::SyncDir);
        disk
    }

    fn bytes(disk: &CrashDisk) -> Vec<u8> {
        disk.read_at(FILE, 0, 2 * FILE_BYTES).expect("the file exists")
    }

    #[test]
    fn a_durable_write_survives_and_a_mere_write_is_lost_in_any_part() {
        let mut sectors_kept = [false; 9];
        for seed in 0..200 {
            let mut disk = disk_with_a_durable_file();
            disk.execute(&DiskOp::WriteDurable(block_of(1, 0)));
            disk.execute(&DiskOp::Write(block_of(2, BLOCK_BYTES)));
            disk.lose_power(&mut Prng::new(seed));
            let found = bytes(&disk);
            assert!(found[..BLOCK_BYTES - 100].iter().all(|byte| *byte == 1));
            let kept = found[BLOCK_BYTES..2 * BLOCK_BYTES].chunks(SECTOR_BYTES);
            sectors_kept[kept.filter(|sector| sector[0] == 2).count()] = true;
            disk.lose_power(&mut Prng::new(seed + 1));
            assert_eq!(bytes(&disk), found, "what was found after a power loss is durable");
        }
        assert_eq!(sectors_kept, [true; 9]);
    }

    #[test]
    fn what_is_lost_is_what_was_durable_last_and_not_what_was_written_in_between() {
        for seed in 0..50 {
            let mut disk = disk_with_a_durable_file();
            disk.execute(&DiskOp::WriteDurable(block_of(1, 0)));
            disk.execute(&DiskOp::Write(block_of(2, 0)));
            disk.execute(&DiskOp::Write(block_of(3, 0)));
            disk.lose_power(&mut Prng::new(seed));
            assert!(bytes(&disk)[..SECTOR_BYTES].iter().all(|byte| [1, 3].contains(byte)));
        }
    }

    #[test]
    fn a_file_that_was_never_synced_may_come_back_empty_or_with_zeros() {
        let (mut empty, mut whole) = (false, false);
        for seed in 0..50 {
            let mut disk = CrashDisk::default();
            disk.execute(&DiskOp::Create { file: FILE, len_bytes: FILE_BYTES as u64 });
            disk.execute(&DiskOp::SyncDir);
            disk.execute(&DiskOp::Write(block_of(7, 0)));
            disk.lose_power(&mut Prng::new(seed));
            empty |= bytes(&disk).is_empty();
            whole |= bytes(&disk).len() == FILE_BYTES;
        }
        assert!(empty && whole);
    }

    #[test]
    fn the_process_sees_a_torn_write_and_none_of_it_is_durable() {
        let mut disk = disk_with_a_durable_file();
        let write = DiskOp::WriteDurable(block_of(1, 0));
        disk.begin(&write);
        let (mut prng, mut torn) = (Prng::new(3), disk.clone());
        while bytes(&torn) == bytes(&disk) {
            torn = disk.clone();
            torn.tear(&write, &mut prng);
        }
        let lost = (0..50).any(|seed| {
            let mut after = torn.clone();
            after.lose_power(&mut Prng::new(seed));
            bytes(&after).iter().all(|byte| *byte == 0)
        });
        assert!(lost, "a torn write can still be lost as a whole");
    }

    #[test]
    fn the_last_writes_are_remembered_with_what_they_replaced() {
        let mut disk = disk_with_a_durable_file();
        for byte in 1..=40 {
            disk.execute(&DiskOp::WriteDurable(block_of(byte, 0)));
            disk.execute(&DiskOp::WriteDurable(block_of(byte, 2 * BLOCK_BYTES)));
        }
        let replaced: Vec<&Replaced> = disk.replaced().collect();
        let places: Vec<u64> = replaced.iter().map(|replaced| replaced.offset).collect();
        assert_eq!(places, [2 * BLOCK_BYTES as u64, 0], "only the last write of a place");
        assert_eq!(replaced[0].before()[..2], [39, 39]);
        assert_eq!(replaced[0].before().len(), BLOCK_BYTES);
        assert!(disk.replaced.len() <= MAX_REPLACED);
    }

    #[test]
    fn files_that_no_name_leads_to_take_no_room() {
        let mut disk = disk_with_a_durable_file();
        assert_eq!(disk.used_bytes(), FILE_BYTES as u64);
        disk.execute(&DiskOp::Remove { file: FILE });
        assert_eq!((disk.used_bytes(), disk.files.len()), (0, 1), "it may still come back");
        disk.execute(&DiskOp::SyncDir);
        assert_eq!(disk.files.len(), 0);
    }
}
