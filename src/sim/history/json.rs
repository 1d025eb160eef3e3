//! Histories as JSON lines, one operation a line, for other checkers and for replaying one here.
//!
//! ```text
//! {"client":0,"call":"set","key":1,"value":7,"invoked_us":10,"returned_us":20,"return":"written","revision":3}
//! {"client":1,"call":"get","key":1,"invoked_us":15,"returned_us":31,"return":"read","value":7,"revision":3}
//! {"client":1,"call":"get","key":2,"invoked_us":40,"returned_us":44,"return":"read"}
//! {"client":0,"call":"list","invoked_us":40,"returned_us":50,"return":"listed","listed":[[1,7,3]]}
//! {"client":2,"call":"delete","key":1,"invoked_us":25}
//! ```
//!
//! `return` is also `not_done` or `unknown`; without one the call was never answered. `value` is
//! what a `set` writes or a read found. `listed` has key, value and revision of each entry.

use serde::{Deserialize, Serialize};

use crate::types::Revision;

use super::{Call, History, Key, Operation, Return, Value};

/// Why a text is not a history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A line is not an object of the form above.
    #[error("line {line}: {source}")]
    Json {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line is well-formed, but no operation.
    #[error("line {line}: {what}")]
    Meaning {
        /// The number of the line, from 1.
        line: usize,
        /// What is missing or does not fit.
        what: &'static str,
    },
}

/// An operation as it stands on a line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    client: u32,
    call: CallName,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    invoked_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned_us: Option<u64>,
    #[serde(rename = "return", skip_serializing_if = "Option::is_none")]
    answer: Option<ReturnName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<Vec<(Key, Value, u64)>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CallName {
    Set,
    Delete,
    Get,
    StaleGet,
    List,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReturnName {
    Written,
    Read,
    Listed,
    NotDone,
    Unknown,
}

impl History {
    /// The history as JSON lines.
    #[must_use]
    pub fn to_json_lines(&self) -> String {
        let lines = self.operations.iter().map(|operation| {
            let line = serde_json::to_string(&Line::from_operation(operation));
            line.expect("numbers and names have a JSON form") + "\n"
        });
        lines.collect()
    }

    /// The history that [`History::to_json_lines`] wrote.
    ///
    /// # Errors
    /// When a line is not an operation, or begins before the line above it.
    pub fn from_json_lines(text: &str) -> Result<History, HistoryError> {
        let mut operations: Vec<Operation> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let parsed: Line =
                serde_json::from_str(text).map_err(|source| HistoryError::Json { line, source })?;
            let operation =
                parsed.to_operation().map_err(|what| HistoryError::Meaning { line, what })?;
            if operations.last().is_some_and(|last| operation.invoked_us < last.invoked_us) {
                return Err(HistoryError::Meaning { line, what: "invoked before the line above" });
            }
            operations.push(operation);
        }
        Ok(History { operations })
    }
}

impl Line {
    fn from_operation(operation: &Operation) -> Line {
        let (call, value) = match operation.call {
            Call::Set { value, .. } => (CallName::Set, Some(value)),
            Call::Delete { .. } => (CallName::Delete, None),
            Call::Get { .. } => (CallName::Get, None),
            Call::StaleGet { .. } => (CallName::StaleGet, None),
            Call::List => (CallName::List, None),
        };
        let mut line = Line {
            client: operation.client,
            call,
            key: operation.call.key(),
            value,
            invoked_us: operation.invoked_us,
            returned_us: operation.returned.as_ref().map(|(at_us, _)| *at_us),
            answer: None,
            revision: None,
            listed: None,
        };
        if let Some((_, answer)) = &operation.returned {
            line.set_answer(answer);
        }
        line
    }

    fn set_answer(&mut self, answer: &Return) {
        self.answer = Some(match answer {
            Return::Written(revision) => {
                self.revision = Some(revision.0);
                ReturnName::Written
            }
            Return::Read(found) => {
                self.value = found.map(|(value, _)| value);
                self.revision = found.map(|(_, revision)| revision.0);
                ReturnName::Read
            }
            Return::Listed(entries) => {
                let entries = entries.iter();
                let flat = entries.map(|(key, (value, revision))| (*key, *value, revision.0));
                self.listed = Some(flat.collect());
                ReturnName::Listed
            }
            Return::NotDone => ReturnName::NotDone,
            Return::Unknown => ReturnName::Unknown,
        });
    }

    fn to_operation(&self) -> Result<Operation, &'static str> {
        let key = || self.key.ok_or("this call needs a key");
        let call = match self.call {
            CallName::Set => {
                Call::Set { key: key()?, value: self.value.ok_or("a set needs a value")? }
            }
            CallName::Delete => Call::Delete { key: key()? },
            CallName::Get => Call::Get { key: key()? },
            CallName::StaleGet => Call::StaleGet { key: key()? },
            CallName::List => Call::List,
        };
        let returned = match (self.answer, self.returned_us) {
            (Some(name), Some(at_us)) => Some((at_us, self.to_answer(name)?)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err("return and returned_us need each other");
            }
        };
        if returned.as_ref().is_some_and(|(_, answer)| !call.may_return(answer)) {
            return Err("this call cannot return this");
        }
        if returned.as_ref().is_some_and(|(at_us, _)| *at_us < self.invoked_us) {
            return Err("returned before it was invoked");
        }
        Ok(Operation { client: self.client, call, invoked_us: self.invoked_us, returned })
    }

    fn to_answer(&self, name: ReturnName) -> Result<Return, &'static str> {
        Ok(match name {
            ReturnName::Written => {
                Return::Written(Revision(self.revision.ok_or("a write needs its revision")?))
            }
            ReturnName::Read => Return::Read(match (self.value, self.revision) {
                (Some(value), Some(revision)) => Some((value, Revision(revision))),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => {
                    return Err("a value and its revision need each other");
                }
            }),
            ReturnName::Listed => {
                let listed = self.listed.as_ref().ok_or("a list needs its entries")?.iter();
                Return::Listed(
                    listed.map(|(key, value, at)| (*key, (*value, Revision(*at)))).collect(),
                )
            }
            ReturnName::NotDone => Return::NotDone,
            ReturnName::Unknown => Return::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Every kind of call with every kind of answer that it can have.
    pub(in crate::sim::history) fn all_kinds() -> History {
        let key = Key(12);
        let found = (Value(7), Revision(3));
        let calls = [
            (Call::Set { key, value: Value(7) }, Some(Return::Written(Revision(3)))),
            (Call::Get { key }, Some(Return::Read(Some(found)))),
            (Call::StaleGet { key }, Some(Return::Read(None))),
            (Call::List, Some(Return::Listed(BTreeMap::from([(key, found)])))),
            (Call::Delete { key }, Some(Return::NotDone)),
            (Call::Delete { key }, Some(Return::Unknown)),
            (Call::Delete { key }, None),
        ];
        let mut history = History::new();
        for (at_us, (call, answer)) in (10..).step_by(10).zip(calls) {
            let id = history.begin(0, call, at_us);
            if let Some(answer) = answer {
                history.finish(id, answer, at_us + 5);
            }
        }
        history
    }

    #[test]
    fn what_is_written_is_read_back() {
        let history = all_kinds();
        let text = history.to_json_lines();
        assert_eq!(History::from_json_lines(&text).expect("it was just written"), history);
    }

    #[test]
    fn a_line_names_what_it_says() {
        let text = all_kinds().to_json_lines();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"client":0,"call":"set","key":12,"value":7,"invoked_us":10,"returned_us":15,"return":"written","revision":3}"#
        );
        assert_eq!(
            lines[3],
            r#"{"client":0,"call":"list","invoked_us":40,"returned_us":45,"return":"listed","listed":[[12,7,3]]}"#
        );
        assert_eq!(lines[6], r#"{"client":0,"call":"delete","key":12,"invoked_us":70}"#);
    }

    #[test]
    fn a_bad_line_is_named() {
        let refused = |text: &str| match History::from_json_lines(text) {
            Ok(history) => panic!("{history:?}"),
            Err(error) => error.to_string(),
        };
        assert!(refused("\n").starts_with("line 1: EOF"));
        let set = r#"{"client":0,"call":"set","key":1,"invoked_us":1}"#;
        assert_eq!(refused(set), "line 1: a set needs a value");
        let get =
            r#"{"client":0,"call":"get","key":1,"invoked_us":9,"returned_us":8,"return":"read"}"#;
        assert_eq!(refused(get), "line 1: returned before it was invoked");
        let list = r#"{"client":0,"call":"list","invoked_us":1,"returned_us":8,"return":"read"}"#;
        assert_eq!(refused(list), "line 1: this call cannot return this");
        let late = r#"{"client":0,"call":"list","invoked_us":5}"#;
        let early = r#"{"client":0,"call":"list","invoked_us":4}"#;
        assert_eq!(refused(&format!("{late}\n{early}")), "line 2: invoked before the line above");
    }
}
