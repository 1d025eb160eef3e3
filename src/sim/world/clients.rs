//! Requests on their way to processes, and answers on their way back.

use super::{Event, World};
use crate::node::Ticket;
use crate::sim::history::{Call, OperationId, Return};
use crate::sim::server::{Input, Read, encode_key, encode_value};
use crate::sim::workload::{Sent, Step};
use crate::types::Command;

impl World {
    /// Begins a burst of requests, many of them to a machine.
    pub(in crate::sim) fn burst(&mut self, focus: usize) {
        for (at_us, step) in self.workload.burst(focus, self.now_us) {
            self.queue.push(at_us, Event::Client(step));
        }
    }

    /// Sends a request of an idle client to a machine.
    pub(in crate::sim) fn ask(&mut self, client: usize, call: Call, host: usize) -> OperationId {
        let sent = self.workload.send(client, call, host, self.now_us);
        let operation = self.workload.operation(sent.ticket).expect("it was just sent");
        self.post(sent);
        operation
    }

    pub(super) fn client(&mut self, step: Step) {
        let hosts = self.hosts.len();
        let Some((at_us, next, sent)) = self.workload.act(step, hosts, self.now_us) else { return };
        self.queue.push(at_us, Event::Client(next));
        if let Some(sent) = sent {
            self.post(sent);
        }
    }

    pub(super) fn answered(&mut self, ticket: Ticket, answer: Return) {
        self.trace.note(ticket.0);
        if let Some(client) = self.workload.answered(ticket, answer, self.now_us) {
            // A client calls again later than it was answered.
            let (at_us, step) = self.workload.plan(client, self.now_us + 1);
            self.queue.push(at_us, Event::Client(step));
        }
    }

    fn post(&mut self, sent: Sent) {
        let Sent { ticket, call, value_bytes, host } = sent;
        self.tally.requests += 1;
        let input = match call {
            Call::Set { key, value } => {
                let (key, value) = (encode_key(key), encode_value(value, value_bytes));
                Input::Write { ticket, command: Command::Set { key, value } }
            }
            Call::Delete { key } => {
                Input::Write { ticket, command: Command::Delete { key: encode_key(key) } }
            }
            Call::Get { key } => Input::Read { ticket, read: Read::Get(key) },
            Call::List => Input::Read { ticket, read: Read::List },
            Call::StaleGet { key } => Input::StaleGet { ticket, key },
        };
        self.hosts[host].asked.insert(ticket);
        let after_us = self.network.delay_us();
        self.plan_event(after_us, Event::Arrive { host, life: None, input });
    }

    /// What cannot be taken in: a request is refused, so its client knows that nothing was done.
    pub(super) fn refuse(&mut self, host: usize, input: Input) {
        let ticket = match input {
            Input::Write { ticket, .. }
            | Input::Read { ticket, .. }
            | Input::StaleGet { ticket, .. } => ticket,
            _ => return,
        };
        self.hosts[host].asked.remove(&ticket);
        let after_us = self.network.delay_us();
        self.plan_event(after_us, Event::Answer { ticket, answer: Return::NotDone });
    }

    /// A process ended: whoever waits for it learns that its connection is gone.
    pub(super) fn fail_requests_of(&mut self, host: usize) {
        for ticket in std::mem::take(&mut self.hosts[host].asked) {
            let after_us = self.network.delay_us();
            self.plan_event(after_us, Event::Answer { ticket, answer: Return::Unknown });
        }
    }
}
