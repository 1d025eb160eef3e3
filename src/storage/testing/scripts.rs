//! The commands of the golden scripts. Each script tells one behaviour of a server's data
//! directory.
//!
//! A command shows the ops that it asks of the disk, one a line. `crash` makes the next command's
//! ops stop on the way, and `restart` shows what recovery finds and repairs.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use goldenscript::{Context, Runner};
use test_each_file::test_each_path;

use super::{CLUSTER, IDENTITY, entry, meta};
use crate::storage::op::{BlockWrite, DiskOp, FileName, SnapshotSource};
use crate::storage::{CrashDisk, Recovered, SnapshotEncoder, Storage};
use crate::types::{Entry, HardState, Index, NodeId, Term};

test_each_path! { in "./src/storage/testscripts" as golden => run_script }

fn run_script(path: &Path) {
    let disk = CrashDisk::default();
    let mut script = Script { disk, storage: None, segment_bytes: 0, crash: None };
    goldenscript::run(&mut script, path).expect("the script runs");
}

struct Script {
    disk: CrashDisk,
    /// `None` before the first start and after a crash.
    storage: Option<Storage>,
    segment_bytes: u64,
    crash: Option<Crash>,
}

/// How the next list of ops ends.
struct Crash {
    /// How many ops are done before it.
    after_ops: usize,
    /// How many sectors of 512 bytes of the next op's write are found again.
    sectors: usize,
}

/// What a script can do. Sizes are those of values, in bytes, separated by commas.
#[derive(goldenscript::Command)]
enum Command {
    /// A server's first start, with segments of this many blocks of 4096 bytes, the header's
    /// included.
    Start { blocks: u64 },
    /// Appends entries of these sizes.
    Append { first: u64, term: u64, sizes: String },
    /// Votes, and appends entries if there are any.
    Vote {
        term: u64,
        candidate: u64,
        #[arg(key)]
        first: Option<u64>,
    },
    /// Takes a snapshot after this entry.
    Snapshot { index: u64, term: u64 },
    /// Receives a snapshot from the leader, and restarts the log after it.
    Install { index: u64, term: u64 },
    /// Receives a snapshot from the leader, and crashes before the log is restarted.
    Receive { index: u64, term: u64 },
    /// Drops the log before this entry.
    Truncate(u64),
    /// Prepares a spare if the log will soon need one.
    Spare,
    /// Lets the next command crash after some ops, in the middle of a write.
    Crash {
        #[arg(key, optional)]
        after_ops: usize,
        #[arg(key, optional)]
        sectors: usize,
    },
    /// Changes one byte of a file.
    Damage { file: String, offset: usize },
    /// The disk turns out to have lost the last durable write at this place.
    Revert { file: String, offset: u64 },
    /// Takes a file away.
    Lose(String),
    /// Stops the server and recovers it.
    Restart,
    /// Lists the files.
    Files,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        self.obey(command)
    }
}

impl Script {
    fn obey(&mut self, command: &Command) -> Result<String, Box<dyn Error>> {
        match command {
            Command::Start { blocks } => {
                self.segment_bytes = blocks * 4096;
                let (storage, ops) = Storage::create(IDENTITY, self.segment_bytes);
                self.storage = Some(storage);
                Ok(self.execute(&ops))
            }
            Command::Append { first, term, sizes } => {
                let entries = entries(*first, *term, sizes)?;
                let ops = self.storage()?.append(None, &entries);
                Ok(self.execute(&ops))
            }
            Command::Vote { term, candidate, first } => {
                let vote = Some(NodeId(*candidate));
                let hard_state = HardState { term: Term(*term), vote };
                let entries: Vec<Entry> =
                    first.iter().map(|first| entry(*first, *term, 0)).collect();
                let ops = self.storage()?.append(Some(hard_state), &entries);
                Ok(self.execute(&ops))
            }
            Command::Snapshot { index, term } => {
                self.snapshot(SnapshotSource::Local, *index, *term)
            }
            Command::Receive { index, term } => {
                self.snapshot(SnapshotSource::Received, *index, *term)
            }
            Command::Install { index, term } => {
                let mut shown = self.snapshot(SnapshotSource::Received, *index, *term)?;
                let ops = self.storage()?.reset_after(&meta(*index, *term));
                shown += &self.execute(&ops);
                Ok(shown)
            }
            Command::Truncate(first_retained) => {
                let ops = self.storage()?.truncate_before(Index(*first_retained));
                Ok(self.execute(&ops))
            }
            Command::Spare => {
                let Some(ops) = self.storage()?.prepare_spare() else { return Ok(String::new()) };
                let shown = self.execute(&ops);
                self.storage()?.spare_ready();
                Ok(shown)
            }
            Command::Crash { after_ops, sectors } => {
                self.crash = Some(Crash { after_ops: *after_ops, sectors: *sectors });
                Ok(String::new())
            }
            Command::Damage { file, offset } => {
                let file = self.file(file)?;
                self.disk.corrupt(file, |bytes| bytes[*offset] ^= 1);
                Ok(String::new())
            }
            Command::Revert { file, offset } => {
                let file = self.file(file)?;
                self.revert(file, *offset)?;
                Ok(String::new())
            }
            Command::Lose(file) => {
                let file = self.file(file)?;
                self.disk.lose(file);
                Ok(String::new())
            }
            Command::Restart => self.restart(),
            Command::Files => Ok(self.disk.files().map(|file| short(file) + "\n").collect()),
        }
    }
}

impl Script {
    fn storage(&mut self) -> Result<&mut Storage, Box<dyn Error>> {
        self.storage.as_mut().ok_or_else(|| "the server is down".into())
    }

    fn file(&self, name: &str) -> Result<FileName, Box<dyn Error>> {
        let found = self.disk.files().find(|found| short(*found) == name);
        found.ok_or_else(|| "there is no such file".into())
    }

    fn snapshot(
        &mut self,
        source: SnapshotSource,
        index: u64,
        term: u64,
    ) -> Result<String, Box<dyn Error>> {
        let bytes = SnapshotEncoder::new(CLUSTER, &meta(index, term)).finish();
        let storage = self.storage()?;
        let mut ops = storage.snapshot_begin(source, Index(index));
        ops.extend(storage.snapshot_write(source, 0, bytes)?);
        ops.extend(storage.snapshot_finish(source));
        let shown = self.execute(&ops);
        let Ok(storage) = self.storage() else { return Ok(shown) };
        let ops = storage.snapshot_durable(source);
        Ok(shown + &self.execute(&ops))
    }

    fn execute(&mut self, ops: &[DiskOp]) -> String {
        let mut shown = String::new();
        let crash = self.crash.take();
        let done = crash.as_ref().map_or(ops.len(), |crash| crash.after_ops);
        for op in &ops[..done] {
            self.disk.execute(op);
            writeln!(shown, "{}", show(op)).expect("a string takes all");
        }
        if let Some(crash) = crash {
            if let Some(DiskOp::WriteDurable(write)) = ops.get(done) {
                self.tear(write, crash.sectors * 512);
            }
            self.storage = None;
            shown += "crash\n";
        }
        shown
    }

    fn tear(&mut self, write: &BlockWrite, kept_bytes: usize) {
        let bytes = write.parts.concat();
        let kept = kept_bytes.min(bytes.len());
        let start = write.offset as usize;
        self.disk.corrupt(write.file, |file| {
            file[start..start + kept].copy_from_slice(&bytes[..kept]);
        });
    }

    fn revert(&mut self, file: FileName, offset: u64) -> Result<(), Box<dyn Error>> {
        let write = self.disk.replaced().find(|write| write.file == file && write.offset == offset);
        let before = write.ok_or("the write is not remembered")?.before();
        let start = offset as usize;
        self.disk.corrupt(file, |bytes| {
            bytes[start..start + before.len()].copy_from_slice(&before);
        });
        Ok(())
    }

    fn restart(&mut self) -> Result<String, Box<dyn Error>> {
        self.storage = None;
        let recovered = match Storage::recover(&self.disk, self.segment_bytes) {
            Ok(Some(recovered)) => recovered,
            Ok(None) => return Ok("no server has lived here".into()),
            Err(error) => {
                let error = error.to_string();
                // The advice is the same each time.
                let what = error.split(". ").next().unwrap_or_default();
                return Ok(format!("error: {}", shorten(what)));
            }
        };
        let mut shown = describe(&recovered);
        shown += &self.execute(&recovered.repairs);
        self.storage = Some(recovered.storage);
        Ok(shown)
    }
}

fn entries(first: u64, term: u64, sizes: &str) -> Result<Vec<Entry>, Box<dyn Error>> {
    let sizes: Vec<usize> = sizes.split(',').map(str::parse).collect::<Result<_, _>>()?;
    Ok((first..).zip(sizes).map(|(index, size)| entry(index, term, size)).collect())
}

fn describe(recovered: &Recovered) -> String {
    let HardState { term, vote } = recovered.hard_state;
    let vote = vote.map_or("none".into(), |vote| vote.0.to_string());
    let mut shown = format!("term {term}, vote {vote}");
    if let Some(meta) = &recovered.snapshot {
        write!(shown, ", snapshot {}@{}", meta.index, meta.term).expect("a string takes all");
    }
    shown += ", entries";
    for entry in &recovered.entries {
        write!(shown, " {}@{}", entry.index(), entry.term()).expect("a string takes all");
    }
    if let Some((file, offset)) = recovered.report.torn_block {
        write!(shown, ", torn at {} {offset}", short(file)).expect("a string takes all");
    }
    if recovered.report.discarded_entries > 0 {
        let count = recovered.report.discarded_entries;
        write!(shown, ", {count} discarded").expect("a string takes all");
    }
    shown + "\n"
}

fn show(op: &DiskOp) -> String {
    match op {
        DiskOp::Create { file, len_bytes } => format!("create {} {len_bytes}", short(*file)),
        DiskOp::Write(write) => format!("write {}", show_write(write)),
        DiskOp::WriteDurable(write) => format!("write {} durably", show_write(write)),
        DiskOp::Sync { file } => format!("sync {}", short(*file)),
        DiskOp::Rename { from, to } => format!("rename {} to {}", short(*from), short(*to)),
        DiskOp::Remove { file } => format!("remove {}", short(*file)),
        DiskOp::SyncDir => "sync directory".into(),
    }
}

fn show_write(write: &BlockWrite) -> String {
    let range = format!("{} {}..{}", short(write.file), write.offset, write.end());
    let is_block = matches!(write.file, FileName::Segment(_));
    let records = write.parts[1..].iter().map(|part| {
        let entry = Entry::decode(&mut part.clone()).expect("a block's parts are records");
        format!(" {}@{}", entry.index(), entry.term())
    });
    match (is_block, write.parts.len()) {
        (false, _) => range,
        (true, 1) => range + " restart",
        (true, _) => format!("{range} entries{}", records.collect::<String>()),
    }
}

/// The file's name without leading zeros.
fn short(file: FileName) -> String {
    shorten(&file.to_string())
}

fn shorten(text: &str) -> String {
    let Some((kind, number)) = text.split_once("-0") else { return text.into() };
    format!("{kind}-{}", number.trim_start_matches('0'))
}
