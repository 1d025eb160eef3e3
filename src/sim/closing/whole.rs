//! All is healed: the cluster becomes one again.

use std::collections::BTreeSet;

use crate::gossip::State;
use crate::sim::server::Server;
use crate::sim::violation::{Property, Violation};
use crate::sim::world::World;
use crate::types::NodeId;

/// A healed cluster agrees within this time, in µs.
const AGREE_US: u64 = 90_000_000;
/// How often it is looked at, in µs.
const LOOK_US: u64 = 500_000;

pub(super) fn heal(world: &mut World) {
    world.say(|| "=== all are healed".to_owned());
    world.kept_down.clear();
    world.network.heal();
    for at in 0..world.hosts.len() {
        world.heal(at);
    }
}

/// Within some time the cluster is one again.
pub(super) fn agrees(world: &mut World) -> Result<(), Violation> {
    let end_us = world.now_us + AGREE_US;
    loop {
        world.run_for(LOOK_US)?;
        let Err(violation) = agree(world) else { return Ok(()) };
        if world.now_us >= end_us {
            return Err(violation);
        }
    }
}

fn agree(world: &World) -> Result<(), Violation> {
    let lacks = |property, detail| Err(Violation { property, detail });
    let members = world.hosts.iter().filter(|host| !host.is_retired);
    let mut first = None;
    for host in members.clone() {
        let name = host.name();
        let Some(server) = host.server() else {
            return lacks(Property::Liveness, format!("{name} does not run"));
        };
        let status = server.node.status();
        if status.cluster.is_none() || !status.serving {
            return lacks(Property::Liveness, format!("{name} does not serve: {status:?}"));
        }
        let raft = server.node.raft();
        let state = (status.applied, raft.configuration().clone(), server.map().state_hash());
        let known = first.get_or_insert_with(|| state.clone());
        if known.0 != state.0 || known.1 != state.1 {
            return lacks(Property::Liveness, format!("{name} is not up to date: {status:?}"));
        }
        if known.2 != state.2 {
            return lacks(Property::StateMachineSafety, format!("the map of {name} differs"));
        }
        if !state.1.voters.contains(&server.id) || state.1.is_joint() {
            return lacks(Property::Liveness, format!("{name} does not become a voter"));
        }
        if let Err(what) = knows_who_lives(world, server) {
            return lacks(Property::Membership, format!("{name} holds {what}"));
        }
    }
    Ok(())
}

/// Whether a server holds those for alive that live, and nobody else.
fn knows_who_lives(world: &World, server: &Server) -> Result<(), String> {
    let gossip = server.node.gossip();
    let living: BTreeSet<NodeId> =
        world.hosts.iter().filter_map(|host| Some(host.server()?.id)).collect();
    for id in &living {
        let seen = gossip.member(*id).map(|member| member.state);
        if seen != Some(State::Alive) {
            return Err(format!("the living {id} for {seen:?}"));
        }
    }
    let is_held_alive = |state| matches!(state, State::Alive | State::Suspect);
    let mut held = gossip.members().filter(|member| is_held_alive(member.state));
    match held.find(|member| !living.contains(&member.id)) {
        Some(ghost) => Err(format!("{}, which is gone, for {:?}", ghost.id, ghost.state)),
        None => Ok(()),
    }
}
