//! Partitions of the network, in the shapes that broke other stores.
//!
//! ```text
//!   halves     1 2 | 3 4 5        bridge   1 2 = 3 = 4 5     3 sees all, the sides see only 3
//!   alone      1 | 2 3 4 5        ring     1 - 2 - 3 - 4 - 5 - 1
//! ```

use super::{LASTING_US, Nemesis, Sequel};
use crate::sim::network::Path;
use crate::sim::world::World;

/// A partition that flaps does so at most this many times.
const MAX_FLAPS: u64 = 8;
/// One of its phases lasts this long, at most, in µs.
const FLAP_US: u64 = 700_000;

impl Nemesis {
    pub(super) fn partition(&mut self, victim: usize, world: &mut World) {
        let paths = self.shape(victim, world);
        self.cut(paths, world);
    }

    /// Some machines hear others that don't hear them.
    pub(super) fn cut_one_way(&mut self, world: &mut World) {
        let hosts = world.hosts.len();
        let one_in = 2 + self.prng.below(6);
        let paths: Vec<Path> = all_paths(hosts).filter(|_| self.prng.below(one_in) == 0).collect();
        self.cut(paths, world);
    }

    /// A partition comes and goes.
    pub(super) fn flap(&mut self, victim: usize, world: &mut World) {
        let paths = self.shape(victim, world);
        let mut at_us = world.now_us;
        for _ in 0..1 + self.prng.below(MAX_FLAPS) {
            self.sequels.entry(at_us).or_default().push(Sequel::CutAgain(paths.clone()));
            at_us += 1 + self.prng.below(FLAP_US);
            self.sequels.entry(at_us).or_default().push(Sequel::Mend(paths.clone()));
            at_us += 1 + self.prng.below(FLAP_US);
        }
    }

    fn cut(&mut self, paths: Vec<Path>, world: &mut World) {
        paths.iter().for_each(|path| world.network.block(*path));
        self.later(LASTING_US, Sequel::Mend(paths), world);
    }

    fn shape(&mut self, victim: usize, world: &World) -> Vec<Path> {
        let hosts = world.hosts.len();
        let mut order: Vec<usize> = (0..hosts).collect();
        self.prng.shuffle(&mut order);
        // Who stands first may end up alone.
        order.retain(|at| *at != victim);
        order.insert(0, victim);
        let place = |host: usize| order.iter().position(|at| *at == host).expect("each has one");
        let middle = 1 + self.prng.below(hosts as u64 - 1) as usize;
        let shape = self.prng.below(4);
        let is_cut = |(from, to): &Path| {
            let (a, b) = (place(*from), place(*to));
            match shape {
                0 => (a < middle) != (b < middle),
                1 => a == 0 || b == 0,
                2 => a != middle && b != middle && (a < middle) != (b < middle),
                _ => !(a.abs_diff(b) == 1 || a.abs_diff(b) == hosts - 1),
            }
        };
        all_paths(hosts).filter(is_cut).collect()
    }
}

fn all_paths(hosts: usize) -> impl Iterator<Item = Path> {
    (0..hosts).flat_map(move |from| (0..hosts).map(move |to| (from, to))).filter(|(a, b)| a != b)
}
