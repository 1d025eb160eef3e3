//! Seeded runs of whole clusters in bad weather.

use crate::types::NodeId;

use super::config::Config;
use super::testing::{Net, addr, identity, state_at};
use super::{Gossip, State};

fn cluster(seed: u64, size: u64) -> Net {
    let mut net = Net::new(seed);
    for id in 1..=size {
        net.start(Config::lan(identity(id), seed * 100 + id));
        if id > 1 {
            join(&mut net, id);
        }
    }
    net
}

fn join(net: &mut Net, id: u64) {
    net.call(NodeId(id), |gossip: &mut Gossip, now_ms| gossip.join(&[addr(1)], now_ms));
}

fn all_see(net: &Net, id: NodeId, state: State) -> bool {
    net.ids().iter().filter(|at| **at != id).all(|at| state_at(net, *at, id) == Some(state))
}

#[test]
fn all_members_come_to_know_each_other_though_a_fifth_of_the_packets_is_lost() {
    for seed in 0..30 {
        let size = 5 + seed % 3;
        let mut net = cluster(seed, size);
        net.loss_percent = 20;
        net.run(5_000);
        for id in net.ids() {
            assert_eq!(net.gossip(id).members().count(), size as usize, "seed {seed}");
        }
    }
}

#[test]
fn nobody_is_held_dead_for_losing_a_tenth_of_its_packets() {
    for seed in 0..30 {
        let mut net = cluster(seed, 5 + seed % 3);
        net.loss_percent = 10;
        let log = net.run(120_000);
        assert!(!log.contains("is Dead"), "seed {seed}:\n{log}");
    }
}

#[test]
fn a_crash_is_known_to_all_within_fifteen_seconds_at_a_tenth_of_loss() {
    for seed in 0..30 {
        let size = 5 + seed % 3;
        let mut net = cluster(seed, size);
        net.loss_percent = 10;
        net.run(10_000 + seed * 37);
        let victim = NodeId(1 + seed % size);
        net.crash(victim);
        net.run(15_000);
        assert!(all_see(&net, victim, State::Dead), "seed {seed}");
    }
}

#[test]
fn a_node_that_comes_back_is_alive_to_all() {
    for seed in 0..30 {
        let mut net = cluster(seed, 5);
        net.loss_percent = 10;
        net.run(5_000);
        let victim = NodeId(2 + seed % 4);
        net.crash(victim);
        net.run(seed * 500);
        let mut identity = identity(victim.0);
        identity.incarnation = net.now_ms;
        net.start(Config::lan(identity, seed));
        join(&mut net, victim.0);
        net.run(10_000);
        assert!(all_see(&net, victim, State::Alive), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut net = cluster(7, 5);
        net.loss_percent = 10;
        net.is_tracing = true;
        net.run(20_000)
    };
    assert_eq!(run(), run());
}
