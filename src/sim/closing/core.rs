//! Only a core is healed: it must elect and commit, whatever the others do.

use std::collections::BTreeSet;

use crate::gossip::State;
use crate::sim::disk::Answer;
use crate::sim::history::{Call, Key, OperationId, Return};
use crate::sim::violation::{Property, Violation};
use crate::sim::world::World;
use crate::types::{Configuration, NodeId};

/// The longest that an election timer runs, in µs: twice the election timeout of `raft::Config::lan`.
const ELECTION_TIMEOUT_US: u64 = 600_000;
/// A healthy core commits within so many election timeouts.
const ELECTIONS: u64 = 10;
/// So many cores in turn may have lost their majority to a change of the voters.
const MOST_CORES: u32 = 5;
/// The processes of the core have this long to start, and to find each other, in µs.
const START_US: u64 = 3_000_000;
/// How often the core is asked to write, in µs.
const PROBE_US: u64 = 300_000;
/// A member that is gone is held for dead within this time, in µs: a probe of each member and the
/// longest suspicion (SWIM §4.3, Lifeguard §IV-B), with room for some that are refuted.
const DEATH_US: u64 = 40_000_000;
/// How often it is looked whether it is.
const LOOK_US: u64 = 1_000_000;

/// Heals as few servers as can decide, which then have to commit soon; returns their hosts.
///
/// A leader outside of the core that still reaches it one way may leave it with more voters than it
/// can outvote. Then those that decide now are the core.
pub(super) fn recovers(world: &mut World) -> Result<Vec<usize>, Violation> {
    for _ in 0..MOST_CORES {
        let core = heal(world)?;
        if commits(world, &core)? {
            return Ok(core);
        }
        if still_decides(world, &core) {
            return Err(nothing_committed(world, &core));
        }
    }
    let detail = format!("{MOST_CORES} cores, and the voters changed under each");
    Err(Violation { property: Property::Liveness, detail })
}

/// Heals as few servers as can decide; returns their hosts.
fn heal(world: &mut World) -> Result<Vec<usize>, Violation> {
    let in_play = in_play(world);
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
    world.kept_down = (0..world.hosts.len()).filter(|at| !core.contains(at)).collect();
    world.hosts[0].may_bootstrap &= !world.watch.has_cluster();
    world.network.heal();
    world.network.calm();
    for at in 0..world.hosts.len() {
        if core.contains(&at) { world.heal(at) } else { leave_broken(world, at, &core) }
    }
    world.say(|| format!("=== only {core:?} are healed"));
    world.run_for(START_US)?;
    Ok(core)
}

/// Every configuration that the core may have to decide under: a learner that is in contact when
/// the healing begins may be a voter a moment later, in place of its old self.
fn in_play(world: &World) -> Vec<Configuration> {
    let mut in_play = world.watch.configurations_in_play();
    let present: BTreeSet<NodeId> = world.hosts.iter().filter_map(|host| host.identity).collect();
    for mut grown in in_play.clone() {
        let name = |id: &NodeId| grown.members.get(id).map(|member| &member.name);
        let joining: Vec<NodeId> = grown.learners.intersection(&present).copied().collect();
        let is_replaced = |id: &NodeId| joining.iter().any(|new| name(new) == name(id));
        let replaced: Vec<NodeId> = grown.voters.iter().copied().filter(is_replaced).collect();
        replaced.iter().for_each(|old| grown.remove(*old));
        grown.voters.extend(joining);
        in_play.push(grown);
    }
    in_play
}

/// Someone outside of the core goes on being a nuisance, or is gone.
fn leave_broken(world: &mut World, at: usize, core: &[usize]) {
    match world.prng.below(5) {
        0 => world.kill(at),
        // A leader whose disk hangs must not lead on, however well it is connected.
        1 => world.hosts[at].hung_until_us = u64::MAX,
        2 => core.iter().for_each(|other| world.network.block((at, *other))),
        3 => core.iter().for_each(|other| world.network.block((*other, at))),
        _ => core.iter().for_each(|other| {
            world.network.block((at, *other));
            world.network.block((*other, at));
        }),
    }
}

/// Whether these servers are a majority wherever one is asked for.
pub(super) fn decides(configuration: &Configuration, ids: &BTreeSet<NodeId>) -> bool {
    let majority = |voters: &BTreeSet<NodeId>| {
        voters.is_empty() || voters.intersection(ids).count() > voters.len() / 2
    };
    majority(&configuration.voters) && majority(&configuration.outgoing)
}

/// Whether the core decides under every configuration that one of it goes by.
fn still_decides(world: &World, core: &[usize]) -> bool {
    let servers = || core.iter().filter_map(|at| world.hosts[*at].server());
    let ids: BTreeSet<NodeId> = servers().map(|server| server.id).collect();
    servers().all(|server| decides(server.node.raft().configuration(), &ids))
}

/// Whether the core commits a write within the time that elections may take.
fn commits(world: &mut World, core: &[usize]) -> Result<bool, Violation> {
    if core.is_empty() {
        return Ok(true);
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
        world.run_for(PROBE_US)?;
        let is_written =
            |id: &OperationId| matches!(world.workload.answer_of(*id), Some(Return::Written(_)));
        if asked.iter().any(is_written) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn nothing_committed(world: &World, core: &[usize]) -> Violation {
    let outline = |at: &usize| {
        let host = &world.hosts[*at];
        let outline = host.server().map(|server| server.node.raft().outline());
        format!("{}: {outline:?}", host.name())
    };
    let outlines: Vec<String> = core.iter().map(outline).collect();
    let detail = format!("healthy, connected, and nothing is committed: {}", outlines.join(", "));
    Violation { property: Property::Liveness, detail }
}

/// The core comes to hold members that are down for dead.
pub(super) fn finds_the_dead(world: &mut World, core: &[usize]) -> Result<(), Violation> {
    let end_us = world.now_us + DEATH_US;
    loop {
        let down = world.hosts.iter().filter(|host| host.is_down());
        let dead: Vec<NodeId> = down.filter_map(|host| host.identity).collect();
        let Some((host, id)) = believed_alive(world, core, &dead) else { return Ok(()) };
        if world.now_us >= end_us {
            let detail = format!("n{} does not find out that {id} is dead", host + 1);
            return Err(Violation { property: Property::Membership, detail });
        }
        world.run_for(LOOK_US)?;
    }
}

/// A host of the core that holds one of `dead` for alive or suspect.
fn believed_alive(world: &World, core: &[usize], dead: &[NodeId]) -> Option<(usize, NodeId)> {
    core.iter().find_map(|host| {
        let gossip = world.hosts[*host].server()?.node.gossip();
        let state = |id: &NodeId| gossip.member(*id).map(|member| member.state);
        let wrong = |id: &&NodeId| matches!(state(id), Some(State::Alive | State::Suspect));
        dead.iter().find(wrong).map(|id| (*host, *id))
    })
}
