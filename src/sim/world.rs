//! A whole cluster in one thread: machines, network, clients and time.
//!
//! ```text
//!                 +--------------------- queue: what happens when ---------------------+
//!                 v                                                                    |
//!   clients ──> hosts ──> actions ──> links, network ──> deliveries ───────────────────+
//!                 ^                                                                    |
//!   operator ─────+── kills, cuts, wipes, restarts ────────────────────────────────────+
//! ```
//!
//! Time passes only between events, and everything random comes from the plan's seed, so a seed is
//! a run. After each turn of a process the [`Watch`] looks at what it did.

mod clients;
mod links;
mod processes;
mod strangers;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use self::links::Link;
use super::disk::Atlas;
use super::host::{Host, Process};
use super::invariants::Watch;
use super::network::Network;
use super::plan::{Fault, Plan};
use super::queue::Queue;
use super::server::{Action, Exit, Hands, Input};
use super::stranger::Stranger;
use super::trace::Trace;
use super::violation::{Property, Violation};
use super::workload::{self, Workload};
use crate::node::Ticket;
use crate::prng::Prng;
use crate::raft::RoleName;
use crate::sim::history::Return;
use crate::types::NodeId;

/// What a disk that hangs owes is looked at this often, in µs.
const HUNG_LOOK_US: u64 = 20_000;
/// A process takes its inputs in together after this long, at most, in µs.
const TURN_US: u64 = 100;

/// When a run begins, in µs.
const BEGIN_US: u64 = 1_000_000;

/// Something that is going to happen.
#[derive(Debug)]
enum Event {
    /// A process takes in what has arrived.
    Turn { host: usize, life: u32 },
    /// A process looks at its timers.
    Timer { host: usize, life: u32 },
    /// Something arrives at a process; at a given one, or at whichever runs by then.
    Arrive { host: usize, life: Option<u32>, input: Input },
    /// A link is tried.
    Dial { host: usize, life: u32, peer: NodeId },
    /// The end of a link is noticed.
    LinkEnds { host: usize, life: u32, peer: NodeId, dial: u32 },
    /// A process is started.
    Start { host: usize },
    /// A process that was told to stop has had its time.
    GraceEnds { host: usize, life: u32 },
    /// A client's time has come.
    Client(workload::Step),
    /// The stranger's time has come.
    Stranger,
    /// An answer reaches its client.
    Answer { ticket: Ticket, answer: Return },
}

/// What a run has done, for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events.
    pub events: u64,
    /// Processes started.
    pub starts: u64,
    /// Processes that were killed, or ended by themselves without being asked.
    pub deaths: u64,
    /// Disks that were lost or replaced.
    pub wipes: u64,
    /// Recoveries that found damage and said so.
    pub damage_found: u64,
    /// Faults that were struck, in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
    /// Requests of clients.
    pub requests: u64,
    /// Requests whose outcome their clients never learnt.
    pub unknown: u64,
    /// Entries committed.
    pub entries: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        let Tally {
            events,
            starts,
            deaths,
            wipes,
            damage_found,
            faults,
            requests,
            unknown,
            entries,
        } = other;
        self.events += events;
        self.starts += starts;
        self.deaths += deaths;
        self.wipes += wipes;
        self.damage_found += damage_found;
        self.faults.iter_mut().zip(faults).for_each(|(sum, struck)| *sum += struck);
        self.requests += requests;
        self.unknown += unknown;
        self.entries += entries;
    }
}

/// A cluster, and all around it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now_us: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) network: Network,
    pub(super) workload: Workload,
    pub(super) watch: Watch,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
    pub(super) atlas: Atlas,
    /// For what is nobody's own.
    pub(super) prng: Prng,
    stranger: Stranger,
    queue: Queue<Event>,
    /// By the host that dials and the peer that is dialed.
    links: BTreeMap<(usize, NodeId), Link>,
    /// Machines whose processes nobody starts.
    pub(super) kept_down: BTreeSet<usize>,
}

impl World {
    /// Machines that are down, and clients that wait.
    pub(super) fn new(plan: Plan, trace: Trace) -> World {
        let mut world = World {
            now_us: BEGIN_US,
            hosts: Vec::new(),
            network: Network::new(&plan),
            workload: Workload::new(&plan, BEGIN_US),
            watch: Watch::new(plan.spares()),
            trace,
            tally: Tally::default(),
            atlas: Atlas::new(plan.spares()),
            prng: Prng::new(plan.seed ^ 0x776f_726c),
            stranger: Stranger::new(&plan, BEGIN_US),
            queue: Queue::default(),
            links: BTreeMap::new(),
            kept_down: BTreeSet::new(),
            plan,
        };
        for _ in 0..world.plan.servers {
            world.add_host();
        }
        for client in 0..world.plan.clients {
            let (at_us, step) = world.workload.plan(client, world.now_us);
            world.queue.push(at_us, Event::Client(step));
        }
        world.queue.push(BEGIN_US, Event::Stranger);
        world
    }

    /// Lets time pass until `until_us`, or until something is wrong.
    pub(super) fn run_until(&mut self, until_us: u64) -> Result<(), Violation> {
        while let Some((at_us, event)) = self.queue.pop(until_us) {
            assert!(at_us >= self.now_us, "time never goes back");
            self.now_us = at_us;
            self.tally.events += 1;
            self.trace.note(at_us);
            self.happen(event);
            if let Some(violation) = self.watch.violation() {
                return Err(violation.clone());
            }
        }
        self.now_us = self.now_us.max(until_us);
        Ok(())
    }

    /// Lets so much time pass, or less if something is wrong.
    pub(super) fn run_for(&mut self, duration_us: u64) -> Result<(), Violation> {
        self.run_until(self.now_us + duration_us)
    }

    /// Says something in the trace.
    pub(super) fn say(&mut self, text: impl FnOnce() -> String) {
        self.trace.line(self.now_us, text);
    }

    fn plan_event(&mut self, after_us: u64, event: Event) {
        self.queue.push(self.now_us + after_us, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { host, life } => self.turn(host, life),
            Event::Timer { host, life } => self.timer(host, life),
            Event::Arrive { host, life, input } => self.arrive(host, life, input),
            Event::Dial { host, life, peer } => self.dial(host, life, peer),
            Event::LinkEnds { host, life, peer, dial } => self.link_ends(host, life, peer, dial),
            Event::Start { host } => self.start(host),
            Event::GraceEnds { host, life } => {
                if self.hosts[host].life == life {
                    self.kill(host);
                }
            }
            Event::Client(step) => self.client(step),
            Event::Stranger => self.stranger_acts(),
            Event::Answer { ticket, answer } => self.answered(ticket, answer),
        }
    }

    /// Something reaches a host.
    fn arrive(&mut self, host: usize, life: Option<u32>, input: Input) {
        if life.is_some_and(|life| life != self.hosts[host].life) {
            return;
        }
        if let Input::DiskDone(_) = input
            && self.hosts[host].hung_until_us > self.now_us
        {
            let at_us = self.hosts[host].hung_until_us.min(self.now_us + HUNG_LOOK_US);
            self.queue.push(at_us, Event::Arrive { host, life, input });
            return;
        }
        match &mut self.hosts[host].process {
            Process::Down => self.refuse(host, input),
            Process::Starting(_) => match input {
                Input::DiskDone(_) => self.start_goes_on(host),
                other => self.refuse(host, other),
            },
            Process::Running(server) => {
                server.receive(input);
                self.plan_turn(host);
            }
        }
    }

    /// A process will take its inputs in soon.
    fn plan_turn(&mut self, host: usize) {
        let turn_us = self.prng.below(TURN_US);
        let Host { life, is_turn_planned, stalled_until_us, .. } = &mut self.hosts[host];
        if !std::mem::replace(is_turn_planned, true) {
            let at_us = (self.now_us + turn_us).max(*stalled_until_us);
            self.queue.push(at_us, Event::Turn { host, life: *life });
        }
    }

    fn timer(&mut self, host: usize, life: u32) {
        if self.hosts[host].life == life && self.hosts[host].timer_at_us <= self.now_us {
            self.hosts[host].timer_at_us = u64::MAX;
            self.plan_turn(host);
        }
    }

    fn turn(&mut self, at: usize, life: u32) {
        let host = &mut self.hosts[at];
        if host.life != life {
            return;
        }
        if host.stalled_until_us > self.now_us {
            self.queue.push(host.stalled_until_us, Event::Turn { host: at, life });
            return;
        }
        host.is_turn_planned = false;
        let Process::Running(server) = &mut host.process else { return };
        let mut hands = Hands {
            disk: &mut host.disk,
            watch: &mut self.watch,
            trace: &mut self.trace,
            now_us: self.now_us,
            now_ms: host.clock.steady_ms(self.now_us),
            chunk_bytes: self.plan.chunk_bytes,
            clients_first: self.prng.below(4) == 0,
            timers_first: std::mem::take(&mut host.wakes_by_timer),
            actions: Vec::new(),
        };
        server.turn(&mut hands);
        let actions = hands.actions;
        let deadline_us = host.clock.true_us(server.node.next_deadline_ms());
        let deadline_us = deadline_us.max(self.now_us + 1);
        if deadline_us < host.timer_at_us {
            host.timer_at_us = deadline_us;
            self.queue.push(deadline_us, Event::Timer { host: at, life });
        }
        for action in actions {
            self.carry_out(at, life, action);
        }
    }

    fn carry_out(&mut self, host: usize, life: u32, action: Action) {
        if self.hosts[host].life != life {
            return;
        }
        match action {
            Action::Send { to, bytes, is_consensus } => self.send(host, to, bytes, is_consensus),
            Action::Packet { to, bytes } => self.send_packet(host, to, bytes),
            Action::PushPull { to, bytes } => self.push_pull(host, to, bytes),
            Action::PushPullReply { to, reply } => self.push_pull_reply(host, to, reply),
            Action::SetPeer { id, addr } => self.set_peer(host, id, addr),
            Action::RemovePeer { id } => {
                self.links.remove(&(host, id));
            }
            Action::Resolve { members } => self.resolve(host, &members),
            Action::Answer { ticket, answer } => {
                self.hosts[host].asked.remove(&ticket);
                let after_us = self.network.delay_us();
                self.plan_event(after_us, Event::Answer { ticket, answer });
            }
            Action::Later { after_us, input } => {
                self.plan_event(after_us, Event::Arrive { host, life: Some(life), input });
            }
            Action::Exit(exit) => self.exits(host, exit),
        }
    }

    fn exits(&mut self, host: usize, exit: Exit) {
        self.say(|| format!("n{} exits: {exit:?}", host + 1));
        match exit {
            Exit::Drained => self.kill(host),
            Exit::Left => {
                self.hosts[host].is_retired = true;
                self.kill(host);
            }
            Exit::Removed => {
                // Its process manager starts it again, and what it had is set aside.
                self.kill(host);
                self.wipe(host);
                self.start_later(host);
            }
            Exit::Fenced(_) => {
                self.tally.deaths += 1;
                self.kill(host);
                self.start_later(host);
            }
        }
    }

    /// Looks whether servers that lost their data are named by any configuration still in play.
    pub(super) fn note_replaced(&mut self) {
        let in_play = self.watch.configurations_in_play();
        let is_gone = |id: &NodeId| !in_play.iter().any(|known| known.contains(*id));
        let gone: Vec<NodeId> = self.atlas.machines().filter(is_gone).collect();
        gone.into_iter().for_each(|id| self.atlas.replaced(id));
    }

    /// The machine whose process leads; where several believe to, the one of the latest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let outline = |host: &Host| host.server().map(|server| server.node.raft().outline());
        let leads = self.hosts.iter().filter_map(|host| Some((host.number, outline(host)?)));
        let leaders = leads.filter(|(_, outline)| outline.role == RoleName::Leader);
        leaders.max_by_key(|(_, outline)| outline.hard_state.term).map(|(at, _)| at)
    }

    /// Notes that something is wrong.
    pub(super) fn report(&mut self, property: Property, detail: String) {
        self.watch.report(property, detail);
    }
}
