//! Histories that are linearizable because a real map made them: each operation takes effect on it
//! at one moment between its call and its answer.

use std::collections::BTreeMap;

use crate::prng::Prng;
use crate::sim::history::{Call, History, Key, OperationId, Return, Value};
use crate::types::Revision;

/// What kind of history to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) clients: u32,
    pub(super) keys: u64,
    pub(super) operations: usize,
    /// Of 100 writes, how many lose their answers.
    pub(super) unknown_percent: u64,
    /// Of 100 operations, how many are about key 0.
    pub(super) hot_percent: u64,
    pub(super) with_stale_reads: bool,
}

/// A history of `shape`.
pub(super) fn valid(shape: Shape, prng: &mut Prng) -> History {
    let idle = || Client::Idle;
    let mut world = World {
        shape,
        now_us: 0,
        map: BTreeMap::new(),
        log: Vec::new(),
        history: History::new(),
        clients: (0..shape.clients).map(|_| idle()).collect(),
        lost: Vec::new(),
    };
    while world.history.operations.len() < shape.operations {
        world.step(prng);
    }
    // Some calls stay open at the end: their fate is unknown too.
    for client in 0..shape.clients {
        if prng.below(4) > 0 {
            world.finish(client, prng);
        }
    }
    world.history
}

struct World {
    shape: Shape,
    now_us: u64,
    map: BTreeMap<Key, (Value, Revision)>,
    /// Every write, in order.
    log: Vec<(Key, Option<Value>)>,
    history: History,
    clients: Vec<Client>,
    /// Writes without an answer that may still take effect.
    lost: Vec<Call>,
}

/// Where a client's operation is.
enum Client {
    Idle,
    Called(OperationId),
    Done(OperationId, Return),
}

impl World {
    /// Time goes on a little, or not at all, and one thing happens.
    fn step(&mut self, prng: &mut Prng) {
        self.now_us += prng.below(3);
        if !self.lost.is_empty() && prng.below(12) == 0 {
            let call = self.lost.swap_remove(prng.below(self.lost.len() as u64) as usize);
            if prng.below(3) > 0 {
                self.apply(call, prng);
            }
            return;
        }
        let client = prng.below(u64::from(self.shape.clients)) as u32;
        self.advance(client, prng);
    }

    fn finish(&mut self, client: u32, prng: &mut Prng) {
        while !matches!(self.clients[client as usize], Client::Idle) {
            self.now_us += prng.below(3);
            self.advance(client, prng);
        }
    }

    fn advance(&mut self, client: u32, prng: &mut Prng) {
        let state = std::mem::replace(&mut self.clients[client as usize], Client::Idle);
        self.clients[client as usize] = match state {
            Client::Idle => {
                // Later than this client's last answer.
                self.now_us += 1;
                let call = self.random_call(prng);
                Client::Called(self.history.begin(client, call, self.now_us))
            }
            Client::Called(id) => Client::Done(id, self.take_effect(id, prng)),
            Client::Done(id, answer) => {
                let unanswered = answer == Return::Unknown && prng.below(2) == 0;
                if !unanswered {
                    self.history.finish(id, answer, self.now_us);
                }
                Client::Idle
            }
        };
    }

    fn random_call(&self, prng: &mut Prng) -> Call {
        let is_hot = prng.below(100) < self.shape.hot_percent;
        let key = Key(if is_hot { 0 } else { prng.below(self.shape.keys) as u16 });
        let value = Value(self.history.operations.len() as u64 + 1);
        match prng.below(20) {
            0..8 => Call::Set { key, value },
            8..11 => Call::Delete { key },
            11..13 => Call::List,
            13..15 if self.shape.with_stale_reads => Call::StaleGet { key },
            13..20 => Call::Get { key },
            _ => unreachable!("drawn below 20"),
        }
    }

    fn take_effect(&mut self, id: OperationId, prng: &mut Prng) -> Return {
        let call = self.history.operations[id.0].call;
        if prng.below(100) < 3 {
            return Return::NotDone;
        }
        if call.is_write() && prng.below(100) < self.shape.unknown_percent {
            self.lost.push(call);
            return Return::Unknown;
        }
        self.apply(call, prng)
    }

    fn apply(&mut self, call: Call, prng: &mut Prng) -> Return {
        match call {
            Call::Set { key, value } => {
                let revision = self.commit(key, Some(value));
                self.map.insert(key, (value, revision));
                Return::Written(revision)
            }
            Call::Delete { key } => {
                self.map.remove(&key);
                Return::Written(self.commit(key, None))
            }
            Call::Get { key } => Return::Read(self.map.get(&key).copied()),
            Call::StaleGet { key } => {
                let moment = prng.below(self.log.len() as u64 + 1) as usize;
                let past = self.log[..moment].iter().zip(1..);
                let last = past.filter(|((written, _), _)| *written == key).last();
                Return::Read(
                    last.and_then(|((_, value), at)| value.map(|value| (value, Revision(at)))),
                )
            }
            Call::List => Return::Listed(self.map.clone()),
        }
    }

    fn commit(&mut self, key: Key, value: Option<Value>) -> Revision {
        self.log.push((key, value));
        Revision(self.log.len() as u64)
    }
}
