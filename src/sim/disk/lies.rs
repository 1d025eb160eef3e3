//! What a lying disk does to durable bytes while its machine is down, and what recovery must say.
//! (Bairavasundaram et al., "An Analysis of Data Corruption in the Storage Stack", FAST 2008; Alagappan
//! et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018.)
//!
//! ```text
//!                     | covered block | segment's | one copy of   | newest
//!                     | of the log    | header    | a twin record | snapshot
//!  -------------------+---------------+-----------+---------------+---------
//!  bit rot            | detect        | detect    | repair        | detect
//!  lost write         | detect        | -         | repair        | -
//!  misdirected write  | detect        | detect    | repair        | -
//!
//!  lost file: identity, hard state              detect
//!             any segment but the newest,
//!             any snapshot                      either
//! ```
//!
//! A segment's header is where a misdirected write may land; its block is then lost as well. A
//! snapshot's header is read by recovery and the rest when it is loaded: to detect is the task of
//! the two together.
//!
//! # Which lies are not told
//! Only what the bytes themselves can give away is told, or a forgetful server would be blamed on
//! recovery:
//! - The last block of the log and its newest segment have nothing after them that says they were
//!   there (`storage/wal/replay.rs`). A lost or misdirected last write is the same.
//! - A stray write never lands where something was written after it: that would have replaced it.
//! - A twin record is damaged only while both copies should agree. Otherwise an update is under way,
//!   and the one sound copy is not "one of two".
//! - A lost identity is a lie only where other files tell of a history; else the directory is that
//!   of a server that never started.
//! - Spares, temporary files, retired segments, the older snapshot, the free part of a segment and
//!   the zeros that fill a block up hold nothing: damage there changes nothing.

use super::SimDisk;
use super::ledger::{Block, living};
use crate::prng::Prng;
use crate::storage::{BLOCK_BYTES, Disk, FileName, Replaced, SegmentId};

/// The sound part of a segment's header: what its checksum covers, and the checksum.
const SEGMENT_HEADER_BYTES: u64 = 48;
/// The same of a twin record, whatever it holds.
const TWIN_HEADER_BYTES: u64 = 20;
/// The same of a snapshot's frame; at 16 stands how many bytes follow.
const FRAME_HEADER_BYTES: u64 = 24;

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A bit turns over.
    BitRot,
    /// A write that was reported durable never reached its place.
    LostWrite,
    /// It reached another place of the same file.
    MisdirectedWrite,
    /// A whole file is gone.
    LostFile,
}

/// What recovery owes to a lie.
///
/// Of several lies the greatest answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// Everything, from the copy that is left; the repairs restore the other.
    Repair,
    /// An error, or everything: another file may stand for what is gone.
    Either,
    /// An error, from recovery or from loading the snapshot. The machine is then wiped.
    Detect,
}

/// A lie that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What was done.
    pub lie: Lie,
    /// To which file.
    pub file: FileName,
    /// Where: the damaged byte, or where the write should have been.
    pub offset: u64,
    /// What recovery must do.
    pub answer: Answer,
}

/// A place where damage has a known answer.
#[derive(Clone, Copy, Debug)]
struct Target {
    file: FileName,
    start: u64,
    end: u64,
    answer: Answer,
}

impl SimDisk {
    /// Tells a lie of this kind, if there is one whose answer is known. The machine must be down,
    /// and recover before it loses its power: what covers a block may not be durable yet.
    ///
    /// At most one lie that recovery may refuse is told before the machine runs again, so that no
    /// lie hides another.
    ///
    /// # Panics
    /// When ops are in flight.
    pub fn lie(&mut self, lie: Lie) -> Option<Told> {
        assert!(self.in_flight.is_empty(), "a disk lies while its machine is down");
        let started = self.bytes.files().any(|file| file == FileName::Identity);
        if !started {
            return None;
        }
        let told = match lie {
            Lie::BitRot => self.rot(),
            Lie::LostWrite => self.lose_write(),
            Lie::MisdirectedWrite => self.misdirect(),
            Lie::LostFile => self.lose_file(),
        }?;
        self.lied |= told.answer != Answer::Repair;
        self.unsettled.insert(told.file);
        Some(told)
    }

    fn rot(&mut self) -> Option<Told> {
        let mut kinds = [self.twin_copies(), Vec::new(), Vec::new()];
        if !self.lied {
            kinds[1] = self.log_parts();
            kinds[2] = self.snapshot_frames();
        }
        // The kind first: there are many more blocks than anything else.
        self.prng.shuffle(&mut kinds);
        let targets = kinds.iter().find(|targets| !targets.is_empty())?;
        let Target { file, start, end, answer } = *pick(targets, &mut self.prng)?;
        let offset = start + self.prng.below(end - start);
        let bit = self.prng.below(8);
        self.bytes.corrupt(file, |bytes| bytes[offset as usize] ^= 1 << bit);
        Some(Told { lie: Lie::BitRot, file, offset, answer })
    }

    fn lose_write(&mut self) -> Option<Told> {
        let write = self.pick_write()?;
        self.put(write.file, write.offset, &write.before());
        Some(told(Lie::LostWrite, &write))
    }

    fn misdirect(&mut self) -> Option<Told> {
        let write = self.pick_write()?;
        let places = self.stray_places(&write);
        let stray = *pick(&places, &mut self.prng)?;
        let bytes = self.bytes_at(write.file, write.offset, write.end());
        self.put(write.file, write.offset, &write.before());
        self.put(write.file, stray, &bytes);
        Some(told(Lie::MisdirectedWrite, &write))
    }

    fn lose_file(&mut self) -> Option<Told> {
        if self.lied {
            return None;
        }
        let living = living(self.bytes.files());
        let newest = living.last().copied();
        let has_history = self.newest_snapshot().is_some() || newest > Some(SegmentId(1));
        let answer_of = |file: &FileName| match file {
            FileName::Identity => has_history.then_some(Answer::Detect),
            FileName::HardState => Some(Answer::Detect),
            FileName::Segment(id) => (Some(*id) != newest).then_some(Answer::Either),
            FileName::Snapshot(_) => Some(Answer::Either),
            FileName::IdentityTemp | FileName::Spare(_) | FileName::SnapshotTemp(..) => None,
        };
        let candidates: Vec<(FileName, Answer)> =
            self.bytes.files().filter_map(|file| Some((file, answer_of(&file)?))).collect();
        let (file, answer) = *pick(&candidates, &mut self.prng)?;
        self.bytes.lose(file);
        Some(Told { lie: Lie::LostFile, file, offset: 0, answer })
    }

    /// A remembered durable write whose loss has a known answer.
    fn pick_write(&mut self) -> Option<Replaced> {
        let covered = self.covered();
        let writes: Vec<Replaced> = self
            .bytes
            .replaced()
            .filter(|write| match write.file {
                FileName::Segment(segment) => {
                    !self.lied
                        && covered.iter().any(|block| {
                            (block.segment, block.offset, block.end)
                                == (segment, write.offset, write.end())
                        })
                }
                FileName::Identity | FileName::HardState => self.is_settled(write.file),
                FileName::IdentityTemp
                | FileName::Spare(_)
                | FileName::Snapshot(_)
                | FileName::SnapshotTemp(..) => false,
            })
            .filter(|write| write.before() != self.bytes_at(write.file, write.offset, write.end()))
            .cloned()
            .collect();
        pick(&writes, &mut self.prng).cloned()
    }

    /// Where else in its file a write can have landed, and still be seen there.
    fn stray_places(&self, write: &Replaced) -> Vec<u64> {
        let len_bytes = write.end() - write.offset;
        let file_bytes = self.bytes.len_bytes(write.file).expect("a write's file exists");
        let written_since = match write.file {
            FileName::Segment(segment) => {
                write.offset..self.ledger.tail(segment).expect("a block is in its segment")
            }
            FileName::Identity
            | FileName::IdentityTemp
            | FileName::HardState
            | FileName::Spare(_)
            | FileName::Snapshot(_)
            | FileName::SnapshotTemp(..) => write.offset..write.end(),
        };
        (0..=file_bytes.saturating_sub(len_bytes))
            .step_by(BLOCK_BYTES)
            .filter(|at| at + len_bytes <= written_since.start || *at >= written_since.end)
            .collect()
    }

    fn covered(&self) -> Vec<Block> {
        self.ledger.covered(&living(self.bytes.files()))
    }

    /// The headers of the log's segments, and its covered blocks.
    fn log_parts(&self) -> Vec<Target> {
        let answer = Answer::Detect;
        let headers = living(self.bytes.files()).into_iter().map(|id| Target {
            file: FileName::Segment(id),
            start: 0,
            end: SEGMENT_HEADER_BYTES,
            answer,
        });
        let blocks = self.covered().into_iter().map(|block| {
            let Block { segment, offset: start, used_end: end, .. } = block;
            Target { file: FileName::Segment(segment), start, end, answer }
        });
        headers.chain(blocks).collect()
    }

    /// Both copies of each twin record, where they should agree.
    fn twin_copies(&self) -> Vec<Target> {
        let files = [FileName::Identity, FileName::HardState];
        let agreeing = files.into_iter().filter(|file| self.is_settled(*file));
        let copies = agreeing.flat_map(|file| [(file, 0), (file, BLOCK_BYTES as u64)]);
        copies
            .map(|(file, start)| Target {
                file,
                start,
                end: start + TWIN_HEADER_BYTES,
                answer: Answer::Repair,
            })
            .collect()
    }

    /// Whether each of the two copies of a twin record is as good as the other: no update of it was
    /// broken off, or it made no difference.
    fn is_settled(&self, file: FileName) -> bool {
        let copy = |at: u64| self.bytes.read_at(file, at, BLOCK_BYTES).unwrap_or_default();
        let (first, second) = (copy(0), copy(BLOCK_BYTES as u64));
        !first.is_empty() && (first == second || !self.unsettled.contains(&file))
    }

    /// The frames of the newest snapshot, without the zeros after them.
    fn snapshot_frames(&self) -> Vec<Target> {
        let Some(file) = self.newest_snapshot() else { return Vec::new() };
        let len_bytes = self.bytes.len_bytes(file).expect("the snapshot exists");
        let (mut frames, mut start) = (Vec::new(), 0);
        while start < len_bytes {
            let field = self.bytes_at(file, start + 16, start + 20);
            let payload = u32::from_le_bytes(field[..].try_into().expect("four bytes"));
            let end = start + FRAME_HEADER_BYTES + u64::from(payload);
            frames.push(Target { file, start, end, answer: Answer::Detect });
            start = end.next_multiple_of(BLOCK_BYTES as u64);
        }
        frames
    }

    fn newest_snapshot(&self) -> Option<FileName> {
        self.bytes.files().filter(|file| matches!(file, FileName::Snapshot(_))).max()
    }

    fn bytes_at(&self, file: FileName, start: u64, end: u64) -> Vec<u8> {
        self.bytes.read_at(file, start, (end - start) as usize).expect("the file exists")
    }

    fn put(&mut self, file: FileName, offset: u64, bytes: &[u8]) {
        let start = offset as usize;
        self.bytes.corrupt(file, |file| file[start..start + bytes.len()].copy_from_slice(bytes));
    }
}

fn told(lie: Lie, write: &Replaced) -> Told {
    let answer = match write.file {
        FileName::Identity | FileName::HardState => Answer::Repair,
        FileName::IdentityTemp
        | FileName::Segment(_)
        | FileName::Spare(_)
        | FileName::Snapshot(_)
        | FileName::SnapshotTemp(..) => Answer::Detect,
    };
    Told { lie, file: write.file, offset: write.offset, answer }
}

fn pick<'a, T>(items: &'a [T], prng: &mut Prng) -> Option<&'a T> {
    (!items.is_empty()).then(|| &items[prng.below(items.len() as u64) as usize])
}
