//! Histories as EDN, the form of Jepsen, Knossos and Elle: an event a line, calls and answers apart.
//!
//! ```text
//! {:index 0, :time 10000, :type :invoke, :process 0, :f :write, :key "k12", :value 7}
//! {:index 1, :time 15000, :type :ok, :process 0, :f :write, :key "k12", :value 7, :revision 3}
//! ```
//!
//! A delete is a `:write` of `nil`, so that Knossos' register model reads one key's events as they
//! are. `:fail` surely had no effect; `:info` is unknown. A process in Jepsen has one call at a time
//! and dies of an unknown one: the client's next call is from a process with a new number.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Call, History, Operation, Return};

impl History {
    /// The history as EDN, one map a line; times are in nanoseconds.
    #[must_use]
    pub fn to_edn(&self) -> String {
        let processes = self.processes();
        let mut events: Vec<_> = self.operations.iter().enumerate().flat_map(events).collect();
        events.sort_unstable();
        let mut text = String::new();
        for (index, (at_us, moment, id)) in events.into_iter().enumerate() {
            let operation = &self.operations[id];
            let (kind, fields) = match moment {
                Moment::Invocation => ("invoke", invocation_fields(&operation.call)),
                Moment::Completion => completion(operation),
            };
            let time_ns = u128::from(at_us) * 1000;
            let (process, f) = (processes[id], f_name(&operation.call));
            let head = format!(":index {index}, :time {time_ns}, :type :{kind}");
            writeln!(text, "{{{head}, :process {process}, :f :{f}{fields}}}")
                .expect("a String takes all");
        }
        text
    }

    /// The process of every operation: a client's number until it has an unknown call, then one that
    /// no client has had.
    fn processes(&self) -> Vec<u32> {
        let mut unused = self.operations.iter().map(|op| op.client + 1).max().unwrap_or(0);
        let mut current: BTreeMap<u32, u32> = BTreeMap::new();
        let mut of_operations = Vec::with_capacity(self.operations.len());
        for operation in &self.operations {
            let process = current.entry(operation.client).or_insert(operation.client);
            of_operations.push(*process);
            if operation.answer().is_none() {
                *process = unused;
                unused += 1;
            }
        }
        of_operations
    }
}

/// At equal times a call comes before an answer: the two operations may have overlapped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Invocation,
    Completion,
}

fn events((id, operation): (usize, &Operation)) -> impl Iterator<Item = (u64, Moment, usize)> {
    let call = (operation.invoked_us, Moment::Invocation, id);
    let answer = operation.returned.as_ref().map(|(at_us, _)| (*at_us, Moment::Completion, id));
    [call].into_iter().chain(answer)
}

fn f_name(call: &Call) -> &'static str {
    match call {
        Call::Set { .. } | Call::Delete { .. } => "write",
        Call::Get { .. } => "read",
        Call::StaleGet { .. } => "stale-read",
        Call::List => "list",
    }
}

fn invocation_fields(call: &Call) -> String {
    match call {
        Call::Set { key, value } => format!(", :key \"{key}\", :value {}", value.0),
        Call::Delete { key } | Call::Get { key } | Call::StaleGet { key } => {
            format!(", :key \"{key}\", :value nil")
        }
        Call::List => ", :value nil".to_owned(),
    }
}

/// The type of an answered operation's second event, and its fields.
fn completion(operation: &Operation) -> (&'static str, String) {
    let asked = invocation_fields(&operation.call);
    match &operation.returned {
        None | Some((_, Return::Unknown)) => ("info", asked),
        Some((_, Return::NotDone)) => ("fail", asked),
        Some((_, Return::Written(revision))) => ("ok", format!("{asked}, :revision {revision}")),
        Some((_, Return::Read(None))) => ("ok", asked),
        Some((_, Return::Read(Some((value, revision))))) => {
            let key = operation.call.key().expect("a read is of one key");
            ("ok", format!(", :key \"{key}\", :value {}, :revision {revision}", value.0))
        }
        Some((_, Return::Listed(entries))) => {
            let entries = entries.iter();
            let shown = entries.map(|(key, (value, at))| format!("\"{key}\" [{} {at}]", value.0));
            ("ok", format!(", :value {{{}}}", shown.collect::<Vec<_>>().join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::types::Revision;

    use super::super::{Key, Value};
    use super::*;

    #[test]
    fn calls_and_answers_stand_in_the_order_of_time() {
        let mut history = History::new();
        let key = Key(12);
        let set = history.begin(0, Call::Set { key, value: Value(7) }, 10);
        let get = history.begin(1, Call::Get { key }, 11);
        let list = history.begin(2, Call::List, 15);
        history.finish(set, Return::Written(Revision(3)), 15);
        history.finish(get, Return::Read(None), 15);
        let entry = (Value(7), Revision(3));
        history.finish(list, Return::Listed(BTreeMap::from([(key, entry)])), 20);
        let expected = r#"
{:index 0, :time 10000, :type :invoke, :process 0, :f :write, :key "k12", :value 7}
{:index 1, :time 11000, :type :invoke, :process 1, :f :read, :key "k12", :value nil}
{:index 2, :time 15000, :type :invoke, :process 2, :f :list, :value nil}
{:index 3, :time 15000, :type :ok, :process 0, :f :write, :key "k12", :value 7, :revision 3}
{:index 4, :time 15000, :type :ok, :process 1, :f :read, :key "k12", :value nil}
{:index 5, :time 20000, :type :ok, :process 2, :f :list, :value {"k12" [7 3]}}
"#;
        assert_eq!(history.to_edn(), expected.trim_start());
    }

    #[test]
    fn a_process_dies_of_an_unknown_call() {
        let mut history = History::new();
        let key = Key(1);
        let lost = history.begin(0, Call::Delete { key }, 1);
        history.finish(lost, Return::Unknown, 2);
        history.begin(0, Call::Delete { key }, 3);
        let failed = history.begin(1, Call::Delete { key }, 4);
        history.finish(failed, Return::NotDone, 5);
        history.begin(1, Call::Get { key }, 6);
        let expected = r#"
{:index 0, :time 1000, :type :invoke, :process 0, :f :write, :key "k1", :value nil}
{:index 1, :time 2000, :type :info, :process 0, :f :write, :key "k1", :value nil}
{:index 2, :time 3000, :type :invoke, :process 2, :f :write, :key "k1", :value nil}
{:index 3, :time 4000, :type :invoke, :process 1, :f :write, :key "k1", :value nil}
{:index 4, :time 5000, :type :fail, :process 1, :f :write, :key "k1", :value nil}
{:index 5, :time 6000, :type :invoke, :process 1, :f :read, :key "k1", :value nil}
"#;
        assert_eq!(history.to_edn(), expected.trim_start());
    }
}
