//! The commands of the golden scripts. Each script tells one behaviour of the lane, before a storage
//! whose ops are all done at once.
//!
//! `persist` and its like push work and show nothing; `run` shows the steps that they lead to.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use goldenscript::{Context, Runner};
use test_each_file::test_each_path;

use super::{LogLane, LogWork, Step, Told};
use crate::node::Persist;
use crate::raft::{ReadyNumber, SnapshotWrite};
use crate::storage::{
    BLOCK_BYTES, BlockWrite, DiskOp, FileName, Identity, SnapshotSource, Storage,
};
use crate::types::{ClusterId, Entry, HardState, Index, NodeId, SnapshotMeta, Term};

test_each_path! { in "./src/lane/testscripts" as golden => run_script }

/// A header and three blocks.
const SEGMENT_BYTES: u64 = 4 * BLOCK_BYTES as u64;

fn run_script(path: &Path) {
    let identity = Identity { node: NodeId(1), cluster: None };
    let (storage, _) = Storage::create(identity, SEGMENT_BYTES);
    let mut script = Script { lane: LogLane::new(), storage };
    goldenscript::run(&mut script, path).expect("the script runs");
}

struct Script {
    lane: LogLane,
    storage: Storage,
}

/// What a script can do. Entries and snapshots are `INDEX@TERM`, separated by commas.
#[derive(goldenscript::Command)]
enum Command {
    /// Pushes a Persist.
    Persist {
        number: u64,
        /// The new term and vote, as `TERM:CANDIDATE`.
        #[arg(key)]
        vote: Option<String>,
        #[arg(key)]
        entries: Option<String>,
        /// Parts of one block each: `1/3 of 9@2` is the first of three.
        #[arg(key)]
        parts: Option<String>,
    },
    /// Pushes a truncation.
    Truncate(u64),
    /// Pushes the making of a cluster; its first entry is 1@1.
    Create(u64),
    /// Pushes the joining of a cluster.
    Join(u64),
    /// Takes steps until there are none, or until one waits for an answer.
    Run,
    /// Takes one step.
    Next,
    /// Says that the received snapshot is sound, or that it is not, and runs.
    Verified(bool),
    /// Lets the server's own snapshot at this index be durable.
    Snapshot(u64),
    /// Lets the ops of the spare be done.
    Spared,
    /// Whether all is done.
    Idle,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        match command {
            Command::Persist { number, vote, entries, parts } => {
                let number = ReadyNumber(*number);
                let hard_state = vote.as_deref().map(parse_vote).transpose()?;
                let entries = parse_list(entries.as_deref(), parse_entry)?;
                let snapshot_writes = parse_list(parts.as_deref(), parse_part)?;
                let persist = Persist { number, hard_state, entries, snapshot_writes };
                self.lane.push(LogWork::Persist(persist));
            }
            Command::Truncate(first_retained) => {
                let first_retained = Index(*first_retained);
                self.lane.push(LogWork::Truncate { first_retained });
            }
            Command::Create(cluster) => {
                let entry = Entry::noop(Index(1), Term(1));
                let hard_state = HardState { term: Term(1), vote: None };
                let cluster = ClusterId(*cluster);
                self.lane.push(LogWork::Create { cluster, entry, hard_state });
            }
            Command::Join(cluster) => {
                self.lane.push(LogWork::Join { cluster: ClusterId(*cluster) });
            }
            Command::Run => return Ok(self.run()),
            Command::Next => {
                let step = self.lane.next(&mut self.storage);
                return Ok(step.as_ref().map(show).unwrap_or_default());
            }
            Command::Verified(is_sound) => {
                self.lane.verified(*is_sound);
                return Ok(self.run());
            }
            Command::Snapshot(index) => self.take_snapshot(Index(*index)),
            Command::Spared => self.storage.spare_ready(),
            Command::Idle => return Ok(self.lane.is_idle().to_string()),
        }
        Ok(String::new())
    }
}

impl Script {
    fn run(&mut self) -> String {
        let mut shown = String::new();
        while let Some(step) = self.lane.next(&mut self.storage) {
            shown += &show(&step);
            if matches!(step, Step::Verify(_)) {
                break;
            }
        }
        shown
    }

    fn take_snapshot(&mut self, index: Index) {
        // Its ops count as done: nothing in these scripts looks at a disk.
        let _ = self.storage.snapshot_begin(SnapshotSource::Local, index);
        let _ = self.storage.snapshot_finish(SnapshotSource::Local);
        let _ = self.storage.snapshot_durable(SnapshotSource::Local);
    }
}

fn parse_list<T>(
    list: Option<&str>,
    parse: fn(&str) -> Result<T, Box<dyn Error>>,
) -> Result<Vec<T>, Box<dyn Error>> {
    list.into_iter().flat_map(|list| list.split(", ")).map(parse).collect()
}

fn parse_vote(text: &str) -> Result<HardState, Box<dyn Error>> {
    let (term, candidate) = text.split_once(':').ok_or("a vote is TERM:CANDIDATE")?;
    Ok(HardState { term: Term(term.parse()?), vote: Some(NodeId(candidate.parse()?)) })
}

fn parse_entry(text: &str) -> Result<Entry, Box<dyn Error>> {
    let (index, term) = text.split_once('@').ok_or("an entry is INDEX@TERM")?;
    Ok(Entry::noop(Index(index.parse()?), Term(term.parse()?)))
}

fn parse_part(text: &str) -> Result<SnapshotWrite, Box<dyn Error>> {
    let (place, position) = text.split_once(" of ").ok_or("a part is PART/PARTS of INDEX@TERM")?;
    let (part, parts) = place.split_once('/').ok_or("its place is PART/PARTS")?;
    let entry = parse_entry(position)?;
    let (index, term) = (entry.index(), entry.term());
    let meta = SnapshotMeta { index, term, ..SnapshotMeta::default() };
    let offset = (part.parse::<u64>()? - 1) * BLOCK_BYTES as u64;
    let data = Bytes::from(vec![0; BLOCK_BYTES]);
    Ok(SnapshotWrite { meta, offset, data, last: part == parts })
}

fn show(step: &Step) -> String {
    match step {
        Step::Append(ops) => format!("append\n{}", show_ops(ops)),
        Step::Execute(ops) => format!("execute\n{}", show_ops(ops)),
        Step::PrepareSpare(ops) => format!("prepare a spare\n{}", show_ops(ops)),
        Step::Verify(meta) => format!("verify {}@{}\n", meta.index, meta.term),
        Step::Load(index) => format!("load {index}\n"),
        Step::Tell(Told::Persisted(number)) => format!("tell: {} is durable\n", number.0),
        Step::Tell(Told::SnapshotRejected(reason)) => format!("tell: rejected; {reason}\n"),
        Step::Tell(Told::SnapshotInstalled(meta)) => {
            format!("tell: installed {}@{}\n", meta.index, meta.term)
        }
        Step::Tell(Told::Entered(cluster)) => format!("tell: entered {}\n", cluster.0),
    }
}

fn show_ops(ops: &[DiskOp]) -> String {
    let mut shown = String::new();
    for op in ops {
        let op = match op {
            DiskOp::Create { file, .. } => format!("create {}", short(*file)),
            DiskOp::Write(write) => format!("write {}", show_write(write)),
            DiskOp::WriteDurable(write) => format!("write {} durably", show_write(write)),
            DiskOp::Sync { file } => format!("sync {}", short(*file)),
            DiskOp::Rename { from, to } => format!("rename {} to {}", short(*from), short(*to)),
            DiskOp::Remove { file } => format!("remove {}", short(*file)),
            DiskOp::SyncDir => "sync directory".into(),
        };
        writeln!(shown, "  {op}").expect("a string takes all");
    }
    shown
}

/// The file, where in it, and the entries among its parts.
fn show_write(write: &BlockWrite) -> String {
    let mut shown = format!("{} {}..{}", short(write.file), write.offset, write.end());
    let entries = write.parts.iter().filter_map(|part| Entry::decode(&mut part.clone()).ok());
    for entry in entries {
        write!(shown, " {}@{}", entry.index(), entry.term()).expect("a string takes all");
    }
    shown
}

/// The file's name without leading zeros.
fn short(file: FileName) -> String {
    let name = file.to_string();
    let Some((kind, number)) = name.split_once("-0") else { return name };
    format!("{kind}-{}", number.trim_start_matches('0'))
}
