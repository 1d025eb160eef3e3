//! Machines and processes: added, started, killed, without power, wiped, retired.

use super::{Event, World};
use crate::sim::clock::Clock;
use crate::sim::disk::{Answer, DiskPlan, SimDisk, Submitted};
use crate::sim::host::{Host, Process};
use crate::sim::plan::{Fault, MAX_HOSTS, Plan};
use crate::sim::server::{Input, Lane, Server};
use crate::sim::violation::Property;
use crate::storage::RecoveryError;

/// How long a machine is down before its process is started again, at most, in µs.
const DOWNTIME_US: u64 = 5_000_000;
/// How long a process that is told to stop may take, in µs.
const GRACE_US: u64 = 5_000_000;

impl World {
    /// Another machine, without data; its process starts at once.
    pub(in crate::sim) fn add_host(&mut self) -> Option<usize> {
        let number = self.hosts.len();
        if number >= MAX_HOSTS {
            return None;
        }
        let has = |fault| self.plan.has(fault);
        let clock = Clock::draw(has(Fault::Drift), has(Fault::Skew), &mut self.prng);
        let disk = SimDisk::new(self.prng.next_u64(), disk_plan(&self.plan));
        self.hosts.push(Host::new(number, disk, clock, &self.plan));
        self.plan_event(0, Event::Start { host: number });
        Some(number)
    }

    /// Starts the process of a machine that has none.
    pub(in crate::sim) fn start(&mut self, at: usize) {
        let is_kept_down = self.hosts[at].is_retired || self.kept_down.contains(&at);
        if !self.hosts[at].is_down() || is_kept_down {
            return;
        }
        self.tally.starts += 1;
        let result = self.hosts[at].start(&self.plan);
        if let Err(error) = result {
            return self.refuses_to_start(at, &error);
        }
        let host = &mut self.hosts[at];
        let Process::Starting(start) = &host.process else { panic!("it has just been started") };
        let found = &start.found;
        let snapshot = found.snapshot.clone().unwrap_or_default();
        self.watch.starts(found.identity.node, found.hard_state, &snapshot, &found.entries);
        let (id, entries) = (found.identity.node, found.entries.len());
        let is_empty = start.ops.is_empty();
        self.say(|| {
            format!("n{} starts as {id}: {entries} entries after {}", at + 1, snapshot.index)
        });
        if is_empty { self.runs(at) } else { self.submit_start(at) }
    }

    /// An op of a process that is starting is done.
    pub(super) fn start_goes_on(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Process::Starting(start) = &mut host.process else { panic!("it is starting") };
        let op = start.ops.pop_front().expect("an op was under way");
        let is_done = start.ops.is_empty();
        if host.disk.complete(&op).is_err() {
            self.tally.deaths += 1;
            self.kill(at);
            return self.start_later(at);
        }
        if is_done { self.runs(at) } else { self.submit_start(at) }
    }

    fn submit_start(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Process::Starting(start) = &host.process else { panic!("it is starting") };
        let op = start.ops.front().expect("there is an op to do");
        let Submitted::Done { after_us } = host.disk.submit(op) else { return };
        let life = Some(host.life);
        let input = Input::DiskDone(Lane::Log);
        self.plan_event(after_us, Event::Arrive { host: at, life, input });
    }

    fn runs(&mut self, at: usize) {
        match self.hosts[at].run(&self.plan, self.now_us) {
            Ok(()) => self.runs_after(at),
            Err(error) => self.refuses_to_start(at, &error),
        }
    }

    /// A process has found its disk sound. Was it?
    fn runs_after(&mut self, at: usize) {
        let lied = self.hosts[at].lied.take();
        if lied == Some(Answer::Detect) {
            let detail = format!("n{} trusts a damaged disk", at + 1);
            self.report(Property::Recovery, detail);
        }
        let id = self.hosts[at].identity.expect("what runs has an identity");
        self.watch.runs(id);
        if lied == Some(Answer::Either) {
            self.atlas.replaced(id);
        }
        self.plan_turn(at);
    }

    /// A process says that it cannot use its disk: right where something was done to it. Its operator
    /// gives it an empty one.
    fn refuses_to_start(&mut self, at: usize, error: &RecoveryError) {
        self.say(|| format!("n{} refuses its disk: {error}", at + 1));
        if matches!(error, RecoveryError::Read { .. } | RecoveryError::List(_)) {
            // The disk would not be read this time.
            self.hosts[at].end();
            return self.start_later(at);
        }
        if matches!(self.hosts[at].lied, None | Some(Answer::Repair)) {
            let detail = format!("n{} refuses a sound disk: {error}", at + 1);
            self.report(Property::Recovery, detail);
        }
        self.tally.damage_found += 1;
        self.hosts[at].end();
        self.wipe(at);
        self.start_later(at);
    }

    pub(super) fn start_later(&mut self, host: usize) {
        let after_us = self.prng.below(DOWNTIME_US);
        self.start_in(host, after_us);
    }

    /// Kills a process; what it wrote stays visible.
    pub(in crate::sim) fn kill(&mut self, at: usize) {
        if self.hosts[at].is_down() {
            return;
        }
        self.hosts[at].disk.kill();
        self.dies(at);
    }

    /// Cuts the power of a machine.
    pub(in crate::sim) fn lose_power(&mut self, at: usize) {
        self.hosts[at].disk.lose_power();
        self.dies(at);
    }

    fn dies(&mut self, at: usize) {
        self.say(|| format!("n{} is down", at + 1));
        self.forget_links(at);
        self.hosts[at].end();
        self.fail_requests_of(at);
    }

    /// Gives a machine that is down an empty disk; what it was may lose its vote.
    pub(in crate::sim) fn wipe(&mut self, at: usize) {
        self.say(|| format!("n{} has an empty disk", at + 1));
        self.tally.wipes += 1;
        if let Some(id) = self.hosts[at].identity {
            self.watch.is_gone(id);
            self.atlas.damaged(id);
        }
        self.hosts[at].wipe();
        // Told to bootstrap while the others are out of reach, it could only make a second cluster.
        self.hosts[at].may_bootstrap &= !self.watch.has_cluster();
    }

    /// Whether a machine with an empty disk would hear of its cluster within moments.
    pub(in crate::sim) fn can_hear_of_cluster(&self, at: usize) -> bool {
        self.hosts.iter().any(|other| {
            let is_member = other.server().is_some_and(|server| server.cluster().is_some());
            other.number != at && is_member && other.stalled_until_us <= self.now_us
        })
    }

    /// Ends all that is wrong with a machine, and starts its process if none runs.
    pub(in crate::sim) fn heal(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        host.disk.set_slow(1);
        host.disk.set_full(false);
        host.disk.set_plan(DiskPlan::default());
        host.hung_until_us = host.hung_until_us.min(self.now_us);
        host.stalled_until_us = host.stalled_until_us.min(self.now_us);
        if host.server().is_some_and(Server::is_stopping) {
            self.kill(at);
        }
        if self.hosts[at].is_down() {
            self.start(at);
        } else {
            self.plan_turn(at);
        }
    }

    /// Whether the data on a machine may be lost, so that a good copy of everything stays.
    pub(in crate::sim) fn may_damage(&self, at: usize) -> bool {
        let Some(id) = self.hosts[at].identity else { return false };
        self.hosts[at].lied.is_none()
            && self.watch.is_founded()
            && self.atlas.permits(&self.watch.configurations_in_play(), id)
    }

    /// The data on a machine is damaged, beyond repair or not.
    pub(in crate::sim) fn is_damaged(&mut self, at: usize, beyond_repair: bool) {
        if let (true, Some(id)) = (beyond_repair, self.hosts[at].identity) {
            self.atlas.damaged(id);
            self.watch.may_go(id);
        }
    }

    /// Starts a process again in a while.
    pub(in crate::sim) fn start_in(&mut self, host: usize, after_us: u64) {
        self.plan_event(after_us, Event::Start { host });
    }

    /// Tells a process something.
    pub(in crate::sim) fn tell(&mut self, host: usize, input: Input) {
        self.arrive(host, None, input);
    }

    /// Stops a process as a rollout does: it has some time to hand over and to answer. One that is
    /// starting has nothing to hand over and ends.
    pub(in crate::sim) fn stop(&mut self, host: usize) {
        if self.hosts[host].server().is_none() {
            return self.kill(host);
        }
        let life = self.hosts[host].life;
        self.tell(host, Input::Stop);
        self.plan_event(GRACE_US, Event::GraceEnds { host, life });
    }
}

/// How the disks of a run behave while nothing is done to them.
fn disk_plan(plan: &Plan) -> DiskPlan {
    let odds = |fault, one_in| plan.has(fault).then_some(one_in);
    DiskPlan {
        write_us: (10, 60),
        sync_us: (60, 400),
        read_us: (20, 200),
        slow_one_in: Some(1_000),
        slow_factor: 50,
        error_one_in: odds(Fault::WriteError, 3_000),
        read_error_one_in: odds(Fault::ReadError, 50),
        short_write_one_in: odds(Fault::ShortWrite, 3_000),
        capacity_bytes: None,
    }
}
