//! Disks that are slow, hang, are full or lie, and machines that lose them.

use super::{LASTING_US, Nemesis, Sequel};
use crate::sim::disk::{Answer, Lie};
use crate::sim::plan::Fault;
use crate::sim::world::World;

/// A slow disk takes up to this many times as long.
const MAX_SLOW_FACTOR: u64 = 400;
/// A disk hangs for this long at most, in µs: longer than a leader may go on without it.
const HANG_US: u64 = 4_000_000;

impl Nemesis {
    pub(super) fn slow_down(&mut self, host: usize, world: &mut World) {
        world.hosts[host].disk.set_slow(2 + self.prng.below(MAX_SLOW_FACTOR));
        self.later(LASTING_US, Sequel::SpeedUp(host), world);
    }

    pub(super) fn hang(&mut self, host: usize, world: &mut World) {
        world.hosts[host].hung_until_us = world.now_us + self.prng.below(HANG_US);
    }

    pub(super) fn fill(&mut self, host: usize, world: &mut World) {
        world.hosts[host].disk.set_full(true);
        self.later(LASTING_US, Sequel::Empty(host), world);
    }

    /// A machine goes down, and what its disk holds changes meanwhile.
    pub(super) fn lie(&mut self, fault: Fault, host: usize, world: &mut World) {
        if world.hosts[host].is_retired || !world.may_damage(host) {
            return;
        }
        world.kill(host);
        let kinds: &[Lie] = match fault {
            Fault::LostWrite => &[Lie::LostWrite, Lie::LostFile],
            Fault::MisdirectedWrite => &[Lie::MisdirectedWrite],
            _ => &[Lie::BitRot],
        };
        let kind = kinds[self.prng.below(kinds.len() as u64) as usize];
        if let Some(told) = world.hosts[host].disk.lie(kind) {
            world.say(|| format!("n{}: {told:?}", host + 1));
            world.is_damaged(host, told.answer != Answer::Repair);
            world.hosts[host].lied = Some(told.answer);
        }
        world.start_in(host, self.prng.below(super::DOWN_US / 5));
    }
}
