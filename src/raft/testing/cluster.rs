//! Servers, their disks and the network between them. Every step is explicit, and traced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use super::disk::{Disk, State};
use super::invariants::Invariants;
use crate::raft::message::Position;
use crate::raft::{Config, Message, Raft, Ready, RoleName};
use crate::types::{
    Command, Configuration, Entry, EntryBuilder, EntryKind, Index, Member, NodeId, SnapshotMeta,
    Term,
};

/// The settings that all servers share; `id` and `seed` are each server's own.
pub(super) fn default_config() -> Config {
    Config {
        id: NodeId(1),
        election_timeout_ms: 100,
        heartbeat_interval_ms: 10,
        max_append_bytes: 1 << 20,
        max_inflight_appends: 4,
        max_inflight_bytes: 1 << 20,
        seed: 0,
    }
}

pub(super) struct Cluster {
    pub(super) now_ms: u64,
    config: Config,
    seed: u64,
    pub(super) servers: BTreeMap<NodeId, Server>,
    pub(super) network: VecDeque<Envelope>,
    /// Servers that cannot reach the others, and are not reached by them.
    pub(super) isolated: BTreeSet<NodeId>,
    pub(super) invariants: Invariants,
    pub(super) trace: String,
}

#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) message: Message,
}

pub(super) struct Server {
    /// `None` while it is down.
    pub(super) raft: Option<Raft>,
    pub(super) disk: Disk,
    pub(super) state: State,
    /// Readys on their way to the disk.
    pub(super) writing: VecDeque<Ready>,
    /// A snapshot that is on the disk and still to be loaded.
    installing: Option<(SnapshotMeta, bytes::Bytes)>,
    /// Whether Readys stay on their way, and snapshots unloaded, until told otherwise.
    is_disk_held: bool,
    /// Whether the next received snapshot fails its checks.
    pub(super) is_snapshot_damaged: bool,
    /// The reads that wait for an answer.
    reads: BTreeSet<u64>,
    lives: u64,
    seen: Seen,
}

/// What was last traced of a server.
#[derive(Default, PartialEq)]
struct Seen {
    role: Option<RoleName>,
    term: Term,
    configuration: Configuration,
    commit: Index,
}

impl Cluster {
    pub(super) fn new(config: Config, seed: u64) -> Cluster {
        Cluster {
            now_ms: 0,
            config,
            seed,
            servers: BTreeMap::new(),
            network: VecDeque::new(),
            isolated: BTreeSet::new(),
            invariants: Invariants::default(),
            trace: String::new(),
        }
    }

    /// Adds a server that starts with `configuration`, or with none when it is to join later, and
    /// with entries of these terms in its log.
    pub(super) fn add(
        &mut self,
        id: NodeId,
        configuration: Configuration,
        terms: &[u64],
        term: u64,
    ) {
        let mut disk = Disk::default();
        let meta = SnapshotMeta { configuration, ..SnapshotMeta::default() };
        disk.snapshots.insert(Index(0), (meta, bytes::Bytes::new()));
        disk.hard_state.term = Term(term);
        for (&term, index) in terms.iter().zip(1..) {
            disk.entries.push(batch(0).seal(Index(index), Term(term)));
        }
        let server = Server {
            raft: None,
            disk,
            state: State::default(),
            writing: VecDeque::new(),
            installing: None,
            is_disk_held: false,
            is_snapshot_damaged: false,
            reads: BTreeSet::new(),
            lives: 0,
            seen: Seen::default(),
        };
        self.servers.insert(id, server);
        self.start(id);
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let now_ms = self.now_ms;
        let server = self.servers.get_mut(&id).expect("a known server");
        server.lives += 1;
        let seed = self.seed ^ (id.0 << 32) ^ (server.lives << 48);
        let config = Config { id, seed, ..self.config.clone() };
        server.raft = Some(Raft::new(config, server.disk.recover(), now_ms));
        server.state = State::load(&server.disk);
        self.pump(id);
    }

    /// Stops a server. Of its unfinished writes, the first `kept` reach the disk; of the next one
    /// only the first `torn` entries do.
    pub(super) fn crash(&mut self, id: NodeId, kept: usize, torn: usize) {
        let server = self.servers.get_mut(&id).expect("a known server");
        server.raft = None;
        server.installing = None;
        for context in std::mem::take(&mut server.reads) {
            self.invariants.forgets(context);
        }
        for (nth, ready) in std::mem::take(&mut server.writing).into_iter().enumerate() {
            if nth < kept {
                server.disk.store_hard_state(&ready);
                server.disk.store_entries(&ready.entries);
            } else if nth == kept {
                server.disk.store_entries(&ready.entries[..torn.min(ready.entries.len())]);
            }
        }
        server.seen = Seen::default();
    }

    /// Lets a server do something, and does what it then wants done.
    pub(super) fn with<T>(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut Raft, u64) -> T,
    ) -> Option<T> {
        let now_ms = self.now_ms;
        let raft = self.servers.get_mut(&id)?.raft.as_mut()?;
        let result = act(raft, now_ms);
        self.pump(id);
        Some(result)
    }

    pub(super) fn raft(&self, id: NodeId) -> Option<&Raft> {
        self.servers.get(&id)?.raft.as_ref()
    }

    pub(super) fn tick(&mut self, id: NodeId) {
        self.with(id, Raft::tick);
    }

    pub(super) fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        if self.isolated.contains(&from) != self.isolated.contains(&to) {
            let _ = writeln!(self.trace, "{} → {} lost: {message}", from.0, to.0);
            return;
        }
        let mut bytes = bytes::BytesMut::new();
        crate::raft::wire::encode(&message, &mut bytes);
        let decoded = crate::raft::wire::decode(bytes.freeze()).expect("what was encoded");
        assert_eq!(decoded, message, "a message reads back as it was written");
        self.with(to, |raft, now_ms| raft.step(from, decoded, now_ms));
    }

    pub(super) fn read(
        &mut self,
        id: NodeId,
        context: u64,
    ) -> Option<Result<(), crate::raft::ReadError>> {
        self.invariants.asks(context);
        self.servers.get_mut(&id)?.reads.insert(context);
        let result = self.with(id, |raft, now_ms| raft.read_index(context, now_ms));
        if !matches!(result, Some(Ok(()))) {
            self.invariants.forgets(context);
            self.servers.get_mut(&id)?.reads.remove(&context);
        }
        result
    }

    /// Takes a snapshot of what a server has applied, and keeps `kept` entries before it.
    pub(super) fn compact(&mut self, id: NodeId, kept: u64) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let Some(raft) = server.raft.as_mut() else { return };
        let (meta, file) = server.state.snapshot();
        if meta.index <= server.disk.newest_snapshot().index {
            return;
        }
        let first_kept = Index(meta.index.next().0.saturating_sub(kept).max(1));
        server.disk.store_snapshot(meta.clone(), file, first_kept);
        raft.compact(meta, first_kept);
        self.pump(id);
    }

    /// A server notices that its link to another broke.
    pub(super) fn break_link(&mut self, id: NodeId, peer: NodeId) {
        self.with(id, |raft, _| raft.peer_unreachable(peer));
    }

    /// Deletes a server's snapshots, except the newest.
    pub(super) fn delete_old_snapshots(&mut self, id: NodeId) {
        let snapshots = &mut self.servers.get_mut(&id).expect("a known server").disk.snapshots;
        while snapshots.len() > 1 {
            snapshots.pop_first();
        }
    }

    /// Makes the next snapshot that a server receives fail its checks.
    pub(super) fn damage_next_snapshot(&mut self, id: NodeId) {
        self.servers.get_mut(&id).expect("a known server").is_snapshot_damaged = true;
    }

    /// Keeps a server's writes on their way.
    pub(super) fn hold_disk(&mut self, id: NodeId) {
        self.servers.get_mut(&id).expect("a known server").is_disk_held = true;
    }

    /// Finishes all writes of a server, now and from now on.
    pub(super) fn release_disk(&mut self, id: NodeId) {
        self.servers.get_mut(&id).expect("a known server").is_disk_held = false;
        self.persist(id, usize::MAX);
    }

    pub(super) fn held_disks(&self) -> impl Iterator<Item = NodeId> {
        self.servers.iter().filter(|(_, server)| server.is_disk_held).map(|(&id, _)| id)
    }

    /// Finishes the first `count` unfinished writes of a server, and loads a snapshot that was
    /// received before them.
    pub(super) fn persist(&mut self, id: NodeId, count: usize) {
        self.install(id);
        for _ in 0..count {
            let Some(server) = self.servers.get_mut(&id) else { break };
            let Some(ready) = server.writing.pop_front() else { break };
            self.store(id, ready);
        }
        self.pump(id);
    }

    fn store(&mut self, id: NodeId, ready: Ready) {
        let now_ms = self.now_ms;
        let server = self.servers.get_mut(&id).expect("a known server");
        server.disk.store_hard_state(&ready);
        server.disk.store_entries(&ready.entries);
        self.invariants.persists(id, server.disk.hard_state);
        for (to, message) in ready.send_after_persist {
            send(&mut self.network, &mut self.trace, id, to, message);
        }
        let server = self.servers.get_mut(&id).expect("a known server");
        let raft = server.raft.as_mut().expect("a running server");
        raft.persisted(ready.number, now_ms);
        for write in &ready.snapshot_writes {
            if let Some(file) = server.disk.store_chunk(write) {
                server.installing = Some((write.meta.clone(), file));
            }
        }
        if !server.is_disk_held {
            self.install(id);
        }
    }

    /// Loads a received snapshot, if there is one and it is not damaged.
    fn install(&mut self, id: NodeId) {
        let now_ms = self.now_ms;
        let server = self.servers.get_mut(&id).expect("a known server");
        let Some(raft) = server.raft.as_mut() else { return };
        let Some((meta, file)) = server.installing.take() else { return };
        if std::mem::take(&mut server.is_snapshot_damaged) {
            let _ = writeln!(self.trace, "{} finds snapshot {} damaged", id.0, meta.index);
            raft.snapshot_rejected(now_ms);
            return;
        }
        let _ = writeln!(self.trace, "{} installs snapshot {}", id.0, meta.index);
        server.disk.store_snapshot(meta.clone(), file, Index(u64::MAX));
        server.state = State::load(&server.disk);
        self.invariants.installs(&server.state);
        raft.snapshot_installed(meta, now_ms);
    }

    /// Does what a server wants done until it wants nothing.
    fn pump(&mut self, id: NodeId) {
        loop {
            self.observe(id);
            let Some(server) = self.servers.get_mut(&id) else { return };
            let Some(raft) = server.raft.as_mut() else { return };
            let Some(ready) = raft.ready() else { return };
            self.perform(id, ready);
        }
    }

    fn perform(&mut self, id: NodeId, mut ready: Ready) {
        self.check_writes(id, &ready);
        for (to, message) in ready.send_now.drain(..) {
            send(&mut self.network, &mut self.trace, id, to, message);
        }
        self.apply(id, &std::mem::take(&mut ready.committed));
        for read in ready.read_states.drain(..) {
            let _ = match read.result {
                Ok(index) => writeln!(self.trace, "{} read {}: at {index}", id.0, read.context),
                Err(_) => writeln!(self.trace, "{} read {}: lost", id.0, read.context),
            };
            self.invariants.answers(read.context, read.result.ok());
            self.servers.get_mut(&id).expect("a known server").reads.remove(&read.context);
        }
        let now_ms = self.now_ms;
        let server = self.servers.get_mut(&id).expect("a known server");
        let raft = server.raft.as_mut().expect("a running server");
        for read in ready.snapshot_reads.drain(..) {
            let chunk = server.disk.read_chunk(read.meta.index, read.offset);
            if chunk.is_none() {
                let _ = writeln!(self.trace, "{} has no snapshot {}", id.0, read.meta.index);
            }
            raft.snapshot_chunk(read.to, &read.meta, read.offset, chunk, now_ms);
        }
        let waits = ready.must_sync() || !server.writing.is_empty();
        trace_writes(&mut self.trace, id, &ready, server.is_disk_held);
        if waits && server.is_disk_held {
            server.writing.push_back(ready);
        } else {
            // A disk that is not held has nothing on its way.
            self.store(id, ready);
        }
    }

    fn check_writes(&mut self, id: NodeId, ready: &Ready) {
        let raft = self.raft(id).expect("a running server");
        let mut before = ready.entries.first().and_then(|first| {
            raft.log.position(first.index().prev()).map(|position| position.term)
        });
        for entry in &ready.entries {
            self.invariants.writes(entry, before.expect("the entry before it is in the log"));
            before = Some(entry.term());
        }
    }

    fn apply(&mut self, id: NodeId, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let _ = writeln!(self.trace, "{} applies {}..{}", id.0, first.index(), last.index());
        for entry in entries {
            let term = self.raft(id).expect("a running server").status().term;
            let state = &mut self.servers.get_mut(&id).expect("a known server").state;
            state.apply(entry);
            self.invariants.applies(term, entry, state);
        }
    }

    /// Traces what changed about a server, and checks what a leader is and commits.
    fn observe(&mut self, id: NodeId) {
        let Some(server) = self.servers.get(&id) else { return };
        let Some(raft) = server.raft.as_ref() else { return };
        let status = raft.status();
        let now = Seen {
            role: Some(status.role),
            term: status.term,
            configuration: status.configuration.clone(),
            commit: status.commit,
        };
        let before = &server.seen;
        if (now.role, now.term) != (before.role, before.term) {
            let _ = writeln!(self.trace, "{} is {} in term {}", id.0, status.role, status.term);
        }
        if now.configuration != before.configuration && before.role.is_some() {
            let _ = writeln!(self.trace, "{} has {}", id.0, show(&now.configuration));
        }
        if status.role == RoleName::Leader {
            self.invariants.leads(id, status.term);
            if before.role != now.role {
                self.invariants.is_complete(status.term, |index, term| {
                    index <= raft.log.snapshot().index || raft.log.holds(Position { index, term })
                });
            }
            // At the step of the commit, before another configuration may be in force.
            for index in before.commit.0.max(raft.log.first_index().0 - 1)..now.commit.0 {
                let entry = raft.log.slice(Index(index + 1), 0).remove(0);
                let disk_of = |voter: NodeId| &self.servers[&voter].disk;
                self.invariants.is_durable(&entry, &now.configuration, disk_of);
            }
        }
        self.servers.get_mut(&id).expect("a known server").seen = now;
    }
}

/// A batch of one command with a value of `value_bytes`.
pub(super) fn batch(value_bytes: usize) -> EntryBuilder {
    let mut builder = EntryBuilder::new(EntryKind::Commands, 64 + value_bytes);
    builder.push(&Command::Set {
        key: bytes::Bytes::from_static(b"key"),
        value: bytes::Bytes::from(vec![0; value_bytes]),
    });
    builder
}

/// A configuration with members of these numbers.
pub(super) fn configuration(voters: &[u64], learners: &[u64]) -> Configuration {
    let member = |id: &u64| {
        let label = format!("node-{id}");
        let member = Member { name: label.clone(), peer_addr: label.clone(), rpc_addr: label };
        (NodeId(*id), member)
    };
    Configuration {
        voters: voters.iter().copied().map(NodeId).collect(),
        learners: learners.iter().copied().map(NodeId).collect(),
        members: voters.iter().chain(learners).map(member).collect(),
        ..Configuration::default()
    }
}

/// A configuration in a few words.
pub(super) fn show(configuration: &Configuration) -> String {
    let list = |ids: &BTreeSet<NodeId>| {
        ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",")
    };
    let mut shown = format!("voters={}", list(&configuration.voters));
    for (name, ids) in
        [(" outgoing=", &configuration.outgoing), (" learners=", &configuration.learners)]
    {
        if !ids.is_empty() {
            shown += name;
            shown += &list(ids);
        }
    }
    shown
}

fn send(
    network: &mut VecDeque<Envelope>,
    trace: &mut String,
    from: NodeId,
    to: NodeId,
    message: Message,
) {
    let _ = writeln!(trace, "{} → {} {message}", from.0, to.0);
    network.push_back(Envelope { from, to, message });
}

fn trace_writes(trace: &mut String, id: NodeId, ready: &Ready, is_held: bool) {
    let verb = if is_held { "writes" } else { "stores" };
    if let Some(hard_state) = ready.hard_state {
        let vote = hard_state.vote.map_or("none".to_owned(), |vote| vote.0.to_string());
        let _ = writeln!(trace, "{} {verb} term={} vote={vote}", id.0, hard_state.term);
    }
    if let (Some(first), Some(last)) = (ready.entries.first(), ready.entries.last()) {
        let (first, last) = (first.index(), last.index());
        let _ = writeln!(trace, "{} {verb} entries {first}..{last}", id.0);
    }
    for write in &ready.snapshot_writes {
        let end = write.offset + write.data.len() as u64;
        let _ = writeln!(
            trace,
            "{} {verb} snapshot {} bytes {}..{end}",
            id.0, write.meta.index, write.offset
        );
    }
}
