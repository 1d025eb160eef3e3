//! Random histories: everything that may go wrong does, and then it stops and all must be well.
//!
//! A seed decides the whole history. `RAFT_SEEDS=from..to` runs others than the usual ones.

use super::cluster::{Cluster, batch, configuration, default_config};
use crate::prng::Prng;
use crate::raft::{Config, Raft, RoleName};
use crate::types::{Index, NodeId};

/// The actions of a history before it heals.
const ACTIONS: usize = 800;
/// The rounds of ticks and deliveries in which a healed cluster must recover.
const RECOVERY_ROUNDS: usize = 300;
const MAX_SERVERS: u64 = 5;

#[test]
fn random_histories_are_safe_and_recover() {
    let (first, last) = match std::env::var("RAFT_SEEDS") {
        Ok(range) => {
            let (first, last) = range.split_once("..").expect("RAFT_SEEDS is from..to");
            (first.parse().expect("a number"), last.parse().expect("a number"))
        }
        Err(_) => (0, 200),
    };
    for seed in first..last {
        let outcome = std::panic::catch_unwind(|| History::new(seed).run());
        if let Err(panic) = outcome {
            eprintln!("the history of seed {seed} went wrong");
            std::panic::resume_unwind(panic);
        }
    }
}

struct History {
    prng: Prng,
    cluster: Cluster,
    /// They are numbered from 1; some may start outside the cluster, and join.
    servers: u64,
    /// How many of a hundred actions are disturbances: some histories are calm and get far.
    trouble_percent: u64,
    /// The number of the latest read.
    contexts: u64,
}

impl History {
    fn new(seed: u64) -> History {
        let mut prng = Prng::new(seed);
        let config = Config {
            max_inflight_appends: 1 + prng.below(4) as usize,
            max_append_bytes: 40 + prng.below(200) as usize,
            max_inflight_bytes: 100 + prng.below(1000) as usize,
            ..default_config()
        };
        let mut cluster = Cluster::new(config, seed);
        let servers = 3 + prng.below(MAX_SERVERS - 2);
        let voters: Vec<u64> = (1..=1 + prng.below(servers)).collect();
        for id in 1..=servers {
            let initial = if voters.contains(&id) {
                configuration(&voters, &[])
            } else {
                configuration(&[], &[])
            };
            cluster.add(NodeId(id), initial, &[], 0);
        }
        History { servers, trouble_percent: prng.below(15), prng, cluster, contexts: 0 }
    }

    fn run(mut self) {
        for _ in 0..ACTIONS {
            self.act();
            self.cluster.trace.clear();
        }
        self.heal();
    }

    fn act(&mut self) {
        if self.prng.below(100) < self.trouble_percent {
            self.disturb();
        } else {
            self.work();
        }
    }

    /// What goes on in every cluster.
    fn work(&mut self) {
        let id = NodeId(1 + self.prng.below(self.servers));
        match self.prng.below(100) {
            0..60 => {
                for _ in 0..self.prng.below(10) {
                    self.deliver();
                }
            }
            60..70 => self.pass_time(),
            70..81 => {
                let bytes = self.prng.below(60) as usize;
                self.cluster.with(self.leader_or(id), |raft, _| raft.propose(batch(bytes)));
            }
            81..89 => self.read(id),
            89..96 => {
                let count = 1 + self.prng.below(3) as usize;
                self.cluster.persist(id, count);
            }
            96..98 => self.change_members(id),
            _ => {
                let kept = self.prng.below(4);
                self.cluster.compact(id, kept);
            }
        }
    }

    /// What goes wrong.
    fn disturb(&mut self) {
        let id = NodeId(1 + self.prng.below(self.servers));
        let leader = self.leader_or(id);
        match self.prng.below(10) {
            0..2 => self.toggle_disk(id),
            2..4 => self.crash_or_start(id),
            4..6 => self.toggle_partition(id),
            6 => self.cluster.break_link(leader, id),
            7 => {
                self.cluster.with(leader, |raft, now_ms| raft.transfer_leadership(None, now_ms));
            }
            8 => self.cluster.damage_next_snapshot(id),
            _ => self.cluster.network.clear(),
        }
    }

    /// Delivers a message from anywhere in the queue; it may be lost or stay for a second delivery.
    fn deliver(&mut self) {
        let waiting = self.cluster.network.len() as u64;
        if waiting == 0 {
            return;
        }
        let place = if self.prng.below(8) == 0 { self.prng.below(waiting) } else { 0 } as usize;
        let fate = self.prng.below(40);
        let envelope = if fate == 0 {
            self.cluster.network.get(place).cloned()
        } else {
            self.cluster.network.remove(place)
        };
        if let Some(envelope) = envelope
            && fate != 1
        {
            self.cluster.deliver(envelope);
        }
    }

    fn pass_time(&mut self) {
        let stall_ms = if self.prng.below(40) == 0 { 500 } else { 16 };
        self.cluster.now_ms += self.prng.below(stall_ms);
        for id in 1..=self.servers {
            if self.prng.below(5) > 0 {
                self.cluster.tick(NodeId(id));
            }
        }
    }

    fn read(&mut self, id: NodeId) {
        self.contexts += 1;
        self.cluster.read(id, self.contexts);
    }

    /// Holds a disk, up to two at once; then releases them.
    fn toggle_disk(&mut self, id: NodeId) {
        let held: Vec<NodeId> = self.cluster.held_disks().collect();
        if held.len() < 2 {
            self.cluster.hold_disk(id);
        } else {
            held.into_iter().for_each(|id| self.cluster.release_disk(id));
        }
    }

    fn crash_or_start(&mut self, id: NodeId) {
        let down = self.cluster.servers.keys().copied().find(|&id| self.cluster.raft(id).is_none());
        if let Some(id) = down {
            self.cluster.start(id);
        } else {
            let kept = self.prng.below(4) as usize;
            let torn = self.prng.below(3) as usize;
            self.cluster.crash(id, kept, torn);
        }
    }

    fn toggle_partition(&mut self, id: NodeId) {
        if self.cluster.isolated.is_empty() {
            self.cluster.isolated.insert(id);
            self.cluster.isolated.insert(NodeId(1 + self.prng.below(self.servers)));
        } else {
            self.cluster.isolated.clear();
        }
    }

    fn change_members(&mut self, id: NodeId) {
        let (mut voters, mut learners) = (Vec::new(), Vec::new());
        for id in 1..=self.servers {
            match self.prng.below(5) {
                0..3 => voters.push(id),
                3 => learners.push(id),
                _ => {}
            }
        }
        let target = configuration(&voters, &learners);
        self.cluster.with(self.leader_or(id), |raft, _| raft.propose_configuration(target));
    }

    fn leader_or(&self, other: NodeId) -> NodeId {
        let mut ids = self.cluster.servers.keys().copied();
        ids.find(|&id| self.role(id) == Some(RoleName::Leader)).unwrap_or(other)
    }

    fn role(&self, id: NodeId) -> Option<RoleName> {
        Some(self.cluster.raft(id)?.status().role)
    }

    /// Nothing fails any more: a leader must be found, and everything it proposes must commit.
    fn heal(&mut self) {
        self.cluster.isolated.clear();
        for id in 1..=self.servers {
            let server = self.cluster.servers.get_mut(&NodeId(id)).expect("a known server");
            server.is_snapshot_damaged = false;
            if server.raft.is_none() {
                self.cluster.start(NodeId(id));
            }
            self.cluster.release_disk(NodeId(id));
        }
        let mut proposed = None;
        for _ in 0..RECOVERY_ROUNDS {
            self.cluster.now_ms += 5;
            for id in 1..=self.servers {
                self.cluster.tick(NodeId(id));
            }
            for _ in 0..self.cluster.network.len() {
                let envelope = self.cluster.network.pop_front().expect("it was counted");
                self.cluster.deliver(envelope);
            }
            self.cluster.trace.clear();
            if let Some(index) = proposed
                && self.has_recovered(index)
            {
                return;
            }
            let leader = self.leader_or(NodeId(1));
            if proposed.is_none_or(|index: Index| self.is_behind(leader, index)) {
                proposed = self
                    .cluster
                    .with(leader, |raft, _| raft.propose(batch(1)))
                    .and_then(Result::ok);
            }
        }
        for (id, server) in &self.cluster.servers {
            let status = server.raft.as_ref().map(Raft::status);
            eprintln!("{} has applied {} and says {status:?}", id.0, server.state.applied);
        }
        panic!("the cluster has not recovered; entry {proposed:?}");
    }

    /// Whether the leader's log does not reach a proposal: it was lost with an earlier leader.
    fn is_behind(&self, leader: NodeId, index: Index) -> bool {
        self.cluster.raft(leader).is_some_and(|raft| raft.status().last_index < index)
    }

    /// Whether every member has applied the proposal and no change is under way.
    fn has_recovered(&self, index: Index) -> bool {
        let leader = self.leader_or(NodeId(1));
        let Some(raft) = self.cluster.raft(leader) else { return false };
        let status = raft.status();
        let mut members = status.configuration.members.keys();
        status.role == RoleName::Leader
            && !status.has_pending_change
            && members.all(|id| self.cluster.servers[id].state.applied >= index)
    }
}
