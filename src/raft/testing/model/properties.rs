//! What must hold in every state (§5.2, figure 3), and what must be possible at all.

use stateright::Property;

use super::RaftModel;
use super::state::State;
use crate::raft::message::Position;
use crate::types::{Configuration, Entry, EntryKind};

/// The safety properties.
pub(super) fn always() -> Vec<Property<RaftModel>> {
    vec![
        Property::always("election safety", |_, state: &State| {
            let leaders = &state.history.leaders;
            leaders.iter().zip(leaders.iter().skip(1)).all(|(one, next)| one.0 != next.0)
        }),
        Property::always("log matching", |_, state: &State| {
            let logs: Vec<Vec<Entry>> = state.each_server().map(|server| server.log()).collect();
            logs.iter()
                .enumerate()
                .all(|(nth, log)| logs[..nth].iter().all(|other| match_up(log, other)))
        }),
        Property::always("leader completeness", |_, state: &State| {
            state.each_server().filter(|server| server.is_leader()).all(|leader| {
                let earlier = state.history.committed.iter().filter(|(_, by)| **by < leader.term());
                earlier
                    .into_iter()
                    .all(|(&(index, term), _)| leader.raft.log.holds(Position { index, term }))
            })
        }),
        Property::always("state machine safety", |_, state: &State| {
            let committed = &state.history.committed;
            committed.keys().zip(committed.keys().skip(1)).all(|(one, next)| one.0 != next.0)
        }),
        Property::always("what is committed is durable on a majority", |_, state: &State| {
            state.history.undurable.is_empty()
        }),
        Property::always("at most one change is pending", |_, state: &State| {
            state.each_server().all(|server| {
                let commit = server.raft.log.commit();
                let is_pending = |entry: &&Entry| {
                    entry.index() > commit && entry.kind() == EntryKind::Configuration
                };
                !server.is_leader() || server.log().iter().filter(is_pending).count() <= 1
            })
        }),
        Property::always("no server stops itself", |_, state: &State| state.stopped.is_none()),
    ]
}

/// The last term of the bound has a leader.
pub(super) fn last_term_is_led() -> Property<RaftModel> {
    Property::sometimes("the last term has a leader", |model, state: &State| {
        state.history.leaders.iter().any(|(term, _)| term.0 == model.bound.terms)
    })
}

/// A leader commits an entry of an earlier term, by committing one of its own (§5.4.2).
pub(super) fn earlier_term_is_committed() -> Property<RaftModel> {
    Property::sometimes("an entry of an earlier term is committed", |_, state: &State| {
        state.history.committed.iter().any(|(&(_, term), &by)| term < by)
    })
}

/// An entry that some server had gives way to another.
pub(super) fn commands_are_committed() -> Property<RaftModel> {
    Property::sometimes("all commands are committed everywhere", |model, state: &State| {
        state.each_server().all(|server| {
            let commit = server.raft.log.commit();
            let is_done =
                |entry: &&Entry| entry.index() <= commit && entry.kind() == EntryKind::Commands;
            server.log().iter().filter(is_done).count() == usize::from(model.bound.commands)
        })
    })
}

/// The change of configuration goes through.
pub(super) fn change_completes() -> Property<RaftModel> {
    Property::sometimes("the change of configuration completes", |_, state: &State| {
        state.each_server().any(|server| {
            let committed = server.raft.log.committed_configuration_index();
            let log = server.log();
            let entry = log.iter().find(|entry| entry.index() == committed);
            let decoded = entry.and_then(|entry| Configuration::decode(entry.body()).ok());
            decoded.is_some_and(|configuration| !configuration.is_joint())
        })
    })
}

/// Where two logs hold the same position, they agree on everything up to it.
fn match_up(one: &[Entry], other: &[Entry]) -> bool {
    let same =
        one.iter().zip(other).rposition(|(a, b)| (a.index(), a.term()) == (b.index(), b.term()));
    same.is_none_or(|last| one[..=last] == other[..=last])
}
