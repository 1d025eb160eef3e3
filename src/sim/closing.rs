//! The end of a run: what must come right once things stop going wrong.
//!
//! ```text
//!   faults ... | a core heals, the rest stays broken | all heals | last reads
//!              |   the core commits within           |  all agree|  the history is checked
//!              |   10 election timeouts              |           |
//! ```
//!
//! Safety alone is easily had by doing nothing. So after the faults only as many servers are healed
//! as decide together; the others stay down, cut off, or half connected so that they disturb. The
//! core must elect and commit soon. Then all is healed, and the cluster must become one again: all
//! voters up to date, nobody held for dead who lives, no learner forgotten.

use std::collections::BTreeSet;

use super::checker;
use super::disk::Answer;
use super::history::{Call, Key, OperationId, Return};
use super::violation::{Property, Violation};
use super::world::World;
use crate::gossip::State;
use crate::types::{Configuration, NodeId};

/// The longest that an election timer runs, in µs: twice the election timeout of `raft::Config::lan`.
const ELECTION_TIMEOUT_US: u64 = 600_000;
/// A healthy core commits within so many election timeouts.
const ELECTIONS: u64 = 10;
/// The processes of the core have this long to start, and to find each other, in µs.
const START_US: u64 = 3_000_000;
/// How often the core is asked to write, in µs.
const PROBE_US: u64 = 300_000;
/// A healed cluster agrees within this time, in µs.
const AGREE_US: u64 = 90_000_000;
/// How often it is looked at, in µs.
const LOOK_US: u64 = 500_000;
/// The last reads are answered within this time, in µs.
const READ_US: u64 = 20_000_000;

/// Brings a run to its end.
pub(super) fn close(world: &mut World) -> Result<(), Violation> {
    world.workload.stop(world.now_us);
    let core = heal_core(world)?;
    core_commits(world, &core)?;
    heal_all(world);
    all_agree(world)?;
    read_all(world)?;
    checker::check(world.workload.history()).map_err(|found| Violation {
        property: Property::Linearizability,
        detail: found.to_string(),
    })
}

/// Heals as few servers as can decide; returns their hosts.
fn heal_core(world: &mut World) -> Result<Vec<usize>, Violation> {
    let in_play = world.watch.configurations_in_play();
    let mut hosts: Vec<usize> = (0..world.hosts.len()).collect();
    world.prng.shuffle(&mut hosts);
    let mut core: Vec<usize> = Vec::new();
    let mut ids: BTreeSet<NodeId> = BTreeSet::new();
    for at in hosts {
        if in_play.iter().all(|configuration| decides(configuration, &ids)) {
            break;
        }
        let host = &world.hosts[at];
        let is_sound = matches!(host.lied, None | Some(Answer::Repair)) && !host.is_retired;
        let sound = host.identity.filter(|_| is_sound);
        if let Some(id) = sound.filter(|id| in_play.iter().any(|known| known.is_voter(*id))) {
            ids.insert(id);
            core.push(at);
        }
    }
    if !in_play.iter().all(|configuration| decides(configuration, &ids)) {
        let detail = format!("no majority is left of {in_play:?}");
        return Err(Violation { property: Property::Liveness, detail });
    }
    world.restarts = false;
    world.hosts[0].may_bootstrap &= !world.watch.has_cluster();
    world.network.heal();
    world.network.calm();
    for at in 0..world.hosts.len() {
        if core.contains(&at) { world.heal(at) } else { leave_broken(world, at, &core) }
    }
    world.say(|| format!("=== only {core:?} are healed"));
    let start_us = world.now_us + START_US;
    world.run_until(start_us)?;
    Ok(core)
}

/// Someone outside of the core goes on being a nuisance, or is gone.
fn leave_broken(world: &mut World, at: usize, core: &[usize]) {
    match world.prng.below(4) {
        0 => world.kill(at),
        1 => core.iter().for_each(|other| world.network.block((at, *other))),
        2 => core.iter().for_each(|other| world.network.block((*other, at))),
        _ => core.iter().for_each(|other| {
            world.network.block((at, *other));
            world.network.block((*other, at));
        }),
    }
}

/// Whether these servers are a majority wherever one is asked for.
fn decides(configuration: &Configuration, ids: &BTreeSet<NodeId>) -> bool {
    let majority = |voters: &BTreeSet<NodeId>| {
        voters.is_empty() || voters.intersection(ids).count() > voters.len() / 2
    };
    majority(&configuration.voters) && majority(&configuration.outgoing)
}

/// The core commits a write within the time that elections may take.
fn core_commits(world: &mut World, core: &[usize]) -> Result<(), Violation> {
    if core.is_empty() {
        return Ok(());
    }
    let end_us = world.now_us + ELECTIONS * ELECTION_TIMEOUT_US;
    let mut asked: Vec<OperationId> = Vec::new();
    for host in core.iter().cycle() {
        if world.now_us >= end_us {
            break;
        }
        let value = world.workload.value();
        let client = world.workload.add_client();
        asked.push(world.ask(client, Call::Set { key: Key(0), value }, *host));
        let until_us = world.now_us + PROBE_US;
        world.run_until(until_us)?;
        let is_written =
            |id: &OperationId| matches!(world.workload.answer_of(*id), Some(Return::Written(_)));
        if asked.iter().any(is_written) {
            return Ok(());
        }
    }
    let outline = |at: &usize| {
        let host = &world.hosts[*at];
        let outline = host.server().map(|server| server.node.raft().outline());
        format!("{}: {outline:?}", host.name())
    };
    let outlines: Vec<String> = core.iter().map(outline).collect();
    let detail = format!("healthy, connected, and nothing is committed: {}", outlines.join(", "));
    Err(Violation { property: Property::Liveness, detail })
}

fn heal_all(world: &mut World) {
    world.say(|| "=== all are healed".to_owned());
    world.restarts = true;
    world.network.heal();
    for at in 0..world.hosts.len() {
        world.heal(at);
    }
}

/// Within some time the cluster is one again.
fn all_agree(world: &mut World) -> Result<(), Violation> {
    let end_us = world.now_us + AGREE_US;
    loop {
        let until_us = world.now_us + LOOK_US;
        world.run_until(until_us)?;
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
        for other in members.clone().filter_map(|other| other.server()) {
            let seen = server.node.gossip().member(other.id).map(|member| member.state);
            if seen != Some(State::Alive) {
                let detail = format!("{name} holds the living {} for {seen:?}", other.id);
                return lacks(Property::Membership, detail);
            }
        }
    }
    Ok(())
}

/// Everything is read once more, everywhere: an acknowledged write that is lost shows here.
fn read_all(world: &mut World) -> Result<(), Violation> {
    let mut asked = Vec::new();
    for host in 0..world.hosts.len() {
        if world.hosts[host].is_retired {
            continue;
        }
        let keys = (0..world.plan.keys).map(|key| Call::Get { key: Key(key) });
        for call in keys.chain([Call::List]).collect::<Vec<_>>() {
            let client = world.workload.add_client();
            asked.push(world.ask(client, call, host));
        }
    }
    let until_us = world.now_us + READ_US;
    world.run_until(until_us)?;
    let is_open = |id: &&OperationId| {
        !matches!(world.workload.answer_of(**id), Some(Return::Read(_) | Return::Listed(_)))
    };
    match asked.iter().find(is_open) {
        None => Ok(()),
        Some(_) => Err(Violation {
            property: Property::Liveness,
            detail: "a healed cluster does not answer all reads".to_owned(),
        }),
    }
}
