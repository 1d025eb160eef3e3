//! Connections between processes: links, push-pulls, datagrams and names.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;

use super::{Event, World};
use crate::node::Seeds;
use crate::sim::host::Host;
use crate::sim::server::{Input, Origin};
use crate::types::NodeId;

/// A link that could not be made, or broke, is tried again after this long, in µs.
const REDIAL_US: (u64, u64) = (20_000, 400_000);
/// A dead connection is noticed after this long, at most, in µs.
const NOTICE_US: u64 = 2_000_000;
/// A push-pull without an answer fails after this long, in µs.
const PUSH_PULL_TIMEOUT_US: u64 = 2_000_000;

/// A one-way connection that its host keeps up for as long as the node wants it.
#[derive(Debug)]
pub(super) struct Link {
    /// `name:port` of the peer.
    target: String,
    state: State,
    /// Counts attempts: what was noticed of an earlier one is void.
    dial: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Dialing,
    /// To this process; nothing may arrive before the last message did.
    Up {
        to: Origin,
        last_us: u64,
    },
    /// It is broken, and nobody has noticed.
    Broken,
}

impl World {
    pub(super) fn set_peer(&mut self, host: usize, peer: NodeId, target: String) {
        let dial = self.links.get(&(host, peer)).map_or(0, |link| link.dial) + 1;
        let link = Link { target, state: State::Dialing, dial };
        let was_up = self.links.insert((host, peer), link).is_some_and(|link| link.is_up());
        let life = self.hosts[host].life;
        if was_up {
            self.plan_event(
                0,
                Event::Arrive { host, life: Some(life), input: Input::LinkDown(peer) },
            );
        }
        self.plan_event(1, Event::Dial { host, life, peer });
    }

    pub(super) fn dial(&mut self, host: usize, life: u32, peer: NodeId) {
        if self.hosts[host].life != life {
            return;
        }
        let Some(link) = self.links.get(&(host, peer)) else { return };
        if !matches!(link.state, State::Dialing) {
            return;
        }
        match self.accepts(host, peer, &link.target) {
            Some(to) => {
                let round_trip_us = self.network.delay_us() + self.network.delay_us();
                let link = self.links.get_mut(&(host, peer)).expect("it was there");
                link.state = State::Up { to, last_us: self.now_us + round_trip_us };
                let input = Input::LinkUp(peer);
                self.plan_event(round_trip_us, Event::Arrive { host, life: Some(life), input });
            }
            None => {
                let (least, most) = REDIAL_US;
                let after_us = least + self.prng.below(most - least);
                self.plan_event(after_us, Event::Dial { host, life, peer });
            }
        }
    }

    /// The process that takes a link of `host` to `peer`, if it can be reached and agrees.
    fn accepts(&self, host: usize, peer: NodeId, target: &str) -> Option<Origin> {
        let to = self.host_named(target)?;
        let server = self.hosts[to].server()?;
        let ours = self.hosts[host].server()?.cluster()?;
        let agrees = server.id == peer && server.cluster() == Some(ours);
        let is_responsive = self.hosts[to].stalled_until_us <= self.now_us;
        let origin = Origin { host: to, life: self.hosts[to].life };
        (agrees && is_responsive && self.network.connects((host, to))).then_some(origin)
    }

    pub(super) fn link_ends(&mut self, host: usize, life: u32, peer: NodeId, dial: u32) {
        let Some(link) = self.links.get_mut(&(host, peer)) else { return };
        if self.hosts[host].life != life || link.dial != dial {
            return;
        }
        link.state = State::Dialing;
        link.dial += 1;
        self.plan_event(0, Event::Arrive { host, life: Some(life), input: Input::LinkDown(peer) });
        self.plan_event(REDIAL_US.0, Event::Dial { host, life, peer });
    }

    /// Sends a message over a link; it is lost where there is none.
    pub(super) fn send(&mut self, host: usize, peer: NodeId, bytes: Bytes, is_consensus: bool) {
        let Some(link) = self.links.get(&(host, peer)) else { return };
        let State::Up { to, last_us } = link.state else { return };
        self.trace.note_bytes(&bytes);
        if self.network.breaks_frame()
            || !self.network.is_open((host, to.host))
            || self.hosts[to.host].life != to.life
        {
            self.break_link(host, peer);
            return;
        }
        let deliveries = if is_consensus {
            self.network.consensus_message(bytes)
        } else {
            vec![self.network.message(bytes)]
        };
        let from = self.hosts[host].server().map(|server| server.id);
        let from = from.expect("only a running process sends");
        for delivery in deliveries {
            let mut at_us = self.now_us + delivery.after_us;
            if !delivery.is_loose {
                at_us = at_us.max(last_us + 1);
                let link = self.links.get_mut(&(host, peer)).expect("it is up");
                link.state = State::Up { to, last_us: at_us };
            }
            let input = Input::Message { from, body: delivery.bytes };
            self.queue.push(at_us, Event::Arrive { host: to.host, life: Some(to.life), input });
        }
    }

    /// Ends a link; its host notices some time later.
    fn break_link(&mut self, host: usize, peer: NodeId) {
        let after_us = self.prng.below(NOTICE_US);
        let life = self.hosts[host].life;
        let link = self.links.get_mut(&(host, peer)).expect("only a link breaks");
        link.state = State::Broken;
        let dial = link.dial;
        self.plan_event(after_us, Event::LinkEnds { host, life, peer, dial });
    }

    /// A process ended: links to it break, its own are gone.
    pub(super) fn forget_links(&mut self, host: usize) {
        self.links.retain(|(from, _), _| *from != host);
        let to_it = |link: &Link| matches!(link.state, State::Up { to, .. } if to.host == host);
        let broken: Vec<(usize, NodeId)> =
            self.links.iter().filter(|(_, link)| to_it(link)).map(|(key, _)| *key).collect();
        for (from, peer) in broken {
            self.break_link(from, peer);
        }
    }

    pub(super) fn send_packet(&mut self, host: usize, to: SocketAddr, bytes: Bytes) {
        self.trace.note_bytes(&bytes);
        let Some(to) = self.host_at(to) else { return };
        let from = self.hosts[host].addr();
        for delivery in self.network.datagram((host, to), bytes) {
            let input = Input::Packet { from, bytes: delivery.bytes };
            self.plan_event(delivery.after_us, Event::Arrive { host: to, life: None, input });
        }
    }

    pub(super) fn push_pull(&mut self, host: usize, addr: SocketAddr, bytes: Bytes) {
        let origin = Origin { host, life: self.hosts[host].life };
        let reached = self.host_at(addr).filter(|to| self.network.connects((host, *to)));
        let from = self.hosts[host].addr();
        match reached.filter(|to| self.hosts[*to].server().is_some()) {
            Some(to) => {
                let after_us = self.network.delay_us();
                let input = Input::PushPull { from, origin, bytes };
                self.plan_event(after_us, Event::Arrive { host: to, life: None, input });
            }
            None => {
                let input = Input::PushPullReply { from: addr, reply: None };
                let life = Some(origin.life);
                self.plan_event(PUSH_PULL_TIMEOUT_US, Event::Arrive { host, life, input });
            }
        }
    }

    pub(super) fn push_pull_reply(&mut self, host: usize, to: Origin, reply: Option<Bytes>) {
        if to == Origin::NOWHERE {
            return;
        }
        let after_us = self.network.delay_us();
        let reply = reply.filter(|_| self.network.is_open((host, to.host)));
        let input = Input::PushPullReply { from: self.hosts[host].addr(), reply };
        self.plan_event(after_us, Event::Arrive { host: to.host, life: Some(to.life), input });
    }

    /// Every other machine that there is, as a name server would tell.
    pub(super) fn resolve(&mut self, host: usize, members: &[String]) {
        let others = self.hosts.iter().filter(|other| other.number != host && !other.is_retired);
        let mut addrs: BTreeSet<SocketAddr> = others.map(Host::addr).collect();
        let named = members.iter().filter_map(|name| self.host_named(name));
        addrs.extend(named.map(|member| self.hosts[member].addr()));
        addrs.remove(&self.hosts[host].addr());
        let input = Input::Seeds(Seeds { addrs, unresolved: 0 });
        let life = Some(self.hosts[host].life);
        let after_us = self.network.delay_us();
        self.plan_event(after_us, Event::Arrive { host, life, input });
    }

    fn host_named(&self, target: &str) -> Option<usize> {
        let name = target.split('.').next()?;
        let number: usize = name.strip_prefix('n')?.parse().ok()?;
        number.checked_sub(1).filter(|at| *at < self.hosts.len())
    }

    pub(super) fn host_at(&self, addr: SocketAddr) -> Option<usize> {
        let at = Host::number_at(addr)?;
        self.hosts.get(at).filter(|host| host.addr() == addr).map(|host| host.number)
    }
}

impl Link {
    fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }
}
