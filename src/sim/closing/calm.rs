//! A healthy cluster in which hardly anything stirs: it must leave well alone.

use std::collections::BTreeSet;

use super::core;
use crate::gossip::State;
use crate::sim::history::{Call, Key, Return};
use crate::sim::server::Input;
use crate::sim::violation::{Property, Violation};
use crate::sim::world::World;
use crate::types::{NodeId, Term};

/// How long a follower is cut off from its leader alone, in µs.
const CUT_US: u64 = 3_000_000;
/// How long it takes until nobody waits for an answer to a probe of before, in µs: with the worst
/// health a probe takes some periods.
const SETTLE_US: u64 = 6_000_000;
/// How long a process stands still, in µs: long enough for its probes to be late, too short to be
/// held for dead.
const STALL_US: u64 = 1_500_000;
/// How long it is watched after that, in µs.
const WATCH_US: u64 = 3_000_000;
/// How often, in µs.
const LOOK_US: u64 = 100_000;

/// One follower no longer hears the leader, the others do. It may not take the leadership away: they
/// refuse to elect another while they hear a leader (Raft §6, thesis §4.2.3).
pub(super) fn leader_stays(world: &mut World) -> Result<(), Violation> {
    let Some((leader, term)) = leadership(world) else { return Ok(()) };
    let Some(follower) = pick(world, Some(leader)) else { return Ok(()) };
    let others = world.hosts.iter().filter(|host| host.number != follower);
    let ids: BTreeSet<NodeId> = others.filter_map(|host| Some(host.server()?.id)).collect();
    let in_play = world.watch.configurations_in_play();
    if !in_play.iter().all(|configuration| core::decides(configuration, &ids)) {
        // Voters that are gone for good leave no majority without it.
        return Ok(());
    }
    world.say(|| format!("=== n{} is cut off from its leader n{} alone", follower + 1, leader + 1));
    world.network.block((leader, follower));
    world.network.block((follower, leader));
    world.run_for(CUT_US)?;
    let now = leadership(world);
    world.network.heal();
    if now == Some((leader, term)) {
        return Ok(());
    }
    let detail = format!("host {leader} led in term {term} and was deposed: {now:?} leads");
    Err(Violation { property: Property::Liveness, detail })
}

/// A process stands still and goes on, and looks at its timers before it reads the answers to its
/// probes: that it has none is its own fault, and it suspects nobody (Lifeguard §IV-A).
pub(super) fn nobody_is_blamed(world: &mut World) -> Result<(), Violation> {
    let Some(stalled) = pick(world, None) else { return Ok(()) };
    world.run_for(SETTLE_US)?;
    world.say(|| format!("=== n{} stands still", stalled + 1));
    world.hosts[stalled].stalled_until_us = world.now_us + STALL_US;
    world.hosts[stalled].wakes_by_timer = true;
    let end_us = world.now_us + STALL_US + WATCH_US;
    while world.now_us < end_us {
        world.run_for(LOOK_US)?;
        if let Some(id) = suspect_of(world, stalled) {
            let detail = format!("n{} stood still and blames {id}", stalled + 1);
            return Err(Violation { property: Property::Membership, detail });
        }
    }
    Ok(())
}

/// The leader is asked to hand over while a follower stands still. If that is the one it chooses, it
/// gives up after a while (thesis §3.10), and writes go on.
pub(super) fn transfer_is_given_up(world: &mut World) -> Result<(), Violation> {
    let Some((leader, _)) = leadership(world) else { return Ok(()) };
    let Some(stalled) = pick(world, Some(leader)) else { return Ok(()) };
    world
        .say(|| format!("=== n{} is to hand over while n{} stands still", leader + 1, stalled + 1));
    world.hosts[stalled].stalled_until_us = world.now_us + STALL_US;
    world.tell(leader, Input::Transfer);
    world.run_for(STALL_US + WATCH_US)?;
    let (client, value) = (world.workload.add_client(), world.workload.value());
    let asked = world.ask(client, Call::Set { key: Key(0), value }, leader);
    world.run_for(WATCH_US)?;
    match world.workload.answer_of(asked) {
        Some(Return::Written(_)) => Ok(()),
        other => {
            let detail = format!("after a transfer that could not be, a write got {other:?}");
            Err(Violation { property: Property::Liveness, detail })
        }
    }
}

/// Any member, but for one.
fn pick(world: &mut World, except: Option<usize>) -> Option<usize> {
    let members = world.hosts.iter().filter(|host| !host.is_retired).map(|host| host.number);
    let hosts: Vec<usize> = members.filter(|at| Some(*at) != except).collect();
    let count = hosts.len() as u64;
    (count > 0).then(|| hosts[world.prng.below(count) as usize])
}

fn suspect_of(world: &World, at: usize) -> Option<NodeId> {
    let gossip = world.hosts[at].server()?.node.gossip();
    let is_running = |id: NodeId| {
        world.hosts.iter().filter_map(|host| host.server()).any(|server| server.id == id)
    };
    let mut blamed = gossip.members().filter(|member| member.state == State::Suspect);
    blamed.find(|member| is_running(member.id)).map(|member| member.id)
}

fn leadership(world: &World) -> Option<(usize, Term)> {
    let at = world.leader()?;
    let outline = world.hosts[at].server()?.node.raft().outline();
    Some((at, outline.hard_state.term))
}
