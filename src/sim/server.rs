//! One running process: the real node, log lane, storage and map, with the simulator for hands.
//!
//! ```text
//!   inbox ──> node ──> effects ──┬─> actions: network, clients          (the world carries them out)
//!     ^                          ├─> map
//!     |                          └─> log lane ──> ops ──┐
//!     +────────────── finished ops ── disk <────────────┘
//! ```
//!
//! This is the simulator's counterpart of the glommio driver. It decides nothing: what is written
//! together and in which order is the log lane's, the rest is the node's.

mod map;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

pub(super) use self::map::{Map, encode_key, encode_value};
use self::snapshot::SnapshotJob;
pub(super) use self::snapshot::load;
use super::disk::{SimDisk, Submitted};
use super::history::{Key, Return};
use super::invariants::Watch;
use super::trace::Trace;
use crate::lane::{LogLane, LogWork, Step, Told};
use crate::node::{Effect, Event, Failure, Node, PeerMessage, Seeds, Ticket};
use crate::storage::{DiskOp, FileName, Storage};
use crate::types::{ClusterId, Command, Configuration, Index, NodeId, SnapshotMeta};

/// The map's hash is compared after every so many entries: it reads the whole map.
const HASH_INTERVAL: u64 = 16;

/// Something that happens to a process.
#[derive(Debug)]
pub(super) enum Input {
    Message { from: NodeId, body: Bytes },
    LinkUp(NodeId),
    LinkDown(NodeId),
    Packet { from: SocketAddr, bytes: Bytes },
    PushPull { from: SocketAddr, origin: Origin, bytes: Bytes },
    PushPullReply { from: SocketAddr, reply: Option<Bytes> },
    Seeds(Seeds),
    SnapshotPart(Box<SnapshotPart>),
    DiskDone(Lane),
    Write { ticket: Ticket, command: Command },
    Read { ticket: Ticket, read: Read },
    StaleGet { ticket: Ticket, key: Key },
    Transfer,
    Leave,
    Stop,
}

/// A part of a snapshot that was read for a follower.
#[derive(Debug)]
pub(super) struct SnapshotPart {
    to: NodeId,
    meta: SnapshotMeta,
    offset: u64,
    /// The bytes, and whether they are the last; nothing where the snapshot is gone.
    part: Option<(Bytes, bool)>,
}

/// A linearizable read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Get(Key),
    List,
}

/// The process that waits for a reply: its host and which of that host's processes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) host: usize,
    pub(super) life: u32,
}

impl Input {
    /// Whether a client sent it.
    fn is_request(&self) -> bool {
        matches!(self, Input::Write { .. } | Input::Read { .. } | Input::StaleGet { .. })
    }
}

impl Origin {
    /// Nobody waits.
    pub(super) const NOWHERE: Origin = Origin { host: usize::MAX, life: 0 };
}

/// What a process wants of the world.
#[derive(Debug)]
pub(super) enum Action {
    Send {
        to: NodeId,
        bytes: Bytes,
        is_consensus: bool,
    },
    Packet {
        to: SocketAddr,
        bytes: Bytes,
    },
    PushPull {
        to: SocketAddr,
        bytes: Bytes,
    },
    PushPullReply {
        to: Origin,
        reply: Option<Bytes>,
    },
    SetPeer {
        id: NodeId,
        addr: String,
    },
    RemovePeer {
        id: NodeId,
    },
    Resolve {
        members: Vec<String>,
    },
    Answer {
        ticket: Ticket,
        answer: Return,
    },
    /// Give this back to the process in a while.
    Later {
        after_us: u64,
        input: Input,
    },
    Exit(Exit),
}

/// Why a process ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It was told to stop, and everything is answered.
    Drained,
    /// It was removed from its cluster, as it had asked.
    Left,
    /// It was removed from its cluster, and does not know why.
    Removed,
    /// Its disk failed.
    Fenced(String),
}

/// What runs beside what else on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Log,
    Spare,
    Snapshot,
}

/// What a process acts with for one turn.
pub(super) struct Hands<'a> {
    pub(super) disk: &'a mut SimDisk,
    pub(super) watch: &'a mut Watch,
    pub(super) trace: &'a mut Trace,
    pub(super) now_us: u64,
    /// The process's own clock.
    pub(super) now_ms: u64,
    /// The size of the parts in which snapshots are sent, in bytes.
    pub(super) chunk_bytes: usize,
    /// Whether clients' sockets are read, and answered, before those of peers.
    pub(super) clients_first: bool,
    /// Whether timers are looked at before any socket is.
    pub(super) timers_first: bool,
    pub(super) actions: Vec<Action>,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) id: NodeId,
    pub(super) node: Node,
    map: Map,
    storage: Storage,
    log: LogLane,
    /// By lane: the op under way, and those that follow it.
    ops: [VecDeque<DiskOp>; 3],
    snapshot: Option<SnapshotJob>,
    inbox: VecDeque<Input>,
    reads: BTreeMap<Ticket, Read>,
    is_stopping: bool,
    /// Why it will end, once it is stopping.
    why: Exit,
    /// Its disk failed: nothing follows.
    is_fenced: bool,
}

impl Server {
    /// A process that has recovered: its map holds what its snapshot does.
    pub(super) fn new(id: NodeId, node: Node, storage: Storage, map: Map) -> Server {
        Server {
            id,
            node,
            map,
            storage,
            log: LogLane::new(),
            ops: Default::default(),
            snapshot: None,
            inbox: VecDeque::new(),
            reads: BTreeMap::new(),
            is_stopping: false,
            why: Exit::Drained,
            is_fenced: false,
        }
    }

    /// Something happened; the next turn takes it in.
    pub(super) fn receive(&mut self, input: Input) {
        self.inbox.push_back(input);
    }

    /// The cluster it is a member of.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        self.storage.identity().cluster
    }

    /// Whether it was told to stop, or is about to because it was removed.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping || self.inbox.iter().any(|input| matches!(input, Input::Stop))
    }

    /// What it keeps on its disk.
    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Its map.
    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// Takes in what has happened, and does what that leads to.
    pub(super) fn turn(&mut self, hands: &mut Hands<'_>) {
        let inbox = std::mem::take(&mut self.inbox);
        if hands.timers_first {
            self.think_about(VecDeque::new(), hands);
        }
        if hands.clients_first {
            let (clients, others) = inbox.into_iter().partition(Input::is_request);
            self.think_about(clients, hands);
            self.think_about(others, hands);
        } else {
            self.think_about(inbox, hands);
        }
        if self.is_stopping && !self.is_fenced && self.node.is_drained() {
            hands.actions.push(Action::Exit(self.why.clone()));
        }
    }

    fn think_about(&mut self, inputs: VecDeque<Input>, hands: &mut Hands<'_>) {
        for input in inputs {
            if self.is_fenced {
                return;
            }
            self.take(input, hands);
        }
        if self.is_fenced {
            return;
        }
        if hands.now_ms >= self.node.next_deadline_ms() {
            self.node.tick(hands.now_ms);
        }
        loop {
            self.node.advance(hands.now_ms);
            while let Some(effect) = self.node.poll() {
                self.carry_out(effect, hands);
            }
            hands.watch.stepped(self.id, &self.node);
            if !self.run_log(hands) {
                break;
            }
        }
    }

    fn take(&mut self, input: Input, hands: &mut Hands<'_>) {
        let now_ms = hands.now_ms;
        match input {
            Input::Message { from, body } => self.node.message(from, body, now_ms),
            Input::LinkUp(peer) => self.node.link_up(peer),
            Input::LinkDown(peer) => self.node.link_down(peer),
            Input::Packet { from, bytes } => self.node.packet(from, &bytes, now_ms),
            Input::PushPull { from, origin, bytes } => {
                let reply = self.node.push_pull_request(from, &bytes, now_ms);
                hands.actions.push(Action::PushPullReply { to: origin, reply });
            }
            Input::PushPullReply { from, reply } => self.node.push_pull_reply(from, reply, now_ms),
            Input::Seeds(seeds) => self.node.seeds(seeds, now_ms),
            Input::SnapshotPart(read) => {
                let SnapshotPart { to, meta, offset, part } = *read;
                self.node.snapshot_chunk(to, &meta, offset, part, now_ms);
            }
            Input::DiskDone(lane) => self.disk_done(lane, hands),
            Input::Write { ticket, command } => {
                hands.watch.asks(self.id, ticket);
                self.node.write(ticket, &command, now_ms);
            }
            Input::Read { ticket, read } => {
                hands.watch.asks(self.id, ticket);
                self.reads.insert(ticket, read);
                self.node.read(ticket, now_ms);
            }
            Input::StaleGet { ticket, key } => {
                let answer = Return::Read(self.map.get(key));
                hands.actions.push(Action::Answer { ticket, answer });
            }
            Input::Transfer => {
                // Refused by whoever does not lead: the operator asks them all.
                let _ = self.node.transfer_leadership(None, now_ms);
            }
            Input::Leave => {
                // Refused by the last voter, and by a server without a cluster.
                let _ = self.node.leave(now_ms);
            }
            Input::Stop => {
                self.node.stop(now_ms);
                self.is_stopping = true;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, hands: &mut Hands<'_>) {
        match effect {
            Effect::Send { to, message } => {
                hands.watch.sends(self.id, to, &message, &self.node);
                let is_consensus = matches!(message, PeerMessage::Raft(_));
                hands.say(|| format!("to {to}: {}", message_line(&message)), self.id);
                let mut bytes = BytesMut::new();
                message.encode(&mut bytes);
                hands.actions.push(Action::Send { to, bytes: bytes.freeze(), is_consensus });
            }
            Effect::Persist(persist) => {
                hands.watch.persists(self.id, &persist, &self.node);
                self.log.push(LogWork::Persist(persist));
            }
            Effect::Apply { entry, first_revision } => {
                hands.watch.applies(self.id, &entry, &self.node);
                self.map.apply(&entry, first_revision);
                if entry.index().0.is_multiple_of(HASH_INTERVAL) {
                    hands.watch.reaches(self.id, entry.index(), self.map.state_hash());
                }
            }
            Effect::Serve(tickets) => tickets.into_iter().for_each(|t| self.serve(t, hands)),
            Effect::Written(written) => {
                for (ticket, revision) in written {
                    self.answer(ticket, Return::Written(revision), hands);
                }
            }
            Effect::Failed(tickets, failure) => {
                for ticket in tickets {
                    self.reads.remove(&ticket);
                    self.answer(ticket, failed(failure), hands);
                }
            }
            Effect::TakeSnapshot(meta) => self.take_snapshot(meta, hands),
            Effect::TruncateLog { first_retained } => {
                self.log.push(LogWork::Truncate { first_retained });
            }
            Effect::ReadSnapshot { to, meta, offset } => {
                self.read_snapshot(to, meta, offset, hands);
            }
            Effect::CreateCluster { cluster, entry, hard_state } => {
                hands.watch.founds(self.id, hard_state, entry.clone());
                self.log.push(LogWork::Create { cluster, entry, hard_state });
            }
            Effect::JoinCluster { cluster } => self.log.push(LogWork::Join { cluster }),
            Effect::ClusterEntered { cluster } => hands.watch.enters(self.id, cluster),
            Effect::SendPacket { to, bytes } => hands.actions.push(Action::Packet { to, bytes }),
            Effect::PushPull { to, bytes } => hands.actions.push(Action::PushPull { to, bytes }),
            Effect::SetPeer { id, addr } => hands.actions.push(Action::SetPeer { id, addr }),
            Effect::RemovePeer { id } => hands.actions.push(Action::RemovePeer { id }),
            Effect::ResolveSeeds { members } => hands.actions.push(Action::Resolve { members }),
            Effect::Left => {
                self.is_stopping = true;
                if self.why == Exit::Drained {
                    self.why = Exit::Left;
                }
            }
            Effect::Event(event) => {
                if let Event::Member { id, .. } = event {
                    hands.watch.hears(self.id, id, self.node.is_member());
                }
                if event == Event::Removed {
                    self.why = Exit::Removed;
                }
                hands.say(|| event_line(&event), self.id);
            }
        }
    }

    fn serve(&mut self, ticket: Ticket, hands: &mut Hands<'_>) {
        let answer = match self.reads.remove(&ticket) {
            Some(Read::Get(key)) => Return::Read(self.map.get(key)),
            Some(Read::List) => Return::Listed(self.map.list()),
            None => Return::NotDone,
        };
        self.answer(ticket, answer, hands);
    }

    fn answer(&mut self, ticket: Ticket, answer: Return, hands: &mut Hands<'_>) {
        hands.watch.answers(self.id, ticket);
        hands.actions.push(Action::Answer { ticket, answer });
    }

    /// Takes the log as far as it goes without the disk. Whether the node was told anything.
    fn run_log(&mut self, hands: &mut Hands<'_>) -> bool {
        let mut has_told = false;
        while !self.is_fenced && self.ops(Lane::Log).is_empty() {
            let Some(step) = self.log.next(&mut self.storage) else { break };
            match step {
                Step::Append(ops) | Step::Execute(ops) => self.begin(Lane::Log, ops, hands),
                Step::PrepareSpare(ops) => self.begin(Lane::Spare, ops, hands),
                Step::Verify(meta) => {
                    let file = snapshot::received(&meta);
                    let is_sound =
                        load(&hands.disk.view(), file, |_| {}).is_ok_and(|found| found == meta);
                    self.log.verified(is_sound);
                }
                Step::Load(index) => self.load(index, hands),
                Step::Tell(told) => {
                    has_told = true;
                    hands.watch.told(self.id, &told);
                    if let Told::SnapshotInstalled(meta) = &told {
                        hands.watch.reaches(self.id, meta.index, self.map.state_hash());
                    }
                    told.tell(&mut self.node, hands.now_ms);
                }
            }
        }
        has_told
    }

    /// Makes the map hold a durable snapshot, and nothing else.
    fn load(&mut self, index: Index, hands: &mut Hands<'_>) {
        let mut map = Map::new();
        match load(&hands.disk.view(), FileName::Snapshot(index), |item| map.restore(&item)) {
            Ok(_) => self.map = map,
            Err(error) => self.fence(error.to_string(), hands),
        }
    }

    fn fence(&mut self, cause: String, hands: &mut Hands<'_>) {
        self.is_fenced = true;
        hands.actions.push(Action::Exit(Exit::Fenced(cause)));
    }

    fn ops(&mut self, lane: Lane) -> &mut VecDeque<DiskOp> {
        &mut self.ops[lane as usize]
    }

    /// Begins `ops` in a lane whose last ops are done.
    fn begin(&mut self, lane: Lane, ops: Vec<DiskOp>, hands: &mut Hands<'_>) {
        let queue = self.ops(lane);
        assert!(queue.is_empty(), "a lane does one thing at a time");
        queue.extend(ops);
        if let Some(op) = queue.front() {
            hands.submit(lane, op);
        }
    }

    fn disk_done(&mut self, lane: Lane, hands: &mut Hands<'_>) {
        let op = self.ops(lane).pop_front().expect("an op was under way");
        if let Err(fault) = hands.disk.complete(&op) {
            return self.fence(fault.to_string(), hands);
        }
        if let Some(next) = self.ops[lane as usize].front() {
            hands.submit(lane, next);
            return;
        }
        match lane {
            Lane::Log => {}
            Lane::Spare => self.storage.spare_ready(),
            Lane::Snapshot => self.continue_snapshot(hands),
        }
    }
}

impl Hands<'_> {
    fn submit(&mut self, lane: Lane, op: &DiskOp) {
        let Submitted::Done { after_us } = self.disk.submit(op) else { return };
        self.actions.push(Action::Later { after_us, input: Input::DiskDone(lane) });
    }

    fn say(&mut self, text: impl FnOnce() -> String, id: NodeId) {
        self.trace.line(self.now_us, || format!("{id} {}", text()));
    }
}

fn failed(failure: Failure) -> Return {
    match failure {
        Failure::OutcomeUnknown => Return::Unknown,
        Failure::NoLeader | Failure::Overloaded | Failure::NotJoined | Failure::ShuttingDown => {
            Return::NotDone
        }
    }
}

/// An event in a line that can be read.
fn event_line(event: &Event) -> String {
    match event {
        Event::Leader { term, leader: Some(leader) } => format!("follows {leader} in term {term}"),
        Event::Leader { term, leader: None } => format!("knows no leader in term {term}"),
        Event::Proposed { target, reason } => format!("proposes {}: {reason}", members(target)),
        Event::Configured(configuration) => format!("has {}", members(configuration)),
        Event::Member { name, id, state } => format!("holds {name} ({id}) for {state:?}"),
        Event::BadMessage { .. }
        | Event::BadGossip { .. }
        | Event::ManyClusters(_)
        | Event::Uninvited(_)
        | Event::Removed
        | Event::NameTaken { .. } => format!("{event:?}"),
    }
}

/// A message in a line that can be read.
fn message_line(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Raft(message) => message.to_string(),
        PeerMessage::Forward { id, commands } => format!("batch {id}, {} bytes", commands.len()),
        PeerMessage::ForwardReply { .. } | PeerMessage::Leave | PeerMessage::Removed => {
            format!("{message:?}")
        }
    }
}

fn members(configuration: &Configuration) -> String {
    let Configuration { voters, outgoing, learners, .. } = configuration;
    format!("voters {voters:?}, outgoing {outgoing:?}, learners {learners:?}")
}
