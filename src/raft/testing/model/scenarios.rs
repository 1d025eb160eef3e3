//! Where explorations start, how far they go, and the tests that run them.
//!
//! The tests that are not ignored visit some 156,000 states, up to 37 steps from their start. Each
//! prints its numbers.

use std::sync::Arc;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::properties::{
    change_completes, commands_are_committed, earlier_term_is_committed, last_term_is_led,
};
use super::server::{NOW_MS, Server};
use super::state::{Spent, State};
use super::{Bound, RaftModel};
use crate::raft::testing::cluster::configuration;
use crate::types::{HardState, NodeId, Term};

/// Nothing happens beyond what servers and disks do by themselves.
const STILL: Bound = Bound {
    terms: 0,
    campaigns: 0,
    commands: 0,
    changes: 0,
    crashes: 0,
    lost_contacts: 0,
    heartbeats: 0,
    writes: 1,
};

#[test]
fn in_one_term_two_campaign_and_any_one_crashes() {
    let bound = Bound { terms: 1, campaigns: 2, crashes: 1, ..STILL };
    explore(fresh(), bound, &[], vec![last_term_is_led()]);
}

#[test]
fn in_two_terms_two_campaign() {
    let bound = Bound { terms: 2, campaigns: 2, ..STILL };
    explore(fresh(), bound, &[], vec![last_term_is_led()]);
}

#[test]
fn a_leader_with_a_command_is_followed_by_another_leader() {
    let bound = Bound { terms: 2, campaigns: 1, commands: 1, ..STILL };
    let reaches = vec![last_term_is_led(), commands_are_committed(), earlier_term_is_committed()];
    explore(settled(), bound, &[], reaches);
}

#[test]
fn commands_overtake_the_disk_of_their_leader() {
    let bound = Bound { terms: 1, commands: 2, writes: 2, ..STILL };
    explore(settled(), bound, &[], vec![commands_are_committed()]);
}

#[test]
fn figure_8_an_entry_of_an_earlier_term_waits_for_one_of_this_term() {
    let bound = Bound { terms: 4, campaigns: 1, ..STILL };
    explore(figure_8(), bound, &[], vec![last_term_is_led(), earlier_term_is_committed()]);
}

#[test]
fn a_follower_is_removed_while_another_campaigns() {
    let bound = Bound { terms: 2, campaigns: 1, changes: 1, ..STILL };
    explore(settled(), bound, &[1, 2], vec![last_term_is_led(), change_completes()]);
}

#[test]
fn the_leader_is_removed() {
    let bound = Bound { terms: 2, campaigns: 1, changes: 1, ..STILL };
    explore(settled(), bound, &[2, 3], vec![last_term_is_led(), change_completes()]);
}

#[test]
#[ignore = "it takes minutes; `make model` runs it"]
fn any_one_crashes_while_a_second_leader_follows_the_first() {
    let bound = Bound { terms: 2, campaigns: 1, commands: 1, crashes: 1, writes: 2, ..STILL };
    let reaches = vec![last_term_is_led(), commands_are_committed(), earlier_term_is_committed()];
    explore(settled(), bound, &[], reaches);
}

#[test]
#[ignore = "it takes minutes; `make model` runs it"]
fn a_follower_is_removed_while_leaders_change_and_one_crashes() {
    let bound = Bound {
        terms: 2,
        campaigns: 1,
        changes: 1,
        crashes: 1,
        lost_contacts: 1,
        heartbeats: 1,
        ..STILL
    };
    explore(settled(), bound, &[1, 2], vec![last_term_is_led(), change_completes()]);
}

/// Explores everything; fails with the shortest way to a fault. `target` is the voters to change to.
fn explore(start: State, bound: Bound, target: &[u64], reaches: Vec<Property<RaftModel>>) {
    let model = RaftModel { bound, start, target: configuration(target, &[]), reaches };
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    eprintln!(
        "{} states, {} steps between them, at most {} from the start",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

/// Three servers to which nothing has happened.
fn fresh() -> State {
    let voters = configuration(&[1, 2, 3], &[]);
    let server = |id| Server::new(NodeId(id), voters.clone(), HardState::default(), &[]);
    State::new([1, 2, 3].map(server))
}

/// Server 1 was elected by server 2, and server 3 has heard nothing yet.
fn elected() -> State {
    let mut state = fresh();
    state.act(NodeId(1), Server::campaign);
    state.act(NodeId(1), Server::persist);
    carry(&mut state, 1, 2);
    carry(&mut state, 2, 1);
    assert!(state.server(NodeId(1)).is_leader(), "two of three votes elect");
    state.spent = Spent::default();
    state
}

/// Server 1 leads, everybody has its first entry, and nothing else is on its way.
fn settled() -> State {
    let mut state = elected();
    state.act(NodeId(1), Server::persist);
    for follower in [2, 3] {
        carry(&mut state, 1, follower);
        carry(&mut state, follower, 1);
    }
    carry(&mut state, 1, 2);
    carry(&mut state, 1, 3);
    state.network = Arc::default();
    state
}

/// Figure 8 of the paper, cut down to three servers, at (c): the leaders of terms 1 and 2 each have
/// an entry that nobody else has, and the first one leads again, in term 3.
fn figure_8() -> State {
    let voters = configuration(&[1, 2, 3], &[]);
    let server = |(id, vote, terms): (u64, Option<u64>, &[u64])| {
        let hard_state = HardState { term: Term(2), vote: vote.map(NodeId) };
        Server::new(NodeId(id), voters.clone(), hard_state, terms)
    };
    let servers = [(1, None, &[1][..]), (2, Some(2), &[2]), (3, Some(2), &[])];
    let mut state = State::new(servers.map(server));
    state.act(NodeId(1), Server::campaign);
    state.act(NodeId(1), Server::persist);
    carry(&mut state, 1, 3);
    carry(&mut state, 3, 1);
    assert!(state.server(NodeId(1)).is_leader(), "server 3 has the shorter log");
    state
}

/// Delivers what is on its way between two servers, and lets the receiver's disk finish.
fn carry(state: &mut State, from: u64, to: u64) {
    let (from, to) = (NodeId(from), NodeId(to));
    let between: Vec<_> = state.network.values().cloned().collect();
    for envelope in between.iter().filter(|envelope| (envelope.from, envelope.to) == (from, to)) {
        let message = envelope.message.clone();
        state.act(to, |server| server.act(|raft| raft.step(from, message, NOW_MS)));
        while !state.server(to).writing.is_empty() {
            state.act(to, Server::persist);
        }
    }
}
