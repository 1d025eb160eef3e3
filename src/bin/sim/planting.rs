//! Plants each bug in turn, counts the seeds until the simulator objects, and writes the table
//! `docs/planted.md`.
//!
//! The same build runs the same seeds with nothing planted, as a control: a check that objects to
//! sound code would catch every bug, and prove nothing.

use std::fmt::Write;
use std::fs;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use indicatif::HumanCount;
use mokv::planted::{Bug, plant};
use mokv::sim::trace::Trace;
use mokv::sim::{Outcome, Violation, run};

use crate::args::Args;
use crate::replay;
use crate::report::{self, simulated};
use crate::sweep::{self, WORKER};

/// Every bug must be caught by then, unless the command line says otherwise.
const MAX_SEEDS: u64 = 1_000;
/// The fewest seeds of the control.
const MIN_CONTROL_SEEDS: u64 = 200;
/// How long faults go on in each seed: most bugs need little time, but the right faults.
const MINUTES: f64 = 2.0;
const TABLE: &str = "docs/planted.md";
/// How much of a detail the table shows.
const DETAIL_CHARS: usize = 120;

/// How a bug was looked for.
struct Hunt {
    bug: Bug,
    seeds: u64,
    simulated_ms: u64,
    /// The run in which something objected, if one did.
    caught: Option<Outcome>,
}

/// Does with bugs planted what the command line asks for; returns whether all was as it should be.
pub(crate) fn with_bugs(args: &Args, name: Option<&str>) -> io::Result<bool> {
    let unknown = |name| io::Error::other(format!("no bug is named {name}"));
    let named = |name| Bug::named(name).ok_or_else(|| unknown(name));
    match (name.map(named).transpose()?, args.seed) {
        (Some(bug), Some(seed)) => {
            plant(Some(bug));
            replay::replay(args, seed)
        }
        (None, Some(_)) => Err(io::Error::other("--seed needs the name of one bug")),
        (Some(bug), None) => Ok(explain(args, bug)),
        (None, None) => write_table(args),
    }
}

/// Hunts one bug, and shows what it did when it was caught; returns whether it was.
fn explain(args: &Args, bug: Bug) -> bool {
    println!("{}: {}", bug.name(), bug.breaks());
    let is_caught = AtomicBool::new(false);
    on_workers(1, || {
        let hunt = hunt_one(args, bug);
        if let Some(outcome) = &hunt.caught {
            report::failure(outcome, &sweep::look_again(outcome));
            println!("caught after {} seeds; replay with --planted {} too", hunt.seeds, bug.name());
            is_caught.store(true, Ordering::Relaxed);
        }
    });
    is_caught.into_inner()
}

/// Hunts all bugs and writes the table; returns whether each was caught, and nothing where nothing
/// was planted.
fn write_table(args: &Args) -> io::Result<bool> {
    let bugs = Bug::ALL;
    let hunts = hunt_all(args, bugs);
    let most = hunts.iter().map(|hunt| hunt.seeds).max().unwrap_or(0);
    let control_seeds = most.max(MIN_CONTROL_SEEDS);
    println!("nothing planted: {} seeds as a control", HumanCount(control_seeds));
    let false_alarms = control(args, control_seeds);
    let missed = hunts.iter().filter(|hunt| hunt.caught.is_none()).count();
    println!("{} bugs, {missed} not caught, {} false alarms", bugs.len(), false_alarms.len());
    fs::create_dir_all("docs")?;
    fs::write(TABLE, page(&hunts, control_seeds, &false_alarms))?;
    println!("written: {TABLE}");
    Ok(missed == 0 && false_alarms.is_empty())
}

/// Hunts several bugs at a time, each in one thread; the results are in the order of `bugs`.
fn hunt_all(args: &Args, bugs: &[Bug]) -> Vec<Hunt> {
    let next = AtomicUsize::new(0);
    let hunts = Mutex::new(Vec::new());
    on_workers(args.jobs(), || {
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let hunt = hunt_one(args, *bug);
            println!("{}", hunt.line());
            hunts.lock().expect("no worker panics").push(hunt);
        }
    });
    let mut hunts = hunts.into_inner().expect("no worker panics");
    hunts.sort_by_key(|hunt| hunt.bug);
    hunts
}

/// Leaves the bug planted in this thread.
fn hunt_one(args: &Args, bug: Bug) -> Hunt {
    plant(Some(bug));
    let mut hunt = Hunt { bug, seeds: 0, simulated_ms: 0, caught: None };
    while hunt.caught.is_none() && hunt.seeds < args.seeds.unwrap_or(MAX_SEEDS) {
        let outcome = run(args.plan_for(hunt.seeds, MINUTES), Trace::silent());
        hunt.seeds += 1;
        hunt.simulated_ms += outcome.simulated_ms;
        hunt.caught = outcome.violation.is_some().then_some(outcome);
    }
    hunt
}

/// Runs the first seeds with nothing planted; returns what was found all the same.
fn control(args: &Args, seeds: u64) -> Vec<(u64, Violation)> {
    let next = AtomicU64::new(0);
    let found = Mutex::new(Vec::new());
    on_workers(args.jobs(), || {
        plant(None);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let outcome = run(args.plan_for(seed, MINUTES), Trace::silent());
            if let Some(violation) = outcome.violation {
                println!("seed {seed}, nothing planted: {violation}");
                found.lock().expect("no worker panics").push((seed, violation));
            }
        }
    });
    let mut found = found.into_inner().expect("no worker panics");
    found.sort_by_key(|(seed, _)| *seed);
    found
}

fn on_workers(jobs: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..jobs {
            let worker = thread::Builder::new().name(WORKER.to_owned());
            worker.spawn_scoped(scope, &work).expect("a thread starts");
        }
    });
}

/// The table, with what it means above it.
fn page(hunts: &[Hunt], control_seeds: u64, false_alarms: &[(u64, Violation)]) -> String {
    let caught = hunts.iter().filter(|hunt| hunt.caught.is_some()).count();
    let most = hunts.iter().map(|hunt| hunt.seeds).max().unwrap_or(0);
    let bugs = hunts.len();
    let mut page = String::new();
    writeln!(
        page,
        "<!-- Generated by `make planted`; do not edit. -->

# Planted bugs

{caught} of {bugs} mistakes, planted one at a time, are caught; the hardest takes {most} seeds.

`src/planted/table.rs` says of each what it breaks, and `src/planted.rs` how it is kept out of every
release build. With one planted, the simulator runs the seeds 0, 1, 2, ... with {MINUTES} simulated
minutes of faults each, until something objects. With nothing planted,
the first {control_seeds} seeds of the same build gave {} objections.

| room | bug | class | seeds | simulated | caught by | what it saw |
|---|---|---|---:|---:|---|---|",
        false_alarms.len()
    )
    .expect("a String takes all");
    for hunt in hunts {
        writeln!(page, "{}", hunt.row()).expect("a String takes all");
    }
    page
}

impl Hunt {
    /// For those who wait.
    fn line(&self) -> String {
        let Hunt { bug, seeds, .. } = self;
        match self.violation() {
            Some(violation) => {
                format!("{:<32} {seeds:>4} seeds  {}", bug.name(), violation.property)
            }
            None => format!("{:<32} {seeds:>4} seeds  NOT CAUGHT", bug.name()),
        }
    }

    fn violation(&self) -> Option<&Violation> {
        self.caught.as_ref().and_then(|outcome| outcome.violation.as_ref())
    }

    fn row(&self) -> String {
        let Hunt { bug, seeds, simulated_ms, .. } = self;
        let (room, name, class) = (bug.room(), bug.name(), bug.class());
        let (property, detail) = match self.violation() {
            Some(Violation { property, detail }) => (property.name(), shortened(detail)),
            None => ("**not caught**", String::new()),
        };
        let simulated = simulated(*simulated_ms);
        format!("| {room} | `{name}` | {class} | {seeds} | {simulated} | {property} | {detail} |")
    }
}

/// The beginning of a detail, such that a table's cell can hold it.
fn shortened(detail: &str) -> String {
    let line = detail.lines().next().unwrap_or("");
    let mut text: String = line.chars().take(DETAIL_CHARS).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text.replace('|', "\\|").replace('<', "&lt;")
}
