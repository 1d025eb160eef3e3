//! Clients that ask random members, and remember what they were told.
//!
//! ```text
//!   idle ── picks a request and a member ──> waiting ── answer, or none in time ──> idle
//! ```
//!
//! Each client has one request open. One that never heard what became of a write goes on as a new
//! client, as its old request may still take effect at any time. Every value is written once. Work
//! comes in bursts around what goes wrong, much of it at the machine that it happens to. A run has so
//! many requests and not more, or the history could not be checked; they are spread over its time.

use std::collections::BTreeMap;

use super::history::{Call, History, Key, OperationId, Return, Value};
use super::plan::{Plan, Request};
use crate::node::Ticket;
use crate::prng::Prng;

/// A client waits this long for an answer, in µs: some give up before the server does.
const PATIENCE_US: (u64, u64) = (500_000, 8_000_000);
/// Between two requests of a client in a burst, in µs.
const BUSY_PAUSE_US: u64 = 20_000;
/// And at other times.
const IDLE_PAUSE_US: u64 = 20_000_000;
/// How long a burst lasts, at most.
const BURST_US: u64 = 1_500_000;
/// So many requests may be made before their time.
const HEAD_START: u64 = 60;

/// All clients of a run.
#[derive(Debug)]
pub(super) struct Workload {
    prng: Prng,
    history: History,
    clients: Vec<Client>,
    kinds: Vec<Request>,
    keys: u16,
    value_bytes: usize,
    max_requests: usize,
    /// When the run began and how long requests are made, in µs.
    began_us: u64,
    duration_us: u64,
    next_value: u64,
    next_ticket: u64,
    /// Names given to clients so far.
    names: u32,
    burst_until_us: u64,
    /// The machine that half of the requests go to.
    focus: Option<usize>,
    /// Requests without an answer.
    open: BTreeMap<Ticket, Open>,
}

#[derive(Debug)]
struct Client {
    name: u32,
    /// Its open request.
    waits_for: Option<Ticket>,
    /// Counts its plans: an older one is void.
    plans: u32,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    client: usize,
    operation: OperationId,
}

/// A client's next step, when its time comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) client: usize,
    plan: u32,
}

/// A request to send.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) ticket: Ticket,
    pub(super) call: Call,
    pub(super) value_bytes: usize,
    pub(super) host: usize,
}

impl Workload {
    pub(super) fn new(plan: &Plan, now_us: u64) -> Workload {
        let client = |name| Client { name, waits_for: None, plans: 0 };
        Workload {
            prng: Prng::new(plan.seed ^ 0x776f_726b),
            history: History::new(),
            clients: (0..plan.clients as u32).map(client).collect(),
            kinds: plan.requests.iter().copied().collect(),
            keys: plan.keys,
            value_bytes: plan.value_bytes,
            max_requests: plan.max_requests,
            began_us: now_us,
            duration_us: plan.duration_ms * 1_000,
            next_value: 0,
            next_ticket: 0,
            names: plan.clients as u32,
            burst_until_us: 0,
            focus: None,
            open: BTreeMap::new(),
        }
    }

    /// What clients saw.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Plans the next step of a client; what was planned before is void.
    pub(super) fn plan(&mut self, client: usize, now_us: u64) -> (u64, Step) {
        let pause_us = if now_us < self.burst_until_us { BUSY_PAUSE_US } else { IDLE_PAUSE_US };
        let at_us = now_us + self.prng.below(pause_us);
        (at_us, self.step(client))
    }

    /// Begins a burst: all clients that wait for nothing ask soon, and half of the requests from now on
    /// go to `focus`.
    pub(super) fn burst(&mut self, focus: usize, now_us: u64) -> Vec<(u64, Step)> {
        self.burst_until_us = now_us + self.prng.below(BURST_US);
        self.focus = Some(focus);
        let idle = (0..self.clients.len()).filter(|at| self.clients[*at].waits_for.is_none());
        let idle: Vec<usize> = idle.collect();
        idle.into_iter().map(|client| self.plan(client, now_us)).collect()
    }

    /// A client's time has come: it asks one of `hosts` members, or gives up waiting. Then also
    /// comes when to look at it again.
    pub(super) fn act(
        &mut self,
        step: Step,
        hosts: usize,
        now_us: u64,
    ) -> Option<(u64, Step, Option<Sent>)> {
        let client = step.client;
        if self.clients[client].plans != step.plan {
            return None;
        }
        if let Some(ticket) = self.clients[client].waits_for.take() {
            self.give_up(ticket, now_us);
            let (at_us, step) = self.plan(client, now_us);
            return Some((at_us, step, None));
        }
        if self.history.operations.len() >= self.allowed(now_us) {
            let at_us = now_us + self.prng.below(IDLE_PAUSE_US);
            return Some((at_us, self.step(client), None));
        }
        let call = self.pick();
        let any = self.prng.below(hosts as u64) as usize;
        let is_focused = self.prng.below(2) == 0;
        let host = self.focus.filter(|_| is_focused).unwrap_or(any);
        let sent = self.send(client, call, host, now_us);
        let (least, most) = PATIENCE_US;
        let at_us = now_us + least + self.prng.below(most - least);
        Some((at_us, self.step(client), Some(sent)))
    }

    /// A given request of a client that waits for nothing.
    pub(super) fn send(&mut self, client: usize, call: Call, host: usize, now_us: u64) -> Sent {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let operation = self.history.begin(self.clients[client].name, call, now_us);
        self.open.insert(ticket, Open { client, operation });
        self.clients[client].waits_for = Some(ticket);
        let value_bytes = 1 + self.prng.below(self.value_bytes as u64) as usize;
        Sent { ticket, call, value_bytes, host }
    }

    /// The answer to a request, unless its client has given up. Returns the client.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        answer: Return,
        now_us: u64,
    ) -> Option<usize> {
        let Open { client, operation } = self.open.remove(&ticket)?;
        let is_unknown = answer == Return::Unknown;
        self.history.finish(operation, answer, now_us);
        self.clients[client].waits_for = None;
        if is_unknown {
            self.rename(client);
        }
        Some(client)
    }

    /// The answers so far, by ticket: what a ticket was answered.
    pub(super) fn answer_of(&self, operation: OperationId) -> Option<&Return> {
        self.history.operations[operation.0].answer().map(|(_, answer)| answer)
    }

    /// Where the operation of an open request stands in the history.
    pub(super) fn operation(&self, ticket: Ticket) -> Option<OperationId> {
        self.open.get(&ticket).map(|open| open.operation)
    }

    /// Gives up everything that is open, and makes all clients idle for good.
    pub(super) fn stop(&mut self, now_us: u64) {
        self.max_requests = 0;
        for client in 0..self.clients.len() {
            if let Some(ticket) = self.clients[client].waits_for.take() {
                self.give_up(ticket, now_us);
            }
            self.clients[client].plans += 1;
        }
    }

    /// One more client, which asks only what it is told to.
    pub(super) fn add_client(&mut self) -> usize {
        self.clients.push(Client { name: self.names, waits_for: None, plans: 0 });
        self.names += 1;
        self.clients.len() - 1
    }

    /// A fresh value.
    pub(super) fn value(&mut self) -> Value {
        self.next_value += 1;
        Value(self.next_value)
    }

    /// How many requests may have been made by now.
    fn allowed(&self, now_us: u64) -> usize {
        let elapsed_us = (now_us - self.began_us).min(self.duration_us);
        let due = self.max_requests as u64 * elapsed_us / self.duration_us.max(1);
        self.max_requests.min((HEAD_START + due) as usize)
    }

    fn step(&mut self, client: usize) -> Step {
        self.clients[client].plans += 1;
        Step { client, plan: self.clients[client].plans }
    }

    fn give_up(&mut self, ticket: Ticket, now_us: u64) {
        if let Some(Open { client, operation }) = self.open.remove(&ticket) {
            self.history.finish(operation, Return::Unknown, now_us);
            self.rename(client);
        }
    }

    fn rename(&mut self, client: usize) {
        self.clients[client].name = self.names;
        self.names += 1;
    }

    fn pick(&mut self) -> Call {
        let kind = self.kinds[self.prng.below(self.kinds.len() as u64) as usize];
        // Half of all requests are about the first key.
        let key = self.prng.below(2) * self.prng.below(u64::from(self.keys));
        let key = Key(key as u16);
        match kind {
            Request::Set => Call::Set { key, value: self.value() },
            Request::Delete => Call::Delete { key },
            Request::Get => Call::Get { key },
            Request::List => Call::List,
            Request::StaleGet => Call::StaleGet { key },
        }
    }
}
