//! Feeds the node and carries out what it wants.
//!
//! ```text
//!   frontends ─┐                                 ┌─> log lane (disk)
//!   peer links ├─> node ──> effects, in order ───┼─> peer links
//!   disk ──────┤                                 ├─> shards
//!   time ──────┘                                 └─> frontends
//! ```
//!
//! Inputs reach the node at once; what they lead to is worked out once an executor's turn, so all
//! that arrived in the turn is handled together.

use std::cell::{OnceCell, RefCell};
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::or;
use glommio::timer::Timer;
use hashbrown::HashMap;

use super::envelope::{Answer, Envelope, Question, ShardWork};
use super::journal;
use super::log_lane::LogDriver;
use super::mesh::Post;
use super::metrics::Metrics;
use super::mind::Mind;
use super::shared::Shared;
use super::snapshots::Snapshotter;
use crate::lane::LogWork;
use crate::node::{Effect, Node, Seeds, ServerView, Ticket};
use crate::raft::TransferError;
use crate::rpc::lookup;
use crate::rpc::peer::{PeerEvents, PeerTransport};
use crate::rpc::wait::Signal;
use crate::types::{NodeId, SnapshotMeta};

/// What a linearizable read is for.
enum Read {
    Get(Bytes),
    List,
}

/// What a node acts through, but for the peer links.
pub(super) struct Hands {
    pub(super) post: Rc<Post>,
    pub(super) shared: Arc<Shared>,
    pub(super) log: Rc<LogDriver>,
    pub(super) snapshotter: Rc<Snapshotter>,
    pub(super) metrics: Arc<Metrics>,
    /// `host:port` of members to join through.
    pub(super) seeds: Vec<String>,
    /// Where this node's gossip is reached.
    pub(super) addr: SocketAddr,
}

/// The node of this server, and everything it acts through. It lives on the node's executor.
pub(super) struct Driver {
    mind: Rc<Mind>,
    hands: Hands,
    /// Set once, before the driver runs.
    transport: OnceCell<PeerTransport>,
    /// Linearizable reads on their way through the node.
    reads: RefCell<HashMap<u64, Read, foldhash::fast::RandomState>>,
    /// Who asked this server to leave its cluster.
    leaving: RefCell<Vec<Ticket>>,
    /// This server was removed from its cluster because it asked to be.
    left: Signal,
}

impl Driver {
    pub(super) fn new(mind: Rc<Mind>, hands: Hands) -> Driver {
        Driver {
            mind,
            hands,
            transport: OnceCell::new(),
            reads: RefCell::default(),
            leaving: RefCell::default(),
            left: Signal::default(),
        }
    }

    /// Gives the driver its peer links and runs it until the process ends.
    pub(super) async fn run(self: Rc<Self>, transport: PeerTransport) {
        assert!(self.transport.set(transport).is_ok(), "a driver runs once");
        let log = Rc::clone(&self.hands.log);
        glommio::spawn_local(async move { log.run().await }).detach();
        loop {
            self.think();
            let deadline_ms = self.mind.node().next_deadline_ms();
            let wait_ms = deadline_ms.saturating_sub(self.mind.now_ms());
            let deadline = async {
                Timer::new(Duration::from_millis(wait_ms)).await;
            };
            or(self.mind.stirred(), deadline).await;
            self.mind.with(|node, now_ms| {
                if now_ms >= node.next_deadline_ms() {
                    node.tick(now_ms);
                }
            });
        }
    }

    /// Hands leadership over and answers what is open, until that is done.
    pub(super) async fn drain(&self) {
        self.mind.tell(|node, now_ms| node.stop(now_ms));
        while !self.mind.node().is_drained() {
            Timer::new(Duration::from_millis(5)).await;
        }
    }

    /// Returns once this server was removed from its cluster because it asked to be.
    pub(super) async fn left(&self) {
        self.left.wait().await;
    }

    /// Closes the peer links, after what was sent has left.
    pub(super) async fn close_links(&self) {
        if let Some(transport) = self.transport.get() {
            transport.shutdown().await;
        }
    }

    /// Makes visible how the node, the log and the map are.
    pub(super) fn publish(&self) {
        let Hands { metrics, log, shared, .. } = &self.hands;
        let node = self.mind.node();
        metrics.observe(&node, self.mind.now_ms());
        let revision = node.status().revision.0;
        metrics.storage.observe_map(shared.keys(), shared.payload_bytes(), revision);
        log.publish();
    }

    /// A frontend asks for something.
    pub(super) fn answer(&self, question: Question) {
        match question {
            Question::Write(ticket, command) => {
                self.mind.tell(|node, now_ms| node.write(ticket, &command, now_ms));
            }
            Question::Get(ticket, key) => self.read(ticket, Read::Get(key)),
            Question::List(ticket) => self.read(ticket, Read::List),
            Question::Servers(ticket) => {
                let servers = self.mind.node().servers();
                self.hands.post.answer(ticket, Answer::Servers(servers));
            }
            Question::Status(ticket) => {
                let node = self.mind.node();
                let answer = Answer::Status(Box::new(node.status()), node.servers());
                drop(node);
                self.hands.post.answer(ticket, answer);
            }
            Question::Leave(ticket) => self.leave(ticket),
            Question::Transfer(ticket, to) => self.transfer(ticket, &to),
        }
    }

    fn read(&self, ticket: Ticket, read: Read) {
        self.reads.borrow_mut().insert(ticket.0, read);
        self.mind.tell(|node, now_ms| node.read(ticket, now_ms));
    }

    fn leave(&self, ticket: Ticket) {
        match self.mind.tell(Node::leave) {
            Ok(()) => self.leaving.borrow_mut().push(ticket),
            Err(error) => self.hands.post.answer(ticket, Answer::Refused(error.to_string())),
        }
    }

    fn transfer(&self, ticket: Ticket, name: &str) {
        let servers = self.mind.node().servers();
        let to = servers.iter().find(|server| server.name == name).map(|server| server.id);
        let answer = if !name.is_empty() && to.is_none() {
            Answer::Refused(format!("the cluster has no member named {name:?}"))
        } else {
            match self.mind.tell(|node, now_ms| node.transfer_leadership(to, now_ms)) {
                Ok(_) => Answer::Done,
                Err(TransferError::NotLeader { .. }) => Answer::NotLeader(leader_addr(&servers)),
                Err(error) => Answer::Refused(error.to_string()),
            }
        };
        self.hands.post.answer(ticket, answer);
    }

    /// Works out what the inputs since the last time lead to, and does it.
    fn think(self: &Rc<Self>) {
        self.mind.with(Node::advance);
        loop {
            let effect = self.mind.with(|node, _| node.poll());
            let Some(effect) = effect else { break };
            self.hands.metrics.count(&effect);
            self.carry_out(effect);
        }
        self.hands.shared.set_serving(self.mind.node().is_serving());
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                // A message that finds no room is lost like any other: Raft sends it again.
                let _ = self.transport().send(to, |out| message.encode(out));
            }
            Effect::Persist(persist) => self.hands.log.push(LogWork::Persist(persist)),
            Effect::Apply { entry, first_revision } => {
                self.to_all_shards(|| ShardWork::Apply { entry: entry.clone(), first_revision });
            }
            Effect::Serve(tickets) => tickets.into_iter().for_each(|ticket| self.serve(ticket)),
            Effect::Written(written) => {
                for (ticket, revision) in written {
                    self.hands.post.answer(ticket, Answer::Written(revision));
                }
            }
            Effect::Failed(tickets, failure) => {
                for ticket in tickets {
                    match self.reads.borrow_mut().remove(&ticket.0) {
                        Some(_) => self.hands.metrics.raft.read_failed(failure),
                        None => self.hands.metrics.raft.proposal_failed(failure),
                    }
                    self.hands.post.answer(ticket, Answer::Failed(failure));
                }
            }
            Effect::TakeSnapshot(meta) => self.take_snapshot(meta),
            Effect::TruncateLog { first_retained } => {
                self.hands.log.push(LogWork::Truncate { first_retained });
            }
            Effect::ReadSnapshot { to, meta, offset } => self.read_snapshot(to, meta, offset),
            Effect::SendPacket { to, bytes } => self.transport().send_packet(to, bytes),
            Effect::PushPull { to, bytes } => self.transport().push_pull(to, bytes),
            Effect::SetPeer { id, addr } => self.transport().set_peer(id, addr),
            Effect::RemovePeer { id } => self.transport().remove_peer(id),
            Effect::ResolveSeeds { members } => self.resolve_seeds(members),
            Effect::CreateCluster { cluster, entry, hard_state } => {
                self.hands.log.push(LogWork::Create { cluster, entry, hard_state });
            }
            Effect::JoinCluster { cluster } => self.hands.log.push(LogWork::Join { cluster }),
            Effect::ClusterEntered { cluster } => {
                tracing::info!(%cluster, "this server belongs to a cluster now");
                self.transport().set_cluster(cluster);
            }
            Effect::Left => {
                for ticket in self.leaving.take() {
                    self.hands.post.answer(ticket, Answer::Done);
                }
                self.left.raise();
            }
            Effect::Event(event) => journal::record(&event),
        }
    }

    /// All entries that a read must see were sent to the shards before this.
    fn serve(&self, ticket: Ticket) {
        let read = self.reads.borrow_mut().remove(&ticket.0);
        match read.expect("a read is served or failed once") {
            Read::Get(key) => {
                let owner = self.hands.post.owner(&key);
                self.hands.post.send(owner, Envelope::Shard(ShardWork::Get(ticket, key)));
            }
            Read::List => self.to_all_shards(|| ShardWork::Freeze(ticket)),
        }
    }

    fn to_all_shards(&self, mut work: impl FnMut() -> ShardWork) {
        for executor in 0..self.hands.post.executors() {
            self.hands.post.send(executor, Envelope::Shard(work()));
        }
    }

    /// The cut is made before any later entry reaches a shard; the writing takes its time.
    fn take_snapshot(self: &Rc<Self>, meta: SnapshotMeta) {
        let reader = self.hands.snapshotter.expect_view();
        let ticket = reader.ticket();
        self.to_all_shards(|| ShardWork::Freeze(ticket));
        let driver = Rc::clone(self);
        glommio::spawn_local(async move {
            let index = meta.index;
            let len_bytes = driver.hands.snapshotter.write(&reader, meta).await;
            driver.mind.tell(|node, _| node.snapshot_saved(index, len_bytes));
        })
        .detach();
    }

    fn read_snapshot(self: &Rc<Self>, to: NodeId, meta: SnapshotMeta, offset: u64) {
        let driver = Rc::clone(self);
        glommio::spawn_local(async move {
            let chunk = driver.hands.snapshotter.read(meta.index, offset).await;
            driver.mind.tell(|node, now_ms| node.snapshot_chunk(to, &meta, offset, chunk, now_ms));
        })
        .detach();
    }

    /// Looks the seeds' names up on a thread of its own: a name server may take its time.
    fn resolve_seeds(self: &Rc<Self>, members: Vec<String>) {
        let driver = Rc::clone(self);
        let mut seeds = self.hands.seeds.clone();
        seeds.extend(members);
        glommio::spawn_local(async move {
            // Without a thread no name is resolved, which must not look like having no seeds.
            let none = Seeds { unresolved: seeds.len(), ..Seeds::default() };
            let mut seeds = lookup::on_a_thread(move || resolve(&seeds)).await.unwrap_or(none);
            seeds.addrs.remove(&driver.hands.addr);
            driver.mind.tell(|node, now_ms| node.seeds(seeds, now_ms));
        })
        .detach();
    }

    fn transport(&self) -> &PeerTransport {
        self.transport.get().expect("effects are carried out only while the driver runs")
    }
}

impl PeerEvents for Driver {
    fn message(&self, from: NodeId, body: Bytes) {
        self.mind.tell(|node, now_ms| node.message(from, body, now_ms));
    }

    fn link_up(&self, peer: NodeId) {
        self.mind.tell(|node, _| node.link_up(peer));
    }

    fn link_down(&self, peer: NodeId) {
        self.mind.tell(|node, _| node.link_down(peer));
    }

    fn packet(&self, from: SocketAddr, bytes: &[u8]) {
        self.hands.metrics.gossip.packet_received();
        self.mind.tell(|node, now_ms| node.packet(from, bytes, now_ms));
    }

    fn push_pull_request(&self, from: SocketAddr, body: Bytes) -> Option<Bytes> {
        self.mind.tell(|node, now_ms| node.push_pull_request(from, &body, now_ms))
    }

    fn push_pull_reply(&self, to: SocketAddr, result: Result<Bytes, String>) {
        self.mind.tell(|node, now_ms| node.push_pull_reply(to, result.ok(), now_ms));
    }
}

/// Where clients reach the leader; empty where none is known.
fn leader_addr(servers: &[ServerView]) -> String {
    let leader = servers.iter().find(|server| server.is_leader);
    leader.map(|server| server.rpc_addr.clone()).unwrap_or_default()
}

fn resolve(names: &[String]) -> Seeds {
    let mut seeds = Seeds::default();
    for name in names {
        match name.to_socket_addrs() {
            Ok(addrs) => seeds.addrs.extend(addrs),
            Err(error) => {
                seeds.unresolved += 1;
                tracing::warn!(seed = name, %error, "a seed's name cannot be resolved");
            }
        }
    }
    seeds
}
