//! A deterministic network for this room's tests: many nodes, one virtual clock, one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::prng::Prng;
use crate::types::NodeId;

use super::config::{Config, Identity};
use super::member::{Claim, Precedence};
use super::message::{Body, Packet};
use super::{Effect, Gossip, Member, State, wire};

/// How long every message is on its way, in milliseconds.
const LATENCY_MS: u64 = 10;

pub(super) fn addr(host: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, (host >> 8) as u8, host as u8], 8401))
}

pub(super) fn identity(id: u64) -> Identity {
    Identity {
        id: NodeId(id),
        name: label(NodeId(id)),
        cluster: None,
        addr: addr(id),
        peer_addr: format!("n{id}.mokv:8401"),
        rpc_addr: format!("n{id}.mokv:8400"),
        incarnation: 1,
    }
}

/// Nodes 1, 2, 3 are called a, b, c in scripts and logs.
pub(super) fn label(id: NodeId) -> String {
    match u8::try_from(id.0) {
        Ok(id @ 1..=26) => char::from(b'a' + id - 1).to_string(),
        Ok(_) | Err(_) => id.0.to_string(),
    }
}

/// The network, and the nodes that run.
pub(super) struct Net {
    pub(super) now_ms: u64,
    /// Of a hundred datagrams, how many are lost.
    pub(super) loss_percent: u64,
    /// Whether each datagram is logged.
    pub(super) is_tracing: bool,
    nodes: BTreeMap<NodeId, Node>,
    prng: Prng,
    /// On their way, by arrival and then by the order of sending.
    messages: BTreeMap<(u64, u64), Message>,
    next_serial: u64,
    /// Directed: messages from the first to the second are lost.
    cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    /// The last that each node reported of each member.
    reported: BTreeMap<(NodeId, NodeId), Precedence>,
    log: String,
}

struct Node {
    gossip: Gossip,
    addr: SocketAddr,
    /// Until then it neither ticks nor reads.
    stalled_until_ms: u64,
}

struct Message {
    from: SocketAddr,
    to: SocketAddr,
    payload: Payload,
}

enum Payload {
    Packet(Bytes),
    Request(Bytes),
    Reply(Bytes),
    NoReply,
}

impl Net {
    pub(super) fn new(seed: u64) -> Net {
        Net {
            now_ms: 0,
            loss_percent: 0,
            is_tracing: false,
            nodes: BTreeMap::new(),
            prng: Prng::new(seed),
            messages: BTreeMap::new(),
            next_serial: 0,
            cuts: BTreeSet::new(),
            reported: BTreeMap::new(),
            log: String::new(),
        }
    }

    /// Starts a node, in place of an earlier process with its id.
    pub(super) fn start(&mut self, config: Config) {
        let (id, addr) = (config.identity.id, config.identity.addr);
        let gossip = Gossip::new(config, self.now_ms);
        self.reported.retain(|(at, _), _| *at != id);
        self.nodes.insert(id, Node { gossip, addr, stalled_until_ms: 0 });
    }

    /// The process ends without a word.
    pub(super) fn crash(&mut self, id: NodeId) {
        assert!(self.nodes.remove(&id).is_some(), "{} does not run", label(id));
    }

    /// Until `until_ms`, the process gets no CPU; what arrives waits in its sockets.
    pub(super) fn stall(&mut self, id: NodeId, until_ms: u64) {
        self.nodes.get_mut(&id).expect("it runs").stalled_until_ms = until_ms;
    }

    pub(super) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((self.nodes[&from].addr, self.nodes[&to].addr));
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn gossip(&self, id: NodeId) -> &Gossip {
        &self.nodes[&id].gossip
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Calls a node and carries out what it asks for.
    pub(super) fn call(&mut self, id: NodeId, call: impl FnOnce(&mut Gossip, u64)) {
        let node = self.nodes.get_mut(&id).expect("it runs");
        call(&mut node.gossip, self.now_ms);
        self.drain(id);
    }

    /// Hands a datagram to a node, as if from nowhere.
    pub(super) fn inject(&mut self, id: NodeId, bytes: &Bytes) {
        let to = self.nodes[&id].addr;
        self.deliver(id, &Message { from: addr(99), to, payload: Payload::Packet(bytes.clone()) });
        self.drain(id);
    }

    /// Lets time pass, and returns what was logged since the last call.
    pub(super) fn run(&mut self, for_ms: u64) -> String {
        let end_ms = self.now_ms + for_ms;
        while self.step(end_ms) {}
        self.now_ms = end_ms;
        std::mem::take(&mut self.log)
    }

    /// One event no later than `end_ms`; says whether there was one. A node that wakes from a stall
    /// ticks before it reads: the worst order.
    fn step(&mut self, end_ms: u64) -> bool {
        let ticks = self.nodes.iter().map(|(id, node)| {
            (node.gossip.next_deadline_ms().max(node.stalled_until_ms).max(self.now_ms), *id)
        });
        let tick = ticks.min().filter(|(at_ms, _)| *at_ms <= end_ms);
        let arrival = self.messages.keys().next().copied().filter(|(at_ms, _)| *at_ms <= end_ms);
        match (tick, arrival) {
            (Some((tick_ms, id)), arrival) if arrival.is_none_or(|(at_ms, _)| tick_ms <= at_ms) => {
                self.now_ms = tick_ms;
                self.call(id, |gossip, now_ms| gossip.tick(now_ms));
                let next_ms = self.nodes[&id].gossip.next_deadline_ms();
                assert!(next_ms > tick_ms, "a tick at {tick_ms} asks for one at {next_ms}");
                true
            }
            (_, Some(key)) => {
                self.now_ms = key.0;
                let message = self.messages.remove(&key).expect("it is the first");
                self.arrive(message);
                true
            }
            (_, None) => false,
        }
    }

    fn arrive(&mut self, message: Message) {
        let is_cut = self.cuts.contains(&(message.from, message.to));
        let node = self.nodes.iter().find(|(_, node)| node.addr == message.to);
        let receiver = node.map(|(id, node)| (*id, node.stalled_until_ms));
        match receiver.filter(|_| !is_cut) {
            Some((_, stalled_until_ms)) if stalled_until_ms > self.now_ms => {
                self.enqueue(stalled_until_ms, message);
            }
            Some((id, _)) => {
                self.deliver(id, &message);
                self.drain(id);
            }
            None => {
                if let Payload::Request(_) = message.payload {
                    let Message { from, to, .. } = message;
                    self.transmit(to, from, Payload::NoReply);
                }
            }
        }
    }

    fn deliver(&mut self, id: NodeId, message: &Message) {
        let (from, now_ms) = (message.from, self.now_ms);
        let gossip = &mut self.nodes.get_mut(&id).expect("it runs").gossip;
        let outcome = match &message.payload {
            Payload::Packet(bytes) => gossip.packet(from, bytes, now_ms),
            Payload::Reply(bytes) => gossip.push_pull_reply(bytes, now_ms).map(|_| ()),
            Payload::NoReply => {
                writeln!(self.log, "{now_ms:>6} {}: no reply from {from}", label(id))
                    .expect("a string takes all");
                gossip.push_pull_failed(now_ms);
                Ok(())
            }
            Payload::Request(bytes) => gossip.push_pull_request(bytes, now_ms).map(|reply| {
                self.transmit(message.to, from, Payload::Reply(reply));
            }),
        };
        if let Err(error) = outcome {
            self.log(id, &format!("refuses a message: {error}"));
            if let Payload::Request(_) = message.payload {
                self.transmit(message.to, from, Payload::NoReply);
            }
        }
    }

    fn drain(&mut self, id: NodeId) {
        let from = self.nodes[&id].addr;
        while let Some(effect) = self.nodes.get_mut(&id).and_then(|node| node.gossip.poll()) {
            match effect {
                Effect::Changed(member) => {
                    let is_first = !self.reported.contains_key(&(id, member.id));
                    let before = self.reported.insert((id, member.id), member.precedence());
                    assert!(
                        is_first || Some(member.precedence()) > before,
                        "{} goes back on {}",
                        label(id),
                        Shown(&member)
                    );
                    self.log(id, &Shown(&member).to_string());
                }
                Effect::PushPull { to, bytes } => {
                    if self.is_tracing {
                        self.log(id, &format!("-> {to} push-pull"));
                    }
                    self.transmit(from, to, Payload::Request(bytes));
                }
                Effect::SendPacket { to, bytes } => {
                    if self.is_tracing {
                        let packet = wire::decode_packet(&bytes).expect("a node's own packet");
                        self.log(id, &format!("-> {to} {} B: {}", bytes.len(), show(&packet)));
                    }
                    if self.prng.below(100) >= self.loss_percent {
                        self.transmit(from, to, Payload::Packet(bytes));
                    }
                }
            }
        }
    }

    fn transmit(&mut self, from: SocketAddr, to: SocketAddr, payload: Payload) {
        self.enqueue(self.now_ms + LATENCY_MS, Message { from, to, payload });
    }

    fn enqueue(&mut self, at_ms: u64, message: Message) {
        self.messages.insert((at_ms, self.next_serial), message);
        self.next_serial += 1;
    }

    fn log(&mut self, id: NodeId, line: &str) {
        let now_ms = self.now_ms;
        writeln!(self.log, "{now_ms:>6} {}: {line}", label(id)).expect("a string takes all");
    }
}

/// A member as logs show it.
pub(super) struct Shown<'a>(pub(super) &'a Member);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Member { id, name, cluster, addr, incarnation, state, .. } = self.0;
        write!(f, "{} is {state:?}, incarnation {incarnation}", label(*id))?;
        if *name != label(*id) {
            write!(f, ", named {name}")?;
        }
        if let Some(cluster) = cluster {
            write!(f, ", of cluster {:x}", cluster.0)?;
        }
        if *addr != super::testing::addr(id.0) {
            write!(f, ", at {addr}")?;
        }
        Ok(())
    }
}

fn show(packet: &Packet) -> String {
    let step = match packet.body {
        Body::Ping { target, .. } => format!("ping {}", label(target)),
        Body::PingReq { target, .. } => format!("ping-req {}", label(target)),
        Body::Ack { .. } => "ack".to_owned(),
        Body::Nack { .. } => "nack".to_owned(),
        Body::Gossip => "gossip".to_owned(),
    };
    let tell = |claim: &Claim| {
        format!(" [{} {:?} {}]", label(claim.id), claim.verdict.state(), claim.incarnation)
    };
    step + &packet.claims.iter().map(tell).collect::<String>()
}

/// The state of `id` as `at` knows it.
pub(super) fn state_at(net: &Net, at: NodeId, id: NodeId) -> Option<State> {
    net.gossip(at).member(id).map(|member| member.state)
}
