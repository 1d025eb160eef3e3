//! One machine: its disk, its clocks, its address, and the process that runs on it, if any.
//!
//! ```text
//!             start                 repairs are durable
//!    down ───────────> starting ───────────────────────> running
//!     ^                   |                                 |
//!     +─── kill, power ───+──── kill, power, fenced, left ──+
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::clock::Clock;
use super::disk::{Answer, SimDisk};
use super::plan::{Founding, MIN_VOTERS, Plan};
use super::server::{self, Map, Server};
use crate::gossip;
use crate::node::{self, Node, Ticket};
use crate::prng::Prng;
use crate::raft;
use crate::storage::{DiskOp, FileName, Identity, RecoveryError, Storage};
use crate::types::{ClusterId, Entry, HardState, NodeId, SnapshotMeta};

/// One machine.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) number: usize,
    pub(super) disk: SimDisk,
    pub(super) clock: Clock,
    pub(super) process: Process,
    /// Counts its processes; what was meant for an earlier one is lost.
    pub(super) life: u32,
    /// Whether the process may make a cluster alone if no seed knows one.
    pub(super) may_bootstrap: bool,
    /// Whether it left the cluster for good.
    pub(super) is_retired: bool,
    /// Nothing moves on it before this time.
    pub(super) stalled_until_us: u64,
    /// Whether its process looks at its timers first when it goes on.
    pub(super) wakes_by_timer: bool,
    /// Its disk answers nothing before this time.
    pub(super) hung_until_us: u64,
    /// When the world will look at its timers.
    pub(super) timer_at_us: u64,
    pub(super) is_turn_planned: bool,
    /// What recovery owes to the lie that its disk was told to tell.
    pub(super) lied: Option<Answer>,
    /// Requests that were sent to its process and are not answered.
    pub(super) asked: BTreeSet<Ticket>,
    /// The identity on its disk.
    pub(super) identity: Option<NodeId>,
    /// Identities it has had, the present one included.
    identities: u64,
    /// It moved so many times.
    moves: u8,
    prng: Prng,
}

/// What runs on a machine.
#[derive(Debug)]
pub(super) enum Process {
    Down,
    Starting(Box<Start>),
    Running(Box<Server>),
}

/// A process that has read its disk, and makes its repairs durable before it says anything.
#[derive(Debug)]
pub(super) struct Start {
    /// The op under way, and those that follow.
    pub(super) ops: VecDeque<DiskOp>,
    storage: Storage,
    pub(super) found: Found,
}

/// What a process found on its disk.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) identity: Identity,
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotMeta>,
    pub(super) entries: Vec<Entry>,
}

impl Found {
    /// A server that belongs to no cluster.
    fn nothing(identity: Identity) -> Found {
        Found { identity, hard_state: HardState::default(), snapshot: None, entries: Vec::new() }
    }
}

impl Host {
    /// A machine without data.
    pub(super) fn new(number: usize, disk: SimDisk, clock: Clock, plan: &Plan) -> Host {
        Host {
            number,
            disk,
            clock,
            process: Process::Down,
            life: 0,
            may_bootstrap: number == 0,
            is_retired: false,
            stalled_until_us: 0,
            wakes_by_timer: false,
            hung_until_us: 0,
            timer_at_us: u64::MAX,
            is_turn_planned: false,
            lied: None,
            asked: BTreeSet::new(),
            identity: None,
            identities: 0,
            moves: 0,
            prng: Prng::new(plan.seed ^ (0x686f_7374 + ((number as u64) << 40))),
        }
    }

    /// Its label, which survives the loss of its disk.
    pub(super) fn name(&self) -> String {
        format!("n{}", self.number + 1)
    }

    /// Where it is reached now. Every other machine has an address of version 6.
    pub(super) fn addr(&self) -> SocketAddr {
        let at = self.number as u8 + 1;
        if self.number.is_multiple_of(2) {
            ([10, 0, self.moves, at], 8401).into()
        } else {
            ([0xfd00, 0, 0, 0, 0, 0, self.moves.into(), at.into()], 8401).into()
        }
    }

    /// What it tells its peers to dial. Every other move gives it another name as well.
    fn peer_addr(&self) -> String {
        format!("{}.v{}:8401", self.name(), self.moves / 2)
    }

    /// The host number of an address, if it was ever one's.
    pub(super) fn number_at(addr: SocketAddr) -> Option<usize> {
        let at = match addr {
            SocketAddr::V4(addr) => addr.ip().octets()[3].into(),
            SocketAddr::V6(addr) => addr.ip().segments()[7],
        };
        usize::from(at).checked_sub(1)
    }

    /// It comes back elsewhere.
    pub(super) fn move_away(&mut self) {
        self.moves = self.moves.wrapping_add(1);
    }

    /// Its process, where one runs.
    pub(super) fn server(&self) -> Option<&Server> {
        match &self.process {
            Process::Running(server) => Some(server),
            Process::Down | Process::Starting(_) => None,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.process, Process::Down)
    }

    /// Ends its process, whatever it was doing.
    pub(super) fn end(&mut self) {
        self.process = Process::Down;
        self.life += 1;
        self.is_turn_planned = false;
        self.timer_at_us = u64::MAX;
    }

    /// Takes its volume away and gives it an empty one.
    pub(super) fn wipe(&mut self) {
        assert!(self.is_down(), "a volume is taken from a machine that is down");
        self.disk.wipe();
        self.identity = None;
        self.lied = None;
    }

    /// Starts a process: reads the disk, or gives it an identity.
    ///
    /// # Errors
    /// When the disk cannot be used; the process ends with that error.
    pub(super) fn start(&mut self, plan: &Plan) -> Result<(), RecoveryError> {
        assert!(self.is_down(), "one process at a time");
        self.life += 1;
        let segment_bytes = plan.segment_bytes;
        let recovered = Storage::recover(&self.disk.view(), segment_bytes)?;
        let start = match recovered {
            Some(recovered) if recovered.identity.cluster.is_some() => Start {
                ops: recovered.repairs.into(),
                storage: recovered.storage,
                found: Found {
                    identity: recovered.identity,
                    hard_state: recovered.hard_state,
                    snapshot: recovered.snapshot,
                    entries: recovered.entries,
                },
            },
            // A crash between the first entry of a cluster and its id: nobody knows of that cluster.
            Some(recovered) => Start {
                ops: recovered.repairs.into(),
                storage: recovered.storage,
                found: Found::nothing(recovered.identity),
            },
            None => self.start_anew(segment_bytes),
        };
        self.identity = Some(start.found.identity.node);
        self.process = Process::Starting(Box::new(start));
        Ok(())
    }

    fn start_anew(&mut self, segment_bytes: u64) -> Start {
        self.identities += 1;
        // Ids whose order says nothing about their hosts.
        let node = NodeId(
            (self.prng.next_u64() >> 40 << 16) | (self.number as u64 + 1) << 8 | self.identities,
        );
        let identity = Identity { node, cluster: None };
        let (storage, ops) = Storage::create(identity, segment_bytes);
        Start { ops: ops.into(), storage, found: Found::nothing(identity) }
    }

    /// The repairs are durable: loads the snapshot and begins to run.
    ///
    /// # Errors
    /// When the snapshot is damaged.
    pub(super) fn run(&mut self, plan: &Plan, now_us: u64) -> Result<(), RecoveryError> {
        let Process::Starting(start) = std::mem::replace(&mut self.process, Process::Down) else {
            panic!("only what is starting begins to run");
        };
        let Start { storage, found, .. } = *start;
        let mut map = Map::new();
        if let Some(meta) = &found.snapshot {
            let file = FileName::Snapshot(meta.index);
            server::load(&self.disk.view(), file, |item| map.restore(&item))?;
        }
        let id = found.identity.node;
        let config = self.config(found.identity, plan, now_us);
        let recovered = raft::Recovered {
            hard_state: found.hard_state,
            snapshot: found.snapshot.unwrap_or_default(),
            entries: found.entries,
        };
        let now_ms = self.clock.steady_ms(now_us);
        let node = Node::new(config, node::Recovered { raft: recovered }, now_ms);
        self.process = Process::Running(Box::new(Server::new(id, node, storage, map)));
        Ok(())
    }

    fn config(&mut self, identity: Identity, plan: &Plan, now_us: u64) -> node::Config {
        let name = self.name();
        let bootstrap = match plan.founding {
            Founding::One if self.may_bootstrap => node::Bootstrap::Alone,
            Founding::One => node::Bootstrap::Never,
            Founding::Together => node::Bootstrap::Together(plan.servers),
        };
        let member = gossip::Identity {
            id: identity.node,
            cluster: identity.cluster,
            addr: self.addr(),
            peer_addr: self.peer_addr(),
            rpc_addr: format!("{name}:8400"),
            incarnation: self.clock.wall_ms(now_us),
            name,
        };
        node::Config {
            raft: raft::Config {
                max_append_bytes: plan.append_bytes,
                max_inflight_appends: plan.appends,
                ..raft::Config::lan(identity.node, self.prng.next_u64())
            },
            gossip: gossip::Config::lan(member, self.prng.next_u64()),
            bootstrap,
            fresh_cluster: ClusterId(self.prng.next_u64().max(1)),
            snapshots: node::SnapshotPolicy {
                min_log_bytes: plan.snapshot_log_bytes,
                max_log_bytes: plan.snapshot_log_bytes * 8,
                stagger_bytes: plan.snapshot_log_bytes,
                retained_bytes: plan.retained_log_bytes,
            },
            membership: node::MembershipPolicy {
                dead_after_ms: plan.dead_after_ms,
                min_voters: MIN_VOTERS,
            },
        }
    }
}
