//! Every state that a cluster can get into within a bound: explicit-state model checking of the code
//! itself, with the crate `stateright`.
//!
//! The model is the real [`Raft`] of each server, with a pretend disk and network around it. From a
//! start it takes every action that is possible, from each state that results every action again,
//! and so on until nothing new is found; each state is judged by the properties of the paper
//! (§5.2, figure 3), and a fault is shown with the shortest way to it.
//!
//! ```text
//!   campaign, lose contact,        +------+  Ready   +-------------------+  send_after_persist
//!   heartbeat, propose, change --> | Raft | -------> | waits for disk    | ------------------+
//!                                  +------+          +-------------------+                   |
//!                                   ^  ^  | send_now     | persist   | crash: lost, or torn  |
//!                                   |  |  |              v                                   v
//!                         deliver   |  +--|---------- durable                         +-----------+
//!                                   |     +------------------------------------------>| network   |
//!                                   +-------------------------------------------------| only grows|
//!                                                                                     +-----------+
//! ```
//!
//! # What is bounded, and what is left out
//! [`Bound`] counts the actions that could go on for ever. Deliveries need no bound: the network is the
//! set of all messages ever sent, from which any may come at any time, again, or never. That is loss,
//! delay, reordering and repetition in one, without a state for each.
//!
//! Time is left out: clocks stand still, and any timeout may fire in any state (`server` says how). So
//! two states that differ in times only are one state, which is sound here because safety may not
//! depend on time. Four things follow from it:
//! - Pre-votes are always won. They only narrow down who campaigns when, so more is explored.
//! - Nobody sticks to a leader but the leader itself. A request for a vote that is refused for
//!   stickiness is like one that is lost.
//! - A message is lost when its receiver's disk has left the message's term. It could do nothing but
//!   be answered by [`Message::NewerTerm`]; that answer is explored until the new term is durable.
//! - Nothing is sent again because an answer is overdue: nothing is lost for good.
//!
//! Reads, snapshots and the transfer of leadership that an operator asks for are left to the random
//! histories; a disk that stalls is one that has not finished yet.

mod properties;
mod scenarios;
mod server;
mod state;

use std::sync::Arc;

use stateright::{Model, Property};

use self::server::{Envelope, NOW_MS, Server};
use self::state::State;
use super::cluster::batch;
use crate::raft::{Message, Raft};
use crate::types::{Configuration, NodeId};

/// How far the exploration goes. What would go further does not happen.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// The last term.
    terms: u64,
    /// How often any server campaigns, over all terms.
    campaigns: u8,
    /// How many commands are proposed.
    commands: u8,
    /// How many changes of configuration are proposed.
    changes: u8,
    /// How often any server crashes.
    crashes: u8,
    /// How often any leader loses the contact to the others.
    lost_contacts: u8,
    /// How many heartbeats are due.
    heartbeats: u8,
    /// How many Readys of one server may wait for its disk; with more, only its disk goes on.
    writes: usize,
}

/// A cluster, how far to explore it, and what must be found on the way.
struct RaftModel {
    bound: Bound,
    start: State,
    /// The configuration to change to.
    target: Configuration,
    reaches: Vec<Property<RaftModel>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Campaign(NodeId),
    LoseContact(NodeId),
    Heartbeat(NodeId),
    Deliver(Arc<Envelope>),
    Persist(NodeId),
    Crash { id: NodeId, torn: bool },
    Propose(NodeId),
    Change(NodeId),
}

impl Model for RaftModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start.clone()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.stopped.is_some() {
            return;
        }
        for server in state.each_server() {
            self.actions_of(server, state, actions);
        }
        let deliverable = state.network.values().filter(|envelope| {
            let to = state.server(envelope.to);
            let campaigns = matches!(envelope.message, Message::TimeoutNow { .. });
            to.writing.len() < self.bound.writes && (!campaigns || self.may_campaign(to, state))
        });
        actions.extend(deliverable.cloned().map(Action::Deliver));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Campaign(id) => {
                state.spent.campaigns += 1;
                state.act(id, Server::campaign);
            }
            Action::LoseContact(id) => {
                state.spent.lost_contacts += 1;
                state.act(id, Server::lose_contact);
            }
            Action::Heartbeat(id) => {
                state.spent.heartbeats += 1;
                state.act(id, Server::heartbeat);
            }
            Action::Deliver(envelope) => {
                let Envelope { from, to, message } = Envelope::clone(&envelope);
                state.act(to, |server| server.act(|raft| raft.step(from, message, NOW_MS)));
            }
            Action::Persist(id) => state.act(id, Server::persist),
            Action::Crash { id, torn } => {
                state.spent.crashes += 1;
                state.act(id, |server| {
                    *server = server.crash(torn);
                    Vec::new()
                });
            }
            Action::Propose(id) => {
                let accepted = propose(&mut state, id, |raft| raft.propose(batch(0)).is_ok());
                state.spent.commands += u8::from(accepted);
            }
            Action::Change(id) => {
                let target = self.target.clone();
                let accepted =
                    propose(&mut state, id, |raft| raft.propose_configuration(target).is_ok());
                state.spent.changes += u8::from(accepted);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<RaftModel>> {
        let mut properties = properties::always();
        properties.extend(self.reaches.iter().cloned());
        properties
    }
}

impl RaftModel {
    fn actions_of(&self, server: &Server, state: &State, actions: &mut Vec<Action>) {
        let id = server.id();
        if !server.writing.is_empty() {
            actions.push(Action::Persist(id));
        }
        if state.spent.crashes < self.bound.crashes {
            actions.push(Action::Crash { id, torn: false });
            if server.writing.front().is_some_and(|ready| !ready.entries.is_empty()) {
                actions.push(Action::Crash { id, torn: true });
            }
        }
        if server.writing.len() >= self.bound.writes {
            return;
        }
        if server.is_leader() {
            if state.spent.lost_contacts < self.bound.lost_contacts {
                actions.push(Action::LoseContact(id));
            }
            if state.spent.heartbeats < self.bound.heartbeats {
                actions.push(Action::Heartbeat(id));
            }
            if state.spent.commands < self.bound.commands {
                actions.push(Action::Propose(id));
            }
            if state.spent.changes < self.bound.changes && !server.raft.has_pending_change() {
                actions.push(Action::Change(id));
            }
        } else if self.may_campaign(server, state) {
            actions.push(Action::Campaign(id));
        }
    }

    fn may_campaign(&self, server: &Server, state: &State) -> bool {
        server.term().0 < self.bound.terms && state.spent.campaigns < self.bound.campaigns
    }
}

/// Proposes something to a server; says whether it took it.
fn propose(state: &mut State, id: NodeId, propose: impl FnOnce(&mut Raft) -> bool) -> bool {
    let mut accepted = false;
    state.act(id, |server| server.act(|raft| accepted = propose(raft)));
    accepted
}
