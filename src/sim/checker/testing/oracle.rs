//! The checker of the crate `todc-utils`, with mökv's two sequential specifications: the whole map
//! with its revisions, and one register without them.
//!
//! It is a textbook Wing-Gong-Lowe search with none of our shortcuts, so an unknown write is a write
//! that ends after all else.

use std::collections::BTreeMap;

use todc_utils::{Action, History as Actions, Specification, WGLChecker};

use crate::sim::history::{Call, History, Key, Return, Value};
use crate::types::Revision;

/// Whether a history without its stale reads is one of a map.
pub(super) fn is_map(history: &History) -> bool {
    is_linearizable::<MapSpecification>(history, |call, answer| match call {
        Call::StaleGet { .. } => None,
        Call::Set { .. } | Call::Delete { .. } | Call::Get { .. } | Call::List => {
            Some((*call, answer.cloned()))
        }
    })
}

/// Whether the values of one key in a history are those of a register.
pub(super) fn is_register(history: &History, key: Key) -> bool {
    let value_of = |found: &Option<(Value, Revision)>| found.map(|(value, _)| value);
    is_linearizable::<RegisterSpecification>(history, |call, answer| match (call, answer) {
        (Call::Set { key: of, value }, _) if *of == key => Some(Register::Write(Some(*value))),
        (Call::Delete { key: of }, _) if *of == key => Some(Register::Write(None)),
        (Call::Get { key: of }, Some(Return::Read(found))) if *of == key => {
            Some(Register::Read(value_of(found)))
        }
        (Call::List, Some(Return::Listed(listed))) => {
            Some(Register::Read(value_of(&listed.get(&key).copied())))
        }
        _ => None,
    })
}

/// Asks the other checker, with what `translate` makes of each operation that has an effect.
fn is_linearizable<S: Specification>(
    history: &History,
    translate: impl Fn(&Call, Option<&Return>) -> Option<S::Operation>,
) -> bool {
    let mut moments = Vec::new();
    for (id, operation) in history.operations.iter().enumerate() {
        let counts = match operation.answer() {
            Some((_, answer)) => *answer != Return::NotDone,
            None => operation.may_have_written(),
        };
        let answer = operation.answer().map(|(_, answer)| answer);
        if let Some(translated) = translate(&operation.call, answer).filter(|_| counts) {
            let end_us = operation.answer().map_or(u64::MAX, |(at_us, _)| at_us);
            moments.push(((operation.invoked_us, false, id), translated.clone()));
            moments.push(((end_us, true, id), translated));
        }
    }
    if moments.is_empty() {
        return true;
    }
    moments.sort_by_key(|(moment, _)| *moment);
    let actions = moments.into_iter().map(|((_, is_answer, id), operation)| {
        let action = if is_answer { Action::Response(operation) } else { Action::Call(operation) };
        (id, action)
    });
    WGLChecker::<S>::is_linearizable(Actions::from_actions(actions.collect()))
}

struct MapSpecification;

impl Specification for MapSpecification {
    /// How many writes there were, and each key's value with its revision.
    type State = (u64, BTreeMap<u16, (u64, u64)>);
    type Operation = (Call, Option<Return>);

    fn init() -> Self::State {
        (0, BTreeMap::new())
    }

    fn apply((call, answer): &Self::Operation, state: &Self::State) -> (bool, Self::State) {
        let (last, map) = state;
        let revision = last + 1;
        let flat = |(value, revision): (Value, Revision)| (value.0, revision.0);
        let mut map = map.clone();
        match call {
            Call::Set { key, value } => drop(map.insert(key.0, (value.0, revision))),
            Call::Delete { key } => drop(map.remove(&key.0)),
            Call::Get { .. } | Call::StaleGet { .. } | Call::List => {}
        }
        let is_valid = match (call, answer) {
            (_, None) => true,
            (_, Some(Return::Written(told))) => told.0 == revision,
            (Call::Get { key }, Some(Return::Read(found))) => {
                map.get(&key.0).copied() == found.map(flat)
            }
            (_, Some(Return::Listed(listed))) => {
                let listed = listed.iter().map(|(key, found)| (key.0, flat(*found)));
                map == listed.collect::<BTreeMap<_, _>>()
            }
            (call, Some(answer)) => unreachable!("{call} was translated with {answer}"),
        };
        let after = if call.is_write() { (revision, map) } else { state.clone() };
        if is_valid { (true, after) } else { (false, state.clone()) }
    }
}

struct RegisterSpecification;

#[derive(Clone, Debug)]
enum Register {
    Write(Option<Value>),
    Read(Option<Value>),
}

impl Specification for RegisterSpecification {
    type State = Option<u64>;
    type Operation = Register;

    fn init() -> Self::State {
        None
    }

    fn apply(operation: &Register, state: &Self::State) -> (bool, Self::State) {
        match operation {
            Register::Write(value) => (true, value.map(|value| value.0)),
            Register::Read(found) => (found.map(|value| value.0) == *state, *state),
        }
    }
}
