//! What goes wrong, and what operators do: one thing after another, at random, and much of it undone
//! after a while.

mod cuts;
mod disks;

use std::collections::BTreeMap;

use super::plan::{Fault, Plan};
use super::server::Input;
use super::world::World;
use crate::prng::Prng;

/// The fewest machines that stay members.
const MIN_MEMBERS: usize = 3;
/// How long a machine that went down by a fault stays down, at most, in µs.
const DOWN_US: u64 = 10_000_000;
/// How long faults that end by themselves last, at most, in µs.
const LASTING_US: u64 = 8_000_000;
/// How long a process may stand still, at most, in µs.
const PAUSE_US: u64 = 3_000_000;
/// After a bootstrapping machine has lost its disk, nothing else is done for so long, in µs: its
/// operator replaces a volume while the cluster can be reached.
const QUIET_US: u64 = 8_000_000;

/// The source of trouble.
#[derive(Debug)]
pub(super) struct Nemesis {
    prng: Prng,
    /// What it may do.
    faults: Vec<Fault>,
    interval_us: u64,
    /// When it acts next.
    next_us: u64,
    /// What is still to come of what it did, by time.
    sequels: BTreeMap<u64, Vec<Sequel>>,
}

/// What comes of a fault later.
#[derive(Clone, Debug)]
enum Sequel {
    /// Paths open again.
    Mend(Vec<(usize, usize)>),
    /// Paths close again: a partition that flaps.
    CutAgain(Vec<(usize, usize)>),
    /// A disk is as fast as before.
    SpeedUp(usize),
    /// A disk has room again.
    Empty(usize),
    /// Clients ask in the midst of it, and many ask this machine.
    Burst(usize),
}

impl Nemesis {
    pub(super) fn new(plan: &Plan, now_us: u64) -> Nemesis {
        Nemesis {
            prng: Prng::new(plan.seed ^ 0x6e65_6d65),
            faults: plan.faults.iter().copied().filter(|fault| !fault.is_constant()).collect(),
            interval_us: plan.fault_interval_ms * 1_000,
            next_us: now_us + plan.fault_interval_ms * 1_000,
            sequels: BTreeMap::new(),
        }
    }

    /// When it wants to act next.
    pub(super) fn next_us(&self) -> u64 {
        let first = self.sequels.first_key_value();
        first.map_or(self.next_us, |(at_us, _)| self.next_us.min(*at_us))
    }

    /// Its time has come.
    pub(super) fn act(&mut self, world: &mut World) {
        while let Some(entry) = self.sequels.first_entry()
            && *entry.key() <= world.now_us
        {
            entry.remove().into_iter().for_each(|sequel| sequel.come(world));
        }
        if world.now_us < self.next_us {
            return;
        }
        self.next_us = world.now_us + 1 + self.prng.below(2 * self.interval_us);
        if self.faults.is_empty() {
            return;
        }
        world.note_replaced();
        let fault = self.faults[self.prng.below(self.faults.len() as u64) as usize];
        world.tally.faults[fault as usize] += 1;
        world.say(|| format!("--- {fault:?}"));
        let host = self.victim(world);
        self.strike(fault, host, world);
        if self.prng.below(2) == 0 {
            world.burst(host);
        }
        if self.prng.below(2) == 0 {
            self.later(PAUSE_US, Sequel::Burst(host), world);
        }
    }

    fn strike(&mut self, fault: Fault, host: usize, world: &mut World) {
        match fault {
            Fault::Kill => self.bring_down(host, world, World::kill),
            Fault::PowerLoss => self.bring_down(host, world, World::lose_power),
            Fault::Blackout => {
                (0..world.hosts.len()).for_each(|at| self.bring_down(at, world, World::lose_power));
            }
            Fault::Pause => {
                world.hosts[host].stalled_until_us = world.now_us + self.prng.below(PAUSE_US);
            }
            Fault::Partition => self.partition(host, world),
            Fault::OneWay => self.cut_one_way(world),
            Fault::Flapping => self.flap(host, world),
            Fault::SlowDisk => self.slow_down(host, world),
            Fault::HungDisk => self.hang(host, world),
            Fault::FullDisk => self.fill(host, world),
            Fault::BitRot | Fault::LostWrite | Fault::MisdirectedWrite => {
                self.lie(fault, host, world);
            }
            Fault::Wipe => self.take_volume(host, world),
            Fault::Skew => world.hosts[host].clock.set_wall(&mut self.prng),
            Fault::Join => self.join(host, world),
            Fault::Leave => self.leave(host, world),
            Fault::Transfer => {
                (0..world.hosts.len()).for_each(|at| world.tell(at, Input::Transfer));
            }
            Fault::Restart => {
                world.stop(host);
                world.start_in(host, LASTING_US + self.prng.below(DOWN_US));
            }
            Fault::Move => {
                self.bring_down(host, world, World::kill);
                world.hosts[host].move_away();
            }
            Fault::Loss
            | Fault::Duplication
            | Fault::Reordering
            | Fault::Corruption
            | Fault::WriteError
            | Fault::ReadError
            | Fault::ShortWrite
            | Fault::Drift => unreachable!("{fault:?} is there all the time"),
        }
    }

    /// Any machine, or the one that leads: most of what can go wrong goes wrong around a leader.
    fn victim(&mut self, world: &World) -> usize {
        let any = self.prng.below(world.hosts.len() as u64) as usize;
        let is_leader_meant = self.prng.below(2) == 0;
        world.leader().filter(|_| is_leader_meant).unwrap_or(any)
    }

    /// Ends what runs on a machine, in one way or another, and starts it again later.
    fn bring_down(&mut self, host: usize, world: &mut World, how: fn(&mut World, usize)) {
        if world.hosts[host].is_retired {
            return;
        }
        world.tally.deaths += 1;
        how(world, host);
        self.start_later(host, DOWN_US, world);
    }

    /// Starts a machine's process in a while. A process manager is quick, a person is not.
    fn start_later(&mut self, host: usize, most_us: u64, world: &mut World) {
        let most_us = if self.prng.below(2) == 0 { most_us } else { DOWN_US / 50 };
        world.start_in(host, self.prng.below(most_us));
    }

    fn join(&mut self, host: usize, world: &mut World) {
        if world.hosts[host].is_retired {
            // A machine that left comes back: what it had is set aside.
            world.wipe(host);
            world.hosts[host].is_retired = false;
            world.start_in(host, 0);
        } else {
            world.add_host();
        }
    }

    fn leave(&mut self, host: usize, world: &mut World) {
        let members = world.hosts.iter().filter(|host| !host.is_retired).count();
        let Some(id) = world.hosts[host].server().map(|server| server.id) else { return };
        // Who is about to go counts as gone: others may be lost before the change is through.
        if members > MIN_MEMBERS && world.may_damage(host) {
            world.atlas.damaged(id);
            world.watch.may_go(id);
            world.tell(host, Input::Leave);
        }
    }

    /// A machine loses its volume, if enough good copies stay.
    fn take_volume(&mut self, host: usize, world: &mut World) {
        if !world.may_damage(host) {
            return;
        }
        world.kill(host);
        world.wipe(host);
        if host == 0 && world.can_hear_of_cluster(host) {
            self.end_all(world);
            self.next_us = world.now_us + QUIET_US;
            world.hosts[host].may_bootstrap = true;
        }
        self.start_later(host, DOWN_US / 5, world);
    }

    /// Ends everything that ends by itself.
    pub(super) fn end_all(&mut self, world: &mut World) {
        for sequel in std::mem::take(&mut self.sequels).into_values().flatten() {
            sequel.come(world);
        }
        world.network.heal();
    }

    /// Something comes of what it just did, after this long at most.
    fn later(&mut self, most_us: u64, sequel: Sequel, world: &World) {
        let at_us = world.now_us + 1 + self.prng.below(most_us);
        self.sequels.entry(at_us).or_default().push(sequel);
    }
}

impl Sequel {
    fn come(self, world: &mut World) {
        match self {
            Sequel::Mend(paths) => paths.into_iter().for_each(|path| world.network.unblock(path)),
            Sequel::CutAgain(paths) => paths.into_iter().for_each(|path| world.network.block(path)),
            Sequel::SpeedUp(host) => world.hosts[host].disk.set_slow(1),
            Sequel::Empty(host) => world.hosts[host].disk.set_full(false),
            Sequel::Burst(host) => world.burst(host),
        }
    }
}
