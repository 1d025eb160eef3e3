//! Seeded runs of whole clusters in bad weather.

use crate::prng::Prng;
use crate::types::{ClusterId, NodeId};

use super::config::{Config, Identity};
use super::member::{Claim, Metadata, Verdict};
use super::message::{Body, Sender};
use super::testing::{Net, addr, identity, label, state_at};
use super::wire::Writer;
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

/// Well-formed packets of any content, at any time: what a node of another version, a lost disk or a
/// broken clock might send.
#[test]
fn whatever_is_said_a_node_goes_on_and_stays_alive_to_itself() {
    for seed in 0..50 {
        let mut prng = Prng::new(seed);
        let mut gossip = Gossip::new(Config::lan(identity(1), seed), 0);
        let mut now_ms = 0;
        for _ in 0..400 {
            now_ms += prng.below(300) * prng.below(2) * prng.below(10);
            let sender = Sender { id: NodeId(2 + prng.below(4)), cluster: None };
            let mut writer = Writer::packet(sender, any_body(&mut prng), 1400);
            for _ in 0..prng.below(4) {
                assert!(writer.push(&any_claim(&mut prng)));
            }
            // Refusals are as good as acceptance here: only panics and broken promises count.
            let _ = gossip.packet(addr(prng.below(6)), &writer.finish(), now_ms);
            gossip.tick(now_ms);
            assert!(gossip.next_deadline_ms() > now_ms, "seed {seed}: it wants to tick at once");
            let own = gossip.member(NodeId(1)).expect("it knows itself");
            assert_eq!(own.state, State::Alive);
            while gossip.poll().is_some() {}
        }
    }
}

fn any_body(prng: &mut Prng) -> Body {
    let (seq, target) = (prng.below(3) as u32, NodeId(1 + prng.below(6)));
    match prng.below(5) {
        0 => Body::Ping { seq, target },
        1 => Body::PingReq { seq, target, addr: addr(prng.below(6)) },
        2 => Body::Ack { seq },
        3 => Body::Nack { seq },
        _ => Body::Gossip,
    }
}

fn any_claim(prng: &mut Prng) -> Claim {
    let forget_in_ms = [0, 1, u32::MAX][prng.below(3) as usize];
    let verdict = match prng.below(4) {
        0 => Verdict::Alive,
        1 => Verdict::Suspect { accusers: [NodeId(1 + prng.below(9))].into() },
        2 => Verdict::Dead { forget_in_ms },
        _ => Verdict::Left { forget_in_ms },
    };
    let Identity { name, peer_addr, rpc_addr, .. } = identity(1 + prng.below(6));
    let cluster = [None, Some(ClusterId(1)), Some(ClusterId(2))][prng.below(3) as usize];
    Claim {
        id: NodeId(1 + prng.below(6)),
        incarnation: [0, 1, 2, u64::MAX][prng.below(4) as usize],
        verdict,
        metadata: Metadata { name, cluster, addr: addr(prng.below(6)), peer_addr, rpc_addr },
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
