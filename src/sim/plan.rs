//! What one seed does: how many servers, which faults, which requests (swarm testing).
//!
//! A run in which everything goes wrong at once explores less than many runs in which different
//! things do (Groce et al., "Swarm Testing", ISSTA 2012): a fault may hide what another would show.
//! So each seed enables a random subset of faults and of operations, and draws its own sizes and
//! times. A plan is plain data: a failing one is shrunk by taking things out of it.

use std::collections::BTreeSet;
use std::fmt;

use crate::prng::Prng;

/// The most machines a run has, those that join later included.
pub const MAX_HOSTS: usize = 9;
const MIN_SERVERS: u64 = 3;
const MAX_SERVERS: u64 = 7;
/// Where the dead are removed, they are after this time, in ms: most come back later than that.
const DEAD_AFTER_MS: u64 = 3_000;
/// The dead are not removed from among so few voters.
pub(super) const MIN_VOTERS: usize = 3;

/// Something that may go wrong, or that an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process is killed; what it wrote stays visible.
    Kill,
    /// A machine loses power: any unsynced sector may be lost.
    PowerLoss,
    /// All machines lose power at once.
    Blackout,
    /// A process stands still for a while, and its clock jumps.
    Pause,
    /// The network splits: halves, one alone, a ring, a bridge.
    Partition,
    /// Some paths work one way only.
    OneWay,
    /// A partition comes and goes quickly.
    Flapping,
    /// Datagrams and messages are lost.
    Loss,
    /// Datagrams and consensus messages come twice.
    Duplication,
    /// Consensus messages overtake each other.
    Reordering,
    /// Bytes change on their way.
    Corruption,
    /// A disk takes many times as long.
    SlowDisk,
    /// A disk answers nothing for a while, while the network goes on.
    HungDisk,
    /// A write or sync fails.
    WriteError,
    /// A read fails.
    ReadError,
    /// A write is done in part.
    ShortWrite,
    /// A disk has no room.
    FullDisk,
    /// Bits on a disk change.
    BitRot,
    /// A write that the disk confirmed was never done.
    LostWrite,
    /// A write that the disk confirmed was done elsewhere.
    MisdirectedWrite,
    /// A machine loses its volume.
    Wipe,
    /// Wall clocks differ, and are set anew.
    Skew,
    /// Clocks run at different speeds.
    Drift,
    /// A new server joins.
    Join,
    /// A server leaves for good.
    Leave,
    /// Leadership is handed over on request.
    Transfer,
    /// A server is stopped and started as a rollout does.
    Restart,
    /// A server comes back with another address.
    Move,
}

/// What clients may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// Give a key a value.
    Set,
    /// Take a key away.
    Delete,
    /// Read a key.
    Get,
    /// Read all keys.
    List,
    /// Read a key of the server asked, however old.
    StaleGet,
}

/// Who makes the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Founding {
    /// The first server, alone.
    One,
    /// All servers of the start, which expect each other; those that come later are told the same.
    Together,
}

/// Everything that a seed decides before a run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the plan came from; it also decides all that happens within the plan.
    pub seed: u64,
    /// Servers at the start, 3 to 7.
    pub servers: usize,
    /// How long faults go on, in ms of simulated time.
    pub duration_ms: u64,
    /// What may go wrong.
    pub faults: BTreeSet<Fault>,
    /// The mean time between two faults, in ms.
    pub fault_interval_ms: u64,
    /// What clients do.
    pub requests: BTreeSet<Request>,
    /// Clients that ask at the same time.
    pub clients: usize,
    /// The most requests of all clients together.
    pub max_requests: usize,
    /// Different keys.
    pub keys: u16,
    /// The most bytes of a value.
    pub value_bytes: usize,
    /// A message takes this long, from and to, in µs.
    pub latency_us: (u64, u64),
    /// A snapshot is taken after this much log.
    pub snapshot_log_bytes: u64,
    /// How much log is kept behind a snapshot.
    pub retained_log_bytes: u64,
    /// The size of a segment of the log.
    pub segment_bytes: u64,
    /// The size of the parts in which a snapshot is sent, in bytes.
    pub chunk_bytes: usize,
    /// The most bytes of entries in one append; one entry always fits.
    pub append_bytes: usize,
    /// The most appends on their way to a follower.
    pub appends: usize,
    /// Who makes the cluster.
    pub founding: Founding,
    /// The dead are removed after this time, in ms; 0: never.
    pub dead_after_ms: u64,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 28] = [
        Fault::Kill,
        Fault::PowerLoss,
        Fault::Blackout,
        Fault::Pause,
        Fault::Partition,
        Fault::OneWay,
        Fault::Flapping,
        Fault::Loss,
        Fault::Duplication,
        Fault::Reordering,
        Fault::Corruption,
        Fault::SlowDisk,
        Fault::HungDisk,
        Fault::WriteError,
        Fault::ReadError,
        Fault::ShortWrite,
        Fault::FullDisk,
        Fault::BitRot,
        Fault::LostWrite,
        Fault::MisdirectedWrite,
        Fault::Wipe,
        Fault::Skew,
        Fault::Drift,
        Fault::Join,
        Fault::Leave,
        Fault::Transfer,
        Fault::Restart,
        Fault::Move,
    ];
}

impl Fault {
    /// Whether it is there all the time, and not struck now and then.
    #[must_use]
    pub fn is_constant(self) -> bool {
        match self {
            Fault::Loss
            | Fault::Duplication
            | Fault::Reordering
            | Fault::Corruption
            | Fault::WriteError
            | Fault::ReadError
            | Fault::ShortWrite
            | Fault::Drift => true,
            Fault::Kill
            | Fault::PowerLoss
            | Fault::Blackout
            | Fault::Pause
            | Fault::Partition
            | Fault::OneWay
            | Fault::Flapping
            | Fault::SlowDisk
            | Fault::HungDisk
            | Fault::FullDisk
            | Fault::BitRot
            | Fault::LostWrite
            | Fault::MisdirectedWrite
            | Fault::Wipe
            | Fault::Skew
            | Fault::Join
            | Fault::Leave
            | Fault::Transfer
            | Fault::Restart
            | Fault::Move => false,
        }
    }
}

impl Request {
    /// Every request.
    pub const ALL: [Request; 5] =
        [Request::Set, Request::Delete, Request::Get, Request::List, Request::StaleGet];
}

impl Plan {
    /// The plan of `seed`.
    #[must_use]
    pub fn draw(seed: u64, duration_ms: u64) -> Plan {
        let mut prng = Prng::new(seed ^ 0x706c_616e);
        let servers = MIN_SERVERS + prng.below(MAX_SERVERS - MIN_SERVERS + 1);
        // Small clusters are what people run, and where a majority is lost soonest.
        let servers = servers.min(MIN_SERVERS + prng.below(MAX_SERVERS - MIN_SERVERS + 1));
        let share = 1 + prng.below(3);
        let faults = subset(&Fault::ALL, share, &mut prng);
        let mut requests = subset(&Request::ALL, 3, &mut prng);
        requests.extend([Request::Set, Request::Get]);
        let base_us = 50 << prng.below(6);
        let log_bytes = (1 << 10) << prng.below(8);
        Plan {
            seed,
            servers: servers as usize,
            duration_ms,
            faults,
            fault_interval_ms: 1_000 << prng.below(5),
            requests,
            clients: 2 + prng.below(9) as usize,
            max_requests: 500 + prng.below(1_500) as usize,
            keys: 1 + prng.below(8) as u16,
            value_bytes: 8 << prng.below(8),
            latency_us: (base_us, base_us * (1 + prng.below(20))),
            snapshot_log_bytes: log_bytes,
            retained_log_bytes: log_bytes >> prng.below(4),
            segment_bytes: (32 << 10) << prng.below(4),
            chunk_bytes: (4 << 10) << prng.below(5),
            append_bytes: 1 << (22 * prng.below(3) / 2),
            appends: 1 << (4 * prng.below(3)),
            founding: if prng.below(2) == 0 { Founding::One } else { Founding::Together },
            dead_after_ms: DEAD_AFTER_MS * prng.below(2),
        }
    }

    /// The dead are not removed from among so few voters; `None` where they never are.
    #[must_use]
    pub fn spares(&self) -> Option<usize> {
        (self.dead_after_ms > 0).then_some(MIN_VOTERS)
    }

    /// Whether `fault` may happen.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

/// Each of `all` with a chance of `quarters` out of four.
fn subset<T: Copy + Ord>(all: &[T], quarters: u64, prng: &mut Prng) -> BTreeSet<T> {
    all.iter().copied().filter(|_| prng.below(4) < quarters).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(|fault| format!("{fault:?}")).collect();
        let requests: Vec<String> = self.requests.iter().map(|kind| format!("{kind:?}")).collect();
        writeln!(
            f,
            "seed {}: {} servers for {} s, {} clients, {} keys, at most {} requests: {}",
            self.seed,
            self.servers,
            self.duration_ms / 1_000,
            self.clients,
            self.keys,
            self.max_requests,
            requests.join(" ")
        )?;
        let dead_after_ms = self.dead_after_ms;
        writeln!(
            f,
            "founded by {:?}; who is dead for {dead_after_ms} ms is removed",
            self.founding
        )?;
        write!(f, "a fault every {} ms: {}", self.fault_interval_ms, faults.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_and_together_they_try_everything() {
        let plans: Vec<Plan> = (0..200).map(|seed| Plan::draw(seed, 60_000)).collect();
        for fault in Fault::ALL {
            let with = plans.iter().filter(|plan| plan.has(fault)).count();
            assert!((50..150).contains(&with), "{fault:?} is in {with} of 200 plans");
        }
        for servers in 3..=7 {
            assert!(plans.iter().any(|plan| plan.servers == servers), "{servers} servers");
        }
        assert_eq!(plans[7], Plan::draw(7, 60_000));
    }

    #[test]
    fn faults_are_counted_by_their_place_in_the_list() {
        assert!((0..).zip(Fault::ALL).all(|(place, fault)| fault as usize == place));
    }
}
