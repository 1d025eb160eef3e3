//! Seeded runs of whole clusters in bad weather.

use crate::prng::Prng;
use crate::types::NodeId;

use super::config::Config;
use super::testing::{Net, addr, identity, label, state_at};
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
fn in_a_cluster_of_three_a_crash_is_known_within_five_seconds() {
    for seed in 0..50 {
        let mut net = cluster(seed, 3);
        net.run(5_000 + seed * 13);
        net.crash(NodeId(2));
        net.run(5_000);
        assert!(all_see(&net, NodeId(2), State::Dead), "seed {seed}");
    }
}

#[test]
fn a_node_that_stalls_accuses_nobody() {
    for seed in 0..30 {
        let mut net = cluster(seed, 5);
        net.run(5_000 + seed * 41);
        let victim = NodeId(1 + seed % 5);
        let until_ms = net.now_ms + 300 + seed * 200;
        net.stall(victim, until_ms);
        let log = net.run(20_000);
        for other in net.ids().into_iter().filter(|id| *id != victim) {
            let accusation = format!(": {} is Suspect", label(other));
            assert!(!log.contains(&accusation), "seed {seed}:\n{log}");
        }
        assert!(all_see(&net, victim, State::Alive), "seed {seed}");
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
        restart(&mut net, victim);
        net.run(10_000);
        net.loss_percent = 0;
        net.run(5_000);
        assert!(all_see(&net, victim, State::Alive), "seed {seed}");
    }
}

/// Half a minute in which anything may happen to anybody, and then none of it any more.
#[test]
fn after_any_trouble_all_running_members_come_to_agree() {
    for seed in 0..40 {
        let mut net = cluster(seed, 6);
        net.run(2_000);
        let mut prng = Prng::new(seed);
        for _ in 0..15 {
            trouble(&mut net, &mut prng);
            net.run(prng.below(4_000));
        }
        net.heal();
        net.loss_percent = 0;
        net.run(40_000);
        for id in (1..=6).map(NodeId) {
            let state = if net.ids().contains(&id) { State::Alive } else { State::Dead };
            assert!(all_see(&net, id, state), "seed {seed}: not all hold {} {state:?}", label(id));
        }
    }
}

fn trouble(net: &mut Net, prng: &mut Prng) {
    let id = NodeId(1 + prng.below(6));
    let is_running = net.ids().contains(&id);
    match prng.below(5) {
        // Node 1 is the seed through which the others come back.
        0 if is_running && id.0 > 1 => net.crash(id),
        0 | 1 if !is_running => restart(net, id),
        1 | 2 if is_running => net.stall(id, net.now_ms + prng.below(6_000)),
        3 => {
            let other = NodeId(1 + prng.below(6));
            if is_running && net.ids().contains(&other) {
                net.cut(id, other);
            }
        }
        _ => net.loss_percent = prng.below(40),
    }
}

fn restart(net: &mut Net, id: NodeId) {
    let mut identity = identity(id.0);
    identity.incarnation = net.now_ms;
    net.start(Config::lan(identity, id.0));
    join(net, id.0);
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
